"""Runs a program in parts, to keep less for the backward pass.

Where every layer treats samples alone, a few samples at a time run through all layers over all
steps, see `spikeloom.running.samples`; else time is divided into segments. The currents, spikes and
gradients of only one part exist at a time. ``"compressed"`` keeps for each part what `snn.residual`
calls ``"half"``. ``"checkpoint"`` keeps only what a part starts from and computes it again for its
gradients; the last part is not discarded, since its gradients are needed first.
"""

import math
from collections.abc import Sequence
from contextvars import copy_context

import torch
from torch.utils.checkpoint import checkpoint

from ..core import dispatch
from ..kernels.events.choice import by_input_alone
from .execution import Execution, outputs_of
from .program import Layer, Need, Values
from .samples import Share, joined, shares
from .special_layers import StackLayer

__all__ = ["MEMORIES", "by_samples", "run_segment", "segment_length"]

MEMORIES = ("exact", "compressed", "checkpoint")
SEGMENTS = 0.6  # times the square root of T
ROWS = 64  # least samples x steps of a part; a matrix product of fewer rows is slower
PARTS = 4  # of a batch; fewer save less memory than segments of time do
LEAST = 2**23  # bytes of a part; with fewer, starting its layers takes longer than computing them


def segment_length(num_steps: int, batch: int) -> int:
    """Return the number of steps of a segment of time.

    A checkpointed run holds n steps and T / n states between segments at a time, so that the best
    n grows with the square root of T. More and shorter segments save little memory and take more
    time.

    >>> segment_length(100, 32), segment_length(100, 2), segment_length(25, 32)
    (17, 32, 9)
    """
    least = math.ceil(ROWS / max(batch, 1))
    return min(
        num_steps, max(least, math.ceil(num_steps / math.ceil(SEGMENTS * math.sqrt(num_steps))))
    )


def by_samples(execution: Execution) -> set[int] | None:
    """Return the layers whose values have samples; None if the batch cannot be divided."""
    batch = execution.batch
    if batch is None or batch.size < PARTS or execution.ends is not None:
        return None
    return batch.layers(execution.layers)


def _weights(layers: Sequence[Layer]) -> int:
    """Return the bytes of all gradients of weights."""
    reals = {id(v): v.nbytes for layer in layers for v, _ in layer.reals if v.requires_grad}
    return sum(reals.values())


def _bytes(layer: Layer, out: int) -> int:
    """Return the size of an output of one occurrence."""
    info = layer.infos[out]
    return info.shape.numel() * info.dtype.itemsize


def run_segment(execution: Execution, visible: Need, *, last: bool = False) -> None:
    """Run the pending layers of a segment; ``"checkpoint"`` runs them again in the backward pass.

    Args:
        execution: of the program.
        visible: values that are read later.
        last: no segment follows.
    """
    need = _copied(visible)
    chosen = execution.choose(need)
    batch = execution.batch
    if batch is None:
        execution.run_alone(chosen, outputs_of(visible), need)
        return
    found = by_samples(execution)
    stacks: list[Layer] = []
    if found is not None:  # nothing in the program reads a stack
        stacks = [layer for layer in chosen if isinstance(layer, StackLayer)]
        chosen = [layer for layer in chosen if not isinstance(layer, StackLayer)]
    later = _copied(visible)
    for layer in stacks:
        execution.add_needs(layer, later)
    size = batch.size if found is None else _samples(execution, chosen, found, later)
    parts = shares(execution, chosen, found or set(), size)
    wanted = outputs_of(later)
    if not last:  # a later segment may read what is constant in time
        for layer in chosen:
            if len(layer.occurrences) == 1:
                later[layer.number] = {out: {0} for out in range(len(layer.infos))}
    work = max((layer.size * len(execution.span(layer)) for layer in chosen), default=0)
    each = []
    with dispatch.together(work):
        for number, share in enumerate(parts):
            whole = last and number == len(parts) - 1
            each.append(_run(execution, chosen, wanted, need, share, whole=whole).of(later))
    joined(execution, each, chosen, later, found or set())
    if len(parts) > 1:
        execution.division = f"{len(parts)} parts of {size} samples"
    execution.run_alone(stacks, outputs_of(visible), need)


def _copied(need: Need) -> Need:
    return {n: {out: set(at) for out, at in outputs.items()} for n, outputs in need.items()}


def _samples(execution: Execution, chosen: list[Layer], found: set[int], later: Need) -> int:
    """Return the number of samples of a part.

    A part is as large as what exists as a whole in any case: the outputs, or the gradients of the
    weights, to which each part adds its own.
    """
    batch = execution.batch
    runs = [layer for layer in chosen if layer.number in found]
    steps = max((len(execution.span(layer)) for layer in runs), default=1)
    computed = (_bytes(layer, 0) * len(execution.span(layer)) for layer in runs if layer.size)
    sample = (sum(computed) + batch.x.nbytes * steps / batch.steps) / batch.size
    outputs = 0
    for layer in runs:
        for out, indices in later.get(layer.number, {}).items():
            outputs += _bytes(layer, out) * len(indices)
    most = int(max(LEAST, _weights(chosen), outputs) / max(sample, 1))
    most = max(min(most, math.ceil(batch.size / PARTS)), math.ceil(ROWS / steps))
    return math.ceil(batch.size / math.ceil(batch.size / most))


def _run(
    execution: Execution,
    chosen: list[Layer],
    wanted: set[tuple[int, int]],
    need: Need,
    share: Share,
    *,
    whole: bool,
) -> Values:
    """Return the values of a part of the batch; arguments as for `run_segment`.

    Args:
        execution: of the program.
        chosen: the layers.
        wanted: outputs that are read later.
        need: all values that are read.
        share: what the part reads.
        whole: nothing is discarded.
    """
    if whole or execution.memory != "checkpoint" or not torch.is_grad_enabled():
        with share.placed(execution) as values:
            execution.run_alone(chosen, wanted, need)
            return values
    stops = {layer.number: len(layer.occurrences) for layer in execution.layers}
    first: list[Values] = []
    runs = 0

    def compute() -> None:
        nonlocal runs
        runs += 1
        with share.placed(execution) as values:
            if runs == 1:
                execution.run_alone(chosen, wanted, need)
                first.append(values)
                return
            execution.again = True
            execution.stops = stops
            try:
                choices.copy().run(execution.run_alone, chosen, wanted, need)
            finally:
                execution.again = False
                execution.stops = {}

    with by_input_alone():
        choices = copy_context()  # backward() is often called outside of blocks such as snn.backend
        checkpoint(compute, use_reentrant=False, preserve_rng_state=False)
    return first.pop()
