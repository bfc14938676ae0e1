"""Modules that `import spikeloom` must not load; its time is measured by
`benchmarks/import_time.py`."""

import importlib
import json
import pkgutil
import subprocess
import sys
import types

import pytest
from test_architecture import FLOOR

import spikeloom

LIST = """
import json, sys
import numpy, torch
before = set(sys.modules)
import spikeloom
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Parts of torch that `import torch` leaves out because they are slow to load.
HEAVY = (
    "torch._dynamo",
    "torch._inductor",
    "torch.onnx",
    "torch.testing",
    "torch.utils.tensorboard",
)


@pytest.fixture(scope="module")
def modules() -> list[str]:
    """Modules that `import spikeloom` adds to those of torch and numpy, from a fresh process."""
    done = subprocess.run([sys.executable, "-c", LIST], check=True, capture_output=True)
    return json.loads(done.stdout)


def test_importing_spikeloom_loads_no_package_beyond_torch_and_numpy(modules: list[str]) -> None:
    known = {"spikeloom", "torch", "numpy", *sys.stdlib_module_names}
    strangers = {name.partition(".")[0] for name in modules} - known
    assert not strangers, (
        f"import spikeloom loads {sorted(strangers)}; import them in the function that needs them"
    )


def test_importing_spikeloom_loads_no_slow_part_of_torch(modules: list[str]) -> None:
    slow = [name for name in modules if name.startswith(HEAVY)]
    assert not slow, (
        f"import spikeloom loads {slow[:5]}; import them in the function that needs them"
    )


def test_importing_spikeloom_leaves_what_handles_files_and_pictures_for_later(
    modules: list[str],
) -> None:
    late = {f"spikeloom.{part}" for part, floor in FLOOR.items() if floor == 4}
    loaded = sorted(late & set(modules))
    assert not loaded, (
        f"import spikeloom loads {loaded}; let the package's __getattr__ load them on first use"
    )


def test_no_package_is_hidden_behind_a_function_of_its_name() -> None:
    hidden = []
    for found in pkgutil.walk_packages(spikeloom.__path__, "spikeloom."):
        if found.ispkg:
            parent, _, name = found.name.rpartition(".")
            importlib.import_module(found.name)
            if not isinstance(getattr(importlib.import_module(parent), name), types.ModuleType):
                hidden.append(found.name)
    assert not hidden, f"`import {hidden[0]}.x as x` fails; rename the package"
