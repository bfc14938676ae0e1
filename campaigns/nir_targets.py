"""Random networks written as NIR for each installed library, and run there: spikes must be equal.

    python campaigns/nir_targets.py --out folder --number 400

A trial draws a library and a network (dense, convolutional, recurrent, branched, with delays of
synapses; every neuron with a NIR node, resets of every kind), writes it with
``to_nir(..., target=...)`` into a file, reads it with the library's own reader and runs both for 40
steps. Either all outputs are equal, or the network was refused. Decays and weights are sums of
powers of two, so that both sides round little.
Libraries: snntorch, norse, sinabs, spikingjelly, rockpool and nirtorch, where they can be imported.
"""

import contextlib
import importlib
import io
import random
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import torch
from journal import Journal, options, trials
from torch import Tensor, nn

import spikeloom as snn

STEPS = 40
READERS = {
    "snntorch": ("snntorch.import_nir", "import_from_nir"),
    "norse": ("norse.torch.utils.import_nir", "from_nir"),
    "sinabs": ("sinabs.nir", "from_nir"),
    "spikingjelly": ("spikingjelly.activation_based.nir_exchange", "import_from_nir"),
    "rockpool": ("rockpool.nn.modules.torch.nir", "from_nir"),
}
SUBTRACT = ("sinabs", "rockpool")  # their reset; both may fire several times in a step
DT = {"norse": 2.0**-10}  # a power of two keeps its arithmetic exact


class Branch(nn.Module):
    """Two ways from the same input, added."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


def installed() -> dict[str, Callable[..., Any]]:
    """The readers of the libraries that can be imported."""
    found = {}
    for name, (module, function) in READERS.items():
        with warnings.catch_warnings(), contextlib.suppress(ImportError):
            warnings.simplefilter("ignore")
            found[name] = getattr(importlib.import_module(module), function)
    return found


def reset(chosen: random.Random, target: str) -> dict[str, Any]:
    """The options of a neuron: mostly the reset of the target, sometimes another one."""
    if chosen.random() < 0.1:
        return {"init_hidden": True}
    rule = "subtract" if target in SUBTRACT else "zero"
    return {"init_hidden": True, "reset_mechanism": rule, "reset_delay": False}


def neuron(chosen: random.Random, width: int, target: str, axes: int = 1) -> nn.Module:
    """A neuron for a layer of this width."""
    given = {**reset(chosen, target), "threshold": chosen.choice([0.5, 1.0, 1.5])}
    if target == "rockpool":  # its decays round, so that no membrane may equal its threshold
        given["threshold"] += 1.013
    beta: Any = chosen.choice([0.0, 0.5, 0.75, 0.875])
    if chosen.random() < 0.15:
        values = [chosen.choice([0.5, 0.75, 0.875]) for _ in range(width)]
        beta = torch.tensor(values).view(-1, *(1,) * (axes - 1))
    makers: list[Callable[[], nn.Module]] = [
        lambda: snn.Leaky(beta, **given),
        lambda: snn.Leaky(beta, **given),
        lambda: snn.Synaptic(0.5, beta, **given),
        lambda: snn.IF(**given),
        lambda: snn.Lapicque(R=2.0, C=2.0, time_step=1.0, **given),
    ]
    if axes == 1:
        makers += [
            lambda: snn.RLeaky(beta, all_to_all=False, V=0.5, **given),
            lambda: snn.RLeaky(beta, linear_features=width, **given),
            lambda: snn.RSynaptic(0.5, beta, linear_features=width, **given),
        ]
    if target == "rockpool" and axes == 1 and chosen.random() < 0.95:
        makers = [makers[2], makers[-1]]
    if chosen.random() < 0.03:
        return snn.LI(0.5, init_hidden=True)
    return chosen.choice(makers)()


def dense(chosen: random.Random, target: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Linear layers with neurons and branches."""
    inputs = width = chosen.randint(2, 9)
    layers: list[nn.Module] = []
    for _ in range(chosen.randint(1, 3)):
        out = chosen.randint(2, 9)
        layer: Any = nn.Linear(width, out, bias=chosen.random() < 0.7)
        if chosen.random() < 0.15:
            layer = Branch(layer, nn.Linear(width, out))
        elif chosen.random() < 0.05:
            layer = snn.DelayedLinear(width, out, 3, torch.randint(0, 4, (out, width)).float())
        each: Any = neuron(chosen, out, target)
        if chosen.random() < 0.1:
            each = snn.Feedback(each, nn.Linear(out, out, bias=chosen.random() < 0.2))
        layers += [layer, each]
        width = out
    return nn.Sequential(*layers), (inputs,)


def convolutional(chosen: random.Random, target: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A convolution with its neurons, a pooling layer, and a linear layer."""
    channels, out = chosen.choice([1, 2]), 4
    layers = [
        nn.Conv2d(
            channels,
            out,
            3,
            stride=chosen.choice([1, 2]),
            padding=chosen.choice([0, 1]),
            groups=chosen.choice([1, channels]),
            bias=chosen.random() < 0.5,
        ),
        neuron(chosen, out, target, axes=3),
    ]
    if chosen.random() < 0.5:
        layers.append(nn.AvgPool2d(2, divisor_override=chosen.choice([None, 1])))
    shape = (channels, 8, 8)
    with torch.no_grad():
        size = snn.run(nn.Sequential(*layers), torch.zeros(1, 1, *shape))[0, 0].numel()
    snn.reset(nn.Sequential(*layers))
    layers += [nn.Flatten(), nn.Linear(size, 5), neuron(chosen, 5, target)]
    return nn.Sequential(*layers), shape


def drawn(chosen: random.Random, target: str) -> tuple[nn.Module, Tensor]:
    """A network and its input over time, [T, 1, ...], between 0 and 1."""
    torch.manual_seed(chosen.randrange(2**31))
    kinds = [dense, dense, convolutional] if target != "rockpool" else [dense]
    net, shape = chosen.choice(kinds)(chosen, target)
    scale = chosen.choice([0.5, 1.0]) if target in SUBTRACT else chosen.choice([1.0, 3.0])
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("delay"):
                continue
            parameter.copy_((parameter * scale * 16).round() / 16)
            if target == "rockpool":  # weak and positive: one spike in a step, and not silent
                parameter.abs_().div_(2)
            if "recurrent.bias" in name and chosen.random() < 0.8:
                parameter.zero_()
    x = (torch.rand(STEPS, 1, *shape) < 0.4).float()
    return net, x if chosen.random() < 0.6 else (torch.rand(STEPS, 1, *shape) * 8).round() / 8


def run_in(target: str, reader: Callable[..., Any], path: Path, x: Tensor) -> Tensor:
    """Output of a library for the file, [T, ...]; samples come without batch axis where a library
    would flatten it."""
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        graph = nir.read(path)
        if target == "sinabs":
            out = reader(graph, batch_size=1)(x[:, 0])
            return out[0] if isinstance(out, tuple) else out
        if target == "rockpool":
            return reader(graph)(x[:, 0][None])[0][0]
        net = reader(graph, **({"dt": DT[target]} if target in DT else {}))
        state, outputs = None, []
        for sample in x if target == "spikingjelly" else x[:, 0]:
            found = net(sample, state)
            out, state = found if isinstance(found, tuple) else (found, None)
            outputs.append(out)
    return torch.stack(outputs)


def trial(target: str, reader: Callable[..., Any], chosen: random.Random) -> tuple[str, str | None]:
    """What happened in a trial, and what was wrong with it."""
    net, x = drawn(chosen, target)
    try:
        graph = snn.nir.to_nir(net, x[0], target=target, dt=DT.get(target))
    except ValueError as error:
        if "would not run this network" not in str(error):
            raise
        return f"{target} refused", None
    with torch.no_grad():
        want = snn.run(net, x)
    snn.reset(net)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.nir"
        nir.write(path, graph)
        found = run_in(target, reader, path, x)
        with torch.no_grad():
            again = snn.run(snn.nir.from_nir(path), x)
    if not torch.equal(again, want):
        return f"{target} carried", f"Spikeloom reads it otherwise: {int((again != want).sum())}"
    wrong = int((found.reshape(-1) != want.reshape(-1)).sum())
    spikes = int(want.sum())
    kind = f"{target} carried" if spikes else f"{target} silent"
    return kind, None if wrong == 0 else f"{wrong} of {want.numel()} outputs differ"


def main() -> int:
    parser = options(__doc__, 400)
    parser.add_argument("--target", choices=list(READERS), help="only this library")
    found = parser.parse_args()
    readers = installed()
    if found.target is not None:
        readers = {name: each for name, each in readers.items() if name == found.target}
    if not readers:
        sys.exit("no library is installed: snntorch, norse, sinabs, spikingjelly or rockpool")
    journal = Journal(found.out)
    for index, chosen in trials(journal, found.number, found.seed):
        target = list(readers)[index % len(readers)]
        try:
            kind, wrong = trial(target, readers[target], chosen)
        except Exception as error:  # a fault of its own kind
            kind, wrong = f"{target} raised", f"{type(error).__name__}: {error}"
        journal.add(trial=index, kind=kind, wrong=wrong)
    print(journal)
    return journal.code


if __name__ == "__main__":
    sys.exit(main())
