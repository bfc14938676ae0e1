"""The instruments: exponents with known answers, diagrams with known bifurcations."""

import math

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import chaos as ch
from spikeloom import spikeplot
from spikeloom.chaos import (
    Run,
    analytic,
    bifurcation,
    feedback,
    lyapunov,
    lyapunov_of_trace,
    lyapunov_of_training,
)
from spikeloom.chaos.exponents import estimate

SLOPE = 0.65 * 0.35


def logistic(x: Tensor) -> Tensor:
    return 4 * x * (1 - x)


def trace(step: object, steps: int, start: float = 0.3) -> list[float]:
    found = [start]
    for _ in range(steps):
        found.append(float(step(torch.tensor(found[-1], dtype=torch.double))))  # type: ignore[operator]
    return found


# -- maps ------------------------------------------------------------------------------------------


def test_the_logistic_map_gives_ln_2() -> None:
    found = lyapunov(logistic, torch.linspace(0.1, 0.45, 100), steps=4000)
    assert found.value == pytest.approx(math.log(2), abs=1e-3)
    assert found.low <= math.log(2) + 1e-3 and found.high >= math.log(2) - 1e-3 and found.chaotic


def test_a_linear_map_gives_the_logarithm_of_its_largest_factor_for_every_size() -> None:
    factors = torch.tensor([0.5, -0.9, 0.2], dtype=torch.double)
    found = lyapunov(
        lambda x: factors * x + 1, torch.zeros(1, 3), steps=500, burn_in=50, eps=(1e-8, 1e-4, 1.0)
    )
    for one in found.by_eps:
        assert one.between(100) == pytest.approx(math.log(0.9), abs=1e-6)
    assert not found.chaotic


@pytest.mark.parametrize("strength", [1.5, 2.5, 3.5, 4.09])
def test_the_exponent_of_the_feedback_map_is_the_analytic_average_along_the_same_orbit(
    strength: float,
) -> None:
    x = torch.tensor([0.2], dtype=torch.double)
    slopes = []
    for n in range(3000):
        if n >= 500:
            p = torch.sigmoid(x)
            slopes.append(1 - strength / SLOPE * p * (1 - p))
        x = feedback(x, strength)
    found = lyapunov(
        lambda u: feedback(u, strength),
        torch.tensor([0.2], dtype=torch.double),
        steps=2500,
        burn_in=500,
        eps=1e-9,
    )
    assert found.value == pytest.approx(analytic(torch.cat(slopes)), abs=1e-3)


def test_a_vanished_difference_starts_anew_and_counts_as_the_resolution() -> None:
    found = lyapunov(torch.zeros_like, torch.ones(1, 2), steps=20, burn_in=0, eps=1e-8)
    assert found.value < -10 and math.isfinite(found.value)


def test_a_counted_map_knows_its_step() -> None:
    seen: list[int] = []

    def step(x: Tensor, n: int) -> Tensor:
        seen.append(n)
        return 0.5 * x + 1

    lyapunov(step, torch.zeros(1), steps=3, burn_in=2, counted=True)
    assert seen == [0, 1, 2, 3, 4]


def test_confidence_intervals_cover_the_mean_of_correlated_rates() -> None:
    generator, covered = torch.Generator().manual_seed(0), 0
    for _ in range(40):
        noise = torch.randn(420, generator=generator, dtype=torch.double)
        rates = noise.unfold(0, 20, 1).mean(1) + 0.3  # moving average: neighbours agree
        found = estimate(rates, 1e-8, block=40)
        covered += found.low <= 0.3 <= found.high
    assert covered >= 30


def test_an_interval_without_a_block_length_took_neighbouring_rates_for_independent() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(420, generator=generator, dtype=torch.double)
    rates = noise.unfold(0, 20, 1).mean(1)
    widths = {}
    for block in (None, 20, 1):  # 20 is the root of the 401 steps
        found = estimate(rates, 1e-8, block=block)
        widths[block] = found.high - found.low
    assert widths[None] == widths[20] > 2 * widths[1]


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be a whole number from 1"):
        lyapunov(logistic, torch.ones(1), steps=0)
    with pytest.raises(ValueError, match="eps must be in"):
        lyapunov(logistic, torch.ones(1), eps=0.0)
    with pytest.raises(ValueError, match="eps must be a size or several"):
        lyapunov(logistic, torch.ones(1), eps=())
    with pytest.raises(ValueError, match="step must keep the shape"):
        lyapunov(lambda x: x.sum(), torch.ones(2))
    with pytest.raises(ValueError, match="two or more different strengths"):
        bifurcation(feedback, [2.0, 2.0])
    with pytest.raises(ValueError, match="the map must stay finite"):
        bifurcation(lambda x, a: a * x * x + 2, [1.0, 2.0])
    with pytest.raises(ValueError, match="trace must be"):
        lyapunov_of_trace([0.1] * 10)
    with pytest.raises(TypeError, match=r"diagram must come from chaos\.bifurcation"):
        spikeplot.bifurcation([1.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"exponents must come from chaos\.lyapunov"):
        spikeplot.lyapunov([1.0])  # type: ignore[arg-type]


# -- trainings -------------------------------------------------------------------------------------


def squares(
    momentum: float = 0.0,
    features: tuple[float, ...] = (1.0, 2.0),
    lr: float = 0.05,
    w: float = 0.3,
) -> Run:
    """Least squares on one weight for each feature: the difference shrinks by 1 - 2 lr f^2."""
    net = nn.Linear(len(features), 1, bias=False)
    nn.init.constant_(net.weight, w)
    x = torch.diag(torch.tensor(features, dtype=torch.double))
    sgd = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)

    def update(n: int) -> None:
        sgd.zero_grad()
        (net(x) - 1).square().sum().backward()
        sgd.step()

    return Run(net, sgd, update)


def test_linear_least_squares_gives_its_slowest_rate() -> None:
    found = lyapunov_of_training(squares, steps=150, burn_in=5, eps=(1e-8, 1e-2))
    assert not found.control
    for one in found.by_eps:
        assert one.between(100) == pytest.approx(math.log(1 - 2 * 0.05 * 1.0), abs=1e-6)


def test_momentum_belongs_to_the_state() -> None:
    found = lyapunov_of_training(lambda: squares(0.9, (1.0,)), steps=400, burn_in=5, eps=1e-6)
    assert found.by_eps[0].between(-200) == pytest.approx(
        0.5 * math.log(0.9), abs=0.02
    )  # complex eigenvalues


def test_the_buffers_of_the_optimizer_are_scaled_back_with_the_weights() -> None:
    make = lambda: squares(0.5, (1.0,), lr=1.75, w=1.0)  # noqa: E731  (unstable, and exactly at rest)
    found = lyapunov_of_training(make, steps=40, burn_in=1, eps=1e-6)
    growth = (2 + math.sqrt(2)) / 2  # the larger root of r^2 - (1 + m - 2 lr) r + m
    assert found.by_eps[0].between(20) == pytest.approx(math.log(growth), abs=1e-6)


def single(z: float, orbit: list[float] | None = None) -> Run:
    """One linear neuron under the chaotic loss alone, input 1; ``orbit`` receives its
    pre-activations."""
    net = nn.Sequential(nn.Linear(1, 1))
    nn.init.constant_(net[0].weight, 0.3)
    nn.init.constant_(net[0].bias, 0.1)
    sgd, x = torch.optim.SGD(net.parameters(), lr=1.0), torch.ones(1, 1, dtype=torch.double)
    chaos = ch.attach(net, ch.Z(z), layers="0", optimizer=sgd)

    def update(n: int) -> None:
        h = net(x).item()
        if orbit is not None:
            orbit.append(h)
        sgd.zero_grad()
        loss = chaos()
        if loss.requires_grad:
            loss.backward()
            sgd.step()

    return Run(net, sgd, update, chaos)


@pytest.mark.parametrize("z", [5.2, 8.0])
def test_the_exponent_of_a_trained_neuron_is_the_analytic_average(z: float) -> None:
    orbits: list[list[float]] = [[], []]  # of the run and of its twin
    made = iter(orbits)
    found = lyapunov_of_training(
        lambda: single(z, next(made)), steps=300, burn_in=100, eps=1e-9, control=False
    )
    p = torch.sigmoid(torch.tensor(orbits[0], dtype=torch.double)[110:])
    expected = analytic(1 - 2 * z * p * (1 - p))
    if (
        z < 7
        # weight and bias move together; across them nothing changes, which is all that is left of a
        # difference
    ):
        assert expected < -1
        expected = 0.0
    after = found.by_eps[0].between(
        10
    )  # the first steps turn the difference into the direction that grows
    assert after == pytest.approx(expected, abs=1e-3)


def test_the_control_is_the_same_training_without_the_chaotic_loss() -> None:
    found = lyapunov_of_training(lambda: single(8.0), steps=100, burn_in=20, eps=(1e-8, 1e-6))
    assert [one.value for one in found.control] == pytest.approx([0.0, 0.0], abs=1e-7)
    assert len(found.by_eps) == 2 and found.chaotic
    assert "control, eps 1e-08" in str(found)


def test_twins_share_their_random_numbers() -> None:
    def make() -> Run:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        sgd = torch.optim.SGD(net.parameters(), lr=0.01)

        def update(n: int) -> None:
            sgd.zero_grad()
            net(torch.rand(4, 3, dtype=torch.double)).square().sum().backward()
            sgd.step()

        return Run(net, sgd, update)

    found = lyapunov_of_training(make, steps=50, burn_in=5, eps=1e-8)
    assert (
        found.by_eps[0].local.max() < 1.0
    )  # other masks would tear them apart at once: ln(1e-2 / 1e-8) = 14
    before = torch.get_rng_state()
    lyapunov_of_training(make, steps=2, burn_in=0, eps=1e-8)
    assert torch.equal(before, torch.get_rng_state())


def test_make_must_return_the_same_network() -> None:
    sizes = iter(range(1, 10))

    def make() -> Run:
        net = nn.Linear(next(sizes), 1)
        return Run(net, torch.optim.SGD(net.parameters(), lr=0.1), lambda n: None)

    with pytest.raises(ValueError, match="make must return the same network each time"):
        lyapunov_of_training(make, steps=2, burn_in=0)


# -- recorded traces -------------------------------------------------------------------------------


def test_a_recorded_trace_of_the_logistic_map_gives_ln_2_and_a_positive_test() -> None:
    x = trace(logistic, 3000)
    found = lyapunov_of_trace(x, dimension=2, horizon=4)
    assert found.value == pytest.approx(math.log(2), abs=0.07) and found.chaotic
    assert ch.zero_one_test(x) > 0.95


def test_a_recorded_trace_of_a_chaotic_training_gives_its_exponent() -> None:
    x = trace(lambda u: feedback(u, 4.09), 3000)
    assert lyapunov_of_trace(x, dimension=2, horizon=3).value == pytest.approx(0.39, abs=0.1)
    assert ch.zero_one_test(x) > 0.9


def test_regular_traces_are_not_chaotic() -> None:
    period_two = trace(lambda u: feedback(u, 2.5), 1000)[500:]
    assert lyapunov_of_trace(period_two).value == -math.inf
    assert abs(ch.zero_one_test(period_two)) < 0.2
    turn = [math.sin(0.7 * n) for n in range(1500)]
    assert lyapunov_of_trace(turn, dimension=3).value < 0.05
    assert abs(ch.zero_one_test(turn)) < 0.2


# -- pictures --------------------------------------------------------------------------------------


def test_pictures_show_what_was_computed() -> None:
    pytest.importorskip("matplotlib")
    plt = __import__("matplotlib.pyplot").pyplot
    ax = spikeplot.bifurcation(
        bifurcation(feedback, torch.linspace(1.5, 5.0, 40), keep=10), name="strength"
    )
    assert [len(points.get_offsets()) for points in ax.collections] == [400, 400]
    colours = ax.collections[0].get_array()
    assert colours.min() < -0.1 and colours.max() > 0.1 and ax.get_xlabel() == "strength"
    found = lyapunov_of_training(lambda: single(8.0), steps=40, burn_in=5, eps=(1e-8, 1e-6))
    curves = spikeplot.lyapunov(found, window=5)
    assert [t.get_text() for t in curves.get_legend().get_texts()][::2] == [
        "eps 1e-08",
        "control, eps 1e-08",
    ]
    plt.close("all")


def test_the_package_comes_on_first_use() -> None:
    assert snn.chaos.attach is ch.attach
