"""Image sets from local files: MNIST and sets in its format, and a JPEG subset of CIFAR-10.

Nothing is downloaded, and torchvision is not needed. Files are checked before their pixels are
read, so that a truncated or wrong file gives an error that names it.
"""

import gzip
import io
import itertools
import math
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.checks import require
from ..core.numbers import flag, path_of, whole
from .damage import damage_named, file_of
from .npz import read_npz
from .split import Split

__all__ = ["cifar10_jpeg", "mnist", "read_idx"]

IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
MNIST_PARTS = {
    "x_train": "train-images{}idx3-ubyte",
    "y_train": "train-labels{}idx1-ubyte",
    "x_test": "t10k-images{}idx3-ubyte",
    "y_test": "t10k-labels{}idx1-ubyte",
}
MOST_CLASSES = 65536
MNIST_FOLDERS = ("", "raw", "MNIST/raw")


def read_idx(path: "str | PathLike[str]") -> np.ndarray:
    """Array of an IDX file, the format in which MNIST was published.

    Args:
        path: the file; gzip is recognised by its first bytes.

    Returns:
        Array of the shape and type in the header, in native byte order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not begin like an IDX file, its length does not match its shape,
            or it is a damaged gzip file.

    Source: LeCun, Cortes & Burges, The MNIST database of handwritten digits, "File formats".

    >>> import pathlib
    >>> header = bytes([0, 0, 8, 2]) + (2).to_bytes(4, "big") + (3).to_bytes(4, "big")
    >>> _ = pathlib.Path("small.idx").write_bytes(header + bytes(range(6)))
    >>> read_idx("small.idx").tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    path = file_of("path", path, "an IDX file", "write the path of a downloaded one")
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        with damage_named(path, "a whole gzip file", "download the file again"):
            raw = gzip.decompress(raw)
    dims = raw[3] if len(raw) >= 4 else 0
    start = 4 + 4 * dims
    if raw[:2] != b"\0\0" or not dims or len(raw) < start or raw[2] not in IDX_TYPES:
        raise ValueError(
            f"an IDX file must begin with the bytes 0 0 type dimensions, got {list(raw[:4])} in "
            f"{path}; download the file again, it may be a web page"
        )
    kind = np.dtype(IDX_TYPES[raw[2]])
    shape = tuple(np.frombuffer(raw[4:start], ">u4").tolist())
    size = start + kind.itemsize * math.prod(shape)
    if len(raw) != size:
        raise ValueError(
            f"an IDX file of shape {shape} must have {size} bytes, got {len(raw)} in {path}; "
            "download the file again, it is truncated or too long"
        )
    return np.frombuffer(raw, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def mnist(root: "str | PathLike[str]", *, flat: bool = False) -> Split:
    """MNIST, or a set in the same form (Fashion-MNIST, KMNIST), from IDX or npz files.

    Args:
        root: an npz file with ``x_train, y_train, x_test, y_test``, or a folder with ``mnist.npz``
            or with the four IDX files, plain or gzipped, under their published names, or with
            torchvision's ``MNIST/raw``. ``mnist.npz`` takes precedence.
        flat: whether samples are [N, 784] instead of [N, 1, 28, 28].

    Returns:
        float32 in [0, 1], in the order and division of the files, and the classes as int64.

    Raises:
        FileNotFoundError: a file is missing; the message lists the possible names.
        ValueError: a file is not an IDX or npz file, or its arrays do not match.

    >>> import numpy as np
    >>> x, y = np.zeros((5, 28, 28), np.uint8), np.arange(5, dtype=np.uint8)
    >>> np.savez("mnist.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    >>> mnist(".")
    Split(mnist: 5 training and 2 test samples of shape [1, 28, 28], 5 classes)
    """
    root = path_of("root", root)
    flag("flat", flat)
    bundle = root if root.suffix == ".npz" else root / "mnist.npz"
    if bundle.is_file():
        arrays = read_npz(bundle, tuple(MNIST_PARTS))
    else:
        arrays = {part: read_idx(find(root, part)) for part in MNIST_PARTS}
    source = bundle.name if bundle.is_file() else "IDX files"
    tensors = {}
    for part in ("train", "test"):
        x = arrays[f"x_{part}"]
        y = arrays[f"y_{part}"]
        images = x.ndim == 3 and x.dtype == np.uint8 and x.size > 0
        if not images or y.shape != x.shape[:1] or y.dtype.kind not in "iu":
            raise ValueError(
                f"the {part} part of {root} must be uint8 images [N, H, W] with N whole-number "
                f"labels, got {x.dtype} {x.shape} and {y.dtype} {y.shape}; the files may be swapped"
            )
        _check_classes(y, f"the labels of the {part} part of {root}")
        tensors[f"x_{part}"] = unit(x, flat)
        tensors[f"y_{part}"] = torch.from_numpy(y.astype(np.int64))
    return Split(
        **tensors,
        name="mnist",
        description=f"MNIST from {source}, scaled to [0, 1], published division",
    )


def _check_classes(labels: np.ndarray, what: str) -> None:
    """Refuses labels that cannot be classes; a damaged label would need millions of outputs."""
    lowest = int(labels.min())
    highest = int(labels.max())
    if lowest < 0 or highest >= MOST_CLASSES:
        raise ValueError(
            f"{what} must be in [0, {MOST_CLASSES - 1}], got {lowest} to {highest}; get the file "
            "again"
        )


def unit(images: np.ndarray, flat: bool) -> Tensor:
    """Bytes [N, H, W] as float32 in [0, 1]."""
    x = torch.from_numpy(images.astype(np.float32)).div_(255)
    return x.flatten(1) if flat else x.unsqueeze(1)


def find(root: Path, part: str) -> Path:
    """The IDX file of a part of MNIST."""
    names = [MNIST_PARTS[part].format(sep) + suffix for sep in "-." for suffix in ("", ".gz")]
    for folder in MNIST_FOLDERS:
        for name in names:
            if (root / folder / name).is_file():
                return root / folder / name
    raise FileNotFoundError(
        f"MNIST needs mnist.npz, or four IDX files, and {part} was not found in {root}; put one of "
        f"{', '.join(names)} there, or in its folder raw or MNIST/raw"
    )


def cifar10_jpeg(
    path: "str | PathLike[str]", *, num_train: int | None = None, num_test: int | None = None
) -> Split:
    """A subset of CIFAR-10 whose images are JPEG files, all in one npz file.

    The file holds ``jpeg_train`` (all JPEG files, concatenated, uint8), ``offset_train`` (where
    each begins, [N + 1]) and ``y_train``, and the same for ``test``. Figures measured on it are
    figures of a JPEG subset, not of CIFAR-10.

    Args:
        path: the npz file, or a folder with ``cifar10_jpeg_subset.npz``.
        num_train: number of training samples to decode, from the first. Default: all.
        num_test: number of test samples to decode, from the first. Default: all.

    Returns:
        float32 [N, 3, 32, 32] in [0, 1], and the classes as int64.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: Pillow is not installed.
        ValueError: an array is missing or does not match the others, or ``num_train`` or
            ``num_test`` exceeds the number of samples.

    >>> import io, numpy as np
    >>> from PIL import Image
    >>> picture = io.BytesIO()
    >>> Image.new("RGB", (32, 32), "white").save(picture, "jpeg")
    >>> one = np.frombuffer(picture.getvalue(), np.uint8)
    >>> part = {"jpeg": one, "offset": np.array([0, len(one)]), "y": np.array([3])}
    >>> np.savez("two.npz", **{f"{k}_{s}": v for k, v in part.items() for s in ("train", "test")})
    >>> cifar10_jpeg("two.npz").x_test.mean()
    tensor(1.)
    """
    path = path_of("path", path)
    path = path / "cifar10_jpeg_subset.npz" if path.is_dir() else path
    path = file_of("path", path, "the npz file of the JPEG subset of CIFAR-10", "write its path")
    arrays = read_npz(
        path,
        tuple(f"{kind}_{part}" for part in ("train", "test") for kind in ("jpeg", "offset", "y")),
    )
    tensors = {}
    for part, number in (("train", num_train), ("test", num_test)):
        jpeg, offset, y = (arrays[f"{kind}_{part}"] for kind in ("jpeg", "offset", "y"))
        _check_jpeg(path, part, jpeg, offset, y)
        number = len(y) if number is None else whole(f"num_{part}", number)
        if not 0 < number <= len(y):
            raise ValueError(
                f"num_{part} must be in [1, {len(y)}], the samples of {path}, got {number}"
            )
        with damage_named(path, "an npz file of JPEG images, 32 x 32", "download the file again"):
            tensors[f"x_{part}"] = decode(jpeg, offset[: number + 1])
        tensors[f"y_{part}"] = torch.from_numpy(y[:number].astype(np.int64))
    return Split(
        **tensors,
        name="cifar10_jpeg",
        description=f"JPEG CIFAR-10 subset from {path.name}, scaled to [0, 1]",
    )


def _check_jpeg(path: Path, part: str, jpeg: np.ndarray, offset: np.ndarray, y: np.ndarray) -> None:
    """Checks the types of the three arrays of a part, and that they match."""
    for name, array, kinds in (("jpeg", jpeg, "u"), ("offset", offset, "iu"), ("y", y, "iu")):
        if array.ndim != 1 or not len(array) or array.dtype.kind not in kinds:
            raise ValueError(
                f"{name}_{part} of {path} must be whole numbers [N], got {array.dtype} "
                f"{array.shape}; download the file again"
            )
    bounds = offset.astype(np.int64)
    rises = bool((np.diff(bounds) > 0).all())
    if len(offset) != len(y) + 1 or bounds[0] != 0 or bounds[-1] != len(jpeg) or not rises:
        raise ValueError(
            f"offset_{part} of {path} must rise from 0 to {len(jpeg)} in {len(y)} steps, got "
            f"{len(offset)} offsets from {offset[:1]} to {offset[-1:]}; download the file again"
        )
    _check_classes(y, f"y_{part} of {path}")


def decode(jpeg: np.ndarray, offset: np.ndarray) -> Tensor:
    """The JPEG files between ``offset`` as colour images, float32 [N, 3, 32, 32] in [0, 1]."""
    image = require("PIL.Image", extra="data", purpose="reading JPEG files")
    raw = jpeg.tobytes()
    pictures = []
    for start, end in itertools.pairwise(offset.tolist()):
        with image.open(io.BytesIO(raw[start:end]), formats=["JPEG"]) as picture:
            if picture.size != (32, 32):
                raise ValueError(f"image {len(pictures)} has {picture.size} pixels")
            pictures.append(np.asarray(picture.convert("RGB")))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(255)
