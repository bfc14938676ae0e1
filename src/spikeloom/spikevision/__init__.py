"""Event data sets from their original files: N-MNIST, DVS Gesture, Spiking Heidelberg Digits.

The module paths are snnTorch's. Files are downloaded only if they are not in ``root``. The readers
are part of this package and need neither torchvision, pandas nor tqdm; the cache needs h5py.
"""

from . import spikedata, transforms
from . import spikedata as data
from .spikedata import NMNIST, SHD, DVSGesture

__all__ = ["NMNIST", "SHD", "DVSGesture", "data", "spikedata", "transforms"]
