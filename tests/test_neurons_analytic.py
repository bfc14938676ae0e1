"""Each neuron against a closed form, or against a loop written out by hand in NumPy float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import spikeloom as snn

T = 40
DOUBLE = torch.float64


def constant(value: float, steps: int = T) -> Tensor:
    """The same input at every step, [T, 1, 1]."""
    return torch.full((steps, 1, 1), value, dtype=DOUBLE)


def impulse(steps: int = T) -> Tensor:
    """1 at the first step, then 0."""
    x = constant(0.0, steps)
    x[0] = 1.0
    return x


def noise(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))


def steps(count: int = T) -> Tensor:
    return torch.arange(count, dtype=DOUBLE)


# -- first and second order, without spikes --------------------------------------------------------


def test_leaky_without_reset_is_an_exponentially_weighted_sum() -> None:
    x, beta = noise(T, 2, 3), 0.75
    _, mem = snn.Leaky(beta, reset_mechanism="none", mode="sequence").double()(x)
    weights = (beta ** (steps()[:, None] - steps()[None, :])).tril()
    torch.testing.assert_close(mem, torch.einsum("ts,sbf->tbf", weights, x))


def test_the_gradient_of_leaky_in_beta_is_that_of_the_sum() -> None:
    x, beta = noise(T, 1, 1), 0.75
    neuron = snn.Leaky(beta, reset_mechanism="none", learn_beta=True, mode="sequence").double()
    neuron(x)[1][-1].backward(torch.ones(1, 1, dtype=DOUBLE))
    age = T - 1 - steps()
    expected = (age * beta ** (age - 1).clamp(min=0) * x.flatten()).sum()
    torch.testing.assert_close(neuron.beta.grad, expected)


@pytest.mark.parametrize("current", [0.11, 0.15, 0.3, 0.9, 1.1])
def test_leaky_fires_first_when_its_charging_curve_crosses_the_threshold(current: float) -> None:
    beta, threshold = 0.9, 1.0
    spk, _ = snn.Leaky(beta, threshold, mode="sequence").double()(constant(current))
    crossing = math.log(1 - threshold * (1 - beta) / current) / math.log(
        beta
    )  # in steps, of the first input being 1
    assert int(spk.flatten().nonzero()[0]) == math.floor(crossing)


def test_leaky_stays_silent_where_its_charging_curve_ends_below_the_threshold() -> None:
    spk, mem = snn.Leaky(0.9, 1.0, mode="sequence").double()(constant(0.0999, 400))
    assert spk.sum() == 0
    assert mem[-1].item() == pytest.approx(0.999, rel=1e-6)


def test_the_impulse_response_of_synaptic_is_a_difference_of_exponentials() -> None:
    alpha, beta = 0.9, 0.6
    _, syn, mem = snn.Synaptic(alpha, beta, reset_mechanism="none", mode="sequence").double()(
        impulse()
    )
    torch.testing.assert_close(syn.flatten(), alpha ** steps(), rtol=1e-5, atol=1e-9)
    expected = (alpha ** (steps() + 1) - beta ** (steps() + 1)) / (alpha - beta)
    torch.testing.assert_close(mem.flatten(), expected, rtol=1e-5, atol=1e-7)


def test_the_impulse_response_of_alpha_rises_and_falls_as_its_kernel() -> None:
    alpha, beta = 0.9, 0.6
    *_, mem = snn.Alpha(alpha, beta, threshold=9.0, mode="sequence").double()(impulse())
    tau = math.log(alpha) / (math.log(beta) - math.log(alpha)) + 1
    expected = tau * (alpha ** steps() - beta ** steps())
    torch.testing.assert_close(mem.flatten(), expected, rtol=1e-4, atol=1e-7)
    peak = math.log(math.log(beta) / math.log(alpha)) / math.log(alpha / beta)
    assert abs(int(mem.argmax()) - peak) < 1


def test_lapicque_charges_by_forward_euler_and_approaches_the_circuit_at_first_order() -> None:
    resistance, capacitance, current, seconds = 5.0, 2e-3, 0.2, 0.02
    exact = resistance * current * (1 - math.exp(-seconds / (resistance * capacitance)))
    errors = []
    for count in (20, 40, 80):
        dt = seconds / count
        neuron = snn.Lapicque(
            R=resistance, C=capacitance, time_step=dt, threshold=9.0, mode="sequence"
        ).double()
        _, mem = neuron(constant(current, count))
        euler = resistance * current * (1 - (1 - dt / (resistance * capacitance)) ** count)
        assert mem[-1].item() == pytest.approx(euler, rel=1e-6)
        errors.append(abs(mem[-1].item() - exact))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(1, abs=0.1)


def test_the_four_ways_to_describe_a_lapicque_circuit_are_one_neuron() -> None:
    x, resistance, capacitance = noise(T, 2, 3, scale=2.0), 2.0, 3.0
    beta = math.exp(-1 / (resistance * capacitance))
    given = [
        {"R": resistance, "C": capacitance},
        {"beta": beta, "R": resistance},
        {"beta": beta, "C": capacitance},
    ]
    results = [snn.Lapicque(**arguments, mode="sequence").double()(x) for arguments in given]
    results.append(snn.Lapicque(beta, resistance, capacitance, mode="sequence").double()(x))
    for spk, mem in results:
        assert torch.equal(spk, results[0][0])
        torch.testing.assert_close(mem, results[0][1], rtol=1e-5, atol=1e-6)


def test_state_leaky_sums_with_its_kernel_over_the_past_or_a_part_of_it() -> None:
    x, beta = noise(T, 2, 3), 0.75
    ages = steps()[:, None] - steps()[None, :]
    kernel = torch.exp(-(1 - beta) * ages).tril()
    for last, weights in ((None, kernel), (5, kernel * (ages < 5)), (99, kernel)):
        spk, mem = snn.StateLeaky(beta, channels=3, kernel_truncation_steps=last).double()(x)
        torch.testing.assert_close(
            mem, torch.einsum("ts,sbf->tbf", weights, x), rtol=1e-6, atol=1e-6
        )
        assert torch.equal(spk, (mem > 1).double())


def test_linear_leaky_is_state_leaky_behind_a_linear_layer() -> None:
    x = noise(T, 2, 3)
    both = snn.LinearLeaky(beta=0.5, in_features=3, out_features=4).double()
    alone = snn.StateLeaky(beta=0.5, channels=4).double()
    for found, expected in zip(both(x), alone(both.linear(x)), strict=True):
        torch.testing.assert_close(found, expected)


# -- spikes and resets -----------------------------------------------------------------------------


@pytest.mark.parametrize("current", [0.25, 0.3, 0.7, 1.0])
def test_a_neuron_without_leak_fires_at_the_rate_of_its_input(current: float) -> None:
    spk, mem = snn.IF(mode="sequence").double()(constant(current, 400))
    assert abs(spk.sum().item() - 400 * current) <= 1
    charge = (
        400 * current - spk[:-1].sum().item()
    )  # what was put in, less what the spikes of the past took out
    assert mem[-1].item() == pytest.approx(charge, abs=1e-9)


@pytest.mark.parametrize(
    "options", [{}, {"reset_mechanism": "zero"}, {"reset_delay": False}], ids=str
)
def test_a_neuron_without_leak_is_a_leaky_one_that_keeps_everything(options: dict) -> None:
    x = noise(T, 2, 3) + 0.3
    results = [
        neuron(x)
        for neuron in (
            snn.IF(mode="sequence", **options),
            snn.Leaky(1.0, mode="sequence", **options),
        )
    ]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_leaky_integrator_is_the_membrane_of_a_neuron_that_is_not_reset() -> None:
    x = noise(T, 2, 3)
    out, mem = snn.LI(0.8, mode="sequence")(x)
    _, expected = snn.Leaky(0.8, reset_mechanism="none", mode="sequence")(x)
    assert torch.equal(out, expected) and torch.equal(mem, expected)
    assert torch.equal(snn.LI(0.8, init_hidden=True, mode="sequence")(x), expected)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_the_resets_of_leaky_step_by_step(reset: str) -> None:
    x = noise(T, 1, 4, scale=1.5)
    spk, mem = snn.Leaky(0.5, reset_mechanism=reset, mode="sequence").double()(x)
    old = np.zeros((1, 4))
    for t, current in enumerate(x.numpy()):
        fired = old > 1
        new = {
            "subtract": 0.5 * old + current - fired,
            "zero": 0.5 * old * ~fired + current,
            "none": 0.5 * old + current,
        }
        old = new[reset]
        np.testing.assert_allclose(mem[t].numpy(), old, atol=1e-12)
        np.testing.assert_array_equal(spk[t].numpy(), old > 1)


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_an_immediate_reset_acts_in_the_step_of_the_spike(reset: str) -> None:
    x = noise(T, 1, 4, scale=1.5).clamp(
        max=1.4
    )  # so that one spike takes the membrane below the threshold
    spk, mem = snn.Leaky(0.5, reset_mechanism=reset, reset_delay=False, mode="sequence").double()(x)
    old = np.zeros((1, 4))
    for t, current in enumerate(x.numpy()):
        charged = 0.5 * old + current
        fired = charged > 1
        old = charged - fired if reset == "subtract" else charged * ~fired
        np.testing.assert_array_equal(spk[t].numpy(), fired)
        np.testing.assert_allclose(mem[t].numpy(), old, atol=1e-12)
    assert mem.max() <= 1


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_synaptic_resets_its_membrane_and_not_its_current(reset: str) -> None:
    x, alpha, beta = noise(T, 1, 4, scale=0.8), 0.75, 0.5
    spk, syn, mem = snn.Synaptic(alpha, beta, reset_mechanism=reset, mode="sequence").double()(x)
    current, old = np.zeros((1, 4)), np.zeros((1, 4))
    for t, value in enumerate(x.numpy()):
        fired = old > 1
        current = alpha * current + value
        charged = beta * old + current
        old = {"subtract": charged - fired, "zero": charged * ~fired, "none": charged}[reset]
        np.testing.assert_allclose(syn[t].numpy(), current, atol=1e-12)
        np.testing.assert_allclose(mem[t].numpy(), old, atol=1e-12)
        np.testing.assert_array_equal(spk[t].numpy(), old > 1)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_alpha_resets_its_currents_step_by_step(reset: str) -> None:
    x, threshold = noise(T, 1, 4), 0.5
    alpha, beta = 0.875, 0.5
    results = snn.Alpha(alpha, beta, threshold, reset_mechanism=reset, mode="sequence").double()(x)
    tau = math.log(alpha) / (math.log(beta) - math.log(alpha)) + 1
    exc, inh, mem = (np.zeros((1, 4)) for _ in range(3))
    for t, value in enumerate(x.numpy()):
        fired, before = mem > threshold, inh
        exc, inh = alpha * exc + value, beta * inh - value
        mem = tau * (exc + inh)
        if reset == "subtract":
            exc, inh, mem = exc - fired * threshold, inh * ~fired, mem + fired * before
        if reset == "zero":
            exc, inh, mem = exc * ~fired, inh * ~fired, mem * ~fired
        for found, expected in zip(results, (mem > threshold, exc, inh, mem), strict=True):
            np.testing.assert_allclose(found[t].numpy(), expected, atol=1e-12)
    assert results[0].sum() > 3
