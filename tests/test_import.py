"""What `import spikeloom` costs: time beyond torch's own, and modules it must not load."""

import json
import subprocess
import sys

import pytest
from test_architecture import FLOOR

MEASURE = """
import json, sys, time
start = time.process_time()
import numpy, torch
middle, before = time.process_time(), set(sys.modules)
import spikeloom
seconds = time.process_time() - middle
print(json.dumps({"seconds": seconds, "torch": middle - start, "modules": sorted(set(sys.modules) - before)}))
"""

# Parts of torch that `import torch` leaves out because they are slow to load.
HEAVY = ("torch._dynamo", "torch._inductor", "torch.onnx", "torch.testing", "torch.utils.tensorboard")


@pytest.fixture(scope="module")
def imported() -> list[dict]:
    """Fresh processes that import torch, then spikeloom: processor seconds and modules of the latter.

    The first one, which may have to compile the sources, is left out.
    """
    command = [sys.executable, "-c", MEASURE]
    return [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(6)][1:]


def test_importing_spikeloom_takes_at_most_a_tenth_of_a_second_more_than_torch(imported: list[dict]) -> None:
    seconds = [one["seconds"] for one in imported]
    # other processes only ever add to it; where they slow torch's own import (1.3 s alone) they slow this one too
    allowed = max(0.1, 0.1 * min(one["torch"] for one in imported) / 1.3)
    assert min(seconds) <= allowed, f"import spikeloom took {seconds} s of processor time after torch"


def test_importing_spikeloom_loads_no_package_beyond_torch_and_numpy(imported: list[dict]) -> None:
    known = {"spikeloom", "torch", "numpy", *sys.stdlib_module_names}
    strangers = {name.partition(".")[0] for name in imported[0]["modules"]} - known
    assert not strangers, f"import spikeloom loads {sorted(strangers)}; import them in the function that needs them"


def test_importing_spikeloom_loads_no_slow_part_of_torch(imported: list[dict]) -> None:
    slow = [name for name in imported[0]["modules"] if name.startswith(HEAVY)]
    assert not slow, f"import spikeloom loads {slow[:5]}; import them in the function that needs them"


def test_importing_spikeloom_leaves_what_handles_files_and_pictures_for_later(imported: list[dict]) -> None:
    late = {f"spikeloom.{part}" for part, floor in FLOOR.items() if floor == 4}
    loaded = sorted(late & set(imported[0]["modules"]))
    assert not loaded, f"import spikeloom loads {loaded}; let the package's __getattr__ load them on first use"
