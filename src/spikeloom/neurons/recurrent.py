"""Feedback: the weighted spikes of the last step join the input of this one.

The weights are a linear layer, a convolution, or one number V for each neuron. The last is
elementwise arithmetic, so that such neurons are fused over time like any other.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks, doors
from ..core.numbers import MOST_UNITS, whole
from .leaky import LIF

__all__ = ["Recurrent", "same_size"]


class Recurrent(LIF):
    """Base of neurons whose state has a field ``spk`` and whose spikes are fed back.

    A subclass declares ``State`` and a static ``charge`` (an ``integrate`` that receives input and
    feedback as one current), and calls `connect` in its constructor.
    """

    all_to_all: bool = True
    _feedback: Any = None  # a function of the spikes that was assigned to ``recurrent``

    @staticmethod
    def charge(x: Tensor, state: Any, p: Any) -> Any:
        """The state after ``x``, the sum of input and feedback, before spike and reset."""
        raise NotImplementedError

    def integrate(self, x: Tensor, state: Any, p: Any) -> Any:
        """`charge` with the feedback of the modules."""
        return self.charge(x + self.recurrent(state.spk), state, p)

    @property
    def equations(self) -> Any:
        """The class itself, or with one-to-one feedback its elementwise twin."""
        replaced = doors.through(self.overridden) or "step" in self.overridden
        fused = (
            not self.all_to_all
            and not replaced
            and self._feedback is None
            and "recurrent" not in self._modules
        )
        return _pointwise(type(self)) if fused else super().equations

    @property
    def recurrent(self) -> Any:
        """The feedback: a module, or if one-to-one, a function of the spikes with attribute V."""
        if self._feedback is not None:
            return self._feedback
        module = self._modules.get("recurrent")
        return _OneToOne(self) if module is None else module

    @recurrent.setter
    def recurrent(self, function: Any) -> None:
        self._feedback = function

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if (
            name == "recurrent" and "transition" in self.__dict__
        ):  # a module does not pass through the setter
            self._configure()

    def connect(
        self,
        V: Any,
        all_to_all: bool,
        linear_features: int | None,
        conv2d_channels: int | None,
        kernel_size: Any,
        learn_recurrent: bool,
    ) -> None:
        """Make the feedback weights.

        Args:
            V: weight of one-to-one feedback, a scalar or one value for each neuron.
            all_to_all: whether neurons feed back to other neurons.
            linear_features: size of a layer whose feedback is linear.
            conv2d_channels: number of channels of a layer whose feedback is a convolution.
            kernel_size: of the convolution, odd, one number or two.
            learn_recurrent: whether the weights learn.

        Raises:
            TypeError: the arguments do not name exactly one kind of feedback.
            ValueError: ``kernel_size`` is even, so that the feedback would not have the size of the
                layer.
        """
        kind = type(self).__name__
        if linear_features is not None:
            linear_features = whole("linear_features", linear_features, 1, MOST_UNITS)
        if conv2d_channels is not None:
            conv2d_channels = whole("conv2d_channels", conv2d_channels, 1, MOST_UNITS)
        checks.flags(kind, all_to_all=all_to_all, learn_recurrent=learn_recurrent)
        convolves = conv2d_channels is not None or kernel_size is not None
        self.linear_features = linear_features
        self.conv2d_channels = conv2d_channels
        self.kernel_size = kernel_size
        self.learn_recurrent = learn_recurrent
        if not all_to_all:
            if linear_features is not None or convolves:
                raise TypeError(
                    f"{kind}(all_to_all=False) feeds back one to one and takes V only; leave the "
                    "others out"
                )
            self.all_to_all = False
            self.parameter("V", V, learn_recurrent)
            self._init_recurrent_one_to_one()
            return
        if (linear_features is None) == (not convolves) or (
            convolves and None in (conv2d_channels, kernel_size)
        ):
            raise TypeError(
                f"{kind} needs to know its feedback: linear_features=N, or conv2d_channels=C and "
                "kernel_size=K, or "
                f"all_to_all=False with V; got linear_features={linear_features}, "
                f"conv2d_channels={conv2d_channels}, "
                f"kernel_size={kernel_size}"
            )
        self._init_recurrent_net()
        if not learn_recurrent:
            self._disable_recurrent_grad()

    # -- snnTorch's names, for subclasses that make another feedback -------------------------------

    def _init_recurrent_net(self) -> None:
        if self.linear_features:
            self._init_recurrent_linear()
        else:
            self._init_recurrent_conv2d()

    def _init_recurrent_linear(self) -> None:
        size = int(self.linear_features or 0)
        self.recurrent = nn.Linear(size, size)

    def _init_recurrent_conv2d(self) -> None:
        self._init_padding()
        channels = int(self.conv2d_channels or 0)
        size = _same_padding(self.kernel_size)[0]
        self.recurrent = nn.Conv2d(channels, channels, size, padding=self.padding)

    def _init_padding(self) -> None:
        """Set ``padding``, with which a convolution of ``kernel_size`` keeps height and width."""
        self.padding = _same_padding(self.kernel_size)[1]

    def _init_recurrent_one_to_one(self) -> None:
        """Nothing to make: `recurrent` multiplies by V."""

    def _disable_recurrent_grad(self) -> None:
        self.recurrent.requires_grad_(False)

    def state_shape(self, x: Tensor) -> torch.Size:
        """Shape of ``x``, once it is known to fit the feedback."""
        kind = type(self).__name__
        if self.linear_features is not None:
            checks.axis_has(kind, "linear_features", self.linear_features, x, -1)
        if self.conv2d_channels is not None:
            checks.axis_has(kind, "conv2d_channels", self.conv2d_channels, x, -3)
        return x.shape

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if (
            not self.all_to_all and self.learn_recurrent
        ):  # snnTorch has one parameter under both names
            destination[f"{prefix}recurrent.V"] = destination[f"{prefix}V"]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if not self.all_to_all and f"{prefix}recurrent.V" in state_dict:
            value = state_dict.pop(f"{prefix}recurrent.V")
            state_dict.setdefault(f"{prefix}V", value)
        super()._load_from_state_dict(state_dict, prefix, *args)


class _OneToOne:
    """snnTorch's view of one-to-one feedback: ``neuron.recurrent.V``, ``neuron.recurrent(spk)``."""

    def __init__(self, neuron: Any) -> None:
        self._neuron = neuron

    @property
    def V(self) -> Tensor:
        return self._neuron.V

    @V.setter
    def V(self, value: Tensor) -> None:
        self._neuron.V = value

    def __call__(self, spk: Tensor) -> Tensor:
        return self._neuron.V * spk


@cache
def _pointwise(neuron: type[Recurrent]) -> type:
    """The equations of a neuron with one-to-one feedback, as static functions."""

    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return neuron.charge(x + p.V * state.spk, state, p)

    functions = {"integrate": integrate, "trigger": neuron.trigger, "settle": neuron.settle}
    body = {
        "State": neuron.State,
        "elementwise": True,
        "retract": neuron.retract,
        **{name: staticmethod(f) for name, f in functions.items()},
    }
    return type(
        neuron.__name__,
        (),
        {**body, "__module__": neuron.__module__, "__qualname__": neuron.__qualname__},
    )


def same_size(
    channels: Any, out_channels: Any, kernel_size: Any, *, bias: bool = True
) -> nn.Conv2d:
    """A convolution whose output has the height and width of its input.

    Raises:
        ValueError: the kernel is even, so that there is none.

    >>> same_size(1, 2, (3, 5)).padding
    (1, 2)
    """
    size, padding = _same_padding(kernel_size)
    return nn.Conv2d(channels, out_channels, size, padding=padding, bias=bias)


def _same_padding(kernel_size: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two sizes of an odd kernel, and the padding with which its output keeps its size."""
    given = tuple(kernel_size) if isinstance(kernel_size, Sequence) else (kernel_size, kernel_size)
    if len(given) != 2:
        raise ValueError(
            f"kernel_size must be one number or two, got {kernel_size}; write kernel_size=3"
        )
    size = (
        whole("kernel_size", given[0], 1, MOST_UNITS),
        whole("kernel_size", given[1], 1, MOST_UNITS),
    )
    if any(k % 2 == 0 for k in size):
        raise ValueError(
            f"kernel_size must be odd, got {kernel_size}; an even one changes height and width"
        )
    return size, (size[0] // 2, size[1] // 2)
