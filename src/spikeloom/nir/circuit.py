"""A NIR neuron as one Euler step: numbers between NIR's physical units and our neurons.

With u the membrane above rest, ``u = v - v_leak``, every NIR neuron is

    syn' = alpha syn + gain x      u' = beta u + syn'      (without a synapse: syn' = gain x)

that fires above ``threshold = v_threshold - v_leak`` and is reset to ``reset_to = v_reset -
v_leak``. NIR's time constants are in seconds, alpha and beta are per step. All numbers are float64:
the one rounding to the network's dtype comes last.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from .convention import Convention
from .node import FIELDS, Node

__all__ = ["Circuit", "circuit_of"]

Array = np.ndarray

UNITY = 1e-6  # files in float32 give r dt / tau as 1 up to their rounding


@dataclass
class Circuit:
    """The numbers of one neuron: scalars where all neurons agree, else of the layer's shape."""

    gain: Array
    beta: Array
    alpha: Array | None
    rest: Array
    threshold: Array = field(default_factory=lambda: np.ones(()))
    reset_to: Array = field(default_factory=lambda: np.zeros(()))

    def above_zero(self) -> tuple["Circuit", Array]:
        """The same neuron with a membrane that starts at v = 0: ``u = v``, and a constant input.

        Returns:
            The circuit, with its threshold and reset in the unit of v, and the input of each step,
            ``(1 - beta) v_leak``.
        """
        moved = replace(
            self,
            rest=np.zeros(()),
            threshold=self.threshold + self.rest,
            reset_to=self.reset_to + self.rest,
        )
        return moved, (1 - self.beta) * self.rest

    def fires_at_rest(self) -> bool:
        """Whether a membrane at rest, or after its own reset, is above the threshold."""
        return bool((self.threshold <= 0).any() or (self.reset_to > self.threshold).any())

    def is_unscaled(self) -> bool:
        """Whether the input reaches the membrane as it is."""
        return bool((self.gain == 1).all())


def circuit_of(node: Node, dt: float, convention: Convention) -> Circuit:
    """The numbers of a node of type I, IF, LI, LIF, CubaLI or CubaLIF.

    Args:
        node: which it is.
        dt: time step in the unit of its time constants.
        convention: see `Convention`.

    Raises:
        ValueError: a field is missing or has another shape than the others, a time constant is
            shorter than ``dt``.
    """
    kind = node.kind
    # older files leave these two out; NIR's defaults are w_in = 1 and v_reset = 0
    optional = [key for key in ("w_in", "v_reset") if node.fields.get(key) is not None]
    fields = {key: node.array(key) for key in (*FIELDS[kind], *optional)}
    _same_shape(node, fields)
    taus = {
        key: _seconds(value, dt, convention)
        for key, value in fields.items()
        if key.startswith("tau")
    }
    beta, alpha, gain = np.ones(()), None, fields["r"] * dt
    if "tau" in taus or "tau_mem" in taus:
        leak = _leak(node, "tau" if "tau" in taus else "tau_mem", taus, dt, convention)
        beta, gain = 1.0 - leak, fields["r"] * leak
    if "tau_syn" in taus:
        leak = _leak(node, "tau_syn", taus, dt, convention)
        alpha, gain = 1.0 - leak, gain * fields.get("w_in", np.ones(())) * leak
    if kind == "IF" and convention.rates:
        gain = np.where(fields["r"] == 1.0, 1.0, gain)
    if convention.plain_inputs:
        gain = np.ones(()) if alpha is None else alpha
    gain = np.where(np.abs(gain - 1.0) <= UNITY, 1.0, gain)
    rest = fields.get("v_leak", np.zeros(()))
    if kind == "IF" and convention.from_reset:
        rest = fields.get("v_reset", rest)
    circuit = Circuit(
        compact(gain), compact(beta), None if alpha is None else compact(alpha), compact(rest)
    )
    if "v_threshold" in fields:
        threshold, reset = fields["v_threshold"] - rest, fields.get("v_reset", 0.0) - rest
        if convention.plain_inputs:  # measured in the unit of the input
            threshold, reset, circuit.gain = threshold / gain, reset / gain, np.ones(())
        circuit.threshold, circuit.reset_to = compact(threshold), compact(reset)
    return circuit


def compact(value: Array) -> Array:
    """One number where all are equal: then the layer has no size of its own.

    >>> compact(np.array([2.0, 2.0]))
    array(2.)
    """
    first = np.array(value.flat[0]) if value.size else value
    return first if (value == first).all() else value


def _same_shape(node: Node, fields: dict[str, Array]) -> None:
    shapes = {value.shape for value in fields.values() if value.shape}
    if len(shapes) > 1:
        text = ", ".join(f"{key} {value.shape}" for key, value in fields.items())
        raise node.fail(f"all fields must have the shape of the layer, got {text}")


def _seconds(tau: Array, dt: float, convention: Convention) -> Array:
    return np.where(tau < dt, tau / dt, tau) if convention.rates else tau


def _leak(node: Node, key: str, taus: dict[str, Array], dt: float, convention: Convention) -> Array:
    """The fraction that is lost in one step."""
    tau = taus[key]
    if convention.exponential and (tau > 0).all():
        return -np.expm1(-dt / tau)
    if (tau < dt * (1 - UNITY)).any():
        raise node.fail(
            f"{key}={tau.min():.4g} is shorter than the time step dt={dt:g}, so that the membrane "
            "would overshoot; "
            "pass the dt of the network that was written, or, for a file of Norse, "
            "convention='norse'",
        )
    return np.minimum(dt / tau, 1.0)
