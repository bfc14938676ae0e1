"""Several threads: with networks of their own they do not meet; in one network the second is
refused."""

import copy
import pickle
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn

REFUSED = "is running in another thread"


class Net(nn.Module):
    def __init__(self, blocks: int = 12, inside: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(blocks))
        self.lif = snn.Leaky(0.9, init_hidden=True)
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        self.inside()
        for layer in self.layers:
            x = layer(x)
        return self.lif(x)


def other_thread(work: Callable[[], Any]) -> Any:
    """What a thread returns, or what it raises."""
    found: list[Any] = []

    def thread() -> None:
        try:
            found.append(work())
        except BaseException as error:  # handed to the caller
            found.append(error)

    each = threading.Thread(target=thread)
    each.start()
    each.join(60)
    return found[0]


def together(*works: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(len(works))
    found: list[Any] = [None] * len(works)

    def thread(index: int) -> None:
        barrier.wait()
        try:
            found[index] = works[index]()
        except BaseException as error:  # handed to the caller
            found[index] = error

    threads = [threading.Thread(target=thread, args=(index,)) for index in range(len(works))]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    return found


def test_two_runs_in_two_threads_broke_every_layer_of_the_process() -> None:
    x = torch.rand(4, 3, 8)
    nets = [Net(), Net()]
    expected = [snn.run(net, x) for net in nets]
    call = nn.Module.__call__

    def work(which: int) -> Callable[[], list[Tensor]]:
        return lambda: [snn.run(nets[which], x) for _ in range(10)]

    def torch_code() -> list[Tensor]:
        layer = nn.Linear(2, 2)
        return [layer(torch.ones(1, 2)) for _ in range(500)]

    *results, plain = together(work(0), work(1), torch_code)
    for found, wanted in zip(results, expected, strict=True):
        assert all(torch.equal(value, wanted) for value in found)
    assert all(torch.equal(value, plain[0]) for value in plain)
    assert nn.Module.__call__ is call
    assert nn.Linear(2, 2)(torch.rand(1, 2)).shape == (1, 2)


def test_a_run_put_back_the_generators_of_other_threads() -> None:
    drawn: list[float] = []

    def draw() -> None:
        drawn.append(torch.rand((), dtype=torch.float64).item())
        drawn.append(random.random())
        drawn.append(float(np.random.rand()))

    inside = Net(inside=lambda: other_thread(draw))  # draws in the middle of each step
    plan = snn.run(inside, torch.rand(20, 3, 8), explain=True).plan
    assert len(drawn) == 60 and len(set(drawn)) == 60
    assert plan.layerwise, str(plan)


@pytest.mark.parametrize(
    "first", ["run", "layerwise module", "layerwise function", "layerwise global"]
)
def test_one_network_in_two_threads_gave_wrong_numbers(first: str) -> None:
    second: list[Any] = []
    x = torch.rand(4, 3, 8)
    net = Net(2)

    def enter() -> None:
        if second:
            return
        second.append(None)
        second.append(other_thread(lambda: snn.run(net, x)))
        second.append(other_thread(lambda: snn.layerwise(loop)(net)))
        second.append(other_thread(lambda: net(x[0])))
        second.append(other_thread(lambda: snn.reset(net)))

    def loop(net: nn.Module) -> Tensor:
        return torch.stack([net(step) for step in x])

    expected = snn.run(net, x)
    snn.reset(net)
    net.inside = enter
    ways = {
        "run": lambda: snn.run(net, x),
        "layerwise module": lambda: torch.stack([snn.layerwise(net)(step) for step in x]),
        "layerwise function": lambda: snn.layerwise(loop)(net),
        "layerwise global": lambda: snn.layerwise(lambda: loop(net))(),
    }
    torch.testing.assert_close(ways[first](), expected)
    assert [type(error) for error in second[1:]] == [RuntimeError] * 4
    assert all(REFUSED in str(error) and "copy.deepcopy(net)" in str(error) for error in second[1:])
    snn.reset(net)
    torch.testing.assert_close(other_thread(lambda: snn.run(net, x)), expected)  # free again


def test_a_value_of_a_run_in_another_thread_was_called_one_that_bypasses_torch() -> None:
    """A plain loop met it where it read a state in the middle of a run."""

    class Leaking(Net):
        found: Any = None

        def forward(self, x: Tensor) -> Tensor:
            x = self.layers[0](x)
            self.found = other_thread(lambda: x * 2 + self.layers[1](x))
            return self.lif(x)

    net = Leaking()
    spk = snn.run(net, torch.ones(5, 2, 8))
    assert isinstance(net.found, RuntimeError) and REFUSED in str(net.found)
    assert "copy.deepcopy(net)" in str(net.found) and spk.shape == (5, 2, 8)


def test_a_thread_that_failed_did_not_keep_its_network() -> None:
    def fail() -> None:
        raise KeyError("of the user")

    net = Net(1, fail)
    assert isinstance(other_thread(lambda: snn.run(net, torch.rand(4, 3, 8))), KeyError)
    net.inside = lambda: None
    assert snn.run(net, torch.rand(4, 3, 8)).shape == (4, 3, 8)


def test_a_run_inside_a_run_of_the_same_thread_is_not_refused() -> None:
    net, x = Net(1), torch.rand(4, 3, 8)
    expected = snn.run(net, x)
    torch.testing.assert_close(snn.layerwise(lambda net: snn.run(net, x))(net), expected)
    torch.testing.assert_close(other_thread(lambda: snn.run(net, x)), expected)  # free again


def test_all_neurons_were_reset_while_another_thread_ran() -> None:
    found: list[Any] = []
    net = Net(1, lambda: found.append(other_thread(snn.Leaky.reset_hidden)))
    snn.run(net, torch.rand(2, 3, 8))
    assert isinstance(found[0], RuntimeError) and REFUSED in str(found[0])


def test_two_plain_loops_in_one_network_mixed_their_states() -> None:
    net, x = Net(1), torch.rand(3, 2, 8)
    net(x[0])
    other_thread(lambda: (snn.reset(net), net(x[1])))
    with pytest.raises(RuntimeError, match=r"another thread has called this Leaky.*deepcopy"):
        net(x[1])
    snn.reset(net)
    expected = [net(step) for step in x]
    snn.reset(net)
    assert torch.equal(torch.stack([net(step) for step in x]), torch.stack(expected))


@pytest.mark.parametrize("layer", [snn.Leaky(0.9, init_hidden=True), snn.SynapticDelay(2)])
def test_a_call_that_overlapped_with_another_thread_s_left_a_mixed_state(
    layer: nn.Module,
) -> None:
    x = torch.rand(2, 8)
    found: list[Any] = []

    def overtake(*_: Any) -> None:
        if not found:
            found.append(None)
            found[0] = other_thread(lambda: (snn.reset(layer), layer(x)))

    name = "_advance" if isinstance(layer, snn.Leaky) else "advance"
    advance = getattr(layer, name)

    def slow(*args: Any, **named: Any) -> Any:
        result = advance(*args, **named)
        overtake()
        return result

    vars(layer)[name] = slow
    try:
        with pytest.raises(RuntimeError, match="another thread has called this"):
            layer(x)
        with pytest.raises(RuntimeError, match="another thread has called this"):
            layer(x)
        refused = other_thread(lambda: layer(x))  # its state may be the one that was overwritten
        assert isinstance(refused, RuntimeError) and "snn.reset(net)" in str(refused)
    finally:
        del vars(layer)[name]
    snn.reset(layer)
    layer(x)


def test_a_run_is_handed_from_thread_to_thread() -> None:
    net, x = Net(1), torch.rand(6, 2, 8)
    with torch.no_grad():
        expected = torch.stack([net(step) for step in x])
        snn.reset(net)
        found = [other_thread(lambda step=step: net(step)) for step in x]  # each ends after a step
        assert torch.equal(torch.stack(found), expected)
        snn.reset(net)
        found = [net(x[0]), other_thread(lambda: net(x[1]))]
        snn.detach(net)  # back to a thread that had it before
        found += [net(x[2]), *other_thread(lambda: (snn.detach(net), net(x[3]), net(x[4]))[1:])]
        snn.detach(net)
        assert torch.equal(torch.stack([*found, net(x[5])]), expected)


def test_states_that_are_passed_belong_to_no_thread() -> None:
    lif, x, rest = snn.Leaky(0.9), torch.rand(2, 8), torch.zeros(2, 8)
    expected = lif(x, rest)
    for _ in range(2):
        assert torch.equal(other_thread(lambda: lif(x, rest))[1], expected[1])
        assert torch.equal(lif(x, rest)[1], expected[1])


def test_a_copy_of_a_network_is_free_of_its_threads() -> None:
    net, x = Net(1), torch.rand(2, 8)
    other_thread(lambda: net(x))
    net(x)
    copied = copy.deepcopy(net)
    assert torch.equal(other_thread(lambda: copied(x)), net(x))
    assert torch.is_tensor(pickle.loads(pickle.dumps(net.lif))(x))
