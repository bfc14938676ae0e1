"""Folders of wav files: spoken words with their speakers and published divisions."""

import re
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ..core.checks import choice
from ..core.numbers import callable_, path_of
from .damage import damage_named
from .series import Series, Source
from .sound import read_wav

__all__ = ["wav_folder"]

DIGITS = Source(
    "Free Spoken Digit Dataset",
    "CC BY-SA 4.0",
    "Jackson et al. (2018), Free Spoken Digit Dataset, doi:10.5281/zenodo.1342401",
    "github.com/Jakobovski/free-spoken-digit-dataset",
)
COMMANDS = Source(
    "Speech Commands",
    "CC BY 4.0",
    "Warden (2018), Speech Commands: a dataset for limited-vocabulary speech recognition, "
    "arXiv:1804.03209",
    "tensorflow.org/datasets/catalog/speech_commands",
)
SOURCES = {"digits": DIGITS, "commands": COMMANDS}
LISTS = {"test": "testing_list.txt", "validation": "validation_list.txt"}
FORMS = {
    "digits": (
        re.compile(r"(?:.*/)?(?P<label>\d)_(?P<speaker>[^_/]+)_(?P<index>\d+)\.wav"),
        "3_jackson_12.wav",
    ),
    "commands": (
        re.compile(r"(?P<label>[^/]+)/(?P<speaker>[^_/]+)_nohash_\d+\.wav"),
        "yes/0a7c2a8d_nohash_0.wav",
    ),
}
Names = Callable[[PurePosixPath], tuple[str, ...]]


def wav_folder(
    path: "str | PathLike[str]",
    *,
    names: str | Names = "digits",
    transform: Callable[[Tensor, int], Tensor] | None = None,
    source: Source | None = None,
) -> Series:
    """Reads the names of a folder of wav files; the files are read when they are indexed.

    Args:
        path: the folder, with wav files of one sampling rate at any depth.
        names: form of the names. "digits": ``3_jackson_12.wav``, recordings 0 to 4 of each speaker
            and digit being the test part, as in the Free Spoken Digit Dataset. "commands":
            ``yes/0a7c2a8d_nohash_0.wav`` with ``testing_list.txt`` and ``validation_list.txt``, as
            in Speech Commands; ``_background_noise_`` is left out. Or a function of the path in the
            folder, returning word and speaker, or word, speaker and part.
        transform: converts a waveform [N] and its rate in Hz to a recording [T, ...], such as
            `mel`. Default: the waveform.
        source: origin of the data. Default: that of the form.

    Returns:
        Series whose groups are the speakers, in the order of the paths.

    Raises:
        FileNotFoundError: there is no such folder, or a list of the parts is missing.
        ValueError: the folder holds no wav files, a name has another form, a list names a missing
            file, or a speaker of "commands" is in several parts. Indexing raises it for a damaged
            file, or one of another rate.

    >>> import tempfile, wave
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name, size in (("3_ann_0", 600), ("3_ann_7", 800), ("4_bob_9", 700)):
    ...     with wave.open(str(folder / f"{name}.wav"), "wb") as out:
    ...         out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)
    ...         out.writeframes(bytes(2 * size))
    >>> series = wav_folder(folder)
    >>> series, [len(x) for x in series.part("train").recordings]
    (Series(Free Spoken Digit Dataset: 3 recordings, 2 classes, 2 groups), [800, 700])
    """
    root = path_of("path", path)
    if not root.is_dir():
        raise FileNotFoundError(f"path must be a folder of wav files, and there is no {root}")
    if not callable(names):
        choice("names", names, FORMS)
    if transform is not None:
        callable_("transform", transform, "data.mel")
    files = sorted(
        file.relative_to(root).as_posix()
        for file in root.rglob("*.wav")
        if names != "commands" or file.parent.name != "_background_noise_"
    )
    if not files:
        raise ValueError(f"{root} must hold wav files, got none; extract the archive")
    described = [_described(root, file, names) for file in files]
    words = [each[0] for each in described]
    speakers = [each[1] for each in described]
    parts = [each[2] for each in described if len(each) == 3]
    if names == "commands":
        parts = _listed(root, files)
        _check_disjoint(root, speakers, parts)
    classes = sorted(set(words))
    rate = read_wav(root / files[0])[1]
    return Series(
        [root / file for file in files],
        torch.tensor([classes.index(word) for word in words]),
        classes,
        groups=speakers,
        parts=parts,
        read=partial(_recording, rate=rate, transform=transform),
        rate=float(rate) if transform is None else None,
        source=source or (SOURCES.get(names) if isinstance(names, str) else None),
    )


def _described(root: Path, file: str, names: str | Names) -> tuple[str, ...]:
    """Word and speaker of a file, and its part if the name determines it."""
    if not isinstance(names, str):
        found = names(PurePosixPath(file))
        texts = isinstance(found, tuple) and all(isinstance(each, str) for each in found)
        if not texts or len(found) not in (2, 3):
            raise TypeError(
                f"names must return (word, speaker) or (word, speaker, part), all str, got "
                f"{found!r} for {file}; write names=lambda path: (path.parent.name, path.stem)"
            )
        return found
    pattern, example = FORMS[names]
    found = pattern.fullmatch(file)
    if found is None:
        raise ValueError(
            f"{root / file} must have a name like {example}; remove it, or write a function names="
        )
    if names == "commands":
        return found["label"], found["speaker"]
    return found["label"], found["speaker"], "test" if int(found["index"]) < 5 else "train"


def _listed(root: Path, files: list[str]) -> list[str]:
    """Part of each file of Speech Commands, from the published lists."""
    part = dict.fromkeys(files, "train")
    for name, list_name in LISTS.items():
        path = root / list_name
        if not path.is_file():
            raise FileNotFoundError(
                f"names='commands' needs the published list {path}; extract the whole archive, or "
                "write a function names="
            )
        with damage_named(path, "a list of wav files", "get it again"):
            lines = path.read_text(encoding="utf-8").split()
        for line in lines:
            if part.get(line) != "train":
                why = "is in both lists" if line in part else "is missing"
                raise ValueError(
                    f"{path} must list files of the folder, got {line}, which {why}; extract the "
                    "archive again"
                )
            part[line] = name
    return list(part.values())


def _check_disjoint(root: Path, speakers: list[str], parts: list[str]) -> None:
    """Refuses lists that divide the recordings of a speaker among parts."""
    known: dict[str, str] = {}
    for speaker, part in zip(speakers, parts, strict=True):
        if known.setdefault(speaker, part) != part:
            raise ValueError(
                f"each speaker of {root} must be in one part, got {speaker} in {known[speaker]} "
                f"and {part}; get the lists again"
            )


def _recording(path: Path, rate: int, transform: Callable[..., Any] | None) -> Tensor:
    """The recording of a file."""
    audio, found = read_wav(path)
    if found != rate:
        raise ValueError(
            f"{path} must have the rate of the folder's first file, {rate} Hz, got {found} Hz; "
            "resample it"
        )
    return audio if transform is None else transform(audio, rate)
