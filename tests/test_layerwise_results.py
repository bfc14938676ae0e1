"""What a recorded call leaves behind: results, records, states and errors as the loop leaves them;
threads."""

import copy
import pickle
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from own_loops import STEPS, Net, X, explicit, quiet
from torch import Tensor, nn

import spikeloom as snn


class Pair(NamedTuple):
    spk: Tensor
    mems: list[Tensor]


@dataclass
class Own:
    spk: Tensor


def test_results_and_records_in_any_container_are_plain_tensors() -> None:
    net, kept = quiet(), SimpleNamespace(last=None, each=[], by_step={}, own=None)

    @snn.layerwise
    def recording(x: Tensor) -> Any:
        net.lif.reset_mem()
        mems = []
        for t, x_t in enumerate(x):
            spk = net.lif(net.fc(x_t))
            kept.last, kept.by_step[t] = spk, net.lif.mem
            kept.each.append((spk, net.lif.mem))
            mems.append(net.lif.mem)
        kept.own = Own(spk)
        return {"pair": Pair(spk, mems), "own": Own(mems[0] * 2), "sum": sum(mems)}

    result = recording(X)
    found = [
        result["pair"].spk,
        *result["pair"].mems,
        result["own"].spk,
        result["sum"],
        kept.last,
        kept.own.spk,
    ]
    found += [*kept.by_step.values(), *(v for pair in kept.each for v in pair), net.lif.mem]
    assert {type(v) for v in found} == {Tensor}
    assert type(result["pair"]) is Pair
    assert torch.equal(torch.stack(result["pair"].mems), torch.stack(list(kept.by_step.values())))


def test_results_own_their_memory() -> None:
    def listed(net: Any, x: Tensor) -> list[Tensor]:
        return [net.fc(x_t) for x_t in x]

    net = quiet()
    with torch.no_grad():
        result = snn.layerwise(listed)(net, X)
        result[0].fill_(7)
    expected = [net.fc(x_t) for x_t in X]
    torch.testing.assert_close(torch.stack(result[1:]), torch.stack(expected[1:]))
    assert all(len(pickle.dumps(v)) < 2 * len(pickle.dumps(expected[1].detach())) for v in result)


def test_an_input_that_is_returned_is_the_input() -> None:
    returned, same = snn.layerwise(lambda x: (x, [x_t * 2 for x_t in x]))(X)
    assert returned is X and len(same) == STEPS


def test_state_goes_on_from_call_to_call() -> None:
    def some_steps(net: Any, x: Tensor) -> Tensor:
        return torch.stack([net.lif(net.fc(x_t)) for x_t in x])

    net, twin, recorded = quiet(), quiet(), snn.layerwise(some_steps)
    with torch.no_grad():
        parts = torch.cat([recorded(net, X[:2]), some_steps(net, X[2:3]), recorded(net, X[3:])])
        torch.testing.assert_close(parts, some_steps(twin, X))
    torch.testing.assert_close(net.lif.mem, twin.lif.mem)


def test_a_changed_weight_is_seen_by_the_next_call() -> None:
    net, recorded = quiet(), snn.layerwise(explicit)
    recorded(net, X)
    net.fc = nn.Linear(3, 4)
    torch.testing.assert_close(recorded(net, X)[1], explicit(net, X)[1])
    net.fc.weight.data.mul_(2)
    torch.testing.assert_close(recorded(net, X)[1], explicit(net, X)[1])


# -- errors, threads ------------------------------------------


class Failing(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.lif.reset_mem()
        for t, x_t in enumerate(x):
            self.count += 1
            self.kept = self.lif(self.fc(x_t))
            if t == 3:
                raise KeyError("of the user")
        return x


def test_an_error_of_the_user_leaves_what_the_loop_leaves() -> None:
    torch.manual_seed(1)
    net = Failing().eval()
    twin = copy.deepcopy(net)
    for module in (twin, snn.layerwise(net)):
        with pytest.raises(KeyError, match="of the user"):
            module(X)
    assert net.count == twin.count == 4
    assert type(net.kept) is Tensor and type(net.lif.mem) is Tensor
    torch.testing.assert_close(net.kept, twin.kept)
    torch.testing.assert_close(net.lif.mem, twin.lif.mem)
    assert snn.layerwise(quiet())(X).shape == (STEPS, 24, 4)  # the next call is not disturbed


def test_a_shape_error_is_raised_in_the_line_that_makes_it() -> None:
    def wrong(net: Any, x: Tensor) -> Tensor:
        return torch.stack([net.lif(net.fc(x_t[:, :2])) for x_t in x])

    with pytest.raises((RuntimeError, ValueError)) as caught:
        snn.layerwise(wrong)(quiet(), X)
    assert any(entry.name == "wrong" for entry in caught.traceback)


def test_two_threads_record_two_networks() -> None:
    nets = [quiet(), Net().eval()]
    expected = [net(X).detach() for net in nets]
    wrong: list[int] = []
    barrier = threading.Barrier(2)

    def work(which: int) -> None:
        recorded = snn.layerwise(nets[which])
        barrier.wait()
        for _ in range(20):
            if not torch.allclose(recorded(X), expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_another_thread_is_not_recorded() -> None:
    found = []

    @snn.layerwise
    def with_a_thread(net: Any, x: Tensor) -> Tensor:
        other = threading.Thread(target=lambda: found.append(type(x * 2)))
        other.start()
        other.join()
        return explicit(net, x)[0]

    with_a_thread(quiet(), X)
    assert found == [Tensor]


def test_a_run_that_failed_left_some_neurons_further_than_others() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (
                snn.Leaky(0.9, init_hidden=True),
                snn.Leaky(0.9, init_hidden=True),
            )
            self.broken = False

        def forward(self, x: Tensor) -> Tensor:
            spk = self.first(x)
            if self.broken:
                raise OSError("the disk is gone")
            return self.second(spk)

    net, x = Failing(), torch.rand(4, 2, 30) * 2
    snn.run(net, x)
    before = net.first.mem.clone(), net.second.mem.clone()
    net.broken = True
    with pytest.raises(OSError, match="the disk is gone"):
        snn.run(net, x, reset=False)
    assert torch.equal(net.first.mem, before[0]) and torch.equal(net.second.mem, before[1])


def test_a_write_into_a_row_of_a_constant_result_stayed_for_the_next_steps() -> None:
    def written(x: Tensor) -> Tensor:
        out, kept = [], []
        for _ in range(4):
            h = x * 1.0
            kept.append(h)
            row = h[0]
            row += 1
            out.append(h.sum())
        return torch.stack([*out, *(h.sum() for h in kept)])

    x = torch.rand(9, 10, dtype=torch.float64)
    torch.testing.assert_close(snn.layerwise(written)(x), written(x))


class Keeping(Net):
    """Keeps every third spike, marks each one, and looks at the one of two steps before."""

    def forward(self, x: Tensor) -> Tensor:
        self.lif.reset_mem()
        kept, marked, out = [], [], []
        before = old = None
        for step in range(4 * len(x)):
            cur = self.fc(x[step % len(x)])
            double: Any = cur * 2
            marked.append(hasattr(double, "mark"))
            double.mark = step
            spk = self.lif(double)
            if step % 3 == 0:
                kept.append(cur)
            if old is not None:
                spk = spk + old
            old, before = before, cur
            out.append(spk)
        self.seen = marked
        return torch.cat([torch.stack(out), torch.stack(kept)])


def test_a_value_that_the_loop_kept_or_marked_was_used_again_for_a_later_step() -> None:
    torch.manual_seed(1)
    net = Keeping().eval()
    expected = net(X)
    recorded = snn.layerwise(net)
    assert torch.allclose(recorded(X), expected, atol=1e-6)
    assert not any(net.seen)
    assert recorded.plan is not None and recorded.plan.layerwise


def test_a_weak_reference_to_a_lost_value_found_the_value_of_a_later_step() -> None:
    net, seen = quiet(), []

    @snn.layerwise
    def lost(x: Tensor) -> Tensor:
        total = torch.zeros(())
        references = []
        for x_t in x:
            cur = net.fc(x_t) * 2
            references.append((weakref.ref(cur), total))
            total = total + cur.mean()
        seen.extend(reference() for reference, _ in references[:-1])
        return total

    lost(X)
    alive = [value for value in seen if value is not None]
    assert len({id(value) for value in alive}) == len(alive)


class Reading(nn.Module):
    """Keeps values that later operations read, and marks one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(3, 20), snn.Leaky(0.9)
        self.fc2, self.lif2 = nn.Linear(20, 2), snn.Leaky(0.9)
        self.kept: list[Tensor] = []
        self.references: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        self.kept, self.references, out = [], [], []
        for x_t in x:
            cur = self.fc1(x_t)
            spk, mem1 = self.lif1(cur + 1, mem1)
            spk, mem2 = self.lif2(self.fc2(spk), mem2)
            cur.tag = len(self.kept)  # pyright: ignore[reportAttributeAccessIssue]
            self.kept.append(cur)
            self.references.append(weakref.ref(cur))
            out.append(spk)
        return torch.stack(out)


PROFILERS = {
    "shapes": lambda: torch.profiler.profile(record_shapes=True),
    "memory": lambda: torch.profiler.profile(profile_memory=True),
    "stack": lambda: torch.profiler.profile(with_stack=True),
    "autograd": lambda: torch.autograd.profiler.profile(record_shapes=True),
    "none": nullcontext,
}


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("profiler", PROFILERS.values(), ids=PROFILERS)
def test_a_kept_value_that_a_profiler_or_the_user_refers_to_weakly_was_refused(
    profiler: Any, steps: int
) -> None:
    def trained(wrap: Any) -> tuple[Reading, Tensor, Any]:
        torch.manual_seed(0)
        net = Reading()
        with profiler():
            out = wrap(net)(X[:steps])
            (out.sum() + sum(value.square().sum() for value in net.kept)).backward()
        return net, out, net.fc1.weight.grad

    plain, out, gradient = trained(lambda net: net)
    recorded, found, derived = trained(snn.layerwise)
    assert torch.equal(found, out) and torch.allclose(derived, gradient, atol=1e-5)
    for step, (value, reference, wanted) in enumerate(
        zip(recorded.kept, recorded.references, plain.kept, strict=True)
    ):
        assert type(value) is Tensor and torch.allclose(value, wanted, atol=1e-6)
        assert reference() is value and vars(value) == {"tag": step}
        with torch.no_grad():
            value.zero_()
        assert not value.any() and torch.equal(found, out)


@pytest.mark.parametrize("profiler", [PROFILERS["shapes"], nullcontext], ids=["shapes", "none"])
def test_a_hook_inside_the_loop_saw_no_gradient_under_a_profiler(profiler: Any) -> None:
    def seen(wrap: Any) -> Tensor:
        torch.manual_seed(0)
        net, gradients = Reading(), []

        def loop(x: Tensor) -> Tensor:
            cur = net.fc1(x[0])
            cur.register_hook(gradients.append)
            return net.fc2(cur).relu() + cur.sum()

        with profiler():
            wrap(loop)(X).sum().backward()
        return gradients[0]

    assert torch.allclose(seen(snn.layerwise), seen(lambda loop: loop), atol=1e-6)


@pytest.mark.parametrize("name", ["index", "layer", "key", "number", "info", "recorder", "shared"])
def test_an_attribute_that_the_loop_set_on_a_value_made_it_the_value_of_another_step(
    name: str,
) -> None:
    net = quiet()

    def marking(x: Tensor) -> tuple[Tensor, list[Tensor]]:
        out, kept = [], []
        for x_t in x:
            cur = net.fc(x_t)
            setattr(cur, name, len(kept))
            kept.append(cur)
            out.append(cur * 2)
        return torch.stack(out), kept

    found, kept = snn.layerwise(marking)(X)
    wanted, originals = marking(X)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert [vars(value) for value in kept] == [vars(value) for value in originals]


@pytest.mark.parametrize("written", [None, 2, 5])
def test_a_lost_step_of_the_input_was_used_again_while_the_loop_had_a_view_of_it(
    written: int | None,
) -> None:
    net = quiet()

    def views(x: Tensor) -> tuple[Tensor, list[Tensor]]:
        out, kept = [], []
        for t in range(len(x)):
            now = x[t]
            if t % 3 == 0:
                kept.append(now.reshape(-1))
            if t % 3 == 1:
                kept.append(now)
            out.append(net.fc(now) + x[t // 2].sum())
            if t == written:
                x.mul_(2)
        return torch.stack(out), kept

    plain, recorded = torch.cat([X, X]), torch.cat([X, X])
    wanted, originals = views(plain)
    found, kept = snn.layerwise(views)(recorded)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert all(map(torch.equal, kept, originals))
    plain.neg_()
    recorded.neg_()
    assert all(map(torch.equal, kept, originals))
    assert kept[0].untyped_storage().data_ptr() == recorded.untyped_storage().data_ptr()


@pytest.mark.parametrize("kind", ["ResonateFire", "AdEx", "GLIF", "Leaky"])
def test_a_state_of_the_first_step_claimed_a_gradient_that_it_has_only_later(kind: str) -> None:
    cls = getattr(snn, kind)
    neuron = cls(**cls.example, init_hidden=True, output=True)
    fc = nn.Linear(3, *cls.example_shape)

    def flags(x: Tensor) -> list[list[bool]]:
        neuron.reset_hidden()
        return [[value.requires_grad for value in neuron(fc(x_t))] for x_t in x]

    assert snn.layerwise(flags)(X) == flags(X)


def test_states_without_a_gradient_in_the_first_step_lose_it_in_a_run() -> None:
    def gradient(way: Any) -> Tensor:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 5), snn.AdEx(init_hidden=True, output=True))
        way(net).square().sum().backward()
        return net[0].weight.grad

    run = gradient(lambda net: snn.run(net, 4 * X)[2])
    loop = gradient(lambda net: torch.stack([net(4 * x)[2] for x in X]))
    assert run.any() and torch.allclose(run, loop, atol=1e-5)


WRITES: dict[str, Callable[[Tensor, int], Any]] = {
    "an item": lambda w, t: w.__setitem__(0, float(t)),
    "an item of the data": lambda w, t: w.data.__setitem__(0, float(t)),
    "the data": lambda w, t: setattr(w, "data", torch.full((3,), float(t))),
    "an array": lambda w, t: w.numpy().__setitem__(0, float(t)),
    "an array of NumPy's own function": lambda w, t: np.asarray(w).__setitem__(0, float(t)),
    "an operator": lambda w, t: w.__iadd__(1),
    "a list of tensors": lambda w, t: torch._foreach_add_([w], 1.0),
    "a storage": lambda w, t: w.untyped_storage().fill_(t),
    "a named output": lambda w, t: torch.add(w, 1, out=w),
    "an in-place function": lambda w, t: nn.functional.threshold(w, 2.0, float(t), inplace=True),
    "an in-place method": lambda w, t: w.mul_(2),
}


@pytest.mark.parametrize("way", WRITES)
@torch.no_grad()
def test_a_recorded_read_saw_what_was_written_after_it(way: str) -> None:
    torch.manual_seed(0)
    fc, lif = nn.Linear(3, 3), snn.Leaky(0.9, init_hidden=True, threshold=0.3, output=True)
    x = torch.rand(5, 2, 3)

    def loop(x: Tensor) -> Tensor:
        snn.reset(lif)
        factor, membranes = torch.ones(3), []
        for t, x_t in enumerate(x):
            membranes.append(lif(fc(x_t) * factor)[1])
            WRITES[way](factor, t)
        return torch.stack(membranes)

    torch.testing.assert_close(snn.layerwise(loop)(x), loop(x))
