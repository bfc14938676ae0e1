"""Named NIR graphs: every type of node, and the topologies of published networks.

Each is read with `from_nir`, run, and compared with `nir_executor`, which computes NIR's equations
in NumPy, over at least 30 steps. Each is also written to a file and read again. `docs/hardware.md`
says how many there are.
"""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import nir
import nir_executor
import numpy as np
import pytest
import torch
from test_nir_nodes import CUBA, DT, LIF, RESET, between, chain, current

import spikeloom as snn

ZERO = {"dt": DT, "reset": "zero", "delay": False}
SUBTRACT = {"dt": DT, "reset": "subtract", "delay": False}
SUBTRACT_LATE = {"dt": DT, "reset": "subtract", "delay": True}
NEVER = {"dt": DT, "reset": "none", "delay": False}
FROM_ZERO = {**ZERO, "start": "zero"}
BELOW = np.array([-0.5, 0.0, 0.3, -0.1])  # thresholds under most values of v_leak


class Case(NamedTuple):
    """A graph, its input over time, and what the file leaves open.

    Args:
        graph: with the name of each node.
        x: [T, ...], or one for each input by name.
        options: of `from_nir` and of the executor.
        spikes: whether the output consists of spikes, some of which must be there.
        file: whether nir can write it; it writes no scalars.
    """

    graph: Any
    x: Any
    options: dict[str, Any]
    spikes: bool = True
    file: bool = True


def graph(inputs: dict[str, Any], nodes: dict[str, Any], edges: str, outputs: Any = (4,)) -> Any:
    """A graph from paths such as ``"input > a > output, a > b"``."""
    outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
    ends = {name: nir.Input(np.array(shape)) for name, shape in inputs.items()}
    ends |= {name: nir.Output(np.array(shape)) for name, shape in outputs.items()}
    found = [pair for path in edges.split(", ") for pair in pairwise(path.split(" > "))]
    return nir.NIRGraph({**ends, **nodes}, list(dict.fromkeys(found)), type_check=False)


def weights(*shape: int, size: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Normal weights."""
    rng = np.random.default_rng(sum(shape) + 7 * len(shape))
    return rng.normal(shift, size, shape)


def affine(out: int, inputs: int, size: float = 1.0, shift: float = 0.3) -> Any:
    return nir.Affine(weights(out, inputs, size=size, shift=shift), weights(out, size=0.1))


def lif(*shape: int, **changed: Any) -> Any:
    """Equal leaky neurons."""
    ones = np.ones(shape)
    fields = {"tau": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0, **changed}
    return nir.LIF(**{name: value * ones for name, value in fields.items()})


def leaky_if(*shape: int) -> Any:
    return nir.IF(np.full(shape, 1 / DT), np.ones(shape))


def cuba(n: int, **changed: Any) -> Any:
    """Equal neurons with a synapse."""
    fields = {"tau_syn": 5e-4, "tau_mem": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0}
    fields |= {"w_in": 5.0, **changed}
    return nir.CubaLIF(**{name: value * np.ones(n) for name, value in fields.items()})


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def spikes(*shape: int, steps: int = 40, rate: float = 0.4) -> np.ndarray:
    return (np.random.default_rng(9).uniform(size=(steps, *shape)) < rate).astype(float)


def single(node: Any, options: dict[str, Any], *, size: float = 3.0, fires: bool = True) -> Case:
    """One node with four elements."""
    return Case(chain(node), current(size=size), options, fires)


def layer(node: Any, *shape: int) -> Case:
    """One layer without memory."""
    return Case(chain(node, shape=shape, out=(1,)), current(shape, steps=30), {}, False)


def conv2d(size: tuple[int, int], weight: np.ndarray, **changed: Any) -> Any:
    settings = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **changed}
    return nir.Conv2d(size, weight, bias=weights(len(weight), size=0.2), **settings)


def conv1d(size: int, weight: np.ndarray, **changed: Any) -> Any:
    settings = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **changed}
    return nir.Conv1d(size, weight, bias=weights(len(weight), size=0.2), **settings)


def pool(kind: str, kernel: Any, stride: Any, padding: Any) -> Any:
    return getattr(nir, kind)(*(np.array(value) for value in (kernel, stride, padding)))


def flat(start: int, end: int, *shape: int) -> Any:
    return nir.Flatten({"input": np.array(shape)}, start, end)


NEURONS: dict[str, Callable[[], Case]] = {
    "I": lambda: single(nir.I(LIF["r"] * 100), {"dt": DT}, fires=False),
    "LI from rest": lambda: single(nir.LI(**without(LIF, "v_threshold")), {"dt": DT}, fires=False),
    "LI from zero": lambda: single(
        nir.LI(**without(LIF, "v_threshold")), {"dt": DT, "start": "zero"}, fires=False
    ),
    "CubaLI from rest": lambda: single(
        nir.CubaLI(**without(CUBA, "v_threshold")), {"dt": DT}, fires=False
    ),
    "CubaLI from zero": lambda: single(
        nir.CubaLI(**without(CUBA, "v_threshold")), {"dt": DT, "start": "zero"}, fires=False
    ),
    "IF": lambda: single(nir.IF(np.full(4, 1 / DT), np.ones(4)), ZERO, size=0.5),
    "IF with r other than 1, reset by subtraction": lambda: single(
        nir.IF(LIF["r"] * 500, LIF["v_threshold"]), SUBTRACT
    ),
    "IF with v_reset": lambda: single(nir.IF(LIF["r"] * 500, LIF["v_threshold"], RESET), ZERO),
    "IF with a threshold below zero": lambda: single(
        nir.IF(LIF["r"] * 500, BELOW, BELOW - between(-0.2, 1.0)), SUBTRACT, size=0.5
    ),
    "LIF reset to zero": lambda: single(nir.LIF(**LIF), ZERO),
    "LIF reset by subtraction": lambda: single(nir.LIF(**LIF), SUBTRACT),
    "LIF reset by subtraction one step later": lambda: single(
        nir.LIF(**LIF, v_reset=LIF["v_leak"]), SUBTRACT_LATE
    ),
    "LIF without reset": lambda: single(nir.LIF(**LIF), NEVER),
    "LIF with v_reset": lambda: single(nir.LIF(**LIF, v_reset=RESET), ZERO),
    "LIF with v_reset, by subtraction": lambda: single(nir.LIF(**LIF, v_reset=RESET), SUBTRACT),
    "LIF from zero": lambda: single(nir.LIF(**LIF), FROM_ZERO),
    "LIF that fires at rest": lambda: single(
        nir.LIF(**{**LIF, "v_threshold": BELOW}, v_reset=BELOW - 0.5), ZERO, size=0.5
    ),
    "LIF that fires at rest, from zero": lambda: single(
        nir.LIF(**{**LIF, "v_threshold": BELOW}, v_reset=BELOW - 0.5), FROM_ZERO, size=0.5
    ),
    "LIF whose v_leak is its threshold": lambda: single(
        nir.LIF(LIF["tau"], LIF["r"], np.ones(4), np.ones(4)), ZERO
    ),
    "LIF in volt": lambda: Case(
        chain(lif(4, tau=0.02, r=1e8, v_leak=-0.065, v_threshold=-0.05, v_reset=-0.07)),
        current(size=4e-10, steps=400),
        {**ZERO, "dt": 1e-3},
    ),
    "LIF that keeps nothing of the last step": lambda: single(lif(4, tau=DT, r=1.0), ZERO),
    "LIF with scalars as parameters": lambda: single(lif(), SUBTRACT)._replace(file=False),
    "LIF of images": lambda: Case(
        chain(lif(2, 3, 4), shape=(2, 3, 4)), current((2, 3, 4), steps=40), ZERO
    ),
    "LIF with a v_leak and a threshold for each pixel": lambda: Case(
        chain(
            lif(
                2, 3, 4, v_leak=weights(2, 3, 4, size=0.1), v_threshold=abs(weights(2, 3, 4)) + 0.2
            ),
            shape=(2, 3, 4),
        ),
        current((2, 3, 4), steps=40),
        SUBTRACT,
    ),
    "LIF with r below zero": lambda: single(lif(4, r=-10.0, v_leak=1.2), ZERO, size=0.2),
    "CubaLIF reset to zero": lambda: single(nir.CubaLIF(**CUBA), ZERO, size=9.0),
    "CubaLIF reset by subtraction": lambda: single(nir.CubaLIF(**CUBA), SUBTRACT, size=9.0),
    "CubaLIF with v_reset, from zero": lambda: single(
        nir.CubaLIF(**CUBA, v_reset=RESET), FROM_ZERO, size=9.0
    ),
    "CubaLIF that fires at rest, from zero": lambda: single(
        nir.CubaLIF(**{**CUBA, "v_threshold": BELOW}, v_reset=BELOW - 0.5), FROM_ZERO, size=0.5
    ),
    "Threshold": lambda: single(nir.Threshold(np.array([-1.0, 0.0, 0.5, 2.0])), {}),
    "Threshold of images": lambda: Case(
        chain(nir.Threshold(weights(2, 3, 4)), shape=(2, 3, 4)), current((2, 3, 4), steps=30), {}
    ),
    "Delay of channels": lambda: Case(
        chain(nir.Delay(DT * np.repeat([2, 3], 12).reshape(2, 3, 4)), shape=(2, 3, 4)),
        current((2, 3, 4), steps=30),
        {"dt": DT},
        False,
    ),
    "Delay": lambda: single(nir.Delay(DT * np.array([0, 1, 5, 2])), {"dt": DT}, fires=False),
}

LAYERS: dict[str, Callable[[], Case]] = {
    "Affine": lambda: layer(affine(3, 4), 4),
    "Linear": lambda: layer(nir.Linear(weights(3, 4)), 4),
    "Scale": lambda: layer(nir.Scale(weights(4)), 4),
    "Scale of images": lambda: layer(nir.Scale(weights(2, 3, 4)), 2, 3, 4),
    "Conv1d": lambda: layer(conv1d(12, weights(4, 2, 3)), 2, 12),
    "Conv1d, strided, padded, dilated, grouped": lambda: layer(
        conv1d(12, weights(4, 1, 3), stride=2, padding=3, dilation=2, groups=2), 2, 12
    ),
    "Conv1d, same": lambda: layer(conv1d(12, weights(4, 2, 5), padding="same"), 2, 12),
    "Conv2d": lambda: layer(conv2d((8, 9), weights(4, 2, 3, 3)), 2, 8, 9),
    "Conv2d, strided, padded, dilated": lambda: layer(
        conv2d((8, 9), weights(4, 2, 3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3)), 2, 8, 9
    ),
    "Conv2d, grouped": lambda: layer(conv2d((8, 9), weights(4, 2, 3, 3), groups=2), 4, 8, 9),
    "Conv2d for each channel": lambda: layer(
        conv2d((8, 9), weights(6, 1, 3, 3), groups=3), 3, 8, 9
    ),
    "Conv2d, same": lambda: layer(
        conv2d((8, 9), weights(4, 2, 3, 5), padding="same", dilation=2), 2, 8, 9
    ),
    "Conv2d, valid": lambda: layer(
        conv2d((8, 9), weights(4, 2, 2, 2), padding="valid", stride=3), 2, 8, 9
    ),
    "SumPool2d": lambda: layer(pool("SumPool2d", (2, 2), (2, 2), (0, 0)), 3, 6, 7),
    "SumPool2d, not square": lambda: layer(pool("SumPool2d", (2, 3), (2, 1), (1, 0)), 3, 6, 7),
    "AvgPool2d": lambda: layer(pool("AvgPool2d", (2, 2), (2, 2), (0, 0)), 3, 6, 7),
    "AvgPool2d, not square": lambda: layer(pool("AvgPool2d", (3, 2), (1, 2), (1, 1)), 3, 6, 7),
    "Flatten": lambda: layer(flat(0, -1, 2, 3, 4), 2, 3, 4),
    "Flatten of the last axes": lambda: layer(flat(1, -1, 2, 3, 4), 2, 3, 4),
    "Flatten of the first axes": lambda: layer(flat(0, 1, 2, 3, 4), 2, 3, 4),
    "nothing between input and output": lambda: Case(
        graph({"input": (4,)}, {}, "input > output"), current(steps=30), {}, False
    ),
}


def scnn() -> Case:
    """The convolutional network for N-MNIST of the NIR paper, in its shape."""
    nodes = {
        "0": conv2d((8, 9), weights(16, 2, 5, 5, size=0.2, shift=0.03), stride=2, padding=1),
        "1": leaky_if(16, 16, 16),
        "2": conv2d((8, 9), weights(16, 16, 3, 3, size=0.1, shift=0.01), padding=1),
        "3": leaky_if(16, 16, 16),
        "4": pool("SumPool2d", (2, 2), (2, 2), (0, 0)),
        "5": conv2d((8, 9), weights(8, 16, 3, 3, size=0.1), padding=1),
        "6": leaky_if(8, 8, 8),
        "7": pool("SumPool2d", (2, 2), (2, 2), (0, 0)),
        "8": flat(0, -1, 8, 4, 4),
        "9": affine(256, 128, size=0.1, shift=0.0),
        "10": leaky_if(256),
        "11": affine(10, 256, size=0.2, shift=0.0),
        "12": leaky_if(10),
    }
    path = " > ".join(["input", *nodes, "output"])
    made = graph({"input": (2, 34, 34)}, nodes, path, (10,))
    return Case(made, spikes(2, 34, 34, steps=30, rate=0.1), SUBTRACT)


def srnn(nested: bool) -> Case:
    """The recurrent network for braille of the NIR paper, in its shape."""
    varied = {"tau_syn": between(3e-4, 1e-3, (38,)), "tau_mem": between(1e-3, 3e-3, (38,))}
    hidden, back = cuba(38, **varied), affine(38, 38, size=0.2, shift=-0.02)
    nodes = {"fc1": affine(38, 12, size=0.4), "fc2": affine(7, 38, size=0.3, shift=0.05)}
    if nested:
        nodes["lif1"] = graph(
            {"input": (38,)},
            {"lif": hidden, "w_rec": back},
            "input > lif > output, lif > w_rec > lif",
            (38,),
        )
        path = "input > fc1 > lif1 > fc2 > lif2 > output"
    else:
        nodes |= {"lif1": hidden, "w_rec": back}
        path = "input > fc1 > lif1 > fc2 > lif2 > output, lif1 > w_rec > lif1"
    nodes["lif2"] = cuba(7)
    return Case(graph({"input": (12,)}, nodes, path, (7,)), spikes(12, steps=60), ZERO)


def loop(path: str, options: dict[str, Any] | None = None, size: float = 1.5, **nodes: Any) -> Case:
    """Neurons of which some feed themselves."""
    made = graph({"input": (4,)}, nodes, f"input > {path}")
    return Case(made, current(size=size), options or ZERO)


def subgraph(*inner: str, **nodes: Any) -> Any:
    return graph({"input": (4,)}, nodes, ", ".join(inner))


NETWORKS: dict[str, Callable[[], Case]] = {
    "chain of LIF with v_leak": lambda: Case(
        chain(
            affine(5, 4),
            lif(5, v_leak=0.2),
            affine(4, 5),
            lif(4, v_leak=-0.1),
            shape=(4,),
        ),
        current(steps=60),
        ZERO,
    ),
    "LIF read out by LI": lambda: Case(
        chain(affine(6, 4), lif(6), affine(3, 6), nir.LI(*np.full((3, 3), [[1e-3], [9.0], [0.2]]))),
        current(steps=60),
        SUBTRACT,
        False,
    ),
    "CubaLIF with parameters of their own": lambda: Case(
        chain(affine(4, 6, size=2.0), nir.CubaLIF(**CUBA), affine(4, 4), cuba(4), shape=(6,)),
        spikes(6, steps=60),
        SUBTRACT,
    ),
    "convolutional network for N-MNIST": scnn,
    "convolutions of sequences": lambda: Case(
        chain(
            conv1d(12, weights(4, 2, 3), padding=1),
            lif(4, 12),
            conv1d(12, weights(3, 4, 3, shift=0.2), stride=2),
            leaky_if(3, 5),
            flat(0, -1, 3, 5),
            affine(4, 15),
            leaky_if(4),
            shape=(2, 12),
        ),
        current((2, 12), steps=30),
        ZERO,
    ),
    "recurrent network for braille": lambda: srnn(nested=False),
    "recurrent network for braille, in a subgraph": lambda: srnn(nested=True),
    "LIF in a loop": lambda: loop("lif > output, lif > w > lif", lif=lif(4), w=affine(4, 4)),
    "LIF in a loop, reset by subtraction": lambda: loop(
        "lif > output, lif > w > lif", SUBTRACT, lif=lif(4), w=affine(4, 4)
    ),
    "LIF in a loop, fires at rest, from zero": lambda: loop(
        "lif > output, lif > w > lif",
        FROM_ZERO,
        lif=lif(4, v_leak=0.3, v_threshold=0.2, v_reset=-0.4),
        w=affine(4, 4, size=0.1, shift=0.0),
        size=0.2,
    ),
    "IF that feeds each neuron itself": lambda: loop(
        "lif > output, lif > w > lif", lif=leaky_if(4), w=nir.Scale(between(-1, 1)), size=0.8
    ),
    "neuron with an edge to itself": lambda: loop(
        "lif > output, lif > lif", SUBTRACT, lif=lif(4, r=5.0), size=1.0
    ),
    "loop through a convolution": lambda: Case(
        graph(
            {"input": (2, 5, 5)},
            {"lif": lif(2, 5, 5), "w": conv2d((5, 5), weights(2, 2, 3, 3, size=0.3), padding=1)},
            "input > lif > output, lif > w > lif",
            (2, 5, 5),
        ),
        current((2, 5, 5), steps=30, size=1.0),
        ZERO,
    ),
    "loop with a delay": lambda: loop(
        "lif > output, lif > w > d > lif",
        lif=lif(4),
        w=affine(4, 4),
        d=nir.Delay(DT * np.array([1, 2, 3, 0])),
    ),
    "loop with a delay before the layer": lambda: loop(
        "lif > output, lif > d > w > lif",
        lif=lif(4),
        d=nir.Delay(np.full(4, 3 * DT)),
        w=nir.Linear(weights(4, 4)),
    ),
    "loop through two layers": lambda: loop(
        "lif > output, lif > narrow > wide > lif",
        lif=lif(4),
        narrow=affine(2, 4),
        wide=nir.Linear(weights(4, 2)),
    ),
    "excitation and inhibition": lambda: loop(
        "exc > to_inh > inh > to_exc > exc, exc > self > exc, exc > output",
        exc=lif(4, r=9.0),
        to_inh=affine(4, 4),
        inh=lif(4, tau=5e-4, r=3.0),
        to_exc=affine(4, 4, size=0.3, shift=-0.5),
        self=nir.Scale(np.full(4, 0.3)),
        size=2.0,
    ),
    "loop around a CubaLIF and a LIF": lambda: loop(
        "a > w > b > v > a, b > output",
        SUBTRACT,
        a=cuba(4),
        w=affine(4, 4),
        b=lif(4),
        v=affine(4, 4, size=0.5, shift=-0.2),
    ),
    "two layers in parallel loops": lambda: loop(
        "lif > output, lif > v > lif, lif > w > lif",
        lif=lif(4),
        v=affine(4, 4),
        w=nir.Scale(np.full(4, -0.5)),
    ),
    "loop in a loop": lambda: loop(
        "a > w > b > output, b > back > a, b > own > b",
        a=lif(4),
        w=affine(4, 4),
        b=cuba(4),
        back=affine(4, 4, size=0.4, shift=-0.1),
        own=nir.Scale(np.full(4, -0.3)),
    ),
    "loop that the input enters twice": lambda: loop(
        "a > w > b > v > a, input > b > output",
        SUBTRACT,
        a=lif(4),
        w=affine(4, 4),
        b=lif(4, r=4.0),
        v=affine(4, 4, size=0.4, shift=-0.1),
    ),
    "LI in a loop": lambda: loop(
        "lif > output, lif > w > trace > lif",
        lif=lif(4),
        w=affine(4, 4, size=0.5, shift=-0.3),
        trace=nir.LI(*(np.full(4, value) for value in (2e-3, 20.0, 0.0))),
    ),
    "input that is also an output": lambda: Case(
        graph(
            {"input": (4,)},
            {"lif": lif(4)},
            "input > copy, input > lif > spikes",
            {"copy": (4,), "spikes": (4,)},
        ),
        current(),
        ZERO,
        False,
    ),
    "subgraph": lambda: Case(
        chain(
            affine(4, 4),
            subgraph("input > a > b > output", a=nir.Scale(weights(4)), b=leaky_if(4)),
        ),
        current(),
        ZERO,
    ),
    "loop in a subgraph of a subgraph": lambda: Case(
        chain(
            affine(4, 4),
            subgraph(
                "input > deep > output",
                deep=subgraph("input > lif > output, lif > w > lif", lif=lif(4), w=affine(4, 4)),
            ),
        ),
        current(size=1.5),
        ZERO,
    ),
    "loop through a subgraph": lambda: loop(
        "lif > output, lif > sub > lif",
        lif=lif(4),
        sub=subgraph(
            "input > w > delay > output", w=affine(4, 4), delay=nir.Delay(np.ones(4) * DT)
        ),
    ),
    "branches of one input": lambda: loop(
        "a > lif, input > b > lif, input > lif > output",
        SUBTRACT,
        a=nir.Linear(weights(4, 4)),
        b=nir.Scale(weights(4)),
        lif=leaky_if(4),
    ),
    "skip over a neuron": lambda: loop(
        "fc > a > mid > b > output, a > b",
        fc=affine(4, 4),
        a=lif(4),
        mid=affine(4, 4),
        b=lif(4, r=6.0),
    ),
    "residual convolutions": lambda: Case(
        graph(
            {"input": (2, 6, 6)},
            {
                "c1": conv2d((8, 9), weights(3, 2, 3, 3), padding=1),
                "n1": lif(3, 6, 6),
                "c2": conv2d((8, 9), weights(3, 3, 3, 3, size=0.3), padding=1),
                "n2": lif(3, 6, 6),
            },
            "input > c1 > n1 > c2 > n2 > output, n1 > n2",
            (3, 6, 6),
        ),
        current((2, 6, 6), steps=30, size=1.0),
        SUBTRACT,
    ),
    "synapses with delays": lambda: loop(
        "w0 > lif > output, input > d1 > w1 > lif, input > d3 > w3 > lif",
        w0=affine(4, 4),
        d1=nir.Delay(np.full(4, DT)),
        w1=nir.Linear(weights(4, 4)),
        d3=nir.Delay(np.full(4, 3 * DT)),
        w3=nir.Linear(weights(4, 4, size=0.5)),
        lif=lif(4),
    ),
    "two inputs": lambda: Case(
        graph(
            {"sound": (3,), "image": (5,)},
            {"of_sound": affine(4, 3), "of_image": affine(4, 5), "lif": lif(4)},
            "sound > of_sound > lif > output, image > of_image > lif",
        ),
        {"sound": current((3,), size=1.0), "image": current((5,), size=1.0)},
        ZERO,
    ),
    "two outputs": lambda: Case(
        graph(
            {"input": (4,)},
            {"a": lif(4), "fc": affine(3, 4), "b": lif(3)},
            "input > a > spikes, a > fc > b > classes",
            {"classes": (3,), "spikes": (4,)},
        ),
        current(),
        ZERO,
    ),
    "two inputs and outputs, one of them a sum": lambda: Case(
        graph(
            {"x": (4,), "y": (4,)},
            {"a": lif(4), "b": lif(4, r=5.0), "w": affine(4, 4)},
            "x > a > w > b > one, y > b, a > two, w > two",
            {"one": (4,), "two": (4,)},
        ),
        {"x": current(), "y": current(size=1.0)},
        SUBTRACT,
        False,
    ),
}

CASES = NEURONS | LAYERS | NETWORKS


def made(case: Case, source: Any) -> Any:
    options = {name: value for name, value in case.options.items() if value is not None}
    return snn.nir.from_nir(source, dtype=torch.float64, **options)


def ran(case: Case, source: Any) -> tuple[np.ndarray, ...]:
    """What our network gives over time, each output [T, ...]."""
    net = made(case, source)
    with torch.no_grad(), snn.backend("eager"):
        if not isinstance(case.x, dict):
            found = snn.run(net, torch.from_numpy(case.x)[:, None])
            found = found if isinstance(found, tuple) else (found,)
            return tuple(out[:, 0].numpy() for out in found)
        inputs = [torch.from_numpy(case.x[name])[:, None] for name in net.inputs]
        found = [net(step) for step in zip(*inputs, strict=True)]
    found = [out if isinstance(out, tuple) else (out,) for out in found]
    return tuple(torch.stack(side)[:, 0].numpy() for side in zip(*found, strict=True))


def expected(case: Case) -> tuple[np.ndarray, ...]:
    found = nir_executor.run(case.graph, case.x, **case.options)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", CASES)
def test_a_named_graph_runs_otherwise_than_the_equations_of_nir(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    want = expected(case)
    assert min(len(each) for each in want) >= 30
    assert not case.spikes or all(0 < each.mean() < 1 for each in want)
    sources = [case.graph]
    if case.file:
        sources.append(tmp_path / "case.nir")
        nir.write(sources[-1], case.graph)
    for source in sources:
        for found, each in zip(ran(case, source), want, strict=True):
            np.testing.assert_allclose(found, each, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_named_graph_in_c_runs_otherwise_than_the_equations(name: str, tmp_path: Path) -> None:
    if (compiler := shutil.which("gcc") or shutil.which("cc")) is None:
        pytest.skip("no C compiler")
    case = CASES[name]()
    net = made(case, case.graph)
    steps = {key: np.asarray(case.x[key]) for key in net.inputs} if isinstance(case.x, dict) else {}
    steps = steps or {"input": case.x}
    samples = tuple(torch.from_numpy(each[:1]) for each in steps.values())
    source, library = tmp_path / "network.c", tmp_path / "network.so"
    text = snn.hardware.to_c(net, samples if len(samples) > 1 else samples[0], source)
    flags = ["-std=c99", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *flags, "-shared", "-fPIC", source, "-o", library], check=True)
    program = ctypes.CDLL(str(library))
    real = ctypes.c_double
    size = re.search(r"state: (\d+) bytes", text)
    assert size is not None
    state = (ctypes.c_char * max(int(size[1]), 1))()
    program.network_reset(state)
    want = expected(case)
    for t in range(len(want[0])):
        given = [(real * each[t].size)(*each[t].ravel()) for each in steps.values()]
        found = [(real * each[t].size)() for each in want]
        program.network_step(state, *given, *found)
        for out, each in zip(found, want, strict=True):
            np.testing.assert_allclose(list(out), each[t].ravel(), rtol=1e-9, atol=1e-12)


def test_the_page_gives_another_number_of_graphs() -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "hardware.md"
    assert len(CASES) >= 35
    assert f"{len(CASES)} of {len(CASES)} named graphs" in page.read_text(encoding="utf-8")
