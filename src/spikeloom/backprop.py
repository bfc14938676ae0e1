"""Training loops of one epoch under snnTorch's names: backpropagation through time, also truncated.

All three run a network over the chunks of each batch with `spikeloom.run`; its neurons need
``init_hidden=True``, the last one ``output=True``. They are conveniences around `spikeloom.run`. A
learning rule whose memory does not grow with time is in `spikeloom.learning`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .core import tree
from .core.autocast import fresh_casts
from .core.checks import flags
from .core.neuron import Neuron
from .core.numbers import device_of, network, tensor
from .functional.loss import LossFunctions, ce_max_membrane_loss, mse_membrane_loss
from .running import run

__all__ = ["BPTT", "RTRL", "TBPTT"]

_READS_MEMBRANES = (mse_membrane_loss, ce_max_membrane_loss)


@fresh_casts()
def TBPTT(
    net: nn.Module,
    dataloader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: LossFunctions,
    num_steps: int | bool = False,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Callable[[Tensor], Tensor] | bool = False,
    device: Any = "cpu",
    K: int | bool = 1,
) -> Tensor:
    """Trains for one epoch with a weight update after every ``K`` steps and truncated gradients.

    The state of the neurons is reset at the start of a batch and carried, without its graph, from
    chunk to chunk.

    Args:
        net: its neurons have ``init_hidden=True`` and are in step mode. It returns ``(spk, ...,
            mem)``, as a last neuron with ``output=True`` does; spikes alone suffice for a loss of
            spikes.
        dataloader: yields ``(data, targets)``; data is [T, B, ...], or a static [B, ...] with
            ``time_var=False``.
        optimizer: steps once for each chunk.
        criterion: a loss of `spikeloom.functional` or a `LossFunctions` of your own; the two
            membrane losses receive the membranes of a chunk, all others its spikes, [K, B, N].
        num_steps: T of static data; only with ``time_var=False``.
        time_var: whether data varies over time.
        time_first: False for data [B, T, ...] (and targets [B, T], if the loss has
            ``time_var_targets``).
        regularization: a function of the spikes of a chunk, whose value is added to the loss.
        device: device to which the network and the batches are moved.
        K: steps per update, from 1 to T; False for all.

    Returns:
        Mean loss, of shape (1,) or () like the loss, detached (not so in snnTorch). A chunk of K
        steps has the weight K / T in the mean of its batch; a shorter last chunk of r steps has the
        weight 1 / r, as in snnTorch.

    Raises:
        TypeError: the criterion has another type (a torch criterion has no time axis), or the
            network does not return the values that it needs.
        ValueError: ``num_steps``, ``time_var``, ``time_first`` and ``K`` contradict each other or
            the data.

    Unlike in snnTorch, data and targets may vary over time, and the network may have several kinds
    of neurons.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True, output=True))
    >>> batches = [(torch.rand(6, 4, 3), torch.tensor([0, 1, 1, 0]))]
    >>> sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> TBPTT(net, batches, sgd, snn.functional.ce_rate_loss(), K=2).shape
    torch.Size([1])
    """
    _check(criterion, num_steps, time_var, time_first, K)
    _check_parts(net, dataloader, optimizer, regularization)
    device = device_of("device", device)
    tree.reset(net)
    net.to(device).train()
    total = torch.zeros(())
    batches = 0
    for batch in dataloader:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise TypeError(
                f"dataloader must yield pairs (data, targets), got {type(batch).__name__}; write "
                "DataLoader(TensorDataset(data, targets))"
            )
        data = tensor("data", batch[0]).to(device)
        targets = tensor("targets", batch[1]).to(device)
        batches += 1
        tree.reset(net)
        for chunk in _chunks(data, targets, criterion, num_steps, time_first, K):
            loss = _loss(net, chunk, criterion, regularization)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tree.detach(net)
            total = total.to(device) + loss.detach() * chunk.share
    if not batches:
        raise ValueError(
            "dataloader must yield at least one batch (data, targets), got none; check its length"
        )
    return total / batches


def BPTT(
    net: nn.Module,
    dataloader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: LossFunctions,
    num_steps: int | bool = False,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Callable[[Tensor], Tensor] | bool = False,
    device: Any = "cpu",
) -> Tensor:
    """Trains for one epoch with one weight update per batch: `TBPTT` with one chunk of all steps.

    Arguments, results and errors are those of `TBPTT`.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True, output=True))
    >>> batches = [(torch.rand(4, 3), torch.tensor([0, 1, 1, 0]))]
    >>> sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> BPTT(
    ...     net, batches, sgd, snn.functional.mse_count_loss(), num_steps=6, time_var=False
    ... ).requires_grad
    False
    """
    return TBPTT(
        net,
        dataloader,
        optimizer,
        criterion,
        num_steps=num_steps,
        time_var=time_var,
        time_first=time_first,
        regularization=regularization,
        device=device,
        K=False,
    )


def RTRL(
    net: nn.Module,
    dataloader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: LossFunctions,
    num_steps: int | bool = False,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Callable[[Tensor], Tensor] | bool = False,
    device: Any = "cpu",
) -> Tensor:
    """Trains for one epoch with a weight update after every step: `TBPTT` with ``K=1``.

    Despite snnTorch's name it is *not* real-time recurrent learning: no gradient reaches an earlier
    step. The rule that carries gradients forward in time is `spikeloom.learning.online`. Arguments,
    results and errors are those of `TBPTT`.

    >>> import spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True, output=True))
    >>> batches = [(torch.rand(6, 4, 3), torch.tensor([0, 1, 1, 0]))]
    >>> sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> RTRL(net, batches, sgd, snn.functional.ce_count_loss()).shape
    torch.Size([])
    """
    return TBPTT(
        net,
        dataloader,
        optimizer,
        criterion,
        num_steps=num_steps,
        time_var=time_var,
        time_first=time_first,
        regularization=regularization,
        device=device,
        K=1,
    )


class _Chunk(NamedTuple):
    """Some consecutive steps of a batch."""

    x: Tensor  # [k, B, ...], or static, [B, ...]
    num_steps: int | None  # k of a static x
    targets: Tensor
    share: float  # weight of the chunk's loss in the mean of the batch


def _chunks(
    data: Tensor,
    targets: Tensor,
    criterion: LossFunctions,
    num_steps: int | bool,
    time_first: bool,
    K: int | bool,
) -> Iterator[_Chunk]:
    """The chunks of one batch in order, each of ``K`` steps except the last."""
    moving = bool(getattr(criterion, "time_var_targets", False))
    if not time_first:
        data = data.transpose(0, 1)
        if moving and targets.dim() > 1:
            targets = targets.transpose(0, 1)
    steps = int(num_steps or 0) or len(data)
    length = int(K) or steps
    if length > steps:
        raise ValueError(
            f"K must not exceed the number of steps, got K={K} for {steps} steps; write K={steps}"
        )
    if moving and len(targets) != steps:
        raise ValueError(
            f"time_var_targets=True needs targets [T, B] for T={steps} steps, got "
            f"{tuple(targets.shape)}; write targets.transpose(0, 1), or a loss without "
            "time_var_targets"
        )
    for start in range(0, steps, length):
        size = min(length, steps - start)
        part = slice(start, start + size)
        share = size / steps if size == length else 1 / size
        yield _Chunk(
            data if num_steps else data[part],
            size if num_steps else None,
            targets[part] if moving else targets,
            share,
        )


def _loss(
    net: nn.Module,
    chunk: _Chunk,
    criterion: LossFunctions,
    regularization: Callable[[Tensor], Tensor] | bool,
) -> Tensor:
    """Runs the network on one chunk and returns its loss."""
    output = _run(net, chunk)
    spk = output[0] if isinstance(output, tuple) else output
    read = _membrane(net, output) if isinstance(criterion, _READS_MEMBRANES) else spk
    loss = criterion(read, chunk.targets)
    if callable(regularization):
        penalty = regularization(spk)
        if not isinstance(penalty, (Tensor, int, float)):
            raise TypeError(
                f"regularization must return a number, got {type(penalty).__name__}; return a "
                "tensor of shape ()"
            )
        loss = loss + penalty
    if loss.numel() != 1:
        raise ValueError(
            f"criterion must return one number, got shape {tuple(loss.shape)}; build it with "
            "reduction='mean'"
        )
    return loss


def _run(net: nn.Module, chunk: _Chunk) -> Any:
    """The output of the network, stacked over the steps of the chunk."""
    steps = len(chunk.x) if chunk.num_steps is None else chunk.num_steps
    if steps > 1:
        return run(net, chunk.x, chunk.num_steps, reset=False)
    # Planning a run of a single step would cost several times that step.
    output = net(chunk.x[0] if chunk.num_steps is None else chunk.x)
    return pytree.tree_map(
        lambda value: value.unsqueeze(0) if isinstance(value, Tensor) else value, output
    )


def _membrane(net: nn.Module, output: Any) -> Tensor:
    """The membranes in the output: the field ``mem`` of the last neuron, or else the last value."""
    last = [module for module in net.modules() if isinstance(module, Neuron)][-1:]
    values = output if isinstance(output, tuple) else ()
    fields = [name for name in (last[0].state_type()._fields if last else ()) if name != "spk"]
    index = 1 + fields.index("mem") if len(values) == 1 + len(fields) else -1
    if not values or not isinstance(values[index], Tensor) or len(values) < 2:
        raise TypeError(
            "a membrane loss needs a network that returns (spk, ..., mem), got "
            f"{type(output).__name__}; build its last neuron with output=True"
        )
    return values[index]


def _check_parts(net: Any, dataloader: Any, optimizer: Any, regularization: Any) -> None:
    network(net)
    if not any(p.requires_grad for p in net.parameters()):
        raise ValueError(
            "net must have parameters that learn, got none with requires_grad; write e.g. "
            "nn.Linear(...) in front of the neurons"
        )
    if not isinstance(dataloader, Iterable) or isinstance(
        dataloader, (str, bytes, Tensor, np.ndarray)
    ):
        raise TypeError(
            f"dataloader must yield (data, targets), got {type(dataloader).__name__}; write "
            "DataLoader(TensorDataset(data, targets))"
        )
    takes_steps = callable(getattr(optimizer, "zero_grad", None)) and callable(
        getattr(optimizer, "step", None)
    )
    if not takes_steps or isinstance(optimizer, nn.Module):
        raise TypeError(
            f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}; write "
            "torch.optim.Adam(net.parameters())"
        )
    if regularization is not False and regularization is not None and not callable(regularization):
        raise TypeError(
            f"regularization must be a function of the spikes, or False, got {regularization!r}; "
            "write e.g. functional.l1_rate_sparsity()"
        )


def _check(criterion: Any, num_steps: Any, time_var: bool, time_first: bool, K: Any) -> None:
    flags("an epoch", time_var=time_var, time_first=time_first)
    if type(num_steps) not in (bool, int, type(None)):
        raise TypeError(
            f"num_steps must be a whole number or False, got {num_steps!r}; write num_steps=25"
        )
    if not isinstance(criterion, LossFunctions):
        raise TypeError(
            "criterion must be a loss over time from spikeloom.functional, got "
            f"{type(criterion).__name__}; write e.g. functional.ce_rate_loss(), or subclass "
            "functional.LossFunctions"
        )
    if num_steps and time_var:
        raise ValueError(
            f"num_steps is the length of static data, got num_steps={num_steps} with "
            "time_var=True; leave it out (T is the length of the data), or write time_var=False"
        )
    if not time_var and (type(num_steps) is not int or num_steps < 1):
        raise ValueError(
            f"static data (time_var=False) needs num_steps, a whole number > 0, got {num_steps!r}"
        )
    if not time_var and not time_first:
        raise ValueError(
            "time_first=False is for data with a time axis, got time_var=False; leave time_first "
            "out"
        )
    if K is not False and (K is True or not isinstance(K, int) or K < 1):
        raise ValueError(
            f"K must be a whole number of steps > 0, or False for all of them, got {K!r}"
        )
    if num_steps and num_steps < K:
        raise ValueError(
            f"K must not exceed num_steps={num_steps}, got K={K}; write K={num_steps} or smaller"
        )
