"""Event streams from images: an event camera that makes three small saccades."""

import torch
from torch import Tensor

from ..core.numbers import blank, random_source, real, tensor, whole

__all__ = ["saccade"]

# Corners (x, y) in units of the distance.
TRIANGLE = (
    (0.0, 0.0),
    (0.5, 1.0),
    (1.0, 0.0),
    (0.0, 0.0),
)
DARK = 0.05  # intensity of a black surface, added before the logarithm


def saccade(
    images: Tensor,
    num_steps: int,
    *,
    distance: float | None = None,
    threshold: float = 0.3,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Converts images to streams of ON and OFF events, as an event camera records them.

    The camera moves along an isosceles triangle in three straight saccades of equal duration and
    returns to its starting point. A pixel sends an event when the logarithm of its intensity has
    changed by ``threshold`` since its last event: the protocol of N-MNIST, and the pixel of the
    DVS.

    Args:
        images: [B, 1, H, W] or [B, H, W], in [0, 1]; the surroundings are dark.
        num_steps: number of time steps T of the whole movement, 3 or more.
        distance: base and height of the triangle in pixels. Default: an eighth of the height of the
            image.
        threshold: change of log intensity that causes an event; from dark to bright it is 3.
        noise: probability of a spurious event, for each step, pixel and polarity, in [0, 1].
        generator: source of the noise.

    Returns:
        [T, B, 2, H, W] of 0 and 1 in the dtype of ``images``; channel 0 is OFF (darker), 1 is ON
        (brighter).

    Raises:
        TypeError: ``images`` is not floating point, or a number has a wrong type.
        ValueError: ``images`` has another shape or range, or a number is out of range.

    Source: Orchard, Jayawant, Cohen & Thakor (2015), Frontiers in Neuroscience 9, 437, for the
    three saccades.

    >>> events = saccade(torch.eye(8).expand(4, 1, 8, 8), num_steps=30)
    >>> events.shape
    torch.Size([30, 4, 2, 8, 8])
    >>> events = saccade(torch.ones(1, 1, 8, 8), num_steps=30)
    >>> events[:, :, :, 2:-2, 2:-2].sum()  # no contrast, no event
    tensor(0.)
    """
    images = checked(images, num_steps, threshold, noise)
    random_source(generator, images)
    if distance is not None:
        real("distance", distance)
    height = images.shape[-2]
    distance = height / 8 if distance is None else distance
    corners = torch.tensor(TRIANGLE, dtype=images.dtype, device=images.device) * distance
    stream = blank("events", images, num_steps, len(images), 2, *images.shape[-2:])
    reference = log_intensity(images, corners[0])
    for step in range(num_steps):
        position = 3 * (step + 1) / num_steps
        leg = min(int(position), 2)
        offset = corners[leg].lerp(corners[leg + 1], position - leg)
        levels = ((log_intensity(images, offset) - reference) / threshold).trunc()
        reference = reference + levels * threshold
        stream[step, :, 0] = levels < 0
        stream[step, :, 1] = levels > 0
    if noise:
        stray = torch.rand(stream.shape, generator=generator, device=stream.device) < noise
        stream = stream.maximum(stray.to(stream.dtype))
    return stream


def log_intensity(images: Tensor, offset: Tensor) -> Tensor:
    """Log intensity at each pixel, [B, H, W], for a camera moved by ``offset`` (x, y) pixels."""
    height, width = images.shape[-2:]
    # The coordinates of grid_sample run from -1 to 1.
    shift = 2 * offset / offset.new_tensor([width, height])
    matrix = torch.cat([torch.eye(2, dtype=images.dtype, device=images.device), shift[:, None]], 1)
    grid = torch.nn.functional.affine_grid(
        matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return (torch.nn.functional.grid_sample(images, grid, align_corners=False)[:, 0] + DARK).log()


def checked(images: Tensor, num_steps: int, threshold: float, noise: float) -> Tensor:
    """Checks all arguments, and returns ``images`` as [B, 1, H, W]."""
    if not tensor("images", images).is_floating_point():
        raise TypeError(
            f"images must be floating point in [0, 1], got {images.dtype}; write images / 255 for "
            "bytes"
        )
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if images.dim() != 4 or images.shape[1] != 1:
        raise ValueError(
            f"images must have the shape [B, 1, H, W] or [B, H, W], got {tuple(images.shape)}; "
            "convert colours to grey with images.mean(1, keepdim=True)"
        )
    if not images.numel():
        raise ValueError(
            f"images must hold at least one pixel, got {tuple(images.shape)}; leave empty batches "
            "out"
        )
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"images must be in [0, 1], got {images.min():g} to {images.max():g}; write "
            "images.clamp(0, 1) or rescale"
        )
    whole("num_steps", num_steps, 3)
    real("threshold", threshold, 0.0, open_low=True, example=0.3)
    real("noise", noise, 0.0, 1.0, example=0.0)
    return images
