"""Diagnosis of a network on a batch: why it does not learn, what to change, what it costs."""

from .bench import neurobench
from .check import check
from .cost import Cost, LayerCost, cost
from .energy import ARITHMETIC, MEMORY, NEUROMORPHIC, EnergyModel
from .gradients import GradientReport, GradientRow, gradient_report
from .repair import Change, Repair, repair
from .report import LayerRow, Report
from .rules import LIMITS, Finding, Limits

__all__ = [
    "ARITHMETIC",
    "LIMITS",
    "MEMORY",
    "NEUROMORPHIC",
    "Change",
    "Cost",
    "EnergyModel",
    "Finding",
    "GradientReport",
    "GradientRow",
    "LayerCost",
    "LayerRow",
    "Limits",
    "Repair",
    "Report",
    "check",
    "cost",
    "gradient_report",
    "neurobench",
    "repair",
]
