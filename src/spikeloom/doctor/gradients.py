"""How the gradient of every learning rule that applies to a network compares with that of
backpropagation through time.

Where a rule computes exact gradients of spike times, it is a second reference.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core import checks, tree
from ..core.notebook import Printed
from ..core.numbers import network, whole
from ..core.table import aligned
from ..functional.loss import ce_rate_loss
from ..learning.bptt import BPTT
from ..learning.registry import rules_of
from ..learning.training import Loss, TrainingRule

__all__ = ["GradientReport", "GradientRow", "gradient_report"]

EXACT = "eventprop"


@dataclass(frozen=True)
class GradientRow:
    """The gradient of one rule for one parameter.

    Attributes:
        layer: name of the parameter.
        rule: name of the rule.
        cosine: of the angle to the gradient of BPTT; NaN where one of the two is zero.
        scale: length of the gradient, that of BPTT being 1.
        exact_cosine: as ``cosine``, to the exact gradient of spike times; NaN where there is none.
        exact_scale: likewise.

    >>> GradientRow("0.weight", "eprop", 0.99, 0.5).scale
    0.5
    """

    layer: str
    rule: str
    cosine: float
    scale: float
    exact_cosine: float = math.nan
    exact_scale: float = math.nan


@dataclass(frozen=True)
class GradientReport(Printed):
    """What `gradient_report` found; printed, a table.

    Attributes:
        rows: one for each rule and parameter.
        refused: why the other rules do not apply, by their names.

    >>> print(
    ...     GradientReport(
    ...         (GradientRow("0.weight", "eprop", 0.99, 0.5),), {"bp_stdp": "no IF neurons"}
    ...     )
    ... )
    rule      parameter  cosine to bptt  length / bptt
    eprop     0.weight            0.990         0.500
    bp_stdp does not apply: no IF neurons
    """

    rows: tuple[GradientRow, ...]
    refused: dict[str, str]

    def __str__(self) -> str:
        exact = any(not math.isnan(row.exact_scale) for row in self.rows)
        head = ["rule", "parameter", "cosine to bptt", "length / bptt"]
        head += [f"cosine to {EXACT}", f"length / {EXACT}"] if exact else []
        table = [head]
        for row in self.rows:
            numbers = [
                row.cosine,
                row.scale,
                *([row.exact_cosine, row.exact_scale] if exact else []),
            ]
            table.append(
                [row.rule, row.layer, *("-" if math.isnan(x) else f"{x:.3f}" for x in numbers)]
            )
        return "\n".join(
            [
                *aligned(table, left=2),
                *(f"{rule} does not apply: {why}" for rule, why in self.refused.items()),
            ]
        )


def gradient_report(
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    *,
    num_steps: int | None = None,
    loss: Loss | None = None,
    rules: Iterable[str | TrainingRule] | None = None,
) -> GradientReport:
    """Compare the gradients that the learning rules give for one batch, parameter by parameter.

    The network is in evaluation mode meanwhile, so that dropout does not make the rules see
    different networks; its parameters, their ``grad`` and its mode are left as they were, its state
    is reset.

    Args:
        net: a network of one step.
        batch: input over time [T, B, ...] and classes [B]; with ``num_steps``, samples [B, ...] for
            every step.
        num_steps: T of a static input.
        loss: of output spikes [T, B, N] and classes, one number. Default: ``ce_rate_loss()``, a
            mean over single steps as "eprop" needs it. "bp_stdp" has an error of its own.
        rules: names in ``learning.RULES``, or rules such as ``TBPTT(K=2)``. Default: every rule
            of `fit`.

    Raises:
        TypeError, ValueError: the batch is no such pair, a name is unknown, or no gradient goes
            back through time.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))
    >>> report = gradient_report(
    ...     net, (2 * torch.rand(20, 8, 4), torch.arange(8) % 3), rules=["eprop"]
    ... )
    >>> [row.layer for row in report.rows]
    ['0.weight', '0.bias']
    """
    network(net)
    if loss is not None and not callable(loss):
        raise TypeError(
            f"loss must be a function of output and classes, got {loss!r}; write ce_rate_loss()"
        )
    if isinstance(rules, str) or not (rules is None or isinstance(rules, (list, tuple, set, dict))):
        raise TypeError(f"rules must be a list of names, got {rules!r}; write rules=['eprop']")
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(
            f"batch must be a pair (x, y), got {type(batch).__name__}; write gradient_report(net, "
            "(x, y))"
        )
    x, y = batch
    checks.floating(x, "x")
    known = rules_of(TrainingRule)
    wanted: list[TrainingRule] = []
    for rule in known if rules is None else rules:
        if not isinstance(rule, TrainingRule):
            rule = known[checks.choice("a rule", rule, known)]()
        wanted.append(rule)
    if num_steps is not None:
        num_steps = whole("num_steps", num_steps, 1, 2**24)
        x = x.unsqueeze(0).expand(num_steps, *x.shape)
    names = [name for name, p in net.named_parameters() if p.requires_grad]
    found, refused = _gradients(net, x, y, ce_rate_loss() if loss is None else loss, wanted)
    bptt, exact = found.pop("bptt"), found.get(EXACT)
    rows = []
    for rule, gradients in found.items():
        for place, layer in enumerate(names):
            own, reference = gradients[place], exact[place] if exact is not None else None
            rows.append(
                GradientRow(layer, rule, *_compared(own, bptt[place]), *_compared(own, reference))
            )
    if exact is not None:
        rows += [
            GradientRow(n, "bptt", 1.0, 1.0, *_compared(a, b))
            for n, a, b in zip(names, bptt, exact, strict=True)
        ]
    return GradientReport(tuple(rows), refused)


def _gradients(
    net: nn.Module, x: Tensor, y: Tensor, loss: Loss, wanted: list[TrainingRule]
) -> tuple[dict[str, list[Tensor]], dict[str, str]]:
    found: dict[str, list[Tensor]] = {}
    refused: dict[str, str] = {}
    training = net.training
    net.eval()
    try:
        for rule in dict.fromkeys([BPTT(), *wanted]):
            tree.reset(net)
            try:
                found[str(rule)] = rule.gradients(net, x, y, loss)
            except (TypeError, ValueError) as error:
                if rule == BPTT():
                    raise
                refused[str(rule)] = str(error)
    finally:
        net.train(training)
        tree.reset(net)
    return found, refused


def _compared(gradient: Tensor, reference: Any) -> tuple[float, float]:
    """Cosine and ratio of lengths; NaN where they are not defined."""
    if reference is None:
        return math.nan, math.nan
    a, b = gradient.detach().flatten().double(), reference.detach().flatten().double()
    lengths = float(a.norm()), float(b.norm())
    if not lengths[1]:
        return math.nan, math.nan
    return float(a @ b) / (lengths[0] * lengths[1]) if lengths[0] else math.nan, lengths[
        0
    ] / lengths[1]
