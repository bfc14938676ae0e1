"""Exact gradients in continuous time: spike times against high precision, gradients against
differences."""

import math

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spikeloom.learning import EventLIF, first_times, lif_maxima, lif_spikes, push_silent
from spikeloom.learning.eventprop.closed_forms import decays
from spikeloom.learning.eventprop.compiled import loops

TAUS = [
    (4.0, 2.0),
    (3.0, 3.0),
    (2.0, 5.0),
    (20.0, 1.0),
]  # the quadratic case, the limit, and both orders
f64 = torch.float64


def numba_or_python() -> list[str]:
    try:
        import numba  # noqa: F401
    except ImportError:
        return ["python"]
    return ["numba", "python"]


ENGINES = numba_or_python()


def drawn(
    inputs: int = 6, neurons: int = 5, seed: int = 0, mean: float = 1.2
) -> tuple[Tensor, Tensor]:
    """Spike times [3, I, 2], one of them missing, and weights [J, I] of both signs."""
    generator = torch.Generator().manual_seed(seed)
    times = 8 * torch.rand(3, inputs, 2, dtype=f64, generator=generator)
    times[0, 0, 0] = torch.inf
    return times, mean + 1.5 * torch.randn(neurons, inputs, dtype=f64, generator=generator)


def differences(function, leaves: list[Tensor], eps: float = 1e-6) -> list[Tensor]:
    """Central differences of a scalar function with respect to finite elements."""
    found = []
    with torch.no_grad():
        for leaf in leaves:
            flat, gradient = leaf.view(-1), torch.zeros(leaf.numel(), dtype=f64)
            for n in range(leaf.numel()):
                kept = flat[n].item()
                if not math.isfinite(kept):
                    continue
                flat[n] = kept + eps
                above = function().item()
                flat[n] = kept - eps
                gradient[n] = (above - function().item()) / (2 * eps)
                flat[n] = kept
            found.append(gradient.view_as(leaf))
    return found


def score(times: Tensor) -> Tensor:
    """A number in which every spike counts, each in another way."""
    weights = torch.cos(torch.arange(times.numel(), dtype=times.dtype)).view_as(times)
    return (torch.where(torch.isfinite(times), times, 0.0) * weights).sum()


def agree(function, leaves: list[Tensor]) -> None:
    for leaf in leaves:
        leaf.requires_grad_()
    exact = torch.autograd.grad(function(), leaves)
    for got, wanted in zip(exact, differences(function, leaves), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def constants(taus: tuple[float, float], *shape: int) -> list[Tensor]:
    return [torch.full(shape, value, dtype=f64) for value in (*taus, 1.0)]


def membrane(
    t: float, times: list[float], weights: list[float], reset: list, tau_m: float, tau_s: float
):
    """V(t) in high precision: the response to all inputs, minus what each reset has taken away."""
    m, s = mpmath.mpf(tau_m), mpmath.mpf(tau_s)

    def kernel(x):
        if x <= 0:
            return mpmath.mpf(0)
        return (
            x / m * mpmath.exp(-x / m)
            if m == s
            else s / (m - s) * (mpmath.exp(-x / m) - mpmath.exp(-x / s))
        )

    driven = sum(w * kernel(t - mpmath.mpf(a)) for a, w in zip(times, weights, strict=True))
    return driven - sum(mpmath.exp(-(t - r) / m) for r in reset if t > r)


@pytest.mark.parametrize("taus", TAUS)
def test_spike_times_are_the_roots_in_high_precision(taus) -> None:
    times, weight = drawn(inputs=5, neurons=1, mean=3.0 if taus[1] > 1 else 12.0)
    spikes = lif_spikes(times[:2], weight, tau_m=taus[0], tau_s=taus[1], until=9.0)
    assert torch.isfinite(spikes).sum() >= 2
    with mpmath.workdps(30):
        for sample, train in zip(times[:2], spikes[:, 0], strict=True):
            when = [t for t in sample.flatten().tolist() if math.isfinite(t)]
            rows = weight[0].repeat_interleave(2)[torch.isfinite(sample.flatten())].tolist()
            fired: list = []
            for found in train[torch.isfinite(train)].tolist():

                def distance(t: object, when=when, rows=rows, fired=fired) -> object:
                    return membrane(t, when, rows, fired, *taus) - 1

                root = mpmath.findroot(distance, mpmath.mpf(found))
                assert abs(root - found) < 1e-10
                fired.append(root)


@pytest.mark.parametrize("taus", TAUS)
def test_no_spike_is_missed_and_none_is_invented(taus) -> None:
    times, weight = drawn(inputs=8, neurons=4, seed=3)
    spikes = lif_spikes(times, weight, tau_m=taus[0], tau_s=taus[1], until=12.0)
    dt, counts = 1e-3, torch.zeros(3, 4)
    v = i = torch.zeros(3, 4, dtype=f64)
    em, es, share = decays(dt, *taus)
    for step in range(12_000):
        arrived = ((times >= step * dt) & (times < (step + 1) * dt)).to(f64).sum(-1)
        i = i + arrived @ weight.T
        v, i = v * em + i * share, i * es
        counts, v = counts + (v >= 1), torch.where(v >= 1, 0.0, v)
    assert (
        torch.isfinite(spikes).sum(-1) - counts
    ).abs().max() <= 1  # one at the very end of a grid may differ


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("taus", TAUS)
def test_gradients_with_delays_equal_central_differences(taus, engine) -> None:
    times, weight = drawn()
    tau_m, tau_s, theta = constants(taus, 5)
    tau_m += torch.arange(5) / 50  # each neuron has its own
    delay = torch.rand(5, 6, dtype=f64, generator=torch.Generator().manual_seed(1))

    def function() -> Tensor:
        spikes = lif_spikes(
            times,
            weight,
            tau_m=tau_m,
            tau_s=tau_s,
            threshold=theta,
            until=15.0,
            delay=delay,
            engine=engine,
            slope_floor=0,
        )
        return score(spikes)

    agree(function, [times, weight, delay, tau_m, tau_s, theta])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("taus", TAUS[:2])
def test_gradients_of_a_recurrent_layer_equal_central_differences(taus, engine) -> None:
    times, weight = drawn(inputs=3, neurons=4, mean=1.0)
    recurrent = 0.4 * torch.randn(4, 4, dtype=f64, generator=torch.Generator().manual_seed(2))
    tau_m, tau_s, theta = constants(taus)
    wait = torch.tensor(0.3, dtype=f64)

    def function() -> Tensor:
        more = {"recurrent": recurrent, "recurrent_delay": wait, "engine": engine, "slope_floor": 0}
        return score(
            lif_spikes(times, weight, tau_m=tau_m, tau_s=tau_s, threshold=theta, until=10.0, **more)
        )

    agree(function, [times, weight, recurrent, wait, tau_m, tau_s, theta])


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_of_the_highest_membrane_equal_central_differences(engine) -> None:
    times, weight = drawn()
    tau_m, tau_s, _ = constants((4.0, 1.5), 5)
    delay = torch.rand(5, 6, dtype=f64, generator=torch.Generator().manual_seed(1))

    def function() -> Tensor:
        maxima = lif_maxima(
            times, weight, tau_m=tau_m, tau_s=tau_s, until=15.0, delay=delay, engine=engine
        )
        assert maxima.shape == (3, 5)
        return score(maxima)

    agree(function, [times, weight, delay, tau_m, tau_s])


def test_a_deep_network_learns_through_all_its_layers() -> None:
    times, weight = drawn(neurons=12)
    below = drawn(inputs=12, neurons=2, seed=5, mean=0.8)[1]
    same = {"tau_m": 4.0, "tau_s": 2.0, "until": 20.0, "slope_floor": 0}

    def function() -> Tensor:
        return score(lif_spikes(lif_spikes(times, weight, **same), below, **same))

    agree(function, [times, weight, below])


def test_neurons_side_by_side_are_those_that_go_by_themselves() -> None:
    times, weight = drawn(neurons=12)
    same = {"tau_m": 4.0, "tau_s": 1.0, "until": 20.0}
    for limit in (None, 1):
        together = lif_spikes(times, weight, max_spikes=limit, **same)
        alone = [lif_spikes(times, row[None], max_spikes=limit, **same) for row in weight]
        room = max(each.shape[-1] for each in alone)
        padded = [
            nn.functional.pad(each, (0, room - each.shape[-1]), value=torch.inf) for each in alone
        ]
        torch.testing.assert_close(together, torch.cat(padded, 1), rtol=0, atol=1e-12)


def test_a_recurrent_layer_without_weights_is_one_without_recurrence() -> None:
    times, weight = drawn()
    same = {"tau_m": 4.0, "tau_s": 1.0, "until": 20.0}
    inner = torch.zeros(5, 5, dtype=f64)
    torch.testing.assert_close(
        lif_spikes(times, weight, recurrent=inner, **same), lif_spikes(times, weight, **same)
    )
    one = lif_spikes(times, weight, recurrent=inner, max_spikes=1, **same)
    torch.testing.assert_close(one, lif_spikes(times, weight, max_spikes=1, **same))


@pytest.mark.skipif(len(ENGINES) == 1, reason="numba is not installed")
def test_compiled_loops_do_what_they_are_written_as() -> None:
    times, weight = drawn()
    results = []
    for engine in ENGINES:
        w = weight.clone().requires_grad_()
        spikes = lif_spikes(times, w, tau_m=4.0, tau_s=1.0, until=20.0, engine=engine)
        score(spikes).backward()
        results.append((spikes.detach(), w.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)
    assert loops("python") is not loops("numba")


def test_a_slope_near_zero_is_divided_by_as_its_floor() -> None:
    top = decays(2 * math.log(2), 2.0, 1.0)[2]
    gradients = []
    for floor in (0.0, 0.1):
        weight = torch.tensor([[1 / top * (1 + 1e-6)]], dtype=f64, requires_grad=True)
        lif_spikes(
            torch.zeros(1, 1, dtype=f64),
            weight,
            tau_m=2.0,
            tau_s=1.0,
            until=50.0,
            slope_floor=floor,
        ).sum().backward()
        gradients.append(weight.grad.item())
    assert gradients[0] < -100
    # d t / d w = -(theta / w) / slope, and the slope counts as floor * theta / tau_m
    assert gradients[1] == pytest.approx(-2.0 / (0.1 / top * (1 + 1e-6)))


def test_silent_neurons_have_no_gradient_and_can_be_pushed() -> None:
    layer = EventLIF(2, 3, until=20.0, mean=0.1, std=0.0)
    times = layer(torch.zeros(4, 2))
    torch.where(torch.isfinite(times), times, 20.0).sum().backward()
    assert torch.isinf(times).all() and not layer.weight.grad.any()
    wanted = torch.tensor([[True, True, False]] * 2 + [[True, False, False]] * 2)
    push_silent(layer.weight, times, 0.2, wanted)
    torch.testing.assert_close(layer.weight.grad, -torch.tensor([[0.2], [0.1], [0.0]]).expand(3, 2))


def test_a_delay_that_an_optimiser_passed_below_zero_was_not_zero() -> None:
    times = torch.tensor([[1.0, 3.0]])
    none, half, changed = (
        EventLIF(2, 1, until=20.0, mean=4.0, std=0.0, delays=0.0) for _ in range(3)
    )
    with torch.no_grad():
        half.delay.fill_(0.5)
        changed.delay.fill_(-2.0)
    assert torch.isfinite(none(times)).any() and not torch.equal(none(times), half(times))
    assert torch.equal(changed(times), none(times))


def test_time_constants_and_delays_learn() -> None:
    torch.manual_seed(0)
    layer = EventLIF(3, 4, until=60.0, mean=4.0, delays=3.0, learn_tau=True)
    optimizer = torch.optim.Adam(layer.parameters(), 0.03)
    inputs = torch.tensor([[0.0, 2.0, 5.0]])
    errors = []
    for _ in range(60):
        loss = ((first_times(layer(inputs), never=60.0) - 9.0) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.05 * errors[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"times": torch.zeros(2)}, r"times \[B, I\] or \[B, I, K\] must fit weight"),
        ({"times": torch.full((1, 2), math.nan)}, "got NaN"),
        ({"until": math.inf}, "until must be finite, got inf"),
        ({"tau_m": 0.0}, r"tau_m must be in \(0, inf\), got 0"),
        ({"max_spikes": 0}, "max_spikes must be in .*got 0"),
        ({"slope_floor": -1.0}, "slope_floor must be 0 or more"),
        ({"delay": torch.zeros(2)}, r"delay must have shape \(3, 2\), got \(2,\)"),
        ({"delay": -torch.ones(3, 2)}, r"delay must be in \[0, inf\), got -1; an effect cannot"),
        ({"recurrent": torch.zeros(3, 2)}, r"recurrent must have shape \(3, 3\)"),
        (
            {"recurrent": torch.zeros(3, 3), "delay": torch.zeros(3, 2)},
            "got both; write recurrent_delay",
        ),
        ({"recurrent_delay": -1.0}, "recurrent_delay must be one number >= 0"),
        ({"value": torch.ones(1, 3)}, "value must have the shape of times"),
        ({"engine": "jax"}, "engine must be one of 'auto', 'numba', 'python', got 'jax'"),
    ],
)
def test_mistakes_are_named(changed, match) -> None:
    given = {
        "times": torch.zeros(1, 2),
        "weight": torch.ones(3, 2),
        "tau_m": 4.0,
        "tau_s": 2.0,
        "until": 10.0,
    }
    with pytest.raises(ValueError, match=match):
        lif_spikes(**{**given, **changed})


def test_times_must_be_numbers_with_a_point() -> None:
    with pytest.raises(TypeError, match="times must be floating point"):
        lif_spikes(
            torch.zeros(1, 2, dtype=torch.int64), torch.ones(3, 2), tau_m=4.0, tau_s=2.0, until=10.0
        )
    with pytest.raises(ValueError, match="no spikes to send back"):
        EventLIF(2, 2, until=10.0, fires=False, recurrent=True)


def test_feedback_that_explodes_is_an_error() -> None:
    times, weight, inner = torch.zeros(1, 1), torch.full((4, 1), 9.0), torch.full((4, 4), 9.0)
    with pytest.raises(
        RuntimeError, match=r"more than \d+ spikes of a neuron.*lower the recurrent weights"
    ):
        lif_spikes(times, weight, tau_m=4.0, tau_s=2.0, until=50.0, recurrent=inner)


def test_the_order_of_events_does_not_matter() -> None:
    times, weight = drawn()
    order = torch.from_numpy(np.random.default_rng(0).permutation(6))
    same = {"tau_m": 4.0, "tau_s": 1.0, "until": 20.0}
    torch.testing.assert_close(
        lif_spikes(times[:, order], weight[:, order], **same), lif_spikes(times, weight, **same)
    )


def test_a_membrane_much_faster_than_its_current_fires_without_a_hang() -> None:
    """All times scale with the time constants."""
    times, weight = torch.tensor([[0.3, 1.1]]).double(), torch.tensor([[3.0, 2.0]]).double()
    fast, slow = (
        lif_spikes(scale * times, weight, tau_m=scale, tau_s=500 * scale, until=9 * scale)
        for scale in (0.01, 1.0)
    )
    assert fast.isfinite().sum() > 10
    torch.testing.assert_close(fast, 0.01 * slow)


def test_a_membrane_that_would_fire_without_end_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"tau_m must be at least a millionth of until=40, got 1e-"
    ):
        EventLIF(5, 2, until=40.0, tau_m=1e-30)(torch.rand(3, 5))
