"""The command line: what it prints, what it writes, and errors of one line."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training import leave_out_pictures

import spikeloom
from spikeloom.cli import COMMANDS, main
from spikeloom.train import BPTT

SMALL = ["train", "--hidden", "8", "--steps", "4", "--epochs", "1", "--batch-size", "512"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch) -> None:
    """Pictures take longer than these trainings; the test in a process of its own has them."""
    leave_out_pictures(monkeypatch)


def mnist_like(folder: Path) -> Path:
    """Files in the form of MNIST: four images for each of three classes."""
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 3
    np.savez(
        folder / "mnist.npz", x_train=images, y_train=labels, x_test=images[:6], y_test=labels[:6]
    )
    return folder


@pytest.mark.slow
def test_the_command_trains_and_says_where_everything_is(tmp_path) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "spikeloom",
        *SMALL,
        "--seed",
        "3",
        "--seeds",
        "2",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"test accuracy \d+\.\d\d % after epoch 1, the last one", done.stdout)
    assert "over 2 seeds: mean" in done.stdout and f"run card: {out / 'run.json'}" in done.stdout
    assert f"pictures: {out / 'raster.png'}, {out / 'curves.png'}" in done.stdout
    assert done.stderr.count("epoch 1/1") == 2 and "1 thread (" in done.stderr
    card = json.loads((out / "run.json").read_text())
    assert (
        card["seeds"] == [3, 4]
        and card["data"]["name"] == "digits"
        and card["data"]["train_samples"] == 1437
    )
    assert all((out / name).is_file() for name in card["files"].values())


def test_without_a_command_there_is_help(capsys) -> None:
    assert main([]) == 0
    assert "train a spiking network" in capsys.readouterr().out
    for name in COMMANDS:
        assert main([name, "--help"]) == 0
        assert f"usage: spikeloom {name}" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"spikeloom {spikeloom.__version__}\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trian"], r"spikeloom: .*invalid choice: 'trian'.*; see spikeloom --help"),
        (
            ["train", "--epochs", "many"],
            r"spikeloom train: argument --epochs: invalid int value: 'many'; see",
        ),
        (["train", "--model", "cnn"], "argument --model: invalid choice: 'cnn'"),
        (
            ["train", "--neuron", "leakey"],
            "neuron must be one of .*got 'leakey'; did you mean 'leaky'",
        ),
        (
            ["train", "--neuron", "rleaky", "--model", "conv"],
            "neuron of a convolutional network must be one of",
        ),
        (
            ["train", "--neuron", "if", "--beta", "0.5"],
            "IF must be given settings that it has, got beta",
        ),
        (
            ["train", "--num-steps", "4"],
            "spikeloom train: there is no --num-steps; did you mean --steps; see spikeloom train",
        ),
        (["train", "--learning-rat=1"], "spikeloom train: there is no --learning-rat=1; see"),
        (["predict", "run", "x.npy", "--epoch", "4"], "spikeloom predict: there is no --epoch"),
        (["train", "--beta", "1.5"], r"beta must be in \[0, 1\], got 1.5"),
        (["train", "--steps", "0"], "num_steps must be at least 1, got 0; write --steps 1"),
        (["train", "--out", ""], r"out must be a path, got an empty text; write --out"),
        (
            ["train", "--device", "cuda:99"],
            "must be a device of this machine, got 'cuda:99': PyTorch sees .*; write --device",
        ),
        (["train", "--device", "meta"], "got 'meta': it holds no values; write --device"),
        (["train", "--epochs", "0"], "epochs must be at least 1, got 0; write --epochs 1"),
        (["train", "--hidden", "0"], "hidden must be at least 1, got 0"),
        (
            ["train", "--data", "mnist"],
            "--data mnist needs the folder of its files, got none; write --data-root DIR",
        ),
        (
            ["train", "--data-root", "x"],
            "--data-root x is for --data mnist, got --data digits; leave it out",
        ),
        (["train", "--data", "mnist", "--data-root", "nowhere"], "not found in nowhere"),
        (
            ["train", "--resume", "--force"],
            "--resume goes on with a run and --force replaces it, got both",
        ),
        (["train", "--resume"], "--resume needs a checkpoint, and there is no"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(words, text, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and re.search(text, printed.err)
    assert not list(tmp_path.iterdir())


def test_debug_shows_where_an_error_comes_from() -> None:
    for words in (["--debug", "train", "--epochs", "0"], ["train", "--debug", "--epochs", "0"]):
        with pytest.raises(ValueError, match="epochs must be at least 1"):
            main(words)


def test_the_folder_is_named_after_the_run_and_not_overwritten(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "run card: runs/digits-mlp-leaky/run.json" in printed.out.replace(
        "\\", "/"
    )
    assert main(SMALL) == 2
    told = capsys.readouterr().err
    assert re.search(
        r"holds a run already .*--resume to go on with it, or --force to replace it", told
    )
    assert main([*SMALL, "--force", "--lr", "0.01", "--quiet"]) == 0
    assert main([*SMALL, "--resume"]) == 2
    assert "optimizer.lr was 0.01 in" in capsys.readouterr().err
    longer = [word if word != "1" else "2" for word in SMALL]
    assert main([*longer, "--resume", "--lr", "0.01", "--quiet"]) == 0
    assert "after epoch 2, the last one" in capsys.readouterr().out
    assert main([*SMALL, "--resume", "--lr", "0.01"]) == 2
    assert "epochs was 2 in" in capsys.readouterr().err


def test_ctrl_c_keeps_what_a_resume_needs(tmp_path, monkeypatch, capsys) -> None:
    words = [*SMALL, "--out", str(tmp_path / "a"), "--quiet"]
    assert main([*SMALL, "--out", str(tmp_path / "b"), "--quiet"]) == 0
    learn = BPTT.learn

    def pressed(*arguments):
        signal.raise_signal(signal.SIGINT)
        return learn(*arguments)

    monkeypatch.setattr(BPTT, "learn", pressed)
    assert main(words) == 130
    told = capsys.readouterr().err
    assert re.search(
        r"stopped after 0 of 1 epochs and 1 of 3 batches; .*checkpoint.pt holds all .* "
        r"\(--resume\)\n$",
        told,
    )
    monkeypatch.setattr(BPTT, "learn", learn)
    assert main([*words, "--resume"]) == 0
    histories = [json.loads((tmp_path / name / "run.json").read_text())["history"] for name in "ab"]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_mnist_comes_from_files(model, tmp_path) -> None:
    root, out = mnist_like(tmp_path), tmp_path / "out"
    words = [
        "--data",
        "mnist",
        "--data-root",
        str(root),
        "--model",
        model,
        "--encoding",
        "rate",
        "--out",
        str(out),
    ]
    assert main([*SMALL[:1], *SMALL[3:], "--hidden", "4", *words, "--quiet"]) == 0
    card = json.loads((out / "run.json").read_text())
    assert card["data"]["sample_shape"] == [1, 28, 28] and card["configuration"]["encode"] == "rate"
    assert card["data"]["train_samples"] == 12 and card["data"]["test_samples"] == 6


@pytest.mark.slow
def test_real_mnist_is_learned(data_dir, tmp_path, monkeypatch) -> None:
    from spikeloom.cli import sources

    def part(root):
        data = spikeloom.data.mnist(root)
        return data._replace(**{name: getattr(data, name)[:1000] for name in data._fields[:4]})

    monkeypatch.setattr(sources, "mnist", part)
    words = [
        "train",
        "--data",
        "mnist",
        "--data-root",
        str(data_dir),
        "--hidden",
        "64",
        "--steps",
        "4",
    ]
    assert (
        main([*words, "--epochs", "2", "--lr", "0.01", "--out", str(tmp_path / "out"), "--quiet"])
        == 0
    )
    assert json.loads((tmp_path / "out" / "run.json").read_text())["test_accuracy"]["last"] > 0.75


def test_a_command_does_not_change_the_threads_of_this_process(tmp_path) -> None:
    before = torch.get_num_threads()
    assert main([*SMALL, "--threads", "2", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert torch.get_num_threads() == before
    assert json.loads((tmp_path / "out" / "run.json").read_text())["threads"] == {
        "number": 2,
        "why": "as given",
    }


@pytest.mark.parametrize("rule", ["eprop", "ottt", "sltt"])
def test_rules_that_train_weights_only_could_not_be_used_by_the_command(rule, tmp_path) -> None:
    words = [*SMALL, "--rule", rule, "--out", str(tmp_path / rule), "--quiet"]
    assert main(words) == 0
    assert f'"rule": "{rule}"' in (tmp_path / rule / "run.json").read_text()
