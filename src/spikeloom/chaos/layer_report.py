"""Reports on the chaotic loss of each layer: strength, regime, and support of the surrogate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core.neuron import Neuron
from ..core.taps import Moment
from .calibration import Gain
from .csbp import CSBP
from .loss_function import ChaoticLoss
from .regime import Descent, Regime, descent, flip, regime
from .signals import SignalRecorder

__all__ = ["ChaosWarning", "LayerReport", "Report"]

SUPPORT = 1e-3  # share of its peak below which a surrogate gradient counts as zero
WEAK = 0.1  # strength below which the loss is only a weak bias


class ChaosWarning(UserWarning):
    """Warns that the chaotic loss of a layer is not chaotic, or stops its learning.

    >>> issubclass(ChaosWarning, UserWarning)
    True
    """


@dataclass(frozen=True)
class LayerReport:
    """The present state of one layer.

    Attributes:
        z: intensity.
        A: dimensionless strength at the present learning rate; None if it was not measured.
        regime: ``"stable"``, ``"periodic"``, ``"chaotic"``, ``"locked"``, ``"off"``, or
            ``"unknown"``.
        exponent: Lyapunov exponent predicted by the theory, per step; None if A was not measured.
        supported: share of neurons and steps inside the support of the surrogate; None if there are
            no neurons or no recorded steps.
        rest_supported: whether the rest point of the loss is inside the support.
        warning: text of a warning, or empty.

    >>> LayerReport(10.0, 3.8, "chaotic", 0.33, 0.9, True, "").regime
    'chaotic'
    """

    z: float
    A: float | None
    regime: str
    exponent: float | None
    supported: float | None
    rest_supported: bool
    warning: str


@dataclass(frozen=True)
class Report:
    """The reports of all layers by path; it prints as a table.

    >>> print(Report({"1": LayerReport(10.0, 3.8, "chaotic", 0.33, 0.9, True, "")}))
    layer           z         A  regime    exponent  supported
    1              10       3.8  chaotic     +0.330      90.0 %
    """

    layers: Mapping[str, LayerReport]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all layers, with their paths."""
        return tuple(
            f"layer {path!r}: {row.warning}" for path, row in self.layers.items() if row.warning
        )

    def __str__(self) -> str:
        width = max([5, *map(len, self.layers)])
        lines = [
            f"{'layer':<{width}}  {'z':>10}  {'A':>8}  {'regime':<8}  {'exponent':>8}  "
            f"{'supported':>9}"
        ]
        for path, row in self.layers.items():
            strength = "-" if row.A is None else f"{row.A:.4g}"
            exponent = "-" if row.exponent is None else f"{row.exponent:+.3f}"
            share = "-" if row.supported is None else f"{100 * row.supported:.1f} %"
            lines.append(
                f"{path:<{width}}  {row.z:>10.4g}  {strength:>8}  {row.regime:<8}  {exponent:>8}  "
                f"{share:>9}"
            )
        return "\n".join([*lines, *(f"! {text}" for text in self.warnings)])


def layer_report(
    recorder: SignalRecorder, loss: ChaoticLoss, settings: CSBP, gain: Gain | None, optimizer: Any
) -> LayerReport:
    """The report of one layer."""
    z = loss.z
    reachable = not rest_is_out_of_reach(recorder.module, settings)
    strength = None
    exponent = None
    warnings = []
    if z == 0.0:
        name = "off"
    elif gain is None or optimizer is None or math.isnan(z):
        name = "unknown"
    else:
        how = descent(optimizer)
        strength = z * gain.unit * _rate(optimizer) / gain.lr
        found = regime(float(f"{strength:.6g}"), how, settings.I0)
        name = found.name
        exponent = found.exponent
        warnings += _complaints(strength, found, how)
    if z != 0.0 and not reachable:
        warnings.append("the surrogate gradient is zero at its rest point")
    return LayerReport(
        z=z,
        A=strength,
        regime=name,
        exponent=exponent,
        supported=share_supported(recorder),
        rest_supported=reachable,
        warning="; ".join(warnings),
    )


def _rate(optimizer: torch.optim.Optimizer) -> float:
    return max(float(group["lr"]) for group in optimizer.param_groups)


def _complaints(strength: float, found: Regime, how: Descent) -> list[str]:
    if found.name == "stable":
        bias = "a weak bias" if strength < WEAK else "a bias"
        return [
            f"A = {strength:.3g} is not chaotic, {bias}: it pulls towards the rest point and stays "
            f"below the flip at {flip(how):.3g}"
        ]
    if found.name == "locked":
        period = f"an orbit of period {found.period}" if found.period else "a periodic orbit"
        return [f"A = {strength:.3g} is locked to {period}, not chaotic"]
    return []


# -- the support of the surrogate ------------------------------------------------------------------


def slope(neuron: Neuron, over: Tensor) -> Tensor | None:
    """The surrogate's derivative at ``over`` relative to its peak; None if it has none."""
    derivative = getattr(neuron.spike_grad, "derivative", None)
    if derivative is None:
        return None
    grid = torch.linspace(-5.0, 5.0, 2001, dtype=torch.double)
    peak = float(derivative(grid).abs().max())
    return derivative(over.double()).abs() / peak if peak > 0 else None


def rest_is_out_of_reach(module: nn.Module, settings: CSBP) -> bool:
    """Whether the surrogate of a layer of neurons is zero at the rest point of the feedback."""
    if not isinstance(module, Neuron) or settings.signal == "rate":
        return False
    threshold = module.threshold.detach().double().cpu()
    center = threshold if settings.center == "threshold" else float(settings.center)
    found = slope(module, center + settings.rest - threshold)
    return found is not None and bool((found <= SUPPORT).all())


def share_supported(recorder: SignalRecorder) -> float | None:
    """Share of neurons and steps with a surrogate gradient, over the last recorded sequence."""
    neuron = recorder.module
    if not isinstance(neuron, Neuron) or not recorder.last:
        return None
    inside = 0
    total = 0
    before = None
    for moment in recorder.last:
        over, before = _overdrive(neuron, moment, before)
        found = slope(neuron, over)
        if found is None:
            return None
        inside += int((found > SUPPORT).sum())
        total += found.numel()
    return inside / total


def _overdrive(neuron: Neuron, moment: Moment, before: Any) -> tuple[Tensor, Any]:
    """The argument of the surrogate at a moment, and the state after it."""
    state = moment.state
    last = type(state)(*(value[-1] for value in state)) if moment.timed else state
    p = neuron.params(moment.x.dtype)
    if neuron.reset_delay or not neuron.transition.elementwise:
        return neuron.trigger(state, p).detach(), last
    # The state is that after the reset: integrate again for the membrane at the threshold.
    step = moment.x[0] if moment.timed and moment.repeat == 1 else moment.x
    before = neuron.initial(step) if before is None else before
    if moment.timed:
        before = type(state)(
            *(torch.cat([b[None], v[:-1]]) for b, v in zip(before, state, strict=True))
        )
    with torch.no_grad():
        return neuron.trigger(neuron.integrate(moment.x, before, p), p), last
