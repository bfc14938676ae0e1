"""Graphs for Rockpool and Lava-DL, against NumPy models of their readers, and Rockpool itself."""

import types
import warnings
from pathlib import Path
from typing import Any

import chip_readers
import nir
import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.nir import check, from_nir, to_nir

SUBTRACT: dict[str, Any] = {
    "reset_mechanism": "subtract",
    "reset_delay": False,
    "init_hidden": True,
}
ZERO: dict[str, Any] = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
X = (torch.rand(80, 1, 6, generator=torch.Generator().manual_seed(3)) < 0.5).float()

FOR_ROCKPOOL = {
    "Synaptic": lambda: snn.Synaptic(0.5, 0.8, threshold=1.03, **SUBTRACT),
    "own parameters": lambda: snn.Synaptic(
        torch.linspace(0.2, 0.6, 8),
        torch.linspace(0.9, 0.2, 8),
        torch.linspace(1, 2, 8),
        **SUBTRACT,
    ),
    "RSynaptic": lambda: snn.RSynaptic(0.5, 0.8, linear_features=8, threshold=1.53, **SUBTRACT),
    "one to one": lambda: snn.RSynaptic(
        0.5, 0.8, all_to_all=False, V=0.2, threshold=1.53, **SUBTRACT
    ),
}


def small(neuron: nn.Module) -> nn.Module:
    """A network whose weights exclude two spikes in a step."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 8), neuron)
    with torch.no_grad():
        net[0].weight.abs_().div_(net[0].weight.sum(1, keepdim=True) * 2.5)
        net[0].bias.fill_(0.01)
        if isinstance(getattr(neuron, "recurrent", None), nn.Linear):
            neuron.recurrent.weight.mul_(0.1)
            neuron.recurrent.bias.zero_()
    return net


def spikes(net: nn.Module, x: torch.Tensor = X) -> np.ndarray:
    with torch.no_grad():
        out = snn.run(net, x)[:, 0]
    snn.reset(net)
    return out.numpy()


def written(graph: Any, folder: Path) -> Any:
    nir.write(folder / "net.nir", graph)
    return nir.read(folder / "net.nir")


@pytest.mark.parametrize("name", FOR_ROCKPOOL)
def test_rockpool_fires_other_spikes_than_the_network(name: str, tmp_path: Path) -> None:
    net = small(FOR_ROCKPOOL[name]())
    graph = written(to_nir(net, target="rockpool"), tmp_path)
    want = spikes(net)
    assert want.any()
    assert np.array_equal(chip_readers.rockpool(graph, X[:, 0].double().numpy()), want)
    assert np.array_equal(spikes(from_nir(graph)), want)


@pytest.mark.parametrize("name", FOR_ROCKPOOL)
def test_rockpool_itself_fires_other_spikes(name: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = pytest.importorskip("rockpool.nn.modules.torch.nir", reason="no Rockpool")
        net = small(FOR_ROCKPOOL[name]())
        graph = written(to_nir(net, target="rockpool"), tmp_path)
        out = reader.from_nir(graph)(X.transpose(0, 1))[0].detach()
    assert np.array_equal(out.reshape(len(X), -1).numpy(), spikes(net))


@pytest.mark.parametrize(
    ("neuron", "why"),
    [
        (snn.Leaky(0.9, **SUBTRACT), r"'1' \(LIF\): Rockpool does not read this type"),
        (snn.Synaptic(0.0, 0.9, threshold=2.0, **SUBTRACT), "use an alpha above 0"),
        (snn.Synaptic(0.5, 0.9, threshold=2.0, init_hidden=True), "in Rockpool by 'subtract'"),
        (snn.Synaptic(0.5, 0.9, threshold=0.1, **SUBTRACT), "fires several spikes in a step"),
        (snn.RSynaptic(0.5, 0.9, linear_features=8, threshold=9.0, **SUBTRACT), "bias in a loop"),
    ],
    ids=["Leaky", "no synapse", "late reset", "several spikes", "bias in the loop"],
)
def test_rockpool_gets_what_it_cannot_run(neuron: nn.Module, why: str) -> None:
    net = nn.Sequential(nn.Linear(6, 8), neuron)
    with pytest.raises(ValueError, match=f"Rockpool would not run this network .*{why}"):
        to_nir(net, target="rockpool")


def test_a_graph_that_is_not_for_rockpool_passes_its_check() -> None:
    graph = to_nir(small(FOR_ROCKPOOL["Synaptic"]()), target="spikeloom", dt=1e-3)
    assert "takes its time step from r" in check(graph, "rockpool")[0]


def test_obstacles_cannot_be_overruled_or_pass_in_silence() -> None:
    net = small(snn.Synaptic(0.5, 0.8, threshold=0.4, **SUBTRACT))
    with pytest.raises(ValueError, match="several spikes"):
        to_nir(net, target="rockpool")
    with pytest.warns(UserWarning, match="Rockpool would not run .* several spikes"):
        graph = to_nir(net, target="rockpool", strict=False)
    assert np.array_equal(spikes(from_nir(graph)), spikes(net))
    assert chip_readers.rockpool(graph, X[:, 0].double().numpy()).max() > 1
    with pytest.raises(TypeError, match="strict must be True or False"):
        to_nir(net, target="rockpool", strict="no")


def on_grid(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim():
                parameter.copy_(parameter.mul(2048).round().div(2048))
    return net


IMAGES = (torch.rand(40, 1, 2, 9, 9, generator=torch.Generator().manual_seed(4)) < 0.4).float()
FOR_LAVA = {
    "linear": (
        lambda: nn.Sequential(
            nn.Linear(6, 8),
            snn.IF(**ZERO),
            nn.Linear(8, 4, bias=False),
            snn.Leaky(1.0, 0.3, **ZERO),
        ),
        X,
    ),
    "convolutional": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, groups=2, bias=False),
            snn.IF(threshold=0.53, **ZERO),
            nn.AvgPool2d(2, divisor_override=1),
            nn.Conv2d(4, 3, 2, stride=2, bias=False),
            snn.IF(**ZERO),
            nn.Flatten(),
            nn.Linear(12, 5),
            snn.IF(threshold=0.5, **ZERO),
        ),
        IMAGES,
    ),
}


@pytest.mark.parametrize("name", FOR_LAVA)
def test_lava_fires_other_spikes_than_the_network(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, x = FOR_LAVA[name]
    net = on_grid(make())
    graph = written(to_nir(net, x[0], target="lava"), tmp_path)
    want = spikes(net, x)
    assert want.any()
    assert np.array_equal(chip_readers.lava(graph, x[:, 0].numpy()), want)
    assert np.array_equal(spikes(from_nir(graph), x), want)


def test_a_membrane_that_equals_the_threshold_fires_in_lava() -> None:
    net = nn.Sequential(nn.Linear(1, 1, bias=False), snn.IF(threshold=2.0, **ZERO))
    net[0].weight.data.fill_(1.0)
    x = torch.ones(7, 1, 1)
    want = spikes(net, x)
    graph = to_nir(net, target="lava")
    assert want.flatten().tolist() == [0, 0, 1, 0, 0, 1, 0]
    assert np.array_equal(chip_readers.lava(graph, x[:, 0].numpy()), want)
    graph.nodes["1"].v_threshold = np.full(1, 2.0)  # Lava-DL spikes there, and does not reset
    assert not np.array_equal(chip_readers.lava(graph, x[:, 0].numpy()), want)
    assert "may equal the threshold" in check(graph, "lava")[0]


@pytest.mark.parametrize(
    ("net", "x", "why"),
    [
        (
            nn.Sequential(nn.Linear(6, 8), snn.IF(**ZERO)),
            X,
            r"'0' \(Affine\): Lava-DL rounds.*weight.mul\(2048\).round",
        ),
        (
            on_grid(nn.Sequential(nn.Linear(6, 8), snn.Leaky(0.9, **ZERO))),
            X,
            r"'1' \(LIF\): Lava-DL does not read this type",
        ),
        (
            on_grid(nn.Sequential(nn.Linear(6, 8), snn.Synaptic(0.9, 0.8, **ZERO))),
            X,
            r"'1' \(CubaLIF\): Lava-DL does not read this type",
        ),
        (
            on_grid(nn.Sequential(nn.Conv2d(2, 4, 3), snn.IF(**ZERO))),
            IMAGES,
            "refuses the bias of a convolution",
        ),
        (
            on_grid(nn.Sequential(nn.Linear(6, 8), snn.IF(torch.linspace(1, 2, 8), **ZERO))),
            X,
            "one v_threshold for all",
        ),
        (
            on_grid(nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), snn.IF(**ZERO), nn.Flatten(2))),
            IMAGES,
            "flattens all axes",
        ),
    ],
    ids=["weights", "leak", "synapse", "bias", "thresholds", "flatten"],
)
def test_lava_gets_what_it_cannot_run(net: nn.Module, x: torch.Tensor, why: str) -> None:
    with pytest.raises(ValueError, match=f"Lava-DL would not run this network .*{why}"):
        to_nir(net, x[0], target="lava")


def test_nir_1_0_4_of_sinabs_and_rockpool_refuses_the_fields_of_a_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The classes of nir 1.0.4: no v_reset, no metadata of layers, no type_check, no CubaLI."""
    old = types.ModuleType("nir")
    for name in ("Input", "Output", "Flatten", "Affine"):
        setattr(old, name, getattr(nir, name))

    def graph(nodes: Any, edges: Any) -> Any:
        return nir.NIRGraph(nodes, edges, type_check=False)

    def linear(weight: Any) -> Any:
        return nir.Linear(weight)

    def lif(tau: Any, r: Any, v_leak: Any, v_threshold: Any, metadata: Any) -> Any:
        return nir.LIF(tau, r, v_leak, v_threshold, metadata=metadata)

    for name, value in (("NIRGraph", graph), ("Linear", linear), ("LIF", lif)):
        setattr(old, name, value)
    monkeypatch.setitem(__import__("sys").modules, "nir", old)
    net = nn.Sequential(nn.Linear(6, 8, bias=False), snn.Leaky(0.9, **ZERO))
    made = to_nir(net, target="snntorch")
    assert np.array_equal(spikes(from_nir(made)), spikes(net))
    with pytest.raises(ValueError, match=r"this version of nir has no LI; install nir>=1\.0\.8"):
        to_nir(nn.Sequential(nn.Linear(6, 8), snn.LI(0.9, init_hidden=True)))
