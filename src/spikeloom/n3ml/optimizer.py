"""n3ml's optimisers."""

from ..learning import Bohte, TavanaeiAndMaida

__all__ = ["Bohte", "TavanaeiAndMaida"]
