"""The active recorder of this thread, if any; modules with a state call it instead of computing.

`spikeloom.run` and `spikeloom.layerwise` set it. Each thread has its own, so that networks in
different threads do not interfere.
"""

import threading
from typing import Any

__all__ = ["local"]


class _Local(threading.local):
    recorder: Any = None
    batch_norm: Any = None  # what a run calls instead of torch's function, outside of its modes


local = _Local()
