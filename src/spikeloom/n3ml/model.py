"""n3ml's models."""

from typing import Any

from ..conversion.published import SVGG16, VGG16, Diehl2015, SNN_Diehl2015
from ..learning import Bohte2002, DiehlAndCook2015, TravanaeiAndMaida2017, Wu2018

__all__ = [
    "SVGG16",
    "VGG16",
    "Bohte2002",
    "Diehl2015",
    "DiehlAndCook2015",
    "DiehlAndCook2015Infer",
    "SNN_Diehl2015",
    "TravanaeiAndMaida2017",
    "Wu2018",
]


class DiehlAndCook2015Infer(DiehlAndCook2015):
    """`DiehlAndCook2015` in evaluation mode, with constant thresholds and weights.

    >>> DiehlAndCook2015Infer(neurons=4, inputs=16).training
    False
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.eval()
