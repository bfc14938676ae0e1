"""What all tests share: one thread, a fixed seed, no window system, and where data files lie."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch reads it; parallel test processes share the cores
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

pytest.register_assert_rewrite("tutorial_claims", "closeness")  # before a test imports them

ROOT = Path(__file__).resolve().parent.parent


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job of a shell script; its
    # processes would ignore the interrupts that tests send
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart() -> None:
    """Give the weights that a module of tests makes at its import the same values every time."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Make each test independent of the order in which tests run."""
    torch.manual_seed(0)


@pytest.fixture
def new_objects_only() -> Iterator[None]:
    """Collect only what the test makes; all objects of earlier tests, garbage too, are left out."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of data files that the repository does not carry (`mnist.npz`); where it is absent,
    the test skips."""
    named = os.environ.get("SPIKELOOM_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder {folder}; set SPIKELOOM_DATA to the one that holds mnist.npz")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, saying why, what this machine or this run cannot do."""
    no_cuda = pytest.mark.skip(reason="no CUDA device")
    no_network = pytest.mark.skip(reason="downloads something; set SPIKELOOM_NETWORK=1 to run it")
    for item in items:
        if item.get_closest_marker("cuda") and not torch.cuda.is_available():
            item.add_marker(no_cuda)
        if item.get_closest_marker("network") and os.environ.get("SPIKELOOM_NETWORK") != "1":
            item.add_marker(no_network)
