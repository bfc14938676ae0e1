"""The event loops, compiled by numba if installed (extra ``cpu``), else plain Python."""

import inspect
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

from ...core.checks import choice, require
from ...kernels.sources import compiled_library
from . import closed_forms, feedforward, readout_loops, recurrent

__all__ = ["ENGINES", "loops"]

ENGINES = ("auto", "numba", "python")
MODULES = (closed_forms, feedforward, recurrent, readout_loops)


def loops(engine: str = "auto") -> Any:
    """The loops: "numba" compiled, "python" as written, "auto" by what is installed.

    The results are equal; "python" is a hundred times slower.

    Raises:
        ImportError: "numba" without numba.
        ValueError: another engine.

    >>> loops("python").decays(0.0, 2.0, 1.0)
    (1.0, 1.0, 0.0)
    """
    if choice("engine", engine, ENGINES) == "python":
        return _plain()
    try:
        return _compiled()
    except ImportError:
        if engine == "numba":
            raise
        return _plain()


@cache
def _plain() -> SimpleNamespace:
    return SimpleNamespace(
        **{
            name: function
            for module in MODULES
            for name, function in vars(module).items()
            if inspect.isfunction(function)
        }
    )


@cache
def _compiled() -> ModuleType:
    require("numba", extra="cpu", purpose='engine="numba"')
    return compiled_library(*MODULES)
