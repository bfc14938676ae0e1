"""How far two results may be apart that add the same numbers in another order.

Processors and libraries choose the order of a sum by its shape, so that a product of many rows
differs from the same rows one by one. Where the order is the same, a test demands equal bits
instead.
"""

import torch
from torch import Tensor

__all__ = ["assert_same_sums", "rounding"]


def rounding(dtype: torch.dtype, summands: int, scale: float = 1.0) -> float:
    """Largest difference between two sums of the same products in any two orders.

    Each order is off by at most ``n u scale`` to first order in the unit roundoff u, half of
    ``finfo.eps``; the two orders together by ``n eps scale``.

    Args:
        dtype: in which the sums are taken.
        summands: number of products, n; of chained sums the total.
        scale: sum of the magnitudes of the products.

    Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, section 3.1.
    """
    return summands * torch.finfo(dtype).eps * scale


def assert_same_sums(
    found: Tensor, expected: Tensor, *, summands: int, scale: float | None = None
) -> None:
    """Demand equal sums, up to `rounding`; without summands, equal bits.

    Args:
        found: result under test.
        expected: result of the other order.
        summands: of each entry, see `rounding`.
        scale: see `rounding`. Default: the largest entry, at least 1.
    """
    if scale is None:
        largest = expected.detach().abs().max().item() if expected.numel() else 0.0
        scale = max(1.0, largest)
    bound = rounding(expected.dtype, summands, scale) if summands else 0.0
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)
