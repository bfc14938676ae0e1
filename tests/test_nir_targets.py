"""Graphs for one library: they compute the same spikes there, or are refused with the reason.

`campaigns/nir_targets.py` runs the libraries themselves on random networks; here one network of
each kind is run in those that are installed, and the others are compared with NIR's equations.
"""

import contextlib
import importlib
import io
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import nir_executor
import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.nir import check, from_nir, to_nir

X = (torch.rand(60, 1, 6, generator=torch.Generator().manual_seed(2)) * 8).round() / 8
READERS = {
    "snntorch": ("snntorch.import_nir", "import_from_nir"),
    "norse": ("norse.torch.utils.import_nir", "from_nir"),
    "sinabs": ("sinabs.nir", "from_nir"),
    "spikingjelly": ("spikingjelly.activation_based.nir_exchange", "import_from_nir"),
}
ZERO: dict[str, Any] = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
NEURONS = {
    "Leaky": lambda: snn.Leaky(0.875, **ZERO),
    "Synaptic": lambda: snn.Synaptic(0.5, 0.75, **ZERO),
    "IF": lambda: snn.IF(**ZERO),
    "Lapicque": lambda: snn.Lapicque(R=2.0, C=2.0, time_step=1.0, **ZERO),
    "RLeaky": lambda: snn.RLeaky(0.75, all_to_all=False, V=0.5, **ZERO),
    "RSynaptic": lambda: snn.RSynaptic(0.5, 0.75, all_to_all=False, V=0.5, **ZERO),
}


def network(neuron: nn.Module, scale: float = 3.0) -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 8), neuron)
    with torch.no_grad():
        for parameter in net[0].parameters():
            parameter.copy_((parameter * scale * 16).round() / 16)
    return net


def spikes(net: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        out = snn.run(net, X)
    snn.reset(net)
    return out


def run_in(target: str, graph: Any) -> torch.Tensor:
    """What the library itself computes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, function = READERS[target]
        try:
            reader = getattr(importlib.import_module(module), function)
        except ImportError as missing:
            pytest.skip(f"{target} is not installed: {missing}")
        with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            if target == "sinabs":
                out = reader(graph, batch_size=1)(X[:, 0])
                return (out[0] if isinstance(out, tuple) else out)[:, None]
            net, state, spikes_over_time = reader(graph), None, []
            for x in X:
                spk, state = net(x, state)
                spikes_over_time.append(spk)
    return torch.stack(spikes_over_time)


@pytest.mark.parametrize("target", ["snntorch", "norse", "spikingjelly"])
@pytest.mark.parametrize("neuron", NEURONS)
def test_a_library_fires_other_spikes_than_the_network(
    neuron: str, target: str, tmp_path: Path
) -> None:
    net = network(NEURONS[neuron]())
    graph = to_nir(net, target=target)
    assert check(graph, target) == []
    want = spikes(net)
    assert want.any()
    assert torch.equal(spikes(from_nir(graph)), want)
    nir.write(tmp_path / "net.nir", graph)
    assert torch.equal(run_in(target, nir.read(tmp_path / "net.nir")), want)


@pytest.mark.parametrize("target", ["snntorch", "norse", "spikingjelly"])
@pytest.mark.parametrize("neuron", ["Leaky", "Synaptic", "IF", "Lapicque"])
def test_a_graph_for_a_library_says_something_else_than_nir(neuron: str, target: str) -> None:
    net = network(NEURONS[neuron]())
    dt = 2.0**-10 if target == "norse" else None
    graph = to_nir(net, target=target, dt=dt)
    rule = {"reset": "zero", "at_threshold": target == "spikingjelly", "dt": dt or 1e-4}
    found = nir_executor.run(graph, X[:, 0].double().numpy(), **rule)
    assert np.array_equal(found, spikes(net)[:, 0].numpy())


def test_norse_ignores_r() -> None:
    graph = to_nir(network(snn.Leaky(0.875, **ZERO)), target="norse", dt=1e-3)
    lif = graph.nodes["1"]
    assert (lif.r == 1).all() and np.allclose(lif.tau, 8e-3)
    assert np.allclose(lif.v_threshold, 0.125)  # the unit of the membrane carries the gain


def test_sinabs_fires_twice_in_a_step_where_the_weights_allow_it() -> None:
    options = {"reset_mechanism": "subtract", "reset_delay": False, "init_hidden": True}
    with pytest.raises(ValueError, match=r"Sinabs fires several spikes .* smaller weights"):
        to_nir(network(snn.Leaky(0.75, **options), scale=9.0), target="sinabs")
    net = network(snn.Leaky(0.75, **options), scale=0.7)
    graph = to_nir(net, target="sinabs")
    want = spikes(net)
    assert want.any() and np.allclose(np.exp(-1 / graph.nodes["1"].tau), 0.75)
    assert torch.equal(spikes(from_nir(graph)), want)
    assert torch.equal(run_in("sinabs", graph), want)


@pytest.mark.parametrize("target", READERS)
def test_the_default_reset_is_written_for_a_library_that_has_another(target: str) -> None:
    net = network(snn.Leaky(0.9, init_hidden=True))
    rule = "subtract" if target == "sinabs" else "zero"
    with pytest.raises(ValueError, match=f"'1' .LIF.*use reset_mechanism='{rule}'"):
        to_nir(net, target=target)


@pytest.mark.parametrize(
    ("neuron", "target", "why"),
    [
        (snn.LI(0.9, init_hidden=True), "snntorch", "does not read this type"),
        (snn.Synaptic(0.5, 0.9, **ZERO), "sinabs", "does not read this type"),
        (snn.Leaky(0.0, **ZERO), "spikingjelly", "needs tau > dt"),
        (snn.Leaky(torch.linspace(0.1, 0.8, 8), **ZERO), "spikingjelly", "one tau for all"),
        (snn.Leaky(0.9, torch.linspace(1, 2, 8), **ZERO), "snntorch", "one v_threshold for all"),
        (snn.RLeaky(0.9, linear_features=8, **ZERO), "norse", "a bias in a loop"),
    ],
)
def test_what_a_library_cannot_run_is_written(neuron: nn.Module, target: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"would not run this network .*'1.*{why}"):
        to_nir(network(neuron), target=target)


def test_a_graph_without_target_is_not_checked() -> None:
    net = network(snn.Leaky(0.9, **ZERO))
    assert "ignores or refuses its r" in " ".join(check(to_nir(net, dt=1e-3), "norse"))
    assert "time step 0.001" in check(to_nir(net, dt=1e-3), "snntorch")[0]
    assert check(to_nir(net), "snntorch") == []


def test_a_neuron_of_others_is_checked_by_its_fields() -> None:
    one = np.ones(2)
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "a": nir.LIF(one * 1e-3, one * 10, one * 0.5, one),
        "output": nir.Output({"output": np.array([2])}),
    }
    found = check(nir.NIRGraph(nodes, list(pairwise(nodes))), "snntorch")
    assert found == ["node 'a' (LIF): snnTorch needs v_leak = 0"]
    nodes["a"] = nir.LIF(one * 1e-3, one * 10, one * 0, one, v_reset=one * 0.5)
    found = check(nir.NIRGraph(nodes, list(pairwise(nodes))), "norse")
    assert any("v_reset = 0" in each for each in found) and any("its r" in each for each in found)


def test_a_file_leaves_with_another_reset_and_no_word() -> None:
    net = nn.Sequential(nn.Linear(3, 3), snn.Leaky(0.9, init_hidden=True))
    with pytest.warns(UserWarning, match=r"the reset of '1' \('subtract' one step later\)"):
        to_nir(net)
    recurrent = nn.Sequential(snn.RLeaky(0.9, all_to_all=False, V=0.5, init_hidden=True))
    with pytest.warns(UserWarning, match="the reset of '0'"):
        to_nir(recurrent, torch.zeros(1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_nir(net, target="spikeloom")
        to_nir(network(snn.Leaky(0.9, **ZERO)))


@pytest.mark.parametrize("target", ["norse", "sinabs"])
def test_a_sum_of_two_layers_is_run_as_one_of_them(target: str) -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(6, 4), nn.Linear(6, 4)
            self.lif = snn.Leaky(0.5, **ZERO)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lif(self.left(x) + self.right(x))

    with pytest.raises(ValueError, match="no branches, and it receives 'left', 'right'"):
        to_nir(Branch(), X[0], target=target)


def test_a_target_or_its_time_step_is_unknown() -> None:
    net = network(snn.Leaky(0.9, **ZERO))
    with pytest.raises(ValueError, match="target must be one of"):
        to_nir(net, target="nose")
    with pytest.raises(ValueError, match=r"snnTorch reads NIR with dt=0.0001.*leave dt out"):
        to_nir(net, target="snntorch", dt=1e-3)


@pytest.mark.parametrize(
    "connection", [nn.Identity(), nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4))]
)
def test_rockpool_is_given_a_loop_that_it_runs_otherwise(connection: nn.Module) -> None:
    neuron = snn.Synaptic(
        0.5, 0.75, threshold=9.0, init_hidden=True, reset_mechanism="subtract", reset_delay=False
    )
    with pytest.raises(ValueError, match="Rockpool runs loops of one neuron and one linear layer"):
        snn.nir.to_nir(snn.Feedback(neuron, connection), torch.zeros(1, 4), target="rockpool")
