"""What two readers of NIR for chips compute, in plain NumPy: Rockpool's, and the one for Lava-DL.

Both are written from the sources of their libraries: ``rockpool/nn/modules/torch/nir.py`` and
``lif_torch.py`` of Rockpool 3.1.0; ``paper/nir_to_lava.py`` of NIR's repository with
``slayer/neuron/cuba.py`` of Lava-DL 0.6. Lava-DL installs on Python 3.10 only, so that its own
reader is not run here. One sample of a chain, [T, ...].
"""

from typing import Any

import numpy as np

__all__ = ["lava", "rockpool"]


def rockpool(graph: Any, x: np.ndarray) -> np.ndarray:
    """Spikes of linear layers and `LIFTorch`, which counts several spikes in a step."""
    for node in _chain(graph):
        kind = type(node).__name__
        if kind in ("Affine", "Linear"):
            x = x @ np.asarray(node.weight).T + np.asarray(getattr(node, "bias", 0.0))
        elif kind == "NIRGraph":
            inner = {type(each).__name__: each for each in node.nodes.values()}
            feedback = inner["Affine"] if "Affine" in inner else inner["Linear"]
            x = _lif_torch(inner["CubaLIF"], x, np.asarray(feedback.weight))
        elif kind == "CubaLIF":
            x = _lif_torch(node, x, np.zeros((x.shape[1], x.shape[1])))
        else:
            raise NotImplementedError(kind)
    return x


def _lif_torch(node: Any, x: np.ndarray, feedback: np.ndarray) -> np.ndarray:
    dt = (node.tau_mem / (1 + node.r)).min()
    keep_mem = np.exp(-dt / node.tau_mem)
    keep_syn = np.exp(-dt / node.tau_syn)
    mem = syn = spikes = np.zeros(x.shape[1])
    sent = []
    for x_t in x:
        syn = (syn + x_t + feedback @ spikes) * keep_syn
        mem = mem * keep_mem + syn + node.v_leak
        spikes = np.where(mem >= node.v_threshold, np.floor(mem / node.v_threshold), 0.0)
        mem = mem - spikes * node.v_threshold
        sent.append(spikes)
    return np.stack(sent)


def lava(graph: Any, x: np.ndarray) -> np.ndarray:
    """Spikes of layers in float32 and integrate-and-fire neurons in units of 2^-18."""
    x = x.astype(np.float32)
    for node in _chain(graph):
        kind = type(node).__name__
        if kind == "Affine":
            x = x @ node.weight.astype(np.float32).T + node.bias.astype(np.float32)
        elif kind == "Conv2d":
            assert not node.bias.any(), "bias not supported in lava-dl"
            x = _convolution(x, node)
        elif kind == "SumPool2d":
            x = _sums(x, node)
        elif kind == "Flatten":
            # its tensors are [B, ..., T]: the axis of time must stay apart, and that of the batch
            assert node.end_dim == -1 and node.start_dim == 0
            x = x.reshape(len(x), -1)
        elif kind == "IF":
            x = _cuba(node, x)
        else:
            raise ValueError(f"Unknown node type: {kind}")
    return x


def _cuba(node: Any, x: np.ndarray) -> np.ndarray:
    weight_scale, scale = 4096, 4096 * 64
    (threshold,) = np.unique(node.v_threshold) * np.unique(node.r)
    threshold = int(threshold * weight_scale) / weight_scale
    fires_at = threshold + 0.01 / scale
    mem = np.zeros(x.shape[1:], np.int64)
    sent = []
    for x_t in x:
        voltage = mem + (scale * x_t).astype(np.int64)
        mem = voltage * (voltage < fires_at * scale)
        # the spike is decided a second time, in float32
        sent.append((voltage / scale).astype(np.float32) >= np.float32(fires_at))
    return np.stack(sent).astype(np.float32)


def _windows(x: np.ndarray, size: Any, stride: Any, padding: Any) -> np.ndarray:
    (high, wide), (down, right), (top, left) = (
        tuple(int(v) for v in np.broadcast_to(each, 2)) for each in (size, stride, padding)
    )
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (high, wide), (2, 3))
    return seen[:, :, ::down, ::right]


def _convolution(x: np.ndarray, node: Any) -> np.ndarray:
    weight = node.weight.astype(np.float32)
    seen = _windows(x, weight.shape[2:], node.stride, node.padding)
    return np.tensordot(seen, weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


def _sums(x: np.ndarray, node: Any) -> np.ndarray:
    return _windows(x, node.kernel_size, node.stride, node.padding).sum((4, 5))


def _chain(graph: Any) -> list[Any]:
    """The nodes from the input to the output; both readers want one way."""
    after = dict(graph.edges)
    assert len(after) == len(graph.edges), "branching networks are not supported"
    found = []
    name = after["input"]
    while name != "output":
        found.append(graph.nodes[name])
        name = after[name]
    return found
