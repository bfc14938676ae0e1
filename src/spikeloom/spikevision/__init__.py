"""Event data sets from their original files: N-MNIST, DVS Gesture and the Spiking Heidelberg
Digits.

The module paths are snnTorch's. Files are looked for in ``root`` first and downloaded only if they
are absent; all is read by our own readers, so that neither torchvision, pandas nor tqdm is needed.
Reading needs h5py, for the cache.
"""

from . import spikedata, transforms
from . import spikedata as data
from .spikedata import NMNIST, SHD, DVSGesture

__all__ = ["NMNIST", "SHD", "DVSGesture", "data", "spikedata", "transforms"]
