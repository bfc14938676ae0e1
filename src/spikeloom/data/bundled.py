"""Small real data sets inside the package: no download and no further package."""

from pathlib import Path

import numpy as np
import torch

from ..core.numbers import whole
from .npz import read_npz
from .split import Split, stratified

__all__ = ["digits", "iris"]

FILES = Path(__file__).parent / "files"

# Sepal length, width, petal length, width.
IRIS_RANGE_CM = np.array([[4.0, 2.0, 1.0, 0.0], [8.0, 4.5, 7.0, 2.5]])


def divide(
    x: np.ndarray, y: np.ndarray, num_test: int, split: int, name: str, description: str
) -> Split:
    """Converts ``x`` and ``y`` to tensors and divides them by `stratified`."""
    whole("split", split)
    train, test = stratified(y, num_test, split)
    samples = torch.from_numpy(x.astype(np.float32))
    labels = torch.from_numpy(y.astype(np.int64))
    description = f"{description}; stratified split {split}"
    return Split(samples[train], labels[train], samples[test], labels[test], name, description)


def digits(split: int = 0, *, flat: bool = False) -> Split:
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels, divided 1437 to 360.

    The division is stratified and the same on every machine and for every version of NumPy. The
    samples are the test part of the UCI set; the writer of a digit is unknown, so that both sides
    share writers.

    Args:
        split: number of the division. All figures of this project use 0; select hyperparameters on
            another one.
        flat: whether samples are [N, 64] instead of [N, 1, 8, 8].

    Returns:
        float32 in [0, 1] (multiples of 1/16), and the digits as int64.

    Raises:
        ValueError: ``split`` is negative.

    Source: Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine
    Learning Repository, CC BY 4.0.

    >>> digits()
    Split(digits: 1437 training and 360 test samples of shape [1, 8, 8], 10 classes)
    """
    bundle = read_npz(FILES / "digits.npz", ("images", "target"))
    images = bundle["images"] / 16.0
    x = images.reshape(len(images), -1) if flat else images[:, None]
    return divide(
        x,
        bundle["target"],
        360,
        split,
        "digits",
        "scikit-learn's bundled 8 x 8 digits, scaled to [0, 1]",
    )


def iris(split: int = 0) -> Split:
    """Fisher's 150 irises of three species with four lengths each, divided 120 to 30.

    Each length is mapped to [0, 1] by a fixed range in cm (sepal 4-8 and 2-4.5, petal 1-7 and
    0-2.5) that does not depend on the division.

    Args:
        split: number of the division, as in `digits`.

    Returns:
        Samples [N, 4], float32 in [0, 1], and the species as int64: setosa 0, versicolor 1,
        virginica 2.

    Raises:
        ValueError: ``split`` is negative.

    Source: Fisher (1936), Annals of Eugenics 7, 179-188; the data of the UCI Machine Learning
    Repository, CC BY 4.0.

    >>> iris()
    Split(iris: 120 training and 30 test samples of shape [4], 3 classes)
    """
    bundle = read_npz(FILES / "iris.npz", ("tenths", "target"))  # lengths in tenths of a cm
    low, high = IRIS_RANGE_CM
    x = (bundle["tenths"] / 10 - low) / (high - low)
    return divide(
        x, bundle["target"], 30, split, "iris", "Fisher's irises, lengths scaled to [0, 1]"
    )
