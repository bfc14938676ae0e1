"""Runs a program in segments of time, to keep less for the backward pass.

Only one segment of each layer's currents, spikes and gradients exists at a time. ``"compressed"``
keeps for each segment what `snn.residual` calls ``"half"``. ``"checkpoint"`` keeps only the values
between segments and computes a segment again for its gradients; the last segment is not
discarded, since its gradients are needed first.
"""

import math
from contextvars import copy_context

import torch
from torch.utils.checkpoint import checkpoint

from ..kernels.events.choice import by_input_alone
from .execution import Execution
from .program import Layer, Need

__all__ = ["MEMORIES", "run_segment", "segment_length"]

MEMORIES = ("exact", "compressed", "checkpoint")
SEGMENTS = 0.6  # times the square root of T
ROWS = 64  # least samples x steps of a segment; a matrix product of fewer rows is slower


def segment_length(num_steps: int, batch: int) -> int:
    """Return the number of steps of a segment.

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


def run_segment(
    execution: Execution, chosen: list[Layer], wanted: set[tuple[int, int]], need: Need
) -> None:
    """Run the layers of a segment; ``"checkpoint"`` runs them again in the backward pass.

    Args:
        execution: of the program.
        chosen: the layers, see `Execution.choose`.
        wanted: outputs (layer, number) that are read later.
        need: all values that the layers read, and those that are read later.
    """
    if execution.memory != "checkpoint" or not torch.is_grad_enabled():
        execution.run_alone(chosen, wanted, need)
        return
    inputs = execution.values.of(need)
    stops = {layer.number: len(layer.occurrences) for layer in execution.layers}
    runs = 0

    def compute() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            execution.run_alone(chosen, wanted, need)
            return
        values = execution.values
        execution.values = inputs.of(need)
        execution.again = True
        execution.stops = stops
        try:
            choices.copy().run(execution.run_alone, chosen, wanted, need)
        finally:
            execution.values = values
            execution.again = False
            execution.stops = {}

    with by_input_alone():
        choices = copy_context()  # backward() is often called outside of blocks such as snn.backend
        checkpoint(compute, use_reentrant=False, preserve_rng_state=False)
