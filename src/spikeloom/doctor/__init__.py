"""Diagnosis of a network on a batch."""

from .gradients import GradientReport, GradientRow, gradient_report

__all__ = ["GradientReport", "GradientRow", "gradient_report"]
