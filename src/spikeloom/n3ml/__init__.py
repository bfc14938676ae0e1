"""The names of n3ml, so that its manual runs with ``n3ml`` replaced by ``spikeloom.n3ml``.

These modules contain no logic. ``docs/compatibility.md`` lists the differences from the manual.
"""

from . import data, encoder, model, optimizer, threshold, visualizer

__all__ = ["data", "encoder", "model", "optimizer", "threshold", "visualizer"]
