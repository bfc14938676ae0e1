"""Executes generated sources in memory; numba's own cache keeps the compiled functions on disk.

Only compiled functions are written, never Python text. A later process loads what an earlier one
compiled from the same text with the same versions. If other users can write to the folder, it is
neither read nor written; a damaged file is compiled again. An unusable cache never stops a
computation.
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
from types import FunctionType, ModuleType
from typing import Any, cast

__all__ = [
    "cache_folder",
    "compiled_function",
    "compiled_library",
    "compiled_module",
    "first_class",
    "written",
]

_compiled: list[Any] = []  # keeps the machine code alive


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels, in ``SPIKELOOM_CACHE`` or the user's cache folder.

    A missing folder is created. None if that fails, or if the folder is a link, belongs to another
    user or is writable by others, because files in it are executed in this process.

    >>> folder = cache_folder()
    >>> folder is None or folder.name == "kernels"
    True
    """
    try:
        base = (
            os.environ.get("SPIKELOOM_CACHE")
            or os.environ.get("XDG_CACHE_HOME")
            or Path.home() / ".cache"
        )
        folder = Path(base).absolute() / "spikeloom" / "kernels"
        for part in (folder.parent, folder):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = part.lstat()
            if not (stat.S_ISDIR(found.st_mode) and _owned(found)) or found.st_mode & 0o022:
                return None
    except (OSError, RuntimeError):  # no home, no rights, no space, or a file of this name
        return None
    return folder


def _owned(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def written(path: Path, content: bytes) -> None:
    """Write a file atomically.

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
    """Return a module with the functions of a generated source.

    Args:
        source: Python text.
        compiler: package that compiles it.
    """
    stamp = hashlib.sha256(f"{source}|{sys.version}|{version(compiler)}".encode()).hexdigest()
    name = f"kernel_{stamp[:20]}"
    module = ModuleType(name)
    file = f"<{name}>"
    sys.modules[name] = module  # numba's cache finds the module by name
    # Triton reads its functions from the cache of lines
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), module.__dict__)
    return module


@cache
def compiled_function(
    source: str, name: str, signature: Any, fastmath: frozenset[str] = frozenset()
) -> Any:
    """Compile a function of a generated source with numba; it releases the GIL.

    Args:
        source: Python text in which ``name`` is a plain function that cannot raise.
        name: name of the function.
        signature: types of its arguments as numba names them; addresses are ``CPointer``.
        fastmath: fast-math flags of the compiler.

    Returns:
        A function of addresses and numbers.
    """
    from numba import types

    made = _native(source, name, signature, fastmath, by_address=True)
    kinds: Any = (
        ctypes.c_void_p if isinstance(kind, types.CPointer) else ctypes.c_int64
        for kind in signature
    )
    return ctypes.CFUNCTYPE(None, *kinds)(cast(Any, made.address))


@cache
def first_class(source: str, name: str, signature: Any) -> Any:
    """Compile a function as `compiled_function` does, as an argument of other compiled functions.

    A caller is compiled once for all functions of the same signature.
    """
    return _native(source, name, signature, frozenset(), by_address=False)


def _native(
    source: str, name: str, signature: Any, fastmath: frozenset[str], by_address: bool
) -> Any:
    from numba import types
    from numba.core.ccallback import CFunc

    function = getattr(compiled_module(source), name)
    options = {"error_model": "numpy", "fastmath": set(fastmath)}
    made = CFunc(function, (signature, types.void), {}, options)
    _keep(made, function, by_address)
    made.compile()
    _compiled.append(made)
    return made


def compiled_library(*modules: ModuleType) -> ModuleType:
    """Return a module with all functions of hand-written modules, compiled; they call each other.

    Args:
        modules: their functions are plain Python that numba compiles. A name means the same in all
            of them.
    """
    import numba

    digest = hashlib.sha256(f"{sys.version}|{version('numba')}".encode())
    for module in modules:
        digest.update(Path(cast(str, module.__file__)).read_bytes())
    library = ModuleType(f"kernel_{digest.hexdigest()[:20]}")
    sys.modules[library.__name__] = library  # numba's cache finds the module by name
    functions: dict[str, FunctionType] = {}
    for module in modules:
        for name, value in vars(module).items():
            if not name.startswith("__"):
                setattr(library, name, value)
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                functions[name] = value
    for name, function in functions.items():
        # numba's cache takes the name of the file as the stamp of the whole library
        code = function.__code__.replace(co_filename=f"<{library.__name__}>")
        made = numba.njit(nogil=True, error_model="numpy")(
            FunctionType(code, vars(library), name, function.__defaults__)
        )
        _keep(made, made.py_func)
        setattr(library, name, made)
    return library


def _keep(made: Any, function: Callable[..., Any], by_address: bool = False) -> None:
    """Enable numba's cache for a function, which may be called only by its address."""
    folder = cache_folder()
    if folder is not None:
        made._cache = _cache_class()(function, folder, by_address)


class _Locator:
    """Gives numba's cache the folder of a function and the stamp that invalidates old entries."""

    def __init__(self, function: Any, folder: str) -> None:
        self._py_file = function.__code__.co_filename
        self.folder = folder

    def get_cache_path(self) -> str:
        return self.folder

    def get_source_stamp(self) -> str:
        return self._py_file  # the name contains a digest of the source

    def get_disambiguator(self) -> str:
        return "0"

    def ensure_cache_path(self) -> None:
        """Do nothing: the folder was checked when the cache was created."""


@cache
def _implementation() -> Any:
    """Return numba's serialiser with a digest of the code, since pickle misses flipped bits.

    Before it loads machine code numba imports all that it needs to compile, scipy included (0.45 of
    0.7 s). A function that is called by its address does without, if all that it calls is known.
    """
    from numba.core.caching import CompileResultCacheImpl
    from numba.core.serialize import dumps

    class Implementation(CompileResultCacheImpl):
        by_address: bool

        def reduce(self, cres: Any) -> Any:
            payload = dumps((_called(cres.library), super().reduce(cres)))
            return hashlib.sha256(payload).digest(), payload

        def rebuild(self, target_context: Any, payload: Any) -> Any:
            digest, content = payload
            if hashlib.sha256(content).digest() != digest:
                raise ValueError("damaged")
            called, code = pickle.loads(content)
            if not (self.by_address and _linked(called, target_context)):
                target_context.refresh()
            return super().rebuild(target_context, code)

    return Implementation


def _called(library: Any) -> list[str]:
    """The names of the functions that compiled code calls and does not contain."""
    functions = library._final_module.functions
    return [f.name for f in functions if f.is_declaration and not f.name.startswith("llvm.")]


def _linked(called: list[str], target_context: Any) -> bool:
    """Whether the addresses of functions are known; an unknown one would be called at address 0."""
    from llvmlite.binding import address_of_symbol
    from numba.core.runtime.nrt import rtsys

    rtsys.initialize(target_context)
    known = ctypes.pythonapi  # on Linux and macOS all that the process has loaded
    return all(address_of_symbol(name) or hasattr(known, name) for name in called)


@cache
def _cache_class() -> Any:
    """Return numba's cache class for a function, with our folder, without errors on failure."""
    from numba.core.caching import FunctionCache

    class Cache(FunctionCache):
        def __init__(self, function: Any, folder: Path, by_address: bool) -> None:
            locate = classmethod(lambda cls, function, file: _Locator(function, str(folder)))
            locator = type("Locator", (), {"from_function": locate})
            self._impl_class = type(
                "Located",
                (_implementation(),),
                {"_locator_classes": [locator], "by_address": by_address},
            )
            self.folder = folder
            super().__init__(function)

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            files = list(self.folder.glob(f"{self._impl.filename_base}.*"))
            try:
                if all(
                    stat.S_ISREG(file.lstat().st_mode) and _owned(file.lstat()) for file in files
                ):
                    # without the refresh of load_overload, which is for rebuild to decide
                    return self._load_overload(sig, target_context)
            except Exception:  # a damaged pickle may raise anything
                pass
            for file in files:
                with suppress(OSError):
                    file.unlink()
            return None

        def save_overload(self, sig: Any, data: Any) -> None:
            with suppress(Exception):  # full disk, missing folder, code that cannot be pickled
                super().save_overload(sig, data)

    return Cache
