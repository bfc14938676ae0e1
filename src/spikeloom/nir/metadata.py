"""Metadata of nodes, checked before anything reads it.

Metadata is free in NIR; the keys that have a meaning here must have the type that `to_nir` writes.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.neuron import REGISTRY
from ..core.options import arguments
from ..neurons.leaky import Leaky
from .convention import RESETS
from .node import Node

__all__ = ["LONGEST", "check_arguments", "check_metadata", "check_own", "order_in"]

LONGEST = 2**20  # steps of a delay


def check_metadata(node: Node) -> None:
    """Check the metadata of a node.

    Raises:
        ValueError: a key that has a meaning here has another type than `to_nir` writes.
    """
    record = node.metadata
    if not isinstance(record, Mapping):
        raise node.fail(f"its metadata must be a group, got {type(record).__name__}")
    flags = ("bias", "graded", "delay", *(["learn"] if node.kind in ("Delay", "Scale") else []))
    for key in flags:
        _require(node, key, _is_number(record.get(key, False), "biuf"), "be true or false")
    if node.kind == "Delay":
        steps = np.asarray(record.get("steps", 0.0)).dtype.kind in "fiu"
        _require(node, "steps", steps, "be numbers")
        longest = record.get("longest", 1)
        within = _is_number(longest) and 0 <= longest <= LONGEST
        _require(node, "longest", within, f"be in [0, {LONGEST}]")
    own = REGISTRY.get(str(record.get("neuron")), Leaky).resets
    resets = dict.fromkeys((*RESETS, *Leaky.resets, *own))
    known = str(record.get("reset", "none")) in resets
    _require(node, "reset", known, f"be one of {', '.join(resets)}")
    surrogate = record.get("surrogate", {"name": ""})
    named = isinstance(surrogate, Mapping) and isinstance(surrogate.get("name"), str)
    _require(node, "surrogate", named, "be a group with a name")
    for key, value in surrogate.items():
        if key != "name" and not _is_number(value):
            raise node.fail(f"{key!r} of its surrogate must be a number, got {_shown(value)}")


def check_arguments(node: Node, cls: type) -> None:
    """Check the record of a neuron of ours: its arguments and what learns."""
    given = node.metadata.get("arguments", {})
    known = isinstance(given, Mapping) and given.keys() <= arguments(cls).keys()
    _require(node, "arguments", known, f"name arguments of {cls.__name__}")
    for key, value in given.items():
        if np.asarray(value).dtype.kind not in "fiu" or not np.isfinite(value).all():
            raise node.fail(f"metadata {key!r} must be finite numbers, got {_shown(value)}")
    _require(node, "learn", isinstance(node.metadata.get("learn", ""), str), "be a text")


def check_own(own: Any) -> None:
    """Check what `to_nir` writes into the metadata of a graph.

    Raises:
        ValueError: it is no group, its time step is no positive number, or the order of its
            inputs or outputs is no list of names.
    """
    if not isinstance(own, Mapping):
        raise ValueError(
            f"the metadata 'spikeloom' of the graph must be a group, got {_shown(own)}"
        )
    if "dt" in own:
        dt = own["dt"]
        if not _is_number(dt) or not 0 < dt < np.inf:
            raise ValueError(
                "the metadata 'dt' of the graph must be a positive number, got "
                f"{_shown(dt)}; pass dt=1e-4 and remove it"
            )

    for key in ("inputs", "outputs"):
        order_in(own, key)


def order_in(own: Mapping[str, Any], key: str) -> list[str]:
    """Return the recorded order of the inputs or outputs of a graph; a file sorts its nodes.

    Raises:
        ValueError: it is no list of names.

    >>> order_in({"inputs": '["b", "a"]'}, "inputs")
    ['b', 'a']
    """
    text = own.get(key, "[]")
    try:
        names = json.loads(text)
    except (TypeError, ValueError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"the metadata {key!r} of the graph must be a list of names such as "
            f'\'["a", "b"]\', got {_shown(text)}'
        )
    return names


def _require(node: Node, key: str, good: bool, rule: str) -> None:
    if not good:
        raise node.fail(f"metadata {key!r} must {rule}, got {_shown(node.metadata[key])}")


def _is_number(value: Any, kinds: str = "fiu") -> bool:
    number = np.asarray(value)
    return number.ndim == 0 and number.dtype.kind in kinds


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else type(value).__name__
