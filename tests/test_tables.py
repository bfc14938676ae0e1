"""Tables of the library: what training makes anew at each step is not kept for ever."""

import gc

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom import surrogate
from spikeloom.core import transition
from spikeloom.core.transition import TRANSITIONS
from spikeloom.running import outlines, stateful


def test_the_table_of_transitions_only_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transition, "MOST_TRANSITIONS", 8)
    first, lif = snn.Leaky(0.9, init_hidden=True), snn.Leaky(0.9, init_hidden=True)
    first.spike_grad = surrogate.fast_sigmoid(0.123)  # older than all that follows
    gc.collect()
    start = len(TRANSITIONS)
    for step in range(700):
        lif.spike_grad = surrogate.fast_sigmoid(1.0 + step / 7)
    gc.collect()
    assert len(TRANSITIONS) < start + 50
    snn.run(nn.Sequential(first), torch.rand(3, 2, 4))  # of a living neuron: never forgotten
    assert TRANSITIONS[first.key] is first.transition


def test_a_slope_that_changed_before_backward_is_still_that_of_the_forward_pass() -> None:
    lif = snn.Leaky(0.9, init_hidden=True, learn_beta=True)
    torch.manual_seed(0)
    lif.spike_grad = surrogate.fast_sigmoid(3.0)
    snn.run(nn.Sequential(lif), torch.ones(5, 2, 4)).sum().backward()
    assert lif.beta.grad is not None
    expected = lif.beta.grad.clone()
    lif.beta.grad = None
    loss = snn.run(nn.Sequential(lif), torch.ones(5, 2, 4)).sum()
    lif.spike_grad = surrogate.fast_sigmoid(50.0)
    gc.collect()
    loss.backward()
    assert torch.equal(lif.beta.grad, expected)


def test_an_equal_neuron_that_died_did_not_take_the_name_with_it() -> None:
    two = [
        snn.Leaky(0.9, init_hidden=True, spike_grad=surrogate.fast_sigmoid(0.321)) for _ in range(2)
    ]
    assert two[0].transition is two[1].transition
    del two[0]
    gc.collect()
    assert TRANSITIONS[two[0].key] is two[0].transition


def test_the_tables_of_outlines_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "_INFERRED", 5)
    monkeypatch.setattr(stateful, "_OUTLINES", 5)
    for width in range(1, 30):
        net = nn.Sequential(nn.Linear(width, width), snn.Leaky(0.9, init_hidden=True), nn.Tanh())
        snn.run(net, torch.rand(3, 64, width))
    assert len(outlines._inferred) <= 5
    assert len(stateful._outlines) <= 5
