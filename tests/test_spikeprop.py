"""SpikeProp: first spikes are roots, derivatives are those of the implicit function, layers
learn."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from spikeloom import data
from spikeloom.learning import (
    AlphaResponse,
    DoubleExponential,
    SpikeProp,
    first_spike_loss,
    first_times,
    lif_spikes,
    push_silent,
    srm_first_spikes,
)
from spikeloom.learning.spikeprop.response import Response
from spikeloom.spikegen import population_times

f64 = torch.float64
RESPONSES = [AlphaResponse(7.0), DoubleExponential(4.0, 2.0)]


def drawn(delays: Tensor) -> tuple[Tensor, Tensor]:
    """Spike times [4, 6], one of them missing, and weights [5, 6, K] of both signs."""
    generator = torch.Generator().manual_seed(0)
    times = 10 * torch.rand(4, 6, dtype=f64, generator=generator)
    times[0, 0] = torch.inf
    return times, 0.4 + 0.3 * torch.randn(5, 6, len(delays), dtype=f64, generator=generator)


@pytest.mark.parametrize("response", RESPONSES, ids=lambda r: type(r).__name__)
@pytest.mark.parametrize(
    "delays", [[1.0, 2.0, 5.0], [1.3, 2.7, 5.1]], ids=["on the grid", "off the grid"]
)
def test_derivatives_equal_central_differences(response: Response, delays: list[float]) -> None:
    late = torch.tensor(delays, dtype=f64)
    times, weight = drawn(late)
    finite = torch.isfinite(times)

    def function(given: Tensor, weight: Tensor, late: Tensor) -> Tensor:
        every = torch.full_like(times, torch.inf).masked_scatter(finite, given)
        spikes = srm_first_spikes(
            every, weight, late, until=40.0, response=response, slope_floor=0.0, dt=0.5
        )
        return first_times(spikes, never=0.0)

    leaves = [leaf.clone().requires_grad_() for leaf in (times[finite], weight, late)]
    assert (function(*leaves) > 0).double().mean() > 0.8
    assert torch.autograd.gradcheck(function, leaves, eps=1e-6, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("response", RESPONSES, ids=lambda r: type(r).__name__)
def test_spikes_are_the_first_roots_of_the_membrane(response: Response) -> None:
    late = torch.tensor([1.0, 2.0, 5.0], dtype=f64)
    times, weight = drawn(late)
    spikes = srm_first_spikes(times, weight, late, until=40.0, response=response)
    fine = torch.arange(0, 40, 1e-2, dtype=f64)
    arrival = (times.unsqueeze(-1) + late).flatten(1)
    course = torch.einsum(
        "jm,bmt->bjt", weight.flatten(1), response.value(fine - arrival.unsqueeze(-1))
    )
    for sample in range(4):
        for neuron in range(5):
            above = (course[sample, neuron] >= 1).nonzero()
            time = spikes[sample, neuron].item()
            assert math.isinf(time) == (len(above) == 0)
            if len(above):
                assert 0 <= fine[above[0]].item() - time <= 1e-2
                u = (weight[neuron].flatten() * response.value(time - arrival[sample])).sum()
                assert u.item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("taus", [(4.0, 2.0), (20.0, 5.0)])
def test_gradients_are_those_of_exact_event_based_ones_for_single_spikes(taus) -> None:
    times, weight = drawn(torch.zeros(1))
    below = 2.0 * drawn(torch.zeros(1))[1][:3, :5]
    response, no_delay = DoubleExponential(*taus), torch.zeros(1, dtype=f64)
    found = []
    for event in (True, False):
        leaves = [
            leaf.clone().requires_grad_() for leaf in (times, 4 * weight[..., 0], 4 * below[..., 0])
        ]
        if event:
            same = {
                "tau_m": taus[0],
                "tau_s": taus[1],
                "until": 40.0,
                "max_spikes": 1,
                "slope_floor": 0.0,
            }
            out = lif_spikes(lif_spikes(leaves[0], leaves[1], **same), leaves[2], **same)[..., 0]
        else:
            more = {"until": 40.0, "response": response, "slope_floor": 0.0, "dt": 0.125}
            hidden = srm_first_spikes(leaves[0], leaves[1].unsqueeze(-1), no_delay, **more)
            out = srm_first_spikes(hidden, leaves[2].unsqueeze(-1), no_delay, **more)
        loss = (first_times(out, never=0.0) * torch.arange(1, 4)).sum()
        found.append([out.detach(), *torch.autograd.grad(loss, leaves)])
    assert torch.isfinite(found[0][0]).double().mean() > 0.5
    for exact, other in zip(*found, strict=True):
        torch.testing.assert_close(other, exact, rtol=1e-9, atol=1e-9)


def test_the_alpha_kernel_is_the_limit_of_equal_time_constants() -> None:
    times, weight = drawn(torch.zeros(1))
    tau = 7.0
    spikes = srm_first_spikes(times, 3 * weight, torch.zeros(1, dtype=f64), until=40.0, dt=0.125)
    exact = lif_spikes(
        times, 3 * weight[..., 0] * math.e, tau_m=tau, tau_s=tau, until=40.0, max_spikes=1
    )[..., 0]
    torch.testing.assert_close(spikes, exact, rtol=1e-10, atol=1e-10)


def test_kernels_have_the_values_of_their_formulas() -> None:
    s = torch.tensor([-torch.inf, -1.0, 0.0, 3.5, 7.0, 70.0], dtype=f64)
    alpha, double = AlphaResponse(7.0), DoubleExponential(2.0, 1.0)
    wanted = [0, 0, 0, 0.5 * math.exp(0.5), 1, 10 * math.exp(-9)]
    torch.testing.assert_close(alpha.value(s), torch.tensor(wanted, dtype=f64))
    assert alpha.slope(s).tolist()[:3] == [0, 0, 0] and alpha.slope(s)[4].item() == pytest.approx(
        0, abs=1e-15
    )
    torch.testing.assert_close(alpha.value(s), alpha.both(s)[0])
    assert double.value(s)[3].item() == pytest.approx(math.exp(-1.75) - math.exp(-3.5))
    for response in RESPONSES:
        x = torch.tensor([0.1, 2.0, 9.0], dtype=f64)
        slope = (response.value(x + 1e-6) - response.value(x - 1e-6)) / 2e-6
        torch.testing.assert_close(response.slope(x), slope, rtol=1e-7, atol=1e-9)


def test_a_slope_near_zero_is_divided_by_as_its_floor() -> None:
    gradients = []
    for floor in (0.0, 0.5):
        weight = torch.full(
            (1, 1, 1), 1 + 1e-6, dtype=f64, requires_grad=True
        )  # its peak just passes the threshold
        time = torch.zeros(1, 1, dtype=f64)
        srm_first_spikes(
            time, weight, torch.zeros(1), until=40.0, slope_floor=floor, dt=0.5
        ).sum().backward()
        gradients.append(weight.grad.item())
    assert gradients[0] < -1000 and gradients[1] == pytest.approx(
        -14.0, rel=1e-3
    )  # -eps / (floor / tau)


def test_silent_neurons_report_infinity_pass_no_gradient_and_can_be_pushed() -> None:
    layer = SpikeProp(3, 2, mean=0.0)
    times = layer(torch.zeros(4, 3))
    assert torch.isinf(times).all()
    first_times(times, never=40.0).sum().backward()
    assert not layer.weight.grad.any()
    push_silent(layer.weight, times, 1.0)
    assert (layer.weight.grad == -1).all()


@pytest.mark.slow
def test_xor_is_learned_with_inhibition() -> None:
    torch.manual_seed(1)
    times, wanted = data.xor_times()
    net = nn.Sequential(SpikeProp(3, 5, until=30.0), SpikeProp(5, 1, until=30.0))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(250):
        hidden = net[0](times)
        spikes = net[1](hidden)
        loss = 0.5 * ((first_times(spikes, never=30.0) - wanted) ** 2).sum()
        if loss < 0.5:
            break
        optimizer.zero_grad()
        loss.backward()
        push_silent(net[1].weight, spikes, 1.0)
        optimizer.step()
    assert loss < 0.5 and (net[0].weight < 0).any()


def test_a_delay_that_an_optimiser_passed_below_zero_was_not_zero() -> None:
    times = torch.tensor([[1.0, 3.0]])
    none = SpikeProp(2, 1, delays=(0.0, 4.0), mean=0.9, learn_delays=True)
    half, changed = copy.deepcopy(none), copy.deepcopy(none)
    with torch.no_grad():
        half.delays[0] = 0.5
        changed.delays[0] = -2.0
    assert torch.isfinite(none(times)).all() and not torch.equal(none(times), half(times))
    assert torch.equal(changed(times), none(times))


def test_delays_learn() -> None:
    layer = SpikeProp(2, 1, delays=(1.0, 3.0), mean=0.6, learn_delays=True)
    layer(torch.tensor([[0.0, 2.0]])).sum().backward()
    assert layer.delays.grad is not None and layer.delays.grad.sum().item() == pytest.approx(
        1.0, abs=1e-5
    )


def test_population_times_go_with_the_fields() -> None:
    times = population_times(torch.tensor([[0.0, 1.0]]), 6, latest=10.0)
    assert times.shape == (1, 2, 6)
    assert (
        times[0, 0].argmin() == 0 and torch.isfinite(times[0, 0, :2]).all()
    )  # the border lies between two fields
    assert (
        times[0, 0, 0] == pytest.approx(times[0, 0, 1].item(), abs=1e-4)
        and torch.isinf(times[0, 0, 3:]).all()
    )
    with pytest.raises(ValueError, match="latest must be positive, got 0"):
        population_times(torch.tensor([[0.0]]), 6, latest=0)


def test_losses_of_spike_times_have_the_values_computed_by_hand() -> None:
    times, label = torch.tensor([[[2.0, 3.0], [torch.inf, torch.inf]]]), torch.tensor([1])
    loss = first_spike_loss(times, label, tau=2.0, never=4.0, early=0.1, tau_early=8.0)
    assert loss.item() == pytest.approx(math.log(1 + math.e) + 0.1 * (math.exp(0.5) - 1))
    with pytest.raises(ValueError, match=r"tau must be positive, got 0"):
        first_spike_loss(times, label, tau=0.0, never=4.0)
    with pytest.raises(ValueError, match="call it after backward"):
        push_silent(nn.Parameter(torch.zeros(2, 2)), times, 1.0)
    weight = nn.Parameter(torch.zeros(3, 2))
    weight.grad = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"times must be \[B, 3\], got \(1, 2, 2\)"):
        push_silent(weight, times, 1.0)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        (
            {"times": torch.zeros(2)},
            r"times \[B, I\], weight \[J, I, K\] and delays \[K\] must fit",
        ),
        (
            {"times": torch.full((1, 2), -1.0)},
            r"times must be in \[0, inf\), got -1; the simulation begins at 0",
        ),
        ({"delays": torch.tensor([-1.0])}, r"delays must be in \[0, inf\), got -1"),
        ({"until": math.inf}, "until must be finite, got inf"),
        ({"dt": 0.0}, "dt must be positive, got 0"),
        ({"slope_floor": -1.0}, "slope_floor must be 0 or more"),
    ],
)
def test_mistakes_are_named(changed, match) -> None:
    given = {
        "times": torch.zeros(1, 2),
        "weight": torch.ones(3, 2, 1),
        "delays": torch.zeros(1),
        "until": 10.0,
    }
    with pytest.raises(ValueError, match=match):
        srm_first_spikes(**{**given, **changed})


def test_constants_of_kernels_and_layers_are_checked() -> None:
    with pytest.raises(ValueError, match=r"tau must be in \(0, inf\), got 0"):
        AlphaResponse(0.0)
    with pytest.raises(ValueError, match="write AlphaResponse for equal ones"):
        DoubleExponential(2.0, 2.0)
    with pytest.raises(ValueError, match="at least one terminal, got none"):
        SpikeProp(2, 2, delays=())
