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
        r"unexpected keyword argument 'callback'",
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
