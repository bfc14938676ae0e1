"""Updates of the weights: accumulation, clipping, sums over processes, learning rate schedules.

A learning rule sees an `Update` in the place of the optimizer and calls ``zero_grad`` and ``step``
once a batch, so that every rule gets all of these.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from .processes import Share

__all__ = ["SCHEDULES", "Schedule", "Update"]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}


class Schedule:
    """The learning rate over the training.

    Args:
        optimizer: whose rate it is.
        given: a name in `SCHEDULES`, or a function from the optimizer to a scheduler of torch.

    Raises:
        TypeError: the function returns something else.

    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    >>> Schedule(optimizer, "cosine").before(0.5)
    >>> round(optimizer.param_groups[0]["lr"], 3)
    0.25
    """

    def __init__(self, optimizer: Optimizer, given: Any) -> None:
        self.optimizer, self.factor, self.scheduler = optimizer, None, None
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        if isinstance(given, str):
            self.name, self.factor = given, SCHEDULES[given]
            return
        self.scheduler = given(optimizer)
        if not isinstance(self.scheduler, (LRScheduler, ReduceLROnPlateau)):
            raise TypeError(
                "schedule must make a scheduler of torch.optim.lr_scheduler, got "
                f"{type(self.scheduler).__name__}; write schedule=lambda optimizer: "
                "torch.optim.lr_scheduler.StepLR(optimizer, 10)"
            )
        self.name = type(self.scheduler).__name__
        self.each_update = isinstance(self.scheduler, (OneCycleLR, CyclicLR))

    def before(self, done: float) -> None:
        """Set the rate for the next batch; ``done`` is the share of the training that is over."""
        if self.factor is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.factor(done)

    def update(self) -> None:
        """The weights have changed."""
        if self.scheduler is not None and self.each_update:
            self._step()

    def epoch(self, loss: float) -> None:
        """An epoch has ended with this loss, of the validation samples where there are any."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)
        elif self.scheduler is not None and not self.each_update:
            self._step()

    def _step(self) -> None:
        assert self.scheduler is not None
        try:
            self.scheduler.step()  # pyright: ignore[reportCallIssue] (a plateau is served elsewhere)
        except ValueError as error:
            raise ValueError(
                f"schedule: {error}; OneCycleLR needs total_steps=epochs * batches of an epoch"
            ) from error

    def state_dict(self) -> dict[str, Any] | None:
        return None if self.scheduler is None else self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        if self.scheduler is not None and state is not None:
            self.scheduler.load_state_dict(state)


class Update:
    """The optimizer as a learning rule sees it.

    Args:
        optimizer: that changes the weights.
        schedule: of its learning rate.
        clip: largest norm of all gradients together, or None.
        accumulate: batches for one change of the weights; gradients are means over all samples.
        here: this process.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> update = Update(torch.optim.SGD([weight], lr=1.0), clip=0.5)
    >>> update.begin(1, last=True); update.zero_grad(); (3 * weight).sum().backward(); update.step()
    >>> weight
    tensor([0.5000], requires_grad=True)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule | None = None,
        *,
        clip: float | None = None,
        accumulate: int = 1,
        here: Share | None = None,
    ) -> None:
        self.optimizer, self.clip, self.accumulate = optimizer, clip, accumulate
        self.schedule = Schedule(optimizer, "constant") if schedule is None else schedule
        self.here = Share() if here is None else here
        self._sums: dict[Tensor, Tensor] = {}  # of gradients times samples
        self._count, self._last = 1, True  # of the batch that is being learned
        self._samples = self._batches = 0  # since the last change of the weights

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimizer changes."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def pending(self) -> bool:
        """Whether gradients wait for further batches."""
        return self._batches > 0

    def begin(self, count: int, last: bool) -> None:
        """A batch begins.

        Args:
            count: samples of it in this process.
            last: whether it is the last one of the epoch, after which no gradient waits.
        """
        self._count, self._last = count, last

    def zero_grad(self) -> None:
        """Forget the gradients of the batch before."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Change the weights, unless further batches are to come first."""
        if self.accumulate > 1 or self.here.size > 1:
            self._add()
            if self._batches < self.accumulate and not self._last:
                return
            self._mean()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.schedule.update()

    def _add(self) -> None:
        self._samples += self._count
        self._batches += 1
        for p in self.parameters:
            if p.grad is not None:
                part = p.grad * self._count
                self._sums[p] = self._sums[p] + part if p in self._sums else part

    def _mean(self) -> None:
        """Gradients become the mean over all samples since the last change, in all processes."""
        samples = self._samples
        if self.here.size > 1:
            samples = self._summed()
        for p, total in self._sums.items():
            p.grad = total / samples
        self._sums.clear()
        self._samples = self._batches = 0

    def _summed(self) -> float:
        """Add the gradients of all processes in one message, and return their samples."""
        wanted = [p for p in self.parameters if p.requires_grad]
        dtype = torch.promote_types(wanted[0].dtype, torch.float32)
        flat = [
            self._sums[p].reshape(-1) if p in self._sums else torch.zeros_like(p).reshape(-1)
            for p in wanted
        ]
        known = [float(p in self._sums) for p in wanted]  # the others have no gradient anywhere
        extra = torch.tensor([*known, self._samples], dtype=dtype, device=wanted[0].device)
        message = torch.cat([*(part.to(dtype) for part in flat), extra])
        distributed.all_reduce(message)
        sizes = [p.numel() for p in wanted]
        parts = message[: sum(sizes)].split(sizes)
        anywhere = message[sum(sizes) : -1].tolist()
        self._sums = {
            p: part.reshape(p.shape).to(p.dtype)
            for p, part, known in zip(wanted, parts, anywhere, strict=True)
            if known
        }
        return float(message[-1])
