"""The Hodgkin-Huxley neuron against published values and a fine reference of its equations."""

import math
from functools import cache

import pytest
import torch

import spikeloom as snn

FINE = 0.005  # ms, step of the reference


def rates(v: float) -> dict[str, tuple[float, float]]:
    """Opening and closing rate of each gate, equations 12, 13, 20, 21, 23 and 24 of the paper."""

    def linear(u: float) -> float:
        return 1.0 if u == 0 else u / -math.expm1(-u)

    return {
        "m": (linear((v + 40) / 10), 4 * math.exp(-(v + 65) / 18)),
        "h": (0.07 * math.exp(-(v + 65) / 20), 1 / (1 + math.exp(-(v + 35) / 10))),
        "n": (0.1 * linear((v + 55) / 10), 0.125 * math.exp(-(v + 65) / 80)),
    }


def change(state: list[float], current: float) -> list[float]:
    v, m, h, n = state
    ionic = 120 * m**3 * h * (v - 50) + 36 * n**4 * (v + 77) + 0.3 * (v + 54.387)
    gates = zip((m, h, n), rates(v).values(), strict=True)
    return [current - ionic, *(a * (1 - z) - b * z for z, (a, b) in gates)]


@cache
def reference(current: float, duration: float) -> list[float]:
    """The membrane by the classical Runge-Kutta method, one value for each fine step."""
    steady = [a / (a + b) for a, b in rates(-65.0).values()]
    state, path = [-65.0, *steady], []
    for _ in range(round(duration / FINE)):
        k1 = change(state, current)
        k2 = change([s + FINE / 2 * k for s, k in zip(state, k1, strict=True)], current)
        k3 = change([s + FINE / 2 * k for s, k in zip(state, k2, strict=True)], current)
        k4 = change([s + FINE * k for s, k in zip(state, k3, strict=True)], current)
        slopes = [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
        state = [s + FINE * k for s, k in zip(state, slopes, strict=True)]
        path.append(state[0])
    return path


def cell(dt: float, **options: float) -> snn.HodgkinHuxley:
    exact = {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in {"e_leak": -54.387, "g_leak": 0.3, "dt": dt, **options}.items()
    }
    return snn.HodgkinHuxley(**exact, mode="sequence").double()


def run(current: float, duration: float, dt: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.full((round(duration / dt), 1, 1), current, dtype=torch.float64)
    spk, mem, *_ = cell(dt)(x)
    return spk.flatten(), mem.flatten()


def test_it_rests_at_65_mv_with_the_published_gates() -> None:
    spk, mem, m, h, n, _ = cell(0.05)(torch.zeros(2000, 1, 1, dtype=torch.float64))
    assert not spk.any() and mem.add(65).abs().max() < 0.01
    # Hodgkin & Huxley, table 2 and equations 9, 10, 18 at rest
    for gate, value in ((m, 0.0529), (h, 0.5961), (n, 0.3177)):
        assert gate[-1].item() == pytest.approx(value, abs=2e-4)


@pytest.mark.parametrize("dt", [0.02, 0.01])
def test_a_spike_has_the_shape_of_the_fine_reference(dt: float) -> None:
    expected = torch.tensor(reference(10.0, 12.0), dtype=torch.float64)
    stride = round(dt / FINE)
    _, mem = run(10.0, 12.0, dt)
    at = expected[stride - 1 :: stride]
    late = (mem.argmax() - at.argmax()).item() * dt
    assert abs(late) <= 5 * dt and abs(mem.max() - at.max()) < 60 * dt
    assert abs(mem.min() - at.min()) < 20 * dt
    assert 38 < expected.max() < 45 and -77 < expected.min() < -74  # the paper's spike


def test_half_the_step_is_half_the_error() -> None:
    # before the upstroke, where the membrane is smooth
    at = reference(5.0, 2.0)[-1]
    errors = [abs(run(5.0, 2.0, dt)[1][-1].item() - at) for dt in (0.04, 0.02, 0.01)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def test_it_fires_at_the_frequency_of_the_fine_reference() -> None:
    path = torch.tensor(reference(10.0, 60.0), dtype=torch.float64)
    rising = ((path[1:] > 20) & (path[:-1] <= 20)).nonzero().flatten() * FINE
    spk, _ = run(10.0, 60.0, 0.01)
    times = spk.nonzero().flatten() * 0.01
    assert len(times) == len(rising) == 4
    period = rising.diff()[-1].item()
    assert 14 < period < 15.5  # 68 Hz, as in textbooks
    assert times.diff()[-1].item() == pytest.approx(period, rel=1e-2)
    assert (times - rising).abs().max() < 0.3


def test_it_is_silent_then_fires_once_then_repetitively_then_is_blocked() -> None:
    x = torch.tensor([2.0, 5.0, 8.0, 160.0], dtype=torch.float64).expand(4000, 1, 4)
    spk, *_ = cell(0.05)(x)
    silent, once, repetitive, blocked = spk.sum((0, 1)).tolist()  # in 200 ms
    assert (silent, once, blocked) == (0, 1, 1) and repetitive >= 10


def test_a_spike_counts_once_although_the_membrane_stays_above_the_threshold() -> None:
    x = torch.full((1200, 1, 1), 10.0)
    spk, mem, *_ = snn.HodgkinHuxley(threshold=0.5, dt=0.01, mode="sequence")(x)
    above = (mem > 0.5).flatten()
    assert int(spk.sum()) == 1 and int(above.sum()) > 50
    assert spk.flatten().nonzero().item() == above.nonzero()[0].item()


@pytest.mark.parametrize("v", [-40.0, -55.0])
def test_rates_are_finite_where_their_formula_is_0_over_0(v: float) -> None:
    neuron = cell(0.01)
    x = torch.zeros(1, 1, dtype=torch.float64)
    found = []
    for offset in (-1e-7, 0.0, 1e-7):
        mem = torch.full((1, 1), v + offset, dtype=torch.float64, requires_grad=True)
        state = neuron.step(x, neuron.initial(x)._replace(mem=mem))[1]
        gate = state.m if v == -40.0 else state.n
        found.append((gate.item(), torch.autograd.grad(gate.sum(), mem)[0].item()))
    for a, b in zip(found[0], found[2], strict=True):
        assert math.isfinite(a) and a == pytest.approx(b, rel=1e-5)
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-4)


@pytest.mark.parametrize("name", ["capacitance", "g_na", "g_k", "g_leak", "dt", "threshold"])
def test_a_quantity_that_is_not_positive_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be in"):
        snn.HodgkinHuxley(**{name: 0.0})


def test_its_conductances_learn() -> None:
    neuron = snn.HodgkinHuxley(learn_parameters=True, dt=0.05, mode="sequence").double()
    _, mem, *_ = neuron(torch.full((100, 2, 3), 3.0, dtype=torch.float64))
    mem.square().sum().backward()
    learned = {name for name, _ in neuron.named_parameters()}
    assert learned == {"capacitance", "g_na", "g_k", "g_leak", "e_na", "e_k", "e_leak"}
    assert all(p.grad.isfinite().all() and p.grad.abs() > 0 for p in neuron.parameters())
