"""Spike counts of an output layer as a bar chart, static or animated."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..core.style import colours, integer_ticks, label, tidy
from .movie import movie, steps_to_show
from .records import sample_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["spike_count"]


def spike_count(
    data: Tensor,
    fig: "Figure",
    ax: "Axes",
    labels: Sequence[str],
    num_steps: int | bool = False,
    animate: bool = False,
    interpolate: int = 1,
    gridshader: bool = True,
    interval: float = 25,
    time_step: float | bool = False,
) -> Any:
    """Draws the spike count of each output neuron, at the end or over time.

    Args:
        data: spikes of one sample, [T, N].
        fig: the figure of ``ax``.
        ax: where to draw. The lower axis counts spikes; the upper one, where there is a line at the
            current step or a ``time_step``, is time. A neuron that fires at every step reaches the
            line.
        labels: names of the N neurons.
        num_steps: number of steps to count. Default: all.
        animate: whether to animate the counts over time, with a line at the current step.
        interpolate: frames per step; more frames move the line smoothly.
        gridshader: whether to shade every other interval between ticks.
        interval: time between frames in ms.
        time_step: duration of a step in s; if given, time is in s instead of steps.

    Returns:
        The axes; with ``animate`` the animation, whose last frame shows all ``num_steps`` steps.
        (snnTorch returns None without ``animate``, and its last frame lacks the last step.)

    Raises:
        ValueError: ``data`` holds a batch, there is not one label for each neuron, or
            ``interpolate`` is not 1 or more.

    >>> import torch
    >>> from matplotlib.figure import Figure
    >>> fig = Figure()
    >>> ax = spike_count(torch.eye(3), fig, fig.subplots(), labels=["a", "b", "c"])
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['a', 'b', 'c']
    """
    values = sample_of(data, "data")
    if len(labels) != values.shape[1]:
        raise ValueError(
            f"labels must name each of the {values.shape[1]} neurons of data, got {len(labels)} "
            "labels"
        )
    if not isinstance(interpolate, int) or interpolate < 1:
        raise ValueError(
            "interpolate must be a whole number of frames for each step, 1 or more, got "
            f"{interpolate!r}"
        )
    frames = steps_to_show(num_steps, len(values))
    counts = np.zeros((frames + 1, values.shape[1]))
    np.cumsum(values[:frames], axis=0, out=counts[1:])
    rows = np.arange(1, values.shape[1] + 1)
    used = colours()
    furnish(ax, labels, rows, frames, gridshader)
    if animate or time_step:
        upper_axis(ax, time_step)
    bars = ax.hlines(rows, 0, counts[-1], color=used.blue, alpha=0.5, linewidth=8)
    (dots,) = ax.plot(counts[-1], rows, "o", color=used.blue, markersize=9, clip_on=False, zorder=3)
    if not animate:
        return ax
    now = ax.axvline(0, color=used.orange, linewidth=2.5, clip_on=False)

    def draw(frame: int) -> list["Artist"]:
        done = counts[frame // interpolate]
        bars.set_segments(
            [np.array([[0, row], [count, row]]) for row, count in zip(rows, done, strict=True)]
        )
        dots.set_xdata(done)
        now.set_xdata([frame / interpolate] * 2)
        return [bars, dots, now]

    return movie(fig, draw, frames * interpolate + 1, interval)


def furnish(
    ax: "Axes",
    labels: Sequence[str],
    rows: np.ndarray,
    num_steps: int,
    shaded: bool,
) -> None:
    """Draws the static parts of the axes."""
    ax.set_xlim(0, num_steps)
    ax.set_ylim(0.4, len(rows) + 0.6)
    ax.set_yticks(rows, labels, color=colours().ink)
    integer_ticks(ax.xaxis)
    ticks = [tick for tick in ax.get_xticks() if 0 <= tick <= num_steps]
    if shaded:
        for start, end in zip(ticks[::2], [*ticks[1::2], num_steps], strict=False):
            ax.axvspan(start, end, color=colours().shade, zorder=0)
    label(ax, "spikes", "label")
    tidy(ax)


def upper_axis(ax: "Axes", time_step: float) -> None:
    """Draws the axis of time above the axes, in the colour of the line at the current step."""
    duration = float(time_step) or 1.0
    colour = colours().orange

    def seconds(steps: Any) -> Any:
        return steps * duration

    def steps_of(seconds: Any) -> Any:
        return seconds / duration

    upper = ax.secondary_xaxis("top", functions=(seconds, steps_of))
    upper.set_xlabel("time [s]" if time_step else "time step", color=colour)
    upper.tick_params(color=colour, labelcolor=colour)
    upper.spines["top"].set_color(colour)
    if not time_step:
        integer_ticks(upper.xaxis)
