"""What remembers without being a neuron: reset, detached, switched, run and copied with the network
that holds it."""

import copy
import pickle
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.stateful import Stateful


class Average(Stateful):
    """Running average of its input with a learned rate; a layer of a user's own."""

    class State(NamedTuple):
        value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.3))

    def advance(
        self, input_: Tensor, *, sequence: bool, num_steps: int | None = None
    ) -> tuple[Any, Any]:
        if sequence:
            steps = input_.unbind(0) if num_steps is None else [input_] * num_steps
            return torch.stack([self.advance(x, sequence=False)[0] for x in steps]), self.hidden
        value = torch.zeros_like(input_) if self._hidden is None else self.hidden.value
        self._hidden = self.State(value + self.rate * (input_ - value))
        return self._hidden.value, self._hidden


class Sequences(Average):
    modes = ("step",)


def network(layer: type[Stateful] = Average) -> nn.Sequential:
    lif = snn.Leaky(0.9, init_hidden=True)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(layer(), lif), nn.Linear(4, 2)).double()


X = torch.rand(6, 2, 3, dtype=torch.float64) * 4


def loop(net: nn.Module) -> Tensor:
    return torch.stack([net(x_t) for x_t in X])


@pytest.mark.parametrize("layer", [Average, Sequences])
@pytest.mark.parametrize("static", [False, True])
def test_a_run_over_time_is_the_step_loop_with_state_that_is_not_a_neurons(
    layer: type, static: bool
) -> None:
    net = network(layer)
    twin = copy.deepcopy(net)
    result = snn.run(net, X[0] if static else X, 6 if static else None, explain=True)
    expected = torch.stack([twin(X[0] if static else x_t) for x_t in X])
    assert result.plan.layerwise, result.plan
    torch.testing.assert_close(result.output, expected)
    torch.testing.assert_close(net[1][0].hidden.value, twin[1][0].hidden.value)
    for out in (result.output, expected):
        out.sum().backward()
    torch.testing.assert_close(net[1][0].rate.grad, twin[1][0].rate.grad)


def test_reset_forgets_a_nested_state_and_spares_other_networks() -> None:
    net, other = network(), network()
    first, _ = loop(net), loop(other)
    snn.reset(net)
    assert net[1][0].hidden.value.shape == (0,)
    assert other[1][0].hidden.value.shape == (2, 4)
    torch.testing.assert_close(loop(net), first)


def test_detach_cuts_the_graph_and_keeps_the_values() -> None:
    net = network()
    loop(net)
    before = net[1][0].hidden.value
    assert before.requires_grad
    snn.detach(net)
    assert not net[1][0].hidden.value.requires_grad
    assert torch.equal(net[1][0].hidden.value, before)


def test_set_mode_reaches_it_and_refuses_what_it_cannot() -> None:
    net = network()
    expected = loop(net)
    snn.reset(snn.set_mode(net, "sequence"))
    torch.testing.assert_close(net(X), expected)
    with pytest.raises(ValueError, match="mode of Sequences must be one of 'step', got 'sequence'"):
        snn.set_mode(network(Sequences), "sequence")


def test_copies_pickles_and_dtypes_take_the_state_along() -> None:
    net = network()
    loop(net)
    value = net[1][0].hidden.value
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert (
            torch.equal(twin[1][0].hidden.value, value)
            and not twin[1][0].hidden.value.requires_grad
        )
        torch.testing.assert_close(twin(X[0]), copy.deepcopy(net)(X[0]))
    assert net.float()[1][0].hidden.value.dtype == torch.float32


def test_a_state_called_twice_in_a_step_is_that_of_the_loop() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.average = Average()

        def forward(self, x: Tensor) -> Tensor:
            return self.average(self.average(x))

    net = Twice().double()
    result = snn.run(net, X)
    snn.reset(net)
    torch.testing.assert_close(result, loop(net))


def test_the_state_is_in_no_state_dict() -> None:
    net = network()
    loop(net)
    assert set(net[1][0].state_dict()) == {"rate"}
    assert not list(net[1][0].buffers())
