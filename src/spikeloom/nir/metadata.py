"""Metadata of nodes, checked before anything reads it.

Metadata is free in NIR; the keys that have a meaning here must have the type that `to_nir` writes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.neuron import REGISTRY, Neuron
from ..core.options import arguments
from ..neurons.leaky import Leaky
from .convention import RESETS
from .node import Node, fail

__all__ = ["LONGEST", "check_arguments", "check_metadata", "check_own"]

LONGEST = 2**20  # steps of a delay


def check_metadata(name: str, node: Node) -> None:
    """Check the metadata of a node.

    Raises:
        ValueError: a key that has a meaning here has another type than `to_nir` writes.
    """
    record = node.metadata
    if not isinstance(record, Mapping):
        raise fail(name, node, f"its metadata must be a group, got {type(record).__name__}")
    for key in ("bias", "graded"):
        _truth(name, node, key)
    if node.kind in ("Delay", "Scale"):
        _truth(name, node, "learn")
    if node.kind == "Delay":
        _check_delay(name, node)
    if "reset" in record:
        resets = {**dict.fromkeys(RESETS), **REGISTRY.get(str(record.get("neuron")), Neuron).resets}
        if str(record["reset"]) not in {**resets, **Leaky.resets}:
            known = ", ".join({**resets, **Leaky.resets})
            given = _shown(record["reset"])
            raise fail(name, node, f"metadata 'reset' must be one of {known}, got {given}")
    _truth(name, node, "delay")
    if "surrogate" in record:
        _check_surrogate(name, node)


def check_arguments(name: str, node: Node, cls: type) -> None:
    """Check the record of a neuron of ours: its arguments and what learns."""
    given = node.metadata.get("arguments", {})
    if not isinstance(given, Mapping) or not given.keys() <= arguments(cls).keys():
        raise fail(
            name,
            node,
            f"metadata 'arguments' must name arguments of {cls.__name__}, got {_shown(given)}",
        )
    for key, value in given.items():
        if np.asarray(value).dtype.kind not in "fiu" or not np.isfinite(value).all():
            raise fail(name, node, f"metadata {key!r} must be finite numbers, got {_shown(value)}")
    if not isinstance(node.metadata.get("learn", ""), str):
        raise fail(
            name, node, f"metadata 'learn' must be a text, got {_shown(node.metadata['learn'])}"
        )


def check_own(own: Any) -> None:
    """Check what `to_nir` writes into the metadata of a graph.

    Raises:
        ValueError: it is no group, or its time step is no positive number.
    """
    if not isinstance(own, Mapping):
        raise ValueError(
            f"the metadata 'spikeloom' of the graph must be a group, got {_shown(own)}"
        )
    if "dt" in own:
        dt = np.asarray(own["dt"])
        if dt.ndim or dt.dtype.kind not in "fiu" or not (np.isfinite(dt) and dt > 0):
            raise ValueError(
                "the metadata 'dt' of the graph must be a positive number, got "
                f"{_shown(own['dt'])}; "
                "pass dt=1e-4 and remove it"
            )


def _truth(name: str, node: Node, key: str) -> None:
    value = np.asarray(node.metadata.get(key, False))
    if value.ndim or value.dtype.kind not in "biuf":
        raise fail(
            name, node, f"metadata {key!r} must be true or false, got {_shown(node.metadata[key])}"
        )


def _check_delay(name: str, node: Node) -> None:
    steps = np.asarray(node.metadata.get("steps", 0.0))
    if steps.dtype.kind not in "fiu":
        raise fail(
            name, node, f"metadata 'steps' must be numbers, got {_shown(node.metadata['steps'])}"
        )
    longest = np.asarray(node.metadata.get("longest", 1))
    if longest.ndim or longest.dtype.kind not in "fiu" or not 0 <= longest <= LONGEST:
        raise fail(
            name,
            node,
            f"metadata 'longest' must be in [0, {LONGEST}], got {_shown(node.metadata['longest'])}",
        )


def _check_surrogate(name: str, node: Node) -> None:
    record = node.metadata["surrogate"]
    if not isinstance(record, Mapping) or not isinstance(record.get("name"), str):
        raise fail(
            name, node, f"metadata 'surrogate' must be a group with a name, got {_shown(record)}"
        )
    for key, value in record.items():
        number = np.asarray(value)
        if key != "name" and (number.ndim or number.dtype.kind not in "fiu"):
            raise fail(
                name, node, f"{key!r} of its surrogate must be a number, got {_shown(value)}"
            )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else type(value).__name__
