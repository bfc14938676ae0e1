"""A damaged file is a ValueError with its path, whatever the parser of its format raises."""

import gzip
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from event_files import aedat_bytes, events_of, nmnist_bytes, write_gestures, write_nmnist
from torch import nn

import spikeloom as snn
from spikeloom import data, spikevision
from spikeloom.data.damage import damage_named
from spikeloom.data.npz import read_npz
from spikeloom.nir import from_nir, to_nir
from spikeloom.spikevision import readers
from spikeloom.spikevision.store import EventStore, Recording

h5py = pytest.importorskip("h5py")
nir = pytest.importorskip("nir")


def flipped(raw: bytes, place: int, bit: int = 6) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]


# IDX and npz


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: flipped(raw, 30), lambda raw: flipped(raw, 2)])
def test_a_damaged_gzip_file_of_mnist_is_named(tmp_path, damage):
    header = bytes([0, 0, 8, 1]) + (60).to_bytes(4, "big")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(gzip.compress(header + bytes(range(60)), mtime=0)))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz must be a whole gzip file, got a damaged"):
        data.read_idx(path)


def npz(path: Path) -> bytes:
    np.savez_compressed(path, x=np.arange(2000) % 7, y=np.zeros(3))
    return path.read_bytes()


def test_every_cut_of_an_npz_file_is_named(tmp_path):
    whole = npz(tmp_path / "a.npz")
    for end in range(0, len(whole), 7):
        (tmp_path / "a.npz").write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"a\.npz must (be a whole npz file|hold the arrays)"):
            read_npz(tmp_path / "a.npz", ("x", "y"))


def test_every_flipped_bit_of_an_npz_file_is_named_or_harmless(tmp_path):
    whole = npz(tmp_path / "a.npz")
    expected = read_npz(tmp_path / "a.npz", ("x", "y"))
    refused = 0
    for place in range(0, len(whole), 3):
        (tmp_path / "a.npz").write_bytes(flipped(whole, place, place % 8))
        try:
            read = read_npz(tmp_path / "a.npz", ("x", "y"))
        except ValueError as error:
            refused += 1
            assert "a.npz" in str(error)
        else:
            assert all(np.array_equal(read[name], expected[name]) for name in expected)
    assert refused > len(whole) / 6


def test_an_array_that_declares_more_than_its_entry_holds_asks_for_no_memory(tmp_path):
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    raw = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117).encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", raw)
    with pytest.raises(ValueError, match=r"a.npz .* has 8000000000000 bytes, in an entry of 128"):
        read_npz(tmp_path / "a.npz", ("x",))


def test_an_encrypted_or_unknown_entry_is_named(tmp_path):
    whole = bytearray(npz(tmp_path / "a.npz"))
    place = whole.index(b"PK\x01\x02")
    for offset, value in ((8, 1), (10, 99)):  # flag of encryption, method of compression
        changed = whole.copy()
        changed[place + offset] |= value
        (tmp_path / "a.npz").write_bytes(changed)
        with pytest.raises(ValueError, match=r"a.npz must be a whole npz file"):
            read_npz(tmp_path / "a.npz", ("x", "y"))


def test_labels_that_are_no_classes_are_refused(tmp_path):
    x = np.zeros((2, 4, 4), np.uint8)
    y = np.array([0, 2**40])
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(ValueError, match=r"labels of the train part of .* in \[0, 65535\], got 0 to 1099511627776"):
        data.mnist(tmp_path)


def test_an_image_that_is_no_jpeg_is_named(tmp_path):
    pytest.importorskip("PIL")
    part = {"jpeg": np.zeros(9, np.uint8), "offset": np.array([0, 9]), "y": np.array([1])}
    np.savez(tmp_path / "a.npz", **{f"{k}_{s}": v for k, v in part.items() for s in ("train", "test")})
    with pytest.raises(ValueError, match=r"a.npz must be an npz file of JPEG images, 32 x 32, got a damaged"):
        data.cifar10_jpeg(tmp_path / "a.npz")


def test_errors_of_the_machine_are_not_called_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "absent.npz", ("x",))
    with pytest.raises(PermissionError), damage_named("a", "a file", "look"):
        os_error = PermissionError(13, "Permission denied")
        raise os_error


# The folder of samples


def test_a_damaged_note_or_sample_of_a_cache_is_named(tmp_path):
    cached = data.DiskCache([(torch.ones(3), 1)], tmp_path)
    assert cached[0][1] == 1
    np.savez(tmp_path / "0.npz", recording=np.zeros(2), target=np.zeros(2), kinds=np.array(["tensor", "number"]))
    with pytest.raises(ValueError, match=r"0.npz must be a sample of a cache"):
        cached[0]
    np.savez(tmp_path / "0.npz", recording=np.zeros(2), target=np.zeros(2), kinds=np.array(["tensor"]))
    with pytest.raises(ValueError, match=r"0.npz must hold two kinds"):
        cached[0]
    (tmp_path / "cache.json").write_bytes(b"{\xff")
    with pytest.raises(ValueError, match=r"cache.json must be the note of a cache"):
        data.DiskCache([(torch.ones(3), 1)], tmp_path)
    (tmp_path / "cache.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match=r"must hold samples made with .*, got \[1\]"):
        data.DiskCache([(torch.ones(3), 1)], tmp_path)


# Event cameras


@pytest.mark.parametrize("size", [0, 3, 4, 12, 16])
def test_an_aedat_packet_of_another_event_size_is_refused_and_not_misread(tmp_path, size):
    raw = bytearray(aedat_bytes(events_of(48, (128, 128), 10_000)))
    place = raw.index(b"#!END-HEADER\r\n") + 14 + 28 + 8
    assert raw[place : place + 2] == b"\x01\x00"
    raw[place + 4] = size
    (tmp_path / "a.aedat").write_bytes(raw + bytes(1000))
    with pytest.raises(ValueError, match=rf"events of 8 bytes .* got {size}, 4 and 0 at byte {place} of .*a.aedat"):
        readers.read_aedat(tmp_path / "a.aedat")


@pytest.mark.parametrize(
    ("offset", "value", "text"),
    [
        (16, 0, "valid <= number <= capacity"),
        (24, 255, "valid <= number <= capacity"),
        (15, 255, r"an overflow below 2\^31"),
        (28 + 7, 255, r"times of a packet must be below 2\^31"),
    ],
)
def test_an_aedat_packet_that_contradicts_itself_is_refused(tmp_path, offset, value, text):
    raw = bytearray(aedat_bytes(events_of(48, (128, 128), 10_000)))
    place = raw.index(b"#!END-HEADER\r\n") + 14 + 28 + 8
    raw[place + offset] = value
    (tmp_path / "a.aedat").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"{text}.*of .*a.aedat"):
        readers.read_aedat(tmp_path / "a.aedat")


@pytest.mark.parametrize(
    "line", [b"1,2\xff,3", b"1,2", b"1,99999999999999999999,3", b"1,-5,3", b"a,b,c", b"1,9,3", "¹,2,3".encode()]
)
def test_gesture_labels_that_are_no_numbers_are_refused_with_their_line(tmp_path, line):
    (tmp_path / "a_labels.csv").write_bytes(b"class,start,end\n1,0,5\n" + line + b"\n")
    with pytest.raises(ValueError, match=r"a_labels.csv must hold lines class,start,end in whole numbers, got '"):
        readers.read_gesture_labels(tmp_path / "a_labels.csv")


def test_an_address_off_the_sensor_is_named_with_its_file(tmp_path):
    events = events_of(30, (34, 34), 1000)
    raw = bytearray(nmnist_bytes(events))
    raw[5 * 7] = 200
    with pytest.raises(ValueError, match=r"in \[0, 33\], got \(200, \d+\) at event 7 of 3/00001.bin"):
        readers.read_nmnist(bytes(raw), "3/00001.bin")
    write_gestures(tmp_path, user=3)
    events["x"][5] = 300
    (tmp_path / "user03_fluorescent_led.aedat").write_bytes(aedat_bytes(events))
    with pytest.raises(ValueError, match=r"in \[0, 127\], got \(300, .* at event 5 of .*user03_fluorescent_led.aedat"):
        spikevision.DVSGesture(tmp_path)


def test_a_damaged_zip_file_of_nmnist_is_named(tmp_path):
    write_nmnist(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "a").rglob("*.bin")):
            archive.write(file, f"Train/{file.parent.name}/{file.name}")
    whole = (tmp_path / "train.zip").read_bytes()
    for damaged in (whole[:-50], flipped(whole, 200), whole[:100]):
        (tmp_path / "train.zip").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"train.zip must be a whole zip file of N-MNIST"):
            list(spikevision.spikedata.nmnist.packed_recordings(tmp_path / "train.zip"))


# The cache of events: libhdf5 never sees a damaged byte


def stored(path: Path) -> bytes:
    random = [events_of(50, (34, 34), 1000, seed=seed) for seed in range(3)]
    EventStore.write(path, [Recording(events, label, {"light": "led"}) for label, events in enumerate(random)])
    return path.read_bytes()


def test_a_damaged_cache_is_refused_before_libhdf5_sees_it(tmp_path, monkeypatch):
    path = tmp_path / "a.hdf5"
    whole = stored(path)
    monkeypatch.setattr(h5py, "File", lambda *args, **options: pytest.fail("libhdf5 was called"))
    for damaged in (
        *(flipped(whole, place, place % 8) for place in range(0, len(whole), 37)),
        *(whole[:end] for end in range(0, len(whole), 91)),
        whole + b"0",
        whole[512:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a.hdf5 must be a cache .*(delete it)$"):
            EventStore(path)


def test_a_cache_of_the_format_without_checksum_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.attrs["format"] = "spikeloom events 1"
    with pytest.raises(ValueError, match=r"a.hdf5 must be a cache written by spikeloom events 2, got another file"):
        EventStore(tmp_path / "a.hdf5")


def test_a_cache_that_is_damaged_after_it_was_opened_is_named(tmp_path):
    path = tmp_path / "a.hdf5"
    whole = stored(path)
    store = EventStore(path)
    path.write_bytes(whole[:600])
    with pytest.raises(ValueError, match=r"a.hdf5 must be a cache of events, got a damaged"):
        store[1]


def test_the_last_recording_is_also_number_minus_one(tmp_path):
    stored(tmp_path / "a.hdf5")
    store = EventStore(tmp_path / "a.hdf5")
    assert np.array_equal(store[-1].events, store[2].events) and store[-1].label == 2
    with pytest.raises(IndexError, match=r"index must be in \[-3, 2\], got 3"):
        store[3]


# Spiking Heidelberg Digits


def shd(path, times, units, labels, kind=np.float16):
    with h5py.File(path, "w") as file:
        file["labels"] = np.array(labels, np.uint16)
        for name, dtype, values in (("times", kind, times), ("units", np.uint16, units)):
            lists = file.create_dataset(f"spikes/{name}", (len(values),), h5py.vlen_dtype(dtype))
            for index, value in enumerate(values):
                lists[index] = np.array(value, dtype)


@pytest.mark.parametrize(
    ("times", "units", "labels", "text"),
    [
        ([[0.1, 0.2]], [[1]], [0], r"recording 0 of .*shd_test.h5 must have one time for each unit"),
        (
            [[0.1]],
            [[1], [2]],
            [0, 1],
            r"shd_test.h5 must hold a list of times, .* got shapes \(1,\), \(2,\) and \(2,\)",
        ),
        ([[0.1], [0.2]], [[1], [2]], [0], r"shd_test.h5 must hold .* got shapes \(2,\), \(2,\) and \(1,\)"),
        ([[np.nan]], [[1]], [0], r"times must be in \[0, 60.0\) seconds, got nan .*recording 0 of .*shd_test.h5"),
        ([[-0.5]], [[1]], [0], r"times must be in \[0, 60.0\) seconds, got -0.5"),
        ([[np.inf]], [[1]], [0], r"times must be in \[0, 60.0\) seconds, got inf"),
        ([[0.1]], [[700]], [0], r"units must be whole numbers in \[0, 699\], got uint16 from 700 to 700"),
        ([[0.1]], [[1]], [20], r"classes must be in \[0, 19\], got 20"),
    ],
)
def test_lists_of_shd_that_do_not_belong_together_are_named(tmp_path, times, units, labels, text):
    shd(tmp_path / "shd_test.h5", times, units, labels)
    with pytest.raises(ValueError, match=rf"{text}.*; get it again"):
        spikevision.SHD(tmp_path, train=False)


@pytest.mark.parametrize("value", [3, np.ones((2, 2)), "text", h5py.Empty("f4")])
def test_an_shd_file_with_something_else_in_place_of_lists_is_named(tmp_path, value):
    for name in ("labels", "spikes/times", "spikes/units"):
        shd(tmp_path / "shd_test.h5", [[0.1]], [[1]], [0])
        with h5py.File(tmp_path / "shd_test.h5", "a") as file:
            write(file, name, value)
        with pytest.raises(ValueError, match=r"shd_test.h5 must .*; get it again"):
            spikevision.SHD(tmp_path, train=False)


@pytest.mark.parametrize("missing", ["labels", "spikes", "spikes/times", "spikes/units"])
def test_an_shd_file_without_a_group_is_named(tmp_path, missing):
    shd(tmp_path / "shd_test.h5", [[0.1]], [[1]], [0])
    with h5py.File(tmp_path / "shd_test.h5", "a") as file:
        del file[missing]
    with pytest.raises(ValueError, match=r"shd_test.h5 must be a whole file of SHD, got a damaged or different one"):
        spikevision.SHD(tmp_path, train=False)


def test_a_packed_shd_file_that_is_cut_is_named(tmp_path):
    shd(tmp_path / "a.h5", [[0.1]], [[1]], [0])
    whole = gzip.compress((tmp_path / "a.h5").read_bytes())
    for damaged in (whole[:-5], flipped(whole, 40), gzip.compress(b"text")):
        (tmp_path / "shd_train.h5.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"shd_train.h5.gz must be a whole file of SHD"):
            spikevision.SHD(tmp_path)


# NIR


@pytest.fixture
def network_file(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True), snn.SynapticDelay(3, torch.ones(2), 2))
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
    "a broken soft link": (lambda f: write(f, "node/nodes/0/weight", h5py.SoftLink("/nowhere")), "is a SoftLink"),
    "a link to another file": (
        lambda f: write(f, "node/nodes/0/weight", h5py.ExternalLink("other.h5", "weight")),
        "is a ExternalLink",
    ),
    "a group that contains itself": (
        lambda f: f["node/nodes"].__setitem__("own", f["node"]),
        "is there twice, or contains itself",
    ),
    "a dataset as nodes": (lambda f: write(f, "node/nodes", 3), r"its nodes must be a group"),
    "a dataset as a node": (lambda f: write(f, "node/nodes/0", 3), r"node '0' must be a group of fields"),
    "edges of three columns": (
        lambda f: write(f, "node/edges", np.array([[b"a", b"b", b"c"]])),
        r"its edges must be pairs of names, \[E, 2\], got \(1, 3\)",
    ),
    "edges of numbers": (lambda f: write(f, "node/edges", np.ones((1, 2))), r"pairs of names, got \[1.0, 1.0\]"),
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
        r"node '1' \(LIF\): beta must lie in \[0, 1\], got 7",
    ),
    "a number as a record": (
        lambda f: write(f, "node/nodes/1/metadata/arguments", 7.0),
        r"metadata 'arguments' must name arguments",
    ),
    "a record that is no group": (lambda f: write(f, "node/nodes/1/metadata", 7.0), r"its metadata must be a group"),
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
    "no delay": (lambda f: write(f, "node/nodes/2/delay", np.ones(0)), r"node '2' \(Delay\): its delay is empty"),
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
    with pytest.raises(ValueError, match=r"nested deeper than 64, got '\w+'; does it contain itself"):
        from_nir(graph)


def test_a_file_without_permission_says_so_and_is_not_called_damaged(network_file):
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("root may read everything")
    network_file.chmod(0)
    with pytest.raises(PermissionError):
        from_nir(network_file)
