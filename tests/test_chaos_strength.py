"""Dimensionless strengths: measured against exact eigenvalues, and seen in what training does."""

import math
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import chaos as ch
from spikeloom.chaos import (
    A,
    ChaosWarning,
    Descent,
    Z,
    attach,
    critical_intensity,
    flip,
    lif,
    regime,
)

SLOPE = 0.65 * 0.35


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChaosWarning)
        yield


def largest(x: Tensor) -> float:
    """Largest eigenvalue of the second moments of the inputs and the constant 1."""
    ones = torch.cat([x.flatten(0, -2), torch.ones(x.flatten(0, -2).shape[0], 1).to(x)], dim=1)
    return float(torch.linalg.eigvalsh(ones.T @ ones)[-1]) / len(ones)


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_critical_intensity_of_a_linear_layer_is_the_analytic_one(
    scale: float, momentum: float
) -> None:
    net, x = (
        nn.Sequential(nn.Linear(5, 7), lif(init_hidden=True)).double(),
        torch.rand(30, 5, dtype=torch.double),
    )
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum)
    expected = 2 * (1 + momentum) * scale**2 / (0.1 * largest(x) * SLOPE)
    for reduction, factor in (("sum_units", 1.0), ("mean", 7.0), ("sum", 1 / (30 * 4))):
        found = critical_intensity(net, x, sgd, num_steps=4, scale=scale, reduction=reduction)
        assert found["1"] == pytest.approx(factor * expected, rel=1e-3)


def test_layers_after_spikes_are_measured_by_their_own_weights() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 20), lif(init_hidden=True), nn.Linear(20, 3), lif(init_hidden=True)
    ).double()
    x = 4 * torch.rand(6, 10, 5, dtype=torch.double)
    sgd = torch.optim.SGD(net.parameters(), lr=0.2)
    found = critical_intensity(net, x, sgd, reduction="sum_units")
    spikes = snn.run(net[:2], x).detach()
    assert 0.05 < spikes.mean() < 0.95
    assert found["1"] == pytest.approx(2 / (0.2 * SLOPE * largest(x)), rel=1e-3)
    assert found["3"] == pytest.approx(2 / (0.2 * SLOPE * largest(spikes)), rel=1e-3)


@pytest.mark.parametrize("signal", ["pre", "membrane", "membrane_last", "rate"])
def test_power_iteration_finds_the_largest_eigenvalue_of_the_whole_jacobian(signal: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False),
        nn.BatchNorm2d(2),
        snn.Leaky(0.6, init_hidden=True),
        nn.Flatten(),
    ).double()
    x = torch.rand(4, 3, 1, 5, 5, dtype=torch.double)
    sgd = torch.optim.SGD(
        [{"params": net[0].parameters(), "lr": 0.3}, {"params": net[1].parameters(), "lr": 0.05}]
    )
    found = critical_intensity(net, x, sgd, signal=signal, reduction="sum", layers="2")["2"]

    def h(*values: Tensor) -> Tensor:
        params = dict(zip(dict(net.named_parameters()), values, strict=True))
        with snn.backend("eager"):
            run = torch.func.functional_call(
                Recorded(net), {f"net.{k}": v for k, v in params.items()}, (x,)
            )
        return {**run, "membrane_last": run["membrane"][-1], "rate": run["rate"].mean(0)}[
            signal
        ].flatten()

    jacobians = torch.autograd.functional.jacobian(h, tuple(p.detach() for p in net.parameters()))
    lr = (0.3, 0.05, 0.05)
    whole = torch.cat(
        [j.flatten(1) * math.sqrt(r) for j, r in zip(jacobians, lr, strict=True)], dim=1
    )
    expected = float(torch.linalg.svdvals(whole)[0]) ** 2
    assert found == pytest.approx(2 / (SLOPE * expected), rel=1e-3)


class Recorded(nn.Module):
    """The signals of a convolutional layer, step by step."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pre, spk, mem, state = [], [], [], None
        for x_t in x:
            pre.append(self.net[1](self.net[0](x_t)))
            s, state = self.net[2].step(pre[-1], state)
            spk.append(s), mem.append(state.mem)
        return {"pre": torch.stack(pre), "rate": torch.stack(spk), "membrane": torch.stack(mem)}


def test_measuring_leaves_parameters_statistics_state_and_random_numbers_alone() -> None:
    net = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), snn.Leaky(0.9, init_hidden=True)
    )
    x = torch.rand(8, 3)
    snn.run(net, x, num_steps=2)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    mem, random = net[3].mem.clone(), torch.get_rng_state()
    critical_intensity(net, x, torch.optim.SGD(net.parameters(), lr=0.1), num_steps=3)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert torch.equal(mem, net[3].mem) and torch.equal(random, torch.get_rng_state())
    assert all(p.grad is None for p in net.parameters()) and net[0].weight.requires_grad


def oscillation(
    strength: float, momentum: float = 0.0, nesterov: bool = False, updates: int = 1000
) -> float:
    """Spread of the mean of a linear unit at the end of a descent on the chaotic loss alone, from
    near its rest."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(6, 1)).double(), torch.rand(32, 6, dtype=torch.double)
    nn.init.constant_(net[0].bias, math.log(0.65 / 0.35))
    with torch.no_grad():
        net[0].weight *= 1e-3
    sgd = torch.optim.SGD(net.parameters(), lr=0.1, momentum=momentum, nesterov=nesterov)
    chaos = attach(net, A(strength), layers="0", optimizer=sgd, batch=lambda net: net(x))
    h = []
    for _ in range(updates):
        h.append(net(x).detach().mean())
        sgd.zero_grad()
        chaos().backward()
        sgd.step()
    return float(torch.stack(h[-100:]).std())


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("momentum", "nesterov"),
    [
        (0.0, False),
        pytest.param(0.9, True, marks=pytest.mark.slow),
    ],
)
def test_a_linear_layer_flips_where_the_theory_says_within_one_percent(
    momentum: float, nesterov: bool
) -> None:
    at = flip(Descent(momentum, 0.0, nesterov))
    assert oscillation(0.9 * at, momentum, nesterov, 300) < 1e-6
    assert oscillation(0.99 * at, momentum, nesterov) < 1e-6
    assert oscillation(1.01 * at, momentum, nesterov) > 1e-2
    assert oscillation(1.1 * at, momentum, nesterov, 300) > 0.1


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_scalar_map_flips_at_twice_one_plus_momentum(momentum: float) -> None:
    how = Descent(momentum)
    assert flip(how) == pytest.approx(2 * (1 + momentum))
    assert regime(0.98 * flip(how), how)[:2] == ("stable", 1)
    assert regime(1.02 * flip(how), how)[:2] == ("periodic", 2)


@pytest.mark.parametrize(
    ("strength", "name", "period"),
    [
        *((1.0, "stable", 1), (2.5, "periodic", 2), (3.0, "periodic", 4), (3.5, "chaotic", 0)),
        *((4.09, "chaotic", 0), (4.3, "chaotic", 0), (4.6, "locked", 3), (8.0, "locked", 3)),
    ],
)
def test_the_regimes_of_plain_gradient_descent(strength: float, name: str, period: int) -> None:
    assert regime(strength)[:2] == (name, period)


def test_a_report_tells_strength_regime_and_who_can_learn() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 50), lif(init_hidden=True)), torch.rand(16, 4)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    chaos = attach(net, A(3.5), optimizer=sgd, batch=x, num_steps=5, anneal=ch.Exponential(0.5))
    row = chaos.report().layers["1"]
    assert (row.regime, row.supported, row.warning) == ("chaotic", None, "")
    assert (row.A, row.z) == (pytest.approx(3.5, rel=1e-5), pytest.approx(chaos.losses["1"].z))
    snn.run(net, x, num_steps=5)
    chaos()
    pre = net[0](x)
    mem, inside = torch.zeros_like(pre), []
    for _ in range(5):  # by hand, before the reset
        mem = 0.5 * mem + pre
        inside.append(((mem - 1).abs() < 0.999).float())
        mem = mem * (mem <= 1)
    assert chaos.report().layers["1"].supported == pytest.approx(float(torch.stack(inside).mean()))
    chaos.step()
    assert chaos.report().layers["1"].regime == "stable"
    assert chaos.report().warnings[0].startswith("layer '1': A = 1.75 is not chaotic, a bias")
    sgd.param_groups[0]["lr"] = 0.2  # a schedule counts
    strength = chaos.report().layers["1"].A
    assert strength == pytest.approx(3.5, rel=1e-5)
    lines = str(chaos.report()).splitlines()
    assert lines[0].split() == ["layer", "z", "A", "regime", "exponent", "supported"]
    assert lines[1].split()[0] == "1" and lines[1].split()[3] == "chaotic"


def test_annealing_until_a_strength_counts_in_the_unit_of_the_strength() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), lif(init_hidden=True)), torch.rand(8, 4)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    chaos = attach(net, A(3.8), optimizer=sgd, batch=x, num_steps=5, anneal=ch.Until(2.0, 0.9))
    regimes = []
    for _ in range(8):
        regimes.append(chaos.report().layers["1"].regime)
        chaos.step()
    assert regimes == [
        "chaotic",
        "chaotic",
        *["periodic"] * 5,
        "off",
    ]  # 3.8 0.9^n; z itself is another number
    assert abs(chaos.losses["1"].begin - 3.8) > 1


@pytest.mark.parametrize("mode", ["step", "sequence"])
@pytest.mark.parametrize("delay", [True, False])
def test_the_share_of_supported_neurons_is_the_same_in_both_modes(mode: str, delay: bool) -> None:
    torch.manual_seed(0)
    neuron = snn.Leaky(
        0.7,
        init_hidden=True,
        spike_grad=snn.surrogate.zif(0.5),
        reset_delay=delay,
        reset_mechanism="zero",
        mode=mode,
    )
    net, x = nn.Sequential(nn.Linear(3, 40), neuron), 2 * torch.rand(6, 5, 3)
    chaos = attach(net, Z(1.0))
    net(x) if mode == "sequence" else [net(x_t) for x_t in x]
    chaos()
    mem, inside = torch.zeros(5, 40), []
    for x_t in x:
        mem = 0.7 * mem + net[0](x_t)
        inside.append(((mem - 1).abs() < 0.5 * 0.999).float())
        mem = mem * (mem <= 1)
    assert chaos.report().layers["1"].supported == pytest.approx(
        float(torch.stack(inside).mean()), abs=0.003
    )


def test_literal_strengths_far_below_the_flip_are_called_a_weak_bias() -> None:
    net, x = (
        nn.Sequential(nn.Linear(784, 128), snn.Leaky(0.5, init_hidden=True)),
        torch.rand(32, 784),
    )
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.warns(ChaosWarning, match=r"layer '1': A = 0\.00\d+ is not chaotic, a weak bias"):
        attach(net, Z(15.0), scale=10.0, optimizer=sgd, batch=x, num_steps=5)


def test_a_locked_strength_warns() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), snn.Leaky(0.5, init_hidden=True)), torch.rand(8, 4)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.warns(ChaosWarning, match=r"A = 5 is locked to an orbit of period 3, not chaotic"):
        attach(net, A(5.0), optimizer=sgd, batch=x, num_steps=5)


def test_what_cannot_be_measured_is_refused() -> None:
    net, x = nn.Sequential(nn.Linear(4, 8), snn.Leaky(0.5, init_hidden=True)), torch.rand(8, 4)
    with pytest.raises(TypeError, match=r"is defined for torch\.optim\.SGD"):
        attach(net, A(3.8), optimizer=torch.optim.Adam(net.parameters()), batch=x, num_steps=5)
    frozen = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(
        ValueError, match=r"needs weights that learn and an input, got none for '1'"
    ):
        critical_intensity(net, x, frozen, num_steps=5)
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="'1' was not called"):
        critical_intensity(net, lambda net: net[0](x), sgd)
    with pytest.raises(TypeError, match="batch must be a tensor or a function"):
        critical_intensity(net, [x], sgd)  # type: ignore[arg-type]
