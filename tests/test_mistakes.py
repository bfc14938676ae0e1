"""Mistakes of newcomers, each as it is written: answered in words, with a remedy that helps."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import spikeloom as snn
from spikeloom import functional as SF

X, Y = torch.rand(8, 6), torch.arange(8) % 3
DATA = (X, Y, X, Y)
FIT: dict[str, Any] = {"num_steps": 4, "epochs": 1, "progress": False}


def net(**last: Any) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9, init_hidden=True, **last))


def hidden() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 5), snn.Leaky(0.9, init_hidden=True), nn.Linear(5, 3), snn.Leaky(0.9, True)
    )


class Own(nn.Module):
    """The network of snnTorch's tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 3), snn.Leaky(beta=0.9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem, spikes = self.lif.init_leaky(), []
        for _ in range(4):
            spk, mem = self.lif(self.fc(x), mem)
            spikes.append(spk)
        return torch.stack(spikes)


def twice() -> Any:
    lif = snn.Leaky(0.9, init_hidden=True)
    shared = nn.Sequential(nn.Linear(6, 5), lif, nn.Linear(5, 3), lif)
    return snn.run(shared, X, 4)


def second_backward() -> None:
    step = net()
    for _ in range(2):
        step(X).sum().backward()


def smaller_batch() -> None:
    step = net()
    step(X)
    step(X[:3])


def lstm() -> Any:
    return snn.run(nn.Sequential(nn.LSTM(6, 6), snn.Leaky(0.9, init_hidden=True)), X, 4)


SPK = torch.zeros(5, 8, 3)
LEAKY = snn.Leaky(0.9)

# name: what is written, a part of the answer (a rule, then a remedy)
ANSWERED: dict[str, tuple[Callable[[], Any], str]] = {
    # networks
    "wrong feature size": (lambda: snn.run(net(), torch.rand(8, 5), 4), r"'0' \(Linear\).*6 feat"),
    "image not flattened": (
        lambda: snn.run(net(), torch.rand(8, 1, 6, 6).flatten(2)[:, 0, :35], 4),
        r"'0' \(Linear\).*expects 6 features",
    ),
    "init_hidden forgotten": (
        lambda: snn.run(nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9), nn.Linear(3, 3)), X, 4),
        r"'2' \(Linear\).*init_hidden=True",
    ),
    "output=True in the middle": (
        lambda: snn.run(nn.Sequential(*net(output=True), nn.Linear(3, 3)), X, 4),
        r"'2' \(Linear\).*no output=True",
    ),
    "other dtype": (lambda: snn.run(net(), X.double(), 4), r"float64.*write x.to\(torch.float32\)"),
    "integers": (lambda: snn.run(net(), (X * 9).int(), 4), r"write x.to\(torch.float32\)"),
    "bytes": (lambda: snn.run(net(), (X * 9).byte(), 4), r"write x.to\(torch.float32\)"),
    "numpy": (lambda: snn.run(net(), X.numpy(), 4), r"torch.Tensor.*(as_tensor|from_numpy)"),
    "other device": (
        lambda: snn.run(net(), X.to("meta"), 4),
        r"'0' \(Linear\).*its weight is on cpu, its input on meta; write net.to\(device\)",
    ),
    "num_steps with a sequence": (
        lambda: snn.run(net(), torch.rand(4, 8, 6), 4),
        r"\(4, 8, 6\).*if axis 0 is time, drop num_steps",
    ),
    "no batch axis": (
        lambda: snn.run(net(), X[0], 4),
        r"no batch axis.*a single sample needs x.unsqueeze\(0\)",
    ),
    "num_steps forgotten": (
        lambda: SF.ce_rate_loss()(snn.run(net(), X.reshape(8, 1, 6)), Y),
        r"snn.run\(net, x, num_steps=...\) of samples",
    ),
    "batch first": (
        lambda: SF.ce_rate_loss()(snn.run(net(), torch.rand(8, 25, 6)), Y),
        r"write outputs as \[T, B, N\].*snn.run\(net, x.transpose\(0, 1\)\) of sequences",
    ),
    "NaN": (lambda: snn.run(net(), X * float("nan"), 4), r"NaN.*torch.nan_to_num"),
    "num_steps with a sequence of one axis": (
        lambda: snn.run(net(), torch.rand(6)),
        r"\[T, B, \.\.\.\].*num_steps",
    ),
    "no steps": (lambda: snn.run(net(), X, 0), r"num_steps must be a positive integer, got 0"),
    "own loop in run": (lambda: snn.run(Own(), X, 4), r"loop over time of its own.*snn.layerwise"),
    "one neuron object used twice": (twice, r"one neuron object for each layer"),
    "an LSTM before a neuron": (lstm, r"after nn.LSTM or nn.GRU pass on the first value"),
    "reset forgotten before backward": (second_backward, r"snn.(detach|reset)"),
    "reset forgotten before a smaller batch": (smaller_batch, r"reset"),
    "a class for a network": (lambda: snn.run(Own, X, 4), r"torch.nn.Module, got Own, a class"),
    # neurons
    "beta above 1": (lambda: snn.Leaky(1.5), r"beta must be in \[0, 1\], got 1.5"),
    "negative beta": (lambda: snn.Leaky(-0.5), r"beta must be in \[0, 1\], got -0.5"),
    "threshold 0": (lambda: snn.Leaky(0.9, threshold=0.0), r"threshold must .*got 0"),
    "one step to a neuron of sequences": (
        lambda: snn.Leaky(0.9, mode="sequence")(X),
        r"for one time step write mode=.step.",
    ),
    "reset's typo": (
        lambda: snn.Leaky(0.9, reset_mechanism="substract"),
        r"did you mean 'subtract'",
    ),
    "a surrogate as a text": (
        lambda: snn.Leaky(0.9, spike_grad="fast_sigmoid"),
        r"spike_grad.*surrogate.fast_sigmoid\(slope=25\)",
    ),
    "mode's typo": (lambda: snn.Leaky(0.9, mode="sequense"), r"did you mean 'sequence'"),
    "beta of a wrong size": (
        lambda: snn.run(
            nn.Sequential(nn.Linear(6, 3), snn.Leaky(torch.rand(4), init_hidden=True)), X, 4
        ),
        r"beta.*4.*3",
    ),
    "a state passed with init_hidden": (
        lambda: snn.Leaky(0.9, init_hidden=True)(X, torch.zeros(8, 6)),
        r"init_hidden",
    ),
    "a state of a wrong size": (lambda: LEAKY(X, torch.zeros(8, 5)), r"\(8, 5\)"),
    "a number as a state": (lambda: LEAKY(X, 0), r"mem must be a tensor, got 0.*zeros_like"),
    "tau": (lambda: snn.Leaky(tau=2.0), r"write beta=exp\(-1 / tau\)"),
    "a neuron of another library": (lambda: snn.LIFNode(), r"LIFNode.*did you mean"),
    "a misspelt neuron": (lambda: snn.Leeky(0.9), r"did you mean Leaky"),
    "RLeaky without feedback": (lambda: snn.RLeaky(0.9), r"linear_features"),
    # losses and encoders
    "one-hot to a loss": (lambda: SF.ce_rate_loss()(SPK, torch.eye(8, 3)), r"targets.argmax\(-1\)"),
    "labels 1 to 3": (lambda: SF.ce_rate_loss()(SPK, Y + 1), r"\[0, 2\].*count from 0"),
    "labels out of range": (
        lambda: SF.ce_rate_loss()(SPK, Y + 5),
        r"\[0, 2\] for 3 classes.*or an output layer with more classes",
    ),
    "a batch to a raster": (
        lambda: snn.spikeplot.raster(SPK, None),
        r"one sample of shape \[T, N\].*data\[:, 0\]",
    ),
    "a tuple to a loss": (lambda: SF.ce_rate_loss()((SPK, SPK), Y), r"spk, mem = net\(x\)"),
    "one step to a loss": (lambda: SF.ce_rate_loss()(SPK[0], Y), r"spk.unsqueeze\(0\)"),
    "a list to a loss": (lambda: SF.ce_rate_loss()([*SPK], Y), r"torch.stack\(spk_rec\)"),
    "accuracy of a tuple": (lambda: SF.accuracy_rate((SPK, SPK), Y), r"spk, mem = net\(x\)"),
    "rate without steps": (lambda: snn.spikegen.rate(X[0]), r"num_steps"),
    "rate of bytes": (lambda: snn.spikegen.rate(X * 255, 4), r"\[0, 1\].*255"),
    "latency with tau 0": (lambda: snn.spikegen.latency(X, 4, tau=0), r"tau must"),
    "an unknown record": (lambda: snn.run(net(), X, 4, record=["1.men"]), r"did you mean '1.mem'"),
    # fit
    "fit of labels that are floats": (
        lambda: snn.fit(net, (X, Y.float(), X, Y.float()), **FIT),
        r"y.long\(\) if they are classes, or loss=nn.MSELoss\(\) for regression",
    ),
    "fit of one-hot labels": (
        lambda: snn.fit(net, (X, torch.eye(3)[Y], X, torch.eye(3)[Y]), **FIT),
        r"y.argmax\(1\) for one-hot labels, or loss=nn.BCEWithLogitsLoss",
    ),
    "fit of a list of frames": (
        lambda: snn.fit(net, ([*X], Y, [*X], Y), **FIT),
        r"torch.stack\(sam",
    ),
    "fit of two tensors": (
        lambda: snn.fit(net, (X, Y), **FIT),
        r"test part.*TensorDataset\(x, y\)",
    ),
    "fit of a frozen network": (
        lambda: snn.fit(net().requires_grad_(False), DATA, **FIT),
        r"frozen: write net.requires_grad_\(True\)",
    ),
    "fit without a neuron": (
        lambda: snn.fit(nn.Linear(6, 3), DATA, **FIT),
        r"add snn.Leaky\(beta=0.9, init_hidden=True\)",
    ),
    "fit of an own loop": (
        lambda: snn.fit(Own, DATA, **FIT),
        r"snn.fit\(snn.layerwise\(net\), \.\.\.\)",
    ),
    "fit with MSELoss for classes": (
        lambda: snn.fit(net, DATA, loss=nn.MSELoss(), **FIT),
        r"write loss=nn.CrossEntropyLoss\(\)",
    ),
    "fit with an unknown keyword": (
        lambda: snn.fit(net, DATA, callback=[], **FIT),
        r"unexpected keyword argument 'callback'; did you mean 'callbacks'",
    ),
    "fit with an optimizer's name": (
        lambda: snn.fit(net, DATA, optimizer="adam", **FIT),
        r"optimizer=lambda parameters: torch.optim",
    ),
    "fit with a foreign optimizer": (
        lambda: snn.fit(net(), DATA, optimizer=torch.optim.SGD(net().parameters(), 0.1), **FIT),
        r"build it from net.parameters\(\)",
    ),
    "fit with a class of a loss": (
        lambda: snn.fit(net, DATA, loss=SF.ce_rate_loss, **FIT),
        r"write loss=ce_rate_loss\(\)",
    ),
    "fit with labels 1 to 3": (
        lambda: snn.fit(net, (X, Y + 1, X, Y + 1), **FIT),
        r"needs 4 outputs.*or the labels to 0",
    ),
    "fit without steps": (
        lambda: snn.fit(net, DATA, epochs=1, progress=False),
        r"write num_steps=12",
    ),
    "fit of an unknown rule": (
        lambda: snn.fit(net, DATA, rule="bpt", **FIT),
        r"did you mean 'bptt'",
    ),
    "early stopping without validation": (
        lambda: snn.fit(net, DATA, callbacks=snn.train.EarlyStopping(), **FIT),
        r"write fit\(validation=0.1\)",
    ),
}

# what J found refused or raw, and works now
WORK: dict[str, Callable[[], Any]] = {
    "CrossEntropyLoss": lambda: snn.fit(net, DATA, loss=nn.CrossEntropyLoss(), **FIT),
    "data sets": lambda: snn.fit(net, (TensorDataset(X, Y), TensorDataset(X, Y)), **FIT),
    "one data set": lambda: snn.fit(net, TensorDataset(X, Y), **FIT),
    "regression": lambda: snn.fit(net, (X, X[:, :3], X, X[:, :3]), loss=nn.MSELoss(), **FIT),
    "a layerwise network": lambda: snn.fit(
        snn.layerwise(Own()), DATA, **{**FIT, "num_steps": None}
    ),
    "validation": lambda: snn.fit(net, DATA, validation=0.25, **FIT),
    "a callback": lambda: snn.fit(net, DATA, callbacks=print, **FIT),
}


# name: what is written, a part of the warning
WARNED: dict[str, tuple[Callable[[], Any], str]] = {
    "a sequence to a neuron of steps": (
        lambda: snn.Leaky(0.9)(torch.rand(20, 8, 6)),
        r"axis 0 of \(20, 8, 6\) as the batch; if it is time, write mode=.sequence. or snn.run",
    ),
    "rate of standardised data": (
        lambda: snn.spikegen.rate(X - X.mean(), 4),
        r"below 0 and never spike.*\(x - x.min\(\)\) / \(x.max\(\) - x.min\(\)\)",
    ),
}

# What has no answer of this library, with the words of torch or Python that come instead: none of
# its code runs between the mistake and the error. Through `snn.run` the first four are in ANSWERED.
UNANSWERED: dict[str, tuple[Callable[[], Any], str]] = {
    "called: wrong feature size": (lambda: net()(X[:, :5]), "shapes cannot be multiplied"),
    "called: image not flattened": (
        lambda: net()(torch.rand(8, 1, 7, 7)),
        "shapes cannot be multiplied",
    ),
    "called: other device": (lambda: net()(X.to("meta")), "not on the expected device"),
    "called: integers": (lambda: net()((X * 9).int()), "must have the same dtype"),
    "called: init_hidden forgotten": (
        lambda: nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9), nn.Linear(3, 3))(X),
        "must be Tensor, not tuple",
    ),
    "called: output=True forgotten": (lambda: unpacked(net()(X)), "too many values to unpack"),
    "a method of a tensor on (spk, mem)": (
        lambda: snn.run(net(output=True), X, 4).sum(),
        "'tuple' object has no attribute 'sum'",
    ),
}


def unpacked(output: Any) -> Any:
    spk, mem = output
    return spk, mem


# The mistakes of the survey before this version, by their names there; each is a row above.
CALLED = {  # 18, with the network called directly, a step at a time
    "wrong feature size": "called: wrong feature size",
    "image not flattened": "called: image not flattened",
    "init_hidden forgotten": "called: init_hidden forgotten",
    "output=True forgotten": "called: output=True forgotten",
    "another device": "called: other device",
    "integer input": "called: integers",
    "[T, B, N] to a layer of steps": "a sequence to a neuron of steps",
    "[B, N] to a layer of sequences": "one step to a neuron of sequences",
    "smaller batch without reset": "reset forgotten before a smaller batch",
    "second backward": "reset forgotten before backward",
    "negative beta": "negative beta",
    "beta above 1": "beta above 1",
    "threshold 0": "threshold 0",
    "reset's name": "reset's typo",
    "surrogate's name": "a surrogate as a text",
    "NaN": "NaN",
    "numpy": "numpy",
    "[B, T, N] to a loss": "batch first",
}
GOOD = {  # 27
    "num_steps with a sequence": "num_steps with a sequence",
    "one-hot to a loss": "one-hot to a loss",
    "labels out of range": "labels out of range",
    "tuple to a loss": "a tuple to a loss",
    "[B, N] to a loss": "one step to a loss",
    "float64": "other dtype",
    "numpy": "numpy",
    "other dtype": "integers",
    "other device": "other device",
    "beta of a wrong size": "beta of a wrong size",
    "state passed with init_hidden": "a state passed with init_hidden",
    "state of a wrong size": "a state of a wrong size",
    "surrogate as a string": "a surrogate as a text",
    "output=True in the middle": "output=True in the middle",
    "latency tau 0": "latency with tau 0",
    "rate without num_steps": "rate without steps",
    "accuracy of a tuple": "accuracy of a tuple",
    "raster of a batch": "a batch to a raster",
    "unknown record": "an unknown record",
    "RLeaky without feedback": "RLeaky without feedback",
    "no batch axis": "no batch axis",
    "mode's typo": "mode's typo",
    "0 steps": "no steps",
    "labels 1 to 10": "labels 1 to 3",
    "uint8": "bytes",
    "no spiking layer": "fit without a neuron",
    "foreign optimizer": "fit with a foreign optimizer",
}
WRONG_REMEDY = {  # 7
    "float targets": "fit of labels that are floats",
    "data sets": "data sets",
    "list of frames": "fit of a list of frames",
    "all weights frozen": "fit of a frozen network",
    "nn.LSTM before a neuron": "an LSTM before a neuron",
    "one neuron twice": "one neuron object used twice",
    "own loop in fit": "fit of an own loop",
}
RAW = {  # 7
    "CrossEntropyLoss in fit": "CrossEntropyLoss",
    "MSELoss in fit": "fit with MSELoss for classes",
    "unknown keyword of fit": "fit with an unknown keyword",
    "Leaky(tau=2.0)": "tau",
    "LIFNode": "a neuron of another library",
    ".sum of (spk, mem)": "a method of a tensor on (spk, mem)",
    "Leeky": "a misspelt neuron",
}
SILENT = {  # 6
    "own loop in run": "own loop in run",
    "num_steps forgotten": "num_steps forgotten",
    "[B, T, N]": "batch first",
    "rate of 0 to 255": "rate of bytes",
    "rate of negative values": "rate of standardised data",
    "lr=100": "a learning rate of 100",
}


def test_a_mistake_of_the_survey_has_no_row() -> None:
    survey = [CALLED, GOOD, WRONG_REMEDY, RAW, SILENT]
    assert [len(part) for part in survey] == [18, 27, 7, 7, 6]
    rows = [row for part in survey for row in part.values()]
    answered = {*ANSWERED, *WARNED, *WORK, "a learning rate of 100"}
    assert {row for row in rows if row not in answered} == set(UNANSWERED)


def test_a_learning_rate_of_100_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    digits = snn.data.digits(flat=True)
    layers = [nn.Linear(64, 64), snn.Leaky(0.9, init_hidden=True)]
    large = nn.Sequential(*layers, nn.Linear(64, 10), snn.Leaky(0.9, init_hidden=True))
    part = (digits.x_train[:300], digits.y_train[:300], digits.x_test[:60], digits.y_test[:60])
    snn.fit(large, part, lr=100.0, **{**FIT, "epochs": 2, "progress": True})
    assert "nothing was learned: learning rate too high" in capsys.readouterr().err


@pytest.mark.parametrize("mistake", WARNED)
def test_a_mistake_passes_without_a_warning(mistake: str) -> None:
    run, text = WARNED[mistake]
    with pytest.warns(UserWarning, match=text):
        run()


@pytest.mark.parametrize("mistake", UNANSWERED)
def test_a_mistake_that_only_torch_sees_is_silent(mistake: str) -> None:
    run, text = UNANSWERED[mistake]
    with pytest.raises((RuntimeError, TypeError, ValueError, AttributeError), match=text):
        run()


@pytest.mark.parametrize("mistake", ANSWERED)
def test_a_mistake_is_not_answered_with_its_remedy(mistake: str) -> None:
    run, text = ANSWERED[mistake]
    with pytest.raises(Exception) as caught:
        run()
    assert re.search(text, str(caught.value), re.S), str(caught.value)


@pytest.mark.parametrize("wish", WORK)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_newcomers_write_is_refused(wish: str) -> None:
    assert len(WORK[wish]().history) == 1
