"""Exact gradients of spiking networks in continuous time: EventProp (Wunderlich & Pehle 2021)."""

from .function import lif_maxima, lif_spikes
from .layer import EventLIF

__all__ = ["EventLIF", "lif_maxima", "lif_spikes"]
