"""Two processes with torch's DDP or FSDP compute what one process computes."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import spikeloom as snn

STEPS = 3


class OverTime(nn.Module):
    """Runs over time inside, so that processes synchronise once a batch."""

    def __init__(self, beta: Any = 0.9) -> None:
        super().__init__()
        torch.manual_seed(0)
        lif = snn.Leaky(beta, init_hidden=True, learn_beta=True)
        self.net = nn.Sequential(
            nn.Linear(4, 8), lif, nn.Linear(8, 2), snn.Synaptic(0.8, 0.9, init_hidden=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return snn.run(self.net, x, num_steps=6)


class ForEachNeuron(OverTime):
    """FSDP divides no parameter without an axis."""

    def __init__(self) -> None:
        super().__init__(torch.full((8,), 0.9))


class StepByStep(OverTime):
    """snnTorch's way: hidden state inside, the loop around."""

    def forward(self, x: Tensor) -> Tensor:
        snn.reset(self.net)
        return torch.stack([self.net(x) for _ in range(6)])


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(8, 4, generator=generator) * 2, torch.rand(6, 8, 2, generator=generator)


def train(net: nn.Module, x: Tensor, weight: Tensor) -> list[Tensor]:
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(STEPS):
        optimiser.zero_grad()
        (net(x) * weight).mean().backward()
        optimiser.step()
    return [p.detach().clone() for p in net.parameters()]


def divided(net: nn.Module) -> nn.Module:
    return fully_shard(net, mesh=init_device_mesh("cpu", (2,)))


KINDS = {
    OverTime: DistributedDataParallel,
    StepByStep: DistributedDataParallel,
    ForEachNeuron: divided,
}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    x, weight = batch()
    half = slice(4 * rank, 4 * rank + 4)
    for kind, wrap in KINDS.items():
        trained = train(wrap(kind()), x[half], weight[:, half])
        trained = [p.full_tensor() if isinstance(p, DTensor) else p for p in trained]
        if rank == 0:
            torch.save(trained, f"{folder}/{kind.__name__}.pt")
    dist.destroy_process_group()
    # The mesh of fully_shard keeps the group, and a thread of it may abort a process that ends.
    os._exit(0)


@pytest.mark.slow
def test_two_processes_with_whole_or_divided_weights_train_otherwise_than_one(
    tmp_path: Path,
) -> None:
    mp.spawn(worker, args=(str(tmp_path),), nprocs=2)
    for kind in KINDS:
        expected = train(kind(), *batch())
        for a, b in zip(torch.load(tmp_path / f"{kind.__name__}.pt"), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
