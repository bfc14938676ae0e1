"""Blocks of images [B, C, H, W]: residual blocks, spiking VGG, patch embedding.

Convolutions have a bias only where no norm follows.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..core import checks
from ..core.numbers import MOST_UNITS, whole
from .parts import CONNECT, Norm, Residual, Tokens, maker

__all__ = ["ms_block", "patch_embedding", "sew_block", "vgg"]

_STRIDES = 64  # largest stride; a larger one is a mistake


def sew_block(
    in_channels: int,
    out_channels: int,
    neuron: Any,
    *,
    stride: int = 1,
    connect: str = "add",
    norm: Norm | None = nn.BatchNorm2d,
) -> Residual:
    """Residual block of SEW-ResNet: the spikes of two convolutions are combined with the input.

    The body is convolution, norm, neuron, twice. Where the shape changes, the shortcut is a
    convolution of kernel 1, norm, neuron. With ``connect="add"`` the output of n blocks is whole
    numbers up to n + 1.

    Args:
        in_channels: channels of the input, [B, in_channels, H, W].
        out_channels: channels of the output.
        neuron: function that makes a neuron with ``init_hidden=True``.
        stride: of the first convolution and of the shortcut.
        connect: ``"add"``, ``"and"`` or ``"iand"``, see `Residual`.
        norm: function from channels to a norm; None for none.

    Returns:
        A `Residual` with ``body`` and ``shortcut``.

    Raises:
        TypeError, ValueError: a size is no positive whole number, ``connect`` is unknown, or
            ``neuron`` does not make neurons.

    Source: Fang, Yu, Chen, Huang, Masquelier & Tian (2021), NeurIPS 34, and the authors' code.

    >>> import torch, spikeloom as snn
    >>> block = sew_block(3, 8, lambda: snn.Leaky(0.5, init_hidden=True), stride=2)
    >>> snn.run(block, torch.rand(2, 3, 8, 8), num_steps=4).shape
    torch.Size([4, 2, 8, 4, 4])
    """
    in_channels, out_channels, stride = _sizes(in_channels, out_channels, stride)
    connect = checks.choice("connect", connect, CONNECT)
    fire = maker(neuron)
    first = [*_conv(in_channels, out_channels, 3, norm, stride), fire()]
    body = nn.Sequential(*first, *_conv(out_channels, out_channels, 3, norm), fire())
    if stride == 1 and in_channels == out_channels:
        return Residual(body, None, connect)
    shortcut = nn.Sequential(*_conv(in_channels, out_channels, 1, norm, stride), fire())
    return Residual(body, shortcut, connect)


def ms_block(
    in_channels: int,
    out_channels: int,
    neuron: Any,
    *,
    stride: int = 1,
    norm: Norm | None = nn.BatchNorm2d,
) -> Residual:
    """Residual block of MS-ResNet: the shortcut passes currents, not spikes.

    The body is neuron, convolution, norm, twice; its output is added to the input before the next
    neuron fires. Where the shape changes, the shortcut is a convolution of kernel 1 and a norm. A
    neuron follows the last block of a network.

    Args:
        in_channels: channels of the input, [B, in_channels, H, W].
        out_channels: channels of the output.
        neuron: function that makes a neuron with ``init_hidden=True``.
        stride: of the first convolution and of the shortcut.
        norm: function from channels to a norm; None for none.

    Returns:
        A `Residual` with ``body`` and ``shortcut``.

    Raises:
        TypeError, ValueError: a size is no positive whole number, or ``neuron`` does not make
            neurons.

    Source: Hu, Deng, Wu, Yao & Li (2024), IEEE Trans. Neural Netw. Learn. Syst. (arXiv 2112.08954),
    and the authors' code, ``BasicBlock_18``.

    >>> import torch, spikeloom as snn
    >>> block = ms_block(3, 8, lambda: snn.Leaky(0.5, init_hidden=True), stride=2)
    >>> snn.run(block, torch.rand(2, 3, 8, 8), num_steps=4).shape
    torch.Size([4, 2, 8, 4, 4])
    """
    in_channels, out_channels, stride = _sizes(in_channels, out_channels, stride)
    fire = maker(neuron)
    first = [fire(), *_conv(in_channels, out_channels, 3, norm, stride)]
    body = nn.Sequential(*first, fire(), *_conv(out_channels, out_channels, 3, norm))
    if stride == 1 and in_channels == out_channels:
        return Residual(body)
    return Residual(body, nn.Sequential(*_conv(in_channels, out_channels, 1, norm, stride)))


def vgg(
    plan: Sequence[int | str],
    in_channels: int,
    neuron: Any,
    *,
    norm: Norm | None = nn.BatchNorm2d,
) -> nn.Sequential:
    """Spiking VGG: convolutions of kernel 3 with neurons, and poolings, by a list.

    Args:
        plan: for each layer, its number of channels (convolution, norm, neuron), ``"M"`` (maxima of
            2 x 2) or ``"A"`` (means of 2 x 2).
        in_channels: channels of the input, [B, in_channels, H, W].
        neuron: function that makes a neuron with ``init_hidden=True``.
        norm: function from channels to a norm; None for none.

    Returns:
        The layers one after the other; a classifier such as ``nn.Flatten(), nn.Linear(...)``
        follows them.

    Raises:
        TypeError, ValueError: ``plan`` is empty or holds something else, or ``neuron`` does not
            make neurons.

    Source: Simonyan & Zisserman (2015), ICLR, for the order of the layers.

    >>> import torch, spikeloom as snn
    >>> net = vgg([16, "M", 32, "M"], 3, lambda: snn.Leaky(0.5, init_hidden=True))
    >>> snn.run(net, torch.rand(2, 3, 8, 8), num_steps=4).shape
    torch.Size([4, 2, 32, 2, 2])
    """
    example = "write plan=[64, 'M', 128, 'M']"
    if isinstance(plan, str) or not isinstance(plan, Sequence) or not plan:
        raise TypeError(f"plan must be a list of channels and poolings, got {plan!r}; {example}")
    channels = whole("in_channels", in_channels, 1, MOST_UNITS)
    fire = maker(neuron)
    layers: list[nn.Module] = []
    for entry in plan:
        if isinstance(entry, str):
            kind = checks.choice("a pooling in plan", entry, ("M", "A"))
            layers.append(nn.MaxPool2d(2) if kind == "M" else nn.AvgPool2d(2))
            continue
        following = whole("channels in plan", entry, 1, MOST_UNITS)
        layers += [*_conv(channels, following, 3, norm), fire()]
        channels = following
    return nn.Sequential(*layers)


def patch_embedding(
    in_channels: int,
    dim: int,
    neuron: Any,
    *,
    poolings: Sequence[bool] = (False, False, True, True),
    norm: Norm | None = nn.BatchNorm2d,
) -> nn.Sequential:
    """Spiking patch splitting of Spikformer: images become tokens of spikes.

    One convolution, norm and neuron for each entry of ``poolings``, with twice the channels of the
    one before and ``dim`` at last; then a convolution, norm and neuron whose spikes, the relative
    position embedding, are added to the features.

    Args:
        in_channels: channels of the input, [B, in_channels, H, W].
        dim: channels of a token, C; a multiple of ``2 ** (len(poolings) - 1)``.
        neuron: function that makes a neuron with ``init_hidden=True``.
        poolings: whether maxima of 3 x 3 with stride 2 follow each neuron; P of them make tokens of
            patches of 2^P x 2^P pixels.
        norm: function from channels to a norm; None for none.

    Returns:
        A module from images to tokens [B, N, C]; values are 0, 1 and 2.

    Raises:
        TypeError, ValueError: a size is no positive whole number, ``dim`` is no such multiple, or
            ``neuron`` does not make neurons.

    Source: Zhou, Zhu, He, Wang, Yan, Tian & Yuan (2023), ICLR, and the authors' code for CIFAR-10.

    >>> import torch, spikeloom as snn
    >>> patches = patch_embedding(3, 32, lambda: snn.Leaky(0.5, init_hidden=True))
    >>> snn.run(patches, torch.rand(2, 3, 16, 16), num_steps=4).shape
    torch.Size([4, 2, 16, 32])
    """
    before = whole("in_channels", in_channels, 1, MOST_UNITS)
    dim = whole("dim", dim, 1, MOST_UNITS)
    stages = [bool(pool) for pool in poolings]
    least = 2 ** max(len(stages) - 1, 0)
    if not stages or dim % least:
        raise ValueError(
            f"dim must be a multiple of {least} for {len(stages)} stages, each with twice the "
            f"channels of the one before, got {dim}; write dim={max(dim // least, 1) * least}"
        )
    fire = maker(neuron)
    layers: list[nn.Module] = []
    for number, pool in enumerate(stages):
        channels = dim // 2 ** (len(stages) - 1 - number)
        layers += [*_conv(before, channels, 3, norm), fire()]
        if pool:
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
        before = channels
    position = nn.Sequential(*_conv(dim, dim, 3, norm), fire())
    return nn.Sequential(*layers, Residual(position), Tokens())


def _conv(
    in_channels: int, out_channels: int, kernel: int, norm: Norm | None, stride: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size for stride 1, and its norm."""
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        bias=norm is None,
    )
    return [conv] if norm is None else [conv, norm(out_channels)]


def _sizes(in_channels: Any, out_channels: Any, stride: Any) -> tuple[int, int, int]:
    return (
        whole("in_channels", in_channels, 1, MOST_UNITS),
        whole("out_channels", out_channels, 1, MOST_UNITS),
        whole("stride", stride, 1, _STRIDES),
    )
