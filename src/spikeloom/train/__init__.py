"""Training on labelled samples: `fit`, its result, and ready networks.

Here are files and terminals: checkpoints, run cards, pictures, a progress bar. The mathematics is
elsewhere.
"""

from .callbacks import BestCheckpoint, Callback, CSVLog, EarlyStopping, TensorBoardLog, TrainingRun
from .evaluation import Evaluation, evaluate
from .fit import fit
from .interrupt import Interrupted
from .metrics import confusion, macro_f1, top_k
from .models import conv, mlp, neurons
from .result import Accuracy, Result
from .rules import BPSTDP, BPTT, OTTT, SLTT, STBP, TBPTT, EProp, EventProp
from .time_control import TimeControl, time_control

__all__ = [
    "BPSTDP",
    "BPTT",
    "OTTT",
    "SLTT",
    "STBP",
    "TBPTT",
    "Accuracy",
    "BestCheckpoint",
    "CSVLog",
    "Callback",
    "EProp",
    "EarlyStopping",
    "Evaluation",
    "EventProp",
    "Interrupted",
    "Result",
    "TensorBoardLog",
    "TimeControl",
    "TrainingRun",
    "confusion",
    "conv",
    "evaluate",
    "fit",
    "macro_f1",
    "mlp",
    "neurons",
    "time_control",
    "top_k",
]
