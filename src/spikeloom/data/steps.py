"""Converts the times of events to time steps, for `to_frames`.

Times are compared as exact integers or as float64. A time that is NaN, infinite, or too far from
the others for any frames is refused with the index of its event.
"""

import numpy as np

from ..core.numbers import real, whole

__all__ = ["MOST_ELEMENTS", "step_of"]

MOST_ELEMENTS = 2**30  # limit if the number of steps follows from the times: 4 GiB of float32
INT64 = np.iinfo(np.int64)


def step_of(
    t: np.ndarray, num_steps: int | None, dt: float | None, start: float | None, pixels: int
) -> tuple[np.ndarray, int]:
    """Step of each event, int64, and the number of steps.

    Args:
        t: times, [n], in any order.
        num_steps: number of steps T, or None.
        dt: duration of a step, or None.
        start: time at which step 0 begins; None for the first event.
        pixels: elements of one frame, which limit the number of steps for ``dt`` alone.

    Raises:
        TypeError: times, ``num_steps``, ``dt`` or ``start`` are not numbers.
        ValueError: a time is not finite or too far from the others, or the duration of a step is
            unknown.

    >>> step_of(np.array([5, 6, 15]), None, 10, None, 1)
    (array([0, 0, 1]), 2)
    """
    t = _times(t)
    if num_steps is not None:
        num_steps = whole("num_steps", num_steps, 1)
        whole("num_steps", num_steps, 1, most=2**60 // pixels)
    step = None if dt is None else real("dt", dt, 0.0, open_low=True)
    begin = _begin(t, start)
    if num_steps is None and (dt is None or not (t >= begin).any()):
        raise ValueError(
            f"num_steps or dt must define the number of steps of {len(t)} events from "
            f"start={start}, got num_steps=None and dt={dt}; write num_steps=100"
        )
    elapsed = _elapsed(t, begin)
    if step is None:
        assert num_steps is not None  # one of the two is given
        return _evenly(elapsed, num_steps), num_steps
    unit = int(step) if elapsed.dtype.kind == "i" and step == int(step) else step
    if num_steps is None:
        num_steps = _needed(t, elapsed, unit, pixels)
    if isinstance(unit, int) and unit > INT64.max:
        unit = INT64.max
    return np.clip(elapsed // unit, -1, num_steps).astype(np.int64), num_steps


def _times(t: np.ndarray) -> np.ndarray:
    """Checks times, and returns them as int64 or float64."""
    if t.ndim != 1 or t.dtype.kind not in "iuf":
        raise TypeError(
            f"t must hold one number for each event, got {t.dtype} of shape {t.shape}; write "
            "events of data.EVENT"
        )
    if t.dtype.kind == "f":
        wrong = ~np.isfinite(t)
        if wrong.any():
            first = int(wrong.argmax())
            raise ValueError(
                f"times must be finite, got t={t[first]} at event {first} ({int(wrong.sum())} of "
                f"{len(t)} are not); write events[np.isfinite(events['t'])]"
            )
        return t.astype(np.float64)
    if t.dtype.kind == "u" and len(t) and int(t.max()) > INT64.max:
        first = int(t.argmax())
        raise ValueError(
            f"times must be below 2^63, got t={t[first]} at event {first}; subtract the time of "
            "the first event"
        )
    return t.astype(np.int64)


def _begin(t: np.ndarray, start: float | None) -> float | int:
    """Time at which step 0 begins, as an int if it is a whole number."""
    if start is None:
        return t.min().item() if len(t) else 0
    begin = real("start", start, example=0.0)
    if begin != int(begin):
        return begin
    return int(start)  # not int(begin): float64 rounds above 2^53


def _elapsed(t: np.ndarray, begin: float | int) -> np.ndarray:
    """Times relative to ``begin``, without overflow of int64."""
    if not len(t):
        return t
    exact = t.dtype.kind == "i" and isinstance(begin, int)
    ends = [t.min().item() - begin, t.max().item() - begin]
    far = int(t.argmax()) if abs(ends[1]) >= abs(ends[0]) else int(t.argmin())
    if (exact and max(map(abs, ends)) > INT64.max) or not np.isfinite(ends).all():
        raise ValueError(
            f"times must be less than 2^63 from start={begin}, got t={t[far]} at event {far}; "
            "remove that event, its time is wrong"
        )
    if exact and abs(begin) > INT64.max:
        return np.array([value - begin for value in t.tolist()], np.int64)
    return t - begin


def _evenly(elapsed: np.ndarray, num_steps: int) -> np.ndarray:
    """Steps of a recording that is divided into ``num_steps`` equal parts.

    The last event belongs to the last step.
    """
    if not len(elapsed):
        return elapsed.astype(np.int64)
    if elapsed.dtype.kind == "f":
        span = max(float(elapsed.max()), 0.0) or 1.0
        if span > 1e300:
            steps = np.floor(elapsed / span * num_steps)
        else:
            steps = elapsed * num_steps // span
        return np.clip(steps, -1, num_steps - 1).astype(np.int64)
    span = max(int(elapsed.max()), 0) + 1
    largest = max(span, -int(elapsed.min()))
    if largest * num_steps <= INT64.max:
        return np.minimum(elapsed * num_steps // span, num_steps - 1)
    # Python's integers do not overflow.
    exact = [value * num_steps // span for value in elapsed.tolist()]
    return np.maximum(np.array(exact, dtype=object), -1).astype(np.int64)


def _needed(t: np.ndarray, elapsed: np.ndarray, unit: float | int, pixels: int) -> int:
    """Number of steps up to the last event, limited by `MOST_ELEMENTS`."""
    last = int(elapsed.argmax())
    count = elapsed[last].item() // unit + 1
    if count * pixels <= MOST_ELEMENTS:
        return int(count)
    raise ValueError(
        f"with dt={unit:g} the event {last} at t={t[last]} needs {count:.4g} steps of {pixels} "
        f"elements, more than {MOST_ELEMENTS} in all; write num_steps= to drop later events, a "
        "larger dt, or remove an event whose time is wrong"
    )
