"""Regularisers: terms of a loss that keep firing sparse, alive or cheap.

Each is built from its settings and called with spikes ``[T, B, ...]``, and with ``lengths``, [B],
where samples have fewer steps than T.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.checks import finite
from ..core.lengths import checked_lengths, cut
from ..core.numbers import real, tensor, whole
from ..decode import rates

__all__ = ["fan_out", "l1_rate_sparsity", "rate_band", "synops"]


class l1_rate_sparsity:
    """Penalty on every spike: ``Lambda * sum(spk)``.

    Args:
        Lambda: factor, in units of the loss per spike.

    Returns:
        Callable; ``(spk_out)`` gives a number of shape ().

    >>> l1_rate_sparsity(Lambda=0.5)(torch.ones(2, 1, 3))
    tensor(3.)
    """

    def __init__(self, Lambda: float = 1e-5) -> None:
        self.Lambda = real("Lambda", Lambda)
        self.__name__ = type(self).__name__

    def __call__(self, spk_out: Tensor, lengths: Any = None) -> Tensor:
        return self.Lambda * _sum(_until(_spikes(spk_out), lengths))


class rate_band:
    """Penalty on rates outside a band.

    It is ``Lambda * mean_n(relu(low - r_n)^2 + relu(r_n - high)^2)``, with ``r_n`` the rate of
    neuron n, averaged over time and batch. ``low`` revives silent neurons, provided that the
    surrogate still passes them a gradient.

    Args:
        low: lower end of the band, in spikes per step, in [0, ``high``].
        high: upper end of the band, in spikes per step.
        Lambda: factor, in units of the loss.

    Returns:
        Callable; ``(spk_out)`` gives a number of shape ().

    Raises:
        ValueError: the band is empty or begins below 0.

    >>> spk = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])  # rates 0 and 1
    >>> rate_band(low=0.1, high=0.5)(spk)
    tensor(0.1300)
    """

    def __init__(self, low: float, high: float, Lambda: float = 1.0) -> None:
        self.low = real("low", low, example=0.01)
        self.high = real("high", high, example=0.5)
        self.Lambda = real("Lambda", Lambda)
        if not 0 <= self.low <= self.high:
            raise ValueError(
                f"rate_band needs 0 <= low <= high, got low={low}, high={high}; write rates in "
                "spikes per step"
            )
        self.__name__ = type(self).__name__

    def __call__(self, spk_out: Tensor, lengths: Any = None) -> Tensor:
        if not _spikes(spk_out).numel():
            raise ValueError(
                f"rate_band expects at least one neuron and one sample, got {tuple(spk_out.shape)}"
            )
        rate = rates(spk_out, lengths=lengths).mean(0)  # [...]
        below, above = (self.low - rate).relu(), (rate - self.high).relu()
        return (self.Lambda * below * below + self.Lambda * above * above).mean()  # 0 x inf is NaN


class synops:
    """Penalty on synaptic operations: ``Lambda / B * sum_layers sum(spk * fan_out)``.

    Each spike costs one operation at every synapse that it reaches. With ``Lambda=1`` the result is
    the number of operations of one sample, averaged over the batch.

    Args:
        synapses: the module that receives the spikes (`fan_out` counts its connections), or the
            fan-out itself as a number or tensor; or a list or tuple of these, one for each record
            of spikes.
        Lambda: factor, in units of the loss per operation.

    Returns:
        Callable; ``(spk_1, spk_2, ...)``, one record [T, B, ...] for each of ``synapses``, gives a
        number of shape ().

    Raises:
        ValueError: a call has another number of records.

    After Sorbaro, Liu, Bortone & Sheik (2020), Frontiers in Neuroscience 14, 662.

    >>> count = synops(torch.nn.Linear(3, 10), Lambda=1.0)
    >>> count(torch.ones(2, 1, 3))
    tensor(60.)
    """

    def __init__(
        self,
        synapses: nn.Module | Tensor | float | Sequence[nn.Module | Tensor | float],
        Lambda: float = 1e-9,
    ) -> None:
        given = list(synapses) if isinstance(synapses, (list, tuple)) else [synapses]
        self.synapses = [_reach(each) for each in given]
        self.Lambda = real("Lambda", Lambda)
        self.__name__ = type(self).__name__

    def __call__(self, *spk_out: Tensor, lengths: Any = None) -> Tensor:
        if len(spk_out) != len(self.synapses):
            raise ValueError(
                f"synops expects {len(self.synapses)} records of spikes, got {len(spk_out)}; write "
                "one for each synapse"
            )
        operations: Tensor | float = 0.0
        for spk, synapse in zip(spk_out, self.synapses, strict=True):
            if _spikes(spk).dim() < 3 or not spk.shape[1]:
                raise ValueError(
                    "synops expects spikes [T, B, ...] of at least one sample, got "
                    f"{tuple(spk.shape)}"
                )
            reach = fan_out(synapse, spk.shape[2:]) if isinstance(synapse, nn.Module) else synapse
            operations = operations + _sum(_until(spk, lengths) * reach) / spk.shape[1]
        return torch.as_tensor(self.Lambda * operations)


def fan_out(synapse: nn.Module, shape: Sequence[int], *, pruned: bool = False) -> Tensor:
    """Number of outgoing connections of each input of a module.

    It is the gradient of the sum of the outputs with all weights at 1, which is exact at the
    borders of convolutions, for strides, groups and dilations. In a layer with delays it counts
    what an input reaches at any later step, once for each delay of a synapse.

    Args:
        synapse: module with a ``weight``, linear in its input, e.g. ``nn.Linear``, ``nn.Conv2d`` or
            `spikeloom.DelayedLinear`.
        shape: shape of one sample, without time and batch.
        pruned: whether weights of exactly 0 do not count as connections.

    Returns:
        ``shape``, numbers of connections, on the device of the weights.

    Raises:
        TypeError: the module has no ``weight`` of its own.

    >>> fan_out(torch.nn.Conv1d(1, 2, kernel_size=3), (1, 5))
    tensor([[2., 4., 6., 4., 2.]])
    """
    own = dict(synapse.named_parameters()) if isinstance(synapse, nn.Module) else {}
    if "weight" not in own:
        raise TypeError(
            f"fan_out expects a module with a weight, got {type(synapse).__name__}; write e.g. "
            "net.fc2"
        )
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise TypeError(f"shape must be that of one sample, got {shape!r}; write shape=(3, 8, 8)")
    sizes = [whole("shape", size) for size in shape]
    ones = {name: torch.ones_like(value) for name, value in own.items()}
    if pruned:
        ones["weight"] = (own["weight"].detach() != 0).to(own["weight"].dtype)
    like = ones["weight"]
    first = torch.zeros(1, *sizes, dtype=like.dtype, device=like.device, requires_grad=True)
    with torch.enable_grad():
        x = first
        steps: Any = getattr(synapse, "max_delay", None)
        if steps is not None:
            synapse = _over_time(synapse)
            x = torch.cat([first.unsqueeze(0), first.new_zeros(steps, *first.shape)])
        try:
            output = torch.func.functional_call(synapse, ones, (x,))
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"shape must be that of one sample of {synapse}, got {tuple(sizes)}; its forward "
                f"says: {error}"
            ) from error
        (count,) = torch.autograd.grad(output.sum(), first)
    return count.squeeze(0).round()


def _over_time(layer: Any) -> nn.Module:
    """The layer with the same parameters, without a state, for all steps at once."""
    twin = object.__new__(type(layer))  # `copy` would read the state
    twin.__dict__.update(layer.__dict__, _hidden=None)
    twin.mode = "sequence"
    return twin


def _until(spk: Tensor, lengths: Any) -> Tensor:
    """Returns spikes without those after the end of each sample."""
    if lengths is None:
        return spk
    return cut(spk, checked_lengths(lengths, len(spk), spk.shape[1], spk.device))


def _reach(synapse: Any) -> Any:
    """Returns a module, a checked tensor or a checked number unchanged."""
    if not isinstance(synapse, (nn.Module, Tensor)):
        real("synapses", synapse, 0.0)
    if isinstance(synapse, Tensor):
        _spikes(synapse, "synapses")
    return synapse


def _spikes(x: Any, name: str = "spk_out") -> Tensor:
    """Returns a tensor unchanged if it is real and finite."""
    if tensor(name, x).is_complex():
        raise TypeError(f"{name} must be real, got {x.dtype}; write spk.real")
    # A check of values breaks the graph.
    if x.is_floating_point() and not torch.compiler.is_compiling():
        finite(x, name)
    return x


def _sum(x: Tensor) -> Tensor:
    """Sum in float32 at least: half precision overflows at 65504 spikes."""
    return x.sum(dtype=x.dtype if x.dtype == torch.float64 else torch.float32)
