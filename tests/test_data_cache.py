"""Samples kept on disk: each made once, returned unchanged, and no folder of something else
accepted."""

import sys
import types

import numpy as np
import pytest
import torch
from event_files import some_events

from spikeloom import data


class Counted(torch.utils.data.Dataset):
    """Event recordings that remember how often they were made."""

    sensor_size = (5, 4, 2)

    def __init__(self, number=3):
        self.number, self.made = number, 0

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        self.made += 1
        return some_events(seed=index), index


def test_cache_makes_each_sample_once_and_returns_the_same(tmp_path):
    plain, counted = data.EventFrames(Counted(), dt=100), Counted()
    cached = data.DiskCache(data.EventFrames(counted, dt=100), tmp_path, key="a")
    for _ in range(2):
        for (x, y), (cached_x, cached_y) in zip(
            (plain[i] for i in range(3)), (cached[i] for i in range(3)), strict=True
        ):
            assert (
                torch.equal(x, cached_x)
                and x.dtype == cached_x.dtype
                and type(cached_y) is int
                and y == cached_y
            )
    assert counted.made == 3 and not list(tmp_path.glob("*.part"))
    again = data.DiskCache(
        data.EventFrames(counted, dt=100), tmp_path, key="a", transform=lambda x: x[0]
    )
    assert torch.equal(again[-1][0], plain[2][0][0]) and counted.made == 3


def test_cache_keeps_structured_arrays(tmp_path):
    cached = data.DiskCache(Counted(), tmp_path)
    assert np.array_equal(cached[0][0], some_events()) and np.array_equal(
        cached[0][0], some_events()
    )


def test_cache_refuses_a_folder_of_something_else(tmp_path):
    data.DiskCache(Counted(), tmp_path, key="dt=100")
    for dataset, key in ((Counted(), "dt=200"), (Counted(4), "dt=100")):
        with pytest.raises(
            ValueError, match=r"must hold samples made with .* use another folder or delete it"
        ):
            data.DiskCache(dataset, tmp_path, key=key)


def test_cache_names_the_damaged_file_and_the_wrong_sample(tmp_path):
    cached = data.DiskCache(Counted(), tmp_path)
    whole = (cached[0], (tmp_path / "0.npz").read_bytes())[1]
    for raw in (b"text", whole[:-30], whole[:99] + b"?" + whole[100:]):
        (tmp_path / "0.npz").write_bytes(raw)
        with pytest.raises(ValueError, match=r"0\.npz must be a whole npz file, got .*; delete it"):
            cached[0]
    with pytest.raises(IndexError, match=r"index must be in \[-3, 2\], got 3"):
        cached[3]
    with pytest.raises(TypeError, match="a sample must be a pair"):
        data.DiskCache(torch.utils.data.TensorDataset(torch.ones(2)), tmp_path / "b")[0]


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    cached = data.DiskCache(Counted(), tmp_path)

    def interrupted(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached[0]
    assert [file.name for file in tmp_path.iterdir()] == ["cache.json"]


@pytest.fixture
def fake_tonic(monkeypatch):
    """A package of Tonic's shape with one data set."""

    class Toy(Counted):
        def __init__(self, save_to, train=True):
            super().__init__(3 if train else 2)

    package, datasets = types.ModuleType("tonic"), types.ModuleType("tonic.datasets")
    datasets.Toy = Toy
    monkeypatch.setitem(sys.modules, "tonic", package)
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)


def test_tonic_data_sets_become_frames_kept_on_disk(fake_tonic, tmp_path):
    frames = data.tonic("Toy", tmp_path, dt=100, train=False, cache=tmp_path / "cache")
    x, y = data.pad_sequences([frames[i] for i in range(len(frames))])
    assert x.shape == (10, 2, 2, 4, 5) and y.tolist() == [0, 1]
    assert (tmp_path / "cache" / "1.npz").exists()
    with pytest.raises(ValueError, match="must hold samples made with"):
        data.tonic("Toy", tmp_path, dt=200, train=False, cache=tmp_path / "cache")


def test_tonic_names_the_nearest_data_set(fake_tonic, tmp_path):
    with pytest.raises(
        ValueError, match="name must be one of 'Toy', got 'Toi'; did you mean 'Toy'"
    ):
        data.tonic("Toi", tmp_path, dt=100)
    with pytest.raises(ValueError, match="num_steps or dt must define"):
        data.tonic("Toy", tmp_path)


def test_tonic_is_an_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.delitem(sys.modules, "tonic.datasets", raising=False)
    with pytest.raises(ImportError, match=r"pip install tonic \(of the extra spikeloom\[events\]"):
        data.tonic("NMNIST", tmp_path, dt=1000)
