"""Networks with a time loop of their own, as users of snnTorch write them; ``lib`` is snntorch or
spikeloom.

Each ends in two outputs over time, spikes and membranes of the last layer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn

__all__ = ["CASES", "Case", "loss_of"]

Pair = tuple[Tensor, Tensor]


class Mlp(nn.Module):
    """Tutorial 5: explicit state; the input is one image, or another one at every step."""

    def __init__(
        self, lib: Any, num_steps: int, sizes: tuple[int, int, int], over_time: bool
    ) -> None:
        super().__init__()
        self.num_steps, self.over_time = num_steps, over_time
        self.fc1, self.lif1 = nn.Linear(sizes[0], sizes[1]), lib.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(sizes[1], sizes[2]), lib.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> Pair:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for step in range(self.num_steps):
            cur1 = self.fc1(x[step] if self.over_time else x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Conv(nn.Module):
    """Tutorial 6: two convolutions, explicit state."""

    def __init__(self, lib: Any, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.conv1, self.lif1 = nn.Conv2d(1, 12, 5), lib.Leaky(beta=0.5)
        self.conv2, self.lif2 = nn.Conv2d(12, 64, 5), lib.Leaky(beta=0.5)
        self.fc1, self.lif3 = nn.Linear(64 * 4 * 4, 10), lib.Leaky(beta=0.5)

    def forward(self, x: Tensor) -> Pair:
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spk3_rec, mem3_rec = [], []
        for _ in range(self.num_steps):
            cur1 = F.max_pool2d(self.conv1(x), 2)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = F.max_pool2d(self.conv2(spk1), 2)
            spk2, mem2 = self.lif2(cur2, mem2)
            cur3 = self.fc1(spk2.flatten(1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec), torch.stack(mem3_rec)


class Synaptic(nn.Module):
    """Learned time constants, one for each neuron, behind a layer norm; hidden state, loop over the
    input."""

    def __init__(self, lib: Any, hidden: int) -> None:
        super().__init__()
        self.fc1, self.norm, self.fc2 = (
            nn.Linear(700, hidden),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 20),
        )
        self.lif1 = self.neuron(lib, hidden)
        self.lif2 = self.neuron(lib, 20, output=True)

    @staticmethod
    def neuron(lib: Any, size: int, **options: Any) -> Any:
        learned = {"learn_alpha": True, "learn_beta": True, "init_hidden": True}
        return lib.Synaptic(
            alpha=torch.full((size,), 0.8), beta=torch.full((size,), 0.9), **learned, **options
        )

    def forward(self, x: Tensor) -> Pair:
        self.lif1.reset_mem()
        self.lif2.reset_mem()
        spikes, membranes = [], []
        for x_t in x:
            spk, _, mem = self.lif2(self.fc2(self.lif1(self.norm(self.fc1(x_t)))))
            spikes.append(spk)
            membranes.append(mem)
        return torch.stack(spikes), torch.stack(membranes)


class Feedback(nn.Module):
    """A recurrent layer, explicit state."""

    def __init__(self, lib: Any, hidden: int) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(100, hidden), lib.RLeaky(beta=0.9, linear_features=hidden)
        self.fc2, self.lif2 = nn.Linear(hidden, 10), lib.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Pair:
        spk1, mem1 = self.lif1.init_rleaky()
        mem2 = self.lif2.init_leaky()
        spikes, membranes = [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step]), spk1, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


class Residual(nn.Module):
    """A residual block with batch norm; hidden state."""

    def __init__(self, lib: Any, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        hidden = {"beta": 0.5, "init_hidden": True}
        self.conv0, self.norm0, self.lif0 = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            lib.Leaky(**hidden),
        )
        self.conv1, self.norm1, self.lif1 = (
            nn.Conv2d(16, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            lib.Leaky(**hidden),
        )
        self.conv2, self.norm2, self.lif2 = (
            nn.Conv2d(16, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            lib.Leaky(**hidden),
        )
        self.fc, self.lif3 = nn.Linear(16, 10), lib.Leaky(**hidden, output=True)

    def forward(self, x: Tensor) -> Pair:
        for lif in (self.lif0, self.lif1, self.lif2, self.lif3):
            lif.reset_mem()
        spikes, membranes = [], []
        for _ in range(self.num_steps):
            h = self.lif0(self.norm0(self.conv0(x)))
            y = self.lif1(self.norm1(self.conv1(h)))
            h = self.lif2(self.norm2(self.conv2(y)) + h)
            spk, mem = self.lif3(self.fc(h.mean(dim=(2, 3))))
            spikes.append(spk)
            membranes.append(mem)
        return torch.stack(spikes), torch.stack(membranes)


def sequential(lib: Any) -> nn.Module:
    """One step of tutorial 6's second half: hidden state everywhere, the loop is in
    `forward_pass`."""
    hidden = {"beta": 0.5, "init_hidden": True}
    first = [nn.Conv2d(1, 12, 5), nn.MaxPool2d(2), lib.Leaky(**hidden)]
    second = [nn.Conv2d(12, 64, 5), nn.MaxPool2d(2), lib.Leaky(**hidden)]
    return nn.Sequential(
        *first, *second, nn.Flatten(), nn.Linear(1024, 10), lib.Leaky(**hidden, output=True)
    )


def forward_pass(net: Any, data: Tensor, num_steps: int) -> Pair:
    """Tutorial 6's function around a network of one step."""
    for module in net:
        if hasattr(module, "reset_mem"):
            module.reset_mem()
    spk_rec, mem_rec = [], []
    for _ in range(num_steps):
        spk_out, mem_out = net(data)
        spk_rec.append(spk_out)
        mem_rec.append(mem_out)
    return torch.stack(spk_rec), torch.stack(mem_rec)


def loss_of(output: Pair) -> Tensor:
    """A loss that reaches spikes and membranes."""
    spk, mem = output
    return mem.square().mean() + 0.1 * spk.mean()


def training_step(net: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> Tensor:
    """A whole step of training with a loss at every time step: the function that a script
    decorates."""
    _, mem_rec = net(x)
    loss = torch.zeros(())
    for step in range(len(mem_rec)):
        loss = loss + F.cross_entropy(mem_rec[step], y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


class Case(NamedTuple):
    """A network, its input, and how it is called where it is no module with a loop."""

    make: Callable[[Any, bool], nn.Module]  # of the package and whether the run is a smoke run
    data: Callable[[bool], Tensor]
    num_steps: int
    aim: float  # times snnTorch's loop that `snn.layerwise` is to reach
    rounds: int = 1  # calls in one measurement, for what is short
    kind: str = "module"  # "function": `forward_pass`; "step": `training_step`
    run: Callable[[nn.Module, Tensor, int], Pair] | None = None


def _run_mlp(net: Any, x: Tensor, num_steps: int) -> Pair:
    lif1 = snn.Leaky(0.95, init_hidden=True)
    lif2 = snn.Leaky(0.95, init_hidden=True, output=True)
    return snn.run(
        nn.Sequential(net.fc1, lif1, net.fc2, lif2), x, None if x.dim() == 3 else num_steps
    )


def _run_synaptic(net: Any, x: Tensor, num_steps: int) -> Pair:
    spk, _, mem = snn.run(nn.Sequential(net.fc1, net.norm, net.lif1, net.fc2, net.lif2), x)
    return spk, mem


def _spikes(*shape: int, density: float) -> Tensor:
    return (torch.rand(*shape) < density).float()


def _mlp(
    over_time: bool, sizes: tuple[int, int, int] = (784, 1000, 10), num_steps: int = 25
) -> Any:
    return lambda lib, smoke: Mlp(lib, 5 if smoke else num_steps, sizes, over_time)


def _images(smoke: bool) -> Tensor:
    return torch.rand(4 if smoke else 32, 1, 28, 28)


CASES = {
    "static MLP": Case(
        _mlp(False), lambda smoke: torch.rand(8 if smoke else 128, 784), 25, 6.0, run=_run_mlp
    ),
    "conv, explicit state": Case(
        lambda lib, smoke: Conv(lib, 5 if smoke else 25), _images, 25, 2.5
    ),
    "conv, forward_pass": Case(
        lambda lib, smoke: sequential(lib), _images, 25, 2.5, kind="function", run=snn.run
    ),
    "MLP, spikes over time": Case(
        _mlp(True),
        lambda smoke: _spikes(*((5, 8) if smoke else (25, 128)), 784, density=0.1),
        25,
        2.0,
        run=_run_mlp,
    ),
    "Synaptic, learned vectors": Case(
        lambda lib, smoke: Synaptic(lib, 32 if smoke else 256),
        lambda smoke: _spikes(*((5, 4) if smoke else (25, 64)), 700, density=0.05),
        25,
        3.0,
        run=_run_synaptic,
    ),
    "residual block, batch norm": Case(
        lambda lib, smoke: Residual(lib, 3 if smoke else 8),
        lambda smoke: torch.rand(2 if smoke else 16, 3, 32, 32),
        8,
        1.5,
    ),
    "RLeaky": Case(
        lambda lib, smoke: Feedback(lib, 128),
        lambda smoke: torch.rand(*((5, 8) if smoke else (25, 64)), 100),
        25,
        1.2,
    ),
    "actor": Case(_mlp(False, (4, 64, 2), 8), lambda smoke: torch.rand(1, 4), 8, 0.95, rounds=20),
    "decorated training step": Case(
        _mlp(False), lambda smoke: torch.rand(8 if smoke else 128, 784), 25, 6.0, kind="step"
    ),
}
