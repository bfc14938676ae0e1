"""A damaged or hostile NIR file is a ValueError with its path and the node."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.nir import from_nir, to_nir

h5py = pytest.importorskip("h5py")
nir = pytest.importorskip("nir")


@pytest.fixture
def network_file(tmp_path):
    net = nn.Sequential(
        nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True), snn.SynapticDelay(3, torch.ones(2), 2)
    )
    path = tmp_path / "net.nir"
    nir.write(path, to_nir(net))
    return path


def test_every_cut_of_a_nir_file_is_named(network_file):
    whole = network_file.read_bytes()
    for end in range(100, len(whole), 997):
        network_file.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"net.nir is (damaged|no NIR file)"):
            from_nir(network_file)


def other_file(path: Path) -> str:
    with h5py.File(path.with_name("other.h5"), "w") as file:
        file["weight"] = np.ones((2, 3))
    return "other.h5"


def write(file, name, value):
    del file[name]
    file[name] = value


def sparse(file):
    del file["node/nodes/0/weight"]
    file.create_dataset("node/nodes/0/weight", (10**6, 10**6), "f4", chunks=(100, 100))


MUTATIONS = {
    "a broken soft link": (
        lambda f: write(f, "node/nodes/0/weight", h5py.SoftLink("/nowhere")),
        "is a SoftLink",
    ),
    "a link to another file": (
        lambda f: write(f, "node/nodes/0/weight", h5py.ExternalLink("other.h5", "weight")),
        "is a ExternalLink",
    ),
    "a group that contains itself": (
        lambda f: f["node/nodes"].__setitem__("own", f["node"]),
        "is there twice, or contains itself",
    ),
    "a dataset as nodes": (lambda f: write(f, "node/nodes", 3), r"its nodes must be a group"),
    "a dataset as a node": (
        lambda f: write(f, "node/nodes/0", 3),
        r"node '0' must be a group of fields",
    ),
    "edges of three columns": (
        lambda f: write(f, "node/edges", np.array([[b"a", b"b", b"c"]])),
        r"its edges must be pairs of names, \[E, 2\], got \(1, 3\)",
    ),
    "edges of numbers": (
        lambda f: write(f, "node/edges", np.ones((1, 2))),
        r"pairs of names, got \[1.0, 1.0\]",
    ),
    "another number of thresholds": (
        lambda f: write(f, "node/nodes/1/v_threshold", np.ones(7)),
        r"node '1' \(LIF\): all fields must have the shape of the layer",
    ),
    "a sparse dataset of 10^12 elements": (sparse, r"declares 4000000000000 bytes in a file of"),
    "an unknown argument in a record": (
        lambda f: f.__setitem__("node/nodes/1/metadata/arguments/gamma", 3.0),
        r"node '1' \(LIF\): metadata 'arguments' must name arguments of Leaky",
    ),
    "a text as an argument": (
        lambda f: write(f, "node/nodes/1/metadata/arguments/beta", "high"),
        r"metadata 'beta' must be finite numbers, got 'high'",
    ),
    "an argument out of range": (
        lambda f: write(f, "node/nodes/1/metadata/arguments/beta", 7.0),
        r"node '1' \(LIF\): beta must be in \[0, 1\], got 7",
    ),
    "a number as a record": (
        lambda f: write(f, "node/nodes/1/metadata/arguments", 7.0),
        r"metadata 'arguments' must name arguments",
    ),
    "a record that is no group": (
        lambda f: write(f, "node/nodes/1/metadata", 7.0),
        r"its metadata must be a group",
    ),
    "an unknown reset": (
        lambda f: write(f, "node/nodes/1/metadata/reset", "sideways"),
        r"'reset' must be one of subtract, zero, none, zero_attached, got 'sideways'",
    ),
    "a surrogate without a name": (
        lambda f: f["node/nodes/1/metadata/surrogate"].__delitem__("name"),
        r"metadata 'surrogate' must be a group with a name",
    ),
    "a surrogate of an unknown number": (
        lambda f: f.__setitem__("node/nodes/1/metadata/surrogate/gamma", 3.0),
        r"node '1' \(LIF\): .*gamma",
    ),
    "a negative surrogate": (
        lambda f: write(f, "node/nodes/1/metadata/surrogate/alpha", -2.0),
        r"node '1' \(LIF\): alpha must be positive, got -2",
    ),
    "a time step of nan": (
        lambda f: write(f, "node/metadata/spikeloom/dt", np.nan),
        r"'dt' of the graph must be a positive number, got",
    ),
    "a shape of 10^12": (
        lambda f: write(f, "node/nodes/input/shape", np.array([10**6, 10**6])),
        r"node 'input' \(Input\): its shape must have 0 to 268435456 elements",
    ),
    "a text as a shape": (
        lambda f: write(f, "node/nodes/input/shape", "wide"),
        r"node 'input' \(Input\): its shape must be whole numbers",
    ),
    "a delay of 10^9 steps": (
        lambda f: write(f, "node/nodes/2/delay", np.full(2, 1e5)),
        r"node '2' \(Delay\): a delay takes 1e\+09 steps",
    ),
    "a longest delay of 10^9": (
        lambda f: write(f, "node/nodes/2/metadata/longest", 10**9),
        r"node '2' \(Delay\): metadata 'longest' must be in \[0, 1048576\]",
    ),
    "an infinite shape": (
        lambda f: write(f, "node/nodes/input/shape", np.inf),
        r"node 'input' \(Input\): its shape must be whole numbers",
    ),
    "no delay": (
        lambda f: write(f, "node/nodes/2/delay", np.ones(0)),
        r"node '2' \(Delay\): its delay is empty",
    ),
}


@pytest.mark.parametrize(("change", "text"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_nir_file_that_was_changed_names_itself_and_the_node(network_file, change, text):
    other_file(network_file)
    with h5py.File(network_file, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=text) as caught:
        from_nir(network_file)
    assert "net.nir" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("stride", 0, "stride must be whole numbers of 1 or more"),
        ("stride", 1.5, "stride must be whole numbers of 1 or more"),
        ("stride", [1, 2, 3], "stride must be whole numbers of 1 or more, one for each axis"),
        ("dilation", -1, "dilation must be whole numbers of 1 or more"),
        ("groups", 0, "groups must be whole numbers of 1 or more"),
        ("groups", "two", "groups must be whole numbers of 1 or more"),
        ("padding", -1, "padding must be whole numbers of 0 or more"),
        ("padding", "round", "padding must be 'same', 'valid' or numbers, got 'round'"),
        ("padding", 10**6, "more than 268435456 elements"),
    ],
)
def test_a_setting_of_a_convolution_that_is_no_size_is_named(tmp_path, key, value, text):
    path = tmp_path / "net.nir"
    nir.write(path, to_nir(nn.Sequential(nn.Conv2d(1, 2, 3)), torch.rand(1, 1, 6, 6)))
    with h5py.File(path, "a") as file:
        write(file, f"node/nodes/0/{key}", value)
    with pytest.raises(ValueError, match=rf"net.nir: node '0'.*{text}"):
        from_nir(path)


def test_a_folder_in_place_of_a_nir_file_is_named(tmp_path):
    (tmp_path / "net.nir").mkdir()
    with pytest.raises(ValueError, match=r"net.nir is no NIR file: it is a folder"):
        from_nir(tmp_path / "net.nir")


def test_a_graph_that_contains_itself_is_refused():
    graph = to_nir(nn.Sequential(nn.Linear(3, 2)))
    graph.nodes["own"] = graph
    with pytest.raises(
        ValueError, match=r"nested deeper than 64, got '\w+'; does it contain itself"
    ):
        from_nir(graph)


def test_a_file_without_permission_says_so_and_is_not_called_damaged(network_file):
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("root may read everything")
    network_file.chmod(0)
    with pytest.raises(PermissionError):
        from_nir(network_file)
