"""From a NIR neuron to ours: the class and its arguments, from the fields of the node and its
record."""

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
from .node import Node, array, fail
from .record import options_of, surrogate_of
from .settings import Settings

__all__ = ["is_neuron", "neuron_module"]

SPIKING = ("IF", "LIF", "CubaLIF")


def is_neuron(node: Node) -> bool:
    """Whether the node has memory or fires."""
    return node.kind in (*SPIKING, "I", "LI", "CubaLI", "Delay", "Threshold")


def neuron_module(
    name: str,
    node: Node,
    settings: Settings,
    *,
    feedback: Node | None = None,
    scale: Node | None = None,
) -> nn.Module | None:
    """The module of a neuron.

    Args:
        name: of the node.
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
        return delay_module(name, node, settings.time_step(name, node), settings.dtype)
    options: dict[str, Any] = {"init_hidden": True}
    if node.kind not in ("I", "LI", "CubaLI"):
        record = node.metadata.get("surrogate")
        chosen = settings.spike_grad
        options["spike_grad"] = (
            chosen if chosen is not None else surrogate_of(record) if record else None
        )
    exact = _as_recorded(name, node, settings, options, feedback, scale)
    if exact is not None:
        return exact
    if node.kind == "Threshold":
        return Threshold(
            _tensor(compact(array(name, node, "threshold")), settings.dtype), **options
        )
    if scale is not None and feedback is not None:
        return None
    made = _from_numbers(name, node, settings, options, feedback)
    if made is not None and scale is not None:
        factor = _tensor(compact(array(name, scale, "scale")), settings.dtype)
        return nn.Sequential(*(made if isinstance(made, nn.Sequential) else [made]), Scale(factor))
    return made


def _tensor(value: Any, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(np.asarray(value), dtype=dtype)


# -- a neuron that we wrote ------------------------------------------------------------------------


def _as_recorded(
    name: str,
    node: Node,
    settings: Settings,
    options: dict[str, Any],
    feedback: Node | None,
    scale: Node | None,
) -> Neuron | None:
    """The neuron of the record, if its numbers are still those of the node."""
    record, dt = node.metadata, settings.recorded_dt
    cls = class_of(record.get("neuron"))
    if cls is None or dt is None or issubclass(cls, Recurrent) != (feedback is not None):
        return None
    check_arguments(name, node, cls)
    options = {**options, **options_of(cls, record, settings.dtype)}
    if "reset_mechanism" in arguments(cls):
        reset, delay = settings.reset_rule(name, node)
        late = "reset_delay" in arguments(cls)
        if reset not in cls.resets or (delay and not late):
            return None
        options |= {"reset_mechanism": reset, **({"reset_delay": delay} if late else {})}
    if settings.dt in (None, dt):
        neuron = _made(name, cls, options, feedback, settings.dtype)
        if neuron is not None and _agree(neuron, node, scale, dt):
            return neuron
    return _as_registered(name, node, settings, cls, options, feedback)


def _as_registered(
    name: str,
    node: Node,
    settings: Settings,
    cls: type[Neuron],
    options: dict[str, Any],
    feedback: Node | None,
) -> Neuron | None:
    """The neuron that the function registered for its class reads from the numbers of the node."""
    row = row_of(cls)
    if row is None or row.read is None:
        return None
    numbers = {key: compact(array(name, node, key)) for key in node.fields}
    read = row.read(numbers, settings.time_step(name, node))
    values = {key: _tensor(value, settings.dtype) for key, value in read.items()}
    return _made(name, cls, options | values, feedback, settings.dtype)


def _made(
    name: str, cls: type[Neuron], options: dict[str, Any], feedback: Node | None, dtype: torch.dtype
) -> Neuron | None:
    if feedback is not None:
        return _recurrent(name, cls, options, feedback, dtype)
    return cls(**options)


def _agree(neuron: Neuron, node: Node, scale: Node | None, dt: float) -> bool:
    """Whether a neuron would be written as this node."""
    shape = next((np.shape(v) for v in node.fields.values() if np.ndim(v)), ())
    written = list(neuron_nodes("", neuron, shape, dt)[0].values())
    given = [node] if scale is None else [node, scale]
    if [each.kind for each in written] != [each.kind for each in given]:
        return False
    pairs = [
        (a.fields[k], b.fields.get(k))
        for a, b in zip(written, given, strict=True)
        for k in a.fields
    ]
    return all(b is not None and _close(a, b) for a, b in pairs)


def _close(a: Any, b: Any) -> bool:
    """Whether two fields agree up to the rounding of float32; fields of other shapes do not."""
    alike = np.shape(a) == np.shape(b) or not np.shape(a) or not np.shape(b)
    return alike and np.allclose(a, b, rtol=1e-5, atol=0)


# -- a neuron that others wrote, or that was edited ------------------------------------------------


def _from_numbers(
    name: str, node: Node, settings: Settings, options: dict[str, Any], feedback: Node | None
) -> nn.Module | None:
    dt = settings.time_step(name, node)
    circuit = circuit_of(name, node, dt, settings.convention)
    if node.kind not in SPIKING:
        return _readout(circuit, settings.dtype)
    reset, delay = settings.reset_rule(name, node)
    written = class_of(node.metadata.get("neuron")) or Neuron  # with another dt, or edited since
    if issubclass(written, Recurrent) and feedback is None and reset == "zero" and delay:
        raise fail(
            name,
            node,
            "it was written as a recurrent neuron; restore its loop, neuron -> layer -> neuron",
        )
    leftover = settings.convention.leftover_reset or written not in (Neuron, SameStepLeaky)
    same_step = reset == "subtract" and not delay and not leftover
    if reset != "none" and (same_step or (circuit.reset_to != 0).any()):
        if delay:
            what = (
                "v_reset differs from v_leak, and such a reset acts in the step of the "
                "spike; pass delay=False"
            )
            raise fail(name, node, what)
        return (
            None
            if feedback is not None
            else _same_step(circuit, settings, options | {"reset_mechanism": reset})
        )
    options |= {"reset_mechanism": reset, "reset_delay": delay}
    options["threshold"] = _fires_at(circuit, settings)
    if issubclass(written, Lapicque) and feedback is None:
        tau, r = array(name, node, "tau"), array(name, node, "r")
        values = {"R": compact(r), "C": compact(tau / r), "time_step": dt}
        options |= {key: _tensor(value, settings.dtype) for key, value in values.items()}
        return Lapicque(**options)
    cls: type[Neuron] = IF if (circuit.beta == 1).all() else Leaky
    if circuit.alpha is not None:
        cls, options["alpha"] = Synaptic, _tensor(circuit.alpha, settings.dtype)
    if cls is not IF or feedback is not None:
        options["beta"] = _tensor(circuit.beta, settings.dtype)
    if feedback is None:
        return _chain(circuit, settings.dtype, neuron=cls(**options))
    if not circuit.is_unscaled():
        return None
    recurrent = RLeaky if circuit.alpha is None else RSynaptic
    return _recurrent(name, recurrent, options, feedback, settings.dtype)


def _fires_at(circuit: Circuit, settings: Settings) -> torch.Tensor:
    threshold = _tensor(circuit.threshold, settings.dtype)
    if settings.convention.at_threshold:  # v >= threshold is v > the number before it
        return torch.nextafter(threshold, torch.full_like(threshold, -float("inf")))
    return threshold


def _same_step(circuit: Circuit, settings: Settings, options: dict[str, Any]) -> nn.Module:
    dtype = settings.dtype
    neuron = SameStepLeaky(
        _tensor(circuit.beta, dtype),
        _fires_at(circuit, settings),
        _tensor(circuit.reset_to, dtype),
        **options,
    )
    if circuit.alpha is None:
        return _chain(circuit, dtype, neuron=neuron)
    return _chain(
        circuit, dtype, synapse=LI(_tensor(circuit.alpha, dtype), init_hidden=True), neuron=neuron
    )


def _readout(circuit: Circuit, dtype: torch.dtype) -> nn.Module:
    parts: dict[str, nn.Module] = {}
    if circuit.alpha is not None:
        parts["synapse"] = LI(_tensor(circuit.alpha, dtype), init_hidden=True)
    parts["neuron"] = LI(_tensor(circuit.beta, dtype), init_hidden=True)
    if circuit.rest.any():
        parts["rest"] = Offset(_tensor(circuit.rest, dtype))
    return _chain(circuit, dtype, **parts)


def _chain(circuit: Circuit, dtype: torch.dtype, **parts: nn.Module) -> nn.Module:
    """The input scaled where it has to be, and then the parts."""
    if not circuit.is_unscaled():
        parts = {"gain": Scale(_tensor(circuit.gain, dtype)), **parts}
    if len(parts) == 1:
        return next(iter(parts.values()))
    chain = nn.Sequential()
    for name, part in parts.items():
        chain.add_module(name, part)
    return chain


# -- feedback --------------------------------------------------------------------------------------


def _recurrent(
    name: str, cls: type[Neuron], options: dict[str, Any], feedback: Node, dtype: torch.dtype
) -> Neuron | None:
    """A recurrent neuron with the weights of a node; None where its feedback has another form."""
    values = _one_to_one(name, feedback)
    if values is not None:
        recorded = options.get("V")
        if recorded is None or not np.allclose(recorded.numpy(), values, rtol=1e-5):
            recorded = _tensor(compact(values), dtype)
        return cls(**{**options, "V": recorded, "all_to_all": False})
    options = {key: value for key, value in options.items() if key != "V"}
    layer = layer_module(name, feedback, dtype)
    sizes = _sizes(layer)
    if sizes is None:
        return None
    neuron = cls(**options, **sizes)
    layer.requires_grad_(bool(options.get("learn_recurrent", True)))
    neuron._modules["recurrent"] = layer
    return neuron


def _one_to_one(name: str, feedback: Node) -> Array | None:
    """The weights of a feedback that stays within each neuron."""
    if feedback.kind == "Scale":
        return array(name, feedback, "scale")
    weight = array(name, feedback, "weight")
    if feedback.kind != "Linear" or weight.ndim != 2 or len(weight) != weight.shape[1]:
        return None
    return np.diag(weight) if np.array_equal(weight, np.diag(np.diag(weight))) else None


def _sizes(layer: nn.Module) -> dict[str, Any] | None:
    """How a recurrent neuron is told its feedback; None for a convolution that changes the size."""
    if isinstance(layer, nn.Linear):
        return (
            {"linear_features": layer.in_features}
            if layer.in_features == layer.out_features
            else None
        )
    if not isinstance(layer, nn.Conv2d):
        return None
    halves = tuple(d * (k - 1) // 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True))
    keeps = layer.stride == (1, 1) and (layer.padding == "same" or layer.padding == halves)
    odd = all(k % 2 for k in layer.kernel_size)
    channels = layer.in_channels if layer.in_channels == layer.out_channels else None
    return (
        {"conv2d_channels": channels, "kernel_size": layer.kernel_size}
        if keeps and odd and channels
        else None
    )
