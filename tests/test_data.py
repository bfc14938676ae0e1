"""Data sets: the divisions are fixed, the values are in range, and every reader refuses what it cannot read."""

import gzip
import io
import sys
import types
import zlib

import numpy as np
import pytest
import torch

from spikeloom import data

pytest.importorskip("sklearn")


def test_digits_come_as_images_between_zero_and_one():
    digits = data.digits()
    assert digits.x_train.shape == (1437, 1, 8, 8) and digits.x_test.shape == (360, 1, 8, 8)
    assert digits.x_train.dtype == torch.float32 and digits.y_test.dtype == torch.int64
    assert digits.x_train.min() == 0 and digits.x_train.max() == 1
    assert torch.equal(digits.x_train * 16, (digits.x_train * 16).round())
    assert torch.equal(data.digits(flat=True).x_test, digits.x_test.reshape(360, 64))


def test_division_is_disjoint_complete_and_stratified():
    labels = np.repeat(np.arange(10), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    train, test = data.stratified(labels, 360)
    assert sorted([*train, *test]) == list(range(1797)) and len(test) == 360
    assert abs(np.bincount(labels[test]) - np.bincount(labels) * 360 / 1797).max() < 1
    assert abs(np.bincount(labels[train][:500]) - 50).max() < 25, "the classes must come in random order"


def test_division_never_changes():
    train, test = data.stratified(np.arange(1797) % 10, 360)
    assert zlib.crc32(np.concatenate([train, test]).astype("<i8").tobytes()) == 1803009789
    digits, other = data.digits(), data.digits(split=1)
    assert digits.y_test[:10].tolist() == [5, 3, 1, 4, 9, 1, 0, 3, 9, 8]
    assert not torch.equal(digits.x_test, other.x_test)


def test_iris_lengths_lie_between_zero_and_one():
    iris = data.iris()
    assert iris.x_train.shape == (120, 4) and iris.y_test.bincount().tolist() == [10, 10, 10]
    assert iris.x_train.min() >= 0 and iris.x_train.max() <= 1 and iris.num_classes == 3


def test_split_must_be_a_number():
    with pytest.raises(ValueError, match=r"number of a fixed division.*got 'test'"):
        data.digits(split="test")


def idx(array, code=8):
    """Bytes of an IDX file."""
    head = bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def mnist_like(generator=0):
    random = np.random.default_rng(generator)
    x = [random.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (6, 3)]
    return x[0], np.arange(6, dtype=np.uint8), x[1], np.arange(3, dtype=np.uint8)


NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.mark.parametrize(
    ("folder", "rename", "pack"),
    [
        ("", lambda name: name, bytes),
        ("", lambda name: name + ".gz", gzip.compress),
        ("raw", lambda name: name.replace("-idx", ".idx"), bytes),
        ("MNIST/raw", lambda name: name, gzip.compress),
    ],
    ids=["plain", "gzip", "dotted", "gzip without its ending"],
)
def test_mnist_reads_idx_files_under_all_their_names(tmp_path, folder, rename, pack):
    arrays = mnist_like()
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, arrays, strict=True):
        (tmp_path / folder / rename(name)).write_bytes(pack(idx(array)))
    mnist = data.mnist(tmp_path)
    assert torch.equal(mnist.x_train[:, 0], torch.from_numpy(arrays[0]).float() / 255)
    assert mnist.y_test.tolist() == [0, 1, 2] and mnist.y_test.dtype == torch.int64
    assert data.mnist(tmp_path, flat=True).x_test.shape == (3, 784)


def test_mnist_reads_npz_from_a_folder_or_a_file(tmp_path):
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), mnist_like(), strict=True))
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert torch.equal(data.mnist(tmp_path).x_test, data.mnist(tmp_path / "mnist.npz").x_test)


def test_mnist_lists_the_names_it_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x_train was not found.*train-images-idx3-ubyte.*idx3-ubyte\.gz"):
        data.mnist(tmp_path)


def test_mnist_refuses_arrays_that_do_not_belong_together(tmp_path):
    x, y, *_ = mnist_like()
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y[:-1], x_test=x, y_test=y)
    with pytest.raises(ValueError, match=r"the train part .* got uint8 \(6, 28, 28\) and uint8 \(5,\)"):
        data.mnist(tmp_path)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y)
    with pytest.raises(ValueError, match="must hold the arrays x_train, y_train, x_test, y_test, got x_train, y_train"):
        data.mnist(tmp_path)
    whole = (tmp_path / "mnist.npz").read_bytes()
    for raw in (b"text", whole[:-30], whole[:99] + b"?" + whole[100:]):
        (tmp_path / "mnist.npz").write_bytes(raw)
        with pytest.raises(ValueError, match=r"must be a whole npz file|must hold the arrays"):
            data.mnist(tmp_path)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"<html>not found</html>", "begin with the bytes 0 0 type dimensions"),
        (b"", "begin with the bytes 0 0 type dimensions"),
        (bytes([0, 0, 7, 1]) + bytes(8), "begin with the bytes"),
        (bytes([0, 0, 8, 3, 0, 0]), "begin with the bytes"),
        (idx(np.zeros((3, 4), np.uint8))[:-1], r"shape \(3, 4\) must have 24 bytes, got 23"),
        (idx(np.zeros((3, 4), np.uint8)) + b"0", "must have 24 bytes, got 25"),
    ],
)
def test_a_file_that_is_no_idx_file_is_refused(tmp_path, raw, text):
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(ValueError, match=text):
        data.read_idx(tmp_path / "file")


@pytest.mark.parametrize(("code", "kind"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
def test_idx_numbers_of_every_type_survive(tmp_path, code, kind):
    array = np.arange(6, dtype=kind).reshape(1, 2, 3)
    (tmp_path / "file").write_bytes(idx(array, code))
    read = data.read_idx(tmp_path / "file")
    assert read.dtype == array.dtype and np.array_equal(read, array)


def test_real_mnist_has_the_published_sizes(data_dir):
    if not (data_dir / "mnist.npz").exists():
        pytest.skip("no mnist.npz")
    mnist = data.mnist(data_dir)
    assert mnist.x_train.shape == (60000, 1, 28, 28) and mnist.y_test.bincount().sum() == 10000
    assert mnist.x_train.mean().item() == pytest.approx(0.1307, abs=1e-4)


def jpeg_file(path, colours, **wrong):
    image = pytest.importorskip("PIL.Image")
    files = []
    for colour in colours:
        file = io.BytesIO()
        image.new("RGB", (32, 32), colour).save(file, "jpeg", quality=95)
        files.append(file.getvalue())
    part = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offset": np.cumsum([0, *map(len, files)]),
        "y": np.arange(len(files), dtype=np.uint8),
    } | wrong
    np.savez(path, **{f"{kind}_{split}": array for kind, array in part.items() for split in ("train", "test")})


def test_jpeg_subset_decodes_the_images_that_are_asked_for(tmp_path):
    jpeg_file(tmp_path / "cifar10_jpeg_subset.npz", ["red", "lime", "blue"])
    split = data.cifar10_jpeg(tmp_path, num_train=2)
    assert split.x_train.shape == (2, 3, 32, 32) and split.x_test.shape == (3, 3, 32, 32)
    assert split.x_test.mean((2, 3)).argmax(1).tolist() == [0, 1, 2] and split.y_test.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"num_test must lie in \[1, 3\]"):
        data.cifar10_jpeg(tmp_path, num_test=4)


def test_jpeg_subset_checks_its_offsets(tmp_path):
    jpeg_file(tmp_path / "a.npz", ["red"], offset=np.array([0, 5]))
    with pytest.raises(ValueError, match=r"offset_train of .*a.npz must lead from 0 to \d+ in 1 steps"):
        data.cifar10_jpeg(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="there is none at"):
        data.cifar10_jpeg(tmp_path)


def square(size=20, at=8, side=4):
    image = torch.zeros(1, 1, size, size)
    image[..., at : at + side, at : at + side] = 1
    return image


def test_saccade_events_are_causal_binary_and_balanced_over_the_closed_path():
    events = data.saccade(square().double(), 60)
    assert events.shape == (60, 1, 2, 20, 20) and events.dtype == torch.float64
    assert set(events.unique().tolist()) == {0, 1}
    half = data.saccade(square(), 30)
    assert half.sum() > 0 and not events[:, :, :, 0].any(), "nothing may happen far from the edges"


def test_saccade_sees_the_leading_edge_darken_and_the_trailing_one_brighten():
    """In the first saccade the camera moves right and down, so that the image moves left and up."""
    off, on = data.saccade(square(), 60, distance=2)[:20, 0].sum(0)
    assert on[7, 9] > 0 and off[7, 9] == 0, "brighter in front of the square, above it"
    assert off[11, 9] > 0 and on[11, 9] == 0, "darker behind it, at its bottom"


def test_saccade_counts_the_threshold_crossings_of_a_step():
    """With many steps each crossing of a threshold is one event: log(1.05 / 0.05) / 0.3 = 10.1 from dark to bright."""
    ends = square(at=4, side=12)
    first = data.saccade(ends, 3000, distance=4)[:1000, 0]
    assert first[:, 1, 8, 3].sum() == 10 and first[:, 0, 8, 3].sum() == 0


def test_saccade_noise_comes_from_the_generator():
    first, again = (data.saccade(square(), 9, noise=0.2, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again) and first.mean() > 0.15


@pytest.mark.parametrize(
    ("images", "options", "error", "text"),
    [
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), {}, TypeError, "write images / 255"),
        (torch.zeros(1, 3, 8, 8), {}, ValueError, r"images.mean\(1, keepdim=True\)"),
        (torch.full((1, 1, 8, 8), 2.0), {}, ValueError, r"lie in \[0, 1\], got 2 to 2"),
        (torch.zeros(1, 1, 8, 8), {"num_steps": 2}, ValueError, "num_steps must be 3 or more.* got num_steps=2"),
        (torch.zeros(1, 1, 8, 8), {"threshold": 0}, ValueError, "threshold positive"),
        (torch.zeros(1, 1, 8, 8), {"noise": 2}, ValueError, r"noise in \[0, 1\]"),
    ],
)
def test_saccade_refuses_what_it_cannot_see(images, options, error, text):
    with pytest.raises(error, match=text):
        data.saccade(images, **({"num_steps": 6} | options))


def some_events(number=200, size=(5, 4, 2), seed=0):
    random = np.random.default_rng(seed)
    events = np.zeros(number, data.EVENT)
    for field, high in (("x", size[0]), ("y", size[1]), ("p", size[2]), ("t", 1000)):
        events[field] = random.integers(0, high, number)
    return events


def test_frames_hold_every_event_at_its_place():
    events = some_events()
    frames = data.to_frames(events, (5, 4, 2), dt=100)
    counted = np.zeros((10, 2, 4, 5))
    start = events["t"].min()
    for x, y, t, p in events:
        counted[(t - start) // 100, p, y, x] += 1
    np.testing.assert_array_equal(frames, counted)


def test_frames_and_events_are_inverses():
    frames = torch.randint(0, 3, (6, 2, 4, 5), generator=torch.Generator().manual_seed(0)).float()
    frames[0, 0, 0, 0] = 1
    assert torch.equal(data.to_frames(data.to_events(frames, dt=10), (5, 4, 2), dt=10, num_steps=6), frames)


@pytest.mark.parametrize("scale", [1, 1e-3], ids=["whole", "fractional"])
def test_a_number_of_steps_divides_the_recording_evenly(scale):
    events = np.zeros(101, [("x", int), ("t", float if scale < 1 else int)])
    events["t"] = np.arange(101) * scale
    frames = data.to_frames(events, (1, 1, 1), num_steps=4)
    assert sorted(frames.flatten().tolist()) == [25, 25, 25, 26]


def test_later_events_are_left_out_and_missing_ones_are_silence():
    events = some_events()
    assert torch.equal(
        data.to_frames(events, (5, 4, 2), dt=100, num_steps=3), data.to_frames(events, (5, 4, 2), dt=100)[:3]
    )
    assert data.to_frames(events[:0], (5, 4, 2), num_steps=3).sum() == 0
    assert data.to_frames(events, (5, 4, 2), dt=100, num_steps=30)[10:].sum() == 0


def test_one_polarity_adds_on_and_off_and_binary_frames_hold_no_counts():
    events = some_events()
    both = data.to_frames(events, (5, 4, 2), dt=100)
    assert torch.equal(data.to_frames(events, (5, 4, 1), dt=100), both.sum(1, keepdim=True))
    assert torch.equal(data.to_frames(events, (5, 4, 2), dt=100, binary=True), (both > 0).float())


def test_events_without_a_row_or_polarity_are_one_line():
    events = np.array([(3, 0), (1, 5)], dtype=[("x", int), ("t", int)])
    assert data.to_frames(events, (4, 1, 1), dt=5)[:, 0, 0].tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("events", "options", "error", "text"),
    [
        (np.zeros((3, 4)), {"dt": 1}, TypeError, "structured array with the fields x, y, t, p, got ndarray"),
        (some_events(), {}, ValueError, "num_steps or dt must say how many steps 200 events"),
        (some_events()[:0], {"dt": 1}, ValueError, "how many steps 0 events"),
        (some_events(), {"dt": 0}, ValueError, "dt positive"),
        (some_events(), {"dt": 100, "sensor_size": (4, 4, 2)}, ValueError, r"x must lie in \[0, 3\].* got 0 to 4"),
    ],
)
def test_events_that_make_no_frames_are_refused(events, options, error, text):
    with pytest.raises(error, match=text):
        data.to_frames(events, **({"sensor_size": (5, 4, 2)} | options))


def test_shorter_recordings_end_in_silence():
    samples = [(torch.ones(2, 3), 4), (torch.ones(5, 3), 1)]
    x, y, lengths = data.pad_sequences(samples, lengths=True)
    assert x.shape == (5, 2, 3) and x.sum((0, 2)).tolist() == [6, 15]
    assert y.tolist() == [4, 1] and lengths.tolist() == [2, 5]
    assert torch.equal(data.pad_sequences(samples, batch_first=True)[0], x.transpose(0, 1))
    with pytest.raises(ValueError, match=r"got \[\(2, 3\), \(2, 4\)\]"):
        data.pad_sequences([(torch.ones(2, 3), 0), (torch.ones(2, 4), 0)])


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
            assert torch.equal(x, cached_x) and x.dtype == cached_x.dtype and type(cached_y) is int and y == cached_y
    assert counted.made == 3 and not list(tmp_path.glob("*.part"))
    again = data.DiskCache(data.EventFrames(counted, dt=100), tmp_path, key="a", transform=lambda x: x[0])
    assert torch.equal(again[-1][0], plain[2][0][0]) and counted.made == 3


def test_cache_keeps_structured_arrays(tmp_path):
    cached = data.DiskCache(Counted(), tmp_path)
    assert np.array_equal(cached[0][0], some_events()) and np.array_equal(cached[0][0], some_events())


def test_cache_refuses_a_folder_of_something_else(tmp_path):
    data.DiskCache(Counted(), tmp_path, key="dt=100")
    for dataset, key in ((Counted(), "dt=200"), (Counted(4), "dt=100")):
        with pytest.raises(ValueError, match=r"must hold samples made with .* use another folder or delete it"):
            data.DiskCache(dataset, tmp_path, key=key)


def test_cache_names_the_damaged_file_and_the_wrong_sample(tmp_path):
    cached = data.DiskCache(Counted(), tmp_path)
    whole = (cached[0], (tmp_path / "0.npz").read_bytes())[1]
    for raw in (b"text", whole[:-30], whole[:99] + b"?" + whole[100:]):
        (tmp_path / "0.npz").write_bytes(raw)
        with pytest.raises(ValueError, match=r"0\.npz must be a whole npz file, got .*; delete it"):
            cached[0]
    with pytest.raises(IndexError, match=r"index must lie in \[-3, 2\], got 3"):
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
    with pytest.raises(ValueError, match="name must be one of 'Toy', got 'Toi'; did you mean 'Toy'"):
        data.tonic("Toi", tmp_path, dt=100)
    with pytest.raises(ValueError, match="num_steps or dt must say"):
        data.tonic("Toy", tmp_path)


def test_tonic_is_an_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.delitem(sys.modules, "tonic.datasets", raising=False)
    with pytest.raises(ImportError, match=r'pip install "spikeloom\[events\]"'):
        data.tonic("NMNIST", tmp_path, dt=1000)


def test_frames_need_a_sensor():
    with pytest.raises(ValueError, match=r"sensor_size must be \(width, height, polarities\), got None from list"):
        data.EventFrames([], dt=1)


def test_frames_can_begin_at_a_given_time():
    events = some_events()
    start = int(events["t"].min()) + 250
    late = events[events["t"] >= start]
    assert data.to_frames(events, (5, 4, 2), dt=100, start=start).sum() == len(late)
    with pytest.raises(ValueError, match="how many steps 200 events from start=5000 last"):
        data.to_frames(events, (5, 4, 2), dt=100, start=5000)
