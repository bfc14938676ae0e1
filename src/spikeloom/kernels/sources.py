"""Generated sources as files, so that the compiler's own cache applies across processes."""

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

__all__ = ["cache_folder", "compiled_module"]


def cache_folder() -> Path:
    """Where generated kernels lie: ``SPIKELOOM_CACHE``, or the user's cache folder.

    >>> cache_folder().name
    'kernels'
    """
    base = os.environ.get("SPIKELOOM_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spikeloom" / "kernels"


@cache
def compiled_module(source: str) -> ModuleType:
    """Import a generated source, from its file if one can be written.

    The file is named after its content and the versions of Python and numba, and appears in one step, so that
    processes that start together see either nothing or all of it.
    """
    import numba

    stamp = f"{source}|{sys.version}|{numba.__version__}"
    name = f"kernel_{hashlib.sha256(stamp.encode()).hexdigest()[:20]}"
    try:
        path = _written(cache_folder(), name, source.replace("CACHE", "True"))
    except OSError:  # a home that cannot be written to: compile in memory
        module = ModuleType(name)
        exec(compile(source.replace("CACHE", "False"), f"<{name}>", "exec"), module.__dict__)
        return module
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba's cache looks the module up by name
    spec.loader.exec_module(module)
    return module


def _written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    return path
