"""Networks with a loop over time of their own, for the tests of `snn.layerwise`."""

from typing import Any

import torch
from torch import Tensor, nn

import spikeloom as snn

__all__ = ["STEPS", "Net", "X", "explicit", "quiet"]

STEPS = 5
X = torch.rand(STEPS, 24, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A loop over time of its own, hidden state, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True, threshold=0.2)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.lif.reset_mem()
        out = []
        for x_t in x:
            self.count += 1
            out.append(self.lif(self.drop(self.fc(x_t))))
        return torch.stack(out)


def quiet() -> Net:
    torch.manual_seed(1)
    return Net().eval()


def explicit(net: Any, x: Tensor, mem: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A function of a script: explicit state, loop over an index."""
    neuron = snn.Leaky(0.9, threshold=0.2)
    mem = neuron.init_leaky() if mem is None else mem
    spikes = []
    for t in range(len(x)):
        spk, mem = neuron(net.fc(x[t]), mem)
        spikes.append(spk)
    return torch.stack(spikes), mem
