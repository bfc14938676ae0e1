"""Runs the layers of a program, each once over all its occurrences if the result is the same.

A layer whose input is constant in time runs once. Elementwise functions run on ``[T, B, ...]``.
Functions of single samples run with time folded into the batch. Neurons run their fused loop.
Every other layer runs once for each occurrence, in order. Rewrites (`spikeloom.running.rewriting`)
are tried first.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core import dispatch, recording
from . import rewriting
from .deferred import Refused
from .modes import under
from .over_time import (
    LAYER_NORMS,
    Argument,
    filled,
    indexed,
    mapped,
    of_matrices,
    on_sequence,
    run_sum,
    with_numbers,
)
from .plan import Row
from .program import Layer, Need, Slot, Values

__all__ = ["Execution", "outputs_of"]


class Execution:
    """Runs layers and holds their results.

    Args:
        memory: see `spikeloom.run`.
        batch_norm: see `spikeloom.run`.
        stepping: a call of a module with a state is one step, also in ``mode="sequence"``.
        ends: steps of each sample, after which modules with a state give 0 and keep their state,
            [B]; None: all samples have all steps.
    """

    def __init__(
        self,
        memory: str = "exact",
        batch_norm: str = "step",
        *,
        stepping: bool = False,
        ends: Tensor | None = None,
    ) -> None:
        self.layers: list[Layer] = []
        self.values = Values()
        self.memory = memory
        self.batch_norm = batch_norm
        self.stepping = stepping
        self.ends = ends
        self.rows: dict[int, Row] = {}
        self.hooked = False  # hooks for saved tensors were active when the recording began
        self.again = False  # a checkpoint is computing its segment again
        self.stops: dict[int, int] = {}  # where the recomputed segment ended
        # the last spikes of padded samples, by neuron; those that are passed on are 0 after an end
        self.fired: dict[int, Tensor] = {}
        self.batch: Any = None  # of `snn.run`, see `spikeloom.running.samples`; None: not known
        self.division = ""  # how the batch was divided, for the plan
        self.fused = False  # several steps share one graph of autograd
        self._readers: dict[tuple[int, int], list[Layer | None]] = {}
        self._needs: Need | None = None

    # -- what has to run ---------------------------------------------------------------------

    def pending(self) -> list[Layer]:
        """Return the layers with occurrences that are not computed yet."""
        done = self.values.done
        return [v for v in self.layers if done.get(v.number, 0) < len(v.occurrences)]

    def span(self, layer: Layer) -> range:
        """Return the occurrences of a layer that are not computed yet."""
        stop = self.stops.get(layer.number, len(layer.occurrences))
        return range(self.values.done.get(layer.number, 0), stop)

    def run_all(self) -> None:
        """Run all pending layers."""
        for layer in self.pending():
            self.execute(layer)

    def run_for(self, need: Need) -> None:
        """Run the layers that ``need`` depends on; other values may still be read later."""
        for layer in self.choose(need):
            self.execute(layer)

    def choose(self, need: Need) -> list[Layer]:
        """Return the pending layers that ``need`` depends on; adds what they read to ``need``."""
        chosen = []
        for layer in reversed(self.pending()):
            if layer.number in need or layer.effect:
                chosen.append(layer)
                self.add_needs(layer, need)
        chosen.reverse()
        return chosen

    def run_alone(self, chosen: list[Layer], wanted: set[tuple[int, int]], need: Need) -> None:
        """Run layers whose values are read only by each other, except for ``wanted``.

        Rewrites may skip the results in between.

        Args:
            chosen: the layers, in order.
            wanted: outputs (layer, number) that are read from outside.
            need: all values that are read.
        """
        self._readers = _readers_of(chosen, wanted)
        self._needs = need
        try:
            for layer in chosen:
                if self.span(layer):  # else it has run together with another layer
                    self.execute(layer)
        finally:
            self._readers = {}
            self._needs = None

    def need_of(self, layer: Layer) -> dict[int, set[int]] | None:
        """Return for each output the occurrences that will be read; None: any of them may be."""
        return None if self._needs is None else self._needs.get(layer.number, {})

    def note(self, layer: Layer, how: str) -> None:
        """Add a layer to the plan."""
        self.rows.setdefault(layer.number, Row(layer.name, layer.title, how))

    def add_needs(self, layer: Layer, need: Need) -> None:
        """Add what the pending occurrences of a layer read to ``need``."""
        span = self.span(layer)
        for reference in (*layer.references(), *layer.own(span.start)):
            outputs = need.setdefault(reference.layer, {})
            outputs.setdefault(reference.out, set()).add(reference.index)
        for slot in layer.slots:
            wanted = need.setdefault(slot.layer, {}).setdefault(slot.out, set())
            read = (at[slot.position] for at in layer.occurrences[span.start :])
            wanted.update(index for index in read if index is not None)

    def only_reader(self, layer: Layer) -> Layer | None:
        """Return the only layer that reads the first output of ``layer``; None if there is none.

        The reader has one occurrence for each of this layer's, in the same order, and reads
        nothing else.
        """
        readers = self._readers.get((layer.number, 0), [])
        reader = readers[0] if len(readers) == 1 else None
        if reader is None or len(reader.slots) != 1 or any(True for _ in reader.references()):
            return None
        span = self.span(reader)
        read = reader.occurrences[span.start : span.stop]
        same = read == [(index,) for index in self.span(layer)]
        return reader if same and reader.modes == layer.modes else None

    # -- one layer ---------------------------------------------------------------------------

    def execute(self, layer: Layer) -> None:
        """Run the pending occurrences of one layer; its arguments must be computed already."""
        if layer.changed():
            raise Refused(
                f"a tensor that is read at {layer.where} was changed in place by something "
                "that is not a torch function; change it before the call or after it"
            )
        span = self.span(layer)
        self.fused = self.fused or len(span) > 1
        before = recording.local.recorder
        recording.local.recorder = None
        try:
            with under(layer.modes, hooks=self.hooked or self.memory == "checkpoint"):
                how = self._run(layer, span)
        except Exception as error:
            text = _located(layer, error)
            if text is None:
                raise
            raise type(error)(text) from error
        finally:
            recording.local.recorder = before
        self.values.done[layer.number] = span.stop
        if how:
            self.note(layer, how)

    def _run(self, layer: Layer, span: range) -> str:
        how = rewriting.applied(self, layer, span)
        if how:
            return how
        own: Callable[..., str] | None = getattr(layer, "run", None)
        if own is not None:
            return own(self, span, self.need_of(layer))
        if layer.chain:
            return run_sum(self, layer, span, self.need_of(layer))
        if len(span) > 1:
            stacked = self._over_time(layer, span)
            if stacked is not None:
                self.values.put_timed(layer, 0, len(span), stacked)
                if layer.kind == "index":
                    return ""  # reading the steps of a sequence is no work
                folded = layer.kind == "fold" or layer.function is F.linear
                return "time folded into the batch" if folded else "all steps at once"
        return self._run_each(layer, span)

    def _run_each(self, layer: Layer, span: range) -> str:
        results = []
        for at in layer.occurrences[span.start : span.stop]:
            args, kwargs = self.arguments(layer, at)
            result = layer.function(*args, **kwargs)
            results.append([result] if layer.wrap is None else list(result))
        for out in range(len(layer.infos)):
            self.values.put(layer, out, len(span), [result[out] for result in results])
        if len(layer.occurrences) > 1:
            return "step by step"
        return "once: its input is constant in time"

    def arguments(self, layer: Layer, at: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        """Return the arguments of one occurrence."""

        def value(slot: Slot) -> Tensor:
            self.layers[slot.layer].consumed = True
            return self.values.one(slot.layer, slot.out, at[slot.position])

        if layer.kind == "index":
            base, index = layer.args
            numbers = at[len(layer.slots) :]
            return (filled(base, value), with_numbers(index, numbers)), {}
        return filled(layer.args, value), filled(layer.kwargs, value)

    def along(self, slot: Slot, occurrences: Sequence[Any]) -> tuple[Tensor, bool]:
        """Return what a slot reads over these occurrences, see `Values.along`."""
        self.layers[slot.layer].consumed = True
        indices = [at[slot.position] for at in occurrences]
        return self.values.along(slot.layer, slot.out, indices)

    def residual(
        self, transition: Any, x: Tensor, steps: int | None, dtype: torch.dtype
    ) -> tuple[AbstractContextManager[None], str]:
        """Return a context that sets what a neuron keeps for backward, and a note for the plan."""
        if self.memory != "compressed":
            return nullcontext(), ""
        kind = "half" if steps is None else "input"
        reason = dispatch.residual_refusal(transition, x, kind, dtype)
        if reason:
            return nullcontext(), f"; stored whole: {reason}"
        return dispatch.residual(kind), ""

    # -- all occurrences at once -------------------------------------------------------------

    def _over_time(self, layer: Layer, span: range) -> Tensor | None:
        """Compute all occurrences as [T, ...]; None if the result might differ."""
        count = len(span)
        occurrences = layer.occurrences[span.start : span.stop]
        if layer.kind == "index":
            return indexed(self, layer, occurrences)
        if layer.kind in ("each", "given") and layer.function not in LAYER_NORMS:
            return None
        found = {}
        for slot in layer.slots:
            value, constant = self.along(slot, occurrences)
            found[slot.position] = Argument(value, constant)
        axes = len(layer.infos[0].shape)
        if layer.kind == "map" and layer.function is not F.linear:
            return mapped(layer, found, axes, count)
        if layer.kind == "matmul":
            return mapped(layer, found, axes, count) if of_matrices(layer, found) else None
        first = layer.args[0] if layer.args else None
        timed = [position for position, argument in found.items() if not argument.constant]
        if not isinstance(first, Slot) or timed != [first.position] or layer.wrap is not None:
            return None
        x = found[first.position].value
        rest = filled(layer.args[1:], lambda slot: found[slot.position].value)
        options = filled(layer.kwargs, lambda slot: found[slot.position].value)
        return on_sequence(layer, x, rest, options, count)


def outputs_of(need: Need) -> set[tuple[int, int]]:
    """Return the outputs that have values in ``need``."""
    return {(layer, out) for layer, outputs in need.items() for out in outputs}


def _readers_of(
    chosen: list[Layer], wanted: set[tuple[int, int]]
) -> dict[tuple[int, int], list[Layer | None]]:
    """Return for each output the layers that read it; None is a reader outside the program."""
    readers: dict[tuple[int, int], list[Layer | None]] = {output: [None] for output in wanted}
    for layer in chosen:
        for slot in layer.slots:
            readers.setdefault((slot.layer, slot.out), []).append(layer)
        for reference in layer.references():
            readers.setdefault((reference.layer, reference.out), []).append(layer)
    return readers


def _located(layer: Layer, error: Exception) -> str | None:
    """Return the message with the layer's path in front; None, and add a note, if it has none."""
    if layer.is_module and type(error) in (ValueError, TypeError, RuntimeError):
        text = str(error)
        known = text.startswith("layer '")
        return text if known else f"layer {layer.name!r} ({layer.title}): {text}"
    if sys.version_info >= (3, 11):
        error.add_note(f"recorded at {layer.where}")
    return None
