"""``spikeloom doctor``: findings and cost of a saved network, with an exit code."""

from pathlib import Path

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.cli import main


def saved(path: Path, bias: float = 0.0) -> Path:
    torch.manual_seed(0)
    lif = {"beta": 0.9, "init_hidden": True}
    layers = [nn.Flatten(), nn.Linear(64, 30), snn.Leaky(**lif), nn.Linear(30, 10)]
    net = nn.Sequential(*layers, snn.Leaky(**lif))
    with torch.no_grad():
        net[1].bias.add_(bias)
    return snn.save(net, path)


def test_a_healthy_network_gets_its_cost_and_code_0(tmp_path, capsys) -> None:
    file = saved(tmp_path / "net.safetensors")
    assert main(["doctor", str(file), "--steps", "6", "--lr", "0.002"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("nothing found") and "for one sample of 6 steps" in text


def test_a_broken_network_gets_code_1_a_picture_and_a_repaired_file(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    saved(tmp_path / "net.safetensors", bias=-8.0)
    picture, mended = tmp_path / "picture.png", tmp_path / "mended.safetensors"
    words = ["doctor", str(tmp_path), "--steps", "6"]
    assert main([*words, "--picture", str(picture), "--repair", str(mended)]) == 1
    assert "1. dead layer at 2" in capsys.readouterr().out
    assert picture.stat().st_size > 1000
    assert main(["doctor", str(mended), "--steps", "6"]) == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nowhere"], "no file"),
        (["."], "a folder without a network"),
        (["net", "--steps", "0"], "write --steps 1"),
        (["net", "--lr", "0"], "lr must"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, text, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0] == "net":
        words = [str(saved(tmp_path / "net.safetensors")), *words[1:]]
    assert main(["doctor", *words]) == 2
    assert text in capsys.readouterr().err


def test_an_ordinary_network_is_refused(tmp_path, capsys) -> None:
    snn.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.safetensors")
    assert main(["doctor", str(tmp_path / "net.safetensors")]) == 2
    assert "spiking neurons" in capsys.readouterr().err
