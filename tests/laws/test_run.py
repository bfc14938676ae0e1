"""Whole-sequence execution is the step loop, whatever the network."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikeloom as snn

from .networks import IMAGE, NETWORKS, VECTOR, ConvNet, Recurrent, lif, mlp

every_network = pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS)
static_or_not = pytest.mark.parametrize("static", [False, True], ids=["over time", "static"])


def loop(net: nn.Module, x: Tensor, num_steps: int | None) -> Any:
    snn.reset(net)
    steps = [net(x_t) for x_t in (x.unbind(0) if num_steps is None else [x] * num_steps)]
    return pytree.tree_map(lambda *values: torch.stack(values), *steps)


def case(
    make: Any, shape: Any, static: bool, dtype: torch.dtype = torch.float64
) -> tuple[Any, Any, Tensor, Any]:
    torch.manual_seed(2)
    net = make().to(dtype)
    x = torch.rand(*([4] if static else [7, 4]), *shape, dtype=dtype) * 2
    return net, copy.deepcopy(net), x, 7 if static else None


@static_or_not
@every_network
def test_a_run_is_the_step_loop(make: Any, shape: Any, static: bool) -> None:
    net, twin, x, num_steps = case(make, shape, static)
    expected, result = loop(twin, x, num_steps), snn.run(net, x, num_steps, explain=True)
    assert result.plan.layerwise, result.plan
    for a, b in zip(*map(pytree.tree_leaves, (result.output, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    gradients = []
    for network, output in ((net, result.output), (twin, expected)):
        leaves = pytree.tree_leaves(output)
        loss = sum(
            (v * torch.linspace(0, 1, v.numel(), dtype=v.dtype).view_as(v)).sum() for v in leaves
        )
        loss.backward()
        gradients.append([p.grad for p in network.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, rtol=1e-8, atol=1e-8)
    for a, b in zip(net.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)  # running statistics too


@static_or_not
@every_network
def test_in_eval_mode_too(make: Any, shape: Any, static: bool) -> None:
    net, twin, x, num_steps = case(make, shape, static)
    with torch.no_grad():
        expected, output = loop(twin.eval(), x, num_steps), snn.run(net.eval(), x, num_steps)
    for a, b in zip(*map(pytree.tree_leaves, (output, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_in_float32_at_most_one_spike_in_ten_thousand_differs() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(50, 100), lif(), nn.Linear(100, 100), lif())
    with torch.no_grad():
        net[0].weight.mul_(3)
        net[2].weight.mul_(3)
        x = torch.rand(50, 32, 50)
        result = snn.run(net, x)
        differs = (result != loop(net, x, None)).double().mean().item()
    assert 0.05 < result.mean() < 0.95
    assert differs <= 1e-4, differs


def test_in_float32_gradients_agree_to_1e_5_where_the_spikes_do() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Linear(20, 30), lif(learn_beta=True), nn.Linear(30, 10), lif(learn_threshold=True)
    )
    with torch.no_grad():
        net[0].weight.mul_(3)
        net[2].weight.mul_(3)
    x, found = torch.rand(25, 16, 20), []
    for execute in (lambda: snn.run(net, x), lambda: loop(net, x, None)):
        net.zero_grad()
        spk = execute()
        (spk * torch.linspace(0, 1, spk.numel()).view_as(spk)).mean().backward()
        found.append((spk, [p.grad.clone() for p in net.parameters()]))
    assert torch.equal(found[0][0], found[1][0]) and found[0][0].any()
    for a, b in zip(found[0][1], found[1][1], strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize("make", [mlp, Recurrent], ids=["layer by layer", "step by step"])
def test_records_are_those_of_the_loop(make: Any) -> None:
    net, twin, x, _ = case(make, IMAGE if make is mlp else VECTOR, False)
    path = "2" if make is mlp else "lif1"
    record = snn.run(net, x, record=[path]).record
    spikes, membranes = [], []
    neuron = twin.get_submodule(path)
    handle = neuron.register_forward_hook(lambda module, args, result: spikes.append(result))
    for x_t in x:
        twin(x_t)
        membranes.append(neuron.mem)
    handle.remove()
    assert set(record) == {f"{path}.spk", f"{path}.mem"}
    torch.testing.assert_close(record[f"{path}.spk"], torch.stack(spikes))
    torch.testing.assert_close(record[f"{path}.mem"], torch.stack(membranes))


def test_a_run_may_go_on_where_the_last_one_ended() -> None:
    net, twin, x, _ = case(mlp, IMAGE, False)
    whole = snn.run(twin, x)[1]
    parts = [snn.run(net, x[:3])[1], snn.run(net, x[3:], reset=False)[1]]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)


def test_a_run_starts_from_rest() -> None:
    net, _, x, _ = case(mlp, IMAGE, False)
    assert torch.equal(snn.run(net, x)[1], snn.run(net, x)[1])


def test_batch_statistics_over_all_steps_are_one_pass_over_all_rows() -> None:
    net, twin, x, _ = case(ConvNet, IMAGE, False)
    result = snn.run(net, x, batch_norm="time", explain=True)
    assert "folded" in next(row.how for row in result.plan.rows if row.name == "norm")
    twin.norm(twin.conv(x.flatten(0, 1)))
    torch.testing.assert_close(net.norm.running_mean, twin.norm.running_mean)


def test_hooks_of_a_module_are_called_once_a_step_in_the_order_of_the_loop() -> None:
    net, _, x, _ = case(mlp, IMAGE, False)
    calls = []
    for layer in (net[1], net[2]):
        layer.register_forward_hook(lambda module, args, result: calls.append(args[0].shape))
    snn.run(net, x)
    assert calls == [torch.Size([4, 36]), torch.Size([4, 20])] * 7


def test_dropout_of_a_static_input_draws_anew_at_every_step() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 6))
    output = snn.run(net, torch.ones(2, 6), num_steps=5)
    assert not torch.equal(output[0], output[1])


def test_a_constant_first_layer_is_computed_once() -> None:
    net, _, x, num_steps = case(mlp, IMAGE, True)
    plan = snn.run(net, x, num_steps, explain=True).plan
    assert [row.how.split(":")[0].split(",")[0] for row in plan.rows[:3]] == [
        "once",
        "once",
        "scan over time (torch)",
    ]
    assert "constant in time" in str(plan)


def test_a_forward_that_draws_random_numbers_draws_those_of_the_loop() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(3)

    torch.manual_seed(4)
    result = snn.run(Noisy(), torch.zeros(5, 2, 3), explain=True)
    torch.manual_seed(4)
    expected = torch.stack([torch.rand(3) for _ in range(5)])
    assert torch.equal(result.output[:, 0], expected)


def test_a_run_keeps_channels_last() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), lif()).to(memory_format=torch.channels_last)
    x = torch.rand(12, 3, 6, 6).to(memory_format=torch.channels_last).unflatten(0, (4, 3))
    assert snn.run(net, x)[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "joined",
    [
        torch.flatten,
        lambda x: x.flatten(0, 1),
        lambda x: x.reshape(-1),
        lambda x: x.view(1, -1),
        lambda x: x.sum(0),
    ],
    ids=["flatten", "flatten of axes", "reshape", "view", "sum"],
)
def test_an_operation_that_joins_the_batch_does_not_join_the_steps(joined: Any) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = lif()

        def forward(self, x: Tensor) -> Tensor:
            return joined(self.lif(x))

    x = torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0)) * 2
    found, expected = snn.run(Joined(), x), loop(Joined(), x, None)
    assert found.shape == expected.shape and torch.equal(found, expected)


@pytest.mark.parametrize("learned", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
def test_a_norm_of_features_stopped_the_run_over_time(kind: Any, learned: bool) -> None:
    torch.manual_seed(0)
    norm = kind(4, elementwise_affine=learned)
    net = nn.Sequential(nn.Linear(3, 4), norm, lif(threshold=0.5)).double()
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    expected, found = loop(net, x, None), snn.run(net, x, explain=True)
    assert found.plan.layerwise and "on the spot" not in str(found.plan), found.plan
    assert expected.any() and torch.equal(found.output, expected)
