"""The recorder of this thread, if there is one: modules with a state ask it before they compute.

`spikeloom.run` and `spikeloom.layerwise` set it. Each thread has its own, so that networks in
several threads do not meet.
"""

import threading
from typing import Any

__all__ = ["local"]


class _Local(threading.local):
    recorder: Any = None


local = _Local()
