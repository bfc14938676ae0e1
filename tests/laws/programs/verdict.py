"""Compares a recorded program with its plain loop."""

import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikeloom as snn
from spikeloom.running import memory, record

from .network import H, T
from .observer import Failure, Wrap, observe
from .program import Program
from .writer import write

__all__ = ["Verdict", "check"]


class Verdict:
    """``word`` is "equal", "loop fails", "refused" or "different"; ``why`` says more."""

    def __init__(self, word: str, why: str, program: Program) -> None:
        self.word, self.why, self.program = word, why, program

    def __repr__(self) -> str:
        head = f"seed {self.program.seed}, {self.word}: {self.why}"
        return f"{head}\n{self.program}\n{self.program.text}"


def check(seed: int, layerwise: Wrap, style: str | None = None, run: Any = snn.run) -> Verdict:
    """Run the program of a seed plain and recorded; networks of one step by ``run``."""
    program = write(seed, style)
    with warnings.catch_warnings(), hurried(seed):
        warnings.simplefilter("ignore")  # torch warns of lazily named things that users write
        expected = observe(program, lambda target: target, _loop)
        failed = [v for values in expected for v in values.values() if isinstance(v, Failure)]
        if failed:
            return Verdict("loop fails", f"{failed[0]}: {failed[0].text}", program)
        found = observe(program, layerwise, run)
    for number, (a, b) in enumerate(zip(expected, found, strict=True)):
        failures = [v for v in b.values() if isinstance(v, Failure)]
        if failures:
            word = (
                "refused"
                if "layerwise" in failures[0].text or "snn.run" in failures[0].text
                else "different"
            )
            return Verdict(word, f"{failures[0]}: {failures[0].text}", program)
        if difference := _difference(a, b, program):
            return Verdict("different", f"call {number}: {difference}", program)
    return Verdict("equal", "", program)


@contextmanager
def hurried(seed: int) -> Iterator[None]:
    """The recorder runs what is pending early, gives up early, or divides small batches, for some
    seeds: it decides on speed and memory only."""
    r = random.Random(seed)
    wanted = [
        (record, "PIECE", r.choice([None, None, 100, 1000])),
        (record, "UNREPEATED", r.choice([None, None, 3, 12])),
        (memory, "PARTS", r.choice([None, 2, 2])),
        (memory, "LEAST", r.choice([None, 1, 1])),
        (memory, "ROWS", r.choice([None, 1, 1])),
    ]
    with ExitStack() as patches:
        for module, name, value in wanted:
            if value is not None:
                patches.enter_context(patch.object(module, name, value))
        yield


def _loop(net: nn.Module, x: Tensor) -> Any:
    """What `snn.run` promises to be equal to."""
    snn.reset(net)
    steps = [net(x_t) for x_t in x]
    return pytree.tree_map(lambda *values: torch.stack(values), *steps)


def _difference(a: dict[str, Any], b: dict[str, Any], program: Program) -> str:
    if a.keys() != b.keys():
        only = [f"{name} only in the loop" for name in a.keys() - b.keys()]
        return "; ".join(only + [f"{name} only recorded" for name in b.keys() - a.keys()])
    bound = _bound(a, program)
    for name, value in a.items():
        if text := _unequal(value, b[name], bound):
            return f"{name}: {text}"
    return ""


def _bound(seen: dict[str, Any], program: Program) -> float:
    """What rounding may move: each number is a sum of all inputs of all layers, of the size of the
    largest number.

    Sums are taken in another order where steps are computed together. A gradient through T steps
    repeats that T times.
    """
    floating = [
        v for v in seen.values() if isinstance(v, Tensor) and v.is_floating_point() and v.numel()
    ]
    sizes = [v.detach().abs().nan_to_num(0, 0, 0).max().item() for v in floating]
    summands = T * program.batch * H * H * len(program.layers)
    eps = torch.finfo(torch.float64 if program.double else torch.float32).eps
    return eps * summands * max([1.0, *sizes])


def _unequal(a: Any, b: Any, bound: float) -> str:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tensors(a, b, bound)
    if type(a) is not type(b):
        return f"{type(a).__name__} in the loop, {type(b).__name__} recorded"
    if isinstance(a, np.ndarray):
        same = a.shape == b.shape and a.dtype == b.dtype and np.abs(a - b).max(initial=0) <= bound
        return "" if same else f"array {a} in the loop, {b} recorded"
    if isinstance(a, float):
        return "" if a == b or abs(a - b) <= bound else f"{a} in the loop, {b} recorded"
    return "" if a == b else f"{a} in the loop, {b} recorded"


def _tensors(a: Tensor, b: Tensor, bound: float) -> str:
    for what in ("shape", "dtype", "requires_grad", "is_inference"):
        values = [getattr(v, what) for v in (a, b)]
        values = [v() if callable(v) else v for v in values]
        if values[0] != values[1]:
            return f"{what} {values[0]} in the loop, {values[1]} recorded"
    if type(a) is not type(b):
        return f"{type(a).__name__} in the loop, {type(b).__name__} recorded"
    a, b = a.detach(), b.detach()
    if not a.is_floating_point():
        return "" if torch.equal(a, b) else f"{a} in the loop, {b} recorded"
    same = (a == b) | ((a - b).abs() <= bound) | (a.isnan() & b.isnan())
    if same.all():
        return ""
    return f"off by {(a - b).abs().max().item():.3g}, rounding explains {bound:.3g}"
