"""Surrogate gradients under snnTorch's names: ``spike_grad=snn.surrogate.fast_sigmoid(slope=25)``.

Each lower-case name is an alias of a class whose instances are frozen, picklable surrogates. The
equations are in `spikeloom.core.curves` and `spikeloom.core.densities`; a curve of your own is a
subclass of `Surrogate`.
"""

from .core.curves import ATan as ATan
from .core.curves import FastSigmoid as FastSigmoid
from .core.curves import Heaviside as Heaviside
from .core.curves import LeakySpikeOperator as LeakySpikeOperator
from .core.curves import Sigmoid as Sigmoid
from .core.curves import SparseFastSigmoid as SparseFastSigmoid
from .core.curves import SpikeRateEscape as SpikeRateEscape
from .core.curves import StochasticSpikeOperator as StochasticSpikeOperator
from .core.curves import StraightThroughEstimator as StraightThroughEstimator
from .core.curves import Triangular as Triangular
from .core.densities import ZIF as ZIF
from .core.densities import Gaussian as Gaussian
from .core.densities import Logistic as Logistic
from .core.densities import Polynomial as Polynomial
from .core.densities import Rectangular as Rectangular
from .core.surrogate import CustomSurrogate as CustomSurrogate
from .core.surrogate import Surrogate as Surrogate

atan = ATan
fast_sigmoid = FastSigmoid
sigmoid = Sigmoid
straight_through_estimator = StraightThroughEstimator
triangular = Triangular
spike_rate_escape = SpikeRateEscape
heaviside = Heaviside
SSO = StochasticSpikeOperator
LSO = LeakySpikeOperator
SFS = SparseFastSigmoid
custom_surrogate = CustomSurrogate
zif = ZIF
rectangular = Rectangular
polynomial = Polynomial
logistic = Logistic
gaussian = Gaussian

__all__ = [
    "LSO",
    "SFS",
    "SSO",
    "ZIF",
    "ATan",
    "CustomSurrogate",
    "FastSigmoid",
    "Gaussian",
    "Heaviside",
    "LeakySpikeOperator",
    "Logistic",
    "Polynomial",
    "Rectangular",
    "Sigmoid",
    "SparseFastSigmoid",
    "SpikeRateEscape",
    "StochasticSpikeOperator",
    "StraightThroughEstimator",
    "Surrogate",
    "Triangular",
    "atan",
    "custom_surrogate",
    "fast_sigmoid",
    "gaussian",
    "heaviside",
    "logistic",
    "polynomial",
    "rectangular",
    "sigmoid",
    "spike_rate_escape",
    "straight_through_estimator",
    "triangular",
    "zif",
]
