r"""Surrogate gradients: a spike is a step, its derivative is borrowed from a smooth curve.

Forward, every surrogate is ``H(x) = 1 if x > 0 else 0`` in the dtype of ``x``, where ``x`` is the
membrane minus the threshold. Backward, the incoming gradient is multiplied by ``derivative(x)``,
the derivative of ``primitive(x)``. Surrogates are frozen values: hashable, picklable, equal by
content, and readable by every backend. snnTorch's curves are in `spikeloom.core.curves`, its
spellings in `spikeloom.surrogate`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level

from . import checks

__all__ = [
    "CustomSurrogate",
    "Disabled",
    "SpikeFunction",
    "Surrogate",
    "above",
    "resolve",
    "spikes_of",
]

SpikeFunction: TypeAlias = Callable[[Tensor], Tensor]

_ZERO = torch.zeros((), device="cpu")  # compares faster than a number


def above(x: Tensor, level: Tensor | None = None) -> Tensor:
    """1 where ``x`` is above ``level``, else 0, in the dtype of ``x`` and without gradient.

    On the CPU, a comparison that writes numbers takes a tenth of the time of one that writes truth
    values and converts them.

    Args:
        x: what is compared.
        level: broadcasts against ``x``; None: 0.

    >>> above(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor(-0.5))
    tensor([0., 1., 1.])
    """
    # without a gradient detach() would change nothing, and cost as much as the comparison
    if torch.is_grad_enabled():
        x = x.detach() if x.requires_grad else x
        level = level.detach() if level is not None and level.requires_grad else level
    if checks.direct(x):
        return torch.gt(x, _ZERO if level is None else level, out=x.new_empty(0))
    over = x if level is None else x - level
    return (over > 0).to(x.dtype)


class _Heaviside(torch.autograd.Function):
    """The step with a borrowed derivative; one function for all surrogates.

    With ``setup_context`` instead of ``ctx``, ``apply`` calls `inspect` every time, which costs 30
    us.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: "Surrogate") -> Tensor:
        ctx.surrogate = surrogate
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return above(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(x), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (x,) = ctx.saved_tensors
        return tangents[0] * ctx.surrogate.derivative(x)


# without what ``apply`` does for `torch.func` alone
_applied: Any = super(torch.autograd.Function, _Heaviside).apply  # pyright: ignore


class _CompiledHeaviside(torch.autograd.Function):
    """The same for `torch.compile`, which takes neither ``jvp`` nor ``save_for_forward``."""

    generate_vmap_rule = True
    backward = _Heaviside.backward

    @staticmethod
    def forward(x: Tensor, surrogate: "Surrogate") -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)


class _TransformedHeaviside(_CompiledHeaviside):
    """The same for `torch.func`, which needs ``setup_context``."""

    jvp = _Heaviside.jvp

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _CompiledHeaviside.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[0])


@dataclass(frozen=True)
class Surrogate:
    """Base of the surrogates: callable on ``mem - threshold``, differentiable by ``derivative``.

    A subclass is a frozen dataclass with elementwise ``primitive`` and ``derivative``; it then
    works with every neuron and every backend.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Box(Surrogate):
    ...     def primitive(self, x): return x.clamp(-0.5, 0.5)
    ...     def derivative(self, x): return (x.abs() < 0.5).to(x.dtype)
    >>> x = torch.tensor([-0.2, 0.2, 2.0], requires_grad=True)
    >>> Box()(x).sum().backward()
    >>> x.grad
    tensor([1., 1., 0.])
    """

    def __call__(self, x: Tensor) -> Tensor:
        if checks.direct(x):
            differentiable = x.requires_grad and torch.is_grad_enabled()
            return _applied(x, self) if differentiable else above(x)
        if torch.compiler.is_compiling():
            return cast(Tensor, _CompiledHeaviside.apply(x, self))
        if maybe_current_level() is not None:
            return cast(Tensor, _TransformedHeaviside.apply(x, self))
        return cast(Tensor, _Heaviside.apply(x, self))

    @classmethod
    def apply(cls, x: Tensor, *options: float) -> Tensor:
        """snnTorch's functional spelling: ``FastSigmoid.apply(x, slope)``."""
        return cls(*options)(x)

    def primitive(self, x: Tensor) -> Tensor:
        """The smooth curve whose derivative replaces the derivative of the step."""
        raise NotImplementedError

    def derivative(self, x: Tensor) -> Tensor:
        """What the incoming gradient is multiplied by, in the shape and dtype of ``x``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Disabled:
    """A step without any gradient (``surrogate_disable=True``): spikes are cut from the graph.

    >>> Disabled()(torch.tensor([0.5, -0.5]))
    tensor([1., 0.])
    """

    def __call__(self, x: Tensor) -> Tensor:
        return above(x)


class _Custom(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, rule: Callable[..., Tensor]) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.rule = inputs
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, spk = ctx.saved_tensors
        return ctx.rule(x, grads[0], spk), None


@dataclass(frozen=True)
class CustomSurrogate:
    """A surrogate from a function ``(input_, grad_input, spikes) -> gradient``.

    Picklable if the function is. Prefer a `Surrogate` subclass: it also has a primitive.

    Args:
        custom_surrogate_function: receives the membrane minus the threshold, the incoming gradient
            and the spikes.

    >>> x = torch.tensor([0.5, -2.0], requires_grad=True)
    >>> box = CustomSurrogate(lambda input_, grad_input, spikes: grad_input * (input_.abs() < 1))
    >>> box(x).sum().backward()
    >>> x.grad
    tensor([1., 0.])
    """

    custom_surrogate_function: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        if not callable(self.custom_surrogate_function):
            raise TypeError(
                "custom_surrogate_function must be callable, got "
                f"{self.custom_surrogate_function!r}; "
                "write a function (input_, grad_input, spikes) -> gradient"
            )

    def __call__(self, x: Tensor) -> Tensor:
        return _Custom.apply(x, self.custom_surrogate_function)  # pyright: ignore[reportReturnType] (see Surrogate)


def resolve(spike_grad: Any) -> Any:
    """The surrogate for a user's argument: a surrogate, a class, or ``Class.apply``.

    Raises:
        TypeError: ``spike_grad`` is not callable.
    """
    owner = getattr(spike_grad, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, Surrogate):
        spike_grad = owner
    if isinstance(spike_grad, type) and issubclass(spike_grad, Surrogate):
        return spike_grad()
    if not callable(spike_grad):
        raise TypeError(
            f"spike_grad must be a surrogate such as snn.surrogate.atan(), got {spike_grad!r}; "
            "write spike_grad=snn.surrogate.fast_sigmoid(slope=25) or a function of (mem - "
            "threshold)"
        )
    return spike_grad


def spikes_of(spike_grad: SpikeFunction, over: Tensor) -> Tensor:
    """Spikes of ``mem - threshold``.

    Raises:
        TypeError: ``spike_grad`` is a user's function and does not return a tensor of that shape.
    """
    spk = spike_grad(over)
    if isinstance(spike_grad, Surrogate) or getattr(spk, "shape", None) == over.shape:
        return spk
    got = tuple(spk.shape) if isinstance(spk, Tensor) else repr(spk)
    raise TypeError(
        f"spike_grad must return the spikes of its argument, a tensor {tuple(over.shape)}, got "
        f"{got} from {spike_grad!r}; write a function of (mem - threshold) that returns 1 where it "
        "is above 0, or a surrogate such as snn.surrogate.atan()"
    )
