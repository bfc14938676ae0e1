"""What a neuron checks of a call before it does any work: axes, dtypes, devices, NaN, spent
graphs."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from . import checks, graph

__all__ = ["TimeAxisWarning", "inspect_input", "inspect_state", "inspect_values"]

_OWN_DEPTH = (
    5  # nodes from a membrane to the product with its decay, which saves tensors in every neuron
)
_COMPUTING = (nn.Linear, nn.Conv2d, nn.LSTMCell, nn.RNN)


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
    if not isinstance(x, Tensor) or not x.is_floating_point():
        checks.floating(x, f"the input of {type(neuron).__name__}")
    seen = (x.shape, x.dtype, x.device, sequence)
    if seen != neuron._checked:
        checks.floating(x, f"the input of {type(neuron).__name__}")
        _axes(neuron, x, sequence, timed)
        _params(neuron, x.detach()[0] if timed else x)
        neuron._checked = seen
    inspect_values(neuron)
    # elsewhere than on the CPU the answer would stall the queue; snn.run looks once per call
    if x.device.type == "cpu" and not sequence:  # a sequence is looked at where it runs
        checks.finite(x, f"the input of {type(neuron).__name__}")


def inspect_values(neuron: Any) -> None:
    """Check the parameters, and the weights of the modules right below, that were written since the
    last look.

    Reads version counters only where nothing was written, because this runs at every step.
    """
    known: dict[str, Any] = neuron._versions
    parameters, buffers = neuron._parameters, neuron._buffers
    changed: list[tuple[str, Tensor]] = []
    for name in neuron._names:
        value = parameters.get(name)
        if value is None:
            value = buffers.get(name)
        if value is None:
            value = getattr(neuron, name)  # a property, or a parametrization
        if not _is_known(known.get(name), value):
            changed.append((name, value))
    for child, module in neuron._modules.items():
        for name, value in module._parameters.items() if module is not None else ():
            if value is not None and not _is_known(known.get(f"{child}.{name}"), value):
                changed.append((f"{child}.{name}", value))
    if changed and all(checks.readable(value) for _, value in changed):
        _look(neuron, changed)


def _is_known(seen: Any, value: Tensor) -> bool:
    return seen is not None and seen[0] is value and seen[1] == _version(value)


def _version(value: Tensor) -> int:
    return -1 if value.is_inference() else value._version  # inference tensors have no counter


def _look(neuron: Any, changed: list[tuple[str, Tensor]]) -> None:
    kind = type(neuron).__name__
    with torch.no_grad():
        for name, value in changed:
            if neuron._unset and name in neuron._names and _version(value) == 0:
                raise RuntimeError(
                    f"{kind}: {name} was made on the meta device and holds no values yet; call "
                    "neuron.reset_parameters() or load_state_dict() after to_empty()"
                )
            if name == "threshold" and not neuron.spiking:
                continue
            bad = int((~torch.isfinite(value)).sum()) if value.is_floating_point() else 0
            if bad:
                raise ValueError(
                    f"{kind}: {name} holds {bad} NaN or infinite values of {value.numel()}; "
                    "training has diverged or "
                    "a file was damaged: load an earlier state, lower the learning rate or clip "
                    "the gradients"
                )
            if name in neuron.positive and not bool((value > 0).all()):
                raise ValueError(
                    f"{kind}: {name} must stay above 0, got {value.min():.4g}; a neuron at rest "
                    "would fire or divide "
                    f"by 0: after optimizer.step() write neuron.{name}.data.clamp_(min=1e-3)"
                )
        neuron.inspect_together()
    for name, value in changed:
        neuron._versions[name] = (value, _version(value))


def _axes(neuron: Any, x: Tensor, sequence: bool, timed: bool) -> None:
    kind = type(neuron).__name__
    if timed and x.dim() > 0 and len(x) == 0:
        raise ValueError(
            f"{kind} needs at least one time step, got {tuple(x.shape)}; expected [T, B, "
            "features...]"
        )
    if sequence and x.dim() < 2 + timed:
        raise ValueError(
            f"{kind} in sequence mode expects [T, B, features...], got {tuple(x.shape)}; for one "
            "time step write "
            'mode="step", for a single feature x.unsqueeze(-1), for a single sample x.unsqueeze(1)'
        )
    unbatched_image = getattr(neuron, "conv2d_channels", None) is not None
    if not sequence and x.dim() == 3 and "sequence" in neuron.modes and not unbatched_image:
        warnings.warn(
            f"{kind} in step mode takes axis 0 of {tuple(x.shape)} as the batch; if it is time, "
            "write "
            'mode="sequence" or snn.run(net, x)',
            TimeAxisWarning,
            stacklevel=7,
        )


def _params(neuron: Any, x: Tensor) -> None:
    kind, target = type(neuron).__name__, neuron.state_shape(x)
    for name in neuron._names:
        value = getattr(neuron, name)
        if value.device != x.device:
            raise RuntimeError(
                f"{kind} is on {value.device}, its input on {x.device}; write "
                f"net.to({str(x.device)!r})"
            )
        fits = value.dim() <= len(target) or value.numel() == 1
        pairs = zip(reversed(value.shape), reversed(target), strict=False)
        if not fits or any(v not in (1, t) for v, t in pairs):
            raise ValueError(
                f"{kind}: {name} of shape {tuple(value.shape)} does not broadcast against one "
                "step of the input, "
                f"{tuple(target)}; give one value, or one for each neuron"
            )
    _weights(neuron, x)


def _weights(neuron: Any, x: Tensor) -> None:
    """Modules below a neuron compute in the dtype of their weights, and torch refuses another one
    in its own words."""
    for child, module in neuron._modules.items():
        weight = (
            next(iter(module._parameters.values()), None)
            if isinstance(module, _COMPUTING)
            else None
        )
        if weight is not None and weight.dtype != x.dtype and not _autocast(x):
            raise TypeError(
                f"{type(neuron).__name__} has {child} in {weight.dtype}, got an input in "
                f"{x.dtype}; write "
                f"x.to({weight.dtype}) or neuron.to({x.dtype})"
            )


def _autocast(x: Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


def inspect_state(neuron: Any, name: str, value: Tensor, x: Tensor, *, passed: bool) -> Tensor:
    """Check a state that a step is about to start from.

    Args:
        neuron: whose state it is.
        name: of the state variable.
        value: what was passed or is remembered.
        x: one step of the input.
        passed: whether the user gave it.

    Returns:
        ``value``, in the dtype of ``x`` if that loses nothing: whole numbers, and zeros of any
        dtype.
    """
    if value.device != x.device:
        kind = type(neuron).__name__
        raise RuntimeError(
            f"{kind}: {name} is on {value.device}, the input on {x.device}; write "
            f"{name}.to(x.device)"
        )
    if value.dtype != x.dtype:
        value = _cast(neuron, name, value, x)
    own = neuron._hidden is not None and value is getattr(neuron._hidden, name)
    foreign = (passed and not own) or neuron._foreign
    if (foreign or value.dtype == torch.float16) and value.device.type == "cpu":
        checks.finite(value, f"{name}, a state of {type(neuron).__name__},")
    if (
        value.requires_grad
        and torch.is_grad_enabled()
        and graph.is_freed(value, _OWN_DEPTH if own else 8)
    ):
        raise RuntimeError(
            f"{type(neuron).__name__}: {name} still hangs on the graph of a batch that backward() "
            "has already used; "
            "call snn.reset(net) at the start of each batch, or snn.detach(net) to go on from its "
            "values"
        )
    return value


def _cast(neuron: Any, name: str, value: Tensor, x: Tensor) -> Tensor:
    if not value.is_floating_point() and not value.is_complex():
        return value.to(x.dtype)
    if _autocast(x):
        return value
    if not value.requires_grad and checks.readable(value) and not bool(value.any()):
        return value.to(x.dtype)
    raise TypeError(
        f"{type(neuron).__name__}: {name} is {value.dtype}, the input {x.dtype}; write "
        f"{name}.to(x.dtype) or "
        "snn.reset(net)"
    )
