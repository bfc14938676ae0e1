"""Generated sources as files, so that the compiler's own cache applies across processes."""

import hashlib
import importlib.util
import linecache
import os
import sys
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

__all__ = ["cache_folder", "compiled_module", "written"]


def cache_folder() -> Path:
    """Where generated kernels lie: ``SPIKELOOM_CACHE``, or the user's cache folder.

    >>> cache_folder().name
    'kernels'
    """
    base = os.environ.get("SPIKELOOM_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spikeloom" / "kernels"


@cache
def compiled_module(source: str, compiler: str = "numba") -> ModuleType:
    """Import a generated source, from its file if one can be written.

    The file is named after its content and the versions of Python and the compiler, and appears in one step, so that
    processes that start together see either nothing or all of it.

    Args:
        source: Python text; the word CACHE in it becomes True, or False where no file can be written.
        compiler: package that compiles it.
    """
    stamp = f"{source}|{sys.version}|{version(compiler)}"
    name = f"kernel_{hashlib.sha256(stamp.encode()).hexdigest()[:20]}"
    try:
        path = cache_folder() / f"{name}.py"
        if not path.exists():
            written(path, source.replace("CACHE", "True").encode())
    except OSError:  # a home that cannot be written to: compile in memory
        return _in_memory(name, source.replace("CACHE", "False"))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba's cache looks the module up by name
    spec.loader.exec_module(module)
    return module


def _in_memory(name: str, text: str) -> ModuleType:
    module, file = ModuleType(name), f"<{name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # Triton reads the text of its functions
    exec(compile(text, file, "exec"), module.__dict__)
    return module


def written(path: Path, content: bytes) -> None:
    """Write a file, which appears in one step.

    Raises:
        OSError: the folder cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
