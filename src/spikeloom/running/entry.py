"""``snn.run``: runs a network of one time step over time, as a recorded loop."""

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree as pytree

from ..core import checks, tree
from ..core.alone import alone
from ..core.lengths import checked_lengths, cut
from ..core.numbers import network
from ..core.stateful import Stateful
from ..core.tree import named_neurons
from .errors import located
from .lengths import batch_norms_that_count, forget_padded, refuse_late_steps
from .loop import stacked
from .memory import MEMORIES
from .plan import Plan, Run
from .recorded import cannot_record, outside_graphs
from .work import Work

__all__ = ["run"]

_MOST_STEPS = 2**24


@overload
def run(
    net: nn.Module,
    x: Tensor | PackedSequence,
    num_steps: int | None = None,
    *,
    record: Literal[False] | None = None,
    reset: bool = True,
    batch_norm: str = "step",
    lengths: Any = None,
    memory: str = "exact",
    explain: Literal[False] = False,
) -> Any: ...
@overload
def run(
    net: nn.Module,
    x: Tensor | PackedSequence,
    num_steps: int | None = None,
    *,
    record: bool | Iterable[str] | None = None,
    reset: bool = True,
    batch_norm: str = "step",
    lengths: Any = None,
    memory: str = "exact",
    explain: bool = False,
) -> Run: ...
def run(
    net: nn.Module,
    x: Tensor | PackedSequence,
    num_steps: int | None = None,
    *,
    record: bool | Iterable[str] | None = None,
    reset: bool = True,
    batch_norm: str = "step",
    lengths: Any = None,
    memory: str = "exact",
    explain: bool = False,
) -> Any:
    """Run a network over time.

    ``net(x_t)`` computes one step; its neurons have ``init_hidden=True`` or are called with their
    input only. The result is that of the loop ``for x_t in x: net(x_t)``: the same spikes in
    float64; in float32 up to the rounding of one product over all steps instead of one for each,
    which moves a membrane by about 1e-7 and a spike only where the membrane is that close to the
    threshold. Random numbers are those of the loop, in the same order. The Python of ``net`` runs
    at every step and forward hooks are called once a step. Networks with their own loop over time
    run with `layerwise`.

    Args:
        net: any module. Its neurons keep the last state.
        x: input over time, [T, B, ...]; or, with ``num_steps``, a static input [B, ...] for every
            step. Whole numbers are for networks that begin with an ``nn.Embedding``. A
            ``PackedSequence`` of torch has lengths of its own, and the output is packed, too.
        num_steps: T of a static input.
        record: what to return besides the output: True for everything, or names such as ``"1"``
            (all of that neuron), ``"1.mem"``, ``"1.spk"``, where ``"1"`` is the neuron's path in
            ``net.named_modules()``.
        reset: start from rest (default); False continues from the state of the previous call.
        batch_norm: statistics of batch norm in training: ``"step"`` uses those of each step, as the
            loop does; ``"time"`` uses those of all steps together.
        lengths: steps of each sample where recordings of unequal length are padded to one batch
            (`data.pad_sequences`),
            [B]. Output and records are 0 after the end of a sample, the neurons keep the state of
            its last step, and spikes and gradients are those of the samples run one by one; what
            the padding holds does not matter. States of all steps are saved for this. Hooks and
            monitors receive neurons' spikes and states in the same form.
        memory: what is saved for the backward pass. ``"exact"``: everything that it reads.
            The others run in parts: a few samples at a time over all steps where every layer treats
            samples alone, else segments of time for the whole batch (batch norm in training,
            recurrent neurons, batches of fewer than four samples, ``lengths``); the plan says
            which. ``"compressed"``: membranes are saved in 16 bits and spikes as bits; spikes are
            the same, gradients are off by about 1e-3 (`snn.residual`). ``"checkpoint"``: only what
            a part starts from is saved, and a part is computed again for its gradients, which are
            those of ``"exact"`` up to the order in which the weights' gradients are summed.
        explain: also return the plan: how each layer ran, and which lines needed a value
            (``plan.forced``).

    Returns:
        The network's output, stacked over time, [T, B, ...]; a tuple of those if it returns a
        tuple. With ``record`` or ``explain``: a `Run` of output, records and plan.

    Raises:
        TypeError: ``x`` is not one tensor of real numbers, or a layer received another dtype or a
            tuple.
        ValueError: the axes or features of a layer's input are wrong (the message begins with the
            path of the layer), ``x`` is not finite, a name is unknown, ``net`` has its own loop
            over time, or ``batch_norm="time"`` and a value is needed before the last step; with
            ``lengths``, one is out of range, a neuron reads later steps, or a batch norm in
            training would take its statistics from the padding.
        RuntimeError: another thread is running the same network.

    >>> import torch, spikeloom as snn
    >>> net = nn.Sequential(nn.Linear(3, 4), snn.Leaky(0.9, init_hidden=True))
    >>> snn.run(net, torch.rand(2, 3), num_steps=5).shape
    torch.Size([5, 2, 4])
    >>> result = snn.run(net, torch.rand(5, 2, 3), record=["1.mem"], explain=True)
    >>> result.record["1.mem"].shape
    torch.Size([5, 2, 4])
    >>> print(result.plan)
    layer by layer
      0  Linear  time folded into the batch
      1  Leaky   scan over time (torch)
    """
    if isinstance(x, PackedSequence):
        options = {"reset": reset, "batch_norm": batch_norm, "memory": memory}
        return _packed(net, x, num_steps, lengths, record=record, explain=explain, **options)
    steps = _check(net, x, num_steps, batch_norm, reset, explain)
    _check_memory(memory, batch_norm)
    net = nn.Sequential(net) if isinstance(net, Stateful) else net
    keys = _keys(net, record)
    batch = x.shape[1] if num_steps is None else len(x)
    ends = None if lengths is None else checked_lengths(lengths, steps, batch, x.device)
    if ends is not None:
        refuse_late_steps(net)
        x = cut(x, ends) if num_steps is None else x  # infinite states have no gradient of 0
    if x.is_floating_point():
        checks.finite(x, "x")
    work = Work(net, x, steps, num_steps is not None, keys, batch_norm, memory, ends)
    execute = _run if torch.compiler.is_exporting() else _run_outside_graphs
    output, records, plan = execute(work, reset)
    if ends is not None:
        output, records = _ended(net, output, records, ends)
    return Run(output, records, plan) if record or explain else output


def _packed(
    net: nn.Module,
    x: PackedSequence,
    num_steps: int | None,
    lengths: Any,
    *,
    record: bool | Iterable[str] | None,
    explain: bool,
    **options: Any,
) -> Any:
    """Run packed recordings, and pack the output as they are."""
    if num_steps is not None or lengths is not None:
        raise ValueError(
            "a PackedSequence has steps and lengths of its own, got num_steps or lengths too; "
            "leave them out"
        )
    value, ends = pad_packed_sequence(x)
    found = run(net, value, lengths=ends, record=record, explain=True, **options)

    def packed(output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        return pack_padded_sequence(output, ends, enforce_sorted=x.sorted_indices is None)

    found = found._replace(output=pytree.tree_map(packed, found.output))
    return found if record or explain else found.output


def _run(work: Work, reset: bool) -> tuple[Any, dict[str, Tensor], Plan]:
    net = work.net
    with alone(net.modules()), _stepping(net), _states_of_whole_runs(net), located(work.place):
        if reset:
            tree.reset(net)
        if cannot_record([work.x]):
            _refuse_whole_sequences(net)
            _refuse_common_statistics(net, work.batch_norm)
            output, records = stacked(*work.loop(work.inputs(), work.holder(net.modules())))
            return output, records, Plan(False, "something else traces or transforms this call")
        return work.recorded()


_run_outside_graphs = outside_graphs(_run)


def _refuse_whole_sequences(net: nn.Module) -> None:
    """Refuse neurons without a step, which a plain loop would call with one step as a sequence."""
    for path, neuron in named_neurons(net):
        if "step" not in neuron.modes:
            raise ValueError(
                f"{path}: {type(neuron).__name__} runs whole sequences, and something else traces "
                "or transforms this call, in which only the plain loop over time runs; write a "
                "neuron that has single steps"
            )


def _refuse_common_statistics(net: nn.Module, batch_norm: str) -> None:
    """Refuse statistics of all steps where the steps run one after the other."""
    for path, module in batch_norms_that_count(net) if batch_norm == "time" else ():
        raise ValueError(
            f'{path}: batch_norm="time" takes the statistics of all steps together, but inside '
            f"snn.layerwise, a trace or a transform {type(module).__name__} runs step by step; "
            'write batch_norm="step" or net.eval()'
        )


def _ended(
    net: nn.Module, output: Any, records: dict[str, Tensor], ends: Tensor
) -> tuple[Any, dict[str, Tensor]]:
    """Cut off what follows the ends of the samples, and forget states without a batch axis."""
    forget_padded([net])
    output = pytree.tree_map(lambda v: cut(v, ends) if isinstance(v, Tensor) else v, output)
    return output, {name: cut(value, ends) for name, value in records.items()}


@contextmanager
def _states_of_whole_runs(net: nn.Module) -> Iterator[None]:
    """Restore the states if the run fails; some modules may have advanced further than others."""
    before = [(m, m._hidden) for m in net.modules() if isinstance(m, Stateful)]
    try:
        yield
    except BaseException:
        for module, hidden in before:
            module._hidden = hidden
        raise


@contextmanager
def _stepping(net: nn.Module) -> Iterator[None]:
    """Make neurons take one step for each call inside the block, whatever their mode."""
    others = [m for m in net.modules() if isinstance(m, Stateful) and m.mode != "step"]
    others = [m for m in others if "step" in m.modes]
    before = [m.mode for m in others]
    for module in others:
        module.mode = "step"
    try:
        yield
    finally:
        for module, mode in zip(others, before, strict=True):
            module.mode = mode


def _check(net: Any, x: Any, num_steps: Any, batch_norm: str, reset: Any, explain: Any) -> int:
    network(net)
    checks.flags("run", reset=reset, explain=explain)
    if isinstance(net, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise TypeError(
            f"{type(net).__name__} around the step would synchronise at every step; wrap a module "
            "whose forward calls "
            "snn.run(self.net, x) instead"
        )
    if type(net).__name__ == "OptimizedModule":  # of torch.compile, which takes long to import
        raise TypeError(
            "net must be the network itself, got one of torch.compile; leave it out, whole "
            "sequences run in compiled kernels anyway, or call the compiled network step by step"
        )
    _one_tensor(x)
    checks.choice("batch_norm", batch_norm, ("step", "time"))
    if num_steps is None:
        if x.dim() < 2 or len(x) < 1:
            raise ValueError(
                f"x over time is [T, B, ...] with T > 0, got {tuple(x.shape)}; "
                "a static input [B, ...] needs num_steps=..."
            )
        return len(x)
    if x.dim() < 1:
        raise ValueError("a static input is [B, ...], got a single number; write x.reshape(1, 1)")
    try:
        steps = 0 if isinstance(num_steps, bool) else operator.index(num_steps)
    except TypeError:
        steps = 0
    if not 1 <= steps <= _MOST_STEPS:
        most = f" of at most {_MOST_STEPS}" if steps > 1 else ""
        raise ValueError(
            f"num_steps must be a positive integer{most}, got {num_steps!r}; drop it if x is [T, "
            "B, ...]"
        )
    return steps


def _one_tensor(x: Any) -> None:
    if not isinstance(x, Tensor):
        kind = (
            f"{type(x).__name__} of {len(x)}" if isinstance(x, (tuple, list)) else type(x).__name__
        )
        raise TypeError(
            f"x must be one torch.Tensor, got {kind}; write torch.as_tensor(x), and for "
            "several inputs a module with the loop over time: snn.layerwise(module)(a, b)"
        )
    if x.is_complex() or x.layout is not torch.strided:
        raise TypeError(
            f"x must be a dense tensor of real numbers, got {x.dtype}, {x.layout}; write x.real or "
            "x.to_dense()"
        )


def _check_memory(memory: str, batch_norm: str) -> None:
    checks.choice("memory", memory, MEMORIES)
    if memory != "exact" and batch_norm == "time":
        raise ValueError(
            f'batch_norm="time" takes the statistics of all steps together, memory={memory!r} '
            "never has them all; "
            'write batch_norm="step" or memory="exact"'
        )


def _keys(net: nn.Module, record: bool | Iterable[str] | None) -> set[str]:
    """Return the requested names as ``path.field``."""
    if record is None or record is False:
        return set()
    named = isinstance(record, (list, tuple, set, frozenset, dict)) and all(
        isinstance(n, str) for n in record
    )
    if record is not True and not isinstance(record, str) and not named:
        raise TypeError(
            f"record must be True or names such as '1.mem', got {record!r}; write record=True"
        )
    fields = {
        path: ["spk", *(f for f in n.State._fields if f != "spk")] for path, n in named_neurons(net)
    }
    every = {f"{path}.{field}" for path, names in fields.items() for field in names}
    if record is True:
        return every
    keys: set[str] = set()
    for name in [record] if isinstance(record, str) else record:
        if name not in fields:
            checks.choice("a name in record", name, sorted(every | fields.keys()))
        keys |= {f"{name}.{f}" for f in fields[name]} if name in fields else {name}
    return keys
