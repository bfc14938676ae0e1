"""Spikes as events: the same results as the dense product."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sparse import assert_close, gradients, spikes
from torch.nn import functional as F

from spikeloom.core import checks
from spikeloom.kernels import threads
from spikeloom.kernels.events import linear as product
from spikeloom.kernels.events import loops
from spikeloom.kernels.events.linear import linear

needs_numba = pytest.mark.skipif(
    not checks.installed("numba"), reason="the extra cpu is not installed"
)
KINDS = ("binary", "one value", "graded", "sparse graded")
SIZES = [
    (5, 0, 3, 0.3),
    (5, 7, 0, 0.3),
    (0, 7, 3, 0.3),
    (5, 7, 3, 0.3),
    (60, 300, 200, 0.02),
    (1, 1, 1, 1.0),
    (4, 9, 40, 0.0),
    (50, 65, 33, 1.0),
]


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
@pytest.mark.parametrize("reads", [0, 10**6])
@pytest.mark.parametrize("outputs", [90, 129, 200, 300])
def test_a_weight_is_read_in_place_or_in_copies_with_the_same_result(
    reads: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns are summed in parts, of which the last two overlap."""
    monkeypatch.setattr(product, "READS", reads)
    x = spikes((70, 120), 0.3, "graded").requires_grad_()
    w = torch.randn(120, outputs).t().requires_grad_()
    b = torch.randn(outputs, requires_grad=True)
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
@pytest.mark.parametrize("graded", [1.0, 2.5])
def test_an_input_that_was_written_after_the_forward_pass_changed_the_gradient(graded) -> None:
    """Graded values are read again, which autograd refuses; of spikes only bits are kept."""
    x, w = graded * spikes((6, 8), 0.3), torch.randn(4, 8, requires_grad=True)
    before = x.clone()
    y = linear(x, w, None)
    x.zero_()
    if graded != 1:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()
        return
    y.sum().backward()
    torch.testing.assert_close(w.grad, before.sum(0).expand(4, 8))


@needs_numba
def test_the_backward_pass_kept_spikes_of_which_it_reads_one_bit_each() -> None:
    kept: list[torch.Tensor] = []
    x, w = spikes((40, 640), 0.3), torch.randn(4, 640, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        linear(x, w, None)
    assert sum(t.nbytes for t in kept if t is not w) == x.numel() // 8


@needs_numba
def test_a_layer_whose_bias_alone_is_trained_kept_what_nothing_reads() -> None:
    saved: list[torch.Tensor] = []
    x, w = spikes((40, 640), 0.3), torch.randn(4, 640)
    bias = torch.zeros(4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = linear(x, w, bias)
    assert [t.shape for t in saved] == [w.shape]
    y.sum().backward()
    torch.testing.assert_close(bias.grad, torch.full((4,), 40.0))


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_the_gradient_of_a_gradient_needed_the_spikes_that_are_not_kept(dtype) -> None:
    x, w = spikes((40, 70), 0.3), torch.randn(4, 70, requires_grad=True)
    found = []
    for y in (linear(x.to(dtype), w, None), x @ w.t()):
        (first,) = torch.autograd.grad((y**3).sum(), w, create_graph=True)
        found.append(torch.autograd.grad((first**2).sum(), w)[0])
    assert_close(*found, terms=2**12)


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
@pytest.mark.parametrize("dtype", [*loops.WHOLE, torch.float32, torch.float64])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.6, 1.0])
def test_masks_are_those_that_torch_finds_at_every_width(
    dtype: torch.dtype, density: float
) -> None:
    """64 elements at a time; a vector must not end behind the memory, nor in the next row."""
    real = torch.float64 if dtype == torch.float64 else torch.float32
    for width in (1, 3, 63, 64, 65, 130, 700):
        x = (torch.rand(6, width) < density).to(dtype)
        graded = x if dtype == torch.bool else (x * 3).to(dtype)
        w = torch.randn(2, width, dtype=real)
        for given in (x, graded):
            y, found = product.product(given, w, None)
            bits = found.masks.numpy().view("uint8").reshape(6, -1)
            fired = np.unpackbits(bits, axis=1, bitorder="little")
            assert (fired[:, :width] == given.bool().numpy()).all() and not fired[:, width:].any()
            assert (found.x is not None) is bool((given.to(real) > 1).any())
            assert_close([y], [F.linear(given.to(real), w)], 3 * width)


@needs_numba
@pytest.mark.parametrize("rows", [loops.ROWS - 1, loops.ROWS, 3 * loops.ROWS + 5])
def test_gradients_of_many_rows_are_summed_block_by_block(rows: int) -> None:
    """A column that fires in all rows must not write into the rows of the next column."""
    for kind in ("binary", "graded"):
        x = spikes((rows, 70), 0.3, kind, torch.float64).requires_grad_()
        with torch.no_grad():
            x[:, 63:66] = 1.0
        w = torch.randn(5, 70, dtype=torch.float64, requires_grad=True)
        b = torch.randn(5, dtype=torch.float64, requires_grad=True)
        expected = gradients(F.linear(x, w, b), [x, w, b])
        assert_close(gradients(linear(x, w, b), [x, w, b]), expected, rows)
