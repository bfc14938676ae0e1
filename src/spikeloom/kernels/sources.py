"""Generated sources: executed in memory, what numba makes of them kept on disk by numba's own cache.

Only compiled functions are written, never Python text. A later process loads what a former one compiled from the same
text with the same versions. Where the folder could be written by others, nothing is read from it and nothing written;
where a file is damaged, it is compiled again. A cache that cannot be used never stops a computation.
"""

import ctypes
import hashlib
import linecache
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, cast

__all__ = ["cache_folder", "compiled_function", "compiled_module", "written"]

_compiled: list[Any] = []  # own the machine code


def cache_folder() -> Path | None:
    """Folder of compiled kernels: below ``SPIKELOOM_CACHE``, or the user's cache folder.

    It is made where it is missing. None where it cannot be made, or where it is a link, belongs to another user or can
    be written by others: whoever writes there would run code in this process.

    >>> folder = cache_folder()
    >>> folder is None or folder.name == "kernels"
    True
    """
    try:
        base = os.environ.get("SPIKELOOM_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base).absolute() / "spikeloom" / "kernels"
        for part in (folder.parent, folder):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = part.lstat()
            if not (stat.S_ISDIR(found.st_mode) and _owned(found)) or found.st_mode & 0o022:
                return None
    except (OSError, RuntimeError):  # no home, no rights, no space, a file in its place
        return None
    return folder


def _owned(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def written(path: Path, content: bytes) -> None:
    """Write a file, which appears in one step.

    Raises:
        OSError: the folder cannot be written to, or is full; nothing is left behind.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


@cache
def compiled_module(source: str, compiler: str = "numba") -> ModuleType:
    """A module with the functions of a generated source.

    Args:
        source: Python text; functions of numba that are to be kept on disk have the option ``cache=CACHE``.
        compiler: package that compiles it.
    """
    stamp = hashlib.sha256(f"{source}|{sys.version}|{version(compiler)}".encode()).hexdigest()
    name, text = f"kernel_{stamp[:20]}", source.replace("CACHE", "False")
    module, file = ModuleType(name), f"<{name}>"
    sys.modules[name] = module  # numba's cache looks the module up by name
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # Triton reads the text of its functions
    exec(compile(text, file, "exec"), module.__dict__)
    if "cache=CACHE" in source:
        from numba.core.dispatcher import Dispatcher

        for function in vars(module).values():
            if isinstance(function, Dispatcher):
                _keep(function, function.py_func)
    return module


@cache
def compiled_function(source: str, name: str, signature: Any, fastmath: frozenset[str] = frozenset()) -> Any:
    """A function of a generated source for numba as machine code, which releases the interpreter while it runs.

    Args:
        source: Python text in which ``name`` is a plain function that cannot raise.
        name: of the function.
        signature: types of its arguments as numba names them; addresses are ``CPointer``.
        fastmath: liberties of the compiler.

    Returns:
        A function of addresses and numbers.
    """
    from numba import types
    from numba.core.ccallback import CFunc

    function = getattr(compiled_module(source), name)
    options = {"error_model": "numpy", "fastmath": set(fastmath)}
    made = CFunc(function, (signature, types.void), {}, options)
    _keep(made, function)
    made.compile()
    _compiled.append(made)
    kinds: Any = (ctypes.c_void_p if isinstance(kind, types.CPointer) else ctypes.c_int64 for kind in signature)
    return ctypes.CFUNCTYPE(None, *kinds)(cast(Any, made.address))


def _keep(made: Any, function: Callable[..., Any]) -> None:
    """Let numba keep what it makes of a function."""
    folder = cache_folder()
    if folder is not None:
        made._cache = _cache_class()(function, folder)


class _Locator:
    """Tells numba's cache where to keep a function, and when what it kept is out of date."""

    def __init__(self, function: Any, folder: str) -> None:
        self._py_file, self.folder = function.__code__.co_filename, folder

    def get_cache_path(self) -> str:
        return self.folder

    def get_source_stamp(self) -> str:
        return self._py_file  # named after its content

    def get_disambiguator(self) -> str:
        return "0"

    def ensure_cache_path(self) -> None:
        """It was there when the cache was made."""


@cache
def _implementation() -> Any:
    """How numba writes a function, with a digest of the machine code: pickle would not notice a flipped bit in it."""
    from numba.core.caching import CompileResultCacheImpl
    from numba.core.serialize import dumps

    class Implementation(CompileResultCacheImpl):
        def reduce(self, cres: Any) -> Any:
            payload = dumps(super().reduce(cres))
            return hashlib.sha256(payload).digest(), payload

        def rebuild(self, target_context: Any, payload: Any) -> Any:
            digest, content = payload
            if hashlib.sha256(content).digest() != digest:
                raise ValueError("damaged")
            return super().rebuild(target_context, pickle.loads(content))

    return Implementation


@cache
def _cache_class() -> Any:
    """Numba's cache of one function in a folder of ours, none of whose failures is an error."""
    from numba.core.caching import FunctionCache

    class Cache(FunctionCache):
        def __init__(self, function: Any, folder: Path) -> None:
            locate = classmethod(lambda cls, function, file: _Locator(function, str(folder)))
            locator = type("Locator", (), {"from_function": locate})
            self._impl_class = type("Located", (_implementation(),), {"_locator_classes": [locator]})
            self.folder = folder
            super().__init__(function)

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            files = list(self.folder.glob(f"{self._impl.filename_base}.*"))
            try:
                if all(stat.S_ISREG(file.lstat().st_mode) and _owned(file.lstat()) for file in files):
                    return super().load_overload(sig, target_context)
            except Exception:  # whatever a damaged pickle raises
                pass
            for file in files:
                with suppress(OSError):
                    file.unlink()
            return None

        def save_overload(self, sig: Any, data: Any) -> None:
            with suppress(Exception):  # a full disk, a folder that is gone, code that cannot be kept
                super().save_overload(sig, data)

    return Cache
