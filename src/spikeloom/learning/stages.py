"""A feedforward network as stages: a synapse, its neurons, and layers without weights.

What learning rules of the kind of `BPSTDP` read of ``nn.Sequential``. Errors are pulled back
through a stage by the transpose of its layers, which are linear, so that no layer runs forward
twice.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import conv

from ..core.neuron import Neuron
from .hebbian import correlate

__all__ = ["Stage", "flat", "pulled", "stages"]

PLAIN = (
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
)  # linear, without weights
SYNAPSES = (nn.Linear, conv._ConvNd)


class Stage(NamedTuple):
    """A synapse with its neurons.

    Attributes:
        before: layers that the input passes first.
        synapse: linear layer or convolution.
        after: layers between synapse and neurons.
        path: of the neurons in the network.
        neuron: the neurons.
    """

    before: tuple[nn.Module, ...]
    synapse: nn.Module
    after: tuple[nn.Module, ...]
    path: str
    neuron: Any

    def current(self, spk: Tensor) -> Tensor:
        """What the neurons receive, [B, ...]."""
        for layer in (*self.before, self.synapse, *self.after):
            spk = layer(spk)
        return spk


def flat(net: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Path and layer in the order of execution; a layer in two places comes twice.

    >>> [path for path, _ in flat(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(2, 3))))]
    ['0', '1.0']
    """
    for name, layer in net._modules.items():
        if type(layer) is nn.Sequential:
            yield from flat(layer, f"{prefix}{name}.")
        elif layer is not None:
            yield f"{prefix}{name}", layer


def stages(net: Any, kinds: tuple[type[Neuron], ...], rule: str) -> tuple[Stage, ...]:
    """Read a network.

    Args:
        net: ``nn.Sequential``, nested ones included.
        kinds: of neurons that the rule trains.
        rule: its name, for messages.

    Raises:
        TypeError: another kind of network, layer or neuron; the message names the layer.
        ValueError: two synapses without neurons between, a layer in two places, or neurons in
            sequence mode.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False), snn.IF(init_hidden=True))
    >>> [(stage.path, stage.synapse) for stage in stages(net, (snn.IF,), "a rule")]
    [('2', Linear(in_features=4, out_features=2, bias=False))]
    """
    if not isinstance(net, nn.Sequential) or type(net).forward is not nn.Sequential.forward:
        raise TypeError(
            f"{rule} reads a network from nn.Sequential, got {type(net).__name__}; write "
            "nn.Sequential(nn.Linear(...), "
            f"{kinds[0].__name__}(...), ...)"
        )
    found: list[Stage] = []
    before: list[nn.Module] = []
    synapse: nn.Module | None = None
    after: list[nn.Module] = []
    layers = list(flat(net))
    for place, (path, layer) in enumerate(layers):
        what = f"{type(layer).__name__} {path!r}"
        if any(layer is other for _, other in layers[:place]):
            raise ValueError(
                f"{rule} takes each layer in one place, got {what} in two; write a second one"
            )
        if isinstance(layer, SYNAPSES):
            if synapse is not None:
                raise ValueError(
                    f"{rule} needs neurons between two synapses, got {what} without; put some "
                    "before it"
                )
            synapse = layer
        elif isinstance(layer, Neuron):
            if synapse is None:
                raise ValueError(
                    f"{rule} needs a synapse before {what}, got none; write nn.Linear(...) before "
                    "it"
                )
            _check_neuron(what, layer, kinds, rule, last=place == len(layers) - 1)
            found.append(Stage(tuple(before), synapse, tuple(after), path, layer))
            before = []
            synapse = None
            after = []
        elif isinstance(layer, PLAIN):
            (before if synapse is None else after).append(layer)
        else:
            names = ", ".join(kind.__name__ for kind in (*PLAIN, nn.Linear))
            raise TypeError(
                f"{rule} knows neurons, convolutions and {names}, got {what}; leave it out"
            )
    if not found or synapse is not None or before:
        raise ValueError(
            f"{rule} needs a network that ends with neurons, got {len(found)} layers of neurons "
            "and more; "
            f"end it with {kinds[0].__name__}(init_hidden=True, output=True)"
        )
    return tuple(found)


def _check_neuron(
    what: str, neuron: Neuron, kinds: tuple[type[Neuron], ...], rule: str, *, last: bool
) -> None:
    names = " or ".join(kind.__name__ for kind in kinds)
    if type(neuron) not in kinds:
        raise TypeError(
            f"{rule} trains {names}, got {what}; write snn.{kinds[0].__name__}(init_hidden=True)"
        )
    if not neuron.init_hidden or (neuron.output and not last):
        raise TypeError(
            f"neurons inside the network pass on spikes only, got {what}; write init_hidden=True"
        )
    if neuron.mode != "step":
        raise ValueError(
            f"{rule} reads a network of one step, got {what} in mode={neuron.mode!r}; write "
            'snn.set_mode(net, "step")'
        )
    if any(p.requires_grad for p in neuron.parameters()):
        raise TypeError(
            f"{rule} trains weights, got {what} with constants that learn; build it without "
            "learn_..."
        )


def pulled(
    stage: Stage, pre: Tensor, post: Tensor, *, further: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pull an error at the neurons back through their stage.

    Args:
        stage: the stage.
        pre: what enters it, [B, ...].
        post: the error at its neurons, [B, ...].
        further: whether the error at its input is wanted.

    Returns:
        The correlation with the input, in the shape of the weight; the error at the output of the
        synapse; the error at the input, or None.

    >>> import spikeloom as snn
    >>> (stage,) = stages(
    ...     nn.Sequential(nn.Linear(2, 1), snn.IF(init_hidden=True)), (snn.IF,), "a rule"
    ... )
    >>> change, _, _ = pulled(
    ...     stage, torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0]]), further=False
    ... )
    >>> change
    tensor([[2., 6.]])
    """
    chain = (*stage.before, stage.synapse, *stage.after)
    inputs = [pre]
    for layer in chain[
        : -1 if stage.after else len(stage.before)
    ]:  # a synapse runs only if a layer follows it
        inputs.append(layer.forward(inputs[-1]))
    at_synapse = post
    weight = None
    for place in reversed(range(len(chain))):
        if place == len(stage.before):
            at_synapse = post
            weight = correlate(stage.synapse, inputs[place], post)
            if not further:
                return weight, at_synapse, None
        post = _transposed(chain[place], inputs[place], post)
    assert weight is not None
    return weight, at_synapse, post


def _transposed(layer: nn.Module, pre: Tensor, post: Tensor) -> Tensor:
    """The error at the input of a linear layer for the error at its output."""
    if isinstance(layer, nn.Linear):
        return post @ layer.weight.detach()
    with torch.enable_grad():
        leaf = pre.detach().requires_grad_()
        (error,) = torch.autograd.grad(layer.forward(leaf), leaf, post)
    return error
