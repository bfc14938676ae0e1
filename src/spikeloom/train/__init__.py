"""Training on labelled samples: `fit`, its result, and ready networks.

Here are files and terminals: checkpoints, run cards, pictures, a progress bar. The mathematics is
elsewhere.
"""

from .fit import fit
from .interrupt import Interrupted
from .models import conv, mlp, neurons
from .result import Accuracy, Result
from .rules import BPSTDP, BPTT, STBP, TBPTT, EProp, EventProp

__all__ = [
    "BPSTDP",
    "BPTT",
    "STBP",
    "TBPTT",
    "Accuracy",
    "EProp",
    "EventProp",
    "Interrupted",
    "Result",
    "conv",
    "fit",
    "mlp",
    "neurons",
]
