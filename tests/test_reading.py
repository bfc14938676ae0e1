"""Ordinary networks that ``spikeloom convert`` reads: nothing is unpickled unless the user trusts the file."""

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import spikeloom as snn
from spikeloom.cli import main

pytest.importorskip("sklearn")


class Evil:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("option", ["--model", "--weights"])
def test_convert_does_not_run_what_a_planted_pickle_names(option: str, tmp_path: Path, monkeypatch, capsys) -> None:
    made, planted = tmp_path / "made", tmp_path / "planted.pt"
    torch.save(Evil(made), planted)
    assert main(["convert", option, str(planted), "--out", str(tmp_path / "out")]) == 2
    assert "unpickling them runs whatever code they name; if you trust" in capsys.readouterr().err
    assert not made.exists() and not (tmp_path / "out").exists()
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["convert", "--help"]) == 0
    assert "--trust" in (shown := capsys.readouterr().out) and "that runs whatever code the file names" in shown


def test_an_exported_program_is_refused_in_words(tmp_path: Path, capsys) -> None:
    """Its loader falls back to pickle, and the conversion cannot read its operations."""
    path = tmp_path / "a.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/archive_format", "pt2")
    assert main(["convert", "--model", str(path), "--trust", "--out", str(tmp_path / "out")]) == 2
    assert "is an exported program (.pt2)" in capsys.readouterr().err


def test_convert_reads_weights_of_a_named_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["spikeloom.cli.convert"], "pictures_missing", lambda: "left out")
    from spikeloom.train.convert import ORDINARY

    net = ORDINARY["mlp"]([1, 8, 8], 10)
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    snn.save(net.state_dict(), tmp_path / "weights.safetensors")
    snn.save(net, tmp_path / "net.safetensors")
    torch.save(net, tmp_path / "whole.pt")
    reports = []
    for number, words in enumerate(
        (
            ["--model", "mlp", "--weights", str(tmp_path / "weights.pt")],
            ["--model", "mlp", "--weights", str(tmp_path / "weights.safetensors")],
            ["--model", str(tmp_path / "net.safetensors")],
            ["--model", str(tmp_path / "whole.pt"), "--trust"],
        )
    ):
        out = tmp_path / str(number)
        assert main(["convert", *words, "--max-steps", "1", "--samples", "20", "--quiet", "--out", str(out)]) == 0
        reports.append(json.loads((out / "report.json").read_text()))
    assert all(report == reports[0] for report in reports)
