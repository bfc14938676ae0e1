"""What cannot be written is refused in one sentence that names the layer, the reason and the way
out."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn
from spikeloom.nir import from_nir, to_nir


class Two(nn.Module):
    """A network with a layer, a neuron, and a forward to be given."""

    def __init__(self, forward: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        self.fc, self.lif, self.run = nn.Linear(3, 3), snn.Leaky(0.9, **options), forward

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def row(*modules: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), *modules)


IMAGE = torch.rand(2, 1, 6, 6)
VECTOR = torch.rand(2, 3)
WRITING: dict[str, tuple[Callable[[], nn.Module], Tensor | None, str]] = {
    "batch normalisation": (
        lambda: row(nn.BatchNorm1d(3)),
        VECTOR,
        r"BatchNorm1d has no NIR node; fold it into the layer before it: .*fuse_conv_bn_eval.* "
        r"\(layer '1'\)",
    ),
    "max pooling": (lambda: nn.MaxPool2d(2), IMAGE, r"MaxPool2d has no NIR node; use nn.AvgPool2d"),
    "relu": (
        lambda: row(nn.ReLU()),
        VECTOR,
        r"ReLU has no NIR node; let a neuron stand in its place",
    ),
    "another layer": (
        lambda: row(nn.LayerNorm(3)),
        VECTOR,
        r"LayerNorm has no NIR node; NIR knows Linear, Conv1d",
    ),
    "a function": (
        lambda: Two(lambda net, x: F.max_pool1d(net.fc(x), 1)),
        VECTOR,
        r"forward calls 'boolean_dispatch|forward calls 'max_pool1d', which has no NIR node; NIR "
        r"has sums",
    ),
    "a sum with a constant": (
        lambda: Two(lambda net, x: net.fc(x) + 1),
        VECTOR,
        r"forward calls 'add', which has no NIR",
    ),
    "a sum of different shapes": (
        lambda: Two(lambda net, x: net.fc(x) + net.fc(x)[:, :1]),
        VECTOR,
        r"forward calls 'getitem', which has no NIR node",
    ),
    "a sum with itself": (
        lambda: Two(lambda net, x: (y := net.fc(x)) + y),
        VECTOR,
        r"'output' receives 'fc' twice, and NIR has one edge between two nodes; multiply",
    ),
    "a membrane as output": (
        lambda: Two(lambda net, x: net.lif(net.fc(x))[1]),
        VECTOR,
        r"the output reads the state of neuron 'lif'; NIR neurons send spikes only: .*snn.LI",
    ),
    "a membrane in a layer": (
        lambda: Two(lambda net, x: net.fc(net.lif(x)[1])),
        VECTOR,
        r"Linear 'fc' reads the state of neuron 'lif'",
    ),
    "a neuron that is called twice": (
        lambda: Two(lambda net, x: net.lif(net.lif(x)), init_hidden=True),
        VECTOR,
        r"cannot be written as a graph: Leaky 'lif' is called twice in a step; its forward must "
        r"take one time step",
    ),
    "a state that is passed": (
        lambda: Two(lambda net, x: net.lif(x, None)[0]),
        VECTOR,
        r"cannot be written as a graph: Leaky 'lif' is passed its state",
    ),
    "inhibition": (
        lambda: row(snn.Leaky(0.9, inhibition=True, init_hidden=True)),
        VECTOR,
        r"Leaky '1': inhibition has no NIR node",
    ),
    "a quantised state": (
        lambda: row(snn.Leaky(0.9, state_quant=torch.round, init_hidden=True)),
        VECTOR,
        r"Leaky '1': state_quant has no NIR node",
    ),
    "a linear layer on two axes": (
        lambda: nn.Linear(6, 2),
        IMAGE,
        r"Linear '0': a linear layer on 3 axes, \(1, 6, 6\), has no NIR node; flatten its input "
        r"first",
    ),
    "padding with reflections": (
        lambda: nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        IMAGE,
        r"Conv2d '0': padding_mode='reflect' has no NIR node",
    ),
    "a pool that rounds up": (
        lambda: nn.AvgPool2d(4, ceil_mode=True),
        IMAGE,
        r"AvgPool2d '0': ceil_mode=True has no",
    ),
    "a pool that does not count its padding": (
        lambda: nn.AvgPool2d(2, padding=1, count_include_pad=False),
        IMAGE,
        r"AvgPool2d '0': a divisor other than the size of the kernel has no NIR node",
    ),
    "flattening the batch": (
        lambda: nn.Flatten(0),
        IMAGE,
        r"Flatten '0': flattening the batch has no NIR node",
    ),
    "a fractional delay of Gaussian form": (
        lambda: row(snn.SynapticDelay(3, 1.5, kernel="gaussian")),
        VECTOR,
        r"SynapticDelay '1': kernel='gaussian' has no NIR node",
    ),
    "no sample": (
        lambda: nn.Conv2d(1, 1, 3),
        None,
        r"to_nir needs the shape of the input, and the first layer \(Conv2d\) does not say it; "
        r"pass sample=",
    ),
    "a sample without batch": (
        lambda: row(),
        torch.rand(3),
        r"the sample is one step of input \[B, \.\.\.\], got \(3,\)",
    ),
    "a sample of another size": (
        lambda: row(),
        torch.rand(2, 4),
        r"Linear '0' does not take the sample, which reaches it as \(2, 4\)",
    ),
}


@pytest.mark.parametrize("case", WRITING)
def test_a_network_is_refused(case: str) -> None:
    make, sample, text = WRITING[case]
    with pytest.raises(ValueError, match=text):
        to_nir(make(), sample)


def test_arguments_of_the_export_are_checked() -> None:
    with pytest.raises(ValueError, match=r"dt must be positive, got 0"):
        to_nir(row(), dt=0.0)
    with pytest.raises(
        TypeError, match=r"net must be a torch.nn.Module, got function; write nn.Sequential"
    ):
        to_nir(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the sample must be floating point"):
        to_nir(row(), torch.ones(2, 3, dtype=torch.int64))


def test_further_arguments_of_forward_are_constants() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor, gain: Any, offset: float = 1.0) -> Tensor:
            return self.fc(x) * gain * offset

    with pytest.raises(
        ValueError,
        match="forward takes 'gain' besides its input; pass it, or give it a default value",
    ):
        to_nir(Net(), VECTOR)
    net = Net()
    found = from_nir(to_nir(net, VECTOR, args=(2.0,)))
    torch.testing.assert_close(found(VECTOR), net(VECTOR, 2.0))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(
        ImportError, match=r"writing a NIR graph needs nir.*pip install nir .*spikeloom\[nir\]"
    ):
        to_nir(row())


def test_a_weight_of_nan_was_written() -> None:
    net = row()
    net[0].bias.data[0] = torch.inf
    with pytest.raises(ValueError, match="the bias of layer '0' holds 1 NaN or infinite values"):
        to_nir(net, VECTOR)


def test_joined_tensors_end_in_an_error_of_torch() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(6, 4), snn.Leaky(0.9, init_hidden=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lif(self.fc(torch.cat([x, x], 1)))

    with pytest.raises(ValueError, match="forward calls 'cat', which has no NIR node"):
        to_nir(Joined(), torch.zeros(1, 3))
