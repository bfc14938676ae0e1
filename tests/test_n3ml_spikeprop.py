"""The manual's own steps for SpikeProp, with ``n3ml`` replaced by ``spikeloom.n3ml``."""

import re
from types import SimpleNamespace

import pytest
import torch

from spikeloom.n3ml.data import IRISDataLoader
from spikeloom.n3ml.encoder import Population
from spikeloom.n3ml.model import Bohte2002
from spikeloom.n3ml.optimizer import Bohte

MANUAL = """
import n3ml.data
import n3ml.encoder
import n3ml.model
import n3ml.optimizer
data_loader = n3ml.data.IRISDataLoader(ratio=0.8)
data = data_loader.run()
summary = data_loader.summarize()
data_encoder = n3ml.encoder.Population(neurons=12,
                                       minimum=summary['min'],
                                       maximum=summary['max'],
                                       max_firing_time=opt.max_firing_time,
                                       not_to_fire=opt.not_to_fire,
                                       dt=opt.dt)
class LabelEncoder:
    def __init__(self, num_classes):
        self.num_classes = num_classes

    def run(self, label):
        o = torch.zeros(self.num_classes)
        o.fill_(13)
        o[label].fill_(8)
        return o

label_encoder = LabelEncoder(opt.num_classes)
model = n3ml.model.Bohte2002()
model.initialize()
optimizer = n3ml.optimizer.Bohte()
for epoch in range(opt.num_epochs):
    for i in range(opt.samples):
        model.initialize(delay=False)
        spiked_input = data_encoder.run(data['train.data'][i])
        spiked_input = torch.cat((spiked_input.view(-1), torch.zeros(2)))
        spiked_label = label_encoder.run(data['train.target'][i])
        for t in range(opt.num_steps):
            model(torch.tensor(t).float(), spiked_input)
        o = model.fc2.s
        loss = torch.sum((o[o >= 0] - spiked_label[o >= 0]) ** 2) / 2
        losses.append(loss.item())
        optimizer.step(model, spiked_input, spiked_label)
"""


def test_the_manuals_steps_train_on_iris_by_spike_times() -> None:
    torch.manual_seed(0)
    opt = SimpleNamespace(
        max_firing_time=30,
        not_to_fire=28,
        dt=1,
        num_classes=3,
        num_epochs=2,
        samples=40,
        num_steps=40,
    )
    losses: list[float] = []
    exec(
        re.sub(r"\bn3ml\b", "spikeloom.n3ml", MANUAL),
        {"opt": opt, "torch": torch, "losses": losses},
    )
    assert sum(losses[40:]) < 0.7 * sum(losses[:40])


def test_another_run_gives_the_same_division() -> None:
    loader = IRISDataLoader(ratio=0.8)
    first, again = loader.run(), loader.run()
    assert torch.equal(first["test.data"], again["test.data"]) and len(first["train.data"]) == 120
    summary = loader.summarize()
    assert summary["min"].tolist() == pytest.approx([4.3, 2.0, 1.0, 0.1])
    with pytest.raises(ValueError, match=r"ratio must be 0\.8"):
        IRISDataLoader(ratio=0.5)


def test_fields_cover_the_range_at_both_ends() -> None:
    encoder = Population(
        12, torch.tensor([2.0]), torch.tensor([4.0]), max_firing_time=30, not_to_fire=28, dt=1
    )
    low, high = encoder.run(torch.tensor([2.0])), encoder.run(torch.tensor([4.0]))
    assert (
        torch.equal(low, high.flip(-1)) and low[0, 0] == low[0, 1] > 0
    )  # a border lies between two fields
    assert (low[0, 5:] == -1).all()


def test_delays_are_those_of_the_paper_and_weights_may_be_negative() -> None:
    torch.manual_seed(0)
    model = Bohte2002(inputs=2, hidden=3)
    assert model.fc1.delays.tolist() == list(range(1, 17))
    for _ in range(60):
        Bohte(lr=0.05).step(model, torch.tensor([0.0, 2.0]), torch.tensor([30.0, 30.0, 30.0]))
    assert min(model.fc1.weight.min(), model.fc2.weight.min()) < 0


def test_steps_show_the_spikes_so_far() -> None:
    torch.manual_seed(0)
    model, times = Bohte2002(inputs=3, hidden=4), torch.tensor([0.0, 1.0, -1.0])
    assert (model.fc2.s == -1).all()
    model(39, times)
    last = model.fc2.s.clone()
    assert (last > 0).all()
    model(float(last.min()) - 0.1, times)
    assert (model.fc2.s == -1).all()
    model.initialize()
    assert (model.fc1.s == -1).all()
