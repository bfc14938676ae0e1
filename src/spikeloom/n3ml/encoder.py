"""n3ml's encoders."""

import torch
from torch import Tensor

from ..spikegen import BernoulliEncoder, PoissonEncoder, population_times

__all__ = ["PoissonEncoder", "Population", "Simple"]


class Simple(BernoulliEncoder):
    """`BernoulliEncoder` with n3ml's scale.

    >>> Simple(time_interval=20)
    Simple(time_interval=20, scale=5)
    """

    def __init__(
        self, time_interval: int, scale: float = 5.0, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(time_interval, scale, generator=generator)


class Population:
    """`population_times` with n3ml's arguments, for features with different ranges.

    A time of -1 means no spike.

    Args:
        neurons: neurons per feature.
        minimum: smallest value of each feature, [F].
        maximum: largest value of each feature, [F].
        max_firing_time: time of a response of 0.
        not_to_fire: largest time at which a neuron fires.
        dt: unit of time; times are multiples of it.

    >>> encoder = Population(
    ...     4, torch.tensor([0.0]), torch.tensor([2.0]), max_firing_time=30, not_to_fire=28, dt=1
    ... )
    >>> encoder.run(torch.tensor([1.0]))
    tensor([[28.,  7.,  7., 28.]])
    """

    def __init__(
        self,
        neurons: int,
        minimum: Tensor,
        maximum: Tensor,
        max_firing_time: float = 30,
        not_to_fire: float = 28,
        dt: float = 1,
    ) -> None:
        self.neurons = neurons
        self.minimum = minimum
        self.maximum = maximum
        self.max_firing_time = max_firing_time
        self.not_to_fire = not_to_fire
        self.dt = dt

    def run(self, x: Tensor) -> Tensor:
        """Times [..., F, neurons] for features [..., F]."""
        unit = ((x - self.minimum) / (self.maximum - self.minimum)).clamp(0.0, 1.0)
        times = population_times(unit, self.neurons, latest=self.max_firing_time, threshold=0.0)
        times = (times / self.dt).round() * self.dt
        return torch.where(times <= self.not_to_fire, times, -1.0)
