"""A report as a table and as a picture."""

from typing import Any

from ..core.checks import require
from ..core.table import aligned
from .error_parts import PARTS

__all__ = ["picture", "text"]

COLOURS = {
    "inherited": "0.75",
    "clipping": "tab:red",
    "quantisation": "tab:blue",
    "unevenness": "tab:orange",
}


def text(report: Any) -> str:
    """The report as text."""
    most = len(report.accuracy)
    steps = [t for t in (1, 2, 4, 8, 16, 32, 64, 128, 256) if t < most] + [most]
    losses = [100 * (report.ann_accuracy - report.accuracy[t - 1]) for t in steps]
    enough = "no number of steps" if report.enough is None else f"T = {report.enough}"
    lines = [
        f"{report.samples} samples; ordinary network {100 * report.ann_accuracy:.2f} %",
        *_table(
            [
                ["T", *map(str, steps)],
                ["spiking [%]", *(f"{100 * report.accuracy[t - 1]:.2f}" for t in steps)],
                ["loss [points]", *(f"{loss:.2f}" for loss in losses)],
            ]
        ),
        f"within {100 * report.tolerance:g} points: {enough}",
        "",
        *_errors(report),
        "",
        f"a sample, {report.steps} steps: {report.spikes:,.0f} spikes, "
        f"{report.synaptic_operations:,.0f} synaptic operations and "
        f"{report.analog_operations:,.0f} multiply-accumulates; ordinary network "
        f"{report.macs:,.0f}",
        "",
        f"early exit within {most} steps",
        *_table(
            [
                ["confidence", *(f"{e.confidence:g}" for e in report.exits)],
                ["accuracy [%]", *(f"{100 * e.accuracy:.2f}" for e in report.exits)],
                ["mean T", *(f"{e.steps:.2f}" for e in report.exits)],
            ]
        ),
    ]
    return "\n".join(lines)


def _errors(report: Any) -> list[str]:
    """The errors of each layer."""
    rows = [
        [
            e.path,
            *(f"{100 * v:.2f}" for v in (e.error, *(getattr(e, p) for p in PARTS))),
            f"{e.spikes:.0f}",
        ]
        for e in report.layers
    ]
    output = [
        "output",
        f"{100 * report.output_error:.2f}",
        *("" for _ in PARTS),
        f"{report.spikes:.0f}",
    ]
    return [
        f"relative error of each layer after {report.steps} steps, and its parts, which add up to "
        "it [%]",
        *_table([["layer", "error", *PARTS, "spikes"], *rows, output]),
    ]


def _table(rows: list[list[str]]) -> list[str]:
    return [f"  {line}" for line in aligned(rows)]


def picture(report: Any) -> Any:
    """The report as a figure of three panels."""
    require("matplotlib", extra="viz", purpose="drawing a report")
    figures = require("matplotlib.figure", extra="viz", purpose="drawing a report")
    figure = figures.Figure(figsize=(13, 3.8), layout="constrained")
    curve, layers, exits = figure.subplots(1, 3)
    steps = range(1, len(report.accuracy) + 1)
    curve.plot(steps, [100 * a for a in report.accuracy], marker=".", label="spiking")
    curve.axhline(100 * report.ann_accuracy, color="0.4", linestyle="--", label="ordinary")
    if report.enough is not None:
        curve.axvline(
            report.enough,
            color="tab:green",
            linestyle=":",
            label=f"within tolerance: T = {report.enough}",
        )
    ticks = [t for t in (1, 2, 4, 8, 16, 32, 64, 128, 256) if t <= len(report.accuracy)]
    curve.set(xscale="log", xlabel="steps", ylabel="accuracy [%]", title="Accuracy over time")
    curve.set_xticks(ticks, map(str, ticks), minor=False)
    curve.minorticks_off()
    curve.legend()
    _bars(layers, report)
    exits.plot(
        [e.steps for e in report.exits], [100 * e.accuracy for e in report.exits], marker="o"
    )
    for each in report.exits:
        exits.annotate(
            f"{each.confidence:g}",
            (each.steps, 100 * each.accuracy),
            textcoords="offset points",
            xytext=(4, -10),
        )
    exits.axhline(100 * report.ann_accuracy, color="0.4", linestyle="--")
    exits.set(xlabel="mean steps", ylabel="accuracy [%]", title="Early exit by confidence")
    return figure


def _bars(ax: Any, report: Any) -> None:
    """Parts of each layer's error, stacked: positive ones upwards, negative ones downwards."""
    names = [e.path for e in report.layers]
    up = [0.0] * len(names)
    down = [0.0] * len(names)
    for part in PARTS:
        values = [100 * getattr(e, part) for e in report.layers]
        bottoms = [u if v >= 0 else d for u, d, v in zip(up, down, values, strict=True)]
        ax.bar(range(len(names)), values, bottom=bottoms, color=COLOURS[part], label=part)
        up = [u + max(v, 0) for u, v in zip(up, values, strict=True)]
        down = [d + min(v, 0) for d, v in zip(down, values, strict=True)]
    ax.plot(range(len(names)), [100 * e.error for e in report.layers], "k.", label="error")
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set(ylabel="relative error [%]", title=f"Errors after {report.steps} steps")
    ax.legend(fontsize="small")
