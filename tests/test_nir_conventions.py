"""Graphs as other libraries write them, and snnTorch's own names for the exchange."""

from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import nir
import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.export import export_to_nir, import_from_nir
from spikeloom.nir import CONVENTIONS, Convention, from_nir

RECORDED = Path(__file__).parent / "recorded" / "nir.zip"
X = torch.rand(60, 2, 4, generator=torch.Generator().manual_seed(2)) * 3


def graph(**nodes: Any) -> Any:
    path = ["input", *nodes, "output"]
    ends = {"input": nir.Input(np.array([4])), "output": nir.Output(np.array([4]))}
    return nir.NIRGraph({**ends, **nodes}, list(pairwise(path)))


def full(value: float, n: int = 4) -> np.ndarray:
    return np.full(n, value, np.float32)


def loop(step: Any, steps: torch.Tensor) -> torch.Tensor:
    """Stack what ``step(x, v)``, which returns spikes and membrane, gives over time."""
    v, spikes = torch.zeros(()), []
    for x in steps:
        spk, v = step(x, v)
        spikes.append(spk)
    return torch.stack(spikes)


# -- conventions -----------------------------------------------------------------------------------


def test_snntorch_writes_a_decay_of_dt_over_tau_and_no_reset() -> None:
    beta = np.float32(0.9) * np.ones(4, np.float32)
    tau = np.float32(1e-4) / (1 - beta)  # as its exporter computes it, in float32
    found = from_nir(
        graph(lif=nir.LIF(tau, tau / np.float32(1e-4), full(0), full(1))), convention="snntorch"
    )
    lif = found.get_submodule("lif")
    assert isinstance(lif, snn.Leaky) and float(lif.beta) == np.float32(0.9)
    assert (lif.reset_mechanism, lif.reset_delay) == ("zero", False)
    original = snn.Leaky(0.9, init_hidden=True)
    found = from_nir(
        graph(lif=nir.LIF(tau, tau * 1e4, full(0), full(1))), dt=1e-4, reset="subtract", delay=True
    )
    assert torch.equal(snn.run(found, X), snn.run(original, X))


def test_snntorch_writes_recurrent_neurons_into_the_graph_around_them() -> None:
    n, weight, bias = np.ones(4), np.random.default_rng(1).uniform(-1, 1, (4, 4)), np.full(4, 0.2)
    nodes = {
        "input": nir.Input(np.array([4])),
        "0": nir.Linear(np.eye(4)),
        "1.lif": nir.LIF(n * 1e-3, n * 10, n * 0, n),
        "1.w_rec": nir.Affine(weight, bias),
        "output": nir.Output(np.array([4])),
    }
    edges = [
        ("1.lif", "1.w_rec"),
        ("input", "0"),
        ("1.w_rec", "1.lif"),
        ("0", "1.lif"),
        ("1.lif", "output"),
    ]
    net = from_nir(nir.NIRGraph(nodes, edges), convention="snntorch", reset="subtract", delay=True)
    original = snn.RLeaky(0.9, linear_features=4, init_hidden=True)
    with torch.no_grad():
        original.recurrent.weight.copy_(torch.from_numpy(weight))
        original.recurrent.bias.copy_(torch.from_numpy(bias))
    assert [name for name, _ in net.named_children()] == ["0", "1"]
    assert torch.equal(snn.run(net, X), snn.run(original, X))


def test_norse_writes_tau_times_dt_and_no_r() -> None:
    tau, r, leak, threshold = (
        torch.full((4,), v) for v in (1e-5, 1.0, 0.0, 1.0)
    )  # of tau_mem_inv = 100 / s
    net = from_nir(graph(lif=nir.LIF(tau, r, leak, threshold)), convention="norse")

    def step(x: torch.Tensor, v: torch.Tensor) -> Any:
        v = v + 1e-3 * 100.0 * (x - v)
        spk = (v > 1.0).float()
        return spk, (1 - spk) * v

    expected = loop(step, X)
    assert 0 < expected.mean() < 1 and torch.equal(snn.run(net, X), expected)
    proper = from_nir(graph(lif=nir.LIF(tau * 1e3, r, leak, threshold)), convention="norse")
    assert torch.equal(snn.run(proper, X), expected)


def test_sinabs_decays_exponentially_with_tau_in_steps() -> None:
    net = from_nir(graph(lif=nir.LIF(full(10.0), full(1), full(0), full(1))), convention="sinabs")
    alpha = float(np.exp(-1 / 10))

    def step(x: torch.Tensor, v: torch.Tensor) -> Any:
        v = alpha * v + (1 - alpha) * x
        spk = (v > 1.0).float()  # its neurons can also fire twice, which these inputs do not reach
        return spk, v - spk

    expected = loop(step, X)
    assert 0 < expected.mean() < 1 and torch.equal(snn.run(net, X), expected)


def test_spikingjelly_fires_at_the_threshold() -> None:
    net = from_nir(graph(neuron=nir.IF(full(1e4), full(1), full(0))), convention="spikingjelly")
    x = torch.full((8, 1, 4), 0.5)
    assert snn.run(net, x)[:, 0, 0].tolist() == [0, 1] * 4
    plain = from_nir(
        graph(neuron=nir.IF(full(1e4), full(1), full(0))), dt=1e-4, reset="zero", delay=False
    )
    assert snn.run(plain, x)[:, 0, 0].tolist() == [0, 0, 1, 0, 0, 1, 0, 0]


def test_a_convention_of_ones_own() -> None:
    mine = Convention(dt=1e-3, reset="subtract", delay=True)
    net = from_nir(graph(lif=nir.LIF(full(1e-2), full(10), full(0), full(1))), convention=mine)
    assert torch.equal(snn.run(net, X), snn.run(snn.Leaky(0.9, init_hidden=True), X))
    assert all(isinstance(each, Convention) for each in CONVENTIONS.values())


def test_what_the_graph_says_counts_more_than_a_convention() -> None:
    net = nn.Sequential(nn.Linear(4, 4), snn.Leaky(0.9, init_hidden=True))
    written = export_to_nir(net, X[0])
    assert torch.equal(snn.run(from_nir(written, convention="norse"), X), snn.run(net, X))


# -- snnTorch's names ------------------------------------------------------------------------------


def test_a_default_leaky_keeps_its_subtraction_and_its_delay_through_the_exchange() -> None:
    net = nn.Sequential(nn.Linear(4, 4), snn.Leaky(beta=0.9, init_hidden=True))
    found = import_from_nir(export_to_nir(net, X[0]))
    assert torch.equal(snn.run(found, X)[0], snn.run(net, X))


@pytest.mark.parametrize("neuron", ["RLeaky", "RSynaptic"])
def test_feedback_stands_beside_its_neuron_as_in_snntorch(neuron: str) -> None:
    options = {"alpha": 0.5} if neuron == "RSynaptic" else {}
    made = getattr(snn, neuron)(
        beta=0.9, V=torch.ones(4), all_to_all=False, init_hidden=True, **options
    )
    net = nn.Sequential(nn.Linear(4, 4), made, nn.Linear(4, 2))
    written = export_to_nir(net, X[0])
    assert set(written.nodes) == {"input", "0", "1.lif", "1.w_rec", "2", "output"}
    assert set(written.edges) == {
        *(
            ("input", "0"),
            ("0", "1.lif"),
            ("1.lif", "1.w_rec"),
            ("1.w_rec", "1.lif"),
            ("1.lif", "2"),
            ("2", "output"),
        )
    }
    assert torch.equal(snn.run(import_from_nir(written), X)[0], snn.run(net, X))


def test_an_imported_network_returns_its_output_and_a_state_as_in_snntorch() -> None:
    net = nn.Sequential(nn.Linear(4, 4), snn.Leaky(beta=0.9, init_hidden=True, output=True))
    found = import_from_nir(export_to_nir(net, X[0]))
    out, state = found(X[0])
    assert torch.equal(out, net(X[0])[0])
    again, _ = found(X[0], state)
    assert torch.equal(again, net(X[0])[0])
    with pytest.raises(TypeError, match="remember their state"):
        found(X[0], {"1": torch.ones(1)})


def test_an_if_neuron_does_not_leak() -> None:
    neuron = import_from_nir(graph(neuron=nir.IF(full(1e4), full(1)))).get_submodule("neuron")
    assert isinstance(neuron, snn.IF) and (neuron.reset_mechanism, neuron.reset_delay) == (
        "zero",
        False,
    )


def test_thresholds_may_differ_between_neurons() -> None:
    thresholds = np.array([0.5, 1.0, 1.5, 2.0])
    neuron = import_from_nir(
        graph(lif=nir.LIF(full(1e-3), full(10), full(0), thresholds))
    ).get_submodule("lif")
    assert neuron.threshold.tolist() == thresholds.tolist()


def test_flattening_keeps_the_batch() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), snn.Leaky(0.9, init_hidden=True))
    x = torch.rand(20, 3, 1, 3, 4) * 4
    written = export_to_nir(net, x[0])
    assert (written.nodes["0"].start_dim, written.nodes["0"].end_dim) == (0, -1)
    assert torch.equal(snn.run(import_from_nir(written), x)[0], snn.run(net, x))


def test_a_pool_keeps_its_padding() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2, padding=1))
    found = import_from_nir(export_to_nir(net, torch.rand(1, 1, 8, 8))).get_submodule("1")
    assert (found.kernel_size, found.stride, found.padding) == ((2, 2), (2, 2), (1, 1))


@pytest.mark.parametrize("ignore_dims", [[], [0]])
def test_scalar_parameters_make_a_file_that_nir_reads(
    ignore_dims: list[int], tmp_path: Path
) -> None:
    net = nn.Sequential(
        nn.Linear(4, 3), snn.RSynaptic(0.8, 0.9, linear_features=3, init_hidden=True)
    )
    written = export_to_nir(net, X[0], ignore_dims=ignore_dims)
    assert written.metadata["name"] == "snntorch"
    nir.write(tmp_path / "net.nir", written)
    read = nir.read(tmp_path / "net.nir")
    assert list(read.nodes["1.lif"].tau_syn.shape) == [3]
    assert torch.equal(snn.run(import_from_nir(tmp_path / "net.nir"), X)[0], snn.run(net, X))


def test_a_sample_may_come_without_batch() -> None:
    for net, sample in (
        (nn.Linear(4, 3), torch.rand(4)),
        (nn.Conv2d(1, 2, 3), torch.rand(1, 5, 6)),
    ):
        written = export_to_nir(net, sample)
        assert tuple(written.input_type["input"]) == tuple(sample.shape)
    with pytest.raises(
        ValueError,
        match=r"ignore_dims can only name the batch axis, \[0\], got \[1\]; leave it out",
    ):
        export_to_nir(nn.Linear(4, 3), torch.rand(2, 4), ignore_dims=[1])


def test_a_layer_without_node_is_refused_instead_of_left_out() -> None:
    with pytest.raises(ValueError, match=r"Alpha has no NIR node; .*; use Synaptic"):
        export_to_nir(nn.Sequential(nn.Linear(4, 3), snn.Alpha(0.9, 0.5, init_hidden=True)), X[0])


# -- graphs that they wrote, and what their networks gave ------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("snntorch_leaky", {"reset": "subtract", "delay": True}),
        ("snntorch_synaptic", {"reset": "subtract", "delay": True}),
        ("snntorch_rleaky", {"reset": "subtract", "delay": True}),
        ("snntorch_conv", {"reset": "subtract", "delay": True}),
        ("norse", {}),
        ("spikingjelly", {}),
    ],
)
def test_a_recorded_graph_gives_what_its_network_gave(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    with ZipFile(RECORDED) as archive:
        archive.extract(f"{name}.nir", tmp_path)
        archive.extract("spikes.npz", tmp_path)
    recorded = np.load(tmp_path / "spikes.npz")
    net = from_nir(tmp_path / f"{name}.nir", convention=name.partition("_")[0], **options)
    found, expected = (
        snn.run(net, torch.from_numpy(recorded[f"{name}.x"])),
        torch.from_numpy(recorded[f"{name}.spk"]),
    )
    assert 0 < expected.mean() < 1
    if name == "norse":  # its output is a membrane
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(found, expected)
