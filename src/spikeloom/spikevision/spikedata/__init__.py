"""The data sets."""

from .dvs_gesture import DVSGesture
from .nmnist import NMNIST
from .shd import SHD

__all__ = ["NMNIST", "SHD", "DVSGesture"]
