"""The command ``spikeloom convert``: what it shows and writes, saved networks, and mistakes of one line."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from spikeloom.cli import main
from spikeloom.data import digits

pytest.importorskip("sklearn")

SMALL = ["convert", "--epochs", "3", "--max-steps", "4"]


@pytest.mark.slow
def test_the_command_trains_converts_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "training 3/3  loss" in shown.err and "converting with 500 samples" in shown.err
    assert "360 samples; ordinary network" in shown.out and "early exit" in shown.out
    assert f"network: {out / 'converted.pt'}" in shown.out
    report = json.loads((out / "report.json").read_text())
    assert len(report["accuracy"]) == 4 and report["accuracy"][-1] > 0.7
    assert (out / "report.png").stat().st_size > 10_000
    net = torch.load(out / "converted.pt", weights_only=False)
    data = digits()
    right = (net(data.x_test, 4).argmax(1) == data.y_test).float().mean()
    assert float(right) == pytest.approx(report["accuracy"][-1])
    assert main([*SMALL, "--out", str(out)]) == 2
    assert "holds a conversion already (ordinary.pt, converted.pt, report.json, report.png)" in capsys.readouterr().err
    command = [
        "convert",
        "--model",
        str(out / "ordinary.pt"),
        "--method",
        "qcfs",
        "--levels",
        "2",
        "--tune-epochs",
        "1",
    ]
    assert main([*command, "--max-steps", "2", "--out", str(tmp_path / "tuned")]) == 0
    assert "tuning 1/1  loss" in capsys.readouterr().err


def test_a_saved_network_is_converted_quietly_with_every_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, 10))
    torch.save(net, tmp_path / "mine.pt")
    command = ["convert", "--model", str(tmp_path / "mine.pt"), "--flat", "--quiet", "--out", str(tmp_path / "out")]
    command += ["--method", "mmse", "--steps", "4", "--max-steps", "3", "--calibrate", "bias", "--input", "poisson"]
    command += ["--readout", "spikes", "--reset", "zero", "--initial", "0", "--per-channel", "--samples", "50"]
    assert main(command) == 0
    assert not capsys.readouterr().err
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    assert settings["method"] == "mmse" and settings["num_steps"] == 4 and settings["calibrate"] == "bias"
    assert settings["initial_mem"] == 0 and settings["per_channel"] and settings["readout"] == "spikes"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere.pt"], "--model nowhere.pt is neither a file nor one of mlp, conv, diehl2015"),
        (["--model", "diehl2015"], "is for images of 1 x 28 x 28 in 10 classes"),
        (["--model", "weights.pt"], "holds a OrderedDict, not a network; save the whole one: torch.save(net, path)"),
        (["--model", "net.pt"], "Sigmoid '1' cannot be converted"),
        (["--data", "mnist"], "write --data-root DIR"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net = nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(64, 10))
    torch.save(net, "net.pt")
    torch.save(net.state_dict(), "weights.pt")
    assert main(["convert", *words, "--quiet", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
