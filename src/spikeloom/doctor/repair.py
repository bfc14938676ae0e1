"""``doctor.repair``: initial weights, thresholds, slopes and a learning rate with which a network
learns."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.curves import ATan
from ..core.numbers import network
from .check import examine, trial
from .observe import Activity, Observation, Synapse, forward, observed, restored
from .rules import LIMITS, Finding, findings

__all__ = ["Change", "Repair", "range_test", "repair"]

SPREAD = 0.5  # standard deviation of membranes, in thresholds: the threshold is two of them away
CLOSE = 0.1  # relative distance to `SPREAD` at which scaling ends
ROUNDS = 8  # of scaling one layer
RATES = tuple(10.0 ** (-n / 4) for n in range(21))  # 1 ... 1e-5
LARGEST = 0.05  # first update over the weights, that a proposed learning rate may make
FLAT = 1e-3  # relative difference of losses that says nothing
STEPS = 5  # of training for each learning rate
WORSE = 4  # rates, a factor of ten, after which no smaller one is tried
LONG = 40  # steps of the training that compares the best rate with smaller ones ...
PARTS = 4  # ... on parts of the batch
ALIKE = 0.01  # relative difference of their losses


class Change(NamedTuple):
    """What `repair` changed.

    >>> print(Change("2", "threshold", "50", "1"))
    2: threshold 50 -> 1
    """

    path: str
    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what} {self.before} -> {self.after}"


@dataclass(frozen=True)
class Repair:
    """A repaired network, and what was changed; printed, a list.

    Attributes:
        net: the network: a copy, unless ``inplace`` was given.
        changes: in the order in which they were made.
        lr: proposed learning rate: the given one if it was no fault; None where none was given, or
            where no rate lets the network run.
        left: findings that remain; faults of data or program have to be mended by hand.

    >>> print(Repair(nn.ReLU(), (), None, ()))
    nothing changed
    """

    net: nn.Module
    changes: tuple[Change, ...]
    lr: float | None
    left: tuple[Finding, ...]

    def __str__(self) -> str:
        lines = [str(change) for change in self.changes] or ["nothing changed"]
        lines += [f"learning rate: {self.lr:.1g}"] if self.lr is not None else []
        lines += [f"left: {finding}" for finding in self.left]
        return "\n".join(lines)


def repair(
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    num_steps: int | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float | None = None,
    inplace: bool = False,
) -> Repair:
    """Give a network initial weights, thresholds and slopes with which it learns.

    Repairs only what `check` finds in initial values and dynamics: equal weights are drawn anew; a
    surrogate that is too steep or too flat becomes an arc tangent as wide as the threshold; leaks
    that do not fit the number of steps get a time constant of half of it; a layer that is silent or
    saturated gets the threshold 1; if it is so still, no bias; and if that is not enough either,
    weights that are scaled until the threshold is two standard deviations of its membranes away. If
    gradients vanish, all layers are scaled in that manner, from the first to the last. It is meant
    for networks before training: scaling changes the meaning of trained weights.

    Args:
        net, batch, loss, num_steps: as for `check`.
        optimizer, lr: as for `check`; with one of them, a learning rate is proposed: that one, or
            where `check` finds it too high or too low, of rates from 1 to 1e-5 the one after which
            the loss is lowest in a short training on a copy (a range test), but none whose first
            update exceeds a twentieth of the weights, and a smaller one if it does as well in a
            longer training on parts of the batch.
        inplace: change ``net`` itself. Default: a copy.

    Returns:
        A `Repair`. The learning rate of ``optimizer`` itself is not changed.

    Raises:
        TypeError, ValueError: as for `check`.

    Source: Rossbroich, Gygax & Zenke (2022), Neuromorphic Computing and Engineering,
        "Fluctuation-driven initialization": the regime; here it is measured and not derived from
        input rates. Smith (2017), WACV: range test.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(
    ...     nn.Linear(4, 20), snn.Leaky(0.9, threshold=50.0, init_hidden=True),
    ...     nn.Linear(20, 3), snn.Leaky(0.9, init_hidden=True),
    ... )
    >>> mended = repair(net, (torch.rand(16, 4), torch.arange(16) % 3), num_steps=10)
    >>> mended.net[1].threshold, mended.left
    (tensor(1.), ())
    """
    network(net)
    if not inplace:
        net, optimizer = copy.deepcopy((net, optimizer))
    work = Work(net, batch, loss, num_steps)
    found: tuple[Finding, ...] = ()
    for _ in range(4 * len(list(net.modules()))):
        seen = examine(net, batch, loss, num_steps, cheap=work.style is not None, style=work.style)
        work.style = seen.style
        found = findings(seen)
        if not any(work.mend(finding, seen) for finding in found):
            break
    proposed = None
    if optimizer is not None or lr is not None:
        seen = examine(net, batch, loss, num_steps, optimizer, lr)
        every = findings(seen)
        found = tuple(f for f in every if not f.fault.startswith("learning rate"))
        if len(found) < len(every):
            proposed = range_test(seen, num_steps, loss)
        else:
            proposed = float(seen.optimizer.param_groups[0]["lr"])
    return Repair(net, tuple(work.changes), proposed, found)


class Work:
    """The repair of one network.

    Args:
        net, batch, loss, num_steps: as for `repair`.
    """

    def __init__(self, net: nn.Module, batch: Any, loss: Any, num_steps: int | None) -> None:
        self.net, self.x, self.num_steps = net, batch[0], num_steps
        self.style: str | None = None
        self.changes: list[Change] = []
        self.done: set[tuple[str, str, str]] = set()

    def mend(self, finding: Finding, seen: Observation) -> bool:
        """Try the next remedy of a fault; False where there is none, or all were tried."""
        taps = (*seen.activities, *seen.synapses)
        tap: Any = next((tap for tap in taps if tap.path == finding.path), None)
        for remedy in MENDERS.get(finding.fault, ()) if tap is not None else ():
            key = (finding.fault, finding.path, remedy.__name__)
            if key not in self.done:
                self.done.add(key)
                if remedy(self, tap, seen):
                    return True
        return False

    def note(self, path: str, what: str, before: float | str, after: float | str) -> None:
        """Remember a change."""
        texts = [v if isinstance(v, str) else f"{v:.3g}" for v in (before, after)]
        self.changes.append(Change(path, what, *texts))

    def surrogate(self, a: Activity, seen: Observation) -> bool:
        """An arc tangent that is as wide as the threshold."""
        neuron: Any = a.neuron
        before = repr(neuron.spike_grad)
        neuron.spike_grad = ATan(alpha=2.0 / max(a.threshold, 1e-6))
        self.note(a.path, "surrogate", before, repr(neuron.spike_grad))
        return True

    def leak(self, a: Activity, seen: Observation) -> bool:
        """A membrane that remembers half of the steps."""
        after = math.exp(-2.0 / seen.steps)
        for name in ("beta", "alpha"):
            if name in a.neuron._names and (name == "beta" or not _remembers(a.neuron)):
                value = getattr(a.neuron, name)
                self.note(a.path, name, float(value.detach().mean()), after)
                with torch.no_grad():
                    value.fill_(after)
        return True

    def threshold(self, a: Activity, seen: Observation) -> bool:
        """The threshold 1."""
        if a.threshold == 1.0 or self.before(a, seen) is None:
            return False
        self.note(a.path, "threshold", a.threshold, 1.0)
        with torch.no_grad():
            a.neuron.threshold.fill_(1.0)
        return True

    def bias(self, a: Activity, seen: Observation) -> bool:
        """No bias."""
        synapse = self.before(a, seen)
        return synapse is not None and self.unbias(synapse)

    def weights(self, a: Activity, seen: Observation) -> bool:
        """Weights in the fluctuation-driven regime."""
        synapse = self.before(a, seen)
        if synapse is not None:
            self.scale(synapse, a)
        return synapse is not None

    def depth(self, a: Activity, seen: Observation) -> bool:
        """All layers in the fluctuation-driven regime, with surrogates as wide as the threshold."""
        for each in seen.spiking:
            synapse = self.before(each, seen)
            if each.curve is not None and each.curve.width < 0.5:
                self.surrogate(each, seen)
            if synapse is not None:
                self.scale(synapse, each)
        return True

    def redraw(self, synapse: Synapse, seen: Observation) -> bool:
        """Weights as torch draws them, in all layers whose weights are one number."""
        drawn = False
        for each in seen.synapses:
            layer: Any = each.layer
            weight: Any = layer._parameters.get("weight")
            if weight is None or not weight.requires_grad or weight.dim() < 2:
                continue
            equal = weight.numel() > 1 and bool((weight == weight.flatten()[0]).all())
            if equal and hasattr(layer, "reset_parameters"):
                self.note(each.path, "weights", "all equal", "drawn anew")
                layer.reset_parameters()
                drawn = True
        return drawn

    @staticmethod
    def before(a: Activity, seen: Observation) -> Synapse | None:
        """The layer with weights in front of a neuron."""
        earlier = [s for s in seen.synapses if s.order < a.order]
        return earlier[-1] if earlier else None

    @torch.no_grad()
    def scale(self, synapse: Synapse, a: Activity) -> None:
        """Scale weights until the membranes fluctuate by `SPREAD`, without a bias."""
        self.unbias(synapse)
        layer: Any = synapse.layer
        factor = 1.0
        for _ in range(ROUNDS):
            mean, spread = self.membranes(a.path)
            if spread == 0 or not math.isfinite(spread):
                return
            if abs(mean) > 2 * max(spread, SPREAD) and hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # weights of one sign: no factor helps
                if getattr(layer, "bias", None) is not None:
                    layer.bias.zero_()
                self.note(synapse.path, "weights", "of one sign", "drawn anew")
                continue
            step = min(max(SPREAD / spread, 0.1), 10.0)
            if abs(step - 1) < CLOSE:
                break
            layer.weight.mul_(step)
            factor *= step
        if factor != 1.0:
            self.note(synapse.path, "weights", "x 1", f"x {factor:.3g}")

    @torch.no_grad()
    def unbias(self, synapse: Synapse) -> bool:
        """Set the bias to 0; False where there is none."""
        bias = getattr(synapse.layer, "bias", None)
        if bias is None or not bool(bias.any()):
            return False
        self.note(synapse.path, "bias", float(bias.mean()), 0.0)
        bias.zero_()
        return True

    def membranes(self, path: str) -> tuple[float, float]:
        """Mean and standard deviation of the membranes of a layer, in thresholds."""
        with restored(self.net), observed(self.net) as (activities, _):
            self.net.train()
            tree.reset(self.net)
            forward(self.net, self.x, self.num_steps, self.style or "step")
            a = activities[path]
            mem = torch.cat(a.membranes).float() / float(a.neuron.threshold.mean())
        return float(mem.mean()), float(mem.std())


def _remembers(neuron: Any) -> bool:
    return "beta" in neuron._names and float(neuron.beta.detach().mean()) > LIMITS.leak


Remedy = Callable[[Work, Any, Observation], bool]
ACTIVE: tuple[Remedy, ...] = (Work.threshold, Work.bias, Work.weights)  # until a layer is active
MENDERS: dict[str, tuple[Remedy, ...]] = {
    "surrogate too steep": (Work.surrogate,),
    "surrogate too flat": (Work.surrogate,),
    "leak too fast": (Work.leak,),
    "leak too slow": (Work.leak,),
    "dead layer": ACTIVE,
    "saturated layer": ACTIVE,
    "output never fires": ACTIVE,
    "output always fires": ACTIVE,
    "vanishing gradient": (Work.depth,),
    "exploding gradient": (Work.surrogate,),
    "equal weights": (Work.redraw,),
}


def range_test(seen: Observation, num_steps: int | None, loss: Any) -> float | None:
    """The learning rate after which the loss on the batch of ``seen`` is lowest.

    Args:
        seen: what `check` knows, with an optimizer.
        num_steps, loss: as for `check`.

    Returns:
        The rate; None where the network has no gradient.
    """
    best, rate, worse = math.inf, None, 0
    for candidate in RATES:
        sizes = sorted(trial(seen, num_steps, loss, 1, candidate).updates.values())
        if not sizes or sizes[len(sizes) // 2] > LARGEST:
            continue
        last = trial(seen, num_steps, loss, STEPS, candidate).losses[-1]
        if math.isfinite(last) and last < best - FLAT * abs(last):  # of equal ones the largest
            best, rate, worse = last, candidate, 0
        else:
            worse += 1
        if worse == WORSE and best < (seen.loss or 0.0):
            break
    return None if rate is None else cautious(seen, num_steps, loss, rate)


def cautious(seen: Observation, num_steps: int | None, loss: Any, rate: float) -> float:
    """The smallest rate, down to a third of ``rate``, that does as well in a longer training.

    A few steps on one batch favour rates at which training on others becomes unstable. Here parts
    of the batch follow one another.

    Args:
        seen, num_steps, loss: as for `range_test`.
        rate: the best one there.
    """
    place = RATES.index(rate)
    candidates = RATES[place : place + 3]
    try:
        losses = [trial(seen, num_steps, loss, LONG, c, PARTS).losses[-1] for c in candidates]
    except RuntimeError:  # a network that takes batches of one size only
        return rate
    best = min((last for last in losses if math.isfinite(last)), default=math.inf)
    limit = best + ALIKE * abs(best)
    good = [c for c, last in zip(candidates, losses, strict=True) if last <= limit]
    return min(good, default=candidates[-1])
