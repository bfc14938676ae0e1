"""Damaged caches of events and files of SHD: refused with the path, caches before libhdf5 reads
them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from event_files import events_of

from spikeloom import spikevision
from spikeloom.spikevision.store import EventStore, Recording

h5py = pytest.importorskip("h5py")


def flipped(raw: bytes, place: int, bit: int = 6) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]


# The cache of events: libhdf5 never sees a damaged byte


def stored(path: Path) -> bytes:
    random = [events_of(50, (34, 34), 1000, seed=seed) for seed in range(3)]
    EventStore.write(
        path, [Recording(events, label, {"light": "led"}) for label, events in enumerate(random)]
    )
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
    with pytest.raises(
        ValueError, match=r"a.hdf5 must be a cache written by spikeloom events 2, got another file"
    ):
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


def write(file, name, value):
    del file[name]
    file[name] = value


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
        (
            [[0.1, 0.2]],
            [[1]],
            [0],
            r"recording 0 of .*shd_test.h5 must have one time for each unit",
        ),
        (
            [[0.1]],
            [[1], [2]],
            [0, 1],
            r"shd_test.h5 must hold a list of times, .* got shapes \(1,\), \(2,\) and \(2,\)",
        ),
        (
            [[0.1], [0.2]],
            [[1], [2]],
            [0],
            r"shd_test.h5 must hold .* got shapes \(2,\), \(2,\) and \(1,\)",
        ),
        (
            [[np.nan]],
            [[1]],
            [0],
            r"times must be in \[0, 60.0\) seconds, got nan .*recording 0 of .*shd_test.h5",
        ),
        ([[-0.5]], [[1]], [0], r"times must be in \[0, 60.0\) seconds, got -0.5"),
        ([[np.inf]], [[1]], [0], r"times must be in \[0, 60.0\) seconds, got inf"),
        (
            [[0.1]],
            [[700]],
            [0],
            r"units must be whole numbers in \[0, 699\], got uint16 from 700 to 700",
        ),
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
    with pytest.raises(
        ValueError, match=r"shd_test.h5 must be a whole file of SHD, got a damaged or different one"
    ):
        spikevision.SHD(tmp_path, train=False)


def test_a_packed_shd_file_that_is_cut_is_named(tmp_path):
    shd(tmp_path / "a.h5", [[0.1]], [[1]], [0])
    whole = gzip.compress((tmp_path / "a.h5").read_bytes())
    for damaged in (whole[:-5], flipped(whole, 40), gzip.compress(b"text")):
        (tmp_path / "shd_train.h5.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"shd_train.h5.gz must be a whole file of SHD"):
            spikevision.SHD(tmp_path)
