"""Acting on all that remembers in a network: the module tree is the only register of who belongs to it."""

from collections.abc import Iterator
from typing import TypeVar

from torch import nn

from . import checks
from .neuron import Neuron
from .stateful import Stateful

__all__ = ["detach", "named_neurons", "reset", "set_mode"]

Net = TypeVar("Net", bound=nn.Module)


def named_neurons(net: nn.Module) -> Iterator[tuple[str, Neuron]]:
    """The neurons of a network with their dotted paths, nested ones included.

    >>> import spikeloom as snn
    >>> [path for path, _ in named_neurons(nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9)))]
    ['1']
    """
    return ((path, module) for path, module in net.named_modules() if isinstance(module, Neuron))


def reset(net: nn.Module) -> None:
    """Forget the state of every neuron and delay of ``net``; other networks are left alone.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(0.9, init_hidden=True)
    >>> _ = lif(torch.ones(1, 2)); reset(lif); lif.mem.shape
    torch.Size([0])
    """
    for module in _stateful(net):
        module.reset_mem()


def detach(net: nn.Module) -> None:
    """Cut the state of every neuron and delay of ``net`` from the graph; its values stay (truncated backpropagation).

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(0.9, init_hidden=True, learn_beta=True)
    >>> _ = lif(torch.ones(1, 2)); detach(lif); lif.mem.requires_grad
    False
    """
    for module in _stateful(net):
        module.detach_hidden()


def set_mode(net: Net, mode: str) -> Net:
    """Make every neuron and delay of ``net`` take one time step ``[B, ...]`` or a sequence ``[T, B, ...]`` per call.

    Args:
        net: any module.
        mode: ``"step"`` or ``"sequence"``.

    Returns:
        ``net``.

    Raises:
        ValueError: another mode, or a neuron that only runs sequences is asked to step.

    >>> import torch, spikeloom as snn
    >>> set_mode(snn.Leaky(0.9, init_hidden=True), "sequence")(torch.ones(5, 1, 2)).shape
    torch.Size([5, 1, 2])
    """
    checks.choice("mode", mode, ("step", "sequence"))
    for module in _stateful(net):
        module.mode = mode
    return net


def _stateful(net: nn.Module) -> Iterator[Stateful]:
    return (module for module in net.modules() if isinstance(module, Stateful))
