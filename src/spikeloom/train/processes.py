"""Several processes of a training, as started by torchrun: shares of a batch, equal networks.

Gradients are means over the samples of the whole batch, so that N processes train as one does.
Random layers draw other numbers in each process, and batch norm sees the samples of its process.
"""

import atexit
import gc
import importlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn

__all__ = ["Share", "check_alone", "everywhere", "gathered", "same_weights", "share", "together"]


class Share(NamedTuple):
    """Which process this is, of how many.

    >>> Share(1, 2).of([7, 8, 9])
    ([8], 1)
    """

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def of(self, batch: Any) -> tuple[Any, int]:
        """This process's part of a batch (or of its indices), and how many of its samples count.

        A process for which none is left gets the first one, which counts 0 times: it takes part in
        every step.
        """
        if self.size == 1:
            return batch, len(batch)
        part = batch[self.rank :: self.size]
        return (part, len(part)) if len(part) else (batch[:1], 0)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=_device())
        distributed.all_reduce(total)
        return total.tolist()


def share() -> Share:
    """The share of this process: all of it unless a process group is open.

    >>> share()
    Share(rank=0, size=1)
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return Share()
    return Share(distributed.get_rank(), distributed.get_world_size())


def together(device: Any = None) -> Share:
    """Open the process group of a process that torchrun has started, unless one is open already.

    It stays open for the further trainings of this process: one address cannot be opened twice. The
    end of the process closes it.

    Args:
        device: where the network will be. On a GPU the process takes the one of its local rank.

    >>> together()
    Share(rank=0, size=1)
    """
    if device is not None and torch.device(device).type == "cuda" and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if _launched() > 1 and distributed.is_available() and not distributed.is_initialized():
        # Its functions keep the group that is open at its first import as a default argument, and
        # wrapping a network imports it.
        importlib.import_module("torch.distributed.nn")
        on_gpu = torch.cuda.is_available() and distributed.is_nccl_available()
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
        atexit.register(_close)
    return share()


def _close() -> None:
    """Close the group and end its threads.

    A thread of gloo that lets go of its last tensor when the interpreter is gone aborts the
    process. The threads end when nothing holds the group, and a wrapped network, which does, waits
    for the garbage collector.
    """
    if distributed.is_initialized():
        gc.collect()
        distributed.destroy_process_group()


def everywhere(function: Any) -> Any:
    """Call a function in the first process and return its result in all of them.

    An error there is raised in all of them: the others would wait for ever.

    >>> everywhere(lambda: 3)
    3
    """
    here = share()
    if here.size == 1:
        return function()
    said: list[Any] = [None, None]
    caught: BaseException | None = None
    if here.main:
        try:
            said[0] = function()
        except Exception as error:
            caught, said[1] = error, (type(error).__name__, str(error))
    distributed.broadcast_object_list(said, device=_device())
    if caught is not None:
        raise caught
    if said[1] is not None:
        raise RuntimeError(f"the first process stopped: {said[1][0]}: {said[1][1]}")
    return said[0]


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks.

    >>> gathered(3)
    [3]
    """
    here = share()
    if here.size == 1:
        return [value]
    found: list[Any] = [None] * here.size
    distributed.all_gather_object(found, value)
    return found


def same_weights(net: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first one."""
    if share().size > 1:
        for value in net.state_dict().values():
            if isinstance(value, Tensor) and value.numel():
                distributed.broadcast(value, 0)


def check_alone(what: str) -> None:
    """Refuse to work where several processes would all do the same and write the same files.

    Args:
        what: was called.

    Raises:
        RuntimeError: there are several processes.

    >>> check_alone("spikeloom stdp")
    """
    number = max(share().size, _launched())
    if number > 1:
        raise RuntimeError(
            f"{what} works in one process, got {number} processes: each would do the same and "
            "write the same files; start it without torchrun"
        )


def _launched() -> int:
    """How many processes torchrun, or what sets its variables, has started."""
    text = os.environ.get("WORLD_SIZE", "") if "RANK" in os.environ else ""
    return int(text) if text.isdecimal() else 1


def _device() -> torch.device:
    """Where the open process group communicates."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")
