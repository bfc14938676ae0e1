"""``doctor.check``: why a network does not learn."""

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core import checks, tree
from ..core.neuron import TimeAxisWarning
from ..core.numbers import network, whole
from ..core.tree import named_neurons
from ..functional.loss import ce_max_membrane_loss, ce_rate_loss, mse_membrane_loss
from ..running.errors import AxesError, explained
from .observe import Observation, forward, observe, observed, restored
from .report import Report, rows_of
from .rules import findings, rises

__all__ = ["check", "examine", "pair", "style_of", "trial"]

TRIAL = 5  # steps of the short training that judges a learning rate ...
PATIENCE = 20  # ... and where the loss rises: Adam and batch norm often overshoot at first
FEWEST = 8  # samples of a part of the batch

Loss = Callable[[Tensor, Tensor], Tensor]


def check(
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    loss: Loss | None = None,
    *,
    num_steps: int | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float | None = None,
) -> Report:
    """Find out why a network does not learn.

    Runs the network forward and backward on one batch, and says what is wrong in the order of what
    to mend first. The network may compute one step, as `spikeloom.run` takes it, or have a loop
    over time of its own. Parameters, gradients, buffers, modes and random generators are left as
    they were; states are reset.

    Args:
        net: the network.
        batch: input and labels. The input is that of the network or of `spikeloom.run`: [T, B,
            ...], or with ``num_steps`` a static input [B, ...]. Labels are [B].
        loss: of outputs [T, B, N] and labels, one number; of a network that returns a tuple, the
            outputs are its first part. A loss of membranes receives those of the last neuron.
            Default: ``ce_rate_loss()``.
        num_steps: T of a static input.
        optimizer: the one that will train the network. With it, its parameters, its weight decay
            and its learning rate are checked, the latter by a few steps on a copy.
        lr: learning rate, where there is no optimizer yet; Adam is assumed.

    Returns:
        A `Report`: printed, a table; ``report.findings`` are empty where nothing was found.

    Raises:
        TypeError, ValueError: the batch is no pair of tensors, or the network cannot run on it.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(
    ...     nn.Linear(4, 20), snn.Leaky(0.9, threshold=50.0, init_hidden=True),
    ...     nn.Linear(20, 3), snn.Leaky(0.9, init_hidden=True),
    ... )
    >>> report = check(net, (torch.rand(16, 4), torch.arange(16) % 3), num_steps=10)
    >>> report.findings[0].fault, report.findings[0].path
    ('dead layer', '1')
    """
    seen = examine(net, batch, loss, num_steps, optimizer, lr)
    return Report(findings(seen), rows_of(seen), seen.steps, seen.loss)


def examine(
    net: nn.Module,
    batch: tuple[Tensor, Tensor],
    loss: Loss | None = None,
    num_steps: int | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float | None = None,
    *,
    cheap: bool = False,
    style: str | None = None,
    membranes: bool | None = None,
) -> Observation:
    """What `check` knows before it judges.

    Args:
        net, batch, loss, num_steps, optimizer, lr: as for `check`.
        cheap: one forward and one backward pass only.
        style: ``"step"`` or ``"loop"``, where it is known and ``cheap``.
        membranes: whether the loss reads the membranes of the last neuron. Default: by its class.
    """
    x, y = pair(net, batch)
    loss = ce_rate_loss() if loss is None else loss
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss must be a function of outputs and labels, got {loss!r}")
    if num_steps is not None:
        num_steps = whole("num_steps", num_steps, 1, 2**24)
    if optimizer is None and lr is not None:
        optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=lr)
    if membranes is None:
        membranes = isinstance(loss, (mse_membrane_loss, ce_max_membrane_loss))
    seen = Observation(net, x, y, style or "step", membranes, optimizer=optimizer)
    if not _finite(seen):
        return seen
    with restored(net), warnings.catch_warnings():
        warnings.simplefilter("ignore", TimeAxisWarning)  # `axes` and `labels` look for that
        if not cheap:
            seen.style, seen.random, seen.carried = _probe(net, x, num_steps)
        observe(seen, num_steps, loss, _fits)
        _updates(seen, num_steps, loss, 1 if cheap else TRIAL)
    return seen


def pair(net: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Input and labels of a batch.

    Raises:
        TypeError: it is no pair of tensors, or ``net`` is no network.
        ValueError: the network has no spiking neuron.
    """
    network(net)
    if not any(True for _ in named_neurons(net)):
        raise ValueError("net must have at least one spiking neuron, got none; add snn.Leaky(0.9)")
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        if hasattr(batch, "batch_sampler"):
            write = "next(iter(loader))"
        elif hasattr(batch, "x_train"):
            write = "(data.x_train[:64], data.y_train[:64])"
        else:
            write = "(x, y)"
        raise TypeError(f"batch must be a pair (x, y), got {type(batch).__name__}; write {write}")
    checks.floating(batch[0], "x")
    if not isinstance(batch[1], Tensor):
        raise TypeError(f"labels must be a tensor, got {type(batch[1]).__name__}")
    checks.has_samples(batch[1], "y")
    return batch[0], batch[1]


def _finite(seen: Observation) -> bool:
    """Whether a run makes sense: no layer accepts NaN."""
    tensors = [seen.x, *seen.net.parameters()]
    return all(bool(torch.isfinite(t.detach()).all()) for t in tensors if t.is_floating_point())


def _fits(seen: Observation) -> bool:
    """Whether the loss can be computed from outputs and labels."""
    output, y = seen.output, seen.y
    if y.dim() != 1 or output.dim() < 2:
        return True
    inside = y.is_floating_point() or (int(y.min()) >= 0 and int(y.max()) < output.shape[-1])
    return len(y) == output.shape[-2] and inside


# -- how the network runs --------------------------------------------------------------------------


def style_of(net: nn.Module, x: Tensor, num_steps: int | None) -> str:
    """``"loop"`` if the network has a loop over time of its own, else ``"step"``."""
    with restored(net), warnings.catch_warnings():
        warnings.simplefilter("ignore", TimeAxisWarning)
        return _probe(net, x, num_steps)[0]


@torch.no_grad()
def _probe(net: nn.Module, x: Tensor, num_steps: int | None) -> tuple[str, list[str], bool]:
    """How the network runs, the modules that are random in evaluation mode, and whether a second
    call starts where the first ended."""
    net.eval()
    tree.reset(net)
    random = [path for path, m in net.named_modules() if m.training and _is_dropout(m)]
    with observed(net) as (activities, _):
        random += _call(net, x, num_steps)
    random = list(dict.fromkeys(random))
    first = list(activities.values())
    stepped = [a for a in first if "step" in a.neuron.modes] or first
    if num_steps is not None or not any(a.steps > 1 for a in stepped):
        return "step", random, False
    with observed(net) as (activities, _):
        _call(net, x, num_steps)
    pairs = zip(first, activities.values(), strict=True)
    return "loop", random, not random and not all(a.did_as(b) for a, b in pairs)


def _call(net: nn.Module, x: Tensor, num_steps: int | None) -> list[str]:
    """Call the network, with the same random numbers each time; the paths that drop values."""
    with tree.generators_kept(net), _places(net) as places, _Drops(places) as drops:
        try:
            net(x)
        except (ValueError, TypeError, RuntimeError, IndexError):
            tree.reset(net)
            _call_step(net, x, num_steps)
    return drops.found


def _call_step(net: nn.Module, x: Tensor, num_steps: int | None) -> None:
    """Call the network with one step of a sequence that it does not take as a whole."""
    if num_steps is None and x.dim() > 1:
        try:
            with explained(net):
                net(x[0])
            return
        except AxesError:  # a step is no input either, so the error of the sequence counts
            pass
    with explained(net):
        net(x)


def _is_dropout(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0


@contextmanager
def _places(net: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules that are running, innermost last."""
    places: list[str] = []
    handles = []

    def enter(path: str) -> Callable[..., None]:
        return lambda *call: places.append(path)

    def leave(*call: Any) -> None:
        places.pop()

    for path, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(enter(path)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield places
    finally:
        for handle in handles:
            handle.remove()


class _Drops(TorchFunctionMode):
    """Collects where a function drops values in training mode."""

    def __init__(self, places: list[str]) -> None:
        super().__init__()
        self.places = places
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if "dropout" in name and _drops(func, args, kwargs):
            path = self.places[-1] if self.places else ""
            self.found.append(path or "the network")
        return func(*args, **kwargs)


def _drops(function: Any, args: Any, kwargs: Any) -> bool:
    """Whether a call of a dropout function drops anything."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        p, training = bound.arguments["p"], bound.arguments["training"]
    except (ValueError, TypeError, KeyError):  # a builtin: (input, p, training)
        p, training = (*args[1:3], kwargs.get("p", 0.5), kwargs.get("train", True))[:2]
    return bool(training) and float(p) > 0


# -- the learning rate -----------------------------------------------------------------------------


def _updates(seen: Observation, num_steps: int | None, loss: Loss, steps: int) -> None:
    """Measure the first update, and train a copy for a few steps."""
    if seen.optimizer is None or not seen.attached or not seen.raw:
        return
    if not all(bool(torch.isfinite(g).all()) for g in seen.raw.values()):
        return
    tree.reset(seen.net)
    groups = seen.optimizer.param_groups
    mine = {id(p) for group in groups for p in group["params"]}
    if mine & {id(p) for p in seen.net.parameters()}:
        twin = trial(seen, num_steps, loss, steps)
        if steps > 1 and rises(twin.losses):
            twin = trial(seen, num_steps, loss, PATIENCE)
        seen.updates, seen.losses = twin.updates, twin.losses


def trial(
    seen: Observation,
    num_steps: int | None,
    loss: Loss | None,
    steps: int,
    lr: float | None = None,
    parts: int = 1,
) -> Observation:
    """Train a copy of the network and its optimizer on the batch.

    Args:
        seen: the network, its gradients and its optimizer.
        num_steps, loss: as for `check`.
        steps: of the training; the first one has the gradients of ``seen``.
        lr: another learning rate than that of the optimizer.
        parts: of the batch, one for each step in turn; the first and the last step have all of it.

    Returns:
        An observation of the copy, with sizes of the first update and losses only.
    """
    loss = ce_rate_loss() if loss is None else loss
    net, optimizer = copy.deepcopy((seen.net, seen.optimizer))
    twin = Observation(net, seen.x, seen.y, seen.style, seen.membranes)
    twin.losses = [seen.loss or 0.0]
    for group in optimizer.param_groups if lr is not None else ():
        group["lr"] = lr
    parameters = dict(net.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for name, p in parameters.items():
        p.grad = seen.raw[name].clone() if name in seen.raw else None
    optimizer.step()
    for name in seen.raw:
        change = float((parameters[name].detach() - before[name]).norm())
        twin.updates[name] = change / max(float(before[name].norm()), _usual(before[name]))
    batches = _parts(seen, num_steps, parts)
    for step in range(1, steps):
        twin.x, twin.y = (seen.x, seen.y) if step == steps - 1 else batches[step % len(batches)]
        value = _trial_loss(twin, num_steps, loss)
        twin.losses.append(float("inf") if value is None else float(value.detach()))
        if value is None or not math.isfinite(twin.losses[-1]) or step == steps - 1:
            break
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return twin


def _parts(seen: Observation, num_steps: int | None, parts: int) -> list[tuple[Tensor, Tensor]]:
    """The batch in parts of equal size, with at least `FEWEST` samples each."""
    x, y, samples = seen.x, seen.y, seen.samples
    over_time = seen.style == "step" and num_steps is None and x.dim() > 1
    axis = 1 if over_time else seen.sample_axis
    if x.dim() <= axis or x.shape[axis] != samples:  # time and batch are exchanged
        return [(x, y)]
    parts = max(1, min(parts, samples // FEWEST))
    targets = y.chunk(parts, 0 if len(y) == samples else 1)
    return list(zip(x.chunk(parts, axis), targets, strict=True))


def _usual(weight: Tensor) -> float:
    """Norm of weights as torch initialises them, uniform within 1 / sqrt(inputs).

    Weights that begin smaller than that may grow by many times their size.
    """
    inputs = weight[0].numel() if weight.dim() > 1 else weight.numel()
    return (weight.numel() / (3 * inputs)) ** 0.5


def _trial_loss(twin: Observation, num_steps: int | None, loss: Loss) -> Tensor | None:
    """The loss of a copy; None where training has made it impossible to run."""
    net = twin.net
    if not _finite(twin):
        return None
    try:
        net.train()
        tree.reset(net)
        if not twin.membranes:
            return loss(forward(net, twin.x, num_steps, twin.style), twin.y).sum()
        with observed(net) as (activities, _):
            forward(net, twin.x, num_steps, twin.style)
        last = max(activities.values(), key=lambda a: a.order)
        return loss(torch.cat(last.membranes), twin.y).sum()
    except ValueError:  # a threshold below 0, or weights that overflow
        return None
