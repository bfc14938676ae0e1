r"""BP-STDP: output spike errors, passed back through the weights, times spikes of a short window.

The class neuron shall fire with every desired spike, z = 1, the others never. Where z[t] = 1, and
only there,

.. math::
    \Delta W_{ih} = \mu\, \xi_i n_h \qquad
    \Delta W_{hj} = \mu\, [n_h > 0] \Big(\sum_i \xi_i W_{ih}\Big) n_j

and so on below; n counts the spikes of a neuron in [t - epsilon, t], and xi_i is 1 for the class
neuron if n_i = 0, -1 for another one if n_i > 0, else 0. It is a rule for integrate-and-fire
neurons (`IF`): their rate is a rectified linear function of their input, whose derivative is in
brackets. A bias learns as the weight of an input that always fires.

`bp_stdp` shows a batch with constant weights: windows are differences of cumulative sums, and a
change is one matrix product over all times and samples that have an error. `BPSTDP` takes one step
at a time, so that weights can change in between.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import conv

from ..core import checks, tree
from ..core.numbers import tensor
from ..kernels.events.choice import by_input_alone
from ..neurons.integrate_fire import IF
from ..running import run
from .spike_errors import (
    SpikeError,
    check_numbers,
    desired_spikes,
    spike_errors,
    window_counts,
)
from .stages import Stage, pulled, stages
from .training import Loss, Outcome, TrainingRule, collected, refusal

__all__ = [
    "BPSTDP",
    "BPSTDPTraining",
    "Presentation",
    "bp_stdp",
    "check_network",
    "desired_spikes",
    "spike_errors",
    "window_counts",
]

NAME = "BP-STDP"


class Presentation(NamedTuple):
    """What was seen while a batch was shown.

    Attributes:
        error: see `SpikeError`, ().
        spikes: of each layer of neurons by its path, the last one being the output, [T, B, ...].

    >>> Presentation(torch.tensor(0.0), {"1": torch.zeros(20, 3, 10)}).spikes["1"].shape
    torch.Size([20, 3, 10])
    """

    error: Tensor
    spikes: dict[str, Tensor]


def bp_stdp(
    net: nn.Sequential,
    x: Tensor,
    labels: Tensor,
    *,
    epsilon: int = 4,
    desired: Tensor | None = None,
) -> Presentation:
    """Show a batch of spike trains and subtract the weight change of BP-STDP from every ``grad``.

    An optimiser then makes the change: ``torch.optim.SGD(parameters, lr=mu)``. It is the mean over
    the batch and the sum over the times of desired spikes. Weights are constant meanwhile; see
    `BPSTDP` for the rule of one step.

    Args:
        net: ``nn.Sequential`` of synapses and `IF` neurons, see `BPSTDP`. Its state is reset first.
        x: input spikes, 0 or 1, [T, B, ...].
        labels: classes, [B].
        epsilon: steps before a desired spike in which spikes count.
        desired: when spikes are desired, 0 or 1, [T], or [T, B] for each sample. Default: every 4
            steps.

    Returns:
        A `Presentation`.

    Raises:
        TypeError: the network holds something that the rule does not train.
        ValueError: x holds other values than 0 and 1, or shapes do not agree.

    Source: Tavanaei & Maida (2019), Neurocomputing 330, 39-47 (arXiv 1711.04214).

    >>> import spikeloom as snn
    >>> net = nn.Sequential(
    ...     nn.Linear(4, 2, bias=False), snn.IF(reset_mechanism="zero", init_hidden=True)
    ... )
    >>> shown = bp_stdp(net, (torch.rand(20, 3, 4) < 0.2).float(), torch.tensor([0, 1, 1]))
    >>> net[0].weight.grad.shape, shown.spikes["1"].shape
    (torch.Size([2, 4]), torch.Size([20, 3, 2]))
    """
    layers = check_network(net)
    _check_input(x, labels, epsilon)
    wanted = desired_spikes(len(x)) if desired is None else torch.as_tensor(desired)
    if wanted.shape not in (x.shape[:1], x.shape[:2]):
        raise ValueError(
            f"desired spikes are [T] or [T, B], got {tuple(wanted.shape)} for input "
            f"{tuple(x.shape)}; "
            "write desired_spikes(T)"
        )
    with torch.no_grad():
        result = run(net, x, record=[f"{stage.path}.spk" for stage in layers])
        spikes = {stage.path: result.record[f"{stage.path}.spk"] for stage in layers}
        outputs = window_counts(spikes[layers[-1].path], epsilon)
        moments = (wanted if wanted.dim() == 2 else wanted[:, None]).to(x.device) != 0
        xi = spike_errors(outputs, labels) * moments[..., None]
        rows = xi.any(-1).nonzero(as_tuple=True)  # times and samples that have an error
        steps = rows[0].clamp(max=epsilon) + 1
        counts = [_counts_at(spk, rows, epsilon) for spk in (x, *spikes.values())]
        _learn(layers, counts, xi[rows], steps, 1 / x.shape[1])
    return Presentation((xi.sum((0, 2)) / len(x)).square().mean(), spikes)


class BPSTDP:
    """BP-STDP step by step: each call of `step` is a time step, after which the optimiser may step.

    Args:
        net: ``nn.Sequential``, nested ones included, of ``nn.Linear`` or convolutions, each
            followed by `IF` neurons with ``init_hidden=True`` (published:
            ``reset_mechanism="zero"``), and of layers without weights that are linear (flattening,
            average pooling).
        epsilon: steps before a desired spike in which spikes count.

    Raises:
        TypeError: another kind of network, or a layer that the rule does not train.
        ValueError: two synapses follow each other, or a layer occurs twice.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(
    ...     nn.Linear(4, 2, bias=False), snn.IF(reset_mechanism="zero", init_hidden=True)
    ... )
    >>> learner, sgd = BPSTDP(net), torch.optim.SGD(net.parameters(), lr=0.01)
    >>> for t, x_t in enumerate((torch.rand(20, 1, 4) < 0.2).float()):
    ...     sgd.zero_grad()
    ...     spk = learner.step(x_t, torch.tensor([1]), desired=t % 4 == 3)
    ...     sgd.step()
    """

    def __init__(self, net: nn.Sequential, epsilon: int = 4) -> None:
        self.net = net
        self.epsilon = epsilon
        check_numbers(epsilon)
        self._stages = check_network(net)
        self.reset()

    def reset(self) -> None:
        """Forget windows and the state of the network; gradients stay."""
        tree.reset(self.net)
        self._recent: deque[list[Tensor]] = deque(maxlen=self.epsilon + 1)

    def step(self, x: Tensor, labels: Tensor, desired: Any = True) -> Tensor:
        """Run one time step; where a spike is desired, subtract the weight change from ``grad``.

        Args:
            x: input spikes of this step, [B, ...].
            labels: classes, [B].
            desired: whether a spike is desired now: one value, or [B].

        Returns:
            Output spikes, [B, C].
        """
        _check_input(x.unsqueeze(0), labels, self.epsilon)
        with torch.no_grad():
            spikes = [x]
            for stage in self._stages:
                out = stage.neuron(stage.current(spikes[-1]))
                spikes.append(out[0] if isinstance(out, tuple) else out)
            self._recent.append(spikes)
            now = torch.as_tensor(desired, device=x.device).bool().expand(len(x))
            if now.any():
                counts = [torch.stack(each).sum(0) for each in zip(*self._recent, strict=True)]
                xi = spike_errors(counts[-1], labels) * now[:, None]
                rows = xi.any(-1)
                steps = torch.full((int(rows.sum()),), len(self._recent), device=x.device)
                _learn(self._stages, [count[rows] for count in counts], xi[rows], steps, 1 / len(x))
        return spikes[-1]


def _counts_at(spk: Tensor, rows: tuple[Tensor, ...], epsilon: int) -> Tensor:
    """`window_counts` at some times and samples, [R, ...]; most times have no error."""
    times, samples = rows
    if len(times) * (epsilon + 1) > spk.shape[0] * spk.shape[1]:
        return window_counts(spk, epsilon)[rows]
    counts = spk[times, samples]
    for back in range(1, min(epsilon, len(spk) - 1) + 1):
        inside = (times >= back).to(spk.dtype).reshape(-1, *[1] * (spk.dim() - 2))
        counts = counts.addcmul_(spk[(times - back).clamp(min=0), samples], inside)
    return counts


def _learn(
    layers: tuple[Stage, ...], counts: list[Tensor], xi: Tensor, steps: Tensor, scale: float
) -> None:
    for parameter, change in changes(layers, counts, xi, steps):
        if parameter.requires_grad:
            gradient = -scale * change
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def changes(
    layers: tuple[Stage, ...], counts: list[Tensor], xi: Tensor, steps: Tensor
) -> list[tuple[nn.Parameter, Tensor]]:
    """The change of each weight and bias, last layer first, summed over rows.

    Args:
        layers: what `check_network` read.
        counts: spikes in the window, input first, [R, ...] each.
        xi: errors of the outputs, [R, C].
        steps: length of the window, [R].

    >>> import spikeloom as snn
    >>> layers = check_network(nn.Sequential(nn.Linear(2, 1, bias=False), snn.IF(init_hidden=True)))
    >>> counts, xi = [torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0]])], torch.tensor([[1.0]])
    >>> [change for _, change in changes(layers, counts, xi, torch.tensor([5]))]
    [tensor([[3., 0.]])]
    """
    error = xi
    found: list[tuple[Any, Tensor]] = []
    for place in reversed(range(len(layers) if len(xi) else 0)):
        stage = layers[place]
        synapse = layers[place].synapse
        change, at_synapse, below = pulled(
            stage, counts[place], error.reshape_as(counts[place + 1]), further=place > 0
        )
        found.append((synapse.weight, change))
        if synapse.bias is not None:
            found.append((synapse.bias, _bias_change(synapse, at_synapse, steps)))
        if below is not None:
            error = below * (counts[place] > 0)
    return found


def _bias_change(synapse: nn.Module, error: Tensor, steps: Tensor) -> Tensor:
    """The change of the weights of an input that fires at every step."""
    weighted = error * steps.to(error.dtype).reshape(-1, *[1] * (error.dim() - 1))
    channel = 1 if isinstance(synapse, conv._ConvNd) else error.dim() - 1
    return weighted.sum([axis for axis in range(error.dim()) if axis != channel])


def check_network(net: Any) -> tuple[Stage, ...]:
    """The stages of a network that the rule can train; an error says why it can not.

    >>> import spikeloom as snn
    >>> len(check_network(nn.Sequential(nn.Linear(4, 2), snn.IF(init_hidden=True))))
    1
    """
    return stages(net, (IF,), NAME)


def _check_input(x: Tensor, labels: Tensor, epsilon: int) -> None:
    checks.floating(x, "x")
    check_numbers(epsilon)
    tensor("labels", labels)
    if x.dim() < 3 or len(x) < 1 or labels.shape != x.shape[1:2]:
        raise ValueError(
            f"BP-STDP takes spikes [T, B, ...] and classes [B], got {tuple(x.shape)} and "
            f"{tuple(labels.shape)}; "
            "write x.unsqueeze(1) for one sample"
        )
    checks.has_samples(x, "x", axis=1)
    if not bool(((x == 0) | (x == 1)).all()):
        raise ValueError(
            f"BP-STDP counts input spikes, 0 or 1, got values from {float(x.min()):g} to "
            f"{float(x.max()):g}; "
            "encode them, e.g. snn.spikegen.rate(x, num_steps=20)"
        )


@dataclass(frozen=True)
class BPSTDPTraining(TrainingRule, name="bp_stdp"):
    """Errors of output spikes, passed down through the weights: `bp_stdp` as a rule of `fit`.

    It trains networks of `IF` neurons. Samples are spikes (``encode="rate"``), the optimiser is SGD
    of rate 0.02 unless another one is given, and the loss is the rule's own error. Its public name
    is ``train.BPSTDP``.

    Args:
        epsilon: steps before a desired spike in which spikes count.
        interval: steps between the desired spikes of the class neuron.

    >>> BPSTDPTraining(epsilon=2)
    BPSTDP(epsilon=2, interval=4)
    """

    constants: ClassVar[bool] = False

    epsilon: int = 4
    interval: int = 4

    def __post_init__(self) -> None:
        check_numbers(self.epsilon, self.interval)

    def __repr__(self) -> str:
        return f"BPSTDP(epsilon={self.epsilon}, interval={self.interval})"

    def loss(self, given: Any) -> Callable[..., Tensor]:
        if given is not None:
            raise ValueError(
                refusal(self, "it has an error of its own, got loss", "leave loss out")
            )
        return SpikeError(self.epsilon, self.interval)

    def optimizer(self, parameters: Iterable[Tensor], lr: float | None) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, 0.02 if lr is None else lr)

    def check(self, job: Any, probe: Any) -> None:
        check_network(job.net)
        desired_spikes(probe.num_steps, self.interval)
        value, static = job.encoder.call(job.samples.example[:2].to(job.device))
        if static is not None or not bool(((value == 0) | (value == 1)).all()):
            why = f"it counts input spikes, got encode={job.encoder.name!r}"
            raise ValueError(refusal(self, why, 'write encode="rate"'))

    def learn(self, job: Any, x: Tensor, y: Tensor) -> Outcome:
        value, _ = job.encoder.call(x)
        job.optimizer.zero_grad()
        desired = desired_spikes(len(value), self.interval)
        with by_input_alone():  # a resumed run has not seen earlier batches
            shown = bp_stdp(job.net, value, y, epsilon=self.epsilon, desired=desired)
        job.optimizer.step()
        return Outcome(shown.error.item(), shown.spikes[job.last], shown.spikes)

    def gradients(self, net: Any, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
        """The gradient of each parameter; ``loss`` has no effect, the rule has its own error."""
        desired = desired_spikes(len(x), self.interval)
        return collected(net, lambda: bp_stdp(net, x, y, epsilon=self.epsilon, desired=desired))
