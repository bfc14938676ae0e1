"""One training job: a network and all that runs, measures and changes it, checked before work."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..chaos import Chaos
from ..core.tree import named_neurons, reset
from ..learning.training import TrainingRule, refusal
from ..running.lengths import refuse_late_steps
from .model import Model, device_of, fork_random_state, has_own_loop, spiking_layers
from .readout import check_takes_lengths, check_targets, one_number
from .samples import Samples
from .update import Update

__all__ = [
    "Job",
    "Probe",
    "check_lengths",
    "device_of",
    "fork_random_state",
    "probe",
    "spiking_layers",
]


@dataclass(frozen=True)
class Job(Model):
    """A network and how it is trained on what.

    Attributes:
        optimizer: changes its parameters; `Update`, which accumulates, clips and sums.
        samples: training, validation and test data.
        epochs: passes over the training samples.
        given_loss: as given to `fit`.
        penalty: functions of the spikes [T, B, ...] of layers, added to the loss, by path.
        chaos: the chaotic loss attached to the network, or None.
    """

    optimizer: Update = field(kw_only=True)
    samples: Samples = field(kw_only=True)
    epochs: int = field(kw_only=True)
    given_loss: Any = field(kw_only=True, default=None)
    penalty: Mapping[str, Callable[[Tensor], Tensor]] = field(kw_only=True, default_factory=dict)
    chaos: Chaos | None = field(kw_only=True, default=None)

    def objective(
        self,
        outputs: Tensor,
        targets: Tensor,
        spikes: Mapping[str, Tensor],
        lengths: Tensor | None = None,
    ) -> Tensor:
        """The loss with the penalties of hidden spikes, a scalar; ``lengths`` as for `loss`."""
        total = self.loss(outputs, targets, lengths)
        options = {} if lengths is None else {"lengths": lengths}
        for path, function in self.penalty.items():
            if options:
                check_takes_lengths("penalty", function, "spikes")
            total = total + one_number(function(spikes[path], **options), "penalty")
        return total

    def run(
        self,
        x: Tensor,
        num_steps: int | None,
        *,
        reset: bool = True,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        copies = self.optimizer.copies
        if copies is None or not torch.is_grad_enabled():
            return super().run(x, num_steps, reset=reset, lengths=lengths)
        with nullcontext() if self.optimizer.completes else copies.no_sync():
            return copies(x, num_steps, reset, lengths)

    def measure(self, x: Tensor) -> None:
        """Measure once how strongly the chaotic loss feeds back, on samples [B, ...]."""
        chaos = self.chaos
        if chaos is None or chaos.gains or chaos.settings.strength.value == 0.0:
            return
        if isinstance(self.optimizer.optimizer, torch.optim.SGD):
            with fork_random_state(self.device, self.net):
                value, num_steps = self.encoder.call(self.optimizer.whole(x))
                chaos.calibrate(value, num_steps)

    @property
    def model(self) -> Model:
        """The network without its training."""
        return Model(**{each.name: getattr(self, each.name) for each in fields(Model)})


class Probe(NamedTuple):
    """Properties of a network, measured on one small batch.

    Attributes:
        multiply_adds: of the forward pass of one sample, in products with weights.
        num_steps: T.
        layers: number of neurons of each spiking layer.
        classes: number of classes of the outputs.
    """

    multiply_adds: int
    num_steps: int
    layers: dict[str, int]
    classes: int


class _Products(TorchDispatchMode):
    """Counts the operations of products with weights.

    torch's own counter also follows modules by hooks, which fail where a layer computes its weights
    without gradient.
    """

    def __init__(self, *, recorded: bool) -> None:
        super().__init__()
        self.operations = 0
        # neurons that run whole sequences have no plain loop, in which every step is counted
        self.counts_recordings = recorded

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out


def check_lengths(rule: TrainingRule, job: Job) -> None:
    """Refuse what cannot learn from samples of unequal length.

    Raises:
        ValueError: the rule, the chaotic loss, or a batch norm of the network.
    """
    if not rule.lengths:
        why = "the samples are of unequal length, and it counts the same steps for all"
        raise ValueError(refusal(rule, why, 'write rule="bptt", or samples of one length'))
    if job.chaos is not None:
        raise ValueError(
            "chaos reads trajectories of equal length, got samples of unequal length; leave chaos "
            "out, or cut the samples to one length"
        )
    refuse_late_steps(job.net, training=True)


def probe(job: Job) -> Probe:
    """Run a few test samples, to check the network before the training and to count its work.

    Raises:
        ValueError: samples do not suit the encoding, outputs are not [T, B, classes], a label has
            no output, or the loss does not take them.
    """
    _check_span(job)
    training = job.net.training
    x, lengths = (None if v is None else v.to(job.device) for v in job.samples.shown(2))
    assert x is not None
    y = job.samples.labels[:2].to(job.device)
    job.net.eval()
    try:
        with fork_random_state(job.device, job.net), torch.no_grad():
            try:
                outputs, spikes = job.forward(x, lengths)
            except ValueError as error:
                if "loop over time of its own" not in str(error):
                    raise
                raise ValueError(_own_loop(job)) from error
            _check_output(job, outputs)
            _check_loss(job, outputs, y, spikes, lengths)
            reset(job.net)
            whole = any("step" not in n.modes for _, n in named_neurons(job.net))
            with _Products(recorded=whole) as counter:  # the longer sample counts
                job.forward(x)
    finally:
        job.net.train(training)
        reset(job.net)
    classes = job.readout.num_classes or outputs.shape[-1]
    layers = {path: spk[0, 0].numel() for path, spk in spikes.items()}
    return Probe(counter.operations // 2 // len(x), len(outputs), layers, classes)


def _check_span(job: Job) -> None:
    low, high = job.samples.span
    if job.encoder.in_unit and not (low >= 0 and high <= 1):
        raise ValueError(
            f'encode="{job.encoder.name}" takes probabilities in [0, 1], got samples from {low:g} '
            f"to {high:g}; "
            "scale them, e.g. x / x.max()"
        )


def _own_loop(job: Job) -> str:
    """The message for a network with a loop of its own, with a remedy for `fit`."""
    return (
        f"{type(job.net).__name__} has a loop over time of its own; write "
        "snn.fit(snn.layerwise(net), ...), or a forward of one time step"
    )


def _check_output(job: Job, outputs: Any) -> None:
    if not isinstance(outputs, Tensor) or outputs.dim() != 3:
        came = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        hint = (
            "stack the outputs of its steps, [B, classes] each, by torch.stack"
            if has_own_loop(job.net)
            else "end it with nn.Flatten(), nn.Linear(features, classes) and a neuron with "
            "init_hidden=True, output=True"
        )
        raise ValueError(f"the network must return [T, B, classes], got {came}; {hint}")
    classes = job.readout.num_classes or outputs.shape[-1]
    highest = job.samples.highest
    if highest is not None and highest >= classes:
        raise ValueError(
            f"the labels reach {highest}, so that the network needs {highest + 1} outputs, got "
            f"{classes}; "
            f"change the last layer to {highest + 1} outputs, or the labels to 0 ... {classes - 1}"
        )


def _check_loss(
    job: Job,
    outputs: Tensor,
    y: Tensor,
    spikes: Mapping[str, Tensor],
    lengths: Tensor | None,
) -> None:
    """Compute the loss once, so that one that does not fit is refused before any work."""
    given = job.given_loss
    if given is not None:
        check_targets(given, job.readout.read(outputs, lengths), y)
    try:
        job.objective(outputs, y, spikes, lengths)
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"{job.readout.name} cannot be computed of outputs {tuple(outputs.shape)} and targets "
            f"{tuple(y.shape)}: {str(error).splitlines()[0]}; a loss is called with the outputs "
            "[T, B, N] and the targets, one of torch.nn with one number for each output"
        ) from error
