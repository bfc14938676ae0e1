"""The manual's own steps for BP-STDP and STBP, with ``n3ml`` replaced by ``spikeloom.n3ml``."""

import copy
import pickle
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import data
from spikeloom.learning import BPSTDP
from spikeloom.n3ml.encoder import Simple
from spikeloom.n3ml.model import TravanaeiAndMaida2017, Wu2018
from spikeloom.n3ml.optimizer import TavanaeiAndMaida

BP_STDP = """
import n3ml.model
import n3ml.encoder
import n3ml.optimizer
model = n3ml.model.TravanaeiAndMaida2017(opt.num_classes, hidden_neurons=opt.hidden_neurons)
model.reset_variables()
encoder = n3ml.encoder.Simple(time_interval=opt.time_interval)
optimizer = n3ml.optimizer.TavanaeiAndMaida(model, lr=opt.lr)
for image, label in loader:
    image = image.squeeze(dim=0)
    label = label.squeeze()
    spiked_image = encoder(image)
    spiked_image = spiked_image.view(spiked_image.size(0), -1)
    spiked_label = label_encoder(label, opt.beta, opt.num_classes, opt.time_interval)
    spike_buffer = {'inp': [], 'fc1': [], 'fc2': []}
    loss_buffer = []
    for t in range(opt.time_interval):
        model(spiked_image[t])
        spike_buffer['inp'].append(spiked_image[t].clone())
        spike_buffer['fc1'].append(model.fc1.o.clone())
        spike_buffer['fc2'].append(model.fc2.o.clone())
        loss_buffer.append(model.fc2.o.clone())
        for l in spike_buffer.values():
            if len(l) > 5:
                l.pop(0)
        optimizer.step(spike_buffer, spiked_label[t], label)
    model.reset_variables(w=False)
    num_images += 1
    num_corrects += accuracy(r=torch.stack(loss_buffer), label=label)
"""

STBP = """
import n3ml.model
model = n3ml.model.Wu2018(batch_size=opt.batch_size, time_interval=opt.time_interval)
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=opt.lr)
for step, (images, labels) in enumerate(loader):
    preds = model(images)
    labels_ = torch.zeros(torch.numel(labels), 10, device=labels.device)
    labels_ = labels_.scatter_(1, labels.view(-1, 1), 1)
    loss = criterion(preds, labels_)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    num_corrects += torch.argmax(preds, dim=1).eq(labels).sum(dim=0)
"""


def run(code: str, **scope: Any) -> dict[str, Any]:
    exec(re.sub(r"\bn3ml\b", "spikeloom.n3ml", code), scope)
    return scope


def images(number: int, scale: float) -> tuple[Tensor, Tensor]:
    """Enlarged digits."""
    split = data.digits()
    x = nn.functional.interpolate(split.x_train[:number], (28, 28), mode="bilinear")
    return x * scale, split.y_train[:number]


def label_encoder(label: Tensor, beta: float, num_classes: int, time_interval: int) -> Tensor:
    r = torch.zeros((time_interval, num_classes))
    r[:, label] = (torch.rand(time_interval) <= (beta / 1000)).float()
    return r


def accuracy(r: Tensor, label: Tensor) -> Tensor:
    return (torch.argmax(torch.sum(r, dim=0)) == label).float()


def test_the_manuals_steps_of_bp_stdp_learn() -> None:
    torch.manual_seed(0)
    x, y = images(90, 5.0)
    loader = [(a.unsqueeze(0), b.unsqueeze(0)) for a, b in zip(x, y, strict=True)]
    opt = SimpleNamespace(num_classes=10, hidden_neurons=60, time_interval=20, lr=0.0005, beta=250)
    common = {"opt": opt, "torch": torch, "label_encoder": label_encoder, "accuracy": accuracy}
    scope = run(BP_STDP, **common, loader=loader, num_images=0, num_corrects=0)
    assert scope["num_images"] == 90 and 14 < scope["num_corrects"] < 90
    assert scope["model"].fc1.o.shape == (60,) and scope["model"].fc1.o.sum() == 0


def test_the_manuals_steps_of_stbp_learn_with_batches_of_any_size() -> None:
    torch.manual_seed(0)
    x, y = images(48, 32.0)
    loader = [(x[:32], y[:32]), (x[32:], y[32:])] * 3
    opt = SimpleNamespace(batch_size=32, time_interval=3, lr=0.005)
    scope = run(STBP, opt=opt, torch=torch, nn=nn, loader=loader, num_corrects=0)
    assert scope["preds"].shape == (16, 10) and scope["loss"] < 0.095


def test_the_manuals_optimizer_makes_the_change_of_the_rule() -> None:
    torch.manual_seed(0)
    model = TravanaeiAndMaida2017(3, [8, 7], inputs=6)
    net = copy.deepcopy(model.net)
    optimizer, learner = TavanaeiAndMaida(model, lr=0.01, epsilon=2), BPSTDP(net, epsilon=2)
    sgd = torch.optim.SGD(net.parameters(), lr=0.01)
    spikes = (torch.rand(15, 6) < 0.4).float()
    buffer: dict[str, list[Tensor]] = {"inp": [], "fc1": [], "fc2": [], "fc3": []}
    for t, s in enumerate(spikes):
        wanted = torch.zeros(3)
        wanted[1] = t % 3 == 2
        model(s)
        for each, spk in zip(
            buffer.values(), (s, model.fc1.o, model.fc2.o, model.layers[2].o), strict=True
        ):
            each.append(spk.clone())
        optimizer.step(buffer, wanted, torch.tensor(1))
        sgd.zero_grad()
        learner.step(s.unsqueeze(0), torch.tensor([1]), desired=bool(wanted[1]))
        sgd.step()
    for p, other in zip(model.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, other)
    assert not torch.equal(model.fc1.weight, TravanaeiAndMaida2017(3, [8, 7], inputs=6).fc1.weight)


def test_a_batch_of_steps_is_taken_too() -> None:
    torch.manual_seed(0)
    model = TravanaeiAndMaida2017(3, 8, inputs=6)
    x = (torch.rand(9, 4, 6) < 0.5).float()
    together = torch.stack([model(x_t) for x_t in x])
    assert model.fc2.u.shape == (4, 3)
    for b in range(4):
        model.reset_variables(w=False)
        torch.testing.assert_close(torch.stack([model(x_t[b]) for x_t in x]), together[:, b])


def test_membranes_are_shown_after_the_reset() -> None:
    model = TravanaeiAndMaida2017(2, 3, inputs=1, std=0.0)
    nn.init.constant_(model.fc1.weight, 0.5)
    seen = []
    for _ in range(4):
        model(torch.ones(1))
        seen.append((float(model.fc1.u[0]), float(model.fc1.o[0])))
    assert seen == [(0.5, 0.0), (0.0, 1.0), (0.5, 0.0), (0.0, 1.0)]


def test_weights_are_drawn_anew_only_on_request_and_survive_a_pickle() -> None:
    model = TravanaeiAndMaida2017(2, 3, inputs=4, generator=torch.Generator().manual_seed(0))
    before = model.fc1.weight.clone()
    model.reset_variables(w=False)
    assert torch.equal(model.fc1.weight, before)
    copied = copy.deepcopy(model)
    model.reset_variables()
    assert not torch.equal(model.fc1.weight, before)
    torch.testing.assert_close(copied.fc1.weight, before)
    assert copied.fc1.weight is copied.net[0].weight
    plain = TravanaeiAndMaida2017(2, 3, inputs=4)
    assert torch.equal(pickle.loads(pickle.dumps(plain)).fc1.weight, plain.fc1.weight)


def test_simple_divides_by_its_scale() -> None:
    values = torch.tensor([0.0, 1.0, 2.5, 5.0])
    spikes = Simple(20_000, generator=torch.Generator().manual_seed(0))(values)
    torch.testing.assert_close(spikes.mean(0), values / 5, rtol=0, atol=0.02)
    assert repr(Simple(20, scale=1.0)) == "Simple(time_interval=20, scale=1)"
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        Simple(20, scale=0.0)
    with pytest.raises(ValueError, match="time_interval must be 1 or more, got 0"):
        Simple(0)


def test_the_manuals_names_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="every layer needs neurons, got sizes"):
        TravanaeiAndMaida2017(10, [])
    with pytest.raises(ValueError, match=r"std must be in"):
        TravanaeiAndMaida2017(10, std=-1.0)
    model = TravanaeiAndMaida2017(2, 3, inputs=4)
    with pytest.raises(ValueError, match="epsilon must be a whole number of steps from 0"):
        TavanaeiAndMaida(model, epsilon=-1)
    with pytest.raises(
        ValueError, match=r"spike_buffer holds the input and 2 layers, got \['inp'\]"
    ):
        TavanaeiAndMaida(model).step({"inp": [torch.ones(4)]}, torch.ones(2), 1)


def test_pixels_of_the_manual_are_rates_and_not_binarised() -> None:
    model = Wu2018(batch_size=8, time_interval=200, sample_shape=(1, 4, 4))
    seen: list[Tensor] = []
    model.net[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(torch.full((1, 1, 4, 4), 8.0))  # the manual multiplies [0, 1] by 32
    assert 0.2 < torch.cat([each.flatten() for each in seen]).mean() < 0.3
