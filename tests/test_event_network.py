"""An ordinary network of `Synaptic` neurons, read as one in continuous time."""

import math

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.learning import EventLIF, EventNetwork, SpikeProp, bp_stdp
from spikeloom.learning.eventprop.closed_forms import decays
from spikeloom.learning.eventprop.network import step_spikes, train_times

f64 = torch.float64


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_network_in_steps_becomes_the_one_in_continuous_time(reset) -> None:
    for dt, wrong in ((0.1, 1), (0.02, 1)):
        torch.manual_seed(0)
        alpha, beta = (torch.tensor(math.exp(-dt / tau), dtype=f64) for tau in (2.0, 6.0))
        threshold = 1 / decays(dt, 6.0, 2.0)[2]
        more = {"init_hidden": True, "reset_mechanism": reset, "reset_delay": False}
        neurons = [snn.Synaptic(alpha, beta, threshold=threshold, **more) for _ in range(2)]
        net = nn.Sequential(
            nn.Linear(5, 8, bias=False), neurons[0], nn.Linear(8, 3, bias=False), neurons[1]
        ).double()
        with torch.no_grad():
            net[0].weight.mul_(3).add_(2)
            net[2].weight.mul_(2).add_(1.5)
        steps = int(20 / dt)
        x = torch.zeros(steps, 2, 5, dtype=f64)
        for place in (10 * torch.rand(2, 5)).floor().unsqueeze(0).mul(1 / dt).long():
            x.scatter_(0, place.unsqueeze(0), 1.0)
        times = EventNetwork(net)(x)
        record = snn.run(net, x, record=["1.spk", "3.spk"]).record
        for name, exact in zip(("1.spk", "3.spk"), times, strict=True):
            first = [
                snn.decode.first_spike(train) for train in (record[name], step_spikes(exact, steps))
            ]
            assert (first[0] - first[1]).abs().max() <= wrong and (
                first[0] < steps
            ).double().mean() > 0.7


def test_a_layer_in_two_places_is_read_twice_and_neurons_are_refused() -> None:
    linear, first, second = (
        nn.Linear(3, 3),
        *(snn.Synaptic(0.8, 0.9, init_hidden=True) for _ in range(2)),
    )
    assert [
        stage.path for stage in EventNetwork(nn.Sequential(linear, first, linear, second)).stages
    ] == ["1", "3"]
    with pytest.raises(ValueError, match="may occur once, got '3', which occurs twice"):
        EventNetwork(nn.Sequential(linear, first, linear, first))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((8, 2, 3), math.nan), "x holds 48 NaN or infinite values of 48"),
        (
            torch.zeros(8, 0, 3),
            r"x must hold at least one sample, got \(8, 0, 3\); leave empty batches out",
        ),
    ],
)
def test_nan_and_empty_batches_are_named_instead_of_looking_like_silence(x, message) -> None:
    net = nn.Sequential(nn.Linear(3, 2), snn.Synaptic(0.8, 0.9, init_hidden=True))
    with pytest.raises(ValueError, match=message):
        EventNetwork(net)(x)


def test_empty_batches_are_named_by_rules_of_spike_times_and_errors() -> None:
    net = nn.Sequential(nn.Linear(3, 2), snn.IF(0.9, init_hidden=True))
    empty = torch.zeros(0).long()
    for call in (
        lambda: SpikeProp(3, 2)(torch.rand(0, 3)),
        lambda: EventLIF(3, 2, until=9.0)(torch.rand(0, 3, 1)),
        lambda: bp_stdp(net, torch.zeros(8, 0, 3), empty),
    ):
        with pytest.raises(ValueError, match="must hold at least one sample, got"):
            call()


def test_bias_and_feedback_of_a_network_are_read() -> None:
    torch.manual_seed(1)
    neuron = snn.RSynaptic(
        alpha=0.9,
        beta=0.95,
        linear_features=4,
        init_hidden=True,
        reset_delay=False,
        reset_mechanism="zero",
    )
    net = nn.Sequential(nn.Linear(3, 4), neuron).double()
    with torch.no_grad():
        net[0].weight.add_(0.3)
        neuron.recurrent.weight.mul_(0.1).sub_(0.1)
    x = (torch.rand(30, 2, 3, dtype=f64) < 0.1).double()
    times = EventNetwork(net)(x)[0]
    record = snn.run(net, x, record=["1.spk"]).record["1.spk"]
    first = [snn.decode.first_spike(train) for train in (record, step_spikes(times, 30))]
    assert (
        record.sum() > 5 and (first[0] - first[1]).abs().max() <= 1
    )  # in steps of this length rates differ
    torch.where(torch.isfinite(times), times, 0.0).sin().sum().backward()
    for parameter in net.parameters():
        assert (
            parameter.grad is not None
            and torch.isfinite(parameter.grad).all()
            and parameter.grad.any()
        )


def test_currents_are_spikes_of_their_size() -> None:
    x = torch.tensor([[[0.5]], [[0.0]], [[2.0]]])
    times, value = train_times(x)
    assert (
        times.tolist() == [[[0.0, 2.0]]] and value is not None and value.tolist() == [[[0.5, 2.0]]]
    )


def refuse(net: nn.Module, match: str, kind: type[Exception] = TypeError) -> None:
    with pytest.raises(kind, match=match):
        EventNetwork(net)


def test_networks_that_do_not_fit_are_refused_by_name() -> None:
    neuron = snn.Synaptic(0.8, 0.9, init_hidden=True)
    refuse(
        nn.Sequential(nn.Linear(2, 2), snn.Leaky(0.9, init_hidden=True)),
        "got Leaky at '1'.*write snn.Synaptic",
    )
    refuse(nn.Sequential(nn.Linear(2, 2), nn.Dropout(), neuron), "got Dropout at '1'; leave it out")
    refuse(nn.Sequential(nn.Linear(2, 2)), "the last linear layer needs neurons")
    refuse(nn.Linear(2, 2), r"must be nn.Sequential, got Linear")
    keep = snn.Synaptic(0.8, 0.9, init_hidden=True, reset_mechanism="none")
    refuse(nn.Sequential(nn.Linear(2, 2), keep), "must be reset by its spikes", ValueError)
    refuse(
        nn.Sequential(nn.Linear(2, 2), snn.Synaptic(0.0, 0.9)),
        r"alpha of '1' must be in \(0, 1\)",
        ValueError,
    )
