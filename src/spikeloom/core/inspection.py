"""What a neuron checks of a call before it does any work: axes, dtypes, devices, NaN, spent graphs."""

import warnings
from typing import Any

import torch
from torch import Tensor

from . import checks, dispatch, graph

__all__ = ["TimeAxisWarning", "inspect_input", "inspect_state"]


class TimeAxisWarning(UserWarning):
    """An input in step mode has the number of axes of a sequence."""


def inspect_input(neuron: Any, x: Tensor, sequence: bool, timed: bool) -> None:
    """Check an input before work is done; what depends on its shape only once for each shape.

    Args:
        neuron: which received it.
        x: the input.
        sequence: whether the neuron runs over time.
        timed: whether ``x`` has a time axis, [T, B, ...].
    """
    kind = type(neuron).__name__
    checks.floating(x, f"the input of {kind}")
    seen = (x.shape, x.dtype, x.device, sequence)
    if seen != neuron._checked:
        _axes(neuron, x, sequence, timed)
        _params(neuron, x.detach()[0] if timed else x)
        neuron._checked = seen
    # elsewhere than on the CPU the answer would stall the queue; snn.run looks once per call
    if x.device.type == "cpu" and not (timed and dispatch.looks(neuron.transition, x)):
        checks.finite(x, f"the input of {kind}")


def _axes(neuron: Any, x: Tensor, sequence: bool, timed: bool) -> None:
    kind = type(neuron).__name__
    if timed and x.dim() > 0 and len(x) == 0:
        raise ValueError(f"{kind} needs at least one time step, got {tuple(x.shape)}; expected [T, B, features...]")
    if sequence and x.dim() < 2 + timed:
        raise ValueError(
            f"{kind} in sequence mode expects [T, B, features...], got {tuple(x.shape)}; for one time step write "
            'mode="step", for a single feature x.unsqueeze(-1), for a single sample x.unsqueeze(1)'
        )
    unbatched_image = getattr(neuron, "conv2d_channels", None) is not None
    if not sequence and x.dim() == 3 and "sequence" in neuron.modes and not unbatched_image:
        warnings.warn(
            f"{kind} in step mode takes axis 0 of {tuple(x.shape)} as the batch; if it is time, write "
            'mode="sequence" or snn.run(net, x)',
            TimeAxisWarning,
            stacklevel=7,
        )


def _params(neuron: Any, x: Tensor) -> None:
    kind, target = type(neuron).__name__, neuron.state_shape(x)
    for name in neuron._names:
        value = getattr(neuron, name)
        if value.device != x.device:
            raise RuntimeError(f"{kind} is on {value.device}, its input on {x.device}; write net.to({str(x.device)!r})")
        fits = value.dim() <= len(target) or value.numel() == 1
        pairs = zip(reversed(value.shape), reversed(target), strict=False)
        if not fits or any(v not in (1, t) for v, t in pairs):
            raise ValueError(
                f"{kind}: {name} of shape {tuple(value.shape)} does not broadcast against one step of the input, "
                f"{tuple(target)}; give one value, or one for each neuron"
            )


def inspect_state(neuron: Any, name: str, value: Tensor, x: Tensor) -> None:
    """Check a state that a step is about to start from."""
    kind = type(neuron).__name__
    if value.device != x.device:
        raise RuntimeError(f"{kind}: {name} is on {value.device}, the input on {x.device}; write {name}.to(x.device)")
    if value.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise TypeError(
            f"{kind}: {name} is {value.dtype}, the input {x.dtype}; write {name}.to(x.dtype) or snn.reset(net)"
        )
    if value.requires_grad and torch.is_grad_enabled() and graph.is_freed(value):
        raise RuntimeError(
            f"{kind}: {name} still hangs on the graph of a batch that backward() has already used; call "
            "snn.reset(net) at the start of each batch, or snn.detach(net) to go on from its values"
        )
