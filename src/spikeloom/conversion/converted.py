"""The network that `convert` returns, with its report, early exit and unit spikes."""

from typing import Any

import torch
from torch import Tensor, fx

from .loss_report import Report, early_exit, report
from .twin import SpikingTwin
from .unit import unit_spikes

__all__ = ["Converted"]


class Converted(SpikingTwin):
    r"""A spiking network with the weights of an ordinary one; `convert` returns it.

    ``net`` computes one time step and is a normal network of this library:
    ``snn.run(converted.net, x, num_steps)`` runs it. `ScaledIF` or `SignedIF` neurons replace the
    activations, and all signals are in the unit of the activations. A call encodes the input, runs
    ``net`` from rest, and averages the output of the last layer (or its spikes) over time, which
    estimates the output of the ordinary network.

    Args:
        net: one time step.
        stands_for: the replaced modules of the ordinary network, by path in ``net``.
        settings: the settings of the conversion.
        input_scale: size of an input spike, for Poisson input.
        head: applied to the readout, such as the softmax at the end of the ordinary network.

    >>> import spikeloom as snn
    >>> from torch import nn
    >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> net = snn.conversion.convert(ann, torch.rand(100, 4))
    >>> x = torch.rand(2, 4)
    >>> net(x, num_steps=8).shape, net(x, num_steps=8, trace=True).shape
    (torch.Size([2, 3]), torch.Size([8, 2, 3]))
    """

    def report(
        self,
        data: Any,
        *,
        max_steps: int = 32,
        tolerance: float = 0.005,
        steps: int | None = None,
        samples: int = 256,
        generator: torch.Generator | None = None,
    ) -> Report:
        """Measures the loss of accuracy, its sources, and the costs.

        Args:
            data: test samples with labels: a pair of tensors, or an iterable of batches (x, y).
            max_steps: largest number of steps.
            tolerance: accepted loss of accuracy, a fraction: 0.005 is half a point.
            steps: T of the errors and operations. Default: the smallest T within the tolerance, or
                that of the conversion if there is none.
            samples: number of samples for errors and operations.
            generator: source of the random spikes of Poisson input.

        Returns:
            A `Report`: print it, ``save`` it as JSON, ``plot`` it.

        Raises:
            TypeError: the samples have no labels.
            ValueError: a number is out of range.
        """
        return report(
            self,
            data,
            max_steps=max_steps,
            tolerance=tolerance,
            steps=steps,
            samples=samples,
            generator=generator,
        )

    def early_exit(
        self,
        x: Tensor,
        confidence: float,
        num_steps: int | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Stops each sample as soon as the softmax of its output reaches a confidence.

        Args:
            x: samples, [B, ...].
            confidence: probability, in (0, 1].
            num_steps: largest number of steps. Default: that of the conversion.
            generator: source of the random spikes of Poisson input.

        Returns:
            Output of each sample at its last step, [B, ...], and its number of steps, [B].
        """
        return early_exit(self, x, confidence, num_steps, generator)

    def unit_spikes(self) -> fx.GraphModule:
        """One time step with spikes of size 1, for NIR and hardware; sizes are in the weights.

        Raises:
            ValueError: there is no bias for a current of ``calibrate="bias"``.
        """
        return unit_spikes(self.net)
