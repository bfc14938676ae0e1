"""Data sets as tensors, and event streams made from images or recordings.

Nothing here needs a network, except `tonic`, through which the package of that name downloads. A
data set that fits into memory is a `Split`: training and test samples, already divided.
"""

from .augmentation import mask_spans, shift_time
from .bridge import EventFrames, tonic
from .bundled import digits, iris
from .cache import DiskCache
from .events import EVENT, mask_sequences, pad_sequences, to_events, to_frames
from .folder import folder
from .generators import delayed_xor, randman, xor_times, yin_yang
from .images import cifar10_jpeg, mnist, read_idx
from .saccades import saccade
from .series import Series, read_ts
from .sound import mel, read_wav
from .split import Split, disjoint, stratified

__all__ = [
    "EVENT",
    "DiskCache",
    "EventFrames",
    "Series",
    "Split",
    "cifar10_jpeg",
    "delayed_xor",
    "digits",
    "disjoint",
    "folder",
    "iris",
    "mask_sequences",
    "mask_spans",
    "mel",
    "mnist",
    "pad_sequences",
    "randman",
    "read_idx",
    "read_ts",
    "read_wav",
    "saccade",
    "shift_time",
    "stratified",
    "to_events",
    "to_frames",
    "tonic",
    "xor_times",
    "yin_yang",
]
