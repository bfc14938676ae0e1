"""Random networks on recordings of unequal length: a padded batch and its recordings one by one."""

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import spikeloom as snn

from .network import ALONE, LAYERS, NEURONS, NOISE, H, neuron
from .observer import Failure
from .program import Program
from .verdict import Verdict

__all__ = ["check_padded"]

MOST_STEPS = 9
WAYS = ("run", "run in segments", "layerwise", "packed")
STATES = frozenset(NEURONS) - set(NOISE)  # noise is drawn for a whole batch


def check_padded(seed: int) -> Verdict:
    """Compare outputs, last states and gradients of a padded batch with those of its recordings."""
    r = random.Random(seed)
    names = [r.choice(sorted(ALONE)) for _ in range(r.choice([1, 2, 2, 3]))]
    kinds = [r.choice(sorted(STATES)) for _ in names]
    way = r.choice(WAYS)
    ends = torch.tensor([r.randint(1, MOST_STEPS) for _ in range(r.randint(1, 4))])
    ends[r.randrange(len(ends))] = MOST_STEPS
    torch.manual_seed(seed)
    pairs = zip(names, kinds, strict=True)
    layers = [[LAYERS[name](), Spikes(neuron(kind, True))] for name, kind in pairs]
    net = nn.Sequential(*[module for pair in layers for module in pair]).double().eval()
    x = torch.rand(MOST_STEPS, len(ends), H, dtype=torch.float64) * 1.5
    for b, end in enumerate(ends):
        x[end:, b] = 50.0  # what the padding holds must not matter
    program = _program(seed, names, kinds, f"{way}, steps {ends.tolist()}\n{net}")
    try:
        together, alone = _together(net, x, ends, way), _one_by_one(net, x, ends)
    except Exception as error:  # whatever a network raises is part of what is compared
        found = Failure(type(error).__name__)
        return Verdict("different", f"{found}: {error}", program)
    for name, value in together.items():
        if not torch.allclose(value, alone[name], rtol=1e-8, atol=1e-9):
            off = (value - alone[name]).abs().max().item()
            return Verdict("different", f"{name}: off by {off:.3g}", program)
    return Verdict("equal", "", program)


class Spikes(nn.Module):
    """The first value that a neuron returns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(x)
        return found[0] if isinstance(found, tuple) else found


def _loop(net: nn.Module, x: Tensor) -> Tensor:
    snn.reset(net)
    return torch.stack([net(x_t) for x_t in x])


def _ran(net: nn.Module, x: Tensor, ends: Tensor, way: str) -> Tensor:
    if way == "layerwise":
        return snn.layerwise(_loop)(net, x, lengths=ends)
    if way == "packed":
        packed = nn.utils.rnn.pack_padded_sequence(x, ends, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(snn.run(net, packed))[0]
    memory = "checkpoint" if way == "run in segments" else "exact"
    return snn.run(net, x, lengths=ends, memory=memory)


def _together(net: nn.Module, x: Tensor, ends: Tensor, way: str) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    output = _ran(net, x, ends, way)
    return _seen(net, x, output, _states(net), ends)


def _one_by_one(net: nn.Module, x: Tensor, ends: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    outputs, states = [], []
    for b, end in enumerate(ends.tolist()):
        one = _loop(net, x[:end, b : b + 1])
        outputs.append(nn.functional.pad(one, (0, 0, 0, 0, 0, MOST_STEPS - end)))
        states.append(_states(net))
    last = {
        name: torch.cat([each[name][0] for each in states], axis)
        for name, (_, axis) in states[0].items()
    }
    axes = {name: axis for name, (_, axis) in states[0].items()}
    named = {name: (value, axes[name]) for name, value in last.items()}
    return _seen(net, x, torch.cat(outputs, 1), named, ends)


def _states(net: nn.Module) -> dict[str, tuple[Tensor, int]]:
    """Remembered states with the axis of their samples, by name."""
    found: dict[str, tuple[Tensor, int]] = {}
    for path, module in net.named_modules():
        axis: Any = getattr(module, "batch_axis", None)
        if axis is not None and module._hidden is not None:
            pairs = zip(module._hidden._fields, module._hidden, strict=True)
            found |= {f"{path}.{field}": (value, axis) for field, value in pairs}
    return found


def _seen(
    net: nn.Module, x: Tensor, output: Tensor, states: Any, ends: Tensor
) -> dict[str, Tensor]:
    """Everything that is compared. The loss reads no output after the end of a recording."""
    inside = torch.arange(MOST_STEPS).unsqueeze(1) < ends
    output = output * inside.unsqueeze(2)
    weights = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).view_as(output)
    loss = (output * weights).sum()
    values = {name: value for name, (value, _) in states.items()}
    loss = loss + sum(v.square().sum() for v in values.values() if v.requires_grad)
    learned = {"x": x, **{name: p for name, p in net.named_parameters() if p.requires_grad}}
    gradients = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
    zeros = (torch.zeros_like(v) for v in learned.values())
    named = zip(learned, gradients, zeros, strict=True)
    found = {f"gradient of {name}": zero if g is None else g for name, g, zero in named}
    return pytree.tree_map(torch.Tensor.detach, {"output": output, **values, **found})


def _program(seed: int, names: list[str], kinds: list[str], text: str) -> Program:
    return Program(
        seed=seed,
        style="padded",
        layers=names,
        neurons=kinds,
        hidden=[True] * len(names),
        online="none",
        mode="grad",
        calls=1,
        training=False,
        double=True,
        input="leaf",
        hooks="none",
        second=False,
        reset=True,
        batch=len(names),
        text=text,
    )
