"""Population coding: one number becomes the activity of neurons with different preferred values.

Receptive fields are Gaussians whose outermost centres are half a spacing outside the range, so that
values at the border excite neurons on both sides. Decode with `spikeloom.decode.weighted_mean` and
`population_centers`.
"""

import torch
from torch import Tensor

from ..core.checks import choice, in_range
from ..core.numbers import random_source, real, tensor
from .input_checks import intensities, step_count
from .rate_coding import rate

__all__ = ["population", "population_centers", "population_times", "receptive_fields"]


def population_centers(num_neurons: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Preferred values, ``low + (2i - 3) / 2 * (high - low) / (n - 2)`` for i = 1 to n.

    Args:
        num_neurons: n, at least 3.
        low: lower end of the range.
        high: upper end of the range.

    Returns:
        [n], in the unit of the range, in torch's default dtype.

    Raises:
        TypeError: ``num_neurons`` is not an integer.
        ValueError: fewer than 3 neurons, or an empty range.

    After Bohte, Kok & La Poutre (2002), Neurocomputing 48, 17-37.

    >>> population_centers(4, low=0.0, high=2.0)
    tensor([-0.5000,  0.5000,  1.5000,  2.5000])
    """
    if step_count(num_neurons, "num_neurons") < 3:
        raise ValueError(
            f"num_neurons must be at least 3, got {num_neurons}; the formula divides the range by "
            "n - 2"
        )
    real("low", low, example=0.0)
    if not real("high", high) > low:
        raise ValueError(f"high must be above low={low}, got {high}; write the range of the data")
    index = torch.arange(1, num_neurons + 1)
    return low + (2 * index - 3) / 2 * (high - low) / (num_neurons - 2)


def receptive_fields(
    data: Tensor, num_neurons: int, low: float = 0.0, high: float = 1.0, gamma: float = 1.5
) -> Tensor:
    """Responses ``exp(-(data - centre)^2 / (2 sigma^2))`` of Gaussian receptive fields.

    Their width is ``sigma = (high - low) / (gamma (n - 2))``.

    Args:
        data: values in [``low``, ``high``], any shape.
        num_neurons: n, at least 3.
        low: lower end of the range.
        high: upper end of the range.
        gamma: overlap; larger values give narrower fields. Positive.

    Returns:
        [*data.shape, n] in (0, 1], in the dtype and on the device of ``data``.

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: values outside the range, fewer than 3 neurons, ``gamma`` not positive.

    After Bohte, Kok & La Poutre (2002), Neurocomputing 48, 17-37; gamma = 1.5 is theirs.

    >>> receptive_fields(torch.tensor([0.5]), num_neurons=3)
    tensor([[0.3247, 1.0000, 0.3247]])
    """
    real("gamma", gamma, 0.0, open_low=True, example=1.5)
    tensor("data", data)
    centers = population_centers(num_neurons, low, high).to(data)
    in_range(
        "data", intensities(data), low, high, why="write low= and high= as the range of the data"
    )
    sigma = (high - low) / (gamma * (num_neurons - 2))
    # A square alone may overflow.
    return torch.exp(-(((data.unsqueeze(-1) - centers) / sigma) ** 2) / 2)


def population(
    data: Tensor,
    num_neurons: int,
    num_steps: int,
    low: float = 0.0,
    high: float = 1.0,
    gamma: float = 1.5,
    code: str = "latency",
    threshold: float = 0.1,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Spikes of n neurons with Gaussian receptive fields for each number.

    Args:
        data: values in [``low``, ``high``], [B, ...].
        num_neurons: n, at least 3.
        num_steps: T.
        low: lower end of the range.
        high: upper end of the range.
        gamma: overlap of the fields, see `receptive_fields`.
        code: "latency": one spike at ``round((1 - response) (T - 1))``, none below ``threshold``;
            "rate": a spike at each step with the response as probability.
        threshold: response below which a neuron stays silent, for the latency code.
        generator: source of randomness for the rate code; default is torch's global one.

    Returns:
        Spikes 0 or 1, [T, B, ..., n], in the dtype and on the device of ``data``.

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: values outside the range, fewer than 3 neurons, no steps, another ``code``.

    After Bohte, Kok & La Poutre (2002), Neurocomputing 48, 17-37, who use 10 steps and a threshold
    of 0.1.

    >>> population(torch.tensor([0.5]), num_neurons=3, num_steps=4).squeeze(1)
    tensor([[0., 1., 0.],
            [0., 0., 0.],
            [1., 0., 1.],
            [0., 0., 0.]])
    """
    steps = step_count(num_steps)
    if not steps:
        raise ValueError(f"population needs num_steps > 0, got {num_steps}; write num_steps=10")
    random_source(generator, tensor("data", data))
    real("threshold", threshold, example=0.1)
    response = receptive_fields(data, num_neurons, low, high, gamma)
    if choice("code", code, ["latency", "rate"]) == "rate":
        return rate(response, steps, generator=generator)
    time = ((1 - response) * (steps - 1)).round().masked_fill(response < threshold, steps)
    step = torch.arange(steps, device=data.device).reshape(-1, *[1] * time.dim())
    return (step == time).to(data.dtype)


def population_times(
    data: Tensor,
    num_neurons: int,
    latest: float = 10.0,
    low: float = 0.0,
    high: float = 1.0,
    gamma: float = 1.5,
    threshold: float = 0.1,
) -> Tensor:
    """Continuous spike times of n neurons with Gaussian receptive fields for each number.

    Args:
        data: values in [``low``, ``high``], [B, ...].
        num_neurons: n, at least 3.
        latest: time of a response of 0; a neuron fires at ``(1 - response) latest``. Positive.
        low: lower end of the range.
        high: upper end of the range.
        gamma: overlap of the fields, see `receptive_fields`.
        threshold: response below which a neuron stays silent.

    Returns:
        [B, ..., n] in the unit of ``latest``, infinity for silent neurons; in the dtype and on the
        device of ``data``.

    Raises:
        TypeError: ``data`` is not floating point.
        ValueError: values outside the range, fewer than 3 neurons, ``latest`` not positive.

    After Bohte, Kok & La Poutre (2002), Neurocomputing 48, 17-37, who round the times to 1 ms.

    >>> population_times(torch.tensor([0.5]), num_neurons=4)
    tensor([[   inf, 2.4516, 2.4516,    inf]])
    """
    real("latest", latest, 0.0, open_low=True, example=10.0)
    real("threshold", threshold, example=0.1)
    response = receptive_fields(data, num_neurons, low, high, gamma)
    return ((1 - response) * latest).masked_fill(response < threshold, torch.inf)
