"""Runs a script of the repository in this process. A process of its own would import torch and this
package and compile the kernels again, which takes longer than most smoke runs."""

import importlib
import io
import os
import runpy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from unittest import mock

import torch

__all__ = ["imported", "run_script"]


def run_script(
    script: Path, *arguments: object, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Exit code of a script and what it prints.

    Modules beside the script are its own: those of the same name in another folder come back
    afterwards.
    """
    names = {path.stem for path in script.parent.glob("*.py")}
    others = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    matplotlib, interval = sys.modules.get("matplotlib"), sys.getswitchinterval()
    threads, printed, code = torch.get_num_threads(), io.StringIO(), 0
    try:
        with (
            mock.patch.dict(os.environ, environment or {}),
            mock.patch.object(sys, "path", [str(script.parent), *sys.path]),
            mock.patch.object(sys, "argv", [str(script), *map(str, arguments)]),
            redirect_stdout(printed),
        ):
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            raise RuntimeError(end.code) from end
        code = end.code or 0
    finally:
        for name in names & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(others)
        if matplotlib is not None:
            sys.modules["matplotlib"] = matplotlib
        elif sys.modules.get("matplotlib", torch) is None:
            del sys.modules["matplotlib"]
        sys.setswitchinterval(interval)
        torch.set_num_threads(threads)
    return code, printed.getvalue()


@contextmanager
def imported(script: Path) -> Iterator[ModuleType]:
    """The module of a script, imported as the script imports those beside it."""
    before = set(sys.modules)
    sys.path.insert(0, str(script.parent))
    try:
        yield importlib.import_module(script.stem)
    finally:
        sys.path.remove(str(script.parent))
        for path in script.parent.glob("*.py"):
            if path.stem not in before:
                sys.modules.pop(path.stem, None)
