"""Plots of dynamics: bifurcation diagrams and local Lyapunov exponents."""

from typing import TYPE_CHECKING

import numpy as np

from ..chaos import Diagram, Exponents
from ..core.style import (
    axes_or_new,
    colours,
    label,
    running_mean,
    steps_of_window,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bifurcation", "lyapunov"]


def bifurcation(
    diagram: Diagram, ax: "Axes | None" = None, *, name: str = "A", limit: float = 0.5
) -> "Axes":
    """Draws a bifurcation diagram, coloured by the exponent: red if positive (chaos), else blue.

    Args:
        diagram: from `chaos.bifurcation`; both directions are drawn in the same axes.
        ax: where to draw. Default: a new figure.
        name: label of the horizontal axis.
        limit: exponent of the strongest colour.

    Returns:
        The axes, with a colour bar beside them.

    Raises:
        TypeError: ``diagram`` has another type.

    >>> from spikeloom import chaos
    >>> ax = bifurcation(chaos.bifurcation(chaos.feedback, torch.linspace(1.5, 5, 50)))
    >>> ax.get_xlabel()
    'A'
    """
    if not isinstance(diagram, Diagram):
        raise TypeError(f"diagram must come from chaos.bifurcation, got {type(diagram).__name__}")
    ax = axes_or_new(ax, figsize=(8, 4))
    values = diagram.values.numpy()
    for sweep in (diagram.up, diagram.down):
        orbit = sweep.orbit.numpy()  # [keep, K]
        points = ax.scatter(
            np.broadcast_to(values, orbit.shape).ravel(),
            orbit.ravel(),
            c=np.broadcast_to(sweep.exponent.numpy(), orbit.shape).ravel(),
            cmap="coolwarm",  # grey at zero
            vmin=-limit,
            vmax=limit,
            s=0.6,
            linewidths=0,
            rasterized=True,
        )
    bar = ax.figure.colorbar(points, ax=ax, extend="both")
    bar.set_label("Lyapunov exponent per step", color=colours().ink)
    ax.margins(x=0.01)
    label(ax, name, "orbit")
    tidy(ax)
    return ax


def lyapunov(exponents: Exponents, ax: "Axes | None" = None, *, window: int = 50) -> "Axes":
    """Draws the local exponents along a run and its control, smoothed over ``window`` steps.

    Args:
        exponents: from `chaos.lyapunov` or `chaos.lyapunov_of_training`.
        ax: where to draw. Default: a new figure.
        window: steps of the running mean.

    Returns:
        The axes.

    Raises:
        TypeError: ``exponents`` has another type.
        ValueError: ``window`` is not 1 or more.

    >>> from spikeloom import chaos
    >>> found = chaos.lyapunov(lambda x: 4 * x * (1 - x), torch.tensor([0.3]), steps=200)
    >>> len(lyapunov(found).lines)  # zero, and one curve
    2
    """
    if not isinstance(exponents, Exponents):
        raise TypeError(f"exponents must come from chaos.lyapunov, got {type(exponents).__name__}")
    steps_of_window(window)
    ax = axes_or_new(ax, figsize=(7, 3.2))
    used = colours()
    ax.axhline(0.0, color=used.grey, linewidth=0.8)
    groups = (("", used.orange, exponents.by_eps), ("control, ", used.blue, exponents.control))
    for prefix, colour, several in groups:
        for number, one in enumerate(several):
            ax.plot(
                running_mean(one.local.numpy(), window),
                color=colour,
                alpha=1.0 - 0.7 * number / max(len(several), 1),
                linewidth=1.4,
                label=f"{prefix}eps {one.eps:g}",
            )
    ax.margins(x=0.01)
    label(ax, "step", "local exponent")
    tidy(ax, "y")
    if len(exponents.by_eps) + len(exponents.control) > 1:
        ax.legend(frameon=False, labelcolor=used.ink)
    return ax
