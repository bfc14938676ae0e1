"""Conversion of ordinary networks to spiking ones: ``snn.conversion.convert(ann, samples)``.

Passes over the ``torch.fx`` graph of a network of rectifiers give a spiking network with the same
weights; a report shows the loss of accuracy, its sources, and the costs.
"""

from .activations import QCFS
from .convert import METHODS, convert
from .converted import Converted
from .error_parts import LayerError
from .loss_report import Exit, Report
from .spike_norm import spike_norm
from .spiking_max_pool import SpikingMaxPool
from .tuning import fine_tune, with_qcfs
from .twin import Settings, SpikingTwin

__all__ = [
    "METHODS",
    "QCFS",
    "Converted",
    "Exit",
    "LayerError",
    "Report",
    "Settings",
    "SpikingMaxPool",
    "SpikingTwin",
    "convert",
    "fine_tune",
    "spike_norm",
    "with_qcfs",
]
