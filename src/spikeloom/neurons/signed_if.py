"""Integrate-and-fire neuron that retracts spikes: its count also follows a falling input."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.reset import Keep
from .scaled_if import ScaledIF

__all__ = ["SignedIF"]


class SignedIF(ScaledIF):
    r"""`ScaledIF` with negative spikes, which cancel spikes that were fired too early.

    .. math:: V = U[t] + I[t+1] + c \qquad s = H(V - \theta) - H(-V) \, H(N[t])
    .. math::
        U[t+1] = V - s \theta \qquad N[t+1] = N[t] + s \qquad S[t+1] = A s \qquad U[0] = v \theta

    N is the number of spikes fired so far, less those taken back. It is never negative, so that the
    mean output over T steps is that of a rectifier: with v = 1/2 the mean input, rounded to a
    multiple of threshold / T and clipped to [0, threshold], however unevenly the input came,
    provided that N, which changes by at most one a step, had time to follow. `ScaledIF` keeps every
    spike that an early excess of input made it fire. Not in snnTorch.

    Args:
        reset_mechanism: ``"subtract"``: a spike is taken from the membrane in the step in which it
            is fired, whatever ``reset_delay`` says.
        (The other arguments are those of `ScaledIF`, in its order.)

    Raises:
        ValueError: as `ScaledIF`.

    Source: Wang et al. (2022), Signed Neuron with Memory, IJCAI, with 0 as the lower threshold.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.SignedIF(threshold=1.0, initial_mem=0.5, mode="sequence")
    >>> spk, mem, count = neuron(torch.tensor([2.0, -2.0, 0.3, 0.9]).view(4, 1, 1))
    >>> spk.flatten(), count.flatten()
    (tensor([ 1., -1.,  0.,  1.]), tensor([1., 0., 0., 1.]))
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in the unit of the input
        count: Tensor  # spikes so far, less those taken back

    resets = {"subtract": Keep()}

    nir_node: ClassVar[Any] = None  # not that of `ScaledIF`
    no_nir_node = "it has negative spikes, which no NIR neuron has; use ScaledIF"

    def shift_obstacle(self) -> str:
        """Why the threshold cannot be random."""
        return "its spikes count multiples of one threshold"

    @staticmethod
    def retract(state: Any, p: Any) -> Tensor:
        return torch.where(state.count > 0.5, -state.mem, -p.threshold.detach())

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        over = state.mem.detach() - p.threshold.detach()
        under = SignedIF.retract(state, p).detach()
        sign = (over > 0).to(spk.dtype) - (under > 0).to(spk.dtype)
        return state._replace(mem=state.mem - sign * p.threshold, count=state.count + sign)
