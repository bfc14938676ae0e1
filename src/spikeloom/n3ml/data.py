"""n3ml's loader of the irises."""

import torch
from torch import Tensor

from ..data import iris
from ..data.bundled import IRIS_RANGE_CM

__all__ = ["IRISDataLoader"]


class IRISDataLoader:
    """The irises in cm; every `run` gives the same division, so that no test sample is learned.

    Args:
        ratio: share of the training samples; 0.8, that of `data.iris`.
        split: number of the division.

    Raises:
        ValueError: another ratio.

    >>> loader = IRISDataLoader(ratio=0.8)
    >>> {name: tuple(value.shape) for name, value in loader.run().items()}
    {'train.data': (120, 4), 'train.target': (120,), 'test.data': (30, 4), 'test.target': (30,)}
    >>> loader.summarize()["max"]
    tensor([7.9000, 4.4000, 6.9000, 2.5000])
    """

    def __init__(self, ratio: float = 0.8, *, split: int = 0) -> None:
        if ratio != 0.8:
            raise ValueError(
                f"ratio must be 0.8, the division of data.iris(), got {ratio}; divide by "
                "data.stratified"
            )
        low, high = torch.from_numpy(IRIS_RANGE_CM).float()
        found = iris(split)
        self._data = {
            "train.data": low + found.x_train * (high - low),
            "train.target": found.y_train,
            "test.data": low + found.x_test * (high - low),
            "test.target": found.y_test,
        }

    def run(self) -> dict[str, Tensor]:
        """Samples and species, training and test."""
        return dict(self._data)

    def summarize(self) -> dict[str, Tensor]:
        """Smallest and largest lengths of all samples, [4] each."""
        every = torch.cat([self._data["train.data"], self._data["test.data"]])
        return {"min": every.min(0).values, "max": every.max(0).values}
