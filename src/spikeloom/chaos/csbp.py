"""The settings of chaotic back-propagation, as one frozen value."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..core import checks
from ..core.numbers import real
from .anneal import Anneal
from .loss_function import REDUCTIONS, ChaoticLoss, Reduction

__all__ = ["CSBP", "A", "Signal", "Z"]

Signal = Literal["pre", "membrane", "membrane_last", "rate"]
SIGNALS = ("pre", "membrane", "membrane_last", "rate")
Layers = Any  # "all", "hidden", a path, paths, or a function (path, module) -> bool


@dataclass(frozen=True)
class A:
    r"""A dimensionless strength: learning rate times curvature of the chaotic loss of each layer.

    .. math:: A = \eta\, z\, I_0 (1 - I_0)\, \lambda_{max}(J^T J) / (s^2 N)

    with J the derivative of the signal with respect to the weights that feed the layer. Plain
    gradient descent is stable below 2, oscillates above it, and is chaotic between about 3.3 and
    4.5; see `regime` for momentum.

    Args:
        value: >= 0.

    >>> A(3.8)
    A(value=3.8)
    """

    value: float

    def __post_init__(self) -> None:
        checks.in_range("A", self.value, 0.0, math.inf, open_high=True)


@dataclass(frozen=True)
class Z:
    """A literal strength: the intensity z of the authors' code.

    Args:
        value: >= 0.

    >>> Z(15.0)
    Z(value=15.0)
    """

    value: float

    def __post_init__(self) -> None:
        checks.in_range("Z", self.value, 0.0, math.inf, open_high=True)


@dataclass(frozen=True)
class CSBP:
    """Settings of chaotic spiking back-propagation, for `attach` and ``snn.fit(..., chaos=...)``.

    Args:
        strength: `A` (dimensionless, measured at each layer) or `Z` (literal).
        layers: ``"all"`` spiking neurons; ``"hidden"`` for all except the last; a path or paths of
            ``named_modules()``, also of layers without neurons, such as a linear readout; or a
            function ``(path, module) -> bool``.
        signal: ``"pre"`` for the input of a layer of neurons, or the output of another layer;
            ``"membrane"`` at every step; ``"membrane_last"`` at the last step; ``"rate"`` for
            spikes per step.
        center: a number, or ``"threshold"`` for the threshold of the neurons, which places the rest
            point near it.
        drive: ``"chaos"``; or ``"noise"``, the control, which replaces the gradient of the chaotic
            loss by Gaussian noise of the same root mean square in each parameter.
        I0, scale, reduction, clamp, anneal: as for `ChaoticLoss`.

    Raises:
        ValueError, TypeError: an argument is invalid.

    Source: Wang, Tao & Chen (2024), Natl. Sci. Rev. 11, nwae037.

    >>> CSBP(A(3.8), layers="hidden", center="threshold").signal
    'pre'
    """

    strength: A | Z = A(3.8)
    layers: Layers = "all"
    signal: Signal = "pre"
    I0: float = 0.65
    center: float | Literal["threshold"] = 0.0
    scale: float = 1.0
    reduction: Reduction = "mean"
    clamp: tuple[float, float] | None = None
    anneal: Anneal | Callable[[int], float] | None = field(default=None)
    drive: Literal["chaos", "noise"] = "chaos"

    def __post_init__(self) -> None:
        if not isinstance(self.strength, A | Z):
            raise TypeError(
                f"strength must be chaos.A(...) or chaos.Z(...), got {self.strength!r}; write "
                "chaos.A(3.8)"
            )
        if not isinstance(self.layers, (str, list, tuple, set)) and not callable(self.layers):
            raise TypeError(
                f"layers must be a word or a list of paths, got {self.layers!r}; write layers='all'"
            )
        checks.choice("signal", self.signal, SIGNALS)
        checks.choice("reduction", self.reduction, REDUCTIONS)
        checks.choice("drive", self.drive, ("chaos", "noise"))
        if isinstance(self.center, str):
            checks.choice("center", self.center, ("threshold",))
        else:
            real("center", self.center, example=0.0)
        self.loss(0.0, 0.0)

    def loss(self, z: float, center: Any) -> ChaoticLoss:
        """The chaotic loss of one layer, with these settings."""
        return ChaoticLoss(
            z,
            I0=self.I0,
            center=center,
            scale=self.scale,
            reduction=self.reduction,
            clamp=self.clamp,
            anneal=self.anneal,
        )

    @property
    def rest(self) -> float:
        """The rest point of the feedback relative to the center, ``s logit(I0)``."""
        return self.scale * math.log(self.I0 / (1 - self.I0))


def settings(chaos: Any) -> CSBP:
    """Converts an argument to settings: a strength alone becomes the defaults with that strength.

    Raises:
        TypeError: ``chaos`` is neither settings nor a strength.
    """
    if isinstance(chaos, A | Z):
        return CSBP(chaos)
    if not isinstance(chaos, CSBP):
        raise TypeError(
            f"chaos must be settings or a strength, got {type(chaos).__name__}; write "
            "chaos.CSBP(chaos.A(3.8))"
        )
    return chaos
