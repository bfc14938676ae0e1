"""From a neuron to its NIR node: one row for each class that has one, and for the others the reason
why not."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ..core.neuron import Neuron
from ..core.recurrent import Recurrent
from ..neurons.integrate_fire import IF
from ..neurons.lapicque import Lapicque
from ..neurons.leaky import Leaky
from ..neurons.leaky_integrator import LI
from ..neurons.rleaky import RLeaky
from ..neurons.rsynaptic import RSynaptic
from ..neurons.scaled_if import ScaledIF
from ..neurons.synaptic import Synaptic
from .circuit import tau_of
from .layer_nodes import layer_node
from .neurons import SameStepLeaky, Threshold
from .node import Node
from .record import plain, recorded

__all__ = ["neuron_nodes", "refusal"]

Array = np.ndarray
Fields = Mapping[str, Any]


def neuron_nodes(
    path: str, neuron: Neuron, shape: tuple[int, ...], dt: float
) -> tuple[dict[str, Node], Node | None]:
    """The nodes that stand for a neuron.

    Args:
        path: of the neuron in its network, for messages.
        neuron: any neuron.
        shape: of its layer, without the batch.
        dt: time step in seconds.

    Returns:
        The nodes from the one that receives the input to the one that sends the spikes, by name;
        and the node of the feedback from the latter to the former, if there is one.

    Raises:
        ValueError: NIR has no node for what the neuron does.
    """
    row = _ROWS.get(type(neuron))
    if row is None:
        raise refusal(type(neuron).__name__, path)
    for name in ("inhibition", "state_quant"):
        if getattr(neuron, name):
            raise ValueError(
                f"{type(neuron).__name__} {path!r}: {name} has no NIR node; it must act outside "
                "of the network, or "
                f"write neuron.{name} = False before the export"
            )
    p = {
        name: _spread(value, shape)
        for name, value in neuron.params(torch.float64)._asdict().items()
    }
    node = row(p, dt)
    node.shape, node.metadata = shape, recorded(neuron)
    nodes = {"lif": node}
    if (p["graded_spikes_factor"] != 1).any():
        nodes["scale"] = Node("Scale", {"scale": p["graded_spikes_factor"]}, shape=shape)
        node.metadata["graded"] = True
    return nodes, _feedback(path, neuron, p, shape) if isinstance(neuron, Recurrent) else None


def refusal(kind: str, path: str) -> ValueError:
    """The error for a class without NIR node.

    >>> refusal("Alpha", "1")
    ValueError("Alpha has no NIR node; its membrane is ... Synaptic (layer '1')")
    """
    why, instead = _NONE.get(kind, ("no NIR neuron has its equations", _OTHERS))
    return ValueError(f"{kind} has no NIR node; {why}; use {instead} (layer {path!r})")


def _spread(value: Any, shape: tuple[int, ...]) -> Array:
    numbers = np.asarray(plain(value))
    return np.ascontiguousarray(np.broadcast_to(numbers, shape))


def _leaky(p: Fields, dt: float) -> Node:
    beta, threshold = p["beta"].clip(0, 1), p["threshold"]
    reset = p.get("reset_to", np.zeros_like(threshold))
    if (beta == 1).all():
        return Node(
            "IF", {"r": np.full_like(beta, 1 / dt), "v_threshold": threshold, "v_reset": reset}
        )
    tau = tau_of(beta, dt)
    fires = {"v_leak": np.zeros_like(beta), "v_threshold": threshold, "v_reset": reset}
    return Node("LIF", {"tau": tau, "r": tau / dt, **fires})


def _if(p: Fields, dt: float) -> Node:
    return _leaky({**p, "beta": np.ones_like(p["threshold"])}, dt)


def _scaled_if(p: Fields, dt: float) -> Node:
    if p["current"].any():
        raise ValueError(
            "a ScaledIF with a current has no NIR node; add the current to the bias of the layer "
            "before it, as "
            "spikeloom.conversion.Converted.unit_spikes does"
        )
    # NIR starts at 0: everything is measured from where this neuron starts, and a reset goes below
    # that
    start = p["initial_mem"] * p["threshold"]
    return _leaky(
        {"beta": np.ones_like(start), "threshold": p["threshold"] - start, "reset_to": -start}, dt
    )


def _li(p: Fields, dt: float) -> Node:
    beta = p["beta"].clip(0, 1)
    if (beta == 1).all():
        return Node("I", {"r": np.full_like(beta, 1 / dt)})
    tau = tau_of(beta, dt)
    return Node("LI", {"tau": tau, "r": tau / dt, "v_leak": np.zeros_like(beta)})


def _lapicque(p: Fields, dt: float) -> Node:
    leak = p["time_step"] / (p["R"] * p["C"])
    zeros = np.zeros_like(leak)
    fires = {"v_leak": zeros, "v_threshold": p["threshold"], "v_reset": zeros}
    return Node("LIF", {"tau": dt / leak, "r": p["R"], **fires})


def _synaptic(p: Fields, dt: float) -> Node:
    tau_syn, tau_mem = tau_of(p["alpha"].clip(0, 1), dt), tau_of(p["beta"].clip(0, 1), dt)
    zeros = np.zeros_like(tau_mem)
    fires = {"v_leak": zeros, "v_threshold": p["threshold"], "v_reset": zeros}
    scales = {"r": tau_mem / dt, "w_in": tau_syn / dt}
    return Node("CubaLIF", {"tau_syn": tau_syn, "tau_mem": tau_mem, **scales, **fires})


def _threshold(p: Fields, dt: float) -> Node:
    return Node("Threshold", {"threshold": p["threshold"]})


def _feedback(path: str, neuron: Any, p: Fields, shape: tuple[int, ...]) -> Node:
    if neuron.all_to_all:
        module: nn.Module = neuron.recurrent
        return layer_node(f"{path}.recurrent", module, shape)
    if len(shape) == 1:  # as snnTorch writes it; it cannot read Scale
        return Node("Linear", {"weight": np.diag(p["V"]).astype(_dtype(neuron.V))}, shape=shape)
    return Node("Scale", {"scale": p["V"]}, shape=shape)


def _dtype(value: torch.Tensor) -> type:
    return (
        np.float64 if value.dtype == torch.float64 else np.float32
    )  # readers run weights as they find them


_ROWS: dict[type[Neuron], Callable[[Fields, float], Node]] = {
    Leaky: _leaky,
    IF: _if,
    ScaledIF: _scaled_if,
    LI: _li,
    Lapicque: _lapicque,
    Synaptic: _synaptic,
    RLeaky: _leaky,
    RSynaptic: _synaptic,
    Threshold: _threshold,
    SameStepLeaky: _leaky,
}

_OTHERS = "Leaky, IF, LI, Lapicque, Synaptic, RLeaky or RSynaptic"
_NONE = {
    "Alpha": (
        "its membrane is a difference of two filtered inputs, of which NIR neurons have one",
        "Synaptic",
    ),
    "SLSTM": ("its gates multiply signals, which no NIR neuron does", "RSynaptic"),
    "SConv2dLSTM": ("its gates multiply signals, which no NIR neuron does", "RSynaptic"),
    "AssociativeLeaky": ("its memory is a matrix, which no NIR neuron has", "Leaky"),
    "SignedIF": ("it takes spikes back, which no NIR neuron does", "ScaledIF"),
    "AdLIF": ("NIR has no adaptation", "Leaky or Synaptic"),
    "DeltaLeaky": ("it fires when its membrane changes, which no NIR neuron does", "Leaky"),
    "StateLeaky": (
        "it runs whole sequences from rest",
        "Leaky(beta=exp(beta - 1), reset_mechanism='none')",
    ),
    "LinearLeaky": ("it runs whole sequences from rest", "Linear and Leaky(beta=exp(beta - 1))"),
    "LeakyParallel": (
        "it is a recurrent layer of torch that runs whole sequences",
        "Linear and RLeaky",
    ),
}
