"""Losses, accuracies, regularisers, quantisation and probes, usually imported as ``SF``.

Re-exports the names of `acc`, `loss`, `reg`, `probe` and `quant`; as in snnTorch, each can also be
imported from its module. `spike_trains` is not in snnTorch.
"""

from .acc import accuracy_rate, accuracy_temporal
from .loss import (
    LossFunctions,
    SpikeTime,
    ce_count_loss,
    ce_max_membrane_loss,
    ce_rate_loss,
    ce_temporal_loss,
    mse_count_loss,
    mse_membrane_loss,
    mse_rate_loss,
    mse_temporal_loss,
)
from .probe import (
    AttributeMonitor,
    BaseMonitor,
    GradInputMonitor,
    GradOutputMonitor,
    InputMonitor,
    OutputMonitor,
    unpack_len1_tuple,
)
from .quant import StateQuant, StateQuantizer, state_quant
from .reg import fan_out, l1_rate_sparsity, rate_band, synops
from .spike_trains import coincidence_factor, van_rossum_distance

__all__ = [
    "AttributeMonitor",
    "BaseMonitor",
    "GradInputMonitor",
    "GradOutputMonitor",
    "InputMonitor",
    "LossFunctions",
    "OutputMonitor",
    "SpikeTime",
    "StateQuant",
    "StateQuantizer",
    "accuracy_rate",
    "accuracy_temporal",
    "ce_count_loss",
    "ce_max_membrane_loss",
    "ce_rate_loss",
    "ce_temporal_loss",
    "coincidence_factor",
    "fan_out",
    "l1_rate_sparsity",
    "mse_count_loss",
    "mse_membrane_loss",
    "mse_rate_loss",
    "mse_temporal_loss",
    "rate_band",
    "state_quant",
    "synops",
    "unpack_len1_tuple",
    "van_rossum_distance",
]
