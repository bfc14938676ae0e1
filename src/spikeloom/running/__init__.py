"""Execution over time: ``snn.run(net, x)`` and ``snn.layerwise``.

A network is written for one time step or with its own loop. In both cases its Python runs
normally, its operations are recorded (`spikeloom.running.recorder`), and the recorded program runs
layer by layer (`spikeloom.running.execution`).
"""

from .entry import run
from .plan import Forced, Plan, Row, Run
from .rewriting import rewrites
from .wrapper import layerwise

__all__ = ["Forced", "Plan", "Row", "Run", "layerwise", "rewrites", "run"]
