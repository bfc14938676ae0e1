"""The feedback of the chaotic loss through each layer, by power iteration on its curvature."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import dispatch
from ..core.surrogate import Disabled
from ..core.tree import named_neurons, reset
from ..running import run
from .csbp import CSBP, Layers, Signal, Z
from .loss_function import Chunk, divisor
from .regime import descent, flip
from .signals import record, selected

__all__ = ["Gain", "critical_intensity", "gains"]

Batch = Any  # input for `spikeloom.run`, or a function that runs a network


class Gain(NamedTuple):
    """The feedback of one layer.

    Attributes:
        unit: the strength A of an intensity of 1.
        lr: learning rate of this measurement.

    >>> 3.5 / Gain(unit=0.25, lr=0.1).unit  # the intensity that gives A = 3.5
    14.0
    """

    unit: float
    lr: float


def critical_intensity(
    net: nn.Module,
    batch: Tensor | Callable[[nn.Module], Any],
    optimizer: torch.optim.Optimizer,
    *,
    num_steps: int | None = None,
    layers: Layers = "all",
    signal: Signal = "pre",
    I0: float = 0.65,
    scale: float = 1.0,
    reduction: Any = "mean",
) -> dict[str, float]:
    r"""The intensity z of each layer above which it oscillates around its rest point.

    .. math::
        z_c = A_{flip}\, s^2 N / (I_0 (1 - I_0)\, \lambda_{max}(J \eta J^T)) \qquad
        A_{flip} = 2 (1 + m)

    with momentum m, J the derivative of the signal with respect to the weights that feed the layer,
    and N the divisor of the reduction. Spikes of earlier layers are constant.

    Args:
        net: the network; neither its parameters nor its state change.
        batch: input over time [T, B, ...]; with ``num_steps`` a static input [B, ...]; or a
            function that runs a network.
        optimizer: ``torch.optim.SGD`` with the parameters of ``net``, whose momentum is used.
        num_steps: T of a static input.
        layers, signal, I0, scale, reduction: as for `CSBP`.

    Returns:
        Intensity by path of the layer.

    Raises:
        TypeError: the optimiser is not SGD.
        ValueError: no weight with a learning rate feeds a layer.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(1, 1), snn.Leaky(0.2, init_hidden=True))
    >>> sgd = torch.optim.SGD(net.parameters(), lr=1.0)
    >>> z = critical_intensity(net, torch.ones(1, 1), sgd, num_steps=20)
    >>> round(z["1"], 3)  # 1 / (I0 (1 - I0)): two weights, input 1
    4.396
    """
    settings = CSBP(Z(1.0), layers=layers, signal=signal, I0=I0, scale=scale, reduction=reduction)
    found = gains(net, batch, settings, optimizer, num_steps)
    return {path: flip(descent(optimizer)) / gain.unit for path, gain in found.items()}


def gains(
    net: nn.Module,
    batch: Batch,
    settings: CSBP,
    optimizer: torch.optim.Optimizer,
    num_steps: int | None,
) -> dict[str, Gain]:
    """The feedback of each selected layer; the arguments are those of `critical_intensity`."""
    descent(optimizer)
    if not isinstance(batch, Tensor) and not callable(batch):
        raise TypeError(
            f"batch must be a tensor or a function of the network, got {type(batch).__name__}; "
            "write x"
        )
    rates = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
    names = {name: rates.get(id(p), 0.0) for name, p in net.named_parameters()}
    paths = list(selected(net, settings.layers))
    if settings.signal != "rate":
        return _measured(net, batch, settings, names, num_steps, paths)
    return {p: _measured(net, batch, settings, names, num_steps, [p], alive=p)[p] for p in paths}


def _measured(
    net: nn.Module,
    batch: Batch,
    settings: CSBP,
    rates: dict[str, float],
    num_steps: int | None,
    paths: list[str],
    alive: str | None = None,
) -> dict[str, Gain]:
    # The copy protects batch norm statistics, states and gradients of the original.
    twin = copy.deepcopy(net).train()
    reset(twin)
    for path, neuron in named_neurons(twin):
        if path != alive:
            neuron.spike_grad = Disabled()  # spikes of earlier layers are constant
    recorders, _ = record(twin, settings)
    devices = [d for d in {p.device for p in net.parameters()} if d.type == "cuda"]
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), dispatch.backend("eager"):
        run(twin, batch, num_steps) if isinstance(batch, Tensor) else batch(twin)
        learned = [
            (p, rates[name])
            for name, p in twin.named_parameters()
            if p.requires_grad and rates[name] > 0
        ]
        found = {}
        for path in paths:
            chunks = recorders[path].take()
            if not chunks:
                raise ValueError(
                    f"batch must run the network, but {path!r} was not called; write lambda net: "
                    "net(x)"
                )
            largest, lr = _largest(chunks, learned)
            if not largest > 0:
                raise ValueError(
                    f"a layer needs weights that learn and an input, got none for {path!r}; leave "
                    "it out of layers, or give its weights to the optimizer"
                )
            slope = settings.I0 * (1 - settings.I0) / settings.scale**2
            found[path] = Gain(slope * largest / divisor(chunks, settings.reduction), lr)
    return found


def _largest(chunks: list[Chunk], learned: list[tuple[nn.Parameter, float]]) -> tuple[float, float]:
    """Largest eigenvalue of ``J diag(lr) J^T`` with repeated steps, and the learning rate."""
    h = [c.h for c in chunks if c.h.requires_grad]
    params = [p for p, _ in learned]
    if not h or not params:
        return 0.0, 0.0
    weights = [c.repeat**0.5 for c in chunks if c.h.requires_grad]
    dummies = [torch.zeros_like(v).requires_grad_() for v in h]
    pulled = torch.autograd.grad(h, params, dummies, create_graph=True, allow_unused=True)
    used = [(p, lr, g) for (p, lr), g in zip(learned, pulled, strict=True) if g is not None]
    if not used:
        return 0.0, 0.0
    params = [p for p, _, _ in used]
    rates = [lr for _, lr, _ in used]
    pulled = [g for _, _, g in used]
    generator = torch.Generator().manual_seed(0)
    u = [torch.randn(v.shape, generator=generator).to(v) for v in h]
    value = 0.0
    for _ in range(300):
        size = sum(float((v * v).sum()) for v in u) ** 0.5
        if size == 0.0:
            return 0.0, 0.0
        u = [v / size for v in u]
        g = torch.autograd.grad(
            h, params, [w * v for w, v in zip(weights, u, strict=True)], retain_graph=True
        )
        pushed = torch.autograd.grad(
            pulled,
            dummies,
            [lr * v for lr, v in zip(rates, g, strict=True)],
            retain_graph=True,
            materialize_grads=True,
        )
        new = [w * v for w, v in zip(weights, pushed, strict=True)]
        before = value
        value = sum(float((a * b).sum()) for a, b in zip(u, new, strict=True))
        u = new
        if abs(value - before) <= 1e-6 * abs(value):
            break
    return value, max(rates)
