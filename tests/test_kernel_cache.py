"""The cache of compiled kernels: whatever happens to its files, the numbers are the same and
nothing foreign runs."""

import builtins
import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from spikeloom.kernels import sources

numba = pytest.importorskip("numba", reason="the extra cpu is not installed")

SOURCE = """
import numba
@numba.njit(error_model='numpy')
def helper(k):
    return 2.0 * k + 1.0
def fill(a, n):
    for k in range(n):
        a[k] = helper(k)
"""
EXPECTED = [1.0, 3.0, 5.0, 7.0]


def numbers() -> tuple[list[float], str]:
    """What the kernel computes, and whether it was loaded or compiled, as a process finds it that
    has not used it."""
    signature = (numba.types.CPointer(numba.types.float64), numba.types.int64)
    call = sources.compiled_function.__wrapped__(SOURCE, "fill", signature)
    room = torch.zeros(4, dtype=torch.float64)
    call(room.data_ptr(), 4)
    return room.tolist(), "loaded" if sources._compiled[-1].cache_hits else "compiled"


COMPILED, LOADED = (EXPECTED, "compiled"), (EXPECTED, "loaded")


def kernels(base: Path) -> list[Path]:
    return sorted((base / "spikeloom" / "kernels").iterdir())


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a cache is that a process has filled."""
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    assert numbers() == COMPILED
    return tmp_path


def test_a_second_process_loads_what_the_first_one_compiled(base: Path) -> None:
    assert numbers() == LOADED
    assert {file.suffix for file in kernels(base)} == {".nbi", ".nbc"}
    for folder in (base / "spikeloom", base / "spikeloom" / "kernels"):
        assert folder.stat().st_mode & 0o777 == 0o700


SCRIPT = """
import sys
import torch, spikeloom as snn
x = torch.linspace(0, 2, 600).view(10, 3, 20).requires_grad_()
for neuron in (snn.Synaptic(0.9, 0.8), snn.AdEx()):  # the second one calls expf
    with snn.backend("numba"):
        spk, last = neuron.scan(x)
        (grad,) = torch.autograd.grad(spk.sum() + last.mem.sum(), x)
    print(spk.sum().item(), grad.double().sum().item())
from spikeloom.kernels import sources
print([made.cache_hits for made in sources._compiled])
print("numba.np.linalg" in sys.modules)
"""

PASSED = """
import numba, numpy
from spikeloom.kernels import sources
twice = sources.first_class("def twice(a): a[0] *= 2", "twice", (numba.float64[::1],))
numbers = numpy.ones(3)
numba.njit(lambda function, a: function(a))(twice, numbers)
print(numbers.tolist(), twice.cache_hits)
"""


def in_two_processes(script: str, cache: Path) -> list[list[str]]:
    """What a script prints before and after the cache is filled."""
    command = [sys.executable, "-W", "ignore", "-c", script]
    options: dict[str, Any] = {
        "capture_output": True,
        "text": True,
        "check": True,
        "env": {**os.environ, "SPIKELOOM_CACHE": str(cache)},
    }
    return [subprocess.run(command, **options).stdout.splitlines() for _ in range(2)]


def test_the_loops_of_a_neuron_are_loaded_by_a_second_process(tmp_path: Path) -> None:
    first, second = in_two_processes(SCRIPT, tmp_path)
    assert first[:2] == second[:2]
    loops = len(json.loads(first[2]))
    assert loops >= 4 and json.loads(first[2]) == [0] * loops
    assert json.loads(second[2]) == [1] * loops
    assert first[3] == "True"
    assert second[3] == "False", "imports what only compiling needs (0.45 s)"


def test_a_function_that_was_loaded_is_an_argument_of_compiled_ones(tmp_path: Path) -> None:
    assert in_two_processes(PASSED, tmp_path) == [["[2.0, 1.0, 1.0] 0"], ["[2.0, 1.0, 1.0] 1"]]


def test_a_call_that_cannot_be_linked_yet_makes_numba_load_all_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(sources, "_called", lambda library: ["defined_by_a_later_numba"])
    assert numbers() == COMPILED
    refreshed = []
    context = type(numba.core.registry.cpu_target.target_context)
    monkeypatch.setattr(context, "refresh", lambda self: refreshed.append(self))
    assert numbers() == LOADED
    assert len(refreshed) == 1


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 64
    file.write_bytes(content)


def garbled(file: Path) -> None:
    file.write_bytes(pickle.dumps("garbage"))


@pytest.mark.parametrize("damage", [halved, emptied, flipped, garbled])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_a_damaged_file_stopped_every_later_process(
    base: Path, damage: Callable[[Path], None], suffix: str
) -> None:
    for file in kernels(base):
        if file.suffix == suffix:
            damage(file)
    assert numbers()[0] == EXPECTED
    assert numbers() == LOADED, "the file was not made anew"


class Planted:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def planted(base: Path) -> Path:
    """Fill every file of the cache with a pickle; returns the mark that loading one of them
    leaves."""
    mark = base / "mark"
    for file in kernels(base):
        file.write_bytes(pickle.dumps(Planted(mark)))
    return mark


foreign = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can make files of another user",
)
NOBODY = 65534


@foreign
@pytest.mark.parametrize("whose", ["file", "kernels", "spikeloom"])
def test_files_of_another_user_ran_in_this_process(base: Path, whose: str) -> None:
    mark = planted(base)
    folder = base / "spikeloom" / "kernels"
    for path in {"file": kernels(base), "kernels": [folder], "spikeloom": [folder.parent]}[whose]:
        os.chown(path, NOBODY, NOBODY)
    assert numbers() == COMPILED
    assert not mark.exists()


@pytest.mark.parametrize("part", ["spikeloom", "spikeloom/kernels"])
def test_a_folder_that_others_may_write_to_was_trusted(base: Path, part: str) -> None:
    mark, before = planted(base), [file.read_bytes() for file in kernels(base)]
    (base / part).chmod(0o777)
    assert numbers() == COMPILED
    assert not mark.exists()
    assert [file.read_bytes() for file in kernels(base)] == before


@pytest.mark.parametrize("part", ["spikeloom", "spikeloom/kernels"])
def test_a_link_in_the_place_of_the_folder_was_followed(
    base: Path, tmp_path_factory: pytest.TempPathFactory, part: str
) -> None:
    mark = planted(base)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "there"
    (base / part).rename(elsewhere)
    (base / part).symlink_to(elsewhere)
    assert numbers() == COMPILED
    assert not mark.exists()


def test_a_link_in_the_place_of_a_file_was_followed(base: Path) -> None:
    mark = planted(base)
    for file in kernels(base):
        file.rename(base / file.name)
        (base / "spikeloom" / "kernels" / file.name).symlink_to(base / file.name)
    assert numbers() == COMPILED
    assert not mark.exists()


def test_a_text_beside_the_kernels_was_executed(base: Path) -> None:
    for name in {file.name.split(".")[0] for file in kernels(base)}:
        (base / "spikeloom" / "kernels" / f"{name}.py").write_text(
            f"open({str(base / 'mark')!r}, 'w')"
        )
    assert numbers() == LOADED
    assert not (base / "mark").exists()


class Full:
    """A file on a full disk."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *error: Any) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_stopped_the_computation_and_was_left_fuller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        found = opened(file, mode, *args, **options)
        return Full(found) if "w" in mode and "kernels" in str(file) else found

    opened = builtins.open
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(builtins, "open", full)
    assert numbers() == COMPILED
    assert not kernels(tmp_path)


def test_a_file_in_the_place_of_the_folder_stopped_the_computation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "blocked"))
    assert numbers() == COMPILED


def test_a_user_without_a_home_could_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("SPIKELOOM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert sources.cache_folder() is None
    assert numbers() == COMPILED


def test_what_is_written_appears_in_one_step_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "kept"
    sources.written(file, b"first")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        sources.written(file, b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert file.read_bytes() == b"first"
