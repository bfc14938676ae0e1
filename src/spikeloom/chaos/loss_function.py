"""The chaotic loss, a negative self-feedback that makes gradient descent overshoot."""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core import checks
from ..core.numbers import real
from .anneal import Anneal, schedule

__all__ = ["REDUCTIONS", "ChaoticLoss", "Chunk", "chaotic_loss"]

REDUCTIONS = ("mean", "sum_units", "sum")
Reduction = Literal["mean", "sum_units", "sum"]


class Chunk(NamedTuple):
    """A signal over some steps.

    Attributes:
        h: the signal; its first ``samples`` axes are batch or time and batch, the others are units.
        samples: number of these axes.
        repeat: number of equal steps that it represents.
    """

    h: Tensor
    samples: int
    repeat: int = 1


def divisor(chunks: list[Chunk], reduction: str) -> float:
    """Divisor of the sum over all elements."""
    if reduction == "sum":
        return 1.0
    sizes = [c.h.numel() if reduction == "mean" else c.h.shape[: c.samples].numel() for c in chunks]
    return float(sum(size * c.repeat for size, c in zip(sizes, chunks, strict=True)))


def argument(h: Tensor, center: Any, scale: float, clamp: tuple[float, float] | None) -> Tensor:
    """The argument of the sigmoid, x = (h - center) / scale."""
    x = h if clamp is None else h.clamp(*clamp)
    x = x - center if isinstance(center, Tensor) or center != 0.0 else x
    return x / scale if scale != 1.0 else x


def chaotic_loss(
    h: Tensor,
    z: float,
    *,
    I0: float = 0.65,
    center: Any = 0.0,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    clamp: tuple[float, float] | None = None,
) -> Tensor:
    """The chaotic loss of a signal as a pure function; `ChaoticLoss` also anneals.

    Args:
        h: signal, [B, ...].
        z: intensity, >= 0.
        I0, center, scale, reduction, clamp: as for `ChaoticLoss`.

    Returns:
        One number, ().

    >>> chaotic_loss(torch.tensor([[0.0]]), 10.0)  # 10 ln 2
    tensor(6.9315)
    """
    checks.floating(h, "h")
    checks.finite(h, "h")
    if h.dim() == 0:
        raise ValueError(
            "h must be a signal [B, ...], got a tensor of shape (); write h.reshape(1)"
        )
    z = real("z", z, 0.0)
    I0 = real("I0", I0)
    scale = real("scale", scale, 0.0, open_low=True)
    checks.choice("reduction", reduction, get_args(Reduction))
    if not h.numel() and reduction != "sum":
        raise ValueError(
            f"h must hold at least one number, got {tuple(h.shape)}; leave empty batches out"
        )
    center = _checked_center(h, center)
    if clamp is not None:
        clamp = _checked_clamp(clamp)
    return reduced(
        [Chunk(h, 1)], z, I0=I0, center=center, scale=scale, reduction=reduction, clamp=clamp
    )


def _checked_center(h: Tensor, center: Any) -> Any:
    """Returns a checked number, or a checked tensor that broadcasts against the signal."""
    if not isinstance(center, Tensor):
        return real("center", center, example=0.0)
    checks.floating(center, "center")
    checks.finite(center, "center")
    if center.numel() != 1 and center.shape != h.shape[h.dim() - center.dim() :]:
        raise ValueError(
            f"center must be a number or fit h {tuple(h.shape)}, got {tuple(center.shape)}"
        )
    return center


def _checked_clamp(clamp: Any) -> tuple[float, float]:
    """Returns the checked lower and upper bound."""
    if not isinstance(clamp, (tuple, list)) or len(clamp) != 2:
        raise TypeError(f"clamp must be a pair of numbers, got {clamp!r}; write clamp=(-1.0, 1.0)")
    low, high = (real("clamp", bound) for bound in clamp)
    if not low < high:
        raise ValueError(
            f"clamp must be (low, high) with low < high, got {clamp!r}; write clamp=(-10, 9.9)"
        )
    return low, high


def reduced(
    chunks: list[Chunk],
    z: float,
    *,
    I0: float,
    center: Any,
    scale: float,
    reduction: str,
    clamp: Any,
) -> Tensor:
    """The chaotic loss of a signal in chunks."""
    total: Any = 0.0
    for chunk in chunks:
        total = total + density(argument(chunk.h, center, scale, clamp), I0).sum() * chunk.repeat
    return total * (z / divisor(chunks, reduction))


def density(x: Tensor, I0: float) -> Tensor:
    """softplus(x) - I0 x, elementwise and exact; F.softplus rounds beyond its threshold."""
    return -F.logsigmoid(-x) - I0 * x


class ChaoticLoss(nn.Module):
    r"""Chaotic loss with an annealed intensity.

    .. math:: L = z \sum \left( \mathrm{softplus}(x) - I_0 x \right) \qquad x = (h - c) / s

    which is ``z (-I0 log sigmoid(x) - (1 - I0) log(1 - sigmoid(x)))`` in a form that is exact for
    any finite h. Its gradient is ``(z / s) (sigmoid(x) - I0)``: it pulls h towards ``c + s
    logit(I0)``, and beyond it if z is large.

    Args:
        z: initial intensity, >= 0.
        I0: value of the sigmoid at the rest point, in (0, 1).
        center: c; a number or a tensor that broadcasts against h.
        scale: s, > 0.
        reduction: ``"mean"`` over all elements (the authors' training code); ``"sum_units"`` for
            the sum over units and the mean over samples and steps; ``"sum"`` over all elements (the
            authors' multi-layer example).
        clamp: limits of h, ``(-10, 9.9)`` in the authors' training code; beyond them the gradient
            is zero.
        anneal: `Exponential`, `Cosine`, `Until`, `Function`, or a function of the step. Default:
            constant.

    Raises:
        ValueError: an argument is out of range.
        TypeError: ``anneal`` is not a schedule.

    Source: Wang, Tao & Chen (2024), Natl. Sci. Rev. 11, nwae037: the single-neuron example of the
    authors' code is ``ChaoticLoss(10, anneal=Exponential(0.9995))``, the multi-layer one
    ``ChaoticLoss(10, scale=10, reduction="sum")``.

    >>> from spikeloom.chaos import Exponential
    >>> loss = ChaoticLoss(10.0, anneal=Exponential(0.5))
    >>> h = torch.tensor([[1e4]], requires_grad=True)
    >>> loss(h).backward(); h.grad  # z (1 - I0)
    tensor([[3.5000]])
    >>> loss.step(); loss.z
    5.0
    """

    def __init__(
        self,
        z: float = 10.0,
        *,
        I0: float = 0.65,
        center: Any = 0.0,
        scale: float = 1.0,
        reduction: Reduction = "mean",
        clamp: tuple[float, float] | None = None,
        anneal: Any = None,
    ) -> None:
        super().__init__()
        checks.in_range("z", z, 0.0, float("inf"))
        checks.in_range("I0", I0, 0.0, 1.0, open_low=True, open_high=True)
        checks.in_range("scale", scale, 0.0, float("inf"), open_low=True)
        checks.choice("reduction", reduction, REDUCTIONS)
        self.I0 = I0
        self.scale = scale
        self.reduction = reduction
        self.clamp = None if clamp is None else _checked_clamp(clamp)
        self.center = center
        self.anneal: Anneal = schedule(anneal)
        self.begin = float(z)
        # Initial strength in the unit of the schedule, if that is not z.
        self.strength: float | None = None
        self.steps = self.epochs = 0

    @property
    def factor(self) -> float:
        """The present factor of the annealing schedule."""
        n = self.epochs if self.anneal.per == "epoch" else self.steps
        return self.anneal.factor(n, self.begin if self.strength is None else self.strength)

    @property
    def z(self) -> float:
        """The present intensity."""
        return self.begin * self.factor

    def forward(self, h: Tensor, *, samples: int = 1) -> Tensor:
        """The loss of a signal.

        Args:
            h: [B, ...], or [T, B, ...] with ``samples=2``.
            samples: number of leading axes that are not units; ``"sum_units"`` averages over them.

        Returns:
            One number, ().
        """
        return self.of([Chunk(h, samples)])

    def of(self, chunks: list[Chunk]) -> Tensor:
        """The loss of a signal in chunks; a constant 0 if the intensity is 0."""
        z = self.z
        if z == 0.0:
            return torch.zeros((), dtype=chunks[0].h.dtype, device=chunks[0].h.device)
        center = self.center.to(chunks[0].h) if isinstance(self.center, Tensor) else self.center
        return reduced(
            chunks,
            z,
            I0=self.I0,
            center=center,
            scale=self.scale,
            reduction=self.reduction,
            clamp=self.clamp,
        )

    def step(self) -> None:
        """Anneals by one step; call it after each update."""
        self.steps += 1

    def epoch(self) -> None:
        """Anneals by one epoch; call it after each pass over the data."""
        self.epochs += 1

    def get_extra_state(self) -> dict[str, Any]:
        """Values for ``state_dict``: initial intensity and strength, steps and epochs."""
        return {
            "begin": self.begin,
            "strength": self.strength,
            "steps": self.steps,
            "epochs": self.epochs,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restores the values of `get_extra_state`."""
        self.begin = state["begin"]
        self.strength = state["strength"]
        self.steps = state["steps"]
        self.epochs = state["epochs"]

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"z={self.z:.4g}, I0={self.I0}, scale={self.scale}, reduction={self.reduction!r}, "
            f"anneal={self.anneal}"
        )
