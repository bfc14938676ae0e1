"""Ordinary networks from ``.pt2`` files of ``torch.export.save``, read without torch's loader.

That loader falls back to pickle and makes Python code of names in the file. Here the graph is read
as JSON, and each operation becomes a layer by a table; an operation that is not in it is refused by
name.
"""

import json
import math
import operator
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

__all__ = ["exported"]

DTYPES = {
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    13: torch.bfloat16,
}  # of the format
PLAIN = ("as_int", "as_float", "as_bool", "as_ints", "as_floats", "as_string")
POOLS = {
    "max_pool1d": (nn.MaxPool1d, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    "max_pool2d": (nn.MaxPool2d, ("kernel_size", "stride", "padding", "dilation", "ceil_mode")),
    "avg_pool1d": (
        nn.AvgPool1d,
        ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    ),
    "avg_pool2d": (
        nn.AvgPool2d,
        ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
    ),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d, ("output_size",)),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, ("output_size",)),
    "hardtanh": (nn.Hardtanh, ("min_val", "max_val")),
    "hardtanh_": (nn.Hardtanh, ("min_val", "max_val")),
    "softmax": (nn.Softmax, ("dim",)),
    "log_softmax": (nn.LogSoftmax, ("dim",)),
}
IDLE = ("dropout", "dropout_", "feature_dropout", "clone", "contiguous", "detach")


def exported(path: Path) -> fx.GraphModule:
    """The network of a ``.pt2`` file, in evaluation mode.

    Raises:
        ValueError: the file is damaged, of another version, or has an operation that no layer
            computes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(n for n in archive.namelist() if n.endswith("archive_format")).removesuffix(
                "archive_format"
            )
            program = json.loads(archive.read(f"{root}models/model.json"))
            config = json.loads(archive.read(f"{root}data/weights/model_weights_config.json"))[
                "config"
            ]
            weights = {name: _weight(archive, root, name, entry) for name, entry in config.items()}
        graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
        return _Reader(graph, signature, weights).network()
    except (
        KeyError,
        IndexError,
        StopIteration,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{path} is no exported program of a known version ({error!r}); export it anew"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} cannot be read: {error}; save the network itself: snn.save(net, path)"
        ) from error


def _weight(archive: zipfile.ZipFile, root: str, name: str, entry: dict[str, Any]) -> Tensor:
    meta = entry["tensor_meta"]
    if entry["use_pickle"] or meta["dtype"] not in DTYPES:
        raise ValueError(f"{name} is a pickle, or has a dtype that is not read")
    shape, strides = ([size["as_int"] for size in meta[kind]] for kind in ("sizes", "strides"))
    data = bytearray(archive.read(f"{root}data/weights/{entry['path_name']}"))
    dtype = DTYPES[meta["dtype"]]
    if len(data) != math.prod(shape) * dtype.itemsize or meta["storage_offset"]["as_int"]:
        raise ValueError(f"{name} has {len(data)} bytes, which are not those of shape {shape}")
    made = torch.frombuffer(data, dtype=dtype) if data else torch.zeros(0, dtype=dtype)
    made = made.reshape(shape)
    if list(made.stride()) != strides and made.numel() > 1:
        raise ValueError(f"{name} is not contiguous in memory")
    return made


class _Reader:
    """Builds a network from the graph of a program, node by node."""

    def __init__(
        self, graph: dict[str, Any], signature: dict[str, Any], weights: dict[str, Tensor]
    ) -> None:
        self.nodes, self.outputs, self.root = graph["nodes"], graph["outputs"], nn.Module()
        sizes = {name: value["sizes"] for name, value in graph["tensor_values"].items()}
        self.shapes = {
            n: [s.get("as_int") for s in shape] for n, shape in sizes.items()
        }  # None: the batch
        self.graph, self.values, self.weights = fx.Graph(), {}, {}
        for spec in signature["input_specs"]:
            ((kind, entry),) = spec.items()
            if kind == "user_input":
                self.values[entry["arg"]["as_tensor"]["name"]] = self.graph.placeholder("x")
            elif kind in ("parameter", "buffer"):
                self.weights[entry["arg"]["name"]] = weights.get(entry[f"{kind}_name"])
            else:
                raise ValueError(f"it has a {kind}, which is not read")

    def network(self) -> fx.GraphModule:
        """The network."""
        if (
            len(self.outputs) != 1
            or sum(node.op == "placeholder" for node in self.graph.nodes) != 1
        ):
            raise ValueError("it has several inputs or outputs")
        for node in self.nodes:
            name = node["target"].removeprefix("torch.ops.aten.").partition(".")[0]
            given = {each["name"]: self._argument(each["arg"]) for each in node["inputs"]}
            if name not in ("sym_size", "_assert_scalar", "_assert_tensor_metadata"):
                self.values[node["outputs"][0]["as_tensor"]["name"]] = self._node(name, node, given)
        self.graph.output(self.values[self.outputs[0]["as_tensor"]["name"]])
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph).eval()

    def _argument(self, arg: dict[str, Any]) -> Any:
        ((kind, value),) = arg.items()
        if kind == "as_tensor":
            name = value["name"]
            return self.weights[name] if name in self.weights else self.values[name]
        if kind == "as_tensors":
            return [self.values[each["name"]] for each in value]
        return value if kind in PLAIN else None  # sizes of the batch, and None

    def _node(self, name: str, node: dict[str, Any], given: dict[str, Any]) -> fx.Node:
        source: Any = given.get("input", given.get("self"))
        before = node["inputs"][0]["arg"].get("as_tensor", {}).get("name")
        if (
            name == "add"
            and given.get("alpha", 1) == 1
            and all(isinstance(given[each], fx.Node) for each in ("self", "other"))
        ):
            return self.graph.call_function(operator.add, (given["self"], given["other"]))
        if name == "cat":
            return self.graph.call_function(torch.cat, (given["tensors"], given.get("dim", 0)))
        if name in IDLE and not given.get("train"):
            return source
        layer = self._layer(
            name, given, self.shapes.get(before), node["outputs"][0]["as_tensor"]["name"]
        )
        if layer is None or not isinstance(source, fx.Node):
            raise ValueError(f"its operation {node['target']} is computed by no layer")
        path = f"layer{len(list(self.graph.nodes))}"
        self.root.add_module(path, layer)
        return self.graph.call_module(path, (source,))

    def _layer(
        self, name: str, given: dict[str, Any], before: list[Any] | None, after: str
    ) -> nn.Module | None:
        """The layer of an operation; None if there is none."""
        if name in ("relu", "relu_", "relu6"):
            return nn.ReLU6() if name == "relu6" else nn.ReLU()
        if name in POOLS:
            kind, names = POOLS[name]
            return kind(**{each: given[each] for each in names if each in given})
        if name in ("linear", "conv1d", "conv2d") and isinstance(given["weight"], Tensor):
            return _weighted(name, given)
        if name == "batch_norm":
            return _batch_norm(given, len(before or ()))
        if name in ("flatten", "view", "reshape", "_unsafe_view") and before:
            flat = self.shapes[after]
            if len(flat) == 2 and None not in before[1:] and flat[1] == math.prod(before[1:]):
                return nn.Flatten(1)
        return None


def _weighted(name: str, given: dict[str, Any]) -> nn.Module:
    weight, bias = given["weight"], given.get("bias")
    if name == "linear":
        layer: Any = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    else:
        kind: Any = nn.Conv1d if name == "conv1d" else nn.Conv2d
        names = ("stride", "padding", "dilation", "groups")
        options = {each: given[each] for each in names if given.get(each) is not None}
        options = {
            each: tuple(value) if isinstance(value, list) else value
            for each, value in options.items()
        }
        channels = weight.shape[1] * options.get("groups", 1)
        layer = kind(
            channels,
            weight.shape[0],
            tuple(weight.shape[2:]),
            bias=bias is not None,
            device="meta",
            **options,
        )
    layer.weight = nn.Parameter(weight)
    layer.bias = None if bias is None else nn.Parameter(bias)
    return layer


def _batch_norm(given: dict[str, Any], axes: int) -> nn.Module:
    if given["training"]:
        raise ValueError(
            "it was exported in training mode; write net.eval() before torch.export.export"
        )
    mean, weight = given["running_mean"], given.get("weight")
    kind = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(axes, nn.BatchNorm1d)
    layer: Any = kind(len(mean), eps=given["eps"], affine=weight is not None)
    layer.running_mean, layer.running_var = mean, given["running_var"]
    if weight is not None:
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(given["bias"])
    return layer
