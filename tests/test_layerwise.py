"""`snn.layerwise`: what a recorded module and a decorated function are to their user, besides
fast."""

import copy
import pickle
from typing import Any

import pytest
import torch
from own_loops import STEPS, Net, X, explicit, quiet
from torch import Tensor, nn

import spikeloom as snn

# -- a recorded module is the module ------------------------------------------


def test_a_recorded_module_has_the_parameters_and_keys_of_the_module() -> None:
    net = quiet()
    recorded = snn.layerwise(net)
    assert isinstance(recorded, nn.Module)
    assert list(recorded.state_dict()) == list(net.state_dict())
    pairs = zip(recorded.named_parameters(), net.named_parameters(), strict=True)
    assert all(a[0] == b[0] and a[1] is b[1] for a, b in pairs)
    assert dict(recorded.named_buffers()).keys() == dict(net.named_buffers()).keys()


def test_a_checkpoint_of_the_module_loads_into_the_recorded_one_and_back() -> None:
    source, recorded = quiet(), snn.layerwise(Net().eval())
    recorded.load_state_dict(source.state_dict())
    assert torch.equal(recorded(X), source(X))
    target = Net().eval()
    target.load_state_dict(recorded.state_dict())
    assert torch.equal(target(X), source(X))


def test_train_eval_and_to_reach_the_module() -> None:
    net = quiet()
    recorded = snn.layerwise(net)
    assert recorded.train() is recorded and net.training and net.drop.training
    recorded.eval()
    assert not net.training and not net.drop.training
    recorded.to(torch.float64)
    assert net.fc.weight.dtype == torch.float64
    assert recorded(X.double()).dtype == torch.float64
    recorded.requires_grad_(False)
    assert not net.fc.weight.requires_grad


def test_attributes_of_the_module_are_reached() -> None:
    net = quiet()
    recorded = snn.layerwise(net)
    assert recorded.fc is net.fc and recorded.lif is net.lif


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))], ids=["deepcopy", "pickle"]
)
def test_a_recorded_module_is_copied_before_and_after_a_call(copied: Any) -> None:
    recorded = snn.layerwise(quiet())
    before = copied(recorded)
    expected = recorded(X)
    after = copied(recorded)
    assert torch.equal(before(X), expected) and torch.equal(after(X), expected)
    assert after.state_dict().keys() == recorded.state_dict().keys()


def test_recording_a_recorded_module_changes_nothing() -> None:
    net = quiet()
    assert torch.equal(snn.layerwise(snn.layerwise(net))(X), net(X))


def test_what_is_neither_module_nor_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"layerwise .*got int"):
        snn.layerwise(3)


def test_hooks_of_the_recorded_module_are_called_once_a_call() -> None:
    calls: list[type] = []

    def watch(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        calls.append(type(output))
        return output * 3

    recorded = snn.layerwise(quiet())
    recorded.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    recorded.register_forward_hook(watch)
    torch.testing.assert_close(recorded(X), quiet()(X * 2) * 3)
    assert calls == [Tensor]


def test_hooks_inside_are_called_at_every_step_forward_and_backward() -> None:
    net, calls = quiet(), []
    net.fc.register_full_backward_hook(lambda module, gave, got: calls.append("backward"))
    net.fc.register_forward_hook(lambda module, args, output: calls.append("forward"))
    snn.layerwise(net)(X.clone().requires_grad_()).sum().backward()
    assert sorted(calls) == ["backward"] * STEPS + ["forward"] * STEPS


# -- a decorated function is the function ------------------------------------------


def test_a_decorated_function_keeps_its_name_and_its_arguments() -> None:
    @snn.layerwise
    def forward_pass(net: nn.Module, *, data: Tensor, steps: int = 2) -> Tensor:
        """Some steps."""
        return explicit(net, data[:steps])[0]

    assert forward_pass.__name__ == "forward_pass" and forward_pass.__doc__ == "Some steps."
    assert forward_pass(quiet(), data=X).shape == (2, 24, 4)
    assert forward_pass(quiet(), data=X, steps=4).shape == (4, 24, 4)


def test_a_decorated_method_is_a_method() -> None:
    class Decorated(Net):
        @snn.layerwise
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    net = Decorated().eval()
    plain = quiet()
    plain.load_state_dict(net.state_dict())
    assert torch.equal(net(X), plain(X)) and net.count == STEPS


def test_gradients_reach_parameters_inputs_and_passed_states() -> None:
    found = []
    for function in (explicit, snn.layerwise(explicit)):
        net, x, mem = (
            quiet(),
            X.clone().requires_grad_(),
            torch.full((24, 4), 0.1, requires_grad=True),
        )
        spk, last = function(net, x, mem)
        (spk.sum() + last.square().sum()).backward()
        found.append((net.fc.weight.grad, x.grad, mem.grad))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_whole_training_step_may_be_decorated() -> None:
    def training_step(net: nn.Module, optimizer: Any, x: Tensor) -> float:
        loss = explicit(net, x)[1].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = []
    for function in (training_step, snn.layerwise(training_step)):
        net = quiet()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        losses.append([function(net, optimizer, X) for _ in range(4)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and losses[0][-1] < losses[0][0]


def test_two_time_loops_in_one_call_are_both_recorded() -> None:
    def twice(net: Any, x: Tensor) -> Tensor:
        return torch.cat([explicit(net, x)[0], explicit(net, x.flip(0) * 2)[0]])

    net = quiet()
    torch.testing.assert_close(snn.layerwise(twice)(net, X), twice(net, X))


def test_a_recorded_function_inside_a_recorded_function_is_part_of_it() -> None:
    inner, net = snn.layerwise(explicit), quiet()
    outer = snn.layerwise(lambda x: inner(net, x)[0] * 2)
    torch.testing.assert_close(outer(X), explicit(net, X)[0] * 2)


@snn.layerwise
def doubled(x: Tensor) -> list[Tensor]:
    return [x_t * 2 for x_t in x]


def test_a_decorated_function_is_pickled_by_its_name_like_any_function() -> None:
    assert pickle.loads(pickle.dumps(doubled)) is doubled


def test_the_plan_of_a_decorated_method_is_found_after_the_call() -> None:
    class Decorated(Net):
        @snn.layerwise
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    net = Decorated().eval()
    net(X)
    assert net.forward.plan is not None and net.forward.plan.rows
