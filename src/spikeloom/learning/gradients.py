"""Which rules give a gradient for a batch: a table that other rules enter by `gives_gradients`.

A function of the table takes ``(net, x, y, loss)``: a network of one step, its input over time [T,
B, ...], classes, and a loss of output spikes [T, B, N]. It returns a gradient for each parameter
that learns, in the order of ``net.parameters()``, or raises TypeError or ValueError, saying why the
rule does not apply. It changes no parameter.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..core import tree
from ..core.surrogate import Disabled
from ..core.tree import named_neurons
from ..run import run
from .bp_stdp import bp_stdp
from .online import online

__all__ = ["GRADIENTS", "Loss", "collected", "gives_gradients", "learned"]

Loss = Callable[[Tensor, Tensor], Tensor]
Gradient = Callable[[nn.Module, Tensor, Tensor, Loss], list[Tensor]]

GRADIENTS: dict[str, Gradient] = {}


def gives_gradients(name: str) -> Callable[[Gradient], Gradient]:
    """Enter a function into the table under the name of its rule.

    >>> sorted(GRADIENTS)[:3]
    ['bp_stdp', 'bptt', 'eprop']
    """

    def enter(function: Gradient) -> Gradient:
        GRADIENTS[name] = function
        return function

    return enter


def learned(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn.

    >>> len(learned(nn.Linear(2, 3)))
    2
    """
    return [p for p in net.parameters() if p.requires_grad]


def collected(net: nn.Module, work: Callable[[], Any]) -> list[Tensor]:
    """What ``work`` adds to the ``grad`` of each parameter that learns; what stood there before
    stands there again.

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


@gives_gradients("bptt")
def bptt(net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
    """Backpropagation through all steps with surrogate gradients."""
    if all(isinstance(neuron.spike_grad, Disabled) for _, neuron in named_neurons(net)):
        raise ValueError("no spike has a gradient; leave out surrogate_disable=True")
    value = loss(first(run(net, x)), y).sum()
    return list(torch.autograd.grad(value, learned(net), materialize_grads=True))


@gives_gradients("tbptt")
def tbptt(net: nn.Module, x: Tensor, y: Tensor, loss: Loss, K: int = 5) -> list[Tensor]:
    """Backpropagation through chunks of 5 steps, the weights being constant meanwhile."""

    def work() -> None:
        tree.reset(net)
        for chunk in x.split(K):
            part = loss(first(run(net, chunk, reset=False)), y).sum() * (len(chunk) / len(x))
            part.backward()
            tree.detach(net)

    if len(x) <= K:
        raise ValueError(f"a chunk has {K} steps, got {len(x)} in all; show the network for longer")
    return collected(net, work)


@gives_gradients("eprop")
def eprop(net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
    """Gradients carried forward in time, for a loss that is the mean of that of single steps."""
    seen: list[Tensor] = []
    values: list[float] = []

    def of_step(output: Any, target: Tensor) -> Tensor:
        spk = first(output).unsqueeze(0)
        seen.append(spk.detach())
        return loss(spk, target)

    sequential: Any = net  # `online` refuses another kind
    gradients = collected(net, lambda: values.append(float(online(sequential, x, y, of_step))))
    whole = float(loss(torch.cat(seen), y))
    if abs(values[0] - whole) > 1e-4 * max(abs(whole), 1e-6):
        raise ValueError(
            f"the loss is no mean over single steps: {whole:.4g} for all of them, {values[0]:.4g} "
            "on average; "
            "write loss=functional.ce_rate_loss()"
        )
    return gradients


@gives_gradients("bp_stdp")
def stdp(net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
    """BP-STDP, of its own error."""
    sequential: Any = net  # `bp_stdp` refuses another kind
    return collected(net, lambda: bp_stdp(sequential, x, y))
