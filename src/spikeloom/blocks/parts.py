"""Modules of which blocks are made, and the checks of what the builders receive."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..core import checks
from ..core.neuron import Neuron

__all__ = ["CONNECT", "Make", "Norm", "Residual", "TokenMean", "Tokens", "maker", "of_tokens"]

Make = Callable[[], nn.Module]
Norm = Callable[[int], nn.Module]

# Fang et al. (2021): a is the output of the body, s that of the shortcut
CONNECT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda a, s: a + s,
    "and": lambda a, s: a * s,
    "iand": lambda a, s: (1 - a) * s,
}


class Residual(nn.Module):
    """Combines the output of a body with that of a shortcut, element by element.

    Args:
        body: any module.
        shortcut: a module whose output has the shape of that of ``body``; default: the input.
        connect: ``"add"``: ``body + shortcut``; for spikes also ``"and"``: ``body * shortcut``, and
            ``"iand"``: ``(1 - body) * shortcut``.

    Raises:
        ValueError: ``connect`` is unknown, or the two shapes differ.

    Source: Fang, Yu, Chen, Huang, Masquelier & Tian (2021), NeurIPS 34, for the three functions.

    >>> import torch
    >>> Residual(nn.Identity(), connect="iand")(torch.tensor([[0.0, 1.0]]))
    tensor([[0., 0.]])
    """

    def __init__(
        self, body: nn.Module, shortcut: nn.Module | None = None, connect: str = "add"
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.connect = checks.choice("connect", connect, CONNECT)

    def forward(self, x: Tensor) -> Tensor:
        """Output of one step, in the shape of that of ``body``."""
        a = self.body(x)
        s = self.shortcut(x)
        if isinstance(a, Tensor) and a.shape != s.shape:
            raise ValueError(
                f"Residual needs equal shapes, got {tuple(a.shape)} from its body and "
                f"{tuple(s.shape)} from its shortcut; write a shortcut that changes the shape, "
                "such as nn.Conv2d with kernel_size=1 and the stride of the body"
            )
        return CONNECT[self.connect](a, s)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"connect={self.connect!r}"


class Tokens(nn.Module):
    """Turns images [B, C, H, W] into tokens [B, H * W, C].

    >>> import torch
    >>> Tokens()(torch.rand(2, 8, 4, 3)).shape
    torch.Size([2, 12, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, C] of images [B, C, ...]."""
        return x.flatten(2).transpose(-2, -1)


class TokenMean(nn.Module):
    """Mean over the tokens: [B, N, C] becomes [B, C].

    >>> import torch
    >>> TokenMean()(torch.rand(2, 12, 8)).shape
    torch.Size([2, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, C] of tokens [B, N, C]."""
        return x.mean(-2)


def of_tokens(net: nn.Module) -> None:
    """Let the neurons of a network know that a step [B, N, C] of tokens has no axis of time.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(0.9, init_hidden=True)
    >>> of_tokens(lif); lif(torch.rand(2, 3, 4)).shape  # without a warning
    torch.Size([2, 3, 4])
    """
    for module in net.modules():
        if isinstance(module, Neuron):
            module.takes_batches = True


def maker(neuron: Any, what: str = "neuron") -> Make:
    """A function that makes neurons, with checks of each.

    Args:
        neuron: what a builder of blocks received.
        what: name of the argument.

    Returns:
        A function without arguments.

    Raises:
        TypeError: ``neuron`` is a module or no function; from the returned function: it made no
            module.
        ValueError: from the returned function: the neuron returns its state or was made before.

    >>> import spikeloom as snn
    >>> maker(lambda: snn.Leaky(0.9, init_hidden=True))().init_hidden
    True
    """
    example = f"{what}=lambda: snn.Leaky(0.9, init_hidden=True)"
    if isinstance(neuron, nn.Module) or not callable(neuron):
        kind = type(neuron).__name__
        raise TypeError(f"{what} must be a function that makes one, got {kind}; write {example}")
    before: list[nn.Module] = []

    def make() -> nn.Module:
        made: Any = neuron()
        if not isinstance(made, nn.Module):
            raise TypeError(
                f"{what}() must return a module, got {type(made).__name__}; write {example}"
            )
        if isinstance(made, Neuron) and (not made.init_hidden or made.output):
            raise ValueError(
                f"{what}() must return a neuron that remembers its state and returns spikes only, "
                f"got a {type(made).__name__} with init_hidden={made.init_hidden}, "
                f"output={made.output}; write {example}"
            )
        if any(made is other for other in before):
            raise ValueError(
                f"{what}() must return a new {type(made).__name__} at each call, got the same one "
                f"again, whose state two layers would share; write {example}"
            )
        before.append(made)
        return made

    return make
