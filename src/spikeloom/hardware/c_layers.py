"""C for layers without memory: one function for each kind of layer.

Inputs that are 0 cost nothing: a layer with weights walks over its inputs and adds the weights of
those that are not 0. Where the inputs are spikes the weights are added, not multiplied.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from ..layers.spike_linear import SpikeLinear
from ..nir.modules import Offset, Scale
from .c_arithmetic import Arithmetic

__all__ = ["Block", "Site", "layer_block", "serves"]


@dataclass
class Block:
    """The C of one layer: ``x`` is its input, ``y`` its output, ``s`` the state of the network.

    Args:
        tables: constant arrays.
        body: statements of one step.
        state: size of each array of the state.
        counters: whole numbers of the state.
        reset: statements that put the state to rest, besides zeros.
        spikes: whether the output consists of zeros and ones.
    """

    tables: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    state: dict[str, int] = field(default_factory=dict)
    counters: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    spikes: bool = False


@dataclass(frozen=True)
class Site:
    """Where a layer is.

    Args:
        label: how its names in the C file end.
        path: its name in the network.
        shape_in: of its input, without the batch.
        shape_out: of its output, without the batch.
        spikes: whether its input consists of zeros and ones.
        arithmetic: type of the numbers.
    """

    label: str
    path: str
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    spikes: bool
    arithmetic: Arithmetic

    def name(self, stem: str) -> str:
        """Return the name of an array of this layer."""
        return f"{stem}_{self.label}"

    @property
    def size(self) -> int:
        """Return the number of outputs."""
        return torch.Size(self.shape_out).numel()

    def numbers(self, tensor: Tensor) -> list[float]:
        """Return the elements of a parameter, checked for integers where the file has integers.

        Raises:
            ValueError: a parameter is not an integer, or too large for its type.
        """
        values = tensor.detach().double().flatten()
        if self.arithmetic.whole and bool((values != values.round()).any()):
            raise ValueError(
                f"layer {self.path!r} has a parameter that is no integer, "
                f"{values[values != values.round()][0]:.4g}; convert the network with "
                "snn.hardware.quantize"
            )
        return values.tolist()


def _added(site: Site, weight: str) -> str:
    """Return what an active input adds to an output."""
    return weight if site.spikes else f"x_i * {weight}"


def _active(site: Site) -> list[str]:
    """Return the lines that skip a silent input and remember the value of an active one."""
    if site.spikes:
        return ["if (x[i] == 0) continue;"]
    return [f"const {site.arithmetic.real} x_i = x[i];", "if (x_i == 0) continue;"]


def _bias(site: Site, bias: Tensor | None, inner: int, tables: list[str]) -> str:
    """Return the statement that fills the output with the bias."""
    if bias is None or not bool(bias.any()):
        return f"for (int o = 0; o < {site.size}; o++) y[o] = 0;"
    name = site.name("bias")
    tables += site.arithmetic.table(name, site.numbers(bias), f"[{bias.numel()}]")
    index = "o" if inner == 1 else f"o / {inner}"
    return f"for (int o = 0; o < {site.size}; o++) y[o] = {name}[{index}];"


def _linear(site: Site, module: nn.Linear) -> Block:
    block = Block()
    arithmetic = site.arithmetic
    inputs = module.in_features
    outputs = module.out_features
    rows = torch.Size(site.shape_in).numel() // inputs
    name = site.name("weight")
    values = site.numbers(module.weight.t().contiguous())  # by input: one row for each spike
    block.tables = arithmetic.table(name, values, f"[{inputs} * {outputs}]", arithmetic.weight)
    fill = _bias(site, module.bias, 1, block.tables)
    if rows > 1:
        fill = fill.replace("[o];", f"[o % {outputs}];")
    first, out = ("i", "y") if rows == 1 else (f"(i % {inputs})", f"(y + i / {inputs} * {outputs})")
    block.body = [
        fill,
        f"for (int i = 0; i < {rows * inputs}; i++) {{",
        *(f"    {line}" for line in _active(site)),
        f"    const {arithmetic.weight} *w = {name} + {first} * {outputs};",
        f"    for (int o = 0; o < {outputs}; o++) {out}[o] += {_added(site, 'w[o]')};",
        "}",
    ]
    return block


def _convolution(site: Site, module: Any) -> Block:
    """A convolution of one or two axes: each active input adds its weights to the outputs."""
    two = isinstance(module, nn.Conv2d)
    weight = module.weight if two else module.weight[:, :, None, :]
    stride, padding, dilation = _geometry(module, two)
    height, width = site.shape_in[1:] if two else (1, site.shape_in[1])
    rows, columns = site.shape_out[1:] if two else (1, site.shape_out[1])
    out, each, high, wide = weight.shape
    per_group = out // module.groups
    # [in, kernel, out in the group]: the weights that one active input needs are neighbours
    ordered = weight.reshape(module.groups, per_group, each, high, wide)
    ordered = ordered.permute(0, 2, 3, 4, 1).contiguous()
    name = site.name("weight")
    arithmetic = site.arithmetic
    real = site.arithmetic.real
    block = Block()
    sizes = f"[{each * module.groups} * {high} * {wide} * {per_group}]"
    block.tables = arithmetic.table(name, site.numbers(ordered), sizes, arithmetic.weight)
    fill = _bias(site, module.bias, rows * columns, block.tables)
    group = f"(c / {each} * {per_group}) * {rows * columns} + " if module.groups > 1 else ""
    block.body = [
        fill,
        f"for (int i = 0; i < {each * module.groups * height * width}; i++) {{",
        *(f"    {line}" for line in _active(site)),
        f"    const int c = i / {height * width};",
        f"    const int row = i / {width} % {height} + {padding[0]};",
        f"    const int column = i % {width} + {padding[1]};",
        f"    for (int j = 0; j < {high}; j++) {{",
        *(f"        {line}" for line in _landing("row", "r", "j", 0, stride, dilation, rows)),
        f"        for (int k = 0; k < {wide}; k++) {{",
        *(
            f"            {line}"
            for line in _landing("column", "q", "k", 1, stride, dilation, columns)
        ),
        f"            const {arithmetic.weight} *w =",
        f"                {name} + ((c * {high} + j) * {wide} + k) * {per_group};",
        f"            {real} *to = y + {group}r * {columns} + q;",
        f"            for (int o = 0; o < {per_group}; o++)",
        f"                to[o * {rows * columns}] += {_added(site, 'w[o]')};",
        "        }",
        "    }",
        "}",
    ]
    return block


def _geometry(module: Any, two: bool) -> tuple[tuple[int, int], ...]:
    """Stride, padding and dilation along both axes."""
    if module.padding_mode != "zeros":
        raise ValueError(f"padding_mode={module.padding_mode!r} cannot be written; use 'zeros'")
    padding = module.padding
    if padding == "valid":
        padding = (0,) * len(module.kernel_size)
    elif padding == "same":
        reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        padding = tuple(r // 2 for r in reach)
    pairs = (module.stride, padding, module.dilation)
    return tuple(tuple(pair) if two else ((1, 0, 1)[n], pair[0]) for n, pair in enumerate(pairs))  # pyright: ignore[reportReturnType]


def _landing(
    place: str, name: str, tap: str, axis: int, stride: Any, dilation: Any, size: int
) -> list[str]:
    """Lines that find the output position which a tap of the kernel connects with an input."""
    step = f"{tap} * {dilation[axis]}" if dilation[axis] > 1 else tap
    lines = [f"int {name} = {place} - {step};"]
    if stride[axis] > 1:
        lines += [
            f"if ({name} < 0 || {name} % {stride[axis]} != 0) continue;",
            f"{name} /= {stride[axis]};",
            f"if ({name} >= {size}) continue;",
        ]
    else:
        lines.append(f"if ({name} < 0 || {name} >= {size}) continue;")
    return lines


def _pool(site: Site, module: Any) -> Block:
    """Average or maximum over windows, along one axis or two."""
    average = isinstance(module, (nn.AvgPool1d, nn.AvgPool2d))
    two = isinstance(module, (nn.AvgPool2d, nn.MaxPool2d))
    kernel, stride = (_pair(v, two, 1) for v in (module.kernel_size, module.stride))
    padding = _pair(module.padding, two, 0)
    if module.ceil_mode or (not average and _pair(module.dilation, two, 1) != (1, 1)):
        raise ValueError(
            f"layer {site.path!r}: ceil_mode and dilation of pooling cannot be written"
        )
    if average and not module.count_include_pad and padding != (0, 0):
        raise ValueError(f"layer {site.path!r}: count_include_pad=False cannot be written")
    if average and site.arithmetic.whole:
        raise ValueError(f"layer {site.path!r}: averages are no integers; use maximum pooling")
    height, width = site.shape_in[1:] if two else (1, site.shape_in[1])
    rows, columns = site.shape_out[1:] if two else (1, site.shape_out[1])
    real = site.arithmetic.real
    divisor = getattr(module, "divisor_override", None) or kernel[0] * kernel[1]
    if average:
        start = [f"{real} sum = 0;"]
        take = ["sum += x[at];"]
        result = f"sum / {site.arithmetic.literal(divisor)}"
    else:
        start = [f"{real} best = 0;", "int seen = 0;"]
        take = ["if (!seen || x[at] > best) best = x[at];", "seen = 1;"]
        result = "best"
    before = [f" - {size}" if size else "" for size in padding]
    outside = f"if (r < 0 || r >= {height} || q < 0 || q >= {width}) continue;"
    body = [
        f"for (int o = 0; o < {site.size}; o++) {{",
        f"    const int c = o / {rows * columns};",
        f"    const int top = o / {columns} % {rows} * {stride[0]}{before[0]};",
        f"    const int left = o % {columns} * {stride[1]}{before[1]};",
        *(f"    {line}" for line in start),
        f"    for (int r = top; r < top + {kernel[0]}; r++)",
        f"        for (int q = left; q < left + {kernel[1]}; q++) {{",
        *([f"            {outside}"] if any(padding) else []),
        f"            const int at = (c * {height} + r) * {width} + q;",
        *(f"            {line}" for line in take),
        "        }",
        f"    y[o] = {result};",
        "}",
    ]
    return Block(body=body, spikes=site.spikes and not average)


def _pair(value: Any, two: bool, other: int) -> tuple[int, int]:
    """One setting along both axes; ``other`` is that of the axis which a layer of one lacks."""
    if isinstance(value, int):
        return (value, value) if two else (other, value)
    return tuple(value) if two else (other, value[0])  # pyright: ignore[reportReturnType]


def _pointwise(site: Site, expression: str, **arrays: Tensor) -> Block:
    """``y = expression`` with parameters that are shared, by channel, or of each element."""
    block = Block()
    for name, value in arrays.items():
        index = _table(site, name, value, block.tables)
        expression = expression.replace(name, index)
    block.body = [f"for (int i = 0; i < {site.size}; i++) y[i] = {expression};"]
    return block


def _table(site: Site, name: str, value: Tensor, tables: list[str], kind: str = "") -> str:
    """Return how element ``i`` of a parameter is read; a table is added unless all are equal."""
    full = value.detach().double().expand(site.shape_out).reshape(-1)
    if bool((full == full[0]).all()):
        return site.arithmetic.literal(full[0].item(), kind)
    by_channel = full.reshape(site.shape_out[0], -1)
    inner = by_channel.shape[1]
    shared = inner > 1 and bool((by_channel == by_channel[:, :1]).all())
    values = by_channel[:, 0] if shared else full
    label = site.name(name)
    tables += site.arithmetic.table(label, site.numbers(values), f"[{values.numel()}]", kind)
    return f"{label}[i / {inner}]" if shared else f"{label}[i]"


def _batch_norm(site: Site, module: Any) -> Block:
    if module.training or module.running_mean is None:
        raise ValueError(f"layer {site.path!r} computes with the batch; call net.eval() first")
    scale = (module.running_var + module.eps).rsqrt()
    if module.affine:
        scale = scale * module.weight
    shift = -module.running_mean * scale
    if module.affine:
        shift = shift + module.bias
    axes = (-1, *[1] * (len(site.shape_out) - 1))
    return _pointwise(site, "x[i] * scale + shift", scale=scale.view(axes), shift=shift.view(axes))


LAYERS: dict[type, Callable[[Site, Any], Block]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.AvgPool1d: _pool,
    nn.AvgPool2d: _pool,
    nn.MaxPool1d: _pool,
    nn.MaxPool2d: _pool,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.ReLU: lambda site, module: _pointwise(site, "(x[i] > 0 ? x[i] : 0)"),
    Scale: lambda site, module: _pointwise(site, "x[i] * factor", factor=module.factor),
    Offset: lambda site, module: _pointwise(site, "x[i] + value", value=module.value),
}


def serves(module: Any) -> bool:
    """Whether a layer without memory can be written."""
    return _maker(module) is not None


def _maker(module: Any) -> Callable[[Site, Any], Block] | None:
    """The function that writes a layer; None also for a subclass with another ``forward``."""
    forward = getattr(type(module), "forward", None)
    for kind, make in LAYERS.items():
        if isinstance(module, kind) and forward in (kind.forward, SpikeLinear.forward):
            return make
    return None


def layer_block(site: Site, module: Any) -> Block:
    """Return the C of a layer, or of a product with a constant.

    Raises:
        ValueError: it cannot be written.
    """
    if not isinstance(module, nn.Module):
        return _pointwise(site, "x[i] * factor", factor=torch.as_tensor(module))
    make = _maker(module)
    if make is None:
        known = ", ".join(kind.__name__ for kind in LAYERS)
        raise ValueError(
            f"layer {site.path!r} ({type(module).__name__}) cannot be written as C; what can: "
            f"{known}, nn.Flatten, SynapticDelay and neurons"
        )
    for name, parameter in module.named_parameters():
        checks.finite(parameter.detach(), f"the {name} of layer {site.path!r}")
    return make(site, module)
