"""Augmentation of events: drops, flips and shifts, of lists and of frames.

Each function takes one recording as a list, a structured array of `spikeloom.data.EVENT`, or a
batch of frames [T, B, P, H, W], in which every recording is changed by its own draw. A list needs
``sensor_size`` where places matter; frames carry it in their shape.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.numbers import real, tensor, whole
from .augmentation import place_of, spans, uniform
from .events import sensor_of

__all__ = [
    "drop_area",
    "drop_events",
    "drop_time",
    "event_drop",
    "flip_events",
    "flip_polarity",
    "shift_events",
]

Events = Any  # np.ndarray or Tensor; what comes in goes out
Generator = torch.Generator | None
_ONE = torch.zeros(1, 1)  # a batch of one, for the draws of a list


def drop_events(events: Events, most: float, *, generator: Generator = None) -> Events:
    """Removes single events at random.

    Args:
        events: list, or frames of counts [T, B, P, H, W].
        most: the largest probability with which each event is removed, in [0, 1]; those up to it
            are equally likely.
        generator: of the draws.

    Returns:
        As ``events``; a list may be shorter.

    Raises:
        TypeError: ``events`` are neither list nor frames.
        ValueError: frames have another shape or negative values, or ``most`` is out of range.

    >>> from spikeloom.data import EVENT
    >>> len(drop_events(np.zeros(99, EVENT), 1.0, generator=torch.Generator().manual_seed(0)))
    50
    """
    most = real("most", most, 0.0, 1.0, example=0.5)
    if _is_list(events):
        share = most * uniform(_ONE, 1, generator=generator)
        remaining = uniform(_ONE, len(events), generator=generator) >= share
        return events[remaining.numpy()]
    share = most * uniform(events, events.shape[1], generator=generator)
    rest = (1 - share).reshape(1, -1, 1, 1, 1).expand(events.shape)
    return _thinned(events, rest, generator)


def drop_time(events: Events, most: float, *, generator: Generator = None) -> Events:
    """Removes the events of a random span of time.

    Args:
        events: list, or frames [T, B, P, H, W].
        most: the longest span, as a share of the duration, in [0, 1]; every length up to it, and
            then every place, is equally likely.
        generator: of the draws.

    Returns:
        As ``events``; a list may be shorter.

    Raises:
        TypeError: ``events`` are neither list nor frames.
        ValueError: frames have another shape, or ``most`` is out of range.

    >>> drop_time(torch.ones(6, 1, 1, 1, 1), 0.9, generator=torch.Generator().manual_seed(1)).sum()
    tensor(2.)
    """
    most = real("most", most, 0.0, 1.0, example=0.5)
    if not _is_list(events):
        return events.masked_fill(_random_spans(events, 0, most, generator), 0)
    if not len(events):
        return events.copy()
    length, place = uniform(_ONE, 2, generator=generator).tolist()
    time = (events["t"] - events["t"].min()).astype(np.float64)
    duration = time.max()
    length *= most * duration
    start = place * (duration - length)
    return events[(time < start) | (time >= start + length)]


def drop_area(
    events: Events,
    most: float,
    *,
    sensor_size: tuple[int, int, int] | None = None,
    generator: Generator = None,
) -> Events:
    """Removes the events of a random rectangle.

    Args:
        events: list, or frames [T, B, P, H, W].
        most: the largest side of the rectangle, as a share of that of the sensor, in [0, 1]; every
            width and height up to it, and then every place, is equally likely.
        sensor_size: width, height and polarities of a list.
        generator: of the draws.

    Returns:
        As ``events``; a list may be shorter.

    Raises:
        TypeError: ``events`` are neither list nor frames, or a list comes without ``sensor_size``.
        ValueError: frames have another shape, or ``most`` is out of range.

    >>> frames = torch.ones(1, 1, 1, 4, 4)
    >>> drop_area(frames, 1.0, generator=torch.Generator().manual_seed(1))[0, 0, 0]
    tensor([[1., 1., 0., 0.],
            [1., 1., 0., 0.],
            [1., 1., 0., 0.],
            [1., 1., 1., 1.]])
    """
    most = real("most", most, 0.0, 1.0, example=0.3)
    if not _is_list(events):
        rows = _random_spans(events, 3, most, generator)
        columns = _random_spans(events, 4, most, generator)
        return events.masked_fill(rows & columns, 0)
    width, height, _ = _sensor(sensor_size)
    inside = np.ones(len(events), bool)
    for field, size in (("y", height), ("x", width)):
        whole_axis = torch.zeros(size, 1)
        span = _random_spans(whole_axis, 0, most, generator)[:, 0].numpy()
        inside &= span[_addresses(events, field, size)]
    return events[~inside]


def event_drop(
    events: Events,
    *,
    sensor_size: tuple[int, int, int] | None = None,
    generator: Generator = None,
) -> Events:
    """Applies one of four changes, equally likely: none, or drops by time, by area or at random.

    The largest shares are the authors': 0.9 of the time, 0.3 of the sides of the sensor, 0.9 of the
    events. Unlike theirs, shares are continuous, and each side of the rectangle has its own.

    Args:
        events: list, or frames of counts [T, B, P, H, W].
        sensor_size: width, height and polarities of a list.
        generator: of the draws.

    Returns:
        As ``events``; a list may be shorter.

    Raises:
        TypeError: ``events`` are neither list nor frames, or a list comes without ``sensor_size``.
        ValueError: frames have another shape or negative values.

    Source: Gu, Sng, Hu & Yu (2021), EventDrop: data augmentation for event-based learning, IJCAI.

    >>> frames = torch.ones(8, 2, 2, 4, 4)
    >>> event_drop(frames, generator=torch.Generator().manual_seed(0)).sum((0, 2, 3, 4))
    tensor([256., 131.])
    """
    single = _is_list(events)
    if single:
        _sensor(sensor_size)
    batch = 1 if single else events.shape[1]
    chosen = (4 * uniform(_ONE, batch, generator=generator)).long()
    if single:
        changes = (
            lambda: events.copy(),
            lambda: drop_time(events, 0.9, generator=generator),
            lambda: drop_area(events, 0.3, sensor_size=sensor_size, generator=generator),
            lambda: drop_events(events, 0.9, generator=generator),
        )
        return changes[int(chosen[0])]()
    changed = torch.stack(
        [
            events,
            drop_time(events, 0.9, generator=generator),
            drop_area(events, 0.3, generator=generator),
            drop_events(events, 0.9, generator=generator),
        ]
    )
    place = chosen.to(events.device)
    return changed.transpose(1, 2)[place, torch.arange(batch, device=events.device)].transpose(0, 1)


def flip_polarity(
    events: Events, probability: float = 0.5, *, generator: Generator = None
) -> Events:
    """Exchanges ON and OFF of whole recordings at random.

    Args:
        events: list with polarities 0 and 1, or frames [T, B, 2, H, W].
        probability: of the exchange, in [0, 1].
        generator: of the draws.

    Returns:
        As ``events``.

    Raises:
        TypeError: ``events`` are neither list nor frames.
        ValueError: there are other than two polarities, or ``probability`` is out of range.

    >>> from spikeloom.data import EVENT
    >>> flip_polarity(np.array([(0, 0, 5, 1)], EVENT), 1.0).tolist()
    [(0, 0, 5, 0)]
    """
    probability = real("probability", probability, 0.0, 1.0, example=0.5)
    if not _is_list(events):
        if events.shape[2] != 2:
            raise ValueError(
                f"frames must have two polarities [T, B, 2, H, W], got {tuple(events.shape)}"
            )
        return _where(probability, events.flip(2), events, generator)
    changed = events.copy()
    if uniform(_ONE, 1, generator=generator) < probability:
        changed["p"] = 1 - _addresses(events, "p", 2)
    return changed


def flip_events(
    events: Events,
    probability: float = 0.5,
    *,
    sensor_size: tuple[int, int, int] | None = None,
    generator: Generator = None,
) -> Events:
    """Reverses left and right of whole recordings at random.

    Args:
        events: list, or frames [T, B, P, H, W].
        probability: of the reversal, in [0, 1].
        sensor_size: width, height and polarities of a list.
        generator: of the draws.

    Returns:
        As ``events``.

    Raises:
        TypeError: ``events`` are neither list nor frames, or a list comes without ``sensor_size``.
        ValueError: frames have another shape, or ``probability`` is out of range.

    >>> flip_events(torch.arange(3.0).view(1, 1, 1, 1, 3), 1.0).flatten()
    tensor([2., 1., 0.])
    """
    probability = real("probability", probability, 0.0, 1.0, example=0.5)
    if not _is_list(events):
        return _where(probability, events.flip(4), events, generator)
    width, _, _ = _sensor(sensor_size)
    changed = events.copy()
    if uniform(_ONE, 1, generator=generator) < probability:
        changed["x"] = width - 1 - _addresses(events, "x", width)
    return changed


def shift_events(
    events: Events,
    most: int,
    *,
    sensor_size: tuple[int, int, int] | None = None,
    generator: Generator = None,
) -> Events:
    """Shifts whole recordings by a random number of columns and rows.

    Args:
        events: list, or frames [T, B, P, H, W].
        most: the largest shift in pixels, >= 0; every shift up to it, in both directions and on
            both axes, is equally likely.
        sensor_size: width, height and polarities of a list.
        generator: of the draws.

    Returns:
        As ``events``; events that leave the sensor are lost.

    Raises:
        TypeError: ``events`` are neither list nor frames, or a list comes without ``sensor_size``.
        ValueError: frames have another shape, or ``most`` is negative.

    >>> x = torch.eye(3).view(1, 1, 1, 3, 3)
    >>> shift_events(x, 1, generator=torch.Generator().manual_seed(0))[0, 0, 0]
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [0., 0., 0.]])
    """
    most = whole("most", most)
    single = _is_list(events)
    batch = 1 if single else events.shape[1]
    drawn = uniform(_ONE, 2, batch, generator=generator)
    shift = ((2 * most + 1) * drawn).long().clamp(max=2 * most) - most  # rows, columns
    if single:
        width, height, _ = _sensor(sensor_size)
        inside = np.ones(len(events), bool)
        changed = events.copy()
        for field, size, by in (("y", height, shift[0]), ("x", width, shift[1])):
            moved = _addresses(events, field, size) + int(by)
            inside &= (moved >= 0) & (moved < size)
            changed[field] = moved.clip(0, size - 1)
        return changed[inside]
    rows = _moved(events.shape[3], shift[0].to(events.device))
    columns = _moved(events.shape[4], shift[1].to(events.device))
    number = torch.arange(batch, device=events.device).view(-1, 1, 1)
    moved = events.movedim((1, 3, 4), (0, 1, 2))  # [B, H, W, T, P]
    moved = moved[number, rows[0].unsqueeze(2), columns[0].unsqueeze(1)]
    inside = rows[1].unsqueeze(2) & columns[1].unsqueeze(1)
    moved = moved.masked_fill(~inside[..., None, None], 0)
    return moved.movedim((0, 1, 2), (1, 3, 4))


def _moved(size: int, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Source of each place of an axis, [B, size], and whether it is inside."""
    source = torch.arange(size, device=shift.device) - shift.unsqueeze(1)
    return source.clamp(0, size - 1), (source >= 0) & (source < size)


def _random_spans(x: Tensor, axis: int, most: float, generator: Generator) -> Tensor:
    """A span of up to the share ``most`` of an axis, for each sample, as a mask."""
    longest = int(most * x.shape[axis])
    drawn = uniform(x, x.shape[1], generator=generator)
    length = ((longest + 1) * drawn).long().clamp(max=longest)
    return spans(x, axis, length, generator)


def _thinned(counts: Tensor, probability: Tensor, generator: Generator) -> Tensor:
    """Counts of which each event remains with a probability."""
    place = place_of(generator)
    real_counts = counts.to(place, torch.float64)
    if bool((real_counts < 0).any()):
        raise ValueError("frames must hold counts of events, got negative values")
    drawn = torch.binomial(real_counts, probability.to(real_counts), generator=generator)
    return drawn.to(counts)


def _where(probability: float, changed: Tensor, events: Tensor, generator: Generator) -> Tensor:
    """Recordings of ``changed`` with a probability, else of ``events``."""
    chosen = uniform(events, events.shape[1], generator=generator) < probability
    return torch.where(chosen.reshape(1, -1, 1, 1, 1), changed, events)


def _is_list(events: Any) -> bool:
    """Whether events are a list; frames are checked.

    Raises:
        TypeError: they are neither list nor frames.
        ValueError: frames have another number of axes.
    """
    if isinstance(events, np.ndarray):
        if not {"x", "t"} <= set(events.dtype.names or ()) or events.ndim != 1:
            raise TypeError(
                "events must be a structured array with the fields x, y, t, p, got "
                f"{events.dtype} of shape {events.shape}; write dtype=data.EVENT"
            )
        return True
    if tensor("events", events).dim() != 5:
        raise ValueError(
            f"frames must be a batch [T, B, P, H, W], got {tuple(events.shape)}; write "
            "frames.unsqueeze(1) for one recording"
        )
    return False


def _sensor(sensor_size: Any) -> tuple[int, int, int]:
    if sensor_size is None:
        raise TypeError(
            "a list of events needs the size of its sensor, got sensor_size=None; write "
            "sensor_size=(34, 34, 2)"
        )
    return sensor_of(sensor_size)


def _addresses(events: np.ndarray, field: str, size: int) -> np.ndarray:
    """A field of the events, int64, checked against its size."""
    if field not in (events.dtype.names or ()):
        raise TypeError(f"events must have the field {field}, got {events.dtype.names}")
    values = events[field].astype(np.int64)
    if len(values) and not 0 <= values.min() <= values.max() < size:
        raise ValueError(
            f"{field} must be in [0, {size - 1}], got {values.min()} to {values.max()}; give the "
            "sensor's size, and polarities as 0 and 1"
        )
    return values
