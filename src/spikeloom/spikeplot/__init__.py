"""Plots of spikes, states and training, with matplotlib as the only requirement.

Every function returns the axes, the figure or the animation that it draws; none changes
matplotlib's global settings, and none needs a display.
"""

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
    "traces",
    "weights",
]
