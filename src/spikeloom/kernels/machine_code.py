"""Printed loops as machine code: numba compiles them once, and later processes load what it made without numba.

Loading numba and what its cache needs takes longer than most first calls do. So the code is kept as an object file of
this library's own, which LLVM links in a few milliseconds. What needs numba at run time is kept in memory only.
"""

import ctypes
import hashlib
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .sources import cache_folder, written

__all__ = ["machine_code"]

_DEFINED = re.compile(r"^define [^@]*@(\"[^\"]+\"|[\w.$-]+)\(", re.MULTILINE)
_CALLED = re.compile(r"(?:call|invoke) [^@\n]*@(\"[^\"]+\"|[\w.$-]+)\(")
_keep: list[Any] = []  # engines own the code that they linked


def machine_code(source: str, name: str, pointers: int, numbers: int) -> Callable[..., None]:
    """The function ``name`` of a source, which takes addresses and then whole numbers; it releases the interpreter.

    Args:
        source: Python text for numba, in which ``name`` has a signature and nothing can raise.
        name: of the function.
        pointers: how many addresses it takes.
        numbers: how many whole numbers.
    """
    given = (*[ctypes.c_void_p] * pointers, *[ctypes.c_int64] * numbers)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *given)(_address(source, name))
    result, error = ctypes.create_string_buffer(16), ctypes.create_string_buffer(16)  # numba's, both stay empty
    places = ctypes.addressof(result), ctypes.addressof(error)
    _keep.append((result, error))

    def call(*arguments: int) -> None:
        function(*places, *arguments)

    return call


def _address(source: str, name: str) -> int:
    llvm, symbol = _llvm(), f"spikeloom_{name}"
    path = cache_folder() / f"kernel_{_stamp(name, source)}.o"
    code = _kept(path)
    if code is None:
        code = _compiled(source, name, symbol)
        if code is None:
            return _in_numba(source, name)
        with suppress(OSError):  # a home that cannot be written to
            written(path, hashlib.sha256(code).digest() + code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _keep.append(engine)
    return engine.get_function_address(symbol)


def _kept(path: Path) -> bytes | None:
    """What was written before; None if there is nothing, or not all of it, which LLVM would not survive."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if hashlib.sha256(code).digest() == digest else None


@cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def _processor() -> tuple[str, str]:
    """Name and features of the one that runs this."""
    llvm = _llvm()
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


@cache
def _target() -> Any:
    llvm, (cpu, features) = _llvm(), _processor()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu, features, opt=3, reloc="pic", codemodel="jitdefault", jit=True)


def _stamp(name: str, source: str) -> str:
    """A name for the code of a function: of its text, the compiler and the processor."""
    versions = sys.version, version("numba"), version("llvmlite"), _llvm().get_process_triple()
    return hashlib.sha256("|".join((name, source, *versions, *_processor())).encode()).hexdigest()[:20]


def _compiled(source: str, name: str, symbol: str) -> bytes | None:
    """An object file that defines ``symbol``; None if the code calls what a process without numba does not have."""
    llvm, made = _llvm(), _made(source, name)
    text = made.library.get_llvm_str()
    defined = set(_DEFINED.findall(text))
    foreign = {c.strip('"') for c in _CALLED.findall(text) if c not in defined and not c.startswith("llvm.")}
    if any(c.startswith(("numba", "NRT", "Py")) or llvm.address_of_symbol(c) is None for c in foreign):
        return None
    return _target().emit_object(llvm.parse_assembly(text.replace(made.fndesc.llvm_func_name, symbol)))


def _in_numba(source: str, name: str) -> int:
    """The address of the function in this process, in which numba stays."""
    made = _made(source, name)
    return made.library.get_pointer_to_function(made.fndesc.llvm_func_name)


@cache
def _made(source: str, name: str) -> Any:
    """What numba made of the function for its one signature."""
    scope: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "<spikeloom kernel>", "exec"), scope)
    return next(iter(scope[name].overloads.values()))
