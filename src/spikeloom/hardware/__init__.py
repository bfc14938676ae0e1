"""From a trained network to a chip or a microcontroller, with the same spikes.

`quantize` makes the weights, states and thresholds of a network integers; `fake_quantize` prepares
a network to be trained for that; `to_c` writes a network as one C file.
"""

from .c_source import to_c as to_c
from .fixed import FixedPointLeaky as FixedPointLeaky
from .fixed import fake_quantize as fake_quantize
from .fixed import quantize as quantize

__all__ = ["FixedPointLeaky", "fake_quantize", "quantize", "to_c"]
