"""The forward pass of several processes: copies of the network, batch norm of the whole batch."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.nn.functional import batch_norm
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from ..core import recording
from .job import Job
from .model import Model

__all__ = ["copies", "whole_batch_norm"]


class AllSteps(nn.Module):
    """All time steps in one call, so that the copies exchange their gradients once a batch."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.net, self._job = job.net, job
        # torch warns where unused weights are searched for and none is found
        self._unused = nn.Parameter(next(job.net.parameters()).new_zeros(1))

    def forward(self, x: Tensor, num_steps: int | None, reset: bool, lengths: Tensor | None) -> Any:
        outputs, spikes = Model.run(self._job, x, num_steps, reset=reset, lengths=lengths)
        # torch waits for the gradient of each weight that it finds behind an output
        penalised = self._job.penalty
        return outputs, {
            path: spk if path in penalised else spk.detach() for path, spk in spikes.items()
        }


@contextmanager
def copies(job: Job, whole: bool) -> Iterator[None]:
    """Run the network of a job as one of several copies inside the block.

    Args:
        job: the training in this process.
        whole: whether its rule goes back once through the outputs of ``job.forward``. Other rules
            compute gradients by themselves, and `Update` adds them.
    """
    update = job.optimizer
    if whole and update.here.size > 1:
        with warnings.catch_warnings():
            # torch 2.13 renames it, and earlier versions lack the new name
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            update.copies = DistributedDataParallel(
                AllSteps(job), broadcast_buffers=False, find_unused_parameters=True
            )
    try:
        yield
    finally:
        update.copies = None


@contextmanager
def whole_batch_norm(counts: bool) -> Iterator[None]:
    """Inside the block batch norm in training takes the statistics of the samples of all processes.

    ``nn.SyncBatchNorm`` does so on GPUs only, and counts the sample of a process for which no
    sample of the batch is left.

    Args:
        counts: whether the samples of this process count.
    """
    mode = _BatchNorm(counts)
    recording.local.batch_norm = mode.norm
    try:
        with mode:
            yield
    finally:
        recording.local.batch_norm = None


class _BatchNorm(TorchFunctionMode):
    """Replaces torch's batch norm."""

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is batch_norm:
            return self.norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            statistics = (running_mean, running_var, weight, bias)
            return batch_norm(input, *statistics, False, momentum, eps)
        others = [axis for axis in range(input.dim()) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.dim())]
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        if running_mean is not None:  # sums of squares around it lose fewer digits
            x = x - running_mean.clone().view(shape)
        own = x.new_tensor([x.numel() // x.shape[1]])
        sums = torch.cat([x.sum(others), x.square().sum(others), own])
        means, squares, count = _Sum.apply(sums * self.counts).split([x.shape[1], x.shape[1], 1])
        count = count.detach()
        if count <= 1:
            raise ValueError(
                "batch norm in training must see more than one value of each channel, got "
                f"{tuple(input.shape)} in all processes together; write a larger batch_size"
            )
        mean = means / count
        variance = (squares / count - mean.square()).clamp(min=0)
        y = (x - mean.view(shape)) * torch.rsqrt(variance + eps).view(shape)
        with torch.no_grad():
            if running_mean is not None:
                running_mean.add_(mean.to(running_mean.dtype), alpha=momentum)
            if running_var is not None:
                unbiased = variance * (count / (count - 1))
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        if weight is not None:
            y = y * weight.view(shape)
        if bias is not None:
            y = y + bias.view(shape)
        return y.to(input.dtype)


class _Sum(Function):
    """The sum over the processes; a gradient is that of the losses of all of them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
