"""Leaky integrator that fires when its membrane changes."""

from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import Parameter

from ..core import checks
from ..core.reset import Keep
from .leaky import Leaky

__all__ = ["DeltaLeaky"]


class DeltaLeaky(Leaky):
    r"""Leaky neuron that fires when its membrane changes by more than a threshold within one step.

    .. math:: U[t+1] = \beta U[t] + I[t+1] \qquad S[t+1] = H(|U[t+1] - U[t]| - \theta_\Delta)

    It is never reset, whatever ``reset_mechanism`` says, and ``threshold`` has no effect. It always
    returns ``spk, (mem, mem_prev)``, and takes that pair as its state. Unlike in snnTorch the pair
    may be left out at the first step, ``snn.reset`` works on it, and beta is clamped to [0, 1] in
    the equation.

    Args:
        delta_threshold: least change that fires, > 0; in ``state_dict`` only if it learns, as
            snnTorch has no such key.
        beta: decay of the membrane per step, in [0, 1]; it must be given.
        learn_threshold: make ``delta_threshold`` a parameter (in snnTorch, the threshold without
        effect). (The other arguments are those of `Leaky`, in its order.)

    Raises:
        ValueError: ``delta_threshold`` is not positive, or as for `Leaky`.
        TypeError: ``beta`` is missing.

    Source: snnTorch 1.0.0, which introduced it; the idea is delta modulation, as in
    `spikegen.delta`.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.DeltaLeaky(0.5, beta=1.0, mode="sequence")
    >>> spk, (mem, mem_prev) = neuron(torch.tensor([1.0, 0.2, -0.7]).view(3, 1, 1))
    >>> spk.flatten()
    tensor([1., 0., 1.])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...]
        mem_prev: Tensor  # that of the step before

    resets = {"subtract": Keep(), "zero": Keep(), "none": Keep()}
    positive = ("delta_threshold",)
    compared_with = "delta_threshold"
    no_nir_node = "it fires when its membrane changes, which no NIR neuron does; use Leaky"
    example = {"delta_threshold": 0.5, "beta": 0.8}

    def __init__(
        self,
        delta_threshold: Any = 1.0,
        beta: Any = None,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        reset_delay: bool = True,
        *,
        mode: str = "step",
    ) -> None:
        if beta is None:
            raise TypeError(
                "DeltaLeaky needs beta, the decay of its membrane; write DeltaLeaky(0.5, beta=0.9)"
            )
        checks.in_range(
            "delta_threshold",
            delta_threshold,
            0.0,
            float("inf"),
            open_low=True,
            why="rest would fire",
        )
        super().__init__(
            beta,
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            inhibition=inhibition,
            learn_beta=learn_beta,
            reset_mechanism=reset_mechanism,
            state_quant=state_quant,
            output=output,
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            reset_delay=reset_delay,
            mode=mode,
        )
        self.parameter("delta_threshold", delta_threshold, learn_threshold, persistent=False)

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return Leaky.integrate(x, state, p)._replace(mem_prev=state.mem)

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return (state.mem - state.mem_prev).abs() - p.delta_threshold

    def returned(self, spk: Tensor, state: Any) -> Any:
        """``spk, (mem, mem_prev)``, with ``init_hidden=True`` too."""
        return spk, self._shown(state)

    def _given(self, state: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Tensor]:
        pair = named.pop("mem", state[0] if len(state) == 1 else None)
        if isinstance(pair, tuple):
            return super()._given(pair, named)
        return super()._given(state, named if pair is None or state else {**named, "mem": pair})

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if isinstance(self.delta_threshold, Parameter):  # snnTorch's checkpoints have no such key
            state_dict.setdefault(f"{prefix}delta_threshold", self.delta_threshold.detach())
        super()._load_from_state_dict(state_dict, prefix, *args)
