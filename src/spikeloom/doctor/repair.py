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
RATES = tuple(10.0 ** (-5 + n / 2) for n in range(11))  # 1e-5 ... 1
LARGEST = 0.05  # first update over the weights, that a proposed learning rate may make
FLAT = 1e-3  # relative difference of losses that says nothing
STEPS = 5  # of training for each learning rate


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
        lr: proposed learning rate; None where none was tried.
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

    Repairs only what `check` finds in the dynamics: a surrogate that is too steep or too flat
    becomes an arc tangent as wide as the threshold; leaks that do not fit the number of steps get a
    time constant of half of it; a layer that is silent or saturated gets the threshold 1, no bias,
    and weights scaled until the threshold is two standard deviations of its membranes away. If
    gradients vanish, all layers are scaled in that manner, from the first to the last. It is meant
    for networks before training: scaling changes the meaning of trained weights.

    Args:
        net, batch, loss, num_steps: as for `check`.
        optimizer, lr: as for `check`; with one of them, a learning rate is proposed: of rates from
            1e-5 to 1 the one after which the loss is lowest in a short training on a copy (a range
            test), if it is not among those whose first update exceeds a twentieth of the weights.
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
    for _ in range(2 * len(list(net.modules()))):
        seen = examine(net, batch, loss, num_steps, cheap=work.style is not None, style=work.style)
        work.style = seen.style
        found = findings(seen)
        if not any(work.mend(finding, seen) for finding in found):
            break
    proposed = None
    if optimizer is not None or lr is not None:
        seen = examine(net, batch, loss, num_steps, optimizer, lr)
        found = tuple(f for f in findings(seen) if not f.fault.startswith("learning rate"))
        proposed = range_test(seen, num_steps, loss)
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
        self.done: set[tuple[str, str]] = set()

    def mend(self, finding: Finding, seen: Observation) -> bool:
        """Mend one fault; False where that is not possible, or was tried before."""
        fault, path = finding.fault, finding.path
        if fault not in MENDERS or (fault, path) in self.done:
            return False
        self.done.add((fault, path))
        a = next((a for a in seen.activities if a.path == path), None)
        return a is not None and MENDERS[fault](self, a, seen)

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

    def layer(self, a: Activity, seen: Observation) -> bool:
        """Threshold 1, no bias, and weights in the fluctuation-driven regime."""
        synapse = self.before(a, seen)
        if synapse is None:
            return False
        if a.threshold != 1.0:
            self.note(a.path, "threshold", a.threshold, 1.0)
            with torch.no_grad():
                a.neuron.threshold.fill_(1.0)
        self.scale(synapse, a)
        return True

    def depth(self, a: Activity, seen: Observation) -> bool:
        """All layers in the fluctuation-driven regime, with surrogates as wide as the threshold."""
        for each in seen.spiking:
            synapse = self.before(each, seen)
            if each.curve is not None and each.curve.width < 0.5:
                self.surrogate(each, seen)
            if synapse is not None:
                self.scale(synapse, each)
        return True

    def gain(self, a: Activity, seen: Observation) -> bool:
        """A surrogate with a peak of 1."""
        return self.surrogate(a, seen)

    @staticmethod
    def before(a: Activity, seen: Observation) -> Synapse | None:
        """The layer with weights in front of a neuron."""
        earlier = [s for s in seen.synapses if s.order < a.order]
        return earlier[-1] if earlier else None

    @torch.no_grad()
    def scale(self, synapse: Synapse, a: Activity) -> None:
        """Scale weights until the membranes fluctuate by `SPREAD`."""
        layer: Any = synapse.layer
        bias = getattr(layer, "bias", None)
        if bias is not None and bool(bias.any()):
            self.note(synapse.path, "bias", float(bias.mean()), 0.0)
            bias.zero_()
        factor = 1.0
        for _ in range(ROUNDS):
            mean, spread = self.membranes(a.path)
            if spread == 0 or not math.isfinite(spread):
                return
            if abs(mean) > 2 * max(spread, SPREAD) and hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # weights of one sign: no factor helps
                if bias is not None:
                    bias.zero_()
                self.note(synapse.path, "weights", "of one sign", "drawn anew")
                continue
            step = min(max(SPREAD / spread, 0.1), 10.0)
            if abs(step - 1) < CLOSE:
                break
            layer.weight.mul_(step)
            factor *= step
        if factor != 1.0:
            self.note(synapse.path, "weights", "x 1", f"x {factor:.3g}")

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


MENDERS: dict[str, Callable[[Work, Activity, Observation], bool]] = {
    "surrogate too steep": Work.surrogate,
    "surrogate too flat": Work.surrogate,
    "leak too fast": Work.leak,
    "leak too slow": Work.leak,
    "dead layer": Work.layer,
    "saturated layer": Work.layer,
    "output never fires": Work.layer,
    "output always fires": Work.layer,
    "vanishing gradient": Work.depth,
    "exploding gradient": Work.gain,
}


def range_test(seen: Observation, num_steps: int | None, loss: Any) -> float | None:
    """The learning rate after which the loss on the batch of ``seen`` is lowest.

    Args:
        seen: what `check` knows, with an optimizer.
        num_steps, loss: as for `check`.

    Returns:
        The rate; None where the network has no gradient.
    """
    best: tuple[float, float] | None = None
    for rate in RATES:
        twin = trial(seen, num_steps, loss, STEPS, rate)
        sizes = sorted(twin.updates.values())
        if not sizes or sizes[len(sizes) // 2] > LARGEST:
            continue
        last = twin.losses[-1]
        if math.isfinite(last) and (best is None or last <= best[0] + FLAT * abs(best[0])):
            best = (min(last, best[0]) if best else last, rate)  # of equal ones the largest rate
    return None if best is None else best[1]
