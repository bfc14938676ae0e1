"""Plots of one recorded sample: spike rasters and traces of states.

Time is the first axis. A recording of a batch, [T, B, N], is refused: select a sample.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..core.style import array, axes_or_new, colours, figure_or_new, integer_ticks, label, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["raster", "traces"]


def sample_of(data: Any, what: str) -> np.ndarray:
    """``data`` as [T, N] numbers; a single neuron [T] becomes [T, 1]."""
    values = array(data, what)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise ValueError(
            f"{what} must be one sample of shape [T, N], got {values.shape}; select sample 0 of a "
            f"batch with {what}[:, 0], and flatten images with {what}[:, 0].flatten(1)"
        )
    if not len(values):
        raise ValueError(
            f"{what} must have at least one time step, got shape {values.shape}; record the "
            "network first"
        )
    return values


def raster(data: Tensor, ax: "Axes | None" = None, **kwargs: Any) -> "Axes":
    """Draws one mark per spike: time step to the right, neuron upwards.

    Args:
        data: one sample, [T, N] or, for one neuron, [T]; every non-zero value is a spike.
        ax: where to draw; existing labels do not change. Default: a new figure.
        kwargs: passed to ``Axes.scatter``. Unless ``s`` or ``marker`` is given, each spike is a
            vertical line whose height fits the number of neurons.

    Returns:
        The axes. (snnTorch returns the collection; it is ``ax.collections[-1]``.)

    Raises:
        ValueError: ``data`` holds a batch; the message shows how to select a sample.

    >>> import torch
    >>> ax = raster(torch.eye(4))
    >>> ax.get_xlabel(), len(ax.collections[0].get_offsets())
    ('time step', 4)
    """
    values = sample_of(data, "data")
    num_steps, num_neurons = values.shape
    ax = axes_or_new(ax, figsize=(8, 3.5))
    step, neuron = np.nonzero(values)
    if not {"s", "marker"} & kwargs.keys():
        height = 72 * ax.get_window_extent().height / ax.figure.dpi  # points
        kwargs |= {"marker": "|", "s": float(np.clip(0.7 * height / num_neurons, 1.2, 14)) ** 2}
        kwargs.setdefault("linewidths", 1.0)
    if not {"c", "color", "edgecolors", "facecolors"} & kwargs.keys():
        kwargs["color"] = colours().ink
    ax.scatter(step, neuron, **kwargs)
    # The axes include silent neurons.
    ax.update_datalim([(-0.5, -0.5), (num_steps - 0.5, num_neurons - 0.5)])
    ax.margins(0.01)
    ax.autoscale_view()
    label(ax, "time step", "neuron")
    integer_ticks(ax.xaxis, ax.yaxis)
    tidy(ax)
    return ax


def traces(
    data: Tensor,
    spk: Tensor | None = None,
    dim: tuple[int, int] = (3, 3),
    spk_height: float = 5,
    titles: Sequence[str] | None = None,
    *,
    fig: "Figure | None" = None,
) -> "Figure":
    """Draws the state of each neuron in its own panel, with a line upwards at each spike.

    Args:
        data: one sample of a state such as ``mem``, [T, N].
        spk: its spikes, [T, N].
        dim: rows and columns of panels; the first rows x columns neurons are drawn, without empty
            panels.
        spk_height: height of a spike in units of ``data``. Panels end above the largest state by at
            most a quarter of the range of the states, and longer spikes end there. (snnTorch adds
            spikes to the state, which becomes flat at the default of 5.)
        titles: one per panel; fewer are allowed.
        fig: where to draw. Default: pyplot's current figure if it is empty, else a new one.

    Returns:
        The figure. All panels share both axes.

    Raises:
        ValueError: ``data`` holds a batch, or ``spk`` has another shape.

    >>> import torch
    >>> fig = traces(torch.rand(20, 4), dim=(2, 2), titles=["a", "b"])
    >>> [ax.get_title() for ax in fig.axes]
    ['a', 'b', '', '']
    """
    values = sample_of(data, "data")
    spikes = None if spk is None else sample_of(spk, "spk")
    if spikes is not None and spikes.shape != values.shape:
        raise ValueError(
            f"spk must have the shape of data, got {spikes.shape} and {values.shape}; record "
            "both from the same neurons over the same steps"
        )
    rows, columns = dim
    fig = figure_or_new(fig, figsize=(2.4 * columns + 0.8, 1.5 * rows + 0.8))
    grid = fig.add_gridspec(rows, columns)
    shown = min(rows * columns, values.shape[1])
    used = colours()
    first: Axes | None = None
    for i in range(shown):
        ax = fig.add_subplot(grid[i // columns, i % columns], sharex=first, sharey=first)
        first = first or ax
        ax.plot(values[:, i], color=used.blue, linewidth=1.1, label="state")
        if spikes is not None:
            steps = np.flatnonzero(spikes[:, i])
            feet = values[steps, i]
            tops = feet + spk_height * spikes[steps, i]
            ax.vlines(steps, feet, tops, color=used.orange, linewidth=1.1, label="spike")
        if titles is not None and i < len(titles):
            ax.set_title(titles[i], color=used.ink, fontsize="medium")
        tidy(ax)
        integer_ticks(ax.xaxis)
        ax.margins(x=0.02)
        lowest = i + columns >= shown
        ax.tick_params(labelbottom=lowest, labelleft=i % columns == 0)
        label(ax, "time step" if lowest else "", "state" if i % columns == 0 else "")
    if first is not None:
        first.set_ylim(*_limits(values[:, :shown], 0 if spikes is None else spk_height))
    if first is not None and spikes is not None:
        names = first.get_legend_handles_labels()
        outside = fig.get_layout_engine() is not None
        place = "outside upper right" if outside else "upper right"
        fig.legend(*names, loc=place, ncols=2, frameon=False, fontsize="small", labelcolor=used.ink)
    return fig


def _limits(values: np.ndarray, height: float) -> tuple[float, float]:
    """Lower and upper end of the panels of `traces`."""
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    return low - 0.05 * span, high + max(0.05 * span, min(height, 0.25 * span))
