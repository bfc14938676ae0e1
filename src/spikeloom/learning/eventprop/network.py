r"""Reads an ordinary network of linear layers and `Synaptic` neurons as one in continuous time.

A step of a `Synaptic` neuron is the exact solution of a current-based LIF neuron with exponential
synapses, for input that arrives at the beginning of the step, in units of the step:

.. math::
    \tau_s = -1 / \ln\alpha \qquad \tau_m = -1 / \ln\beta \qquad
    \theta = \theta_{step} \, g(1) \qquad
    g(s) = \frac{\tau_s}{\tau_m - \tau_s} (e^{-s/\tau_m} - e^{-s/\tau_s})

The membrane of step n is V at time n + 1, divided by g(1). What differs is that a spike of the
network in steps waits for the end of its step, and takes effect on the next layer from the
beginning of that step on; as steps get shorter, the two become the same. Resets "zero" and
"subtract" are one in continuous time, where a membrane at a spike is exactly at threshold. A spike
at time t in (n, n + 1] is one of step n.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...core import checks
from ...core.neuron import Neuron
from ...neurons.rsynaptic import RSynaptic
from ...neurons.synaptic import Synaptic
from ..stages import flat
from .function import lif_spikes

__all__ = ["EventNetwork", "Stage", "step_spikes", "train_times"]

_PASSIVE = (nn.Flatten, nn.Identity)


class Stage(NamedTuple):
    """A linear layer and the neurons that it feeds."""

    path: str  # of the neurons
    linear: nn.Linear
    neuron: Any


class EventNetwork:
    """A network of ``nn.Linear`` and `Synaptic` or `RSynaptic` layers in continuous time.

    Call it with the input of the network in steps; what comes back are exact spike times, whose
    gradients arrive in the parameters of the network: weights, biases, recurrent weights, and
    alpha, beta and threshold where they learn. A bias is an input spike at the beginning of every
    step, feedback of `RSynaptic` has a delay of one step.

    Args:
        net: ``nn.Sequential``, nested ones included, of ``nn.Flatten`` and pairs of ``nn.Linear``
            and a neuron.
        max_spikes: after so many spikes a neuron of the last layer stays silent; 1 where only first
            spikes are read.
        slope_floor: as for `lif_spikes`.

    Raises:
        TypeError: the network holds something else; the message names it.
        ValueError: a neuron whose reset or decays have no counterpart.

    >>> import spikeloom as snn
    >>> neuron = snn.Synaptic(alpha=0.8, beta=0.9, init_hidden=True)
    >>> net = nn.Sequential(nn.Linear(3, 2, bias=False), neuron)
    >>> with torch.no_grad(): _ = net[0].weight.fill_(0.4)
    >>> x = torch.zeros(20, 1, 3); x[0] = 1.0
    >>> EventNetwork(net)(x)[-1]
    tensor([[[0.8076, 1.8050, 3.1166, 5.0658, 9.6954],
             [0.8076, 1.8050, 3.1166, 5.0658, 9.6954]]], grad_fn=<_SpikesBackward>)
    """

    def __init__(
        self, net: nn.Module, *, max_spikes: int | None = None, slope_floor: float = 1e-2
    ) -> None:
        self.stages = list(_stages(net))
        self.max_spikes = max_spikes
        self.slope_floor = slope_floor

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Spike times of every layer, [B, J, K] in steps, for spikes or currents [T, B, ...].

        Raises:
            TypeError: ``x`` is not floating point.
            ValueError: it has no time axis, no sample, a NaN, or does not fit the first layer.
        """
        checks.floating(x, "x")
        if x.dim() < 3 or len(x) == 0:
            raise ValueError(
                f"x must be [T, B, inputs...] with T > 0, got {tuple(x.shape)}; the network runs "
                "in time"
            )
        checks.has_samples(x, "x", axis=1)
        checks.finite(x, "x")
        steps = len(x)
        times, value = train_times(x.flatten(2))
        found = []
        for stage in self.stages:
            last = stage is self.stages[-1]
            times = self._layer(stage, times, value, steps, self.max_spikes if last else None)
            value = None
            found.append(times)
        return found

    def _layer(
        self, stage: Stage, times: Tensor, value: Any, steps: int, max_spikes: int | None
    ) -> Tensor:
        neuron = stage.neuron
        weight = stage.linear.weight
        feedback = getattr(neuron, "recurrent", None)
        biases: list[Tensor] = [
            layer.bias
            for layer in (stage.linear, feedback)
            if layer is not None and layer.bias is not None
        ]
        alpha, beta = neuron.alpha.clamp(0, 1), neuron.beta.clamp(0, 1)
        if biases:
            weight = torch.cat([weight, torch.stack(biases).sum(0).unsqueeze(1)], 1)
            times, value = _with_bias(times, value, steps)
        return lif_spikes(
            times,
            weight,
            tau_m=-1 / torch.log(beta),
            tau_s=-1 / torch.log(alpha),
            threshold=neuron.threshold * _gain(alpha, beta),
            until=float(steps),
            value=value,
            recurrent=None if feedback is None else feedback.weight,
            recurrent_delay=0.0 if feedback is None else 1.0,
            max_spikes=max_spikes,
            slope_floor=self.slope_floor,
        )


def train_times(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Spike times of an input in steps, and the value of each spike.

    Args:
        x: [T, B, N]; whatever is not 0 is a spike of that value.

    Returns:
        Times [B, N, K], infinity where there are fewer than K, and values of that shape; None if
        all are 1.

    >>> train_times(torch.tensor([[[1.0]], [[0.0]], [[1.0]]]))[0]
    tensor([[[0., 2.]]])
    """
    spikes = x.detach().movedim(0, -1)
    fired = spikes != 0
    most = max(1, int(fired.sum(-1).max()))
    step = torch.arange(len(x), dtype=x.dtype, device=x.device)
    times, order = torch.where(fired, step, math.inf).sort(-1)
    times = times[..., :most].contiguous()
    if bool((spikes[fired] == 1).all()):
        return times, None
    value = spikes.gather(-1, order)[..., :most]
    return times, torch.where(torch.isfinite(times), value, 1.0).contiguous()


def step_spikes(times: Tensor, num_steps: int) -> Tensor:
    """The spikes of a layer in steps, [T, B, J], for times [B, J, K]: (n, n + 1] is step n.

    >>> step_spikes(torch.tensor([[[0.4, 2.0]]]), 3).flatten()
    tensor([1., 1., 0.])
    """
    step = (times.detach().ceil() - 1).clamp(min=0.0)
    fired = step < num_steps
    train = times.new_zeros(*times.shape[:2], num_steps)
    return (
        train.scatter_add_(-1, torch.where(fired, step, 0.0).long(), fired.to(train))
        .clamp_(max=1.0)
        .movedim(-1, 0)
    )


def _with_bias(times: Tensor, value: Tensor | None, steps: int) -> tuple[Tensor, Tensor | None]:
    """One more input, with a spike at the beginning of every step."""
    room = max(times.shape[-1], steps)
    padded = nn.functional.pad(times, (0, room - times.shape[-1]), value=math.inf)
    clock = times.new_full((len(times), 1, room), math.inf)
    clock[..., :steps] = torch.arange(steps, dtype=times.dtype, device=times.device)
    if value is not None:
        value = nn.functional.pad(value, (0, room - value.shape[-1], 0, 1), value=1.0)
    return torch.cat([padded, clock], 1), value


def _gain(alpha: Tensor, beta: Tensor) -> Tensor:
    """g(1): the membrane of continuous time after one step, for a unit of current."""
    apart = torch.log(beta) - torch.log(alpha)  # 1 / tau_s - 1 / tau_m
    small = apart.abs() < 1e-6
    safe = torch.where(small, 1.0, apart)
    part = torch.where(small, 1 - apart / 2, -torch.expm1(-safe) / safe)
    return -torch.log(beta) * beta * part


def _stages(net: nn.Module) -> Iterator[Stage]:
    """Pairs of linear layers and neurons, in order."""
    if not isinstance(net, nn.Sequential):
        raise TypeError(
            f"the network must be nn.Sequential, got {type(net).__name__}; its layers are read in "
            "order"
        )
    waiting: nn.Linear | None = None
    seen: list[nn.Module] = []
    for path, module in flat(net):
        if isinstance(module, nn.Linear) and waiting is None:
            waiting = module
        elif isinstance(module, Synaptic | RSynaptic) and waiting is not None:
            _readable(path, module)
            if any(module is other for other in seen):
                raise ValueError(
                    f"a layer of neurons may occur once, got {path!r}, which occurs twice; write a "
                    "second layer"
                )
            seen.append(module)
            yield Stage(path, waiting, module)
            waiting = None
        elif not isinstance(module, _PASSIVE) or waiting is not None:
            raise TypeError(
                "exact gradients are for networks of nn.Linear, each followed by Synaptic or "
                "RSynaptic, got "
                f"{type(module).__name__} at {path!r}; {_hint(module)}"
            )
    if waiting is not None:
        raise TypeError(
            "the last linear layer needs neurons, got none after it; add snn.Synaptic(alpha=0.8, "
            "beta=0.9)"
        )


def _hint(module: nn.Module) -> str:
    if isinstance(module, Neuron):
        return (
            "its spikes do not follow continuously from a current that decays: write "
            "snn.Synaptic(alpha=, beta=)"
        )
    return "leave it out"


def _readable(path: str, neuron: Any) -> None:
    if neuron.noise is not None:
        raise ValueError(
            f"exact spike times have no noise, got a noisy {type(neuron).__name__} at {path!r}; "
            "write snn.noisy(net), which takes it away"
        )
    if neuron.reset_mechanism == "none":
        raise ValueError(
            f'{path!r} must be reset by its spikes, got reset_mechanism="none"; write "zero"'
        )
    for name in ("alpha", "beta"):
        checks.in_range(
            f"{name} of {path!r}", getattr(neuron, name), 0.0, 1.0, open_low=True, open_high=True
        )
    if neuron.inhibition or not bool((torch.as_tensor(neuron.graded_spikes_factor) == 1).all()):
        raise ValueError(
            f"{path!r} must fire spikes of value 1 independently, got inhibition or graded spikes"
        )
    if isinstance(neuron, RSynaptic) and not (
        neuron.all_to_all and isinstance(neuron.recurrent, nn.Linear)
    ):
        raise ValueError(
            f"{path!r} must feed back through a linear layer; write linear_features=..."
        )
