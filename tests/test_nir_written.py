"""What is written means by NIR's own equations what the network does, whether or not a reader knows
our metadata."""

from typing import Any

import nir
import nir_executor
import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.nir import from_nir, to_nir

F = 5
NEURONS: dict[
    type, tuple[dict[str, Any], float]
] = {  # arguments, and inputs that stay below twice the threshold
    snn.Leaky: (
        {"beta": torch.linspace(0.3, 1.0, F), "threshold": torch.linspace(0.8, 1.4, F)},
        0.8,
    ),
    snn.IF: ({"threshold": 0.7}, 0.6),
    snn.Lapicque: ({"R": 2.0, "C": torch.linspace(2.0, 8.0, F), "time_step": 0.5}, 5.0),
    snn.Synaptic: ({"alpha": torch.linspace(0.1, 0.8, F), "beta": 0.9}, 0.25),
    snn.RLeaky: ({"beta": 0.8, "V": torch.linspace(-0.3, 0.3, F), "all_to_all": False}, 0.6),
    snn.RSynaptic: ({"alpha": 0.5, "beta": 0.8, "V": 0.1, "all_to_all": False}, 0.3),
}
CASES = [
    pytest.param(cls, reset, delay, id=f"{cls.__name__}-{reset}-{delay}")
    for cls in NEURONS
    for reset in ("zero", "subtract", "none")
    for delay in (True, False)
    if not (
        cls in (snn.Lapicque, snn.RLeaky) and reset == "zero" and delay
    )  # they clear the input of the step too
]


def written(net: nn.Module, **options: Any) -> Any:
    """The graph of a network of float64 without metadata."""
    graph = to_nir(net.double(), torch.zeros(1, F, dtype=torch.float64), **options)
    for node in nodes_of(graph):
        node.metadata = {}
    return graph


def nodes_of(graph: Any) -> list[Any]:
    inner = [
        node
        for each in graph.nodes.values()
        if isinstance(each, nir.NIRGraph)
        for node in nodes_of(each)
    ]
    return [graph, *graph.nodes.values(), *inner]


def current(size: float, steps: int = 120) -> np.ndarray:
    return np.random.default_rng(3).uniform(-0.2 * size, size, (steps, F))


def output(net: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad(), snn.backend("eager"):
        return snn.run(net, torch.from_numpy(x).unsqueeze(1))[:, 0].numpy()


@pytest.mark.parametrize("dt", [1e-4, 1e-3])
@pytest.mark.parametrize(("cls", "reset", "delay"), CASES)
def test_a_spiking_neuron_is_written_as_what_it_does(
    cls: type, reset: str, delay: bool, dt: float
) -> None:
    options, size = NEURONS[cls]
    net = nn.Sequential(cls(**options, reset_mechanism=reset, reset_delay=delay, init_hidden=True))
    graph, x = written(net, dt=dt), current(size)
    expected = nir_executor.run(graph, x, dt=dt, reset=reset, delay=delay)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(output(net, x), expected)
    if cls is not snn.Lapicque or reset != "subtract":
        read = from_nir(graph, dt=dt, reset=reset, delay=delay, dtype=torch.float64)
        np.testing.assert_array_equal(output(read, x), expected)


def test_integrators_and_delays_are_written_as_what_they_do() -> None:
    for module in (
        snn.LI(torch.linspace(0.1, 1.0, F), init_hidden=True),
        snn.LI(1.0, init_hidden=True),
        snn.SynapticDelay(4, torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), F),
    ):
        net = nn.Sequential(module)
        graph, x = written(net), current(1.0, steps=30)
        np.testing.assert_allclose(
            output(net, x), nir_executor.run(graph, x), rtol=1e-12, atol=1e-12
        )


def test_feedback_by_a_layer_is_written_with_its_bias() -> None:
    net = nn.Sequential(
        snn.RLeaky(
            0.9, linear_features=F, reset_mechanism="zero", reset_delay=False, init_hidden=True
        )
    )
    graph, x = written(net), current(1.0)
    assert list(graph.nodes["0"].nodes) == ["input", "lif", "w_rec", "output"]
    assert graph.nodes["0"].edges == [
        ("input", "lif"),
        ("lif", "w_rec"),
        ("w_rec", "lif"),
        ("lif", "output"),
    ]
    np.testing.assert_array_equal(output(net, x), nir_executor.run(graph, x, reset="zero"))


def test_the_size_of_spikes_is_written_as_a_scale() -> None:
    options = {
        "graded_spikes_factor": 1.5,
        "reset_mechanism": "zero",
        "reset_delay": False,
        "init_hidden": True,
    }
    for neuron in (snn.Leaky(0.9, **options), snn.RLeaky(0.9, linear_features=F, **options)):
        net = nn.Sequential(neuron)
        graph, x = written(net), current(1.0)
        expected = output(net, x)
        assert set(np.unique(expected)) == {0.0, 1.5}
        np.testing.assert_array_equal(expected, nir_executor.run(graph, x, reset="zero"))
        read = from_nir(graph, dt=1e-4, reset="zero", delay=False, dtype=torch.float64)
        np.testing.assert_array_equal(output(read, x), expected)


def test_neurons_without_leak_and_with_are_one_node() -> None:
    net = nn.Sequential(snn.Leaky(torch.tensor([1.0, 0.0, 0.5, 1.0, 0.9]), init_hidden=True))
    graph, x = written(net), current(0.8)
    assert np.isfinite(graph.nodes["0"].tau).all() and np.isfinite(graph.nodes["0"].r).all()
    read = from_nir(graph, dt=1e-4, reset="subtract", delay=True, dtype=torch.float64)
    np.testing.assert_array_equal(output(read, x), output(net, x))


def test_parameters_have_the_full_shape_of_the_layer() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), snn.Synaptic(0.5, torch.rand(2, 1, 1), init_hidden=True)
    )
    node = to_nir(net, torch.rand(1, 1, 5, 6)).nodes["1"]
    fields = (
        node.tau_syn,
        node.tau_mem,
        node.r,
        node.v_leak,
        node.v_threshold,
        node.v_reset,
        node.w_in,
    )
    assert {field.shape for field in fields} == {(2, 3, 4)} and {
        field.dtype for field in fields
    } == {np.dtype("float64")}


def test_a_graph_passes_the_type_check_of_nir() -> None:
    layers = [
        nn.Conv2d(1, 2, 3, padding=1),
        nn.AvgPool2d(2),
        snn.IF(init_hidden=True),
        nn.Flatten(),
        nn.Linear(8, F),
    ]
    graph = to_nir(
        nn.Sequential(*layers, snn.RLeaky(0.9, linear_features=F, init_hidden=True)),
        torch.rand(1, 1, 4, 4),
    )
    assert graph.check_types()
    again = nir.NIRGraph(graph.nodes, graph.edges)
    assert list(again.nodes) == ["input", "0", "1", "2", "3", "4", "5", "output"]


def test_names_of_layers_do_not_meet_those_of_the_ends() -> None:
    net = nn.Sequential()
    net.add_module("input", nn.Linear(3, 3))
    net.add_module("output", nn.Linear(3, 2))
    graph = to_nir(net)
    assert list(graph.nodes) == ["input_1", "input", "output", "output_1"]
    assert [name for name, _ in from_nir(graph).named_children()] == ["input", "output"]
