"""Event data sets: N-MNIST files, written here, come back as the right frames; the cache and what
all sets share."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from event_files import counted, events_of, nmnist_bytes, write_nmnist

from spikeloom import spikevision
from spikeloom.spikevision import download, readers, transforms
from spikeloom.spikevision.spikedata import nmnist

h5py = pytest.importorskip("h5py")


def test_nmnist_frames_are_the_counts_of_a_plain_loop(tmp_path):
    made = write_nmnist(tmp_path)
    dataset = spikevision.NMNIST(str(tmp_path), num_steps=30, dt=7000)
    assert len(dataset) == 3 and dataset.num_classes == 10
    for (frames, target), (events, digit) in zip((dataset[i] for i in range(3)), made, strict=True):
        assert torch.equal(frames, counted(events, 30, 7000, 32)) and target == digit
        assert frames.dtype == torch.float32 and type(target) is int


def test_nmnist_reads_the_zip_file_like_its_folder(tmp_path, monkeypatch):
    made = write_nmnist(tmp_path / "a", part="Test")
    (tmp_path / "b").mkdir()
    with zipfile.ZipFile(tmp_path / "b" / "test.zip", "w") as archive:
        for file in (tmp_path / "a").rglob("*.bin"):
            archive.write(file, file.relative_to(tmp_path / "a"))
    mine = nmnist.ARCHIVES["Test"]._replace(md5=download.md5_of(tmp_path / "b" / "test.zip"))
    monkeypatch.setitem(nmnist.ARCHIVES, "Test", mine)
    folder, packed = (
        spikevision.NMNIST(tmp_path / name, train=False, num_steps=9) for name in "ab"
    )
    assert len(folder) == len(packed) == len(made)
    assert all(
        torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(folder, packed, strict=False)
    )


def test_nmnist_clock_events_move_time_and_are_no_spikes():
    events = events_of(50, (34, 34), 60_000)
    events["t"][20:] += 1 << 13
    assert np.array_equal(readers.read_nmnist(nmnist_bytes(events, wrap_at=20)), events)
    with pytest.raises(ValueError, match=r"5 bytes for each event, got 7 bytes in x.bin"):
        readers.read_nmnist(bytes(7), "x.bin")


def test_nmnist_keeps_all_recordings_unless_asked_to_balance(tmp_path):
    write_nmnist(tmp_path, digits=(3, 3, 3, 7, 7))
    assert len(spikevision.NMNIST(tmp_path)) == 5
    assert [y for _, y in spikevision.NMNIST(tmp_path, balanced=True)] == [3, 3, 7, 7]


def test_target_transform_is_applied_not_replaced(tmp_path):
    write_nmnist(tmp_path)
    assert spikevision.NMNIST(tmp_path, target_transform=lambda digit: digit + 100)[0][1] == 103
    steps = transforms.Compose([transforms.Repeat(4), transforms.toOneHot(10)])
    target = spikevision.NMNIST(tmp_path, target_transform=steps)[0][1]
    assert target.shape == (4, 10) and target.argmax(1).tolist() == [3] * 4


def test_the_lowest_or_the_highest_class_was_refused():
    one_hot = transforms.toOneHot(3)
    assert one_hot(transforms.Repeat(1)(0)).tolist() == [[1, 0, 0]]
    assert one_hot(np.array([[2.0], [1.0]])).tolist() == [[0, 0, 1], [0, 1, 0]]
    for wrong in (-1, 3, 0.5):
        with pytest.raises(ValueError, match=r"classes must be whole numbers in \[0, 2\]"):
            one_hot(np.array([[wrong]]))


def test_a_crop_kept_events_at_its_upper_edge_or_lost_those_at_its_lower_one():
    events = np.array([[t, 1, x, 7 - x] for t, x in enumerate(range(8))])
    kept = transforms.CropDims([2], [5], dims=[2])(events)
    assert kept.tolist() == [[2, 1, 0, 5], [3, 1, 1, 4], [4, 1, 2, 3]]
    both = transforms.CropDims([2, 4], [5, 6], dims=[-2, -1])(events)
    assert both.tolist() == [[2, 1, 0, 1], [3, 1, 1, 0]]
    for dims in ([4], [-5]):
        with pytest.raises(ValueError, match="dims must name columns of 4"):
            transforms.CropDims([0], [5], dims=dims)(events)


def test_events_at_the_last_step_or_address_were_lost():
    count = transforms.ToCountFrame(2, [3])
    events = np.array([[-1, 0], [0, 0], [1, 2], [1, 2], [2, 1]])
    assert count(events).tolist() == [[1, 0, 0], [0, 0, 2]]
    for address in (-1, 3):
        with pytest.raises(ValueError, match=r"addresses must be inside size=\[3\]"):
            count(np.array([[0, address]]))
    assert transforms.ToCountFrame(1, [1])(np.array([[0, 0]])).tolist() == [[1]]
    with pytest.raises(ValueError, match="addresses must be inside"):
        transforms.ToCountFrame(2, [3, 3])(np.array([[0, 0]]))  # a column is missing
    with pytest.raises(TypeError, match="events must be whole numbers, got float64"):
        count(np.array([[0.0, 1.0]]))


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([[0, 0, 0, 0]], TypeError),
        (np.zeros(4, dtype=int), TypeError),
        (np.zeros((2, 4), dtype=bool), TypeError),
        (np.zeros((2, 0), dtype=int), ValueError),
        (np.array([[0.0, np.nan]]), ValueError),
        (np.array([[np.inf, 0.0]]), ValueError),
    ],
    ids=["a list", "one axis", "booleans", "no columns", "NaN", "infinite"],
)
def test_something_else_than_a_table_of_events_was_transformed(events, error):
    for transform in (transforms.CropDims([0], [1], dims=[0]), transforms.Downsample(2)):
        with pytest.raises(error, match=r"^events must"):
            transform(events)


def test_fractional_or_unsigned_events_were_refused():
    halves = np.array([[2.5, 1.0], [5.0, 3.0]])
    assert transforms.Downsample([2, 1])(halves).tolist() == [[1, 1], [2, 3]]
    assert transforms.Downsample(2)(halves.astype(np.uint16)).tolist() == [[1, 0], [2, 1]]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: transforms.Compose("abs"), TypeError, "must be a list of functions"),
        (lambda: transforms.Compose(abs), TypeError, "must be a list of functions"),
        (lambda: transforms.Compose([abs, 3]), TypeError, "must be a list of functions"),
        (lambda: transforms.CropDims(0, [5], [2]), TypeError, "low_crop must be a list of whole"),
        (lambda: transforms.CropDims([0], "5", [2]), TypeError, "high_crop must be a list"),
        (lambda: transforms.CropDims([0], [5], np.array(2)), TypeError, "dims must be a list"),
        (lambda: transforms.CropDims([0, 0], [5], [2]), ValueError, "must have one length"),
        (lambda: transforms.CropDims([0], [5], [2, 3]), ValueError, "must have one length"),
        (lambda: transforms.Downsample(0), ValueError, "factor must be 1"),
        (lambda: transforms.Downsample([1, 0]), ValueError, "factor must be 1"),
        (lambda: transforms.ToCountFrame(0), ValueError, "T must be 1"),
        (lambda: transforms.ToCountFrame(2, [0]), ValueError, "size must be 1"),
        (lambda: transforms.Repeat(-1), ValueError, "n_repeat must be in"),
        (lambda: transforms.toOneHot(0), ValueError, "num_classes must be in"),
        (lambda: transforms.ToTensor("gpu"), ValueError, "device must name a device"),
    ],
)
def test_a_wrong_option_of_a_transform_failed_at_the_first_recording(make, error, match):
    with pytest.raises(error, match=match):
        make()


def test_a_transform_changed_after_it_was_made():
    with pytest.raises(AttributeError):
        transforms.Downsample(2).factor = 3


@pytest.mark.parametrize("least", [-(2**63), 2**63 - 1])
def test_a_crop_at_the_end_of_the_range_of_64_bits_was_refused(least):
    crop = transforms.CropDims([least], [least], dims=[0])
    assert crop(np.array([[1, 2]])).tolist() == []


def test_a_transform_of_ones_own_gets_time_polarity_x_y(tmp_path):
    write_nmnist(tmp_path)
    own = transforms.Compose(
        [
            transforms.CropDims([0, 0], [32, 32], dims=[2, 3]),
            transforms.Downsample([7000, 1, 1, 1]),
            transforms.ToCountFrame(30, [2, 32, 32]),
            transforms.ToTensor(),
            transforms.dvs_permute(),
        ]
    )
    options = {"num_steps": 30, "dt": 7000}
    plain, same = (
        spikevision.NMNIST(tmp_path, **options),
        spikevision.NMNIST(tmp_path, transform=own, **options),
    )
    assert all(torch.equal(plain[i][0], same[i][0]) for i in range(3))


def test_count_frames_refuse_addresses_outside():
    with pytest.raises(ValueError, match=r"inside size=\[2, 3\], got up to \[1, 3\]"):
        transforms.ToCountFrame(2, [2, 3])(np.array([[0, 1, 3]]))


# The cache


def test_the_cache_alone_is_enough_afterwards(tmp_path):
    made = write_nmnist(tmp_path)
    spikevision.NMNIST(tmp_path)
    for file in tmp_path.rglob("*.bin"):
        file.unlink()
    dataset = spikevision.NMNIST(tmp_path, download_and_create=False, num_steps=5, dt=5000)
    assert torch.equal(dataset[0][0], counted(made[0][0], 5, 5000, 32))
    assert "3 training recordings" in repr(dataset)


def test_a_data_set_travels_to_other_processes(tmp_path, monkeypatch):
    write_nmnist(tmp_path)
    dataset = spikevision.NMNIST(tmp_path)
    first = dataset[0][0]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0][0], first)
    mine = dataset.store._file()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert dataset.store._file() is not mine, "a forked process must not share the file position"
    assert torch.equal(dataset[0][0], first)


def test_without_cache_and_permission_nothing_is_made(tmp_path):
    write_nmnist(tmp_path)
    with pytest.raises(
        FileNotFoundError,
        match=r"n_mnist_train\.hdf5, which is absent; write download_and_create=True",
    ):
        spikevision.NMNIST(tmp_path, download_and_create=False)


def test_an_interrupted_cache_leaves_nothing_behind(tmp_path):
    write_nmnist(tmp_path)
    (tmp_path / "Train" / "7" / "00002.bin").write_bytes(b"1234567")
    with pytest.raises(ValueError, match=r"7 bytes in .*00002\.bin"):
        spikevision.NMNIST(tmp_path)
    assert not list(tmp_path.glob("*.hdf5*"))


def test_a_foreign_or_damaged_cache_is_refused(tmp_path):
    cache = tmp_path / "n_mnist_train.hdf5"
    cache.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match="got another file; move or delete it"):
        spikevision.NMNIST(tmp_path)
    with h5py.File(cache, "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="got another file; move or delete it"):
        spikevision.NMNIST(tmp_path)


# All data sets


def test_factors_that_do_not_divide_the_sensor_are_refused(tmp_path):
    with pytest.raises(ValueError, match="ds must be a divisor of 700, got 3"):
        spikevision.SHD(tmp_path, ds=3)
    with pytest.raises(ValueError, match="ds must be a divisor of 128, or a pair of them, got 3"):
        spikevision.DVSGesture(tmp_path, ds=3)
    with pytest.raises(ValueError, match="num_steps must be 1 or more, got 0"):
        spikevision.NMNIST(tmp_path, num_steps=0)


def test_module_paths_are_snntorchs():
    from spikeloom.spikevision import spikedata

    assert spikedata.NMNIST is spikevision.data.NMNIST is nmnist.NMNIST


def test_event_data_sets_need_an_extra(tmp_path, monkeypatch):
    write_nmnist(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"needs h5py, .* pip install h5py .*\[data\]"):
        spikevision.NMNIST(tmp_path)
