"""The single neuron of the CSBP authors, literally: 20 steps divided by 10, learning rates 0.001
and 1, z = 10."""

import pytest
import torch
from reference_csbp import Single, single_neuron_loss
from torch import Tensor
from torch.optim import SGD

import spikeloom as snn
from spikeloom import chaos as ch
from spikeloom.chaos import ChaoticLoss, Exponential, SingleNeuron, Trajectory

REST = 0.3095196  # logit(0.65) / 2


def driven(epochs: int, **settings: float) -> Trajectory:
    neuron = SingleNeuron(**settings)  # type: ignore[arg-type]
    return neuron.train_on(
        SGD(neuron.parameters(), lr=1.0), ChaoticLoss(10.0, anneal=Exponential(0.9995)), epochs
    )


def plain(epochs: int, lr: float) -> Trajectory:
    neuron = SingleNeuron()
    return neuron.train_on(SGD(neuron.parameters(), lr=lr), epochs=epochs)


def published(epochs: int, lr: float, z: float) -> list[float]:
    """The weight in the authors' loop, written out."""
    net, found, x = Single().double(), [], torch.ones(1, 1, dtype=torch.double)
    sgd = SGD(net.parameters(), lr=lr)
    for _ in range(epochs):
        rate, h = net(x)
        loss = ((rate - 0) ** 2).mean() + single_neuron_loss(torch.sigmoid(h), z).sum()
        found.append(net.layer.weight.item())
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        z *= 0.9995
    return found


@pytest.mark.parametrize(("lr", "z"), [(0.001, 0.0), (1.0, 10.0)])
def test_the_weight_follows_the_published_loop_update_by_update(lr: float, z: float) -> None:
    neuron = SingleNeuron().double()
    loss = ChaoticLoss(z, anneal=Exponential(0.9995))
    ours = neuron.train_on(SGD(neuron.parameters(), lr=lr), loss, epochs=40).weight
    assert torch.allclose(ours, torch.tensor(published(40, lr, z), dtype=torch.double), rtol=1e-5)


def test_the_map_of_many_neurons_is_the_update_of_one() -> None:
    neuron = SingleNeuron().double()
    state = torch.full((1, 2), 0.5, dtype=torch.double)
    run = neuron.train_on(SGD(neuron.parameters(), lr=1.0), ChaoticLoss(10.0), epochs=20)
    found = []
    for _ in range(20):
        found.append(state[0, 0])
        state = SingleNeuron().double().update(state, 10.0)
    assert torch.allclose(torch.stack(found), run.weight, rtol=1e-9)
    many = torch.rand(5, 2, dtype=torch.double)
    z = torch.linspace(1, 10, 5, dtype=torch.double)
    whole = SingleNeuron().double().update(many, z)
    each = torch.cat(
        [SingleNeuron().double().update(m[None], v) for m, v in zip(many, z, strict=True)]
    )
    assert torch.allclose(whole, each)


def test_plain_backpropagation_also_reaches_loss_zero_and_stops_at_the_edge_of_silence() -> None:
    run = plain(200, 0.001)
    assert float(run.weight[-1]) == pytest.approx(0.3995, abs=0.002)
    assert run.task_loss[0] == 1.0 and run.task_loss[-1] == 0.0
    assert int((run.task_loss == 0).nonzero()[0]) == 33
    assert (run.weight[40:] == run.weight[-1]).all()


def test_the_larger_learning_rate_alone_reaches_loss_zero_in_one_update() -> None:
    assert (plain(20, 1.0).task_loss[1:] == 0).all()


def test_the_division_by_ten_doubles_the_rate() -> None:
    x = torch.ones(1, 1)
    assert SingleNeuron(w=2.0, b=2.0)(x)[0].item() == 2.0
    assert SingleNeuron(w=2.0, b=2.0, divide_by=20)(x)[0].item() == 1.0


@pytest.fixture(scope="module")
def whole() -> Trajectory:
    """Of the 4000 epochs with the chaotic loss those after which nothing changes."""
    with snn.backend("numba" if snn.backends()["numba"] == "available" else "torch"):
        return driven(2600)


def distinct(weight: Tensor) -> int:
    return len(weight.double().round(decimals=3).unique())


@pytest.mark.slow
def test_with_the_chaotic_loss_chaos_is_followed_by_reverse_period_doubling_a_second_burst_and_rest(
    whole: Trajectory,
) -> None:
    w = whole.weight
    assert distinct(w[100:300]) > 150 and distinct(w[400:600]) > 150  # chaos
    two = w[1100:1250]
    assert (
        (two[2:] - two[:-2]).abs().max() < 0.01 < 1.0 < (two[1:] - two[:-1]).abs().min()
    )  # period 2
    assert distinct(w[1400:1500]) > 60  # a second burst
    assert w[1400:1700].min() < -3 < w[1100:1250].min()
    assert float(w[-1]) == pytest.approx(0.30952, abs=1e-3)
    assert (w[2200:] - REST).abs().max() < 1e-3
    assert whole.task_loss[-1] == 0


@pytest.mark.slow
def test_the_exponent_is_positive_at_first_and_far_below_zero_at_the_end() -> None:
    neuron, start = SingleNeuron().double(), torch.full((1, 2), 0.5, dtype=torch.double)
    with snn.backend("numba" if snn.backends()["numba"] == "available" else "torch"):
        found = ch.lyapunov(
            lambda state, n: neuron.update(state, 10.0 * 0.9995**n),
            start,
            steps=4000,
            burn_in=0,
            eps=1e-9,
            counted=True,
        )
    assert found.by_eps[0].between(0, 600) > 0.1
    assert found.by_eps[0].between(-1000) < -1


@pytest.mark.slow
def test_frozen_intensities_show_the_phases_of_the_annealing() -> None:
    neuron = SingleNeuron().double()
    start = torch.tensor([0.5, 0.5])
    with snn.backend("torch"):
        found = ch.bifurcation(
            neuron.update, [4.3, 5.2, 6.5, 8.0, 8.5, 10.0], start, settle=250, keep=120
        )
    for sweep in (found.up, found.down):
        assert sweep.period.tolist()[1:3] == [2, 4] and sweep.period.tolist()[5] == 3
        assert sweep.exponent[0] < 0 and (sweep.exponent[3:5] > 0.1).all()
    rest = found.up.orbit[-1, 0]
    assert float(rest) == pytest.approx(REST, abs=0.01)
