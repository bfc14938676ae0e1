"""Monitors: what they record, in which order, and that they let go."""

import copy
import pickle

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
    with pytest.raises(
        ValueError, match=r"instance must name a class .*write one of Counter, Linear, Sequential"
    ):
        SF.OutputMonitor(net, nn.Conv2d)
    monitor = SF.OutputMonitor(net, nn.Linear)
    with pytest.raises(KeyError, match=r"no layer 'fc'; it monitors '0', '2\.0'"):
        monitor["fc"]
    with pytest.raises(ValueError, match=r"indexed by number or name, got 1.5"):
        monitor[1.5]  # type: ignore[index]


def test_a_monitor_that_nothing_refers_to_takes_its_hooks_off_the_network():
    net = network()
    monitor = SF.OutputMonitor(net, nn.Linear)
    assert net[0]._forward_hooks
    del monitor
    assert not net[0]._forward_hooks and not net[2][0]._forward_hooks


@pytest.mark.parametrize("kind", [SF.GradInputMonitor, SF.GradOutputMonitor, SF.InputMonitor])
def test_every_kind_of_monitor_lets_go_when_it_is_deleted(kind):
    net, x = network(), torch.randn(5, 3, requires_grad=True)
    monitor = kind(net, nn.Linear)
    net(x).sum().backward()
    assert len(monitor.records) == 2
    del monitor
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())


def test_a_deep_copy_of_a_watched_network_does_not_record_into_the_original():
    net, x = network(), torch.randn(1, 3)
    with SF.OutputMonitor(net, nn.Linear) as monitor:
        again = copy.deepcopy(net)
        again(x)
        assert monitor.records == []
        net(x)
        assert len(monitor.records) == 2
    assert not again[0]._forward_hooks, "what stands for the hook leaves at the first call"


def test_a_deep_copy_of_a_network_watched_in_its_backward_pass_does_not_record():
    net, x = network(), torch.randn(1, 3, requires_grad=True)
    with SF.GradOutputMonitor(net, nn.Linear) as monitor:
        copy.deepcopy(net)(x).sum().backward()
        assert monitor.records == []


def test_a_watched_network_can_be_pickled_and_comes_back_without_its_monitor():
    net, x = network(), torch.randn(1, 3)
    with SF.OutputMonitor(net, nn.Linear) as monitor:
        again = pickle.loads(pickle.dumps(net))
        torch.testing.assert_close(again(x), net(x))
        assert len(monitor.records) == 2


def test_a_copy_of_network_and_monitor_together_records_into_the_copy():
    net, x = network(), torch.randn(1, 3)
    with SF.OutputMonitor(net, nn.Linear) as monitor:
        net(x)
        again, other = copy.deepcopy((net, monitor))
        again(x)
        assert (len(monitor.records), len(other.records)) == (2, 4)
        other.remove_hooks()
        again(x)
        assert len(other.records) == 4 and len(monitor["0"]) == 1


@pytest.mark.parametrize("net", [None, 3, [nn.Linear(2, 2)], nn.Linear])
def test_a_monitor_without_a_network_says_so(net):
    for make in (SF.OutputMonitor, SF.InputMonitor, SF.GradInputMonitor, SF.GradOutputMonitor):
        with pytest.raises(
            TypeError,
            match=r"net must be a torch.nn.Module, got .*; write .*Monitor\(net, nn.Linear\)",
        ):
            make(net)
    with pytest.raises(
        TypeError,
        match=r"net must be a torch.nn.Module, got .*AttributeMonitor\('mem', False, net\)",
    ):
        SF.AttributeMonitor("mem", False, net)


def test_a_monitor_refuses_what_is_no_class_or_no_function():
    net = network()
    with pytest.raises(
        TypeError, match="instance must be a class or a tuple of classes, got 'Linear'"
    ):
        SF.OutputMonitor(net, "Linear")
    with pytest.raises(TypeError, match="function_on_output must be callable, got 3"):
        SF.OutputMonitor(net, nn.Linear, 3)
    with pytest.raises(TypeError, match="attribute_name must be a text, got None"):
        SF.AttributeMonitor(None, False, net)
    assert not any(module._forward_hooks for module in net.modules())
