"""Spikes as events: the same results as the dense product, chosen where a timing said so."""

import copy
import inspect
import io
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from sparse import assert_close, gradients, saved_bytes, spikes
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn
from spikeloom.core import checks
from spikeloom.kernels import threads
from spikeloom.kernels.bits import spikes_as_bits
from spikeloom.kernels.events import choice
from spikeloom.kernels.events import linear as product
from spikeloom.kernels.events.linear import linear

needs_numba = pytest.mark.skipif(not checks.installed("numba"), reason="the extra cpu is not installed")
KINDS = ("binary", "one value", "graded", "sparse graded")
SIZES = [(5, 7, 3, 0.3), (60, 300, 200, 0.02), (1, 1, 1, 1.0), (4, 9, 40, 0.0), (50, 65, 33, 1.0)]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a timing says, and how often it was made; no work is too small."""
    said: dict[str, Any] = {"faster": True, "timings": 0}

    def timed(*args: Any) -> bool:
        said["timings"] += 1
        return said["faster"]

    monkeypatch.setattr(choice, "WORTH", 0)
    monkeypatch.setattr(choice, "_faster", timed)
    monkeypatch.setattr(choice, "_answers", lambda: answers)
    monkeypatch.setattr(choice, "_file", lambda: None)
    answers: dict[str, bool] = {}
    return said


# -- the same results ------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_layer_on_events_equals_the_dense_one(kind: str, dtype: Any) -> None:
    for rows, inputs, outputs, density in SIZES:
        x = spikes((rows, inputs), density if kind != "sparse graded" else 0.03, kind, dtype).requires_grad_()
        weight, bias = torch.randn(outputs, inputs, dtype=dtype), torch.randn(outputs, dtype=dtype).requires_grad_()
        for w in (weight.clone().requires_grad_(), weight.t().contiguous().t().requires_grad_()):
            for b in (bias, None):
                leaves = [t for t in (x, w, b) if t is not None]
                expected = gradients(F.linear(x, w, b), leaves)
                assert_close(gradients(linear(x, w, b), leaves), expected, inputs + rows)
                with torch.no_grad():
                    assert_close([linear(x, w, b)], expected[:1], inputs)


@needs_numba
@pytest.mark.parametrize("block", [1, 2**12, 2**14, 2**30])
def test_the_weights_may_be_taken_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "BLOCK", block)
    x, w = spikes((70, 120), 0.3).requires_grad_(), torch.randn(90, 120, requires_grad=True)
    assert_close(gradients(linear(x, w, None), [x, w]), gradients(F.linear(x, w), [x, w]), 190)


@needs_numba
def test_inputs_of_any_rank_order_and_number_of_rows_pass() -> None:
    w = torch.randn(3, 5)
    shaped = [spikes(shape, 0.4) for shape in ((5,), (0, 5), (2, 0, 5), (2, 3, 4, 5))]
    ordered = [spikes((5, 8), 0.4).t(), spikes((8, 10), 0.4)[:, ::2], spikes((1, 5), 0.4).expand(8, 5)]
    for x in [*shaped, *ordered]:
        assert_close([linear(x, w, None)], [F.linear(x, w)], 5)


@needs_numba
def test_a_negative_bit_was_read_as_if_it_were_not_there() -> None:
    x = torch._neg_view(spikes((6, 8), 0.3).contiguous())
    w, b = torch._neg_view(torch.randn(4, 8)), torch._neg_view(torch.randn(4))
    flow = torch._neg_view(torch.randn(6, 4))
    plain = [v.resolve_neg().clone().requires_grad_() for v in (x, w, b)]
    given = [v.detach().requires_grad_() for v in (x, w, b)]
    found, expected = linear(*given), F.linear(*plain)
    assert_close([found], [expected], 8)
    pairs = zip(torch.autograd.grad(found, given, flow), torch.autograd.grad(expected, plain, flow), strict=True)
    for a, c in pairs:
        assert_close([a], [c], 8)


@needs_numba
@pytest.mark.parametrize("wanted", ["input", "weight", "bias"])
def test_only_the_gradients_that_are_asked_for_are_computed(wanted: str) -> None:
    x, w, b = spikes((6, 8), 0.3), torch.randn(4, 8), torch.randn(4)
    leaf = {"input": x, "weight": w, "bias": b}[wanted].requires_grad_()
    assert_close(gradients(linear(x, w, b), [leaf]), gradients(F.linear(x, w, b), [leaf]), 8)


@needs_numba
def test_second_derivatives_pass_a_layer_on_events() -> None:
    x, w = spikes((6, 8), 0.3, "graded", torch.float64).requires_grad_(), torch.randn(4, 8).double().requires_grad_()
    found = []
    for way in (linear, F.linear):
        first = torch.autograd.grad(way(x, w, None).pow(3).sum(), [x, w], create_graph=True)
        found.append(torch.autograd.grad(sum(g.pow(2).sum() for g in first), [x, w]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@needs_numba
def test_an_input_that_was_written_after_the_forward_pass_is_refused_by_autograd() -> None:
    x, w = spikes((6, 8), 0.3), torch.randn(4, 8, requires_grad=True)
    y = linear(x, w, None)
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@needs_numba
def test_a_tensor_of_the_user_could_not_be_resized_afterwards() -> None:
    x, w = spikes((6, 8), 0.3), torch.randn(4, 8)
    linear(x, w, None)
    x.untyped_storage().resize_(4)
    w.untyped_storage().resize_(4)


@needs_numba
def test_threads_share_the_work_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = spikes((31, 50), 0.2).requires_grad_(), torch.randn(40, 50, requires_grad=True)
    results = []
    for work in (10**12, 0):
        monkeypatch.setattr(threads, "PARALLEL", work)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        results.append(gradients(linear(x, w, None), [x, w]))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_goes_by_events_too() -> None:
    script = """
import os, torch
from spikeloom.kernels import threads
from spikeloom.kernels.events.linear import linear
torch.set_num_threads(2)
threads.PARALLEL = 0
x, w = (torch.rand(40, 64) < 0.1).float(), torch.rand(30, 64)
expected = linear(x, w, None)
child = os.fork()
if not child:
    os._exit(0 if torch.equal(linear(x, w, None), expected) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "0", done.stderr


# -- the choice for ordinary layers ------------------------------------------------------------------------


def perceptron() -> nn.Sequential:
    lif = {"threshold": 0.3, "init_hidden": True}
    return nn.Sequential(nn.Linear(100, 64), snn.Leaky(0.9, **lif), nn.Linear(64, 40), snn.Leaky(0.9, **lif))


def by_steps(net: nn.Module, x: Tensor) -> Tensor:
    snn.reset(net)
    return torch.stack([net(x_t) for x_t in x])


@needs_numba
@pytest.mark.parametrize("density", [0.03, 0.15, 0.9])
@pytest.mark.parametrize("faster", [True, False])
def test_a_network_of_ordinary_layers_equals_its_step_loop(answer: Any, density: float, faster: bool) -> None:
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
    net, x = nn.Sequential(nn.Linear(100, 64), snn.Leaky(0.9, init_hidden=True)), spikes((12, 50, 100), 0.06)
    how = lambda: snn.run(net, x, explain=True).plan.rows[0].how  # noqa: E731
    assert "time folded into the batch; events (density" in how()
    assert "; events (" in how() and answer["timings"] == 1, "timed once"
    with torch.no_grad():
        assert "; events (" in how() and answer["timings"] == 2, "without a gradient it is another question"
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
def test_a_later_process_takes_the_answer_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "timed.json"
    monkeypatch.setattr(choice, "WORTH", 0)
    monkeypatch.setattr(choice, "_file", lambda: file)
    x, w = spikes((30, 100), 0.1), torch.randn(4, 100)
    for answer in (True, False):
        file.unlink(missing_ok=True)
        for timed in (answer, not answer):  # the second process would answer otherwise
            choice._answers.cache_clear()
            monkeypatch.setattr(choice, "_faster", lambda *args, timed=timed: timed)
            assert choice.linear(x, w, None)[1].startswith("events" if answer else "dense")
    for damage in (b"", b"[1]", b'{"a": 1}', b"\xff"):
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
    assert choice._faster(x, w.detach(), None, True) in (True, False)
    assert w.grad is None


def test_a_layer_with_a_hook_or_an_override_is_called_as_it_is() -> None:
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


def test_running_leaves_no_trace_in_an_ordinary_layer(answer: Any) -> None:
    net = perceptron()
    before = [set(vars(m)) for m in net]
    snn.run(net, spikes((12, 5, 100), 0.05))
    assert [set(vars(m)) - {"_hidden"} for m in net] == [b - {"_hidden"} for b in before]
    assert type(net[0]) is nn.Linear


def test_mixed_precision_and_other_types_run_as_before(answer: Any) -> None:
    net, x = perceptron(), spikes((4, 5, 100), 0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert snn.run(net, x, explain=True).plan.rows[0].how == "time folded into the batch"
    assert snn.run(net.bfloat16(), x.bfloat16()).dtype == torch.bfloat16


def test_small_work_never_loads_the_compiler() -> None:
    script = """
import sys, torch, spikeloom as snn
net = torch.nn.Sequential(torch.nn.Linear(100, 50), snn.Leaky(0.9, init_hidden=True), torch.nn.Linear(50, 10))
snn.run(net, (torch.rand(25, 8, 100) < 0.05).float()).sum().backward()
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


# -- bits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "one value"])
@pytest.mark.parametrize("layer", [nn.Linear(512, 40), nn.Conv2d(8, 4, 3)], ids=["linear", "convolution"])
def test_what_any_layer_keeps_takes_one_bit_for_each_element(layer: nn.Module, kind: str) -> None:
    x = spikes((40, 512) if isinstance(layer, nn.Linear) else (4, 8, 16, 16), 0.3, kind)
    for given in [x] if x.dim() == 2 else [x, x.contiguous(memory_format=torch.channels_last)]:
        leaves = list(layer.parameters())
        expected = gradients(layer(given), leaves)
        with spikes_as_bits():
            found = gradients(layer(given), leaves)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_bits_need_less_memory() -> None:
    net, x = nn.Sequential(nn.Linear(512, 40), snn.Leaky(0.9, init_hidden=True)), spikes((50, 20, 512), 0.4)
    kept: list[int] = []
    for memory in ("exact", "compressed"):
        import spikeloom.kernels.bits as bits

        packed = bits._packed
        sizes: dict[int, int] = {}

        def counted(t: Tensor, packed: Any = packed, sizes: dict[int, int] = sizes) -> Any:
            result = packed(t)
            size = result[0].numel() if isinstance(result, tuple) else t.numel() * t.element_size()
            sizes[t.data_ptr()] = size
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bits, "_packed", counted)
            if memory == "exact":
                kept.append(saved_bytes(lambda: snn.run(net, x), *net.parameters()))
            else:
                snn.run(net, x, memory=memory)
                kept.append(sum(sizes.values()))
    assert kept[0] - kept[1] >= 0.9 * x.numel() * 4


@pytest.mark.parametrize(
    "x",
    [torch.rand(2000), torch.full((2000,), 3.0), torch.zeros(2000), torch.ones(4, 500).expand(3, 4, 500),
     torch.tensor([0.0, torch.nan]).repeat(1000), torch.tensor([-2.0, 0.0]).repeat(1000)],
    ids=["values", "one value", "zeros", "expanded", "nan", "negative"],
)  # fmt: skip
def test_what_was_packed_or_left_alone_comes_back(x: Tensor) -> None:
    from spikeloom.kernels.bits import _packed, _unpacked

    back = _unpacked(_packed(x))
    assert torch.equal(back.nan_to_num(7.0), x.nan_to_num(7.0)) and back.stride() == x.stride()


# -- the layer of its own ----------------------------------------------------------------------------------


def test_an_unknown_word_for_events_is_refused() -> None:
    with pytest.raises(ValueError, match="events must be one of 'auto', 'always', 'never', got 'alway'; did you mean"):
        snn.SpikeLinear(2, 3, events="alway")


@needs_numba
def test_always_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = snn.SpikeLinear(4, 3, events="always"), torch.ones(2, 4)
    with pytest.raises(RuntimeError, match=r"cannot be obeyed: .*float32 or float64, got an input of torch.float16"):
        layer(x.half())
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="autocast is on"):
        layer(x)
    with pytest.raises(RuntimeError, match=r"a derivative is taken by torch\.func"):
        torch.func.vmap(layer)(x[:, None])
    with pytest.raises(RuntimeError, match="on the CPU, got an input on meta"):
        layer(x.to("meta"))
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"numba, which is not installed; write: pip install \"spikeloom\[cpu\]\""):
        layer(x)


def test_an_open_choice_gives_way_to_autocast_and_transforms() -> None:
    layer, x = snn.SpikeLinear(4, 3), spikes((2, 4), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert torch.allclose(torch.func.vmap(layer)(x), layer(x))
    per_sample = torch.func.grad(lambda w: torch.func.functional_call(layer, {"weight": w}, (x,)).sum())(layer.weight)
    assert torch.allclose(per_sample, x.sum(0).expand(3, 4))


@pytest.mark.parametrize("events", ["auto", "never"])
def test_a_layer_compiles_into_one_graph_as_the_dense_product(events: str) -> None:
    torch.compiler.reset()
    net = nn.Sequential(nn.Flatten(), snn.SpikeLinear(72, 40, events=events))
    x = spikes((5, 2, 6, 6), 0.1).requires_grad_()
    expected = gradients(net(x), [x, *net.parameters()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, inside its compiler
        found = torch.compile(net, fullgraph=True, backend="aot_eager")(x)
    assert_close(gradients(found, [x, *net.parameters()]), expected, 10**3)


def test_the_layer_is_drop_in() -> None:
    theirs = list(inspect.signature(nn.Linear.__init__).parameters)
    assert list(inspect.signature(snn.SpikeLinear.__init__).parameters) == [*theirs, "events"]
    torch.manual_seed(0)
    a = snn.SpikeLinear(6, 4)
    torch.manual_seed(0)
    b = nn.Linear(6, 4)
    assert a.state_dict().keys() == b.state_dict().keys()
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    a.load_state_dict(nn.Linear(6, 4).state_dict())
    b.load_state_dict(a.state_dict())
    x = spikes((3, 6), 0.4)
    assert torch.allclose(a(x), b(x), atol=1e-6)


@needs_numba
def test_the_layer_goes_by_events_and_tells_the_plan() -> None:
    net = nn.Sequential(snn.SpikeLinear(100, 40), snn.Leaky(0.9, init_hidden=True))
    how = snn.run(net, spikes((4, 50, 100), 0.6), explain=True).plan.rows[0].how
    assert how.startswith("time folded into the batch; events (density")
    net[0].events = "never"
    assert snn.run(net, spikes((4, 50, 100), 0.6), explain=True).plan.rows[0].how == "time folded into the batch"


def test_copies_and_pickles_keep_the_layout_of_the_weight() -> None:
    layer = snn.SpikeLinear(6, 4)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert other.weight.stride() == layer.weight.stride()


@needs_numba
def test_optimizers_keep_the_layout_of_the_weight() -> None:
    layer = snn.SpikeLinear(40, 30, events="always")
    optimizer = torch.optim.Adam(layer.parameters())
    for _ in range(2):
        layer(spikes((8, 40), 0.2)).sum().backward()
        optimizer.step()
    grad = layer.weight.grad
    assert layer.weight.t().is_contiguous() and grad is not None and grad.t().is_contiguous()


@needs_numba
def test_a_weight_changed_behind_autograd_is_seen() -> None:
    layer, x = snn.SpikeLinear(40, 30, events="always"), spikes((8, 40), 0.2)
    with torch.no_grad():
        before = layer(x)
        layer.weight.data.mul_(2.0)
        layer.bias.data.mul_(2.0)
        assert torch.allclose(layer(x), 2 * before, atol=1e-6)
