"""A network as one file of C99 without dependencies: `to_c`."""

import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import files
from ..core.neuron import Neuron
from ..core.numbers import network
from ..core.tree import reset
from ..layers.delay import SynapticDelay
from ..nir.network import Network
from ..nir.wiring import Part, Wiring, step_of_input, wiring_of
from ..running import run
from .c_arithmetic import DOUBLE, FLOAT, INTEGER, Arithmetic, untaken
from .c_layers import Block, Site, layer_block, serves
from .c_neurons import delay_block, neuron_block
from .fixed import FixedPointLeaky

__all__ = ["to_c"]


def to_c(
    net: nn.Module,
    sample: Tensor | tuple[Tensor, ...],
    path: Any = None,
    *,
    name: str = "network",
    test: Tensor | None = None,
) -> str:
    """Write a network as one C99 file without dependencies and without ``malloc``.

    The file defines ``struct NAME_state``, ``NAME_reset(state)`` and ``NAME_step(state, input,
    output)``, which computes one time step of one sample; several inputs or outputs are
    ``input_0``, ``input_1``. Weights of silent inputs are skipped, and
    weights of spikes are added, not multiplied. Layers that a graph runs in a loop read what was
    sent one step before. Neurons are printed from their equations: every neuron whose step is
    arithmetic of its own, also one that a user wrote.

    The type of the numbers is that of the network: ``float``, ``double``, or ``int32_t`` with
    8-bit weights for a network of `quantize`. Compile with ``-ffp-contract=off``, since a fused
    product and sum rounds once where PyTorch rounds twice. Sums of the weights of many spikes are
    taken in another order than PyTorch's: a membrane may differ in its last bits, and a neuron
    whose membrane meets its threshold up to those bits may spike otherwise. Integers are exact.

    Args:
        net: takes one time step [B, ...] per call, its neurons called with their input only; or
            what `from_nir` returned. Layers: linear, convolutions of one and two axes, average and
            maximum pooling, batch normalization in evaluation, ReLU, flattening, sums, products
            with constants, delays, neurons.
        sample: one step of input, [B, ...], or a tuple of them for several inputs; only shapes and
            dtype matter.
        path: file to write; it must not exist. Default: only return the text.
        name: prefix of all names in the file, a C identifier.
        test: input over time, [T, ...] without a batch axis; then the file has a ``main``, compiled
            where ``NAME_TEST`` is defined, that compares its outputs with those of ``snn.run`` and
            returns 0 if all are equal.

    Returns:
        The text of the file.

    Raises:
        ValueError: something in the network cannot be written (the message names it), or ``name``
            is no C identifier.
        TypeError: ``net`` is no module, or the dtype is neither float32 nor float64.
        FileExistsError: ``path`` exists.

    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    >>> text = snn.hardware.to_c(net, torch.zeros(1, 3))
    >>> [line for line in text.splitlines() if line.startswith("void")]
    ['void network_reset(struct network_state *s);', 'void network_step(',
     'void network_reset(struct network_state *s)', 'void network_step(']
    """
    network(net)
    if not re.fullmatch(r"[A-Za-z_]\w*", str(name)):
        raise ValueError(f"name must be a C identifier such as 'network', got {name!r}")
    step_of_input(sample)
    if path is not None and Path(path).exists():
        raise FileExistsError(f"{path} exists; choose another path, or remove the file")
    wiring = wiring_of(net, sample, accepts=_accepts)
    text = _File(net, wiring, _arithmetic(net, wiring.dtype), name).text(test)
    if path is not None:
        with files.explained(Path(path)), files.atomic(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return text


def _accepts(module: nn.Module) -> bool:
    return serves(module) or isinstance(module, (nn.Flatten, SynapticDelay))


def _arithmetic(net: nn.Module, dtype: torch.dtype) -> Arithmetic:
    if any(isinstance(module, FixedPointLeaky) for module in net.modules()):
        return INTEGER
    found = {torch.float32: FLOAT, torch.float64: DOUBLE}.get(dtype)
    if found is None:
        raise TypeError(f"C has float32 and float64, got a sample of {dtype}")
    return found


class _File:
    """The parts of a network on their way to C."""

    def __init__(self, net: nn.Module, wiring: Wiring, arithmetic: Arithmetic, name: str) -> None:
        self.net = net
        self.wiring = wiring
        self.arithmetic = arithmetic
        self.name = name
        self.kinds = {n: type(p.what).__name__ for n, p in wiring.parts.items()}
        self.label = _labels(list(wiring.parts))
        self.spikes: dict[str, bool] = {}
        self.blocks: dict[str, Block] = {}
        self.aliases: dict[str, str] = {}  # parts that only pass on what another one sends
        neurons = {n: p for n, p in wiring.parts.items() if isinstance(p.what, Neuron)}
        for part_name, part in (neurons | wiring.parts).items():  # a loop reads a later neuron
            self._enter(part_name, part)
        self.blocks = {n: self.blocks[n] for n in wiring.parts if n in self.blocks}

    def _enter(self, name: str, part: Part) -> None:
        spikes = len(part.sources) == 1 and self.spikes.get(part.sources[0], False)
        site = Site(self.label[name], name, part.shape_in, part.shape_out, spikes, self.arithmetic)
        reshapes = part.what is None or isinstance(part.what, nn.Flatten)
        if reshapes and len(part.sources) == 1 and not isinstance(self.net, Network):
            self.aliases[name] = part.sources[0]
            self.spikes[name] = spikes
            return
        if reshapes:
            block = Block(body=[f"for (int i = 0; i < {site.size}; i++) y[i] = x[i];"])
            block.spikes = spikes
        elif isinstance(part.what, Neuron):
            block = neuron_block(site, part.what)
        elif isinstance(part.what, SynapticDelay):
            block = delay_block(site, part.what)
        else:
            block = layer_block(site, part.what)
        self.blocks[name] = block
        self.spikes[name] = block.spikes

    # -- the text ------------------------------------------------------------------------------

    def text(self, test: Tensor | None) -> str:
        """Return the whole file."""
        layers = [self._function(name, block) for name, block in self.blocks.items()]
        sections = [
            self._header(),
            [*self._state(), "", *self._prototypes()],
            *layers,
            self._reset(),
            self._step(),
            *([] if test is None else [self._test(test)]),
        ]
        return "\n\n".join("\n".join(section) for section in sections) + "\n"

    def _inputs(self) -> dict[str, int]:
        """Names and sizes of the inputs in C."""
        sizes = [torch.Size(shape).numel() for shape in self.wiring.inputs.values()]
        return _numbered("input", sizes)

    def _outputs(self) -> dict[str, int]:
        """Names and sizes of the outputs in C."""
        shapes = [self.wiring.shape_of(sources[0]) for sources in self.wiring.outputs]
        return _numbered("output", [torch.Size(shape).numel() for shape in shapes])

    def _header(self) -> list[str]:
        version = getattr(sys.modules[__name__.partition(".")[0]], "__version__", "")
        ends = self._inputs() | self._outputs()
        real = self.arithmetic.real
        width = {"double": 8}.get(real, 4)
        numbers = sum(size for name in self.blocks for _, size, _ in self._fields(name))
        counters = -(-4 * len(self._counters()) // width) * width
        lines = [
            f"/* {self.name}: written by Spikeloom {version}. C99, no dependencies, no allocation.",
            " *",
            f" *     struct {self.name}_state state;",
            f" *     {self.name}_reset(&state);",
            f" *     {self.name}_step(&state, {', '.join(ends)});   once for each time step",
            " *",
            *(f" * {name}: {size} numbers of type {real}" for name, size in ends.items()),
            f" * state: {numbers * width + counters} bytes",
            " *",
            " * A spike is 1. A table of weights has one row for each input: its weights to all",
            " * outputs, or through one tap of a kernel to all channels. int must have 32 bits.",
        ]
        if self.arithmetic.whole:
            lines.append(" * A right shift must keep the sign of a negative number.")
        else:
            lines.append(" * Compile with -ffp-contract=off: PyTorch rounds products and sums.")
        lines.append(" */")
        body = "\n".join(line for block in self.blocks.values() for line in block.body)
        functions = r"\b(exp|log|sqrt|sin|cos|tanh|atan|erf|floor)f?\(|INFINITY"
        if re.search(functions, body):
            lines.append("#include <math.h>")
        lines.append("#include <stdint.h>" if self.arithmetic.whole else "")
        return [line for line in lines if line]

    def _fields(self, name: str) -> list[tuple[str, int, str]]:
        """Arrays of a part in the state of the network: name, size, and what they hold."""
        part = self.wiring.parts[name]
        label = self.label[name]
        sent, received = (torch.Size(s).numel() for s in (part.shape_out, part.shape_in))
        fields = [(f"out_{label}", sent, f"output of {name}")]
        if len(part.sources) > 1:
            fields.append((f"in_{label}", received, f"input of {name}"))
        own = self.blocks[name].state.items()
        return fields + [(field, size, f"state of {name}") for field, size in own]

    def _counters(self) -> list[str]:
        return [counter for block in self.blocks.values() for counter in block.counters]

    def _state(self) -> list[str]:
        real = self.arithmetic.real
        lines = [f"struct {self.name}_state {{"]
        for name in self.blocks:
            for field, size, holds in self._fields(name):
                lines.append(f"    {real} {field}[{size}]; /* {holds} */")
        lines += [f"    int {counter};" for counter in self._counters()]
        if not self.blocks:
            lines.append("    char unused; /* C has no empty struct */")
        return [*lines, "};"]

    def _prototypes(self) -> list[str]:
        reset, step = self._heads()
        return [f"{reset};", *step[:-1], f"{step[-1]};"]

    def _heads(self) -> tuple[str, list[str]]:
        """The declarations of the two functions, without a semicolon."""
        real = self.arithmetic.real
        state = f"struct {self.name}_state *s"
        inputs = "".join(f", const {real} *{name}" for name in self._inputs())
        outputs = "".join(f", {real} *{name}" for name in self._outputs())
        step = [f"void {self.name}_step(", f"    {state}{inputs}{outputs})"]
        return f"void {self.name}_reset({state})", step

    def _function(self, name: str, block: Block) -> list[str]:
        part = self.wiring.parts[name]
        real = self.arithmetic.real
        label = self.label[name]
        shapes = " -> ".join(
            " x ".join(map(str, shape)) for shape in (part.shape_in, part.shape_out)
        )
        lines = [f"/* {name}: {self.kinds[name]}, {shapes} */", *block.tables]
        state = f"struct {self.name}_state *s, " if self._reads_state(block) else ""
        lines.append(f"static void layer_{label}({state}const {real} *x, {real} *y)")
        return [*lines, "{", *(f"    {line}" for line in block.body), "}"]

    @staticmethod
    def _reads_state(block: Block) -> bool:
        return any("s->" in line for line in block.body)

    def _reset(self) -> list[str]:
        lines = [self._heads()[0], "{"]
        if not self.blocks:
            lines.append("    s->unused = 0;")
        for name, block in self.blocks.items():
            for field, size, _ in self._fields(name):
                lines.append(f"    for (int i = 0; i < {size}; i++) s->{field}[i] = 0;")
            lines += [f"    s->{counter} = 0;" for counter in block.counters]
            lines += [f"    {line}" for line in block.reset]
        for label, values in self._at_rest().items():
            for position, value in enumerate(values):
                if value:
                    text = self.arithmetic.literal(value)
                    lines.append(f"    s->out_{label}[{position}] = {text};")
        return [*lines, "}"]

    def _at_rest(self) -> dict[str, list[float]]:
        """What layers in a loop send before the first step."""
        net = self.net
        if not isinstance(net, Network) or not net.loop_bias:
            return {}
        likes = [torch.zeros(1, *s, dtype=self.wiring.dtype) for s in self.wiring.inputs.values()]
        like = likes[0]
        if not net.shapes:
            net.shapes = net.shapes_for(*likes)
        found = {}
        for name in net.delayed:
            value = None if name in net.inputs else net._at_rest(name, like)
            if value is not None:
                last = [n for n in self.label if n == name or n.startswith(f"{name}.")][-1]
                found[self.label[last]] = value.detach().flatten().tolist()
        return found

    def _source(self, name: str) -> str:
        name = self.aliases.get(name, name)
        if name in self.aliases:
            return self._source(name)
        arrays = dict(zip(self.wiring.inputs, self._inputs(), strict=True))
        return arrays[name] if name in arrays else f"s->out_{self.label[name]}"

    def _step(self) -> list[str]:
        lines = [*self._heads()[1], "{"]
        if not self.blocks:
            lines.append("    (void)s;")
        for name, block in self.blocks.items():
            part = self.wiring.parts[name]
            label = self.label[name]
            source = self._source(part.sources[0])
            if len(part.sources) > 1:
                size = torch.Size(part.shape_in).numel()
                total = " + ".join(f"{self._source(n)}[i]" for n in part.sources)
                lines.append(f"    for (int i = 0; i < {size}; i++) s->in_{label}[i] = {total};")
                source = f"s->in_{label}"
            state = "s, " if self._reads_state(block) else ""
            lines.append(f"    layer_{label}({state}{source}, s->out_{label});")
        outputs = self._outputs().items()
        for (target, size), sources in zip(outputs, self.wiring.outputs, strict=True):
            total = " + ".join(f"{self._source(n)}[i]" for n in sources)
            lines.append(f"    for (int i = 0; i < {size}; i++) {target}[i] = {total};")
        return [*lines, "}"]

    def _test(self, test: Tensor) -> list[str]:
        """A program that runs the test vector and counts what differs."""
        if len(self._inputs()) > 1 or len(self._outputs()) > 1:
            raise ValueError("a test vector needs a network with one input and one output")
        ((_, shape),) = self.wiring.inputs.items()
        if tuple(test.shape[1:]) != tuple(shape) or len(test) == 0:
            raise ValueError(
                f"test must be [T, {', '.join(map(str, shape))}] with T > 0, got "
                f"{tuple(test.shape)}"
            )
        (inputs,) = self._inputs().values()
        (size,) = self._outputs().values()
        expected = _outputs(self.net, test.to(self.wiring.dtype)[:, None])
        steps = len(test)
        real = self.arithmetic.real
        table = self.arithmetic.table
        return [
            f"#ifdef {self.name.upper()}_TEST",
            "#include <stdio.h>",
            *table("test_input", test.double().flatten().tolist(), f"[{steps} * {inputs}]"),
            *table("test_output", expected.double().flatten().tolist(), f"[{steps} * {size}]"),
            "int main(void)",
            "{",
            f"    static struct {self.name}_state state;",
            f"    {real} output[{size}];",
            "    int wrong = 0;",
            f"    {self.name}_reset(&state);",
            f"    for (int t = 0; t < {steps}; t++) {{",
            f"        {self.name}_step(&state, test_input + t * {inputs}, output);",
            f"        for (int i = 0; i < {size}; i++)",
            f"            wrong += output[i] != test_output[t * {size} + i];",
            "    }",
            f'    printf("%d of %d outputs differ\\n", wrong, {steps * size});',
            "    return wrong != 0;",
            "}",
            "#endif",
        ]


def _labels(names: list[str]) -> dict[str, str]:
    """How the arrays and the function of each part end in C: its name, as far as C has it.

    >>> _labels(["0", "1.lif", "1_lif"])
    {'0': '0', '1.lif': '1_lif', '1_lif': '1_lif_2'}
    """
    labels: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        labels[name] = untaken(plain, labels.values())
    return labels


def _numbered(stem: str, sizes: list[int]) -> dict[str, int]:
    """Names of arrays with their sizes; one has no number."""
    names = [stem] if len(sizes) == 1 else [f"{stem}_{n}" for n in range(len(sizes))]
    return dict(zip(names, sizes, strict=True))


def _outputs(net: nn.Module, x: Tensor) -> Tensor:
    """What `run` returns over time for one sample, the network put to rest before and after."""
    reset(net)
    with torch.no_grad():
        out = run(net, x)
    reset(net)
    first = out[0] if isinstance(out, tuple) else out
    return first
