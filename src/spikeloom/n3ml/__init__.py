"""The names of n3ml, so that the steps of its manual run with ``n3ml`` replaced by
``spikeloom.n3ml``.

Thin faces without logic: what stands behind a name is in the library proper, and
``docs/compatibility.md`` says where the manual's code does not run as printed and what happens here
instead.
"""

from . import data, encoder, model, optimizer, threshold, visualizer

__all__ = ["data", "encoder", "model", "optimizer", "threshold", "visualizer"]
