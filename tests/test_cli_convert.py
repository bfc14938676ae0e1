"""The command ``spikeloom convert``: what it shows and writes, saved networks, and mistakes of one
line."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.cli import main
from spikeloom.data import digits

SMALL = ["convert", "--epochs", "3", "--max-steps", "4"]


@pytest.mark.slow
def test_the_command_trains_converts_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main([*SMALL, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "training 3/3  loss" in shown.err and "converting with 500 samples" in shown.err
    assert "360 samples; ordinary network" in shown.out and "early exit" in shown.out
    assert f"network: {out / 'converted.safetensors'}" in shown.out
    report = json.loads((out / "report.json").read_text())
    assert len(report["accuracy"]) == 4 and report["accuracy"][-1] > 0.7
    assert (out / "report.png").stat().st_size > 10_000
    net = snn.load(out / "converted.safetensors")
    data = digits()
    right = (net(data.x_test, 4).argmax(1) == data.y_test).float().mean()
    assert float(right) == pytest.approx(report["accuracy"][-1])
    assert main([*SMALL, "--out", str(out)]) == 2
    assert (
        "holds a conversion already (ordinary.pt, converted.safetensors, report.json, report.png)"
        in capsys.readouterr().err
    )
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
    mine = snn.save(net, tmp_path / "mine.safetensors")
    command = ["convert", "--model", str(mine), "--flat", "--quiet", "--out", str(tmp_path / "out")]
    command += [
        "--method",
        "mmse",
        "--steps",
        "4",
        "--max-steps",
        "3",
        "--calibrate",
        "bias",
        "--input",
        "poisson",
    ]
    command += [
        "--readout",
        "spikes",
        "--reset",
        "zero",
        "--initial",
        "0",
        "--per-channel",
        "--samples",
        "50",
    ]
    assert main(command) == 0
    assert not capsys.readouterr().err
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    assert (
        settings["method"] == "mmse"
        and settings["num_steps"] == 4
        and settings["calibrate"] == "bias"
    )
    assert (
        settings["initial_mem"] == 0 and settings["per_channel"] and settings["readout"] == "spikes"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--model", "nowhere.pt"],
            "--model nowhere.pt is neither a file nor one of mlp, conv, diehl2015",
        ),
        (["--model", "diehl2015"], "is for images of 1 x 28 x 28 in 10 classes"),
        (
            ["--model", "weights.pt"],
            "holds weights only, not a network; name the network whose weights they are, --model",
        ),
        (
            ["--model", "net.pt"],
            "if you trust the file write --trust, or save the network without pickle: "
            "snn.save(net,",
        ),
        (["--model", "net.pt", "--trust"], "Sigmoid '1' cannot be converted"),
        (["--model", "empty.pt"], "empty.pt cannot be read as a network or its weights: "),
        (["--model", "text.pt"], "text.pt cannot be read as a network or its weights: "),
        (["--model", "text.pt", "--trust"], "text.pt cannot be read as a network or its weights: "),
        (["--model", "cut.pt", "--trust"], "cut.pt is damaged or truncated"),
        (
            ["--weights", "weights.pt"],
            "weights.pt holds the weights of another network: Error(s) in loading state_dict",
        ),
        (["--weights", "nowhere.pt"], "--weights nowhere.pt is no file"),
        (
            ["--model", "net.pt", "--weights", "weights.pt"],
            "are for a named network, got --model net.pt; write --model",
        ),
        (["--trust"], "--trust is about a file, got --model conv; leave it out"),
        (
            ["--resume"],
            "--resume needs a checkpoint, and there is no out/ordinary.pt; leave it out to begin "
            "a conversion",
        ),
        (["--resume", "--force"], "--resume goes on with a run and --force replaces it, got both"),
        (
            ["--resume", "--model", "net.pt"],
            "whose conversion always starts at the beginning; write --force",
        ),
        (["--epochs", "0"], "epochs must be at least 1, got 0; write --epochs 1"),
        (["--percentile", "500"], "percentile must be in (0, 100], got 500"),
        (["--tolerance", "2"], "tolerance must be in [0, 1], got 2"),
        (["--max-steps", "0"], "max_steps must be at least 1, got 0; write --max-steps 1"),
        (["--tune-epochs", "0"], "tune_epochs must be at least 1, got 0; write --tune-epochs 1"),
        (["--data", "mnist"], "write --data-root DIR"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    net = nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(64, 10))
    torch.save(net, "net.pt")
    torch.save(net.state_dict(), "weights.pt")
    Path("empty.pt").write_bytes(b"")
    Path("text.pt").write_text("a note")
    Path("cut.pt").write_bytes(Path("net.pt").read_bytes()[:-100])
    before = sorted(Path().iterdir())
    assert main(["convert", *words, "--quiet", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1, error
    assert sorted(Path().iterdir()) == before, "a mistake leaves files behind"
