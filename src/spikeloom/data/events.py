"""Event streams: lists of single events, frames of events, and batches of unequal length.

A list is a structured array with the fields ``x, y, t, p`` (column, row, time, polarity; others are
ignored, ``y`` and ``p`` may be missing), as returned by Tonic and by `spikeloom.spikevision`.
Frames are time first, [T, P, H, W]; polarity 0 is OFF (darker), 1 is ON (brighter).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.lengths import cut
from ..core.numbers import blank, flag, tensor, whole
from .steps import step_of

__all__ = ["EVENT", "mask_sequences", "pad_sequences", "to_events", "to_frames"]

_MOST_EVENTS = 2**30
EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])


def to_frames(
    events: np.ndarray,
    sensor_size: tuple[int, int, int],
    *,
    num_steps: int | None = None,
    dt: float | None = None,
    start: float | None = None,
    binary: bool = False,
) -> Tensor:
    """Counts the events in each pixel and time step.

    ``dt`` alone gives as many steps as the recording needs, and ``num_steps`` alone divides the
    recording evenly. With both, later events are dropped.

    Args:
        events: structured array with the fields ``x, y, t, p``, in any order.
        sensor_size: width, height and number of polarities, in Tonic's order. With 1 polarity, ON
            and OFF are added.
        num_steps: number of steps T.
        dt: duration of a step, in the unit of ``t`` (Tonic's: microseconds).
        start: time at which step 0 begins; earlier events are dropped. Default: the first event.
        binary: whether a pixel with events is 1 instead of their number.

    Returns:
        [T, P, H, W], float32.

    Raises:
        TypeError: ``events`` is not a structured array with ``x`` and ``t``, or a number has the
            wrong type.
        ValueError: a time is NaN, infinite, or so far from the others that ``dt`` alone would need
            frames of more than 2^30 elements; an event is outside the sensor; both ``num_steps``
            and ``dt`` are missing. The message gives the index of the event.

    >>> import numpy as np
    >>> events = np.array([(0, 1, 5, 1), (0, 1, 6, 1), (2, 0, 15, 0)], dtype=EVENT)
    >>> frames = to_frames(events, (3, 2, 2), dt=10)
    >>> frames.shape, frames[0, 1, 1, 0], frames[1, 0, 0, 2]
    (torch.Size([2, 2, 2, 3]), tensor(2.), tensor(1.))
    """
    names = getattr(getattr(events, "dtype", None), "names", None) or ()
    if not {"x", "t"} <= set(names) or events.ndim != 1:
        raise TypeError(
            "events must be a structured array with the fields x, y, t, p, got "
            f"{type(events).__name__} with {names}; write np.array([(x, y, t, p), ...], "
            "dtype=data.EVENT)"
        )
    size = sensor_of(sensor_size)
    steps, num_steps = step_of(np.asarray(events["t"]), num_steps, dt, start, math.prod(size))
    width, height, polarities = size
    inside = (steps >= 0) & (steps < num_steps)
    index = steps[inside]
    for field, limit in (("p", polarities), ("y", height), ("x", width)):
        address = np.zeros_like(index)
        if field in names and not (field == "p" and limit == 1):
            address = _addresses(events, field, limit, inside, size)
        index = index * limit + address
    frames = blank("frames", torch.zeros(0), num_steps, polarities, height, width).view(-1)
    frames.index_add_(0, torch.from_numpy(index), torch.ones(len(index)))
    frames = frames.reshape(num_steps, polarities, height, width)
    return frames.clamp_(max=1) if flag("binary", binary) else frames


def sensor_of(sensor_size: Any) -> tuple[int, int, int]:
    """Width, height and number of polarities."""
    if (
        not isinstance(sensor_size, Sequence)
        or isinstance(sensor_size, str)
        or len(sensor_size) != 3
    ):
        raise TypeError(
            f"sensor_size must be (width, height, polarities), got {sensor_size!r}; write "
            "sensor_size=(128, 128, 2)"
        )
    width, height, polarities = (whole("sensor_size", each, 1) for each in sensor_size)
    return width, height, polarities


def _addresses(
    events: np.ndarray, field: str, limit: int, inside: np.ndarray, size: tuple[int, int, int]
) -> np.ndarray:
    """A field of the events ``inside``, int64, checked against the sensor."""
    values = np.asarray(events[field])[inside]
    if values.ndim != 1 or values.dtype.kind not in "iufb":
        raise TypeError(f"{field} must hold whole numbers, got {values.dtype}; write data.EVENT")
    wrong = ~((values >= 0) & (values < limit) & (values == np.floor(values)))
    if wrong.any():
        first = np.flatnonzero(inside)[wrong.argmax()]
        raise ValueError(
            f"{field} must be in [0, {limit - 1}] for sensor_size={size}, got {values.min()} to "
            f"{values.max()}, first at event {first}; give the sensor's size, and polarities as 0 "
            "and 1"
        )
    return values.astype(np.int64)


def to_events(frames: Tensor, *, dt: int = 1) -> np.ndarray:
    """Lists the events of frames in order of time, the inverse of `to_frames`.

    Times within a step are lost: the events of step i have the time i x dt.

    Args:
        frames: [T, P, H, W]; a count n becomes n events at the same time.
        dt: duration of a step.

    Returns:
        Structured array of `EVENT`.

    Raises:
        TypeError: ``frames`` is not a real tensor, or ``dt`` not a whole number.
        ValueError: ``frames`` has another number of axes, or values that are not counts.

    >>> to_events(torch.ones(2, 1, 1, 1), dt=10).tolist()
    [(0, 0, 0, 0), (0, 0, 10, 0)]
    """
    _check_frames(frames)
    dt = whole("dt", dt, 1, most=2**62 // max(len(frames), 1))
    where = frames.nonzero()
    total = float(frames.sum(dtype=torch.float64))
    if total > _MOST_EVENTS:
        raise ValueError(
            f"frames may hold {_MOST_EVENTS} events, got {total:.4g}; write (frames > 0).float() "
            "for events without number"
        )
    counts = frames[tuple(where.T)].long()
    step, p, y, x = where.repeat_interleave(counts, dim=0).T.cpu().numpy()
    events = np.empty(len(step), EVENT)
    events["x"] = x
    events["y"] = y
    events["t"] = step * dt
    events["p"] = p
    return events


def _check_frames(frames: Any) -> None:
    """Refuses frames that are not counts, or that `EVENT` cannot address."""
    if tensor("frames", frames).dim() != 4:
        raise ValueError(
            f"frames must have the shape [T, P, H, W], got {tuple(frames.shape)}; select a sample "
            "with frames[:, 0]"
        )
    polarities, height, width = frames.shape[1:]
    if polarities > 127 or max(height, width) > 32767:
        raise ValueError(
            "frames must have at most 127 polarities and 32767 rows and columns, got "
            f"{tuple(frames.shape)}; write smaller frames"
        )
    if frames.is_complex():
        raise TypeError(f"frames must hold counts, got {frames.dtype}; write frames.real")
    values = frames.to(torch.float64)
    wrong = ~(values.isfinite() & (values >= 0) & (values == values.round()))
    if bool(wrong.any()):
        raise ValueError(
            f"frames must hold counts 0, 1, 2, ..., got {values[wrong][0]:g} and "
            f"{int(wrong.sum()) - 1} more such values; write (frames > 0).float() for events "
            "without number"
        )


def pad_sequences(
    samples: Sequence[tuple[Any, Any]], *, batch_first: bool = False, lengths: bool = False
) -> tuple[Tensor, ...]:
    """Batches recordings of different length and pads the shorter ones with silence.

    It is a ``collate_fn`` for ``torch.utils.data.DataLoader``.

    Args:
        samples: pairs of a recording [T_i, ...] and its target, a number or a tensor of the same
            shape for all.
        batch_first: whether the batch is [B, T, ...] instead of [T, B, ...].
        lengths: whether to return also the T_i, int64 [B], for `mask_sequences`.

    Returns:
        Recordings [T, B, ...] with T the largest T_i, and targets [B, ...].

    Raises:
        TypeError: a sample is not a pair of tensors or numbers.
        ValueError: the recordings differ in more than their length, or the targets in shape.

    >>> x, y = pad_sequences([(torch.ones(2, 3), 0), (torch.ones(4, 3), 1)])
    >>> x.shape, x[:, 0, 0], y
    (torch.Size([4, 2, 3]), tensor([1., 1., 0., 0.]), tensor([0, 1]))
    """
    batch_first = flag("batch_first", batch_first)
    flag("lengths", lengths)
    if not isinstance(samples, Sequence) or isinstance(samples, str):
        raise TypeError(
            f"samples must be a list of pairs, got {type(samples).__name__}; write [(x, y), ...]"
        )
    pairs = [_pair(sample, index) for index, sample in enumerate(samples)]
    recordings = [x for x, _ in pairs]
    shapes = {tuple(x.shape[1:]) for x in recordings}
    if len(shapes) != 1 or any(x.dim() == 0 for x in recordings):
        raise ValueError(
            "recordings must have the shape [T_i, ...] with the same ..., got "
            f"{[tuple(x.shape) for x in recordings]}; bring them to one size of sensor first"
        )
    if len({tuple(y.shape) for _, y in pairs}) != 1:
        raise ValueError(
            f"targets must have one shape, got {[tuple(y.shape) for _, y in pairs]}; write one "
            "class for each recording"
        )
    batch = torch.nn.utils.rnn.pad_sequence(recordings, batch_first=batch_first)
    targets = torch.stack([y for _, y in pairs])
    if lengths:
        return batch, targets, torch.tensor([len(x) for x in recordings])
    return batch, targets


def mask_sequences(x: Tensor, lengths: Tensor, *, batch_first: bool = False) -> Tensor:
    """Sets the steps after the end of each recording to 0.

    A neuron goes on firing in the silence that `pad_sequences` adds; `snn.run`, losses and
    accuracies take ``lengths`` themselves and need no mask.

    Args:
        x: outputs of a batch that was padded, [T, B, ...].
        lengths: the T_i, [B].
        batch_first: whether ``x`` is [B, T, ...].

    Returns:
        ``x`` with zeros from T_i on.

    Raises:
        TypeError: ``x`` or ``lengths`` is no tensor.
        ValueError: the lengths are not one for each recording, or not in [0, T].

    >>> mask_sequences(torch.ones(3, 2, 1), torch.tensor([1, 3]))[..., 0]
    tensor([[1., 1.],
            [0., 1.],
            [0., 1.]])
    """
    batch_first = flag("batch_first", batch_first)
    if tensor("x", x).dim() < 2:
        raise ValueError(f"x must be a batch over time, got {tuple(x.shape)}; write [T, B, ...]")
    batch, steps = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    ends = tensor("lengths", lengths).to(x.device)
    whole_ones = not ends.is_floating_point() and not ends.is_complex() and ends.dtype != torch.bool
    if not whole_ones or ends.shape != (batch,) or bool(((ends < 0) | (ends > steps)).any()):
        raise ValueError(
            f"lengths must be {batch} whole numbers in [0, {steps}], got {ends.dtype} of shape "
            f"{tuple(ends.shape)}; write pad_sequences(samples, lengths=True)[2]"
        )
    return cut(x.transpose(0, 1), ends).transpose(0, 1) if batch_first else cut(x, ends)


def _pair(sample: Any, index: int) -> tuple[Tensor, Tensor]:
    """A recording and its target as tensors."""
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise TypeError(
            f"samples must be pairs (recording, target), got {type(sample).__name__} at {index}; "
            "write [(x, y), ...]"
        )
    try:
        return torch.as_tensor(sample[0]), torch.as_tensor(sample[1])
    except (TypeError, ValueError, RuntimeError) as error:
        kinds = " and ".join(type(each).__name__ for each in sample)
        raise TypeError(
            f"sample {index} must hold a tensor and a number or tensor, got {kinds}: {error}"
        ) from error
