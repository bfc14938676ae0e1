"""One training step in every library: zero_grad, forward, loss, backward, Adam; its CPU time and
its peak memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax_peer
import torch
from common import alive, elsewhere, interleaved, peak
from peers import NETWORKS, Stages
from torch import Tensor
from torch.nn.functional import cross_entropy

__all__ = ["Batch", "Contender", "Stages", "compared", "loss_of", "memory", "step_of"]

Step = Callable[[Tensor, "int | None", Tensor], float]


class Batch(NamedTuple):
    """Input, labels, and T where the input is static."""

    x: Tensor
    y: Tensor
    num_steps: int | None = None


class Contender(NamedTuple):
    """A library and how its network is used."""

    library: str
    network: Callable[[], Stages]  # of a module, so that a fresh process finds it by name
    loss: str = "membrane"  # cross entropy of the membranes, or "rate": of the spikes
    channels_last: bool = False
    memory: str | None = None  # of snn.run, where it is ours


def step_of(contender: Contender) -> Step:
    """The step of a contender; it returns the loss before it."""
    if contender.library == "jax":
        return jax_peer.step_of(contender.network())
    options = {"memory": contender.memory} if contender.memory else {}
    module, run = NETWORKS[contender.library](contender.network(), **options)
    if contender.channels_last:
        module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

    def step(x: Tensor, num_steps: int | None, y: Tensor) -> float:
        optimizer.zero_grad()
        output = run(_channels_last(x) if contender.channels_last else x, num_steps)
        loss = loss_of(contender.library, output[contender.loss == "membrane"], y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _channels_last(x: Tensor) -> Tensor:
    """Images in the order height, width, channel, also in their strides where there is one channel
    only."""
    last = (*range(x.dim() - 3), -2, -1, -3)
    back = (*range(x.dim() - 3), -1, -3, -2)
    return x.permute(last).clone(memory_format=torch.contiguous_format).permute(back)


def loss_of(library: str, values: Tensor, y: Tensor) -> Tensor:
    """Sum over time of the cross entropy; with a loop where the library's tutorials have one."""
    if library in ("snntorch", "norse"):
        return torch.stack([cross_entropy(value, y) for value in values.unbind(0)]).sum()
    return cross_entropy(values.flatten(0, 1), y.repeat(len(values))) * len(values)


def memory(contender: Contender, batch: Batch) -> tuple[float, float | None]:
    """What one step adds at its peak in MiB, resident and alive; to be called in a fresh process.

    Alive is None for JAX, whose memory torch's profiler does not see.
    """
    step = step_of(contender)
    run = lambda: step(batch.x, batch.num_steps, batch.y)  # noqa: E731
    return peak(run), None if contender.library == "jax" else alive(run)


def compared(
    contenders: dict[str, Contender],
    batch: Batch,
    repeats: int,
    base: str = "snntorch",
    *,
    smoke: bool = False,
) -> list[Any]:
    """A row for each contender: milliseconds, peak memory, and how many times faster and smaller
    than ``base``.

    Peaks are of fresh processes; in a smoke run they are of this one, which is faster and less
    exact.
    """
    steps = {name: step_of(contender) for name, contender in contenders.items()}
    losses: dict[str, float] = {
        name: step(batch.x, batch.num_steps, batch.y) for name, step in steps.items()
    }
    runs = {
        name: lambda step=step: step(batch.x, batch.num_steps, batch.y)
        for name, step in steps.items()
    }
    times = interleaved(runs, repeats)
    peaks = {
        name: memory(contender, batch) if smoke else elsewhere(memory, contender, batch)
        for name, contender in contenders.items()
    }
    rows = []
    for name in contenders:
        row: dict[str, Any] = {"network": name, "first loss": losses[name], "ms": times[name] * 1e3}
        row["peak [MiB]"], row["alive [MiB]"] = peaks[name]
        if base in contenders:
            row[f"times as fast as {base}"] = times[base] / times[name]
            row[f"memory of {base}"], row["alive of it"] = (
                None if a is None else a / b for a, b in zip(peaks[name], peaks[base], strict=True)
            )
        rows.append(row)
    return rows
