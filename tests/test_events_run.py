"""Spikes as events inside `snn.run`, under ``torch.compile``, in several threads and after a fork."""

import os
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from sparse import assert_close, gradients, saved_bytes, spikes
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.kernels.events import choice, compiled
from spikeloom.kernels.events.choice import spikes_as_bits
from spikeloom.kernels.events.convolution import conv2d
from spikeloom.kernels.events.linear import linear


@pytest.fixture(autouse=True)
def _eager_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """No work is too small."""
    for name in ("SMALL", "WORTH", "LARGE"):
        monkeypatch.setattr(choice, name, 0)


def perceptron() -> nn.Sequential:
    lif = {"threshold": 0.3, "init_hidden": True}
    return nn.Sequential(nn.Linear(100, 64), snn.Leaky(0.9, **lif), nn.Linear(64, 40), snn.Leaky(0.9, **lif))


def convolutional() -> nn.Sequential:
    first, second = nn.Conv2d(2, 32, 3), nn.Conv2d(32, 33, 3, padding=1)
    neurons = [snn.Leaky(0.9, threshold=t, init_hidden=True) for t in (0.8, 0.5)]
    return nn.Sequential(first, neurons[0], nn.MaxPool2d(2), second, neurons[1], nn.Flatten(), nn.Linear(33 * 25, 32))


def by_steps(net: nn.Module, x: Tensor) -> Tensor:
    snn.reset(net)
    return torch.stack([net(x_t) for x_t in x])


@pytest.mark.parametrize(("make", "shape"), [(perceptron, (12, 50, 100)), (convolutional, (6, 3, 2, 12, 12))])
@pytest.mark.parametrize("density", [0.03, 0.15, 0.9])
def test_a_network_of_ordinary_layers_equals_its_step_loop(make: Any, shape: Any, density: float) -> None:
    net = make().double()
    x = spikes(shape, density, dtype=torch.float64).requires_grad_()
    leaves = [x, *net.parameters()]
    expected = gradients(by_steps(net, x), leaves)
    assert_close(gradients(snn.run(net, x), leaves), expected, 10**4)
    with spikes_as_bits():
        assert_close(gradients(snn.run(net, x), leaves), expected, 10**4)


def test_the_plan_tells_events_from_dense_products() -> None:
    net = perceptron()
    rows = snn.run(net, spikes((12, 50, 100), 0.055), explain=True).plan.rows
    density = float((net[1].hidden.mem >= 0).float().mean())  # only to run the layers
    assert density >= 0 and "time folded into the batch; events (density 5" in rows[0].how
    assert rows[2].how.startswith("time folded into the batch; ")
    rows = snn.run(net, torch.rand(12, 50, 100), explain=True).plan.rows
    assert rows[0].how == "time folded into the batch; dense (density 100 %)"


def test_the_plan_says_nothing_where_nobody_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = perceptron(), spikes((12, 5, 100), 0.05)
    snn.run(net, x)
    monkeypatch.setattr(choice, "SMALL", 10**9)
    assert snn.run(net, x, explain=True).plan.rows[0].how == "time folded into the batch"


def test_layers_of_ours_tell_the_plan_too() -> None:
    net = nn.Sequential(snn.SpikeLinear(100, 40, events="always"), snn.Leaky(0.9, init_hidden=True))
    how = snn.run(net, spikes((4, 50, 100), 0.6), explain=True).plan.rows[0].how
    assert how.startswith("time folded into the batch; events (density 6") or "events (density 59" in how


def test_a_layer_that_somebody_watches_or_changed_is_called_as_it_is() -> None:
    net, seen = nn.Sequential(nn.Linear(100, 40), snn.Leaky(0.9, init_hidden=True)), []
    x = spikes((4, 5, 100), 0.05)
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    try:
        snn.run(net, x)
    finally:
        handle.remove()
    assert nn.Linear in seen
    net[0].forward = lambda x: torch.full((len(x), 40), 7.0)  # type: ignore[method-assign]
    assert (snn.run(net, x, record=["1.mem"]).record["1.mem"][0] == 7.0).all()


def test_running_leaves_no_trace_in_an_ordinary_layer() -> None:
    net = perceptron()
    before = [set(vars(m)) for m in net]
    snn.run(net, spikes((12, 5, 100), 0.05))
    assert [set(vars(m)) - {"_hidden"} for m in net] == [b - {"_hidden"} for b in before]
    assert type(net[0]) is nn.Linear


def test_bits_need_less_memory_in_a_network() -> None:
    net, x = nn.Sequential(nn.Linear(512, 40), snn.Leaky(0.9, init_hidden=True)), spikes((10, 20, 512), 0.4)
    dense = saved_bytes(lambda: snn.run(net, x), *net.parameters())
    with spikes_as_bits():
        bits = saved_bytes(lambda: snn.run(net, x), *net.parameters())
    assert dense - bits >= 0.95 * x.numel() * 4


def test_mixed_precision_and_other_types_run_as_before() -> None:
    net, x = perceptron(), spikes((4, 5, 100), 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert snn.run(net, x, explain=True).plan.rows[0].how == "time folded into the batch"
    assert snn.run(net.bfloat16(), x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("events", ["auto", "always", "never"])
def test_layers_compile_into_one_graph(events: str) -> None:
    torch.compiler.reset()
    net = nn.Sequential(snn.SpikeConv2d(2, 32, 3, events=events), nn.Flatten(), snn.SpikeLinear(512, 40, events=events))
    x = spikes((5, 2, 6, 6), 0.1).requires_grad_()
    expected = gradients(net(x), [x, *net.parameters()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, inside its compiler
        found = torch.compile(net, fullgraph=True, backend="aot_eager")(x)
    assert_close(gradients(found, [x, *net.parameters()]), expected, 10**3)


def test_threads_share_the_work_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = spikes((31, 50), 0.2).requires_grad_(), torch.randn(40, 50, requires_grad=True)
    image, kernel = spikes((7, 3, 8, 8), 0.2).requires_grad_(), torch.randn(5, 3, 3, 3, requires_grad=True)
    results = []
    for work in (10**12, 0):
        monkeypatch.setattr(compiled, "PARALLEL", work)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        assert len(compiled.parts(31, 10**6)) == (3 if work == 0 else 1)
        found = gradients(linear(x, w, events="always"), [x, w])
        results.append([*found, *gradients(conv2d(image, kernel, events="always"), [image, kernel])])
    assert all(torch.equal(a, b) for a, b in zip(*[r[:5] for r in results], strict=True))  # rows are independent
    assert_close(results[1][5:], results[0][5:], 300)  # the kernel's gradient is summed in parts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_threads_do_not_hang_after_a_fork() -> None:
    script = """
import os, signal, torch
from spikeloom.kernels.events import compiled
from spikeloom.kernels.events.linear import linear
compiled.PARALLEL = 0
torch.set_num_threads(1)
compiled.torch.get_num_threads = lambda: 2
x, w = (torch.rand(9, 20) < 0.3).float(), torch.randn(7, 20)
expected = linear(x, w, events="always")
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if torch.equal(linear(x, w, events="always"), expected) else 3)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=120)
