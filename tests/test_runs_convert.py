"""An interrupted conversion goes on exactly, and its files are whole or absent."""

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from training import toy

import spikeloom as snn
from spikeloom.cli import main

CONVERT = ["convert", "--model", "mlp", "--epochs", "1", "--max-steps", "2", "--quiet"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["spikeloom.cli.convert"], "pictures_missing", lambda: "left out"
    )


@pytest.mark.parametrize(
    "stop", [0, 5, 23, 45]
)  # the first batch, in the middle, the last one of an epoch, of all
def test_an_interrupted_conversion_goes_on_as_if_it_had_not_been(
    stop: int, tmp_path: Path, monkeypatch, capsys
) -> None:
    from spikeloom.train import ordinary

    words = [
        *CONVERT,
        "--epochs",
        "2",
        "--method",
        "qcfs",
        "--tune-epochs",
        "1",
        "--levels",
        "2",
        "--out",
    ]
    assert main([*words, str(tmp_path / "whole")]) == 0
    seen, entropy = [0], ordinary.cross_entropy

    def pressed(*arguments: Any) -> Any:
        if seen[0] == stop:
            signal.raise_signal(signal.SIGINT)
        seen[0] += 1
        return entropy(*arguments)

    monkeypatch.setattr(ordinary, "cross_entropy", pressed)
    assert main([*words, str(tmp_path / "parts")]) == 130
    assert "ordinary.pt holds all that is needed to go on (--resume)" in capsys.readouterr().err
    assert (
        main(
            [
                "convert",
                "--model",
                str(tmp_path / "parts" / "ordinary.pt"),
                "--out",
                str(tmp_path / "x"),
            ]
        )
        == 2
    )
    assert "training stopped after" in capsys.readouterr().err
    monkeypatch.setattr(ordinary, "cross_entropy", entropy)
    assert main([*words, str(tmp_path / "parts"), "--resume", "--epochs", "3"]) == 2
    assert "epochs was 2 in" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "parts"), "--resume"]) == 0
    reports = [
        json.loads((tmp_path / name / "report.json").read_text()) for name in ("whole", "parts")
    ]
    assert reports[0] == reports[1]
    nets = [snn.load(tmp_path / name / "converted.safetensors") for name in ("whole", "parts")]
    states = [net.state_dict() for net in nets]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("epoch", "batch", "left"), [(0, 0, ["0:20 left", "0:15 left", ""]), (1, 1, ["0:20 left", ""])]
)
def test_the_time_left_was_not_that_of_the_remaining_epochs(
    epoch: int, batch: int, left: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikeloom.train import ordinary, progress

    times = iter([100.0, 110.0, 130.0])
    clock = SimpleNamespace(perf_counter=lambda: next(times))
    for module in (ordinary, progress):
        monkeypatch.setattr(module, "time", clock)
    x, y = toy(2 * ordinary.BATCH)
    lines: list[str] = []
    folder: Any = SimpleNamespace(save=lambda path, state: None)
    settings = {"epochs": 3, "lr": 0.01}
    data = snn.data.Split(x, y, x, y, "toy", "three patterns")
    net = nn.Sequential(nn.Linear(6, 3))
    training = ordinary.OrdinaryTraining(net, data, settings, folder, tmp_path, lines.append)
    training.epoch, training.batch, training._order = epoch, batch, torch.get_rng_state()
    training.run()
    assert [line.split("  ")[0] for line in lines] == [
        f"training {number}/3" for number in range(epoch + 1, 4)
    ]
    assert ["".join(line.split("  ")[2:]) for line in lines] == left


@pytest.mark.parametrize("name", ["ordinary.pt", "converted.safetensors", "report.json"])
def test_a_conversion_that_is_killed_while_it_writes_leaves_no_half_file(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    replace = os.replace

    def killed(old: Any, new: Any) -> None:
        if Path(new).name == name:
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(os, "replace", killed)
    assert main([*CONVERT, "--out", str(tmp_path)]) == 130
    assert not (tmp_path / name).exists()
    monkeypatch.setattr(os, "replace", replace)
    again = ["--force"] if name == "ordinary.pt" else ["--resume"]
    assert main([*CONVERT, "--out", str(tmp_path), *again]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "converted.safetensors",
        "ordinary.pt",
        "report.json",
    ]


def test_a_damaged_network_of_a_conversion_is_noticed(tmp_path: Path, capsys) -> None:
    assert main([*CONVERT, "--out", str(tmp_path / "a")]) == 0
    for name in ("ordinary.pt", "converted.safetensors"):
        path = tmp_path / "a" / name
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
        for trust in ([], ["--trust"]):
            words = ["convert", "--model", str(path), *trust, "--quiet", "--out"]
            assert main([*words, str(tmp_path / "b")]) == 2
            assert "damaged" in capsys.readouterr().err
    with pytest.raises(ValueError, match="damaged or different"):
        snn.load(tmp_path / "a" / "converted.safetensors")
