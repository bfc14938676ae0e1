"""Pictures of spikes, states and training, on matplotlib alone.

Every function returns the axes, the figure or the animation that it drew; none changes matplotlib's global settings,
and none needs a display.
"""

from .records import raster, traces
from .training import loss_curves

__all__ = ["loss_curves", "raster", "traces"]
