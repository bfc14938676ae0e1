"""Monitors: what they record, in which order, and that they let go."""

import pytest
import torch
from torch import nn

import spikeloom.functional as SF


class Counter(nn.Module):
    """Adds its number of calls to its input; the number is a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + self.calls


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), Counter(), nn.Sequential(nn.Linear(4, 2), Counter()))


def test_output_monitor_records_in_order_and_by_name():
    net, x = network(), torch.randn(5, 3)
    with SF.OutputMonitor(net, nn.Linear) as monitor:
        net(x)
        out = net(x)
    assert monitor.monitored_layers == ["0", "2.0"]
    assert len(monitor.records) == 4
    assert [r.shape for r in monitor["2.0"]] == [(5, 2), (5, 2)]
    assert monitor[3] is monitor["2.0"][1]
    torch.testing.assert_close(monitor[3] + 2, out)
    assert monitor[0].requires_grad  # what the hook saw, with its graph


def test_input_monitor_records_what_came_in():
    net, x = network(), torch.randn(5, 3)
    with SF.InputMonitor(net, Counter, lambda value: value.detach().clone()) as monitor:
        net(x)
    torch.testing.assert_close(monitor["1"][0], net[0](x).detach())
    assert not monitor[0].requires_grad


def test_instance_none_means_the_class_of_the_network():
    net = network()
    for make in (
        SF.OutputMonitor,
        SF.InputMonitor,
        SF.GradInputMonitor,
        SF.GradOutputMonitor,
        lambda net: SF.AttributeMonitor("training", False, net),
    ):
        with make(net) as monitor:
            assert monitor.monitored_layers == ["", "2"]


def test_attribute_monitor_pre_forward_no_longer_fails_and_sees_the_value_before():
    net, x = network(), torch.randn(5, 3)
    with (
        SF.AttributeMonitor("calls", True, net, Counter) as before,
        SF.AttributeMonitor("calls", False, net, (Counter,)) as after,
    ):
        net(x), net(x)
    assert (before["1"], after["1"]) == ([0, 1], [1, 2])


def test_gradient_monitors_record_the_backward_pass():
    net, x = network(), torch.randn(5, 3, requires_grad=True)
    with (
        SF.GradInputMonitor(net, nn.Linear) as grad_input,
        SF.GradOutputMonitor(net, nn.Linear, torch.Tensor.sum) as grad_output,
    ):
        net(x).sum().backward()
    assert grad_input.name_records_index == {"0": [1], "2.0": [0]}
    assert torch.equal(grad_input["0"][0], x.grad)
    torch.testing.assert_close(grad_input["2.0"][0], torch.ones(5, 2) @ net[2][0].weight)
    assert grad_output["2.0"][0] == 10


def test_a_monitor_pauses_forgets_and_lets_go():
    net, x = network(), torch.randn(1, 3)
    monitor = SF.OutputMonitor(net, Counter)
    monitor.disable()
    net(x)
    assert (monitor.records, monitor.is_enable()) == ([], False)
    monitor.enable()
    net(x)
    assert len(monitor["1"]) == 1
    monitor.clear_recorded_data()
    assert (monitor.records, monitor["1"]) == ([], [])
    monitor.remove_hooks()
    net(x)
    assert monitor.records == []


def test_leaving_the_block_removes_the_hooks_also_after_an_error():
    net = network()
    with pytest.raises(RuntimeError), SF.OutputMonitor(net, nn.Linear) as monitor:
        net(torch.zeros(1, 99))
    assert monitor.hooks == []
    assert not net[0]._forward_hooks


def test_several_inputs_come_as_a_tuple():
    cell = nn.GRUCell(2, 3)
    with SF.InputMonitor(cell) as monitor:
        cell(torch.zeros(1, 2), torch.zeros(1, 3))
    assert [x.shape for x in monitor[0]] == [(1, 2), (1, 3)]


def test_monitors_say_what_is_wrong():
    net = network()
    with pytest.raises(ValueError, match=r"instance must name a class .*write one of Counter, Linear, Sequential"):
        SF.OutputMonitor(net, nn.Conv2d)
    monitor = SF.OutputMonitor(net, nn.Linear)
    with pytest.raises(KeyError, match=r"no layer 'fc'; it monitors '0', '2\.0'"):
        monitor["fc"]
    with pytest.raises(ValueError, match=r"indexed by number or name, got 1.5"):
        monitor[1.5]  # type: ignore[index]
