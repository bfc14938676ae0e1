"""Small valid files of every format that the package reads, each with the function that reads
it."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import nir
import numpy as np
import torch
from torch import nn

import spikeloom as snn
from spikeloom import data, spikevision
from spikeloom.data import EVENT
from spikeloom.nir import from_nir, to_nir
from spikeloom.spikevision import readers
from spikeloom.spikevision.spikedata import nmnist
from spikeloom.spikevision.store import EventStore, Recording

__all__ = ["Format", "formats"]


class Format(NamedTuple):
    """One kind of file.

    Attributes:
        name: of the file, below the folder of a case.
        content: of the whole file.
        read: reads a damaged one.
    """

    name: str
    content: bytes
    read: Callable[[Path], Any]


def events(number: int, size: int, seed: int = 0) -> np.ndarray:
    """Random events in order of time."""
    random = np.random.default_rng(seed)
    found = np.zeros(number, EVENT)
    for field, high in (("x", size), ("y", size), ("p", 2)):
        found[field] = random.integers(0, high, number)
    found["t"] = np.sort(random.integers(0, 300_000, number))
    return found


def idx() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, 5 * 8 * 8).astype(np.uint8)
    return struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 8, 8) + pixels.tobytes()


def npz() -> bytes:
    random = np.random.default_rng(0)
    file = io.BytesIO()
    images = {
        part: random.integers(0, 256, (6, 8, 8), dtype=np.uint8) for part in ("x_train", "x_test")
    }
    np.savez_compressed(file, **images, y_train=np.arange(6), y_test=np.arange(6))
    return file.getvalue()


def jpeg() -> bytes:
    from PIL import Image

    files = []
    for colour in ("red", "blue", "lime"):
        file = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(file, "jpeg")
        files.append(file.getvalue())
    part = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offset": np.cumsum([0, *map(len, files)]),
        "y": np.arange(3),
    }
    packed = io.BytesIO()
    np.savez(
        packed,
        **{f"{name}_{split}": value for name, value in part.items() for split in ("train", "test")},
    )
    return packed.getvalue()


def sample() -> bytes:
    file = io.BytesIO()
    kinds = np.array(["tensor", "number"])
    np.savez_compressed(
        file, recording=np.ones((3, 4), np.float32), target=np.array(7), kinds=kinds
    )
    return file.getvalue()


def nmnist_raw() -> bytes:
    rows = []
    for x, y, t, p in events(200, 34).tolist():
        rows.append(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]))
    return b"".join(rows)


def nmnist_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for digit in range(3):
            archive.writestr(f"Train/{digit}/0000{digit}.bin", nmnist_raw())
    return file.getvalue()


def aedat() -> bytes:
    raw = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Start-Time: 2016-11-10\r\n#!END-HEADER\r\n"
    raw += struct.pack("<HHIIIIII", 0, 1, 8, 4, 0, 1, 1, 1) + bytes(8)
    for start in range(0, 300, 100):
        part = events(300, 128)[start : start + 100].tolist()
        body = [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for x, y, t, p in part]
        raw += struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, 100, 100, 100) + b"".join(body)
    return raw


def shd(path: Path) -> bytes:
    random = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["labels"] = np.arange(4, dtype=np.uint16)
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            lists = file.create_dataset(f"spikes/{name}", (4,), h5py.vlen_dtype(kind))
            for index in range(4):
                value = random.random(30) if name == "times" else random.integers(0, 700, 30)
                lists[index] = value.astype(kind)
    return path.read_bytes()


def store(path: Path) -> bytes:
    recordings = [Recording(events(60, 34, seed), seed, {"light": "led"}) for seed in range(3)]
    EventStore.write(path, recordings)
    return path.read_bytes()


def networks() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Small networks that have every kind of NIR node between them."""
    lif = {"init_hidden": True}
    layers = [
        nn.Conv2d(2, 4, 3, groups=2),
        snn.IF(**lif),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ]
    return {
        "mlp": (nn.Sequential(nn.Linear(3, 4), snn.Leaky(torch.rand(4), **lif)), torch.rand(1, 3)),
        "image": (nn.Sequential(*layers, snn.Synaptic(0.8, 0.9, **lif)), torch.rand(1, 2, 6, 6)),
        "loop": (
            nn.Sequential(nn.Linear(3, 4), snn.RLeaky(0.9, linear_features=4, **lif)),
            torch.rand(1, 3),
        ),
        "delay": (
            nn.Sequential(snn.SynapticDelay(4, torch.rand(3), 3), snn.LI(0.9, **lif)),
            torch.rand(1, 3),
        ),
    }


def nir_file(path: Path, net: nn.Module, x: torch.Tensor) -> bytes:
    nir.write(path, to_nir(net, x))
    return path.read_bytes()


def read_store(path: Path) -> Any:
    found = EventStore(path)
    return [found[index] for index in range(len(found))]


def formats(folder: Path) -> dict[str, Format]:
    """All formats; the files of the libraries are written into ``folder`` first."""
    torch.manual_seed(0)
    made = {
        "idx": Format("a.idx", idx(), data.read_idx),
        "idx.gz": Format("a.gz", gzip.compress(idx(), mtime=0), data.read_idx),
        "npz": Format("mnist.npz", npz(), data.mnist),
        "jpeg.npz": Format("jpeg.npz", jpeg(), data.cifar10_jpeg),
        "sample.npz": Format("0.npz", sample(), data.cache.load),
        "nmnist": Format(
            "3/1.bin", nmnist_raw(), lambda path: nmnist.recording(path.read_bytes(), path)
        ),
        "nmnist.zip": Format(
            "Train.zip", nmnist_zip(), lambda path: list(nmnist.packed_recordings(path))
        ),
        "aedat": Format("a.aedat", aedat(), readers.read_aedat),
        "labels.csv": Format(
            "a.csv", b"class,start,end\n1,0,500\n11,600,70000\n", readers.read_gesture_labels
        ),
        "shd": Format(
            "shd_test.h5",
            shd(folder / "shd"),
            lambda path: list(spikevision.spikedata.shd.raw_recordings(path.parent, "test")),
        ),
        "shd.gz": Format(
            "shd_test.h5.gz",
            gzip.compress(shd(folder / "shd"), mtime=0),
            lambda path: list(spikevision.spikedata.shd.raw_recordings(path.parent, "test")),
        ),
        "store": Format("a.hdf5", store(folder / "store"), read_store),
    }
    for name, (net, x) in networks().items():
        made[f"nir {name}"] = Format("net.nir", nir_file(folder / "nir", net, x), from_nir)
    return made
