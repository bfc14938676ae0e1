"""n3ml's thresholds for conversion."""

from ..conversion.published import activation_based, spikenorm

__all__ = ["activation_based", "spikenorm"]
