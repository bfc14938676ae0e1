"""Spikes as events in ordinary layers: chosen where a timing said so."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sparse import assert_close, gradients, spikes
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core import checks
from spikeloom.kernels.bits import spikes_as_bits
from spikeloom.kernels.events import choice

needs_numba = pytest.mark.skipif(
    not checks.installed("numba"), reason="the extra cpu is not installed"
)


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a timing says, and how often it was made; no work is too small."""
    said: dict[str, Any] = {"faster": True, "timings": 0}

    def timed(*args: Any) -> float:
        said["timings"] += 1
        return 2.0 if said["faster"] else 0.5

    monkeypatch.setattr(choice, "WORTH", 0)
    monkeypatch.setattr(choice, "SMALL", 0)
    monkeypatch.setattr(choice, "_gain", timed)
    monkeypatch.setattr(choice, "_answers", lambda: answers)
    monkeypatch.setattr(choice, "_file", lambda: None)
    answers: dict[str, float] = {}
    return said


def perceptron() -> nn.Sequential:
    lif = {"threshold": 0.3, "init_hidden": True}
    return nn.Sequential(
        nn.Linear(100, 64), snn.Leaky(0.9, **lif), nn.Linear(64, 40), snn.Leaky(0.9, **lif)
    )


def by_steps(net: nn.Module, x: Tensor) -> Tensor:
    snn.reset(net)
    return torch.stack([net(x_t) for x_t in x])


@needs_numba
@pytest.mark.parametrize("density", [0.03, 0.15, 0.9])
@pytest.mark.parametrize("faster", [True, False])
def test_a_network_of_ordinary_layers_equals_its_step_loop(
    answer: Any, density: float, faster: bool
) -> None:
    answer["faster"] = faster
    net = perceptron().double()
    x = spikes((12, 50, 100), density, dtype=torch.float64).requires_grad_()
    leaves = [x, *net.parameters()]
    expected = gradients(by_steps(net, x), leaves)
    assert_close(gradients(snn.run(net, x), leaves), expected, 10**4)
    with spikes_as_bits():
        assert_close(gradients(snn.run(net, x), leaves), expected, 10**4)


@needs_numba
def test_an_ordinary_layer_goes_by_events_where_a_timing_said_so(answer: Any) -> None:
    net, x = (
        nn.Sequential(nn.Linear(100, 64), snn.Leaky(0.9, init_hidden=True)),
        spikes((12, 50, 100), 0.06),
    )
    how = lambda: snn.run(net, x, explain=True).plan.rows[0].how  # noqa: E731
    assert "time folded into the batch; events (density" in how()
    assert "; events (" in how() and answer["timings"] == 1, "timed once"
    with torch.no_grad():
        assert "; events (" in how() and answer["timings"] == 2, (
            "without a gradient it is another question"
        )
    answer["faster"] = False
    x = spikes((12, 50, 100), 0.2)
    assert "; dense (density" in how() and answer["timings"] == 3, "and at another density"


@needs_numba
def test_what_cannot_pay_is_not_timed(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    w = torch.randn(4, 100)
    for x in (torch.rand(30, 100), torch.zeros(30, 100)):
        assert choice.linear(x, w, None)[1].startswith("dense")
    monkeypatch.setattr(choice, "WORTH", 30 * 4 * 100 + 1)
    assert choice.linear(spikes((30, 100), 0.1), w, None)[1] == ""
    assert answer["timings"] == 0


@needs_numba
def test_a_later_process_takes_the_answer_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "timed.json"
    monkeypatch.setattr(choice, "WORTH", 0)
    monkeypatch.setattr(choice, "_file", lambda: file)
    x, w = spikes((30, 100), 0.1), torch.randn(4, 100)
    for answer in (True, False):
        file.unlink(missing_ok=True)
        for timed in (answer, not answer):  # the second process would answer otherwise
            choice._answers.cache_clear()
            gain = 2.0 if timed else 0.5
            monkeypatch.setattr(choice, "_gain", lambda *args, gain=gain: gain)
            assert choice.linear(x, w, None)[1].startswith("events" if answer else "dense")
    for damage in (b"", b"[1]", b'{"a": "1"}', b'{"a": true}', b"\xff"):
        file.write_bytes(damage)
        choice._answers.cache_clear()
        assert choice._answers() == {}
    choice._answers.cache_clear()


@needs_numba
def test_a_timing_that_nothing_keeps_decides_nothing_that_is_resumed(answer: Any) -> None:
    x, w = spikes((30, 100), 0.1), torch.randn(4, 100)
    with choice.by_input_alone():
        assert choice.linear(x, w, None)[1].startswith("dense")
    assert answer["timings"] == 0


@needs_numba
def test_a_timing_computes_both_ways_and_leaves_no_gradient() -> None:
    x, w = spikes((30, 100), 0.1), torch.randn(4, 100, requires_grad=True)
    assert choice._gain(x, w.detach(), None, True) > 0
    assert w.grad is None


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_a_layer_made_for_events_went_by_events_where_the_dense_product_is_faster(
    answer: Any, dtype: torch.dtype
) -> None:
    net = nn.Sequential(snn.SpikeLinear(100, 64), snn.Leaky(0.9, init_hidden=True))
    x = spikes((12, 50, 100), 0.06).to(dtype)
    how = lambda: snn.run(net, x, explain=True).plan.rows[0].how  # noqa: E731
    assert "; events (density" in how() and answer["timings"] == 1
    answer["faster"] = False
    x = spikes((12, 50, 100), 0.3).to(dtype)
    assert "; dense (density" in how() and answer["timings"] == 2
    leaves = list(net.parameters())
    found = gradients(snn.run(net, x), leaves)
    assert_close(found, gradients(by_steps(net, x.float()), leaves), 10**3)


@needs_numba
def test_a_resumed_training_takes_the_layer_made_for_events_by_events(answer: Any) -> None:
    answer["faster"] = False
    x, w = spikes((30, 100), 0.1), torch.randn(4, 100)
    with choice.by_input_alone():
        remark = choice.linear(x, w, None, made_for_events=True)[1]
    assert remark.startswith("events") and answer["timings"] == 0


def test_a_layer_with_a_hook_or_an_override_is_called_as_it_is() -> None:
    net, seen = nn.Sequential(nn.Linear(100, 40), snn.Leaky(0.9, init_hidden=True)), []
    x = spikes((4, 5, 100), 0.05)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append(type(module))
    )
    try:
        snn.run(net, x)
    finally:
        handle.remove()
    assert nn.Linear in seen
    net[0].forward = lambda x: torch.full((len(x), 40), 7.0)  # type: ignore[method-assign]
    assert (snn.run(net, x, record=["1.mem"]).record["1.mem"][0] == 7.0).all()


def test_running_leaves_no_trace_in_an_ordinary_layer(answer: Any) -> None:
    net = perceptron()
    layers = [m for m in net if type(m) is nn.Linear]
    before = [set(vars(m)) for m in layers]
    snn.run(net, spikes((12, 5, 100), 0.05))
    assert [set(vars(m)) for m in layers] == before
    assert [type(m) for m in net][::2] == [nn.Linear, nn.Linear]


def test_mixed_precision_and_other_types_run_as_before(answer: Any) -> None:
    net, x = perceptron(), spikes((4, 5, 100), 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert snn.run(net, x, explain=True).plan.rows[0].how == "time folded into the batch"
    assert snn.run(net.bfloat16(), x.bfloat16()).dtype == torch.bfloat16


def test_small_work_never_loads_the_compiler() -> None:
    script = """
import sys, torch, spikeloom as snn
leaky = snn.Leaky(0.9, init_hidden=True)
net = torch.nn.Sequential(torch.nn.Linear(100, 50), leaky, torch.nn.Linear(50, 10))
snn.run(net, (torch.rand(25, 8, 100) < 0.05).float()).sum().backward()
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=1500)


class Converting(nn.Module):
    """A loop that converts stored spikes at each step, as users write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(100, 64), snn.Leaky(0.9)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        convert: Any = {
            "float": lambda v: v.float(),
            "to": lambda v: v.to(torch.float32),
            "dtype": lambda v: v.to(dtype=torch.float32),
            "scaled": lambda v: v.float() * 1.0,
        }[self.way]
        mem = self.lif.init_leaky()
        out = []
        for step in range(len(x)):
            spk, mem = self.lif(self.fc(convert(x[step])), mem)
            out.append(spk + mem)
        return torch.stack(out)


@needs_numba
@pytest.mark.parametrize("way", ["float", "to", "dtype", "scaled"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float64])
def test_stored_spikes_were_converted_in_front_of_events(
    answer: Any, way: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    net, x = Converting(way), spikes((12, 50, 100), 0.06).to(dtype)
    run = snn.layerwise(net)
    for faster in (True, False):
        answer["faster"] = faster
        x = torch.roll(x, 1, 0)
        found = gradients(run(x), list(net.parameters()))
        assert_close(found, gradients(net(x), list(net.parameters())), 10**3)
        read = way != "scaled" and dtype != torch.float64 and faster
        assert ("with the linear layer after it" in str(run.plan)) is read, run.plan
        answer["timings"] = 0
        choice._answers().clear()
