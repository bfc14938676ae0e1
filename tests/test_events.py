"""Spikes as events: the same results as the dense product."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from sparse import assert_close, gradients, spikes
from torch.nn import functional as F

from spikeloom.core import checks
from spikeloom.kernels import threads
from spikeloom.kernels.events import linear as product
from spikeloom.kernels.events.linear import linear

needs_numba = pytest.mark.skipif(
    not checks.installed("numba"), reason="the extra cpu is not installed"
)
KINDS = ("binary", "one value", "graded", "sparse graded")
SIZES = [(5, 7, 3, 0.3), (60, 300, 200, 0.02), (1, 1, 1, 1.0), (4, 9, 40, 0.0), (50, 65, 33, 1.0)]


# -- the same results ------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_layer_on_events_equals_the_dense_one(kind: str, dtype: Any) -> None:
    for rows, inputs, outputs, density in SIZES:
        x = spikes(
            (rows, inputs), density if kind != "sparse graded" else 0.03, kind, dtype
        ).requires_grad_()
        weight, bias = (
            torch.randn(outputs, inputs, dtype=dtype),
            torch.randn(outputs, dtype=dtype).requires_grad_(),
        )
        for w in (weight.clone().requires_grad_(), weight.t().contiguous().t().requires_grad_()):
            for b in (bias, None):
                leaves = [t for t in (x, w, b) if t is not None]
                expected = gradients(F.linear(x, w, b), leaves)
                assert_close(gradients(linear(x, w, b), leaves), expected, inputs + rows)
                with torch.no_grad():
                    assert_close([linear(x, w, b)], expected[:1], inputs)


@needs_numba
@pytest.mark.parametrize("block", [1, 2**12, 2**14, 2**30])
def test_the_weights_may_be_taken_in_blocks_of_any_size(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "TABLE", block)
    x, w = spikes((70, 120), 0.3).requires_grad_(), torch.randn(90, 120, requires_grad=True)
    assert_close(gradients(linear(x, w, None), [x, w]), gradients(F.linear(x, w), [x, w]), 190)


@needs_numba
def test_silent_rows_at_the_end_of_a_block_overwrote_entries_of_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Listing writes ahead of the last entry of a row, which must not reach another thread's."""
    x = spikes((60, 50), 0.2)
    x[10:25] = 0
    x[40:] = 0
    monkeypatch.setattr(threads, "PARALLEL", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(
        product,
        "sweep",
        lambda function, *args: [function(40, 60), function(0, 20)] and function(20, 40),
    )
    found = product.listed(x, x.dtype)
    assert torch.equal(found.ptr[1:].long(), (x != 0).sum(1).cumsum(0))
    assert torch.equal(found.idx.long(), x.nonzero()[:, 1])


@needs_numba
@pytest.mark.parametrize("reads", [0, 10**6])
def test_a_weight_is_read_in_place_or_in_copies_with_the_same_result(
    reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "READS", reads)
    monkeypatch.setattr(product, "TABLE", 1)
    x = spikes((70, 120), 0.3, "graded").requires_grad_()
    w = torch.randn(120, 200).t().requires_grad_()
    b = torch.randn(200, requires_grad=True)
    expected = gradients(F.linear(x, w, b), [x, w, b])
    assert_close(gradients(linear(x, w, b), [x, w, b]), expected, 190)
    with torch.no_grad():
        w.mul_(2.0)  # between calls
    assert_close([linear(x, w, b)], [F.linear(x, w, b)], 190)


@needs_numba
def test_inputs_of_any_rank_order_and_number_of_rows_pass() -> None:
    w = torch.randn(3, 5)
    shaped = [spikes(shape, 0.4) for shape in ((5,), (0, 5), (2, 0, 5), (2, 3, 4, 5))]
    ordered = [
        spikes((5, 8), 0.4).t(),
        spikes((8, 10), 0.4)[:, ::2],
        spikes((1, 5), 0.4).expand(8, 5),
    ]
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
    pairs = zip(
        torch.autograd.grad(found, given, flow),
        torch.autograd.grad(expected, plain, flow),
        strict=True,
    )
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
    x, w = (
        spikes((6, 8), 0.3, "graded", torch.float64).requires_grad_(),
        torch.randn(4, 8).double().requires_grad_(),
    )
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
    assert_close(*results, terms=50)


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_goes_by_events_too() -> None:
    """On one thread, as in the workers of a data loader: torch's own threads end with a fork."""
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
    torch.set_num_threads(1)
    os._exit(0 if torch.equal(linear(x, w, None), expected) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=1500
    )
    assert done.stdout.strip() == "0", done.stderr


@needs_numba
@pytest.mark.parametrize("transposed", [True, False])
def test_torch_added_single_elements_of_an_untransposed_weight(
    transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`embedding_bag` adds rows as vectors only if a row is contiguous."""
    tables: list[torch.Tensor] = []
    summed = F.embedding_bag

    def watched(idx: Any, table: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        tables.append(table)
        return summed(idx, table, *args, **options)

    monkeypatch.setattr(product.F, "embedding_bag", watched)
    w = torch.randn(120, 200).t() if transposed else torch.randn(200, 120)
    w.requires_grad_()
    linear(spikes((70, 120), 0.3), w, None).sum().backward()
    assert len(tables) >= 2 and all(table.stride(1) == 1 for table in tables)


@needs_numba
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.6, 1.0])
def test_entries_are_those_that_torch_finds_at_every_width(
    dtype: torch.dtype, density: float
) -> None:
    """Eight elements at a time: also a last part of fewer, and more than four that are not zero."""
    real = torch.float64 if dtype == torch.float64 else torch.float32
    for width in (1, 3, 7, 8, 9, 17, 64, 700):
        x = (torch.rand(6, width) < density).to(dtype)
        rows, columns = x.nonzero(as_tuple=True)
        found = product.listed(x, real)
        assert found.values is None
        assert found.idx.tolist() == columns.tolist()
        assert found.ptr.diff().tolist() == rows.bincount(minlength=6).tolist()
        graded = (x * 3).to(dtype) if dtype != torch.bool else x
        listed = product.listed(graded, real)
        assert listed.idx.tolist() == columns.tolist()
        if listed.values is not None:
            assert listed.values.tolist() == graded[rows, columns].tolist()


@needs_numba
def test_sums_in_pieces_equal_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = (torch.rand(50, 30) < 0.3).float(), torch.randn(130, 30)
    once = linear(x, w, None)
    monkeypatch.setattr(product, "PIECE", 2**10)
    monkeypatch.setattr(product, "TABLE", 2**6)
    monkeypatch.setattr(product, "READS", 0)
    assert torch.equal(linear(x, w, None), once)
