"""Exact gradients of spiking networks in continuous time: EventProp (Wunderlich & Pehle 2021)."""

from .function import lif_maxima, lif_spikes
from .gradient import EventPass, EventProp, event_loss, event_pass
from .layer import EventLIF
from .network import EventNetwork

__all__ = [
    "EventLIF",
    "EventNetwork",
    "EventPass",
    "EventProp",
    "event_loss",
    "event_pass",
    "lif_maxima",
    "lif_spikes",
]
