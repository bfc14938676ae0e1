"""A learner that records a synapse and the neuron behind it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...learning.stdp import PairRule, unchanged
from ..probe import InputMonitor, OutputMonitor
from .single_step import (
    Weighting,
    stdp_conv1d_single_step,
    stdp_conv2d_single_step,
    stdp_linear_single_step,
)

__all__ = ["STDPLearner"]


class STDPLearner(nn.Module):
    """Records the spikes around a synapse and computes a change of its weight from them.

    It attaches monitors to both modules. Run the network, in a loop or with `snn.run`, then call
    `step`. Traces continue from one `step` to the next; call `reset` between unrelated batches.

    Args:
        synapse: ``nn.Linear``, ``nn.Conv1d`` or ``nn.Conv2d``.
        sn: the neuron that it feeds; it returns spikes alone or ``(spk, state...)``, with which
            snnTorch fails.
        tau_pre, tau_post, f_pre, f_post: as for `stdp_linear_single_step`.

    Raises:
        TypeError: another kind of synapse.
        ValueError: a time constant below 1.

    >>> import spikeloom as snn
    >>> fc, lif = nn.Linear(3, 2, bias=False), snn.Leaky(0.9, init_hidden=True)
    >>> learner = STDPLearner(fc, lif, tau_pre=2.0, tau_post=2.0)
    >>> _ = [lif(fc(torch.ones(1, 3))) for _ in range(4)]
    >>> learner.step(on_grad=False).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        synapse: nn.Module,
        sn: nn.Module,
        tau_pre: float,
        tau_post: float,
        f_pre: Weighting = unchanged,
        f_post: Weighting = unchanged,
    ) -> None:
        super().__init__()
        self._single_step(synapse)
        PairRule.of_times(tau_pre, tau_post)
        self.tau_pre = tau_pre
        self.tau_post = tau_post
        self.f_pre = f_pre
        self.f_post = f_post
        self.synapse = synapse
        self.in_spike_monitor = InputMonitor(synapse, function_on_input=_spikes)
        self.out_spike_monitor = OutputMonitor(sn, function_on_output=_spikes)
        self.trace_pre: Tensor | None = None
        self.trace_post: Tensor | None = None

    def reset(self) -> None:
        """Drops traces and recorded spikes."""
        self.trace_pre = self.trace_post = None
        self._forget()

    def disable(self) -> None:
        """Stops recording, e.g. while testing."""
        self.in_spike_monitor.disable()
        self.out_spike_monitor.disable()

    def enable(self) -> None:
        """Resumes recording."""
        self.in_spike_monitor.enable()
        self.out_spike_monitor.enable()

    def step(self, on_grad: bool = True, scale: float = 1.0) -> Tensor | None:
        """Sums the changes over the steps recorded since the last call, and drops those steps.

        Args:
            on_grad: whether to subtract the change from ``synapse.weight.grad``, so that any
                optimiser adds it.
            scale: factor of the change.

        Returns:
            The change, in the shape of the weight; None with ``on_grad``.

        Raises:
            RuntimeError: nothing was recorded, or the two modules were called a different number of
                times.
        """
        pairs = self._recorded()
        single_step = self._single_step(self.synapse)
        weight = self.synapse.get_parameter("weight")
        change = torch.zeros_like(weight, requires_grad=False)
        for pre, post in pairs:
            self.trace_pre, self.trace_post, dw = single_step(
                self.synapse,
                pre,
                post,
                self.trace_pre,
                self.trace_post,
                tau_pre=self.tau_pre,
                tau_post=self.tau_post,
                f_pre=self.f_pre,
                f_post=self.f_post,
            )
            change += dw
        change *= scale
        if not on_grad:
            return change
        weight.grad = -change if weight.grad is None else weight.grad - change
        return None

    def _forget(self) -> None:
        self.in_spike_monitor.clear_recorded_data()
        self.out_spike_monitor.clear_recorded_data()

    def _recorded(self) -> list[tuple[Tensor, Tensor]]:
        pre = list(self.in_spike_monitor.records)
        post = list(self.out_spike_monitor.records)
        if not pre or len(pre) != len(post):
            raise RuntimeError(
                f"a step needs as many calls of the synapse as of the neuron, got {len(pre)} and "
                f"{len(post)}; run the network before step(), or call reset() after an interrupted "
                "run"
            )
        self._forget()
        return list(zip(pre, post, strict=True))

    @staticmethod
    def _single_step(synapse: nn.Module) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        if isinstance(synapse, nn.Linear):
            return stdp_linear_single_step
        if isinstance(synapse, nn.Conv1d):
            return stdp_conv1d_single_step
        if isinstance(synapse, nn.Conv2d):
            return stdp_conv2d_single_step
        raise TypeError(
            f"synapse must be nn.Linear, nn.Conv1d or nn.Conv2d, got {type(synapse).__name__}"
        )


def _spikes(value: Any) -> Tensor:
    """The detached spikes of an input or output of a module."""
    return (value[0] if isinstance(value, tuple) else value).detach()
