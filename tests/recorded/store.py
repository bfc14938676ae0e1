"""Writes recorded cases: one compressed array file and one readable index, a line for each case."""

import json
from pathlib import Path

import numpy as np

__all__ = ["Store"]

HERE = Path(__file__).parent


class Store:
    """Named arrays, equal ones stored once, and the index that refers to them."""

    def __init__(self):
        self.arrays = {}
        self.first_name = {}
        self.cases = []

    def add(self, name, value):
        """Name under which ``value`` is stored: ``name``, or that of an equal array stored
        before."""
        array = np.array(value.detach() if hasattr(value, "detach") else value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        known = self.first_name.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
        if known == name:
            self.arrays[name] = array
        return known

    def add_all(self, prefix, values):
        """`add` for every entry of a dictionary."""
        return {name: self.add(f"{prefix}/{name}", value) for name, value in values.items()}

    def write(self, name, skipped):
        """Write ``<name>.npz`` and ``<name>.json``."""
        np.savez_compressed(HERE / f"{name}.npz", **self.arrays)
        write_lines(f"{name}.json", {"cases": self.cases, "skipped": skipped})
        size = (HERE / f"{name}.npz").stat().st_size // 1024
        print(
            f"{name}: {len(self.cases)} cases, {len(skipped)} skipped, {len(self.arrays)} arrays, "
            f"{size} KiB"
        )


def write_lines(name, sections):
    """Write a dictionary of lists as JSON with one entry a line."""
    body = ",\n".join(
        f"{json.dumps(title)}: [\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        for title, entries in sections.items()
    )
    (HERE / name).write_text("{\n" + body + "\n}\n")
