"""What a strength does to a spiking network on digits: rest, oscillation, chaos, and death by the
published recipe."""

import warnings

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import chaos as ch
from spikeloom.chaos import CSBP, A, ChaosWarning, Z, attach, lif


def test_the_published_multi_layer_recipe_silently_kills_a_network_and_the_report_tells() -> None:
    split = snn.data.digits(flat=True)
    accuracies, shares = [], []
    for recipe in (Z(0.0), CSBP(Z(10.0), scale=10.0, reduction="sum", anneal=ch.Exponential(0.97))):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(64, 64), lif(init_hidden=True), nn.Linear(64, 10))
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ChaosWarning)
            chaos = attach(net, recipe, optimizer=sgd)
        for n in range(200):
            part = torch.arange(n * 64, (n + 1) * 64) % len(split.x_train)
            output = snn.run(net, split.x_train[part], num_steps=5)
            loss = nn.functional.cross_entropy(output.mean(0), split.y_train[part]) + chaos()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        with torch.no_grad():
            predicted = snn.run(net, split.x_test, num_steps=5).mean(0).argmax(1)
        accuracies.append((predicted == split.y_test).float().mean().item())
        shares.append(chaos.report().layers["1"].supported)
    assert accuracies[0] > 0.5 and accuracies[1] < 0.2
    assert shares[0] > 0.5 and shares[1] < 0.2


def digits_run(strength: float, seed: int = 0) -> ch.Run:
    """64-64-10 LIF neurons, all samples in one batch, the chaotic loss on the hidden layer."""
    split = snn.data.digits(flat=True)
    x, y = split.x_train[:120].double(), split.y_train[:120]
    torch.manual_seed(seed)
    neurons = [lif(init_hidden=True) for _ in range(2)]
    net = nn.Sequential(nn.Linear(64, 64), neurons[0], nn.Linear(64, 10), neurons[1]).double()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    settings = CSBP(A(strength), layers="hidden", center="threshold")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChaosWarning)
        chaos = attach(net, settings, optimizer=sgd, batch=x, num_steps=6)

    def update(n: int) -> None:
        loss = nn.functional.cross_entropy(4 * snn.run(net, x, num_steps=6).mean(0), y) + chaos()
        sgd.zero_grad()
        loss.backward()
        sgd.step()

    return ch.Run(net, sgd, update, chaos)


def mean_drive(strength: float, updates: int) -> Tensor:
    """Mean pre-activation of the hidden layer over the last 50 updates."""
    run, x, h = digits_run(strength), snn.data.digits(flat=True).x_train[:120].double(), []
    for n in range(updates):
        run.update(n)
        h.append(run.net[0](x).mean().detach())
    return torch.stack(h[-50:])


def test_a_spiking_network_oscillates_for_a_strength_above_the_flip_and_not_below_it() -> None:
    assert mean_drive(1.9, 200).std() < 0.01
    assert mean_drive(2.1, 200).std() > 0.3


@pytest.mark.slow
def test_asked_for_chaos_a_spiking_network_has_a_positive_exponent() -> None:
    options = {"steps": 80, "burn_in": 60, "eps": 1e-8}
    chaotic = ch.lyapunov_of_training(lambda: digits_run(3.5), **options)  # type: ignore[arg-type]
    stable = ch.lyapunov_of_training(lambda: digits_run(1.9), control=False, **options)  # type: ignore[arg-type]
    assert chaotic.chaotic and chaotic.value > 0.15
    assert chaotic.control[0].value < 0.05
    assert stable.value < 0.01 and not stable.chaotic
