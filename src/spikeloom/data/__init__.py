"""Data sets as tensors, and event streams made from images or recordings.

Nothing here needs a network, except `tonic`, through which the package of that name downloads. A
data set that fits into memory is a `Split`: training and test samples, already divided.
"""

from .augmentation import (
    add_noise,
    crop_time,
    equalize_bands,
    mask_spans,
    mix,
    scale_gain,
    shift_time,
    stretch_time,
    warp_mel,
)
from .bridge import EventFrames, tonic
from .bundled import digits, iris
from .cache import DiskCache
from .cochlea import cochlea
from .emg import myo_gestures, read_myo
from .event_augmentation import (
    drop_area,
    drop_events,
    drop_time,
    event_drop,
    flip_events,
    flip_polarity,
    shift_events,
)
from .events import EVENT, mask_sequences, pad_sequences, to_events, to_frames
from .folder import folder
from .gammatone import frame_energy, gammatone, gammatone_centers
from .generators import delayed_xor, randman, xor_times, yin_yang
from .images import cifar10_jpeg, mnist, read_idx
from .saccades import saccade
from .series import Series, Source
from .sound import mel, read_wav, trim_silence
from .split import Split, disjoint, stratified
from .ts_file import read_ts
from .wav_folder import wav_folder
from .wfdb import Electrocardiogram, heart_beats, read_wfdb

__all__ = [
    "EVENT",
    "DiskCache",
    "Electrocardiogram",
    "EventFrames",
    "Series",
    "Source",
    "Split",
    "add_noise",
    "cifar10_jpeg",
    "cochlea",
    "crop_time",
    "delayed_xor",
    "digits",
    "disjoint",
    "drop_area",
    "drop_events",
    "drop_time",
    "equalize_bands",
    "event_drop",
    "flip_events",
    "flip_polarity",
    "folder",
    "frame_energy",
    "gammatone",
    "gammatone_centers",
    "heart_beats",
    "iris",
    "mask_sequences",
    "mask_spans",
    "mel",
    "mix",
    "mnist",
    "myo_gestures",
    "pad_sequences",
    "randman",
    "read_idx",
    "read_myo",
    "read_ts",
    "read_wav",
    "read_wfdb",
    "saccade",
    "scale_gain",
    "shift_events",
    "shift_time",
    "stratified",
    "stretch_time",
    "to_events",
    "to_frames",
    "tonic",
    "trim_silence",
    "warp_mel",
    "wav_folder",
    "xor_times",
    "yin_yang",
]
