"""What a learning rule of `fit` and `gradient_report` is.

A rule is a frozen value. ``rule="tbptt"`` is ``rule=TBPTT()``, and ``rule=TBPTT(K=8)`` changes a
number. It defines `TrainingRule.learn`, which changes the network on one batch, or
`TrainingRule.gradients`, which only computes; each of the two is derived from the other where a
rule does not define it.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..core.tree import named_neurons
from ..running import run
from .registry import RULES, Registered, rules_of

__all__ = [
    "GRADIENTS",
    "Loss",
    "Outcome",
    "TrainingRule",
    "collected",
    "first",
    "gives_gradients",
    "learned",
    "refusal",
]

DEFAULT_LR = 2e-3

Loss = Callable[[Tensor, Tensor], Tensor]
Gradient = Callable[[nn.Module, Tensor, Tensor, Loss], list[Tensor]]


class Outcome(NamedTuple):
    """What a rule saw of a batch before it changed the network, or while it did.

    >>> Outcome(0.5, torch.zeros(4, 1, 2), {}).loss
    0.5
    """

    loss: float
    outputs: Tensor  # [T, B, N]
    spikes: dict[str, Tensor]  # of each layer, [T, B, ...]


@dataclass(frozen=True)
class TrainingRule(Registered):
    """Base of the rules of `fit`: `check` before any work, `learn` on each batch.

    ``job`` holds ``net``, ``optimizer``, ``readout.loss``, the paths ``layers`` of the spiking
    neurons and ``last`` of the last one. ``job.encoder.call(x)`` gives the input over time and
    None, or a static input and T; ``job.forward(x)`` runs the network on samples and returns
    outputs [T, B, N] and spikes by path; ``job.loss(outputs, y)`` is the loss as a scalar, and
    ``job.optimizer.backward(loss)`` computes its gradient.

    >>> from spikeloom.learning import RULES
    >>> RULES["tbptt"]
    <class 'spikeloom.learning.bptt.TBPTT'>
    """

    usage: ClassVar[str] = 'rule="bptt", or rule=snn.train.TBPTT(K=5)'
    chaotic: ClassVar[bool] = False  # whether the chaotic loss can be added
    # whether it learns by ``job.forward``, ``job.objective`` and ``job.optimizer.backward`` alone
    whole: ClassVar[bool] = False
    # whether `learn` takes ``lengths``, the steps of each sample of a padded batch, [B]
    lengths: ClassVar[bool] = False
    constants: ClassVar[bool] = True  # whether it trains constants of neurons, such as beta

    def __str__(self) -> str:
        """As written into run cards: the name, unless a number differs from the default."""
        return self.name if self == type(self)() else repr(self)

    def loss(self, given: Any) -> Callable[..., Tensor] | None:
        """The loss for the argument ``loss`` of `fit`; None: the default of `fit`.

        Raises:
            ValueError: the rule cannot use the given loss.
        """
        return given

    def optimizer(self, parameters: Iterable[Tensor], lr: float | None) -> torch.optim.Optimizer:
        """The optimiser where `fit` is given none."""
        return torch.optim.Adam(parameters, DEFAULT_LR if lr is None else lr)

    def check(self, job: Any, probe: Any) -> None:
        """Check whether the rule applies to a network and its samples.

        Args:
            job: the training.
            probe: ``probe.num_steps`` is T.

        Raises:
            TypeError, ValueError: it does not apply; the message says why, and what to write.
        """

    def learn(self, job: Any, x: Tensor, y: Tensor) -> Outcome:
        """Change the network on one batch of samples [B, ...] and classes [B].

        Default: one step of the optimiser along `gradients`.
        """
        if type(self).gradients is TrainingRule.gradients:
            raise NotImplementedError(
                f"{type(self).__name__} must define learn(job, x, y) or gradients(net, x, y, loss)"
            )
        with torch.no_grad():
            outputs, spikes = job.forward(x)
            loss = job.loss(outputs, y)
        value, static = job.encoder.call(x)
        value = value if static is None else value.expand(static, *value.shape)
        gradients = self.gradients(job.net, value, y, job.readout.loss)
        for parameter, gradient in zip(learned(job.net), gradients, strict=True):
            parameter.grad = gradient
        job.optimizer.step()
        return Outcome(loss.item(), outputs, spikes)

    def gradients(self, net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
        """The gradient of each parameter that learns, in the order of ``net.parameters()``.

        No parameter changes. Default: what `learn` hands to its optimiser.

        Args:
            net: one step of a network.
            x: input over time, [T, B, ...].
            y: classes, [B].
            loss: of output spikes [T, B, N] and classes.

        Raises:
            TypeError, ValueError: the rule does not apply; the message says why.

        >>> from spikeloom.learning import RULES
        >>> import spikeloom as snn
        >>> net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))
        >>> batch = torch.rand(9, 2, 4), torch.tensor([0, 2])
        >>> [g.shape for g in RULES["bptt"]().gradients(net, *batch, snn.functional.ce_rate_loss())]
        [torch.Size([3, 4]), torch.Size([3])]
        """
        given = self.loss(None)
        recorder = _Recorder(learned(net))
        lesson = _Lesson(net, recorder, _Readout(loss if given is None else given))
        self.check(lesson, _Steps(len(x)))
        before = [p.detach().clone() for p in recorder.parameters]
        try:
            collected(net, lambda: self.learn(lesson, x, y))
        finally:
            with torch.no_grad():  # a rule may change weights without an optimiser
                for total, p, old in zip(recorder.sums, recorder.parameters, before, strict=True):
                    total += old - p
                    p.copy_(old)
        return recorder.sums


class _Recorder(torch.optim.Optimizer):
    """Sums the gradients of all steps instead of changing parameters."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {})
        self.parameters = parameters
        self.sums = [torch.zeros_like(p) for p in parameters]

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if closure is not None:
            closure()
        for total, parameter in zip(self.sums, self.parameters, strict=True):
            if parameter.grad is not None:
                total += parameter.grad


class _Steps(NamedTuple):
    num_steps: int


class _Readout(NamedTuple):
    loss: Callable[..., Tensor]
    name: str = "the loss"
    field: str = "spk"


class _OverTime(NamedTuple):
    """Samples that are input over time already, [T, B, ...]."""

    name: str = "given"

    def call(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None


class _Lesson:
    """A job of one batch, in which nothing is changed; for `TrainingRule.gradients`."""

    chaos = None

    def __init__(self, net: nn.Module, optimizer: Any, readout: _Readout) -> None:
        self.net = net
        self.optimizer = optimizer
        self.readout = readout
        self.encoder = _OverTime()
        every = [(path, getattr(neuron, "spiking", True)) for path, neuron in named_neurons(net)]
        self.layers = tuple(path for path, spiking in every if spiking)
        self.last = every[-1][0] if every else ""

    def __getattr__(self, name: str) -> Any:
        raise TypeError(
            f"learn reads job.{name}, which exists in fit only; define gradients(net, x, y, loss)"
        )

    def measure(self, x: Tensor) -> None:
        """Without a chaotic loss there is nothing to measure."""

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.run(x, None)

    def run(
        self, x: Tensor, num_steps: int | None, *, reset: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        names = [f"{path}.spk" for path in self.layers]
        found = run(self.net, x, num_steps, record=names, reset=reset)
        return first(found.output), {path: found.record[f"{path}.spk"] for path in self.layers}

    def output_of(self, step: Any) -> Tensor:
        return first(step)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return self.readout.loss(outputs, labels).sum()


def refusal(rule: TrainingRule, why: str, instead: str) -> str:
    """The message of a rule that does not apply.

    >>> refusal(RULES["bptt"](), "no spike has a gradient", "give the neurons a surrogate")
    'rule="bptt" does not apply: no spike has a gradient; give the neurons a surrogate'
    """
    return f'rule="{rule.name}" does not apply: {why}; {instead}'


def learned(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn.

    >>> len(learned(nn.Linear(2, 3)))
    2
    """
    return [p for p in net.parameters() if p.requires_grad]


def collected(net: nn.Module, work: Callable[[], Any]) -> list[Tensor]:
    """What ``work`` adds to the ``grad`` of each parameter that learns; ``grad`` is restored.

    >>> net = nn.Linear(2, 1)
    >>> [g.tolist() for g in collected(net, lambda: net(torch.ones(1, 2)).sum().backward())]
    [[[1.0, 1.0]], [1.0]]
    """
    parameters = learned(net)
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    try:
        work()
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    finally:
        for p, gradient in zip(parameters, before, strict=True):
            p.grad = gradient


def first(output: Any) -> Tensor:
    """The spikes of an output."""
    return output[0] if isinstance(output, tuple) else output


class _Gradients(MutableMapping[str, Gradient]):
    """`RULES` as functions ``(net, x, y, loss)``; an entry that is set replaces those gradients."""

    def __getitem__(self, name: str) -> Gradient:
        return rules_of(TrainingRule)[name]().gradients

    def __setitem__(self, name: str, function: Gradient) -> None:
        owner = getattr(function, "__self__", None)
        if isinstance(owner, TrainingRule):  # an entry of this table put back
            RULES[name] = type(owner)
            return
        base = RULES.get(name, TrainingRule)
        body = {"gradients": staticmethod(function), "name": name, "__doc__": function.__doc__}
        RULES[name] = type(base.__name__, (base,), body)

    def __delitem__(self, name: str) -> None:
        del RULES[name]

    def __iter__(self) -> Iterator[str]:
        return iter(rules_of(TrainingRule))

    def __len__(self) -> int:
        return len(rules_of(TrainingRule))


GRADIENTS = _Gradients()


def gives_gradients(name: str) -> Callable[[Gradient], Gradient]:
    """Enter a function ``(net, x, y, loss)`` as the gradients of a rule of `fit`.

    >>> sorted(GRADIENTS)[:3]
    ['bp_stdp', 'bptt', 'eprop']
    """

    def enter(function: Gradient) -> Gradient:
        GRADIENTS[name] = function
        return function

    return enter
