"""Rules of plasticity: against loops over spikes in NumPy, explicit sums over pairs, and values by
hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from stdp_reference import Plasticity
from torch import Tensor, nn
from torch.nn import functional as F

from spikeloom.learning import (
    MSTDP,
    MSTDPET,
    Exponential,
    Memory,
    PostPre,
    PowerLaw,
    Rule,
    Triplet,
    correlate,
)

T, B, INPUTS, OUTPUTS = 40, 3, 6, 4
RULES: dict[str, Rule] = {
    "power law": PowerLaw(alpha=0.05),
    "power law, linear": PowerLaw(alpha=0.05, mu=1.0, x_tar=0.1, tau_pre=7.0),
    "post-pre": PostPre(nu_pre=0.02, nu_post=0.05),
    "post-pre, soft bounds": PostPre(
        nu_pre=0.02, nu_post=0.05, mu_pre=1.0, mu_post=0.5, x_tar=0.2, tau_post=9.0
    ),
    "exponential": Exponential(alpha=0.05, beta=2.0),
    "triplet": Triplet(nu_pre=0.02, nu_post=0.05),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
both_pairs = pytest.mark.parametrize("pairs", ["nearest", "all"])


def spikes(*shape: int, seed: int = 0, rate: float = 0.15) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def linear(seed: int = 0) -> nn.Linear:
    fc = nn.Linear(INPUTS, OUTPUTS, bias=False)
    nn.init.uniform_(fc.weight, 0, 1, generator=torch.Generator().manual_seed(seed))
    return fc


@both_pairs
@every_rule
def test_forty_steps_of_a_rule_are_those_of_the_loop_over_spikes(rule: Rule, pairs: str) -> None:
    rule, fc = replace(rule, pairs=pairs), linear()
    pre, post = spikes(T, B, INPUTS), spikes(T, B, OUTPUTS, seed=1)
    references = [Plasticity(rule, INPUTS, OUTPUTS) for _ in range(B)]
    w, memory = fc.weight.detach().double().numpy().copy(), None
    for pre_t, post_t in zip(pre, post, strict=True):
        changes = [
            r.change(w, a.numpy(), b.numpy())
            for r, a, b in zip(references, pre_t, post_t, strict=True)
        ]
        w = np.clip(w + sum(changes), 0, 1)
        memory, change = rule.step(fc, pre_t, post_t, memory)
        rule.apply(fc, change)
    assert abs(fc.weight.detach().numpy() - w).max() < 1e-5
    assert abs(w - linear().weight.detach().numpy()).max() > 0.05, "nothing has happened"


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
@both_pairs
@every_rule
def test_a_sequence_is_the_sum_of_its_steps_and_reduced_over_samples(
    rule: Rule, pairs: str, reduction: str
) -> None:
    rule, fc = replace(rule, pairs=pairs, reduction=reduction), linear()
    pre, post = spikes(T, B, INPUTS), spikes(T, B, OUTPUTS, seed=1)
    each = []
    for b in range(B):
        reference, w = Plasticity(rule, INPUTS, OUTPUTS), fc.weight.detach().double().numpy()
        each.append(
            sum(reference.change(w, pre[t, b].numpy(), post[t, b].numpy()) for t in range(T))
        )
    stacked = np.stack(each)
    largest = np.take_along_axis(stacked, abs(stacked).argmax(0)[None], 0)[0]
    expected = {"sum": stacked.sum(0), "mean": stacked.mean(0), "max": largest}[reduction]
    memory, change = rule.sequence(fc, pre, post)
    assert abs(change.numpy() - expected).max() < 1e-5
    first, begun = rule.sequence(fc, pre[:15], post[:15])
    again, rest = rule.sequence(fc, pre[15:], post[15:], first)
    for a, b in zip(memory, again, strict=True):
        assert (a is None and b is None) or torch.allclose(a, b)
    if reduction != "max":
        torch.testing.assert_close(begun + rest, change)


@both_pairs
def test_classical_stdp_is_the_explicit_double_sum_over_pairs_of_spikes(pairs: str) -> None:
    rule, fc = PostPre(nu_pre=0.3, nu_post=0.7, tau_pre=8.0, tau_post=5.0, pairs=pairs), linear()
    pre, post = spikes(T, B, INPUTS), spikes(T, B, OUTPUTS, seed=1)
    expected = torch.zeros(OUTPUTS, INPUTS)
    for b in range(B):
        for j in range(OUTPUTS):
            for i in range(INPUTS):
                before, after = (
                    s.nonzero().flatten().tolist() for s in (pre[:, b, i], post[:, b, j])
                )
                for t in after:
                    causes = [s for s in before if s <= t]
                    for s in causes if pairs == "all" else causes[-1:]:
                        expected[j, i] += 0.7 * math.exp(-(t - s) / 8)
                for s in before:
                    effects = [t for t in after if t <= s]
                    for t in effects if pairs == "all" else effects[-1:]:
                        expected[j, i] -= 0.3 * math.exp(-(s - t) / 5)
    torch.testing.assert_close(rule.sequence(fc, pre, post)[1], expected, rtol=1e-5, atol=1e-5)


CONVOLUTIONS = {
    "1d": (nn.Conv1d(2, 3, 3, stride=2, padding=1, bias=False), (2, 9)),
    "2d": (nn.Conv2d(2, 3, 3, padding=1, bias=True), (2, 6, 5)),
    "2d, dilated, in groups": (nn.Conv2d(2, 4, 2, dilation=2, groups=2), (2, 6, 6)),
}


@pytest.mark.parametrize(("conv", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@every_rule
def test_a_convolution_sums_over_the_positions_that_share_a_weight(
    rule: Rule, conv: nn.Module, shape: tuple
) -> None:
    conv = conv.double()
    nn.init.uniform_(conv.get_parameter("weight"), 0, 1)
    pre = spikes(T, 2, *shape).double()
    size = conv(pre[0]).shape[1:]
    post = spikes(T, 2, *size, seed=1).double()
    change = rule.sequence(conv, pre, post)[1]
    whole, memory = torch.zeros_like(change), Memory()
    for pre_t, post_t in zip(pre, post, strict=True):
        memory, terms = rule.terms(pre_t, post_t, memory)
        for term in terms:
            weight = conv.get_parameter("weight").detach()
            for entry in np.ndindex(
                *weight.shape
            ):  # the response to a single weight is what that weight correlates
                one = torch.zeros_like(weight)
                one[entry] = 1
                response = _convolve(conv, term.pre + term.shift, one)
                whole[entry] += term.strength(weight)[entry] * (response * term.post).sum()
    torch.testing.assert_close(change, whole)


def _convolve(conv: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    function = F.conv1d if isinstance(conv, nn.Conv1d) else F.conv2d
    return function(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


def test_the_fused_product_of_a_linear_synapse_is_that_of_its_graph() -> None:
    class Wrapped(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    plain, wrapped = linear(), Wrapped(INPUTS, OUTPUTS, bias=False)
    pre, post = torch.rand(5, INPUTS), torch.rand(5, OUTPUTS)
    torch.testing.assert_close(correlate(plain, pre, post), correlate(wrapped, pre, post))
    with pytest.raises(ValueError, match=r"output, \(5, 4\), got \(5, 3\)"):
        correlate(plain, pre, post[:, :3])


def pair(rule: Rule, weight: float, gap: int) -> float:
    """Change by a spike of the input and one of the output ``gap`` steps later (before it, if
    negative)."""
    fc = nn.Linear(1, 1, bias=False)
    nn.init.constant_(fc.weight, weight)
    pre, post = torch.zeros(10, 1, 1), torch.zeros(10, 1, 1)
    pre[5], post[5 + gap] = 1, 1
    return rule.sequence(fc, pre, post)[1].item()


def test_single_pairs_have_the_values_computed_by_hand() -> None:
    assert pair(PowerLaw(alpha=0.1, x_tar=0.4, mu=0.2), 0.5, 3) == pytest.approx(
        0.1 * (math.exp(-3 / 20) - 0.4) * 0.5**0.2
    )
    assert pair(PowerLaw(alpha=0.1, x_tar=0.4, mu=0.2), 0.5, -3) == pytest.approx(
        -0.1 * 0.4 * 0.5**0.2
    )
    assert pair(PowerLaw(alpha=0.1), 1.0, 0) == 0.0
    assert pair(PostPre(nu_pre=0.2, nu_post=0.3), 0.5, 2) == pytest.approx(0.3 * math.exp(-2 / 20))
    assert pair(PostPre(nu_pre=0.2, nu_post=0.3), 0.5, -2) == pytest.approx(
        -0.2 * math.exp(-2 / 20)
    )
    assert pair(PostPre(nu_pre=0.2, nu_post=0.3, mu_pre=1.0), 0.25, -2) == pytest.approx(
        -0.05 * math.exp(-0.1)
    )
    assert pair(PostPre(nu_pre=0.2, nu_post=0.3), 0.5, 0) == pytest.approx(0.1)
    expected = 0.1 * (math.exp(-1 / 20) * math.exp(-0.5 * 2) - 0.4 * math.exp(-2 * 0.5))
    assert pair(Exponential(alpha=0.1, x_tar=0.4, beta=2.0), 0.5, 1) == pytest.approx(expected)
    assert pair(Triplet(nu_pre=0.2, nu_post=0.3), 0.5, 1) == 0.0
    assert pair(Triplet(nu_pre=0.2, nu_post=0.3), 0.5, -1) == pytest.approx(
        -0.2 * math.exp(-1 / 20)
    )


def test_weights_stay_within_their_bounds() -> None:
    fc = linear()
    for sign in (1.0, -1.0):
        rule = PowerLaw(alpha=5.0, x_tar=0.5 - sign, mu=0.0, w_min=0.1, w_max=0.8)
        rule.apply(fc, rule.step(fc, torch.ones(1, INPUTS), torch.ones(1, OUTPUTS))[1])
        assert fc.weight.unique().tolist() == [pytest.approx(0.8 if sign > 0 else 0.1)]


def test_a_change_may_go_to_an_optimiser_as_a_gradient() -> None:
    fc, twin, rule = linear(), linear(), PowerLaw()
    pre, post = spikes(T, B, INPUTS), spikes(T, B, OUTPUTS, seed=1)
    change = rule.sequence(fc, pre, post)[1]
    fc.weight.grad = -change
    torch.optim.SGD(fc.parameters(), lr=1.0).step()
    rule.apply(twin, change)
    torch.testing.assert_close(fc.weight.clamp(0, 1), twin.weight)


REWARDS = torch.tensor([1.0, 0.0, -0.5])


@every_rule
def test_a_reward_weighs_the_change_of_each_sample(rule: Rule) -> None:
    fc, reference = linear(), [Plasticity(rule, INPUTS, OUTPUTS) for _ in range(B)]
    pre, post = spikes(T, B, INPUTS), spikes(T, B, OUTPUTS, seed=1)
    w, memory, total = fc.weight.detach().double().numpy(), None, np.zeros((OUTPUTS, INPUTS))
    for pre_t, post_t in zip(pre, post, strict=True):
        each = [
            r.change(w, a.numpy(), b.numpy())
            for r, a, b in zip(reference, pre_t, post_t, strict=True)
        ]
        expected = sum(r * c for r, c in zip(REWARDS.tolist(), each, strict=True))
        memory, change = MSTDP(rule).step(fc, pre_t, post_t, REWARDS, memory)
        assert abs(change.numpy() - expected).max() < 1e-5
        total += expected
    assert abs(MSTDP(rule).sequence(fc, pre, post, REWARDS)[1].numpy() - total).max() < 1e-5
    mean = MSTDP(replace(rule, reduction="mean")).sequence(fc, pre, post, REWARDS)[1]
    assert abs(mean.numpy() - total / B).max() < 1e-5


@every_rule
def test_an_eligibility_keeps_what_was_proposed_for_a_later_reward(rule: Rule) -> None:
    fc, reference = linear(), [Plasticity(rule, INPUTS, OUTPUTS) for _ in range(B)]
    pre, post = spikes(T, B, INPUTS), spikes(T, B, OUTPUTS, seed=1)
    w, memory, eligible = fc.weight.detach().double().numpy(), None, np.zeros((B, OUTPUTS, INPUTS))
    for t in range(T):
        reward = REWARDS * math.cos(t)
        each = [r.change(w, pre[t, b].numpy(), post[t, b].numpy()) for b, r in enumerate(reference)]
        eligible = math.exp(-1 / 6) * eligible + np.stack(each) / 6
        memory, change = MSTDPET(rule, tau_trace=6.0).step(fc, pre[t], post[t], reward, memory)
        assert abs(change.numpy() - np.tensordot(reward.numpy(), eligible, 1)).max() < 1e-5


def test_a_reward_reaches_a_convolution_too() -> None:
    conv = nn.Conv2d(1, 2, 3)
    pre, post = spikes(2, 1, 6, 6), spikes(2, 2, 4, 4, seed=1, rate=0.5)
    both = MSTDP().step(conv, pre, post, torch.tensor([1.0, 0.0]))[1]
    alone = MSTDP().step(conv, pre[:1], post[:1], 1.0)[1]
    torch.testing.assert_close(both, alone)
    assert MSTDPET().step(conv, pre, post, 1.0)[1].shape == conv.weight.shape


WRONG = {
    "reduction": (
        lambda: PowerLaw(reduction="avg"),
        ValueError,
        "must be one of 'sum', 'mean', 'max', got 'avg'",
    ),
    "pairs": (lambda: PostPre(pairs="neerest"), ValueError, "did you mean 'nearest'"),
    "tau": (lambda: PostPre(tau_pre=0.0), ValueError, r"tau_pre must be positive, got 0"),
    "slow": (lambda: Triplet(tau_slow=-1.0), ValueError, "tau_slow must be positive"),
    "bounds": (
        lambda: PowerLaw(w_min=1.0),
        ValueError,
        "w_min must be below w_max, got 1 and 1; write",
    ),
    "no rule": (
        lambda: MSTDP("post_pre"),
        TypeError,
        "rule must be a learning rule such as PostPre",
    ),
    "max": (
        lambda: MSTDPET(PostPre(reduction="max")),
        ValueError,
        'got reduction="max"; write reduction="sum"',
    ),
    "trace": (lambda: MSTDPET(tau_trace=0.0), ValueError, "tau_trace must be in"),
    "rewards": (
        lambda: MSTDP().step(
            linear(), torch.ones(3, INPUTS), torch.ones(3, OUTPUTS), torch.ones(2)
        ),
        ValueError,
        r"one for each of 3 samples, got shape \(2,\); write reward=torch.tensor",
    ),
    "synapse": (
        lambda: PowerLaw().step(nn.ReLU(), *torch.ones(2, 1, 2)),
        TypeError,
        "with a weight, got ReLU",
    ),
    "batch": (
        lambda: PostPre(pairs="all").step(
            linear(),
            torch.ones(2, INPUTS),
            torch.ones(2, OUTPUTS),
            PostPre().step(linear(), torch.ones(3, INPUTS), torch.ones(3, OUTPUTS))[0],
        ),
        ValueError,
        "reset the rule before a batch of another size",
    ),
}


@pytest.mark.parametrize(("call", "kind", "text"), WRONG.values(), ids=WRONG)
def test_mistakes_with_rules_are_said_clearly(call, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
