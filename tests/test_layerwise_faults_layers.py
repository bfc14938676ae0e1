"""What a trace got wrong about axes, loops within loops, second derivatives, feedback and early
exits."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from ways import Cell, as_the_loop, built, every_way, lif, loop, runs

import spikeloom as snn

X = torch.rand(6, 24, 3, generator=torch.Generator().manual_seed(0)) * 2


# -- layers that were folded wrongly ------------------------------------------


FOLDED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "a layer norm over the batch": (lambda: nn.LayerNorm((24, 3)), (6, 24, 3)),
    "padding of the batch axis": (lambda: Function(lambda x: F.pad(x, (0, 0, 1, 0))), (6, 24, 3)),
    "a pixel shuffle": (lambda: nn.Sequential(nn.PixelShuffle(2), nn.Flatten()), (6, 4, 5, 5)),
    "an instance norm of one sample": (
        lambda: nn.InstanceNorm1d(24, track_running_stats=True).eval(),
        (6, 24, 3),
    ),
    "a softmax over the batch": (lambda: nn.Softmax(0), (6, 24, 3)),
    "a flattened batch": (lambda: Function(lambda x: x.flatten()[None]), (6, 24, 3)),
}


class Function(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@every_way
@pytest.mark.parametrize(("make", "shape"), FOLDED.values(), ids=FOLDED)
def test_time_was_folded_into_an_axis_that_is_not_the_batch_by(
    way: str, make: Any, shape: Any
) -> None:
    x = torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2
    as_the_loop(way, lambda: nn.Sequential(make(), lif()), x)


@every_way
def test_a_lazy_layer_was_refused(way: str) -> None:
    net = nn.Sequential(nn.LazyLinear(4), lif())
    assert runs(way, net, X).shape == (6, 24, 4)
    assert net[0].weight.shape == (4, 3)


def test_a_boolean_number_of_steps_raised_a_raw_error() -> None:
    with pytest.raises(ValueError, match="num_steps must be a positive integer, got True"):
        snn.run(nn.Sequential(nn.Linear(3, 4), lif()), X[0], True)


def test_a_number_of_steps_from_numpy_was_refused() -> None:
    assert snn.run(nn.Sequential(nn.Linear(3, 4), lif()), X[0], np.int64(3)).shape == (3, 24, 4)


# -- loops within loops, second derivatives ------------------------------------------


class OwnLoop(Cell):
    """The network of every tutorial."""

    def forward(self, x: Tensor) -> Tensor:
        snn.reset(self)
        return torch.stack([self.lif(self.fc(x)) for _ in range(5)])


@pytest.mark.parametrize("num_steps", [5, None])
def test_a_network_with_a_time_loop_of_its_own_was_run_t_times_t_steps(
    num_steps: int | None,
) -> None:
    x = X[0] if num_steps else X[:5]
    with pytest.raises((TypeError, ValueError, RuntimeError), match=r"layerwise\(net\)"):
        snn.run(OwnLoop(), x, num_steps)


def test_a_network_that_steps_twice_within_a_step_is_no_time_loop() -> None:
    class Twice(Cell):
        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.fc(x)) + self.lif(self.fc(x * 2))

    as_the_loop("run", Twice, X)


def _penalty(net: nn.Module, x: Tensor, run: Any) -> list[Tensor | None]:
    x = x.clone().double().requires_grad_()
    (gradient,) = torch.autograd.grad(run(net, x)[1].pow(2).sum(), x, create_graph=True)
    return list(
        torch.autograd.grad(gradient.pow(2).sum(), list(net.parameters()), allow_unused=True)
    )


@every_way
def test_a_gradient_penalty_lost_all_layers_but_the_first(way: str) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), lif(), nn.Linear(8, 4), lif(output=True))

    expected = _penalty(built(make), X[:3], loop)
    found = _penalty(built(make), X[:3], lambda net, x: runs(way, net, x))
    assert all(v is not None for v in expected[:3])
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@every_way
def test_a_hessian_product_of_the_weights_raised(way: str) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), lif(learn_beta=True, output=True))

    found = []
    for run in (loop, lambda net, x: runs(way, net, x)):
        net = built(make)
        loss = run(net, X.double())[1].pow(2).sum()
        first = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
        found.append(
            torch.autograd.grad(sum(g.pow(2).sum() for g in first), list(net.parameters()))
        )
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


# -- more that a trace could not carry ------------------------------------------


class Feedback(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.back, self.last = nn.Linear(4, 3), None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.last is None else x + self.back(self.last)
        self.last = self.lif(self.fc(x))
        return self.last


@every_way
def test_feedback_across_layers_runs_step_by_step_and_right(way: str) -> None:
    as_the_loop(way, Feedback, X)


def test_an_early_exit_stops_where_the_loop_stops() -> None:
    def until_three_spikes(net: nn.Module, x: Tensor) -> list[Tensor]:
        snn.reset(net)
        out: list[Tensor] = []
        for x_t in x:
            out.append(net(x_t))
            if sum(o.sum() for o in out) >= 3:
                break
        return out

    net = built(lambda: nn.Sequential(nn.Linear(3, 4), lif()))
    expected, found = (
        until_three_spikes(net, X.double()),
        snn.layerwise(until_three_spikes)(net, X.double()),
    )
    assert 0 < len(expected) < len(X) and len(found) == len(expected)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))


OTHER = nn.Linear(3, 3)


def _hooked(neuron: Any) -> None:
    neuron.recurrent.register_forward_hook(lambda module, args, output: output * 2)


def _replaced(neuron: Any) -> None:
    neuron.recurrent = OTHER


def _exchanged(neuron: Any) -> None:
    neuron.recurrent.weight = OTHER.weight


def _written(neuron: Any) -> None:
    with torch.no_grad():
        neuron.recurrent.weight.mul_(2)


@pytest.mark.parametrize("change", [_hooked, _replaced, _exchanged, _written])
def test_a_change_of_the_feedback_between_two_steps_was_missed(change: Any) -> None:
    def forward(neuron: Any, x: Tensor) -> Tensor:
        spk, mem = neuron.init_rleaky()
        membranes = []
        for step in range(len(x)):
            if step == 3:
                change(neuron)
            spk, mem = neuron(x[step], spk, mem)
            membranes.append(mem)
        return torch.stack(membranes)

    torch.manual_seed(0)
    neuron = snn.RLeaky(0.9, linear_features=3, threshold=0.5)
    expected = forward(copy.deepcopy(neuron), X)
    assert torch.equal(snn.layerwise(forward)(neuron, X), expected)
