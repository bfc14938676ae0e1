"""Tensors in memory that processes share, as batches from workers of a `DataLoader`."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn

Shared = Callable[[Tensor], Tensor]


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """Copies a tensor into memory that torch cannot resize, as that of another process."""

    def made(content: Tensor) -> Tensor:
        file = tmp_path / "content"
        file.write_bytes(content.numpy().tobytes())
        found = torch.from_file(str(file), shared=True, size=content.numel()).view(content.shape)
        assert found.is_shared() and not found.untyped_storage().resizable()
        return found

    return made


def neurons() -> tuple[nn.Linear, snn.Leaky]:
    torch.manual_seed(0)
    return nn.Linear(6, 5), snn.Leaky(0.9, init_hidden=True)


def test_each_step_of_a_batch_from_a_worker_was_copied(shared: Shared) -> None:
    content = torch.rand(20, 4, 6)
    net = nn.Sequential(*neurons())
    expected = snn.run(net, content)
    batch = shared(content)
    with torch.profiler.profile(profile_memory=True) as profile:
        output = snn.run(net, batch)
    assert torch.equal(output, expected)
    copies = [e for e in profile.key_averages() if e.key in ("aten::clone", "aten::stack")]
    assert sum(e.count for e in copies) < len(content)


def test_numpy_wrote_to_shared_memory_during_a_call(shared: Shared) -> None:
    batch = shared(torch.rand(20, 4, 6))
    view = batch.numpy()
    fc, lif = neurons()

    @snn.layerwise
    def loop(x: Tensor) -> Tensor:
        outputs = []
        for t in range(len(x)):
            outputs.append(lif(fc(x[t])))
            view[t] = 0
        return torch.stack(outputs)

    with pytest.raises(RuntimeError, match="in shared memory was written during the call"):
        loop(batch)


def test_torch_writes_to_shared_memory_as_in_the_plain_loop(shared: Shared) -> None:
    content = torch.rand(20, 4, 6)
    fc, lif = neurons()

    def loop(x: Tensor) -> Tensor:
        lif.reset_mem()
        outputs = []
        for t in range(len(x)):
            outputs.append(lif(fc(x[t])))
            x[t] *= 2
            x[(t + 1) % len(x)] += 0.5
        return torch.stack(outputs)

    expected = loop(content.clone())
    assert torch.equal(snn.layerwise(loop)(shared(content)), expected)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float64])
def test_memory_of_any_size_and_type_is_compared(shared: Shared, dtype: torch.dtype) -> None:
    content = (torch.rand(3, 1, 5) < 0.5).to(torch.uint8)
    batch = shared(content.float()).to(dtype) if dtype.is_floating_point else content.to(dtype)
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 2, dtype=torch.float64))
    assert snn.run(net, batch.double()).shape == (3, 1, 2)
