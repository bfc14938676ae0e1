"""A node of this package: its NIR type, fields and metadata, from any object or file."""

import difflib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["FIELDS", "Node", "nearest", "number"]

# The fields that have a meaning here, for each type of nir >= 1.0.8.
FIELDS: dict[str, tuple[str, ...]] = {
    "Input": (),
    "Output": (),
    "Affine": ("weight", "bias"),
    "Linear": ("weight",),
    "Scale": ("scale",),
    "Conv1d": ("weight", "stride", "padding", "dilation", "groups", "bias"),
    "Conv2d": ("weight", "stride", "padding", "dilation", "groups", "bias"),
    "Flatten": ("start_dim", "end_dim"),
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "SumPool2d": ("kernel_size", "stride", "padding"),
    "Delay": ("delay",),
    "Threshold": ("threshold",),
    "I": ("r",),
    "IF": ("r", "v_threshold"),
    "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold"),
    "NIRGraph": ("nodes", "edges"),
}


@dataclass
class Node:
    """One node of a graph.

    Args:
        kind: NIR type, such as ``"LIF"``.
        fields: what it is made of, by NIR's names.
        metadata: what else was written with it.
        shape: of its input, without batch and time; None where the graph does not say.
        name: in its graph, for messages.
    """

    kind: str
    fields: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    name: str = ""

    def fail(self, what: str) -> ValueError:
        """An error that names the node and its type.

        >>> Node("Affine", {}, name="fc").fail("its weight is empty")
        ValueError("node 'fc' (Affine): its weight is empty")
        """
        return ValueError(f"node {self.name!r} ({self.kind}): {what}")

    def need(self, *keys: str) -> None:
        """Raise a ValueError unless the node has these fields."""
        for key in keys:
            if self.fields.get(key) is None:
                known = ", ".join(self.fields) or "none"
                raise self.fail(f"the field {key!r} is missing; it has {known}")

    def array(self, key: str) -> np.ndarray:
        """A numeric field as float64.

        Raises:
            ValueError: it is missing, no number, or not finite.
        """
        self.need(key)
        value = self.fields[key]
        value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        if value.dtype.kind not in "fiub":
            raise self.fail(f"{key} must be numbers, got {value!r}")
        value = value.astype(np.float64)
        if not np.isfinite(value).all():
            raise self.fail(f"{key} holds NaN or infinite values; write finite ones")
        return value


def nearest(kind: str) -> str:
    """The NIR type that was probably meant, as the end of a message.

    >>> nearest("CubaLiF")
    "did you mean 'CubaLIF'?"
    """
    lower = {name.lower(): name for name in FIELDS}
    near = difflib.get_close_matches(kind.lower(), lower, n=1, cutoff=0.5)
    return f"did you mean {lower[near[0]]!r}?" if near else f"NIR has {', '.join(FIELDS)}"


def number(value: Any) -> Any:
    """A setting for torch: a number, a tuple of them, or a string (h5py returns numpy's)."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return value
    plain = np.asarray(value)
    return tuple(plain.tolist()) if plain.ndim else plain.item()
