"""The equations of the CSBP authors' two examples, written out: what ours is compared with."""

import torch
from torch import Tensor, nn


class Triangle(torch.autograd.Function):
    """Spike with a triangular surrogate of half width gamma."""

    @staticmethod
    def forward(ctx, x, gamma):
        ctx.save_for_backward(x)
        ctx.gamma = gamma
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, *grads):
        (x,) = ctx.saved_tensors
        return grads[0] * (ctx.gamma - x.abs()).clamp(min=0) / ctx.gamma**2, None


def spike(x: Tensor) -> Tensor:
    found = Triangle.apply(x, 1.0)
    assert isinstance(found, Tensor)
    return found


def single_neuron_loss(p: Tensor, z: float, I0: float = 0.65) -> Tensor:
    return -z * (I0 * torch.log(p) + (1 - I0) * torch.log(1 - p))


def multi_layer_loss(h: Tensor, z: float, I0: float = 0.65) -> Tensor:
    return single_neuron_loss(torch.sigmoid(h / 10), z, I0)


class Single(nn.Module):
    """Linear(1, 1), 20 steps, decay 0.2, spikes divided by 10."""

    def __init__(self, w: float = 0.5, b: float = 0.5) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.constant_(self.layer.weight, w)
        nn.init.constant_(self.layer.bias, b)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem = spk = total = torch.zeros(1, 1, dtype=x.dtype)
        for _ in range(20):
            mem = mem * 0.2 * (1.0 - spk) + self.layer(x)
            spk = spike(mem - 1.0)
            total = total + spk
        return total / 10, self.layer(x)


class Layer(nn.Module):
    """The LIF layer of the multi-layer example: all spikes, and the membrane after the last
    reset."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem = torch.zeros_like(x[0])
        spikes = []
        for x_t in x:
            mem = mem * 0.5 + x_t
            spk = spike(mem - 1.0)
            mem = (1 - spk) * mem
            spikes.append(spk)
        return torch.stack(spikes), mem
