"""A folder of samples of one's own as a `Split`: arrays, images, sounds, events.

What is read: one ``.npz`` file with ``x`` and ``y`` or with the four parts, or one folder of files
for each class, below ``train`` and ``test`` or alone.
"""

import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.checks import require
from ..core.numbers import path_of, real, whole
from .damage import damage_named
from .events import to_frames
from .npz import read_npz
from .sound import mel_filters, read_channels
from .split import Split, stratified

__all__ = ["IMAGES", "folder", "read_sample"]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".webp")
FOUR = ("x_train", "y_train", "x_test", "y_test")
BANDS = 40  # of the frequencies of a sound
LEAST_HZ = 50.0
Reader = Callable[[Path], Any]  # file to tensor, or to a structured array of events


def folder(
    path: "str | PathLike[str]",
    *,
    test: float = 0.2,
    num_steps: int = 20,
    sensor_size: tuple[int, int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    readers: Mapping[str, Reader] | None = None,
) -> Split:
    """Read a folder of samples into memory, divided into training and test samples.

    The folder holds ``train`` and ``test``, each with one folder for each class; or the folders of
    the classes alone, of whose files a part becomes the test samples, in every class and the same
    on every machine. A file ``data.npz`` (or the path of any ``.npz`` file) holds ``x`` and ``y``,
    or ``x_train``, ``y_train``, ``x_test`` and ``y_test``; uint8 is divided by 255. Labels
    are whole numbers from 0, or the names of the classes.

    Args:
        path: the folder or file.
        test: part of the samples that tests, in (0, 1), where they are not divided.
        num_steps: time steps T of sounds and events.
        sensor_size: width, height and polarities of events. Default: what the events need.
        image_size: height and width of images; others are resized. Default: they must be alike.
        readers: further kinds of files: suffix to a function from the path to a tensor or to
            events.

    Returns:
        Images [C, H, W] in [0, 1]; sounds (``.wav``) as energies [T, 40] of frequency bands in [0,
        1]; events (structured arrays in ``.npy``) as counts [T, P, H, W]; other arrays as they are.
        Classes count from 0 in the order of their names, which are ``classes``.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no samples, samples of different shapes, or a damaged file.
        ImportError: images need pillow.

    >>> for name, value in (("cat", 0.0), ("dog", 1.0)):
    ...     Path("pets", name).mkdir(parents=True)
    ...     for i in range(5):
    ...         np.save(Path("pets", name, f"{i}.npy"), np.full(3, value, np.float32))
    >>> folder("pets"), folder("pets").classes
    (Split(pets: 8 training and 2 test samples of shape [3], 2 classes), ('cat', 'dog'))
    """
    path = path_of("path", path)
    real("test", test, 0.0, 1.0, open_low=True, open_high=True, example=0.2)
    whole("num_steps", num_steps, 1)
    if not path.exists():
        raise FileNotFoundError(
            f"data must be a folder or a .npz file, and there is no {path}; write the path of one"
        )
    single = path if path.is_file() else path / "data.npz"
    if single.is_file():
        return _of_arrays(single, test)
    how = {
        "num_steps": num_steps,
        "sensor_size": sensor_size,
        "image_size": image_size,
        "readers": readers,
    }
    parts = [path / "train", path / "test"]
    if all(part.is_dir() for part in parts):
        names = _classes(parts[0])
        if _classes(parts[1]) != names:
            raise ValueError(f"{parts[1]} must have the classes of {parts[0]}: {', '.join(names)}")
        files, labels, number = [], [], []
        for part in parts:
            found, y = _files(part, names, readers)
            files, labels, number = files + found, labels + y, [*number, len(found)]
        x, y = _read(files, how), torch.tensor(labels)
        train, held = torch.arange(number[0]), torch.arange(number[0], len(x))
        division = "divided by its folders"
    else:
        names = _classes(path)
        files, labels = _files(path, names, readers)
        x, y = _read(files, how), torch.tensor(labels)
        train, held = _divided(y, test)
        division = f"a stratified part of {test:g} tests"
    description = f"{len(x)} files of the folder {path.name}, {division}"
    return Split(x[train], y[train], x[held], y[held], path.name, description, tuple(names))


def read_sample(
    path: Path,
    *,
    num_steps: int = 20,
    sensor_size: tuple[int, int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    readers: Mapping[str, Reader] | None = None,
) -> Tensor:
    """Read one file as `folder` does.

    Args:
        path: the file.
        num_steps, sensor_size, image_size, readers: as for `folder`.
        channels: of images: 1 for grey, 3 for colours. Default: what the file has.

    Raises:
        ValueError: it is damaged, or of an unknown kind.

    >>> np.save("a.npy", np.ones(3, np.float32))
    >>> read_sample(Path("a.npy"))
    tensor([1., 1., 1.])
    """
    kind = path.suffix.lower()
    if readers and kind in readers:
        found = readers[kind](path)
    elif kind in IMAGES:
        return _image(path, image_size, channels)
    elif kind == ".wav":
        return _sound(path, num_steps)
    elif kind == ".npy":
        found = _array(path)
    else:
        known = (*IMAGES, ".wav", ".npy", *(readers or ()))
        raise ValueError(f"{path} is of no known kind; write one of {', '.join(known)}")
    if isinstance(found, np.ndarray) and found.dtype.names:
        return to_frames(found, sensor_size or _sensor([found]), num_steps=num_steps)
    return _scaled(np.asarray(found), path)


def _array(path: Path) -> np.ndarray:
    with damage_named(path, "a whole npy file", "make it again"):
        return np.load(path, allow_pickle=False)


def _of_arrays(path: Path, test: float) -> Split:
    remedy = "write np.savez(path, x=x, y=y), which makes one"
    with damage_named(path, "a whole npz file", remedy), zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    wanted = FOUR if set(FOUR) <= names else ("x", "y")
    if not set(wanted) <= names:
        raise ValueError(
            f"{path} must hold the arrays x and y, or {', '.join(FOUR)}, got "
            f"{', '.join(sorted(names))}; rename them"
        )
    arrays = list(read_npz(path, wanted).values())
    for x, y in zip(arrays[::2], arrays[1::2], strict=True):
        if not x.ndim or not y.ndim or len(x) != len(y):
            raise ValueError(
                f"{path} must hold one label for each sample, got samples {x.shape} and labels "
                f"{y.shape}; put the samples on the first axis of both"
            )
    labels, classes = _numbered(arrays[1::2])
    samples = [_scaled(x, path) for x in arrays[::2]]
    if len(samples) == 1:
        parts = _divided(labels[0], test)
        samples = [samples[0][part] for part in parts]
        labels = [labels[0][part] for part in parts]
    division = "divided by the file" if wanted == FOUR else f"a stratified part of {test:g} tests"
    name = path.parent.name if path.name == "data.npz" else path.stem
    description = f"arrays of the file {path.name}, {division}"
    return Split(samples[0], labels[0], samples[1], labels[1], name, description, classes)


def _numbered(parts: list[np.ndarray]) -> tuple[list[Tensor], tuple[str, ...]]:
    """Labels as tensors. Words and truth values become numbers in alphabetical order, and name the
    classes."""
    if parts[0].dtype.kind not in "USb":
        return [torch.from_numpy(part) for part in parts], ()
    names, numbers = np.unique(np.concatenate(parts), return_inverse=True)
    lengths = [len(part) for part in parts]
    return list(torch.from_numpy(numbers).split(lengths)), tuple(str(name) for name in names)


def _divided(y: Tensor, test: float) -> tuple[Tensor, Tensor]:
    number = round(test * len(y))
    if not 0 < number < len(y):
        raise ValueError(
            f"test={test:g} must leave samples on both sides, got {len(y)} samples; write test=0.5"
        )
    keys = y.numpy() if y.dim() == 1 and not y.is_floating_point() else np.zeros(len(y))
    train, held = stratified(keys, number)
    return torch.from_numpy(train), torch.from_numpy(held)


def _scaled(x: np.ndarray, path: Path) -> Tensor:
    """Numbers in torch's default dtype, which layers have too; bytes are divided by 255."""
    if x.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} must hold samples of real numbers, got {x.dtype}; write np.abs(x) for complex "
            "numbers, and one file for each sample if they differ in length"
        )
    tensor = torch.from_numpy(np.ascontiguousarray(x))
    values = tensor.to(torch.get_default_dtype())
    return values / 255 if tensor.dtype == torch.uint8 else values


def _classes(path: Path) -> list[str]:
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise ValueError(
            f"{path} must hold one folder for each class, or data.npz, got {len(names)} folders; "
            "put the files of each class into a folder named after it"
        )
    return names


def _files(
    path: Path, names: Iterable[str], readers: Mapping[str, Reader] | None
) -> tuple[list[Path], list[int]]:
    known = {*IMAGES, ".wav", ".npy", *(readers or ())}
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(p for p in (path / name).rglob("*") if p.suffix.lower() in known)
        if not found:
            raise ValueError(
                f"{path / name} must hold samples, got none of {', '.join(sorted(known))}"
            )
        files += found
        labels += [label] * len(found)
    return files, labels


def _read(files: list[Path], how: dict[str, Any]) -> Tensor:
    """All files as one tensor."""
    if how["sensor_size"] is None and files[0].suffix == ".npy":
        arrays = [_array(file) for file in files]
        if arrays[0].dtype.names:
            how = {**how, "sensor_size": _sensor(arrays)}
    samples = [read_sample(file, **how) for file in files]
    for file, sample in zip(files, samples, strict=True):
        if sample.shape != samples[0].shape:
            hint = "write image_size=(32, 32)" if sample.dim() == 3 else "make them alike"
            if sample.shape[1:] == samples[0].shape[1:] and sample.dim() == 2:
                hint = "bring recordings to one number of steps, or give snn.fit lists of them"
            raise ValueError(
                f"samples must be alike, got {list(samples[0].shape)} in {files[0]} and "
                f"{list(sample.shape)} in {file}; {hint}"
            )
    return torch.stack(samples)


def _sensor(recordings: list[np.ndarray]) -> tuple[int, int, int]:
    """Width, height and polarities that hold all events."""

    def most(name: str) -> int:
        usable = [r for r in recordings if name in (r.dtype.names or ()) and len(r)]
        return max((int(r[name].max()) for r in usable), default=0) + 1

    return most("x"), most("y"), most("p")


def _image(path: Path, size: tuple[int, int] | None, channels: int | None) -> Tensor:
    pillow = require("PIL.Image", extra="data", purpose="reading images")
    with damage_named(path, "a whole image", "make it again"), pillow.open(path) as image:
        grey = image.mode in ("1", "L", "I;16") if channels is None else channels == 1
        image = image.convert("L" if grey else "RGB")
        if size is not None and image.size != (size[1], size[0]):
            image = image.resize((size[1], size[0]))
        pixels = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(pixels[None] if grey else pixels.transpose(2, 0, 1).copy())


def _sound(path: Path, num_steps: int) -> Tensor:
    """Logarithms of the energies in bands of equal width on the mel scale, [T, bands], in [0, 1]
    from 80 dB below the loudest one to that."""
    samples, rate = read_channels(path)
    if not len(samples):
        raise ValueError(f"{path} must hold sound, got none; record it again")
    signal = samples.mean(1)
    hop = max(1, math.ceil(len(signal) / num_steps))
    window = 2 ** max(5, math.ceil(math.log2(0.025 * rate)))
    signal = torch.nn.functional.pad(signal, (0, hop * num_steps + max(window, hop) - len(signal)))
    frames = signal.unfold(0, max(window, hop), hop)[:num_steps]
    size = frames.shape[1]
    power = torch.fft.rfft(frames * torch.hann_window(size)).abs() ** 2
    energy = power @ mel_filters(BANDS, size, rate, LEAST_HZ, rate / 2).to(power)
    decibel = 10 * torch.log10(energy.clamp(min=1e-10))
    return ((decibel - decibel.max() + 80) / 80).clamp(0, 1)
