"""Networks as files without pickle: what is saved is what is loaded, and nothing in a file is
executed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.neuron import REGISTRY
from spikeloom.saving.architecture import KINDS
from spikeloom.train import conv, mlp
from spikeloom.train.settings import describe_network

NEURONS = {
    name: kind
    for name, kind in REGISTRY.items()
    if kind.__module__.startswith("spikeloom.neurons.")
}
quantised = snn.functional.quant.state_quant(num_bits=3)
LAYERS: dict[str, Any] = {
    "every option": lambda: snn.Leaky(
        beta=torch.rand(9),
        threshold=torch.rand(9) + 0.1,
        spike_grad=snn.surrogate.fast_sigmoid(7),
        init_hidden=True,
        inhibition=True,
        learn_beta=True,
        learn_threshold=True,
        reset_mechanism="zero_attached",
        state_quant=quantised,
        output=True,
        graded_spikes_factor=2.5,
        learn_graded_spikes_factor=True,
        reset_delay=False,
        mode="sequence",
    ),
    "no surrogate": lambda: snn.Synaptic(0.8, 0.9, surrogate_disable=True),
    "double": lambda: snn.Leaky(0.9).double(),
    "Lapicque of beta": lambda: snn.Lapicque(beta=0.9, learn_beta=True),
    "Lapicque of R and C": lambda: snn.Lapicque(R=5.0, C=1e-3, time_step=1e-3),
    "Lapicque of beta and C": lambda: snn.Lapicque(beta=0.8, C=2.0),
    "Lapicque of all": lambda: snn.Lapicque(R=2.0, C=3.0, learn_beta=True),
    "one to one": lambda: snn.RLeaky(0.9, V=torch.rand(7), all_to_all=False),
    "fixed feedback": lambda: snn.RLeaky(
        0.9, conv2d_channels=2, kernel_size=3, learn_recurrent=False
    ),
    "synaptic feedback": lambda: snn.RSynaptic(
        0.8, 0.9, V=0.3, all_to_all=False, learn_recurrent=False
    ),
    "refractory": lambda: snn.RefractoryLIF(
        beta=0.8, threshold=1.5, reset_to=-0.3, refractory_steps=4
    ),
    "state space": lambda: snn.StateLeaky(
        0.9, 5, learn_beta=True, output=True, state_quant=quantised
    ),
    "linear": lambda: snn.LinearLeaky(torch.tensor([0.5, 0.6]), 3, 2, bias=False, output=True),
    "parallel": lambda: snn.LeakyParallel(3, 4, beta=0.7, bias=False, weight_hh_enable=True),
    "parallel with dropout": lambda: snn.LeakyParallel(3, 4, dropout=0.25),
    "pooling LSTM": lambda: snn.SConv2dLSTM(1, 2, 3, max_pool=2),
    "scaled": lambda: snn.ScaledIF(torch.rand(4, 1, 1) + 0.1, 0.5, reset_mechanism="zero"),
    "delay": lambda: snn.SynapticDelay(
        4, torch.rand(3), channels=3, learn_delay=True, kernel="gaussian", sigma=0.7
    ),
    "delayed linear": lambda: snn.DelayedLinear(3, 4, 5, bias=False, learn_delay=True, sigma=2.0),
    "graded": lambda: snn.GradedSpikes(4, None),
    "spike linear": lambda: snn.SpikeLinear(3, 4, bias=False, events="never"),
    "convolution": lambda: nn.Conv2d(
        3, 6, (3, 2), 2, (1, 0), groups=3, bias=False, padding_mode="reflect"
    ),
    "batch norm": lambda: nn.BatchNorm2d(3, momentum=None),
    "layer norm": lambda: nn.LayerNorm([3, 4], elementwise_affine=False),
    "pooling": lambda: nn.AdaptiveAvgPool2d((1, None)),
    "unflatten": lambda: nn.Unflatten(1, (2, 3)),
    "bfloat16": lambda: nn.Linear(2, 3).bfloat16(),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 3), snn.Leaky(0.8)), nn.Flatten()
    ),
}


def same(a: nn.Module, b: nn.Module) -> None:
    old, new = a.state_dict(), b.state_dict()
    assert list(old) == list(new)
    for name in old:
        assert torch.equal(old[name], new[name]) and old[name].dtype == new[name].dtype, name
    assert repr(a) == repr(b) and describe_network(a) == describe_network(b)
    assert [type(module) for module in a.modules()] == [type(module) for module in b.modules()]
    assert [p.requires_grad for p in a.parameters()] == [p.requires_grad for p in b.parameters()]


def trained(net: nn.Module) -> nn.Module:
    """Weights as training may leave them: a decay above 1, for example."""
    for parameter in net.parameters():
        parameter.data.mul_(1.2)
    return net


@pytest.mark.filterwarnings("ignore:.*output=False")
@pytest.mark.parametrize("name", NEURONS)
def test_every_neuron_is_loaded_as_it_was_saved(name: str, tmp_path: Path) -> None:
    net = trained(nn.Sequential(NEURONS[name](**getattr(NEURONS[name], "example", {}))))
    same(net, snn.load(snn.save(net, tmp_path / "net.safetensors")))


@pytest.mark.parametrize("name", LAYERS)
def test_every_option_of_a_layer_is_loaded_as_it_was_saved(name: str, tmp_path: Path) -> None:
    net = trained(nn.Sequential(LAYERS[name]()))
    same(net, snn.load(snn.save(net, tmp_path / "net.safetensors")))


@pytest.mark.parametrize(
    "name", [n for n in snn.surrogate.__all__ if n[0].isupper() and "Surrogate" not in n]
)
def test_every_surrogate_is_loaded_as_it_was_saved(name: str, tmp_path: Path) -> None:
    net = nn.Sequential(snn.Leaky(0.9, spike_grad=getattr(snn.surrogate, name)()))
    assert snn.load(snn.save(net, tmp_path / "a.safetensors"))[0].spike_grad == net[0].spike_grad


@pytest.mark.parametrize("name", KINDS)
def test_every_known_layer_is_a_class_with_readable_arguments(name: str) -> None:
    assert isinstance(KINDS[name], type) and issubclass(KINDS[name], nn.Module)


def test_a_subclass_of_a_neuron_is_loaded_as_itself(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), Louder(0.7, init_hidden=True))
    loaded = snn.load(snn.save(net, tmp_path / "a.safetensors"))
    same(net, loaded)
    assert type(loaded[1]) is Louder


def test_a_loaded_network_computes_the_same(tmp_path: Path) -> None:
    for net, x in (
        (mlp([6], 3, 8), torch.rand(2, 6)),
        (conv([1, 8, 8], 3, [2]), torch.rand(2, 1, 8, 8)),
    ):
        net.eval()
        net[1].requires_grad_(False)
        loaded = snn.load(snn.save(net, tmp_path / "a.safetensors"))
        same(net, loaded)
        assert not loaded.training
        for a, b in zip(snn.run(net, x, 5), snn.run(loaded, x, 5), strict=True):
            assert torch.equal(a, b)


def test_loading_leaves_the_generator_and_a_run_behind_nothing(tmp_path: Path) -> None:
    net = mlp([6], 3, 8)
    snn.run(net, torch.rand(2, 6), 3)  # states are no part of a network
    path = snn.save(net, tmp_path / "a.safetensors")
    before = torch.get_rng_state()
    snn.load(path)
    assert torch.equal(before, torch.get_rng_state())


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + 1


class Wider(nn.Linear):
    """A subclass of a known layer that is no neuron."""


class Louder(snn.Leaky):
    pass


def shared() -> nn.Sequential:
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, layer)


def patched() -> nn.Sequential:
    net = nn.Sequential(nn.ReLU())
    net[0].forward = lambda x: x
    return net


def changed() -> nn.Sequential:
    net = nn.Sequential(nn.Linear(3, 2))
    net[0].weight = nn.Parameter(torch.zeros(4, 3))
    return net


def attributed() -> nn.Sequential:
    net = nn.Sequential(snn.Leaky(0.9))
    net[0].gain = 2.0
    return net


def custom(input_: Tensor, grad_input: Tensor, spikes: Tensor) -> Tensor:
    return grad_input


REFUSED: dict[str, tuple[Any, str]] = {
    "own class": (
        lambda: nn.Sequential(nn.Flatten(), Own()),
        r"layer '1' is a test_saving\.Own, which is no layer of",
    ),
    "own network": (Own, r"the network is a test_saving\.Own"),
    "subclass": (lambda: nn.Sequential(Wider(2, 3)), r"layer '0' is a test_saving\.Wider"),
    "function": (
        lambda: nn.Sequential(snn.Leaky(0.9, spike_grad=snn.surrogate.custom_surrogate(custom))),
        r"layer '0': spike_grad cannot be saved",
    ),
    "shared": (shared, r"layer '1' is the same module as layer '0'"),
    "patched": (patched, r"layer '0' has a forward of its own"),
    "changed": (changed, r"layer '0' is a Linear that its constructor does not make as it is now"),
    "parametrised": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))),
        r"layer '0' is a .*ParametrizedLinear",
    ),
    "attribute": (
        attributed,
        r"layer '0' is a Leaky that its constructor does not make as it is now",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_saved_is_refused_with_its_layer(name: str, tmp_path: Path) -> None:
    make, text = REFUSED[name]
    with pytest.raises(TypeError, match=text) as error:
        snn.save(make(), tmp_path / "net.safetensors")
    assert "snn.load(path, into=net)" in str(error.value) and not list(tmp_path.iterdir())


def test_weights_are_loaded_into_a_network_with_a_class_of_its_own(tmp_path: Path) -> None:
    net, other = Own(), Own()
    path = snn.save(net.state_dict(), tmp_path / "weights.safetensors")
    assert snn.load(path, into=other) is other
    same(net, other)
    with pytest.raises(
        ValueError,
        match=r"holds weights without an architecture; write snn\.load\(path, into=net\)",
    ):
        snn.load(path)
    wrong = nn.Linear(2, 3)
    before = {name: value.clone() for name, value in wrong.state_dict().items()}
    with pytest.raises(
        ValueError, match="must hold the weights of this network, but weight is missing"
    ):
        snn.load(path, into=wrong)
    wide = Own()
    wide.layer = nn.Linear(2, 4)
    with pytest.raises(
        ValueError, match=r"layer\.weight has shape \[3, 2\] in the file and \[4, 2\] in it"
    ):
        snn.load(path, into=wide)
    assert all(torch.equal(before[name], value) for name, value in wrong.state_dict().items())


def test_mistakes_of_saving_and_loading_are_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"save takes .* or its state_dict, got list"):
        snn.save([], tmp_path / "a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x must be a tensor, got int"):
        snn.save({"x": 1}, tmp_path / "a")  # type: ignore[dict-item]
    with pytest.raises(
        TypeError, match=r"x has dtype torch\.complex64, which safetensors cannot hold"
    ):
        snn.save({"x": torch.zeros(1, dtype=torch.complex64)}, tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        snn.load(tmp_path / "a")
    assert not list(tmp_path.iterdir())
