"""Associative memory whose matrix of membranes fires, for whole sequences."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.neuron import Neuron
from ..core.reset import Keep

__all__ = ["AssociativeLeaky"]


class AssociativeLeaky(Neuron):
    r"""Membrane matrix that stores values v under keys k and decays at an input-dependent rate.

    .. math::
        U[t] = U[t-1] \, \mathrm{diag}(\alpha[t]) + v[t] k[t]^T \qquad
        S[t] = H(U[t] - \theta) \qquad y[t] = S[t] Q[t]

    v, k and Q are linear in the input, alpha is the sigmoid of such a map. Input is [T, B, in_dim],
    output ``y``, [T, B, d_value * d_key], or the spikes S without the query; every call starts at
    rest. Unlike in snnTorch the recurrence is computed directly (there, by a quotient of
    cumulative products, which is inexact for long sequences), ``num_spiking_neurons=None`` works,
    and with a query the output has ``d_value * d_key`` features even if they differ: Q[t] is then
    d_key x d_key. It is no neuron of a fixed leak.

    Args:
        in_dim: number of input features.
        d_value: number of rows of U.
        d_key: number of columns of U.
        num_spiking_neurons: d_value * d_key, or None.
        use_q_projection: whether spikes are read with a query.
        threshold: firing threshold of U, > 0.
        spike_grad: surrogate gradient. Default: ``surrogate.atan()``.

    Raises:
        ValueError: a size is not positive, or ``num_spiking_neurons`` is not ``d_value * d_key``;
            an input that has not ``in_dim`` features.

    Source: snnTorch 1.0.0, which introduced it.

    >>> import torch, spikeloom as snn
    >>> leaky = snn.AssociativeLeaky.from_num_spiking_neurons(in_dim=3, num_spiking_neurons=4)
    >>> leaky(torch.rand(5, 1, 3)).shape
    torch.Size([5, 1, 4])
    """

    class State(NamedTuple):
        mem: Tensor  # U, [B, d_value * d_key]

    modes = ("sequence",)
    carries = False
    resets = {"none": Keep()}
    no_nir_node = "its memory is a matrix, which no NIR neuron has; use Leaky"
    example = {"in_dim": 5, "d_value": 3, "d_key": 2, "threshold": 0.1}

    def __init__(
        self,
        in_dim: int,
        d_value: int,
        d_key: int,
        num_spiking_neurons: int | None = None,
        use_q_projection: bool = True,
        *,
        threshold: Any = 1.0,
        spike_grad: Any = None,
    ) -> None:
        for name, size in (("in_dim", in_dim), ("d_value", d_value), ("d_key", d_key)):
            if size < 1:
                raise ValueError(f"{name} must be positive, got {size}")
        if num_spiking_neurons not in (None, d_value * d_key):
            raise ValueError(
                f"num_spiking_neurons must be d_value * d_key = {d_value * d_key}, got "
                f"{num_spiking_neurons}; "
                "leave it out, or write AssociativeLeaky.from_num_spiking_neurons(in_dim, "
                "num_spiking_neurons)"
            )
        super().__init__(
            threshold, spike_grad, reset_mechanism="none", output=True, mode="sequence"
        )
        self.in_dim = in_dim
        self.d_value = d_value
        self.d_key = d_key
        self.num_spiking_neurons = d_value * d_key
        self.use_q_projection = use_q_projection
        self.to_v = nn.Linear(in_dim, d_value)
        self.to_k = nn.Linear(in_dim, d_key)
        self.to_alpha = nn.Linear(in_dim, d_key)
        self.to_q = nn.Linear(in_dim, d_key * d_key) if use_q_projection else None

    @classmethod
    def from_num_spiking_neurons(
        cls, in_dim: int, num_spiking_neurons: int, use_q_projection: bool = True
    ) -> "AssociativeLeaky":
        """A square memory of that many neurons.

        Raises:
            ValueError: ``num_spiking_neurons`` is no square number.
        """
        side = math.isqrt(max(num_spiking_neurons, 0))
        if side < 1 or side * side != num_spiking_neurons:
            raise ValueError(
                f"num_spiking_neurons must be a square number, got {num_spiking_neurons}; "
                f"write {(side + 1) ** 2}, or AssociativeLeaky(in_dim, d_value, d_key)"
            )
        return cls(in_dim, side, side, num_spiking_neurons, use_q_projection)

    def integrate(self, x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=self._path(x.unsqueeze(0), state).squeeze(0))

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step, see `Neuron.step`."""
        y, states = self.scan(x.unsqueeze(0), state)
        return y.squeeze(0), self.State(states.mem.squeeze(0))

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """All time steps, see `Neuron.scan`: the output and U."""
        if num_steps is not None:
            x = x.expand(num_steps, *x.shape)
        states = self.State(self._path(x, self.initial(x[0]) if state is None else state))
        p = self.params(x.dtype)
        return self._read(self._spikes(states, p), x), states

    def _path(self, x: Tensor, state: Any) -> Tensor:
        """U over time, [T, B, d_value * d_key]."""
        written = self.to_v(x).unsqueeze(-1) * self.to_k(x).unsqueeze(-2)  # [T, B, d_value, d_key]
        decays = torch.sigmoid(self.to_alpha(x)).unsqueeze(-2)
        mem = state.mem.unflatten(-1, (self.d_value, self.d_key))
        path = []
        for new, decay in zip(written.unbind(0), decays.unbind(0), strict=True):
            mem = torch.addcmul(new, mem, decay)
            path.append(mem)
        return torch.stack(path).flatten(-2)

    def _read(self, spk: Tensor, x: Tensor) -> Tensor:
        if self.to_q is None:
            return spk
        query = self.to_q(x).unflatten(-1, (self.d_key, self.d_key))
        return (spk.unflatten(-1, (self.d_value, self.d_key)) @ query).flatten(-2)

    def state_shape(self, x: Tensor) -> torch.Size:
        """The number of neurons in the place of ``in_dim``."""
        checks.axis_has("AssociativeLeaky", "in_dim", self.in_dim, x, -1)
        return torch.Size((*x.shape[:-1], self.num_spiking_neurons))

    def returned(self, spk: Tensor, state: Any) -> Any:
        """The output; U can be read as ``mem`` of the last step."""
        return spk
