"""The converted network: one step as a module of neurons and layers, its run and its readout."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core import checks
from ..core.tree import named_neurons, reset
from ..neurons.scaled_if import ScaledIF
from ..running import run
from .activations import OutputActivation

__all__ = ["INPUTS", "READOUTS", "OrdinaryTwin", "Settings", "SpikingTwin"]

INPUTS = ("current", "poisson", "signed_poisson")
READOUTS = ("membrane", "spikes")
SEGMENT = 16  # steps per call, so that the memory of a run does not grow with T


@dataclass(frozen=True)
class Settings:
    """The settings of a conversion; they are the arguments of `convert`.

    >>> Settings().method
    'percentile'
    """

    method: str = "percentile"
    num_steps: int = 8
    percentile: float = 99.9
    per_channel: bool = False
    scaling_factor: float = 1.0
    reset: str = "subtract"
    initial_mem: float = 0.5
    input: str = "current"
    readout: str = "membrane"
    max_pool: str = "max"
    calibrate: str | None = None
    warm_up: float = 0.0
    signed: bool = False


class SpikingTwin(nn.Module):
    """A spiking network with the weights of an ordinary one: what runs, without what measures it.

    Args: as for `Converted`, which users receive.

    >>> import spikeloom as snn
    >>> ann = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> isinstance(snn.conversion.convert(ann, torch.rand(9, 2)), SpikingTwin)
    True
    """

    input_scale: Tensor

    def __init__(
        self,
        net: fx.GraphModule,
        stands_for: dict[str, nn.Module],
        settings: Settings,
        input_scale: float = 1.0,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.head = head
        self.settings = settings
        self._stands_for = dict(stands_for)
        self.register_buffer("input_scale", torch.tensor(float(input_scale)))

    def forward(
        self,
        x: Tensor,
        num_steps: int | None = None,
        trace: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Runs the network for some time steps from rest.

        Args:
            x: input samples of the ordinary network, [B, ...].
            num_steps: T. Default: that of the conversion.
            trace: whether to return the output after each step.
            generator: source of the random spikes of Poisson input.

        Returns:
            Mean output [B, ...], in the unit of the ordinary network; with ``trace`` the running
            means, [T, B, ...].

        Raises:
            ValueError: ``num_steps`` is not a positive integer, or ``x`` is out of the range of the
                input code.
        """
        steps = self.settings.num_steps if num_steps is None else num_steps
        if not isinstance(steps, int) or steps < 1:
            raise ValueError(
                f"num_steps must be a positive integer, got {steps!r}; write num_steps=8"
            )
        read = self._trace if trace else self._mean_output
        result = read(x, steps, generator)
        reset(self.net)
        return result if self.head is None else self.head(result)

    def _mean_output(self, x: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
        """The mean output after the warm-up, before the head."""
        total = torch.zeros(())
        first = self._warm_up(steps)
        for done, output in self.segments(x, steps, generator):
            total = total + output[max(first - done, 0) :].sum(0)
        return total / (steps - first)

    def _trace(self, x: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
        """The value of `_mean_output` after each step."""
        sums = torch.cat([output for _, output in self.segments(x, steps, generator)]).cumsum(0)
        sums = torch.cat([torch.zeros_like(sums[:1]), sums])
        firsts = [self._warm_up(t) for t in range(1, steps + 1)]
        numbers = torch.tensor(
            [t - first for t, first in enumerate(firsts, 1)], device=sums.device, dtype=sums.dtype
        )
        return (sums[1:] - sums[firsts]) / numbers.reshape(-1, *(1 for _ in sums.shape[1:]))

    def _warm_up(self, steps: int) -> int:
        """Number of steps at the beginning that the readout ignores."""
        return int(steps * self.settings.warm_up + 1e-9)

    def segments(
        self, x: Tensor, steps: int, generator: torch.Generator | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Runs from rest and yields, for each segment, the steps before it and its outputs."""
        self._check(x)
        reset(self.net)
        for done in range(0, steps, SEGMENT):
            length = min(SEGMENT, steps - done)
            if self.settings.input == "current":
                yield done, run(self.net, x, length, reset=False)
            else:
                spikes = torch.stack([self.coded(x, generator) for _ in range(length)])
                yield done, run(self.net, spikes, reset=False)

    def coded(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One step of input: ``x`` itself, or spikes whose mean it is, [B, ...]."""
        if self.settings.input == "current":
            return x
        scale = self.input_scale
        drawn = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (drawn < x.abs() / scale) * x.sign() * scale

    def _check(self, x: Tensor) -> None:
        checks.floating(x, "x")
        if self.settings.input == "poisson" and bool((x < 0).any()):
            raise ValueError(
                f'input="poisson" codes numbers >= 0, got {float(x.min()):.4g}; write '
                'input="signed_poisson"'
            )

    # -- the ordinary network ----------------------------------------------------------------------

    def ann(self, x: Tensor) -> Tensor:
        """The output of the ordinary network, with batch norm folded, [B, ...]."""
        output = OrdinaryTwin(self).run(x)
        return output if self.head is None else self.head(output)

    @property
    def stands_for(self) -> dict[str, nn.Module]:
        """The replaced modules of the ordinary network, by path, in the order of execution."""
        calls = [str(n.target) for n in self.net.graph.nodes if n.op == "call_module"]
        return {path: self._stands_for[path] for path in calls if path in self._stands_for}

    @property
    def neurons(self) -> dict[str, ScaledIF]:
        """The spiking neurons by path in ``net``, in the order of execution."""
        found = {
            path: neuron for path, neuron in named_neurons(self.net) if isinstance(neuron, ScaledIF)
        }
        return {path: found[path] for path in self.stands_for if path in found}

    @property
    def thresholds(self) -> dict[str, Tensor]:
        """Threshold, and size of a spike, of each neuron, in the unit of the activations."""
        return {path: neuron.threshold.detach() for path, neuron in self.neurons.items()}

    def extra_repr(self) -> str:
        """Shows the settings of the conversion."""
        return str(self.settings)


class OrdinaryTwin(fx.Interpreter):
    """Runs the graph of a converted network with the original activations.

    Args:
        converted: the network.
        record: whether to store the values of the replaced modules in ``values``, by path.
    """

    def __init__(self, converted: SpikingTwin, record: bool = False) -> None:
        super().__init__(converted.net)
        self.stands_for = converted.stands_for
        self.record = record
        self.values: dict[str, Tensor] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls the original module of a path."""
        module = self.stands_for.get(target)
        if module is None:
            return super().call_module(target, args, kwargs)
        value = module(*args, **kwargs)
        if self.record:
            self.values[target] = value
        # The ordinary network has no module behind its last layer.
        return args[0] if isinstance(module, OutputActivation) else value
