"""What a trace got wrong about modules: overridden methods, hooks, layers that draw, a layer that
is called twice."""

import copy
import io
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from ways import Cell, as_the_loop, every_way, lif, loop, runs

import spikeloom as snn
from spikeloom.core.neuron import REGISTRY
from spikeloom.functional import probe

X = torch.rand(6, 24, 3, generator=torch.Generator().manual_seed(0)) * 2


@pytest.fixture(autouse=True)
def _registry_stays() -> Any:
    before = dict(REGISTRY)
    yield
    for name in REGISTRY.keys() - before.keys():
        del REGISTRY[name]


# -- overrides and hooks ------------------------------------------


def _overridden_forward() -> snn.Leaky:
    class Noisy(snn.Leaky):
        def forward(self, input_: Tensor, *state: Any, **named: Any) -> Any:
            return super().forward(input_ + 1, *state, **named)

    return Noisy(0.9, init_hidden=True)


def _overridden_step() -> snn.Leaky:
    class Halving(snn.Leaky):
        def step(self, x: Tensor, state: Any = None) -> Any:
            spk, state = super().step(x, state)
            return spk * 0.5, state

    return Halving(0.9, init_hidden=True)


def _forward_of_an_instance() -> snn.Leaky:
    neuron = lif()
    inner = neuron.forward
    neuron.forward = lambda x: inner(x * 3)  # pyright: ignore[reportAttributeAccessIssue]
    return neuron


def _hooked() -> snn.Leaky:
    neuron = lif()
    neuron.register_forward_hook(lambda module, args, output: output * 2)
    neuron.register_forward_pre_hook(lambda module, args: (args[0] + 0.5,))
    return neuron


NEURONS = {
    "an overridden forward": _overridden_forward,
    "an overridden step": _overridden_step,
    "a forward put on an instance": _forward_of_an_instance,
    "hooks of a neuron": _hooked,
}


@every_way
@pytest.mark.parametrize("make", NEURONS.values(), ids=NEURONS)
def test_the_run_reached_past(way: str, make: Any) -> None:
    *_, out = as_the_loop(way, lambda: nn.Sequential(nn.Linear(3, 4), make()), X)
    assert out.any()


@every_way
@pytest.mark.parametrize("where", ["", "0", "0.0"], ids=["the network", "a container", "a layer"])
def test_a_hook_was_not_called_at_every_step_on(way: str, where: str) -> None:
    calls: list[type] = []

    def make() -> nn.Module:
        net = nn.Sequential(nn.Sequential(nn.Linear(3, 4), lif()))
        module = net.get_submodule(where)

        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            calls.append(type(output.detach()))
            return output * 2

        module.register_forward_hook(hook)
        module.register_forward_pre_hook(lambda module, args: (args[0] * 1.5,))
        return net

    as_the_loop(way, make, X)
    assert len(calls) == 2 * len(X)


@every_way
def test_a_monitor_of_a_container_held_one_stand_in(way: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 4), lif()))
    monitor = probe.OutputMonitor(net, instance=nn.Sequential)
    expected = loop(net, X)
    runs(way, net, X)
    records = monitor.records[2 * len(X) :]  # after those of the plain loop
    assert {type(r) for r in records} == {Tensor} and len(records) == 2 * len(X)
    torch.testing.assert_close(torch.stack(list(records[::2])), expected)


@every_way
@pytest.mark.parametrize("name", ["fire", "_base_state_function", "mem_reset"])
def test_an_overridden_door_of_snntorch_was_ignored(way: str, name: str) -> None:
    bodies: dict[str, Any] = {
        "fire": lambda self, mem: self.spike_grad(mem - 100),
        "_base_state_function": lambda self, x: -self.beta * self.mem + x,
        "mem_reset": lambda self, mem: torch.zeros_like(mem),
    }
    try:
        kind: Any = type("Changed", (snn.Leaky,), {name: bodies[name]})
    except TypeError as refusal:
        assert name in str(refusal)
        return
    as_the_loop(way, lambda: nn.Sequential(nn.Linear(3, 4), kind(0.9, init_hidden=True)), X)


# -- layers that draw, and a layer that is called twice ------------------------------------------


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x, need_weights=False)[0]


class ScaledDotProduct(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(4, 4, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


DRAWING: dict[str, Any] = {
    "attention": Attention,
    "scaled dot product attention": ScaledDotProduct,
    "a transformer layer": lambda: nn.TransformerEncoderLayer(
        4, 2, 8, dropout=0.5, batch_first=True
    ),
    "a recurrent layer": Gru,
    "fractional pooling": lambda: nn.FractionalMaxPool2d(2, output_size=(4, 2)),
    "dropout": lambda: nn.Dropout(0.5),
    "rrelu": nn.RReLU,
    "alpha dropout": lambda: nn.AlphaDropout(0.5),
}


@every_way
@pytest.mark.parametrize("make", DRAWING.values(), ids=DRAWING)
def test_one_mask_was_drawn_for_all_steps_of_a_static_input_by(way: str, make: Any) -> None:
    x = torch.randn(4, 6, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = nn.Sequential(make(), nn.Flatten(), lif(threshold=0.01)).train()
    kept: list[Tensor] = []
    net[0].register_forward_hook(lambda module, args, output: kept.append(output.detach()))
    runs(way, net, x, 8)
    assert len(kept) == 8
    assert any(not torch.equal(a, b) for a, b in pairwise(kept))


@every_way
def test_a_transformer_gave_the_same_output_at_every_step(way: str) -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)
    y = runs(way, nn.Sequential(nn.Unflatten(1, (1, 4)), layer).train(), torch.rand(20, 4), 6)
    assert not (y == y[0]).all()


@every_way
def test_a_batch_norm_called_twice_in_a_step_kept_other_statistics(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.fc(x))
            return self.lif(self.norm(h * 2 + 0.1))

    net, *_ = as_the_loop(way, Net, X)
    assert net.norm.num_batches_tracked == 2 * len(X)


@every_way
def test_an_in_place_relu_missed_an_input_that_is_not_contiguous(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            x = (self.fc(x) - 0.3).t()
            y = self.relu(x)
            return self.lif((y + x).t())

    as_the_loop(way, Net, X)


# -- weights that are computed, tensors without values ------------------


@every_way
def test_a_spectral_norm_was_advanced_twice_a_step(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.utils.spectral_norm(self.fc)

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.fc(x))

    net, twin, _ = as_the_loop(way, Net, X)
    assert torch.equal(net.fc.weight_u, twin.fc.weight_u)


@pytest.mark.parametrize("learned", [False, True])
def test_a_check_read_the_values_of_fake_tensors(learned: bool) -> None:
    with FakeTensorMode():
        net = nn.Sequential(nn.Linear(3, 4), lif(learn_beta=learned))
        assert net(torch.rand(24, 3)).shape == (24, 4)
        snn.reset(net)
        assert snn.run(net, torch.rand(6, 24, 3)).shape == (6, 24, 4)


# -- values that leave the recording and come back ------------------------------------------


def _saved(value: Tensor) -> Tensor:
    file = io.BytesIO()
    torch.save({"value": value}, file)
    file.seek(0)
    return torch.load(file)["value"]


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "save and load": _saved,
    "parameter": lambda value: nn.Parameter(value) * 2,
    "leaf": lambda value: value.requires_grad_() * 2,
}


@every_way
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_step_could_not_copy_a_recorded_value(way: str, copied: Any) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Any:
            spk = self.lif(self.fc(x))
            return spk, copied(spk.detach()), copied(self.lif.mem.detach())

    as_the_loop(way, Net, X)


@every_way
def test_a_value_that_was_read_and_then_became_a_leaf_gave_its_readers_a_gradient(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Any:
            with torch.no_grad():
                spk = self.lif(x)
            before = spk * 2
            spk.requires_grad_()
            return before, spk * 3

    as_the_loop(way, Net, X.detach())
