"""The gradient report: cosines and lengths are those of the gradients, a second reference appears
by itself."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.functional import ce_rate_loss, mse_count_loss
from spikeloom.learning import GRADIENTS, STBP_CURVES, bp_stdp, cosine, online

T, B = 16, 8
Y = torch.arange(B) % 3


def integrating() -> nn.Sequential:
    torch.manual_seed(0)
    neuron: dict[str, Any] = {"reset_mechanism": "zero", "init_hidden": True}
    net = nn.Sequential(
        nn.Linear(6, 12),
        snn.IF(0.9, **neuron),
        nn.Linear(12, 3),
        snn.IF(0.6, **neuron, output=True),
    )
    for p in net.parameters():
        nn.init.normal_(p, std=0.5)
    return net


def spikes() -> Tensor:
    return (torch.rand(T, B, 6, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def test_cosine_and_length_are_those_of_the_gradients() -> None:
    net, x = integrating(), spikes()
    report = snn.gradient_report(net, (x, Y))
    assert [row.rule for row in report.rows[::4]] == ["tbptt", "eprop", "ottt", "sltt", "bp_stdp"]
    parameters = list(net.parameters())
    bptt = torch.autograd.grad(ce_rate_loss()(snn.run(net, x)[0], Y).sum(), parameters)
    found = {}
    online(net, x, Y, lambda output, y: nn.functional.cross_entropy(output[0], y))
    found["eprop"] = [p.grad for p in parameters]
    net.zero_grad()
    bp_stdp(net, x, Y)
    found["bp_stdp"] = [p.grad for p in parameters]
    names = [name for name, _ in net.named_parameters()]
    for row in report.rows:
        if row.rule in found:
            place = names.index(row.layer)
            gradient = found[row.rule][place]
            assert row.cosine == pytest.approx(cosine([gradient], [bptt[place]]), abs=1e-5)
            assert row.scale == pytest.approx(float(gradient.norm() / bptt[place].norm()), rel=1e-4)


def test_a_linear_readout_has_the_exact_gradient_by_eprop() -> None:
    net = nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9, init_hidden=True, reset_mechanism="none"))
    for row in snn.gradient_report(net, (spikes(), Y), rules=["eprop"]).rows:
        assert row.cosine == pytest.approx(1, abs=1e-5) and row.scale == pytest.approx(1, rel=1e-4)


def test_one_step_was_too_few_for_a_report() -> None:
    net = nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9, init_hidden=True))
    report = snn.gradient_report(net, (torch.rand(B, 6) * 3, Y), num_steps=1, rules=["eprop"])
    assert [row.cosine for row in report.rows] == pytest.approx([1, 1])
    with pytest.raises(ValueError, match=r"num_steps must be in \[1, .*got 0"):
        snn.gradient_report(net, (torch.rand(B, 6), Y), num_steps=0)


def test_rules_that_do_not_apply_say_why() -> None:
    net = nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9, init_hidden=True))
    report = snn.gradient_report(net, (torch.rand(B, 6), Y), num_steps=T, loss=mse_count_loss())
    assert {row.rule for row in report.rows} == {"tbptt"}
    assert report.refused["bp_stdp"].startswith("BP-STDP trains IF, got Leaky '1'")
    assert report.refused["eprop"].startswith("the loss is no mean over single steps")
    assert "bp_stdp does not apply: BP-STDP trains IF" in str(report)


def test_nothing_of_the_network_changes() -> None:
    net = integrating().train()
    net.insert(1, nn.Dropout(0.5))
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    snn.gradient_report(net, (spikes(), Y))
    assert net.training and net[0].weight.grad.eq(1).all() and net[0].bias.grad is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net[2].mem.shape == (0,)


def test_the_exact_gradient_is_a_second_reference_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, x = integrating(), spikes()

    def exact(net: nn.Module, x: Tensor, y: Tensor, loss: Any) -> list[Tensor]:
        return [2 * gradient for gradient in GRADIENTS["bptt"](net, x, y, loss)]

    monkeypatch.setitem(GRADIENTS, "eventprop", exact)
    report = snn.gradient_report(net, (x, Y), rules=["tbptt", "eventprop"])
    found = {row.rule: row for row in report.rows if row.layer == "2.weight"}
    assert found["eventprop"].scale == pytest.approx(2) and found[
        "eventprop"
    ].exact_scale == pytest.approx(1)
    assert found["bptt"].exact_cosine == pytest.approx(1) and found[
        "bptt"
    ].exact_scale == pytest.approx(0.5)
    assert found["tbptt"].exact_scale == pytest.approx(found["tbptt"].scale / 2)
    assert "cosine to eventprop" in str(report)


def test_a_silent_layer_has_no_direction() -> None:
    net = nn.Sequential(
        nn.Linear(6, 3), snn.Leaky(0.5, 100.0, spike_grad=STBP_CURVES["rectangular"](1.0))
    )
    net[1].init_hidden = True
    report = snn.gradient_report(net, (spikes(), Y), rules=["eprop"])
    assert all(row.cosine != row.cosine for row in report.rows) and " -" in str(report)


def test_mistakes_are_named() -> None:
    net = integrating()
    with pytest.raises(TypeError, match=r"batch must be a pair \(x, y\), got Tensor"):
        snn.gradient_report(net, spikes())
    with pytest.raises(ValueError, match=r"a rule must be one of .*got 'stdp'"):
        snn.gradient_report(net, (spikes(), Y), rules=["stdp"])
    blind = nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9, surrogate_disable=True, init_hidden=True))
    with pytest.raises(ValueError, match="no spike has a gradient"):
        snn.gradient_report(blind, (spikes(), Y))
