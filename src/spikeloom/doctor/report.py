"""What `doctor.check` reports: findings, and a row for each layer of neurons."""

import html
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.style import bare_figure, colours, label, legend_above, tidy
from ..core.table import aligned
from .observe import BINS, SPAN, Observation
from .rules import PAGE, Finding, owner

__all__ = ["LayerRow", "Report", "rows_of"]


class LayerRow(NamedTuple):
    """What a layer of neurons did on the batch.

    Attributes:
        path: of the neuron.
        kind: its class.
        units: number of neurons.
        rate: spikes per neuron and step.
        silent: share of neurons that fire for no sample.
        saturated: share that fire at nine of ten steps or more.
        median: of the membranes, in thresholds from the threshold: -1 is rest, 0 fires.
        support: share of membranes at which the surrogate exceeds a tenth of its peak.
        current: root mean square of the input, in thresholds.
        gradient: norm of the loss's gradient at the spikes.
        change: this norm over that of the next layer; None for the last one.
        update: size of the first update of the weights before it over their size, or None.
        histogram: of the membranes, from -3 to 3 thresholds from the threshold.

    >>> LayerRow("1", "Leaky", 30, 0.1, 0.2, 0.0, -0.5, 0.9, 0.4, 1.0, None, None, ()).rate
    0.1
    """

    path: str
    kind: str
    units: int
    rate: float
    silent: float
    saturated: float
    median: float
    support: float
    current: float
    gradient: float
    change: float | None
    update: float | None
    histogram: tuple[float, ...]


ACTIVITY = {
    "rate": "spikes per neuron and step",
    "silent": "silent neurons",
    "saturated": "saturated neurons",
}
HEAD = ("layer", "kind", "neurons", "rate", "silent", "saturated", "membrane", "in support")
HEAD += ("input", "gradient", "change", "update")


@dataclass(frozen=True)
class Report:
    """What `check` found; printed, findings and a table; in a notebook the same as HTML.

    Attributes:
        findings: what is wrong, in the order of what to mend first.
        layers: one row for each layer of neurons, in the order in which they run.
        steps: T.
        loss: on the batch; None where it could not be computed.

    >>> print(Report((), (), 10, 1.0))
    nothing found
    """

    findings: tuple[Finding, ...]
    layers: tuple[LayerRow, ...]
    steps: int
    loss: float | None

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def _cells(self) -> list[list[str]]:
        return [
            [
                *(row.path or "(the network)", row.kind, str(row.units)),
                *(f"{row.rate:.3f}", f"{row.silent:.0%}", f"{row.saturated:.0%}"),
                *(f"{row.median:+.2f}", f"{row.support:.0%}", f"{row.current:.2f}"),
                f"{row.gradient:.1e}",
                "-" if row.change is None else f"{row.change:.1e}",
                "-" if row.update is None else f"{row.update:.1e}",
            ]
            for row in self.layers
        ]

    def __str__(self) -> str:
        lines = [f"{n}. {finding}" for n, finding in enumerate(self.findings, 1)]
        lines = [*lines, f"what the words mean: {PAGE}"] if lines else ["nothing found"]
        if self.layers:
            lines += ["", *aligned([list(HEAD), *self._cells()], left=2)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        items = "".join(
            f"<li><b>{html.escape(f.fault)}</b> at <code>{html.escape(f.path)}</code>: "
            f"{html.escape(f.found)} (healthy: {html.escape(f.healthy)})<br>"
            f"<code>{html.escape(f.write)}</code></li>"
            for f in self.findings
        )
        head = "".join(f"<th>{name}</th>" for name in HEAD)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._cells()
        )
        found = f"<ol>{items}</ol>" if items else "<p>nothing found</p>"
        return f"{found}<table><tr>{head}</tr>{rows}</table>"

    def plot(self) -> Any:
        """Draw membranes, activity and gradients of each layer; needs matplotlib.

        Returns:
            The figure.

        >>> Report((), (), 10, 1.0).plot().axes[0].get_title()
        'Membranes'
        """
        figure = bare_figure(12, 3.8, "drawing a report")
        membranes, activity, gradients = figure.subplots(1, 3)
        self._draw_membranes(membranes)
        places = range(len(self.layers))
        for shift, name in ((-0.25, "rate"), (0.0, "silent"), (0.25, "saturated")):
            values = [getattr(row, name) for row in self.layers]
            activity.bar([place + shift for place in places], values, 0.22, label=ACTIVITY[name])
        activity.set_ylim(0, 1)
        label(activity, "", "share", "Activity")
        norms = [max(row.gradient, 1e-30) for row in self.layers]
        gradients.plot(places, norms, marker="o", color=colours().blue)
        gradients.set_yscale("log")
        label(gradients, "", "norm of the gradient at the spikes", "Gradient")
        names = [f"{row.kind} {row.path}".strip() for row in self.layers]
        for ax in (activity, gradients):
            ax.set_xticks(list(places), names, rotation=30, ha="right")
        tidy(activity)
        tidy(gradients, "y")
        for ax in (activity, gradients):
            ax.set_xlim(-0.6, max(len(places), 2) - 0.4)
        legend_above(membranes, 3)
        legend_above(activity, 2)
        return figure

    def _draw_membranes(self, ax: Any) -> None:
        """One curve for each layer, and the threshold."""
        edges = [SPAN * (2 * (i + 0.5) / BINS - 1) for i in range(BINS)]
        ax.axvline(0, color=colours().grey, linestyle="--", label="threshold")
        for row in self.layers:
            total = sum(row.histogram) or 1.0
            shares = [n / total for n in row.histogram]
            ax.plot(edges, shares, label=f"{row.kind} {row.path}".strip())
        label(ax, "membrane [thresholds from the threshold]", "share of membranes", "Membranes")
        tidy(ax)


def rows_of(seen: Observation) -> tuple[LayerRow, ...]:
    """A row for each layer of neurons."""
    norms = [float(a.gradient.square().sum()) ** 0.5 for a in seen.activities]
    rows = []
    for place, a in enumerate(seen.activities):
        last = place == len(norms) - 1
        change = None if last or not norms[place + 1] else norms[place] / norms[place + 1]
        before = [s.path for s in seen.synapses if s.order < a.order][-1:]
        sizes = [size for name, size in seen.updates.items() if owner(name) in before]
        rows.append(
            LayerRow(
                a.path,
                type(a.neuron).__name__,
                a.units,
                a.rate,
                a.silent,
                a.saturated,
                a.quantile(0.5) if a.neuron.spiking else float("nan"),
                a.support,
                a.current,
                norms[place],
                change,
                max(sizes) if sizes else None,
                tuple(a.histogram.tolist()),
            )
        )
    return tuple(rows)
