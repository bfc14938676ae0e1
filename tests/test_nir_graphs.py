"""Graphs that others could have written: loops, subgraphs, branches, names, against the NumPy
executor."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import nir_executor
import numpy as np
import pytest
import torch
from test_nir_nodes import DT, RESETS, RNG, agree, between, chain, current, outputs
from torch import nn

import spikeloom as snn
from spikeloom.nir import Convention, from_nir, to_nir
from spikeloom.nir.neurons import SameStepLeaky


def recurrent(kind: str = "LIF", feedback: Any = None, **options: Any) -> Any:
    """A neuron in a loop with a layer."""
    n = np.ones(4)
    neuron = (
        nir.LIF(n * 1e-3, n * 10, n * 0, n)
        if kind == "LIF"
        else nir.CubaLIF(n * 5e-4, n * 1e-3, n * 10, n * 0, n, w_in=n * 5)
    )
    feedback = feedback or nir.Affine(between(-1, 1, (4, 4)), between(-0.3, 0.3))
    ends = {"input": nir.Input(np.array([4])), "output": nir.Output(np.array([4]))}
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    return nir.NIRGraph({**ends, "lif": neuron, "w_rec": feedback}, edges, **options)


@pytest.mark.parametrize(("reset", "delay"), RESETS)
@pytest.mark.parametrize(("kind", "cls"), [("LIF", snn.RLeaky), ("CubaLIF", snn.RSynaptic)])
def test_loops_of_a_neuron_and_a_layer(kind: str, cls: type, reset: str, delay: bool) -> None:
    graph = recurrent(kind)
    if not (
        kind == "LIF" and reset == "zero" and delay
    ):  # RLeaky's late reset also clears the input of its step
        agree(graph, current(size=1.5), dt=DT, reset=reset, delay=delay)
    made = from_nir(graph, dt=DT, reset=reset, delay=delay)
    plain = reset == "subtract" and not delay
    assert isinstance(
        made.get_submodule("lif"),
        SameStepLeaky if plain and kind == "LIF" else nn.Sequential if plain else cls,
    )


def test_feedback_one_to_one_has_no_weights_between_neurons() -> None:
    for feedback in (nir.Linear(np.diag(between(-1, 1))), nir.Scale(between(-1, 1))):
        graph = recurrent(feedback=feedback)
        agree(graph, current(size=1.5), dt=DT, reset="zero", delay=False)
        neuron = from_nir(graph, dt=DT, reset="zero", delay=False).get_submodule("lif")
        assert isinstance(neuron, snn.RLeaky) and not neuron.all_to_all and neuron.V.shape == (4,)


def test_feedback_by_a_convolution() -> None:
    shape = (2, 5, 5)
    n = np.ones(shape)
    conv = nir.Conv2d(
        (5, 5), RNG.normal(size=(2, 2, 3, 3)) * 0.3, 1, 1, 1, 1, RNG.normal(size=2) * 0.1
    )
    ends = {"input": nir.Input(np.array(shape)), "output": nir.Output(np.array(shape))}
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    graph = nir.NIRGraph({**ends, "lif": nir.LIF(n * 1e-3, n * 10, n * 0, n), "w_rec": conv}, edges)
    agree(graph, current(shape, steps=30, size=1.0), dt=DT, reset="zero", delay=False)
    made = from_nir(graph, dt=DT, reset="zero", delay=False).get_submodule("lif")
    assert isinstance(made, snn.RLeaky) and made.conv2d_channels == 2


@pytest.mark.parametrize("loop_bias", [True, False])
def test_a_bias_in_a_loop_acts_at_the_first_step_or_not(loop_bias: bool) -> None:
    convention = Convention(DT, "zero", False, loop_bias=loop_bias)
    graph = recurrent(feedback=nir.Affine(between(-1, 1, (4, 4)), np.full(4, 1.2)))
    x = current(size=0.5)
    expected = nir_executor.run(graph, x, dt=DT, reset="zero", loop_bias=loop_bias)
    assert expected[0].all() == loop_bias
    np.testing.assert_array_equal(outputs(graph, x, convention=convention), expected)


def test_subgraphs_are_the_same_as_what_is_in_them(tmp_path: Path) -> None:
    inner = recurrent()
    ends = {"input": nir.Input(np.array([4])), "output": nir.Output(np.array([4]))}
    middle = nir.NIRGraph({**ends, "deep": inner}, [("input", "deep"), ("deep", "output")])
    fc = nir.Affine(between(-1, 2, (4, 4)), np.zeros(4))
    outer = nir.NIRGraph(
        {**ends, "fc": fc, "sub": middle}, [("input", "fc"), ("fc", "sub"), ("sub", "output")]
    )
    agree(outer, current(size=1.5), dt=DT, reset="zero", delay=False)
    nir.write(tmp_path / "sub.nir", outer)
    net = from_nir(tmp_path / "sub.nir", dt=DT, reset="zero", delay=False)
    assert isinstance(net.get_submodule("sub.deep"), snn.RLeaky)


def test_loops_over_several_neurons_run_as_the_graph_says(tmp_path: Path) -> None:
    n = np.ones(4)
    nodes = {
        "input": nir.Input(np.array([4])),
        "exc": nir.LIF(n * 1e-3, n * 9, n * 0, n),
        "to_inh": nir.Affine(between(0, 1, (4, 4)), between(-0.2, 0.2)),
        "inh": nir.LIF(n * 5e-4, n * 3, n * 0, n),
        "to_exc": nir.Affine(between(-1, 0, (4, 4)), between(-0.1, 0.3)),
        "self": nir.Scale(n * 0.3),
        "output": nir.Output(np.array([4])),
    }
    path = ["input", "exc", "to_inh", "inh", "to_exc", "exc", "self", "exc", "output"]
    graph = nir.NIRGraph(nodes, list(pairwise(path)))
    agree(graph, current(size=2.0), dt=DT, reset="zero", delay=False)
    net = from_nir(graph, dt=DT, reset="zero", delay=False)
    x = torch.rand(30, 3, 4) * 2
    once = snn.run(net, x)
    assert torch.equal(snn.run(net, x), once) and 0 < once.mean() < 1
    net.zero_grad()
    snn.run(net, x, record=["exc.neuron.mem"]).record["exc.neuron.mem"].sum().backward()
    assert net.get_submodule("to_exc").weight.grad.abs().sum() > 0
    snn.detach(net)
    snn.reset(net)
    assert snn.run(net, x[:, :1]).shape == (30, 1, 4)


def test_several_inputs_and_outputs_are_tuples() -> None:
    ends = {name: nir.Input(np.array([4])) for name in "ab"} | {
        name: nir.Output(np.array([4])) for name in "cd"
    }
    edges = [("a", "x"), ("b", "y"), ("x", "y"), ("x", "c"), ("y", "d")]
    graph = nir.NIRGraph(
        {**ends, "x": nir.Scale(np.full(4, 2.0)), "y": nir.Scale(np.full(4, 3.0))}, edges
    )
    net, one = from_nir(graph), torch.ones(1, 4)
    assert [out[0, 0].item() for out in net((one, one))] == [2.0, 9.0]
    with pytest.raises(TypeError, match=r"the graph has the inputs a, b, got 1; pass a tuple of 2"):
        net(one)
    with pytest.raises(ValueError, match="has the inputs a, b, got samples for 1; pass a tuple"):
        to_nir(net, one)


class Crossed(nn.Module):
    """Two inputs and two outputs, neither of them in the order of the alphabet."""

    def __init__(self) -> None:
        super().__init__()
        self.of_z, self.of_a = nn.Linear(4, 3), nn.Linear(2, 3)
        self.first, self.second = (snn.Leaky(beta, init_hidden=True) for beta in (0.9, 0.6))
        self.last = nn.Linear(3, 5)

    def forward(self, z: torch.Tensor, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        spk = self.first(self.of_z(z) + self.of_a(a))
        return self.second(self.last(spk)), spk


def test_several_inputs_and_outputs_are_written_and_keep_their_order_in_a_file(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    net = Crossed()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    z, a = torch.rand(40, 2, 4), torch.rand(40, 2, 2)
    want = [net(*pair) for pair in zip(z, a, strict=True)]
    graph = to_nir(net, (z[0], a[0]), target="spikeloom")
    nir.write(tmp_path / "net.nir", graph)
    for source in (graph, nir.read(tmp_path / "net.nir"), tmp_path / "net.nir"):
        read = from_nir(source)
        again = from_nir(to_nir(read, (z[0], a[0]), target="spikeloom"))
        for made in (read, again):
            assert made.inputs == ["z", "a"]
            found = [made(pair) for pair in zip(z, a, strict=True)]
            for left, right in zip(want, found, strict=True):
                assert all(torch.equal(x, y) for x, y in zip(left, right, strict=True))
    assert sum(out.sum() for pair in want for out in pair) > 50
    with pytest.raises(ValueError, match=r"has the time step|one input and one output"):
        to_nir(net, (z[0], a[0]), target="snntorch")
    with pytest.raises(ValueError, match="forward takes 2 inputs, got samples for 3"):
        to_nir(net, (z[0], a[0], a[0]))
    with pytest.raises(ValueError, match=r"one dtype, got torch\.float32 and torch\.float64"):
        to_nir(net, (z[0], a[0].double()))
    graph.metadata["spikeloom"]["inputs"] = "z"
    with pytest.raises(ValueError, match="'inputs' of the graph must be a list of names"):
        from_nir(graph)


def test_an_identity_in_a_network_is_a_node_that_nir_does_not_have() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Identity(),
        nn.Linear(4, 3),
        nn.Identity(),
        snn.Leaky(0.9, init_hidden=True),
        nn.Identity(),
    )
    graph = to_nir(net, target="spikeloom")
    assert set(graph.nodes) == {"input", "1", "3", "output"}
    x = torch.rand(30, 2, 4) * 4
    want = snn.run(net, x)
    assert want.any() and torch.equal(snn.run(from_nir(graph), x), want)
    only = to_nir(nn.Sequential(nn.Identity()), torch.zeros(1, 4), target="spikeloom")
    assert only.edges == [("input", "output")]
    assert torch.equal(from_nir(only)(x[0]), x[0])


def test_a_graph_without_input_and_output_nodes_has_open_ends() -> None:
    graph = nir.NIRGraph(
        {"a": nir.Scale(np.ones(4)), "b": nir.Scale(np.ones(4))}, [("a", "b")], type_check=False
    )
    assert outputs(graph, current()).shape == (80, 4)


def test_the_shape_of_an_input_may_count_a_batch_of_one() -> None:
    conv = nir.Conv2d(None, RNG.normal(size=(3, 2, 3, 3)), 1, 0, 1, 1, np.zeros(3))
    graph = chain(conv, nir.Flatten(None, 0, -1), shape=(1, 2, 5, 5), out=(27,))
    assert from_nir(graph)(torch.rand(4, 2, 5, 5)).shape == (4, 27)


def test_any_node_name_becomes_a_path() -> None:
    names = ["forward", "if", "1.lif", "1", "a..b", "loops", "_modules", "training"]
    path = ["input", *names, "output"]
    ends = {"input": nir.Input(np.array([4])), "output": nir.Output(np.array([4]))}
    scales = {name: nir.Scale(np.full(4, i + 1.0)) for i, name in enumerate(names)}
    net = from_nir(nir.NIRGraph({**ends, **scales}, list(pairwise(path))))
    assert net(torch.ones(1, 4))[0, 0].item() == 40320.0 and len(
        dict(net.named_parameters())
    ) == len(names)
    assert net.train() is net


@pytest.mark.parametrize("scalar", [True, False])
def test_parameters_may_be_tensors_and_scalars(scalar: bool) -> None:
    node = nir.LIF(*(torch.full(() if scalar else (4,), v) for v in (1e-3, 10.0, 0.0, 1.0)))
    net = from_nir(chain(node), dt=DT, reset="zero", delay=False)
    assert float(net.get_submodule("node0").beta) == pytest.approx(0.9)


def test_the_dtype_can_be_chosen() -> None:
    graph = chain(
        nir.Affine(RNG.normal(size=(4, 4)), RNG.normal(size=4)), nir.IF(np.full(4, 1e4), np.ones(4))
    )
    for dtype in (torch.float32, torch.float64):
        net = from_nir(graph, dt=DT, reset="zero", delay=False, dtype=dtype)
        assert {v.dtype for v in net.state_dict().values() if v.is_floating_point()} == {dtype}
    assert (
        next(from_nir(graph, dt=DT, reset="zero", delay=False).parameters()).dtype == torch.float32
    )
