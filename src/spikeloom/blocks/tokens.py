"""Layers of tokens [B, N, C]: linear layer, norm and neuron, and the perceptron of two of them."""

from typing import Any

from torch import Tensor, nn

from ..core.numbers import MOST_UNITS, whole
from .parts import Norm, maker, of_tokens

__all__ = ["TokenLayer", "token_layer", "token_mlp"]


class TokenLayer(nn.Module):
    """Linear layer, norm and neuron for each token; `token_layer` builds it from sizes.

    The norm sees [B * N, C], so that batch norm takes the statistics of a channel over samples and
    tokens.

    Args:
        linear: a module from tokens [B, N, ...] to tokens [B, N, C].
        norm: a module of [B, C]; None for none.
        neuron: fires on the tokens.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(0.9, threshold=0.5, init_hidden=True)
    >>> TokenLayer(nn.Identity(), None, lif)(torch.tensor([[[0.4, 0.6]]]))
    tensor([[[0., 1.]]])
    """

    def __init__(self, linear: nn.Module, norm: nn.Module | None, neuron: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.neuron = neuron
        of_tokens(self)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [B, N, C] of one step."""
        x = self.linear(x)
        if self.norm is not None:
            x = self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.neuron(x)


def token_layer(
    in_features: int,
    out_features: int,
    neuron: Any,
    *,
    norm: Norm | None = nn.BatchNorm1d,
) -> TokenLayer:
    """Linear layer, norm and neuron for each token.

    Args:
        in_features: features of a token of the input, [B, N, in_features].
        out_features: features of a token of the output.
        neuron: function that makes a neuron with ``init_hidden=True``.
        norm: function from features to a norm of [B, out_features]; None for none.

    Returns:
        A `TokenLayer`, from tokens [B, N, in_features] to spikes [B, N, out_features].

    Raises:
        TypeError, ValueError: a size is no positive whole number, or ``neuron`` does not make
            neurons.

    >>> import torch, spikeloom as snn
    >>> layer = token_layer(8, 16, lambda: snn.Leaky(0.5, init_hidden=True))
    >>> layer(torch.rand(2, 5, 8)).shape
    torch.Size([2, 5, 16])
    """
    in_features = whole("in_features", in_features, 1, MOST_UNITS)
    out_features = whole("out_features", out_features, 1, MOST_UNITS)
    normed = None if norm is None else norm(out_features)
    return TokenLayer(nn.Linear(in_features, out_features), normed, maker(neuron)())


def token_mlp(
    dim: int, neuron: Any, *, hidden: int | None = None, norm: Norm | None = nn.BatchNorm1d
) -> nn.Sequential:
    """Spiking perceptron of a transformer: two layers of `token_layer`.

    Args:
        dim: C, features of a token of input and output, [B, N, C].
        neuron: function that makes a neuron with ``init_hidden=True``.
        hidden: features between the two layers; default: ``4 * dim``.
        norm: see `token_layer`.

    Returns:
        A module from tokens [B, N, C] to spikes [B, N, C].

    Raises:
        TypeError, ValueError: a size is no positive whole number, or ``neuron`` does not make
            neurons.

    Source: Zhou et al. (2023), ICLR, and the authors' code.

    >>> import torch, spikeloom as snn
    >>> mlp = token_mlp(8, lambda: snn.Leaky(0.5, init_hidden=True))
    >>> snn.run(mlp, torch.rand(2, 5, 8), num_steps=4).shape
    torch.Size([4, 2, 5, 8])
    """
    dim = whole("dim", dim, 1, MOST_UNITS)
    inside = 4 * dim if hidden is None else whole("hidden", hidden, 1, MOST_UNITS)
    fire = maker(neuron)
    return nn.Sequential(
        token_layer(dim, inside, fire, norm=norm), token_layer(inside, dim, fire, norm=norm)
    )
