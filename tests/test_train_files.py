"""A run and its files: interrupted and resumed equals uninterrupted, nothing is overwritten,
nothing half written."""

import itertools
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training import (
    SETTINGS,
    Interruption,
    build,
    leave_out_pictures,
    loaders,
    plain,
    same_weights,
    split,
)

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.kernels.events import choice
from spikeloom.train import Interrupted, checkpoint
from spikeloom.train.interrupt import StopRequest
from spikeloom.train.models import conv


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests need none."""
    if "picture" not in request.node.name and "overwritten" not in request.node.name:
        leave_out_pictures(monkeypatch)


@pytest.mark.parametrize(
    ("data", "encode"),
    [
        (split, "direct"),
        pytest.param(split, "rate", marks=pytest.mark.slow),
        pytest.param(loaders, "direct", marks=pytest.mark.slow),
        pytest.param(loaders, "rate", marks=pytest.mark.slow),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(data, encode, tmp_path) -> None:
    arguments = {**SETTINGS, "encode": encode, "seed": 7}
    whole = snn.fit(build, data(), **arguments, loss=Interruption(None), out=tmp_path / "whole")
    states = [torch.load(tmp_path / "whole" / "checkpoint.pt")]
    for batch in (
        0,
        1,
        2,
        3,
        7,
        8,
    ):  # in the middle, at the end of an epoch, in the last batch of all
        out = tmp_path / str(batch)
        with pytest.raises(
            Interrupted, match=r"stopped after \d of 3 epochs and \d of 3 batches; .*resume=True"
        ):
            snn.fit(build, data(), **arguments, loss=Interruption(batch), out=out)
        resumed = snn.fit(build, data(), **arguments, loss=Interruption(None), out=out, resume=True)
        assert (
            resumed.history == whole.history
            and resumed.spikes_per_neuron == whole.spikes_per_neuron
        )
        assert same_weights(resumed.net, whole.net)
        states.append(torch.load(out / "checkpoint.pt"))
    kept = [{k: v for k, v in state.items() if k not in ("seconds",)} for state in states]
    assert all(equal(kept[0], state) for state in kept[1:]), "the checkpoints differ"


def test_layers_that_go_by_events_resume_bit_for_bit(tmp_path, monkeypatch) -> None:
    """A resumed run, in another process, may not time otherwise than the one that was
    interrupted."""
    pytest.importorskip("numba")
    monkeypatch.setattr(choice, "WORTH", 0)
    monkeypatch.setattr(choice, "_file", lambda: tmp_path / "timed.json")
    answers = itertools.cycle([2.0, 0.5])  # every timing says something else
    monkeypatch.setattr(choice, "_gain", lambda *args: next(answers))
    choice._answers.cache_clear()
    generator = torch.Generator().manual_seed(0)
    densities = torch.tensor([0.1, 0.22]).repeat_interleave(16)[:, None]
    x, y = (torch.rand(32, 64, generator=generator) < densities).float(), torch.arange(32) % 3

    def network() -> nn.Sequential:
        hidden = snn.Leaky(beta=0.8, init_hidden=True)
        return nn.Sequential(
            nn.Linear(64, 40), hidden, nn.Linear(40, 3), snn.Leaky(beta=0.8, init_hidden=True)
        )

    def train(out: str, batch: int | None = None, resume: bool = False) -> nn.Module:
        data = DataLoader(TensorDataset(x, y), 16), DataLoader(TensorDataset(x, y), 16)
        arguments = {"num_steps": 3, "epochs": 1, "progress": False, "out": tmp_path / out}
        encode = lambda x, num_steps: x.repeat(num_steps, 1, 1)  # noqa: E731
        return snn.fit(
            network, data, **arguments, encode=encode, loss=Interruption(batch), resume=resume
        ).net

    with pytest.raises(Interrupted):
        train("stopped", batch=0)
    choice._answers.cache_clear()
    resumed = train("stopped", resume=True)
    choice._answers.cache_clear()
    assert same_weights(resumed, train("whole"))
    choice._answers.cache_clear()


@pytest.mark.cuda
def test_a_run_on_cuda_is_resumed_bit_for_bit(tmp_path) -> None:
    arguments = {**SETTINGS, "encode": "rate"}
    whole = snn.fit(lambda: build().cuda(), split(), **arguments, loss=Interruption(None))
    with pytest.raises(Interrupted):
        snn.fit(lambda: build().cuda(), split(), **arguments, loss=Interruption(4), out=tmp_path)
    resumed = snn.fit(
        lambda: build().cuda(),
        split(),
        **arguments,
        loss=Interruption(None),
        out=tmp_path,
        resume=True,
    )
    assert resumed.history == whole.history and same_weights(resumed.net, whole.net)


def equal(a: Any, b: Any) -> bool:
    """Equality of nested values with tensors in them."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_a_run_may_be_interrupted_again_and_again(tmp_path) -> None:
    whole = snn.fit(build, split(), **SETTINGS, loss=Interruption(None))
    resume = False
    for _ in range(9):  # one batch a session
        with pytest.raises(Interrupted):
            snn.fit(build, split(), **SETTINGS, loss=Interruption(0), out=tmp_path, resume=resume)
        resume = True
    resumed = snn.fit(
        build, split(), **SETTINGS, loss=Interruption(None), out=tmp_path, resume=True
    )
    assert resumed.history == whole.history and same_weights(resumed.net, whole.net)


def test_a_second_interrupt_stops_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.made
        signal.raise_signal(signal.SIGINT)
        pytest.fail("still running")


def test_without_a_folder_an_interrupt_keeps_nothing_and_says_so() -> None:
    with pytest.raises(Interrupted, match="nothing is saved, because there is no output folder"):
        snn.fit(build, split(), **SETTINGS, loss=Interruption(1))


def test_a_finished_run_is_not_trained_again(tmp_path) -> None:
    loss = Interruption(0)
    first = snn.fit(build, split(), **SETTINGS, loss=Interruption(None), out=tmp_path)
    again = snn.fit(build, split(), **SETTINGS, loss=loss, out=tmp_path, resume=True)
    assert (
        loss.seen == 0
        and again.history == first.history
        and again.test_accuracy == first.test_accuracy
    )
    assert same_weights(again.net, first.net) and again.seconds == pytest.approx(
        first.seconds, rel=0.9
    )


def test_a_resumed_run_takes_as_many_threads_as_before(tmp_path) -> None:
    before = torch.get_num_threads()
    with pytest.raises(Interrupted):
        snn.fit(build, split(), **SETTINGS, loss=Interruption(1), threads=2, out=tmp_path)
    assert torch.get_num_threads() == before
    result = snn.fit(build, split(), **SETTINGS, loss=Interruption(None), out=tmp_path, resume=True)
    assert result.threads == 2 and torch.get_num_threads() == before


def test_a_file_is_replaced_and_never_rewritten_in_place(tmp_path) -> None:
    path, reader = tmp_path / "checkpoint.pt", tmp_path / "opened by somebody"
    checkpoint.save(path, {"epoch": 1})
    reader.hardlink_to(path)
    checkpoint.save(path, {"epoch": 2})
    assert checkpoint.load(path)["epoch"] == 2 and checkpoint.load(reader)["epoch"] == 1


def test_a_write_that_fails_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"epoch": 1})
    with pytest.raises(OSError, match="disk"), checkpoint.atomic(path) as temporary:
        temporary.write_bytes(b"half")
        raise OSError("disk full")
    assert checkpoint.load(path)["epoch"] == 1 and list(tmp_path.iterdir()) == [path]


def test_the_run_card_says_what_was_done(tmp_path) -> None:
    result = snn.fit(build, split(), **SETTINGS, seeds=2, out=tmp_path, loss=SF.ce_rate_loss())
    card = json.loads(result.paths["card"].read_text())
    last, best = result.test_accuracy
    assert {**card["test_accuracy"], "note": ""} == {
        "last": last,
        "best": best,
        "quoted": "last",
        "note": "",
    }
    assert "after the last epoch" in card["test_accuracy"]["note"]
    assert card["seeds"] == [0, 1] and card["spread"]["each"] == list(result.each)
    assert card["spread"]["mean"] == pytest.approx(result.mean) and card["spread"][
        "std"
    ] == pytest.approx(result.std)
    configuration = card["configuration"]
    assert (
        configuration["num_steps"] == 5
        and configuration["batch_size"] == 8
        and configuration["rule"] == "bptt"
    )
    assert (
        configuration["loss"].startswith("ce_rate_loss(")
        and configuration["optimizer"]["lr"] == 2e-3
    )
    held = {name: value for name, value in card["data"].items() if name != "checksum"}
    assert held == {
        "name": "toy",
        "description": "three patterns",
        "train_samples": 20,
        "test_samples": 9,
        "sample_shape": [6],
        "classes": 3,
    }
    assert (
        card["versions"]["spikeloom"] == snn.__version__
        and card["versions"]["torch"] == torch.__version__
    )
    assert card["network"]["parameters"] == sum(p.numel() for p in result.net.parameters())
    spikes, layers = card["spikes_per_neuron_and_sample"], result.spikes_per_neuron
    assert spikes["layers"] == layers and spikes["mean"] == pytest.approx(
        (12 * layers["2"] + 3 * layers["5"]) / 15
    )
    assert (
        card["time"]["wall_seconds"] > 0
        and card["time"]["cpu_seconds"] > 0
        and card["threads"]["number"] == 1
    )
    assert card["history"] == list(result.history)
    assert all((tmp_path / name).is_file() for name in card["files"].values())


def test_pictures_are_drawn(tmp_path) -> None:
    image = pytest.importorskip("matplotlib.image")
    net = lambda: conv([1, 8, 8], 3, hidden=[2, 2])  # noqa: E731
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    result = snn.fit(net, (x, y, x, y), **SETTINGS, out=tmp_path)
    for kind in ("raster", "curves"):
        pixels = image.imread(result.paths[kind])
        assert min(pixels.shape[:2]) > 300 and pixels[..., :3].std() > 0.05, f"{kind} is blank"


def test_without_matplotlib_a_run_has_no_pictures_and_says_why(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = snn.fit(plain, split(), **{**SETTINGS, "progress": True}, out=tmp_path)
    assert set(result.paths) == {"card", "checkpoint", "net"}
    assert "no pictures: drawing the pictures of a run needs matplotlib" in capsys.readouterr().err
    assert "spikeloom[viz]" in json.loads((tmp_path / "run.json").read_text())["notes"]["pictures"]


def test_an_existing_run_is_not_overwritten(tmp_path) -> None:
    first = snn.fit(plain, split(), **SETTINGS, seeds=2, out=tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(
        FileExistsError, match=r"holds a run already \(.*run.json.*resume=True.*force=True"
    ):
        snn.fit(plain, split(), **SETTINGS, out=tmp_path)
    assert (tmp_path / "run.json").read_bytes() == before
    (tmp_path / "mine.txt").write_text("kept")
    second = snn.fit(plain, split(), **{**SETTINGS, "epochs": 1}, out=tmp_path, force=True)
    assert len(second.history) == 1 != len(first.history)
    names = sorted(path.name for path in tmp_path.iterdir())
    ours = ["checkpoint.pt", "curves.png", "mine.txt", "net.safetensors", "raster.png", "run.json"]
    assert names == ours, "old files are left over"


def test_the_run_card_says_the_lengths_of_recordings_and_the_samples_held_out(
    tmp_path: Path,
) -> None:
    x = [torch.rand(3 + n % 4, 6) for n in range(12)]
    y = torch.arange(12) % 3
    options = {"epochs": 1, "progress": False, "encode": "sequence", "validation": 0.25}
    snn.fit(plain, (x, y, x[:4], y[:4]), **options, out=tmp_path)
    held = json.loads((tmp_path / "run.json").read_text())["data"]
    assert (held["train_samples"], held["validation_samples"], held["test_samples"]) == (9, 3, 4)
    assert held["lengths"] == [3, 6] and held["sample_shape"] == [6, 6] and held["classes"] == 3
