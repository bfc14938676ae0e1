"""What `convert` returns: the spiking network with its report, early exit and unit spikes."""

from typing import Any

import torch
from torch import Tensor, fx

from .report import Report, early_exit, report
from .twin import SpikingTwin
from .unit import unit_spikes

__all__ = ["Converted"]


class Converted(SpikingTwin):
    r"""A spiking network with the weights of an ordinary one; what `convert` returns.

    ``net`` computes one time step and is an ordinary network of this library:
    ``snn.run(converted.net, x, num_steps)`` runs it. `ScaledIF` or `SignedIF` neurons stand where
    activations stood, and everything between them is in their unit. Calling the whole codes the
    input, runs ``net`` from rest, and averages what the last layer receives (or its spikes) over
    time, so that the output estimates the output of the ordinary network.

    Args:
        net: one time step.
        stands_for: the module of the ordinary network that each replaced one stands for, by path in
            ``net``.
        settings: how it was converted.
        input_scale: size of an input spike, for Poisson input.
        head: applied to the readout, such as a softmax that was the network's last operation.

    >>> import spikeloom as snn
    >>> ann = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> net = snn.conversion.convert(ann, torch.rand(100, 4))
    >>> net(torch.rand(2, 4), num_steps=8).shape, net(torch.rand(2, 4), num_steps=8, trace=True).shape
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
        """Measure what the conversion loses, where, and what it costs.

        Args:
            data: test samples with labels: a pair of tensors, or an iterable of batches (x, y).
            max_steps: longest run.
            tolerance: accepted loss of accuracy, a fraction: 0.005 is half a point.
            steps: T for which errors and operations are taken. Default: the smallest T within the
                tolerance, or that of the conversion if there is none.
            samples: on how many samples errors and operations are taken.
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
        """Stop each sample as soon as the softmax of its output exceeds a confidence.

        Args:
            x: samples, [B, ...].
            confidence: in (0, 1].
            num_steps: longest run. Default: that of the conversion.
            generator: source of the random spikes of Poisson input.

        Returns:
            Output of each sample when it stopped, [B, ...], and after how many steps it did, [B].
        """
        return early_exit(self, x, confidence, num_steps, generator)

    def unit_spikes(self) -> fx.GraphModule:
        """One time step with spikes of size 1, for NIR and hardware: their sizes are in the
        weights.

        Raises:
            ValueError: a current of ``calibrate="bias"`` has no bias that could take it over.
        """
        return unit_spikes(self.net)
