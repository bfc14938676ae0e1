"""n3ml's picture of the weights, for any number of neurons."""

from typing import Any

import torch

from ..core.style import pyplot
from ..spikeplot import weights

__all__ = ["plot"]


def plot(fig: Any, mat: Any, w: Any) -> tuple[Any, Any]:
    """Draws the receptive fields, in the same figure at every call.

    Args:
        fig: the figure of the previous call; None for the first one.
        mat: the image of the previous call, likewise.
        w: weights, [neurons, pixels], an array or a tensor.

    Returns:
        The figure and its image.

    >>> fig, mat = plot(None, None, torch.rand(9, 16))
    >>> plot(fig, mat, torch.rand(9, 16))[0] is fig
    True
    """
    fig = pyplot().figure(figsize=(10, 10)) if fig is None else fig
    fig.clear()
    ax = weights(torch.as_tensor(w), fig.add_subplot(), cmap="hot_r", limit=1.0)
    fig.canvas.draw_idle()
    return fig, ax.images[0]
