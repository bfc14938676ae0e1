"""The network of a graph: its nodes as modules, run in the order in which the graph lists them.

A loop is closed over time: the last edge of each cycle delivers what was sent one step before.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from ..core.neuron import Neuron
from ..core.stateful import Stateful
from ..layers.feedback import Memory
from .modules import Scale

__all__ = ["Network", "Step"]

MOST_ELEMENTS = 2**28  # of what a layer sends for one sample

Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class Step(NamedTuple):
    """One module to run.

    Args:
        name: of its node in the graph.
        path: of the module in the network.
        sources: the nodes whose outputs of this step it receives, summed.
        delayed: the nodes whose outputs of the previous step it receives.
    """

    name: str
    path: str
    sources: tuple[str, ...]
    delayed: tuple[str, ...] = ()


class Network(nn.Module):
    """What `from_nir` returns: layers and neurons with ``init_hidden=True``, one step per call.

    Run it over time with `spikeloom.run`. Layers in a loop of the graph that is not an `RLeaky` or
    `RSynaptic` run step by step, the others on all steps at once. ``snn.reset`` puts all of it to
    rest.

    Args:
        modules: one for each node, by path; a path may have dots.
        steps: in the order of execution.
        inputs: names of the input nodes.
        outputs: for each output the nodes whose sum it is.
        loop_bias: see `Convention`.

    >>> net = Network({"fc": nn.Identity()}, [Step("fc", "fc", ("in",))], ["in"], [("fc",)])
    >>> net(torch.ones(1, 2))
    tensor([[1., 1.]])
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        steps: list[Step],
        inputs: list[str],
        outputs: list[tuple[str, ...]],
        loop_bias: bool = True,
    ) -> None:
        super().__init__()
        for path, module in modules.items():
            _place(self, path, module)
        self.steps, self.inputs, self.outputs, self.loop_bias = (
            list(steps),
            list(inputs),
            list(outputs),
            loop_bias,
        )
        delayed = dict.fromkeys(name for step in steps for name in step.delayed)
        self.delayed = list(delayed)
        if delayed:
            self.loops = nn.ModuleList(Memory() for _ in delayed)
        self.shapes: dict[str, Shapes] = {}

    with_state: bool = (
        False  # whether forward returns (output, state), as the networks of snnTorch's import do
    )

    def forward(self, x: Any, state: Any = None) -> Any:
        """One time step.

        Args:
            x: input [B, ...]; a tuple of them where the graph has several.
            state: what a network with ``with_state`` returned before; its neurons remember theirs,
                so that it is empty.

        Returns:
            The output [B, ...]; a tuple of them where the graph has several. With ``with_state``:
            that, and an empty dictionary in the place of the state.

        Raises:
            TypeError: another number of inputs, or a state that is not empty.
        """
        if state:
            raise TypeError(
                "the neurons of an imported network remember their state, got another one; leave "
                "it out, and write "
                "snn.reset(net) to start from rest"
            )
        if self.delayed and isinstance(x, fx.Proxy):
            raise TypeError("a loop of the graph needs the spikes of the step before")
        given = x if isinstance(x, (tuple, list)) else (x,)
        if len(given) != len(self.inputs):
            names = ", ".join(self.inputs)
            raise TypeError(
                f"the graph has the inputs {names}, got {len(given)}; pass a tuple of "
                f"{len(self.inputs)}"
            )
        values = dict(zip(self.inputs, given, strict=True))
        for step in self.steps:
            received = [values[name] for name in step.sources]
            received += [
                v for name in step.delayed if (v := self._before(name, given[0])) is not None
            ]
            values[step.name] = self.get_submodule(step.path)(_sum(received))
        for index, name in enumerate(self.delayed):
            self.loops[index](values[name])
        results = tuple(_sum([values[name] for name in names]) for names in self.outputs)
        output = results[0] if len(results) == 1 else results
        return (output, {}) if self.with_state else output

    def _before(self, name: str, like: Tensor) -> Tensor | None:
        """What a node sent one step before; at the first step what it sends at rest, or nothing."""
        memory: Any = self.loops[self.delayed.index(name)]
        if memory.hidden.value.shape != (0,):
            return memory.hidden.value
        return self._at_rest(name, like) if self.loop_bias else None

    def _at_rest(self, name: str, like: Tensor) -> Tensor | None:
        step = next((step for step in self.steps if step.name == name), None)
        module = None if step is None else self.get_submodule(step.path)
        if step is None or module is None or any(isinstance(m, Stateful) for m in module.modules()):
            return None  # inputs, neurons and delays are silent
        values = [
            v for n in (*step.sources, *step.delayed) if (v := self._at_rest(n, like)) is not None
        ]
        return module(_sum(values) if values else like.new_zeros(1, *self.shapes[name][0]))

    def shapes_for(self, *samples: Tensor) -> dict[str, Shapes]:
        """Shapes of what each node receives and sends, without the batch; the state stays as it is.

        Args:
            *samples: one step of each input, [B, ...].

        Raises:
            ValueError: a node does not take what reaches it.
        """
        values, shapes = dict(zip(self.inputs, samples, strict=True)), {}
        for step in self.steps:
            x = _sum([values[name] for name in step.sources])
            try:
                _check_size(self.get_submodule(step.path), x)
                values[step.name] = _dry(self.get_submodule(step.path), x)
            except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
                raise ValueError(
                    f"node {step.name!r} does not take one sample of shape {tuple(x.shape[1:])}, "
                    "which reaches it from "
                    f"{', '.join(map(repr, step.sources))}: {error}"
                ) from error
            shapes[step.name] = (tuple(x.shape[1:]), tuple(values[step.name].shape[1:]))
        return shapes


def _sum(values: list[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _dry(module: nn.Module, x: Tensor) -> Tensor:
    """The output of a module without touching its state."""
    if isinstance(module, nn.Sequential):
        out = x
        for child in module:
            out = _dry(child, out)
    elif isinstance(module, Neuron):
        out = module.step(x)[0]
    else:
        out = x if isinstance(module, Stateful) else module(x)
    if out.shape != x.shape and isinstance(module, (nn.Sequential, Neuron, Scale)):
        raise ValueError(f"its parameters are for a layer of shape {tuple(out.shape[1:])}")
    return out


def _check_size(module: nn.Module, x: Tensor) -> None:
    """Refuse a layer whose output no machine holds, before it is computed.

    Raises:
        ValueError: its settings ask for more than 2^28 elements for one sample.
    """
    if isinstance(module, Scale):
        shape = torch.broadcast_shapes(x.shape, module.factor.shape)
    elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.AvgPool2d)):
        on_meta = {name: value.to("meta") for name, value in module.named_parameters()}
        shape = torch.func.functional_call(module, on_meta, (x.to("meta"),)).shape
    else:
        return
    if math.prod(shape) > MOST_ELEMENTS:
        raise ValueError(
            f"its output would have the shape {tuple(shape)}, more than {MOST_ELEMENTS} elements"
        )


def _place(net: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a dotted path, making the containers on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in net._modules:
            net.add_module(parent, nn.Module())
        net = net.get_submodule(parent)
    net.add_module(name, module)


def paths_of(names: list[str]) -> dict[str, str]:
    """A module path for each node: its name, unless a module cannot bear it.

    >>> paths_of(["0.lif", "forward", "0"])
    {'0.lif': '0_lif', 'forward': 'forward_', '0': '0'}
    """
    taken = set(names)
    paths: dict[str, str] = {}
    for name in names:
        path = name
        if any(
            prefix in taken for prefix in _prefixes(name)
        ):  # a module that has no room for others
            path = name.replace(".", "_")
        first = path.split(".")[0]
        if not all(path.split(".")) or hasattr(nn.Module(), first) or first in _OWN:
            path = f"{path.replace('.', '_')}_"
        while path in paths.values():
            path += "_"
        paths[name] = path
    return paths


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


_OWN = ("steps", "inputs", "outputs", "loops", "delayed", "shapes", "loop_bias", "shapes_for")
