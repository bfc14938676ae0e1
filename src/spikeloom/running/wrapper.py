"""``snn.layerwise``: runs a user's loop over time layer by layer."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, overload

from torch import Tensor, nn

from ..core.alone import alone
from ..core.lengths import checked_lengths
from .execution import Execution
from .lengths import refuse_late_steps
from .plan import Plan
from .recorded import (
    cannot_record,
    leaves_of,
    names_of,
    outside_graphs,
    plan_of,
    recorded,
)
from .recorder import Recorder

__all__ = ["LayerwiseFunction", "LayerwiseModule", "layerwise"]


@overload
def layerwise(target: nn.Module) -> "LayerwiseModule": ...
@overload
def layerwise(target: Callable[..., Any]) -> "LayerwiseFunction": ...
def layerwise(target: Any) -> Any:
    """Run the loops over time inside a module or a function layer by layer.

    The Python of ``target`` runs normally at every step while its operations are recorded; then
    each layer runs once over all steps. Operations that cannot be recorded are computed
    immediately. Results are those of the plain loop up to rounding, since sums may be added in
    another order; random numbers are the same. Side effects, in-place writes, branches on values,
    hooks and early exits work. The attribute ``plan`` shows how the last call ran; ``plan.forced``
    lists the lines that needed a value and thereby split a layer into pieces. One network
    runs in one thread at a time; a second thread that enters it gets a RuntimeError.

    Args:
        target: a module, or a function whose arguments or globals hold one, such as
            ``forward_pass(net, data)`` or a whole training step. A function may be decorated.

    Returns:
        A module with the same parameters, buffers and ``state_dict`` keys, or a function.

    Raises:
        TypeError: ``target`` is neither; or a call has the argument ``batch_norm`` of `run`.

    >>> import torch, spikeloom as snn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc, self.lif = nn.Linear(3, 4), snn.Leaky(beta=0.9)
    ...     def forward(self, x):
    ...         mem, record = self.lif.init_leaky(), []
    ...         for step in range(5):
    ...             spk, mem = self.lif(self.fc(x), mem)
    ...             record.append(spk)
    ...         return torch.stack(record)
    >>> net = snn.layerwise(Net())
    >>> net(torch.ones(2, 3)).shape
    torch.Size([5, 2, 4])
    >>> print(net.plan)
    layer by layer
      fc   Linear  once: its input is constant in time
      lif  Leaky   scan over time (torch), the same input at every step
    """
    if isinstance(target, (LayerwiseModule, LayerwiseFunction)):
        return target
    if isinstance(target, nn.Module):
        return LayerwiseModule(target)
    if callable(target):
        return LayerwiseFunction(target)
    raise TypeError(
        f"layerwise takes a module or a function, got {type(target).__name__}; write "
        "snn.layerwise(net), or @snn.layerwise above a function"
    )


class LayerwiseFunction:
    """A function whose loops over time run layer by layer, see `layerwise`.

    >>> @layerwise
    ... def double(x):
    ...     return x + x
    >>> import torch
    >>> double(torch.ones(1))
    tensor([2.])
    """

    def __init__(
        self, function: Callable[..., Any], home: "LayerwiseFunction | None" = None
    ) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        self._home = self if home is None else home  # each access creates a new bound method
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan | None:
        """How the last call ran; None before the first call."""
        return self._home._plan

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves = leaves_of(args, kwargs)
        lengths = _taken(self.__wrapped__, kwargs)
        if cannot_record(leaves):
            _refuse(lengths)
            return self.__wrapped__(*args, **kwargs)
        names: dict[int, tuple[str, str]] = {}
        nets = [m for m in (*leaves, *_held(self.__wrapped__)) if isinstance(m, nn.Module)]
        for net in nets:
            names |= names_of(net)
        ends = _ends(lengths, leaves, nets)
        del leaves
        with alone(m for net in nets for m in net.modules()):
            result, self._home._plan = _call_outside_graphs(
                self.__wrapped__, args, kwargs, names, ends
            )
        return result

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        """Bind a method of a class as Python binds a function."""
        if owner is None:
            return self
        return LayerwiseFunction(self.__wrapped__.__get__(owner, kind), self._home)

    def __reduce__(self) -> str:
        return self.__wrapped__.__qualname__  # pickled by name, like every function


class LayerwiseModule(nn.Module):
    """A module whose loops over time run layer by layer, see `layerwise`.

    It shares parameters, buffers and submodules with the wrapped module and forwards all other
    attributes to it.

    >>> net = LayerwiseModule(nn.Linear(2, 3))
    >>> list(net.state_dict())
    ['weight', 'bias']
    """

    plan: Plan | None = None  # of the last call

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        own = self.__dict__
        own["_wrapped"] = net
        own["training"] = net.training
        own["_parameters"] = net._parameters
        own["_buffers"] = net._buffers
        own["_non_persistent_buffers_set"] = net._non_persistent_buffers_set
        own["_modules"] = net._modules

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        net = self.__dict__["_wrapped"]
        leaves = leaves_of(args, kwargs)
        lengths = _taken(net.forward, kwargs)
        if cannot_record(leaves):
            _refuse(lengths)
            return net(*args, **kwargs)
        ends = _ends(lengths, leaves, [net])
        del leaves
        with alone(net.modules()):
            result, plan = _call_outside_graphs(net, args, kwargs, names_of(net), ends)
        self.__dict__["plan"] = plan
        return result

    def train(self, mode: bool = True) -> "LayerwiseModule":
        self.__dict__["_wrapped"].train(mode)
        self.__dict__["training"] = mode
        return self

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """Yield the modules of the wrapped network, the network itself first."""
        return self.__dict__["_wrapped"].named_modules(*args, **kwargs)

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        self.__dict__["_wrapped"]._apply(fn, *args, **kwargs)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["_wrapped"].state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["_wrapped"].load_state_dict(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        net = self.__dict__.get("_wrapped")
        if net is None:  # during unpickling
            raise AttributeError(name)
        return getattr(net, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_wrapped"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__dict__["_wrapped"], name)

    def extra_repr(self) -> str:
        return type(self.__dict__["_wrapped"]).__name__


def _held(function: Any) -> list[Any]:
    """What a function may use besides its arguments: its object, closure and named globals."""
    function = inspect.unwrap(function)
    held = [getattr(function, "__self__", None)]
    code = getattr(function, "__code__", None)
    if code is not None:
        held += [function.__globals__.get(name) for name in code.co_names]
        cells = function.__closure__ or ()
        held += [cell.cell_contents for cell in cells if _is_filled(cell)]
    return held


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that is assigned later
        return False


def _taken(function: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Remove and return the argument ``lengths``, unless the function has one of its own."""
    wanted = {"lengths", "batch_norm"} & kwargs.keys()
    if not wanted:
        return None
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function of C
        known = {}
    wanted -= known.keys()
    any_name = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    if "batch_norm" in wanted and not any_name:
        raise TypeError(
            "a network with its own loop over time takes the statistics of batch norm from each "
            f"step, got batch_norm={kwargs['batch_norm']!r}; write snn.run(net, x, "
            'batch_norm="time") with a network of one time step'
        )
    return kwargs.pop("lengths") if "lengths" in wanted else None


def _refuse(lengths: Any) -> None:
    """Refuse lengths where the plain loop runs."""
    if lengths is not None:
        raise ValueError(
            "lengths need a call that snn.layerwise records, got one that something else records, "
            "traces or transforms; write the call outside of it, without torch.compile, torch.func "
            "or another snn.layerwise around it"
        )


def _ends(lengths: Any, leaves: list[Any], nets: list[nn.Module]) -> Tensor | None:
    """Return checked lengths on the device of the first tensor."""
    if lengths is None:
        return None
    for net in nets:
        refuse_late_steps(net)
    device = next((leaf.device for leaf in leaves if isinstance(leaf, Tensor)), None)
    return checked_lengths(lengths, None, None, device)


def _call(
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    names: Any,
    ends: Tensor | None,
) -> tuple[Any, Plan]:
    execution = Execution(ends=ends)
    recorder = Recorder(execution, names)
    result = recorded(function, args, kwargs, recorder)
    plan = plan_of(recorder, execution)
    recorder.release()
    return result, plan


_call_outside_graphs = outside_graphs(_call)
