"""Checks at the boundary, and the texts of their errors.

Every message has three parts: the rule, what was received, and what to write instead. The functions
here are the shared ones; a check that only one function needs is part of that function.
"""

import difflib
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch._C._functorch import maybe_current_level
from torch.autograd import forward_ad

__all__ = [
    "at_most_axes",
    "axis_has",
    "choice",
    "direct",
    "finite",
    "finite_parameters",
    "flags",
    "floating",
    "forward_mode",
    "has_samples",
    "in_range",
    "installed",
    "not_traced",
    "readable",
    "require",
    "suggesting",
    "transformed",
    "watched",
]


P = ParamSpec("P")
R = TypeVar("R")

_PLAIN = (Tensor, nn.Parameter)
DISTRIBUTIONS = {"PIL": "pillow"}  # packages that are installed under another name


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional third party where it is used.

    Args:
        module: dotted name of the module to import.
        extra: extra of this package that installs it.
        purpose: what it is needed for, as the beginning of the message.

    Raises:
        ImportError: it is not installed; the message names the command that installs it.

    >>> require("json", extra="data", purpose="reading a file").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the module is there, something that it imports is not
        raise ImportError(
            f"{purpose} needs {top}, which is not installed; write: pip install "
            f"{DISTRIBUTIONS.get(top, top)} (of the extra spikeloom[{extra}])"
        ) from error


@cache
def installed(package: str) -> bool:
    """Whether a package can be imported; cached, because every call of a layer needs the result.

    >>> installed("json"), installed("no_such_package")
    (True, False)
    """
    return find_spec(package) is not None


def choice(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Return ``value`` if it is one of ``allowed``.

    Raises:
        ValueError: it is not; the message lists what is allowed and the nearest spelling.

    >>> choice("reset_mechanism", "zero", ["subtract", "zero", "none"])
    'zero'
    """
    allowed = list(allowed)
    if isinstance(value, Hashable) and value in allowed:
        return value
    near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")


def suggesting(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function name the closest argument where one is misspelt, as Python does from 3.13.

    >>> @suggesting
    ... def train(*, epochs=1):
    ...     return epochs
    >>> train(epoch=2)
    Traceback (most recent call last):
    TypeError: train() got an unexpected keyword argument 'epoch'; did you mean 'epochs'?
    """
    names = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(names)}"
                raise TypeError(
                    f"{function.__name__}() got an unexpected keyword argument {name!r}; {hint}"
                )
        return function(*args, **kwargs)

    return checked


def in_range(
    name: str,
    value: Any,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    open_high: bool = False,
    why: str = "",
) -> None:
    """Check that a number, or every element of a tensor, is between ``low`` and ``high``.

    Args:
        name: of the argument, for the message.
        value: a number or a tensor.
        low: least value; excluded if ``open_low``.
        high: greatest value; excluded if ``open_high``.
        open_low: exclude ``low``; an infinite one always is.
        open_high: exclude ``high``; likewise.
        why: the reason for the rule, for the message.

    Raises:
        TypeError: it is neither.
        ValueError: an element is outside or NaN; the message shows the first such element.

    >>> in_range("beta", 0.9, 0.0, 1.0)
    """
    low, high = float(low), float(high)
    open_low, open_high = open_low or math.isinf(low), open_high or math.isinf(high)
    interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    try:
        values = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be a number or a tensor, got {value!r}; write one in {interval}"
        ) from error
    if values.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {values.layout}; write .to_dense()")
    if values.dtype == torch.bool or values.is_complex():
        raise TypeError(
            f"{name} must be a real number or a tensor of them, got {value!r}; write one in "
            f"{interval}"
        )
    if values.device.type == "meta":
        return
    inside = (values > low if open_low else values >= low) & (
        values < high if open_high else values <= high
    )
    if bool(inside.all()):
        return
    bad = values[~inside].flatten()[0].item()
    why = why if math.isfinite(bad) else "write a finite number"
    raise ValueError(f"{name} must be in {interval}, got {bad:g}{'; ' + why if why else ''}")


def flags(kind: str, **values: Any) -> None:
    """Check that arguments are True or False; 0 and 1 count as such.

    Args:
        kind: of layer, for the message.
        **values: the arguments by name.

    Raises:
        TypeError: one of them is something else, which Python would take as True.

    >>> flags("Leaky", init_hidden=True, output=0)
    """
    for name, value in values.items():
        if value is True or value is False:
            continue
        if (
            isinstance(value, Tensor)
            or type(value).__name__ not in ("int", "bool", "bool_")
            or value not in (0, 1)
        ):
            raise TypeError(
                f"{kind}: {name} must be True or False, got {value!r}; write {name}=True or leave "
                "it out"
            )


def floating(x: Tensor, what: str = "the input") -> None:
    """Check that ``x`` is a floating-point tensor.

    Raises:
        TypeError: it is something else; the message says how to convert it.

    >>> floating(torch.zeros(2))
    """
    if not isinstance(x, Tensor):
        kind = type(x).__name__
        hint = (
            " (a neuron without init_hidden=True returns (spk, state): take [0])"
            if isinstance(x, tuple)
            else ""
        )
        raise TypeError(
            f"{what} must be a torch.Tensor, got {kind}{hint}; write torch.as_tensor(...) or "
            "unpack it first"
        )
    if x.layout is not torch.strided:
        raise TypeError(f"{what} must be a dense tensor, got {x.layout}; write x.to_dense()")
    if not x.is_floating_point():
        raise TypeError(
            f"{what} must be floating point, got {x.dtype} of shape {tuple(x.shape)}; write "
            "x.float()"
        )


def axis_has(kind: str, name: str, size: int, x: Tensor, axis: int) -> None:
    """Check the size of one axis of one step of an input.

    Args:
        kind: of layer, for the message.
        name: of the argument that fixes the size.
        size: value of that argument.
        x: one step, [B, ...].
        axis: counted from the end, negative.

    Raises:
        ValueError: the axis is missing or of another size.

    >>> axis_has("SLSTM", "input_size", 3, torch.zeros(2, 3), -1)
    """
    if x.dim() >= -axis and x.shape[axis] == size:
        return
    hint = (
        f"write {name}={x.shape[axis]}" if x.dim() >= -axis else f"it needs at least {-axis} axes"
    )
    raise ValueError(f"{kind} has {name}={size}, got one step of shape {tuple(x.shape)}; {hint}")


def at_most_axes(kind: str, axes: str, x: Tensor) -> None:
    """Check that one step of an input has no more axes than a layer that owns modules can take.

    Args:
        kind: of layer, for the message.
        axes: names of the axes, such as ``"B, features"``.
        x: one step.

    Raises:
        ValueError: there are more.

    >>> at_most_axes("SLSTM", "B, features", torch.zeros(2, 3))
    """
    if x.dim() > axes.count(",") + 1:
        raise ValueError(
            f"{kind} takes one step [{axes}], got {tuple(x.shape)}; for a sequence write "
            "snn.run(net, x) or "
            'mode="sequence"'
        )


def finite(x: Tensor, what: str = "the input") -> None:
    """Check that ``x`` holds neither NaN nor infinity, in about the time of one sum.

    Args:
        x: any floating-point tensor.
        what: how the message names it.

    Raises:
        ValueError: it does; the message counts them. A NaN membrane never crosses the threshold and
            would look like silence.

    >>> finite(torch.ones(3))
    """
    if not readable(x):
        return
    x = x.detach() if x.requires_grad else x
    if math.isfinite(x.sum().item()):
        return
    bad = int((~torch.isfinite(x)).sum())
    if bad:  # a sum of large finite numbers may overflow
        raise ValueError(
            f"{what} holds {bad} NaN or infinite values of {x.numel()} (shape {tuple(x.shape)}); "
            "a NaN membrane never spikes, like a silent neuron: clean it, e.g. torch.nan_to_num(x)"
        )


def finite_parameters(net: nn.Module) -> None:
    """Check that no parameter of a network holds NaN or infinity.

    Args:
        net: any network; parameters without values, as of a lazy layer or on the meta device, are
            left out.

    Raises:
        ValueError: one does; the message names its layer.

    >>> finite_parameters(torch.nn.Linear(2, 3))
    """
    for path, value in net.named_parameters():
        if nn.parameter.is_lazy(value):
            continue
        layer, _, name = path.rpartition(".")
        finite(value, f"the {name} of layer {layer!r}" if layer else f"the {name} of the network")


def has_samples(x: Tensor, what: str = "the input", axis: int = 0) -> None:
    """Check that a batch is not empty.

    Args:
        x: the batch.
        what: how the message names it.
        axis: along which samples lie.

    Raises:
        ValueError: it is.

    >>> has_samples(torch.zeros(1, 3))
    """
    if x.shape[axis] == 0:
        raise ValueError(
            f"{what} must hold at least one sample, got {tuple(x.shape)}; leave empty batches out"
        )


def not_traced(neuron: Any) -> None:
    """Refuse ``torch.jit.trace`` of a neuron whose remembered state would become a constant.

    Raises:
        TypeError: it has ``init_hidden=True``.

    >>> import spikeloom as snn
    >>> not_traced(snn.Leaky(0.9))
    """
    if neuron.init_hidden:
        raise TypeError(
            f"torch.jit.trace would write the state of {type(neuron).__name__}(init_hidden=True) "
            "into the trace as a constant; write torch.export.export of a module whose forward "
            "calls snn.run(net, x)"
        )


def readable(x: Tensor) -> bool:
    """Whether values can be read now: not on meta or fake, not in a transform, trace or capture.

    >>> readable(torch.ones(1)), readable(torch.ones(1, device="meta"))
    (True, False)
    """
    if torch.compiler.is_compiling() or x.is_meta or maybe_current_level() is not None:
        return False
    if torch._C._len_torch_dispatch_stack() > 0 or torch._C._get_tracing_state() is not None:
        return False
    if type(x) not in _PLAIN and hasattr(x, "fake_mode"):
        return False
    return not x.is_cuda or not torch.cuda.is_current_stream_capturing()


def transformed() -> bool:
    """Whether a ``torch.func`` transform (grad, vmap, ...) runs, which hides the values of tensors.

    >>> transformed()
    False
    """
    return maybe_current_level() is not None


def forward_mode() -> bool:
    """Whether a derivative is being computed in forward mode, `torch.autograd.forward_ad`.

    >>> forward_mode()
    False
    """
    return forward_ad._current_level >= 0


def direct(x: Tensor) -> bool:
    """Whether torch alone computes on ``x``: a tensor on the CPU, not traced and not transformed.

    >>> direct(torch.ones(1)), direct(torch.ones(1, device="meta"))
    (True, False)
    """
    return (
        not torch.compiler.is_compiling()
        and type(x) in _PLAIN
        and x.is_cpu
        and maybe_current_level() is None
        and forward_ad._current_level < 0
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._get_tracing_state() is None
    )


def watched(*tensors: Tensor) -> bool:
    """Whether operations on ``tensors`` are recorded or replaced, as by ``torch.compile``.

    >>> watched(torch.ones(1))
    False
    """
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:
        return True
    return not all(type(t) in _PLAIN for t in tensors)
