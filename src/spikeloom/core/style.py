"""The common part of all pictures: colours, new figures, axes, arrays.

matplotlib is imported on the first plot. Plots do not change ``rcParams``, so that a plot does not
change the style of the user's other figures; they read the background of new figures from it, and
draw in light colours on a dark one.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .checks import require
from .notebook import shown_once
from .numbers import flag

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "DPI",
    "Colours",
    "array",
    "axes_or_new",
    "bare_figure",
    "colours",
    "figure_or_new",
    "integer_ticks",
    "label",
    "legend_above",
    "running_mean",
    "steps_of_window",
    "theme",
    "tidy",
]

DPI = 150


class Colours(NamedTuple):
    """Colours on one background: blue is the main colour, orange the one of what differs from it.

    >>> colours().blue
    '#1f6fb4'
    """

    paper: str
    ink: str  # text, frames, single recordings
    grey: str  # guide lines
    shade: str  # areas behind curves
    blue: str
    orange: str
    green: str
    pink: str
    sky: str
    brown: str

    @property
    def palette(self) -> tuple[str, ...]:
        """Colours of several curves, in their order."""
        return (self.blue, self.orange, self.green, self.pink, self.sky, self.brown)


# Colour-blind readers can distinguish them, tests/test_spikeplot.py.
LIGHT = Colours(
    *("#ffffff", "#26323d", "#7c8791", "#eceff2"),
    *("#1f6fb4", "#d55e00", "#009e73", "#b3478c", "#3599d6", "#7a5c12"),
)
DARK = Colours(
    *("#14191f", "#e6eaee", "#9aa5b0", "#232b34"),
    *("#5aaef0", "#f0883e", "#2bbf92", "#e08cc0", "#a8e0ff", "#f0e05a"),
)


def pyplot() -> Any:
    """matplotlib's pyplot, which uses a file-only backend if there is no display."""
    return require("matplotlib.pyplot", extra="viz", purpose="plotting")


def colours() -> Colours:
    """Colours that fit the background of new figures in matplotlib's settings."""
    matplotlib = require("matplotlib", extra="viz", purpose="plotting")
    to_rgba = require("matplotlib.colors", extra="viz", purpose="plotting").to_rgba
    red, green, blue, opaque = to_rgba(matplotlib.rcParams["figure.facecolor"])
    brightness = 0.3 * red + 0.6 * green + 0.1 * blue
    return DARK if opaque and brightness < 0.5 else LIGHT


def theme(dark: bool = False) -> dict[Any, Any]:
    """Settings of matplotlib with which figures of your own look like those of this library.

    Args:
        dark: whether the background is dark; the plots of this library then use light colours.

    Returns:
        Settings for ``plt.rcParams.update(...)``, or for ``with plt.rc_context(...)``.

    Raises:
        TypeError: ``dark`` is neither True nor False.

    >>> import matplotlib.pyplot as plt
    >>> with plt.rc_context(theme(dark=True)):
    ...     fig, ax = plt.subplots()
    >>> fig.get_facecolor()[0] < 0.1
    True
    """
    cycler = require("matplotlib", extra="viz", purpose="plotting").cycler
    chosen = DARK if flag("dark", dark) else LIGHT
    paper = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(paper, chosen.paper),
        **dict.fromkeys(ink, chosen.ink),
        "axes.prop_cycle": cycler(color=chosen.palette),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
        "axes.axisbelow": True,
        "axes.xmargin": 0.01,
        "grid.color": chosen.grey,
        "grid.alpha": 0.25,
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.6,
        "legend.frameon": False,
        "legend.fontsize": "small",
        "figure.dpi": DPI,
        "figure.constrained_layout.use": True,
    }


def array(data: Any, what: str) -> np.ndarray:
    """Converts ``data`` to a NumPy array; 16-bit floats become float32.

    >>> array(torch.ones(2, requires_grad=True, dtype=torch.bfloat16), "spikes").dtype
    dtype('float32')
    """
    if isinstance(data, list | tuple) and data and isinstance(data[0], Tensor):
        kind = f"{type(data).__name__} of {len(data)} tensors"
        raise TypeError(f"{what} must be one tensor, got a {kind}; write torch.stack({what})")
    tensor = torch.as_tensor(data).detach().cpu()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.numpy()


def steps_of_window(window: Any) -> int:
    """Checks the number of steps of a running mean."""
    if not isinstance(window, int) or window < 1:
        raise ValueError(
            f"window must be a number of steps, 1 or more, got {window!r}; write window=1 for no "
            "mean"
        )
    return window


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Centred mean over ``window`` values, over fewer at both ends.

    >>> running_mean(np.array([0.0, 3.0, 0.0]), 3)
    array([1.5, 1. , 1.5])
    """
    box = np.ones(min(window, len(values)))
    return np.convolve(values, box, "same") / np.convolve(np.ones_like(values), box, "same")


def axes_or_new(ax: "Axes | None", **figure_options: Any) -> "Axes":
    """Returns ``ax``, or the axes of a new figure."""
    if ax is not None:
        return ax
    return pyplot().subplots(layout="constrained", dpi=DPI, **figure_options)[1]


def figure_or_new(fig: "Figure | None", **figure_options: Any) -> "Figure":
    """Returns ``fig``, or pyplot's current figure if it is empty, or a new one."""
    if fig is not None:
        return fig
    plt = pyplot()
    if plt.get_fignums() and not plt.gcf().axes:
        return plt.gcf()
    return shown_once(plt.figure(layout="constrained", dpi=DPI, **figure_options))


def bare_figure(width: float, height: float, purpose: str) -> "Figure":
    """Returns an empty figure, in inches, that pyplot does not know, so that no window opens."""
    module: Any = require("matplotlib.figure", extra="viz", purpose=purpose)
    return module.Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def label(ax: "Axes", x: str = "", y: str = "", title: str | None = None) -> None:
    """Sets labels and title that the user has not set."""
    ink = colours().ink
    if x and not ax.get_xlabel():
        ax.set_xlabel(x, color=ink)
    if y and not ax.get_ylabel():
        ax.set_ylabel(y, color=ink)
    if title and not ax.get_title():
        ax.set_title(title, color=ink, fontsize="medium")


def legend_above(ax: "Axes", columns: int) -> None:
    """Draws a legend between the axes and their title, where it covers nothing."""
    entries = len(ax.get_legend_handles_labels()[1])
    rows = -(-entries // columns)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        ncols=columns,
        frameon=False,
        fontsize="small",
        columnspacing=1.2,
        labelcolor=colours().ink,
    )
    title = ax.get_title()
    ax.set_title(title, color=colours().ink, fontsize="medium", pad=8 + 14 * rows)


def integer_ticks(*axes: Any) -> None:
    """Restricts the ticks of the given axes (``ax.xaxis``) to whole numbers."""
    ticker = require("matplotlib.ticker", extra="viz", purpose="plotting")
    for axis in axes:
        axis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def tidy(ax: "Axes", grid: Literal["x", "y", "both"] | None = None) -> None:
    """Removes the upper and the right frame line, and draws a faint grid along ``grid``."""
    used = colours()
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["bottom", "left"]].set_color(used.ink)
    ax.tick_params(color=used.ink, labelcolor=used.ink)
    if grid:
        ax.grid(True, axis=grid, color=used.grey, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
