"""Spikes as bits, and the layer that goes by events."""

import copy
import inspect
import io
import pickle
import sys
import warnings
from typing import Any

import pytest
import torch
from sparse import assert_close, gradients, saved_bytes, spikes
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core import checks
from spikeloom.kernels.bits import spikes_as_bits

needs_numba = pytest.mark.skipif(
    not checks.installed("numba"), reason="the extra cpu is not installed"
)


# -- bits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "one value"])
@pytest.mark.parametrize(
    "layer", [nn.Linear(512, 40), nn.Conv2d(8, 4, 3)], ids=["linear", "convolution"]
)
def test_what_any_layer_keeps_takes_one_bit_for_each_element(layer: nn.Module, kind: str) -> None:
    x = spikes((40, 512) if isinstance(layer, nn.Linear) else (4, 8, 16, 16), 0.3, kind)
    for given in [x] if x.dim() == 2 else [x, x.contiguous(memory_format=torch.channels_last)]:
        leaves = list(layer.parameters())
        expected = gradients(layer(given), leaves)
        with spikes_as_bits():
            found = gradients(layer(given), leaves)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_spikes_that_are_booleans_take_a_byte_instead_of_a_bit() -> None:
    import spikeloom.kernels.bits as bits

    for x in (spikes((40, 512), 0.3).bool(), torch.zeros(40, 512, dtype=torch.bool)):
        saved = bits._packed(x)
        assert saved[0].nbytes == 40 * 512 // 8
        assert torch.equal(bits._unpacked(saved), x)


def test_bits_need_less_memory() -> None:
    net, x = (
        nn.Sequential(nn.Linear(512, 40), snn.Leaky(0.9, init_hidden=True)),
        spikes((50, 20, 512), 0.4),
    )
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
    [
        torch.rand(2000),
        torch.full((2000,), 3.0),
        torch.zeros(2000),
        torch.ones(4, 500).expand(3, 4, 500),
        torch.tensor([0.0, torch.nan]).repeat(1000),
        torch.tensor([-2.0, 0.0]).repeat(1000),
    ],
    ids=["values", "one value", "zeros", "expanded", "nan", "negative"],
)
def test_what_was_packed_or_left_alone_comes_back(x: Tensor) -> None:
    from spikeloom.kernels.bits import _packed, _unpacked

    back = _unpacked(_packed(x))
    assert torch.equal(back.nan_to_num(7.0), x.nan_to_num(7.0)) and back.stride() == x.stride()


# -- the layer of its own --------------------------------------------------------------------------


def test_an_unknown_word_for_events_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match="events must be one of 'auto', 'always', 'never', got 'alway'; did you mean",
    ):
        snn.SpikeLinear(2, 3, events="alway")


@needs_numba
def test_always_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = snn.SpikeLinear(4, 3, events="always"), torch.ones(2, 4)
    with pytest.raises(
        RuntimeError, match=r"cannot be obeyed: .*float32 or float64, got an input of torch.float16"
    ):
        layer(x.half())
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="autocast is on"):
        layer(x)
    with pytest.raises(RuntimeError, match=r"a derivative is taken by torch\.func"):
        torch.func.vmap(layer)(x[:, None])
    with pytest.raises(RuntimeError, match="on the CPU, got an input on meta"):
        layer(x.to("meta"))
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(
        ImportError, match=r"numba, which is not installed; write: pip install numba \("
    ):
        layer(x)


def test_an_open_choice_gives_way_to_autocast_and_transforms() -> None:
    layer, x = snn.SpikeLinear(4, 3), spikes((2, 4), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert torch.allclose(torch.func.vmap(layer)(x), layer(x))
    per_sample = torch.func.grad(
        lambda w: torch.func.functional_call(layer, {"weight": w}, (x,)).sum()
    )(layer.weight)
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


@pytest.mark.parametrize("events", ["auto", "never"])
def test_the_layer_was_computed_step_by_step_in_a_run(events: str) -> None:
    net = nn.Sequential(snn.SpikeLinear(100, 40, events=events), snn.Leaky(0.9, init_hidden=True))
    plan = snn.run(net, spikes((4, 50, 100), 0.6), explain=True)[-1]
    assert "time folded into the batch" in str(plan) and not plan.forced


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


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16])
@pytest.mark.parametrize("events", ["auto", "never"])
def test_spikes_stored_as_booleans_or_small_integers_give_the_results_of_floats(
    events: str, dtype: torch.dtype
) -> None:
    x = spikes((6, 20), 0.3)
    if dtype != torch.bool:
        x = x * torch.randint(1, 4, x.shape)
    layer = snn.SpikeLinear(20, 5, events=events)
    leaves = [layer.weight, layer.bias]
    expected = gradients(layer(x), leaves)
    assert_close(gradients(layer(x.to(dtype)), leaves), expected, 26)


def test_second_derivatives_pass_spikes_that_are_stored_as_booleans() -> None:
    x, layer = spikes((6, 20), 0.3) != 0, snn.SpikeLinear(20, 5)
    found = []
    for given in (x, x.float()):
        y = layer(given).pow(2).sum()
        (first,) = torch.autograd.grad(y, layer.weight, create_graph=True)
        found.append(torch.autograd.grad(first.pow(2).sum(), layer.weight)[0])
    torch.testing.assert_close(*found)


def test_a_network_runs_over_spikes_that_are_stored_as_booleans() -> None:
    net = nn.Sequential(snn.SpikeLinear(20, 5), snn.Leaky(0.9, init_hidden=True, threshold=0.2))
    x = spikes((7, 6, 20), 0.3) != 0
    stepped = torch.stack([net(x_t) for x_t in x])
    torch.testing.assert_close(snn.run(net, x), stepped)


@needs_numba
def test_a_frozen_layer_saved_which_elements_fired() -> None:
    """Only the gradients of weight and bias read it."""
    x = spikes((40, 512), 0.3).requires_grad_()
    net = snn.SpikeLinear(512, 40, events="always")
    trained = saved_bytes(lambda: net(x), x, *net.parameters())
    net.requires_grad_(False)
    assert saved_bytes(lambda: net(x), x, *net.parameters()) == 0 < trained
