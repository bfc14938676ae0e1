"""The folder of a run: nothing is lost, nothing is left, one process writes at a time, and it must
be writable."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training import SETTINGS, Interruption, build, leave_out_pictures, plain, split

import spikeloom as snn
from spikeloom import files
from spikeloom.cli import main
from spikeloom.train import Interrupted, checkpoint, stdp
from spikeloom.train.folder import RunFolder

TRAIN = [
    "train",
    "--hidden",
    "8",
    "--steps",
    "2",
    "--epochs",
    "1",
    "--batch-size",
    "512",
    "--quiet",
]
CONVERT = ["convert", "--model", "mlp", "--epochs", "1", "--max-steps", "2", "--quiet"]
STDP = ["stdp", "--neurons", "16", "--epochs", "1", "--every", "500", "--quiet"]
COMMANDS = {"train": TRAIN, "stdp": STDP, "convert": CONVERT}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)
    monkeypatch.setattr(stdp, "pictures_missing", lambda: "left out")
    monkeypatch.setattr(
        sys.modules["spikeloom.cli.convert"], "pictures_missing", lambda: "left out"
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- force -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("train", ["--beta", "5"]),
        ("train", ["--steps", "0"]),
        ("train", ["--hidden", "0"]),
        ("train", ["--lr", "-1"]),
        ("train", ["--neuron", "if", "--beta", "0.5"]),
        ("convert", ["--percentile", "500"]),
        ("convert", ["--tolerance", "-1"]),
        ("convert", ["--warm-up", "1"]),
        ("convert", ["--epochs", "0"]),
        ("convert", ["--model", "diehl2015"]),
        ("convert", ["--samples", "0"]),
        ("stdp", ["--theta-plus", "nan"]),
        ("stdp", ["--every", "0"]),
    ],
)
def test_force_with_a_wrong_option_does_not_empty_the_folder(
    command: str, wrong: list[str], tmp_path: Path
) -> None:
    for name in (
        "checkpoint.pt",
        "run.json",
        "ordinary.pt",
        "converted.safetensors",
        "report.json",
    ):
        (tmp_path / name).write_text("old")
    before = content(tmp_path)
    assert main([*COMMANDS[command], *wrong, "--out", str(tmp_path), "--force"]) == 2
    assert content(tmp_path) == before


def test_force_keeps_the_old_run_until_the_first_checkpoint_of_the_new_one(tmp_path: Path) -> None:
    snn.fit(plain, split(), **SETTINGS, seeds=2, out=tmp_path)
    before = content(tmp_path)
    data = split()
    data.x_train.fill_(0.0)

    def broken(spk: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (spk.sum() * float("nan")) if torch.is_grad_enabled() else spk.sum()

    with pytest.raises(RuntimeError, match="the loss must stay finite"):
        snn.fit(plain, data, **SETTINGS, loss=broken, out=tmp_path, force=True)
    assert content(tmp_path) == before
    with pytest.raises(Interrupted):
        snn.fit(build, split(), **SETTINGS, loss=Interruption(0), out=tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"], (
        "files of two runs are in one folder"
    )


def test_a_full_disk_under_force_leaves_the_old_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snn.fit(plain, split(), **SETTINGS, out=tmp_path)
    before = content(tmp_path)

    def full(stream: Any, data: Any) -> int:
        stream.error = OSError(errno.ENOSPC, "No space left on device")
        raise stream.error

    monkeypatch.setattr(checkpoint._Stream, "write", full)
    with pytest.raises(
        OSError, match=r"checkpoint\.pt cannot be written: no space left on its disk"
    ):
        snn.fit(plain, split(), **SETTINGS, out=tmp_path, force=True)
    assert content(tmp_path) == before


# -- folders that cannot be written ----------------------------------------------------------------


def test_an_impossible_folder_is_refused_before_the_first_epoch(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    loss = Interruption(None)
    for out, text in (
        (tmp_path / "file" / "run", "a part of its path is a file"),
        (tmp_path / ("x" * 300), "too long"),
    ):
        with pytest.raises(OSError, match=rf"cannot be written: .*{text}"):
            snn.fit(build, split(), **SETTINGS, loss=loss, out=out)
    assert loss.seen == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_takes_no_file_is_refused_before_work(
    command: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    write = Path.write_bytes

    def refusing(path: Path, data: bytes) -> int:
        if path.name.startswith(".probe"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refusing)
    assert main([*COMMANDS[command], "--out", str(tmp_path / "a" / "b")]) == 2
    assert (
        f"{tmp_path / 'a' / 'b'} cannot be written: its file system is read-only; choose"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir()), "folders are left behind"


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        snn.fit(build, split(), **{**SETTINGS, "num_steps": 0}, out=tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())


# -- two processes ---------------------------------------------------------------------------------


def test_two_processes_in_one_folder_are_refused(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from spikeloom.files import reserved\n"
        "with reserved(pathlib.Path('run')):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, **pipes) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        for more in ({}, {"force": True}):
            with pytest.raises(
                FileExistsError,
                match=rf"run is in use by process {other.pid}, .*; wait for its end",
            ):
                snn.fit(build, split(), **SETTINGS, out=tmp_path / "run", **more)
        os.kill(other.pid, signal.SIGKILL)
    assert (tmp_path / "run" / ".lock").exists()
    snn.fit(build, split(), **SETTINGS, out=tmp_path / "run")  # a lock of a dead process is no lock
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint.pt",
        "net.safetensors",
        "run.json",
    ]


def test_two_threads_in_one_folder_are_refused(tmp_path: Path) -> None:
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with files.reserved(tmp_path):
            inside.set()
            done.wait(1500)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(1500)
    with pytest.raises(FileExistsError, match=f"in use by process {os.getpid()}"):
        snn.fit(build, split(), **SETTINGS, out=tmp_path)
    done.set()
    thread.join()
    assert not list(tmp_path.iterdir())


def test_a_run_that_another_process_finished_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch
) -> None:
    locked = files.locked

    def late(path: Path, text: str) -> Any:
        (tmp_path / "run.json").write_text("of the other one")
        return locked(path, text)

    monkeypatch.setattr(files, "locked", late)
    with pytest.raises(FileExistsError, match=r"holds a run already \(run\.json\)"):
        snn.fit(build, split(), **SETTINGS, out=tmp_path)


def test_on_a_file_system_without_locks_a_living_process_is_believed(
    tmp_path: Path, monkeypatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def without(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", without)
    folder = tmp_path / "run"
    with files.reserved(folder):
        assert (folder / files.LOCK).read_text().split()[0] == str(os.getpid())
    folder.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = os.uname().nodename
    for pid, free in ((os.getppid(), False), (gone.pid, True)):
        (folder / files.LOCK).write_text(f"{pid} {host}\n")
        if free:
            with files.reserved(folder):
                pass
        else:
            with (
                pytest.raises(FileExistsError, match=f"in use by process {pid}"),
                files.reserved(folder),
            ):
                pass


def test_a_lock_that_is_waited_for_is_had_in_the_end(tmp_path: Path) -> None:
    order: list[str] = []
    inside = threading.Event()

    def hold() -> None:
        with files.locked(tmp_path / "lock", "held by {}"):
            inside.set()
            time.sleep(0)
            order.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(1500)
    with files.locked(tmp_path / "lock", "held by {}", wait=True):
        order.append("second")
    thread.join()
    assert order == ["first", "second"] and not list(tmp_path.iterdir())


# -- temporaries -----------------------------------------------------------------------------------


def test_temporaries_of_killed_processes_are_swept(tmp_path: Path) -> None:
    for name in (
        ".checkpoint-1852.pt",
        ".checkpoint-seed3-7.pt",
        ".curves-4053.png",
        ".run-1.json",
        ".probe-9.tmp",
    ):
        (tmp_path / name).write_bytes(b"half")
    kept = [".mine-3.png", ".checkpoint.pt", "checkpoint-5.txt"]
    for name in kept:
        (tmp_path / name).write_bytes(b"mine")
    snn.fit(plain, split(), **SETTINGS, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*kept, "checkpoint.pt", "net.safetensors", "run.json"]
    )


def test_the_folders_of_all_commands_know_their_temporaries(tmp_path: Path) -> None:
    from spikeloom.train.convert import ConversionFolder
    from spikeloom.train.stdp import StdpFolder

    for folder in (RunFolder(tmp_path, 0), StdpFolder(tmp_path, 0), ConversionFolder(tmp_path)):
        for pattern in folder.names():
            name = Path(pattern.replace("*", "3"))
            temporary = tmp_path / f".{name.stem}-77{name.suffix}"
            temporary.write_bytes(b"half")
            with folder.reserved(False, False):
                assert not temporary.exists()
