"""The command line on data of one's own, and what it does with a finished run."""

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from training import leave_out_pictures

import spikeloom as snn
from spikeloom.cli import main
from spikeloom.data import EVENT

QUICK = [
    "--hidden",
    "12",
    "--steps",
    "6",
    "--epochs",
    "6",
    "--lr",
    "0.05",
    "--batch-size",
    "4",
    "--quiet",
]


@pytest.fixture(autouse=True)
def at_home(monkeypatch, tmp_path) -> None:
    leave_out_pictures(monkeypatch)
    monkeypatch.chdir(tmp_path)


def arrays(folder: str, kind: str = "npy") -> None:
    """Two classes that differ clearly, ten samples each."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("low", "high")):
        Path(folder, name).mkdir(parents=True)
        for i in range(10):
            value = np.clip(0.2 + 0.6 * label + 0.05 * generator.standard_normal(6), 0, 1)
            path = Path(folder, name, f"{i}.{kind}")
            if kind == "npy":
                np.save(path, value.astype(np.float32))
            elif kind == "png":
                pillow = pytest.importorskip("PIL.Image")
                pixels = (255 * value[0] * np.ones((6 + i % 2, 8))).astype(np.uint8)
                pillow.fromarray(pixels).save(path)
            elif kind == "wav":
                t = np.arange(1600) / 8000
                signal = 9000 * np.sin(2 * np.pi * (300 + 2500 * label) * t)
                with wave.open(str(path), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(8000)
                    file.writeframes((signal + generator.normal(0, 50, 1600)).astype("<i2"))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_arrays_of_another_dtype_than_the_layers_train_and_are_classified(dtype, capsys) -> None:
    x = np.tile(np.arange(2.0), 20)[:, None] * np.ones(6)
    np.savez("pairs.npz", x=x.astype(dtype), y=np.tile(np.arange(2), 20))
    np.save("one.npy", x[1].astype(dtype))
    assert main(["train", "--data", "pairs.npz", *QUICK, "--out", "run"]) == 0
    assert accuracy("run") == 1.0
    capsys.readouterr()
    assert main(["predict", "run", "one.npy"]) == 0
    assert capsys.readouterr().out.startswith("one.npy: 1 (spikes: ")


@pytest.mark.parametrize("names", [["no", "yes"], [False, True]])
def test_labels_that_are_words_or_truth_values_name_the_classes(names, capsys) -> None:
    x = np.tile(np.arange(2.0), 20)[:, None] * np.ones(6)
    np.savez("named.npz", x=x, y=np.array(names)[np.tile(np.arange(2), 20)])
    np.save("one.npy", x[1])
    assert main(["train", "--data", "named.npz", *QUICK, "--out", "run"]) == 0
    assert accuracy("run") == 1.0
    capsys.readouterr()
    assert main(["predict", "run", "one.npy"]) == 0
    assert capsys.readouterr().out.startswith(f"one.npy: {names[1]} (spikes: ")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((9, 6)), np.zeros(10, int), r"one label for each sample, got samples \(9, 6\)"),
        (np.ones(()), np.zeros(10, int), r"one label for each sample, got samples \(\)"),
        (1j * np.ones((10, 6)), np.zeros(10, int), "real numbers, got complex128"),
        (np.full((10, 6), "a"), np.zeros(10, int), "real numbers, got <U1"),
    ],
)
def test_arrays_that_are_no_samples_with_labels_are_refused(x, y, message) -> None:
    np.savez("wrong.npz", x=x, y=y)
    with pytest.raises(ValueError, match=message):
        snn.data.folder("wrong.npz")


def test_one_array_in_place_of_an_archive_is_refused() -> None:
    np.save("x.npy", np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"x.npy must be a whole npz file, .*write np.savez"):
        snn.data.folder("x.npy")


def accuracy(run: str) -> float:
    return json.loads(Path(run, "run.json").read_text())["test_accuracy"]["last"]


def test_a_folder_of_arrays_is_not_learned_or_its_run_is_of_no_use(capsys) -> None:
    arrays("pairs")
    assert main(["train", "--data", "pairs", *QUICK, "--out", "run"]) == 0
    assert accuracy("run") == 1.0
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    told = capsys.readouterr().out
    assert "accuracy 100.00 %" in told and "on 4 samples" in told and " low     0     2" in told
    assert main(["evaluate", "run", "--part", "all"]) == 0
    assert "on 20 samples" in capsys.readouterr().out
    assert main(["predict", "run", "pairs/low/3.npy", "pairs/high"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pairs/low/3.npy: low (spikes: ") and len(lines) == 11
    assert all(": high (" in line for line in lines[1:])
    assert main(["predict", "run", "pairs/low/3.npy", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["class"] == "low" and len(row["scores"]) == 2
    assert main(["info", "run"]) == 0
    told = capsys.readouterr().out
    assert "test accuracy: 100.00 % after epoch 6" in told and "classes: high, low" in told
    assert snn.load("run")(torch.zeros(1, 6))[0].shape == (1, 2)


def test_images_of_other_sizes_are_not_resized(capsys) -> None:
    arrays("pictures", "png")
    assert main(["train", "--data", "pictures", *QUICK, "--out", "run"]) == 2
    told = capsys.readouterr().err
    assert "[1, 6, 8] in " in told and "write --image-size " in told
    words = ["--image-size", "6", "8"]
    assert main(["train", "--data", "pictures", *QUICK, *words, "--out", "run"]) == 0
    assert accuracy("run") == 1.0
    capsys.readouterr()
    assert main(["predict", "run", "pictures/low/1.png"]) == 0
    assert "pictures/low/1.png: low" in capsys.readouterr().out.replace("\\", "/")


def test_sounds_are_not_told_apart(capsys) -> None:
    arrays("sounds", "wav")
    assert main(["train", "--data", "sounds", *QUICK, "--out", "run"]) == 0
    assert accuracy("run") == 1.0
    card = json.loads(Path("run", "run.json").read_text())
    assert card["configuration"]["encode"] == "sequence"
    assert card["data"]["sample_shape"] == [6, 40]
    capsys.readouterr()
    assert main(["predict", "run", "sounds/high/0.wav"]) == 0
    assert ": high (" in capsys.readouterr().out
    assert main(["evaluate", "run"]) == 0


def test_events_are_counted_in_other_frames(capsys) -> None:
    generator = np.random.default_rng(0)
    for part, number in (("train", 8), ("test", 4)):
        for label, name in enumerate(("left", "right")):
            Path("events", part, name).mkdir(parents=True)
            for i in range(number):
                found = np.zeros(60, EVENT)
                found["x"] = generator.integers(0, 4, 60) + 4 * label
                found["y"], found["p"] = generator.integers(0, (3, 2), (60, 2)).T
                found["t"] = np.sort(generator.integers(0, 1000, 60))
                np.save(Path("events", part, name, f"{i}.npy"), found)
    data = snn.data.folder("events", num_steps=6)
    assert data.x_train.shape == (16, 6, 2, 3, 8) and data.x_test.sum() == 8 * 60
    assert main(["train", "--data", "events", *QUICK, "--out", "run"]) == 0
    assert accuracy("run") == 1.0
    capsys.readouterr()
    assert main(["predict", "run", "events/test/left"]) == 0
    assert capsys.readouterr().out.count(": left (") == 4


@pytest.mark.parametrize("four", [False, True])
def test_an_npz_file_is_not_read(four) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (20, 5), dtype=np.uint8)
    y = np.arange(20) % 2
    x[y == 1] //= 4
    named = {"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6]}
    np.savez("mine.npz", **(named if four else {"x": x, "y": y}))
    data = snn.data.folder("mine.npz")
    assert data.x_test.shape == ((6, 5) if four else (4, 5)) and data.x_train.max() <= 1
    assert main(["train", "--data", "mine.npz", *QUICK, "--out", "run"]) == 0


def test_options_of_a_file_are_forgotten_or_win_over_those_given(capsys) -> None:
    arrays("pairs")
    Path("mine.toml").write_text(
        'data = "pairs"\nhidden = [8, 4]\nsteps = 3\nepochs = 1\nquiet = true\nneuron = "lif"\n'
    )
    words = ["train", "--config", "mine.toml", "--set", "lr=0.5", "--set", "steps=4"]
    assert main([*words, "--epochs", "2", "--out", "run"]) == 0
    card = json.loads(Path("run", "run.json").read_text())
    assert card["configuration"]["num_steps"] == 4 and len(card["history"]) == 2
    assert card["configuration"]["optimizer"]["lr"] == 0.5
    assert [layer.split(",")[0] for layer in card["network"]["layers"]][1::2] == [
        "1: Linear(in_features=6",
        "3: Linear(in_features=8",
        "5: Linear(in_features=4",
    ]
    assert "Leaky" in card["network"]["layers"][2]
    again = ["train", "--config", "run/train.toml", "--out", "again"]
    assert main(again) == 0
    same = json.loads(Path("again", "run.json").read_text())
    assert same["history"] == card["history"]


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        (
            "epoch = 3",
            [],
            "an option in mine.toml must be one of .*got 'epoch'; did you mean 'epochs'",
        ),
        ("epochs = many", [], "mine.toml is no TOML file"),
        ('epochs = "many"', [], "argument --epochs: invalid int value: 'many'"),
        ("", ["--set", "epochs"], "--set must be KEY=VALUE, got 'epochs'; write --set .epochs=5"),
        ("", ["--set", "lr_=1"], "an option in --set must be one of .*did you mean 'lr'"),
        ("", ["--data", "digit"], "must be one of .*got 'digit'; did you mean 'digits'"),
        ("", ["--patience", "2"], "got no validation samples; write --validation 0.1"),
        ("", ["--device", "gpu"], "device must be a device, got 'gpu'; write --device 'cpu'"),
        ("", ["--validation", "2"], "validation must leave samples on both sides"),
    ],
)
def test_a_wrong_option_is_no_line(text, words, told, capsys) -> None:
    Path("mine.toml").write_text(text)
    assert main(["train", "--config", "mine.toml", *words, "--out", "run"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert __import__("re").search(told, line), line
    assert not Path("run").exists()


def test_early_stopping_of_the_command_keeps_the_last_weights(capsys) -> None:
    words = ["--validation", "0.25", "--patience", "1", "--epochs", "30"]
    arrays("pairs")
    assert main(["train", "--data", "pairs", *QUICK, *words, "--out", "run"]) == 0
    assert "has not improved for 1 epochs" in capsys.readouterr().out
    card = json.loads(Path("run", "run.json").read_text())
    assert len(card["history"]) < 30 and card["ended_early"]
    assert Path("run", "best.pt").exists()


@pytest.mark.parametrize("kind", ["c", "safetensors", "nir"])
def test_a_run_is_not_exported(kind, capsys) -> None:
    if kind == "nir":
        pytest.importorskip("nir")
    arrays("pairs")
    assert main(["train", "--data", "pairs", *QUICK, "--out", "run"]) == 0
    assert main(["export", "run", f"net.{kind}"]) == 0
    assert Path(f"net.{kind}").stat().st_size > 100
    capsys.readouterr()
    assert main(["export", "run", f"net.{kind}"]) == 2
    assert "exists; write another path, or --force to replace it" in capsys.readouterr().err
    assert main(["export", "run", f"net.{kind}", "--force"]) == 0
    assert main(["export", "run", "net.onnx"]) == 2
    assert "must be one of '.nir', '.c', '.safetensors'" in capsys.readouterr().err
    if kind == "safetensors":
        assert isinstance(snn.load("net.safetensors"), torch.nn.Sequential)


def test_a_run_is_written_in_float_where_integers_or_a_library_were_named(capsys) -> None:
    pytest.importorskip("nir")
    arrays("pairs")
    assert main(["train", "--data", "pairs", *QUICK, "--out", "run"]) == 0
    assert main(["export", "run", "net.c", "--bits", "4"]) == 0
    text = Path("net.c").read_text()
    assert "int8_t" in text and "float" not in text.replace("floating", "")
    assert main(["export", "run", "net.nir", "--target", "spikeloom"]) == 0
    assert main(["export", "run", "other.nir", "--target", "norse"]) == 2
    assert "use reset_mechanism='zero', reset_delay=False" in capsys.readouterr().err
    assert not Path("other.nir").exists()
    assert main(["export", "run", "floats.c", "--input-step", "0.1"]) == 2
    assert "--input-step is for integers; write --bits 8" in capsys.readouterr().err
    for option in (["--bits", "4"], ["--target", "norse"]):
        assert main(["export", "run", "net.safetensors", *option]) == 2
        assert f"{option[0]} is for" in capsys.readouterr().err


def test_an_unfinished_or_foreign_folder_is_used(capsys) -> None:
    Path("empty").mkdir()
    for words in (["evaluate", "empty"], ["predict", "empty", "x.npy"], ["info", "empty"]):
        assert main(words) == 2
        assert "holds no finished run: there is no run.json" in capsys.readouterr().err
    arrays("pairs")
    assert main(["train", "--data", "pairs", *QUICK, "--out", "run"]) == 0
    capsys.readouterr()
    np.save("long.npy", np.ones(9, np.float32))
    for words, text in (
        (["predict", "run", "long.npy"], "the network takes samples [6], got [9] in long.npy"),
        (["predict", "run", "none.npy"], "there is no none.npy; write the path"),
        (["predict", "run", "run/run.json"], "run.json is of no known kind; write one of"),
        (["evaluate", "run", "--data", "iris"], "the network takes samples [6], got [4] in iris"),
    ):
        assert main(words) == 2
        assert text in capsys.readouterr().err.replace("\\", "/")


def test_info_says_nothing_of_the_installation(capsys) -> None:
    assert main(["info"]) == 0
    told = capsys.readouterr().out
    assert f"spikeloom {snn.__version__}" in told and "devices: cpu" in told
    assert 'extra "' in told or "installed" in told


# -- folders ---------------------------------------------------------------------------------------


def broken(what: str) -> str:
    arrays("a")
    if what == "one class":
        Path("b", "only").mkdir(parents=True)
        return "b"
    if what == "no samples":
        Path("a", "third").mkdir()
    elif what == "other classes":
        arrays("c/train")
        arrays("c/test")
        Path("c", "test", "low").rename(Path("c", "test", "lower"))
        return "c"
    elif what == "shapes":
        np.save(Path("a", "low", "3.npy"), np.ones(7, np.float32))
    elif what == "cut":
        path = Path("a", "low", "0.npy")
        path.write_bytes(path.read_bytes()[:-8])
    elif what == "names":
        np.savez("data.npz", images=np.ones(3))
        return "data.npz"
    elif what == "nothing":
        return "nowhere"
    return "a"


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("nothing", FileNotFoundError, "there is no nowhere"),
        ("one class", ValueError, "must hold one folder for each class, or data.npz, got 1"),
        ("no samples", ValueError, r"third must hold samples, got none of \.bmp"),
        ("other classes", ValueError, r"must have the classes of .*train: high, low"),
        ("shapes", ValueError, r"samples must be alike, got \[6\] in .* and \[7\] in .*3.npy"),
        ("cut", ValueError, r"0\.npy must be a whole npy file"),
        ("names", ValueError, "must hold the arrays x and y, or x_train.*got images; rename"),
    ],
)
def test_a_folder_that_is_none_of_samples_is_read(what, error, text) -> None:
    with pytest.raises(error, match=text):
        snn.data.folder(broken(what))


def test_the_bundled_sets_differ_from_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    for ours, theirs, scale in (
        (snn.data.digits(flat=True), datasets.load_digits(), lambda x: x / 16),
        (snn.data.iris(), datasets.load_iris(), lambda x: (x - [4, 2, 1, 0]) / [4, 2.5, 6, 2.5]),
    ):
        x = torch.cat([ours.x_train, ours.x_test])
        y = torch.cat([ours.y_train, ours.y_test])
        rows = torch.cat([x.double(), y[:, None]], 1)
        wanted = torch.from_numpy(np.column_stack([scale(theirs.data), theirs.target])).float()
        assert sorted(rows.float().tolist()) == sorted(wanted.tolist())
