r"""Spiking attention: products of spikes, without softmax.

Queries, keys and values are spikes, so that the products are whole numbers, exact in float32 up to
2^24, and ``(Q K^T) V`` equals ``Q (K^T V)``. The second needs no N x N map and is what runs.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from ..core import checks
from ..core.numbers import MOST_UNITS, real, whole
from .parts import Make, Norm, Residual, maker, of_tokens
from .tokens import token_layer, token_mlp

__all__ = ["QKAttention", "SelfAttention", "encoder_block", "qk_attention", "self_attention"]


class SelfAttention(nn.Module):
    r"""Spiking self-attention (SSA) of its parts; `self_attention` builds it from sizes.

    .. math:: Y = P(S(s \, Q K^T V)) \qquad Q, K, V = \text{spikes of } X

    for each head, a part of the channels, on its own.

    Args:
        query, key, value: modules from tokens [B, N, C] to spikes [B, N, C].
        neuron: S, fires on the product.
        project: P, a module from spikes [B, N, C] to tokens [B, N, C].
        heads: number of heads; divides C.
        scale: s, > 0.

    Raises:
        ValueError: ``heads`` < 1, or ``scale`` is not positive; in ``forward``, ``heads`` does not
            divide C, or the input is no [B, N, C].

    Source: Zhou, Zhu, He, Wang, Yan, Tian & Yuan (2023), ICLR, and the authors' code.

    >>> import torch
    >>> same = nn.Identity()
    >>> ssa = SelfAttention(same, same, same, same, same, heads=2, scale=0.5)
    >>> ssa(torch.ones(1, 3, 4))[0, 0]  # 3 tokens x 2 channels of a head x 0.5
    tensor([3., 3., 3., 3.])
    """

    multiplies_signals: ClassVar[bool] = True  # products that no layer with weights computes

    def __init__(
        self,
        query: nn.Module,
        key: nn.Module,
        value: nn.Module,
        neuron: nn.Module,
        project: nn.Module,
        heads: int = 1,
        scale: float = 0.125,
    ) -> None:
        super().__init__()
        self.query = query
        self.key = key
        self.value = value
        self.neuron = neuron
        self.project = project
        self.heads = whole("heads", heads, 1, MOST_UNITS)
        self.scale = real("scale", scale, 0.0, open_low=True, example=0.125)
        of_tokens(self)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, C] of one step."""
        _check(self, x, self.heads)
        q, k, v = (_by_head(part(x), self.heads) for part in (self.query, self.key, self.value))
        product = q.matmul(k.transpose(-2, -1).matmul(v)) * self.scale  # [B, heads, N, C / heads]
        return self.project(self.neuron(product.transpose(-3, -2).flatten(-2)))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"heads={self.heads}, scale={self.scale}"


class QKAttention(nn.Module):
    r"""Q-K attention of QKFormer, of its parts; `qk_attention` builds it from sizes.

    .. math:: Y = P(S(\textstyle\sum Q) \odot K) \qquad Q, K = \text{spikes of } X

    ``over="tokens"`` chooses tokens: the sum is over the channels of a head. ``"channels"`` chooses
    channels: it is over the tokens. Both cost O(N C).

    Args:
        query, key: modules from tokens [B, N, C] to spikes [B, N, C].
        neuron: S, fires on the sums.
        project: P, a module from spikes [B, N, C] to tokens [B, N, C].
        over: ``"tokens"`` or ``"channels"``.
        heads: number of heads; divides C. Without effect for channels.

    Raises:
        ValueError: ``heads`` < 1, or ``over`` is unknown; in ``forward``, ``heads`` does not divide
            C, or the input is no [B, N, C].

    Source: Zhou, Zhang, Zhou, Yu, Huang, Zhou, Ma & Tian (2024), NeurIPS 37, and the authors' code.

    >>> import torch
    >>> same = nn.Identity()
    >>> QKAttention(same, same, same, same)(torch.tensor([[[1.0, 1.0], [0.0, 1.0]]]))
    tensor([[[2., 2.],
             [0., 1.]]])
    """

    multiplies_signals: ClassVar[bool] = True

    def __init__(
        self,
        query: nn.Module,
        key: nn.Module,
        neuron: nn.Module,
        project: nn.Module,
        over: str = "tokens",
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.query = query
        self.key = key
        self.neuron = neuron
        self.project = project
        self.over = checks.choice("over", over, ("tokens", "channels"))
        self.heads = whole("heads", heads, 1, MOST_UNITS)
        of_tokens(self)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, C] of one step."""
        _check(self, x, self.heads)
        if self.over == "channels":
            chosen = self.neuron(self.query(x).sum(-2, keepdim=True))  # [B, 1, C]
            return self.project(chosen * self.key(x))
        q, k = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.query, self.key))
        chosen = self.neuron(q.sum(-1, keepdim=True))  # [B, N, heads, 1]
        return self.project((chosen * k).flatten(-2))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"over={self.over!r}, heads={self.heads}"


def self_attention(
    dim: int,
    heads: int,
    neuron: Any,
    *,
    attention_neuron: Any = None,
    scale: float = 0.125,
    norm: Norm | None = nn.BatchNorm1d,
) -> SelfAttention:
    """Spiking self-attention of Spikformer, whose query, key, value and projection are layers of
    `token_layer`.

    Args:
        dim: C, features of a token, [B, N, C].
        heads: number of heads; divides ``dim``.
        neuron: function that makes a neuron with ``init_hidden=True``.
        attention_neuron: likewise, of the neuron behind the product; default: ``neuron``. The
            authors halve its threshold.
        scale: factor of the product, > 0.
        norm: see `token_layer`.

    Raises:
        TypeError, ValueError: a size is no positive whole number, ``heads`` does not divide
            ``dim``, or ``neuron`` does not make neurons.

    Source: Zhou et al. (2023), ICLR, and the authors' code.

    >>> import torch, spikeloom as snn
    >>> ssa = self_attention(8, 2, lambda: snn.Leaky(0.5, init_hidden=True))
    >>> snn.run(ssa, torch.rand(2, 5, 8), num_steps=4).shape
    torch.Size([4, 2, 5, 8])
    """
    dim = _divided(dim, heads)
    fire, gate = _makers(neuron, attention_neuron)
    query, key, value = (token_layer(dim, dim, fire, norm=norm) for _ in range(3))
    project = token_layer(dim, dim, fire, norm=norm)
    return SelfAttention(query, key, value, gate(), project, heads, scale)


def qk_attention(
    dim: int,
    neuron: Any,
    *,
    over: str = "tokens",
    heads: int = 1,
    attention_neuron: Any = None,
    norm: Norm | None = nn.BatchNorm1d,
) -> QKAttention:
    """Q-K attention of QKFormer, whose query, key and projection are layers of `token_layer`.

    Args:
        dim: C, features of a token, [B, N, C].
        neuron: function that makes a neuron with ``init_hidden=True``.
        over: ``"tokens"`` or ``"channels"``, see `QKAttention`.
        heads: number of heads; divides ``dim``.
        attention_neuron: likewise, of the neuron behind the sums; default: ``neuron``. The authors
            halve its threshold.
        norm: see `token_layer`.

    Raises:
        TypeError, ValueError: a size is no positive whole number, ``heads`` does not divide
            ``dim``, ``over`` is unknown, or ``neuron`` does not make neurons.

    Source: Zhou et al. (2024), NeurIPS 37, and the authors' code.

    >>> import torch, spikeloom as snn
    >>> qk = qk_attention(8, lambda: snn.Leaky(0.5, init_hidden=True), over="channels")
    >>> snn.run(qk, torch.rand(2, 5, 8), num_steps=4).shape
    torch.Size([4, 2, 5, 8])
    """
    dim = _divided(dim, heads)
    over = checks.choice("over", over, ("tokens", "channels"))
    fire, gate = _makers(neuron, attention_neuron)
    query, key = (token_layer(dim, dim, fire, norm=norm) for _ in range(2))
    project = token_layer(dim, dim, fire, norm=norm)
    return QKAttention(query, key, gate(), project, over, heads)


def encoder_block(
    attention: nn.Module,
    dim: int,
    neuron: Any,
    *,
    hidden: int | None = None,
    norm: Norm | None = nn.BatchNorm1d,
) -> nn.Sequential:
    """Encoder block of Spikformer and QKFormer: attention and `token_mlp`, each added to its input.

    Args:
        attention: a module of tokens [B, N, C], such as `self_attention` builds.
        dim: C, features of a token.
        neuron: function that makes a neuron with ``init_hidden=True``.
        hidden: features inside the perceptron; default: ``4 * dim``.
        norm: see `token_layer`.

    Returns:
        Two `Residual` one after the other.

    Raises:
        TypeError, ValueError: ``attention`` is no module, a size is no positive whole number, or
            ``neuron`` does not make neurons.

    Source: Zhou et al. (2023), ICLR, and the authors' code.

    >>> import torch, spikeloom as snn
    >>> def neuron():
    ...     return snn.Leaky(0.5, init_hidden=True)
    >>> block = encoder_block(self_attention(8, 2, neuron), 8, neuron)
    >>> snn.run(block, torch.rand(2, 5, 8), num_steps=4).shape
    torch.Size([4, 2, 5, 8])
    """
    if not isinstance(attention, nn.Module):
        raise TypeError(
            f"attention must be a module, got {type(attention).__name__}; write "
            "self_attention(dim, heads, neuron)"
        )
    return nn.Sequential(
        Residual(attention), Residual(token_mlp(dim, neuron, hidden=hidden, norm=norm))
    )


def _by_head(x: Tensor, heads: int) -> Tensor:
    """Channels of each head: [B, N, C] becomes [B, heads, N, C / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def _check(attention: nn.Module, x: Tensor, heads: int) -> None:
    if isinstance(x, Tensor) and (x.dim() != 3 or x.shape[-1] % heads):
        raise ValueError(
            f"{type(attention).__name__} with heads={heads} takes tokens [B, N, C] of one step, "
            f"with C a multiple of heads, got {tuple(x.shape)}; write snn.run(net, x) for "
            "[T, B, N, C], and Tokens() behind images"
        )


def _divided(dim: Any, heads: Any) -> int:
    dim = whole("dim", dim, 1, MOST_UNITS)
    heads = whole("heads", heads, 1, MOST_UNITS)
    if dim % heads:
        raise ValueError(
            f"heads must divide dim, got heads={heads} and dim={dim}; write "
            f"dim={heads * max(dim // heads, 1)}"
        )
    return dim


def _makers(neuron: Any, attention_neuron: Any) -> tuple[Make, Make]:
    fire = maker(neuron)
    gate = fire if attention_neuron is None else maker(attention_neuron, "attention_neuron")
    return fire, gate
