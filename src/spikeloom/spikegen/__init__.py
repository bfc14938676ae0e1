"""Encoders: from numbers, images and labels to spikes.

Time comes first in what they return: ``[T, B, ...]``, in the dtype and on the device of the input.
"""

from .one_hot import from_one_hot, to_one_hot, to_one_hot_inverse
from .rate_coding import rate, rate_conv

__all__ = [
    "from_one_hot",
    "rate",
    "rate_conv",
    "to_one_hot",
    "to_one_hot_inverse",
]
