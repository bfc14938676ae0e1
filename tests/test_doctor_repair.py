"""`doctor.repair`: broken networks train afterwards, and only what it says is changed."""

import copy
import importlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.curves import ATan
from spikeloom.doctor.check import _parts as parts_of
from spikeloom.doctor.check import examine, trial
from spikeloom.functional import ce_rate_loss

repair_module = importlib.import_module("spikeloom.doctor.repair")
RATES, cautious = repair_module.RATES, repair_module.cautious
DIGITS = snn.data.digits()
BATCH = (DIGITS.x_train[:64], DIGITS.y_train[:64])
T = 10


def net(**neuron: Any) -> nn.Sequential:
    torch.manual_seed(0)
    options = {"beta": 0.9, "init_hidden": True, **neuron}
    layers = [nn.Flatten(), nn.Linear(64, 50), snn.Leaky(**options)]
    return nn.Sequential(*layers, nn.Linear(50, 10), snn.Leaky(**options))


def after(net: nn.Module, lr: float = 5e-3, steps: int = 40) -> float:
    """The loss on the batch after some steps."""
    optimizer, loss = torch.optim.Adam(net.parameters(), lr), ce_rate_loss()
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(snn.run(net, BATCH[0], T), BATCH[1])
        value.backward()
        optimizer.step()
    return float(value.detach())


def broken(place: int, *, bias: float = 0.0, threshold: float = 1.0) -> nn.Sequential:
    made = net()
    with torch.no_grad():
        made[place].bias.add_(bias)
        made[place + 1].threshold.fill_(threshold)
    return made


@pytest.mark.parametrize(
    ("place", "change"),
    [(1, {"bias": -8.0}), (1, {"bias": 6.0}), (3, {"threshold": 100.0}), (3, {"bias": 6.0})],
)
def test_a_layer_far_from_its_threshold_learns_again(place: int, change: Any) -> None:
    made = broken(place, **change)
    mended = snn.doctor.repair(made, BATCH, num_steps=T)
    assert not mended.left and {c.path for c in mended.changes} <= {str(place), str(place + 1)}
    assert after(mended.net) < after(made) - 0.1
    assert after(mended.net) < 2.0, "chance is 2.3"


@pytest.mark.parametrize("slope", [1e9, 1e-3])
def test_a_surrogate_becomes_as_wide_as_the_threshold(slope: float) -> None:
    made = net(spike_grad=snn.surrogate.sigmoid(slope), threshold=2.0)
    mended = snn.doctor.repair(made, BATCH, num_steps=T)
    assert [c.path for c in mended.changes if c.what == "surrogate"] == ["2", "4"]
    assert isinstance(mended.net[2], snn.Leaky) and mended.net[2].spike_grad == ATan(alpha=1.0)


def test_a_leak_remembers_half_of_the_steps() -> None:
    mended = snn.doctor.repair(net(beta=0.01), BATCH, num_steps=T)
    assert float(mended.net[2].beta) == pytest.approx(2.718281828 ** (-2 / T))


def membranes(made: nn.Module) -> Tensor:
    """Membranes of the first layer, over time."""
    return snn.run(made, BATCH[0], T, record=["2.mem"]).record["2.mem"].detach()


def test_weights_are_scaled_until_membranes_fluctuate_two_deviations_below_the_threshold() -> None:
    made = net()
    with torch.no_grad():
        made[1].weight.mul_(100).sub_(made[1].weight.mean(1, keepdim=True)).abs_()
    mended = snn.doctor.repair(made, BATCH, num_steps=T)
    assert [change.what for change in mended.changes][-1] == "weights"
    assert float(membranes(mended.net).std()) == pytest.approx(0.5, rel=0.15)


def test_only_what_was_wrong_with_a_layer_is_changed() -> None:
    mended = snn.doctor.repair(broken(1, threshold=100.0), BATCH, num_steps=T)
    assert [change.what for change in mended.changes] == ["threshold"]
    assert 0.25 <= float(membranes(mended.net).std()) <= 2
    mended = snn.doctor.repair(broken(1, bias=-8.0), BATCH, num_steps=T)
    assert [change.what for change in mended.changes] == ["bias"]


def test_a_learning_rate_without_fault_was_replaced() -> None:
    assert snn.doctor.repair(net(), BATCH, num_steps=T, lr=1.3e-3).lr == 1.3e-3
    mended = snn.doctor.repair(broken(3, threshold=100.0), BATCH, num_steps=T, lr=1.3e-3)
    assert mended.changes and mended.lr == 1.3e-3


def test_equal_weights_are_drawn_anew() -> None:
    made = net()
    with torch.no_grad():
        for p in made.parameters():
            p.zero_()
    mended = snn.doctor.repair(made, BATCH, num_steps=T)
    assert [(change.path, change.what) for change in mended.changes] == [
        ("1", "weights"),
        ("3", "weights"),
    ]
    assert float(mended.net[1].weight.detach().std()) > 0.01 and not mended.left


def test_a_healthy_network_is_left_alone() -> None:
    made = net()
    before = copy.deepcopy(made.state_dict())
    mended = snn.doctor.repair(made, BATCH, num_steps=T)
    assert not mended.changes and mended.lr is None and str(mended) == "nothing changed"
    assert mended.net is not made
    for values in (made.state_dict(), mended.net.state_dict()):
        assert all(torch.equal(value, before[name]) for name, value in values.items())


def test_a_copy_is_changed_unless_told() -> None:
    made = broken(3, threshold=100.0)
    snn.doctor.repair(made, BATCH, num_steps=T)
    assert float(made[4].threshold) == 100.0
    assert snn.doctor.repair(made, BATCH, num_steps=T, inplace=True).net is made
    assert float(made[4].threshold) == 1.0


@pytest.mark.parametrize("lr", [100.0, 1e-8])
def test_a_learning_rate_is_proposed_that_learns(lr: float) -> None:
    made = net()
    mended = snn.doctor.repair(made, BATCH, num_steps=T, lr=lr)
    assert mended.lr is not None and 1e-4 < mended.lr < 0.1
    assert not mended.changes and after(mended.net, mended.lr) < 2.0


class Loop(nn.Module):
    """A network with its own loop over time, for samples or for steps first."""

    def __init__(self, steps_first: bool, size: int | None = None) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(64, 10), snn.Leaky(0.9)
        self.steps_first, self.size = steps_first, size

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.steps_first else x.flatten(1).expand(T, len(x), 64)
        mem = torch.zeros(self.size or x.shape[1], 10)
        spikes = []
        for step in x:
            spk, mem = self.lif(self.fc(step), mem)
            spikes.append(spk)
        return torch.stack(spikes)


SEQUENCE = torch.rand(64, 64, 64, generator=torch.Generator().manual_seed(0)), BATCH[1]


@pytest.mark.parametrize(
    ("made", "batch", "num_steps"),
    [
        (net(), BATCH, T),
        (net(), SEQUENCE, None),  # as many steps as samples
        (Loop(False), BATCH, None),
        (Loop(True), (SEQUENCE[0][:12], BATCH[1]), None),
    ],
    ids=["static", "sequence", "loop over samples", "loop over steps"],
)
def test_a_trial_on_parts_of_a_batch_has_all_steps_of_some_samples(
    made: nn.Module, batch: Any, num_steps: int | None
) -> None:
    optimizer = torch.optim.Adam(made.parameters(), 1e-3)
    seen = examine(made, batch, ce_rate_loss(), num_steps, optimizer)
    shapes = []

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        shapes.append((*outputs.shape[:2], len(y)))
        return ce_rate_loss()(outputs, y)

    assert all(v < 10 for v in trial(seen, num_steps, loss, 6, parts=4).losses)
    assert shapes == [*[(seen.steps, 16, 16)] * 4, (seen.steps, 64, 64)]


def test_exchanged_time_and_batch_in_parts_ended_in_an_error_of_zip() -> None:
    made = net()
    x = torch.rand(64, 2, 64)  # [B, T, features], where T cannot be divided into four parts
    mended = snn.doctor.repair(made, (x, BATCH[1]), lr=1e-8)
    assert "time and batch exchanged" in [finding.fault for finding in mended.left]
    optimizer = torch.optim.Adam(made.parameters(), 1e-3)
    seen = examine(made, (x, BATCH[1]), ce_rate_loss(), None, optimizer)
    ((whole, _),) = parts_of(seen, None, 4)
    assert whole is seen.x


@pytest.mark.parametrize(
    ("losses", "place"),
    [
        ((1.004, 1.0, 1.2), 1),
        ((1.0, 1.02, 1.2), 0),
        ((float("nan"), 1.0, 1.005), 2),
        ((-1.0, -0.995, -0.5), 1),
        ((float("inf"),) * 3, 2),
    ],
)
def test_the_smallest_rate_is_proposed_that_does_as_well_in_a_longer_training(
    losses: tuple[float, ...], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = RATES[4:7]

    def known(seen: Any, num_steps: Any, loss: Any, steps: int, lr: float, parts: int) -> Any:
        assert steps == 40 and parts == 4
        return SimpleNamespace(losses=[2.0, losses[rates.index(lr)]])

    monkeypatch.setattr(repair_module, "trial", known)
    assert cautious(SimpleNamespace(), T, None, rates[0]) == rates[place]


def test_a_network_for_one_size_of_batch_gets_a_learning_rate() -> None:
    mended = snn.doctor.repair(Loop(False, 64), BATCH, lr=1e-8)
    assert mended.lr is not None and 1e-4 < mended.lr < 0.2


def test_faults_of_the_data_are_left_with_their_remedy() -> None:
    mended = snn.doctor.repair(net(), (255 * BATCH[0], BATCH[1]), num_steps=T)
    assert [finding.fault for finding in mended.left] == ["input on another scale"]
    assert "left: input on another scale" in str(mended)


def test_what_is_no_network_is_named() -> None:
    with pytest.raises(TypeError, match=r"net must be a torch\.nn\.Module, got str"):
        snn.doctor.repair("net", BATCH, num_steps=T)
