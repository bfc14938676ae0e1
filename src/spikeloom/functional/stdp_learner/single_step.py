"""One step of STDP for one synapse, as functions of its spikes and traces."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ...learning.hebbian import correlate, outer, pullback
from ...learning.stdp import Memory, PairRule, unchanged
from ...learning.stdp.rule import Product

__all__ = [
    "mstdp_linear_single_step",
    "mstdpet_linear_single_step",
    "stdp_conv1d_single_step",
    "stdp_conv2d_single_step",
    "stdp_linear_single_step",
]

Weighting = Callable[[Tensor], Tensor]
Trace = Tensor | float | None


def stdp_linear_single_step(
    fc: nn.Linear,
    in_spike: Tensor,
    out_spike: Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Weighting = unchanged,
    f_post: Weighting = unchanged,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of pair-based STDP for a linear synapse; traces decay by ``1 - 1 / tau``.

    Args:
        fc: the synapse.
        in_spike: its input, [B, in_features].
        out_spike: spikes of the neurons it feeds, [B, out_features].
        trace_pre: trace of the input after the previous step; None or 0 for none.
        trace_post: trace of the output, likewise.
        tau_pre: time constant of ``trace_pre``, in steps, at least 1.
        tau_post: time constant of ``trace_post``.
        f_pre: how depression depends on the weight, elementwise.
        f_post: how potentiation depends on the weight.

    Returns:
        The new traces, and the change of the weight summed over the batch, [out_features,
        in_features].

    Raises:
        ValueError: a time constant below 1.

    >>> fc = nn.Linear(2, 1, bias=False)
    >>> pre, post = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0]])
    >>> stdp_linear_single_step(
    ...     fc, pre, post, None, None, 2.0, 2.0, torch.zeros_like, torch.ones_like
    ... )[2]
    tensor([[1., 0.]])
    """
    rule = PairRule.of_times(tau_pre, tau_post, f_pre, f_post)
    return _one_step(
        rule, fc.weight, partial(correlate, fc), in_spike, out_spike, trace_pre, trace_post
    )


def mstdp_linear_single_step(
    fc: nn.Linear,
    in_spike: Tensor,
    out_spike: Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Weighting = unchanged,
    f_post: Weighting = unchanged,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of reward-modulated STDP: the eligibility of each sample.

    The caller multiplies it by the sample's reward and sums. Arguments and errors are those of
    `stdp_linear_single_step`, but traces decay by ``exp(-1 / tau)``, tau > 0.

    Returns:
        The new traces, and the eligibility, [B, out_features, in_features].

    >>> spikes = torch.ones(4, 3), torch.ones(4, 2)
    >>> mstdp_linear_single_step(nn.Linear(3, 2), *spikes, None, None, 2.0, 2.0)[2].shape
    torch.Size([4, 2, 3])
    """
    rule = PairRule.of_times(tau_pre, tau_post, f_pre, f_post, exact=True)
    return _one_step(rule, fc.weight, outer, in_spike, out_spike, trace_pre, trace_post)


def mstdpet_linear_single_step(
    fc: nn.Linear,
    in_spike: Tensor,
    out_spike: Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    tau_trace: float,
    f_pre: Weighting = unchanged,
    f_post: Weighting = unchanged,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of reward-modulated STDP with an eligibility trace, which the caller holds.

    As in snnTorch it returns the eligibility of this step; ``tau_trace``, with which the caller
    filters it, has no effect here. Arguments and errors are those of `mstdp_linear_single_step`; a
    single sample, [in_features], is accepted too.

    Returns:
        The new traces, and the eligibility, [out_features, in_features], with the batch axis in
        front if there is one.

    >>> mstdpet_linear_single_step(
    ...     nn.Linear(3, 2), torch.ones(3), torch.ones(2), None, None, 2.0, 2.0, 5.0
    ... )[2].shape
    torch.Size([2, 3])
    """
    return mstdp_linear_single_step(
        fc, in_spike, out_spike, trace_pre, trace_post, tau_pre, tau_post, f_pre, f_post
    )


def stdp_conv2d_single_step(
    conv: nn.Conv2d,
    in_spike: Tensor,
    out_spike: Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Weighting = unchanged,
    f_post: Weighting = unchanged,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of pair-based STDP for a two-dimensional convolution.

    Arguments and errors are those of `stdp_linear_single_step`, with spikes [B, C, H, W] before and
    behind ``conv``. Any stride, padding, dilation and groups work; snnTorch refuses the last two.

    Returns:
        The new traces, that of the input with the padding of the convolution as in snnTorch, and
        the change of the weight, summed over batch and positions.

    >>> spikes = torch.ones(1, 1, 3, 3), torch.ones(1, 2, 3, 3)
    >>> pre, _, change = stdp_conv2d_single_step(
    ...     nn.Conv2d(1, 2, 3, padding=1), *spikes, None, None, 2.0, 2.0
    ... )
    >>> pre.shape, change.shape
    (torch.Size([1, 1, 5, 5]), torch.Size([2, 1, 3, 3]))
    """
    return _conv_step(
        conv, in_spike, out_spike, trace_pre, trace_post, tau_pre, tau_post, f_pre, f_post
    )


def stdp_conv1d_single_step(
    conv: nn.Conv1d,
    in_spike: Tensor,
    out_spike: Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    tau_pre: float,
    tau_post: float,
    f_pre: Weighting = unchanged,
    f_post: Weighting = unchanged,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of pair-based STDP for a one-dimensional convolution.

    Arguments, results and errors are those of `stdp_conv2d_single_step`, with one axis less.

    >>> spikes = torch.ones(1, 1, 3), torch.ones(1, 2, 3)
    >>> pre, _, change = stdp_conv1d_single_step(
    ...     nn.Conv1d(1, 2, 3, padding=1), *spikes, None, None, 2.0, 2.0
    ... )
    >>> pre.shape, change.shape
    (torch.Size([1, 1, 5]), torch.Size([2, 1, 3]))
    """
    return _conv_step(
        conv, in_spike, out_spike, trace_pre, trace_post, tau_pre, tau_post, f_pre, f_post
    )


def _one_step(
    rule: PairRule,
    weight: Tensor,
    product: Product,
    pre: Tensor,
    post: Tensor,
    trace_pre: Trace,
    trace_post: Trace,
) -> tuple[Tensor, Tensor, Tensor]:
    traces, change = rule.proposed(weight, product, pre, post, Memory(trace_pre, trace_post))
    return traces.pre, traces.post, change


def _conv_step(
    conv: nn.Conv1d | nn.Conv2d,
    pre: Tensor,
    post: Tensor,
    trace_pre: Trace,
    trace_post: Trace,
    *rule: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pads first, because snnTorch returns the trace of the padded input."""
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    padded = F.pad(pre, conv._reversed_padding_repeated_twice, mode)
    convolve: Callable[..., Tensor] = F.conv2d if isinstance(conv, nn.Conv2d) else F.conv1d
    options = {"stride": conv.stride, "dilation": conv.dilation, "groups": conv.groups}

    def product(pre: Tensor, post: Tensor) -> Tensor:
        return pullback(lambda weight: convolve(pre, weight, **options), conv.weight, post)

    return _one_step(
        PairRule.of_times(*rule), conv.weight, product, padded, post, trace_pre, trace_post
    )
