"""From a NIR neuron to ours: class and arguments, from the node's fields and record."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.neuron import Neuron
from ..core.options import arguments
from ..neurons.integrate_fire import IF
from ..neurons.lapicque import Lapicque
from ..neurons.leaky import Leaky
from ..neurons.leaky_integrator import LI
from ..neurons.recurrent import Recurrent
from ..neurons.rleaky import RLeaky
from ..neurons.rsynaptic import RSynaptic
from ..neurons.synaptic import Synaptic
from .circuit import Array, Circuit, circuit_of, compact
from .layer_modules import delay_module, layer_module
from .metadata import check_arguments
from .modules import Offset, Scale
from .neuron_nodes import class_of, neuron_nodes, row_of
from .neurons import SameStepLeaky, Threshold
from .node import Node
from .record import options_of, surrogate_of
from .settings import Settings

__all__ = ["is_neuron", "neuron_module"]

SPIKING = ("IF", "LIF", "CubaLIF")


def is_neuron(node: Node) -> bool:
    """Whether the node has memory or fires."""
    return node.kind in (*SPIKING, "I", "LI", "CubaLI", "Delay", "Threshold")


def neuron_module(
    node: Node, settings: Settings, *, feedback: Node | None = None, scale: Node | None = None
) -> nn.Module | None:
    """The module of a neuron.

    Args:
        node: a neuron or a delay.
        settings: see `Settings`.
        feedback: the layer of its loop; then the module is a recurrent neuron.
        scale: the size of its spikes, if it was written as such.

    Returns:
        A neuron, or a chain of modules around one. None where the loop is none of a recurrent
        neuron of ours.

    Raises:
        ValueError: the node is malformed, or something that has to be known is not said.
    """
    if node.kind == "Delay":
        return delay_module(node, settings.time_step(node), settings.dtype)
    options: dict[str, Any] = {"init_hidden": True}
    if node.kind not in ("I", "LI", "CubaLI"):
        options["spike_grad"] = settings.spike_grad
        if settings.spike_grad is None and "surrogate" in node.metadata:
            options["spike_grad"] = surrogate_of(node.metadata["surrogate"])
    return _Reader(node, settings, feedback, scale, options).module()


@dataclass
class _Reader:
    """The arguments of `neuron_module`, and options of every neuron that it makes."""

    node: Node
    settings: Settings
    feedback: Node | None
    scale: Node | None
    options: dict[str, Any]
    drive: Array | None = None  # what v_leak adds in each step to a membrane that starts at zero

    def module(self) -> nn.Module | None:
        exact = self.as_recorded()
        if exact is not None:
            return exact
        if self.node.kind == "Threshold":
            return Threshold(self.tensor(compact(self.node.array("threshold"))), **self.options)
        if self.scale is None:
            return self.from_numbers()
        made = None if self.feedback is not None else self.from_numbers()
        if made is None:
            return None
        factor = Scale(self.tensor(compact(self.scale.array("scale"))))
        return nn.Sequential(*(made if isinstance(made, nn.Sequential) else [made]), factor)

    def tensor(self, value: Any) -> torch.Tensor:
        return torch.tensor(np.asarray(value), dtype=self.settings.dtype)

    # -- a neuron that we wrote --------------------------------------------------------------------

    def as_recorded(self) -> Neuron | None:
        """The neuron of the record, if its numbers are still those of the node."""
        record, dt = self.node.metadata, self.settings.recorded_dt
        cls = class_of(record.get("neuron"))
        if cls is None or dt is None or issubclass(cls, Recurrent) != (self.feedback is not None):
            return None
        check_arguments(self.node, cls)
        options = {**self.options, **options_of(cls, record, self.settings.dtype)}
        if "reset_mechanism" in arguments(cls):
            options["reset_mechanism"], delay = self.settings.reset_rule(self.node)
            if "reset_delay" in arguments(cls):
                options["reset_delay"] = delay
            elif delay:
                return None
            if options["reset_mechanism"] not in cls.resets:
                return None
        if self.settings.dt in (None, dt):
            neuron = self.made(cls, options)
            if neuron is not None and _agree(neuron, self.node, self.scale, dt):
                return neuron
        row = row_of(cls)
        if row is None or row.read is None:
            return None
        numbers = {key: compact(self.node.array(key)) for key in self.node.fields}
        read = row.read(numbers, self.settings.time_step(self.node))
        return self.made(cls, options | {key: self.tensor(value) for key, value in read.items()})

    def made(self, cls: type[Neuron], options: dict[str, Any]) -> Neuron | None:
        """A neuron with its feedback; None where the layer of the loop has another form."""
        if self.feedback is None:
            return cls(**options)
        values = _one_to_one(self.feedback)
        if values is not None:
            recorded = options.get("V")
            if recorded is None or not np.allclose(recorded.numpy(), values, rtol=1e-5):
                recorded = self.tensor(compact(values))
            return cls(**{**options, "V": recorded, "all_to_all": False})
        layer = layer_module(self.feedback, self.settings.dtype)
        sizes = _sizes(layer)
        if sizes is None:
            return None
        neuron = cls(**{key: value for key, value in options.items() if key != "V"}, **sizes)
        layer.requires_grad_(bool(options.get("learn_recurrent", True)))
        neuron._modules["recurrent"] = layer
        return neuron

    # -- a neuron that others wrote, or that was edited --------------------------------------------

    def from_numbers(self) -> nn.Module | None:
        node, settings = self.node, self.settings
        dt = settings.time_step(node)
        circuit = circuit_of(node, dt, settings.convention)
        if settings.start == "zero" and circuit.rest.any():
            circuit, self.drive = circuit.above_zero()
        if node.kind not in SPIKING:
            return self.readout(circuit)
        reset, delay = settings.reset_rule(node)
        written = class_of(node.metadata.get("neuron")) or Neuron  # with another dt, or edited
        if reset == "zero" and delay and self.keeps_input(written):
            return None
        leftover = settings.convention.leftover_reset or written not in (Neuron, SameStepLeaky)
        same_step = reset == "subtract" and not delay and not leftover
        own_kind = circuit.fires_at_rest() or self.drive is not None
        if reset == "none" and own_kind:
            return None if self.feedback is not None else self.never_reset(circuit)
        if reset != "none" and (same_step or own_kind or (circuit.reset_to != 0).any()):
            if delay:
                raise node.fail(
                    "v_reset differs from v_leak, or the neuron fires at rest or starts at zero, "
                    "and such a reset acts in the step of the spike; pass delay=False"
                )
            return None if self.feedback is not None else self.same_step(circuit, reset)
        options = {
            **self.options,
            "reset_mechanism": reset,
            "reset_delay": delay,
            "threshold": self.fires_at(circuit),
        }
        euler = not settings.convention.exponential  # as Lapicque is
        if issubclass(written, Lapicque) and self.feedback is None and euler:
            tau, r = node.array("tau"), node.array("r")
            options["R"], options["C"] = self.tensor(compact(r)), self.tensor(compact(tau / r))
            return Lapicque(**options, time_step=self.tensor(dt))
        if circuit.alpha is not None:
            options["alpha"] = self.tensor(circuit.alpha)
        if self.feedback is None and circuit.alpha is None and (circuit.beta == 1).all():
            return self.chain(circuit, neuron=IF(**options))
        options["beta"] = self.tensor(circuit.beta)
        if self.feedback is None:
            cls = Leaky if circuit.alpha is None else Synaptic
            return self.chain(circuit, neuron=cls(**options))
        if not circuit.is_unscaled():
            return None
        return self.made(RLeaky if circuit.alpha is None else RSynaptic, options)

    def keeps_input(self, written: type[Neuron]) -> bool:
        """Whether the recorded neuron has a loop and keeps the input of a step with a late reset to
        zero, which a recurrent neuron clears.

        Raises:
            ValueError: a recurrent neuron is recorded, and has no loop.
        """
        recurrent = issubclass(written, Recurrent)
        if recurrent and self.feedback is None:
            raise self.node.fail(
                "it was written as a recurrent neuron; restore its loop, neuron -> layer -> neuron"
            )
        return written is not Neuron and self.feedback is not None and not recurrent

    def fires_at(self, circuit: Circuit) -> torch.Tensor:
        threshold = self.tensor(circuit.threshold)
        if self.settings.convention.at_threshold:  # v >= threshold is v > the number before it
            return torch.nextafter(threshold, torch.full_like(threshold, -float("inf")))
        return threshold

    def same_step(self, circuit: Circuit, reset: str) -> nn.Module:
        neuron = SameStepLeaky(
            self.tensor(circuit.beta),
            self.fires_at(circuit),
            self.tensor(circuit.reset_to),
            reset_mechanism=reset,
            **self.options,
        )
        return self.chain(circuit, **self.synapse(circuit), neuron=neuron)

    def never_reset(self, circuit: Circuit) -> nn.Module:
        membrane = LI(self.tensor(circuit.beta), init_hidden=True)
        neuron = Threshold(self.fires_at(circuit), **self.options)
        return self.chain(circuit, **self.synapse(circuit), membrane=membrane, neuron=neuron)

    def readout(self, circuit: Circuit) -> nn.Module:
        neuron = LI(self.tensor(circuit.beta), init_hidden=True)
        rest = {"rest": Offset(self.tensor(circuit.rest))} if circuit.rest.any() else {}
        return self.chain(circuit, **self.synapse(circuit), neuron=neuron, **rest)

    def synapse(self, circuit: Circuit) -> dict[str, nn.Module]:
        """What comes before the membrane: its synapse and its constant input."""
        parts: dict[str, nn.Module] = {}
        if circuit.alpha is not None:
            parts["synapse"] = LI(self.tensor(circuit.alpha), init_hidden=True)
        if self.drive is not None:
            parts["drive"] = Offset(self.tensor(self.drive))
        return parts

    def chain(self, circuit: Circuit, **parts: nn.Module) -> nn.Module:
        """The input scaled where it has to be, and then the parts."""
        if not circuit.is_unscaled():
            parts = {"gain": Scale(self.tensor(circuit.gain)), **parts}
        if len(parts) == 1:
            return next(iter(parts.values()))
        chain = nn.Sequential()
        for name, part in parts.items():
            chain.add_module(name, part)
        return chain


def _agree(neuron: Neuron, node: Node, scale: Node | None, dt: float) -> bool:
    """Whether a neuron would be written as this node."""
    shape = next((np.shape(v) for v in node.fields.values() if np.ndim(v)), ())
    written = list(neuron_nodes("", neuron, shape, dt)[0].values())
    given = [node] if scale is None else [node, scale]
    if [each.kind for each in written] != [each.kind for each in given]:
        return False
    pairs = [
        (a.fields[k], b.fields.get(k, 0.0 if k == "v_reset" else None))  # as NIR does
        for a, b in zip(written, given, strict=True)
        for k in a.fields
    ]
    return all(b is not None and _close(a, b) for a, b in pairs)


def _close(a: Any, b: Any) -> bool:
    """Whether two fields agree up to the rounding of float32; fields of other shapes do not."""
    alike = np.shape(a) == np.shape(b) or not np.shape(a) or not np.shape(b)
    return alike and np.allclose(a, b, rtol=1e-5, atol=0)


def _one_to_one(feedback: Node) -> Array | None:
    """The weights of a feedback that stays within each neuron."""
    if feedback.kind == "Scale":
        return feedback.array("scale")
    weight = feedback.array("weight")
    if feedback.kind != "Linear" or weight.ndim != 2 or len(weight) != weight.shape[1]:
        return None
    return np.diag(weight) if np.array_equal(weight, np.diag(np.diag(weight))) else None


def _sizes(layer: nn.Module) -> dict[str, Any] | None:
    """Arguments for the size of the feedback; None for a convolution that changes the size."""
    if isinstance(layer, nn.Linear) and layer.in_features == layer.out_features:
        return {"linear_features": layer.in_features}
    if not isinstance(layer, nn.Conv2d) or layer.in_channels != layer.out_channels:
        return None
    halves = tuple(d * (k - 1) // 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True))
    keeps = layer.stride == (1, 1) and (layer.padding == "same" or layer.padding == halves)
    if not keeps or not all(k % 2 for k in layer.kernel_size):
        return None
    return {"conv2d_channels": layer.in_channels, "kernel_size": layer.kernel_size}
