"""A network with what is needed to run and judge it over time, with or without a training."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.lengths import cut
from ..core.numbers import network
from ..core.taps import Moment, noted
from ..core.tree import generators_kept, named_neurons
from ..core.tree import reset as reset_states
from ..kernels.events.choice import by_input_alone
from ..running import run
from ..running.wrapper import LayerwiseModule
from .encoding import Encoder
from .models import is_spiking
from .padding import trimmed
from .readout import Readout, one_number

__all__ = [
    "Model",
    "check_plain",
    "device_of",
    "fork_random_state",
    "has_own_loop",
    "spiking_layers",
]

AT_ONCE = 256  # samples that `Model.scores` runs at a time


@dataclass(frozen=True)
class Model:
    """A network, its input and its output.

    Attributes:
        net: one step of the network, or a network of `spikeloom.layerwise` with its own loop.
        encoder: from samples to input over time.
        readout: loss and prediction.
        seed: of random draws in evaluations.
        layers: paths of the spiking neurons.
        last: path of the last neuron.
        metrics: functions of scores [N, ...] and targets [N, ...], by name.
        precision: dtype of autocast, or None.
        batch_norm: as for `spikeloom.run`.
    """

    net: nn.Module
    encoder: Encoder
    readout: Readout
    seed: int
    layers: tuple[str, ...]
    last: str
    metrics: Mapping[str, Callable[[Tensor, Tensor], Any]] = field(default_factory=dict)
    precision: torch.dtype | None = None
    batch_norm: str = "step"

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Output for the loss, [T, B, N], and spikes by layer, [T, B, ...], of samples.

        Args:
            x: samples, [B, ...].
            lengths: steps of each sample of a padded batch, [B]; spikes after them are 0.
        """
        return self.run(*self.encoder.call(x), lengths=lengths)

    def run(
        self,
        x: Tensor,
        num_steps: int | None,
        *,
        reset: bool = True,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, for input [T, B, ...], or [B, ...] repeated for ``num_steps``."""
        with self._autocast(), by_input_alone():
            # what earlier batches looked like must not matter: a resumed run has not seen them
            if isinstance(self.net, LayerwiseModule):
                return self._own_loop(x, lengths)
            membrane = [f"{self.last}.mem"] if self.readout.field == "mem" else []
            names = [*(f"{path}.spk" for path in self.layers), *membrane]
            result = run(
                self.net,
                x,
                num_steps,
                record=names,
                batch_norm=self.batch_norm,
                reset=reset,
                lengths=lengths,
            )
        spikes = {path: result.record[f"{path}.spk"] for path in self.layers}
        output = result.output[0] if isinstance(result.output, tuple) else result.output
        return result.record[membrane[0]] if membrane else output, spikes

    def _own_loop(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        reset_states(self.net)
        options = {} if lengths is None else {"lengths": lengths}
        with noted(self.net, self.layers, _over_time) as parts:
            output = self.net(x, **options)
        if isinstance(output, tuple):
            output = output[-1 if self.readout.field == "mem" else 0]
        spikes = {path: torch.cat(found) for path, found in parts.items() if found}
        if lengths is not None:  # a tap of a neuron in sequence mode sees its padding, too
            spikes = {path: cut(spk, lengths) for path, spk in spikes.items()}
        return output, spikes

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    def output_of(self, step: Any) -> Tensor:
        """What the loss reads of the output of one step, [B, N].

        Raises:
            TypeError: it reads membranes, and the network returns spikes only.
        """
        if self.readout.field == "spk":
            return step[0] if isinstance(step, tuple) else step
        last: Any = self.net.get_submodule(self.last)
        fields = [name for name in last.state_type()._fields if name != "spk"]
        if not isinstance(step, tuple) or len(step) != 1 + len(fields):
            raise TypeError(
                f"{self.readout.name} reads membranes, got a network that returns "
                f"{type(step).__name__}; "
                "build its last neuron with output=True"
            )
        return step[1 + fields.index("mem")]

    def loss(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The loss as a scalar, of the first ``lengths`` steps of each sample."""
        return one_number(self.readout.loss_until(outputs, targets, lengths), self.readout.name)

    def scores(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """One number per class or value of samples [N, ...], in parts and evaluation mode."""
        training = self.net.training
        self.net.eval()
        try:
            with fork_random_state(self.device, self.net), torch.no_grad():
                torch.manual_seed(self.seed)
                parts = [
                    self._scores(x[start : start + AT_ONCE], lengths, start)
                    for start in range(0, max(len(x), 1), AT_ONCE)
                ]
        finally:
            self.net.train(training)
            reset_states(self.net)
        return torch.cat(parts)

    def _scores(self, x: Tensor, lengths: Tensor | None, start: int) -> Tensor:
        ends = None if lengths is None else lengths[start : start + len(x)]
        x, ends = trimmed(x, ends)
        ends = None if ends is None else ends.to(self.device)
        return self.readout.read(self.forward(x.to(self.device), ends)[0], ends)

    def predict(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Classes [N] of samples [N, ...], or values [N, ...]."""
        return self.readout.predict(self.scores(x, lengths))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return device_of(self.net)


def _over_time(moment: Moment) -> Tensor:
    """What a neuron fires, [T, B, ...]."""
    return moment.output if moment.timed else moment.output.unsqueeze(0)


def has_own_loop(net: Any) -> bool:
    """Whether a network is one of `spikeloom.layerwise`, whose call runs all time steps.

    >>> has_own_loop(nn.Linear(1, 1))
    False
    """
    return isinstance(net, LayerwiseModule)


def device_of(net: nn.Module) -> torch.device:
    """Device of the first parameter.

    >>> device_of(nn.Linear(1, 1))
    device(type='cpu')
    """
    return next(net.parameters()).device


def fork_random_state(
    device: torch.device, net: nn.Module | None = None
) -> AbstractContextManager[None]:
    """Random draws inside the block leave generators outside as they were.

    Args:
        device: besides the CPU, for torch's global generators.
        net: its generators are left as they were, too.

    >>> before = torch.get_rng_state()
    >>> with fork_random_state(torch.device("cpu")):
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    return generators_kept(net, [device] if device.type == "cuda" else [])


WRAPPERS = {
    "DistributedDataParallel": "write net.module; under torchrun fit distributes it itself",
    "DataParallel": "write net.module, and start one process for each GPU by torchrun",
    "FullyShardedDataParallel": "write net.module; fit keeps a whole network in each process",
    "OptimizedModule": "leave torch.compile out; whole sequences run in compiled kernels anyway",
}  # by the name of a class, since most of their modules take seconds to import


def check_plain(net: nn.Module) -> None:
    """Refuse a network that another library runs, divides or has compiled.

    Raises:
        TypeError: it is one, or a part of it is.

    >>> check_plain(nn.Linear(1, 1))
    """
    for path, module in net.named_modules():
        for kind in type(module).__mro__:
            if kind.__name__ in WRAPPERS:
                where = f" in {path!r}" if path else ""
                raise TypeError(
                    f"net must be the network itself, got {kind.__name__}{where}; "
                    f"{WRAPPERS[kind.__name__]}"
                )
    divided = [path for path, p in net.named_parameters() if type(p.data).__name__ == "DTensor"]
    if divided:
        raise TypeError(
            f"net must hold whole weights, got a part of {divided[0]!r} (fully_shard); give the "
            "network before fully_shard, or write a loop of your own around a sharded module whose "
            "forward calls snn.run(self.net, x)"
        )
    synchronised = [path for path, m in net.named_modules() if isinstance(m, nn.SyncBatchNorm)]
    if synchronised and device_of(net).type == "cpu":
        raise TypeError(
            f"nn.SyncBatchNorm runs on GPUs only, got {synchronised[0]!r} on a CPU; write "
            "nn.BatchNorm1d or nn.BatchNorm2d, which in fit takes the statistics of all processes"
        )


def spiking_layers(net: Any, *, trains: bool = True) -> tuple[tuple[str, ...], str]:
    """Paths of the spiking neurons of a network, and of its last neuron.

    Args:
        net: the network.
        trains: whether it must have something to train.

    Raises:
        TypeError: ``net`` is no module.
        ValueError: it has nothing to train, or no neuron.

    >>> import spikeloom as snn
    >>> spiking_layers(nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9, init_hidden=True)))
    (('1',), '1')
    """
    network(net)
    check_plain(net)
    if trains and not any(p.requires_grad for p in net.parameters()):
        frozen = sum(1 for _ in net.parameters())
        hint = (
            f"all of its {frozen} are frozen: write net.requires_grad_(True), or leave some free"
            if frozen
            else "add an nn.Linear"
        )
        raise ValueError(f"net must have parameters that require a gradient, got none; {hint}")
    every = list(named_neurons(net))
    if not every:
        raise ValueError(
            "net must have at least one spiking neuron, got none; "
            "add snn.Leaky(beta=0.9, init_hidden=True) after each linear layer"
        )
    return tuple(path for path, neuron in every if is_spiking(neuron)), every[-1][0]
