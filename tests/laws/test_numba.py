"""The loop printed for numba is the eager loop. Compiling takes seconds: a few neurons cover the operations."""

from pathlib import Path
from typing import Any

import pytest
import torch

import spikeloom as snn
from spikeloom.kernels import sources

from .cases import build, current
from .test_programs import loops_agree

pytest.importorskip("numba", reason="the extra cpu is not installed")


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKELOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


CASES = [("Leaky", {}), ("Alpha", {}), ("AdLIF", {}), ("DeltaLeaky", {}), ("Synaptic", {"reset_delay": False})]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[name for name, _ in CASES])
def test_the_numba_loop_is_the_eager_loop(name: str, options: dict[str, Any]) -> None:
    neuron = build(name, dtype=torch.float32, learn=True, **options)
    loops_agree(neuron, current(name, dtype=torch.float32, steps=20), torch.float32, backend="numba")


def test_parameters_for_each_neuron_and_a_constant_input() -> None:
    neuron = snn.Leaky(torch.linspace(0.5, 0.9, 5), learn_beta=True).double()
    x = torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for backend in ("eager", "numba"):
        with snn.backend(backend):
            spk, states = neuron.scan(x, num_steps=9)
        found.append((spk, torch.autograd.grad(spk.sum() + states.mem.square().sum(), [x, neuron.beta])))
    assert torch.equal(found[0][0], found[1][0])
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_generated_kernels_are_files_that_name_their_content(tmp_path: Path) -> None:
    files = sorted(sources.cache_folder().glob("kernel_*.py"))
    assert files and not list(sources.cache_folder().glob("*.tmp"))
    assert all("numba.njit" in file.read_text() for file in files)


def test_large_layers_choose_numba_and_small_ones_do_not() -> None:
    plan = lambda n: snn.run(snn.Leaky(0.9), torch.rand(4, 2, n), explain=True).plan.rows[0].how  # noqa: E731
    assert "torch" in plan(8)
    assert "numba" in plan(2**15)


def test_what_numba_does_not_serve_is_refused_with_the_reason() -> None:
    x = torch.rand(4, 2, 3, 4, 4).to(memory_format=torch.channels_last_3d)
    with snn.backend("numba"), pytest.raises(RuntimeError, match="does not serve Leaky: its input is not contiguous"):
        snn.Leaky(0.9).scan(x)
    with snn.backend("numba"), pytest.raises(RuntimeError, match=r"float32 or float64 on the CPU, got torch\.bfloat16"):
        snn.Leaky(0.9).scan(torch.rand(4, 2, 3).bfloat16())
