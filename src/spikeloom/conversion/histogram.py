"""Percentiles of a stream of numbers, by histograms whose range doubles for larger numbers."""

import torch
from torch import Tensor

__all__ = ["Histogram"]

BINS = 4096


class Histogram:
    """Counts of non-negative numbers in equal bins, for one stream or for each of several.

    The range is a power of two times the maximum of the first batch; if a number exceeds it, it
    doubles and pairs of bins are merged. The error of a percentile is thus at most one bin, 1 /
    2048 of the largest number.

    Args:
        groups: number of streams.

    >>> hist = Histogram()
    >>> hist.add(torch.arange(1000.0)); hist.add(torch.arange(1000.0, 4001.0))
    >>> round(hist.percentile(50.0).item())
    2000
    """

    def __init__(self, groups: int = 1) -> None:
        self.counts = torch.zeros(groups, BINS, dtype=torch.float64)
        # Most activations are zero: a count of their own keeps the first bin exact.
        self.zeros = torch.zeros(groups, dtype=torch.float64)
        self.range = torch.zeros(groups, dtype=torch.float64)
        self.largest = torch.zeros(groups, dtype=torch.float64)

    def add(self, values: Tensor) -> None:
        """Counts numbers; with several groups, ``values`` is [B, groups, ...]."""
        groups = len(self.range)
        rows = values.detach()
        rows = rows.transpose(0, 1).reshape(groups, -1) if groups > 1 else rows.reshape(1, -1)
        top = rows.amax(1).double().cpu()
        self.largest = torch.maximum(self.largest, top)
        self.range = torch.where(self.range > 0, self.range, top * (1 + 1e-6))
        while bool((short := (self.largest >= self.range) & (self.largest > 0)).any()):
            merged = self.counts[short].unflatten(1, (BINS // 2, 2)).sum(2)
            self.counts[short] = torch.cat([merged, torch.zeros_like(merged)], 1)
            self.range = torch.where(short, 2 * self.range, self.range)
        scale = (BINS / self.range.clamp(min=1e-300)).to(rows.device, rows.dtype)
        index = (rows * scale[:, None]).long().clamp(0, BINS - 1)
        index += torch.arange(groups, device=rows.device)[:, None] * BINS
        counts = torch.bincount(index.flatten(), minlength=groups * BINS)
        zeros = (rows == 0).sum(1).double().cpu()
        self.counts += counts.reshape(groups, BINS).double().cpu()
        self.counts[:, 0] -= zeros
        self.zeros += zeros

    def centres(self) -> Tensor:
        """The middle of each bin, [groups, BINS]."""
        return (torch.arange(BINS) + 0.5) / BINS * self.range[:, None]

    def percentile(self, percent: float) -> Tensor:
        """The percentile of each group, linear within a bin and at most the largest number."""
        below = self.counts.cumsum(1)
        wanted = (below[:, -1:] + self.zeros[:, None]) * (percent / 100) - self.zeros[:, None]
        index = torch.searchsorted(below, wanted).clamp(max=BINS - 1)
        inside = self.counts.gather(1, index)
        share = (wanted - below.gather(1, index) + inside) / inside.clamp(min=1)
        found = (wanted > 0) * (index + share.clamp(0, 1)) * self.range[:, None] / BINS
        found = found.squeeze(1)
        return torch.minimum(found, self.largest) if percent < 100 else self.largest
