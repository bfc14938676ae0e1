"""A neuron and its linear readout run together give what they give one after the other."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.running.rewriting import readout as rewrite

pytest.importorskip("numba")
from spikeloom.kernels import readout

TOGETHER = "with the linear layer after it"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let small layers run together, three samples at a time."""
    monkeypatch.setattr(rewrite, "LEAST", 1)
    monkeypatch.setattr(readout, "SCRATCH", 3 * 6 * 7)
    with snn.backend("numba"):
        yield


def neuron(kind: str) -> Any:
    hidden: Any = {"init_hidden": True, "learn_threshold": True}
    vector = torch.linspace(0.5, 0.9, 7)
    made = {
        "Leaky": lambda: snn.Leaky(vector, learn_beta=True, **hidden),
        "Synaptic": lambda: snn.Synaptic(vector, 0.8, learn_alpha=True, learn_beta=True, **hidden),
        "AdaptiveThresholdLIF": lambda: snn.AdaptiveThresholdLIF(0.9, init_hidden=True),
    }
    return made[kind]()


def network(kind: str = "Leaky", bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 7), neuron(kind), nn.Linear(7, 3, bias=bias), snn.Leaky(0.8, init_hidden=True)
    )
    return net.double()


def found(net: nn.Module, x: Tensor, steps: int | None, *, together: bool) -> list[Tensor]:
    """Return output, last states, and the gradients of input and parameters."""
    net = copy.deepcopy(net)
    x = x.clone().requires_grad_()
    with snn.rewrites(*(["readout"] if together else [])):
        run = snn.run(net, x, steps, explain=True)
    assert (TOGETHER in str(run.plan)) is together
    states = [*net[1].hidden, *net[3].hidden]  # pyright: ignore
    loss = sum((i + 1.5) * v.square().sum() for i, v in enumerate([run.output, *states]))
    grads = torch.autograd.grad(loss, [x, *net.parameters()])  # pyright: ignore
    return [run.output, *states, *grads]


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "AdaptiveThresholdLIF"])
@pytest.mark.parametrize("static", [True, False])
def test_values_or_gradients_differ_from_those_of_separate_layers(kind: str, static: bool) -> None:
    x = 3 * torch.rand(*(() if static else (6,)), 11, 5, dtype=torch.float64)
    net, steps = network(kind), 6 if static else None
    pairs = zip(
        found(net, x, steps, together=True), found(net, x, steps, together=False), strict=True
    )
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_two_threads_give_other_gradients_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeloom.kernels import threads

    monkeypatch.setattr(threads, "PARALLEL", 1)
    net, x = network(), 3 * torch.rand(6, 11, 5, dtype=torch.float64)
    expected = found(net, x, None, together=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        actual = found(net, x, None, together=True)
        again = found(net, x, None, together=True)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    # parts are added in the order of the samples, whichever thread was first
    assert all(torch.equal(one, other) for one, other in zip(actual, again, strict=True))


def test_threads_cannot_write_what_inference_mode_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeloom.kernels import threads

    net, x = network(), 3 * torch.rand(6, 11, 5, dtype=torch.float64)
    with torch.no_grad():
        expected = snn.run(net, x)
    monkeypatch.setattr(threads, "PARALLEL", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            torch.testing.assert_close(snn.run(net, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_second_derivatives_differ_from_those_of_separate_layers(bias: bool) -> None:
    net, x = network(bias=bias), 3 * torch.rand(6, 4, 5, dtype=torch.float64)
    results = []
    for names in (["readout"], []):
        own = copy.deepcopy(net)
        with snn.rewrites(*names):
            output = snn.run(own, x)
        parameters = list(own.parameters())
        first = torch.autograd.grad(output.square().sum(), parameters, create_graph=True)
        penalty = sum(g.square().sum() for g in first)
        results.append(torch.autograd.grad(penalty, parameters, allow_unused=True))  # pyright: ignore
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_only_some_gradients_are_asked_for() -> None:
    net, x = network(), 3 * torch.rand(6, 4, 5, dtype=torch.float64)
    net[0].requires_grad_(False)
    net[1].requires_grad_(False)
    grads = []
    for names in (["readout"], []):
        net.zero_grad()
        with snn.rewrites(*names):
            snn.run(net, x).square().sum().backward()
        assert net[0].weight.grad is None  # pyright: ignore
        grads.append([p.grad for p in net[2].parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_backward_under_autocast_fails() -> None:
    net, x = network().float(), 3 * torch.rand(6, 4, 5)
    with snn.rewrites("readout"):
        loss = snn.run(net, x).sum()
    with torch.autocast("cpu", torch.bfloat16):
        loss.backward()
    assert net[2].weight.grad.dtype == torch.float32  # pyright: ignore


def test_a_nan_in_the_input_of_the_neuron_is_not_seen() -> None:
    net, x = network(), torch.rand(6, 4, 5, dtype=torch.float64)
    net[0].bias.data[2] = torch.nan  # pyright: ignore
    for steps, given in ((None, x), (6, x[0])):
        with pytest.raises(ValueError, match="finite"):
            snn.run(net, given, steps)


@pytest.mark.parametrize("what", ["spikes", "membranes", "wide", "compressed", "state"])
def test_layers_run_together_although_something_else_reads_the_neuron(what: str) -> None:
    net, x = network(), torch.rand(6, 4, 5, dtype=torch.float64)
    options: dict[str, Any] = {}
    residual = "state" if what == "state" else "input"
    if what in ("spikes", "membranes"):
        options["record"] = ["1.spk" if what == "spikes" else "1.mem"]
    if what == "wide":
        net[2], net[3] = nn.Linear(7, 33).double(), snn.Leaky(0.8, init_hidden=True)
    if what == "compressed":
        options["memory"] = "compressed"
    with snn.residual(residual):
        plan = snn.run(net, x, explain=True, **options).plan
    assert TOGETHER not in str(plan)


def test_parts_of_a_gradient_are_added_in_order_and_not_kept() -> None:
    total = readout._Total(torch.zeros(1))
    parts = [torch.tensor([v]) for v in (1e8, 1.0, -1e8)]  # the order changes this sum
    for k in (2, 0, 1):
        total.add(k, k + 1, parts[k])
    assert total.value.item() == 0.0 and not total.waiting
