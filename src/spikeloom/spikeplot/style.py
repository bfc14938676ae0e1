"""The common part of all plots: arrays, axes and style.

matplotlib is imported on the first plot. Nothing here changes ``rcParams``, so that a plot does not
change the style of the user's other figures. The palette is safe for colour-blind readers.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..core.checks import require
from ..core.notebook import shown_once

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "PALETTE",
    "array",
    "axes_or_new",
    "figure_or_new",
    "integer_ticks",
    "label",
    "running_mean",
    "steps_of_window",
    "tidy",
]

BLUE = "#1f6fb4"
ORANGE = "#d55e00"
INK = "#26323d"
GREY = "#8a949e"
PALETTE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#8c6d1f", GREY)


def pyplot() -> Any:
    """matplotlib's pyplot, which uses a file-only backend if there is no display."""
    return require("matplotlib.pyplot", extra="viz", purpose="plotting")


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
    return ax if ax is not None else pyplot().subplots(layout="constrained", **figure_options)[1]


def figure_or_new(fig: "Figure | None", **figure_options: Any) -> "Figure":
    """Returns ``fig``, or pyplot's current figure if it is empty, or a new one."""
    if fig is not None:
        return fig
    plt = pyplot()
    if plt.get_fignums() and not plt.gcf().axes:
        return plt.gcf()
    return shown_once(plt.figure(layout="constrained", **figure_options))


def label(ax: "Axes", x: str = "", y: str = "", title: str | None = None) -> None:
    """Sets labels and title that the user has not set."""
    if x and not ax.get_xlabel():
        ax.set_xlabel(x, color=INK)
    if y and not ax.get_ylabel():
        ax.set_ylabel(y, color=INK)
    if title and not ax.get_title():
        ax.set_title(title, color=INK)


def integer_ticks(*axes: Any) -> None:
    """Restricts the ticks of the given axes (``ax.xaxis``) to whole numbers."""
    ticker = require("matplotlib.ticker", extra="viz", purpose="plotting")
    for axis in axes:
        axis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def tidy(ax: "Axes", grid: Literal["x", "y", "both"] | None = None) -> None:
    """Removes the upper and the right frame line, and draws a faint grid along ``grid``."""
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(True, axis=grid, color=GREY, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
