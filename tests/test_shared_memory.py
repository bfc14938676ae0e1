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
        size, dtype = content.numel(), content.dtype
        found = torch.from_file(str(file), shared=True, size=size, dtype=dtype).view(content.shape)
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


def test_another_part_of_shared_memory_may_be_written_during_a_call(shared: Shared) -> None:
    """A worker fills the next batch of a ring; and a mapped file may be larger than memory."""
    ring = shared(torch.rand(2, 20, 4, 6))
    view = ring.numpy()
    fc, lif = neurons()

    @snn.layerwise
    def loop(x: Tensor) -> Tensor:
        lif.reset_mem()
        outputs = []
        for t in range(len(x)):
            outputs.append(lif(fc(x[t])))
            view[1, t] = 0
        return torch.stack(outputs)

    expected = snn.run(nn.Sequential(fc, lif), ring[0].clone())
    assert torch.equal(loop(ring[0]), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.complex128])
def test_tensors_of_every_size_of_element_are_compared(shared: Shared, dtype: torch.dtype) -> None:
    content = torch.rand(3, 4, 5, dtype=torch.float64).to(dtype)
    batch = shared(content)
    view = batch.transpose(1, 2).numpy()

    @snn.layerwise
    def loop(x: Tensor) -> Tensor:
        outputs = [x[t] * 2 for t in range(len(x))]
        view[2, 0, 0] = 0
        return torch.stack(outputs)

    with pytest.raises(RuntimeError, match="in shared memory was written during the call"):
        loop(batch.transpose(1, 2))
