"""NIR graphs run in plain NumPy, written from NIR's equations alone: what `spikeloom.nir` is
compared with.

One sample, float64, forward Euler. A node waits for the nodes that feed it; in a loop it takes what
they sent one step before, which at the first step is what they send at rest.
"""

from typing import Any

import numpy as np


def run(graph: Any, x: Any, **options: Any) -> Any:
    """Output over time, [T, ...], for input ``x``, [T, ...].

    A graph with several inputs takes a dictionary of them, one with several outputs returns a
    tuple.
    """
    executor = Executor(graph, **options)
    if isinstance(x, dict):
        x = [dict(zip(x, each, strict=True)) for each in zip(*x.values(), strict=True)]
    found = [executor.step(x_t) for x_t in x]
    if isinstance(found[0], tuple):
        return tuple(np.stack(each) for each in zip(*found, strict=True))
    return np.stack(found)


class Executor:
    """A graph and the state of its nodes.

    Args:
        graph: a ``nir.NIRGraph``.
        dt: time step.
        reset: "zero", "subtract" or "none".
        delay: whether the reset acts one step after the spike.
        at_threshold: whether a membrane equal to the threshold fires.
        start: "rest" or "zero", where membranes start.
        loop_bias: whether stateless nodes in a loop send at the first step what they send at rest.
    """

    def __init__(self, graph: Any, **options: Any) -> None:
        self.graph, self.options = graph, options
        self.dt = options.get("dt", 1e-4)
        self.state: dict[str, Any] = {}
        self.sent: dict[str, np.ndarray] = {}
        self.inner = {
            n: Executor(node, **options)
            for n, node in graph.nodes.items()
            if kind(node) == "NIRGraph"
        }

    def step(self, x: Any) -> Any:
        new: dict[str, np.ndarray] = {}
        waiting = list(self.graph.nodes)
        while waiting:
            name = next((n for n in waiting if self._ready(n, new)), None) or self._entry(
                waiting, new
            )
            waiting.remove(name)
            received = self._received(name, new)
            if kind(self.graph.nodes[name]) == "Input":
                received = x[name] if isinstance(x, dict) else x
            new[name] = self._send(name, received)
        self.sent = new
        outputs = tuple(new[n] for n, node in self.graph.nodes.items() if kind(node) == "Output")
        return outputs[0] if len(outputs) == 1 else outputs

    def _sources(self, name: str) -> list[str]:
        return [a for a, b in self.graph.edges if b == name]

    def _ready(self, name: str, new: dict[str, np.ndarray]) -> bool:
        return all(source in new for source in self._sources(name))

    def _entry(self, waiting: list[str], new: dict[str, np.ndarray]) -> str:
        """The node where a loop is entered: one that something has reached."""
        return next(n for n in waiting if any(source in new for source in self._sources(n)))

    def _received(self, name: str, new: dict[str, np.ndarray]) -> np.ndarray:
        both = self.sent | new
        before = [both[s] if s in both else self._rest(s) for s in self._sources(name)]
        return sum(before[1:], before[0]) if before else np.zeros(())

    def _rest(self, name: str) -> Any:
        node = self.graph.nodes[name]
        if not self.options.get("loop_bias", True) or kind(node) not in STATELESS:
            return 0.0
        received = sum((self._rest(source) for source in self._sources(name)), np.zeros(()))
        return self._send(name, received + np.zeros(tuple(node.input_type["input"])))

    def _send(self, name: str, x: np.ndarray) -> np.ndarray:
        node = self.graph.nodes[name]
        if name in self.inner:
            return self.inner[name].step(x)
        if kind(node) in ("Input", "Output"):
            return x
        if hasattr(self, f"_{kind(node)}"):
            return getattr(self, f"_{kind(node)}")(node, x, self.state.setdefault(name, {}))
        return STATELESS[kind(node)](node, x)

    # -- nodes with a memory -----------------------------------------------------------------------

    def _I(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        s["v"] = s.get("v", 0.0) + self.dt * node.r * x
        return s["v"]

    def _LI(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        v = s.get("v", self._start(node))
        s["v"] = v + self.dt / node.tau * (node.v_leak - v + node.r * x)
        return s["v"]

    def _CubaLI(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        v = s.get("v", self._start(node))
        s["v"] = v + self.dt / node.tau_mem * (node.v_leak - v + node.r * self._synapse(node, x, s))
        return s["v"]

    def _IF(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        return self._spike(node, s, 0.0, lambda v: v + self.dt * node.r * x)

    def _LIF(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        return self._spike(
            node,
            s,
            self._start(node),
            lambda v: v + self.dt / node.tau * (node.v_leak - v + node.r * x),
        )

    def _CubaLIF(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        i = self._synapse(node, x, s)
        return self._spike(
            node,
            s,
            self._start(node),
            lambda v: v + self.dt / node.tau_mem * (node.v_leak - v + node.r * i),
        )

    def _start(self, node: Any) -> Any:
        return 0.0 if self.options.get("start") == "zero" else node.v_leak

    def _synapse(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        i = s.get("i", 0.0)
        s["i"] = i + self.dt / node.tau_syn * (-i + node.w_in * x)
        return s["i"]

    def _spike(self, node: Any, s: dict[str, Any], rest: Any, integrate: Any) -> np.ndarray:
        v, late = s.get("v", rest), s.get("z", 0.0) if self.options.get("delay") else 0.0
        if kind(node) == "CubaLIF":  # after the integration, which loses the input of this step
            v = self._reset(node, integrate(v), late)
        elif self.options["reset"] == "subtract":
            v = integrate(v) - late * (node.v_threshold - node.v_reset)
        else:
            v = integrate(self._reset(node, v, late))
        z = (
            v >= node.v_threshold if self.options.get("at_threshold") else v > node.v_threshold
        ).astype(float)
        s["z"], s["v"] = z, v if self.options.get("delay") else self._reset(node, v, z)
        return z

    def _reset(self, node: Any, v: Any, z: Any) -> Any:
        if self.options["reset"] == "subtract":
            return v - z * (node.v_threshold - node.v_reset)
        return v if self.options["reset"] == "none" else np.where(z == 1, node.v_reset, v)

    def _Delay(self, node: Any, x: np.ndarray, s: dict[str, Any]) -> np.ndarray:
        line = s.setdefault("line", [])
        line.insert(0, x)
        steps = np.round(node.delay / self.dt).astype(int)
        out = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            out[index] = line[steps[index]][index] if steps[index] < len(line) else 0.0
        return out


def kind(node: Any) -> str:
    return type(node).__name__


def pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if np.ndim(value) == 0 else (int(value[0]), int(value[1]))


def windows(
    x: np.ndarray, size: Any, stride: Any, padding: Any, dilation: Any = 1
) -> tuple[np.ndarray, int, int]:
    """Patches [C, height, width, kh, kw] of an image [C, H, W]."""
    (kh, kw), (sh, sw), (dh, dw) = pair(size), pair(stride), pair(dilation)
    if isinstance(padding, str):
        total = (dh * (kh - 1), dw * (kw - 1)) if padding == "same" else (0, 0)
        before = (total[0] // 2, total[1] // 2)
        pads = [(before[0], total[0] - before[0]), (before[1], total[1] - before[1])]
    else:
        pads = [(p, p) for p in pair(padding)]
    x = np.pad(x, [(0, 0), *pads])
    h, w = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1, (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
    out = np.empty((len(x), h, w, kh, kw))
    for i in range(h):
        for j in range(w):
            top, left = i * sh, j * sw
            out[:, i, j] = x[
                :, top : top + dh * (kh - 1) + 1 : dh, left : left + dw * (kw - 1) + 1 : dw
            ]
    return out, h, w


def conv2d(node: Any, x: np.ndarray) -> np.ndarray:
    patches, h, w = windows(x, node.weight.shape[2:], node.stride, node.padding, node.dilation)
    groups, out = int(node.groups), np.empty((len(node.weight), h, w))
    per_out, per_in = len(node.weight) // groups, len(x) // groups
    for o, kernel in enumerate(node.weight):
        mine = patches[o // per_out * per_in : (o // per_out + 1) * per_in]
        out[o] = np.einsum("cijkl,ckl->ij", mine, kernel) + node.bias[o]
    return out


def conv1d(node: Any, x: np.ndarray) -> np.ndarray:
    """A 2d convolution of an image of height 1."""

    class Flat:
        weight, bias, groups = node.weight[:, :, None], node.bias, node.groups
        stride, dilation = (1, int(node.stride)), (1, int(node.dilation))
        padding = node.padding if isinstance(node.padding, str) else (0, int(node.padding))

    return conv2d(Flat, x[:, None])[:, 0]


def flatten(node: Any, x: np.ndarray) -> np.ndarray:
    start, end = node.start_dim % x.ndim, node.end_dim % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


STATELESS = {
    "Affine": lambda node, x: node.weight @ x + node.bias,
    "Linear": lambda node, x: node.weight @ x,
    "Scale": lambda node, x: node.scale * x,
    "Threshold": lambda node, x: (x > node.threshold).astype(float),
    "Conv1d": conv1d,
    "Conv2d": conv2d,
    "Flatten": flatten,
    "SumPool2d": lambda node, x: windows(x, node.kernel_size, node.stride, node.padding)[0].sum(
        (3, 4)
    ),
    "AvgPool2d": lambda node, x: windows(x, node.kernel_size, node.stride, node.padding)[0].mean(
        (3, 4)
    ),
}
