"""Leaky integrators that take whole sequences and are never reset."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core import checks
from ..core.reset import Keep
from .leaky import LIF

__all__ = ["StateLeaky"]

_SHORTEST = 1e-3  # exp(-1 / tau) is 0 in every dtype


class StateLeaky(LIF):
    r"""Leaky neuron without reset, for sequences: ``mem`` is an exponentially weighted input sum.

    .. math::
        U[t] = \sum_{k < K} e^{-k / \tau} I[t - k] \qquad \tau = 1 / (1 - \beta) \qquad
        S[t] = H(U[t] - \theta)

    K is the whole past unless ``kernel_truncation_steps`` says otherwise. The decay per step is
    ``exp(-(1 - beta))``, not beta: it is not `Leaky` with ``reset_mechanism="none"``. Every call
    starts at rest, unless a membrane is passed. Unlike in snnTorch ``graded_spikes_factor`` acts
    once, and there is one parameter, ``tau``, of which ``beta`` is a view; ``state_dict`` still
    holds both.

    Args:
        beta: in [0, 1]; a scalar, or shape (1,) or (channels,).
        channels: number of input features; 1 fits any, with one decay for all.
        learn_beta: make ``tau`` a parameter.
        state_quant: a function applied to the membrane after the sum.
        output: False returns the membrane only.
        kernel_truncation_steps: K, > 0; default: the whole past.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: ``beta`` outside [0, 1] or of another shape, K < 1, or an input that has not
            ``channels`` features.

    Source: snnTorch 1.0.0, which introduced it.

    >>> import torch, spikeloom as snn
    >>> spk, mem = snn.StateLeaky(beta=0.5, channels=1)(torch.ones(3, 1, 1))
    >>> spk.flatten(), mem.flatten()
    (tensor([0., 1., 1.]), tensor([1.0000, 1.6065, 1.9744]))
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, channels], in the unit of the threshold

    modes = ("sequence",)
    carries = False
    resets = {"none": Keep()}
    no_nir_node = (
        "it runs whole sequences from rest; use Leaky(beta=exp(beta - 1), reset_mechanism='none')"
    )
    example = {"beta": 0.7, "channels": 5}

    def __init__(
        self,
        beta: Any,
        channels: int,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        state_quant: Any = False,
        output: bool = True,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        kernel_truncation_steps: int | None = None,
    ) -> None:
        checks.in_range("beta", beta, 0.0, 1.0, why="tau is 1 / (1 - beta)")
        beta = torch.as_tensor(
            beta, dtype=None if isinstance(beta, Tensor) else torch.get_default_dtype()
        )
        if beta.shape not in ((), (1,), (channels,)):
            raise ValueError(
                f"beta must be one number or have shape ({channels},), got shape "
                f"{tuple(beta.shape)}"
            )
        if kernel_truncation_steps is not None and kernel_truncation_steps < 1:
            raise ValueError(
                f"kernel_truncation_steps must be at least 1, got {kernel_truncation_steps}; "
                "None: all"
            )
        super().__init__(
            beta,
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
            reset_mechanism="none",
            output=output,
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            mode="sequence",
        )
        self.channels = channels
        self.kernel_truncation_steps = kernel_truncation_steps
        self.mem_quant = state_quant
        spikes = (
            spike_grad is not None
            or surrogate_disable
            or learn_threshold
            or learn_graded_spikes_factor
        )
        if not output and (spikes or not bool((torch.as_tensor(graded_spikes_factor) == 1).all())):
            text = (
                f"{type(self).__name__}(output=False) returns the membrane: what you said "
                "about spikes has no effect"
            )
            warnings.warn(text, UserWarning, stacklevel=2)

    def _beta_buffer(self, beta: Any, learn_beta: bool) -> None:
        self.parameter("tau", 1 / (1 - beta + 1e-12), learn_beta)

    @property
    def beta(self) -> Tensor:
        """``1 - 1 / tau``."""
        tau = self.get_parameter("tau") if "tau" in self._parameters else self.get_buffer("tau")
        return (tau - 1) / tau

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=torch.exp(-1 / p.tau.clamp(min=_SHORTEST)) * state.mem + x)

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """All time steps, as `Neuron.scan`; a truncated or quantised sum must start at rest."""
        if self.kernel_truncation_steps is None and not self.mem_quant:
            return super().scan(x, state, num_steps=num_steps)
        if state is not None and not torch.compiler.is_compiling() and bool(state.mem.any()):
            raise ValueError(
                f"{type(self).__name__}: kernel_truncation_steps and state_quant need the input "
                "itself, not the "
                "membrane at the end of the previous piece; pass the sequence in one piece"
            )
        p = self.params(x.dtype)
        if self.kernel_truncation_steps is None:
            mem = super().scan(x, state, num_steps=num_steps)[1].mem
        else:
            mem = self._truncated(x if num_steps is None else x.expand(num_steps, *x.shape), p)
        mem = self.mem_quant(mem) if self.mem_quant else mem
        states = self.State(mem)
        return self._spikes(states, p), states

    def _truncated(self, x: Tensor, p: Any) -> Tensor:
        """The sum over the last K steps, a causal convolution of each feature, [T, B, C]."""
        size = min(int(self.kernel_truncation_steps or 0), len(x))
        ago = torch.arange(size - 1, -1, -1, dtype=x.dtype, device=x.device)
        kernel = torch.exp(
            -ago / p.tau.clamp(min=_SHORTEST).expand(x.shape[-1]).unsqueeze(1)
        )  # [C, K]
        padded = F.pad(x.permute(1, 2, 0), (size - 1, 0))  # [B, C, K - 1 + T]
        return F.conv1d(padded, kernel.unsqueeze(1), groups=x.shape[-1]).permute(2, 0, 1)

    def returned(self, spk: Tensor, state: Any) -> Any:
        """``spk, mem``, or ``mem`` with ``output=False``."""
        return (spk, state.mem) if self.output else state.mem

    def state_shape(self, x: Tensor) -> torch.Size:
        """Shape of ``x``; its features must equal ``channels`` unless ``channels`` is 1."""
        if self.channels != 1 or x.dim() < 2:
            checks.axis_has(type(self).__name__, "channels", self.channels, x, -1)
        return x.shape

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}beta"] = self.beta if keep_vars else self.beta.detach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.pop(f"{prefix}beta", None)  # it follows from tau
        super()._load_from_state_dict(state_dict, prefix, *args)
