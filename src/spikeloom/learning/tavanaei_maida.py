"""BP-STDP as in n3ml: a network called at each step, and an optimiser that reads spike buffers.

For new code there are `bp_stdp` and ``rule="bp_stdp"``, which take batches. Both share every
equation with this module.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from ..neurons.integrate_fire import IF
from .bp_stdp import changes, check_network
from .spike_errors import check_numbers, spike_errors

__all__ = ["TavanaeiAndMaida", "TravanaeiAndMaida2017"]


class Layer:
    """What is seen of a layer of `TravanaeiAndMaida2017`.

    Attributes:
        weight: of its synapses, [N, inputs].
        o: spikes of the last step, [N] or [B, N].
        u: membranes after the reset, likewise.

    >>> Layer(nn.Parameter(torch.zeros(2, 3))).o
    tensor([0., 0.])
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.o = self.u = torch.zeros(len(weight))


class TravanaeiAndMaida2017(nn.Module):
    """Integrate-and-fire neurons for BP-STDP, stepped by calls; the name is n3ml's.

    Args:
        num_classes: neurons of the last layer.
        hidden_neurons: of each hidden layer; one number for one layer.
        inputs: spikes of a step; n3ml knows 784.
        std: of the normal weights, 1 as published; deeper and wider networks learn better from 0.1.
        generator: source of the weights; default is torch's global one.

    Raises:
        ValueError: a layer without neurons, or a negative ``std``.

    The layers are ``fc1``, ``fc2`` ...; a hidden neuron fires above 0.9, an output above 0.025 for
    each hidden neuron.

    >>> model = TravanaeiAndMaida2017(10, hidden_neurons=50)
    >>> model((torch.rand(784) < 0.2).float()).shape, model.fc1.o.shape
    (torch.Size([10]), torch.Size([50]))
    """

    fc1: Layer
    fc2: Layer

    def __init__(
        self,
        num_classes: int = 10,
        hidden_neurons: int | Sequence[int] = 500,
        *,
        inputs: int = 784,
        std: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        checks.in_range("std", std, 0.0, float("inf"), why="it is a width")
        hidden = [hidden_neurons] if isinstance(hidden_neurons, int) else list(hidden_neurons)
        sizes = [inputs, *hidden, num_classes]
        if min(sizes) < 1 or not hidden:
            raise ValueError(
                f"every layer needs neurons, got sizes {sizes}; write hidden_neurons=500"
            )
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise(sizes)):
            threshold = 0.9 if place < len(hidden) else 0.025 * before
            layers += [
                nn.Linear(before, after, bias=False),
                IF(threshold, reset_mechanism="zero", init_hidden=True),
            ]
        self.net = nn.Sequential(*layers)
        self.std = std
        self.generator = generator
        self.stages = check_network(self.net)
        self.layers = [Layer(weight) for weight in self.net.parameters()]
        for number, layer in enumerate(self.layers, 1):
            setattr(self, f"fc{number}", layer)
        self.reset_variables()

    def reset_variables(self, w: bool = True) -> None:
        """Forget the state, and with ``w`` draw new weights."""
        self._states: list[Any] = [None] * len(self.layers)
        for layer in self.layers:
            layer.o = layer.u = torch.zeros(len(layer.weight), device=layer.weight.device)
            if w:
                nn.init.normal_(layer.weight, std=self.std, generator=self.generator)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """One time step.

        Args:
            x: input spikes, [inputs], or [B, inputs].

        Returns:
            Output spikes, [C] or [B, C].
        """
        single = x.dim() == 1
        spk = x.unsqueeze(0) if single else x
        for place, (stage, layer) in enumerate(zip(self.stages, self.layers, strict=True)):
            spk, self._states[place] = stage.neuron.step(stage.current(spk), self._states[place])
            mem = self._states[place].mem * (1 - spk)
            layer.o, layer.u = (spk[0], mem[0]) if single else (spk, mem)
        return self.layers[-1].o


class TavanaeiAndMaida:
    """n3ml's optimiser for BP-STDP: changes the weights at steps where a spike is desired.

    Args:
        model: the network, a `TravanaeiAndMaida2017` of any depth.
        lr: mu.
        epsilon: steps before this one in which spikes count; longer buffers are read from their
            end.

    Raises:
        ValueError: ``epsilon`` or ``lr`` is out of range.

    >>> model = TravanaeiAndMaida2017(2, hidden_neurons=4, inputs=3)
    >>> optimizer = TavanaeiAndMaida(model, lr=0.001)
    >>> buffer = {"inp": [torch.ones(3)], "fc1": [torch.ones(4)], "fc2": [torch.zeros(2)]}
    >>> before = model.fc2.weight.clone()
    >>> optimizer.step(buffer, torch.tensor([0.0, 1.0]), torch.tensor(1))
    >>> (model.fc2.weight - before).round(decimals=4)
    tensor([[0.0000, 0.0000, 0.0000, 0.0000],
            [0.0010, 0.0010, 0.0010, 0.0010]], grad_fn=<RoundBackward1>)
    """

    def __init__(self, model: TravanaeiAndMaida2017, lr: float = 0.0005, epsilon: int = 4) -> None:
        checks.in_range("lr", lr, 0.0, float("inf"), why="it is a step size")
        check_numbers(epsilon)
        self.model = model
        self.lr = lr
        self.epsilon = epsilon

    @torch.no_grad()
    def step(
        self, spike_buffer: Mapping[str, Sequence[Tensor]], spiked_label: Tensor, label: Any
    ) -> None:
        """Change the weights.

        Args:
            spike_buffer: spikes of the last steps, input first and a list for each layer, [N] or
                [B, N] each.
            spiked_label: desired spikes of this step, [C] or [B, C].
            label: the class, or classes [B].

        Raises:
            ValueError: the buffers are not those of the network's layers.
        """
        stages = self.model.stages
        if len(spike_buffer) != len(stages) + 1 or not all(spike_buffer.values()):
            raise ValueError(
                f"spike_buffer holds the input and {len(stages)} layers, got {list(spike_buffer)}; "
                "append the spikes of every step to each list"
            )
        classes = len(self.model.layers[-1].weight)
        labels = torch.as_tensor(label, device=spiked_label.device).reshape(-1)
        wanted = spiked_label.reshape(-1, classes).gather(1, labels[:, None]) > 0.5  # [B, 1]
        if not wanted.any():
            return
        steps = min(self.epsilon + 1, *map(len, spike_buffer.values()))
        counts = [torch.stack(list(each)[-steps:]).sum(0) for each in spike_buffer.values()]
        counts = [count.unsqueeze(0) if count.dim() == 1 else count for count in counts]
        xi = spike_errors(counts[-1], labels) * wanted
        rows = xi.any(-1)
        counts = [count[rows] for count in counts]
        xi = xi[rows]
        for parameter, change in changes(stages, counts, xi, torch.full((len(xi),), steps)):
            parameter.add_(change, alpha=self.lr)
