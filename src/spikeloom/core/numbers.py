"""Checks of single arguments: numbers, flags, tensors, networks, paths, devices and generators.

Each message has the three parts of `spikeloom.core.checks`: the rule, the value received, and what
to write instead.
"""

import math
import numbers
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "MOST_UNITS",
    "array",
    "blank",
    "callable_",
    "device_of",
    "flag",
    "network",
    "numbers_of",
    "path_of",
    "random_source",
    "real",
    "tensor",
    "whole",
]


_INT64 = 2**63 - 1  # torch and NumPy take no larger whole number, not even for a real one
MOST_UNITS = 2**24  # of one layer: its weights alone would not fit into memory


def whole(name: str, value: Any, least: int = 0, most: int | None = None) -> int:
    """Return ``value`` as an int if it is a whole number in range.

    Args:
        name: name of the argument, for the message.
        value: an int, or anything with ``__index__``, such as ``numpy.int64``; no bool.
        least: lowest value allowed.
        most: highest value allowed; None for that of int64.

    Raises:
        TypeError: ``value`` is no whole number.
        ValueError: it is out of range.

    >>> whole("num_steps", 5, least=1)
    5
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = value.__index__()
    except (AttributeError, TypeError, RuntimeError):
        raise TypeError(
            f"{name} must be a whole number, got {_shown(value)}; write {name}={least}"
        ) from None
    if number < least or number > (_INT64 if most is None else most):
        rule = f"be in [{least}, {_INT64 if most is None else most}]"
        rule = f"be {least} or more" if most is None and number < least else rule
        raise ValueError(f"{name} must {rule}, got {number}; write {name}={least}")
    return number


def real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    infinite: bool = False,
    example: float = 1.0,
) -> float:
    """Return ``value`` as a float if it is a finite real number in range.

    Args:
        name: name of the argument, for the message.
        value: number, or tensor or array with one element and without gradient; no bool.
        low, open_low: lowest value, and whether it is excluded.
        high, open_high: highest value, and whether it is excluded.
        infinite: allow an infinite number in range.
        example: a value that the message suggests.

    Raises:
        TypeError: ``value`` is no real number.
        ValueError: it is NaN, infinite or out of range.

    >>> real("slope", 25, low=0.0)
    25.0
    """
    number = _float(name, value, example)
    above = number > low if open_low else number >= low
    below = number < high if open_high else number <= high
    if above and below and (infinite or math.isfinite(number)):
        return number
    rule = _rule(low, high, open_low, open_high) if math.isfinite(number) else "be finite"
    raise ValueError(f"{name} must {rule}, got {number:g}; write {name}={example:g}")


def _rule(low: float, high: float, open_low: bool, open_high: bool) -> str:
    """The range in words or as an interval."""
    if low == 0 and math.isinf(high):
        return "be positive" if open_low else "be 0 or more"
    left = "(" if open_low or math.isinf(low) else "["
    right = ")" if open_high or math.isinf(high) else "]"
    return f"be in {left}{low:g}, {high:g}{right}"


def _float(name: str, value: Any, example: float) -> float:
    if hasattr(value, "requires_grad") or hasattr(value, "__array_interface__"):
        single = math.prod(value.shape) == 1 and not getattr(value, "requires_grad", False)
        value = value.item() if single and getattr(value, "device", "cpu") != "meta" else value
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name} must be a real number, got {_shown(value)}; write {name}={example:g}"
        )
    number: Any = value
    try:
        found = float(number)
    except OverflowError:  # an int or a fraction beyond float64
        return math.inf if number > 0 else -math.inf
    if isinstance(number, int) and abs(number) > _INT64:
        raise ValueError(
            f"{name} must be a whole number of 64 bits or a float, got {found:.3g}; write "
            f"{name}={example:g}"
        )
    return found


def flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool if it is True or False (also numpy's, and 0 or 1).

    Raises:
        TypeError: ``value`` is something else; "no" would count as True.

    >>> flag("clip", True)
    True
    """
    known = isinstance(value, (bool, numbers.Integral)) or type(value).__name__ in ("bool", "bool_")
    if known and value in (0, 1):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {_shown(value)}; write {name}=True")


def tensor(name: str, value: Any) -> Tensor:
    """Return ``value`` if it is a tensor.

    Raises:
        TypeError: ``value`` is something else.

    >>> tensor("targets", torch.tensor([1]))
    tensor([1])
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            raise TypeError(
                f"{name} must be a dense tensor, got {value.layout}; write {name}.to_dense()"
            )
        return value
    raise TypeError(
        f"{name} must be a torch.Tensor, got {type(value).__name__}; write torch.as_tensor({name})"
    )


def blank(what: str, like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Zeros, or an error in words where memory does not suffice.

    Args:
        what: is made of them, for the message.
        like: a tensor on the same device and, without ``dtype``, of the same dtype.
        *shape, dtype: of the result.

    Raises:
        ValueError: there is not so much memory.

    >>> blank("spikes", torch.ones(1), 2)
    tensor([0., 0.])
    """
    try:
        return like.new_zeros(shape, dtype=dtype or like.dtype)
    except (RuntimeError, TypeError, OverflowError) as error:  # TypeError: a size beyond int64
        raise ValueError(
            f"{what} of shape {shape} need {math.prod(shape) * 4 / 2**30:.4g} GiB or so, more than "
            "there is; write smaller numbers, or fewer samples at a time"
        ) from error


def numbers_of(name: str, value: Any) -> Tensor:
    """Return real numbers as a float64 tensor without graph.

    Args:
        name, value: of the argument; a number, a sequence, an array or a tensor, not empty.

    Raises:
        TypeError: ``value`` is something else.
        ValueError: it is empty.

    >>> numbers_of("trace", [1, 2])
    tensor([1., 2.], dtype=torch.float64)
    """
    try:
        found = tensor(name, torch.as_tensor(value)).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must hold numbers, got {_shown(value)}; write a tensor of numbers"
        ) from error
    if found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"{name} must hold real numbers, got {found.dtype}; write {name}.real")
    if not found.numel():
        raise ValueError(
            f"{name} must hold at least one number, got shape {tuple(found.shape)}; write more"
        )
    return found.double()


def network(net: Any, name: str = "net") -> None:
    """Check that ``net`` is a module.

    Args:
        net: what the user passed.
        name: of the argument, for the message.

    Raises:
        TypeError: it is something else.

    >>> network(nn.Linear(2, 1))
    """
    if not isinstance(net, nn.Module):
        kind = net.__name__ + ", a class," if isinstance(net, type) else type(net).__name__
        raise TypeError(f"{name} must be a torch.nn.Module, got {kind}; write nn.Sequential(...)")


def callable_(name: str, value: Any, example: str) -> None:
    """Check that ``value`` can be called, else raise a TypeError.

    >>> callable_("step", len, "len")
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {_shown(value)}; write {name}={example}")


def array(value: Any, refusal: Callable[[], str]) -> Tensor:
    """Return ``value`` as a tensor.

    Args:
        value: a tensor, an array or a nested list of numbers.
        refusal: gives the text of the error.

    Raises:
        TypeError: it is something else.

    >>> array([[0.5]], lambda: "x must be numbers")
    tensor([[0.5000]])
    """
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(refusal()) from error


def device_of(name: str, value: Any) -> torch.device:
    """Return ``value`` as a device if it names one of this machine.

    Raises:
        TypeError, ValueError: it does not.

    >>> device_of("device", "cpu")
    device(type='cpu')
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, torch.device)):
        raise TypeError(f"{name} must be a device, got {_shown(value)}; write {name}='cpu'")
    try:
        device = torch.device(value)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a device, got {_shown(value)}; write {name}='cpu'"
        ) from error
    missing = _missing(device)
    if missing:
        raise ValueError(
            f"{name} must be a device of this machine, got '{device}': {missing}; "
            f"write {name}='cpu'"
        )
    return device


def _missing(device: torch.device) -> str:
    """Why nothing can be computed on a device; empty if it can."""
    if device.type == "meta":
        return "it holds no values"
    if device.type == "cuda":  # a tensor there would take memory of the first GPU in every process
        number = torch.cuda.device_count()
        found = f"PyTorch sees {number} CUDA devices"
        return "" if (device.index or 0) < number else found
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        return str(error).partition("\n")[0]
    return ""


def path_of(name: str, value: Any) -> Path:
    """Return ``value`` as a path if it is a text or a path.

    Raises:
        TypeError: ``value`` is something else.
        ValueError: it holds a character that no path has.

    >>> path_of("root", "data").name
    'data'
    """
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} must be a path, got {_shown(value)}; write {name}='data'")
    if "\0" in os.fspath(value):
        raise ValueError(f"{name} must be a path, got a text with the character 0; remove it")
    if not os.fspath(value):
        raise ValueError(f"{name} must be a path, got an empty text; write {name}='data'")
    if Path(value).parts[:1] == ("~",):
        raise ValueError(
            f"{name} must be a path, got {os.fspath(value)!r}, a folder of the name '~'; write "
            f"{name}=Path({os.fspath(value)!r}).expanduser()"
        )
    return Path(value)


def random_source(generator: Any, like: Tensor | None = None) -> torch.Generator | None:
    """Return ``generator`` if it is a ``torch.Generator`` or None.

    Args:
        generator: what the user passed.
        like: a tensor on the device on which it shall draw.

    Raises:
        TypeError: ``generator`` is something else.
        ValueError: it draws on another device.

    >>> random_source(None)
    """
    if generator is None:
        return None
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator or None, got {_shown(generator)}; "
            "write generator=torch.Generator().manual_seed(0)"
        )
    if like is not None and like.device.type not in ("meta", generator.device.type):
        raise ValueError(
            f"generator must draw on {like.device}, got one on {generator.device}; "
            f"write torch.Generator({str(like.device)!r})"
        )
    return generator


def _shown(value: Any) -> str:
    """A value for a message: short ones as they are, tensors and arrays by shape."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
