"""Exact gradients as a rule of ``fit``, and as a row of the report of gradients."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data
from spikeloom.functional import ce_rate_loss, ce_temporal_loss, mse_temporal_loss
from spikeloom.learning import EventNetwork, EventProp, event_loss, event_pass
from spikeloom.learning.eventprop.gradient import EventPass


def latency(x: Tensor, num_steps: int) -> Tensor:
    """One spike for each pixel that is not dark, the brighter the earlier."""
    step = ((1 - x) * 12).round().long()
    return torch.zeros(num_steps, *x.shape).scatter_(0, step.unsqueeze(0), 1.0) * (x > 0.1)


def network(seed: int = 0, **more: Any) -> nn.Sequential:
    torch.manual_seed(seed)
    neurons = [
        snn.Synaptic(0.8, 0.9, init_hidden=True, output=last, **more) for last in (False, True)
    ]
    net = nn.Sequential(
        nn.Linear(64, 40, bias=False), neurons[0], nn.Linear(40, 10, bias=False), neurons[1]
    )
    with torch.no_grad():
        net[0].weight.add_(0.03)
        net[2].weight.mul_(2).add_(0.08)
    return net


@pytest.mark.slow
def test_fit_trains_the_same_network_without_time_steps() -> None:
    result = snn.fit(
        network(reset_mechanism="zero", reset_delay=False),
        data.digits(flat=True),
        num_steps=20,
        epochs=3,
        batch_size=32,
        encode=latency,
        rule="eventprop",
        lr=3e-3,
        seed=0,
        progress=False,
    )
    assert result.test_accuracy.last > 0.6
    assert result.history[-1]["train_loss"] < 0.7 * result.history[0]["train_loss"]


def refused(
    match: str, net: nn.Module | None = None, kind: type[Exception] = ValueError, **more: Any
) -> None:
    given = {
        "num_steps": 20,
        "encode": latency,
        "rule": "eventprop",
        "progress": False,
        "epochs": 1,
        **more,
    }
    with pytest.raises(kind, match=match):
        snn.fit(network() if net is None else net, data.digits(flat=True), **given)


def test_what_does_not_fit_is_refused_by_name() -> None:
    leaky = nn.Sequential(nn.Linear(64, 10), snn.Leaky(0.9, init_hidden=True, output=True))
    refused("got Leaky at '1'.*write snn.Synaptic", leaky, TypeError)
    refused(
        "does not apply: the loss does not read spike times; write loss=ce_temporal_loss",
        loss=ce_rate_loss(),
    )


def test_the_loss_is_one_of_exact_times() -> None:
    times = torch.tensor([[[3.25], [1.5]]], requires_grad=True)
    loss = event_loss(ce_temporal_loss(), times, torch.tensor([1]), 10)
    wanted = torch.nn.functional.cross_entropy(-(times[..., 0]), torch.tensor([1]))
    torch.testing.assert_close(loss, wanted)
    silent = torch.tensor([[[torch.inf], [1.5]]])
    value = event_loss(mse_temporal_loss(), silent, torch.tensor([1]), 10)
    assert value.item() == pytest.approx(
        (0.1**2) / 2
    )  # the silent one is on time, the other one step late
    both = torch.tensor([[[1.0, 4.0], [2.0, torch.inf]]])
    several = mse_temporal_loss(multi_spike=True, on_target=[0, 3], off_target=[1, 9])
    assert event_loss(several, both, torch.tensor([0]), 10).item() == pytest.approx(
        0.01 * (0.25 + 0.25 + 0.25) / 4
    )


def test_its_gradients_are_those_of_differences() -> None:
    torch.manual_seed(0)
    net = network().double()
    split = data.digits(flat=True)
    x, y = latency(split.x_train[:8], 20).double(), split.y_train[:8]
    event_pass(net, x, y, ce_temporal_loss(), slope_floor=0.0).loss.backward()
    for layer in (net[0], net[2]):
        gradient = layer.weight.grad
        row, column = divmod(int(gradient.abs().argmax()), gradient.shape[1])
        values = []
        for change in (1e-6, -2e-6):
            with torch.no_grad():
                layer.weight[row, column] += change
                values.append(event_pass(net, x, y, ce_temporal_loss()).loss.item())
        assert gradient[row, column].item() == pytest.approx(
            (values[0] - values[1]) / 2e-6, rel=1e-5
        )
        with torch.no_grad():
            layer.weight[row, column] += 1e-6


def test_silent_outputs_were_pushed_in_samples_of_other_classes_or_hidden_ones_in_some() -> None:
    """Outputs are pushed in the samples of their class, hidden neurons if silent in the batch."""
    inf = torch.inf
    weights = [nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False)]
    for layer in weights:
        layer.weight.grad = torch.zeros_like(layer.weight)
    hidden = torch.tensor([[[inf], [inf], [2.0]], [[inf], [1.0], [2.0]]])
    outputs = torch.tensor([[[inf], [inf]], [[inf], [3.0]]])
    stages: Any = tuple(
        SimpleNamespace(path=str(n), linear=layer) for n, layer in enumerate(weights)
    )
    shown = EventPass(torch.zeros(()), {"0": hidden, "1": outputs}, stages)
    EventProp(push=4.0)._push(shown, torch.tensor([0, 1]))
    assert weights[0].weight.grad.amin(1).tolist() == [-4, 0, 0]
    assert weights[1].weight.grad.amin(1).tolist() == [-2, 0]


def test_the_report_holds_every_rule_against_the_exact_gradient() -> None:
    split = data.digits(flat=True)
    batch = latency(split.x_train[:32], 20), split.y_train[:32]
    report = snn.gradient_report(network(), batch, loss=ce_temporal_loss(), rules=["eventprop"])
    exact = [row for row in report.rows if row.rule == "eventprop"]
    assert [row.exact_cosine for row in exact] == pytest.approx([1.0, 1.0])
    assert all(abs(row.exact_cosine) <= 1 for row in report.rows if row.rule == "bptt")
    counted = snn.gradient_report(network(), batch, rules=["eventprop"])
    assert "a number of spikes does not depend" in counted.refused["eventprop"]


def test_inputs_must_run_in_time() -> None:
    with pytest.raises(
        ValueError, match=r"x must be \[T, B, inputs...\] with T > 0, got \(8, 64\)"
    ):
        EventNetwork(network())(torch.zeros(8, 64))
