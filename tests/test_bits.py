"""What `memory="compressed"` keeps of tensors that an operation saves."""

import pytest
import torch
from torch import Tensor

from spikeloom.kernels import bits

LARGE = 4 * bits.LEAST


def kept(x: Tensor) -> int:
    """The bytes kept for the backward pass; what is read there must be ``x``."""
    sizes: list[int] = []

    def pack(saved: Tensor) -> object:
        packed = bits._packed(saved)
        sizes.append(packed[0].nbytes if isinstance(packed, tuple) else packed.nbytes)
        return packed

    factor = torch.ones(x.shape, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, bits._unpacked):
        y = factor * x
    y.sum().backward()
    torch.testing.assert_close(factor.grad, x.to(torch.float64), rtol=0, atol=0, equal_nan=True)
    return sizes[0]


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_spikes_take_more_than_one_bit(dtype, density) -> None:
    spikes = (torch.rand(LARGE) < density).to(dtype)
    assert kept(spikes) == LARGE // 8
    assert kept(spikes.view(64, -1).t()) == LARGE // 8


@pytest.mark.parametrize("value", [0.25, -3.0])
def test_equal_values_other_than_one_take_more_than_one_bit(value) -> None:
    assert kept(value * (torch.rand(LARGE) < 0.2)) == LARGE // 8


@pytest.mark.parametrize("other", [0.5, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, -1])
def test_a_single_other_value_is_lost(other, at) -> None:
    spikes = (torch.rand(LARGE) < 0.2).float()
    spikes[at], spikes[LARGE // 2] = other, 1.0
    assert kept(spikes) == spikes.nbytes


def test_a_small_tensor_or_one_with_gaps_is_stored_otherwise_than_as_it_is() -> None:
    spikes = (torch.rand(LARGE) < 0.2).float()
    assert kept(spikes[:100]) == 400
    assert bits._packed(spikes[::2]) is not None
    assert isinstance(bits._packed(spikes[::2]), Tensor)
