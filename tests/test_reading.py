"""Ordinary networks that ``spikeloom convert`` reads: nothing is unpickled unless the user trusts
the file."""

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.cli import main
from spikeloom.train.convert import ORDINARY
from spikeloom.train.reading import network


class Evil:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("option", ["--model", "--weights"])
def test_convert_does_not_run_what_a_planted_pickle_names(
    option: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    made, planted = tmp_path / "made", tmp_path / "planted.pt"
    torch.save(Evil(made), planted)
    assert main(["convert", option, str(planted), "--out", str(tmp_path / "out")]) == 2
    assert "unpickling them runs whatever code they name; if you trust" in capsys.readouterr().err
    assert not made.exists() and not (tmp_path / "out").exists()
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["convert", "--help"]) == 0
    assert (
        "--trust" in (shown := capsys.readouterr().out)
        and "that runs whatever code the file names" in shown
    )


class Residual(nn.Module):
    """A sum, a concatenation, a view, and functions in the place of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding="same", groups=2),
        )
        self.norm, self.last = nn.BatchNorm2d(4), nn.Linear(128, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x)) + x
        x = torch.cat([nn.functional.avg_pool2d(x, 2), nn.functional.max_pool2d(x, 2)], 1)
        return self.last(nn.functional.dropout(x, training=self.training).view(x.shape[0], -1))


def export(net: nn.Module, path: Path) -> Path:
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    batch = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(net.eval(), (torch.rand(3, 1, 8, 8),), dynamic_shapes=batch), path
    )
    return path


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
@pytest.mark.parametrize(
    "make",
    [lambda: ORDINARY["conv"]([1, 8, 8], 10), lambda: ORDINARY["mlp"]([1, 8, 8], 10), Residual],
)
def test_an_exported_program_is_read_without_the_loader_of_torch(
    make: Any, tmp_path: Path, monkeypatch
) -> None:
    """That loader falls back to pickle."""
    net, x = make(), torch.rand(5, 1, 8, 8)
    path = export(net, tmp_path / "a.pt2")
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("torch's loader was called"))
    torch.testing.assert_close(network(path, trust=False)(x), net(x))
    monkeypatch.setattr(
        sys.modules["spikeloom.cli.convert"], "pictures_missing", lambda: "left out"
    )
    words = ["convert", "--model", str(path), "--max-steps", "1", "--samples", "20", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
def test_an_exported_program_with_another_operation_is_refused_by_its_name(tmp_path: Path) -> None:
    path = export(nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Sigmoid()), tmp_path / "a.pt2")
    with pytest.raises(
        ValueError,
        match=r"a\.pt2 cannot be read: its operation torch\.ops\.aten\.sigmoid\.default is",
    ):
        network(path, trust=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/archive_format", "pt2")
    with pytest.raises(ValueError, match=r"a\.pt2 is no exported program of a known version"):
        network(path, trust=False)


def test_convert_reads_weights_of_a_named_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        sys.modules["spikeloom.cli.convert"], "pictures_missing", lambda: "left out"
    )
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
        assert (
            main(
                [
                    "convert",
                    *words,
                    "--max-steps",
                    "1",
                    "--samples",
                    "20",
                    "--quiet",
                    "--out",
                    str(out),
                ]
            )
            == 0
        )
        reports.append(json.loads((out / "report.json").read_text()))
    assert all(report == reports[0] for report in reports)


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4"], ids=["empty", "text", "pdf"])
def test_a_file_of_another_format_is_not_read_with_a_number_as_the_reason(
    content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.pt .*(of another format|is damaged)"):
        network(path, trust=False)
