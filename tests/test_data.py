"""Data sets: the divisions are fixed, the values are in range, and every reader refuses what it
cannot read."""

import gzip
import io
import zlib

import numpy as np
import pytest
import torch

from spikeloom import data


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
    assert abs(np.bincount(labels[train][:500]) - 50).max() < 25, (
        "the classes must come in random order"
    )


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
    with pytest.raises(TypeError, match="split must be a whole number, got 'test'"):
        data.digits(split="test")


def idx(array, code=8):
    """Bytes of an IDX file."""
    head = bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def mnist_like(generator=0):
    random = np.random.default_rng(generator)
    x = [random.integers(0, 256, (n, 28, 28), dtype=np.uint8) for n in (6, 3)]
    return x[0], np.arange(6, dtype=np.uint8), x[1], np.arange(3, dtype=np.uint8)


NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


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
    with pytest.raises(
        FileNotFoundError, match=r"x_train was not found.*train-images-idx3-ubyte.*idx3-ubyte\.gz"
    ):
        data.mnist(tmp_path)


def test_mnist_refuses_arrays_that_do_not_belong_together(tmp_path):
    x, y, *_ = mnist_like()
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y[:-1], x_test=x, y_test=y)
    with pytest.raises(
        ValueError, match=r"the train part .* got uint8 \(6, 28, 28\) and uint8 \(5,\)"
    ):
        data.mnist(tmp_path)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y)
    with pytest.raises(
        ValueError,
        match="must hold the arrays x_train, y_train, x_test, y_test, got x_train, y_train",
    ):
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


@pytest.mark.parametrize(
    ("code", "kind"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")]
)
def test_idx_numbers_of_every_type_survive(tmp_path, code, kind):
    array = np.arange(6, dtype=kind).reshape(1, 2, 3)
    (tmp_path / "file").write_bytes(idx(array, code))
    read = data.read_idx(tmp_path / "file")
    assert read.dtype == array.dtype and np.array_equal(read, array)


@pytest.mark.slow
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
    np.savez(
        path,
        **{f"{kind}_{split}": array for kind, array in part.items() for split in ("train", "test")},
    )


def test_jpeg_subset_decodes_the_images_that_are_asked_for(tmp_path):
    jpeg_file(tmp_path / "cifar10_jpeg_subset.npz", ["red", "lime", "blue"])
    split = data.cifar10_jpeg(tmp_path, num_train=2)
    assert split.x_train.shape == (2, 3, 32, 32) and split.x_test.shape == (3, 3, 32, 32)
    assert split.x_test.mean((2, 3)).argmax(1).tolist() == [0, 1, 2] and split.y_test.tolist() == [
        0,
        1,
        2,
    ]
    with pytest.raises(ValueError, match=r"num_test must be in \[1, 3\]"):
        data.cifar10_jpeg(tmp_path, num_test=4)


def test_jpeg_subset_checks_its_offsets(tmp_path):
    jpeg_file(tmp_path / "a.npz", ["red"], offset=np.array([0, 5]))
    with pytest.raises(
        ValueError, match=r"offset_train of .*a.npz must rise from 0 to \d+ in 1 steps"
    ):
        data.cifar10_jpeg(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match=r"must be the npz file .*there is no"):
        data.cifar10_jpeg(tmp_path)
