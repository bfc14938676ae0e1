"""Send-on-delta: events where a signal has moved by a threshold since its last event."""

import torch
from torch import Tensor

from ..core.numbers import flag, real
from .input_checks import intensities

__all__ = ["level_crossing"]


def level_crossing(data: Tensor, threshold: float = 0.1, *, single: bool = False) -> Tensor:
    """Events of a signal that has risen or fallen by ``threshold`` since its last event.

    Unlike `delta`, which compares neighbouring steps, slow changes add up, and the events
    reconstruct the signal to within ``threshold``: its first value plus ``threshold`` times the sum
    of up minus down events. This is the pixel of an event camera and the channel of a silicon
    cochlea.

    Args:
        data: signal, [T, ..., F].
        threshold: change that causes an event, in the unit of ``data``; positive.
        single: whether at most one event is sent in a step; the rest follows in later steps.

    Returns:
        Counts of events, [T, ..., 2 F]: the F channels of rises, then the F channels of falls, in
        the dtype of ``data``. The first step has none.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: NaN or infinity, no axis of time and one of features, or ``threshold`` is not
            positive.

    Source: Lichtsteiner, Posch & Delbruck (2008), IEEE J. Solid-State Circuits 43, 566-576, for the
    pixel.

    >>> signal = torch.tensor([[0.0], [0.5], [1.0], [3.5], [2.0]])
    >>> level_crossing(signal, threshold=1.0).t()
    tensor([[0., 0., 1., 2., 0.],
            [0., 0., 0., 0., 1.]])
    """
    intensities(data)
    threshold = real("threshold", threshold, 0.0, open_low=True, example=0.1)
    if data.dim() < 2 or not len(data):
        raise ValueError(
            f"data must be a signal [T, ..., F] with T > 0, got {tuple(data.shape)}; write "
            "data.unsqueeze(-1) for one channel"
        )
    flag("single", single)
    sent = torch.zeros_like(data)
    total = torch.zeros_like(data[0])  # events up to now; their sum does not accumulate rounding
    for step in range(1, len(data)):
        change = ((data[step] - data[0] - threshold * total) / threshold).trunc()
        sent[step] = change.clamp(-1, 1) if single else change
        total = total + sent[step]
    return torch.cat([sent.clamp(min=0), sent.clamp(max=0).abs()], -1)
