"""From a batch of samples to what the network receives over time."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from ..core import checks
from ..spikegen import rate
from .settings import name_of, whole

__all__ = ["ENCODINGS", "TIMED", "Encoder", "encoder"]


class Encoder(NamedTuple):
    """How samples become input.

    Attributes:
        name: as written into run cards.
        call: samples [B, ...] to the input of `spikeloom.run` and its ``num_steps`` (None for input
            [T, B, ...]).
        in_unit: whether samples must be in [0, 1].
    """

    name: str
    call: Callable[[Tensor], tuple[Tensor, int | None]]
    in_unit: bool = False


def direct(num_steps: int | None) -> Encoder:
    """The sample is a current, the same at every step."""
    return Encoder("direct", lambda x: (x, num_steps))


def bernoulli(num_steps: int | None) -> Encoder:
    """Each value is the probability of a spike, at each step anew."""
    assert num_steps is not None  # `encoder` has checked it
    return Encoder("rate", lambda x: (rate(x, num_steps), None), in_unit=True)


def sequence(num_steps: int | None, name: str = "sequence") -> Encoder:
    """Samples carry time themselves: [B, T, ...] becomes [T, B, ...]."""

    def call(x: Tensor) -> tuple[Tensor, None]:
        if x.dim() < 3:
            raise ValueError(
                'encode="sequence" expects samples [T, features...], so a batch of at least '
                "three axes, got "
                f'{tuple(x.shape)}; static samples need encode="direct"'
            )
        if num_steps is not None and x.shape[1] != num_steps:
            raise ValueError(
                f"num_steps={num_steps}, but the samples [B, T, ...] of shape {tuple(x.shape)} "
                f"have {x.shape[1]} "
                'steps; leave num_steps out with encode="sequence"'
            )
        return x.transpose(0, 1), None

    return Encoder(name, call)


def time_first(num_steps: int | None) -> Encoder:
    """As `sequence`, for loaders of [T, B, ...]; batches are transposed as they are read."""
    return sequence(num_steps, "time_first")


ENCODINGS: dict[str, Callable[[int | None], Encoder]] = {
    "direct": direct,
    "rate": bernoulli,
    "sequence": sequence,
    "time_first": time_first,
}
TIMED = ("sequence", "time_first")  # encodings of samples that carry time themselves


def encoder(encode: Any, num_steps: int | None, *, own_loop: bool = False) -> Encoder:
    """The encoder for the arguments ``encode`` and ``num_steps`` of `fit`.

    Args:
        encode, num_steps: as for `fit`.
        own_loop: the network has a loop over time of its own, which knows its number of steps.

    Raises:
        ValueError: an unknown name, or ``num_steps`` is missing or not positive.
        TypeError: neither a name nor a function.

    >>> import torch
    >>> x, num_steps = encoder("sequence", None).call(torch.zeros(2, 5, 3))
    >>> x.shape, num_steps
    (torch.Size([5, 2, 3]), None)
    """
    encode = "direct" if encode is None else encode
    if own_loop and encode == "direct" and num_steps is not None:
        raise ValueError(
            f"a network with a loop of its own counts its steps itself, got num_steps={num_steps}; "
            "leave num_steps out"
        )
    if isinstance(encode, str):
        checks.choice("encode", encode, ENCODINGS)
    elif not callable(encode):
        raise TypeError(
            f"encode must be a name or a function, got {encode!r}; write one of {list(ENCODINGS)}"
        )
    if num_steps is not None:
        whole("num_steps", num_steps)
    elif encode not in TIMED and not (own_loop and encode == "direct"):
        raise ValueError(
            f"encode={name_of(encode)!r} needs the number of time steps, got none; write "
            'num_steps=12, encode="sequence" if the samples carry time themselves, [T, ...], or '
            "snn.layerwise(net) if the network has a loop over time of its own"
        )
    return ENCODINGS[encode](num_steps) if isinstance(encode, str) else _custom(encode, num_steps)


def _custom(function: Callable[..., Any], num_steps: int | None) -> Encoder:
    def call(x: Tensor) -> tuple[Tensor, None]:
        y = function(x, num_steps)
        if not isinstance(y, Tensor) or y.dim() < 2 or y.shape[:2] != (num_steps, len(x)):
            came = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(
                f"encode must return [T, B, ...] = [{num_steps}, {len(x)}, ...], got {came}; "
                "it is called as encode(samples, num_steps) with samples [B, ...]"
            )
        return y, None

    return Encoder(name_of(function), call)
