"""The manual's own steps for conversion, with ``n3ml`` replaced by ``spikeloom.n3ml``, at any batch
size."""

import re
from collections import OrderedDict
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeloom import data
from spikeloom.n3ml.model import SVGG16, VGG16, Diehl2015, SNN_Diehl2015
from spikeloom.n3ml.threshold import activation_based, spikenorm

DIEHL = """
from n3ml.model import Diehl2015, SNN_Diehl2015
snn = SNN_Diehl2015(batch_size=opt.batch_size)
print(snn.batch_size)
snn.eval()
for index, m in enumerate (saved_state_dict['model']):
    snn.state_dict()[m].copy_(saved_state_dict['model'][m])
from n3ml.threshold import activation_based
threshold = activation_based(train_loader=train_loader, model=ann)
snn.update_threshold(threshold)
num_corrects = total_images = 0
with torch.no_grad():
    for images, labels in val_loader:
        outs = snn(images, num_steps=n_timesteps)
        num_corrects += torch.argmax(outs, dim=1).eq(labels).sum(dim=0)
        total_images += images.size(0)
"""

SENGUPTA = """
from n3ml.model import VGG16, SVGG16
snn = SVGG16(ann, batch_size=opt.batch_size)
snn.eval()
for index, m in enumerate (saved_state_dict['model']):
    snn.state_dict()[m].copy_(saved_state_dict['model'][m])
from n3ml.threshold import spikenorm
threshold = spikenorm(train_loader=train_loader,
                encoder=lambda x: torch.mul(torch.le(torch.rand_like(x), torch.abs(x)*1.0).float(),
                                            torch.sign(x)),
                model=snn, num_steps=opt.num_steps, scaling_factor=opt.scaling_factor)
snn.update_threshold(threshold)
with torch.no_grad():
    for images, labels in val_loader:
        outs = snn(images, num_steps=n_timesteps)
"""


def ours(code: str) -> str:
    return re.sub(r"\bn3ml\b", "spikeloom.n3ml", code)


def digits(number: int, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Enlarged digits, in batches of 30 and one that is smaller."""
    split = data.digits()
    x = nn.functional.interpolate(split.x_train[start : start + number], (28, 28), mode="bilinear")
    return list(zip(x.split(30), split.y_train[start : start + number].split(30), strict=True))


def trained() -> nn.Module:
    torch.manual_seed(0)
    ann = Diehl2015()
    optimizer = torch.optim.Adam(ann.parameters(), 5e-3)
    for _ in range(3):
        for x, y in digits(900):
            loss = nn.functional.cross_entropy(ann(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return ann.eval()


@pytest.fixture(scope="module")
def ann() -> nn.Module:
    return trained()


def test_the_manuals_steps_convert_the_network_of_diehl_at_any_batch_size(ann: nn.Module) -> None:
    scope: dict[str, Any] = {
        "torch": torch,
        "opt": SimpleNamespace(batch_size=30),
        "ann": ann,
        "n_timesteps": 40,
    }
    scope |= {"train_loader": digits(200), "val_loader": digits(100, 1000)}
    scope |= {"saved_state_dict": {"model": ann.state_dict()}}
    exec(ours(DIEHL), scope)
    assert len(scope["threshold"]) == 3 and scope["total_images"] == 100
    right = sum(int((ann(x).argmax(1) == y).sum()) for x, y in digits(100, 1000))
    assert right > 85 and scope["num_corrects"] >= right - 6


def test_the_manuals_steps_run_spike_norm_at_any_batch_size() -> None:
    torch.manual_seed(1)
    layers = list(VGG16().named_children())
    small = nn.Sequential(
        OrderedDict([*layers[:6], ("flat", nn.Flatten()), ("fc16", nn.Linear(64 * 16 * 16, 10))])
    )
    scope: dict[str, Any] = {"torch": torch, "ann": small, "n_timesteps": 2}
    scope["opt"] = SimpleNamespace(batch_size=1, num_steps=10, scaling_factor=1.0)
    x = torch.randn(1, 3, 32, 32)
    scope |= {"train_loader": [(x, None)], "val_loader": [(torch.cat([x, x]), None)]}
    scope |= {"saved_state_dict": {"model": scope["ann"].state_dict()}}
    exec(ours(SENGUPTA), scope)
    assert len(scope["threshold"]) == 3 and all(value > 0 for value in scope["threshold"])
    assert scope["outs"].shape == (2, 10)


def test_activation_based_thresholds_are_scales_over_the_scale_before(ann: Any) -> None:
    x = torch.cat([x for x, _ in digits(60)])
    first = torch.relu(ann.conv1(x))
    second = torch.relu(ann.conv2(ann.pool1(first)))
    third = ann.fc1(ann.pool2(second).flatten(1))
    scales = [1.0]
    for a, layer in ((first, ann.conv1), (second, ann.conv2), (third, ann.fc1)):
        scales.append(max(float(a.detach().max()), float(layer.weight.detach().max())))
    wanted = [b / a for a, b in pairwise(scales)]
    assert activation_based(digits(60), ann) == pytest.approx(wanted, rel=1e-5)


def test_the_scaling_factor_acts_and_all_batches_count(ann: nn.Module) -> None:
    def found(batches: Any, factor: float) -> list[float]:
        net = SNN_Diehl2015()
        net.load_state_dict(ann.state_dict(), strict=False)
        return spikenorm(batches, lambda x: x, net, num_steps=8, scaling_factor=factor)

    one, both = digits(30), digits(60)
    assert found(both, 0.5) == pytest.approx([value / 2 for value in found(both, 1.0)])
    assert all(b >= a for a, b in zip(found(one, 1.0), found(both, 1.0), strict=True))
    assert found(both, 1.0) != found(one, 1.0)


def test_a_neuron_at_its_threshold_neither_fires_nor_forgets() -> None:
    net = SNN_Diehl2015(threshold=[1.0, 1.0, 1.0])
    neuron: Any = net.neurons["conv1_if"]
    assert neuron(torch.ones(1, 1)).item() == 0 and neuron.mem.item() == 1
    assert neuron(torch.ones(1, 1) * 0.5).item() == 1


def test_networks_move_as_a_whole_and_refuse_a_wrong_number_of_thresholds() -> None:
    net = SNN_Diehl2015(batch_size=2).to(torch.float64)
    assert net.neurons["fc1_if"].threshold.dtype == torch.float64
    assert net(torch.rand(1, 1, 28, 28, dtype=torch.float64), num_steps=17).dtype == torch.float64
    with pytest.raises(ValueError, match=r"there are 3 neurons, got 2 thresholds"):
        net.update_threshold([1.0, 1.0])
    with pytest.raises(ValueError, match=r"num_steps must be a positive integer"):
        net(torch.rand(1, 1, 28, 28, dtype=torch.float64))


def test_svgg16_shares_the_weights_of_its_network_and_has_their_names() -> None:
    ann = VGG16()
    net = SVGG16(ann, 4)
    assert net.get_submodule("conv7") is ann.get_submodule("conv7")
    assert set(ann.state_dict()) < set(net.state_dict())
