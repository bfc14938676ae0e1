"""Layers that compute their weights: NIR, C and integers take the result."""

import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import spikeloom as snn
from spikeloom.nir import from_nir, to_nir

X = (torch.rand(20, 1, 12, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def lif() -> nn.Module:
    return snn.Leaky(0.9, init_hidden=True)


def spikes(net: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        out = snn.run(net.eval(), X)
    snn.reset(net)
    return out


def differing_in_c(net: nn.Module, folder: Path) -> int:
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, program = folder / "net.c", folder / "net"
    source.write_text(snn.hardware.to_c(net, X[0], test=X[:, 0]), encoding="utf-8")
    command = [compiler, "-std=c99", "-ffp-contract=off", "-DNETWORK_TEST", str(source)]
    subprocess.run([*command, "-o", str(program), "-lm"], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True)
    found = re.match(r"(\d+) of (\d+) outputs differ", done.stdout)
    assert found is not None, done.stdout
    return int(found[1])


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrized_layer_is_refused(wrap: Any) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(wrap(nn.Linear(12, 8)), lif(), wrap(nn.Linear(8, 4)), lif()).double().eval()
    x = X.double()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    graph = to_nir(net, x[0], target="spikeloom")
    with torch.no_grad():
        want = snn.run(net, x)
        assert want.any() and torch.equal(snn.run(from_nir(graph), x), want)
    snn.reset(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert type(net[0]).__name__ == "ParametrizedLinear"  # the network itself stays as it is


def test_simulated_quantization_leaves_with_other_weights_than_it_computes() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 8), lif())
    snn.hardware.fake_quantize(net, weight_bits=4, per_channel=False)
    weight = to_nir(net, X[0], target="spikeloom").nodes["0"].weight
    assert len(set(weight.flatten().tolist())) <= 15


def brevitas() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("brevitas.nn", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_brevitas_stays_in_python(tmp_path: Path) -> None:
    layers = brevitas()
    torch.manual_seed(0)
    net = nn.Sequential(
        layers.QuantLinear(12, 16, bias=True, weight_bit_width=4),
        lif(),
        layers.QuantLinear(16, 3, bias=True, weight_bit_width=4),
        lif(),
    )
    x, y = torch.rand(64, 12), torch.arange(64) % 3
    snn.fit(net, (x, y, x, y), epochs=1, num_steps=4, threads=1, progress=False)
    want = spikes(net)
    graph = to_nir(net, X[0], target="spikeloom")
    assert len(set(graph.nodes["0"].weight.flatten().tolist())) <= 16
    assert want.any() and torch.equal(spikes(from_nir(graph)), want)
    assert differing_in_c(net, tmp_path) == 0


@pytest.mark.filterwarnings("ignore")
def test_quantized_inputs_of_brevitas_are_dropped() -> None:
    layers = brevitas()
    from brevitas.quant import Int8ActPerTensorFloat

    layer = layers.QuantLinear(12, 4, bias=True, input_quant=Int8ActPerTensorFloat)
    with pytest.raises(ValueError, match=r"'0' quantizes its input.*input_quant=None"):
        to_nir(nn.Sequential(layer, lif()), X[0])


def prepared(activation: Any) -> nn.Module:
    """A network for the quantization-aware training of torch.ao, with 8-bit weights."""
    ao = torch.ao.quantization
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), lif(), nn.Linear(16, 3), lif())
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.mul_(3)
    net.qconfig = ao.QConfig(activation=activation, weight=ao.default_weight_fake_quant)
    return ao.prepare_qat(net.train())


@pytest.mark.filterwarnings("ignore")
def test_weights_of_torch_ao_leave_unrounded(tmp_path: Path) -> None:
    net = prepared(torch.ao.quantization.NoopObserver)
    x, y = torch.rand(64, 12), torch.arange(64) % 3
    snn.fit(net, (x, y, x, y), epochs=1, num_steps=4, threads=1, progress=False)
    net.eval().apply(torch.ao.quantization.disable_observer)
    want = spikes(net)
    graph = to_nir(net, X[0], target="spikeloom")
    rounded = net[0].weight_fake_quant(net[0].weight).detach().numpy()
    assert (graph.nodes["0"].weight == rounded).all()
    assert (rounded != net[0].weight.detach().numpy()).any()
    assert want.any() and torch.equal(spikes(from_nir(graph)), want)
    assert differing_in_c(net, tmp_path) == 0


@pytest.mark.filterwarnings("ignore")
def test_quantized_outputs_of_torch_ao_are_dropped() -> None:
    net = prepared(torch.ao.quantization.default_fake_quant)
    for write in (to_nir, snn.hardware.to_c, snn.hardware.quantize):
        with pytest.raises(ValueError, match=r"'0' quantizes its output.*NoopObserver"):
            write(net, X[0])


def test_a_linear_layer_with_another_forward_is_written_as_an_ordinary_one() -> None:
    class Cosine(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) / x.norm(dim=1, keepdim=True).clamp_min(1)

    net = nn.Sequential(Cosine(12, 4), lif())
    for write in (to_nir, snn.hardware.to_c, snn.hardware.quantize):
        with pytest.raises(ValueError, match="forward calls 'linear', which has no"):
            write(net, X[0])
