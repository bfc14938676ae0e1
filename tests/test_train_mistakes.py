"""Training: every mistake is named before work begins."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training import (
    SETTINGS,
    bad_data,
    leave_out_pictures,
    plain,
    split,
    toy,
)

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.core.numbers import device_of
from spikeloom.train import mlp


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests need none."""
    if "picture" not in request.node.name and "overwritten" not in request.node.name:
        leave_out_pictures(monkeypatch)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self) -> Iterator[Any]:
        return iter([])


MISTAKES: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no steps": (
        None,
        {"num_steps": None},
        ValueError,
        r"needs the number of time steps, got none; write num_steps=12, .* snn\.layerwise",
    ),
    "zero steps": (None, {"num_steps": 0}, ValueError, "num_steps must be at least 1, got 0"),
    "epochs": (None, {"epochs": 1.5}, TypeError, r"epochs must be a whole number, got 1\.5"),
    "batch size": (None, {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    "threads": (None, {"threads": 0}, ValueError, "threads must be at least 1, got 0"),
    "rule": (
        None,
        {"rule": "stdp"},
        ValueError,
        "rule must be one of .*'bptt', 'tbptt'.*got 'stdp'",
    ),
    "encoding": (
        None,
        {"encode": "rat"},
        ValueError,
        "encode must be one of .*did you mean 'rate'",
    ),
    "encoding kind": (None, {"encode": 3}, TypeError, "encode must be a name or a function, got 3"),
    "encoder's shape": (
        None,
        {"encode": lambda x, t: x},
        ValueError,
        r"return \[T, B, ...\] = \[5, 2, ...\], got \(2, 6",
    ),
    "static sequence": (
        None,
        {"encode": "sequence"},
        ValueError,
        'static samples need encode="direct"',
    ),
    "schedule": (
        None,
        {"schedule": "linear"},
        ValueError,
        "schedule must be one of 'cosine', 'constant'",
    ),
    "learning rate": (None, {"lr": 0.0}, ValueError, r"lr must be in \(0, 1000\], got 0"),
    "two rates": (
        None,
        {"lr": 0.1, "optimizer": torch.optim.SGD},
        ValueError,
        "lr=0.1 is for the default optimizer",
    ),
    "optimizer": (None, {"optimizer": "adam"}, TypeError, "optimizer must be .*got 'adam'"),
    "optimizer with a closure": (
        None,
        {"optimizer": torch.optim.LBFGS},
        TypeError,
        "take one step for each batch, got LBFGS, .*; write torch.optim.Adam",
    ),
    "foreign optimizer": (
        None,
        {"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)},
        ValueError,
        "optimizer must hold parameters of net",
    ),
    "loss class": (None, {"loss": SF.ce_rate_loss}, TypeError, r"write loss=ce_rate_loss\(\)"),
    "loss of many": (
        None,
        {"loss": SF.ce_count_loss(reduction="none")},
        ValueError,
        'return one number.*"mean"',
    ),
    "seeds": (None, {"seeds": 2}, ValueError, "seeds=2 trains several networks, got one network"),
    "resume nowhere": (
        None,
        {"resume": True},
        ValueError,
        "resume=True is about a folder, got none",
    ),
    "no data": ([1, 2, 3], {}, TypeError, "data must be a Split .*; got list of 3"),
    "no test part": (toy(), {}, TypeError, "data must have a test part, got two tensors"),
    "integer images": (
        bad_data(x_train=lambda x: (255 * x).byte()),
        {},
        TypeError,
        r"samples of the training part must be floating point, got torch.uint8.*write x.float\(\) "
        r"/ 255",
    ),
    "NaN": (
        bad_data(x_test=lambda x: x.clone().fill_(float("nan"))),
        {},
        ValueError,
        "samples of the test part holds 54 NaN",
    ),
    "float labels": (
        bad_data(y_train=Tensor.float),
        {},
        TypeError,
        "training and test targets must be alike, got torch.float32 and torch.int64",
    ),
    "one-hot floats": (
        bad_data(y_train=lambda y: nn.functional.one_hot(y, 3).float()),
        {},
        TypeError,
        "training and test targets must be alike, got torch.float32 and torch.int64",
    ),
    "one-hot": (
        bad_data(y_train=lambda y: nn.functional.one_hot(y, 3)),
        {},
        ValueError,
        r"must have shape \[N\], got \(20, 3\); write y.argmax\(1\)",
    ),
    "lengths": (
        bad_data(y_test=lambda y: y[1:]),
        {},
        ValueError,
        r"one label each, got samples \(9, 6\) and 8 labels",
    ),
    "negative label": (
        bad_data(y_test=lambda y: y - 1),
        {},
        ValueError,
        "must count from 0, got -1",
    ),
    "too many classes": (
        bad_data(y_test=lambda y: y + 3),
        {},
        ValueError,
        "labels reach 5, so that the network needs 6 outputs, got 3",
    ),
    "unlike parts": (
        bad_data(x_test=lambda x: x[:, :5]),
        {},
        ValueError,
        "training and test samples must be alike",
    ),
    "rate above one": (
        bad_data(x_train=lambda x: 16 * x),
        {"encode": "rate"},
        ValueError,
        r"takes probabilities in \[0, 1\], got samples from",
    ),
    "features": (
        bad_data(x_train=lambda x: x[:, :5], x_test=lambda x: x[:, :5]),
        {},
        ValueError,
        r"layer '0' \(Linear\): expects 6 features in the last axis, got a step of shape \(2, 5\)",
    ),
    "double": (
        bad_data(x_train=Tensor.double, x_test=Tensor.double),
        {},
        TypeError,
        r"layer '0' \(Linear\): its weight is torch.float32, its input torch.float64",
    ),
    "three values a sample": (
        [[(toy(2)[0], toy(2)[1], 0)]] * 2,
        {},
        TypeError,
        r"must yield \(x, y\), got tuple of 3; write a data set, or a collate function",
    ),
    "names as labels": (
        [[(toy(2)[0], ("cat", "dog"))]] * 2,
        {},
        TypeError,
        "must yield numbers, got tuple of 2; write class numbers 0, 1, 2",
    ),
    "an array of names": (
        (toy(2)[0], np.array(["cat", "dog"]), *toy(2)),
        {},
        TypeError,
        "one of the four is ndarray of text or objects; write class numbers",
    ),
    "a stream without end": (Stream(), {}, TypeError, "got Stream without len.*define __len__"),
    "a column of labels": (
        bad_data(y_train=lambda y: y[:, None], y_test=lambda y: y[:, None]),
        {},
        ValueError,
        r"got \(20, 1\); write y.squeeze\(1\)",
    ),
    "the order of scikit-learn": (
        (toy(4)[0], toy(4)[0], toy(4)[1], toy(4)[1]),
        {},
        ValueError,
        "scikit-learn's train_test_split; exchange the two in the middle",
    ),
    "two pairs": ((toy(4), toy(4)), {}, TypeError, r"tuple of 2 tuples; write \(\*train, \*test"),
    "a finished scheduler": (
        None,
        {"schedule": torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.ones(1)]), 1)},
        TypeError,
        "got a finished StepLR; write schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR",
    ),
    "a class of schedulers": (
        None,
        {"schedule": torch.optim.lr_scheduler.StepLR},
        TypeError,
        "schedule must be called with the optimizer alone, got .*step_size.*write schedule=lambda",
    ),
    "a loss without gradient": (
        None,
        {"loss": lambda spk, y: SF.ce_rate_loss()(spk, y).detach()},
        RuntimeError,
        r"the loss must depend on the weights, got one without gradient; leave out detach\(\)",
    ),
    "a metric without value": (
        None,
        {"metrics": {"mine": lambda scores, y: None}, "epochs": 1, "lr": 1e-9},
        TypeError,
        r"metrics\['mine'\] must return one number, got NoneType",
    ),
    "a device that is missing": (
        None,
        {"device": "cuda:99"},
        ValueError,
        "device must be a device of this machine, got 'cuda:99'.*write device='cpu'",
    ),
    "a folder of the name ~": (
        None,
        {"out": "~/runs"},
        ValueError,
        r"out must be a path, got '~/runs', .*Path\('~/runs'\).expanduser\(\)",
    ),
}


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_training_without_gradients_ends_in_torchs_words(off) -> None:
    with off(), pytest.raises(RuntimeError, match=r"fit computes gradients, got torch.no_grad"):
        snn.fit(plain(), split(), **SETTINGS)


def test_a_prediction_for_a_loader_ends_in_torchs_words() -> None:
    result = snn.fit(plain(), split(), **{**SETTINGS, "epochs": 1})
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*toy(4)), 2)
    with pytest.raises(TypeError, match=r"got DataLoader; write torch.cat\(\[result.predict"):
        result.predict(loader)


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_before_work_begins(case, tmp_path) -> None:
    data, changes, error, text = MISTAKES[case]
    net = plain()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(error, match=text):
        snn.fit(net, split() if data is None else data, **{**SETTINGS, **changes})
    if case not in ("loss of many", "a metric without value"):
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("net", "error", "text"),
    [
        ("mlp", TypeError, "net must be a torch.nn.Module, got str"),
        (snn.Leaky, TypeError, r"function without arguments .*got Leaky .*'beta'"),
        (nn.Linear(6, 3), ValueError, "net must have at least one spiking neuron, got none"),
        (
            nn.Sequential(snn.Leaky(0.9, init_hidden=True)),
            ValueError,
            "must have parameters that require a gradient",
        ),
        (
            nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9), nn.Linear(3, 3)),
            TypeError,
            r"layer '2'.*init_hidden=True",
        ),
        (
            nn.Sequential(
                nn.Unflatten(1, (1, 6)), nn.Linear(6, 3), snn.Leaky(0.9, init_hidden=True)
            ),
            ValueError,
            r"the network must return \[T, B, classes\], got \(5, 2, 1, 3\)",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::spikeloom.core.neuron.TimeAxisWarning")
def test_a_network_that_cannot_be_trained_is_refused(net, error, text) -> None:
    with pytest.raises(error, match=text):
        snn.fit(net, split(), **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epochs": 2}, r"epochs was 3 in .* and is 2 now; give epochs=3"),
        ({"batch_size": 4}, "batch_size was 8 in"),
        ({"num_steps": 6}, "num_steps was 5 in"),
        ({"encode": "rate"}, "encode was 'direct' in .* and is 'rate' now"),
        ({"seed": 1}, r"resume=True needs a checkpoint|seed was 0"),
        ({"lr": 0.1}, r"optimizer.lr was 0\.002 in .* and is 0\.1 now; give the same optimizer.lr"),
        ({"optimizer": torch.optim.SGD}, "optimizer.kind was 'Adam' in"),
        ({"schedule": "constant"}, "schedule was 'cosine' in"),
        ({"loss": SF.ce_rate_loss()}, r"loss was .mse_count_loss\(.* and is .ce_rate_loss\("),
        ({"net": lambda: mlp([6], 3, 4)}, "network was .* and is .* now"),
        (
            {"net": lambda: nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9, init_hidden=True))},
            "network was .1: Leaky.*beta=0.8.* and is .1: Leaky.*beta=0.9",
        ),
        ({"data": bad_data(x_train=lambda x: 0.9 * x)}, "data.* was .* and is .* now"),
    ],
)
def test_a_run_is_resumed_with_its_own_settings_only(changes, text, tmp_path) -> None:
    snn.fit(plain, split(), **SETTINGS, out=tmp_path)
    arguments = {"net": plain, "data": split(), **SETTINGS, **changes}
    with pytest.raises(ValueError, match=text):
        snn.fit(**arguments, out=tmp_path, resume=True)


def test_there_must_be_something_to_resume(tmp_path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"resume=True needs a checkpoint, and there is no .*checkpoint\.pt"
    ):
        snn.fit(plain, split(), **SETTINGS, out=tmp_path, resume=True)
    with pytest.raises(ValueError, match="got both; leave one out"):
        snn.fit(plain, split(), **SETTINGS, out=tmp_path, resume=True, force=True)
    (tmp_path / "checkpoint.pt").write_bytes(b"no zip file")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged: its checksum is missing"):
        snn.fit(plain, split(), **SETTINGS, out=tmp_path, resume=True)
    with pytest.raises(NotADirectoryError, match="out must be a folder, got the file"):
        snn.fit(plain, split(), **SETTINGS, out=tmp_path / "checkpoint.pt")


def test_a_loss_that_is_not_finite_ends_the_training_with_advice() -> None:
    with pytest.raises(
        RuntimeError,
        match=r"got nan in batch 1 of epoch 1; lower the learning rate, e.g. lr=0.0002",
    ):
        snn.fit(plain, split(), **SETTINGS, loss=lambda spk, y: spk.sum() * float("nan"))


def test_the_only_gpu_was_missing_or_the_one_after_the_last_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [str(device_of("device", name)) for name in ("cuda", "cuda:0")] == ["cuda", "cuda:0"]
    with pytest.raises(ValueError, match="got 'cuda:1': PyTorch sees 1 CUDA devices"):
        device_of("device", "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="got 'cuda': PyTorch sees 0 CUDA devices"):
        device_of("device", "cuda")


@pytest.mark.parametrize(
    ("device", "reason"),
    [("cuda:99", "PyTorch sees .* CUDA devices"), ("meta", "it holds no values"), ("hpu", ".+")],
)
@pytest.mark.parametrize("function", [snn.fit, snn.evaluate], ids=["fit", "evaluate"])
def test_a_device_that_this_machine_does_not_have_had_an_error_of_torch(
    function: Any, device: str, reason: str
) -> None:
    text = f"device must be a device of this machine, got '{device}': {reason}; write device='cpu'"
    with pytest.raises(ValueError, match=text):
        function(plain(), split(), num_steps=5, device=device)
