"""Spikes as events: when they are used, when they are refused, and the layers that use them."""

import copy
import inspect
import io
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from sparse import assert_close, gradients, saved_bytes, spikes
from torch import nn
from torch.nn import functional as F

import spikeloom as snn
from spikeloom.kernels.events import choice, compiled
from spikeloom.kernels.events.choice import Density, Thresholds, spikes_as_bits
from spikeloom.kernels.events.linear import linear


@pytest.fixture
def eager_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """No work is too small."""
    for name in ("SMALL", "WORTH", "LARGE"):
        monkeypatch.setattr(choice, name, 0)


# -- the choice ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager_choice")
def test_a_layer_does_not_flap_between_two_densities() -> None:
    layer, taken = snn.SpikeLinear(1000, 64), []
    for density in (0.1, 0.22, 0.3, 0.22, 0.1):
        layer(spikes((100, 1000), density))
        taken.append(layer.density.events)
    assert taken == [True, True, False, False, True]


@pytest.mark.usefixtures("eager_choice")
def test_an_input_denser_than_its_sample_is_computed_densely() -> None:
    x, density = torch.zeros(64, 100), Density()
    x[1::2] = 1.0  # the sample takes every second row
    w = torch.randn(100, 40).t()
    assert_close([linear(x, w, density=density)], [F.linear(x, w)], 100)
    assert not density.events and str(density) == "dense (density 20 %)"


@pytest.mark.usefixtures("eager_choice")
def test_without_gradients_events_pay_up_to_higher_densities() -> None:
    layer, x = snn.SpikeLinear(1000, 64), spikes((100, 1000), 0.25)
    layer(x)
    assert not layer.density.events
    with torch.no_grad():
        layer(x)
    assert layer.density.events


@pytest.mark.usefixtures("eager_choice")
@pytest.mark.parametrize("rows", [32, 60, 400])
def test_a_weight_that_must_be_turned_needs_more_rows(rows: int) -> None:
    x, weight = spikes((rows, 100), 0.1), torch.randn(64, 100)
    taken = []
    for w in (weight, weight.t().contiguous().t()):
        with torch.no_grad():
            linear(x, w, density=(density := Density()))
        taken.append(density.events)
    assert taken == [rows == 400, True]


def test_small_work_never_loads_the_compiler() -> None:
    script = """
import sys, torch, spikeloom as snn
net = torch.nn.Sequential(snn.SpikeLinear(100, 50), snn.Leaky(0.9, init_hidden=True), torch.nn.Linear(50, 10))
snn.run(net, (torch.rand(25, 8, 100) < 0.05).float()).sum().backward()
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_thresholds_are_apart() -> None:
    from spikeloom.kernels.events import convolution
    from spikeloom.kernels.events import linear as product

    for bounds in (product.BOUNDS, product.UNKEPT, product.FEW, convolution.BOUNDS, convolution.NARROW):
        assert isinstance(bounds, Thresholds) and 0 < bounds.begin < bounds.stop < 1


# -- refusals --------------------------------------------------------------------------------------------


def test_an_unknown_word_for_events_is_refused() -> None:
    with pytest.raises(ValueError, match="events must be one of 'auto', 'always', 'never', got 'alway'; did you mean"):
        snn.SpikeLinear(2, 3, events="alway")
    with pytest.raises(ValueError, match="events must be one of"):
        snn.SpikeConv2d(2, 3, 3, events="yes")


@pytest.mark.parametrize("layer", [snn.SpikeLinear(4, 3, events="always"), snn.SpikeConv2d(4, 3, 1, events="always")])
def test_always_is_refused_with_the_reason(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, 4) if isinstance(layer, nn.Linear) else torch.ones(2, 4, 1, 1)
    with pytest.raises(RuntimeError, match=r"cannot be obeyed: .*float32 or float64, got an input of torch.float16"):
        layer(x.half())
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="autocast is on"):
        layer(x)
    with pytest.raises(RuntimeError, match=r"torch\.func transform is running"):
        torch.func.vmap(layer)(x[:, None])
    with pytest.raises(RuntimeError, match="on the CPU, got an input on meta"):
        layer(x.to("meta"))
    monkeypatch.setattr(compiled, "available", lambda: False)
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


def test_without_numba_bits_are_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "available", lambda: False)
    monkeypatch.setattr(compiled, "loop", None)
    x, w = spikes((200, 512), 0.05), torch.randn(200, 512, requires_grad=True)
    with spikes_as_bits():
        assert saved_bytes(lambda: linear(x, w), w) <= x.numel() * 4 / 31
        assert_close(gradients(linear(x, w), [w]), gradients(F.linear(x, w), [w]), 700)


# -- the layers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "plain"), [(snn.SpikeLinear, nn.Linear), (snn.SpikeConv2d, nn.Conv2d)])
def test_the_layers_are_drop_in(ours: Any, plain: Any) -> None:
    theirs = list(inspect.signature(plain.__init__).parameters)
    assert list(inspect.signature(ours.__init__).parameters) == [*theirs, "events"]
    arguments = (6, 4) if plain is nn.Linear else (6, 4, 3)
    torch.manual_seed(0)
    a = ours(*arguments)
    torch.manual_seed(0)
    b = plain(*arguments)
    assert a.state_dict().keys() == b.state_dict().keys()
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    a.load_state_dict(plain(*arguments).state_dict())
    b.load_state_dict(a.state_dict())
    x = spikes((3, 6) if plain is nn.Linear else (3, 6, 5, 5), 0.4)
    assert torch.allclose(a(x), b(x), atol=1e-6)


@pytest.mark.parametrize("make", [lambda: snn.SpikeLinear(6, 4), lambda: snn.SpikeConv2d(6, 4, 3)])
def test_copies_and_pickles_remember_nothing_of_each_other(make: Any) -> None:
    layer = make()
    layer.density.value = 0.1
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert other.density.number != layer.density.number and str(other.density) == ""
        assert other.weight.stride() == layer.weight.stride()


@pytest.mark.parametrize(
    "options", [{"padding": "same"}, {"padding": 1, "padding_mode": "circular"}, {"padding": "valid"}]
)
def test_every_kind_of_padding_is_that_of_the_ordinary_layer(options: dict[str, Any]) -> None:
    layer = snn.SpikeConv2d(2, 3, (3, 4), dilation=(1, 2), events="always", **options)
    plain = nn.Conv2d(2, 3, (3, 4), dilation=(1, 2), **options)
    plain.load_state_dict(layer.state_dict())
    x = spikes((2, 2, 9, 9), 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)  # torch warns that an uneven "same" copies its input
        assert torch.allclose(layer(x), plain(x), atol=1e-6)
    assert torch.allclose(layer(x[0]), layer(x)[0])


def test_optimizers_keep_the_layout_of_the_weight() -> None:
    layer = snn.SpikeLinear(40, 30, events="always")
    optimizer = torch.optim.Adam(layer.parameters())
    for _ in range(2):
        layer(spikes((8, 40), 0.2)).sum().backward()
        optimizer.step()
    grad = layer.weight.grad
    assert layer.weight.t().is_contiguous() and grad is not None and grad.t().is_contiguous()


def test_a_weight_changed_behind_autograd_is_seen() -> None:
    layer, x = snn.SpikeLinear(40, 30, events="always"), spikes((8, 40), 0.2)
    with torch.no_grad():
        before = layer(x)
        layer.weight.data.mul_(2.0)
        layer.bias.data.mul_(2.0)
        assert torch.allclose(layer(x), 2 * before, atol=1e-6)
