"""Signals, autocast and several processes: who stops a command is told how to go on, and nothing
trains in vain."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import SETTINGS, Interruption, build, leave_out_pictures, plain, same_weights, split

import spikeloom as snn
from spikeloom import cli
from spikeloom.train import BPTT, Interrupted
from spikeloom.train.interrupt import StopRequest, terminable
from spikeloom.train.loop import Trainer

fit_module = sys.modules["spikeloom.train.fit"]
SMALL = [
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


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["parsers", "as_options"])
def test_a_signal_outside_of_the_command_is_no_traceback(
    place: str, number: int, monkeypatch, capsys
) -> None:
    """While options are parsed, and in the line that says farewell."""
    found = getattr(cli, place)

    def pressed(*arguments: Any) -> Any:
        signal.raise_signal(number)
        return found(*arguments)

    monkeypatch.setattr(cli, place, pressed)
    assert cli.main(["train", "--epochs", "0"]) == 130
    assert capsys.readouterr().err == "spikeloom: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_command_that_is_terminated_can_be_resumed(tmp_path: Path, monkeypatch, capsys) -> None:
    learn = BPTT.learn

    def terminated(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return learn(*arguments)

    monkeypatch.setattr(BPTT, "learn", terminated)
    assert cli.main([*SMALL, "--out", str(tmp_path)]) == 130
    assert re.search(
        r"stopped after 0 of 1 epochs and 1 of 3 batches; .*\(--resume\)\n$",
        capsys.readouterr().err,
    )
    monkeypatch.setattr(BPTT, "learn", learn)
    assert cli.main([*SMALL, "--out", str(tmp_path), "--resume"]) == 0


def test_a_signal_after_a_finished_training_leaves_its_checkpoint_whole(tmp_path, monkeypatch):
    """While the last evaluation of a resumed run, before the next seed."""
    options: dict[str, Any] = {**SETTINGS, "out": tmp_path}
    first = snn.fit(build, split(), **options)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    stop_if = Trainer._stop_if

    def pressed(trainer: Any, stop: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        stop_if(trainer, stop)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_stop_if", pressed)
        with pytest.raises(Interrupted, match="stopped after 3 of 3 epochs"):
            snn.fit(build, split(), **options, resume=True)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    again = snn.fit(build, split(), **options, resume=True)
    assert again.history == first.history and same_weights(again.net, first.net)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_gets_a_signal_ends_with_one_line_and_leaves_no_lock(
    number: int, tmp_path: Path
) -> None:
    words = [
        "train",
        "--hidden",
        "8",
        "--steps",
        "2",
        "--batch-size",
        "512",
        "--epochs",
        "100000",
        "--out",
        str(tmp_path),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "spikeloom", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "epoch " not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == 130 and "Traceback" not in rest
    assert "checkpoint.pt holds all that is needed to go on (--resume)" in rest
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_handler_of_sigterm_that_the_caller_has_is_left_alone() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with terminable(), StopRequest() as stop:
            signal.raise_signal(signal.SIGTERM)
            assert not stop.made
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_forked_worker_is_ended_by_sigterm() -> None:
    """A child inherits the handlers, and must not take the signal for a request to its parent."""
    for block in (terminable(), StopRequest()):
        with block:
            child = os.fork()
            if not child:
                signal.raise_signal(signal.SIGTERM)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_a_second_signal_of_another_kind_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM if hasattr(signal, "SIGTERM") else signal.SIGINT)
        assert stop.made
        signal.raise_signal(signal.SIGINT)
        pytest.fail("still running")


def test_a_signal_that_a_finaliser_loses_still_stops_the_run(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    """Python ignores what is raised while it calls a finaliser: the command ran on to its end."""

    class Finalised:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    probe = fit_module.probe

    def probed(job: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda error: None)
            Finalised()
        return probe(job)

    monkeypatch.setattr(fit_module, "probe", probed)
    assert cli.main([*SMALL, "--out", str(tmp_path)]) == 130
    assert "stopped after 0 of 1 epochs; " in capsys.readouterr().err
    monkeypatch.setattr(fit_module, "probe", probe)
    assert cli.main([*SMALL, "--out", str(tmp_path), "--resume"]) == 0


# -- autocast --------------------------------------------------------------------------------------


def taught(**more: Any) -> Any:
    return snn.fit(plain, split(), **{**SETTINGS, "epochs": 8}, lr=0.05, **more)


def test_training_under_autocast_learns() -> None:
    """Autocast kept the casts of the first weights: the loss never moved, and nothing was said."""
    with torch.autocast("cpu", torch.bfloat16):
        result = taught()
        assert torch.is_autocast_cache_enabled(), "the caller's setting is gone"
    losses = [row["train_loss"] for row in result.history]
    assert len(set(losses)) == len(losses) and losses[-1] < losses[0] / 1.5
    whole = [row["train_loss"] for row in taught().history]
    assert losses[-1] == pytest.approx(whole[-1], rel=0.2)


@pytest.mark.parametrize("rule", ["bptt", "tbptt", "eprop"])
def test_every_rule_computes_under_autocast_with_the_weights_of_now(rule: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        one = taught(rule=rule)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        other = taught(rule=rule)
    assert one.history == other.history and same_weights(one.net, other.net)


def test_a_network_that_was_run_before_training_does_not_keep_its_old_casts() -> None:
    net, x = plain(), split().x_test
    with torch.autocast("cpu", torch.bfloat16):
        snn.run(net, x, 5)  # autocast keeps the weights of now
        snn.fit(net, split(), **SETTINGS, lr=0.05)
        inside = snn.run(net, x, 5)[1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(inside, snn.run(net, x, 5)[1])


def test_a_run_is_not_resumed_under_another_autocast(tmp_path: Path) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        whole = snn.fit(build, split(), **SETTINGS, loss=Interruption(None))
        with pytest.raises(Interrupted):
            snn.fit(build, split(), **SETTINGS, loss=Interruption(4), out=tmp_path)
    with pytest.raises(ValueError, match=r"autocast was 'bfloat16' in .* and is None now"):
        snn.fit(build, split(), **SETTINGS, loss=Interruption(None), out=tmp_path, resume=True)
    with torch.autocast("cpu", torch.bfloat16):
        resumed = snn.fit(
            build, split(), **SETTINGS, loss=Interruption(None), out=tmp_path, resume=True
        )
    assert resumed.history == whole.history and same_weights(resumed.net, whole.net)


def test_the_other_training_loops_compute_under_autocast_with_the_weights_of_now() -> None:
    x = torch.rand(64, 2)
    y = (x[:, 0] > x[:, 1]).long()
    ann = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    start, losses = plain().state_dict(), []
    for cached in (True, False):
        seen: list[float] = []
        each = lambda epoch, loss, seen=seen: seen.append(loss)  # noqa: E731
        loop = nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.8, init_hidden=True, output=True))
        loop.load_state_dict(start)
        batches = [(split().x_train, split().y_train)] * 6
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
            generator = torch.Generator().manual_seed(0)
            snn.conversion.fine_tune(ann, (x, y), epochs=4, generator=generator, progress=each)
            loss = snn.functional.ce_count_loss()
            sgd = torch.optim.SGD(loop.parameters(), 0.1)
            seen.append(
                snn.backprop.BPTT(loop, batches, sgd, loss, num_steps=5, time_var=False).item()
            )
        losses.append(seen)
    assert losses[0] == losses[1]


# -- several processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["stdp", "convert"])
def test_a_command_that_knows_no_processes_is_refused_under_torchrun(
    command: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert cli.main([command, "--out", str(tmp_path)]) == 2
    assert "works in one process, got 2 processes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_process_of_torchrun_is_an_ordinary_training(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    assert len(snn.fit(build, split(), **SETTINGS).history) == 3


def test_a_foreign_world_size_is_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert "RANK" not in os.environ
    assert len(snn.fit(build, split(), **SETTINGS).history) == 3
