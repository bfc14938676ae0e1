"""Plots of training: curves over the epochs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.style import colours, figure_or_new, integer_ticks, label, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["loss_curves"]

RATE = "spikes per neuron and step"
PANELS = (
    ("loss", ("loss",)),
    ("accuracy", ("acc",)),
    (RATE, ("rate", "spike", "spk")),
)


def columns(history: Any) -> dict[str, list[float]]:
    """Converts ``history`` to one list of numbers for each name."""
    if isinstance(history, Mapping):
        table = {str(name): history[name] for name in history}
    elif (
        isinstance(history, Sequence)
        and history
        and all(isinstance(row, Mapping) for row in history)
    ):
        names = dict.fromkeys(name for row in history for name in row)
        table = {str(name): [row.get(name, float("nan")) for row in history] for name in names}
    else:
        raise TypeError(
            "history must be a mapping of names to lists, or a list with a mapping for each epoch, "
            f"got {type(history).__name__}; "
            'write {"train_loss": [0.9, 0.5], "test_accuracy": [0.8, 0.9]}'
        )
    return {name: [float(v) for v in values] for name, values in table.items() if numeric(values)}


def numeric(values: Any) -> bool:
    """Whether ``values`` is a list of numbers."""
    return (
        not isinstance(values, str)
        and hasattr(values, "__len__")
        and all(hasattr(v, "__float__") for v in values)
    )


def loss_curves(history: Any, fig: "Figure | None" = None, *, title: str | None = None) -> "Figure":
    """Draws loss, accuracy and spike rate over the epochs, in one panel each.

    Args:
        history: mapping of a name to its values in all epochs, ``{"train_loss": [...], "test_loss":
            [...], "test_accuracy": [...], "spike_rate": [...]}``, or a list with one mapping per
            epoch. A name that contains "loss", "acc", or "rate", "spike" or "spk" is drawn in the
            panel of that kind; "train" is orange, "test" and "val" are blue. "epoch" gives the
            horizontal axis (default: 1, 2, ...); other names are ignored.
        fig: where to draw. Default: pyplot's current figure if it is empty, else a new one.
        title: headline of the figure.

    Returns:
        The figure.

    Raises:
        TypeError: ``history`` has neither form.
        ValueError: none of its names belongs to a panel.

    >>> fig = loss_curves({"train_loss": [0.9, 0.4], "test_accuracy": [0.7, 0.9]})
    >>> [ax.get_ylabel() for ax in fig.axes]
    ['loss', 'accuracy']
    """
    table = columns(history)
    epochs = table.pop("epoch", None)
    kinds = [
        (kind, [n for n in table if any(key in n.lower() for key in keys)]) for kind, keys in PANELS
    ]
    kinds = [(kind, names) for kind, names in kinds if names]
    if not kinds:
        raise ValueError(
            'history must have a name with "loss", "acc" or "rate" in it, '
            f"got {sorted(table)}; rename its columns"
        )
    fig = figure_or_new(fig, figsize=(4.2 * len(kinds), 3.2))
    ink = colours().ink
    for ax, (kind, names) in zip(fig.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for name in names:
            x = epochs if epochs is not None else range(1, len(table[name]) + 1)
            ax.plot(
                x,
                table[name],
                color=colour(name),
                linewidth=1.8,
                marker="o",
                markersize=3.5,
                label=name.replace("_", " "),
            )
        label(ax, "epoch", kind)
        integer_ticks(ax.xaxis)
        if kind == RATE:  # else noise fills the panel
            ax.set_ylim(bottom=0)
        tidy(ax, "y")
        if len(names) > 1 or kind.split()[0] not in names[0]:
            ax.legend(frameon=False, labelcolor=ink)
    if title:
        fig.suptitle(title, color=ink)
    return fig


def colour(name: str) -> str:
    """Colour of a curve: training, test, or other."""
    lower = name.lower()
    if "train" in lower:
        return colours().orange
    return colours().blue if "test" in lower or "val" in lower else colours().grey
