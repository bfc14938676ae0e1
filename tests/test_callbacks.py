"""Callbacks of `fit`: what they see, how they end a training, and that a resume forgets nothing."""

import csv
import sys
from typing import Any

import pytest
import torch
from torch import nn
from training import (
    SETTINGS,
    Interruption,
    build,
    leave_out_pictures,
    plain,
    same_weights,
    split,
    toy,
)

import spikeloom as snn
from spikeloom.train import (
    BestCheckpoint,
    Callback,
    CSVLog,
    EarlyStopping,
    Interrupted,
    TensorBoardLog,
)

HELD = {"validation": 0.25}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


class Recorder(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_start(self, run) -> None:
        self.seen.append(("start", run.epoch, run.step))

    def on_step(self, run) -> None:
        self.seen.append(("step", run.epoch, run.step, run.loss > 0))

    def on_epoch(self, run) -> None:
        self.seen.append(("epoch", run.epoch, len(run.history)))

    def on_end(self, run) -> None:
        self.seen.append(("end", run.epoch, run.epochs, run.seed, run.out, run.main))


def test_a_callback_misses_a_batch_or_an_epoch() -> None:
    recorder = Recorder()
    snn.fit(build, split(), **{**SETTINGS, "epochs": 2}, callbacks=recorder, seed=4)
    steps = [("step", (n - 1) // 3, n, True) for n in range(1, 7)]
    assert recorder.seen == [
        ("start", 0, 0),
        *steps[:3],
        ("epoch", 1, 1),
        *steps[3:],
        ("epoch", 2, 2),
        ("end", 2, 2, 4, None, True),
    ]


def test_a_function_is_no_callback() -> None:
    seen: list[float] = []
    snn.fit(build, split(), **SETTINGS, callbacks=[lambda run: seen.append(run.epoch)])
    assert seen == [1, 2, 3]


def test_an_exception_of_a_callback_is_swallowed_or_breaks_the_network() -> None:
    """As a pruned trial of Optuna ends."""

    class Pruned(Exception):
        pass

    def prune(run) -> None:
        if run.history[-1]["validation_loss"] > 0 and run.epoch == 2:
            raise Pruned

    net = build()
    with pytest.raises(Pruned):
        snn.fit(net, split(), **SETTINGS, **HELD, callbacks=prune)
    assert snn.run(net, split().x_test, 5)[0].shape == (5, 9, 3)


def test_early_stopping_trains_to_the_last_epoch() -> None:
    stop = EarlyStopping("train_loss", patience=2, min_delta=10.0)
    result = snn.fit(build, split(), **{**SETTINGS, "epochs": 9}, callbacks=stop)
    assert len(result.history) == 3 and stop.best_epoch == 1
    assert result.stopped.startswith("train_loss has not improved for 2 epochs; it was ")
    assert "not improved" in str(result)


def test_early_stopping_stops_where_the_figure_still_improves() -> None:
    result = snn.fit(build, split(), **SETTINGS, callbacks=EarlyStopping("train_loss", patience=3))
    assert len(result.history) == 3 and result.stopped == ""


def test_one_early_stopping_carries_its_best_into_the_next_training() -> None:
    stop = EarlyStopping("train_loss", patience=1, min_delta=10.0)
    lengths = [
        len(snn.fit(build, split(), **SETTINGS, callbacks=stop, seed=seed).history)
        for seed in (0, 1)
    ]
    assert lengths == [2, 2]


@pytest.mark.parametrize(
    ("monitor", "arguments", "text"),
    [
        ("validation_loss", {}, r"monitor must be one of epoch, train_loss.*write fit\(validation"),
        ("valid_loss", HELD, "monitor must be one of .*validation_loss.*got 'valid_loss'"),
    ],
)
def test_a_figure_that_the_history_does_not_have_is_watched(monitor, arguments, text) -> None:
    with pytest.raises(ValueError, match=text):
        snn.fit(build, split(), **SETTINGS, **arguments, callbacks=EarlyStopping(monitor))


def test_the_test_samples_choose_an_epoch() -> None:
    with pytest.raises(ValueError, match=r"must not be a figure of the test samples, got 'test_"):
        EarlyStopping("test_loss")


@pytest.mark.parametrize("folder", [False, True])
def test_the_best_weights_are_not_those_of_the_best_epoch(folder, tmp_path) -> None:
    kept: list[dict[str, torch.Tensor]] = []
    values: list[float] = []

    def keep(run) -> None:
        kept.append({name: value.clone() for name, value in run.net.state_dict().items()})
        values.append(run.history[-1]["validation_loss"])
        if len(values) == 3:  # the other two epochs are worse, whatever the processor rounds
            with torch.no_grad():
                for parameter in run.net.parameters():
                    parameter.neg_()
            for group in run.optimizer.param_groups:
                group["lr"] = 0.0

    out = tmp_path / "run" if folder else None
    arguments = {**SETTINGS, "epochs": 5, "lr": 0.05, "out": out, **HELD}
    result = snn.fit(build, split(), **arguments, callbacks=[BestCheckpoint(), keep])
    best = values.index(min(values))
    assert best < 3, "the epochs after the damage were better: the test shows nothing"
    assert all(torch.equal(value, kept[best][n]) for n, value in result.net.state_dict().items())
    found = snn.evaluate(result.net, split(), num_steps=5)
    assert result.test_accuracy.last == found.accuracy == result.test["accuracy"]
    if folder:
        state = snn.train.checkpoint.load(tmp_path / "run" / "best.pt")
        assert state["epoch"] == best + 1 and state["best"] == values[best]


@pytest.mark.parametrize("batch", [4, 8, 11])
def test_a_resumed_training_stops_early_at_another_epoch(batch, tmp_path) -> None:
    def arguments(out: str, loss: Any) -> dict[str, Any]:
        watch = [EarlyStopping(patience=2, min_delta=0.02), BestCheckpoint()]
        base = {**SETTINGS, "epochs": 12, "lr": 0.05, **HELD, "loss": loss}
        return {**base, "out": tmp_path / out, "callbacks": watch}

    whole = snn.fit(build, split(), **arguments("whole", Interruption(None)))
    assert 2 < len(whole.history) < 12, "nothing was stopped: the test shows nothing"
    if batch < 2 * len(whole.history):
        with pytest.raises(Interrupted):
            snn.fit(build, split(), **arguments("a", Interruption(batch)))
        resumed = snn.fit(build, split(), **arguments("a", Interruption(None)), resume=True)
        assert resumed.history == whole.history and resumed.stopped == whole.stopped
        assert same_weights(resumed.net, whole.net) and resumed.test == whole.test
    again = snn.fit(build, split(), **arguments("whole", Interruption(0)), resume=True)
    assert again.history == whole.history and same_weights(again.net, whole.net)


def test_the_history_of_a_csv_log_lacks_a_row(tmp_path) -> None:
    result = snn.fit(build, split(), **SETTINGS, out=tmp_path, callbacks=[CSVLog()])
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [{k: float(v) for k, v in row.items()} for row in rows] == list(result.history)


def test_a_log_without_folder_is_found_out_after_the_first_epoch() -> None:
    loss = Interruption(None)
    with pytest.raises(ValueError, match=r"history.csv needs a folder or a path, got none; write"):
        snn.fit(build, split(), **SETTINGS, loss=loss, callbacks=[CSVLog()])
    assert loss.seen == 0


def test_each_seed_has_a_log_and_counters_of_its_own(tmp_path) -> None:
    stop = EarlyStopping("train_loss", patience=1, min_delta=10.0)
    snn.fit(build, split(), **SETTINGS, seeds=2, out=tmp_path, callbacks=[CSVLog(), stop])
    names = {path.name for path in tmp_path.glob("history*")}
    assert names == {"history.csv", "history-seed1.csv"}


def test_tensorboard_is_missing_and_the_message_names_no_command(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"needs tensorboard, .*pip install tensorboard \(of"):
        snn.fit(build, split(), **SETTINGS, callbacks=TensorBoardLog("logs"))


def test_tensorboard_gets_other_figures_than_the_history(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = snn.fit(build, split(), **SETTINGS, callbacks=TensorBoardLog(tmp_path, every=2))
    events = EventAccumulator(str(tmp_path)).Reload()
    points = events.Scalars("loss/train")
    assert [(p.step, pytest.approx(p.value)) for p in points] == [
        (int(row["epoch"]), row["train_loss"]) for row in result.history
    ]
    assert [p.step for p in events.Scalars("batch/train_loss")] == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([EarlyStopping], r"must hold objects, got the class EarlyStopping; write callbacks="),
        ([3], r"callbacks must be a function, got 3; write"),
    ],
)
def test_what_is_no_callback_is_accepted(given, text) -> None:
    with pytest.raises(TypeError, match=text):
        snn.fit(build, split(), **SETTINGS, callbacks=given)


# -- validation ------------------------------------------------------------------------------------


def test_the_test_samples_are_looked_at_before_the_end() -> None:
    looks: list[int] = []
    x, y = toy(9, seed=2)

    def loss(spk: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled() and len(target) == 9:
            looks.append(len(target))
        return snn.functional.ce_count_loss()(spk, target)

    result = snn.fit(plain, split(), **{**SETTINGS, "batch_size": 16}, **HELD, loss=loss)
    assert looks == [9]
    assert all(not any(name.startswith("test") for name in row) for row in result.history)
    assert {"validation_loss", "validation_accuracy"} <= result.history[0].keys()
    assert result.test_accuracy == (result.test["accuracy"],) * 2
    assert result.predict(x).eq(y).float().mean() == pytest.approx(result.test_accuracy.last)


def test_validation_takes_another_share_of_a_class() -> None:
    x, y = torch.rand(40, 6), torch.arange(40) % 4
    job = snn.train.samples.samples((x, y, x, y), 8, seed=0, validation=0.1)
    assert job.description["train_samples"] == 36 and job.description["validation_samples"] == 4
    assert job.validation.start().__next__().y.sort().values.tolist() == [0, 1, 2, 3]
    again = snn.train.samples.samples((x, y, x, y), 8, seed=5, validation=0.1)
    assert torch.equal(job.validation.samples.x, again.validation.samples.x), (
        "the division depends on the seed"
    )
    held = {tuple(row) for row in job.validation.samples.x.tolist()}
    assert not held & {tuple(row) for row in job.train.samples.x.tolist()}


@pytest.mark.parametrize(
    ("validation", "error", "text"),
    [
        (0.0, ValueError, "must leave samples on both sides"),
        (1.0, ValueError, "must leave samples on both sides"),
        (0.001, ValueError, "got 0.001 of 20 samples"),
        (2, TypeError, "validation must be a part of the training samples or .x, y.; got int|got"),
        (toy(5)[0], TypeError, "validation must be a part of the training samples"),
        (
            (toy(5)[0][:, :3], toy(5)[1]),
            ValueError,
            "training and validation samples must be alike",
        ),
    ],
)
def test_a_validation_that_cannot_be_is_accepted(validation, error, text) -> None:
    with pytest.raises(error, match=text):
        snn.fit(plain, split(), **SETTINGS, validation=validation)


def test_validation_samples_of_ones_own_are_not_used() -> None:
    x, y = toy(12, seed=5)
    result = snn.fit(plain, split(), **SETTINGS, validation=(x, y))
    assert result.history[-1]["validation_accuracy"] == pytest.approx(
        result.predict(x).eq(y).float().mean().item()
    )


def test_more_epochs_after_the_last_one_differ_from_as_many_at_once(tmp_path) -> None:
    arguments = {**SETTINGS, "schedule": "constant"}
    whole = snn.fit(build, split(), **{**arguments, "epochs": 5})
    snn.fit(build, split(), **{**arguments, "epochs": 2}, out=tmp_path)
    longer = snn.fit(build, split(), **{**arguments, "epochs": 5}, out=tmp_path, resume=True)
    assert longer.history == whole.history and same_weights(longer.net, whole.net)


def test_a_network_of_ones_own_class_needs_its_code_to_load(tmp_path) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(6, 3), snn.Leaky(0.8, init_hidden=True)

        def forward(self, x):
            return self.lif(self.fc(x))

    result = snn.fit(Own, split(), **SETTINGS, out=tmp_path / "own")
    assert same_weights(snn.load(tmp_path / "own", into=Own()), result.net)
    with pytest.raises(ValueError, match=r"without an architecture; write snn.load\(path, into"):
        snn.load(tmp_path / "own")
    result = snn.fit(plain, split(), **SETTINGS, out=tmp_path / "known")
    assert same_weights(snn.load(tmp_path / "known"), result.net)
    (tmp_path / "known" / "net.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no finished run.*resume=True"):
        snn.load(tmp_path / "known")
