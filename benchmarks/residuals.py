"""Error of the gradients when a layer keeps 16 bits for its backward pass, for every neuron and
surrogate.

    python benchmarks/residuals.py [--smoke]

Gradients with ``snn.residual("half")`` against those with ``"state"`` on the same noisy input, T
steps of float32: the norm of their difference by the norm of the exact one, of the input and of the
learned decay. Spikes and states are compared as well; they are the same. The last column is the
input's gradient of a network of three layers, through which errors travel: the second and third
layer see them from above.
"""

from typing import Any

import torch
from common import options, report
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import surrogate

SURROGATES = (
    "atan",
    "fast_sigmoid",
    "sigmoid",
    "triangular",
    "straight_through_estimator",
    "spike_rate_escape",
)
NEURONS = {
    "Leaky": lambda grad: snn.Leaky(0.9, spike_grad=grad, learn_beta=True, init_hidden=True),
    "Synaptic": lambda grad: snn.Synaptic(
        0.8, 0.9, spike_grad=grad, learn_beta=True, init_hidden=True
    ),
    "Lapicque": lambda grad: snn.Lapicque(0.9, spike_grad=grad, learn_beta=True, init_hidden=True),
}


def gradients(net: nn.Module, x: Tensor, residual: str) -> tuple[Tensor, list[Tensor]]:
    """Spikes, and the gradients of input and parameters of a loss that weighs every spike
    differently."""
    x = x.clone().requires_grad_()
    net.zero_grad()
    with snn.residual(residual):
        spk: Any = snn.run(net, x)
    weights = torch.linspace(-1, 1, spk.numel()).view_as(spk)
    (spk * weights).sum().backward()
    return spk.detach(), [x.grad, *(p.grad for p in net.parameters())]  # pyright: ignore[reportReturnType]


def error(net: nn.Module, x: Tensor, which: slice) -> float:
    """Relative distance of the gradients, in parts in a thousand."""
    spk, exact = gradients(net, x, "state")
    other, rounded = gradients(net, x, "half")
    assert torch.equal(spk, other), "a residual must not change a spike"
    a, b = (torch.cat([g.flatten() for g in found[which]]) for found in (exact, rounded))
    return 1e3 * ((a - b).norm() / a.norm()).item()


def main() -> None:
    args = options(__doc__, repeats=1, smoke="few steps")
    num_steps = 10 if args.smoke else 100
    torch.manual_seed(0)
    x = torch.randn(num_steps, 8, 64) * 0.5 + 0.2
    rows = []
    for name, neuron in NEURONS.items():
        for kind in SURROGATES:
            make = lambda kind=kind: getattr(surrogate, kind)()  # noqa: E731
            layer = neuron(make())
            deep = nn.Sequential(
                *(m for _ in range(3) for m in (nn.Linear(64, 64), neuron(make())))
            )
            for module in deep.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, 0.05, 0.2)
            row = {"neuron": name, "surrogate": kind, "input": error(layer, x, slice(0, 1))}
            rows.append(
                row
                | {
                    "decay": error(layer, x, slice(1, None)),
                    "three layers": error(deep, x, slice(0, 1)),
                }
            )
    report(f'Error of gradients with residual "half", T = {num_steps}, in thousandths', rows)


if __name__ == "__main__":
    main()
