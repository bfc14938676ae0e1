r"""Gradients carried forward in time: training whose memory does not grow with the number of steps.

Backpropagation through time keeps every step of the forward pass. Here each synapse keeps one trace
instead: its input, filtered by the membrane of the neurons that it feeds. The gradient of a step is
then

.. math:: \frac{\partial L[t]}{\partial W} \approx \delta[t] \otimes \hat s[t]
    \qquad \hat s[t] = \beta \hat s[t-1] + s[t] \qquad
    \delta[t] = \frac{\partial L[t]}{\partial I[t]}

with the learning signal delta propagated through the layers of the same step only. What is left out
is the way of a gradient through the membranes of a layer above: the rule is exact for one layer of
neurons, whatever stateless layers follow. Below further neurons the direction of each layer's
gradient is close (cosine 0.99 in ``benchmarks/online_memory.py``), but its length is too small, by
about 1 - beta for each of these layers: use an optimiser that does not mind, such as Adam. A trace
knows no reset: exact are the resets ``"subtract"`` (with ``reset_delay=True``) and ``"none"``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import conv

from ..core import checks, tree
from ..core.neuron import REGISTRY, Neuron
from ..core.numbers import flag, whole
from ..core.stateful import Stateful
from ..running.errors import expect
from .stages import flat
from .stepwise import StepLoss as Loss
from .stepwise import StepwiseRule
from .training import refusal

__all__ = ["OTTT", "EProp", "Online", "cosine", "online"]

_SYNAPSES = (nn.Linear, conv._ConvNd)
_CONSTANTS = ("alpha", "beta")  # of the filter that a neuron is


def online(
    net: nn.Sequential,
    x: Tensor,
    target: Any,
    loss: Loss,
    *,
    num_steps: int | None = None,
    time_var_targets: bool = False,
) -> Tensor:
    """Add the gradient of the mean loss over time to ``weight.grad``, with constant memory.

    Args:
        net: see `Online`. Its state is reset first.
        x: input over time, [T, B, ...]; or, with ``num_steps``, a static input [B, ...] for every
            step.
        target: passed to the loss at every step.
        loss: ``loss(output, target)`` of one step, a number; ``output`` is what ``net`` returns for
            one step, a tuple if its last neuron has ``output=True``.
        num_steps: T of a static input.
        time_var_targets: whether ``target`` is [T, ...] and step t is to be compared with
            ``target[t]``.

    Returns:
        The mean loss over time, without graph, ().

    Raises:
        TypeError: the network holds something whose gradient cannot be carried forward like this.
        ValueError: there is no step, or nothing to learn.

    Source: after Xiao et al. (2022), Online training through time for spiking neural networks,
    NeurIPS 35. For LIF neurons without recurrence it coincides with the e-prop of Bellec et al.
    (2020), Nat. Commun. 11, 3625.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    >>> value = online(
    ...     net, torch.rand(50, 4, 3), torch.tensor([0, 1, 1, 0]), nn.functional.cross_entropy
    ... )
    >>> net[0].weight.grad.shape
    torch.Size([2, 3])
    """
    learner = Online(net, loss)
    checks.floating(x, "x")
    checks.flags("online", time_var_targets=time_var_targets)
    if num_steps is not None:
        num_steps = whole("num_steps", num_steps, 1, 2**30)
    elif x.dim() < 1:
        raise ValueError(
            "x over time is [T, B, ...], got a tensor of shape (); a static input needs "
            "num_steps=..."
        )
    steps = len(x) if num_steps is None else num_steps
    if steps < 1 or (num_steps is None and x.dim() < 2):
        raise ValueError(
            f"x over time is [T, B, ...] with T > 0, got {tuple(x.shape)}; a static input [B, "
            "...] needs num_steps=..."
        )
    if time_var_targets and len(target) != steps:
        raise ValueError(
            f"time_var_targets=True needs one target for each of {steps} steps, got {len(target)}"
        )
    learner.reset()
    total = torch.zeros((), device=x.device)
    for t in range(steps):
        x_t = x[t] if num_steps is None else x
        total = total + learner.step(
            x_t, target[t] if time_var_targets else target, scale=1 / steps
        )
    return total / steps


class Online:
    """Carries gradients forward while a network runs: one call of `step` is one time step.

    Use it directly where data arrive as a stream, or where the optimiser is to step before the end
    of a sequence.

    Args:
        net: ``nn.Sequential``, nested ones included, of synapses (``nn.Linear`` and convolutions),
            neurons (`Leaky`, `Synaptic`, `IF`, `LI`, in step mode, with ``init_hidden=True``, the
            last one optionally with ``output=True``) and layers without parameters. A synapse
            learns from its input filtered by the next neuron; one that no neuron follows, from its
            present input. What is between the two is exact if it is linear and the same at
            every step (flattening, average pooling).
        loss: ``loss(output, target)`` of one step, a number.
        traced_biases: whether a bias learns from a filtered constant 1, which is exact, or from
            the present step alone.

    Raises:
        TypeError: another kind of network, or a layer that it cannot train.
        ValueError: a layer of neurons has several values of alpha or beta, is in sequence mode, or
            occurs twice; or nothing learns.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    >>> learner = Online(net, nn.functional.cross_entropy)
    >>> sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> for x_t in torch.rand(5, 4, 3):
    ...     sgd.zero_grad()
    ...     value = learner.step(x_t, torch.tensor([0, 1, 1, 0]))
    ...     sgd.step()
    """

    def __init__(self, net: nn.Sequential, loss: Loss, *, traced_biases: bool = True) -> None:
        if not isinstance(net, nn.Sequential) or type(net).forward is not nn.Sequential.forward:
            raise TypeError(
                "net must be nn.Sequential, so that it is known which neuron a synapse feeds, got "
                f"{type(net).__name__}; write nn.Sequential(...), or train with snn.run and "
                "backward()"
            )
        if not callable(loss):
            raise TypeError(
                f"loss must be a function of output and target, got {loss!r}; write F.cross_entropy"
            )
        self.net = net
        self.loss = loss
        self._layers = list(flat(net))
        self._feeds = _feeds(self._layers)
        self._traced_biases = flag("traced_biases", traced_biases)
        self._filters: dict[int, _Filter] = {}

    def reset(self) -> None:
        """Forget traces and the state of the network; gradients stay."""
        tree.reset(self.net)
        self._filters = {}

    def step(self, x: Tensor, target: Any, *, scale: float = 1.0) -> Tensor:
        """Run one time step and add its gradient to the ``grad`` of weights and biases.

        Args:
            x: input of this step, [B, ...].
            target: passed to the loss.
            scale: factor of the gradient, such as 1 / T.

        Returns:
            The loss of this step, without graph and without ``scale``.

        Raises:
            ValueError: the loss is no number.
        """
        checks.floating(x, "x")
        weight = next((p for p in self.net.parameters() if p.is_floating_point()), x)
        if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"x must be {weight.dtype} as the network, got {x.dtype}; write "
                f"x.to({weight.dtype})"
            )
        with torch.enable_grad():
            value, currents = self._forward(x.detach())
            loss = self.loss(value, target)
            if loss.numel() != 1:
                raise ValueError(
                    f"loss must return one number, got shape {tuple(loss.shape)}; write "
                    "reduction='mean'"
                )
            signals = torch.autograd.grad(
                loss.sum() * scale, list(currents.values()), materialize_grads=True
            )
            for place, signal in zip(currents, signals, strict=True):
                self._learn(place, signal)
        tree.detach(self.net)
        return loss.detach()

    def _forward(self, x: Tensor) -> tuple[Any, dict[int, Tensor]]:
        """Output of the network, and what each synapse that learns gave, by its place."""
        value = x
        currents = {}
        for place, (_, layer) in enumerate(self._layers):
            if place in self._feeds:
                self._filters[place] = _filtered(
                    self._filters.get(place), self._feeds[place], value.detach()
                )
                expect(layer, value, None, x.dim())
                value = currents[place] = layer(value)
            else:
                value = layer(value)
        return value, currents

    def _learn(self, place: int, signal: Tensor) -> None:
        layer = self._layers[place][1]
        filter_ = self._filters[place]
        learned = {name: p for name, p in layer.named_parameters() if p.requires_grad}
        current = layer.forward(
            filter_.pre.mem
        )  # not a call: monitors watch the network, not the rule
        gradients = torch.autograd.grad(current, list(learned.values()), signal)
        for (name, parameter), gradient in zip(learned.items(), gradients, strict=True):
            if name == "bias" and self._traced_biases:
                gradient = gradient * filter_.one.mem
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


class _Filter(NamedTuple):
    """Traces of one synapse, as states of the neuron that it feeds."""

    pre: Any  # of its input, [B, ...]
    one: Any  # of a constant 1, the input of a bias


class _Plain(NamedTuple):
    """The trace where no neuron follows: the present input."""

    mem: Tensor


def _filtered(filter_: _Filter | None, neuron: Neuron | None, spk: Tensor) -> _Filter:
    """The traces after one more step: the neuron's equation applied to the synapse's input."""
    one = torch.ones((), dtype=spk.dtype, device=spk.device)
    if neuron is None:
        return _Filter(_Plain(spk), _Plain(one))
    with torch.no_grad():
        filter_ = filter_ or _Filter(neuron.initial(spk), neuron.initial(one))
        p = neuron.params(spk.dtype)
        p = p._replace(
            **{name: getattr(p, name).reshape(()) for name in _CONSTANTS if name in p._fields}
        )
        return _Filter(neuron.integrate(spk, filter_.pre, p), neuron.integrate(one, filter_.one, p))


def _feeds(layers: list[tuple[str, nn.Module]]) -> dict[int, Neuron | None]:
    """For the place of each synapse that learns: the neuron that it feeds."""
    feeds: dict[int, Neuron | None] = {}
    following: Neuron | None = None
    for place, (path, layer) in reversed(list(enumerate(layers))):
        if isinstance(layer, Neuron):
            _check_neuron(path, layer, last=place == len(layers) - 1)
            if any(layer is other for _, other in layers[:place]):
                raise ValueError(
                    f"a neuron takes one input a step, got {path!r} in two places; write a second "
                    "neuron"
                )
            following = layer
        elif any(isinstance(module, Stateful) for module in layer.modules()):
            raise TypeError(
                f"online learning knows the layers of nn.Sequential, got {type(layer).__name__} "
                f"{path!r} with a state "
                "inside; write its layers into nn.Sequential, or train with snn.run and backward()"
            )
        elif any(p.requires_grad for p in layer.parameters()):
            if not isinstance(layer, _SYNAPSES):
                raise TypeError(
                    "online learning trains nn.Linear and convolutions, got parameters of "
                    f"{type(layer).__name__} "
                    f"{path!r}; write layer.requires_grad_(False) to keep it as it is"
                )
            feeds[place] = following
    if not feeds:
        raise ValueError(
            "nothing to learn: the network has no synapse with requires_grad=True; add "
            "nn.Linear(...)"
        )
    return feeds


def _check_neuron(path: str, neuron: Neuron, *, last: bool) -> None:
    what = f"{type(neuron).__name__} {path!r}"
    if not neuron.is_linear or neuron.overridden:
        known = [cls for cls in REGISTRY.values() if cls.is_linear]
        ours = [cls.__name__ for cls in known if cls.__module__.startswith("spikeloom.")]
        raise TypeError(
            f"online learning needs neurons that filter their input linearly ({', '.join(ours)}), "
            f"got {what}; train it with snn.run and backward(), or declare is_linear = True if "
            "its class does"
        )
    if not last and (not neuron.init_hidden or neuron.output):
        raise TypeError(
            f"a neuron inside the network passes on spikes only, got {what}; write init_hidden=True"
        )
    if neuron.mode != "step":
        raise ValueError(
            f"online learning runs step by step, got {what} in mode={neuron.mode!r}; write "
            'snn.set_mode(net, "step")'
        )
    if any(p.requires_grad for p in neuron.parameters()):
        raise TypeError(
            f"online learning trains weights, got {what} with constants that learn; build it "
            "without learn_beta, "
            "learn_threshold and the like"
        )
    for name in _CONSTANTS:
        if name in neuron._names and getattr(neuron, name).numel() != 1:
            shape = tuple(getattr(neuron, name).shape)
            raise ValueError(
                f"a trace serves a whole layer of neurons, got {name} {shape} in {what}; give one "
                "value"
            )


def cosine(first: Iterable[Tensor], second: Iterable[Tensor]) -> float:
    """Cosine of the angle between two gradients: 1 is the same direction, 0 an unrelated one.

    Args:
        first: gradients, one tensor for each parameter.
        second: others of the same shapes, in the same order.

    Raises:
        ValueError: the shapes differ, or one of the two is zero.

    >>> round(cosine([torch.tensor([1.0, 0.0])], [torch.tensor([1.0, 1.0])]), 4)
    0.7071
    """
    first, second = list(first), list(second)
    if [g.shape for g in first] != [g.shape for g in second]:
        raise ValueError(
            f"two gradients have the same shapes, got {[tuple(g.shape) for g in first]} and "
            f"{[tuple(g.shape) for g in second]}; write [p.grad for p in net.parameters()] for both"
        )
    a, b = (
        torch.cat([g.detach().flatten().double() for g in gradients])
        for gradients in (first, second)
    )
    length = a.norm() * b.norm()
    if not length:
        raise ValueError(
            "a gradient of zero has no direction; check that the network fires and the loss "
            "depends on it"
        )
    return float(a @ b / length)


@dataclass(frozen=True)
class EProp(StepwiseRule, name="eprop"):
    """Gradients computed forward in time by synaptic traces, with memory independent of T.

    Loss as for `StepwiseRule`, networks as for `Online`.

    >>> EProp().name
    'eprop'
    """

    constants: ClassVar[bool] = False

    def learner(self, net: Any, loss: Loss) -> Online:
        return Online(net, loss)


@dataclass(frozen=True)
class OTTT(StepwiseRule, name="ottt"):
    r"""Online training through time, with memory independent of T.

    .. math::
        \nabla W^l = \sum_t \frac{\partial L[t]}{\partial u^{l}[t]} \otimes \hat s^{l-1}[t]
        \qquad \hat s[t] = \lambda \hat s[t-1] + s[t]
        \qquad \nabla b^l = \sum_t \frac{\partial L[t]}{\partial u^l[t]}

    with the decay lambda of the neurons that a synapse feeds, and derivatives within step t only.
    It is `EProp` for neurons with one decay, apart from biases, which have no trace in the authors'
    code. A synapse that no neuron follows learns from its present input, which is exact. Loss as
    for `StepwiseRule`, networks as for `Online`, with `Leaky`, `IF` and `LI`.

    Args:
        every_step: change the weights in every step (the authors' OTTT_O) instead of once for each
            batch (OTTT_A).

    Source: Xiao et al. (2022), Online training through time for spiking neural networks, NeurIPS
    35, and the authors' code for biases.

    >>> OTTT(every_step=True)
    OTTT(every_step=True)
    """

    constants: ClassVar[bool] = False

    every_step: bool = False

    def __post_init__(self) -> None:
        flag("every_step", self.every_step)

    @property
    def changes_at_every_step(self) -> bool:
        return self.every_step

    def learner(self, net: Any, loss: Loss) -> Online:
        learner = Online(net, loss, traced_biases=False)
        for path, layer in flat(net):
            if isinstance(layer, Neuron) and "alpha" in layer._names:
                raise TypeError(
                    refusal(
                        self,
                        f"its traces have one decay, {type(layer).__name__} {path!r} has two",
                        'write rule="eprop", or Leaky',
                    )
                )
        return learner
