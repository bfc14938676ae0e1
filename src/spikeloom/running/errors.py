"""Errors that name the layer: checks before a call, and the layer's path in front of its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv
from torch.nn.modules.lazy import LazyModuleMixin

__all__ = ["AxesError", "Place", "expect", "explained", "located"]

_AXES = {"1d": (3,), "2d": (4,), "3d": (5,)}


class AxesError(ValueError):
    """The input of a layer has too many or too few axes."""


class Place:
    """Path and module of the layer that was entered last.

    Args:
        axes: of a step of the network's input, where it is static.
    """

    def __init__(self, axes: int = 0) -> None:
        self.axes = axes
        self.path = ""
        self.module = None

    def enter(self, path: str, module: Any) -> None:
        self.path = path
        self.module = module

    def leave(self) -> None:
        self.path = ""
        self.module = None


@contextmanager
def located(place: Place) -> Iterator[None]:
    """Put the layer's path in front of the message of an error raised inside the block."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        known = (ValueError, TypeError, RuntimeError, AxesError)
        if place.module is None or type(error) not in known:
            raise
        if str(error).startswith("layer '"):  # a layer that ran later names itself
            raise
        raise type(error)(
            f"layer {place.path!r} ({type(place.module).__name__}): {error}"
        ) from error


@contextmanager
def explained(net: nn.Module) -> Iterator[None]:
    """Check the input of each layer that is called in the block, and name the layer in errors."""
    place = Place()

    def before(path: str) -> Any:
        def check(module: nn.Module, args: tuple[Any, ...]) -> None:
            place.enter(path, module)
            if args:
                expect(module, args[0], None, place.axes)

        return check

    def after(module: nn.Module, args: Any, output: Any) -> None:
        place.leave()

    handles = []
    for path, module in net.named_modules():
        if not any(True for _ in module.children()):
            handles.append(module.register_forward_pre_hook(before(path)))
            handles.append(module.register_forward_hook(after))
    try:
        with located(place):
            yield
    finally:
        for handle in handles:
            handle.remove()


def expect(module: nn.Module, value: Any, num_steps: int | None, axes: int = 0) -> None:
    """Check one step of the input of a weight-carrying layer before it is called.

    Args:
        module: the layer.
        value: one step of its input, [B, ...].
        num_steps: T where the input of the network is static, else None.
        axes: of a step of the network's input.

    Raises:
        TypeError: the layer before returned ``(spk, state)``, or the dtype is another one.
        ValueError: the number of axes or of features is wrong.
    """
    if isinstance(value, tuple):
        raise TypeError(
            f"received {len(value)} values from the layer before it; a neuron inside "
            "nn.Sequential needs "
            "init_hidden=True (and no output=True), so that it passes on its spikes only; after "
            "nn.LSTM or nn.GRU pass on the first value"
        )
    weight = getattr(module, "weight", None)
    if not isinstance(value, Tensor) or not isinstance(weight, Tensor):
        return
    if isinstance(module, LazyModuleMixin):  # takes its sizes from this very input
        return
    _expect_axes(module, value, num_steps, axes)
    _expect_features(module, value)
    if value.device != weight.device:
        raise RuntimeError(
            f"its weight is on {weight.device}, its input on {value.device}; write net.to(device)"
        )
    _expect_dtype(module, value, weight)


def _expect_dtype(module: nn.Module, value: Tensor, weight: Tensor) -> None:
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        if value.is_floating_point():
            raise TypeError(f"its input must be whole numbers, got {value.dtype}; write x.long()")
        return
    if value.is_floating_point():
        fits = value.dtype == weight.dtype or _autocast(value)
    else:  # a layer of the user may look its weights up
        fits = not type(module).__module__.startswith("torch.nn.")
    if not fits:
        raise TypeError(
            f"its weight is {weight.dtype}, its input {value.dtype}; write x.to({weight.dtype})"
        )


def _autocast(value: Tensor) -> bool:
    return torch.is_autocast_enabled(value.device.type)


def _expect_axes(module: nn.Module, value: Tensor, num_steps: int | None, axes: int) -> None:
    shape = tuple(value.shape)
    if isinstance(module, nn.Linear):
        if value.dim() < 2:
            raise AxesError(
                f"a step of its input has shape {shape} and no batch axis; "
                f"{_hint(num_steps, value)}"
            )
        if num_steps and value.dim() == axes > 2 and shape[0] == num_steps:
            raise ValueError(
                f"its static input {shape} has as many rows as num_steps={num_steps}; if axis 0 "
                "is time, drop "
                "num_steps; if it is not, write snn.run(net, x.expand(num_steps, *x.shape))"
            )
    elif isinstance(module, conv._ConvNd):
        wanted = _AXES.get(type(module).__name__[-2:].lower(), ())
        if wanted and value.dim() not in wanted:
            raise AxesError(
                f"a step of its input has shape {shape}, expected {wanted[0]} axes; "
                f"{_hint(num_steps, value)}"
            )


def _hint(num_steps: int | None, value: Tensor) -> str:
    if num_steps:
        return "if x already has a time axis, drop num_steps; a single sample needs x.unsqueeze(0)"
    return "a static input [B, ...] needs num_steps=..., a single sample over time x.unsqueeze(1)"


def _expect_features(module: nn.Module, value: Tensor) -> None:
    shape = tuple(value.shape)
    if isinstance(module, nn.Linear) and shape[-1] != module.in_features:
        raise ValueError(
            f"expects {module.in_features} features in the last axis, got a step of shape {shape}; "
            f"change in_features to {shape[-1]}, or flatten the input if features span several "
            "axes"
        )
    wanted = module.in_channels if isinstance(module, conv._ConvNd) else None
    wanted = module.num_features if isinstance(module, batchnorm._BatchNorm) else wanted
    if wanted is not None and value.dim() > 1 and shape[1] != wanted:
        raise ValueError(f"expects {wanted} channels in axis 1, got a step of shape {shape}")
