"""Data sets as tensors, and event streams made of images or recordings.

Everything here works without a network. Each data set is a `Split`: training and test samples, already divided.
"""

from .bundled import digits, iris
from .split import Split, stratified

__all__ = ["Split", "digits", "iris", "stratified"]
