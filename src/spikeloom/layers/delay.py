"""Delays of signals by steps and fractions of steps."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.numbers import MOST_UNITS, whole
from ..core.stateful import Stateful

__all__ = ["Delayed", "SynapticDelay"]


_LONGEST = 2**20  # steps; a larger buffer of inputs is a mistake


class Delayed(Stateful):
    """Base of the delays: remembers the last D inputs.

    A subclass declares ``delayed``, from known inputs to outputs.

    Args:
        max_delay: D, the longest delay in steps, >= 1.
        delay: initial delays in steps, in [0, D].
        shape: of ``delay``; one number is expanded to it.
        learn_delay: whether ``delay`` is a parameter.
        kernel: ``"linear"`` or ``"gaussian"``, see `SynapticDelay`.
        sigma: width of the Gaussian in steps, > 0.
        mode: ``"step"`` or ``"sequence"``.

    >>> import torch, spikeloom as snn
    >>> snn.SynapticDelay(max_delay=2, delay=0.25).taps(torch.float32)
    tensor([0.7500, 0.2500, 0.0000])
    """

    batch_axis: ClassVar[int | None] = 1
    takes_ends: ClassVar[bool] = True

    class State(NamedTuple):
        past: Tensor  # the last D inputs, the latest at the end, [D, B, channels, ...]

    def __init__(
        self,
        max_delay: int,
        delay: Any,
        shape: tuple[int, ...],
        learn_delay: bool,
        kernel: str,
        sigma: float,
        mode: str,
    ) -> None:
        max_delay = whole("max_delay", max_delay, 1, _LONGEST)
        checks.flags(type(self).__name__, learn_delay=learn_delay)
        checks.in_range(
            "delay", delay, 0.0, float(max_delay), why="max_delay limits the number of past steps"
        )
        checks.in_range("sigma", sigma, 0.0, float("inf"), open_low=True)
        super().__init__()
        self.mode = mode
        self.max_delay = max_delay
        self.sigma = sigma
        self.kernel = checks.choice("kernel", kernel, ("linear", "gaussian"))
        values = torch.as_tensor(delay).detach().to(torch.get_default_dtype())
        if values.shape not in ((), shape):
            raise ValueError(
                f"delay must be one number or have shape {shape}, got shape {tuple(values.shape)}"
            )
        values = values.expand(shape).clone()
        if learn_delay:
            self.delay = nn.Parameter(values)
        else:
            self.register_buffer("delay", values)

    def taps(self, dtype: torch.dtype) -> Tensor:
        """The weights w of the current delays, [D + 1, *delay.shape], from lag 0."""
        d = _clamped(self.delay.to(dtype), 0, self.max_delay)
        steps = torch.arange(self.max_delay + 1, dtype=dtype, device=d.device)
        steps = steps.view(-1, *[1] * d.dim())
        if self.kernel == "gaussian":
            return torch.softmax(-0.5 * ((steps - d) / self.sigma).square(), 0)
        u = _clamped(steps - d, -1, 1)
        # 1 - |u|, whose slope at the kinks is the mean of both sides.
        hat = ((u + 1).abs() + (u - 1).abs()) / 2 - u.abs()
        # The sum is 1; dividing by it corrects the gradient at the ends, d = 0 and d = D.
        return hat / hat.sum(0)

    def delayed(self, known: Tensor) -> Tensor:
        """The outputs of T steps, [T, B, ...], from D earlier and T present inputs, [D + T, B,
        ...]."""
        raise NotImplementedError

    def check_channels(self, x: Tensor) -> None:
        """Check the features of a step, [B, ...]."""

    def advance(
        self,
        input_: Tensor,
        *,
        sequence: bool,
        num_steps: int | None = None,
        ends: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """Runs one step or all, and returns the delayed signal and the state; see `Stateful`.

        Args:
            input_, sequence, num_steps: as for `Stateful`.
            ends: steps of each sample after which its state stays as it is, [B]. Default: T.
        """
        checks.floating(input_, f"the input of {type(self).__name__}")
        # A check on another device would wait for its queue.
        if not torch.compiler.is_compiling() and input_.device.type == "cpu":
            checks.finite(input_, f"the input of {type(self).__name__}")
        x = input_
        if not sequence or num_steps is not None:
            x = input_.expand(num_steps or 1, *input_.shape)
        known = torch.cat([self._past(x), x])  # [D + T, B, channels, ...]
        y = self.delayed(known)
        if ends is None:
            # A view would keep the whole sequence in memory.
            past = known[len(x) :].clone()
        else:
            lags = torch.arange(self.max_delay, device=known.device).unsqueeze(1)
            past = known[ends + lags, torch.arange(len(ends), device=known.device)]
        self._hidden = self.State(past)
        return (y if sequence else y[0]), self._hidden

    def _past(self, x: Tensor) -> Tensor:
        """The inputs of the last D steps for a sequence like ``x``, zeros at the beginning."""
        self.check_channels(x[0])
        shape = (self.max_delay, *x.shape[1:])
        if self._hidden is None:
            return x.new_zeros(shape)
        past = self._hidden.past
        if past.shape != shape:
            raise ValueError(
                f"{type(self).__name__} remembers inputs of shape {tuple(past.shape[1:])}, got a "
                f"step of shape {tuple(x.shape[1:])}; call snn.reset(net) before a batch of "
                "another size"
            )
        if not torch.compiler.is_compiling():
            past = self.inspect_state("past", past, x, passed=False)
        return past


class SynapticDelay(Delayed):
    r"""Delays each channel by its own number of steps, which may be fractional and learned.

    .. math:: y_c[t] = \sum_{k=0}^{D} w_k(d_c) \, x_c[t - k]

    ``kernel="linear"`` interpolates between the two steps around the delay d. The gradient with
    respect to d is their difference; at an integer d it is the mean of both sides, so that training
    can move d in either direction. ``"gaussian"`` weights all steps by a normal density around d,
    normalised to 1, so that signals further away affect d, too; decrease ``sigma`` while training
    to sharpen it. Place it between a connection and a neuron, or behind a neuron. Its state is the
    last D inputs: ``snn.reset``, ``detach``, ``set_mode`` and ``run`` act on it as on the membrane
    of a neuron.

    Args:
        max_delay: D, the longest delay in steps, >= 1; d is clamped to [0, D] in the equation.
        delay: initial d in steps, in [0, D]; a scalar or shape (channels,).
        channels: size of axis 1 of the input [B, channels, ...]; None for one common delay.
        learn_delay: whether ``delay`` is a parameter.
        kernel: ``"linear"`` or ``"gaussian"``.
        sigma: width of the Gaussian in steps, > 0; it may be assigned later.
        mode: ``"step"`` for inputs [B, channels, ...], ``"sequence"`` for [T, B, channels, ...].

    Raises:
        TypeError: ``max_delay`` or ``channels`` is not a whole number.
        ValueError: ``max_delay`` < 1, ``delay`` out of range or of another shape, an unknown
            ``kernel``, ``sigma`` not positive, or an input without ``channels`` channels.

    Source: Hammouamri, Khalfaoui-Hassani & Masquelier (2024), ICLR, for the Gaussian kernel;
    snnTorch's pull request 453 for the name and the arguments.

    >>> import torch, spikeloom as snn
    >>> layer = snn.SynapticDelay(max_delay=4, delay=1.5, mode="sequence")
    >>> layer(torch.tensor([1.0, 0.0, 0.0, 0.0]).view(4, 1, 1)).flatten()
    tensor([0.0000, 0.5000, 0.5000, 0.0000])
    """

    def __init__(
        self,
        max_delay: int,
        delay: Any = 1.0,
        channels: int | None = None,
        learn_delay: bool = False,
        kernel: str = "linear",
        *,
        sigma: float = 1.0,
        mode: str = "step",
    ) -> None:
        if channels is not None:
            channels = whole("channels", channels, 1, MOST_UNITS)
        shape = () if channels is None else (channels,)
        super().__init__(max_delay, delay, shape, learn_delay, kernel, sigma, mode)
        self.channels = channels

    def delayed(self, known: Tensor) -> Tensor:
        """Each channel from its own lag."""
        weights = self.taps(known.dtype)
        if weights.dim() == 2:
            weights = weights.view(*weights.shape, *[1] * (known.dim() - 3))
        y = known[self.max_delay :] * weights[0]
        for k in range(1, self.max_delay + 1):
            y = torch.addcmul(y, known[self.max_delay - k : len(known) - k], weights[k])
        return y

    def check_channels(self, x: Tensor) -> None:
        if self.channels is not None:
            axis = 1 - x.dim() if x.dim() > 1 else -2
            checks.axis_has("SynapticDelay", "channels", self.channels, x, axis)

    def extra_repr(self) -> str:
        """The arguments."""
        learned = isinstance(self.delay, nn.Parameter)
        return (
            f"max_delay={self.max_delay}, channels={self.channels}, learn_delay={learned}, "
            f"kernel={self.kernel!r}"
        )


def _clamped(value: Tensor, low: float, high: float) -> Tensor:
    """``value.clamp(low, high)`` with a gradient at the edges too, where torch 2.14 has none."""
    return torch.where((value >= low) & (value <= high), value, value.detach().clamp(low, high))
