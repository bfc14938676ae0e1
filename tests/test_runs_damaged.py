"""Checkpoints that are damaged, incomplete or impossible are refused by name, before anything is
restored."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import SETTINGS, Interruption, build, leave_out_pictures, same_weights, split

import spikeloom as snn
from spikeloom.train import Interrupted, checkpoint


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The checkpoint of a run that was stopped in its second epoch."""
    with pytest.raises(Interrupted):
        snn.fit(build, split(), **SETTINGS, loss=Interruption(4), out=tmp_path)
    return tmp_path / "checkpoint.pt"


def resumed(path: Path) -> Any:
    return snn.fit(
        build, split(), **SETTINGS, loss=Interruption(None), out=path.parent, resume=True
    )


@pytest.mark.parametrize("entry", ["model", "optimizer", "random"])
def test_a_flipped_bit_of_a_checkpoint_is_not_resumed_in_silence(entry: str, stopped: Path) -> None:
    raw, state = bytearray(stopped.read_bytes()), torch.load(stopped)
    tensor = {
        "model": state["model"]["0.weight"],
        "optimizer": state["optimizer"]["state"][0]["exp_avg"],
        "random": state["random"]["now"]["cpu"],
    }[entry]
    place = raw.find(tensor.numpy().tobytes())
    assert place > 0
    raw[place + 3] ^= 64
    stopped.write_bytes(raw)
    with pytest.raises(
        ValueError, match=r"checkpoint\.pt is damaged: its bytes do not have the checksum"
    ):
        resumed(stopped)


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"weight": torch.arange(3.0), "epoch": 1})
    whole = path.read_bytes()
    for place in range(len(whole)):
        for damaged in (
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
            whole[:place],
        ):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"a\.pt is damaged: "):
                checkpoint.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=r"a\.pt is damaged: "):
        checkpoint.load(path)


def test_a_checkpoint_is_still_a_file_that_torch_loads(stopped: Path) -> None:
    assert torch.load(stopped, weights_only=True)["epoch"] == checkpoint.load(stopped)["epoch"] == 1
    assert (
        torch.load(stopped, weights_only=True, mmap=True)["model"].keys()
        == build().state_dict().keys()
    )


def test_an_old_or_foreign_file_is_no_checkpoint(stopped: Path) -> None:
    for content in ({"format": 1, "epoch": 1}, nn.Linear(1, 1).state_dict()):
        torch.save(content, stopped)
        with pytest.raises(ValueError, match=r"checksum is missing.*begin again with force=True"):
            resumed(stopped)
    for raw in (b"", b"a note", b"PK\x03\x04"):
        stopped.write_bytes(raw)
        with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged"):
            resumed(stopped)


class Evil:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_with_a_planted_object_is_refused_and_not_run(stopped: Path) -> None:
    checkpoint.save(stopped, {"model": Evil(stopped.parent / "made")})
    with pytest.raises(ValueError, match="must hold tensors and plain values only") as error:
        resumed(stopped)
    assert not (stopped.parent / "made").exists() and "weights_only" not in str(error.value)


Change = Callable[[dict[str, Any]], Any]
IMPOSSIBLE: dict[str, tuple[Change, str]] = {
    "batch 999": (lambda s: s.update(batch=999), "batch must be from 0 to 3, got 999"),
    "epoch -1": (lambda s: s.update(epoch=-1), "epoch must be at least 0, got -1"),
    "epoch 5 of 3": (
        lambda s: s.update(epoch=5, history=[row(i) for i in range(1, 6)]),
        "epoch must be from 0 to 3",
    ),
    "epoch without history": (
        lambda s: s.update(epoch=2),
        "epoch is 2, and the history has 1 rows",
    ),
    "epoch of another type": (lambda s: s.update(epoch=1.0), "epoch cannot be of type float"),
    "threads": (lambda s: s.update(threads=0), "threads must be at least 1, got 0"),
    "accuracy 2": (
        lambda s: s["history"][0].update(test_accuracy=2.0),
        "test_accuracy of epoch 1 must be from 0 to 1",
    ),
    "row of another epoch": (
        lambda s: s["history"][0].update(epoch=2),
        "row 1 of the history is not that of epoch 1",
    ),
    "more hits than samples": (
        lambda s: s["tally"].update(hits=10**6),
        r"tally\.hits must be from 0 to",
    ),
    "negative time": (
        lambda s: s["seconds"].update(wall=-1.0),
        r"seconds\.wall must be at least 0",
    ),
    "infinite time": (
        lambda s: s["seconds"].update(cpu=float("inf")),
        r"seconds\.cpu must be a finite number, got inf",
    ),
    "no generator": (lambda s: s["random"]["now"].pop("cpu"), r"random\.now\.cpu is missing"),
    "no order": (lambda s: s["random"]["now"].pop("order"), r"random\.now\.order is missing"),
    "zeros as generator": (
        lambda s: s["random"]["epoch"].update(cpu=torch.zeros(7, dtype=torch.uint8)),
        r"random\.epoch\.cpu is no state of a random number generator",
    ),
    "no weight": (lambda s: s["model"].pop("0.weight"), r"model\.0\.weight is missing"),
    "foreign weight": (
        lambda s: s["model"].update(x=torch.ones(1)),
        r"model\.x is no weight of the network",
    ),
    "shape": (
        lambda s: s["model"].update({"0.bias": torch.ones(5)}),
        r"model\.0\.bias must be a tensor \[12\]",
    ),
    "NaN": (lambda s: s["model"]["0.weight"].fill_(float("nan")), r"model\.0\.weight holds NaN"),
    "no groups": (
        lambda s: s["optimizer"].update(param_groups=[]),
        r"optimizer has groups of \[\] parameters",
    ),
    "learning rate": (
        lambda s: s["optimizer"]["param_groups"][0].update(lr=float("nan")),
        r"optimizer\.lr must be a finite number, got nan",
    ),
}


def row(epoch: int) -> dict[str, float]:
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "spike_rate")
    return {"epoch": epoch, **dict.fromkeys(names, 0.5)}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_an_impossible_number_in_a_checkpoint_is_named(case: str, stopped: Path) -> None:
    change, text = IMPOSSIBLE[case]
    state = checkpoint.load(stopped)
    change(state)
    checkpoint.save(stopped, state)
    with pytest.raises(ValueError, match=text) as error:
        resumed(stopped)
    assert str(stopped) in str(error.value) and "force=True" in str(error.value)


def test_a_missing_key_of_a_checkpoint_is_named(stopped: Path) -> None:
    state = checkpoint.load(stopped)
    for name in state:
        if name != "format":
            checkpoint.save(stopped, {key: value for key, value in state.items() if key != name})
            with pytest.raises(
                ValueError,
                match=rf"checkpoint\.pt is no checkpoint to go on from: {name} is missing",
            ):
                resumed(stopped)


def test_a_refused_checkpoint_leaves_network_and_generators_as_they_were(stopped: Path) -> None:
    net = build()
    before, random = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    state = checkpoint.load(stopped)
    state["optimizer"]["param_groups"] = []
    checkpoint.save(stopped, state)
    with pytest.raises(ValueError, match="optimizer has groups"):
        snn.fit(net, split(), **SETTINGS, loss=Interruption(None), out=stopped.parent, resume=True)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_named_with_path_and_remedy(number: int, stopped: Path, monkeypatch) -> None:
    before = stopped.read_bytes()
    write = checkpoint._Stream.write

    def failing(stream: Any, data: Any) -> int:
        stream.error = OSError(number, os.strerror(number))
        raise stream.error

    monkeypatch.setattr(checkpoint._Stream, "write", failing)
    with pytest.raises(
        OSError, match=r"checkpoint\.pt cannot be written: .*; (free some space|choose another)"
    ) as error:
        resumed(stopped)
    assert error.value.errno == number
    assert stopped.read_bytes() == before, "the old checkpoint is lost"
    assert [path.name for path in stopped.parent.iterdir()] == ["checkpoint.pt"], (
        "temporaries are left"
    )
    monkeypatch.setattr(checkpoint._Stream, "write", write)
    assert len(resumed(stopped).history) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of file sizes")
def test_a_file_that_may_not_grow_is_named_with_its_path(tmp_path: Path) -> None:
    script = (
        "import resource, signal, pathlib, torch\n"
        "from spikeloom.train import checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "checkpoint.save(pathlib.Path('a.pt'), {'x': torch.zeros(10000)})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert "OSError: a.pt cannot be written: File too large" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batch", range(9))
@pytest.mark.parametrize("shown", [True, False])
def test_ctrl_c_in_any_batch_of_an_epoch_can_be_resumed(
    batch: int, shown: bool, tmp_path: Path, capsys
) -> None:
    """The last batch of an epoch ended in a division by zero where progress was shown."""
    arguments = {**SETTINGS, "progress": shown, "epochs": 3}
    with pytest.raises(Interrupted):
        snn.fit(build, split(), **arguments, loss=Interruption(batch), out=tmp_path)
    result = snn.fit(
        build, split(), **arguments, loss=Interruption(None), out=tmp_path, resume=True
    )
    assert len(result.history) == 3 and ("epoch 3/3" in capsys.readouterr().err) == shown


def test_sigterm_stops_after_the_batch_as_ctrl_c_does(tmp_path: Path) -> None:
    whole = snn.fit(build, split(), **SETTINGS, loss=Interruption(None))
    with pytest.raises(Interrupted, match="stopped after 1 of 3 epochs and 2 of 3 batches"):
        snn.fit(build, split(), **SETTINGS, loss=Interruption(4, signal.SIGTERM), out=tmp_path)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert same_weights(resumed(tmp_path / "checkpoint.pt").net, whole.net)
