"""The control for chaos: Gaussian noise of the same size."""

import torch
from torch import Tensor, nn

__all__ = ["matched"]


def matched(
    loss: Tensor, params: list[nn.Parameter], generator: torch.Generator | None = None
) -> Tensor:
    """A term of value 0 whose gradient is Gaussian noise of the size of the gradient of ``loss``.

    The root mean square is that of the gradient in each parameter.

    Args:
        loss: the loss, whose graph is retained.
        params: parameters for which it may have a gradient.
        generator: source of the noise. Default: torch's global one.

    >>> w = nn.Parameter(torch.ones(10000))
    >>> matched((3 * w).sum(), [w], torch.Generator().manual_seed(0)).backward()
    >>> round(float(w.grad.square().mean().sqrt()), 1), round(abs(float(w.grad.mean())), 1)
    (3.0, 0.0)
    """
    gradients = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
    total = torch.zeros_like(loss)
    for p, g in zip(params, gradients, strict=True):
        if g is None:
            continue
        device = g.device if generator is None else generator.device
        noise = torch.randn(g.shape, generator=generator, dtype=g.dtype, device=device).to(g.device)
        total = total + ((p - p.detach()) * noise * g.square().mean().sqrt()).sum()
    return total
