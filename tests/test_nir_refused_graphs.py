"""What cannot be read is refused in one sentence that names the node, the reason and the way
out."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.nir import Convention, from_nir, to_nir

N = np.ones(3)


def lif(**changes: Any) -> Any:
    node = nir.LIF(N * 1e-3, N * 10, N * 0, N)
    for key, value in changes.items():
        setattr(node, key, value)
    return node


def graph(*nodes: Any, **named: Any) -> Any:
    inner = {f"n{i}": node for i, node in enumerate(nodes)} | named
    path = ["input", *inner, "output"]
    ends = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    return nir.NIRGraph({**ends, **inner}, list(pairwise(path)), type_check=False)


def changed(edges: list[tuple[str, str]], **nodes: Any) -> Any:
    ends = {"input": nir.Input(np.array([3])), "output": nir.Output(np.array([3]))}
    return nir.NIRGraph({**ends, **nodes}, edges, type_check=False)


class Foreign(nir.ir.NIRNode):
    """A node of somebody else's making."""

    def __init__(self) -> None:
        self.metadata, self.input_type = {}, {"input": np.array([3])}


class CubaLif(Foreign):
    """A node whose name is nearly one of NIR's."""


KNOWN = {"dt": 1e-4, "reset": "zero", "delay": False}

READING: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "an unknown node": (
        lambda: graph(odd=Foreign()),
        KNOWN,
        r"node 'odd' \(Foreign\): there is no NIR type 'Foreign'; NIR has Input, .*LIF",
    ),
    "a node with nearly a known name": (
        lambda: graph(odd=CubaLif()),
        KNOWN,
        r"node 'odd' \(CubaLif\): there is no NIR type 'CubaLif'; did you mean 'CubaLIF'\?",
    ),
    "no time step": (
        lambda: graph(lif()),
        {"reset": "zero", "delay": False},
        r"node 'n0' \(LIF\): the graph does not say its time step.*pass dt=1e-4, or "
        r"convention='snntorch'",
    ),
    "no time step of a delay": (
        lambda: graph(nir.Delay(N)),
        {},
        r"node 'n0' \(Delay\): the graph does not say its time",
    ),
    "no reset": (
        lambda: graph(lif()),
        {"dt": 1e-4},
        r"node 'n0' \(LIF\): the graph does not say what a spike does.*reset='zero' or "
        r"'subtract', and delay=True",
    ),
    "no delay": (lambda: graph(lif()), {"dt": 1e-4, "reset": "zero"}, "and when"),
    "a time constant below the time step": (
        lambda: graph(lif(tau=N * 5e-5)),
        KNOWN,
        r"node 'n0' \(LIF\): tau=5e-05 is shorter than the time step dt=0.0001.*convention='norse'",
    ),
    "parameters of different shapes": (
        lambda: graph(lif(r=np.ones(2))),
        KNOWN,
        r"node 'n0' \(LIF\): all fields must have the shape of the layer, got tau \(3,\), r \(2,\)",
    ),
    "a threshold below rest and a late reset": (
        lambda: graph(lif(v_leak=N * 2)),
        {**KNOWN, "reset": "zero", "delay": True},
        r"node 'n0' \(LIF\): v_reset differs from v_leak, or the neuron fires at rest.*pass "
        r"delay=False",
    ),
    "a late reset to a potential of its own": (
        lambda: graph(lif(v_reset=N * -1)),
        KNOWN | {"delay": True},
        r"node 'n0' \(LIF\): v_reset differs from v_leak.*pass delay=False",
    ),
    "NaN": (
        lambda: graph(lif(tau=N * np.nan)),
        KNOWN,
        r"node 'n0' \(LIF\): tau holds NaN or infinite values",
    ),
    "no number": (
        lambda: graph(lif(tau="long")),
        KNOWN,
        r"node 'n0' \(LIF\): tau must be numbers, got",
    ),
    "a wrong time step": (
        lambda: graph(lif()),
        KNOWN | {"dt": -1.0},
        r"dt must be in \(0, inf\), got -1",
    ),
    "a wrong reset": (
        lambda: graph(lif()),
        KNOWN | {"reset": "zeros"},
        r"reset must be one of.*did you mean 'zero'",
    ),
    "an unknown convention": (
        lambda: graph(lif()),
        {"convention": "snnTorch"},
        r"convention must be one of 'snntorch', 'norse'.*did you mean 'snntorch'",
    ),
    "an edge to nowhere": (
        lambda: changed([("input", "a"), ("a", "b")], a=lif()),
        KNOWN,
        r"the graph has an edge \('a', 'b'\), but no node 'b'; its nodes are input, output, a",
    ),
    "an edge that is there twice": (
        lambda: changed([("input", "a"), ("input", "a"), ("a", "output")], a=lif()),
        KNOWN,
        r"the graph has the edge \('input', 'a'\) twice; write graph.edges = list",
    ),
    "a node that nothing reaches": (
        lambda: changed([("input", "a"), ("a", "output")], a=lif(), b=lif()),
        KNOWN,
        r"node 'b' cannot be reached from an input; add an edge",
    ),
    "an output that nothing reaches": (
        lambda: changed([("input", "a")], a=lif()),
        KNOWN,
        r"node 'output' cannot be reached",
    ),
    "a loop without memory": (
        lambda: changed(
            [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")],
            a=nir.Scale(N),
            b=nir.Scale(N),
        ),
        KNOWN,
        r"the nodes 'a', 'b' form a loop without a neuron or a Delay.*put one into it",
    ),
    "a circle": (
        lambda: nir.NIRGraph({"a": lif(), "b": lif()}, [("a", "b"), ("b", "a")], type_check=False),
        KNOWN,
        "the graph is a circle without an Input and an Output",
    ),
    "a subgraph of two inputs": (
        lambda: graph(
            sub=nir.NIRGraph(
                {
                    "x": nir.Input(np.array([3])),
                    "y": nir.Input(np.array([3])),
                    "z": nir.Output(np.array([3])),
                },
                [("x", "z"), ("y", "z")],
                type_check=False,
            )
        ),
        KNOWN,
        r"node 'sub' \(NIRGraph\): a subgraph must have one Input, got 2",
    ),
    "an edge to nowhere in a subgraph": (
        lambda: graph(
            sub=nir.NIRGraph({"x": nir.Input(np.array([3]))}, [("x", "z")], type_check=False)
        ),
        KNOWN,
        r"subgraph 'sub' has an edge \('x', 'z'\), but no node 'z'",
    ),
    "a single node": (
        lambda: lif(),
        KNOWN,
        r"from_nir takes a nir.NIRGraph or the path of a file, got LIF",
    ),
    "layers that do not fit": (
        lambda: graph(nir.Linear(np.ones((3, 3))), bad=nir.Linear(np.ones((3, 5)))),
        KNOWN,
        r"node 'bad' does not take one sample of shape \(3,\), which reaches it from 'n0'",
    ),
    "a neuron of another size": (
        lambda: graph(nir.Linear(np.ones((1, 3))), bad=lif(tau=np.array([1e-3, 2e-3, 3e-3]))),
        KNOWN,
        r"node 'bad' does not take one sample of shape \(1,\).*its parameters are for a layer of "
        r"shape \(3,\)",
    ),
    "a weight with three axes": (
        lambda: graph(nir.Linear(np.ones((3, 3, 3)))),
        KNOWN,
        r"node 'n0' \(Linear\): weight must be \[out, in\], got shape \(3, 3, 3\)",
    ),
    "a bias of another size": (
        lambda: graph(nir.Affine(np.ones((3, 3)), np.ones(2))),
        KNOWN,
        r"node 'n0' \(Affine\): bias must have shape \(3,\), got \(2,\)",
    ),
    "a convolution with a weight of three axes": (
        lambda: graph(nir.Conv2d(None, np.ones((3, 3, 3)), 1, 0, 1, 1, N)),
        KNOWN,
        r"node 'n0' \(Conv2d\): weight must have 4 axes",
    ),
    "settings that torch refuses": (
        lambda: graph(nir.Conv2d(None, np.ones((3, 1, 3, 3)), 1, 0, 1, 2, N)),
        KNOWN,
        r"node 'n0' \(Conv2d\): torch refuses its settings .*'groups': 2",
    ),
    "a negative delay": (
        lambda: graph(nir.Delay(N * -1e-4)),
        KNOWN,
        r"node 'n0' \(Delay\): a delay is negative",
    ),
}


@pytest.mark.parametrize("case", READING)
def test_a_graph_is_refused(case: str) -> None:
    make, options, text = READING[case]
    with pytest.raises(TypeError if case == "a single node" else ValueError, match=text):
        from_nir(make(), **options)


def test_a_convention_must_be_a_name_or_a_convention() -> None:
    with pytest.raises(
        TypeError,
        match=r"convention must be one of .* or a Convention, got 3; write convention=Conv",
    ):
        from_nir(graph(lif()), convention=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reset must be one of"):
        Convention(reset="hard")


def test_a_surrogate_that_has_no_name_must_be_passed() -> None:
    net = nn.Sequential(
        nn.Linear(3, 3), snn.Leaky(0.9, spike_grad=lambda x: (x > 0).float(), init_hidden=True)
    )
    written = to_nir(net)
    with pytest.raises(
        ValueError, match=r"written with the surrogate '<lambda>'.*pass spike_grad="
    ):
        from_nir(written)
    assert from_nir(written, spike_grad=snn.surrogate.atan())(torch.rand(1, 3)).shape == (1, 3)


def test_a_recurrent_neuron_without_its_loop_is_refused_where_that_changes_the_reset() -> None:
    net = nn.Sequential(
        nn.Linear(3, 3),
        snn.RLeaky(0.9, linear_features=3, reset_mechanism="zero", init_hidden=True),
    )
    written = to_nir(net)
    written.nodes["1"].edges.remove(("w_rec", "lif"))
    with pytest.raises(
        ValueError,
        match=r"node '1.lif' \(LIF\): it was written as a recurrent neuron; restore its loop",
    ):
        from_nir(written)


# -- files -----------------------------------------------------------------------------------------


def test_files_that_are_no_nir_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        from_nir(tmp_path / "nothing.nir")
    (tmp_path / "text.nir").write_text("spikes")
    with pytest.raises(ValueError, match=r"text.nir is no NIR file: it is not HDF5; nir.write"):
        from_nir(str(tmp_path / "text.nir"))
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file["data"] = 3
    with pytest.raises(
        ValueError, match=r"other.nir is no NIR file: it has \['data'\] and no group 'node'"
    ):
        from_nir(tmp_path / "other.nir")
    nir.write(tmp_path / "node.nir", lif())
    with pytest.raises(ValueError, match=r"the top node is of type 'LIF'; it must be a NIRGraph"):
        from_nir(tmp_path / "node.nir")


@pytest.mark.parametrize("key", ["tau", "r", "v_leak", "v_threshold"])
def test_a_field_that_is_missing_is_named(key: str, tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", graph(lif()))
    with h5py.File(tmp_path / "net.nir", "a") as file:
        del file[f"node/nodes/n0/{key}"]
    with pytest.raises(
        ValueError, match=rf"node 'n0' \(LIF\): the field '{key}' is missing; it has .*v_reset"
    ):
        from_nir(tmp_path / "net.nir", **KNOWN)


def test_an_unknown_type_in_a_file_is_named(tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", graph(lif()))
    with h5py.File(tmp_path / "net.nir", "a") as file:
        del file["node/nodes/n0/type"]
        file["node/nodes/n0/type"] = "LIFF"
    with pytest.raises(
        ValueError, match=r"node 'n0' \(LIFF\): there is no NIR type 'LIFF'; did you mean 'LIF'\?"
    ):
        from_nir(tmp_path / "net.nir", **KNOWN)


def test_files_of_older_versions_without_v_reset_and_with_loose_types_are_read(
    tmp_path: Path,
) -> None:
    sub = graph(lif())
    nir.write(tmp_path / "net.nir", graph(nir.Linear(np.ones((3, 3))), sub=sub))
    with h5py.File(tmp_path / "net.nir", "a") as file:
        inner = file["node/nodes/sub/nodes"]
        del inner["n0/v_reset"], inner["input/shape"], inner["output/shape"]
        inner["input/shape"], inner["output/shape"] = np.array([1, 7]), np.array([7])
    with pytest.raises(ValueError, match="type mismatch"):
        nir.read(tmp_path / "net.nir")
    assert isinstance(from_nir(tmp_path / "net.nir", **KNOWN).get_submodule("sub.n0"), snn.Leaky)
