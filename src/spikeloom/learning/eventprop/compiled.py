"""The event loops, compiled by numba where it is installed (extra ``cpu``), else as the Python that
they are."""

import inspect
import re
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

from ...core.checks import choice, require
from ...kernels.sources import compiled_module
from . import closed_forms, feedforward, readout_loops, recurrent

__all__ = ["ENGINES", "loops"]

ENGINES = ("auto", "numba", "python")


def loops(engine: str = "auto") -> Any:
    """The loops: "numba" compiled, "python" as written (same results, a hundred times slower),
    "auto" by what is there.

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
            for module in (closed_forms, feedforward, recurrent, readout_loops)
            for name, function in vars(module).items()
            if inspect.isfunction(function)
        }
    )


@cache
def _compiled() -> ModuleType:
    require("numba", extra="cpu", purpose='engine="numba"')
    text = "from __future__ import annotations\nfrom typing import Any\n"
    text += "import numba\nimport numpy as np\n"
    text += "from math import exp, expm1, inf, log, log1p, sqrt\nINPUT, ARRIVAL, SPIKE = 0, 1, 2\n"
    for module in (closed_forms, feedforward, recurrent, readout_loops):
        source = inspect.getsource(module)
        text += source[source.index("\ndef ") :]  # without its imports: all stand in one file
    jit = "@numba.njit(nogil=True, error_model='numpy', cache=CACHE)\ndef "
    return compiled_module(re.sub(r"^def ", jit, text, flags=re.MULTILINE))
