"""Refractory, adaptive and conductance neurons: values computed by hand, and mistakes."""

import math

import pytest
import torch

import spikeloom as snn

SOME = {"beta": 1.0, "threshold": 1.0, "reset_to": 0.25, "refractory_steps": 2}


def test_a_refractory_neuron_is_deaf_for_its_period_and_starts_from_its_reset_potential() -> None:
    lif = snn.RefractoryLIF(**SOME, mode="sequence")
    spk, mem, refractory = lif(torch.full((9, 1, 1), 0.6))
    assert spk.flatten().tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 0]
    expected = [0.6, 0.25, 0.25, 0.25, 0.85, 0.25, 0.25, 0.25, 0.85]
    torch.testing.assert_close(mem.flatten(), torch.tensor(expected))
    assert refractory.flatten().tolist() == [0, 2, 1, 0, 0, 2, 1, 0, 0]


def test_a_refractory_neuron_decays_but_does_not_fire_even_far_above_its_threshold() -> None:
    lif = snn.RefractoryLIF(0.5, threshold=1.0, reset_to=0.8, refractory_steps=3)
    spk, state = lif.step(
        torch.tensor([[5.0]]), lif.State(torch.tensor([[4.0]]), torch.tensor([[1.0]]))
    )
    assert spk.item() == 0 and state.mem.item() == 2.0 and state.refractory.item() == 0


def test_thresholds_rise_by_own_spikes_and_are_forgotten() -> None:
    lif = snn.AdaptiveThresholdLIF(
        **{**SOME, "refractory_steps": 0}, theta_plus=0.5, theta_decay=0.5, mode="sequence"
    )
    spk, mem, _, theta = lif(torch.full((6, 2, 1), 0.8) * torch.tensor([[[1.0], [0.0]]]))
    # membranes 0.8, 1.6 fires; then 1.05 against 1.25, 1.85 fires; then 1.05 against 1.3125
    assert spk[:, 0, 0].tolist() == [0, 1, 0, 1, 0, 1]
    torch.testing.assert_close(theta[:, 0, 0], torch.tensor([0, 0.5, 0.25, 0.625, 0.3125, 0.65625]))
    assert theta[:, 1].eq(0).all() and mem[:, 1].eq(0).all()


def test_an_offset_makes_a_neuron_excitable_that_was_silent_for_long() -> None:
    lif = snn.AdaptiveThresholdLIF(theta_offset=20.0, theta_decay=0.9)
    state = lif.initial(torch.zeros(1, 1))._replace(theta=torch.full((1, 1), 20.0))
    times = []
    for t in range(30):
        spk, state = lif.step(torch.zeros(1, 1), state)
        times += [t] * int(spk)
    assert times[0] == next(t for t in range(30) if 13 - 20 + 20 * 0.9 ** (t + 1) < 0)


def test_conductances_pull_the_membrane_towards_their_reversal_potentials() -> None:
    lif = snn.ConductanceLIF(
        leak=0.1, threshold=100.0, exc_decay=1.0, inh_decay=1.0, mode="sequence"
    )
    x = torch.zeros(400, 1, 3)
    x[0] = torch.tensor([2.0, -4.0, 0.0])
    mem = lif(x)[1][-1, 0]
    torch.testing.assert_close(
        mem, torch.tensor([2 * 60 / 3, -4 * 25 / 5, 0.0]), rtol=1e-4, atol=1e-4
    )


def test_a_conductance_neuron_takes_the_euler_step_written_out() -> None:
    lif = snn.AdaptiveConductanceLIF(theta_plus=1.0)
    state = lif.State(*(torch.tensor([[value]]) for value in (3.0, 0.0, 0.2, 0.4, 5.0)))
    spk, new = lif.step(torch.tensor([[0.5]]), state)
    g_exc, g_inh = 0.2 * math.exp(-0.5) + 0.5, 0.4 * math.exp(-0.25)
    assert new.mem.item() == pytest.approx(
        3 + 0.005 * (-3 + g_exc * (65 - 3) + g_inh * (-35 - 3)), rel=1e-5
    )
    assert (spk.item(), new.g_exc.item()) == (0, pytest.approx(g_exc))
    assert new.theta.item() == pytest.approx(5.0, rel=1e-6)


def test_the_membrane_is_held_while_the_conductances_go_on() -> None:
    lif = snn.ConductanceLIF()
    state = lif.State(*(torch.tensor([[value]]) for value in (15.0, 2.0, 1.0, 0.0)))
    _, new = lif.step(torch.tensor([[0.0]]), state)
    assert (
        new.mem.item() == 15.0
        and new.refractory.item() == 1
        and new.g_exc.item() == pytest.approx(math.exp(-0.5))
    )


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: snn.RefractoryLIF(beta=1.2), r"beta must be in \[0, 1\], got 1.2"),
        (
            lambda: snn.RefractoryLIF(reset_to=25.0),
            "reset_to must be in .* got 25; it would fire at once again",
        ),
        (lambda: snn.RefractoryLIF(refractory_steps=-1), "refractory_steps must be in"),
        (
            lambda: snn.RefractoryLIF(threshold=-40.0),
            "threshold must be in .* a neuron at rest would fire",
        ),
        (lambda: snn.AdaptiveThresholdLIF(theta_plus=-1.0), "theta_plus must be in"),
        (lambda: snn.AdaptiveThresholdLIF(theta_decay=2.0), "theta_decay must be in"),
        (lambda: snn.ConductanceLIF(leak=0.0), r"leak must be in \(0, 1\], got 0"),
        (lambda: snn.AdaptiveConductanceLIF(inh_decay=1.5), "inh_decay must be in"),
    ],
)
def test_constants_that_cannot_be_are_refused(build, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build()
