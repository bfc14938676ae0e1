"""Constructor arguments as JSON: numbers, strings, lists, surrogates, quantisers and tensors."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from ..core import curves, densities
from ..functional.quant import StateQuantizer

__all__ = ["decoded", "encoded"]

KINDS: dict[str, type] = {
    kind.__name__: kind
    for module in (curves, densities)
    for kind in vars(module).values()
    if dataclasses.is_dataclass(kind)
    and isinstance(kind, type)
    and kind.__module__ == module.__name__
} | {"StateQuantizer": StateQuantizer}
NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # not available in JSON


def encoded(value: Any) -> Any:
    """Encodes a value as JSON.

    Raises:
        TypeError: the value has another type.

    >>> encoded((3, 3)), encoded(curves.ATan(2.0))
    ({'tuple': [3, 3]}, {'kind': 'ATan', 'options': {'alpha': 2.0}})
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"number": str(value)}
    # A torch.Size is a tuple, too.
    if isinstance(value, (tuple, list)):
        return {"tuple" if isinstance(value, tuple) else "list": [encoded(each) for each in value]}
    if isinstance(value, Tensor):
        return {"tensor": encoded(value.tolist()), "dtype": str(value.dtype).removeprefix("torch.")}
    if KINDS.get(type(value).__name__) is type(value):
        options = {
            field.name: encoded(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
        return {"kind": type(value).__name__, "options": options}
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def decoded(value: Any) -> Any:
    """Decodes a value of `encoded`.

    Raises:
        ValueError: the value does not come from `encoded`.

    >>> decoded({"kind": "ATan", "options": {"alpha": 2.0}}), decoded(encoded((1, [2.5, None])))
    (ATan(alpha=2.0), (1, [2.5, None]))
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    keys = set(value) if isinstance(value, dict) else set()
    if keys == {"number"} and value["number"] in NUMBERS:
        return NUMBERS[value["number"]]
    if keys in ({"tuple"}, {"list"}) and isinstance(next(iter(value.values())), list):
        inside = [decoded(each) for each in next(iter(value.values()))]
        return tuple(inside) if keys == {"tuple"} else inside
    if keys == {"tensor", "dtype"}:
        dtype = getattr(torch, str(value["dtype"]), None)
        if isinstance(dtype, torch.dtype):
            return torch.tensor(decoded(value["tensor"]), dtype=dtype)
    if (
        keys == {"kind", "options"}
        and value["kind"] in KINDS
        and isinstance(value["options"], dict)
    ):
        return KINDS[value["kind"]](
            **{name: decoded(each) for name, each in value["options"].items()}
        )
    raise ValueError(f"{value!r} is not a value of an architecture")
