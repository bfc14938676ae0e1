"""Parallel spiking neurons: the membrane is a learned sum of inputs over time, without a reset.

`PSN` reads every step of a sequence, `MaskedPSN` learns not to read later ones, `SlidingPSN` reads
the last k steps with the same weights at every step, and can therefore also be stepped.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.neuron import Neuron
from ..core.noise import extended
from ..core.numbers import flag, real, whole
from ..core.options import CallOptions, Unpack
from ..core.reset import Keep

__all__ = ["PSN", "MaskedPSN", "SlidingPSN"]

_LONGEST = 2**14  # steps; the weights of more do not fit into memory


class _Membrane(NamedTuple):
    mem: Tensor  # membrane, [B, ...], in the unit of the threshold


class PSN(Neuron):
    r"""Parallel spiking neuron, for sequences of T steps.

    .. math::
        U[t] = \sum_{s=1}^{T} W_{ts} I[s] + b_t \qquad S[t] = H(U[t] - \theta)

    All steps are one product of matrices. The sum includes later steps: the neuron cannot run in a
    loop over time, but works in ``snn.run`` and ``snn.layerwise``, which call it once for all
    steps. The paper learns a threshold for each step, which is theta - b_t here.

    Args:
        num_steps: T.
        threshold: firing threshold, > 0; a scalar or one value for each neuron.
        spike_grad: surrogate gradient. Default: ``surrogate.atan()``.
        surrogate_disable: a plain step without gradient.
        learn_threshold: make ``threshold`` a parameter.

    Raises:
        ValueError: ``num_steps`` or ``threshold`` is not positive, or the input has not T steps.

    Source: Fang et al. (2023), Parallel Spiking Neurons, NeurIPS 36, equations 10 and 11.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.PSN(num_steps=4)
    >>> with torch.no_grad(): _ = neuron.fc.weight.copy_(torch.eye(4).flip(0))
    >>> neuron(torch.tensor([0.5, 0.0, 2.0, 0.0]).view(4, 1, 1)).flatten()
    tensor([0., 1., 0., 0.], grad_fn=...)
    """

    State = _Membrane
    modes = ("sequence",)
    carries = False
    resets = {"none": Keep()}
    no_nir_node = "it reads whole sequences, which no NIR neuron does; use Leaky"
    example = {"num_steps": 7}

    def __init__(
        self,
        num_steps: int,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        learn_threshold: bool = False,
    ) -> None:
        super().__init__(
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            learn_threshold=learn_threshold,
            init_hidden=True,
            reset_mechanism="none",
            mode="sequence",
        )
        self.num_steps = self.fewest_steps = whole("num_steps", num_steps, 1, _LONGEST)
        self.fc = nn.Linear(self.num_steps, self.num_steps)
        nn.init.zeros_(self.fc.bias)

    @property
    def causal(self) -> bool:
        """False: later steps act on earlier ones."""
        return False

    def weights(self) -> Tensor:
        """W, [T, T]: one row for each step of the membrane."""
        return self.fc.weight

    def integrate(self, x: Tensor, state: Any, p: Any) -> Any:
        """Refused: a step alone has no membrane."""
        raise TypeError(self._whole())

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Refused: a step alone has no membrane."""
        raise TypeError(self._whole())

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """All time steps, see `Neuron.scan`; a state is ignored."""
        if num_steps is not None:
            x = x.expand(num_steps, *x.shape)
        if len(x) != self.num_steps:
            raise ValueError(
                f"{self._whole()}, got {len(x)} of {self.num_steps} steps; write "
                f'num_steps={len(x)} for shorter sequences, memory="exact" for whole ones, or '
                "SlidingPSN, which can be stepped"
            )
        mem = torch.addmm(self.fc.bias.unsqueeze(1), self.weights(), x.flatten(1)).view(x.shape)
        spk = self._spikes(_Membrane(mem), self.params(mem.dtype))
        return spk, _Membrane(mem)

    def _whole(self) -> str:
        return f"{type(self).__name__} reads all steps of a sequence at once"


class MaskedPSN(PSN):
    r"""Parallel spiking neuron that learns to read the present and the last k - 1 steps only.

    .. math::
        W^{(\lambda)}_{ts} = W_{ts} \, (\lambda \, [t - k < s \le t] + 1 - \lambda)

    Raise ``lambda_`` from 0, where it is a `PSN`, to 1 while the network learns, for example
    ``neuron.lambda_ = min(1.0, 2 * epoch / epochs)``. At 1 no later step acts on an earlier one.

    Args:
        num_steps: T.
        k: steps that are read at the end, from 1 to T.
        lambda_: strength of the mask, in [0, 1]; it can be assigned, and is in ``state_dict``.
        threshold, spike_grad, surrogate_disable, learn_threshold: as for `PSN`.

    Raises:
        ValueError: as for `PSN`; ``k`` or ``lambda_`` is out of range.

    Source: Fang et al. (2023), Parallel Spiking Neurons, NeurIPS 36, equations 12 to 14.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.MaskedPSN(num_steps=3, k=2)
    >>> (neuron.weights() != 0).int()
    tensor([[1, 0, 0],
            [1, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """

    State = _Membrane
    example = {"num_steps": 7, "k": 3}

    def __init__(
        self,
        num_steps: int,
        k: int,
        lambda_: float = 1.0,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        learn_threshold: bool = False,
    ) -> None:
        super().__init__(num_steps, threshold, spike_grad, surrogate_disable, learn_threshold)
        self.k = whole("k", k, 1, self.num_steps)
        self.register_buffer("strength", torch.tensor(0.0))
        self.lambda_ = lambda_

    strength: Tensor

    @property
    def lambda_(self) -> float:
        """Strength of the mask, from 0 to 1."""
        return float(self.strength)

    @lambda_.setter
    def lambda_(self, value: float) -> None:
        self.strength.fill_(real("lambda_", value, 0.0, 1.0))

    @property
    def causal(self) -> bool:
        """Whether no later step acts on an earlier one: the mask has its full strength."""
        return self.lambda_ == 1.0

    def weights(self) -> Tensor:
        """W, [T, T], with the mask."""
        ones = torch.ones_like(self.fc.weight)
        mask = ones.tril() - ones.tril(-self.k)
        strength = self.strength.to(mask.dtype)
        return self.fc.weight * (strength * mask + (1 - strength))


class SlidingPSN(Neuron):
    r"""Parallel spiking neuron with a window of k steps and the same weights at every step.

    .. math::
        U[t] = \sum_{i=0}^{k-1} W_i I[t - k + 1 + i] + b \qquad S[t] = H(U[t] - \theta)

    A step returns ``spk, mem`` and the last k - 1 inputs, the latest first, which are its state.
    Weights start at 2^(i - k + 1), as in the paper; its threshold is theta - b.

    Args:
        k: steps of the window, >= 1.
        threshold: firing threshold, > 0; a scalar or one value for each neuron.
        spike_grad: surrogate gradient. Default: ``surrogate.atan()``.
        surrogate_disable: a plain step without gradient.
        learn_threshold: make ``threshold`` a parameter.
        learn_weight: make W and b parameters.
        **options: those of every neuron: ``init_hidden``, ``output``, ``mode``.

    Raises:
        ValueError: ``k`` or ``threshold`` is not positive.

    Source: Fang et al. (2023), Parallel Spiking Neurons, NeurIPS 36, equations 15 and 16.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.SlidingPSN(k=2, mode="sequence")
    >>> spk, mem, past = neuron(torch.tensor([0.8, 0.7, 0.2]).view(3, 1, 1))
    >>> spk.flatten(), mem.flatten()
    (tensor([0., 1., 0.], grad_fn=...), tensor([0.8000, 1.1000, 0.5500], grad_fn=...))
    """

    State = _Membrane
    resets = {"none": Keep()}
    no_nir_node = "it reads a window of its input, which no NIR neuron does; use Leaky"
    example = {"k": 3}
    k: int
    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        k: int,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        learn_threshold: bool = False,
        learn_weight: bool = True,
        **options: Unpack[CallOptions],
    ) -> None:
        self.__dict__["k"] = whole("k", k, 1, _LONGEST)  # the type of the state depends on it
        super().__init__(
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            learn_threshold=learn_threshold,
            reset_mechanism="none",
            **options,
        )
        learn = flag("learn_weight", learn_weight)
        self.weight = nn.Parameter(2.0 ** torch.arange(1 - self.k, 1), requires_grad=learn)
        self.bias = nn.Parameter(torch.zeros(()), requires_grad=learn)

    def state_type(self) -> Any:
        """`State` with the inputs before the present one, the latest first."""
        return extended(_Membrane, tuple(f"past_{lag}" for lag in range(1, self.k)))

    def integrate(self, x: Tensor, state: Any, p: Any) -> Any:
        past = state[1 : self.k]
        mem = self._summed([*reversed(past), x])
        latest = (x, *past)[: self.k - 1]
        names = state._fields[1 : self.k]
        return state._replace(mem=mem, **dict(zip(names, latest, strict=True)))

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """All time steps, see `Neuron.scan`."""
        self._check_finite(x)
        if num_steps is not None:
            x = x.expand(num_steps, *x.shape)
        state = self.initial(x[0]) if state is None else state
        past = [value.unsqueeze(0) for value in reversed(state[1 : self.k])]
        known = torch.cat([*past, x])  # [k - 1 + T, B, ...]
        steps = len(x)
        mem = self._summed([known[i : i + steps] for i in range(self.k)])
        spk = self._spikes(_Membrane(mem), self.params(mem.dtype))
        lags = (known[self.k - lag : self.k - lag + steps] for lag in range(1, self.k))
        return spk, self.State(mem, *lags, *state[self.k :])

    def _summed(self, window: list[Tensor]) -> Tensor:
        """The membrane for the inputs of a window, the oldest first."""
        weight = self.weight.to(window[0].dtype).unbind()
        mem = self.bias.to(window[0].dtype)
        for w, x in zip(weight, window, strict=True):
            mem = mem + w * x
        return mem

    init_sliding_psn = Neuron.reset_mem
