"""Exact gradients of spiking networks in continuous time: EventProp (Wunderlich & Pehle 2021)."""

from .function import lif_maxima, lif_spikes
from .layer import EventLIF
from .network import EventNetwork

__all__ = ["EventLIF", "EventNetwork", "lif_maxima", "lif_spikes"]
