"""What a trace of the user's Python got wrong: side effects, random numbers, modes, branches, overrides and hooks.

Every test runs the same step by `snn.run` and in an explicit loop under `snn.layerwise`; right is what the plain loop
gives.
"""

import collections
import itertools
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from engine import needs_engine
from torch import Tensor, nn
from training import SETTINGS, split
from ways import Cell, as_the_loop, built, every_way, loop, runs

import spikeloom as snn

X = torch.rand(8, 2, 3, generator=torch.Generator().manual_seed(0)) * 2


# -- side effects -------------------------------------------------------------------------------------------


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
    "torch's own generator": (lambda: None, lambda _: torch.rand(4, 1)[:2].double()),
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
    """Multiplies by a buffer that it then changes in place, so that backward() would fail, but there is none."""

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


# -- modes ----------------------------------------------------------------------------------------------------


class Frozen(Cell):
    """An encoder under a mode, and a head that learns."""

    def __init__(self, mode: Any) -> None:
        super().__init__()
        self.enc, self.mode = nn.Linear(3, 3), mode

    def forward(self, x: Tensor) -> Tensor:
        with self.mode():
            h = self.enc(x)
        return self.lif(self.fc(h.clone()))


NO_GRADIENT = {
    "no_grad": torch.no_grad,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "inference_mode": torch.inference_mode,
}


@every_way
@pytest.mark.parametrize("mode", NO_GRADIENT.values(), ids=NO_GRADIENT)
def test_a_frozen_encoder_was_trained_under(way: str, mode: Any) -> None:
    net, *_ = as_the_loop(way, lambda: Frozen(mode), X)
    assert net.enc.weight.grad is None and net.fc.weight.grad is not None


@every_way
def test_a_decorated_helper_lost_its_no_grad(way: str) -> None:
    class Net(Cell):
        @torch.no_grad()
        def encode(self, x: Tensor) -> Tensor:
            return self.fc(x)

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(self.encode(x) + x.sum(1, keepdim=True))

    net, *_ = as_the_loop(way, Net, X)
    assert net.fc.weight.grad is None


@every_way
def test_autocast_inside_forward_was_computed_in_full_precision(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                half = nn.functional.linear(x.float(), self.fc.weight.float())
            self.dtype = half.dtype
            return self.lif(half.double() * 0.5)

    net, *_ = as_the_loop(way, Net, X, tolerance=8 * torch.finfo(torch.bfloat16).eps)  # one rounding a step
    assert net.dtype == torch.bfloat16


@every_way
def test_autocast_switched_off_inside_was_still_on(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
                h = nn.functional.linear(x.float(), self.fc.weight.float())
            self.dtype = h.dtype
            return self.lif(h.double())

    net, *_ = as_the_loop(way, Net, X, tolerance=16 * torch.finfo(torch.float32).eps)
    assert net.dtype == torch.float32


@needs_engine
def test_fit_trained_what_forward_freezes() -> None:
    class Net(Frozen):
        def __init__(self) -> None:
            super().__init__(torch.no_grad)
            self.enc, self.fc = nn.Linear(6, 3), nn.Linear(3, 3)

    torch.manual_seed(0)
    net = Net()
    before = net.enc.weight.clone(), net.fc.weight.clone()
    snn.fit(net, split(), **SETTINGS)
    assert torch.equal(net.enc.weight, before[0])
    assert not torch.equal(net.fc.weight, before[1])


TYPE_CHECKS = {"isinstance": lambda x: isinstance(x, Tensor), "is_tensor": torch.is_tensor}

# -- branches -------------------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize(
    "is_tensor", [lambda x: isinstance(x, Tensor), torch.is_tensor], ids=["isinstance", "is_tensor"]
)
def test_a_branch_on_the_type_of_the_input_was_not_taken(way: str, is_tensor: Any) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            if is_tensor(x):
                x = x / 10
            return self.lif(self.fc(x))

    as_the_loop(way, Net, X * 5)


@every_way
@pytest.mark.parametrize("output", [False, True])
def test_a_branch_on_what_a_neuron_returns_was_wrong(way: str, output: bool) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            out = self.lif(self.fc(x))
            return out[0] if isinstance(out, tuple) else out * 2

    *_, out = as_the_loop(way, lambda: Net(output=output), X)
    assert type(out) is Tensor


@every_way
def test_a_swallowed_error_sent_the_step_another_way(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            try:
                scale = float(x.detach().max())
            except Exception:
                scale = 0.0
            return self.lif(self.fc(x) * scale)

    as_the_loop(way, Net, X)


@every_way
def test_a_caught_shape_error_is_caught_in_the_step_where_it_happens(way: str) -> None:
    class Net(Cell):
        step = 0

        def forward(self, x: Tensor) -> Tensor:
            self.step += 1
            try:
                h = self.fc(x[:, :2] if self.step == 3 else x)
            except RuntimeError:
                h = self.fc(x * 0)
            return self.lif(h)

    as_the_loop(way, Net, X)


@every_way
def test_the_state_before_a_call_was_the_one_of_the_trace(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            previous = self.lif.mem if self.lif.mem.numel() else 0.0
            return self.lif(self.fc(x) + 0.3 * previous)

    as_the_loop(way, Net, X)


@every_way
def test_a_decision_on_the_state_after_a_call_was_made_once(way: str) -> None:
    class Net(Cell):
        def forward(self, x: Tensor) -> Tensor:
            spk = self.lif(self.fc(x))
            return spk * 2 if self.lif.mem.mean() > 0.2 else spk

    as_the_loop(way, Net, X)
