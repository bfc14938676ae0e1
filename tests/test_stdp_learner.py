"""STDP under snnTorch's names: its numbers, sums over pairs of spikes, and what it does wrong done
right."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from recorded.replay import load, replay_call
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.functional import stdp_learner as face
from spikeloom.learning.hebbian import correlate, decay, outer
from spikeloom.learning.stdp import PairRule

INDEX, ARRAYS = load("surface")
CASES = [case for case in INDEX["cases"] if "stdp" in case["call"]]
F64 = {"dtype": torch.float64}


def spikes(*shape: int, seed: int = 0) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_calls_give_the_recorded_numbers(case: dict) -> None:
    outputs, _ = replay_call(snn, case, ARRAYS)
    for output, key in zip(outputs, case["expect"], strict=True):
        torch.testing.assert_close(output, torch.from_numpy(ARRAYS[key]), rtol=1e-5, atol=1e-5)


def test_a_change_is_the_sum_over_all_pairs_of_spikes() -> None:
    """At a spike of the output, d^(t - s) for each of the input at s <= t; at one of the input the
    mirror image."""
    pre, post, steps = spikes(9, 2, 3), spikes(9, 2, 4, seed=1), range(9)
    fc = nn.Linear(3, 4, bias=False, **F64)
    step, traces, total = face.stdp_linear_single_step, (None, None), 0
    for t in steps:
        *traces, change = step(
            fc, pre[t], post[t], *traces, 2.0, 4.0, lambda w: 1 - w, torch.square
        )
        total = total + change
    w, expected = fc.weight.detach(), torch.zeros(4, 3, **F64)
    for t in steps:
        for before in range(t + 1):
            for b in range(2):
                expected += w**2 * 0.5 ** (t - before) * torch.outer(post[t, b], pre[before, b])
                expected -= (1 - w) * 0.75 ** (t - before) * torch.outer(post[before, b], pre[t, b])
    torch.testing.assert_close(total, expected)


SYNAPSES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(3, 4, **F64), (3,)),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1, **F64), (2, 7)),
    "conv2d": (lambda: nn.Conv2d(2, 4, 3, padding=(1, 2), stride=(2, 1), **F64), (2, 5, 6)),
    "dilated": (lambda: nn.Conv2d(2, 4, 3, dilation=2, **F64), (2, 7, 8)),
    "groups": (lambda: nn.Conv2d(4, 4, 3, groups=2, **F64), (4, 5, 6)),
    "same": (lambda: nn.Conv2d(2, 4, 3, padding="same", **F64), (2, 5, 6)),
    "circular": (lambda: nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular", **F64), (2, 6)),
}
every_synapse = pytest.mark.parametrize(("make", "shape"), SYNAPSES.values(), ids=SYNAPSES)


@every_synapse
def test_a_correlation_is_what_a_change_of_the_weight_does_to_the_output(
    make: Any, shape: Any
) -> None:
    synapse, pre = make(), spikes(3, *shape)
    post = torch.randn(synapse(pre).shape, **F64)
    found, direction = correlate(synapse, pre, post), torch.randn_like(synapse.weight)
    with torch.no_grad():
        before = (synapse(pre) * post).sum()
        synapse.weight += direction
        change = (synapse(pre) * post).sum() - before
    torch.testing.assert_close((found * direction).sum(), change)
    assert found.shape == synapse.weight.shape and not found.requires_grad


@every_synapse
def test_convolutions_with_dilation_groups_and_any_padding_learn(make: Any, shape: Any) -> None:
    synapse, pre = make().requires_grad_(False), spikes(5, 3, *shape)
    step = getattr(face, f"stdp_{type(synapse).__name__.lower()}_single_step")
    post = [spikes(*synapse(x).shape, seed=2) for x in pre]
    rule, traces, own = PairRule.of_times(2.0, 3.0), (None, None), None
    for x, y in zip(pre, post, strict=True):
        *traces, change = step(synapse, x, y, *traces, 2.0, 3.0)
        own, wanted = rule.step(synapse.weight, lambda a, b: correlate(synapse, a, b), x, y, own)
        torch.testing.assert_close(change, wanted)


def test_the_eligibility_of_a_sample_summed_over_the_batch_is_the_correlation() -> None:
    fc, pre, post = nn.Linear(3, 4, **F64), spikes(5, 3), spikes(5, 4, seed=1)
    torch.testing.assert_close(outer(pre, post).sum(0), correlate(fc, pre, post))


def test_mstdpet_no_longer_fails_on_batches() -> None:
    fc, pre, post = nn.Linear(3, 4, **F64), spikes(5, 3), spikes(5, 4, seed=1)
    options = (2.0, 3.0, 5.0, torch.square, torch.sqrt)
    fc.weight.data.abs_()
    trace_pre, trace_post, batch = face.mstdpet_linear_single_step(
        fc, pre, post, None, None, *options
    )
    assert (trace_pre.shape, trace_post.shape, batch.shape) == ((5, 3), (5, 4), (5, 4, 3))
    for sample in range(5):
        *_, single = face.mstdpet_linear_single_step(
            fc, pre[sample], post[sample], None, None, *options
        )
        torch.testing.assert_close(batch[sample], single)


def learner(**options: Any) -> tuple[face.STDPLearner, nn.Linear, snn.Leaky]:
    torch.manual_seed(0)
    fc = nn.Linear(3, 4, bias=False, **F64)
    lif = snn.Leaky(0.8, **{"init_hidden": True, **options}).double()
    fc.weight.data.abs_()
    return face.STDPLearner(fc, lif, 2.0, 3.0), fc, lif


def present(fc: nn.Module, lif: nn.Module, seed: int = 0, steps: int = 6, batch: int = 2) -> None:
    for x in spikes(steps, batch, 3, seed=seed):
        lif(fc(x))


@pytest.mark.parametrize(
    "options", [{"output": True}, {"init_hidden": False}], ids=["output", "explicit state"]
)
def test_a_neuron_that_returns_a_tuple_no_longer_fails(options: dict) -> None:
    plain, other = learner(), learner(**options)
    for _, fc, lif in (plain, other):
        present(fc, lif)
    change = plain[0].step(on_grad=False)
    assert change.abs().max() > 0
    torch.testing.assert_close(other[0].step(on_grad=False), change)


def test_reset_no_longer_fails_and_forgets_traces_and_records() -> None:
    stdp, fc, lif = learner()
    present(fc, lif)
    first = stdp.step(on_grad=False)
    present(fc, lif, seed=1)  # recorded, but not used
    stdp.reset()
    snn.reset(lif)
    present(fc, lif)
    torch.testing.assert_close(stdp.step(on_grad=False), first)


def test_traces_go_on_from_one_step_to_the_next() -> None:
    whole, parts = learner(), learner()
    x = spikes(6, 2, 3)
    for stdp, fc, lif in (whole, parts):
        changes = []
        for t, x_t in enumerate(x):
            lif(fc(x_t))
            if stdp is parts[0] and t % 2:
                changes.append(stdp.step(on_grad=False))
    torch.testing.assert_close(sum(changes), whole[0].step(on_grad=False))


def test_an_optimiser_adds_the_change_that_step_leaves_in_grad() -> None:
    (stdp, fc, lif), (twin, twin_fc, twin_lif) = learner(), learner()
    present(fc, lif)
    present(twin_fc, twin_lif)
    before, change = fc.weight.detach().clone(), twin.step(on_grad=False, scale=0.5)
    fc.weight.grad = torch.ones_like(fc.weight)
    assert stdp.step(scale=0.5) is None
    torch.testing.assert_close(fc.weight.grad, 1 - change)
    fc.weight.grad -= 1
    torch.optim.SGD(fc.parameters(), lr=0.1).step()
    torch.testing.assert_close(fc.weight.detach(), before + 0.1 * change)


def test_while_disabled_nothing_is_recorded() -> None:
    stdp, fc, lif = learner()
    present(fc, lif)
    stdp.disable()
    present(fc, lif, seed=1)
    stdp.enable()
    twin, twin_fc, twin_lif = learner()
    present(twin_fc, twin_lif)
    torch.testing.assert_close(stdp.step(on_grad=False), twin.step(on_grad=False))


def test_a_learner_watches_a_run_over_time_and_keeps_no_graph() -> None:
    stdp, fc, lif = learner()
    snn.run(nn.Sequential(fc, lif), spikes(6, 2, 3))
    assert not any(
        r.requires_grad for r in (*stdp.in_spike_monitor.records, *stdp.out_spike_monitor.records)
    )
    twin, twin_fc, twin_lif = learner()
    present(twin_fc, twin_lif)
    torch.testing.assert_close(stdp.step(on_grad=False), twin.step(on_grad=False))


def test_the_correlation_calls_no_monitor() -> None:
    fc, calls = nn.Linear(3, 4, **F64), []
    fc.register_forward_hook(lambda *_: calls.append(1))
    correlate(fc, spikes(2, 3), spikes(2, 4))
    assert not calls


@pytest.mark.parametrize(("exact", "left"), [(False, 0.75), (True, 0.7788007830714049)])
def test_decay_is_the_euler_step_or_the_exponential(exact: bool, left: float) -> None:
    assert decay("tau", 4.0, exact=exact) == pytest.approx(left)


def other_batch() -> None:
    stdp, fc, lif = learner()
    present(fc, lif)
    stdp.step()
    snn.reset(lif)
    present(fc, lif, batch=5)
    stdp.step()


def half_called() -> None:
    stdp, fc, lif = learner()
    present(fc, lif)
    fc(spikes(2, 3))
    stdp.step()


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "another layer": (
        lambda: face.STDPLearner(nn.ReLU(), snn.Leaky(0.9), 2.0, 2.0),
        TypeError,
        r"synapse must be nn\.Linear, nn\.Conv1d or nn\.Conv2d, got ReLU",
    ),
    "a time below a step": (
        lambda: face.STDPLearner(nn.Linear(2, 2), snn.Leaky(0.9), 0.5, 2.0),
        ValueError,
        r"tau_pre must be in \[1, inf\), got 0\.5; the trace would change its sign",
    ),
    "no time": (
        lambda: face.mstdp_linear_single_step(
            nn.Linear(2, 2), torch.ones(1, 2), torch.ones(1, 2), None, None, 2.0, 0.0
        ),
        ValueError,
        r"tau_post must be in \(0, inf\), got 0",
    ),
    "nothing recorded": (
        lambda: learner()[0].step(),
        RuntimeError,
        "as many calls .* got 0 and 0; run the network",
    ),
    "called unequally": (
        half_called,
        RuntimeError,
        r"got 7 and 6; run the network before step\(\), or call reset\(\)",
    ),
    "another batch size": (
        other_batch,
        ValueError,
        r"a trace of shape \(2, 3\) cannot go on with .* \(5, 3\); reset",
    ),
    "another output": (
        lambda: correlate(nn.Linear(3, 4), torch.ones(2, 3), torch.ones(2, 5)),
        ValueError,
        r"shape of the synapse's output, \(2, 4\), got \(2, 5\); record the neuron that this "
        r"synapse feeds",
    ),
    "no weight": (
        lambda: correlate(nn.ReLU(), torch.ones(2, 3), torch.ones(2, 3)),
        TypeError,
        r"a synapse is a module with a weight, got ReLU; write e\.g\. net\.fc1",
    ),
}


@pytest.mark.parametrize(("act", "error", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_came_and_what_to_write(
    act: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        act()
