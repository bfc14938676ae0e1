"""Neurons that papers name, against loops written by hand and closed forms."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spikeloom as snn
from spikeloom.core.options import arguments


def times(spk: Tensor) -> list[int]:
    return spk.flatten().nonzero().flatten().tolist()


def exact(kind: type, **values: Any) -> snn.Neuron:
    """A neuron whose constants are rounded to float64 only."""
    given = {k: v for k, v in arguments(kind).items() if type(v) is float} | values
    numbers: dict[str, Any] = {
        k: torch.tensor(v, dtype=torch.float64) if type(v) is float else v for k, v in given.items()
    }
    return kind(**numbers, mode="sequence").double()


# Izhikevich's figure 2: the parameters of four kinds of cells
CELLS = {
    "regular": {},
    "bursting": {"c": -55.0, "d": 4.0},
    "chattering": {"c": -50.0, "d": 2.0},
    "fast": {"a": 0.1, "d": 2.0},
}


def izhikevich_program(
    current: list[float], a: float = 0.02, b: float = 0.2, c: float = -65.0, d: float = 8.0
) -> list[int]:
    """The published program for one cell: a spike is found at the beginning of the next step."""
    v, u, fired = -65.0, b * -65.0, []
    for t, drive in enumerate([*current, 0.0]):
        if v > 30:
            fired.append(t - 1)
            v, u = c, u + d
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + drive)
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + drive)
        u = u + a * (b * v - u)
    return fired


@pytest.mark.parametrize("cell", CELLS)
def test_izhikevich_fires_as_its_published_program_does(cell: str) -> None:
    rng = np.random.default_rng(0)
    current = (10 + 5 * rng.standard_normal(1000)).tolist()
    x = torch.tensor(current, dtype=torch.float64).view(-1, 1, 1)
    spk, *_ = exact(snn.Izhikevich, **CELLS[cell])(x)
    expected = izhikevich_program(current, **CELLS[cell])
    assert len(expected) > 10 and times(spk) == expected


def test_izhikevich_cells_show_the_patterns_of_the_paper() -> None:
    x = torch.full((1000, 1, 1), 10.0, dtype=torch.float64)
    gaps = {}
    for cell, values in CELLS.items():
        spk, *_ = exact(snn.Izhikevich, **values)(x)
        gaps[cell] = np.diff(times(spk))
    assert gaps["regular"].min() > 20, "a regular cell fires single spikes"
    assert gaps["bursting"][0] < 10 < gaps["bursting"][1:].min(), "one burst, then spikes"
    assert (gaps["chattering"] < 6).sum() > 20 and gaps["chattering"].max() > 20
    assert gaps["fast"].mean() < 20 and len(gaps["fast"]) > 2 * len(gaps["regular"])


def adex_loop(current: float, steps: int, p: dict[str, float]) -> tuple[list[int], float, float]:
    v, w, fired = p["rest"], 0.0, []
    for t in range(steps):
        upstroke = p["leak"] * p["sharpness"] * math.exp((v - p["rheobase"]) / p["sharpness"])
        dv = (-p["leak"] * (v - p["rest"]) + upstroke - w + current) / p["capacitance"]
        dw = (p["a"] * (v - p["rest"]) - w) / p["tau_w"]
        v, w = v + p["dt"] * dv, w + p["dt"] * dw
        if v > p["threshold"]:
            fired.append(t)
            v, w = p["reset_to"], w + p["b"]
    return fired, v, w


@pytest.mark.parametrize("changed", [{}, {"b": 0.0, "reset_to": -47.0}, {"a": 40.0, "tau_w": 30.0}])
def test_adex_fires_as_a_loop_of_its_equations(changed: dict[str, float]) -> None:
    neuron = exact(snn.AdEx, **changed)
    p = {name: float(getattr(neuron, name)) for name in neuron._names}
    expected, v, w = adex_loop(1500.0, 5000, p)
    spk, mem, adapt = neuron(torch.full((5000, 1, 1), 1500.0, dtype=torch.float64))
    assert len(expected) > 5 and times(spk) == expected
    assert mem[-1].item() == pytest.approx(v, rel=1e-9)
    assert adapt[-1].item() == pytest.approx(w, rel=1e-9)


def test_adex_adapts_and_without_adaptation_it_is_the_exponential_neuron() -> None:
    x = torch.full((6000, 1, 1), 1000.0, dtype=torch.float64)
    gaps = np.diff(times(exact(snn.AdEx)(x)[0]))
    assert (np.diff(gaps) >= 0).all() and gaps[-1] > 2 * gaps[0], "intervals grow"
    plain = exact(snn.AdEx, a=0.0, b=0.0)
    twin = exact(snn.EIF, tau=281 / 30, rest=-70.6, rheobase=-50.4, sharpness=2.0, reset_to=-70.6)
    assert times(plain(x)[0]) == times(twin(x / 30)[0])


def test_the_exponential_neuron_fires_above_its_rheobase_only() -> None:
    # the fixed point vanishes where the drive reaches rheobase - rest - sharpness
    drive = -59.9 + 65.0 - 3.48
    for factor, silent in ((0.98, True), (1.05, False)):
        x = torch.full((5000, 1, 1), drive * factor, dtype=torch.float64)
        assert (len(times(snn.EIF(mode="sequence").double()(x)[0])) == 0) is silent


@pytest.mark.parametrize("current", [0.25, 1.0, 4.0])
def test_the_quadratic_neuron_has_the_period_of_its_closed_form(current: float) -> None:
    peak, reset, tau, dt = 50.0, -50.0, 10.0, 0.005
    neuron = exact(snn.QIF, tau=tau, rest=0.0, critical=0.0, reset_to=reset, threshold=peak, dt=dt)
    root = math.sqrt(current)
    period = tau / root * (math.atan(peak / root) - math.atan(reset / root))
    x = torch.full((int(3.2 * period / dt), 1, 1), current, dtype=torch.float64)
    found = np.diff(times(neuron(x)[0])) * dt
    # Euler's method falls behind by one step near the peak, where V changes within a step
    assert found == pytest.approx([period] * len(found), rel=5e-3) and len(found) >= 2


def test_the_learned_time_constant_is_that_of_the_paper_and_stays_above_1() -> None:
    lif = snn.PLIF(tau=torch.tensor([1.5, 2.0, 10.0]), threshold=99.0, mode="sequence").double()
    torch.testing.assert_close(lif.tau.detach(), torch.tensor([1.5, 2.0, 10.0]).double())
    x = torch.rand(20, 2, 3, dtype=torch.float64)
    mem, expected = torch.zeros(2, 3, dtype=torch.float64), []
    for x_t in x:
        mem = mem + (x_t - mem) / torch.tensor([1.5, 2.0, 10.0], dtype=torch.float64)
        expected.append(mem)
    torch.testing.assert_close(lif(x)[1].detach(), torch.stack(expected), rtol=1e-6, atol=1e-7)
    optimizer = torch.optim.SGD(lif.parameters(), lr=100.0)
    for _ in range(5):
        optimizer.zero_grad()
        snn.reset(lif)
        (lif(x)[1] - 10.0).square().mean().backward()
        optimizer.step()
    assert bool((lif.tau >= 1).all())


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: snn.PLIF(tau=3.0, init_hidden=True),
        lambda: snn.PLIF(tau=3.0, learn_w=False, init_hidden=True),
        lambda: snn.EIF(learn_parameters=True, init_hidden=True),
        lambda: snn.EIF(tau=torch.tensor([8.0, 9.0]), init_hidden=True),
    ],
)
def test_a_loaded_neuron_learns_what_the_saved_one_learns(neuron: Any, tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), neuron())
    again = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    learned = [[name for name, _ in n.named_parameters()] for n in (net, again)]
    assert learned[0] == learned[1]
    x = torch.rand(9, 4, 3) * 50
    assert torch.equal(snn.run(net, x), snn.run(again, x))


def test_a_resonating_neuron_turns_by_its_frequency_and_shrinks_by_its_damping() -> None:
    b, omega, dt = -0.05, 0.7, 0.5
    x = torch.zeros(40, 1, 1, dtype=torch.float64)
    x[0] = 0.1 / dt
    cell = exact(snn.ResonateFire, damping=b, omega=omega, dt=dt)
    _, mem, real = cell(x)
    z = 0.1 * np.exp((b + 1j * omega) * dt * np.arange(40))
    torch.testing.assert_close(torch.complex(real, mem).flatten(), torch.from_numpy(z))


def test_a_resonating_neuron_prefers_its_own_frequency() -> None:
    omega = 2 * math.pi / 20
    cell = snn.ResonateFire(-0.02, omega, threshold=0.99e9, reset_to=0.0, mode="sequence").double()
    t = torch.arange(400, dtype=torch.float64)
    periods = [10, 14, 20, 28, 40]
    x = torch.stack([torch.sin(2 * math.pi * t / n) for n in periods], 1).unsqueeze(1)
    peaks = cell(x)[1].abs().amax(0).flatten()
    assert periods[int(peaks.argmax())] == 20 and peaks.max() > 3 * peaks[[0, 4]].max()


def test_a_spike_sets_a_resonating_neuron_to_its_reset_point() -> None:
    cell = snn.ResonateFire(reset_to=0.25)
    start = cell.State(torch.tensor([[5.0]]), torch.tensor([[3.0]]))
    spk, state = cell.step(torch.zeros(1, 1), start)
    assert spk.item() == 1 and state.mem.item() == 0.25 and state.real.item() == 0


def test_the_balanced_neuron_fires_as_a_loop_of_its_equations() -> None:
    omega, offset, gamma, dt = 12.0, 0.7, 0.9, 0.02
    rng = np.random.default_rng(1)
    current = 30 * rng.random(300)
    u = v = q = 0.0
    expected = []
    for t, drive in enumerate(current):
        b = (-1 + math.sqrt(1 - (dt * omega) ** 2)) / dt - offset - q
        u, v = u + dt * (b * u - omega * v + drive), v + dt * (omega * u + b * v)
        fired = int(u - 1.0 - q > 0)
        expected += [t] * fired
        q = gamma * q + fired
    cell = exact(snn.BalancedResonateFire, omega=omega, damping=offset, gamma=gamma, dt=dt)
    x = torch.from_numpy(current).view(-1, 1, 1)
    assert len(expected) > 5 and times(cell(x)[0]) == expected


def test_the_balanced_neuron_does_not_diverge_at_the_bound_of_its_damping() -> None:
    cell = snn.BalancedResonateFire(50.0, damping=0.0, threshold=1e9, dt=0.02, mode="sequence")
    x = torch.zeros(2000, 1, 1, dtype=torch.float64)
    x[0] = 1.0
    _, mem, imag, _ = cell.double()(x)
    assert torch.hypot(mem, imag).max() <= 1.1 * 0.02


def test_a_ternary_neuron_is_odd_and_each_spike_is_reset() -> None:
    x = 3 * torch.randn(50, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spk, mem = snn.TernaryLIF(0.8, mode="sequence").double()(x)
    other, negative = snn.TernaryLIF(0.8, mode="sequence").double()(-x)
    assert torch.equal(spk, -other) and torch.equal(mem, -negative)
    assert set(spk.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert bool((mem[spk != 0] == 0).all()) and bool((mem[spk == 0].abs() <= 1).all())


def test_the_size_of_a_ternary_spike_can_be_learned_and_does_not_act_on_the_membrane() -> None:
    x = torch.tensor([1.5, -3.0, 0.4, 2.0]).view(4, 1, 1)
    lif = snn.TernaryLIF(1.0, graded_spikes_factor=0.5, learn_graded_spikes_factor=True)
    lif.mode = "sequence"
    spk, mem = lif(x)
    assert spk.flatten().tolist() == [0.5, -0.5, 0, 0.5]
    assert mem.flatten().tolist() == pytest.approx([0, 0, 0.4, 0])
    spk.square().sum().backward()
    assert lif.graded_spikes_factor.grad.item() == pytest.approx(3.0)


def glif_loop(level: int, x: np.ndarray, p: dict[str, float]) -> list[int]:
    """The equations of Teeter et al., each mechanism under the levels that have it."""
    v = i1 = i2 = spike_part = mem_part = 0.0
    silent, fired = 0, []
    for t, drive in enumerate(x):
        change = p["dt"] / p["capacitance"] * (drive + i1 + i2 - p["leak"] * v)
        rise = p["dt"] * (p["drive"] * v - p["drive_decay"] * mem_part) if level == 5 else 0.0
        i1, i2 = (i * math.exp(-p[k] * p["dt"]) for i, k in ((i1, "decay_1"), (i2, "decay_2")))
        spike_part *= math.exp(-p["spike_decay"] * p["dt"])
        if silent:
            silent -= 1
            continue
        v, mem_part = v + change, mem_part + rise
        if v > p["threshold"] + spike_part + mem_part:
            fired.append(t)
            silent = int(p["refractory_steps"])
            v = p["fraction"] * v - p["offset"] if level in (2, 4, 5) else 0.0
            spike_part += p["spike_rise"] if level in (2, 4, 5) else 0.0
            if level >= 3:
                i1, i2 = i1 + p["jump_1"], i2 + p["jump_2"]
    return fired


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_every_level_fires_as_a_loop_of_its_equations(level: int) -> None:
    x = 250 + 200 * np.random.default_rng(0).random(800)
    neuron = exact(snn.GLIF, level=level)
    p = {name: value for name, value in arguments(snn.GLIF).items() if name != "level"}
    expected = glif_loop(level, x, p)
    spk, *_ = neuron(torch.from_numpy(x).view(-1, 1, 1))
    assert len(expected) > 20 and times(spk) == expected


def test_the_first_level_has_the_period_of_a_leaky_neuron() -> None:
    dt, tau, drive = 0.01, 20.0, 40.0  # C / g, and I / g in mV
    neuron = exact(snn.GLIF, level=1, dt=dt, refractory_steps=0)
    gaps = np.diff(times(neuron(torch.full((9000, 1, 1), drive * 5.0, dtype=torch.float64))[0]))
    assert gaps * dt == pytest.approx(tau * math.log(drive / (drive - 20.0)), rel=2e-3)
    assert len(gaps) > 4


MISTAKES = {
    "reset above the peak": (lambda: snn.Izhikevich(c=40.0), r"c must be in \(-inf, 30\), got 40"),
    "no capacitance": (lambda: snn.AdEx(capacitance=0.0), r"capacitance must be .*, got 0"),
    "no width": (lambda: snn.EIF(sharpness=-1.0), r"sharpness must be .*, got -1"),
    "no step": (lambda: snn.QIF(dt=0.0), r"dt must be .*, got 0"),
    "a time constant of a step": (lambda: snn.PLIF(tau=1.0), r"tau must be .*, got 1"),
    "a sixth level": (lambda: snn.GLIF(6), r"level must be in \[1, 5\], got 6"),
    "growing oscillation": (lambda: snn.ResonateFire(damping=0.1), r"damping must be .*0\.1"),
    "too fast": (
        lambda: snn.BalancedResonateFire(omega=200.0),
        r"omega \* dt must be at most 1, got 2",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_rule_and_the_value(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("kind", [snn.Izhikevich, snn.EIF, snn.AdEx, snn.QIF])
def test_learning_quantities_reach_the_spikes(kind: type) -> None:
    neuron = kind(**kind.example, learn_parameters=True, mode="sequence").double()
    x = torch.rand(40, 3, 2, dtype=torch.float64) * 2 * kind.example_gain
    neuron(x)[0].sum().backward()
    missing = [n for n, p in neuron.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert not missing and "dt" not in dict(neuron.named_parameters())


def test_a_learned_quantity_that_became_negative_is_refused() -> None:
    neuron = snn.AdEx(learn_parameters=True)
    with torch.no_grad():
        neuron.get_parameter("tau_w").fill_(-1.0)
    with pytest.raises(ValueError, match="tau_w must stay above 0"):
        neuron(torch.zeros(1, 1))
