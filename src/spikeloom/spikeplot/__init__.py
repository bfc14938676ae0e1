"""Plots of spikes, states and training, with matplotlib as the only requirement.

Every function returns the axes, the figure or the animation that it draws; none changes
matplotlib's global settings, and none needs a display. On a dark background, that of
``plt.rc_context(theme(dark=True))`` or of a style of matplotlib, they draw in light colours.
"""

from ..core.style import theme
from .counts import spike_count
from .dynamics import bifurcation, lyapunov
from .history import loss_curves
from .movie import Camera, animator
from .records import raster, traces
from .summaries import confusion, rates, weights

__all__ = [
    "Camera",
    "animator",
    "bifurcation",
    "confusion",
    "loss_curves",
    "lyapunov",
    "raster",
    "rates",
    "spike_count",
    "theme",
    "traces",
    "weights",
]
