"""The network of Bohte, Kok & La Poutré for Iris, as in n3ml's manual, and its optimiser."""

from typing import Any

import torch
from torch import Tensor, nn

from ..timing import first_times, push_silent
from .layer import SpikeProp
from .response import AlphaResponse

__all__ = ["Bohte", "Bohte2002"]


class Bohte2002(nn.Module):
    """Two layers of SpikeProp with n3ml's steps: `initialize`, a call per time, times in ``fc2.s``.

    A negative time is no spike, in and out. Delays are 1, 2, ... ms, and weights of either sign, as
    in the paper.

    Args:
        inputs: number of inputs, the bias neurons included.
        hidden: neurons of the hidden layer.
        classes: neurons of the last one.
        delays: number of terminals.
        threshold: of the membranes.
        tau: of the response, in ms.
        until: end of the simulation, in ms.

    >>> model = Bohte2002(inputs=4, hidden=6)
    >>> model.initialize()
    >>> for t in range(40): model(t, torch.tensor([0.0, 2.0, -1.0, 5.0]))
    >>> model.fc2.s.shape
    torch.Size([3])
    """

    def __init__(
        self,
        inputs: int = 50,
        hidden: int = 10,
        classes: int = 3,
        delays: int = 16,
        threshold: float = 1.0,
        tau: float = 7.0,
        *,
        until: float = 40.0,
    ) -> None:
        super().__init__()
        same: dict[str, Any] = {
            "delays": range(1, delays + 1),
            "response": AlphaResponse(tau),
            "threshold": threshold,
        }
        mean = (
            8.0 * threshold / (inputs * delays)
        )  # most inputs of a population code are late or silent
        self.fc1 = SpikeProp(inputs, hidden, until=until, mean=mean, **same)
        self.fc2 = SpikeProp(hidden, classes, until=until, **same)
        self.initialize()

    def initialize(self, delay: bool = True) -> None:
        """Forget the last sample. The delays are fixed, whatever ``delay`` says."""
        self._shown: tuple[Tensor, Tensor, Tensor] | None = None
        for layer in (self.fc1, self.fc2):
            layer.s = torch.full((len(layer.weight),), -1.0)

    def forward(self, t: Any, times: Tensor) -> None:
        """Write the spikes up to time t into ``fc1.s`` and ``fc2.s``, for input times [inputs]."""
        if self._shown is None or not torch.equal(self._shown[0], times):
            with torch.no_grad():
                hidden, spikes = self.spikes(times.unsqueeze(0))
            self._shown = times.clone(), hidden[0], spikes[0]
        for layer, found in zip((self.fc1, self.fc2), self._shown[1:], strict=True):
            layer.s = torch.where(found <= float(t), found, -1.0)

    def spikes(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Spike times of both layers, [B, hidden] and [B, classes]; infinity means no spike."""
        hidden = self.fc1(torch.where(times < 0, torch.inf, times))
        return hidden, self.fc2(hidden)


class Bohte:
    """Gradient descent on half the squared error of the spike times, for `Bohte2002`.

    Silent outputs count as firing at the end, and silent neurons are pushed, see `push_silent`.

    Args:
        lr: learning rate.

    >>> model = Bohte2002(inputs=2, hidden=3)
    >>> Bohte().step(model, torch.tensor([0.0, 2.0]), torch.tensor([8.0, 13.0, 13.0]))
    """

    def __init__(self, lr: float = 0.0075) -> None:
        self.lr = lr

    def step(self, model: Bohte2002, times: Tensor, wanted: Tensor) -> None:
        """Change the weights for input times [inputs] or [B, inputs] and desired output times."""
        times = torch.atleast_2d(times)
        wanted = torch.atleast_2d(wanted)
        hidden, spikes = model.spikes(times)
        loss = 0.5 * ((first_times(spikes, model.fc2.until) - wanted) ** 2).sum()
        model.zero_grad()
        loss.backward()
        push_silent(model.fc1.weight, hidden, 1e-3)
        push_silent(model.fc2.weight, spikes, 1.0)
        with torch.no_grad():
            for weight in (model.fc1.weight, model.fc2.weight):
                weight -= self.lr * weight.grad.clamp(-10.0, 10.0)  # pyright: ignore[reportOptionalMemberAccess]
