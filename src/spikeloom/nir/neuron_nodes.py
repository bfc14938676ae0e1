"""From a neuron to its NIR node: what its class declares, or what was registered for the class.

A class declares ``nir_node(p, dt)``, or in ``no_nir_node`` why there is none. A subclass has the
node of its base unless it changes what the neuron computes.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..core.neuron import REGISTRY, Neuron
from ..core.numbers import callable_
from ..neurons.recurrent import Recurrent
from .layer_nodes import layer_node
from .node import FIELDS, Node
from .record import plain, recorded

__all__ = ["Row", "class_of", "neuron_nodes", "refusal", "register", "row_of"]

Array = np.ndarray
Write = Callable[[Mapping[str, Any], float], tuple[str, dict[str, Any]]]
Read = Callable[[Mapping[str, Any], float], dict[str, Any]]

# what a subclass must leave as it is to share the node of its base
_DYNAMICS = ("integrate", "charge", "trigger", "retract", "settle", "initial", "params", "State")
_DYNAMICS += ("step", "scan", "equations", "state_shape")


class Row(NamedTuple):
    """How a class of neurons is written and read.

    Attributes:
        owner: the class for which this was declared or registered.
        write: see `register`.
        read: see `register`.
    """

    owner: type[Neuron]
    write: Write
    read: Read | None = None


_registered: dict[type[Neuron], Row] = {}


def register(cls: type[Neuron], *, write: Write, read: Read | None = None) -> None:
    """Set the NIR node of a class of neurons, in place of what the class declares.

    A class of one's own may as well define ``nir_node`` itself, a static method like ``write``.

    Args:
        cls: the class. Its subclasses share the node as long as they keep its equations.
        write: ``write(p, dt)`` with the parameters ``p``, float64 arrays in the shape of the layer
            by name, and the time step in seconds. Returns the NIR type and its fields.
        read: ``read(fields, dt)`` with float64 arrays by name. Returns constructor arguments, for
            graphs whose numbers were edited after `to_nir` wrote them, or whose record holds none.
            Default: such a node becomes the built-in neuron that computes the same.

    Raises:
        TypeError: ``cls`` is no class of neurons, or a function cannot be called.

    >>> class Mine(snn.Neuron):
    ...     State = snn.IF.State
    ...     integrate = staticmethod(snn.IF.integrate)
    >>> register(Mine, write=lambda p, dt: ("IF", {"r": 0 * p["threshold"] + 1 / dt,
    ...                                            "v_threshold": p["threshold"]}))
    >>> neuron_nodes("lif", Mine(threshold=2.0), (1,), 1e-3)[0]["lif"].fields
    {'r': array([1000.]), 'v_threshold': array([2.])}
    """
    if not (inspect.isclass(cls) and issubclass(cls, Neuron)):
        raise TypeError(
            f"register needs a class of neurons, got {cls!r}; write register(Mine, ...)"
        )
    callable_("write", write, "lambda p, dt: ('LIF', {...})")
    if read is not None:
        callable_("read", read, "lambda fields, dt: {...}")
    _registered[cls] = Row(cls, write, read)


def row_of(cls: type[Neuron]) -> Row | None:
    """The row of a class: its own, or that of the nearest base that has one."""
    for base in cls.__mro__:
        if base in _registered:
            return _registered[base]
        if "nir_node" in vars(base):
            return None if base.nir_node is None else Row(base, base.nir_node)
    return None


def class_of(name: Any) -> type[Neuron] | None:
    """The class of neurons that a record names, if it has a NIR node.

    >>> class_of("Leaky"), class_of("Alpha")
    (<class 'spikeloom.neurons.leaky.Leaky'>, None)
    """
    cls = REGISTRY.get(str(name))
    return None if cls is None or _obstacle(cls) else cls


def _obstacle(cls: type[Neuron], overridden: tuple[str, ...] = ()) -> str:
    """Why a class has no NIR node, and what to use instead; empty if it has one.

    Args:
        cls: a class of neurons.
        overridden: methods that were assigned to one neuron.
    """
    row = row_of(cls)
    if row is None:
        return cls.no_nir_node
    base = row.owner
    look = inspect.getattr_static
    changed = [n for n in _DYNAMICS if look(cls, n, None) is not look(base, n, None)]
    if any(reset != base.resets.get(name) for name, reset in cls.resets.items()):
        changed.append("resets")
    names = ", ".join(dict.fromkeys((*changed, *cls.overridden, *overridden)))
    return names and (
        f"it changes {names} of {base.__name__}, whose node would say something else; use "
        f"{base.__name__}, or spikeloom.nir.register({cls.__name__}, write=...)"
    )


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
    obstacle = _obstacle(type(neuron), neuron.overridden)
    row = row_of(type(neuron))
    if obstacle or row is None:
        raise refusal(type(neuron), path, obstacle)
    if neuron.noise is not None:
        raise ValueError(
            f"{type(neuron).__name__} {path!r}: noise has no NIR node; write snn.noisy(net) before "
            "the export, which takes it away"
        )
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
    node = _written(row, p, dt)
    node.shape = shape
    node.metadata = recorded(neuron)
    nodes = {"lif": node}
    if (p["graded_spikes_factor"] != 1).any():
        nodes["scale"] = Node("Scale", {"scale": p["graded_spikes_factor"]}, shape=shape)
        node.metadata["graded"] = True
    return nodes, _feedback(path, neuron, p, shape) if isinstance(neuron, Recurrent) else None


def _written(row: Row, p: Mapping[str, Any], dt: float) -> Node:
    made = row.write(p, dt)
    known = isinstance(made, tuple) and len(made) == 2 and made[0] in FIELDS
    if not known or not isinstance(made[1], dict):
        raise ValueError(
            f"the NIR node of {row.owner.__name__} must be a type of NIR and its fields, such as "
            f'("LIF", {{"tau": ..., ...}}), got {made!r}'
        )
    return Node(*made)


def refusal(cls: type[Neuron], path: str, why: str = "") -> ValueError:
    """The error for a neuron without NIR node.

    >>> refusal(snn.Alpha, "1")
    ValueError("Alpha has no NIR node; its membrane is ... Synaptic (layer '1')")
    """
    return ValueError(f"{cls.__name__} has no NIR node; {why or _obstacle(cls)} (layer {path!r})")


def _spread(value: Any, shape: tuple[int, ...]) -> Array:
    numbers = np.asarray(plain(value))
    return np.ascontiguousarray(np.broadcast_to(numbers, shape))


def _feedback(path: str, neuron: Any, p: Mapping[str, Any], shape: tuple[int, ...]) -> Node:
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
