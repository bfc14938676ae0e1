"""Which layer feeds which, and with what shapes: a network as parts and the parts that they listen
to.

One step of the network is traced and interpreted once on a sample. Neurons run through their pure
`step`, so that the state of the network stays as it is. What has no place in a NIR graph is refused
here by name.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import dropout

from ..core import checks
from ..core.neuron import Neuron
from ..core.stateful import Stateful
from ..layers.feedback import Feedback
from .computed_weights import plain_layers
from .delayed_weights import plain_delays
from .layer_nodes import layer_node
from .network import Network, Step
from .neuron_nodes import refusal
from .trace import NoGraph, graph_of

__all__ = ["INPUT", "Part", "Wiring", "step_of_input", "wiring_of"]

INPUT = ""


class Part(NamedTuple):
    """One layer or operation.

    Args:
        what: a module; a number or tensor to multiply with; or None for flattening all axes of a
            sample.
        sources: names of the parts whose outputs it receives, summed, or of inputs of the network
            as `Wiring` names them.
        shape_in: of what it receives, without the batch.
        shape_out: of what it sends.
    """

    what: Any
    sources: tuple[str, ...]
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]


class Wiring(NamedTuple):
    """A network as parts by name, in the order of execution, and what it returns.

    Args:
        parts: see `Part`.
        outputs: the parts whose sum is an output.
        inputs: shapes of the inputs; ``""`` is the only one, several are ``":name"``.
        dtype: of the inputs.
    """

    parts: dict[str, Part]
    outputs: list[tuple[str, ...]]
    inputs: dict[str, tuple[int, ...]]
    dtype: torch.dtype

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape that a part or an input sends."""
        return self.inputs[name] if name in self.inputs else self.parts[name].shape_out


class _Wire(NamedTuple):
    """A value that NIR can carry: what it is on the sample, and the parts whose sum it is."""

    value: Tensor
    sources: tuple[str, ...]


class _Membrane(NamedTuple):
    """A state that a neuron returned; NIR carries outputs only."""

    path: str


def wiring_of(
    net: nn.Module,
    sample: Tensor | tuple[Tensor, ...],
    args: tuple[Any, ...] = (),
    accepts: Callable[[nn.Module], bool] | None = None,
) -> Wiring:
    """The wiring of a network.

    Args:
        net: takes one step, [B, ...], per call; its neurons are called with their input only.
        sample: one step of input, [B, ...], or a tuple of them; only shapes and dtype matter.
        args: further arguments of ``forward``, constants.
        accepts: whether a layer without memory is carried; default: those that have a NIR node.

    Raises:
        ValueError: the network cannot be traced, or does something that NIR has no word for.
    """
    samples = sample if isinstance(sample, tuple) else (sample,)
    if isinstance(net, Network):
        return _of_network(net, samples)
    net = plain_delays(plain_layers(net))
    net = nn.Sequential(net) if _is_layer(net) else net
    try:
        graph = graph_of(net)
    except NoGraph as obstacle:
        raise ValueError(
            f"the network cannot be written as a graph: {obstacle}; its forward must take one "
            "time step, call each "
            "neuron once with its input only (init_hidden=True), and consist of layers, sums and "
            "flattening"
        ) from obstacle
    with torch.no_grad():
        return _Interpreter(net, graph, samples, args, accepts).run()


def _is_layer(net: nn.Module) -> bool:
    """Whether a module is one layer or neuron, which is a part itself."""
    home = type(net).__module__
    of_torch = home.startswith("torch.nn") and not isinstance(net, nn.Sequential)
    return of_torch or home.startswith("spikeloom.layers.") or isinstance(net, Stateful)


def step_of_input(sample: Any) -> None:
    """Check one step of input, or a tuple of them.

    Raises:
        TypeError: it is no tensor of floating-point numbers.
        ValueError: it has no batch axis, or the dtypes differ.
    """
    samples: tuple[Any, ...] = sample if isinstance(sample, tuple) and sample else (sample,)
    for each in samples:
        checks.floating(each, "the sample")
        if each.dim() < 2:
            raise ValueError(
                f"the sample is one step of input [B, ...], got {tuple(each.shape)}; write "
                "sample[None]"
            )
    dtypes = list(dict.fromkeys(str(each.dtype) for each in samples))
    if len(dtypes) > 1:
        raise ValueError(f"the samples must have one dtype, got {' and '.join(dtypes)}")


class _Interpreter:
    def __init__(
        self,
        net: nn.Module,
        graph: fx.Graph,
        samples: tuple[Tensor, ...],
        args: tuple[Any, ...],
        accepts: Callable[[nn.Module], bool] | None,
    ) -> None:
        self.net, self.graph, self.samples = net, graph, samples
        self.accepts = accepts
        self.given = [*samples, *args]
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.parts: dict[str, Part] = {}

    def run(self) -> Wiring:
        env: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            args, kwargs = fx.map_arg((node.args, node.kwargs), env.__getitem__)
            if node.op == "placeholder":
                env[node] = self._argument(node, args)
            elif node.op == "get_attr":
                env[node] = operator.attrgetter(str(node.target))(self.net)
            elif node.op == "output":
                outputs = [wire.sources for wire in _outputs(args[0])]
                if len(self.inputs) < len(self.samples):
                    raise ValueError(
                        f"forward takes {len(self.inputs)} inputs, got samples for "
                        f"{len(self.samples)}; pass one sample for each"
                    )
                return Wiring(self.parts, outputs, self.inputs, self.samples[0].dtype)
            elif node.op == "call_module":
                env[node] = self._module(str(node.target), args, kwargs)
            else:
                env[node] = self._function(node, args, kwargs)
        raise ValueError("forward returns nothing; return the spikes of the last layer")

    def _argument(self, node: fx.Node, default: tuple[Any, ...]) -> Any:
        if len(self.inputs) < len(self.samples):
            sample = self.given.pop(0)
            name = INPUT if len(self.samples) == 1 else f":{node.name}"
            self.inputs[name] = tuple(sample.shape[1:])
            return _Wire(sample, (name,))
        if self.given:
            return self.given.pop(0)
        if default:
            return default[0]
        raise ValueError(
            f"forward takes {node.name!r} besides its input; pass it, or give it a default value"
        )

    def _add(self, name: str, what: Any, wire: _Wire, value: Tensor) -> _Wire:
        fresh, n = name, 1
        while fresh in self.parts:  # a layer without memory that is called again
            fresh, n = f"{name}_{n}", n + 1
        self.parts[fresh] = Part(
            what, wire.sources, tuple(wire.value.shape[1:]), tuple(value.shape[1:])
        )
        return _Wire(value, (fresh,))

    def _module(self, path: str, args: Any, kwargs: Any) -> Any:
        module = self.net.get_submodule(path)
        values = [*args, *kwargs.values()]
        if len(values) != 1 or not isinstance(values[0], _Wire):
            raise _lost(f"{type(module).__name__} {path!r}", values)
        wire = values[0]
        if isinstance(
            module, (nn.Identity, dropout._DropoutNd)
        ):  # dropout does nothing after training
            return wire
        if isinstance(module, Feedback):
            return self._loop(path, module, wire)
        if not isinstance(module, Neuron):
            if self.accepts is None:  # refuses what NIR lacks before it is run
                layer_node(path, module, tuple(wire.value.shape[1:]))
            elif not self.accepts(module):
                raise ValueError(
                    f"layer {path!r} ({type(module).__name__}) cannot be written; write it with "
                    "linear layers, convolutions, pooling and neurons"
                )
            return self._add(path, module, wire, _called(path, module, wire.value))
        if "step" not in module.modes:
            raise refusal(type(module), path)
        spk, state = module.step(wire.value)
        out = self._add(path, module, wire, spk)
        if module.init_hidden and not module.output:
            return out
        spiking = getattr(module, "spiking", True)
        states = [_Membrane(path) if spiking and name != "spk" else out for name in state._fields]
        return tuple(states) if "spk" in state._fields else (out, *states)

    def _loop(self, path: str, module: Feedback, wire: _Wire) -> Any:
        """Enter the connection before the neuron, whose spikes it reads one step later."""
        neuron = f"{path}.neuron"
        before = torch.zeros_like(module.neuron.step(wire.value)[0])
        inner = wiring_of(module.connection, before, accepts=self.accepts)
        sent = inner.shape_of(inner.outputs[0][0])
        if sent != wire.value.shape[1:]:
            raise ValueError(
                f"Feedback {path!r}: its connection sends {sent} to a neuron that receives "
                f"{tuple(wire.value.shape[1:])}; both must be equal"
            )
        if self.accepts is None and any(isinstance(p.what, Neuron) for p in inner.parts.values()):
            raise ValueError(
                f"Feedback {path!r} has neurons in its connection, which NIR would start one step "
                "later; write the loop with one neuron"
            )
        names = {name: f"{path}.connection.{name}" for name in inner.parts}
        if _is_layer(module.connection):
            names = dict.fromkeys(names, f"{path}.connection")
        names[INPUT] = neuron
        for name, part in inner.parts.items():
            sources = tuple(names[source] for source in part.sources)
            self.parts[names[name]] = part._replace(sources=sources)
        returning = tuple(names[source] for source in inner.outputs[0])
        both = _Wire(wire.value, (*wire.sources, *returning))
        return self._module(neuron, (both,), {})

    def _function(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        wires = [v for v in (*args, *kwargs.values()) if isinstance(v, (_Wire, _Membrane))]
        name = str(
            node.target
            if isinstance(node.target, str)
            else getattr(node.target, "__name__", node.target)
        )
        joins = any(isinstance(v, _Wire) for a in args if isinstance(a, (tuple, list)) for v in a)
        if joins and node.target is not operator.getitem:  # `spk, mem = neuron(x)` reads a tuple
            raise _unknown(name)
        call = getattr(torch.Tensor, name) if node.op == "call_method" else node.target
        if not wires:
            return call(*args, **kwargs)  # pyright: ignore[reportCallIssue] (functions and methods only)
        if any(isinstance(w, _Membrane) for w in wires):
            raise _lost(name, wires)
        bare = [v.value if isinstance(v, _Wire) else v for v in args]
        named = {k: v.value if isinstance(v, _Wire) else v for k, v in kwargs.items()}
        value = call(*bare, **named)  # pyright: ignore[reportCallIssue]
        if not isinstance(value, Tensor):
            return value  # a size, which forward needs to reshape
        return self._tensor(str(node.name), name, wires, (*args, *kwargs.values()), value)

    def _tensor(
        self, node: str, name: str, wires: list[Any], args: tuple[Any, ...], value: Tensor
    ) -> _Wire:
        first = wires[0]
        if name in ("add", "iadd") and len(wires) == len(args) == 2:
            if {w.value.shape for w in wires} != {value.shape}:
                raise ValueError(
                    f"{node!r} adds shapes {[tuple(w.value.shape) for w in wires]}; NIR adds "
                    "equal ones"
                )
            return _Wire(value, (*first.sources, *wires[1].sources))
        if name in ("mul", "imul") and len(wires) == 1 and value.shape == first.value.shape:
            factor = next(a for a in args if a is not first)
            return self._add(node, factor, first, value)
        if name in ("contiguous", "detach", "clone"):
            return _Wire(value, first.sources)
        flat = (len(first.value), first.value[0].numel()) if first.value.dim() else ()
        if name in ("flatten", "view", "reshape") and tuple(value.shape) == flat:
            return (
                first if value.shape == first.value.shape else self._add(node, None, first, value)
            )
        raise _unknown(name)


def _unknown(name: str) -> ValueError:
    return ValueError(
        f"forward calls {name!r}, which has no NIR node; NIR has sums, products with constants, "
        "flattening, and the layers nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool2d, nn.Flatten and "
        "neurons"
    )


def _called(path: str, module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, Stateful):
        return x
    try:
        return module(x)
    except RuntimeError as error:
        raise ValueError(
            f"{type(module).__name__} {path!r} does not take the sample, which reaches it as "
            f"{tuple(x.shape)}; "
            f"the sample is one step of input, [B, ...]: {error}"
        ) from error


def _lost(where: str, values: list[Any]) -> ValueError:
    for value in values:
        if isinstance(value, _Membrane):
            return ValueError(
                f"{where} reads the state of neuron {value.path!r}; NIR neurons send spikes only: "
                "read the spikes, or "
                "use snn.LI, whose output is its membrane"
            )
    return ValueError(
        f"{where} must be called with one tensor that depends on the input, got {len(values)} "
        "arguments"
    )


def _outputs(value: Any) -> list[_Wire]:
    """What forward returns, without the states that neurons return beside their spikes."""
    if isinstance(value, _Wire):
        return [value]
    if isinstance(value, (tuple, list)) and not isinstance(value, _Membrane):
        found = [
            wire for each in value if not isinstance(each, _Membrane) for wire in _outputs(each)
        ]
        if found:
            return list({wire.sources: wire for wire in found}.values())
    raise _lost(
        "the output", [value] if isinstance(value, _Membrane) else list(value) if value else []
    )


def _of_network(net: Network, samples: tuple[Tensor, ...]) -> Wiring:
    """The wiring of a network that came from a graph: it knows its own, loops included."""
    if len(net.inputs) != len(samples):
        raise ValueError(
            f"the network has the inputs {', '.join(net.inputs)}, got samples for {len(samples)}; "
            f"pass a tuple of {len(net.inputs)}"
        )
    with torch.no_grad():
        shapes = net.shapes_for(*samples)
    chains = {step.name: _chain(net, step) for step in net.steps}
    ends = {name: next(reversed(chain)) for name, chain in chains.items()}
    names = [INPUT] if len(samples) == 1 else [f":{name}" for name in net.inputs]
    ends |= dict(zip(net.inputs, names, strict=True))
    parts: dict[str, Part] = {}
    for step in net.steps:
        sources = tuple(ends[source] for source in (*step.sources, *step.delayed))
        for name, module in chains[step.name].items():
            parts[name] = Part(module, sources, *shapes[step.name])
            sources = (name,)
    outputs = [tuple(ends[source] for source in sources) for sources in net.outputs]
    sizes = [tuple(sample.shape[1:]) for sample in samples]
    return Wiring(parts, outputs, dict(zip(names, sizes, strict=True)), samples[0].dtype)


def _chain(net: Network, step: Step) -> dict[str, nn.Module]:
    """The modules of a node by name, the last of which sends its output."""
    module = net.get_submodule(step.path)
    if not isinstance(module, nn.Sequential):
        return {step.name: module}
    return {f"{step.name}.{child}": each for child, each in module.named_children()}
