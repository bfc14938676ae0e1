"""Spiking Heidelberg Digits: files, written here, come back as the right frames, plain or
packed."""

import gzip
import zipfile

import numpy as np
import pytest
import torch

from spikeloom import spikevision
from spikeloom.spikevision import download
from spikeloom.spikevision.spikedata import shd

h5py = pytest.importorskip("h5py")


def shd_file(path, recordings, labels):
    """SHD: times in seconds as float16, units as uint16, both of varying length."""
    with h5py.File(path, "w") as file:
        file["labels"] = np.array(labels, np.uint16)
        for name, kind, values in (("times", np.float16, 0), ("units", np.uint16, 1)):
            data = file.create_dataset(f"spikes/{name}", (len(labels),), h5py.vlen_dtype(kind))
            for i, recording in enumerate(recordings):
                data[i] = recording[values].astype(kind)


def write_shd(path, labels=(0, 13)):
    random = np.random.default_rng(0)
    recordings = [
        (np.sort(random.random(200)).astype(np.float16), random.integers(0, 700, 200))
        for _ in labels
    ]
    shd_file(path, recordings, labels)
    return recordings


@pytest.mark.parametrize("ds", [1, 5])
def test_shd_counts_spikes_of_units_in_reversed_order(tmp_path, ds):
    recordings = write_shd(tmp_path / "shd_train.h5")
    dataset = spikevision.SHD(tmp_path, num_steps=100, ds=ds, dt=4000)
    for (frames, target), (times, units), label in zip(
        (dataset[i] for i in range(2)), recordings, (0, 13), strict=True
    ):
        expected = torch.zeros(100, 700 // ds)
        micro = (times.astype(np.float64) * 1e6).astype(np.int64)
        for step, unit in zip((micro - micro.min()) // 4000, units, strict=True):
            if step < 100:
                expected[step, 700 // ds - 1 - unit // ds] += 1
        assert torch.equal(frames, expected) and target == label
    assert dataset.classes[13] == "german 3"


def test_shd_covers_num_steps_times_dt_and_not_milliseconds(tmp_path):
    """With dt=2000 and 500 steps the whole second is read; a spike at 0.9 s lies in step 450."""
    shd_file(tmp_path / "shd_test.h5", [(np.array([0.0, 0.9]), np.array([0, 5]))], [4])
    frames, _ = spikevision.SHD(tmp_path, train=False, num_steps=500, dt=2000)[0]
    assert frames.nonzero().tolist() in ([[0, 699], [450, 694]], [[0, 699], [449, 694]])


@pytest.mark.parametrize("packing", ["gz", "zip"])
def test_shd_is_read_from_packed_files(tmp_path, packing, monkeypatch):
    write_shd(tmp_path / "plain.h5")
    raw, target = (tmp_path / "plain.h5").read_bytes(), tmp_path / f"shd_train.h5.{packing}"
    if packing == "gz":
        target.write_bytes(gzip.compress(raw))
    else:
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("shd_train.h5", raw)
        mine = shd.ARCHIVES["train"]._replace(md5=download.md5_of(target))
        monkeypatch.setitem(shd.ARCHIVES, "train", mine)
    assert len(spikevision.SHD(tmp_path)) == 2
