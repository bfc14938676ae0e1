"""One network in every library: leaky neurons between stateless stages, weights and inputs the
same.

A network is a list of stages, each an ordinary module, with a leaky neuron after each of them.
Every library runs it as its own tutorials do. The neuron has snnTorch's semantics where a library
offers them: subtract reset, threshold 1. Norse's neuron has a synaptic current and resets to zero,
Sinabs normalises its input: the same class of cost, other numbers; both end in a leaky integrator
that does not spike. A library that is not installed raises ImportError.
"""

import copy
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from common import PEERS
from torch import Tensor, nn

import spikeloom as snn

__all__ = [
    "COMPILED",
    "LAYERS",
    "NETWORKS",
    "Layer",
    "Run",
    "Stages",
    "conv",
    "installed",
    "mlp",
    "spikingjelly_neuron",
]

Layer = Callable[[Tensor], Tensor]
Run = Callable[
    [Tensor, "int | None"], tuple[Tensor, Tensor]
]  # (x, T of a static x) -> spikes and membranes over time


class Stages(NamedTuple):
    """A network: its stateless stages, a neuron after each."""

    stages: list[nn.Module]
    beta: float
    slope: float | None = None  # of the fast sigmoid; None: the arc tangent

    def parts(self) -> list[nn.Module]:
        return copy.deepcopy(self.stages)


def mlp(hidden: tuple[int, ...] = (1000,), seed: int = 0) -> Stages:
    """784, hidden layers, 10: tutorial 5 with one of 1000."""
    torch.manual_seed(seed)
    sizes = [784, *hidden, 10]
    linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return Stages([nn.Sequential(nn.Flatten(), linear[0]), *linear[1:]], 0.95)


def conv(seed: int = 0) -> Stages:
    """12C5-MP2-64C5-MP2-FC10 of tutorial 6."""
    torch.manual_seed(seed)
    first = nn.Sequential(nn.Conv2d(1, 12, 5), nn.MaxPool2d(2))
    second = nn.Sequential(nn.Conv2d(12, 64, 5), nn.MaxPool2d(2))
    return Stages(
        [first, second, nn.Sequential(nn.Flatten(), nn.Linear(64 * 4 * 4, 10))], 0.5, 25.0
    )


def installed(wanted: tuple[str, ...] = PEERS) -> list[str]:
    """Those peers that can be imported; says which cannot."""
    found = []
    for name in wanted:
        try:
            LAYERS[name]() if name in LAYERS else import_module(name)
            found.append(name)
        except ImportError as error:
            print(f"without {name}: {error}")
    return found


# -- one neuron layer over a sequence --------------------------------------------------------------


def _snntorch_layer(compiled: bool = False) -> Layer:
    from snntorch import Leaky

    lif = Leaky(0.9)
    step = torch.compile(lif, dynamic=False) if compiled else lif

    def run(x: Tensor) -> Tensor:
        mem, spikes = lif.init_leaky(), []
        for x_t in x.unbind(0):
            spk, mem = step(x_t, mem)
            spikes.append(spk)
        return torch.stack(spikes)

    return run


def spikingjelly_neuron(beta: float, curve: Any, **more: Any) -> Any:
    from spikingjelly.activation_based import neuron

    options = {
        "decay_input": False,
        "v_threshold": 1.0,
        "v_reset": None,
        "detach_reset": True,
        "step_mode": "m",
    }
    return neuron.LIFNode(tau=1 / (1 - beta), surrogate_function=curve, **options, **more)


def _spikingjelly_layer() -> Layer:
    from spikingjelly.activation_based import surrogate

    lif = spikingjelly_neuron(0.9, surrogate.ATan())

    def run(x: Tensor) -> Tensor:
        lif.reset()
        return lif(x)

    return run


def _norse_layer() -> Layer:
    from norse.torch import LIF

    lif = LIF()
    return lambda x: lif(x)[0]


def _sinabs_layer() -> Layer:
    from sinabs.layers import LIF

    lif = LIF(tau_mem=10.0)

    def run(x: Tensor) -> Tensor:
        lif.reset_states()
        return lif(x.transpose(0, 1)).transpose(0, 1)  # Sinabs puts the batch first

    return run


COMPILED = "snntorch, step compiled"
LAYERS: dict[str, Callable[[], Layer]] = {
    "snntorch": _snntorch_layer,
    COMPILED: lambda: _snntorch_layer(compiled=True),
    "spikingjelly": _spikingjelly_layer,
    "norse": _norse_layer,
    "sinabs": _sinabs_layer,
}


# -- networks --------------------------------------------------------------------------------------


def _ours(net: Stages, **options: Any) -> tuple[nn.Module, Run]:
    curve = snn.surrogate.atan() if net.slope is None else snn.surrogate.fast_sigmoid(net.slope)
    layers: list[nn.Module] = []
    for part in net.parts():
        layers += [*(part if isinstance(part, nn.Sequential) else [part])]
        layers.append(snn.Leaky(net.beta, spike_grad=curve, init_hidden=True))
    layers[-1] = snn.Leaky(net.beta, spike_grad=curve, init_hidden=True, output=True)
    module = nn.Sequential(*layers)
    return module, lambda x, num_steps: snn.run(module, x, num_steps, **options)


def _snntorch(net: Stages, hoisted: bool = False, compiled: bool = False) -> tuple[nn.Module, Run]:
    import snntorch
    from snntorch import surrogate

    curve = surrogate.atan() if net.slope is None else surrogate.fast_sigmoid(net.slope)
    stages = nn.ModuleList(net.parts())
    neurons = nn.ModuleList(snntorch.Leaky(net.beta, spike_grad=curve) for _ in stages)

    def one_step(x: Tensor, mems: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        after = []
        for i, (stage, neuron, mem) in enumerate(zip(stages, neurons, mems, strict=True)):
            x, mem = neuron(x if hoisted and i == 0 else stage(x), mem)
            after.append(mem)
        return x, after

    step = torch.compile(one_step, dynamic=False) if compiled else one_step

    def run(x: Tensor, num_steps: int | None) -> tuple[Tensor, Tensor]:
        steps = _first_stage(stages[0], x, num_steps) if hoisted else _steps(x, num_steps)
        mems = [neuron.init_leaky() for neuron in neurons]
        spikes, membranes = [], []
        for x_t in steps:
            spk, mems = step(x_t, mems)
            spikes.append(spk)
            membranes.append(mems[-1])
        return torch.stack(spikes), torch.stack(membranes)

    return nn.ModuleList([stages, neurons]), run


def _steps(x: Tensor, num_steps: int | None) -> "tuple[Tensor, ...] | list[Tensor]":
    return x.unbind(0) if num_steps is None else [x] * num_steps


def _first_stage(
    stage: nn.Module, x: Tensor, num_steps: int | None
) -> "tuple[Tensor, ...] | list[Tensor]":
    """What the first stage makes of each step, computed in one call before the loop."""
    if num_steps is None:
        return stage(x.flatten(0, 1)).unflatten(0, x.shape[:2]).unbind(0)
    return [stage(x)] * num_steps


def _over_time(x: Tensor, num_steps: int | None) -> Tensor:
    return x if num_steps is None else x.unsqueeze(0).repeat(num_steps, *[1] * x.dim())


def _spikingjelly(
    net: Stages, hoisted: bool = False, compiled: bool = False
) -> tuple[nn.Module, Run]:
    from spikingjelly.activation_based import functional, layer, surrogate

    layers: list[nn.Module] = []
    for part in net.parts():
        curve = surrogate.ATan() if net.slope is None else surrogate.SoftSign(net.slope)
        layers += [layer.SeqToANNContainer(part), spikingjelly_neuron(net.beta, curve)]
    layers[-1] = spikingjelly_neuron(net.beta, curve, store_v_seq=True)
    module = nn.Sequential(*layers)
    rest = nn.Sequential(*layers[1:])
    forward = rest if hoisted else module
    call = torch.compile(forward, dynamic=False) if compiled else forward

    def run(x: Tensor, num_steps: int | None) -> tuple[Tensor, Tensor]:
        functional.reset_net(module)
        if hoisted and num_steps is not None:
            return call(_over_time(layers[0][0](x), num_steps)), layers[-1].v_seq
        over_time = _over_time(x, num_steps)
        return call(layers[0](over_time) if hoisted else over_time), layers[-1].v_seq

    return module, run


def _norse(net: Stages) -> tuple[nn.Module, Run]:
    import norse.torch as norse

    layers: list[nn.Module] = []
    for part in net.parts():
        layers += [part, norse.LIFCell()]
    layers[-1] = norse.LICell()
    module = norse.SequentialState(*layers)

    def run(x: Tensor, num_steps: int | None) -> tuple[Tensor, Tensor]:
        state, membranes = None, []
        for x_t in _steps(x, num_steps):
            membrane, state = module(x_t, state)
            membranes.append(membrane)
        return (torch.stack(membranes),) * 2

    return module, run


def _sinabs(net: Stages) -> tuple[nn.Module, Run]:
    import sinabs
    from sinabs import layers as sl

    tau = -1 / torch.tensor(net.beta).log().item()
    layers: list[nn.Module] = []
    for part in net.parts():
        layers += [part, sl.LIF(tau_mem=tau)]
    layers[-1] = sl.ExpLeak(tau_mem=tau)
    module = nn.ModuleList(layers)

    def run(x: Tensor, num_steps: int | None) -> tuple[Tensor, Tensor]:
        sinabs.reset_states(module)
        value = _over_time(x, num_steps).transpose(0, 1)  # Sinabs puts the batch first
        for layer in layers:
            folds = not isinstance(layer, (sl.LIF, sl.ExpLeak))
            value = (
                layer(value.flatten(0, 1)).unflatten(0, value.shape[:2]) if folds else layer(value)
            )
        return (value.transpose(0, 1),) * 2

    return module, run


NETWORKS: dict[str, Callable[..., tuple[nn.Module, Run]]] = {
    "ours": _ours,
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
    "norse": _norse,
    "sinabs": _sinabs,
}
