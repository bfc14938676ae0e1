"""Differentiable spike times: the autograd functions of `SpikeTime`."""

from typing import Any

import torch
from torch import Tensor

from ..decode import first_spike

__all__ = ["FirstSpike", "MultiSpike", "Tolerance"]


class FirstSpike(torch.autograd.Function):
    """Time of the first spike, [B, N]."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spk_rec: Tensor, device: Any = None) -> Tensor:
        return first_spike(spk_rec, never=len(spk_rec) - 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.num_steps = len(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (time,) = ctx.saved_tensors
        return _at_times(time.unsqueeze(0), grad_output.unsqueeze(0), ctx.num_steps), None


class MultiSpike(torch.autograd.Function):
    """Times of the first F spikes, [F, B, N]; missing ones are T - 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spk_rec: Tensor, spk_count: int, device: Any = None) -> Tensor:
        fired = spk_rec != 0
        number = fired.cumsum(0)  # how many spikes each neuron has fired so far
        last = len(spk_rec) - 1
        times = [
            first_spike((fired & (number == nth)).to(spk_rec.dtype), never=last)
            for nth in range(1, spk_count + 1)
        ]
        return torch.stack(times)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.num_steps = len(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (times,) = ctx.saved_tensors
        return _at_times(times, grad_output, ctx.num_steps), None, None


class Tolerance(torch.autograd.Function):
    """Replaces times closer to their target than the tolerance by it; straight-through gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spk_time: Tensor, target: Tensor, tolerance: float) -> Tensor:
        return torch.where(
            (spk_time - target).abs() < tolerance, target.to(spk_time.dtype), spk_time
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        return grad_output, None, None


def _at_times(times: Tensor, grad: Tensor, num_steps: int) -> Tensor:
    """Scatters minus the gradients [F, ...] to their times, [T, ...]."""
    return grad.new_zeros(num_steps, *grad.shape[1:]).scatter_add(0, times.long(), -grad)
