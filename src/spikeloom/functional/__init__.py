"""Losses, accuracies, regularisers, quantisation and probes, usually imported as ``SF``.

The names of `acc`, `loss`, `reg` and `probe` are here; each also lives in its module, as in snnTorch.
"""

from .acc import accuracy_rate, accuracy_temporal
from .loss import (
    LossFunctions,
    ce_count_loss,
    ce_max_membrane_loss,
    ce_rate_loss,
    mse_count_loss,
    mse_membrane_loss,
)

__all__ = [
    "LossFunctions",
    "accuracy_rate",
    "accuracy_temporal",
    "ce_count_loss",
    "ce_max_membrane_loss",
    "ce_rate_loss",
    "mse_count_loss",
    "mse_membrane_loss",
]
