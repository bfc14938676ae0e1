"""Encoders: numbers, images and labels become spikes.

Results are ``[T, B, ...]``, in the dtype and on the device of the input. `level_crossing`,
`poisson`, `phase`, `burst` and `population` are not in snnTorch. Decoders are in
`spikeloom.decode`.
"""

from .bernoulli_encoder import BernoulliEncoder
from .delta_coding import delta
from .latency_coding import (
    latency,
    latency_code,
    latency_code_linear,
    latency_code_log,
    latency_interpolate,
)
from .level_crossing import level_crossing
from .one_hot import from_one_hot, to_one_hot, to_one_hot_inverse
from .pattern_coding import burst, phase
from .poisson_encoder import PoissonEncoder
from .population_coding import population, population_centers, population_times, receptive_fields
from .rate_coding import poisson, rate, rate_conv
from .target_coding import (
    rate_interpolate,
    target_rate_code,
    targets_convert,
    targets_latency,
    targets_rate,
)

__all__ = [
    "BernoulliEncoder",
    "PoissonEncoder",
    "burst",
    "delta",
    "from_one_hot",
    "latency",
    "latency_code",
    "latency_code_linear",
    "latency_code_log",
    "latency_interpolate",
    "level_crossing",
    "phase",
    "poisson",
    "population",
    "population_centers",
    "population_times",
    "rate",
    "rate_conv",
    "rate_interpolate",
    "receptive_fields",
    "target_rate_code",
    "targets_convert",
    "targets_latency",
    "targets_rate",
    "to_one_hot",
    "to_one_hot_inverse",
]
