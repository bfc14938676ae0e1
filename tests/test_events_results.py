"""Spikes as events: every way of computing gives the dense result, and keeps fewer bytes for the backward pass."""

from typing import Any

import numpy as np
import pytest
import torch
from sparse import assert_close, gradients, saved_bytes, spikes
from torch.nn import functional as F

from spikeloom.kernels.events import compiled, entries
from spikeloom.kernels.events import linear as product
from spikeloom.kernels.events.choice import Density, spikes_as_bits
from spikeloom.kernels.events.convolution import conv1d, conv2d, spike_conv
from spikeloom.kernels.events.linear import linear, spike_linear

KINDS = ("binary", "one value", "graded", "sparse graded")
LINEAR = [(5, 7, 3, 0.3), (60, 300, 200, 0.02), (1, 1, 1, 1.0), (4, 9, 40, 0.0), (50, 65, 33, 1.0)]
CONV: list[dict[str, Any]] = [
    {"x": (2, 3, 7, 8), "w": (5, 3, 3, 2)},
    {"x": (3, 4, 9, 6), "w": (6, 2, 3, 3), "stride": 2, "padding": 1, "groups": 2},
    {"x": (2, 2, 8, 8), "w": (4, 2, 3, 5), "stride": (1, 2), "padding": (2, 0), "dilation": (2, 1)},
    {"x": (1, 1, 5, 5), "w": (1, 1, 5, 5), "padding": 2},
    {"x": (2, 6, 6, 6), "w": (6, 1, 1, 1), "groups": 6},
    {"x": (4, 12, 12, 12), "w": (64, 12, 5, 5)},
    {"x": (2, 3, 10, 11), "w": (40, 3, 3, 3), "stride": (3, 1), "padding": (1, 4), "dilation": (1, 3)},
    {"x": (2, 1, 4, 4), "w": (3, 1, 2, 2), "stride": 5, "padding": 3},
]


# -- the same results ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("events", ["always", "never"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_layer_on_events_equals_the_dense_one(kind: str, events: str, dtype: Any) -> None:
    for rows, inputs, outputs, density in LINEAR:
        x = spikes((rows, inputs), density if kind != "sparse graded" else 0.03, kind, dtype).requires_grad_()
        weight, bias = torch.randn(outputs, inputs, dtype=dtype), torch.randn(outputs, dtype=dtype).requires_grad_()
        for w in (weight.clone().requires_grad_(), weight.t().contiguous().t().requires_grad_()):
            for b in (bias, None):
                leaves = [t for t in (x, w, b) if t is not None]
                expected = gradients(F.linear(x, w, b), leaves)
                with spikes_as_bits():  # else "never" would be the ordinary function
                    found = linear(x, w, b, events=events)
                assert_close(gradients(found, leaves), expected, inputs + rows)
                with torch.no_grad():
                    assert_close([linear(x, w, b, events=events)], expected[:1], inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("events", ["always", "never"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_on_events_equals_the_dense_one(kind: str, events: str, layout: Any, dtype: Any) -> None:
    for case in CONV:
        options = {name: value for name, value in case.items() if name not in "xw"}
        x = spikes(case["x"], 0.1, kind, dtype).contiguous(memory_format=layout).requires_grad_()
        w = torch.randn(case["w"], dtype=dtype).requires_grad_()
        for b in (torch.randn(len(w), dtype=dtype).requires_grad_(), None):
            leaves = [t for t in (x, w, b) if t is not None]
            expected = gradients(F.conv2d(x, w, b, **options), leaves)
            with spikes_as_bits():
                found = conv2d(x, w, b, **options, events=events)
            assert found.is_contiguous(memory_format=torch.contiguous_format if x.is_contiguous() else layout)
            assert_close(gradients(found, leaves), expected, w[0].numel() + found.numel() // len(w))
            with torch.no_grad():
                assert_close([conv2d(x, w, b, **options, events=events)], expected[:1], w[0].numel())


@pytest.mark.parametrize("block", [1, 2**12, 2**14, 2**30])
def test_the_weights_may_be_taken_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "BLOCK", block)
    x, w = spikes((70, 120), 0.3).requires_grad_(), torch.randn(90, 120, requires_grad=True)
    assert_close(gradients(linear(x, w, events="always"), [x, w]), gradients(F.linear(x, w), [x, w]), 190)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_kept_is_unpacked_in_pieces_of_any_size(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikeloom.kernels.events import convolution

    x, w = spikes((11, 12), 0.3, kind), torch.randn(5, 12, requires_grad=True)
    image, kernel = spikes((11, 3, 5, 5), 0.3, kind), torch.randn(4, 3, 3, 3, requires_grad=True)
    for size in (1, 40, 10**6):
        monkeypatch.setattr(product, "CHUNK", size)
        monkeypatch.setattr(convolution, "CHUNK", size)
        with spikes_as_bits():
            assert_close(gradients(linear(x, w, events="never"), [w]), gradients(F.linear(x, w), [w]), 12)
            found = gradients(conv2d(image, kernel, events="never"), [kernel])
        assert_close(found, gradients(F.conv2d(image, kernel), [kernel]), 100)


def test_a_one_dimensional_convolution_is_a_flat_two_dimensional_one() -> None:
    x, w, b = spikes((3, 4, 11), 0.3, dtype=torch.float64), torch.randn(6, 2, 3).double(), torch.randn(6).double()
    options: dict[str, Any] = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    assert_close([conv1d(x, w, b, **options, events="always")], [F.conv1d(x, w, b, **options)], 6)


def test_inputs_of_any_rank_and_without_rows_pass() -> None:
    w = torch.randn(3, 5)
    for shape in ((5,), (0, 5), (2, 0, 5), (2, 3, 4, 5)):
        x = spikes(shape, 0.4)
        assert_close([linear(x, w, events="always")], [F.linear(x, w)], 5)
    assert conv2d(torch.zeros(0, 1, 4, 4), torch.randn(2, 1, 3, 3), events="always").shape == (0, 2, 2, 2)


def test_a_transposed_or_cut_input_is_read_in_its_own_order() -> None:
    w = torch.randn(3, 5)
    for x in (spikes((5, 8), 0.4).t(), spikes((8, 10), 0.4)[:, ::2], spikes((1, 5), 0.4).expand(8, 5)):
        assert_close([linear(x, w, events="always")], [F.linear(x, w)], 5)


@pytest.mark.parametrize("wanted", ["input", "weight", "bias"])
def test_only_the_gradients_that_are_asked_for_are_computed(wanted: str) -> None:
    x, w, b = spikes((6, 8), 0.3), torch.randn(4, 8), torch.randn(4)
    leaf = {"input": x, "weight": w, "bias": b}[wanted].requires_grad_()
    assert_close(gradients(linear(x, w, b, events="always"), [leaf]), gradients(F.linear(x, w, b), [leaf]), 8)


@pytest.mark.parametrize("events", ["auto", "always", "never"])
def test_the_operators_are_registered_as_torch_wants_them(events: str) -> None:
    x, w = spikes((6, 10), 0.3).requires_grad_(), torch.randn(4, 10, requires_grad=True)
    torch.library.opcheck(spike_linear, (x, w, torch.randn(4), events, True, 0))
    image, kernel = spikes((2, 3, 6, 6), 0.3).requires_grad_(), torch.randn(4, 3, 3, 3, requires_grad=True)
    for i in (image, image.detach().contiguous(memory_format=torch.channels_last).requires_grad_()):
        torch.library.opcheck(spike_conv, (i, kernel, None, [2, 1, 1, 0, 1, 2, 1], events, True, 0))


# -- what is kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", ["always", "never"])
@pytest.mark.parametrize(("density", "most"), [(0.5, 1 / 31), (0.1, 1 / 31), (0.005, 1 / 90)])
def test_binary_spikes_are_kept_as_bits_or_as_fewer_indices(events: str, density: float, most: float) -> None:
    x, w = spikes((400, 1024), density), torch.randn(50, 1024, requires_grad=True)
    dense = saved_bytes(lambda: F.linear(x, w), w)
    assert dense == x.numel() * 4
    with spikes_as_bits():
        assert saved_bytes(lambda: linear(x, w, events=events), w) <= most * dense


def test_a_convolution_keeps_bits() -> None:
    x, w = spikes((20, 8, 16, 16), 0.2), torch.randn(4, 8, 3, 3, requires_grad=True)
    dense = saved_bytes(lambda: F.conv2d(x, w), w)
    assert saved_bytes(lambda: conv2d(x, w, events="always"), w) <= dense / 31


def test_sparse_graded_spikes_are_kept_as_indices_with_values() -> None:
    x, w = spikes((400, 1024), 0.05, "graded"), torch.randn(50, 1024, requires_grad=True)
    assert saved_bytes(lambda: linear(x, w, events="always"), w) <= 0.12 * x.numel() * 4


def test_the_ordinary_function_runs_where_events_do_not_pay() -> None:
    x, w = spikes((400, 1024), 0.9), torch.randn(50, 1024, requires_grad=True)
    assert type(linear(x, w).grad_fn) is type(F.linear(x, w).grad_fn)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("density", [0.0, 0.004, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("width", [1, 8, 37, 70000])
def test_what_is_kept_comes_back(kind: str, density: float, width: int) -> None:
    x = spikes((5, width), density, kind)
    for listed in (entries.found(x, x.numel()), None):
        kept = entries.keep(x, listed)
        told = entries.read(kept)
        assert told.count == int((x != 0).sum()) and told.as_events == (listed is not None)
        back = entries.unpacked(told, 5, width, x.dtype, 0, 5)
        assert torch.equal(back, x) and torch.equal(entries.unpacked(told, 5, width, x.dtype, 2, 4), x[2:4])
        again = entries.listed(told, 5, width, x.numpy().dtype)
        if listed is not None:
            assert (again.idx == listed.idx).all() and (again.ptr == listed.ptr).all()


def test_the_gradient_of_the_weight_goes_by_events_if_the_forward_pass_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "unpacked", None)  # what the dense way needs
    x, w = spikes((20, 30), 0.2), torch.randn(4, 30, requires_grad=True)
    image, kernel = spikes((4, 3, 6, 6), 0.2), torch.randn(4, 3, 3, 3, requires_grad=True)
    assert_close(gradients(linear(x, w, events="always"), [w]), gradients(F.linear(x, w), [w]), 50)
    assert_close(
        gradients(conv2d(image, kernel, events="always"), [kernel]), gradients(F.conv2d(image, kernel), [kernel]), 99
    )
    with spikes_as_bits(), pytest.raises(TypeError, match="not callable"):
        gradients(linear(x, w, events="never"), [w])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(5, 64, 300), (3, 63, 5), (4, 130, 128), (1, 1, 1), (9, 200, 173)]
)
@pytest.mark.parametrize("kind", ["spikes", "threes", "values"])
def test_few_rows_are_listed_and_added_up_as_the_product_says(
    kind: str, rows: int, inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x = (torch.rand(rows, inputs) < 0.2).to(dtype) * {"spikes": 1.0, "threes": 3.0, "values": torch.randn(inputs)}[kind]
    x[0, 0] = -0.0
    listed = entries.found(x, x.numel())
    assert listed is not None
    row, column = x.nonzero().t().numpy()
    assert np.array_equal(np.repeat(np.arange(rows), np.diff(listed.ptr)), row) and np.array_equal(listed.idx, column)
    weight, bias = torch.randn(outputs, inputs, dtype=dtype), torch.randn(outputs, dtype=dtype)
    with torch.no_grad():
        found = linear(x, weight, bias, events="always")
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.allclose(found, F.linear(x, weight, bias), rtol=tolerance, atol=tolerance)


def test_nan_counts_as_an_event_wherever_it_stands() -> None:
    for place in (0, 63, 64, 69):
        x = torch.zeros(2, 70)
        x[1, place] = torch.nan
        listed = entries.found(x, 140)
        assert listed is not None and listed.idx.tolist() == [place] and np.isnan(listed.values).all()


def test_a_list_that_grows_too_long_is_given_up() -> None:
    assert entries.found(torch.ones(4, 100), 399) is None
    assert entries.found(torch.ones(4, 100), 400) is not None


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["spikes", "values"])
@pytest.mark.parametrize("block", [2**10, 2**22], ids=["many rows", "few rows"])
def test_without_a_gradient_one_loop_lists_and_sums_up(
    kind: str, block: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "BLOCK", block)
    monkeypatch.setattr(compiled, "PARALLEL", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    x = (torch.rand(7, 90) < 0.2).float() * (1.0 if kind == "spikes" else torch.randn(90))
    weight, bias, density = torch.randn(41, 90), torch.randn(41), Density()
    for b in (bias, None):
        with torch.no_grad():
            found = linear(x, weight, b, events="always", density=density)
        assert_close([found], [F.linear(x, weight, b)], 90)
    assert density.events and density.value == x.count_nonzero() / x.numel()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_without_a_gradient_gives_up_where_events_do_not_pay(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "PARALLEL", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    x, weight, density = torch.zeros(4, 80), torch.randn(40, 80), Density()
    x[:2] = 1.0
    with torch.no_grad():
        for limit, events in ((160, True), (159, False), (40, False)):
            found = product._unkept(x, weight, None, limit, density)
            assert density.events == events and torch.allclose(found, F.linear(x, weight), atol=1e-5)
