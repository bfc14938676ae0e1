"""Updates of the weights: accumulation, clipping, sums over processes, learning rate schedules.

A learning rule sees an `Update` in the place of the optimizer and calls ``zero_grad`` and ``step``
once a batch, so that every rule gets all of these. A rule by the gradient of a loss calls
``backward`` instead of ``loss.backward()``.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from .processes import Share, gathered

__all__ = ["SCHEDULES", "Schedule", "Update", "scaler"]

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
        try:
            self.scheduler = given(optimizer)
        except TypeError as error:
            raise TypeError(
                f"schedule must be called with the optimizer alone, got {error}; write schedule="
                "lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)"
            ) from error
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


def scaler(precision: str | None, device: torch.device) -> GradScaler | None:
    """What multiplies the loss in ``precision="fp16"``, whose small gradients would become 0.

    >>> scaler("bf16", torch.device("cpu")) is None
    True
    """
    return GradScaler(device.type) if precision == "fp16" else None


class Update:
    """The optimizer as a learning rule sees it.

    Args:
        optimizer: that changes the weights.
        schedule: of its learning rate.
        clip: largest norm of all gradients together, or None.
        accumulate: batches for one change of the weights; gradients are means over all samples.
        here: this process.
        scaler: keeps gradients of 16 bits in range, or None.

    Attributes:
        copies: the network of this process as torch's DistributedDataParallel, which sums the
            gradients of all processes while they are computed; None: they are summed in `step`.

    >>> weight = torch.ones(1, requires_grad=True)
    >>> update = Update(torch.optim.SGD([weight], lr=1.0), clip=0.5)
    >>> update.begin(1); update.zero_grad(); update.backward((3 * weight).sum()); update.step()
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
        scaler: GradScaler | None = None,
    ) -> None:
        self.optimizer, self.clip, self.accumulate = optimizer, clip, accumulate
        self.schedule = Schedule(optimizer, "constant") if schedule is None else schedule
        self.here = Share() if here is None else here
        self.scaler = scaler
        self.copies: DistributedDataParallel | None = None
        self._count, self._total, self._last = 1, 1, True  # of the batch that is being learned
        self._samples = self._batches = 0  # since the last change of the weights
        self._summed = False  # whether gradients are sums over samples; else means
        self._called = False  # whether this batch has come by `backward`

    @property
    def parameters(self) -> list[Tensor]:
        """What the optimizer changes."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @property
    def pending(self) -> bool:
        """Whether gradients wait for further batches."""
        return self._batches > 0

    @property
    def completes(self) -> bool:
        """Whether the weights change after this batch."""
        return self._last or self._batches + 1 >= self.accumulate

    def begin(self, count: int, total: int | None = None, *, last: bool = True) -> None:
        """A batch begins.

        Args:
            count: samples of it in this process.
            total: samples of it in all processes. Default: ``count``.
            last: whether it is the last one of the epoch, after which no gradient waits.
        """
        self._count, self._last = count, last
        self._called = self._summed = False
        self._total = count if total is None else total

    def whole(self, x: Tensor) -> Tensor:
        """The samples of a batch in all processes, from those of this one."""
        if self.here.size == 1:
            return x
        return torch.cat([part.to(x.device) for part in gathered(x[: self._count].cpu())])

    def zero_grad(self) -> None:
        """Forget the gradients of the batches that have changed the weights."""
        if not self.pending:
            self.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of the loss, a mean over the samples of this process."""
        if not loss.requires_grad:
            raise RuntimeError(
                "the loss must depend on the weights, got one without gradient; leave out "
                "detach(), item(), argmax() and torch.no_grad() in the loss and the network"
            )
        self._called = True
        self._summed = self.accumulate > 1 or self.here.size > 1
        if self._summed:
            loss = loss * self._count
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        loss.backward()

    def step(self) -> None:
        """Change the weights, unless further batches are to come first.

        Raises:
            RuntimeError: a rule has computed gradients where only `backward` can.
        """
        if not self._called and (self.accumulate > 1 or self.copies or self.scaler):
            raise RuntimeError(
                "a rule with whole = True must compute its gradients by job.optimizer.backward("
                "loss), got a step without it; write that instead of loss.backward()"
            )
        completes = self.completes
        self._samples += self._total
        self._batches += 1
        if not completes:
            return
        if self.here.size > 1 and self.copies is None:
            self._exchange()
        if self._summed:
            self._mean()
        self._samples = self._batches = 0
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.schedule.update()

    def _mean(self) -> None:
        """Gradients become the mean over all samples since the last change, in all processes."""
        processes = 1 if self.copies is None else self.here.size  # over which copies take a mean
        for p in self.parameters:
            if p.grad is not None:
                p.grad.mul_(processes / self._samples)

    def _exchange(self) -> None:
        """Add the gradients of all processes, in one message."""
        wanted = [p for p in self.parameters if p.requires_grad]
        dtype = torch.promote_types(wanted[0].dtype, torch.float32)
        factor = 1 if self._summed else self._count
        self._summed = True
        flat = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in wanted]
        known = torch.tensor([float(p.grad is not None) for p in wanted], dtype=dtype)
        message = torch.cat([*(part.to(dtype) * factor for part in flat), known.to(flat[0].device)])
        distributed.all_reduce(message)
        parts = message.split([*(p.numel() for p in wanted), len(wanted)])
        for p, part, anywhere in zip(wanted, parts, parts[-1].tolist(), strict=False):
            # without gradient in all processes, an optimizer is to leave a weight alone
            p.grad = part.reshape(p.shape).to(p.dtype) if anywhere else None
