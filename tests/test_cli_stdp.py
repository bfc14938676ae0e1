"""The command ``spikeloom stdp``: what it shows and writes, and that an interrupted run goes on
exactly."""

import json
import re
import signal

import pytest
import torch

from spikeloom.cli import main
from spikeloom.train import stdp

pytest.importorskip("numba")

SMALL = ["stdp", "--neurons", "16", "--epochs", "1", "--every", "500"]


@pytest.mark.slow
def test_the_command_learns_the_digits_and_shows_the_accuracy_of_the_current_assignment(
    tmp_path, capsys
) -> None:
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out), "--fields"]) == 0
    shown = capsys.readouterr()
    assert " 500/1437 images  no assignment yet" in shown.err
    assert "1437/1437 images  accuracy of the current assignment" in shown.err
    assert (
        "test accuracy" in shown.out
        and f"receptive fields: {out / 'receptive_fields.png'}" in shown.out
    )
    card = json.loads((out / "run.json").read_text())
    assert 0.4 < card["test_accuracy"]["all"] < 1 and card["rows"][-1]["images"] == 1437
    assert (out / "receptive_fields.png").stat().st_size > 5000
    assert main([*SMALL, "--out", str(out)]) == 2
    assert (
        "holds a run already (checkpoint.pt, run.json, receptive_fields.png)"
        in capsys.readouterr().err
    )


ENGINES = [["event"], ["batched", "--batch", "256"]]


@pytest.mark.parametrize("engine", ENGINES, ids=lambda words: words[0])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    engine: list[str], tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(stdp, "pictures_missing", lambda: "left out")
    command = [*SMALL, "--engine", *engine, "--quiet", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    save = stdp.StdpRun.save

    def interrupted(run: stdp.StdpRun) -> None:
        save(run)
        if len(run.rows) == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(stdp.StdpRun, "save", interrupted)
    assert main([*command, str(tmp_path / "parts")]) == 130
    assert "stopped after 5" in (text := capsys.readouterr().err) and "--resume" in text
    monkeypatch.setattr(stdp.StdpRun, "save", save)
    assert main([*command, str(tmp_path / "parts"), "--resume"]) == 0
    cards = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("whole", "parts")]
    assert (
        str(cards[0]["rows"]) == str(cards[1]["rows"])
        and cards[0]["test_accuracy"] == cards[1]["test_accuracy"]
    )
    states = [torch.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts")]
    for key in ("xe.weight", "exc.theta"):
        assert torch.equal(states[0]["model"][key], states[1]["model"][key])


def test_mistakes_on_the_command_line_are_one_line(tmp_path, capsys) -> None:
    out = str(tmp_path / "run")
    for more, text in (
        (["--rule", "powerlaw"], "did you mean 'power_law'?"),
        (["--engine", "event", "--batch", "4"], 'or write --engine "batched"'),
        (["--epochs", "0"], "epochs must be at least 1, got 0; write --epochs 1"),
        (["--neurons", "0"], "neurons must be in"),
        (["--data", "mnist"], "write --data-root DIR"),
        (["--resume"], "--resume needs a checkpoint"),
    ):
        assert main([*SMALL, "--out", out, *more]) == 2
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1, error
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_other_settings(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(stdp, "pictures_missing", lambda: "left out")
    out = str(tmp_path / "run")
    assert main([*SMALL, "--quiet", "--out", out]) == 0
    assert main([*SMALL, "--quiet", "--out", out, "--resume", "--theta-plus", "0.1"]) == 2
    assert re.search(
        r"theta_plus was 0\.5 in .* and is 0\.1 now; give --theta-plus 0\.5",
        capsys.readouterr().err,
    )
