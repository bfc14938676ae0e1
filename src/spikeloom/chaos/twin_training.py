"""The largest Lyapunov exponent of a training, by twin networks on the same data.

The state consists of weights and optimiser. The gradient jumps when a spike appears or vanishes, so
that the exponent depends on the size of the difference: report it for several. Large learning rates
alone are chaotic, so that only the difference from the control shows the effect of the chaotic
loss.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .attach import Chaos
from .exponents import Exponent, Exponents, estimate, sizes, whole
from .lyapunov import floor_of

__all__ = ["Run", "lyapunov_of_training"]


@dataclass(frozen=True)
class Run:
    """A reproducible training; ``make`` of `lyapunov_of_training` returns it.

    Attributes:
        net: the network.
        optimizer: optimiser of its parameters.
        update: ``update(n)`` performs update n: forward, backward, ``optimizer.step()`` (and
            ``chaos.step()``). Its batch depends only on n, and data are float64.
        chaos: the result of `attach`, or a `ChaoticLoss`; without it there is no control.

    >>> net = nn.Linear(1, 1)
    >>> Run(net, torch.optim.SGD(net.parameters(), lr=0.1), lambda n: None).chaos is None
    True
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    update: Callable[[int], Any]
    chaos: Any = None


def lyapunov_of_training(
    make: Callable[[], Run],
    *,
    steps: int = 300,
    burn_in: int = 100,
    eps: float | Sequence[float] = (1e-8, 1e-6, 1e-4, 1e-2),
    control: bool = True,
    seed: int = 0,
) -> Exponents:
    """Largest Lyapunov exponent of the weights during a training, in float64.

    Args:
        make: returns a new `Run`, the same at each call (seed it inside). It is called ``2 (1 +
            len(eps))`` times with a control. Its network is made float64 (``net.double()``).
        steps: updates over which the exponent is averaged.
        burn_in: updates before them.
        eps: Euclidean length of the difference of all trained weights, or several.
        control: whether to measure also with intensity 0 of the chaotic loss, on the same batches
            and random numbers.
        seed: seed of the random numbers (dropout, encoding), common to all twins, and of the
            directions.

    Returns:
        `Exponents`: per update, for each eps; ``control`` likewise.

    Raises:
        ValueError: a number is out of range, or two runs differ in their parameters.

    >>> def make():
    ...     net = nn.Linear(1, 1, bias=False).requires_grad_()
    ...     nn.init.constant_(net.weight, 0.5)
    ...     sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    ...     def update(n):
    ...         sgd.zero_grad()
    ...         net(torch.ones(1, 1, dtype=torch.double)).square().sum().backward()
    ...         sgd.step()
    ...     return Run(net, sgd, update)
    >>> found = lyapunov_of_training(make, steps=20, burn_in=0, eps=1e-6)
    >>> round(found.value, 6), round(float(torch.tensor(0.8).log()), 6)  # w shrinks by 1 - 2 lr
    (-0.223144, -0.223144)
    """
    whole("steps", steps)
    whole("burn_in", burn_in, 0)
    scales = sizes(eps)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        runs = [_double(make()) for _ in range(1 + len(scales))]
        measured = _measured(runs, scales, steps, burn_in, seed)
        if not control or runs[0].chaos is None:
            return Exponents(measured)
        muted = [_muted(_double(make())) for _ in range(1 + len(scales))]
        return Exponents(measured, _measured(muted, scales, steps, burn_in, seed))


def _measured(
    runs: list[Run], scales: tuple[float, ...], steps: int, burn_in: int, seed: int
) -> tuple[Exponent, ...]:
    run, *twins = runs
    rates = torch.empty(steps, len(scales), dtype=torch.double)
    directions = torch.Generator().manual_seed(seed)
    for n in range(burn_in):
        _update(run, n, seed)
    for twin, scale in zip(twins, scales, strict=True):
        _copy(run, twin)
        _apart(run, twin, scale, directions)
    for n in range(burn_in, burn_in + steps):
        for each in runs:
            _update(each, n, seed)
        for i, (twin, scale) in enumerate(zip(twins, scales, strict=True)):
            rates[n - burn_in, i] = _rescale(run, twin, scale, directions)
    return tuple(estimate(rates[:, i], scale) for i, scale in enumerate(scales))


def _double(run: Run) -> Run:
    run.net.double()
    return run


def _muted(run: Run) -> Run:
    for loss in run.chaos.losses.values() if isinstance(run.chaos, Chaos) else [run.chaos]:
        loss.begin = 0.0
    return run


def _update(run: Run, n: int, seed: int) -> None:
    # torch.manual_seed formats a stack trace at every call while CUDA is installed but not in use
    torch.default_generator.manual_seed(seed + n)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed + n)
    run.update(n)


def _weights(run: Run) -> list[nn.Parameter]:
    return [p for p in run.net.parameters() if p.requires_grad]


def _moving(run: Run) -> list[Tensor]:
    """All floating-point tensors of the state: parameters, buffers, and those of the optimiser."""
    state = [v for p in _weights(run) for v in run.optimizer.state.get(p, {}).values()]
    tensors = [
        *_weights(run),
        *run.net.buffers(),
        *(v for v in state if isinstance(v, Tensor) and v.dim() > 0),
    ]
    return [t for t in tensors if t.is_floating_point()]


def _copy(run: Run, twin: Run) -> None:
    """Copies the state of the run to the twin."""
    if [p.shape for p in _weights(run)] != [p.shape for p in _weights(twin)]:
        raise ValueError(
            "make must return the same network each time, got other parameters; seed it inside"
        )
    twin.net.load_state_dict(run.net.state_dict())
    # load_state_dict does not copy the buffers.
    twin.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    if run.chaos is not None:
        twin.chaos.load_state_dict(run.chaos.state_dict())


@torch.no_grad()
def _apart(run: Run, twin: Run, scale: float, generator: torch.Generator) -> None:
    """Moves the twin's weights by ``scale`` in a random direction."""
    steps = [
        torch.randn(p.shape, generator=generator, dtype=torch.double).to(p) for p in _weights(run)
    ]
    squares = sum((s.square().sum() for s in steps), start=torch.zeros((), dtype=torch.double))
    length = float(torch.sqrt(squares))
    for p, q, s in zip(_weights(run), _weights(twin), steps, strict=True):
        q.copy_(p + s * (scale / length))


@torch.no_grad()
def _rescale(run: Run, twin: Run, scale: float, generator: torch.Generator) -> float:
    """Returns the rate of the last update, and rescales the difference to ``scale``."""
    pairs = list(zip(_weights(run), _weights(twin), strict=True))
    length = float(torch.stack([(q - p).square().sum() for p, q in pairs]).sum().sqrt())
    floor = max(floor_of(p) for p, _ in pairs)
    rate = float(torch.tensor(max(length, floor) / scale, dtype=torch.double).log())
    if length < floor:
        _copy(run, twin)
        _apart(run, twin, scale, generator)
        return rate
    for a, b in zip(_moving(run), _moving(twin), strict=True):
        b.copy_(a + (b - a) * (scale / length))
    return rate
