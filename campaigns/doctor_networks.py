"""Networks, data and faults of the campaign ``doctor.py``.

A case is a network with its batch, loss and optimizer. A fault changes one thing of a case, and
names the finding that `doctor.check` must list first, and its layer.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.functional import ce_rate_loss

DATA_SETS = ("digits", "mnist", "words")
NETWORKS = ("mlp", "conv", "recurrent", "second order", "residual")
HIDDEN = 100
LEAK = {"digits": 0.8, "mnist": 0.8, "words": 0.9}
STD = {"digits": 6.0, "mnist": 6.0, "words": 2.0}  # of weights that keep deep layers active
LR = 2e-3


@dataclass
class Data:
    """Samples of one kind: x [N, ...] for static samples, [N, T, ...] for sequences."""

    name: str
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    steps: int
    timed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one step of one sample."""
        return tuple(self.x.shape[2 if self.timed else 1 :])

    def batch(self, index: Any, test: bool = False) -> tuple[Tensor, Tensor]:
        """Input and labels as the network takes them."""
        x, y = (self.x_test, self.y_test) if test else (self.x, self.y)
        return (x[index].transpose(0, 1) if self.timed else x[index]), y[index]


def folder() -> Path | None:
    """The folder of the real data, or None."""
    path = Path(
        os.environ.get("SPIKELOOM_DATA", Path(__file__).resolve().parents[2] / "shared/data")
    )
    return path if (path / "mnist.npz").exists() else None


def load(name: str, most: int = 3000, most_test: int = 1000) -> Data:
    """One of `DATA_SETS`, in a fixed random order."""
    if name == "digits":
        split = snn.data.digits()
        return Data(name, split.x_train, split.y_train, split.x_test, split.y_test, 10, False)
    root = folder()
    if root is None:
        raise FileNotFoundError("SPIKELOOM_DATA must name the folder of mnist.npz")
    if name == "mnist":
        with np.load(root / "mnist.npz") as file:
            parts = [torch.from_numpy(file[n]) for n in ("x_train", "y_train", "x_test", "y_test")]
        x, y, x_test, y_test = (p[: most_test if i > 1 else most] for i, p in enumerate(parts))
        images = [p.float().unsqueeze(1) / 255 for p in (x, x_test)]
        return Data(name, images[0], y.long(), images[1], y_test.long(), 10, False)
    with np.load(root / "arabic_speech_commands_mel40.npz", allow_pickle=False) as file:
        mel, label, split = file["mel"], file["label"], file["split"]
    chosen = label < 10  # ten words, so that a training takes seconds
    mel, label, split = mel[chosen], label[chosen], split[chosen]
    order = np.random.default_rng(0).permutation(len(mel))
    mel, label, split = mel[order], label[order], split[order]
    sound = torch.from_numpy(mel).float().unflatten(1, (49, 2)).mean(2) / 64  # [N, 49, 40]
    y = torch.from_numpy(label.astype(np.int64))
    train, test = torch.from_numpy(split == 0), torch.from_numpy(split == 2)
    parts = (sound[train], y[train], sound[test], y[test])
    return Data(name, *parts, 49, True)


class Loop(nn.Module):
    """A network with its own loop over time around one step."""

    def __init__(self, body: nn.Module, steps: int, timed: bool) -> None:
        super().__init__()
        self.body = body
        self.steps = steps
        self.timed = timed
        self.resets = True
        self.front: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.resets:
            snn.reset(self)
        if self.front is not None:
            x = self.front(x if self.timed else x.expand(self.steps, *x.shape))
        timed = self.timed or self.front is not None
        outputs = [self.body(x_t) for x_t in (x if timed else [x] * self.steps)]
        return torch.stack([o[0] if isinstance(o, tuple) else o for o in outputs])


class Residual(nn.Module):
    """Spikes of a layer and of the layer before it go on together."""

    def __init__(self, width: int, **neuron: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.lif = snn.Leaky(**neuron)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.lif(self.fc(x))


@dataclass
class Case:
    """What `doctor.check` receives, and how the network is trained."""

    data: Data
    net: nn.Module
    body: nn.Sequential
    lr: float = LR
    loss: Callable[[Tensor, Tensor], Tensor] = field(default_factory=ce_rate_loss)
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y)
    make: Any = None  # from named parameters to an optimizer
    over_time: bool = False

    @property
    def num_steps(self) -> int | None:
        """T of a static input that the network does not repeat itself."""
        loops = isinstance(self.net, Loop) or self.data.timed or self.over_time
        return None if loops else self.data.steps

    def batch(self, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Training samples, as the fault leaves them."""
        source = torch.Generator().manual_seed(seed)
        x, y = self.data.batch(torch.randperm(len(self.data.x), generator=source)[:size])
        return self.change(x, y)

    def optimizer(self) -> torch.optim.Optimizer:
        """As the fault leaves it."""
        if self.make is not None:
            return self.make(self)
        return torch.optim.Adam([p for p in self.net.parameters() if p.requires_grad], lr=self.lr)

    def check(self, size: int = 32) -> Any:
        """The report of the doctor."""
        options = {"num_steps": self.num_steps, "optimizer": self.optimizer()}
        return snn.doctor.check(self.net, self.batch(size), self.loss, **options)

    def path(self, module: nn.Module) -> str:
        """Path of a module in the network."""
        return next(name for name, m in self.net.named_modules() if m is module)

    def neurons(self) -> list[Any]:
        """The neurons in the order in which they run."""
        return [m for m in self.net.modules() if isinstance(m, snn.Neuron)]

    def synapses(self) -> list[Any]:
        """The layers with weights in front of the neurons."""
        kinds = (nn.Linear, nn.Conv2d, nn.Conv1d)
        inside = {id(c) for n in self.neurons() for c in n.modules()}
        return [m for m in self.net.modules() if isinstance(m, kinds) and id(m) not in inside]


def build(kind: str, data: Data, seed: int, **more: Any) -> Case:
    """A healthy case."""
    torch.manual_seed(seed)
    shape, size = data.shape, int(np.prod(data.shape))
    neuron: dict[str, Any] = {"beta": LEAK[data.name], "init_hidden": True, **more}
    if kind == "conv":
        flat = len(shape) == 1
        layer: Any = nn.Conv1d if flat else nn.Conv2d
        pool = nn.MaxPool1d(2) if flat else nn.MaxPool2d(2)
        width = 16 * int(np.prod([n // 4 for n in shape[-1 if flat else 1 :]]))
        front: list[nn.Module] = [nn.Unflatten(1, (1, *shape))] if flat else []
        front += [layer(1, 8, 3, padding=1), snn.Leaky(**neuron), pool]
        front += [layer(8, 16, 3, padding=1), snn.Leaky(**neuron), pool, nn.Flatten()]
        layers = [*front, nn.Linear(width, 10), snn.Leaky(**neuron)]
    elif kind == "recurrent":
        recurrent = snn.RLeaky(**neuron, linear_features=HIDDEN)
        layers = [nn.Flatten(), nn.Linear(size, HIDDEN), recurrent]
        layers += [nn.Linear(HIDDEN, HIDDEN), snn.Leaky(**neuron)]
        layers += [nn.Linear(HIDDEN, 10), snn.Leaky(**neuron)]
    elif kind == "residual":
        layers = [nn.Flatten(), nn.Linear(size, HIDDEN), snn.Leaky(**neuron)]
        layers += [Residual(HIDDEN, **neuron), Residual(HIDDEN, **neuron)]
        layers += [nn.Linear(HIDDEN, 10), snn.Leaky(**neuron)]
    else:
        cell: Any = snn.Synaptic if kind == "second order" else snn.Leaky
        neuron |= {"alpha": 0.5} if kind == "second order" else {}
        layers = [nn.Flatten(), nn.Linear(size, HIDDEN), cell(**neuron)]
        layers += [nn.Linear(HIDDEN, HIDDEN), cell(**neuron), nn.Linear(HIDDEN, 10), cell(**neuron)]
    body = nn.Sequential(*layers)
    own = kind in ("recurrent", "residual")
    net = Loop(body, data.steps, data.timed) if own else body
    return Case(data, net, body)


# -- faults ----------------------------------------------------------------------------------------

Answer = tuple[str, set[str]]  # the fault that must come first, and the paths that are right
FAULTS: dict[str, Callable[[Case, np.random.Generator], Answer]] = {}
HELD_OUT = (
    "output always fires",
    "surrogate too flat",
    "exploding gradient",
    "leak too slow",
    "forgotten parameters",
    "loss does not see the spikes",
    "batch norm over the wrong axis",
    "dropout at evaluation",
)
HELD_OUT_NETWORK = "residual"
REPAIRABLE = (  # a deep stack without skips is not: its gradients come back, its signal does not
    "dead layer",
    "saturated layer",
    "output never fires",
    "output always fires",
    "surrogate too steep",
    "surrogate too flat",
    "learning rate too high",
    "learning rate too low",
)


def fault(name: str) -> Callable[[Any], Any]:
    """Enter a fault."""

    def enter(function: Any) -> Any:
        FAULTS[name] = function
        return function

    return enter


def silence(case: Case, place: int, chosen: np.random.Generator, sign: float) -> str:
    """Push a layer away from its threshold, in one of several ways."""
    synapse, neuron = case.synapses()[place], case.neurons()[place]
    with torch.no_grad():
        if sign < 0 and chosen.random() < 0.5:
            neuron.threshold.fill_(float(chosen.choice([30.0, 50.0, 100.0])))
            if case.data.timed and neuron.threshold < 50:
                neuron.threshold.fill_(50.0)
        else:
            synapse.bias.fill_(sign * float(chosen.choice([4.0, 5.0, 8.0])))
    return case.path(neuron)


@fault("dead layer")
def dead(case: Case, chosen: np.random.Generator) -> Answer:
    return "dead layer", {silence(case, int(chosen.integers(2)), chosen, -1)}


@fault("saturated layer")
def saturated(case: Case, chosen: np.random.Generator) -> Answer:
    return "saturated layer", {silence(case, int(chosen.integers(2)), chosen, 1)}


@fault("output never fires")
def mute(case: Case, chosen: np.random.Generator) -> Answer:
    return "output never fires", {silence(case, -1, chosen, -1)}


@fault("output always fires")
def loud(case: Case, chosen: np.random.Generator) -> Answer:
    return "output always fires", {silence(case, -1, chosen, 1)}


@fault("input does not vary")
def constant(case: Case, chosen: np.random.Generator) -> Answer:
    axis = 1 if case.data.timed else 0
    if chosen.random() < 0.5:
        case.change = lambda x, y: (torch.zeros_like(x), y)
    else:
        case.change = lambda x, y: (x.narrow(axis, 0, 1).expand_as(x), y)
    return "input does not vary", {"input"}


@fault("input on another scale")
def scale(case: Case, chosen: np.random.Generator) -> Answer:
    factor = float(chosen.choice([255.0, 64.0, 1 / 255]))
    case.change = lambda x, y: (x * factor, y)
    return "input on another scale", {"input"}


@fault("time and batch exchanged")
def exchanged(case: Case, chosen: np.random.Generator) -> Answer:
    case.over_time = True
    if isinstance(case.net, Loop):
        case.net.timed = True
    steps, timed = case.data.steps, case.data.timed

    def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x if timed else x.expand(steps, *x.shape)
        return x.transpose(0, 1), y

    case.change = change
    return "time and batch exchanged", {"input"}


def give_surrogates(case: Case, surrogate: Any) -> Answer:
    for neuron in case.neurons():
        neuron.spike_grad = surrogate
    return "", {case.path(case.neurons()[0])}


@fault("surrogate too steep")
def steep(case: Case, chosen: np.random.Generator) -> Answer:
    slope = float(chosen.choice([500, 1e4, 1e9]))
    made = [
        snn.surrogate.fast_sigmoid(slope),
        snn.surrogate.sigmoid(slope),
        snn.surrogate.atan(slope),
    ]
    return "surrogate too steep", give_surrogates(case, made[chosen.integers(3)])[1]


@fault("surrogate too flat")
def flat(case: Case, chosen: np.random.Generator) -> Answer:
    slope = float(chosen.choice([1e-2, 1e-3, 1e-4]))
    made = [snn.surrogate.sigmoid(slope), snn.surrogate.atan(slope)]
    return "surrogate too flat", give_surrogates(case, made[chosen.integers(2)])[1]


@fault("vanishing gradient")
def vanishing(case: Case, chosen: np.random.Generator) -> Answer:
    """Many more layers in front of the last one, active, with a narrow surrogate."""
    width = case.body[-2].in_features
    curve = snn.surrogate.fast_sigmoid(float(chosen.choice([60.0, 90.0])))
    options: dict[str, Any] = {
        "beta": LEAK[case.data.name],
        "init_hidden": True,
        "spike_grad": curve,
    }
    for _ in range(int(chosen.integers(10, 16))):
        layer = nn.Linear(width, width)
        nn.init.normal_(layer.weight, std=STD[case.data.name] / width**0.5)
        case.body.insert(len(case.body) - 2, layer)
        case.body.insert(len(case.body) - 2, snn.Leaky(**options))
    return "vanishing gradient", {case.path(n) for n in case.neurons()}


class Grow:
    """A surrogate whose gradients grow."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, input_: Tensor, gradient: Tensor, spikes: Tensor) -> Tensor:
        return gradient * self.factor / (1 + input_.abs()) ** 2


@fault("exploding gradient")
def exploding(case: Case, chosen: np.random.Generator) -> Answer:
    rule = Grow(float(chosen.choice([1e4, 1e5])))
    neurons = case.neurons()
    neuron = neurons[int(chosen.integers(1, len(neurons)))]
    neuron.spike_grad = snn.surrogate.custom_surrogate(rule)
    return "exploding gradient", {case.path(neuron)}


@fault("leak too fast")
def fast(case: Case, chosen: np.random.Generator) -> Answer:
    neuron = case.neurons()[int(chosen.integers(2))]
    with torch.no_grad():
        neuron.beta.fill_(float(chosen.choice([0.0, 0.01, 0.05])))
        if hasattr(neuron, "alpha"):
            neuron.alpha.fill_(0.01)
    return "leak too fast", {case.path(neuron)}


@fault("leak too slow")
def slow(case: Case, chosen: np.random.Generator) -> Answer:
    """No leak, and inhibition that is never forgotten."""
    place = int(chosen.integers(2))
    neuron = case.neurons()[place]
    with torch.no_grad():
        neuron.beta.fill_(float(chosen.choice([0.999, 0.9999])))
        case.synapses()[place].weight.mul_(4.0)
    return "leak too slow", {case.path(neuron)}


class Detach(nn.Module):
    """Cuts the graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


@fault("detached graph")
def cut(case: Case, chosen: np.random.Generator) -> Answer:
    places = [i for i, m in enumerate(case.body) if isinstance(m, (snn.Neuron, Residual))][:-1]
    place = places[int(chosen.integers(len(places)))]
    inside = {id(m) for m in case.body[: place + 1].modules()}
    before = [s for s in case.synapses() if id(s) in inside]
    if chosen.random() < 0.3:
        neuron = case.neurons()[0]
        neuron.spike_grad = type(neuron)(0.5, surrogate_disable=True, **_sizes(neuron)).spike_grad
        return "detached graph", {case.path(neuron)}
    target = before[-1]
    case.body.insert(place + 1, Detach())
    return "detached graph", {case.path(target)}


def _sizes(neuron: Any) -> dict[str, Any]:
    if isinstance(neuron, snn.Synaptic):
        return {"beta": 0.5}
    return {"linear_features": HIDDEN} if isinstance(neuron, snn.RLeaky) else {}


@fault("frozen parameters")
def frozen(case: Case, chosen: np.random.Generator) -> Answer:
    synapse = case.synapses()[int(chosen.integers(len(case.synapses())))]
    for p in synapse.parameters():
        p.requires_grad_(False)
    return "frozen parameters", {case.path(synapse)}


@fault("forgotten parameters")
def forgotten(case: Case, chosen: np.random.Generator) -> Answer:
    if chosen.random() < 0.5:
        case.net.extra = nn.Linear(5, 5)
        if isinstance(case.net, nn.Sequential):  # which would run it
            case.net = Loop(case.body, case.data.steps, case.data.timed)
            del case.body.extra
            case.net.extra = nn.Linear(5, 5)
        return "forgotten parameters", {"extra"}
    case.body[1].layers = [nn.Linear(3, 3)]
    return "forgotten parameters", {f"{case.path(case.body[1])}.layers"}


@fault("parameters not in the optimizer")
def partial(case: Case, chosen: np.random.Generator) -> Answer:
    left = case.synapses()[int(chosen.integers(len(case.synapses())))]
    out = {id(p) for p in left.parameters()}
    case.make = lambda c: torch.optim.Adam(
        [p for p in c.net.parameters() if id(p) not in out], c.lr
    )
    return "parameters not in the optimizer", {case.path(left)}


@fault("weight decay on time constants")
def decay(case: Case, chosen: np.random.Generator) -> Answer:
    neuron = case.neurons()[int(chosen.integers(2))]
    beta = neuron.beta.detach().clone()
    del neuron.beta
    neuron.register_parameter("beta", nn.Parameter(beta))
    neuron._configure()
    case.make = lambda c: torch.optim.AdamW(c.net.parameters(), c.lr, weight_decay=0.05)
    return "weight decay on time constants", {case.path(neuron)}


@fault("learning rate too high")
def high(case: Case, chosen: np.random.Generator) -> Answer:
    case.lr = float(chosen.choice([3.0, 10.0, 100.0]))
    return "learning rate too high", {"optimizer"}


@fault("learning rate too low")
def low(case: Case, chosen: np.random.Generator) -> Answer:
    case.lr = float(chosen.choice([1e-6, 1e-7, 1e-8]))
    return "learning rate too low", {"optimizer"}


@fault("labels do not fit")
def labels(case: Case, chosen: np.random.Generator) -> Answer:
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda y: y + 1,
        lambda y: nn.functional.one_hot(y, 10).float(),
        lambda y: torch.zeros_like(y),
    ]
    change = changes[int(chosen.integers(3))]
    case.change = lambda x, y: (x, change(y))
    return "labels do not fit", {"labels"}


@fault("loss does not see the spikes")
def blind(case: Case, chosen: np.random.Generator) -> Answer:
    own, net = case.loss, case.net
    weight = next(net.parameters())
    losses: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda out, y: own(out.detach(), y),
        lambda out, y: weight.square().sum() + 0 * out.sum(),
        lambda out, y: own(torch.as_tensor(out.detach().numpy()), y),
    ]
    case.loss = losses[int(chosen.integers(3))]
    return "loss does not see the spikes", {"loss"}


@fault("forgotten reset")
def carried(case: Case, chosen: np.random.Generator) -> Answer:
    if not isinstance(case.net, Loop):
        case.net = Loop(case.body, case.data.steps, case.data.timed)
    case.net.resets = False
    return "forgotten reset", {case.path(case.neurons()[0])}


class WrongNorm(nn.Module):
    """Batch norm that takes samples as channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(2)).view_as(x)


@fault("batch norm over the wrong axis")
def axis(case: Case, chosen: np.random.Generator) -> Answer:
    if not isinstance(case.net, Loop):
        case.net = Loop(case.body, case.data.steps, case.data.timed)
    case.net.front = WrongNorm(32)
    return "batch norm over the wrong axis", {"front.norm"}


class Drop(nn.Module):
    """Drops spikes in every mode."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.3)


class AlwaysDrop(nn.Dropout):
    """Stays in training mode."""

    def train(self, mode: bool = True) -> "AlwaysDrop":
        return super().train(True)


@fault("dropout at evaluation")
def drop(case: Case, chosen: np.random.Generator) -> Answer:
    layer = Drop() if chosen.random() < 0.5 else AlwaysDrop(0.3)
    case.body.insert(len(case.body) - 2, layer)
    return "dropout at evaluation", {case.path(layer)}


@fault("not a number")
def nan(case: Case, chosen: np.random.Generator) -> Answer:
    synapse = case.synapses()[int(chosen.integers(len(case.synapses())))]
    if chosen.random() < 0.5:
        with torch.no_grad():
            synapse.weight.view(-1)[3] = float("nan")
        return "not a number", {case.path(synapse)}
    case.change = lambda x, y: (x.clone().index_fill_(0, torch.tensor([0]), float("nan")), y)
    return "not a number", {"input"}


@fault("equal weights")
def equal(case: Case, chosen: np.random.Generator) -> Answer:
    """Two layers, one after the other, are initialised with one number."""
    place = int(chosen.integers(len(case.synapses()) - 1))
    value = float(chosen.choice([0.0, 0.01, 0.1]))
    for synapse in case.synapses()[place : place + 2]:
        nn.init.constant_(synapse.weight, value)
        nn.init.zeros_(synapse.bias)
    return "equal weights", {case.path(case.synapses()[place])}


@fault("outputs do not fit the loss")
def misfit(case: Case, chosen: np.random.Generator) -> Answer:
    """A loss of torch, which knows no time axis."""
    case.loss = nn.CrossEntropyLoss()
    return "outputs do not fit the loss", {"loss"}
