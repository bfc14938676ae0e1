"""Leaky neurons as a rectified recurrent network, for whole sequences."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.neuron import Neuron
from ..core.reset import Keep

__all__ = ["LeakyParallel"]


class LeakyParallel(Neuron):
    r"""Rectified leaky neurons without reset behind a linear layer, computed by ``torch.nn.RNN``.

    .. math::
        U[t+1] = \max(0, W_{ih} I[t+1] + b_{ih} + W_{hh} U[t] + b_{hh}) \qquad
        S[t+1] = H(U[t+1] - \theta)

    W_hh is diagonal, with beta as its diagonal: each neuron has its own leak. Input is [T, B,
    input_size], output the spikes, [T, B, hidden_size]; every call starts at rest. Unlike in
    snnTorch a vector ``beta`` is obeyed, and a 0-d tensor is allowed. `Leaky` in sequence mode is
    the neuron with a reset, and faster.

    Args:
        input_size: number of input features.
        hidden_size: number of neurons.
        beta: diagonal of W_hh, in [0, 1]; a scalar or shape (hidden_size,). Default: at random, as
            ``torch.nn.RNN``.
        bias: whether there are b_ih and b_hh.
        threshold: firing threshold, > 0.
        dropout: probability with which a membrane is 0 in training when it is compared with the
            threshold; the recurrence keeps it.
        spike_grad: surrogate gradient. Default: ``surrogate.atan()``.
        surrogate_disable: a plain step without gradient.
        learn_beta: whether W_hh learns; its off-diagonal zeros stay.
        learn_threshold: make ``threshold`` a parameter.
        graded_spikes_factor: value of a spike.
        learn_graded_spikes_factor: make it a parameter.
        weight_hh_enable: a full W_hh; a row is filled with the beta of its neuron.
        device: of the weights.
        dtype: of the weights.

    Raises:
        ValueError: ``beta`` outside [0, 1] or of another shape, or an input that has not
            ``input_size`` features.

    Source: snnTorch 1.0.0, which introduced it.

    >>> import torch, spikeloom as snn
    >>> snn.LeakyParallel(input_size=3, hidden_size=2, beta=0.9)(torch.rand(4, 1, 3)).shape
    torch.Size([4, 1, 2])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, >= 0, [B, hidden_size]

    modes = ("sequence",)
    carries = False
    resets = {"none": Keep()}
    no_nir_node = (
        "it is a recurrent layer of torch that runs whole sequences; use Linear and RLeaky"
    )
    example = {
        "input_size": 5,
        "hidden_size": 4,
        "beta": 0.7,
        "threshold": 0.3,
    }

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        beta: Any = None,
        bias: bool = True,
        threshold: Any = 1.0,
        dropout: float = 0.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        weight_hh_enable: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            learn_threshold=learn_threshold,
            reset_mechanism="none",
            graded_spikes_factor=graded_spikes_factor,
            learn_graded_spikes_factor=learn_graded_spikes_factor,
            mode="sequence",
        )
        self._non_persistent_buffers_set.add("reset_mechanism_val")  # snnTorch's has none
        self.hidden_size = hidden_size
        self._full_weight_hh = weight_hh_enable
        self.learn_beta = learn_beta
        factory = {"device": device, "dtype": dtype}
        self.rnn = nn.RNN(input_size, hidden_size, nonlinearity="relu", bias=bias, **factory)
        checks.in_range("dropout", dropout, 0.0, 1.0, why="it is a probability")
        self.dropout = dropout
        self.dropout_layer = nn.Dropout(dropout) if dropout else None
        self._beta_buffer(beta, learn_beta)
        self._beta_to_weight_hh()
        if not weight_hh_enable:
            self.weight_hh_enable()
        self._weight_hh.requires_grad_(learn_beta)
        self._keep_diagonal()

    @property
    def _weight_hh(self) -> nn.Parameter:
        return self.rnn.get_parameter("weight_hh_l0")

    def _beta_buffer(self, beta: Any, learn_beta: bool) -> None:
        """Register ``beta``; the parameter that learns is W_hh."""
        if beta is None:
            self.register_buffer("beta", None)
            return
        checks.in_range(
            "beta",
            beta,
            0.0,
            1.0,
            why="it is the fraction of the membrane that is left after one step",
        )
        weight = self._weight_hh
        values = torch.as_tensor(beta, dtype=weight.dtype, device=weight.device).detach().clone()
        values = values.reshape(1) if values.numel() == 1 else values
        if values.shape not in ((1,), (self.hidden_size,)):
            raise ValueError(
                f"beta must be one number or have shape ({self.hidden_size},), got shape "
                f"{tuple(values.shape)}"
            )
        self.register_buffer("beta", values)

    def _beta_to_weight_hh(self) -> None:
        """Write beta into every row of W_hh."""
        if self.beta is not None:
            beta: Any = self.beta
            self._weight_hh.data.copy_(beta.unsqueeze(1).expand_as(self._weight_hh))

    def weight_hh_enable(self) -> None:
        """Set W_hh to 0 outside its diagonal, under snnTorch's name."""
        self._weight_hh.data.copy_(self.grad_hook(self._weight_hh.data))

    @staticmethod
    def grad_hook(grad: Tensor) -> Tensor:
        """``grad`` [hidden_size, hidden_size] with zeros outside its diagonal."""
        return grad * torch.eye(len(grad), dtype=grad.dtype, device=grad.device)

    def _keep_diagonal(self) -> None:
        if self.learn_beta and not self._full_weight_hh:
            self._weight_hh.register_hook(self.grad_hook)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._keep_diagonal()  # copies of a parameter lose its hooks

    def integrate(self, x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=self._path(x.unsqueeze(0), state).squeeze(0))

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """All time steps, see `Neuron.scan`."""
        if num_steps is not None:
            x = x.expand(num_steps, *x.shape)
        states = self.State(self._path(x, self.initial(x[0]) if state is None else state))
        p = self.params(x.dtype)
        seen = states if self.dropout_layer is None else self.State(self.dropout_layer(states.mem))
        return self._spikes(seen, p), states

    def _path(self, x: Tensor, state: Any) -> Tensor:
        """The membrane over time, [T, B, hidden_size]."""
        return self.rnn(x, state.mem.unsqueeze(0).contiguous())[0]

    def state_shape(self, x: Tensor) -> torch.Size:
        """``hidden_size`` in the place of ``input_size``."""
        checks.axis_has("LeakyParallel", "input_size", self.rnn.input_size, x, -1)
        return torch.Size((*x.shape[:-1], self.hidden_size))

    def returned(self, spk: Tensor, state: Any) -> Any:
        """The spikes."""
        return spk
