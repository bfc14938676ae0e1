"""Plots of a trained network: weights, firing rates, confusion matrix."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..core.lengths import checked_lengths
from ..core.style import (
    LIGHT,
    array,
    axes_or_new,
    colours,
    integer_ticks,
    label,
    running_mean,
    steps_of_window,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion", "rates", "weights"]


def weights(
    data: Tensor,
    ax: "Axes | None" = None,
    *,
    shape: tuple[int, int] | None = None,
    columns: int | None = None,
    cmap: str | None = None,
    limit: float | None = None,
) -> "Axes":
    """Draws the receptive field of each neuron as an image, all in one grid with one colour scale.

    Args:
        data: weights, [N, F] as in ``nn.Linear``, or [N, H, W], or [N, 1, H, W] as in
            ``nn.Conv2d``.
        ax: where to draw. Default: a new figure.
        shape: height and width of a field if ``data`` is [N, F]. Default: a square.
        columns: fields per row. Default: the grid is about as wide as high.
        cmap: colour map. Default: blue to red with white at zero; dark to bright if no weight is
            negative.
        limit: weight at the end of the colour scale. Default: the largest magnitude.

    Returns:
        The axes, with a colour bar beside them.

    Raises:
        ValueError: the shape of a field is missing or wrong, or there are several channels.

    >>> import torch
    >>> ax = weights(torch.randn(10, 64))
    >>> ax.images[0].get_array().shape  # 3 rows of 4 fields, with lines between them
    (28, 37)
    """
    fields = images_of(array(data, "data"), shape)
    number, height, width = fields.shape
    columns = columns or int(np.ceil(np.sqrt(number * height / width)))
    rows = -(-number // columns)
    grid = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1), np.nan)
    for i, field in enumerate(fields):
        top = i // columns * (height + 1) + 1
        left = i % columns * (width + 1) + 1
        grid[top : top + height, left : left + width] = field
    signed = bool(fields.min() < 0)
    limit = limit or float(np.abs(fields).max()) or 1.0
    size = 6.0 / max(grid.shape)
    ax = axes_or_new(ax, figsize=(grid.shape[1] * size + 1.2, grid.shape[0] * size + 0.3))
    image = ax.imshow(
        grid,
        cmap=cmap or ("RdBu_r" if signed else "viridis"),
        vmin=-limit if signed else 0,
        vmax=limit,
    )
    ax.axis("off")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.7)
    bar.set_label("weight", color=colours().ink)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]  # matplotlib's stub makes it a call
    return ax


def images_of(values: np.ndarray, shape: tuple[int, int] | None) -> np.ndarray:
    """``values`` as [N, H, W]."""
    if values.ndim == 4 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        side = round(np.sqrt(values.shape[1]))
        shape = shape or (side, side)
        if shape[0] * shape[1] != values.shape[1]:
            raise ValueError(
                f"shape must be the height and width of a field of {values.shape[1]} weights, got "
                f"{shape}; write weights(data, shape=(height, width))"
            )
        values = values.reshape(-1, *shape)
    if values.ndim != 3 or not values.size:
        raise ValueError(
            f"data must have the shape [N, F], [N, H, W] or [N, 1, H, W], got {values.shape}; "
            "select one input channel with data[:, 0]"
        )
    return values.astype(float)


def rates(
    data: "Tensor | Mapping[str, Tensor]",
    ax: "Axes | None" = None,
    *,
    window: int = 1,
    dt: float | None = None,
    lengths: Any = None,
) -> "Axes":
    """Draws the firing rate of one or more layers over time.

    Args:
        data: spikes, [T, ...], or a mapping of layer names to such recordings; a rate is the mean
            over all other axes.
        ax: where to draw. Default: a new figure.
        window: steps of the centred running mean; fewer at both ends.
        dt: duration of a step in s; if given, the axes are in s and Hz.
        lengths: steps of each sample, [B], of spikes [T, B, ...]; the rate of a step is then the
            mean over the samples that have not ended. Default: T.

    Returns:
        The axes.

    Raises:
        ValueError: ``window`` is not 1 or more, or a length is out of range.

    >>> import torch
    >>> ax = rates({"hidden": torch.ones(20, 2, 5), "output": torch.zeros(20, 2, 3)}, window=5)
    >>> [(line.get_label(), float(line.get_ydata().mean())) for line in ax.lines]
    [('hidden', 1.0), ('output', 0.0)]
    """
    steps_of_window(window)
    ax = axes_or_new(ax, figsize=(7, 3.2))
    layers = data if isinstance(data, Mapping) else {"": data}
    palette = colours().palette
    for number, (name, spk) in enumerate(layers.items()):
        values = array(spk, name or "data").astype(float)
        rate = running_mean(_of_steps(values, lengths), window)
        time = np.arange(len(rate)) * (dt or 1)
        ax.plot(
            time, rate / (dt or 1), color=palette[number % len(palette)], linewidth=1.6, label=name
        )
    label(
        ax,
        "time [s]" if dt else "time step",
        "firing rate [Hz]" if dt else "spikes per neuron and step",
    )
    ax.set_ylim(bottom=0)
    ax.margins(x=0.01)
    if not dt:
        integer_ticks(ax.xaxis)
    tidy(ax, "y")
    if isinstance(data, Mapping):
        ax.legend(frameon=False, labelcolor=colours().ink)
    return ax


def _of_steps(values: np.ndarray, lengths: Any) -> np.ndarray:
    """Mean of each step over neurons and over the samples that take part in it, [T]."""
    if lengths is None:
        return values.reshape(len(values), -1).mean(1)
    ends = checked_lengths(lengths, len(values), values.shape[1]).numpy()
    alive = np.arange(ends.max())[:, None] < ends
    means = values.reshape(*values.shape[:2], -1).mean(2)[: len(alive)]
    return (means * alive).sum(1) / alive.sum(1)


def confusion(
    predicted: Tensor,
    target: Tensor,
    ax: "Axes | None" = None,
    *,
    labels: Sequence[str] | None = None,
) -> "Axes":
    """Draws the confusion matrix of a classification.

    Args:
        predicted: predicted classes, integers from 0, [N].
        target: true classes, [N].
        ax: where to draw. Default: a new figure.
        labels: names of the classes; their number is the number of classes.

    Returns:
        The axes; the title is the accuracy unless they have one. Colours are shares of the true
        class. Up to 20 classes, each field shows its number of samples.

    Raises:
        ValueError: the two differ in shape, are not [N], or hold a class without a label.

    >>> import torch
    >>> ax = confusion(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2]))
    >>> ax.get_title()
    'accuracy 75.0 %'
    """
    guess = array(predicted, "predicted")
    truth = array(target, "target")
    if guess.shape != truth.shape or guess.ndim != 1 or not len(guess):
        raise ValueError(
            f"predicted and target must be classes of shape [N], got {guess.shape} and "
            f"{truth.shape}; spikes [T, B, C] become classes with spk.sum(0).argmax(1)"
        )
    largest = int(max(guess.max(), truth.max()))
    number = len(labels) if labels is not None else largest + 1
    if largest >= number or min(guess.min(), truth.min()) < 0:
        smallest = min(guess.min(), truth.min())
        raise ValueError(
            f"classes must be in [0, {number - 1}], got {smallest} to {largest}; give labels a "
            "name for each class"
        )
    table = np.zeros((number, number), dtype=int)
    np.add.at(table, (truth.astype(int), guess.astype(int)), 1)
    ax = axes_or_new(ax, figsize=(0.45 * number + 1.6, 0.45 * number + 1.2))
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(table) if number <= 20 else ():
        shade = "white" if share[row, column] > 0.55 else LIGHT.ink  # on the map "Blues"
        ax.text(
            column,
            row,
            str(table[row, column]),
            ha="center",
            va="center",
            color=shade,
            fontsize="small",
        )
    names = [str(i) for i in range(number)] if labels is None else list(labels)
    wide = max(map(len, names)) > 3
    ax.set_xticks(
        range(number), names, rotation=45 if wide else 0, ha="right" if wide else "center"
    )
    ax.set_yticks(range(number), names)
    ax.tick_params(length=0)
    label(
        ax, "predicted class", "true class", f"accuracy {100 * np.trace(table) / len(guess):.1f} %"
    )
    ax.spines[:].set_visible(False)
    return ax
