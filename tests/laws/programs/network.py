"""The module around which programs are written: layers, neurons, and one of everything that a step
may touch."""

import collections
import itertools
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import spikeloom as snn
from spikeloom import blocks
from spikeloom.core.neuron import REGISTRY

from ..cases import OWN, STEPPING
from .program import Program

__all__ = [
    "ALONE",
    "LAYERS",
    "NEURONS",
    "NOISE",
    "RETURNS_STATE",
    "SCOPE",
    "Base",
    "H",
    "T",
    "neuron",
]

T, H = 5, 5
MOST = 256  # steps of layers that differ from step to step, some called several times in one


def _conv1d() -> nn.Module:
    conv = [
        nn.Unflatten(1, (1, H)),
        nn.Conv1d(1, 2, 3, padding=1),
        nn.BatchNorm1d(2),
        nn.MaxPool1d(2),
    ]
    return nn.Sequential(*conv, nn.Flatten(), nn.Linear(2 * (H // 2), H))


def _conv2d() -> nn.Module:
    conv = [nn.Unflatten(1, (1, 1, H)), nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d((1, 2))]
    return nn.Sequential(*conv, nn.Flatten(), nn.Linear(2 * (H // 2), H))


def _of_images(layer: nn.Module) -> nn.Module:
    """A layer of images [B, 1, 1, H] that returns two channels."""
    return nn.Sequential(nn.Unflatten(1, (1, 1, H)), layer, nn.Flatten(), nn.Linear(2 * H, H))


def _of_tokens(layer: nn.Module) -> nn.Module:
    """A layer of two tokens of four channels."""
    return nn.Sequential(
        nn.Linear(H, 8), nn.Unflatten(1, (2, 4)), layer, nn.Flatten(), nn.Linear(8, H)
    )


def _leaky() -> snn.Leaky:
    return snn.Leaky(0.8, threshold=0.4, init_hidden=True)


class Foreign(nn.Module):
    """A layer of another package: a parameter, a buffer that moves, plain arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((H,), 1.2))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.gain + x.flip(1) * 0.1


class Recurrent(nn.Module):
    """An LSTM of torch that sees one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(H, H)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x[None])[0][0] * 2


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(H, H),
    "layer norm": lambda: nn.Sequential(nn.Linear(H, H), nn.LayerNorm(H)),
    "in-place relu": lambda: nn.Sequential(nn.Linear(H, H), nn.ReLU(inplace=True)),
    "batch norm": lambda: nn.Sequential(nn.Linear(H, H), nn.BatchNorm1d(H)),
    "cumulative batch norm": lambda: nn.BatchNorm1d(H, momentum=None),
    "dropout": lambda: nn.Sequential(nn.Linear(H, H), nn.Dropout(0.4)),
    "conv1d": _conv1d,
    "conv2d": _conv2d,
    "transformer": lambda: nn.TransformerEncoderLayer(H, 1, 6, dropout=0.3, batch_first=True),
    "softmax": lambda: nn.Sequential(nn.Linear(H, H), nn.Softmax(-1)),
    "lstm": Recurrent,
    "foreign": Foreign,
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(H, H)),
    "synaptic delay": lambda: snn.SynapticDelay(3, 1.5, learn_delay=True),
    "delayed linear": lambda: snn.DelayedLinear(H, H, 3, learn_delay=True),
    "delayed conv": lambda: _of_images(snn.DelayedConv2d(1, 2, (1, 3), 2, padding=(0, 1))),
    "feedback": lambda: snn.Feedback(_leaky(), snn.DelayedLinear(H, H, 2, learn_delay=True)),
    "tdBN": lambda: nn.Sequential(nn.Linear(H, H), snn.ThresholdDependentBatchNorm1d(H, 0.5)),
    "TEBN": lambda: snn.TemporalEffectiveBatchNorm(nn.BatchNorm1d(H), MOST),
    "BNTT": lambda: snn.EachStep(snn.BatchNormTT1d(H, MOST)),
    "SEW block": lambda: _of_images(blocks.sew_block(1, 2, _leaky)),
    "SEW block, iand": lambda: _of_images(blocks.sew_block(1, 2, _leaky, connect="iand")),
    "MS block": lambda: _of_images(blocks.ms_block(1, 2, _leaky)),
    "spiking attention": lambda: _of_tokens(blocks.self_attention(4, 2, _leaky)),
    "query-key attention": lambda: _of_tokens(blocks.qk_attention(4, _leaky)),
}
ALONE = frozenset(LAYERS) - {"transformer"}  # layers in which samples do not act on each other


class Noisy(snn.Leaky):
    """Overrides the call."""

    def forward(self, input_: Tensor, *state: Any, **named: Any) -> Any:
        return super().forward(input_ + 0.1, *state, **named)


class Halving(snn.Leaky):
    """Overrides the step."""

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        spk, state = super().step(x, state)
        return spk * 0.5, state


for _name in ("Noisy", "Halving"):
    del REGISTRY[_name]  # the laws of the registry are about the library's own neurons

_SUBCLASSES: dict[str, type[Any]] = {"Noisy": Noisy, "Halving": Halving}
_SHAPED = [name for name in STEPPING if OWN[name].example_shape == (H,)]
NEURONS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    **{name: (OWN[name], {**OWN[name].example}) for name in _SHAPED},
    **{name: (cls, {"beta": 0.9, "threshold": 0.4}) for name, cls in _SUBCLASSES.items()},
    "Leaky, low threshold": (snn.Leaky, {"beta": 0.9, "threshold": 0.4}),
    "Leaky, learned": (
        snn.Leaky,
        {
            "beta": torch.full((H,), 0.8),
            "learn_beta": True,
            "learn_threshold": True,
            "threshold": 0.4,
        },
    ),
    "Leaky, reset to zero": (snn.Leaky, {"beta": 0.9, "reset_mechanism": "zero", "threshold": 0.4}),
    "Leaky, no delay": (snn.Leaky, {"beta": 0.9, "reset_delay": False, "threshold": 0.4}),
    "Synaptic, learned": (
        snn.Synaptic,
        {"alpha": 0.8, "beta": torch.linspace(0.5, 0.9, H), "learn_alpha": True, "threshold": 0.4},
    ),
    "RLeaky, one to one": (
        snn.RLeaky,
        {"beta": 0.9, "V": 0.5, "all_to_all": False, "threshold": 0.4},
    ),
}
NOISE = {
    "Leaky, noisy current": {"current": 0.2},
    "Leaky, noisy threshold": {"threshold": 0.2},
    "Leaky, escape rate": {"current": 0.1, "escape": 0.1},
}
NEURONS |= {name: (snn.Leaky, {"beta": 0.9, "threshold": 0.4}) for name in NOISE}
RETURNS_STATE = frozenset({"DeltaLeaky"})  # always returns its state with the spikes


def neuron(name: str, hidden: bool) -> Any:
    cls, options = NEURONS[name]
    made = cls(**options, init_hidden=hidden)
    if name in NOISE:
        snn.noisy(made, **NOISE[name], generator=torch.Generator().manual_seed(7))
    return made


class Zif(torch.autograd.Function):
    """A surrogate gradient that a user wrote."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (v,) = ctx.saved_tensors
        return gradient * (1 - v.abs()).clamp(min=0)


class Result(NamedTuple):
    """What some programs return."""

    spk: Tensor
    mems: list[Tensor]


def checkpointed(h: Tensor) -> Tensor:
    return checkpoint(lambda v: v.sigmoid() * 2, h, use_reentrant=False)  # pyright: ignore[reportReturnType]


@torch.no_grad()
def frozen_gain(h: Tensor) -> Tensor:
    return h * 1.05


SCOPE = {
    "surrogate": Zif.apply,  # bound before anything is recorded
    "checkpointed": checkpointed,
    "frozen_gain": frozen_gain,
    "Result": Result,
}


class Base(nn.Module):
    """Layers and neurons of a program, and everything that its lines read and write."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        seed, B = program.seed, program.batch
        self.batch = B
        self.layers = nn.ModuleList(LAYERS[name]() for name in program.layers)
        kinds = zip(program.neurons, program.hidden, strict=True)
        self.neurons = nn.ModuleList(neuron(name, hidden) for name, hidden in kinds)
        self.encoder, self.norm, self.cell = nn.Linear(H, H), nn.BatchNorm1d(H), nn.LSTMCell(H, H)
        self.weight, self.bias = (
            nn.Parameter(torch.randn(H, H) * 0.5),
            nn.Parameter(torch.randn(H) * 0.1),
        )
        shapes = {
            "count": (),
            "clock": (),
            "activity": (),
            "trace": (B, H),
            "written": (T, B, H),
            "seen": (T,),
        }
        for name, shape in {**shapes, "copied": (B, H)}.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("perm", torch.tensor([1, 0, 3, 2, 4]))
        self.register_buffer("schedule", torch.rand(T))
        self.random, self.numpy_random = random.Random(seed), np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.array = np.zeros((B, H))
        self.optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        self.clear()

    def clear(self) -> None:
        """Forget what the last call noted."""
        zero = torch.zeros(self.batch, H, dtype=self.weight.dtype)
        self.records: dict[str, list[Tensor]] = {"spk": []}
        self.window: collections.deque[Tensor] = collections.deque(maxlen=3)
        self.total, self.average, self.peak, self.moving = (
            zero,
            zero.clone(),
            zero.clone(),
            zero.clone(),
        )
        self.number, self.previous, self.lag, self.losses = 0, 0, 0, 0
        self.last_spikes = self.accumulated = self.last_mem = self.shallow = self.flag = None
        self.copies: list[Tensor] = []
        self.arrays: list[np.ndarray] = []
        self.numbers: list[float] = []
        self.rows: list[Tensor] = []
        self.each: list[Tensor] = []
        self.logs: list[Any] = []
        self.config, self.nested = {"gain": 1.1}, {"deep": [0.0]}
        self.plain, self.counter = SimpleNamespace(value=0), itertools.count()
        self.array_state = np.zeros(1)
        self.cell_state: Any = None
        self.refractory, self.big = zero - 9, zero.sum()
        self.delays = collections.deque([zero, zero], maxlen=2)

    def noise(self) -> np.ndarray:
        """Noise in the same memory at every call."""
        self.array[:] = self.numpy_random.normal(size=self.array.shape) * 0.1
        return self.array

    def log(self, *what: Any) -> None:
        self.logs.append(what)

    def reset_first(self) -> None:
        """Forget the state of the first neuron."""
        self.neurons[0].reset_mem()

    def cut(self) -> None:
        """Cut the remembered states from the graph."""
        snn.detach(self)

    def learn(self) -> None:
        """A step of gradient descent by hand."""
        with torch.no_grad():
            for p in self.parameters():
                if p.grad is not None:
                    p -= 0.01 * p.grad
                    p.grad = None
