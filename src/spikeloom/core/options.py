"""The options that neurons share, typed for editors, and the names that a constructor takes.

A neuron of one's own passes them on: ``def __init__(self, beta, **options:
Unpack[NeuronOptions])``. An editor then completes ``init_hidden=`` and reports a misspelled name.
"""

import difflib
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypedDict, get_args

from torch import Tensor

if sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:
    from typing_extensions import Self, Unpack  # which torch requires

__all__ = [
    "AddedOptions",
    "CallOptions",
    "CommonOptions",
    "NeuronOptions",
    "Refusing",
    "SpikeOptions",
    "Unpack",
    "arguments",
]


class CallOptions(TypedDict, total=False):
    """Options of all neurons: how they are called. The meaning is that of `Neuron`'s arguments.

    >>> CallOptions(init_hidden=True)
    {'init_hidden': True}
    """

    init_hidden: bool
    output: bool
    mode: str


class SpikeOptions(CallOptions, total=False):
    """Options of neurons that fire and have one reset of their own.

    >>> SpikeOptions(inhibition=True)
    {'inhibition': True}
    """

    spike_grad: Callable[[Tensor], Tensor] | None
    surrogate_disable: bool
    inhibition: bool
    learn_threshold: bool


class CommonOptions(SpikeOptions, total=False):
    """Options of neurons that choose their reset and take their threshold by position.

    >>> CommonOptions(reset_mechanism="zero")
    {'reset_mechanism': 'zero'}
    """

    reset_mechanism: str
    reset_delay: bool
    state_quant: Any
    graded_spikes_factor: Any
    learn_graded_spikes_factor: bool


class NeuronOptions(CommonOptions, total=False):
    """All arguments of `Neuron`, for neurons that add theirs to them.

    >>> class Counter(snn.Neuron):
    ...     def __init__(self, step: float = 1.0, **options: Unpack[NeuronOptions]) -> None:
    ...         super().__init__(**options)
    >>> Counter(init_hiden=True)
    Traceback (most recent call last):
    TypeError: Counter takes no argument 'init_hiden'; did you mean 'init_hidden'?
    """

    threshold: Any


class AddedOptions(TypedDict, total=False):
    """Options that most neurons of snnTorch lack, behind those that they have.

    >>> AddedOptions(mode="sequence")
    {'mode': 'sequence'}
    """

    graded_spikes_factor: Any
    learn_graded_spikes_factor: bool
    mode: str


@cache
def arguments(kind: type) -> Mapping[str, Any]:
    """Arguments of a neuron's constructor with their defaults, those in ``**options`` included.

    Args:
        kind: a class of neurons.

    Returns:
        Defaults by name; ``inspect.Parameter.empty`` where there is none. Options that are not
        typed count as the arguments of the next constructor among the base classes.

    >>> list(arguments(snn.LI))
    ['beta', 'learn_beta', 'state_quant', 'init_hidden', 'output', 'mode']
    """
    return _arguments(kind.__mro__)


def _arguments(classes: tuple[type, ...]) -> dict[str, Any]:
    """Arguments of the first constructor among ``classes``, a part of a method resolution order."""
    position = next(i for i, base in enumerate(classes) if "__init__" in vars(base))
    found: dict[str, Any] = {}
    for parameter in _parameters(classes[position]):
        if parameter.kind is not parameter.VAR_KEYWORD:
            found[parameter.name] = parameter.default
            continue
        above = _arguments(classes[position + 1 :])
        names = _typed(parameter)
        passed = above if names is None else {name: above.get(name) for name in names}
        found = {**passed, **found} if names is None else {**found, **passed}
    return found


def _parameters(kind: type) -> list[inspect.Parameter]:
    constructor: Any = vars(kind)["__init__"]
    try:
        signature = inspect.signature(constructor, eval_str=True)
    except Exception:  # an annotation may name what is not there at run time
        signature = inspect.signature(constructor)
    return list(signature.parameters.values())[1:]


def _typed(options: inspect.Parameter) -> list[str] | None:
    """The names in ``Unpack[...]``; None if ``**options`` may be anything."""
    typed = get_args(options.annotation)
    return list(getattr(typed[0], "__annotations__", ())) if typed else None


class Refusing:
    """Mixin of `Neuron`: refuses options that its constructor with typed ``**options`` lacks.

    The refusal names the class that was called and the nearest argument. Constructors whose
    ``**options`` are not typed may take anything.

    >>> snn.LI(0.9, mod="sequence")
    Traceback (most recent call last):
    TypeError: LI takes no argument 'mod'; did you mean 'mode'?
    """

    def __new__(cls, *args: Any, **given: Any) -> Self:
        unknown = [name for name in given if name not in arguments(cls)]
        if "tau" in unknown and "beta" in arguments(cls):
            raise TypeError(
                f"{cls.__name__} has a decay for each step and no tau; write beta=exp(-1 / tau) "
                "with tau in steps, such as beta=0.6 for tau=2"
            )
        if unknown and _is_typed(cls):
            near = difflib.get_close_matches(unknown[0], arguments(cls), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(arguments(cls))}"
            raise TypeError(f"{cls.__name__} takes no argument {unknown[0]!r}; {hint}")
        return super().__new__(cls)


def _is_typed(kind: type) -> bool:
    constructor = next(base for base in kind.__mro__ if "__init__" in vars(base))
    open_ends = [p for p in _parameters(constructor) if p.kind is p.VAR_KEYWORD]
    return bool(open_ends) and _typed(open_ends[0]) is not None
