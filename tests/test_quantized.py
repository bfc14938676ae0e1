"""Networks of integers against an integer reference of their own."""

import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.hardware import FixedPointLeaky, fake_quantize, quantize


def reference(net: nn.Sequential, x: np.ndarray) -> np.ndarray:
    """Spikes of linear layers and neurons, [T, out], in integers of 64 bits: no float anywhere."""
    mem = {}
    spikes = {}
    out = []
    for x_t in x.astype(np.int64):
        value = x_t
        for index, module in enumerate(net):
            if isinstance(module, nn.Linear):
                value = module.weight.detach().numpy().astype(np.int64) @ value
                continue
            ints = {
                name: getattr(module, name).numpy().astype(np.int64)
                for name in ("beta", "threshold", "bias", "offset", "top")
            }
            shift = int(np.log2(float(module.gain)))
            drive = value << shift if shift >= 0 else (value + ints["offset"]) >> -shift
            old = mem.get(index, np.zeros_like(value))
            kept = (old * ints["beta"] + 128) >> 8
            new = np.clip(kept + drive + ints["bias"], -ints["top"], ints["top"])
            if module.reset_mechanism == "subtract":
                fired = spikes.get(index, np.zeros_like(value))
                unclipped = kept + drive + ints["bias"]
                new = np.clip(unclipped, -ints["top"], ints["top"]) - fired * ints["threshold"]
            mem[index] = new
            spikes[index] = value = (new > ints["threshold"]).astype(np.int64)
        out.append(value)
    return np.stack(out)


@pytest.mark.parametrize("input_step", [1.0, 1 / 255])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_quantized_network_spikes_as_integers_do_bit_for_bit(
    bits: int, input_step: float
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(20, 16),
        snn.Leaky(0.9, init_hidden=True),
        nn.Linear(16, 8),
        snn.Leaky(torch.rand(8), threshold=0.6, init_hidden=True),
    )
    with torch.no_grad():
        net[0].weight.mul_(3)
        net[2].weight.mul_(3)
    made = quantize(net, torch.zeros(1, 20), weight_bits=bits, input_step=input_step)
    x = torch.rand(60, 20)
    x = (x * 255).round() if input_step < 1 else (x < 0.4).float()
    expected = reference(made, x.numpy())
    assert 0.02 < expected.mean() < 0.9
    out = snn.run(made, x[:, None])[:, 0]
    assert np.array_equal(out.detach().numpy().astype(np.int64), expected)
    snn.reset(made)
    stepwise = torch.stack([made(x_t[None])[0] for x_t in x])
    assert torch.equal(stepwise, out)


def test_eight_bits_spike_nearly_as_the_network_they_come_from() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Linear(50, 64),
        snn.Leaky(0.9, init_hidden=True),
        nn.Linear(64, 10),
        snn.Leaky(0.9, init_hidden=True),
    )
    net = nn.Sequential(nn.Flatten(), *net)
    x = torch.rand(40, 32, 50)
    made = quantize(net, x[0], input_step=1 / 255)
    expected, found = snn.run(net, x).sum(0), snn.run(made, (x * 255).round()).sum(0)
    assert expected.sum() > 100
    assert (expected - found).abs().mean() < 0.25


def test_every_parameter_of_a_quantized_network_is_an_integer_in_its_range() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), snn.Leaky(0.9, init_hidden=True))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made = quantize(net, torch.zeros(1, 1, 8, 8), weight_bits=4)
    assert isinstance(made[2], FixedPointLeaky)
    weight = made[0].weight
    assert torch.equal(weight, weight.round()) and weight.abs().max() == 7
    for name in ("threshold", "bias", "beta"):
        value = getattr(made[2], name)
        assert torch.equal(value, value.round())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_training_with_simulated_quantization_moves_weights_and_quantize_keeps_them() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), snn.Leaky(0.9, init_hidden=True))
    fake_quantize(net, weight_bits=2)
    weight = net[0].parametrizations.weight.original
    before = weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    snn.run(net, torch.rand(10, 4, 6)).sum().backward()
    optimizer.step()
    assert not torch.equal(weight, before)
    for row in net[0].weight:
        assert len(row.abs().unique()) <= 2
    made = quantize(net, torch.zeros(1, 6), weight_bits=2)
    scale = net[0].weight.abs().amax(1, keepdim=True)
    assert torch.allclose(made[0].weight * scale, net[0].weight)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), r"layer '1' \(ReLU\) has no integer form"),
        (
            nn.Sequential(nn.Linear(4, 3), snn.Synaptic(0.9, 0.8, init_hidden=True)),
            r"neuron '1' \(Synaptic\) has no integer form",
        ),
        (
            nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True, inhibition=True)),
            "inhibition",
        ),
        (
            nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, threshold=1e-9, init_hidden=True)),
            "more state_bits",
        ),
    ],
    ids=["layer", "neuron", "inhibition", "threshold"],
)
def test_what_has_no_integer_form_is_named(net: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(net, torch.zeros(1, 4))


def test_arguments_of_quantize_are_checked() -> None:
    net, x = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True)), torch.zeros(1, 4)
    with pytest.raises(TypeError, match=r"net must be a torch\.nn\.Module, got str"):
        quantize("net", x)
    with pytest.raises(TypeError, match=r"net must be a torch\.nn\.Module, got str"):
        fake_quantize("net")
    broken = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))
    broken[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="the weight of layer '0' holds 1 NaN or infinite values"):
        quantize(broken, x)
    with pytest.raises(ValueError, match="weight_bits must"):
        quantize(net, x, weight_bits=16)
    with pytest.raises(ValueError, match="input_step must"):
        quantize(net, x, input_step=0.0)
    with pytest.raises(ValueError, match="beta must be an integer"):
        FixedPointLeaky(2.5, 3)
    with pytest.raises(ValueError, match="gain must be a power of two"):
        FixedPointLeaky(2, 3, gain=0.3)


@pytest.mark.parametrize("state_bits", [8, 16, 20, 24])
def test_a_wide_membrane_decays_by_a_rounded_product(state_bits: int) -> None:
    top = 2 ** (state_bits - 1) - 1
    neuron = FixedPointLeaky(
        230, top, state_bits=state_bits, reset_mechanism="none", init_hidden=True, output=True
    )
    torch.manual_seed(0)
    mem = np.zeros((1, 50), np.int64)
    for _ in range(300):
        x = torch.randint(-top // 4, top // 4, (1, 50))
        mem = np.clip(((mem * 230 + 128) >> 8) + x.numpy(), -top, top)
        assert np.array_equal(neuron(x.float())[1].numpy().astype(np.int64), mem)


def test_an_integer_that_float32_cannot_hold_is_rounded_in_silence() -> None:
    with pytest.raises(ValueError, match="threshold must be an integer of at most 24 bits"):
        FixedPointLeaky(230, 2**24 + 1)


def test_an_integrate_and_fire_neuron_has_no_integer_form() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(12, 8), snn.IF(init_hidden=True), nn.Linear(8, 3), snn.IF(init_hidden=True)
    )
    with torch.no_grad():
        net[0].weight.abs_()
        net[2].weight.abs_()
    made = quantize(net, torch.zeros(1, 12))
    x = (torch.rand(50, 1, 12) < 0.4).float()
    out = snn.run(made, x).detach()
    assert np.array_equal(out[:, 0].numpy().astype(np.int64), reference(made, x[:, 0].numpy()))
    assert (out - snn.run(net, x)).abs().mean() < 0.1 < out.mean()


def test_the_unit_of_a_membrane_does_not_lead_back_to_the_network() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), snn.Leaky(0.9, threshold=0.7, init_hidden=True))
    made = quantize(net, torch.zeros(1, 1, 5, 5), input_step=1 / 255)
    assert torch.allclose(made[1].threshold * made[1].unit, torch.tensor(0.7), rtol=1e-3)
    weight_unit = made[1].unit * made[1].gain * 255  # of an input of 1
    back = made[0].weight * weight_unit.reshape(-1, 1, 1, 1)
    assert (back - net[0].weight).abs().max() <= weight_unit.max() / 2 + 1e-7


def test_sums_of_integers_exceed_32_bits() -> None:
    """A small threshold asks for a large gain, which the largest sum of weights does not allow."""
    net = nn.Sequential(
        nn.Linear(100, 1, bias=False), snn.Leaky(0.9, threshold=5e-4, init_hidden=True)
    )
    net[0].weight.data.fill_(1.0)
    made = quantize(net, torch.zeros(1, 100), input_step=1 / 1000)
    most = made[0].weight.detach().sum().item() * 1000 * float(made[1].gain)
    assert 2.0**29 < most <= 2.0**30


def test_a_layer_that_is_called_twice_ends_in_an_attribute_error() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)
            self.first, self.second = (snn.Leaky(0.9, init_hidden=True) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.fc(self.first(self.fc(x))))

    with pytest.raises(ValueError, match="'fc_1' is the second call of a layer"):
        quantize(Twice(), torch.zeros(1, 6))
