"""Networks for other programs: NIR under its name in earlier versions of snnTorch,
``snntorch.export``, and one C file."""

from .export_nir import export_to_nir as export_to_nir
from .hardware import to_c as to_c
from .import_nir import import_from_nir as import_from_nir

__all__ = ["export_to_nir", "import_from_nir", "to_c"]
