"""Decides whether an ordinary linear layer uses events, by timing both methods on its input.

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
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core import checks
from ..sources import cache_folder, written
from . import linear as events
from . import loops

__all__ = ["by_input_alone", "linear"]

WORTH = 2**24  # multiply-adds; below, timing both methods takes longer than events can save
DENSE = 0.5  # density from which on the dense product is used without timing
GAIN = 1.15  # least speed-up for which events are used

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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, str]:
    """Return ``x @ weight.T + bias``, computed by the faster method, and a remark for the plan.

    Args:
        x: [..., K].
        weight: [N, K].
        bias: [N].

    >>> linear(torch.eye(2), torch.tensor([[1.0, 2.0]]), None)
    (tensor([[1.],
            [2.]]), '')
    """
    large = x.dim() > 0 and x.numel() * len(weight) >= WORTH
    if (
        not large
        or x.dtype != weight.dtype
        or not checks.installed("numba")
        or events.refusal(x, weight)
    ):
        return F.linear(x, weight, bias), ""
    density = events.density(x)
    if 0 < density < DENSE and _pays(x, weight, bias, density):
        return events.linear(x, weight, bias), f"events (density {100 * density:.3g} %)"
    return F.linear(x, weight, bias), f"dense (density {100 * density:.3g} %)"


def _pays(x: Tensor, weight: Tensor, bias: Tensor | None, density: float) -> bool:
    trained = torch.is_grad_enabled() and weight.requires_grad
    rows = x.numel() // x.shape[-1]
    steps = round(2 * math.log2(density))
    key = (
        f"{rows.bit_length()} {tuple(weight.shape)} {weight.stride(0) == 1} {x.dtype} {steps} "
        f"{trained}"
    )
    key += f" {torch.get_num_threads()}"
    answers = _answers()
    file = _file()
    if key not in answers:
        if file is None and _reproducible.get():
            return False
        answers[key] = _faster(x.detach().reshape(rows, -1), weight.detach(), bias, trained)
        with suppress(OSError):
            if file is not None:
                written(file, json.dumps(answers).encode())
    return answers[key]


def _faster(x: Tensor, weight: Tensor, bias: Tensor | None, trained: bool) -> bool:
    """Whether events are faster for the product and, if ``trained``, the gradient of the weight."""
    bias = None if bias is None else bias.detach()
    y = events.product(x, weight, bias)

    def dense() -> None:
        F.linear(x, weight, bias)
        if trained:
            torch.mm(y.t(), x)

    def sparse() -> None:
        events.product(x, weight, bias)
        if trained:
            events.weight_gradient(y, x)

    with torch.no_grad():
        sparse()  # compiles
        return min(_seconds(dense) for _ in range(2)) > GAIN * min(
            _seconds(sparse) for _ in range(2)
        )


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@cache
def _file() -> Path | None:
    """Return the file of answers for this processor, these versions and this code."""
    folder = cache_folder()
    stamp = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {_processor()}"
    digest = hashlib.sha256(stamp.encode())
    for module in (events, loops):
        digest.update(Path(cast(str, module.__file__)).read_bytes())
    return folder / f"timed_{digest.hexdigest()[:20]}.json" if folder else None


def _processor() -> str:
    import llvmlite.binding  # comes with numba

    return llvmlite.binding.get_host_cpu_name()


@cache
def _answers() -> dict[str, Any]:
    """Return earlier answers, of this process or another."""
    file = _file()
    try:
        found = json.loads(file.read_bytes()) if file else {}
    except (OSError, ValueError):  # the file is missing or incomplete
        return {}
    return (
        {k: v for k, v in found.items() if isinstance(v, bool)} if isinstance(found, dict) else {}
    )
