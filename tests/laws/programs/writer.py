"""From a seed to the text of a program and the choices around it."""

import random
import re
import textwrap

from . import lines
from .network import LAYERS, NEURONS, RETURNS_STATE
from .program import Program

__all__ = ["write"]

# relative weights of the groups of lines
BEFORE = {
    "nothing": 5,
    "pure": 5,
    "shapes": 3,
    "in place": 3,
    "random": 3,
    "modes": 2,
    "state across steps": 3,
    "values": 2,
    "modules": 2,
    "indices": 2,
}
AFTER = {
    "nothing": 4,
    "pure": 2,
    "records": 4,
    "buffers": 4,
    "decisions": 2,
    "in place": 2,
    "graph": 4,
}


def write(seed: int, style: str | None = None) -> Program:
    """The program of a seed, the same at every call; ``style`` forces one."""
    r = random.Random(seed)
    depth = r.choice([1, 2, 2, 3])
    style = style or r.choice(["class", "class", "class", "function", "step"])
    program = Program(
        seed=seed,
        style=style,
        layers=r.choices(list(LAYERS), k=depth),
        neurons=r.choices(list(NEURONS), k=depth),
        hidden=[style == "step" or r.random() < 0.5 for _ in range(depth)],
        online="none" if style == "step" else r.choice(["none"] * 5 + list(lines.ONLINE)),
        mode=r.choice(["grad"] * 6 + ["no_grad", "inference"]),
        calls=r.choice([1, 1, 2]),
        training=r.random() < 0.8,
        double=r.random() < 0.8,
        input=r.choice(["plain", "plain", "leaf", "leaf", "numpy"]),
        hooks=r.choice(["none"] * 6 + ["watching"] * 2 + ["changing"]),
        second=r.random() < 0.2,
        reset=r.random() < 0.4,
        batch=r.choice([13, 13, 13, 3]),
    )
    for index, name in enumerate(program.neurons):
        program.hidden[index] |= name in RETURNS_STATE  # its state is a tuple in a tuple
    if program.online != "none":
        program.second = False
        program.input = "plain" if program.input == "leaf" else program.input
    program.text = _step(program, r) if style == "step" else _loop(program, r)
    return program


def _pick(
    r: random.Random, program: Program, weights: dict[str, int], table: dict[str, list[str]]
) -> str:
    group = r.choices(list(weights), weights=list(weights.values()))[0]
    line = r.choice(table[group])
    if program.online.startswith("backward") and line in lines.KEEP_GRAPHS:
        return ""
    return line


def _layer(program: Program, r: random.Random, index: int, shared: bool) -> list[str]:
    """Lines of one layer, its neuron, and what is done before and after."""
    body = [_pick(r, program, BEFORE, lines.BEFORE) for _ in range(r.choice([0, 1, 1, 2]))]
    layer = f"self.layers[{0 if shared else index}](h)"
    body += ["skip = h", f"h = {layer} + skip"] if r.random() < 0.15 else [f"h = {layer}"]
    body.append(f"neuron = self.neurons[{index}]")
    fields = NEURONS[program.neurons[index]][0].State._fields
    if program.hidden[index]:
        first = "[0]" if program.neurons[index] in RETURNS_STATE else ""
        body += [f"o = neuron(h){first}", f"mem = neuron.{fields[0]}"]
    elif "spk" in fields:
        body += [f"states[{index}] = neuron(h, *states[{index}])", f"o = states[{index}][0]"]
        body.append(f"mem = states[{index}][{fields.index('mem') if 'mem' in fields else 0}]")
    else:
        body += [f"o, *states[{index}] = neuron(h, *states[{index}])", f"mem = states[{index}][0]"]
    body += [_pick(r, program, AFTER, lines.AFTER) for _ in range(r.choice([0, 1, 1, 2]))]
    return [*body, "h = o"]


def _layers(program: Program, r: random.Random) -> list[str]:
    shared = r.random() < 0.15
    return [
        line for index in range(len(program.layers)) for line in _layer(program, r, index, shared)
    ]


def _loop(program: Program, r: random.Random) -> str:
    """A function of the network and x with a loop over time of its own."""
    before, header, first = r.choice(lines.LOOPS)
    if program.online.startswith("backward"):
        before, header, first = lines.LOOPS[r.choice([0, 1, 2, 3])]
    body = [first]
    if r.random() < 0.06:
        body.append("if t == 2:\n    continue")
    if r.random() < 0.15:
        body.append("h = h + feedback * 0.3")
    body += [*_layers(program, r), lines.ONLINE[program.online]]
    body += [
        "out.append(o)",
        "mems.append(mem.detach())" if program.online != "none" else "mems.append(mem)",
    ]
    body += ["feedback = o", r.choice(lines.ENDS)]
    result = r.choice(lines.RESULTS)
    if program.online.startswith("backward"):
        result = r.choice(["torch.stack(out)", "out[-1]", "out", "sum(out)"])
    start = [
        "out, mems, feedback = [], [], 0.0",
        f"states = [() for _ in range({len(program.layers)})]",
        before,
    ]
    name = "forward" if program.style == "class" else "forward_pass"
    return _function(name, [*start, header, _block(body), f"return {result}"])


def _step(program: Program, r: random.Random) -> str:
    """The forward of one time step."""
    body = _layers(program, r)
    result = r.choice(["o", "o", "o, mem", "{'spk': o, 'mem': mem}", "o * 2"])
    if re.search(r"\bt\b", "\n".join(body)):
        body = ["t = self.number % T", "self.number += 1", *body]
    return _function("forward", ["h = x", *body, f"return {result}"])


def _block(body: list[str]) -> str:
    return textwrap.indent("\n".join(line for line in body if line), "    ")


def _function(name: str, body: list[str]) -> str:
    return f"def {name}(self, x):\n{_block(body)}\n"
