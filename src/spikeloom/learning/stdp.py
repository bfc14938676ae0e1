"""Spike-timing-dependent plasticity with a trace on each side of the synapse.

A rule is a frozen value; its state, the `Traces`, is passed in and returned. What it proposes is a
change of the weight, to be added; a learner hands it to an optimiser as minus a gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from .hebbian import decay, trace

__all__ = ["PairRule", "Traces", "unchanged"]


Product = Callable[[Tensor, Tensor], Tensor]  # of what enters and what leaves a synapse


def unchanged(weight: Tensor) -> Tensor:
    """The weight itself: a change proportional to it.

    >>> unchanged(3)
    3
    """
    return weight


class Traces(NamedTuple):
    """Decaying memories of the spikes on both sides of a synapse.

    >>> Traces()
    Traces(pre=0.0, post=0.0)
    """

    pre: Any = 0.0  # [B, ...] like the input of the synapse; 0 before the first step
    post: Any = 0.0  # [B, ...] like its output


@dataclass(frozen=True)
class PairRule:
    r"""Every pair of spikes changes the weight, by an amount that decays with the time between
    them.

    .. math::
        x \leftarrow d_{pre} x + s_{pre} \qquad y \leftarrow d_{post} y + s_{post} \qquad
        \Delta w = f_{post}(w) \sum_b s_{post} x - f_{pre}(w) \sum_b y s_{pre}

    Traces are updated first, so that spikes of the same step count in both terms.

    Args:
        decay_pre: fraction of the trace of the input that is left after one step.
        decay_post: the same for the output.
        f_pre: how depression, at spikes of the input, depends on the weight.
        f_post: how potentiation, at spikes of the output, depends on the weight.

    Source: the form and names are those of snnTorch's ``stdp_linear_single_step``.

    >>> from spikeloom.learning.hebbian import outer
    >>> rule = PairRule.of_times(2.0, 2.0, f_pre=torch.ones_like, f_post=torch.ones_like)
    >>> one, none, weight = torch.ones(1), torch.zeros(1), torch.zeros(1, 1)
    >>> traces, _ = rule.step(weight, outer, one, none)  # the input fires, then the output
    >>> rule.step(weight, outer, none, one, traces)[1]
    tensor([[0.5000]])
    """

    decay_pre: float
    decay_post: float
    f_pre: Callable[[Tensor], Tensor] = unchanged
    f_post: Callable[[Tensor], Tensor] = unchanged

    @classmethod
    def of_times(
        cls,
        tau_pre: float,
        tau_post: float,
        f_pre: Callable[[Tensor], Tensor] = unchanged,
        f_post: Callable[[Tensor], Tensor] = unchanged,
        *,
        exact: bool = False,
    ) -> "PairRule":
        """The rule with time constants in steps; ``exact`` takes exp(-1 / tau) instead of 1 - 1 /
        tau.

        Raises:
            ValueError: a time constant is too small.
        """
        return cls(
            decay("tau_pre", tau_pre, exact=exact),
            decay("tau_post", tau_post, exact=exact),
            f_pre,
            f_post,
        )

    def step(
        self,
        weight: Tensor,
        product: Product,
        pre: Tensor,
        post: Tensor,
        traces: Traces | None = None,
    ) -> tuple[Traces, Tensor]:
        """Traces and change of the weight after the spikes of one step.

        Args:
            weight: of the synapse.
            product: of what enters and what leaves the synapse: `hebbian.outer`, or
                `hebbian.correlate` with the synapse filled in.
            pre: spikes that enter the synapse, as ``product`` takes them.
            post: spikes of the neurons that it feeds.
            traces: those of the step before. Default: none.

        Returns:
            The new traces, and the change as ``product`` returns it: in the shape of the weight, or
            with a batch axis.

        Raises:
            ValueError: the traces are those of a batch of another size.
        """
        traces = traces or Traces()
        traces = Traces(
            trace(traces.pre, pre, self.decay_pre), trace(traces.post, post, self.decay_post)
        )
        weight = weight.detach()
        change = self.f_post(weight) * product(traces.pre, post) - self.f_pre(weight) * product(
            pre, traces.post
        )
        return traces, change
