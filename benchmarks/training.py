"""One training step in every library: zero_grad, forward, loss, backward, Adam; its CPU time and
its peak memory."""

from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import jax_peer
import torch
from common import alive, elsewhere, peak, ratio, rounds
from peers import NETWORKS, Stages
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

STEPWISE = ("snntorch", "norse")  # their tutorials compute the loss of each step

__all__ = [
    "Batch",
    "Contender",
    "Stages",
    "best",
    "careful",
    "compared",
    "loss_of",
    "memory",
    "products",
    "step_of",
]

Step = Callable[[Tensor, "int | None", Tensor], float]

PRODUCTS = (  # torch's kernels of matrix products and convolutions, in both directions
    "aten::addmm",
    "aten::addmm_",
    "aten::mm",
    "aten::bmm",
    "aten::mkldnn_convolution",
    "aten::convolution_backward",
    "aten::_embedding_bag_forward_only",  # of events: the rows of the weight are added
    "aten::thnn_conv2d",
)


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
    hoisted: bool = False  # the first stage is computed in one call before the loop
    compiled: bool = False  # the loop's step, or the whole network, under torch.compile


def step_of(contender: Contender) -> Step:
    """The step of a contender; it returns the loss before it."""
    if contender.library == "jax":
        return jax_peer.step_of(contender.network())
    options: dict[str, Any] = {"memory": contender.memory} if contender.memory else {}
    if contender.hoisted or contender.compiled:
        options |= {"hoisted": contender.hoisted, "compiled": contender.compiled}
    module, run = NETWORKS[contender.library](contender.network(), **options)
    if contender.channels_last:
        module = module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

    def step(x: Tensor, num_steps: int | None, y: Tensor) -> float:
        optimizer.zero_grad()
        output = run(_channels_last(x) if contender.channels_last else x, num_steps)
        by_step = contender.library in STEPWISE and not contender.hoisted
        loss = loss_of(output[contender.loss == "membrane"], y, by_step)
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


def loss_of(values: Tensor, y: Tensor, by_step: bool = False) -> Tensor:
    """Sum over time of the cross entropy; in one call, or with one for each step."""
    if by_step:
        return torch.stack([cross_entropy(value, y) for value in values.unbind(0)]).sum()
    return cross_entropy(values.flatten(0, 1), y.repeat(len(values))) * len(values)


def memory(contender: Contender, batch: Batch) -> tuple[float, float | None]:
    """What one step adds at its peak in MiB, resident and alive; to be called in a fresh process.

    Alive is None for JAX, whose memory torch's profiler does not see.
    """
    step = step_of(contender)
    x = batch.x.clone()  # out of the memory that processes share, which runs check for writes
    run = lambda: step(x, batch.num_steps, batch.y)  # noqa: E731
    return peak(run), None if contender.library == "jax" else alive(run)


def products(contender: Contender, batch: Batch, repeats: int) -> dict[str, float]:
    """How much of a step is spent in products, by torch's profiler: no library is below that.

    Returns:
        Milliseconds of a step and of its products, and the percentage that is no product.
    """
    step = step_of(contender)
    step(batch.x, batch.num_steps, batch.y)
    rows = []
    for _ in range(repeats):
        with profile(activities=[ProfilerActivity.CPU]) as found:
            step(batch.x, batch.num_steps, batch.y)
        times = {event.key: event.self_cpu_time_total for event in found.key_averages()}
        spent = sum(times.get(name, 0.0) for name in PRODUCTS)
        rows.append((sum(times.values()) / 1e3, spent / 1e3))
    total, spent = (median(column) for column in zip(*rows, strict=True))
    return {
        "profiled [ms]": total,
        "products [ms]": spent,
        "not products [%]": 100 * (1 - spent / total),
    }


def careful(library: str, network: Callable[[], Stages], **options: Any) -> dict[str, Contender]:
    """A peer as its tutorials write it, and as a careful user does.

    The careful user computes the first stage once, before the loop, and the loss in one call; and
    compiles what remains with `torch.compile`.
    """
    return {
        f"{library}, as in its tutorials": Contender(library, network, **options),
        f"{library}, first layer once": Contender(library, network, hoisted=True, **options),
        f"{library}, first layer once, compiled": Contender(
            library, network, hoisted=True, compiled=True, **options
        ),
    }


def compared(
    contenders: dict[str, Contender], batch: Batch, repeats: int, *, smoke: bool = False
) -> list[dict[str, Any]]:
    """A row for each contender: milliseconds, peak memory, and both divided by those of the first.

    Peaks are of fresh processes; in a smoke run they are of this one, which is faster and less
    exact. They are not measured of a compiled contender, which would be compiled again.
    """
    steps = {name: step_of(contender) for name, contender in contenders.items()}
    losses: dict[str, float] = {
        name: step(batch.x, batch.num_steps, batch.y) for name, step in steps.items()
    }
    runs = {
        name: lambda step=step: step(batch.x, batch.num_steps, batch.y)
        for name, step in steps.items()
    }
    times = rounds(runs, repeats)
    first = next(iter(contenders))
    rows: list[dict[str, Any]] = []
    for name, contender in contenders.items():
        row: dict[str, Any] = {"network": name, "first loss": losses[name]}
        row["ms"] = median(times[name]) * 1e3
        row |= ratio(times[name], times[first])
        if not contender.compiled:
            peaks = memory(contender, batch) if smoke else elsewhere(memory, contender, batch)
            row["peak [MiB]"], row["alive [MiB]"] = peaks
            base = rows[0] if rows else row
            for kind in ("peak", "alive"):
                found = row[f"{kind} [MiB]"]
                row[f"{kind} / ours"] = None if found is None else found / base[f"{kind} [MiB]"]
        rows.append(row)
    return rows


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The fastest row of each peer: what a comparison quotes."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows[1:]:
        peer = row["network"].partition(",")[0]
        if peer not in found or row["ms"] < found[peer]["ms"]:
            found[peer] = row
    return list(found.values())
