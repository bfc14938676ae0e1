"""`fit`, `evaluate` and `predict` on recordings of unequal length: padding never counts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader, Dataset

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.data import pad_sequences

LENGTHS = [4, 9, 2, 7, 5, 9]
QUIET: dict[str, Any] = {"encode": "sequence", "progress": False, "check": False, "epochs": 1}


def recordings(seed: int = 0) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = [torch.rand(n, 3, generator=generator, dtype=torch.float64) * 2 for n in LENGTHS]
    return x, torch.arange(len(x)) % 2


X, Y = recordings()
DATA = (X, Y, *recordings(1))


class Recordings(Dataset):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return X[i], int(Y[i])


def network(**options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8),
        snn.Leaky(0.8, threshold=0.5, init_hidden=True),
        nn.Linear(8, 2),
        snn.Leaky(0.8, threshold=0.4, init_hidden=True, output=True, **options),
    ).double()


def stbp_network() -> nn.Sequential:
    torch.manual_seed(0)
    neuron = snn.learning.stbp_neuron
    return nn.Sequential(
        nn.Linear(3, 8), neuron(threshold=0.3), nn.Linear(8, 2), neuron(output=True)
    ).double()


class OwnLoop(nn.Module):
    """The same network with a loop over time of its own, and counts of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        steps = [self.net(x_t) for x_t in x]
        return torch.stack([s for s, _ in steps]), torch.stack([m for _, m in steps])


def descent(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def changes(net: nn.Module, data: Any, **options: Any) -> list[Tensor]:
    """What one batch changes in the weights."""
    before = [p.detach().clone() for p in net.parameters()]
    snn.fit(net, data, batch_size=len(LENGTHS), optimizer=descent, **{**QUIET, **options})
    return [p.detach() - old for p, old in zip(net.parameters(), before, strict=True)]


MEMBRANES: dict[str, Any] = {"loss": nn.CrossEntropyLoss(), "readout": "mean_membrane"}
WAYS: dict[str, Any] = {
    "count": (network, {}),
    "rate": (network, {"loss": SF.ce_rate_loss()}),
    "temporal": (network, {"loss": SF.ce_temporal_loss()}),
    "membrane": (network, MEMBRANES),
    "last": (network, {**MEMBRANES, "readout": "last_membrane"}),
    "penalty": (network, {"penalty": SF.synops(2.0, Lambda=1e-2)}),
    "stbp": (stbp_network, {"rule": "stbp"}),
    "eprop": (network, {"rule": "eprop"}),
    "eprop of membranes": (network, {"rule": "eprop", "loss": SF.mse_membrane_loss()}),
    "own loop": (lambda: snn.layerwise(OwnLoop()), {}),
    "own loop, membranes": (lambda: snn.layerwise(OwnLoop()), MEMBRANES),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_padded_batch_changes_the_weights_as_its_recordings_do_one_by_one(way: str) -> None:
    build, options = WAYS[way]
    together = changes(build(), DATA, **options)
    each = [changes(build(), ([x], Y[i : i + 1], *DATA[2:]), **options) for i, x in enumerate(X)]
    assert any(change.any() for change in together)
    for a, *b in zip(together, *each, strict=True):
        torch.testing.assert_close(a, torch.stack(b).mean(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "form", ["data set", "loader", "time first", "Split", "validation", "packed", "packed, sorted"]
)
def test_every_form_of_data_gives_the_training_of_lists(form: str) -> None:
    def collate(samples: Any) -> Any:
        x, y, lengths = pad_sequences(samples, batch_first=form == "loader", lengths=True)
        for b, end in enumerate(lengths):  # what the padding holds must not matter
            (x[b] if form == "loader" else x[:, b])[end:] = 7.0
        return x, y, lengths

    loader = DataLoader(Recordings(), len(LENGTHS), collate_fn=collate)
    packed = pack_sequence(X, enforce_sorted=False)
    order = torch.tensor(LENGTHS).argsort(descending=True)
    longest_first = pack_sequence([X[i] for i in order])
    data: Any = {
        "data set": (Recordings(), Recordings()),
        "Split": snn.data.Split(X, Y, X, Y, "ragged", "six recordings"),  # pyright: ignore
        "validation": (Recordings(), Recordings(), Recordings()),
        "packed": (packed, Y, packed, Y),
        "packed, sorted": (longest_first, Y[order], longest_first, Y[order]),
    }.get(form, (loader, loader))
    encode = "time_first" if form == "time first" else "sequence"
    options = {**QUIET, "batch_size": len(LENGTHS), "optimizer": descent}
    lists, other = network(), network()
    one = snn.fit(lists, (X, Y, X, Y), **options)
    two = snn.fit(other, data, **{**options, "encode": encode})
    for a, b in zip(lists.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert two.test["loss"] == pytest.approx(one.test["loss"])
    assert two.test["accuracy"] == one.test["accuracy"]


def test_figures_and_predictions_are_those_of_single_recordings() -> None:
    net = network()
    together = snn.evaluate(net, (X, Y), encode="sequence", batch_size=4)
    each = [
        snn.evaluate(net, (x.unsqueeze(0), Y[i : i + 1]), encode="sequence")
        for i, x in enumerate(X)
    ]
    torch.testing.assert_close(together.scores, torch.cat([one.scores for one in each]))
    assert together.loss == pytest.approx(sum(one.loss for one in each) / len(each))
    for path, count in together.spikes_per_neuron.items():
        assert count == pytest.approx(sum(e.spikes_per_neuron[path] for e in each) / len(each))
    steps = sum(LENGTHS)
    rate = sum(one.spike_rate * n for one, n in zip(each, LENGTHS, strict=True)) / steps
    assert together.spike_rate == pytest.approx(rate)
    result = snn.fit(net, DATA, **QUIET)
    found = snn.evaluate(net, (X, Y), encode="sequence")
    assert torch.equal(result.predict(X), found.predictions)
    packed = pack_sequence(X, enforce_sorted=False)
    assert torch.equal(result.predict(packed), found.predictions)
    torch.testing.assert_close(result.scores(X).float(), found.scores)


def test_a_part_for_validation_keeps_the_lengths_of_its_recordings() -> None:
    history = snn.fit(network(), DATA, validation=0.5, **QUIET).history
    given = snn.fit(network(), DATA, validation=recordings(2), **QUIET).history
    assert all("validation_accuracy" in row for row in (*history, *given))


def test_a_run_on_recordings_goes_on_as_if_it_had_not_stopped(tmp_path: Any) -> None:
    options = {**QUIET, "batch_size": 4, "schedule": "constant"}
    whole = snn.fit(network(), DATA, **{**options, "epochs": 2})
    snn.fit(network(), DATA, out=tmp_path, **options)
    resumed = snn.fit(network(), DATA, out=tmp_path, resume=True, **{**options, "epochs": 2})
    for a, b in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="data"):  # one recording is shorter by a step of zeros
        cut = ([*X[:-1], X[-1][:-1]], *DATA[1:])
        snn.fit(network(), cut, out=tmp_path, resume=True, **{**options, "epochs": 2})


def own_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.mean()


def summed(outputs: Tensor, targets: Tensor, lengths: Any = None) -> Tensor:
    assert lengths is not None
    return (outputs.sum((0, 2)) / lengths).mean()


def with_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), *network()).double()


REFUSED: dict[str, Any] = {
    "tbptt": ({"rule": "tbptt"}, network, 'rule="tbptt" does not apply: the samples are of'),
    "bp_stdp": (
        {"rule": "bp_stdp"},
        lambda: nn.Sequential(nn.Linear(3, 2), snn.IF(init_hidden=True)).double(),
        'rule="bp_stdp" does not apply: the samples are of unequal length',
    ),
    "chaos": (
        {"chaos": snn.chaos.Z(0.1), "optimizer": descent},
        network,
        "chaos reads trajectories of equal length",
    ),
    "loss": ({"loss": own_loss}, network, "loss must know which steps.*own_loss without"),
    "penalty": (
        {"penalty": torch.sum},
        network,
        "penalty must know which steps.*, got .*sum without",
    ),
    "norm": ({}, with_norm, "1: BatchNorm1d in training would take its statistics"),
    "encode": ({"encode": "direct", "num_steps": 3}, network, 'encode="sequence" for recordings'),
    "steps": ({"num_steps": 9}, network, "num_steps=9 is for samples of one length"),
    "readout": (
        {"loss": nn.CrossEntropyLoss(), "readout": "sequence"},
        network,
        "lengths need results of one shape",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_learn_from_recordings_of_unequal_length_says_so(case: str) -> None:
    options, build, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        snn.fit(build(), DATA, **{**QUIET, **options})


def test_a_loss_of_ones_own_receives_the_lengths() -> None:
    found = snn.evaluate(network(), (X, Y), loss=summed, encode="sequence", batch_size=4)
    each = [snn.run(network(), x.unsqueeze(1))[0].detach().sum((0, 2)) / len(x) for x in X]
    assert found.loss == pytest.approx(float(torch.cat(each).mean())) and found.loss > 0


def test_a_rule_of_a_user_that_does_not_know_lengths_is_refused() -> None:
    class Plain(snn.learning.TrainingRule):
        def learn(self, job: Any, x: Tensor, y: Tensor) -> Any:
            raise AssertionError("it must not run")

    with pytest.raises(ValueError, match="the samples are of unequal length"):
        snn.fit(network(), DATA, rule=Plain(), **QUIET)


def test_a_loader_whose_later_batches_are_padded_is_refused_by_then() -> None:
    batches = [(torch.rand(2, 4, 3).double(), Y[:2])]
    late = (torch.rand(2, 4, 3).double(), Y[:2], torch.tensor([2, 4]))
    with pytest.raises(ValueError, match='rule="tbptt" does not apply'):
        snn.fit(network(), ([*batches, late], batches), rule=snn.train.TBPTT(2), **QUIET)


@pytest.mark.parametrize("x", [[torch.ones(0, 3), torch.ones(2, 3)], [torch.ones(2, 3)] * 3])
def test_damaged_lists_of_recordings_are_refused(x: Any) -> None:
    with pytest.raises(ValueError, match=r"at least one step each|with one label each"):
        snn.evaluate(network(), (x, Y[:2]), encode="sequence")
