"""What other libraries compute when they read a NIR graph, and graphs written for them.

A reader has rules of its own for what NIR leaves open, and some fields it ignores. `fitted` writes
a neuron so that the reader computes what the network computes; `check` lists what it cannot run.
The rules are those of snnTorch 1.0.0, Norse 1.1.0, Sinabs 3.1.3, SpikingJelly 2.0.0 and Rockpool
3.1.0, found in their sources and confirmed by `campaigns/nir_targets.py`, which runs them; and of
the reader for Lava-DL in the repository of NIR (``paper/nir_to_lava.py``), which is not run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import checks
from .node import Node
from .reading import Flat, read

__all__ = ["SPIKELOOM", "SPIKING", "TARGETS", "Target", "carried", "check", "fitted", "time_step"]

SPIKELOOM = "spikeloom"
SPIKING = ("IF", "LIF", "CubaLIF")
NEVER = 1e13  # steps after which a membrane without leak has decayed; 1 - 1 / NEVER is 1 in float64
UNITY = 1e-6


@dataclass(frozen=True)
class Target:
    """How a library reads NIR.

    Args:
        name: of the library.
        dt: its time step in seconds.
        any_dt: whether its reader takes another time step as an argument.
        kinds: types of nodes that it reads.
        reset: what a spike does to the membrane, in the step of the spike.
        gain: ``"unit"`` if a neuron must add its input as it is, ``"leak"`` if a LIF must multiply
            it by ``dt / tau``, as r = 1 says; ``"dt"`` if it takes its time step from r and adds
            its input as it is.
        exponential: whether decays are ``exp(-dt / tau)``, not ``1 - dt / tau``.
        uniform: fields that must be equal for all neurons of a layer.
        leaks_to: types of neurons whose ``v_leak`` is read.
        at_threshold: whether a membrane equal to the threshold fires.
        loops: whether it runs loops; a bias in one acts too late.
        branches: whether it runs graphs in which a node receives the sum of several.
        grid: unit of the numbers that it adds exactly; 0 for floating point.
    """

    name: str
    dt: float
    any_dt: bool
    kinds: tuple[str, ...]
    reset: str = "zero"
    gain: str = "unit"
    exponential: bool = False
    uniform: tuple[str, ...] = ()
    leaks_to: tuple[str, ...] = ()
    at_threshold: bool = False
    loops: bool = True
    branches: bool = True
    grid: float = 0.0


_COMMON = ("Input", "Output", "Affine", "Conv2d", "Flatten", "SumPool2d", "LIF")

TARGETS = {
    "snntorch": Target(
        "snnTorch",
        1e-4,
        False,
        (*_COMMON, "Linear", "Conv1d", "AvgPool2d", "CubaLIF"),
        uniform=("v_threshold",),
    ),
    "norse": Target(
        "Norse",
        1e-3,
        True,
        (*_COMMON, "Linear", "IF", "CubaLIF"),
        gain="leak",
        leaks_to=("LIF",),
        branches=False,
    ),
    "sinabs": Target(
        "Sinabs",
        1.0,
        False,
        _COMMON,
        reset="subtract",
        exponential=True,
        at_threshold=True,
        loops=False,
        branches=False,
    ),
    "spikingjelly": Target(
        "SpikingJelly",
        1e-4,
        True,
        (*_COMMON, "Linear", "Conv1d", "AvgPool2d", "IF", "CubaLIF"),
        uniform=("tau", "tau_syn", "tau_mem", "r", "w_in", "v_threshold"),
        at_threshold=True,
    ),
    "rockpool": Target(
        "Rockpool",
        1e-3,
        True,
        ("Input", "Output", "Affine", "Linear", "CubaLIF"),
        reset="subtract",
        gain="dt",
        exponential=True,
        at_threshold=True,
        branches=False,
    ),
    "lava": Target(
        "Lava-DL",
        1.0,
        False,
        ("Input", "Output", "Affine", "Conv2d", "Flatten", "SumPool2d", "IF"),
        uniform=("v_threshold",),
        loops=False,
        branches=False,
        grid=2.0**-11,
    ),
}


def time_step(target: str | None, dt: float | None) -> float:
    """The time step of a graph: the one that was passed, or that of the target.

    Raises:
        ValueError: the target is unknown, or it has another time step that cannot be changed.

    >>> time_step("norse", None), time_step(None, None)
    (0.001, 0.0001)
    """
    known = None if target in (None, SPIKELOOM) else _target(target)
    if known is None:
        return 1e-4 if dt is None else dt
    if dt is not None and not known.any_dt and dt != known.dt:
        raise ValueError(
            f"{known.name} reads NIR with dt={known.dt:g}, which cannot be changed, got dt={dt:g}; "
            "leave dt out"
        )
    return known.dt if dt is None else dt


def _target(name: Any) -> Target:
    return TARGETS[checks.choice("target", name, TARGETS)]


# -- writing ---------------------------------------------------------------------------------------


def fitted(node: Node, name: str | None, dt: float) -> Node:
    """A node, in place, as a target has to find it; other nodes stay as they are.

    Args:
        node: any; the nodes of a subgraph are fitted too.
        name: of the target; None and ``"spikeloom"`` change nothing.
        dt: time step in the unit of the time constants.

    >>> ones = np.ones(1)
    >>> lif = Node("LIF", {"tau": ones, "r": 10 * ones, "v_leak": 0 * ones, "v_threshold": ones})
    >>> fitted(lif, "norse", 0.1).fields["r"], lif.fields["v_threshold"]
    (array([1.]), array([0.1]))
    """
    if name is None or name == SPIKELOOM:
        return node
    target = _target(name)
    if node.kind == "NIRGraph":
        for child in node.fields["nodes"].values():
            fitted(child, name, dt)
    if node.kind == "Linear" and "Linear" not in target.kinds:
        weight = node.fields["weight"]
        node.kind, node.fields["bias"] = "Affine", np.zeros(len(weight), weight.dtype)
    if node.kind == "IF" and "IF" not in target.kinds:
        _leaky(node, dt)
    if node.kind == "CubaLIF" and target.gain == "dt":
        _time_step_from_r(node, dt)
    elif node.kind in SPIKING:
        _rescaled(node, target, dt)
    if node.kind == "LIF" and target.exponential:
        _in_steps(node, dt)
    if node.kind in SPIKING and target.grid:
        below = np.floor(node.fields["v_threshold"] / target.grid)
        node.fields["v_threshold"] = (below + 0.5) * target.grid  # no membrane equals it
    if node.kind in SPIKING and target.at_threshold:
        threshold = node.fields["v_threshold"].astype(np.float32)
        node.fields["v_threshold"] = np.nextafter(threshold, np.float32(np.inf)).astype(np.float64)
    return node


def _leaky(node: Node, dt: float) -> None:
    """Write an IF as a LIF that never leaks."""
    tau = np.full_like(node.fields["r"], NEVER * dt)
    node.kind = "LIF"
    node.fields |= {"tau": tau, "r": node.fields["r"] * tau, "v_leak": 0 * tau}


def _rescaled(node: Node, target: Target, dt: float) -> None:
    """Change the unit of the membrane so that the target's gain gives the same spikes."""
    fields = node.fields
    wanted, factor = {"r": _r(node, target, dt)}, fields["r"]
    if node.kind == "CubaLIF":
        wanted["w_in"] = fields["tau_syn"] / dt
        factor = factor * fields["w_in"]
    factor = factor / np.prod(list(wanted.values()), axis=0)
    if not (factor > 0).all() or (np.abs(factor - 1) <= UNITY).all():
        return
    fields |= wanted
    for key in ("v_leak", "v_threshold", "v_reset"):
        if key in fields:
            fields[key] = fields[key] / factor


def _r(node: Node, target: Target, dt: float) -> np.ndarray:
    """The r with which the target computes the gain that NIR says."""
    if node.kind == "IF":
        return np.full_like(node.fields["r"], 1 / dt)
    if node.kind == "LIF" and target.gain == "leak":
        return np.ones_like(node.fields["r"])
    return node.fields["tau" if node.kind == "LIF" else "tau_mem"] / dt


def _exponential(tau: np.ndarray, dt: float) -> np.ndarray:
    """The time constant of an exponential decay that loses in a step what Euler's does."""
    leak = dt / tau
    decay = np.log1p(-np.minimum(leak, 1 - 1e-15)) * (leak < 1) - 690 * (leak >= 1)
    return -dt / decay


def _in_steps(node: Node, dt: float) -> None:
    """Write Euler's decay as an exponential one."""
    node.fields["tau"] = _exponential(node.fields["tau"], dt)
    node.fields["r"] = 1 / -np.expm1(-dt / node.fields["tau"])


def _time_step_from_r(node: Node, dt: float) -> None:
    """Write a CubaLIF for a reader with ``dt = tau_mem / (1 + r)`` that ignores w_in.

    Its synapse decays the input too, so that the membrane is smaller by that factor.
    """
    fields = node.fields
    gain = fields["r"] * fields["w_in"] * dt / fields["tau_mem"] * dt / fields["tau_syn"]
    unit = (1 - dt / fields["tau_syn"]) / gain
    fields["tau_syn"] = _exponential(fields["tau_syn"], dt)
    fields["tau_mem"] = _exponential(fields["tau_mem"], dt)
    fields |= {"r": fields["tau_mem"] / dt - 1, "w_in": np.ones_like(unit)}
    for key in ("v_leak", "v_threshold", "v_reset"):
        fields[key] = fields[key] * unit


# -- checking --------------------------------------------------------------------------------------


def check(graph: Any, target: str) -> list[str]:
    """Lists what a library cannot run of a NIR graph, or would run with other spikes.

    Args:
        graph: a ``nir.NIRGraph``, or the path of a file that holds one.
        target: ``"snntorch"``, ``"norse"``, ``"sinabs"``, ``"spikingjelly"``, ``"rockpool"`` or
            ``"lava"``.

    Returns:
        One sentence for each obstacle, with the name of its node; an empty list if the library runs
        the graph. Reset rules are known only for graphs of `to_nir`. ``"sinabs"`` and
        ``"rockpool"`` assume that the input of the graph is between 0 and 1, ``"lava"`` that it
        consists of integers such as spikes.

    Raises:
        ValueError: the graph is malformed, or the target unknown.
        TypeError: ``graph`` is something else.

    >>> import torch, spikeloom as snn
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    >>> snn.nir.check(snn.nir.to_nir(net, target="spikeloom"), target="snntorch")
    ["node '1' (LIF): a spike resets the membrane by 'subtract' one step later, in snnTorch by
    'zero' in the same step; use reset_mechanism='zero', reset_delay=False"]
    """
    return _obstacles(read(graph), _target(target))


def _obstacles(flat: Flat, target: Target) -> list[str]:
    recorded = flat.metadata.get("spikeloom", {}).get("dt")
    dt = target.dt if recorded is None else float(recorded)
    found = []
    if dt != target.dt and not target.any_dt:
        found.append(f"the graph has the time step {dt:g}, {target.name} {target.dt:g}")
    if len(flat.inputs) > 1 or len(flat.outputs) > 1:
        found.append(f"{target.name} runs graphs with one input and one output")
    for node in flat.nodes.values():
        rules = (_kind(node, target), *_neuron(node, target, dt), *_graph(node, flat, target, dt))
        found += [f"node {node.name!r} ({node.kind}): {rule}" for rule in rules if rule]
    return found


def _kind(node: Node, target: Target) -> str:
    if node.kind not in target.kinds:
        return f"{target.name} does not read this type"
    if node.kind == "SumPool2d" and np.any(node.fields["padding"]):
        return f"{target.name} ignores the padding; write a convolution"
    return _on_grid(node, target) if target.grid else ""


def _on_grid(node: Node, target: Target) -> str:
    """What a library with fixed-point numbers computes otherwise."""
    if node.kind == "Flatten" and (int(node.fields["start_dim"]), int(node.fields["end_dim"])) != (
        0,
        -1,
    ):
        return f"{target.name} flattens all axes of a sample"
    if node.kind == "Conv2d" and np.any(node.fields["bias"]):
        return f"{target.name} refuses the bias of a convolution; use bias=False"
    keys = [key for key in ("weight", "bias") if key in node.fields]
    units = {key: node.array(key) / target.grid for key in keys}
    if node.kind in SPIKING:
        units["v_threshold"] = node.array("v_threshold") / target.grid + 0.5
    off = next((key for key, value in units.items() if (value != value.round()).any()), None)
    if off == "v_threshold":
        return f"membranes of {target.name} may equal the threshold; write it with to_nir(target=)"
    if off is not None:
        steps = round(1 / target.grid)
        return (
            f"{target.name} rounds, and the {off} is no multiple of 1/{steps}; write "
            f"{off}.mul({steps}).round().div({steps})"
        )
    return ""


def carried(node: Node, reset: str = "zero") -> str:
    """Why the reset of a neuron is not the one that readers apply; empty if it is, or unknown."""
    record = node.metadata
    if node.kind not in SPIKING or "reset" not in record:
        return ""
    if record["reset"] == reset and not record.get("delay", False):
        return ""
    when = "one step later" if record.get("delay") else "in the same step"
    return f"{record['reset']!r} {when}"


def _neuron(node: Node, target: Target, dt: float) -> Iterator[str]:
    """What is wrong with a neuron."""
    if node.kind not in SPIKING or node.kind not in target.kinds:
        return
    other = carried(node, target.reset)
    if other:
        yield (
            f"a spike resets the membrane by {other}, in {target.name} by {target.reset!r} in the "
            f"same step; use reset_mechanism={target.reset!r}, reset_delay=False"
        )
    if node.kind not in target.leaks_to and "v_leak" in node.fields and node.array("v_leak").any():
        yield f"{target.name} needs v_leak = 0"
    if node.fields.get("v_reset") is not None and node.array("v_reset").any():
        yield f"{target.name} needs v_reset = 0"
    for key in target.uniform:
        if node.fields.get(key) is not None and np.unique(node.array(key)).size > 1:
            yield f"{target.name} needs one {key} for all neurons of a layer"
    yield from _gain(node, target, dt)


def _gain(node: Node, target: Target, dt: float) -> Iterator[str]:
    """What is wrong with the scale of a neuron and its decay."""
    if node.kind == "CubaLIF" and target.gain == "leak":
        return  # it reads all of its fields
    if node.kind == "CubaLIF" and target.gain == "dt":
        yield from _synapse(node, target, dt)
        return
    if node.kind == "LIF" and target.exponential:
        leak = -np.expm1(-dt / node.array("tau"))
        unit = np.allclose(node.array("r") * leak, 1, rtol=UNITY)
    else:
        unit = np.allclose(node.array("r"), _r(node, target, dt), rtol=UNITY, atol=0)
    if node.kind == "CubaLIF":
        w_in = node.array("w_in") if node.fields.get("w_in") is not None else np.ones(())
        unit = unit and np.allclose(w_in, node.array("tau_syn") / dt, rtol=UNITY, atol=0)
    if not unit:
        yield f"{target.name} ignores or refuses its r; write it with to_nir(target=...)"
    if target.name == "SpikingJelly" and node.kind == "LIF" and (node.array("tau") <= dt).any():
        yield "SpikingJelly needs tau > dt; use a decay above 0"


def _synapse(node: Node, target: Target, dt: float) -> Iterator[str]:
    """What is wrong with a CubaLIF for a reader that takes its time step from r."""
    step = node.array("tau_mem") / (1 + node.array("r"))
    w_in = node.array("w_in") if node.fields.get("w_in") is not None else np.ones(())
    if not np.allclose(step, dt, rtol=UNITY, atol=0) or (w_in != 1).any():
        yield (
            f"{target.name} takes its time step from r, {step.min():.4g} instead of {dt:.4g}, and "
            "ignores w_in; write it with to_nir(target=...)"
        )
    elif (np.exp(-dt / node.array("tau_syn")) < 2.0**-100).any():
        yield f"the synapse of {target.name} decays what it receives; use an alpha above 0"


def _graph(node: Node, flat: Flat, target: Target, dt: float) -> Iterator[str]:
    """What is wrong with the place of a node."""
    sources = [a for a, b in flat.edges if b == node.name]
    before = [each for each in sources if not _reaches(node.name, each, flat.edges)]
    if len(before) > 1 and not target.branches:
        yield f"{target.name} runs no branches, and it receives {', '.join(map(repr, before))}"
    if _reaches(node.name, node.name, flat.edges):
        if not target.loops:
            yield f"{target.name} runs no loops"
        elif node.fields.get("bias") is not None and np.any(node.fields["bias"]):
            yield (
                f"in {target.name} a bias in a loop acts one step late; add it to the layer before "
                "the loop"
            )
        elif target.gain == "dt" and node.kind in SPIKING and not _one_loop(node, flat, sources):
            yield f"{target.name} runs loops of one neuron and one linear layer only"
    if target.reset == "subtract" and node.kind in SPIKING and node.kind in target.kinds:
        yield _single_spikes(node, flat, target, dt)


def _one_loop(node: Node, flat: Flat, sources: list[str]) -> bool:
    """Whether one linear layer, which serves nothing else, is all that closes a neuron's loop."""
    back = [each for each in sources if _reaches(node.name, each, flat.edges)]
    around = {(node.name, back[0]), (back[0], node.name)}
    alone = {edge for edge in flat.edges if back[0] in edge} == around
    return len(back) == 1 and alone and flat.nodes[back[0]].kind in ("Linear", "Affine")


def _reaches(start: str, end: str, edges: list[tuple[str, str]]) -> bool:
    """Whether a path of edges leads from one node to another."""
    seen: set[str] = set()
    waiting = [b for a, b in edges if a == start]
    while waiting:
        here = waiting.pop()
        if here == end:
            return True
        if here not in seen:
            seen.add(here)
            waiting += [b for a, b in edges if a == here]
    return False


def _single_spikes(node: Node, flat: Flat, target: Target, dt: float) -> str:
    """Why a neuron might fire several times in a step; empty where its weights exclude that."""
    if node.array("v_threshold").ndim != 1:
        return f"{target.name} reads neurons with one axis only; use linear layers"
    sources = [a for a, b in flat.edges if b == node.name]
    drive = sum((_most(flat, source) for source in sources), np.zeros(()))
    threshold = node.array("v_threshold")
    decay = np.exp(-dt / node.array("tau" if node.kind == "LIF" else "tau_mem"))
    if node.kind == "CubaLIF":  # a synapse adds up what it receives
        alpha = np.exp(-dt / node.array("tau_syn"))
        drive = drive * alpha / (1 - alpha)
    if (decay * threshold + drive < 2 * threshold).all():
        return ""
    return (
        f"{target.name} fires several spikes in a step where the membrane exceeds a multiple of "
        "the threshold, which the weights allow; use smaller weights or a higher threshold"
    )


def _most(flat: Flat, name: str) -> np.ndarray:
    """The most that a node sends, if spikes or inputs up to 1 reach it."""
    node = flat.nodes.get(name)
    if node is None or node.kind in SPIKING:
        return np.ones(())
    sources = [a for a, b in flat.edges if b == name]
    spikes = all(s not in flat.nodes or flat.nodes[s].kind in SPIKING for s in sources)
    if node.kind in ("Affine", "Linear") and len(sources) == 1 and spikes:
        bias = node.array("bias") if "bias" in node.fields else 0.0
        return np.clip(node.array("weight"), 0, None).sum(1) + bias
    return np.full((), np.inf)
