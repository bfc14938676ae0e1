"""The plug-in that applies chaotic back-propagation to any network without changing it."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.neuron import Neuron
from ..core.numbers import network, random_source, whole
from . import noise
from .calibration import Batch, Gain, gains
from .csbp import CSBP, A, settings
from .layer_report import ChaosWarning, Report, layer_report, rest_is_out_of_reach
from .loss_function import ChaoticLoss
from .signals import record

__all__ = ["Chaos", "attach"]


def attach(
    net: nn.Module,
    chaos: Any = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    batch: Tensor | Callable[[nn.Module], Any] | None = None,
    num_steps: int | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> "Chaos":
    """Attaches the chaotic loss to a network.

    It records the selected layers in step mode, in sequence mode and under `snn.run`, while they
    are in training mode and gradients are enabled. The network does not change; copies of it are
    not attached.

    Args:
        net: any module with neurons.
        chaos: `CSBP` settings or a strength. Default: ``CSBP()``.
        optimizer: a ``torch.optim.SGD``, needed by a dimensionless strength (`A`) and its reports.
        batch: a batch on which the strength of each layer is measured: input over time [T, B, ...];
            with ``num_steps`` a static input [B, ...]; or a function that runs a network. Without
            it, call `Chaos.calibrate` before the first loss.
        num_steps: T of a static input.
        generator: source of the noise with ``drive="noise"``.
        **options: arguments of `CSBP` that override those in ``chaos``.

    Returns:
        The chaotic loss: ``loss = task + chaos()``, then ``chaos.step()`` after each update and
        ``chaos.epoch()`` after each pass.

    Raises:
        TypeError, ValueError: an argument is invalid, no layer is selected, or the strength is
            dimensionless and the optimiser is not SGD.

    Warns:
        ChaosWarning: the surrogate gradient of a layer is zero at the rest point, or the measured
            strength gives no chaos.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(
    ...     nn.Linear(4, 8), snn.Leaky(0.9, init_hidden=True), nn.Linear(8, 2), snn.LI(0.9)
    ... )
    >>> sgd, x = torch.optim.SGD(net.parameters(), lr=0.1), torch.rand(16, 4)
    >>> chaos = snn.chaos.attach(
    ...     net, strength=snn.chaos.A(3.8), layers="1", optimizer=sgd, batch=x, num_steps=10
    ... )
    >>> spk, mem = snn.run(net, x, num_steps=10)
    >>> loss = mem.square().mean() + chaos()
    >>> loss.backward(); sgd.step(); chaos.step()
    >>> print(chaos.report().layers["1"].regime)
    chaotic
    """
    made = replace(CSBP() if chaos is None else settings(chaos), **options)
    network(net)
    if num_steps is not None:
        whole("num_steps", num_steps, 1)
    attached = Chaos(net, made, optimizer, generator)
    if batch is not None:
        attached.calibrate(batch, num_steps)
    return attached


class Chaos:
    """The chaotic loss of a network; `attach` returns it.

    Attributes:
        net: the network.
        settings: the settings.
        losses: the loss of each layer, by path.
        gains: the measured feedback of each layer, by path; empty before `calibrate`.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(4, 2), snn.Leaky(0.9, init_hidden=True))
    >>> chaos = attach(net, snn.chaos.Z(10.0))
    >>> _ = snn.run(net, torch.zeros(1, 4), num_steps=5)
    >>> chaos().requires_grad
    True
    """

    def __init__(
        self,
        net: nn.Module,
        made: CSBP,
        optimizer: torch.optim.Optimizer | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}; write "
                "torch.optim.SGD(net.parameters(), lr=0.1)"
            )
        self.net = net
        self.settings = made
        self.optimizer = optimizer
        self.generator = random_source(generator)
        self.recorders, self._off = record(net, made)
        literal = math.nan if isinstance(made.strength, A) else made.strength.value
        self.losses: dict[str, ChaoticLoss] = {}
        self.gains: dict[str, Gain] = {}
        for path, recorder in self.recorders.items():
            self.losses[path] = made.loss(0.0, self._center(recorder.module))
            self.losses[path].begin = literal
        if isinstance(made.strength, A) and made.strength.value == 0.0:
            for loss in self.losses.values():
                loss.begin = loss.strength = 0.0  # off without a measurement of the feedback
        for path, recorder in self.recorders.items():
            if made.strength.value > 0 and rest_is_out_of_reach(recorder.module, made):
                self._warn(
                    f"layer {path!r}: the chaotic loss pulls towards "
                    f"{self._rest(recorder.module):.3g}, where the surrogate gradient is zero: "
                    "neurons driven there stop learning; write center='threshold', scale=1"
                )

    def _center(self, module: nn.Module) -> Any:
        if self.settings.center == "threshold" and isinstance(module, Neuron):
            return module.threshold.detach()
        return self.settings.center

    def _rest(self, module: nn.Module) -> float:
        center = self._center(module)
        return float(center.mean() if isinstance(center, Tensor) else center) + self.settings.rest

    def _warn(self, text: str) -> None:
        warnings.warn(text, ChaosWarning, stacklevel=4)

    # -- training ----------------------------------------------------------------------------------

    def __call__(self) -> Tensor:
        """The chaotic loss of the signals since the last call, summed over layers, ().

        Raises:
            RuntimeError: nothing was recorded, or a dimensionless strength has not been measured.
        """
        missing = [path for path, loss in self.losses.items() if math.isnan(loss.begin)]
        if missing:
            raise RuntimeError(
                f"strength={self.settings.strength} is relative to the data, and layer "
                f"{missing[0]!r} has not been measured; call chaos.calibrate(batch) once before, "
                "or write attach(..., optimizer=..., batch=...)"
            )
        terms = []
        for path, recorder in self.recorders.items():
            chunks = recorder.take()
            if not chunks:
                raise RuntimeError(
                    f"layer {path!r} has recorded nothing since the last call; run the network in "
                    "training mode, with gradients, before each chaos()"
                )
            terms.append(self.losses[path].of(chunks))
        total = terms[0]
        if len(terms) > 1:
            total = torch.stack([term.to(total) for term in terms]).sum()
        if self.settings.drive == "noise" and total.requires_grad:
            trained = [p for p in self.net.parameters() if p.requires_grad]
            return noise.matched(total, trained, self.generator)
        return total

    def step(self) -> None:
        """Anneals by one step; call it after each update of the weights."""
        for loss in self.losses.values():
            loss.step()

    def epoch(self) -> None:
        """Anneals by one epoch; call it after each pass over the data."""
        for loss in self.losses.values():
            loss.epoch()

    def clear(self) -> None:
        """Drops the signals recorded since the last loss."""
        for recorder in self.recorders.values():
            recorder.moments.clear()

    def remove(self) -> None:
        """Detaches the chaotic loss from the network."""
        for off in self._off:
            off()
        self._off = []

    # -- measuring ---------------------------------------------------------------------------------

    def calibrate(self, batch: Batch, num_steps: int | None = None) -> None:
        """Measures the feedback of each layer on a batch and sets dimensionless strengths.

        The feedback changes while the network learns; another call updates the intensities without
        restarting the annealing.

        Args:
            batch: see `attach`.
            num_steps: T of a static input.

        Raises:
            TypeError, ValueError: see `critical_intensity`.

        Warns:
            ChaosWarning: the strength gives no chaos, or a locked orbit.
        """
        if self.optimizer is None:
            raise ValueError(
                "the measurement of a strength needs an optimiser, got none; write attach(net, "
                "..., optimizer=sgd)"
            )
        self.gains = gains(self.net, batch, self.settings, self.optimizer, num_steps)
        strength = self.settings.strength
        if isinstance(strength, A):
            for path, gain in self.gains.items():
                self.losses[path].begin = strength.value / gain.unit
                self.losses[path].strength = strength.value
        if strength.value > 0:
            for text in self.report().warnings:
                self._warn(text)

    def report(self) -> Report:
        """Reports the present strength and regime of each layer, and its last recorded sequence."""
        layers = {
            path: layer_report(
                recorder, self.losses[path], self.settings, self.gains.get(path), self.optimizer
            )
            for path, recorder in self.recorders.items()
        }
        return Report(layers)

    # -- checkpoints -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Intensities, annealing and measured feedback as plain values."""
        return {
            "losses": {path: loss.get_extra_state() for path, loss in self.losses.items()},
            "gains": {path: tuple(gain) for path, gain in self.gains.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state of `state_dict`.

        Raises:
            ValueError: it belongs to other layers.
        """
        if state["losses"].keys() != self.losses.keys():
            raise ValueError(
                f"the state must be of the layers {list(self.losses)}, got "
                f"{list(state['losses'])}; attach with the same layers"
            )
        for path, loss in self.losses.items():
            loss.set_extra_state(state["losses"][path])
        self.gains = {path: Gain(*gain) for path, gain in state["gains"].items()}
