"""Random networks as C: compiled and run for 50 steps, they must spike as `snn.run` says.

    python campaigns/c_export.py --out folder --number 1000

A trial draws a network (dense, convolutional in one and two axes, recurrent, residual, branched,
with delays of neurons, channels and synapses; neurons of every kind whose step is arithmetic of its
own), writes it with `snn.hardware.to_c` together with a test
vector, compiles it with warnings as errors, and runs it. Weights and inputs are multiples of powers
of two, so that sums are exact in every order and all outputs must be equal. In every fourth trial
the network is made of integers by `snn.hardware.quantize`; in every fourth the weights are
arbitrary and the arithmetic is that of doubles, where a sum in another order does not move a
membrane across its threshold.
"""

import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from journal import Journal, options, trials
from torch import Tensor, nn

import spikeloom as snn

STEPS = 50
WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    snn.DelayedLinear,
    snn.DelayedConv1d,
    snn.DelayedConv2d,
)
COMPILER = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
FLAGS = ["-std=c99", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pedantic"]


class Branch(nn.Module):
    """Two ways from the same input, added."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


def rounded(layer: Any) -> Any:
    """A layer whose delays are whole steps."""
    with torch.no_grad():
        layer.delay.round_()
    return layer


def linear(chosen: random.Random, width: int, out: int, kind: str) -> Any:
    """A linear layer, sometimes one whose every synapse has a delay, or several."""
    bias = chosen.random() < 0.7
    if kind == "integers" or chosen.random() < 0.8:
        return nn.Linear(width, out, bias=bias)
    count = chosen.randint(1, 2)
    depth = chosen.randint(1, 4)
    return rounded(snn.DelayedLinear(width, out, depth, bias=bias, kernel_count=count))


def convolution(
    chosen: random.Random, axes: int, channels: int, out: int, kind: str, **settings: Any
) -> Any:
    """A convolution over one or two axes, sometimes one with a delay for each weight."""
    bias = chosen.random() < 0.5
    if kind == "integers" or chosen.random() < 0.8:
        plain = nn.Conv1d if axes == 1 else nn.Conv2d
        return plain(channels, out, bias=bias, **settings)
    delayed = snn.DelayedConv1d if axes == 1 else snn.DelayedConv2d
    count = chosen.randint(1, 2)
    depth = chosen.randint(1, 4)
    return rounded(
        delayed(channels, out, max_delay=depth, bias=bias, kernel_count=count, **settings)
    )


def returning(chosen: random.Random, each: Any, width: int, axes: int, kind: str) -> Any:
    """A neuron, sometimes with its spikes back at its input through a layer."""
    if kind == "integers" or chosen.random() < 0.8:
        return each
    if axes == 0:
        return snn.Feedback(each, linear(chosen, width, width, kind))
    same = {"kernel_size": 3, "padding": 1}
    return snn.Feedback(each, convolution(chosen, axes, width, width, kind, **same))


def decays(chosen: random.Random, width: int) -> object:
    """One decay, or one for each neuron."""
    return torch.rand(width) if chosen.random() < 0.3 else round(chosen.uniform(0.2, 1.0), 2)


def neuron(chosen: random.Random, width: int, shape: tuple[int, ...], kind: str) -> nn.Module:
    """A neuron for a layer of this width; ``shape`` is that of a vector of its parameters."""
    reset: dict[str, Any] = {"reset_mechanism": chosen.choice(["subtract", "zero", "none"])}
    if kind != "integers":
        reset["reset_delay"] = chosen.random() < 0.5
    beta = decays(chosen, width)
    beta = beta.view(shape) if isinstance(beta, Tensor) else beta
    options = {**reset, "init_hidden": True, "threshold": chosen.choice([0.5, 1.0, 1.5])}
    makers: list[Callable[[], nn.Module]] = [lambda: snn.Leaky(beta, **options)]
    if kind != "integers":
        makers += [
            lambda: snn.Synaptic(0.8, beta, **options),
            lambda: snn.Leaky(beta, graded_spikes_factor=0.5, **options),
            lambda: snn.AdLIF(init_hidden=True),
            lambda: snn.IF(init_hidden=True),
            lambda: snn.SignedIF(init_hidden=True),
            lambda: snn.RLeaky(beta, all_to_all=False, V=0.5, **options),
        ]
        if len(shape) == 1:
            makers.append(lambda: snn.RLeaky(beta, linear_features=width, **options))
    return chosen.choice(makers)()


def dense(chosen: random.Random, kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Linear layers with neurons, delays and branches."""
    inputs = width = chosen.randint(1, 12)
    layers: list[nn.Module] = []
    for _ in range(chosen.randint(1, 3)):
        out = chosen.randint(1, 12)
        layer = linear(chosen, width, out, kind)
        if kind != "integers" and chosen.random() < 0.3:
            layer = Branch(
                layer, nn.Sequential(nn.Linear(width, out), neuron(chosen, out, (out,), kind))
            )
        layers += [layer, returning(chosen, neuron(chosen, out, (out,), kind), out, 0, kind)]
        if kind != "integers" and chosen.random() < 0.3:
            if chosen.random() < 0.5:
                layers.append(snn.SynapticDelay(4, torch.randint(0, 5, (out,)), channels=out))
            else:
                layers.append(snn.SynapticDelay(4, chosen.randint(0, 4)))
        width = out
    if kind == "exact" and chosen.random() < 0.2:
        layers += [nn.Linear(width, 3), snn.LI(0.9, init_hidden=True)]
    return nn.Sequential(*layers), (inputs,)


def convolutional(chosen: random.Random, kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Convolutions of random geometry, pooling, a residual block, and a linear layer."""
    axes = chosen.choice([1, 2, 2])
    channels, out = chosen.choice([1, 2]), 2 * chosen.randint(1, 3)
    shape = (channels, *(chosen.randint(9, 14) for _ in range(axes)))
    vector = (out, *(1,) * axes)
    settings = {
        "kernel_size": tuple(chosen.randint(1, 3) for _ in range(axes)),
        "stride": chosen.randint(1, 2),
        "padding": chosen.randint(0, 1),
        "dilation": chosen.randint(1, 2),
        "groups": chosen.choice([1, channels]),
    }
    layers: list[Any] = [convolution(chosen, axes, channels, out, kind, **settings)]
    norms = (nn.BatchNorm1d, nn.BatchNorm2d)
    if kind != "exact" and isinstance(layers[0], (nn.Conv1d, nn.Conv2d)) and chosen.random() < 0.3:
        layers.append(normalized(norms[axes - 1](out)))
    if chosen.random() < 0.5:
        stride = chosen.choice([1, 2])
        layers.append((nn.MaxPool1d, nn.MaxPool2d)[axes - 1](2, stride=stride))
    layers.append(returning(chosen, neuron(chosen, out, vector, kind), out, axes, kind))
    if kind != "integers" and chosen.random() < 0.4:
        layers.append((nn.AvgPool1d, nn.AvgPool2d)[axes - 1](2, stride=1, padding=1))
    if kind != "integers" and chosen.random() < 0.3:
        same = {"kernel_size": 3, "padding": 1}
        way = convolution(chosen, axes, out, out, kind, **same)
        way = nn.Sequential(way, neuron(chosen, out, vector, kind))
        layers.append(Branch(way, nn.Identity()))
    net = nn.Sequential(*layers)
    with torch.no_grad():
        size = snn.run(net, torch.zeros(1, 1, *shape))
    features = (size[0] if isinstance(size, tuple) else size)[0, 0].numel()
    snn.reset(net)
    classes = chosen.randint(1, 8)
    last = linear(chosen, features, classes, kind)
    layers += [nn.Flatten(), last, neuron(chosen, classes, (classes,), kind)]
    return nn.Sequential(*layers).eval(), shape


def normalized(norm: Any) -> Any:
    """Batch normalization as after training: every number is its own."""
    with torch.no_grad():
        norm.running_mean.uniform_(-0.5, 0.5)
        for each in (norm.running_var, norm.weight, norm.bias):
            each.uniform_(0.5, 1.5)
    return norm


def drawn(index: int, chosen: random.Random) -> tuple[nn.Module, Tensor, str]:
    """The network of a trial, its input over time, [T, ...], and its kind."""
    torch.manual_seed(chosen.randrange(2**31))
    kind = {1: "integers", 2: "arbitrary"}.get(index % 4, "exact")
    net, shape = chosen.choice([dense, convolutional])(chosen, kind)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, WEIGHTED):
                given = [module.weight, *([] if module.bias is None else [module.bias])]
                for parameter in given:
                    wide = parameter * 3
                    parameter.copy_(wide if kind == "arbitrary" else (wide * 16).round() / 16)
    x = (torch.rand(STEPS, *shape) < chosen.choice([0.1, 0.4])).float()
    if kind != "integers" and chosen.random() < 0.4:
        x = (torch.rand(STEPS, *shape) * 8).round() / 8
    if kind == "arbitrary":
        return net.double(), x.double(), kind
    if kind == "integers":
        bits, each = chosen.choice([2, 4, 8]), chosen.random() < 0.5
        net = snn.hardware.quantize(net, x[:1], weight_bits=bits, per_channel=each, state_bits=20)
    return net, x, kind


def trial(index: int, chosen: random.Random) -> tuple[str, str | None]:
    """The kind of a trial, and what was wrong with it."""
    net, x, kind = drawn(index, chosen)
    text = snn.hardware.to_c(net, x[:1], test=x)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "network.c", Path(folder) / "network"
        source.write_text(text, encoding="utf-8")
        command = [str(COMPILER), *FLAGS, "-DNETWORK_TEST", str(source), "-o", str(program), "-lm"]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            return kind, f"does not compile: {made.stderr[:300]}"
        done = subprocess.run([str(program)], capture_output=True, text=True)
    found = re.match(r"(\d+) of (\d+) outputs differ", done.stdout)
    if found is None:
        return kind, f"printed {done.stdout[:100]!r}"
    wrong, total = int(found[1]), int(found[2])
    return kind, None if wrong == 0 else f"{wrong} of {total} outputs differ"


def main() -> int:
    found = options(__doc__, 1000).parse_args()
    if COMPILER is None:
        sys.exit("a C compiler is needed: gcc, clang or cc")
    journal = Journal(found.out)
    for index, chosen in trials(journal, found.number, found.seed):
        try:
            kind, wrong = trial(index, chosen)
        except Exception as error:  # a fault of its own kind
            kind, wrong = "raised", f"{type(error).__name__}: {error}"
        journal.add(trial=index, kind=kind, wrong=wrong)
    print(journal)
    return journal.code


if __name__ == "__main__":
    sys.exit(main())
