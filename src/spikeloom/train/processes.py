"""Whether this process is one of several that torchrun or ``torch.distributed`` has started."""

import os

import torch

__all__ = ["check_alone"]


def check_alone(what: str) -> None:
    """Refuse to train where each of several processes would train a network of its own into one
    folder.

    Args:
        what: was called.

    Raises:
        RuntimeError: there are several processes.

    >>> check_alone("snn.fit")
    """
    number, source = _group(), "an initialised process group"
    if number < 2 and "RANK" in os.environ:
        number, source = (
            _whole(os.environ.get("WORLD_SIZE", "")),
            f"WORLD_SIZE={os.environ.get('WORLD_SIZE')}",
        )
    if number > 1:
        raise RuntimeError(
            f"{what} trains in one process, got {number} processes ({source}): each would train a "
            "network of its own "
            "and write the same files; start the script without torchrun, or write a loop of your "
            "own around "
            "torch.nn.parallel.DistributedDataParallel of a module whose forward calls snn.run"
        )


def _group() -> int:
    distributed = torch.distributed
    return (
        distributed.get_world_size()
        if distributed.is_available() and distributed.is_initialized()
        else 1
    )


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 1
