"""snnTorch's protocol for subclasses: overrides of the methods that its ``forward`` calls are used.

snnTorch's users write a neuron by overriding ``_base_state_function``, ``fire`` and their
relatives, which read the state from ``self.mem`` and the reset signal from ``self.reset``. A class
that does so runs step by step, in the order of snnTorch's ``forward``, and lists the names in
``overridden``. Other neurons do not use this module.
"""

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from .surrogate import spikes_of
from .transition import over_threshold, winner

__all__ = ["CALLS", "STEP", "Doors", "overridden_by", "step", "stepwise", "through"]

# methods that replace a part of one step
STEP = (
    "_base_state_function",
    "_base_state_reset_zero",
    "_base_state_reset_sub_function",
    "_base_sub",
    "_base_zero",
    "_base_int",
    "state_function",
    "fire",
    "fire_inhibition",
    "mem_reset",
)
CALLS = ("forward", "step", "scan")  # methods that replace whole calls

_STEP = frozenset(STEP)
_OWN_PACKAGE = __name__.partition(".")[0]
_BEFORE_0_8 = (
    "_base_state_function_hidden",
    "_build_state_function",
    "_build_state_function_hidden",
)

_IN_CONSTRUCTOR = (
    "_snn_register_buffer",
    "_reset_mechanism_buffer",
    "_snn_cases",
    "_reset_cases",
)

# parts of the constructor of one neuron of snnTorch
_IN_ONE_CONSTRUCTOR = {
    "_alpha_cases": "Alpha",
    "_lapicque_cases": "Lapicque",
    "_rleaky_init_cases": "RLeaky",
    "_rsynaptic_init_cases": "RSynaptic",
    "_sconv2dlstm_cases": "SConv2dLSTM",
    "_tau_buffer": "StateLeaky",
}


class Doors:
    """Mixin of `Neuron`: the parts of snnTorch's ``forward`` under its names; see the module.

    >>> import torch, spikeloom as snn
    >>> class Linear(snn.Leaky):
    ...     def _base_state_function(self, input_):
    ...         return self.mem - self.beta + input_
    >>> neuron = Linear(beta=0.5, init_hidden=True, output=True)
    >>> neuron(torch.tensor([[0.75]])), neuron.overridden
    ((tensor([[0.]]), tensor([[0.2500]])), ('_base_state_function',))
    """

    State: Any
    resets: Any
    overridden: ClassVar[tuple[str, ...]] = ()
    integrate: Any
    params: Any
    instances: ClassVar[Any]
    threshold: Any
    graded_spikes_factor: Any
    spike_grad: Any
    state_quant: Any
    _hidden: Any
    _reset_mechanism: str
    _signal: Any = None
    _chosen: Any = None

    def _init_mem(self) -> None:
        """Called at the end of the constructor, for subclasses that register their own states."""

    def _base_state_function(self, input_: Tensor) -> Any:
        """The state after the input, before the reset: a tensor, or a tuple without spikes."""
        return self._integrated(input_)

    def _base_sub(self, input_: Tensor) -> Any:
        return self._reset_by("subtract", input_)

    def _base_zero(self, input_: Tensor) -> Any:
        return self._reset_by("zero", input_)

    def _base_int(self, input_: Tensor) -> Any:
        return self._base_state_function(input_)

    @property
    def state_function(self) -> Callable[[Tensor], Any]:
        """The state after input and reset, as a function of the input; can be assigned."""
        return self._chosen or self._by_mechanism()

    @state_function.setter
    def state_function(self, function: Callable[[Tensor], Any]) -> None:
        if function == self._by_mechanism() and self._chosen is None:
            return  # a constructor copied from snnTorch assigns it
        self._chosen = function
        self.replaced("state_function", function)

    @property
    def reset(self) -> Tensor:
        """Reset signal of the last step: 1 where the membrane before it exceeded the threshold."""
        if self._signal is None:
            raise AttributeError("reset")  # as in snnTorch: there is none before the first step
        return (
            self._signal if isinstance(self._signal, Tensor) else self.mem_reset(self._signal.mem)
        )

    @reset.setter
    def reset(self, signal: Any) -> None:
        self.__dict__["_signal"] = signal

    def replaced(self, name: str, value: Any) -> None:
        """Record that a method was assigned to this instance, which counts like an override.

        Raises:
            TypeError: ``value`` cannot be called, although the neuron's ``forward`` calls it.
        """
        if not callable(value) and "forward" not in self.overridden:
            raise TypeError(
                f"{type(self).__name__}: {name} is a method that every neuron calls, got "
                f"{value!r}; choose another name"
            )
        self.__dict__["overridden"] = tuple(dict.fromkeys((*self.overridden, name)))
        if "transition" in self.__dict__:
            self._configure()

    def _configure(self) -> None:
        raise NotImplementedError

    def _pooled(self, mem: Tensor) -> Tensor:
        """Return the value that ``fire`` compares with the threshold."""
        return mem

    # -- what snnTorch's forward and scripts call -------------------------------------------------

    def fire(self, mem: Tensor) -> Tensor:
        """Spikes of a membrane, [B, ...]: the graded factor where ``mem > threshold``."""
        mem = self.state_quant(mem) if self.state_quant else mem
        return spikes_of(self.spike_grad, mem - self.threshold) * self.graded_spikes_factor

    def fire_inhibition(self, batch_size: int, mem: Tensor) -> Tensor:
        """Spikes [B, ...], where only the neuron furthest above its threshold may fire.

        Args:
            batch_size: snnTorch's argument; the size of axis 0 of ``mem`` is what counts.
            mem: membrane, [B, ...].
        """
        over = mem - self.threshold
        return spikes_of(self.spike_grad, over) * self.graded_spikes_factor * winner(over)

    def mem_reset(self, mem: Tensor) -> Tensor:
        """The reset signal of a membrane: 1 where ``mem > threshold``, without gradient."""
        return spikes_of(self.spike_grad, mem.detach() - self.threshold.detach()).detach()

    @classmethod
    def init(cls) -> None:
        """Forget which neurons are alive; they live on."""
        cls.instances.clear()

    @staticmethod
    def detach(*states: Tensor) -> None:
        """Cut tensors from the graph, in place."""
        for state in states:
            state.detach_()

    @staticmethod
    def zeros(*states: Tensor) -> None:
        """Fill tensors with 0, in place."""
        with torch.no_grad():
            for state in states:
                state.zero_()

    # -- state in snnTorch's form: one tensor, or a tuple, without the spikes that are fed back ----

    def _by_mechanism(self) -> Callable[[Tensor], Any]:
        named = {"subtract": self._base_sub, "zero": self._base_zero, "none": self._base_int}
        name = self._reset_mechanism
        return named[name] if name in named else lambda input_: self._reset_by(name, input_)

    def _integrated(self, input_: Tensor) -> Any:
        return self._unpacked(self.integrate(input_, self._hidden, self.params(input_.dtype)))

    def _reset_by(self, mechanism: str, input_: Tensor) -> Any:
        def integrate(x: Tensor, state: Any, p: Any) -> Any:
            self._hidden = state
            return self._packed(self._base_state_function(x))

        p = self.params(input_.dtype)
        return self._unpacked(
            self.resets[mechanism].advance(integrate, input_, self._hidden, self.reset, p)
        )

    def _unpacked(self, state: Any) -> Any:
        values = tuple(
            value for name, value in zip(state._fields, state, strict=True) if name != "spk"
        )
        return values[0] if len(values) == 1 else values

    def _packed(self, values: Any) -> Any:
        names = [name for name in self.State._fields if name != "spk"]
        values = values if isinstance(values, tuple) else (values,)
        if len(values) != len(names):
            raise ValueError(
                f"{type(self).__name__}: its state is ({', '.join(names)}), the overridden method "
                "returned "
                f"{len(values)} value(s); return them in this order"
            )
        return self._hidden._replace(**dict(zip(names, values, strict=True)))

    # -- the two forms of "zero" that snnTorch's neurons have besides that of the reset strategy ---

    def _zero_by_second_pass(self, input_: Tensor) -> Any:
        """Subtract a second ``_base_state_function``, which may draw other random numbers."""
        first, second = self._base_state_function(input_), self._base_state_function(input_)
        if isinstance(first, Tensor):
            return first - self.reset * second
        return tuple(a - b * self.reset for a, b in zip(first, second, strict=True))

    def _zero_of_membrane(self, input_: Tensor) -> Any:
        """Subtract ``_base_state_reset_zero``: the neuron's equation unless it is overridden."""
        syn, mem = self._base_state_function(input_)
        syn_reset, mem_reset = self._base_state_reset_zero(input_)
        return syn - syn_reset * self.reset, mem - mem_reset * self.reset

    def _base_state_reset_zero(self, input_: Tensor) -> Any:
        """Return what the reset to zero subtracts from the synaptic current and the membrane."""
        return 0, self._integrated(input_)[-1]


def through(names: Iterable[str]) -> bool:
    """Whether a neuron that overrides ``names`` runs in the order of snnTorch's ``forward``.

    >>> through(("fire",)), through(("forward",))
    (True, False)
    """
    return not _STEP.isdisjoint(names)


@cache
def stepwise(cls: Any, names: tuple[str, ...]) -> Any:
    """Return unfused equations of ``cls``, for a neuron with methods replaced on the instance."""
    copied = ("State", "integrate", "trigger", "retract", "settle")
    body = {name: inspect.getattr_static(cls, name) for name in copied}
    body |= {"overridden": names, "elementwise": False, "__module__": cls.__module__}
    return type(
        cls.__name__, (), {**body, "__qualname__": f"{cls.__qualname__}[{', '.join(names)}]"}
    )


def step(neuron: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    """One step in the order of snnTorch's ``forward``, through the methods of ``neuron``.

    Args:
        neuron: whose class overrides some of `STEP`.
        x: input, [B, ...].
        state: where to start, in the dtype of ``x``.

    Returns:
        Spikes [B, ...], and the new state. The state of ``neuron`` is unchanged, except for
        ``neuron.reset``.
    """
    before = neuron._hidden
    neuron._hidden = state
    try:
        neuron.reset = signal = neuron.mem_reset(neuron.mem)
        new = neuron._packed(neuron.state_function(x))
        if neuron.state_quant:
            quantised = {
                name: neuron.state_quant(getattr(new, name))
                for name in new._fields
                if name != "spk"
            }
            new = new._replace(**quantised)
        neuron._hidden = new
        mem = neuron._pooled(new.mem)
        spk = neuron.fire_inhibition(len(mem), mem) if neuron.inhibition else neuron.fire(mem)
        reset = neuron.resets[neuron._reset_mechanism]
        p = neuron.params(x.dtype)
        if reset.acts and not neuron.reset_delay:
            new = reset.clear(neuron._hidden, spk / neuron.graded_spikes_factor - signal, p)
            neuron._hidden = new
        return spk, neuron.settle(neuron._hidden, spk, p)
    finally:
        neuron._hidden = before


def overridden_by(cls: Any) -> tuple[str, ...]:
    """Names of `STEP` and of whole calls that a class or its ancestors outside this package define.

    Raises:
        TypeError: one of them has no effect, or another one, in snnTorch 1.0 or on this neuron.
    """
    bases = [
        base
        for base in cls.__mro__
        if base.__module__.partition(".")[0] != "torch" and base is not object
    ]
    ours = {base.__name__ for base in bases if base.__module__.startswith(f"{_OWN_PACKAGE}.")}
    in_constructor = [name for name, kind in _IN_ONE_CONSTRUCTOR.items() if kind in ours]
    not_called = (*_BEFORE_0_8, *_IN_CONSTRUCTOR, *in_constructor)
    overridable = (*STEP, *CALLS, *not_called)
    written = [
        n
        for n in overridable
        if any(n in vars(base) and not _is_ours(vars(base)[n]) for base in bases)
    ]
    names = tuple(n for n in written if n not in not_called)
    _refuse(cls, names, written)
    return names


def _refuse(cls: Any, names: Iterable[str], written: Iterable[str]) -> None:
    kind = cls.__name__
    for name in (*_IN_CONSTRUCTOR, *_IN_ONE_CONSTRUCTOR):
        if name in written:
            raise TypeError(
                f"{kind}: the constructor does not call {name}; register tensors in __init__ after "
                "super().__init__(), or define _threshold_buffer(self, threshold, learn_threshold) "
                "or _beta_buffer(self, beta, learn_beta)"
            )
    if "state_function" in names and cls.State._fields:
        raise TypeError(
            f"{kind}: snnTorch's constructor replaces a method state_function, so that it never "
            "runs; "
            "define _base_state_function(self, input_), or assign self.state_function in __init__"
        )
    if "forward" in names:  # it decides itself what it calls
        return
    for name in _BEFORE_0_8:
        if name in written:
            raise TypeError(
                f"{kind}: snnTorch has not called {name} since version 0.8, with and without "
                "init_hidden; "
                "define _base_state_function(self, input_), which reads the state from self.mem"
            )
    replaced = [name for name in names if name in STEP]
    for name in replaced:
        _check_arguments(cls, name)
    own = [n for n in ("trigger", "retract") if not _is_plain(cls, n)]
    if replaced and own and cls._pooled is Doors._pooled:
        raise TypeError(
            f"{kind} overrides {replaced[0]}, but spikes of {cls.__mro__[1].__name__} do not come "
            "from "
            f"mem - threshold alone; override {', '.join(own)} or integrate, see "
            "docs/your_own_neuron.md"
        )


def _is_ours(member: Any) -> bool:
    """Whether this package, and not a user's class, defines a function or property."""
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    scope = getattr(function, "__globals__", {})
    name = scope.get("__name__", "")
    return name.partition(".")[0] == _OWN_PACKAGE and scope is getattr(
        sys.modules.get(name), "__dict__", None
    )


def _is_plain(cls: Any, name: str) -> bool:
    return getattr(cls, name) is (over_threshold if name == "trigger" else None)


def _check_arguments(cls: Any, name: str) -> None:
    wanted = 2 if name == "fire_inhibition" else 1
    method = inspect.getattr_static(cls, name)
    if not inspect.isfunction(method):
        return
    try:
        inspect.signature(method).bind(None, *[None] * wanted)
    except TypeError as error:
        if wanted == 2:
            given = "batch_size, mem"
        else:
            given = "mem" if name in ("fire", "mem_reset") else "input_"
        raise TypeError(
            f"{cls.__name__}: {name}{inspect.signature(method)} cannot be called as "
            f"{name}({given}), which is what "
            "snnTorch has done since version 0.8; read the state from self.mem, self.syn and "
            "self.spk"
        ) from error
