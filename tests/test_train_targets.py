"""Training on other losses and targets than the library's own, on data sets, own loops, and with
the options of an update: clipping, accumulation, schedules, precision."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, TensorDataset
from training import (
    SETTINGS,
    Interruption,
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
from spikeloom.train import Interrupted, confusion, macro_f1, top_k

LONGER = {**SETTINGS, "epochs": 15, "lr": 0.1}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


def integrator(outputs: int = 3) -> nn.Sequential:
    """The last neuron does not fire: its output is a membrane."""
    return nn.Sequential(
        nn.Linear(6, 16),
        snn.Leaky(0.8, init_hidden=True),
        nn.Linear(16, outputs),
        snn.LI(0.8, init_hidden=True),
    )


class OwnLoop(nn.Module):
    """The network of snnTorch's tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 12), snn.Leaky(beta=0.8)
        self.fc2, self.lif2 = nn.Linear(12, 3), snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, membranes = [], []
        for _ in range(5):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


# -- losses of torch -------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [plain, integrator])
@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), nn.functional.cross_entropy, nn.MultiMarginLoss()]
)
def test_a_loss_of_torch_does_not_learn(net, loss) -> None:
    result = snn.fit(net, split(), **LONGER, loss=loss)
    assert result.test_accuracy.last > 0.9
    assert result.predict(split().x_test).eq(split().y_test).float().mean() > 0.9


def test_cross_entropy_reads_something_else_than_spike_counts() -> None:
    net = plain()
    spk = snn.run(net, split().x_test, 5)[0]
    wanted = nn.functional.cross_entropy(spk.sum(0), split().y_test)
    found = snn.evaluate(net, split(), num_steps=5, loss=nn.CrossEntropyLoss())
    assert found.loss == pytest.approx(wanted.item())
    rates = snn.evaluate(net, split(), num_steps=5, loss=nn.CrossEntropyLoss(), readout="rate")
    assert rates.loss == pytest.approx(
        nn.functional.cross_entropy(spk.mean(0), split().y_test).item()
    )
    mem = snn.run(net, split().x_test, 5, record=["1.mem"]).record["1.mem"]
    highest = snn.evaluate(
        net, split(), num_steps=5, loss=nn.CrossEntropyLoss(), readout="max_membrane"
    )
    assert highest.loss == pytest.approx(
        nn.functional.cross_entropy(mem.amax(0), split().y_test).item()
    )
    own = snn.evaluate(
        net, split(), num_steps=5, loss=nn.CrossEntropyLoss(), readout=lambda spk: spk[1:].sum(0)
    )
    assert own.loss == pytest.approx(
        nn.functional.cross_entropy(spk[1:].sum(0), split().y_test).item()
    )


def line(number: int, seed: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(number, 6, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :2] * 0.5 + 0.2


def test_a_regression_is_refused_or_does_not_learn(tmp_path) -> None:
    data = (*line(64, 1), *line(32, 2))
    result = snn.fit(
        lambda: integrator(2), data, **LONGER, loss=nn.MSELoss(), validation=0.1, out=tmp_path
    )
    assert result.history[-1]["train_loss"] < 0.3 * result.history[0]["train_loss"]
    assert "train_accuracy" not in result.history[0] and result.scored == "test_loss"
    assert result.predict(data[2]).shape == (32, 2)
    wanted = nn.functional.mse_loss(result.predict(data[2]), data[3]).item()
    assert result.each[0] == pytest.approx(wanted, rel=1e-5)
    assert str(result).startswith("test loss 0.0")
    again = snn.fit(
        lambda: integrator(2),
        data,
        **LONGER,
        loss=nn.MSELoss(),
        validation=0.1,
        out=tmp_path,
        resume=True,
    )
    assert again.history == result.history


def test_several_labels_a_sample_are_not_learned() -> None:
    x, y = toy(40)
    targets = torch.stack([y == 0, y != 1], 1)
    data = (x, targets, *(part[:9] for part in (x, targets)))
    result = snn.fit(lambda: integrator(2), data, **LONGER, loss=nn.BCEWithLogitsLoss())
    assert ((result.predict(x) > 0) == targets).float().mean() > 0.9


def test_a_series_of_values_is_not_compared_at_every_step() -> None:
    x = torch.rand(24, 5, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, :, :2].cumsum(1) * 0.2
    arguments = {**LONGER, "num_steps": None, "encode": "sequence", "readout": "sequence"}
    data = (x, y, x[:8], y[:8])
    result = snn.fit(lambda: integrator(2), data, **arguments, loss=nn.MSELoss())
    assert result.predict(x).shape == (24, 5, 2)
    assert result.history[-1]["train_loss"] < 0.4 * result.history[0]["train_loss"]


REFUSED: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "values without a loss for them": (
        (*line(8, 1), *line(8, 2)),
        {},
        TypeError,
        r"must be whole numbers, got torch.float32.*write y.long\(\) if they are classes, or "
        r"loss=nn.MSELoss\(\) for regression",
    ),
    "one-hot": (
        tuple(part for x, y in (toy(9), toy(9)) for part in (x, torch.eye(3)[y])),
        {},
        TypeError,
        r"write y.argmax\(1\) for one-hot labels, or loss=nn.BCEWithLogitsLoss",
    ),
    "several labels": (
        tuple(part for x, y in (toy(9), toy(9)) for part in (x, torch.ones(9, 3))),
        {"loss": SF.ce_rate_loss()},
        TypeError,
        r"ce_rate_loss takes classes; write loss=nn.BCEWithLogitsLoss",
    ),
    "classes for MSELoss": (
        None,
        {"loss": nn.MSELoss()},
        ValueError,
        r"MSELoss compares outputs and targets of one shape, got \(2, 3\) and \(2,\); write "
        r"loss=nn.CrossEntropyLoss\(\)",
    ),
    "a broadcast": (
        tuple(part for x, y in (line(8, 1), line(8, 2)) for part in (x, y[:, 0])),
        {"loss": nn.MSELoss(), "net": lambda: integrator(1)},
        ValueError,
        r"got \(2, 1\) and \(2,\); write y.unsqueeze\(1\)",
    ),
    "other outputs": (
        (*line(8, 1), *line(8, 2)),
        {"loss": nn.L1Loss()},
        ValueError,
        r"got \(2, 3\) and \(2, 2\); write a last layer with 2 outputs",
    ),
    "a loss that does not fit": (
        None,
        {"loss": lambda spk, y: spk @ torch.ones(7)},
        ValueError,
        r"cannot be computed of outputs \(5, 2, 3\) and targets \(2,\): .*; a loss is called with",
    ),
    "class weights": (
        None,
        {"loss": nn.CrossEntropyLoss(), "class_weights": "balanced"},
        TypeError,
        r"give the weights to the loss itself, e.g. nn.CrossEntropyLoss\(weight=",
    ),
    "a readout twice": (
        None,
        {"loss": SF.ce_rate_loss(), "readout": "rate"},
        ValueError,
        "got ce_rate_loss, which reads the output in its own way; leave readout out",
    ),
    "a readout's name": (
        None,
        {"loss": nn.CrossEntropyLoss(), "readout": "counts"},
        ValueError,
        "readout must be one of .*did you mean 'count'",
    ),
    "precision": (
        None,
        {"precision": "bfloat16"},
        ValueError,
        "precision must be one of 'fp32', 'bf",
    ),
    "precision of a rule": (
        None,
        {"precision": "bf16", "rule": "eprop"},
        ValueError,
        'precision needs a rule that runs the whole sequence .*got rule="eprop"',
    ),
    "clip": (None, {"clip": 0.0}, ValueError, "clip must be positive, got 0"),
    "accumulate": (None, {"accumulate": 0}, ValueError, "accumulate must be at least 1, got 0"),
    "accumulate over chunks": (
        None,
        {"accumulate": 2, "rule": "tbptt"},
        ValueError,
        'accumulate needs a rule that runs the whole sequence .*got rule="tbptt"',
    ),
    "schedule": (
        None,
        {"schedule": lambda optimizer: 3},
        TypeError,
        "schedule must make a scheduler of torch.optim.lr_scheduler, got int; write schedule=",
    ),
    "device": (None, {"device": "gpu"}, ValueError, "device must be a device, got 'gpu'"),
    "metrics": (None, {"metrics": [top_k(2)]}, TypeError, "metrics must be functions by name"),
    "metric's name": (
        None,
        {"metrics": {"loss": top_k(2)}},
        ValueError,
        "needs a name that is not taken, got 'loss'",
    ),
    "penalty": (
        None,
        {"penalty": SF.rate_band(0.1, 0.2)},
        ValueError,
        r"penalty is for hidden spiking layers, got a network without any",
    ),
    "penalty's layer": (
        None,
        {"penalty": {"0": SF.rate_band(0.1, 0.2)}},
        ValueError,
        "a layer in penalty must be one of '1', got '0'",
    ),
    "own loop": (
        None,
        {"net": OwnLoop},
        ValueError,
        r"OwnLoop has a loop over time of its own; write snn.fit\(snn.layerwise\(net\), ...\)",
    ),
    "own loop with steps": (
        None,
        {"net": lambda: snn.layerwise(OwnLoop())},
        ValueError,
        "counts its steps itself, got num_steps=5; leave num_steps out",
    ),
    "own loop of a rule": (
        None,
        {"net": snn.layerwise(OwnLoop()), "rule": "tbptt", "num_steps": None},
        ValueError,
        "a network with a loop of its own needs a rule that runs the whole sequence",
    ),
    "frozen": (
        None,
        {"net": lambda: plain().requires_grad_(False)},
        ValueError,
        r"all of its 2 are frozen: write net.requires_grad_\(True\)",
    ),
    "a list of frames": (
        ([*toy(4)[0]], *tensors()[1:]),
        {},
        TypeError,
        r"one of the four is list; write torch.stack\(samples\)",
    ),
    "two targets": (
        (*tensors()[:3], tensors()[3].float()),
        {},
        TypeError,
        "training and test targets must be alike, got torch.int64 and torch.float32",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_noticed_after_work_has_begun(case) -> None:
    data, changes, error, text = REFUSED[case]
    arguments = {"net": plain, "data": split() if data is None else data, **SETTINGS, **changes}
    with pytest.raises(error, match=text):
        snn.fit(**arguments)


# -- more than a loss ------------------------------------------------------------------------------


def test_a_penalty_of_hidden_spikes_changes_nothing() -> None:
    def hidden(**more: Any) -> float:
        return snn.fit(build, split(), **LONGER, **more).spikes_per_neuron["2"]

    free, quiet = hidden(), hidden(penalty=SF.l1_rate_sparsity(0.01))
    assert 0 < quiet < 0.7 * free
    assert hidden(penalty={"2": SF.l1_rate_sparsity(0.01)}) == quiet


def test_balanced_weights_are_not_those_of_the_classes() -> None:
    x, y = torch.rand(12, 6), torch.tensor([0] * 8 + [1] * 3 + [2])
    arguments = {**SETTINGS, "loss": SF.ce_count_loss()}
    balanced = snn.fit(plain, (x, y, x, y), **arguments, class_weights="balanced")
    weight = 12 / (3 * torch.tensor([8.0, 3.0, 1.0]))
    by_hand = snn.fit(plain, (x, y, x, y), **SETTINGS, loss=SF.ce_count_loss(weight=weight))
    assert same_weights(balanced.net, by_hand.net) and balanced.history == by_hand.history
    listed = snn.fit(plain, (x, y, x, y), **arguments, class_weights=weight.tolist())
    assert same_weights(listed.net, by_hand.net) and arguments["loss"].weight is None


def test_metrics_have_other_values_than_their_definitions() -> None:
    scores = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]])
    targets = torch.tensor([0, 1, 2, 2])
    assert confusion(scores, targets).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    f1 = [1.0, 2 * 1 / (2 + 1), 2 * 1 / (1 + 2)]
    assert macro_f1(scores, targets) == pytest.approx(sum(f1) / 3)
    assert (top_k(1)(scores, targets), top_k(2)(scores, targets)) == (0.75, 1.0)
    result = snn.fit(plain, split(), **SETTINGS, metrics={"f1": macro_f1, "top2": top_k(2)})
    row = result.history[-1]
    found = snn.evaluate(result.net, split(), num_steps=5, metrics={"f1": macro_f1})
    assert row["test_f1"] == found.metrics["f1"] and row["test_top2"] >= row["test_accuracy"]
    assert "f1" in str(result)


# -- updates ---------------------------------------------------------------------------------------


def test_two_batches_accumulated_differ_from_one_of_twice_the_size() -> None:
    smooth = {**SETTINGS, "loss": SF.ce_count_loss()}
    data = tuple(part.double() if part.is_floating_point() else part for part in tensors())
    net = plain().double()
    sgd = lambda parameters: torch.optim.SGD(parameters, lr=0.1)  # noqa: E731
    one, two = (
        snn.fit(
            copy.deepcopy(net),
            data,
            **{**smooth, "batch_size": size},
            accumulate=number,
            optimizer=sgd,
        ).net
        for size, number in ((4, 2), (8, 1))
    )
    assert torch.allclose(one[0].weight, two[0].weight, rtol=0, atol=1e-12)
    assert not torch.equal(net[0].weight, one[0].weight)


def test_options_that_change_the_result_were_missing_from_the_model_card(tmp_path: Path) -> None:
    changed = {"accumulate": 2, "clip": 0.5, "precision": "bf16"}
    for options in ({}, changed):
        folder = tmp_path / str(len(options))
        snn.fit(plain, split(), **SETTINGS, **options, out=folder)
        card = json.loads((folder / "run.json").read_text())
        held = {name: card["configuration"].get(name) for name in changed}
        assert held == {name: options.get(name) for name in changed}


def test_gradients_are_longer_than_the_clip() -> None:
    norms: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            grads = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(torch.stack([grad.norm() for grad in grads]).norm().item())
            super().step(closure)

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        return Watched(parameters, lr=0.1)

    arguments = {**SETTINGS, "optimizer": optimizer, "check": False}  # which steps a copy once
    snn.fit(plain, split(), **arguments)
    free = norms.copy()
    norms.clear()
    snn.fit(plain, split(), **arguments, clip=1e-3)
    assert max(norms) <= 1e-3 * (1 + 1e-4) < min(free)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (lambda o: lr_scheduler.StepLR(o, 1, 0.1), [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
        (
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=6),
            lr_scheduler.OneCycleLR,
        ),
        (
            lambda o: lr_scheduler.ReduceLROnPlateau(
                o, factor=0.1, patience=0, threshold=9.0, threshold_mode="abs"
            ),
            [0.1] * 6 + [0.01] * 3,
        ),
    ],
)
def test_a_scheduler_of_torch_steps_at_another_time(schedule, rates) -> None:
    seen: list[float] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            seen.append(self.param_groups[0]["lr"])
            super().step(closure)

    epochs = 3 if isinstance(rates, list) and len(rates) == 9 else 2
    optimizer = lambda parameters: Watched(parameters, lr=0.1)  # noqa: E731
    arguments = {**SETTINGS, "epochs": epochs, "optimizer": optimizer, "check": False}
    snn.fit(plain, split(), **arguments, schedule=schedule)
    if not isinstance(rates, list):
        other = torch.optim.SGD(plain().parameters(), lr=0.1)
        scheduler, wanted = schedule(other), []
        for _ in range(6):
            wanted.append(other.param_groups[0]["lr"])
            other.step()
            scheduler.step()
        rates = wanted
    assert seen == pytest.approx(rates)


@pytest.mark.parametrize(
    "arguments",
    [
        {"schedule": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9)},
        {"schedule": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0)},
        {"accumulate": 2, "clip": 0.1, "precision": "bf16", "validation": 0.2},
        {"accumulate": 2, "clip": 0.1, "precision": "fp16"},
        {"metrics": {"f1": macro_f1}, "penalty": SF.l1_rate_sparsity(1e-3)},
    ],
    ids=["one cycle", "plateau", "update", "fp16", "penalty"],
)
def test_a_resumed_training_with_options_differs(arguments, tmp_path) -> None:
    base = {**SETTINGS, **arguments}
    whole = snn.fit(build, split(), **base, loss=Interruption(None), out=tmp_path / "whole")
    with pytest.raises(Interrupted):
        snn.fit(build, split(), **base, loss=Interruption(4), out=tmp_path / "a")
    resumed = snn.fit(
        build, split(), **base, loss=Interruption(None), out=tmp_path / "a", resume=True
    )
    assert resumed.history == whole.history and same_weights(resumed.net, whole.net)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_16_bits_train_nothing_or_train_in_float32(precision, dtype) -> None:
    seen: set[torch.dtype] = set()

    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            seen.add(out.dtype)
            return out

    def net() -> nn.Sequential:
        made = build()
        made[0] = Watched(6, 12)
        return made

    result = snn.fit(net, split(), **LONGER, precision=precision)
    assert dtype in seen and result.test_accuracy.last > 0.8
    assert result.net[0].weight.dtype == torch.float32


@pytest.mark.parametrize("options", [{}, {"clip": 1e3}])
def test_gradients_too_small_for_float16_become_zero(options) -> None:
    def faint(outputs: Tensor, y: Tensor) -> Tensor:
        return SF.ce_rate_loss()(outputs, y).sum() * 1e-9

    before = plain()
    net = copy.deepcopy(before)
    sgd = torch.optim.SGD(net.parameters(), lr=1e9)
    snn.fit(net, split(), **SETTINGS, loss=faint, precision="fp16", optimizer=sgd, **options)
    assert (net[0].weight - before[0].weight).abs().max() > 0.01


# -- data ------------------------------------------------------------------------------------------


def test_data_sets_are_read_in_another_order_than_tensors() -> None:
    x_train, y_train, x_test, y_test = tensors()
    sets = TensorDataset(x_train, y_train), TensorDataset(x_test, y_test)
    result = snn.fit(plain, sets, **LONGER)
    assert result.test_accuracy.last > 0.9
    again = snn.fit(plain, sets, **LONGER)
    assert again.history == result.history
    held = snn.fit(plain, sets, **SETTINGS, validation=0.2)
    assert "validation_loss" in held.history[0]
    three = snn.fit(plain, (*sets, sets[1]), **SETTINGS)
    assert three.history[-1]["validation_accuracy"] == three.test_accuracy.last


def test_a_data_set_alone_is_refused_or_has_a_test() -> None:
    x, y = toy(20)
    for data in (TensorDataset(x, y), DataLoader(TensorDataset(x, y), 8)):
        result = snn.fit(plain, data, **SETTINGS)
        assert result.test == {} and result.scored == "train_accuracy"
        assert str(result).startswith("training accuracy")
        assert torch.tensor(result.test_accuracy).isnan().all()


def test_three_loaders_are_refused() -> None:
    train, test = loaders()
    result = snn.fit(plain, (train, test, test), **SETTINGS)
    assert result.history[-1]["validation_accuracy"] == result.test_accuracy.last
    with pytest.raises(ValueError, match="data holds validation samples already"):
        snn.fit(plain, (train, test, test), **SETTINGS, validation=0.1)
    with pytest.raises(
        TypeError, match=r"divides tensors and data sets, got DataLoader; write dat"
    ):
        snn.fit(plain, (train, test), **SETTINGS, validation=0.1)


class Events(Dataset):
    """As Tonic gives them: int16 counts [T, 2, 3]."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        counts = torch.randint(0, 3, (5, 2, 3), generator=generator, dtype=torch.int16)
        return counts, index % 3


def time_first(batch: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in batch], 1), torch.tensor([y for _, y in batch])


def test_batches_of_tonic_cannot_be_trained_on() -> None:
    net = lambda: nn.Sequential(nn.Flatten(), plain())  # noqa: E731
    arguments = {**SETTINGS, "num_steps": None}
    batch_first = [DataLoader(Events(), 4) for _ in range(2)]
    result = snn.fit(net, tuple(batch_first), **arguments, encode="sequence")
    first = [DataLoader(Events(), 4, collate_fn=time_first) for _ in range(2)]
    same = snn.fit(net, tuple(first), **arguments, encode="time_first")
    assert same.history == result.history
    with pytest.raises(ValueError, match=r'batches \[T, B, ...\] need encode="time_first"'):
        snn.fit(net, tuple(first), **arguments, encode="sequence")


def test_a_remedy_for_a_loader_cannot_be_written_in_a_loader() -> None:
    x, y = toy(8)
    bytes_ = [((255 * x).byte(), y)]
    with pytest.raises(TypeError, match=r"write transform=lambda x: x.float\(\) / 255 in the data"):
        snn.fit(plain, (bytes_, bytes_), **SETTINGS)
    lists = [([*x], y)]
    with pytest.raises(TypeError, match=r"must yield tensors, got a list of 8 tensors; .*pad_sequ"):
        snn.fit(plain, (lists, lists), **SETTINGS)


# -- networks --------------------------------------------------------------------------------------


def test_a_network_with_its_own_loop_cannot_be_trained(tmp_path) -> None:
    arguments = {**LONGER, "num_steps": None}
    net = lambda: snn.layerwise(OwnLoop())  # noqa: E731
    result = snn.fit(net, split(), **arguments, out=tmp_path)
    assert result.test_accuracy.last > 0.9 and set(result.spikes_per_neuron) == {"lif1", "lif2"}
    spk, _ = result.net(split().x_test)
    assert result.spikes_per_neuron["lif2"] == pytest.approx(spk.sum(0).mean().item())
    assert torch.equal(result.predict(split().x_test), spk.sum(0).argmax(-1))
    membranes = snn.fit(net, split(), **arguments, loss=SF.ce_max_membrane_loss())
    assert membranes.test_accuracy.last > 0.9
    again = snn.fit(net, split(), **arguments, out=tmp_path, resume=True)
    assert again.history == result.history
    found = snn.evaluate(result.net, split())
    assert found.accuracy == result.test_accuracy.last


def test_an_own_loop_trains_otherwise_than_the_same_network_of_one_step() -> None:
    torch.manual_seed(0)
    own = OwnLoop()
    one = nn.Sequential(
        copy.deepcopy(own.fc1),
        snn.Leaky(0.8, init_hidden=True),
        copy.deepcopy(own.fc2),
        snn.Leaky(0.8, init_hidden=True, output=True),
    )
    loops = snn.fit(snn.layerwise(own), split(), **{**SETTINGS, "num_steps": None})
    steps = snn.fit(one, split(), **SETTINGS)
    assert loops.history == steps.history
    assert torch.equal(own.fc1.weight, one[0].weight)


class Quantised(nn.Module):
    """Weights that are computed in forward without a module's parameters reaching it, as those of
    quantisation libraries."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"linear": nn.Linear(6, 3)})

    def forward(self, x: Tensor) -> Tensor:
        weight = self.inner["linear"].weight
        return nn.functional.linear(x, weight + ((weight * 8).round() / 8 - weight).detach())


def test_quantised_weights_break_the_count_of_operations() -> None:
    net = nn.Sequential(Quantised(), snn.Leaky(0.8, init_hidden=True, output=True))
    assert len(snn.fit(net, split(), **SETTINGS).history) == 3


# -- results ---------------------------------------------------------------------------------------


def test_a_result_predicts_otherwise_after_pickling_or_not_at_all() -> None:
    result = snn.fit(plain, split(), **SETTINGS)
    x = split().x_test
    assert torch.equal(result.predict(x.numpy()), result.predict(x))
    assert torch.equal(result.scores(x), snn.run(result.net, x, 5)[0].sum(0))
    copied = pickle.loads(pickle.dumps(result))
    assert copied.history == result.history
    with pytest.raises(ValueError, match=r"that was pickled .*write snn.evaluate\(result.net"):
        copied.predict(x)


def test_an_evaluation_changes_the_network_or_counts_otherwise() -> None:
    net = build().train()
    before, state = torch.get_rng_state(), copy.deepcopy(net.state_dict())
    found = snn.evaluate(net, split(), num_steps=5, encode="rate")
    assert net.training and torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    assert found.accuracy == pytest.approx(found.predictions.eq(split().y_test).float().mean())
    assert found.confusion.diagonal().sum() == round(found.accuracy * 9)
    loader = DataLoader(TensorDataset(*toy(9, seed=2)), 4)
    same = snn.evaluate(net, loader, num_steps=5)
    assert torch.equal(same.targets, split().y_test) and "on 9 samples" in str(same)
    with pytest.raises(TypeError, match="data must be samples and targets"):
        snn.evaluate(net, "digits", num_steps=5)
    with pytest.raises(TypeError, match=r"write loss=nn.MSELoss\(\)"):
        snn.evaluate(net, line(8, 1), num_steps=5)
