"""What a trace of the user's Python got wrong about side effects and random numbers.

Every test runs the same step by `snn.run` and in an explicit loop under `snn.layerwise`; right is
what the plain loop gives.
"""

import collections
import itertools
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from ways import Cell, as_the_loop, built, every_way, loop, runs

import spikeloom as snn

X = torch.rand(8, 24, 3, generator=torch.Generator().manual_seed(0)) * 2


# -- side effects ------------------------------------------


@every_way
def test_a_schedule_in_a_buffer_was_frozen_at_its_first_step(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("t", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.t += 1
            return self.lif(self.fc(x if self.t <= 3 else x * 0))

    net, *_ = as_the_loop(way, Net, X)
    assert net.t == 8


@every_way
def test_a_given_up_trace_had_already_counted_one_step(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("n", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.n += 1
            return self.lif(self.fc(x)) if x.sum() < 1e9 else x

    net, *_ = as_the_loop(way, Net, X)
    assert net.n == 8


class Counted(Cell):
    """Something that is not a tensor counts the steps, and each step reads it."""

    def __init__(self, place: Any, move: Any) -> None:
        super().__init__()
        self.place, self.move = place, move

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.fc(x * self.move(self.place)))


def _in_object(place: Any) -> int:
    place.t += 1
    return place.t


def _in_nested_dict(place: Any) -> int:
    place["state"]["t"][0] += 1
    return place["state"]["t"][0]


def _in_array(place: Any) -> float:
    place[0] += 1
    return float(place[0])


def _in_deque(place: Any) -> int:
    place.append(1)
    return len(place)


COUNTERS = {
    "an iterator": (itertools.count, next),
    "a plain object": (lambda: SimpleNamespace(t=0), _in_object),
    "a nested dict": (lambda: {"state": {"t": [0]}}, _in_nested_dict),
    "an array": (lambda: np.zeros(1), _in_array),
    "a deque": (lambda: collections.deque(maxlen=100), _in_deque),
    "a list": (list, _in_deque),
    "a numpy generator": (lambda: np.random.default_rng(0), lambda rng: rng.normal()),
    "a python generator": (lambda: random.Random(0), lambda rng: rng.random()),
    "a torch generator": (
        lambda: torch.Generator().manual_seed(0),
        lambda rng: torch.rand((), generator=rng).double(),
    ),
    "torch's own generator": (lambda: None, lambda _: torch.rand(24, 1).double()),
}


@every_way
@pytest.mark.parametrize(("start", "move"), COUNTERS.values(), ids=COUNTERS)
def test_one_value_was_taken_for_all_steps_from(way: str, start: Any, move: Any) -> None:
    as_the_loop(way, lambda: Counted(start(), move), X)


@every_way
def test_a_list_outside_of_the_network_received_a_stand_in(way: str) -> None:
    outside: list[Tensor] = []

    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            outside.append(self.fc(x))
            return self.lif(outside[-1])

    as_the_loop(way, Net, X)
    plain, recorded = outside[:8], outside[8:]
    assert [type(v) for v in recorded] == [Tensor] * 8
    torch.testing.assert_close(torch.stack(recorded), torch.stack(plain))


@every_way
def test_records_in_a_dict_held_one_stand_in(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__(output=True)
            self.rng, self.rec = np.random.default_rng(0), {"spk": []}

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            spk, mem = self.lif(self.fc(x) + self.rng.normal())
            self.rec["spk"].append(spk)
            return spk, mem

    net, _, (spk, _mem) = as_the_loop(way, Net, X)
    assert [type(v) for v in net.rec["spk"]] == [Tensor] * 8
    torch.testing.assert_close(torch.stack(net.rec["spk"]), spk)


@every_way
def test_a_trace_variable_was_decayed_once_more(way: str) -> None:
    class Net(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("trace", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            h = self.fc(x)
            self.trace.mul_(0.5).add_(h.mean().detach())
            return self.lif(h + self.trace)

    as_the_loop(way, Net, X)


class Growing(Cell):
    """Multiplies by a buffer that it then changes in place, so that backward() would fail, but
    there is none."""

    def __init__(self, copied: bool) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.copied = copied

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.lif(self.fc(x) * (self.count.clone() if self.copied else self.count))


@every_way
def test_a_buffer_that_changes_in_place_was_taken_for_a_used_graph(way: str) -> None:
    net, x = built(lambda: Growing(False)), X.double()
    torch.testing.assert_close(runs(way, net, x), loop(built(lambda: Growing(True)), x))
    assert net.count == len(X)


@every_way
def test_a_buffer_that_is_read_and_changed_kept_its_first_value(way: str) -> None:
    net, *_ = as_the_loop(way, lambda: Growing(True), X)
    assert net.count == len(X)


def test_recorded_values_by_name_were_exchanged_at_the_second_step() -> None:
    def forward(x: Tensor) -> Tensor:
        return torch.stack([torch.lerp(v, weight=x[0] * 3, end=v + 1) for v in x])

    x = torch.rand(4, 5)
    assert torch.equal(snn.layerwise(forward)(x), forward(x))


def test_a_normalised_shape_that_changes_was_that_of_the_step_before() -> None:
    def forward(x: Tensor) -> list[Tensor]:
        shapes = [(4, 5), (4, 5), (5,), (4, 5)]
        return [F.layer_norm(v * 2, shape) for v, shape in zip(x, shapes, strict=True)]

    x = torch.rand(4, 4, 5)
    for one, other in zip(snn.layerwise(forward)(x), forward(x), strict=True):
        torch.testing.assert_close(one, other)
