"""Chaotic spiking back-propagation (CSBP), and instruments that measure whether it is chaotic.

The chaotic loss is a plug-in for any network: ``chaos = attach(net, A(3.8), optimizer=sgd, batch=x,
num_steps=T)``, then ``loss = task + chaos()`` and ``chaos.step()``. Strengths are dimensionless;
`critical_intensity` converts them to the intensities of the authors. Exponents, bifurcation
diagrams and a noise control measure the effect.

Source: Wang, Tao & Chen (2024), Natl. Sci. Rev. 11, nwae037.
"""

from .anneal import Anneal, Cosine, Exponential, Function, Until
from .attach import Chaos, attach
from .bifurcation import Diagram, Sweep, bifurcation
from .calibration import Gain, critical_intensity
from .csbp import CSBP, A, Z
from .exponents import Exponent, Exponents
from .layer_report import ChaosWarning, LayerReport, Report
from .loss_function import ChaoticLoss, chaotic_loss
from .lyapunov import analytic, lyapunov
from .presets import SingleNeuron, Trajectory, lif
from .recorded_trace import lyapunov_of_trace, zero_one_test
from .regime import Descent, Regime, descent, feedback, flip, regime
from .twin_training import Run, lyapunov_of_training

__all__ = [
    "CSBP",
    "A",
    "Anneal",
    "Chaos",
    "ChaosWarning",
    "ChaoticLoss",
    "Cosine",
    "Descent",
    "Diagram",
    "Exponent",
    "Exponential",
    "Exponents",
    "Function",
    "Gain",
    "LayerReport",
    "Regime",
    "Report",
    "Run",
    "SingleNeuron",
    "Sweep",
    "Trajectory",
    "Until",
    "Z",
    "analytic",
    "attach",
    "bifurcation",
    "chaotic_loss",
    "critical_intensity",
    "descent",
    "feedback",
    "flip",
    "lif",
    "lyapunov",
    "lyapunov_of_trace",
    "lyapunov_of_training",
    "regime",
    "zero_one_test",
]
