"""The network of Diehl & Cook: excitatory neurons with mutual inhibition learn by STDP."""

from typing import Any

import torch
from torch import Tensor, nn

from ...core import checks
from ..registry import rule_of
from ..stdp import Memory, PowerLaw, Rule
from .circuit import Circuit, CircuitState, at_rest
from .constants import Constants
from .images import grid
from .parts import Population, Synapse, cells
from .training import Training
from .voting import Naming

__all__ = ["DiehlAndCook2015"]

DEFAULT_RULE = PowerLaw(alpha=0.01, x_tar=0.05, mu=0.0)


class DiehlAndCook2015(Training, nn.Module):
    r"""Unsupervised learning of images by STDP, competition and adaptive thresholds.

    Every input spike excites all excitatory neurons by its weights. An excitatory spike drives an
    inhibitory partner, which inhibits all other excitatory neurons, so that one or few of them
    answer an image; the rule pulls their weights towards what they answered, and their thresholds
    rise, so that the next image may go to others. Labels are needed only to name the neurons
    afterwards (`assign`), and take no part in learning.

    There are two interfaces. Step by step, under the names of n3ml: `init_param`, `run`, `update`,
    `normalize`, with weights at ``xe.w``, thresholds at ``exc.theta``, spikes at ``exc.s``. Or at
    once: `fit`, `assign`, `predict`, `receptive_fields`, by one of two engines. ``"event"`` (numba)
    presents one image after the other and changes weights at every spike, as published.
    ``"batched"`` (torch) keeps the weights during the presentation of a batch. With batches of 1
    and a chunk of 1 both do what the steps do.

    Presentations start from rest; the 150 ms of silence that the authors put between them only let
    theta decay (``rest``). The defaults are chosen for accuracy on MNIST (``docs/stdp.md``);
    published numbers stand in brackets.

    Args:
        neurons: number of excitatory neurons, and of their partners.
        inputs: number of pixels.
        rule: ``"power_law"``, ``"post_pre"``, ``"exponential"``, ``"triplet"`` with their default
            numbers, or a rule such as ``PowerLaw(alpha=0.02)``; its time constants are in steps.
            Default: ``PowerLaw(alpha=0.01, x_tar=0.05, mu=0)``.
        dt: duration of a step in ms [0.5].
        time: duration of a presentation in ms [350].
        rest: silence after it in ms [150].
        rate_max: rate of an input whose pixel is 1, in Hz [63.75].
        boost: added to ``rate_max`` when an image is presented again, in Hz [32].
        min_spikes: an image that fewer excitatory spikes answer is presented again [5].
        retries: how often at most.
        norm: sum to which the weights of a neuron are scaled after a presentation [78]. Default: a
            tenth of ``inputs``.
        gain: factor on the input drive. Default: ``78.4 / norm``, so that drive and thresholds fit
            for any ``inputs``.
        exc: what an excitatory spike does to its partner, in mV [a conductance of 10.4].
        inh: what an inhibitory spike does to all excitatory neurons but its partner, in mV [a
            conductance of 17].
        tau_exc: time constant of the excitatory membranes in ms [100].
        tau_inh: that of the inhibitory ones [10].
        theta_plus: rise of a threshold by a spike, in mV [0.05]. Default: ``0.001 * neurons``.
        tc_theta: time constant with which it is forgotten, in ms [1e7].
        theta_start: theta at the beginning, in mV [20].
        theta_offset: subtracted from the thresholds, in mV [20].
        winner: ``"one"``: of the neurons that cross their thresholds in a step only the one that is
            furthest above fires; ``"all"``: all do [all].
        synapses: ``"current"``, or ``"conductance"`` [conductance], for which ``exc`` and ``inh``
            are conductances; the event-driven engine knows the former.
        generator: of the weights at the beginning, uniform in [0, 0.3] and then normalised.

    Raises:
        ValueError: a number outside its range, or an unknown word, a mistyped rule among them.
        TypeError: a rule that is none, or a number that is not whole.

    Source: Diehl & Cook (2015), Front. Comput. Neurosci. 9:99, and their code; the current-based
    form with its constants and the names of methods and attributes are those of n3ml.

    >>> net = DiehlAndCook2015(neurons=4, inputs=16, generator=torch.Generator().manual_seed(0))
    >>> spikes = (torch.rand(250, 16) < 0.1).float()
    >>> net.init_param()
    >>> for s_t in spikes:
    ...     _ = net.run({"inp": s_t})
    ...     net.update()
    >>> net.normalize()
    >>> net.xe.w.sum(1)
    tensor([1.6000, 1.6000, 1.6000, 1.6000])
    """

    def __init__(
        self,
        neurons: int = 100,
        inputs: int = 784,
        *,
        rule: str | Rule | None = None,
        dt: float = 1.0,
        time: float = 250.0,
        rest: float = 0.0,
        rate_max: float = 128.0,
        boost: float = 32.0,
        min_spikes: int = 5,
        retries: int = 5,
        norm: float | None = None,
        gain: float | None = None,
        exc: float = 22.5,
        inh: float = 120.0,
        tau_exc: float = 35.0,
        tau_inh: float = 10.0,
        theta_plus: float | None = None,
        tc_theta: float = 3e6,
        theta_start: float = 0.0,
        theta_offset: float = 0.0,
        winner: str = "one",
        synapses: str = "current",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.neurons = _count("neurons", neurons)
        self.inputs = _count("inputs", inputs)
        self.rule = rule_of(DEFAULT_RULE if rule is None else rule, Rule)
        norm = 0.1 * inputs if norm is None else norm
        drive = (norm, 78.4 / norm if gain is None else gain, exc, inh, tau_exc, tau_inh)
        theta = (
            1e-3 * neurons if theta_plus is None else theta_plus,
            tc_theta,
            theta_start,
            theta_offset,
        )
        shown = (dt, time, rest, rate_max, boost, min_spikes, retries)
        self._build(Constants(*shown, *drive, *theta, winner, synapses), generator)

    def _build(self, constants: Constants, generator: torch.Generator | None) -> None:
        self.constants = constants
        exc_cell, inh_cell = cells(constants)
        self.xe = Synapse(self.inputs, self.neurons)
        self.exc = Population(exc_cell, torch.full((self.neurons,), float(constants.theta_start)))
        self.inh = Population(inh_cell)
        self.naming: Naming | None = None
        self.recent: Naming | None = None
        self._state: CircuitState | None = None
        self._memory: Memory | None = None
        self._before: tuple[Tensor, Tensor] | None = (
            None  # what entered and left the synapses in the last step
        )
        with torch.no_grad():
            self.xe.weight.uniform_(0, 0.3, generator=generator)
        self.normalize()

    # -- step by step ------------------------------------------------------------------------------

    def init_param(self) -> None:
        """Begin a presentation: membranes at rest, traces empty; weights and thresholds stay."""
        self._state = self._memory = self._before = None

    def circuit(self, samples: int, learn: bool) -> Circuit:
        """The populations for ``samples`` at once; thresholds change only while learning."""
        c = self.constants
        tau, rise = (c.tc_theta / (c.dt * samples), c.theta_plus) if learn else (float("inf"), 0.0)
        return Circuit(
            self.exc.neuron, self.inh.neuron, c.exc, c.inh, tau, rise, self.xe.weight.dtype
        )

    @torch.no_grad()
    def run(self, spikes: dict[str, Tensor]) -> Tensor:
        """One time step.

        Thresholds adapt in training mode, and are frozen after ``eval()``.

        Args:
            spikes: ``{"inp": s_t}`` with spikes of the inputs, [inputs] or [B, inputs].

        Returns:
            Spikes of the excitatory neurons, [N] or [B, N]; also at ``exc.s``.

        Raises:
            ValueError: another key, another number of inputs, or another batch than in the step
                before.
        """
        s_t, single = self._spikes(spikes)
        if self._state is None:
            self._state = at_rest(self.exc.neuron, self.inh.neuron, self.exc.theta, len(s_t))
        elif len(self._state.answers) != len(s_t):
            raise ValueError(
                f"a presentation of {len(self._state.answers)} images cannot go on with "
                f"{len(s_t)}; "
                "call init_param() first"
            )
        current = self.constants.gain * self.xe(s_t)
        spk, self._state = self.circuit(len(s_t), self.training).step(current, self._state)
        if self.training:
            self.exc.theta = self._state.exc.theta[0].clone()
        self._before = (s_t, spk)
        self.exc.show(spk, self._state.exc.mem, single)
        self.inh.show(self._state.answers, self._state.inh.mem, single)
        return self.exc.s

    def _spikes(self, spikes: Any) -> tuple[Tensor, bool]:
        s_t = spikes.get("inp") if isinstance(spikes, dict) else None
        if not isinstance(s_t, Tensor):
            raise ValueError(
                f"run takes the spikes of one step as {{'inp': s_t}}, got {type(spikes).__name__}"
            )
        if s_t.shape[-1:] != (self.inputs,) or s_t.dim() > 2:
            raise ValueError(
                f"s_t must be [{self.inputs}] or [B, {self.inputs}], got shape "
                f"{tuple(s_t.shape)}; flatten the image, "
                f"or write inputs={s_t.numel()} when you build the network"
            )
        return s_t.reshape(-1, self.inputs).to(self.xe.weight), s_t.dim() == 1

    @torch.no_grad()
    def update(self) -> None:
        """Change the weights by the spikes of the last step.

        Raises:
            RuntimeError: nothing has run since the last update, or the network is in evaluation
                mode.
        """
        if not self.training:
            raise RuntimeError("nothing is learned in evaluation mode; call net.train() first")
        if self._before is None:
            raise RuntimeError(
                "update() follows run(), and nothing has run since the last update; call run() "
                "first"
            )
        self._memory, change = self.rule.step(self.xe, *self._before, self._memory)
        self.rule.apply(self.xe, change)
        self._before = None

    @torch.no_grad()
    def normalize(self) -> None:
        """Scale each neuron's weights to a sum of magnitudes of ``norm``; all 0 stays 0."""
        total = self.xe.weight.abs().sum(1, keepdim=True)
        self.xe.weight.mul_(
            torch.where(total > 0, self.constants.norm / total, torch.ones_like(total))
        )

    def pause(self, samples: int = 1) -> None:
        """Let theta decay for the silence after a presentation."""
        self.exc.theta = self.exc.theta * self.constants.theta_rest**samples

    # -- what was learned --------------------------------------------------------------------------

    def receptive_fields(self, shape: tuple[int, int] | None = None) -> Tensor:
        """The weights of all neurons as one image, [H, W]; show it with ``plt.imshow``.

        Args:
            shape: height and width of an input image. Default: a square.

        Raises:
            ValueError: the pixels make no image of that shape.

        >>> DiehlAndCook2015(neurons=9, inputs=16).receptive_fields().shape
        torch.Size([12, 12])
        """
        return grid(self.xe.weight.detach().clone(), shape)

    def get_extra_state(self) -> dict[str, dict[str, Tensor]]:
        """Names of the neurons, for ``state_dict``."""
        namings = {"naming": self.naming, "recent": self.recent}
        return {name: naming._asdict() for name, naming in namings.items() if naming is not None}

    def set_extra_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Names of the neurons, from ``load_state_dict``; discards a started presentation."""
        self.naming, self.recent = (
            Naming(**state[name]) if name in state else None for name in ("naming", "recent")
        )
        self.init_param()

    def extra_repr(self) -> str:
        """Size, rule and constants."""
        return f"neurons={self.neurons}, inputs={self.inputs}, rule={self.rule}, {self.constants}"


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{name} must be a whole number, got {value!r}; write {name}=100, for example"
        )
    checks.in_range(name, value, 1, float("inf"), why="it is a number of neurons")
    return value
