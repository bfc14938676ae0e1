"""Real recordings of `temporal.py`: who trains, who is judged, and what a network receives.

Each function returns the folds of a data set. While settings are chosen (``tuning``) a fold is
judged on recordings set aside from those that train, never on its test part.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom import data

__all__ = ["READERS", "Fold", "Recordings", "made_up"]


class Recordings(NamedTuple):
    """Recordings of a data set, padded at their end, and their classes.

    Attributes:
        x: [N, T, features ...].
        y: classes, [N], int64.
        lengths: steps of each recording, [N], int64.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor

    def some(self, chosen: Any) -> "Recordings":
        """The recordings of an index or a mask."""
        return Recordings(self.x[chosen], self.y[chosen], self.lengths[chosen])


class Fold(NamedTuple):
    """What trains, what is looked at once at the end, and an official validation part."""

    train: Recordings
    test: Recordings
    validation: Recordings | None = None


def spoken_words(folder: Path, tuning: bool) -> list[Fold]:
    """40 Arabic words of 30 speakers as log-mel spectra [98, 40, 1]; the official speakers."""
    found = arrays(folder, "arabic_speech_commands_mel40.npz")
    split = torch.from_numpy(found["split"])
    every = of_equal_length(torch.from_numpy(found["mel"]).float().unsqueeze(-1), found["label"])
    parts = [every.some(split == part) for part in range(3)]
    train, validation, test = standard(*parts)
    return [Fold(train, validation if tuning else test, validation)]


def spoken_digits(folder: Path, tuning: bool) -> list[Fold]:
    """Ten digits of six speakers as log-mel spectra [48, 32, 1]; a fold leaves a speaker out.

    A recording is trimmed, scaled by its own mean and deviation, and brought to 48 steps, since
    pauses, loudness and tempo tell speakers apart.
    """
    found = arrays(folder, "fsdd_audio.npz")
    audio = torch.from_numpy(found["audio"]).float() / 2**15
    rate = int(found["rate"])
    spectra = []
    for start, end in itertools.pairwise(found["offsets"].tolist()):
        trimmed = data.trim_silence(audio[start:end], rate)
        energies = data.mel(trimmed, rate, bands=32)
        energies = (energies - energies.mean()) / energies.std()
        resampled = nn.functional.interpolate(energies.T.unsqueeze(0), size=48, mode="linear")
        spectra.append(resampled[0].T.unsqueeze(-1))
    every = of_equal_length(torch.stack(spectra), found["label"])
    speaker = torch.from_numpy(found["speaker"])
    folds = []
    for left_out in range(6):
        judged = speaker == left_out
        train = ~judged
        if tuning:
            judged = speaker == (left_out + 1) % 6
            train &= ~judged
        folds.append(Fold(every.some(train), every.some(judged)))
    return folds


def event_digits(folder: Path, tuning: bool) -> list[Fold]:
    """1,100 recordings of N-MNIST as counts in six frames of 50 ms, [6, 2, 34, 34]; five folds.

    The settings are chosen on the fifth of the recordings that is judged in the next fold.
    """
    found = arrays(folder, "nmnist_small.npz")
    frames = []
    for part in ("train", "test"):
        ends = found[f"{part}_offsets"].tolist()
        events = np.empty(ends[-1], data.EVENT)
        for field in "xytp":
            events[field] = found[f"{part}_{field}"]
        for start, end in itertools.pairwise(ends):
            recording = events[start:end]
            frames.append(data.to_frames(recording, (34, 34, 2), num_steps=6, dt=50_000, start=0))
    labels = np.concatenate([found["train_label"], found["test_label"]])
    every = of_equal_length(torch.stack(frames), labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    fifths = order.chunk(5)
    folds = []
    for number in range(5):
        left_out = [fifths[number]]
        if tuning:
            left_out.append(fifths[(number + 1) % 5])
        train = torch.ones(len(labels), dtype=torch.bool)
        train[torch.cat(left_out)] = False
        folds.append(Fold(every.some(train), every.some(left_out[-1])))
    return folds


TRAINING_PATIENTS = (106, 108, 114, 116, 119)
TEST_PATIENTS = (100, 105, 121, 123, 200)


def heart_beats(folder: Path, tuning: bool) -> list[Fold]:
    """Beats of ten patients, [180, 1, 1]; class 1 is a premature ventricular contraction.

    A beat is centred at its median and scaled by the usual amplitude of its patient. While settings
    are chosen, each of the training patients with many such beats is left out in a fold.
    """
    found = arrays(folder, "ecg_pvc_beats.npz")
    record = torch.from_numpy(found["record"])
    beats = torch.from_numpy(found["beat"]).float()
    beats = beats - beats.median(1, keepdim=True).values
    for patient in record.unique():
        mine = record == patient
        beats[mine] /= beats[mine].abs().amax(1).median()
    every = of_equal_length(beats[..., None, None], found["pvc"].astype(np.int64))

    def of(patients: tuple[int, ...]) -> Recordings:
        return every.some(torch.isin(record, torch.tensor(patients)))

    if not tuning:
        return [Fold(of(TRAINING_PATIENTS), of(TEST_PATIENTS))]
    return [
        Fold(of(tuple(p for p in TRAINING_PATIENTS if p != left_out)), of((left_out,)))
        for left_out in (106, 116, 119)
    ]


def muscles(folder: Path, tuning: bool) -> list[Fold]:
    """Eight gestures of five people in the third session, which trains nothing.

    Windows of half a second that hold one gesture, [100, 1, 16]: eight electrodes and their
    magnitudes, without which a mean over time is 0.
    """
    found = arrays(folder, "emg_myo_curated.npz")
    label = found["label"].astype(np.int64)
    emg = torch.from_numpy(found["emg"]).float()
    session = [int(name[-1]) for name in found["session"]]
    train_sessions, judged_session = ((1,), 2) if tuning else ((1, 2), 3)

    def windows(sessions: tuple[int, ...]) -> Recordings:
        bounds = zip(itertools.pairwise(found["offsets"]), session, strict=True)
        places = [range(*pair, 100) for pair, number in bounds if number in sessions]
        whole = [i for place in places for i in place if i + 100 <= place.stop]
        starts = [i for i in whole if np.ptp(label[i : i + 100]) == 0]
        x = emg[torch.tensor(starts).unsqueeze(1) + torch.arange(100)]
        return of_equal_length(torch.cat([x, x.abs()], 2).unsqueeze(2), label[starts])

    return [Fold(*standard(windows(train_sessions), windows((judged_session,))))]


def vowels(folder: Path, tuning: bool) -> list[Fold]:
    """Nine speakers saying two vowels, [7 to 29, 12]; the official division."""
    found = arrays(folder, "japanese_vowels.npz")
    parts = []
    for part in ("train", "test"):
        x = torch.from_numpy(found[f"{part}_x"])
        pieces = x.split(np.diff(found[f"{part}_offsets"]).tolist())
        parts.append(padded(list(pieces), found[f"{part}_label"]))
    train, test = parts
    mean = torch.from_numpy(found["train_x"]).mean(0)
    deviation = torch.from_numpy(found["train_x"]).std(0)
    train, test = (p._replace(x=(p.x - mean) / deviation) for p in (train, test))
    if not tuning:
        return [Fold(train, test)]
    thirds = torch.arange(len(train.y)) % 3
    return [Fold(train.some(thirds != k), train.some(thirds == k)) for k in range(3)]


READERS: dict[str, Callable[[Path, bool], list[Fold]]] = {
    "spoken words": spoken_words,
    "spoken digits": spoken_digits,
    "event digits": event_digits,
    "heart beats": heart_beats,
    "muscles": muscles,
    "vowels": vowels,
}


def made_up(name: str) -> list[Fold]:
    """One fold of random numbers in the form of a data set, for a smoke run."""
    classes, *shape = {
        "spoken words": (40, 20, 40, 1),
        "spoken digits": (10, 48, 32, 1),
        "event digits": (10, 4, 2, 34, 34),
        "heart beats": (2, 60, 1, 1),
        "muscles": (8, 100, 1, 16),
        "vowels": (9, 8, 12),
    }[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 80, *shape, generator=generator)
    y = torch.arange(80) % classes
    lengths = torch.full((80,), shape[0])
    if name == "vowels":
        lengths -= torch.arange(80) % 3
    return [Fold(Recordings(x[0], y, lengths), Recordings(x[1], y, lengths))]


# -- forms -----------------------------------------------------------------------------------------


def arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    with np.load(folder / name, allow_pickle=False) as found:
        return {key: found[key] for key in found.files}


def of_equal_length(x: Tensor, labels: np.ndarray) -> Recordings:
    """Recordings [N, T, ...] without padding."""
    y = torch.from_numpy(labels).long()
    return Recordings(x, y, torch.full((len(x),), x.shape[1]))


def padded(pieces: list[Tensor], labels: np.ndarray) -> Recordings:
    """Recordings [T_i, ...] with zeros after their end."""
    targets = torch.from_numpy(labels).long()
    x, y, lengths = data.pad_sequences(
        list(zip(pieces, targets, strict=True)), batch_first=True, lengths=True
    )
    return Recordings(x, y, lengths)


def standard(train: Recordings, *others: Recordings) -> list[Recordings]:
    """All parts, each feature scaled by its mean and deviation in the training part."""
    mean, deviation = train.x.mean((0, 1)), train.x.std((0, 1))
    return [part._replace(x=(part.x - mean) / deviation) for part in (train, *others)]
