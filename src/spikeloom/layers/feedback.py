"""A neuron whose spikes return to its own input through a connection, with or without delays."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..core import checks, recording
from ..core.neuron import Neuron
from ..core.stateful import Stateful

__all__ = ["Feedback", "Memory"]


class Memory(Stateful):
    """Remember the last value that came in: what closes a loop over time.

    >>> memory = Memory()
    >>> _ = memory(torch.ones(1, 2)); memory.hidden.value
    tensor([[1., 1.]])
    """

    class State(NamedTuple):
        value: Tensor  # [B, ...]

    modes: ClassVar[tuple[str, ...]] = ("step",)
    batch_axis: ClassVar[int | None] = 0

    @property
    def mode(self) -> str:
        """``"step"``: a loop closes at each step."""
        return "step"

    @mode.setter
    def mode(self, name: str) -> None:
        if name != "step":
            raise ValueError(
                f"a neuron with feedback runs step by step, got mode={name!r}; write "
                "snn.run(net, x) for inputs [T, B, ...]"
            )

    def advance(
        self, input_: Tensor, *, sequence: bool, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """Keep ``input_`` and pass it on."""
        self._hidden = self.State(input_)
        return input_, self._hidden


class Feedback(nn.Module):
    r"""A neuron N whose spikes return to its input through a connection C.

    .. math:: s[t] = N(x[t] + C(s[t - 1]))

    With `DelayedLinear` or `DelayedConv2d` as connection each recurrent synapse has its own delay:
    a spike arrives d + 1 steps after it was fired. With ``nn.Linear`` it is the feedback of
    `RLeaky`, for any neuron. It runs step by step, also in `run`.

    Args:
        neuron: any neuron with ``init_hidden=True``.
        connection: from spikes [B, ...] to currents in the shape of the input.

    Raises:
        TypeError: ``neuron`` is no neuron that keeps its state, or ``connection`` is no module; or,
            when called, the input is no tensor of floating point.
        ValueError: ``neuron`` runs whole sequences; or, when called, ``connection`` returns another
            shape, or the batch has another size than before.

    >>> import torch, spikeloom as snn
    >>> net = Feedback(
    ...     snn.Leaky(0.9, init_hidden=True), snn.DelayedLinear(4, 4, max_delay=5, learn_delay=True)
    ... )
    >>> snn.run(net, torch.rand(9, 2, 4)).shape
    torch.Size([9, 2, 4])
    """

    def __init__(self, neuron: Neuron, connection: nn.Module) -> None:
        if not isinstance(neuron, Neuron) or not neuron.init_hidden:
            raise TypeError(
                f"Feedback takes a neuron that keeps its state, got {type(neuron).__name__}; write "
                "snn.Leaky(0.9, init_hidden=True)"
            )
        if not isinstance(connection, nn.Module):
            raise TypeError(
                f"connection must be a module, got {type(connection).__name__}; write "
                "snn.DelayedLinear(n, n, max_delay=10)"
            )
        if "step" not in neuron.modes:
            raise ValueError(
                f"a neuron with feedback runs step by step, got {type(neuron).__name__}, which "
                "runs whole sequences; write snn.SlidingPSN or snn.Leaky(0.9, init_hidden=True)"
            )
        super().__init__()
        self.neuron = neuron
        self.connection = connection
        self.last = Memory()

    def forward(self, x: Tensor) -> Any:
        """One step: what the neuron gives for the input and its returning spikes.

        Args:
            x: currents, [B, ...].
        """
        if self.neuron.mode != "step":
            self.last.mode = self.neuron.mode
        checks.floating(x, "the input of Feedback")
        returning = self.connection(self._before(x))
        if returning.shape != x.shape:
            raise ValueError(
                f"connection must return the shape of the input, {tuple(x.shape)}, got "
                f"{tuple(returning.shape)}; write nn.Linear(n, n), or padding that keeps the size"
            )
        found = self.neuron(x + returning)
        self.last(found[0] if isinstance(found, tuple) else found)
        return found

    def _before(self, x: Tensor) -> Tensor:
        """The spikes of the last step; none in front of the first one."""
        before = self.last.hidden.value
        if before.shape == (0,):
            start = self.neuron.initial(x)
            return x.new_zeros(getattr(start, "mem", start[0]).shape)
        if len(before) != len(x):
            raise ValueError(
                f"Feedback remembers the spikes of {len(before)} samples, got {len(x)}; call "
                "snn.reset(net) before a batch of another size"
            )
        if torch.compiler.is_compiling() or recording.local.recorder is not None:
            return before
        return self.last.inspect_state("value", before, x, passed=False)
