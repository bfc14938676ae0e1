"""A damaged file is a ValueError with its path, whatever the parser of its format raises."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from event_files import aedat_bytes, events_of, nmnist_bytes, write_gestures, write_nmnist

from spikeloom import data, spikevision
from spikeloom.data.damage import damage_named
from spikeloom.data.npz import read_npz
from spikeloom.spikevision import readers

h5py = pytest.importorskip("h5py")


def flipped(raw: bytes, place: int, bit: int = 6) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]


# IDX and npz


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:-9], lambda raw: flipped(raw, 30), lambda raw: flipped(raw, 2)]
)
def test_a_damaged_gzip_file_of_mnist_is_named(tmp_path, damage):
    header = bytes([0, 0, 8, 1]) + (60).to_bytes(4, "big")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(gzip.compress(header + bytes(range(60)), mtime=0)))
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte.gz must be a whole gzip file, got a damaged"
    ):
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
    with pytest.raises(
        ValueError, match=r"labels of the train part of .* in \[0, 65535\], got 0 to 1099511627776"
    ):
        data.mnist(tmp_path)


def test_an_image_that_is_no_jpeg_is_named(tmp_path):
    pytest.importorskip("PIL")
    part = {"jpeg": np.zeros(9, np.uint8), "offset": np.array([0, 9]), "y": np.array([1])}
    np.savez(
        tmp_path / "a.npz", **{f"{k}_{s}": v for k, v in part.items() for s in ("train", "test")}
    )
    with pytest.raises(
        ValueError, match=r"a.npz must be an npz file of JPEG images, 32 x 32, got a damaged"
    ):
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
    np.savez(
        tmp_path / "0.npz",
        recording=np.zeros(2),
        target=np.zeros(2),
        kinds=np.array(["tensor", "number"]),
    )
    with pytest.raises(ValueError, match=r"0.npz must be a sample of a cache"):
        cached[0]
    np.savez(
        tmp_path / "0.npz", recording=np.zeros(2), target=np.zeros(2), kinds=np.array(["tensor"])
    )
    with pytest.raises(ValueError, match=r"0.npz must hold two kinds"):
        cached[0]
    (tmp_path / "cache.json").write_bytes(b"{\xff")
    with pytest.raises(ValueError, match=r"cache.json must be the description of a cache"):
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
    with pytest.raises(
        ValueError, match=rf"events of 8 bytes .* got {size}, 4 and 0 at byte {place} of .*a.aedat"
    ):
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
    "line",
    [
        b"1,2\xff,3",
        b"1,2",
        b"1,99999999999999999999,3",
        b"1,-5,3",
        b"a,b,c",
        b"1,9,3",
        "¹,2,3".encode(),
    ],
)
def test_gesture_labels_that_are_no_numbers_are_refused_with_their_line(tmp_path, line):
    (tmp_path / "a_labels.csv").write_bytes(b"class,start,end\n1,0,5\n" + line + b"\n")
    with pytest.raises(
        ValueError, match=r"a_labels.csv must hold lines class,start,end in whole numbers, got '"
    ):
        readers.read_gesture_labels(tmp_path / "a_labels.csv")


def test_an_address_off_the_sensor_is_named_with_its_file(tmp_path):
    events = events_of(30, (34, 34), 1000)
    raw = bytearray(nmnist_bytes(events))
    raw[5 * 7] = 200
    with pytest.raises(
        ValueError, match=r"in \[0, 33\], got \(200, \d+\) at event 7 of 3/00001.bin"
    ):
        readers.read_nmnist(bytes(raw), "3/00001.bin")
    write_gestures(tmp_path, user=3)
    events["x"][5] = 300
    (tmp_path / "user03_fluorescent_led.aedat").write_bytes(aedat_bytes(events))
    with pytest.raises(
        ValueError,
        match=r"in \[0, 127\], got \(300, .* at event 5 of .*user03_fluorescent_led.aedat",
    ):
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
