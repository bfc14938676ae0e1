"""Base of the rules of spike-timing-dependent plasticity: frozen values for ordinary modules.

Populations are neurons, synapses are ``nn.Linear``, ``nn.Conv1d``, ``nn.Conv2d``. A rule says which
products of a trace on one side and spikes on the other change a weight, and how strongly, given the
weight; the products are taken by `hebbian.correlate`, for every kind of layer. Nothing is
remembered here: traces are passed in and returned, and the change is returned too. `Rule.apply`
adds it within the bounds; or give ``-change`` to an optimiser as a gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ...core import checks
from ...core.numbers import real, tensor
from ..hebbian import correlate, trace, weight_of
from ..registry import Registered

__all__ = ["Memory", "Product", "Rule", "Term"]

Product = Callable[[Tensor, Tensor], Tensor]  # of what enters and what leaves a synapse


class Memory(NamedTuple):
    """Decaying memories of the spikes on both sides of a synapse.

    >>> Memory()
    Memory(pre=None, post=None, slow=None)
    """

    pre: Any = None  # [B, ...] like the input of the synapse; None before the first step
    post: Any = None  # [B, ...] like its output
    slow: Any = None  # a second, slower memory of the output


class Term(NamedTuple):
    """One product of a rule: ``strength(weight) * sum(post * (pre + shift))`` over the batch.

    >>> Term(torch.ones_like, torch.ones(1, 2), torch.ones(1, 1)).post
    tensor([[1.]])
    """

    strength: Callable[[Tensor], Tensor]  # of the weight, elementwise
    pre: Tensor  # spikes or traces of the input, [B, ...]
    post: Tensor  # those of the output, [B, ...]
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rule(Registered):
    r"""Base of the rules: traces on both sides, bounds of the weight, and the sum over a batch.

    .. math:: x \leftarrow e^{-1 / \tau} x, \text{ then at a spike } x \leftarrow 1
        \text{ (pairs="nearest") or } x \leftarrow x + 1 \text{ (pairs="all")}

    Traces are updated first, so that spikes of the same step count in both directions. A subclass
    defines ``terms``; with ``class Mine(Rule, name="mine")`` it also has a name. If its terms are
    pointwise arithmetic and its traces decay by constant factors, the event-driven engine of
    `DiehlAndCook2015` is printed from them. A rule with other traces than `Memory` sets the class
    attribute ``initial`` to a named tuple of its own.

    Args:
        tau_pre: time constant of the trace of the input, in steps; > 0.
        tau_post: that of the output.
        pairs: ``"nearest"``: only the last spike counts; ``"all"``: every earlier spike does.
        w_min: least weight.
        w_max: greatest weight.
        reduction: of the changes of the samples of a batch: ``"sum"``, ``"mean"``, or ``"max"``,
            the change that is largest in magnitude for each weight.

    Raises:
        ValueError: a time constant is not positive, a word unknown, or ``w_min`` not below
            ``w_max``.

    >>> from spikeloom.learning import PowerLaw
    >>> PowerLaw(reduction="mean").reduction
    'mean'
    """

    usage: ClassVar[str] = 'rule="power_law", or a rule such as PowerLaw(alpha=0.02)'
    initial: ClassVar[Any] = Memory()  # the traces before the first step

    tau_pre: float = 20.0
    tau_post: float = 20.0
    pairs: str = "nearest"
    w_min: float = 0.0
    w_max: float = 1.0
    reduction: str = "sum"

    def __post_init__(self) -> None:
        self._check_choices()
        for field in fields(self):
            if field.type not in ("float", float):
                continue
            value = getattr(self, field.name)
            if field.name.startswith("tau"):
                value = real(field.name, value, 0.0, open_low=True, example=20.0)
            if field.name.startswith("mu"):
                value = real(field.name, value, 0.0, 100.0)
            if field.name == "beta":  # of an exponential function of the weight
                value = real(field.name, value, 0.0, 50.0)
            object.__setattr__(self, field.name, real(field.name, value))
        self._check_bounds()

    def _check_choices(self) -> None:
        checks.choice("reduction", self.reduction, ("sum", "mean", "max"))
        checks.choice("pairs", self.pairs, ("nearest", "all"))

    def _check_bounds(self) -> None:
        if not self.w_min < self.w_max:
            raise ValueError(
                f"w_min must be below w_max, got {self.w_min:g} and {self.w_max:g}; write "
                "w_min=0, w_max=1"
            )

    def terms(self, pre: Tensor, post: Tensor, memory: Memory) -> tuple[Memory, tuple[Term, ...]]:
        """Traces after the spikes of one step, and the products that change the weight.

        Args:
            pre: spikes that enter the synapse, [B, ...].
            post: spikes of the neurons that it feeds, [B, ...].
            memory: traces of the step before.
        """
        raise NotImplementedError(f"{type(self).__name__} must define terms(pre, post, memory)")

    def step(
        self, synapse: nn.Module, pre: Tensor, post: Tensor, memory: Memory | None = None
    ) -> tuple[Memory, Tensor]:
        """Traces and change of the weight after the spikes of one step. Pure.

        Args:
            synapse: ``nn.Linear`` or a convolution.
            pre: spikes that enter it, [B, ...].
            post: spikes of the neurons that it feeds, [B, ...].
            memory: traces of the step before. Default: none.

        Returns:
            The new traces, and the change, in the shape of the weight.

        Raises:
            TypeError: the synapse has no weight.
            ValueError: the spikes do not fit the synapse or the traces.

        >>> from spikeloom.learning import PowerLaw
        >>> fc = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(fc.weight)
        >>> PowerLaw(alpha=1.0, x_tar=0.5).step(fc, torch.tensor([[1.0, 0.0]]), torch.ones(1, 1))[1]
        tensor([[ 0.5000, -0.5000]])
        """
        pre = tensor("pre", pre)
        post = tensor("post", post)
        memory, change = self.sequence(synapse, pre.unsqueeze(0), post.unsqueeze(0), memory)
        return memory, change

    def sequence(
        self, synapse: nn.Module, pre: Tensor, post: Tensor, memory: Memory | None = None
    ) -> tuple[Memory, Tensor]:
        """Traces after all steps, and the sum of their changes for the present weight. Pure.

        Args:
            synapse: as for `step`.
            pre: spikes that enter it, [T, B, ...].
            post: spikes of the neurons that it feeds, [T, B, ...].
            memory: traces before the first step. Default: none.

        Returns:
            The new traces, and the change, in the shape of the weight.
        """
        weight = weight_of(synapse)
        _check_spikes(weight, pre, post)
        if self.reduction == "max":
            return self._largest(synapse, weight, *self.collected(pre, post, memory))
        traces: Memory = self.initial if memory is None else memory
        parts: dict[int, list[Term]] = {}
        firing = _firing(post)
        for pre_t, post_t, rows in zip(pre, post, firing, strict=True):
            traces, terms = self.terms(pre_t, post_t, traces)
            for k, term in enumerate(terms):
                parts.setdefault(k, []).append(_busy(term, rows if term.post is post_t else None))
        change = torch.zeros_like(weight)
        for terms in parts.values():
            whole = Term(
                terms[0].strength,
                torch.cat([t.pre for t in terms]),
                torch.cat([t.post for t in terms]),
            )
            change += whole.strength(weight) * _product(
                synapse, whole._replace(shift=terms[0].shift)
            )
        return traces, change / pre.shape[1] if self.reduction == "mean" else change

    def proposed(
        self,
        weight: Tensor,
        product: Product,
        pre: Tensor,
        post: Tensor,
        memory: Memory | None = None,
    ) -> tuple[Memory, Tensor]:
        """Traces and change after the spikes of one step, with a product of the caller. Pure.

        Args:
            weight: of the synapse.
            product: of what enters and what leaves the synapse: `hebbian.outer` keeps the samples
                apart, `hebbian.correlate` with the synapse filled in sums them.
            pre: spikes that enter the synapse, as ``product`` takes them.
            post: spikes of the neurons that it feeds.
            memory: traces of the step before. Default: none.

        Returns:
            The new traces, and the change as ``product`` returns it, without ``reduction``.

        >>> from spikeloom.learning import PowerLaw, outer
        >>> ones = torch.ones(4, 2), torch.ones(4, 3)
        >>> PowerLaw().proposed(torch.zeros(3, 2), outer, *ones)[1].shape
        torch.Size([4, 3, 2])
        """
        memory, terms = self.terms(pre, post, self.initial if memory is None else memory)
        weight = weight.detach()
        changes = [
            t.strength(weight) * product(t.pre + t.shift if t.shift else t.pre, t.post)
            for t in terms
        ]
        return memory, sum(changes[1:], changes[0])

    def _largest(
        self, synapse: nn.Module, weight: Tensor, memory: Memory, terms: list[Term]
    ) -> tuple[Memory, Tensor]:
        """Of the changes of all samples the largest in magnitude, for each weight."""
        largest = torch.zeros_like(weight)
        for b in range(terms[0].pre.shape[1]):
            change = torch.zeros_like(weight)
            for t in terms:
                change += t.strength(weight) * _product(
                    synapse, t._replace(pre=t.pre[:, b], post=t.post[:, b])
                )
            largest = torch.where(abs(change) > abs(largest), change, largest)
        return memory, largest

    def collected(
        self, pre: Tensor, post: Tensor, memory: Memory | None = None
    ) -> tuple[Memory, list[Term]]:
        """The traces after all steps, and the products of each of them, [T, B, ...]."""
        traces: Memory = self.initial if memory is None else memory
        rows: list[tuple[Term, ...]] = []
        for pre_t, post_t in zip(pre, post, strict=True):
            traces, terms = self.terms(pre_t, post_t, traces)
            rows.append(terms)
        return traces, [
            c[0]._replace(
                pre=torch.stack([t.pre for t in c]), post=torch.stack([t.post for t in c])
            )
            for c in zip(*rows, strict=True)
        ]

    def apply(self, synapse: nn.Module, change: Tensor) -> None:
        """Add a change to the weight and keep it within its bounds, in place.

        >>> from spikeloom.learning import PowerLaw
        >>> fc = nn.Linear(2, 1)
        >>> PowerLaw().apply(fc, torch.tensor([[5.0, -5.0]]))
        >>> fc.weight
        Parameter containing:
        tensor([[1., 0.]], requires_grad=True)
        """
        with torch.no_grad():
            weight_of(synapse).add_(change).clamp_(self.w_min, self.w_max)

    def remember(self, previous: Any, spk: Tensor, tau: float) -> Tensor:
        """A trace after the spikes of one step."""
        return self._trace(previous, spk, math.exp(-1 / tau))

    def _trace(self, previous: Any, spk: Tensor, factor: float) -> Tensor:
        if self.pairs == "all" or previous is None:
            return trace(0.0 if previous is None else previous, spk, factor)
        return torch.maximum(factor * previous, spk)  # a trace is at most 1

    def headroom(self, weight: Tensor, mu: float) -> Tensor:
        """How far a weight is from ``w_max``, to the power ``mu``."""
        return (self.w_max - weight).clamp(min=0) ** mu

    def substance(self, weight: Tensor, mu: float) -> Tensor:
        """How far a weight is from ``w_min``, to the power ``mu``."""
        return (weight - self.w_min).clamp(min=0) ** mu


def _check_spikes(weight: Tensor, pre: Tensor, post: Tensor) -> None:
    """Check that spikes of both sides, [T, B, ...], belong together and to the synapse."""
    for name, spk in (("pre", pre), ("post", post)):
        if tensor(name, spk).dtype != weight.dtype:
            raise TypeError(
                f"{name} must be {weight.dtype} as the weight, got {spk.dtype}; write "
                f"{name}.to(weight.dtype)"
            )
        if spk.dim() < 3 or not spk.numel():
            raise ValueError(
                f"{name} must be spikes [B, ...] of at least one sample, got "
                f"{tuple(spk.shape[1:])}; write "
                f"{name}.unsqueeze(0) for one sample"
            )
        checks.finite(spk, name)
    if pre.shape[:2] != post.shape[:2]:
        raise ValueError(
            f"pre and post must have the same steps and samples, got {tuple(pre.shape)} and "
            f"{tuple(post.shape)}"
        )


def _firing(post: Tensor) -> tuple[Tensor, ...]:
    """For each step the samples in which an output fires."""
    steps, samples = post.flatten(2).any(2).nonzero().unbind(1)
    return samples.split(torch.bincount(steps, minlength=len(post)).tolist())


def _busy(term: Term, rows: Tensor | None) -> Term:
    """The term of the samples with a nonzero output side, which are usually few."""
    rows = term.post.flatten(1).any(1).nonzero().flatten() if rows is None else rows
    return term._replace(pre=term.pre[rows], post=term.post[rows])


def _product(synapse: nn.Module, term: Term) -> Tensor:
    pre = term.pre + term.shift if term.shift else term.pre
    return correlate(synapse, pre, term.post)
