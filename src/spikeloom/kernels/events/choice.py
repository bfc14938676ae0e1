"""Decides whether a linear layer or a convolution uses events, by timing both methods on its input.

Each combination of sizes, density and threads is timed once. The results are stored in the folder
of compiled kernels, so that a later process makes the same choice.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core import checks
from ..sources import cache_folder, written
from . import images, loops
from . import linear as events

__all__ = [
    "by_input_alone",
    "case",
    "convolution",
    "dense",
    "linear",
    "paid",
    "ratio",
    "worth",
    "worth_convolution",
]

WORTH = 2**24  # multiply-adds; below, timing both methods takes longer than events can save
SMALL = 2**20  # the same for a layer that is made for events; below, dense takes 0.3 ms or less
DENSE = 0.5  # density from which on the dense product is used without timing
TIMED = 128  # images that are timed
GAIN = 1.05  # least speed-up for which events are used; inside a network they gain a little more

_reproducible: ContextVar[bool] = ContextVar("spikeloom_by_input_alone", default=False)


@contextmanager
def by_input_alone() -> Iterator[None]:
    """Inside the block the choice depends on the input alone, not on timings of this process.

    >>> with by_input_alone():
    ...     y = snn.run(torch.nn.Linear(64, 2), torch.eye(64).expand(5, 64, 64))
    """
    token = _reproducible.set(True)
    try:
        yield
    finally:
        _reproducible.reset(token)


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    made_for_events: bool = False,
    inside: bool = False,
) -> tuple[Tensor, str]:
    """Return ``x @ weight.T + bias``, computed by the faster method, and a remark for the plan.

    Args:
        x: [..., K]; for a layer that is made for events, also booleans or small integers.
        weight: [N, K].
        bias: [N].
        made_for_events: times also small products, and uses events where no timing is allowed.
        inside: no caller sees the result, so that its memory may be used again.

    >>> linear(torch.eye(2), torch.tensor([[1.0, 2.0]]), None)
    (tensor([[1.],
            [2.]]), '')
    """
    pays, remark = worth(x, weight, bias, made_for_events=made_for_events)
    if pays:
        return events.linear(x, weight, bias, inside=inside), remark
    return dense(x, weight, bias, made_for_events=made_for_events), remark


def worth(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, made_for_events: bool
) -> tuple[bool, str]:
    """Return whether `linear` uses events, and its remark; arguments as there."""
    least = SMALL if made_for_events else WORTH
    if (
        x.dim() == 0
        or x.numel() * len(weight) < least
        or not (made_for_events or x.dtype == weight.dtype)
        or not checks.installed("numba")
        or events.refusal(x, weight)
    ):
        return False, ""
    density = events.density(x)
    silent = made_for_events and not density  # not timed, because a recording infers with zeros
    pays = silent or (0 < density < DENSE and _pays(x, weight, bias, density, made_for_events))
    return pays, f"{'events' if pays else 'dense'} (density {100 * density:.3g} %)"


def dense(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, made_for_events: bool = False
) -> Tensor:
    """Return the dense product; booleans and small integers that a layer stores are converted."""
    converted = made_for_events and x.dtype in loops.WHOLE
    return F.linear(x.to(weight.dtype) if converted else x, weight, bias)


def _pays(
    x: Tensor, weight: Tensor, bias: Tensor | None, density: float, made_for_events: bool
) -> bool:
    trained = torch.is_grad_enabled() and weight.requires_grad
    rows = x.numel() // x.shape[-1]
    key = (
        f"{rows.bit_length()} {tuple(weight.shape)} {weight.stride(0) == 1} {x.dtype} "
        f"{_steps(density)} {trained}"
    )
    key += f" {torch.get_num_threads()}"
    flat = x.detach().reshape(rows, -1)
    gain = partial(_gain, flat, weight.detach(), bias, trained)
    return paid(key, gain, otherwise=made_for_events)


def convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, where: images.Windows, *, inside: bool = False
) -> tuple[Tensor | None, str]:
    """Return the convolution of images by events, None if it is not faster; and a remark.

    ``inside``: no caller sees it, so that its memory may be used again.
    """
    first, fixed = x[:TIMED].detach(), None if bias is None else bias.detach()
    trained = torch.is_grad_enabled() and weight.requires_grad
    pays, remark = worth_convolution(first, weight.detach(), fixed, where, trained=trained)
    y = images.convolution(x, weight, bias, where, inside=inside) if pays else None
    return y, remark


def worth_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, where: images.Windows, *, trained: bool
) -> tuple[bool, str]:
    """Return whether a convolution of these images uses events, and a remark for the plan.

    Args:
        x: images without a gradient, [M, C, H, W].
        weight: [N, C, *kernel], without a gradient.
        bias: [N].
        where: the windows.
        trained: whether the weight needs a gradient.
    """
    if where.multiply_adds(x, weight) < WORTH:
        return False, ""
    density = events.density(x)
    if not 0 < density < DENSE or images.windows(x, where) is None:
        return False, ""
    others = ([1, 1], False, [0, 0], 1, [False, True, bias is not None])

    def dense() -> None:
        y = torch.conv2d(x, weight, bias, where.stride, where.padding)
        if trained:
            sizes = None if bias is None else list(bias.shape)
            places = where.stride, where.padding
            torch.ops.aten.convolution_backward(y, x, weight, sizes, *places, *others)

    def sparse() -> None:
        found = cast(events.Events, images.windows(x, where))
        y = images.convolved(found, weight, bias, where.outputs(x), inside=True)
        if trained:  # which marks the windows again
            found = cast(events.Events, images.windows(x, where))
            images.filter_gradient(y, found, weight, biased=bias is not None)

    key = f"convolution {case(x, weight, bias, where)} {_steps(density)} {trained}"
    pays = paid(key, lambda: ratio(dense, sparse))
    return pays, f"{'events' if pays else 'dense'} (density {100 * density:.3g} %)"


def case(x: Tensor, weight: Tensor, bias: Tensor | None, where: images.Windows) -> str:
    """Return what the time of a convolution depends on, as a part of the key of `paid`."""
    sizes = f"{len(x).bit_length()} {tuple(x.shape[1:])} {tuple(weight.shape)} {bias is not None}"
    return f"{sizes} {where.stride} {where.padding} {x.dtype} {torch.get_num_threads()}"


def _steps(density: float) -> int:
    """Return the density in steps of a factor; below 1 % it does not matter any more."""
    return round(2 * math.log2(max(density, 0.01)))


def paid(key: str, gain: Callable[[], float], *, otherwise: bool = False) -> bool:
    """Return whether a method paid when it was timed.

    Args:
        key: of the case.
        gain: times it, if no process of this machine has done so: how many times as fast it is.
        otherwise: the answer where no timing is allowed.
    """
    answers = _answers()
    file = _file()
    if key not in answers:
        if file is None and _reproducible.get():
            return otherwise
        answers[key] = gain()
        with suppress(OSError):
            if file is not None:
                written(file, json.dumps(answers).encode())
    return answers[key] >= GAIN


def _gain(x: Tensor, weight: Tensor, bias: Tensor | None, trained: bool) -> float:
    """Return how many times as fast events are, with the gradient of the weight if ``trained``."""
    bias = None if bias is None else bias.detach()
    y, _ = events.product(x, weight, bias)

    def product() -> None:
        values = x.to(weight.dtype)
        F.linear(values, weight, bias)
        if trained:
            torch.mm(y.t(), values)
            if bias is not None:
                y.sum(0)

    def sparse() -> None:
        _, found = events.product(x, weight, bias)
        if trained:
            events.gradient(y, found, weight, biased=bias is not None)

    return ratio(product, sparse)


def ratio(dense: Callable[[], Any], sparse: Callable[[], Any]) -> float:
    """Return how many times as fast ``sparse`` is."""
    with torch.no_grad():
        sparse()  # compiles
        pairs = [(_seconds(dense), _seconds(sparse))]
        pairs += [(_seconds(dense), _seconds(sparse)) for _ in range(_repeats(pairs[0][0]))]
    return min(pair[0] for pair in pairs) / max(1e-9, min(pair[1] for pair in pairs))


def _repeats(seconds: float) -> int:
    """How often work is timed again; short work more often, because each disturbance is large."""
    return max(2, min(20, int(0.01 / max(seconds, 1e-9))))


def _seconds(work: Callable[[], Any]) -> float:
    """Time of the thread, which other programs do not lengthen; with several threads, wall time."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    work()
    return clock() - start


@cache
def _file() -> Path | None:
    """Return the file of answers for this processor, these versions and this code."""
    folder = cache_folder()
    stamp = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {_processor()}"
    digest = hashlib.sha256(stamp.encode())
    for source in (__file__, images.__file__, events.__file__, loops.__file__):
        digest.update(Path(cast(str, source)).read_bytes())
    return folder / f"timed_{digest.hexdigest()[:20]}.json" if folder else None


def _processor() -> str:
    import llvmlite.binding  # comes with numba

    return llvmlite.binding.get_host_cpu_name()


@cache
def _answers() -> dict[str, float]:
    """Return earlier answers, of this process or another."""
    file = _file()
    try:
        found = json.loads(file.read_bytes()) if file else {}
    except (OSError, ValueError):  # the file is missing or incomplete
        return {}
    return (
        {k: v for k, v in found.items() if isinstance(v, float)} if isinstance(found, dict) else {}
    )
