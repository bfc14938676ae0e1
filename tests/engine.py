"""What the tests of the recorder are about: `layerwise`, from the library."""

import importlib.util
import os
from typing import Any

import pytest

import spikeloom as snn

__all__ = ["HAS_ENGINE", "layerwise", "needs_engine", "needs_layerwise"]


def _prototype() -> Any:
    path = os.environ["SPIKELOOM_PROTOTYPE"]
    spec = importlib.util.spec_from_file_location("layerwise", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SMALL_STEP, module.LEAST = 0, 0
    return module.layerwise


HAS_ENGINE = hasattr(snn, "layerwise")
layerwise: Any = getattr(snn, "layerwise", None)
if layerwise is None and "SPIKELOOM_PROTOTYPE" in os.environ:
    layerwise = _prototype()
needs_engine = pytest.mark.skipif(not HAS_ENGINE, reason="this version has no snn.layerwise")
needs_layerwise = pytest.mark.skipif(layerwise is None, reason="this version has no snn.layerwise")
