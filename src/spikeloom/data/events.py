"""Event streams: lists of single events, frames of events, and batches of unequal length.

A list is a structured array with the fields ``x, y, t, p`` (column, row, time, polarity; others are ignored, ``y``
and ``p`` may be missing), as Tonic and our readers give it. Frames are time first, [T, P, H, W]; polarity 0 is OFF
(darker), 1 is ON (brighter).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["EVENT", "pad_sequences", "to_events", "to_frames"]

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
    """Count the events in each pixel and time step.

    With ``dt`` alone there are as many steps as the recording needs, with
    ``num_steps`` alone the recording is divided evenly, and with both what comes later is left out.

    Args:
        events: structured array with the fields ``x, y, t, p``, in any order of time.
        sensor_size: width, height and number of polarities, in Tonic's order. With 1 polarity, ON and OFF are added.
        num_steps: number of steps T.
        dt: duration of a step, in the unit of ``t`` (Tonic's: microseconds).
        start: time at which step 0 begins; earlier events are left out. Default: the first event.
        binary: 1 where there is an event, instead of their number.

    Returns:
        [T, P, H, W], float32.

    Raises:
        TypeError: ``events`` is no structured array with ``x`` and ``t``.
        ValueError: an event lies off the sensor, or neither ``num_steps`` nor ``dt`` says how long a step is.

    >>> import numpy as np
    >>> events = np.array([(0, 1, 5, 1), (0, 1, 6, 1), (2, 0, 15, 0)], dtype=EVENT)
    >>> frames = to_frames(events, (3, 2, 2), dt=10)
    >>> frames.shape, frames[0, 1, 1, 0], frames[1, 0, 0, 2]
    (torch.Size([2, 2, 2, 3]), tensor(2.), tensor(1.))
    """
    names = getattr(getattr(events, "dtype", None), "names", None) or ()
    if not {"x", "t"} <= set(names):
        raise TypeError(
            f"events must be a structured array with the fields x, y, t, p, got {type(events).__name__} with {names}; "
            "write np.array([(x, y, t, p), ...], dtype=data.EVENT)"
        )
    steps, num_steps = step_of(np.asarray(events["t"]), num_steps, dt, start)
    width, height, polarities = sensor_size
    kept = (steps >= 0) & (steps < num_steps)
    index = steps[kept].astype(np.int64)
    for field, size in (("p", polarities), ("y", height), ("x", width)):
        address = np.asarray(events[field], np.int64)[kept] if field in names else np.zeros_like(index)
        if field == "p" and size == 1:
            address = np.zeros_like(index)
        if len(address) and not (address.min() >= 0 and address.max() < size):
            raise ValueError(
                f"{field} must lie in [0, {size - 1}] for sensor_size={tuple(sensor_size)}, "
                f"got {address.min()} to {address.max()}; give the sensor's size, and polarities as 0 and 1"
            )
        index = index * size + address
    frames = torch.zeros(num_steps * polarities * height * width)
    frames.index_add_(0, torch.from_numpy(index), torch.ones(len(index)))
    frames = frames.reshape(num_steps, polarities, height, width)
    return frames.clamp_(max=1) if binary else frames


def step_of(t: np.ndarray, num_steps: int | None, dt: float | None, start: float | None) -> tuple[np.ndarray, int]:
    """Step of each event, and the number of steps."""
    if t.dtype.kind in "iu":
        t = t.astype(np.int64)
    elapsed = t - (t.min() if len(t) and start is None else start or 0)
    if num_steps is None and (dt is None or elapsed.max(initial=-1) < 0):
        raise ValueError(
            f"num_steps or dt must say how many steps {len(t)} events from start={start} last, "
            f"got num_steps=None and dt={dt}; write num_steps=100"
        )
    if (num_steps is not None and num_steps < 1) or (dt is not None and dt <= 0):
        raise ValueError(f"num_steps must be 1 or more and dt positive, got num_steps={num_steps} and dt={dt}")
    if dt is not None:
        steps = elapsed // dt
        return steps, int(steps.max()) + 1 if num_steps is None else num_steps
    assert num_steps is not None  # one of the two is given
    span = elapsed.max(initial=0)
    span = span + 1 if t.dtype.kind in "iu" else span or 1
    return np.minimum(elapsed * num_steps // span, num_steps - 1), num_steps  # the last event is in the last step


def to_events(frames: Tensor, *, dt: int = 1) -> np.ndarray:
    """List the events of frames in order of time: the inverse of `to_frames` up to the times within a step.

    Args:
        frames: [T, P, H, W]; a count n becomes n events at the same time.
        dt: duration of a step; the events of step i get the time i x dt.

    Returns:
        Structured array of `EVENT`.

    Raises:
        ValueError: ``frames`` has another number of axes.

    >>> to_events(torch.ones(2, 1, 1, 1), dt=10).tolist()
    [(0, 0, 0, 0), (0, 0, 10, 0)]
    """
    if frames.dim() != 4:
        raise ValueError(
            f"frames must have the shape [T, P, H, W], got {tuple(frames.shape)}; select a sample with frames[:, 0]"
        )
    where = frames.nonzero()
    counts = frames[tuple(where.T)].long().clamp(min=1)
    step, p, y, x = where.repeat_interleave(counts, dim=0).T.cpu().numpy()
    events = np.empty(len(step), EVENT)
    events["x"], events["y"], events["t"], events["p"] = x, y, step * dt, p
    return events


def pad_sequences(
    samples: Sequence[tuple[Any, Any]], *, batch_first: bool = False, lengths: bool = False
) -> tuple[Tensor, ...]:
    """Put recordings of different length into one batch, with silence at the end of the shorter ones.

    A ``collate_fn`` for ``torch.utils.data.DataLoader``.

    Args:
        samples: pairs of a recording [T_i, ...] and its target, a number or a tensor of the same shape for all.
        batch_first: [B, T, ...] instead of [T, B, ...].
        lengths: also return T_i, int64 [B].

    Returns:
        Recordings [T, B, ...] with T the largest T_i, and targets [B, ...].

    Raises:
        ValueError: the recordings differ in more than their length.

    >>> x, y = pad_sequences([(torch.ones(2, 3), 0), (torch.ones(4, 3), 1)])
    >>> x.shape, x[:, 0, 0], y
    (torch.Size([4, 2, 3]), tensor([1., 1., 0., 0.]), tensor([0, 1]))
    """
    recordings = [torch.as_tensor(x) for x, _ in samples]
    shapes = {tuple(x.shape[1:]) for x in recordings}
    if len(shapes) != 1 or any(x.dim() == 0 for x in recordings):
        raise ValueError(
            f"recordings must have the shape [T_i, ...] with the same ..., got {[tuple(x.shape) for x in recordings]}; "
            "bring them to one size of sensor first"
        )
    batch = torch.nn.utils.rnn.pad_sequence(recordings, batch_first=batch_first)
    targets = torch.stack([torch.as_tensor(y) for _, y in samples])
    return (batch, targets, torch.tensor([len(x) for x in recordings])) if lengths else (batch, targets)
