"""Conversion of ordinary networks into spiking ones: ``snn.conversion.convert(ann, samples)``.

Passes over the ``torch.fx`` graph of any network of rectifiers make its spiking twin with the same
weights; a report says what it loses, where, and what it costs.
"""

from .activations import QCFS
from .convert import METHODS, convert
from .errors import LayerError
from .network import Converted
from .pooling import SpikingMaxPool
from .report import Exit, Report
from .spike_norm import spike_norm
from .tuning import fine_tune, with_qcfs
from .twin import Settings

__all__ = [
    "METHODS",
    "QCFS",
    "Converted",
    "Exit",
    "LayerError",
    "Report",
    "Settings",
    "SpikingMaxPool",
    "convert",
    "fine_tune",
    "spike_norm",
    "with_qcfs",
]
