"""n3ml's optimisers."""

from ..learning import TavanaeiAndMaida

__all__ = ["TavanaeiAndMaida"]
