"""Training: real data in a dozen lines, honest figures, every form of data, loss and encoding."""

import copy
import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from training import (
    SETTINGS,
    build,
    leave_out_pictures,
    loaders,
    plain,
    same_weights,
    split,
    tensors,
    toy,
)

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.train import Result, mlp, neurons, progress, threads
from spikeloom.train.models import conv
from spikeloom.train.progress import Bar, Lines, progress_for


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests need none."""
    if "picture" not in request.node.name and "overwritten" not in request.node.name:
        leave_out_pictures(monkeypatch)


def test_a_dozen_lines_train_on_real_data() -> None:
    data = snn.data.digits()
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 100),
        snn.Leaky(beta=0.8, init_hidden=True),
        nn.Linear(100, 10),
        snn.Leaky(beta=0.8, init_hidden=True, output=True),
    )
    result = snn.fit(net, data, num_steps=8, epochs=6, progress=False)
    assert result.test_accuracy.last > 0.92
    assert str(result).startswith(
        f"test accuracy {100 * result.test_accuracy.last:.2f} % after epoch 6, the last one"
    )


def test_history_has_a_row_for_each_epoch_and_the_last_one_is_quoted() -> None:
    result = snn.fit(build, split(), **SETTINGS)
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert result.test_accuracy.last == result.history[-1]["test_accuracy"] == result.mean
    assert result.test_accuracy.best == max(row["test_accuracy"] for row in result.history)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert result.std == 0 and result.each == (result.test_accuracy.last,)


def test_spikes_are_counted_for_each_layer() -> None:
    net = plain()
    result = snn.fit(net, split(), **SETTINGS)
    spk = snn.run(net, split().x_test, num_steps=5)[0]
    assert spk.sum() > 20
    assert result.spikes_per_neuron == {"1": pytest.approx(spk.sum(0).mean().item())}
    assert result.history[-1]["spike_rate"] == pytest.approx(spk.mean().item())
    assert result.test_accuracy.last == pytest.approx(float(SF.accuracy_rate(spk, split().y_test)))


def test_the_same_seed_gives_the_same_result_and_another_one_another() -> None:
    results = [snn.fit(build, split(), **SETTINGS, seed=seed, encode="rate") for seed in (4, 4, 5)]
    assert results[0].history == results[1].history and same_weights(results[0].net, results[1].net)
    assert results[0].history != results[2].history


def test_the_seed_decides_about_the_order_of_the_samples() -> None:
    net = plain()
    histories = [
        snn.fit(copy.deepcopy(net), split(), **SETTINGS, seed=seed).history for seed in (1, 1, 2)
    ]
    assert histories[0] == histories[1] != histories[2]


def test_training_figures_are_those_of_all_training_samples() -> None:
    net = plain()
    spk, y = snn.run(net, split().x_train, num_steps=5)[0], split().y_train
    row = snn.fit(net, split(), **SETTINGS, lr=1e-12).history[0]
    assert row["train_accuracy"] == pytest.approx(float(SF.accuracy_rate(spk, y)))
    assert row["train_loss"] == pytest.approx(SF.mse_count_loss(0.9, 0.1)(spk, y).item())


def test_every_evaluation_draws_the_same_random_numbers() -> None:
    result = snn.fit(plain, split(), **SETTINGS, encode="rate", lr=1e-12)
    assert len({row["test_loss"] for row in result.history}) == 1
    assert len({row["train_loss"] for row in result.history}) == 3


def test_training_leaves_what_is_outside_as_it_was() -> None:
    net, before, number = build().eval(), torch.get_rng_state(), torch.get_num_threads()
    handler = signal.getsignal(signal.SIGINT)
    snn.fit(net, loaders(), **{**SETTINGS, "epochs": 1}, threads=2, encode="rate")
    assert torch.equal(before, torch.get_rng_state()) and torch.get_num_threads() == number
    assert signal.getsignal(signal.SIGINT) is handler
    assert not net.training and net[2].mem.shape == (0,)


def test_every_form_of_data_trains_alike() -> None:
    as_tensors = snn.fit(build, tensors(), **SETTINGS)
    assert snn.fit(build, split(), **SETTINGS).history == as_tensors.history
    as_arrays = tuple(part.numpy() for part in tensors())
    assert snn.fit(build, as_arrays, **SETTINGS).history == as_tensors.history
    x, y = toy(20)
    batches = [(x[i : i + 8], y[i : i + 8]) for i in (0, 8, 16)]
    assert len(snn.fit(build, (batches, batches[:1]), **SETTINGS).history) == 3


def test_a_loss_decides_what_is_read_and_how_a_class_is_named(tmp_path) -> None:
    def card(loss: Any, net: Callable[[], nn.Module] = plain) -> tuple[str, Result]:
        result = snn.fit(net, split(), **SETTINGS, loss=loss, lr=0.1, out=tmp_path, force=True)
        return json.loads((tmp_path / "run.json").read_text())["prediction"], result

    rule, result = card(
        SF.ce_max_membrane_loss(), lambda: nn.Sequential(nn.Linear(6, 3), snn.LI(0.9, True))
    )
    assert (
        rule == "the highest membrane"
        and result.test_accuracy.last > 0.9
        and result.spikes_per_neuron == {}
    )
    assert card(SF.ce_temporal_loss())[0] == "the first spike"
    population = SF.ce_count_loss(population_code=True, num_classes=3)
    rule, result = card(population, lambda: plain(outputs=6))
    assert rule == "most spikes of a group" and result.test_accuracy.last > 0.9


def test_samples_are_encoded_as_asked() -> None:
    x_train, y_train, x_test, y_test = tensors()
    constant = snn.fit(plain, tensors(), **SETTINGS)
    repeated = snn.fit(
        plain, tensors(), **SETTINGS, encode=lambda x, num_steps: x.expand(num_steps, *x.shape)
    )
    assert repeated.test_accuracy == constant.test_accuracy
    timed = (x_train[:, None].expand(-1, 5, -1), y_train, x_test[:, None].expand(-1, 5, -1), y_test)
    sequence = snn.fit(plain, timed, **{**SETTINGS, "num_steps": None}, encode="sequence")
    assert sequence.test_accuracy == constant.test_accuracy
    assert snn.fit(plain, tensors(), **SETTINGS, encode="rate").history != constant.history


def test_the_learning_rate_falls_along_a_cosine_and_is_given_back() -> None:
    rates: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)

    net = plain()
    optimizer = Watched(net.parameters(), lr=0.5)
    snn.fit(net, split(), **SETTINGS, optimizer=optimizer, schedule="cosine")
    assert rates[0] == 0.5 and rates == sorted(rates, reverse=True) and 0 < rates[-1] < 0.02
    assert optimizer.param_groups[0]["lr"] == 0.5
    rates.clear()
    snn.fit(net, split(), **SETTINGS, optimizer=lambda parameters: Watched(parameters, lr=0.5))
    assert set(rates) == {0.5}


def test_several_seeds_give_a_spread(tmp_path) -> None:
    result = snn.fit(build, split(), **SETTINGS, seed=3, seeds=3, out=tmp_path)
    alone = snn.fit(build, split(), **SETTINGS, seed=4)
    assert result.seeds == (3, 4, 5) and result.each[1] == alone.test_accuracy.last
    assert result.mean == pytest.approx(sum(result.each) / 3)
    assert "over 3 seeds: mean" in str(result)
    names = sorted(path.name for path in tmp_path.iterdir())
    checkpoints = ["checkpoint-seed4.pt", "checkpoint-seed5.pt", "checkpoint.pt"]
    assert names == [*checkpoints, "net.safetensors", "run.json"]
    again = snn.fit(build, split(), **SETTINGS, seed=3, seeds=3, out=tmp_path, resume=True)
    assert again.each == result.each and same_weights(again.net, result.net)


def test_small_networks_get_one_thread_and_a_wish_is_obeyed(monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert threads.choose(None, threads.SMALL - 1).number == 1
    assert 1 <= threads.choose(None, threads.SMALL).number <= 64
    assert threads.choose(2, 1).number == 2


def test_the_number_of_threads_is_said_with_its_reason(capsys) -> None:
    result = snn.fit(plain, split(), num_steps=5, epochs=2)
    lines = capsys.readouterr().err.splitlines()
    head = "toy: 20 training and 9 test samples; 3 spiking neurons, 21 parameters, 5 time steps"
    assert lines[:2] == [
        head,
        "1 thread (1 million multiply-adds a batch; more threads pay above 1,000 million)",
    ]
    assert result.threads == 1 and len(lines) == 4 and lines[3].startswith("epoch 2/2  loss ")


def test_progress_is_silent_if_asked(capsys) -> None:
    snn.fit(plain, split(), **SETTINGS)
    assert capsys.readouterr() == ("", "")


def test_the_time_left_of_a_resumed_run_was_not_at_its_own_pace(monkeypatch) -> None:
    """Two and a half epochs of six had been done; the pace is that of the epochs since then."""
    times = iter([100.0, 110.0, 130.0, 140.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    printed = io.StringIO()
    lines = Lines(printed)
    lines.start(epochs=6, batches=4, done=10)
    for number in (3, 4, 6):
        lines.epoch({"epoch": number, "train_loss": 0.5})
    assert printed.getvalue().splitlines() == [
        "epoch 3/6  loss 0.5000  1:00 left",
        "epoch 4/6  loss 0.5000  0:40 left",
        "epoch 6/6  loss 0.5000",
    ]
    lines.start(epochs=6, batches=4, done=12)  # stopped after the last batch of an epoch
    lines.epoch({"epoch": 3, "train_loss": 0.5})
    assert printed.getvalue().endswith("epoch 3/6  loss 0.5000\n")


def test_a_terminal_gets_a_bar_with_loss_accuracy_and_spikes() -> None:
    pytest.importorskip("tqdm")
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    bar = progress_for(True, terminal)
    assert isinstance(bar, Bar)
    bar.start(epochs=2, batches=2, done=1)
    bar.epoch({"epoch": 1, "test_accuracy": 0.9})
    bar.batch(0.25, {"1": torch.tensor([1.0, 0.0])})
    bar.bar.refresh()
    bar.close()
    text = terminal.getvalue()
    assert (
        "epoch 2/2" in text and "loss 0.250, test 90.0 %, spikes 0.500, " in text and "left" in text
    )


class RecordedBar:
    """What a bar of tqdm is given."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.names: list[str] = []
        self.postfixes: list[str] = []
        self.updates = 0

    def set_description_str(self, text: str, refresh: bool) -> None:
        assert not refresh
        self.names.append(text)

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        assert not refresh
        self.postfixes.append(text)

    def update(self) -> None:
        self.updates += 1


def test_the_bar_of_a_resumed_run_began_at_the_first_batch(monkeypatch) -> None:
    size = os.terminal_size((80, 24))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: size)
    times = iter([100.0, 100.0, 100.05, 100.2, 100.2])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    stream = io.StringIO()
    bar = Bar(RecordedBar, stream)
    bar.start(epochs=3, batches=4, done=6)
    shown = bar.bar
    wanted = {"total": 12, "initial": 6, "file": stream, "ncols": 79}
    assert {name: shown.options[name] for name in wanted} == wanted
    bar.batch(0.5, {"1": torch.tensor([1.0, 0.0, 0.0, 0.0]), "3": torch.zeros(4)})
    bar.batch(0.25, {"1": torch.ones(1)})  # too soon to be drawn
    bar.epoch({"epoch": 2, "train_loss": 0.25, "validation_accuracy": 0.75})
    bar.batch(0.125, {})
    bar.epoch({"epoch": 3, "train_loss": 0.125})
    assert shown.names == ["epoch 2/3", "epoch 3/3", "epoch 3/3"]
    assert shown.postfixes == [
        "loss 0.500, spikes 0.125",
        "loss 0.125, validation 75.0 %, spikes 0.000",
    ]
    assert shown.updates == 3


def test_an_ended_bar_is_closed_once() -> None:
    closed: list[int] = []
    bar = Bar(RecordedBar, io.StringIO())
    bar.close()
    bar.bar = SimpleNamespace(close=lambda: closed.append(1))
    bar.close()
    bar.close()
    assert closed == [1]


@pytest.mark.parametrize("name", neurons())
def test_every_neuron_of_the_ready_networks_learns_something(name) -> None:
    result = snn.fit(
        lambda: mlp([6], 3, 16, name), split(), **{**SETTINGS, "num_steps": 8, "epochs": 1}, lr=0.02
    )
    assert set(result.spikes_per_neuron) == {"2", "4"}
    assert all(p.grad is not None for p in result.net.parameters())


def test_a_convolutional_network_trains() -> None:
    x, y = torch.rand(6, 2, 8, 9), torch.arange(6) % 3
    result = snn.fit(lambda: conv([2, 8, 9], 3, hidden=[3, 4]), (x, y, x, y), **SETTINGS)
    assert list(result.spikes_per_neuron) == ["1", "4", "8"]
