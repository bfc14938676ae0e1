"""A report as a table and as a picture."""

from typing import Any

from ..core.style import bare_figure, colours, label, legend_above, tidy
from ..core.table import aligned
from .error_parts import PARTS

__all__ = ["picture", "text"]


def text(report: Any) -> str:
    """The report as text."""
    most = len(report.accuracy)
    steps = [*_powers_of_two(most - 1), most]
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


def _powers_of_two(most: int) -> list[int]:
    return [2**k for k in range(most.bit_length())]


def _table(rows: list[list[str]]) -> list[str]:
    return [f"  {line}" for line in aligned(rows)]


def picture(report: Any) -> Any:
    """The report as a figure of three panels."""
    figure = bare_figure(13, 4.2, "drawing a report")
    curve, layers, exits = figure.subplots(1, 3)
    _accuracies(curve, report)
    _bars(layers, report)
    _exits(exits, report)
    return figure


def _accuracies(ax: Any, report: Any) -> None:
    """Accuracy after each step."""
    used = colours()
    steps = range(1, len(report.accuracy) + 1)
    ax.plot(steps, [100 * a for a in report.accuracy], color=used.blue, marker=".", label="spiking")
    ax.axhline(100 * report.ann_accuracy, color=used.grey, linestyle="--", label="ordinary")
    if report.enough is not None:
        within = f"within {100 * report.tolerance:g} points: T = {report.enough}"
        ax.axvline(report.enough, color=used.green, linestyle=":", label=within)
    ticks = _powers_of_two(len(report.accuracy))
    ax.set_xscale("log")
    ax.set_xticks(ticks, map(str, ticks), minor=False)
    ax.minorticks_off()
    label(ax, "time steps", "accuracy [%]", "Accuracy over time")
    tidy(ax, "y")
    legend_above(ax, 3)


def _bars(ax: Any, report: Any) -> None:
    """Parts of each layer's error, stacked: positive ones upwards, negative ones downwards."""
    used = colours()
    places = range(len(report.layers))
    up = [0.0] * len(places)
    down = [0.0] * len(places)
    shades = (used.grey, used.orange, used.blue, used.sky)
    for part, shade in zip(PARTS, shades, strict=True):
        values = [100 * getattr(e, part) for e in report.layers]
        bottoms = [u if v >= 0 else d for u, d, v in zip(up, down, values, strict=True)]
        ax.bar(places, values, bottom=bottoms, width=0.6, color=shade, label=part)
        up = [u + max(v, 0) for u, v in zip(up, values, strict=True)]
        down = [d + min(v, 0) for d, v in zip(down, values, strict=True)]
    ax.axhline(0, color=used.ink, linewidth=0.8)
    errors = [100 * e.error for e in report.layers]
    ax.plot(places, errors, "o", color=used.ink, markersize=4, label="whole error")
    names = [e.layer or e.path for e in report.layers]
    ax.set_xticks(places, names, rotation=30, ha="right")
    middle, room = (len(places) - 1) / 2, max(len(places), 3) / 2 + 0.1
    ax.set_xlim(middle - room, middle + room)
    label(ax, "", "relative error [%]", f"Errors at T = {report.steps}")
    tidy(ax, "y")
    legend_above(ax, 3)


def _exits(ax: Any, report: Any) -> None:
    """Accuracy and mean steps of early exit; close points have one label."""
    used = colours()
    steps = [e.steps for e in report.exits]
    accuracies = [100 * e.accuracy for e in report.exits]
    ax.plot(steps, accuracies, color=used.blue, marker="o", label="early exit at a confidence")
    ax.axhline(100 * report.ann_accuracy, color=used.grey, linestyle="--", label="ordinary")
    ax.margins(0.12)
    middle = (min(steps, default=0) + max(steps, default=0)) / 2
    for names, x, y in grouped(steps, accuracies, [e.confidence for e in report.exits]):
        right = x > middle
        ax.annotate(
            names,
            (x, y),
            textcoords="offset points",
            xytext=(-4, -12) if right else (6, -10),
            ha="right" if right else "left",
            color=used.ink,
            fontsize="small",
        )
    label(ax, "mean time steps", "accuracy [%]", "Early exit")
    tidy(ax, "y")
    legend_above(ax, 2)


def grouped(
    steps: list[float], accuracies: list[float], confidences: list[float]
) -> list[tuple[str, float, float]]:
    """Returns the label and the place of each group of points that are almost the same.

    >>> grouped([1.0, 9.9, 10.0], [80.0, 90.0, 90.1], [0.5, 0.9, 0.99])
    [('0.5', 1.0, 80.0), ('0.9, 0.99', 9.9, 90.0)]
    """
    groups: list[list[int]] = []
    near = [
        0.1 * (max(values, default=0.0) - min(values, default=0.0))
        for values in (steps, accuracies)
    ]
    for i in range(len(steps)):
        first = groups[-1][0] if groups else i
        apart = (
            abs(steps[i] - steps[first]) > near[0]
            or abs(accuracies[i] - accuracies[first]) > near[1]
        )
        if groups and not apart:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [
        (", ".join(f"{confidences[i]:g}" for i in group), steps[group[0]], accuracies[group[0]])
        for group in groups
    ]
