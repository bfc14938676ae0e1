"""The neuron: pure ``step`` and ``scan`` derived from one transition.

A subclass declares ``State`` (a NamedTuple of tensors with a field ``mem``), ``integrate`` and its
parameters. A static ``integrate`` is pure elementwise arithmetic and may be fused over time; one
with ``self`` owns modules and runs step by step. What remembers (``forward``, ``mem``,
``reset_mem`` ...) is in `spikeloom.core.face`.
"""

import inspect
from collections import namedtuple
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from . import checks, dispatch, doors
from .curves import ATan
from .face import Face
from .live import StateField
from .parameters import record
from .reset import Keep, Reset, Subtract, Zero
from .surrogate import Disabled, resolve
from .transition import TRANSITIONS, Transition, over_threshold

__all__ = ["REGISTRY", "Neuron"]

REGISTRY: dict[
    str, type["Neuron"]
] = {}  # every subclass by name, for the laws, the reference pages and NIR


def _cast(x: Tensor) -> bool:
    return x.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(x.device.type)


class Neuron(Face):
    r"""Base of the spiking neurons: a membrane that is integrated, compared with a threshold, and
    reset.

    Args:
        threshold: firing threshold, > 0; a scalar or a tensor that broadcasts against ``[B, ...]``.
            A spike is fired when ``mem > threshold``.
        spike_grad: surrogate gradient, a function of ``mem - threshold``. Default:
            ``surrogate.atan()``.
        surrogate_disable: a plain step without gradient.
        init_hidden: the neuron keeps its state and returns spikes only; the state must then not be
            passed.
        inhibition: only the neuron of a sample that is furthest above its threshold fires.
        learn_threshold: make the threshold a parameter.
        reset_mechanism: ``"subtract"``, ``"zero"`` or ``"none"``.
        state_quant: a function applied to every state variable, e.g.
            ``functional.quant.state_quant(4)``.
        output: return ``(spk, *state)`` although ``init_hidden=True``.
        graded_spikes_factor: value of a spike.
        learn_graded_spikes_factor: make it a parameter.
        reset_delay: reset one step after the spike (default) or in the step of the spike.
        mode: ``"step"``: inputs are ``[B, ...]``; ``"sequence"``: inputs are ``[T, B, ...]``.

    Raises:
        ValueError: ``threshold`` is not positive, or ``reset_mechanism`` or ``mode`` is unknown.
        TypeError: ``spike_grad`` or ``state_quant`` is not callable.

    >>> from typing import NamedTuple
    >>> class Counter(Neuron):
    ...     class State(NamedTuple):
    ...         mem: Tensor
    ...     @staticmethod
    ...     def integrate(x, state, p):
    ...         return state._replace(mem=state.mem + x)
    >>> Counter(threshold=2.0, mode="sequence")(torch.ones(4, 1, 1))[0].flatten()
    tensor([0., 0., 1., 0.])
    """

    State: Any = namedtuple(
        "State", ()
    )  # none: a subclass with a ``forward`` of its own keeps it as it likes
    elementwise: ClassVar[bool] = True
    spiking: ClassVar[bool] = True  # False: the threshold has no effect, and is infinite
    reset_dict: ClassVar[Mapping[str, int]] = {
        "subtract": 0,
        "zero": 1,
        "none": 2,
    }  # snnTorch's name
    modes: ClassVar[tuple[str, ...]] = ("step", "sequence")
    resets: ClassVar[Mapping[str, Reset]] = {"subtract": Subtract(), "zero": Zero(), "none": Keep()}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.reset_dict = {name: index for index, name in enumerate(cls.resets)}
        cls.overridden = doors.overridden_by(cls)
        if cls.State is Neuron.State:
            return  # a mixin, or a base
        REGISTRY[cls.__name__] = cls
        equations = [
            n for n in ("integrate", "trigger", "retract", "settle") if getattr(cls, n) is not None
        ]
        pure = all(
            isinstance(inspect.getattr_static(cls, name), staticmethod) for name in equations
        )
        cls.elementwise = (
            pure and not doors.through(cls.overridden) and "step" not in cls.overridden
        )
        for name in cls.State._fields:
            setattr(cls, name, StateField(name))

    def __init__(
        self,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        graded_spikes_factor: Any = 1.0,
        learn_graded_spikes_factor: bool = False,
        *,
        reset_delay: bool = True,
        mode: str = "step",
    ) -> None:
        super().__init__()
        if state_quant is not False and state_quant is not None and not callable(state_quant):
            raise TypeError(
                "state_quant must be a function such as state_quant(num_bits=4), got "
                f"{state_quant!r}"
            )
        if self.spiking:
            checks.in_range(
                "threshold",
                threshold,
                0.0,
                float("inf"),
                open_low=True,
                why="a neuron at rest would fire",
            )
        checks.in_range("graded_spikes_factor", graded_spikes_factor, -float("inf"), float("inf"))
        flags = {
            "init_hidden": init_hidden,
            "inhibition": inhibition,
            "output": output,
            "reset_delay": reset_delay,
        }
        checks.flags(type(self).__name__, **flags, surrogate_disable=surrogate_disable)
        self._hidden = None
        self._checked = None
        self.surrogate_disable = surrogate_disable
        self.init_hidden, self.output, self.inhibition = init_hidden, output, inhibition
        self.spike_grad = (
            Disabled()
            if surrogate_disable
            else ATan()
            if spike_grad is None
            else resolve(spike_grad)
        )
        self.reset_delay = reset_delay
        self.state_quant: Any = state_quant
        self._reset_mechanism = checks.choice("reset_mechanism", reset_mechanism, self.resets)
        self.parameter("threshold", threshold, learn_threshold)
        self.parameter("graded_spikes_factor", graded_spikes_factor, learn_graded_spikes_factor)
        self.register_buffer(
            "reset_mechanism_val", torch.tensor(list(self.resets).index(reset_mechanism))
        )
        self.mode = mode
        self._enter()

    # -- the equations: what a subclass writes ---------------------------------------------------

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        """The state after the input of one step, before spike and reset. Pure; no Python branch on
        tensor values."""
        raise NotImplementedError

    trigger: Any = staticmethod(
        over_threshold
    )  # ``(state, p) -> Tensor``: what must be positive for a spike
    # ``(state, p) -> Tensor``: what must be positive for a spike of -1; None: there are none
    retract: Any = None

    @staticmethod
    def settle(state: Any, spk: Tensor, p: Any) -> Any:
        """The state after the spike; by default a field ``spk`` receives it."""
        return state._replace(spk=spk) if "spk" in state._fields else state

    def initial(self, x: Tensor) -> Any:
        """The state at rest for inputs like ``x``, [B, ...]: zeros of its shape, device and memory
        format.

        Its dtype is that of ``x``, but float32 where autocast makes inputs of 16 bits.
        """
        dtype = torch.float32 if _cast(x) else x.dtype
        return self.State(*(torch.zeros_like(x, dtype=dtype) for _ in self.State._fields))

    def state_shape(self, x: Tensor) -> torch.Size:
        """Shape of every state variable for inputs like ``x``, [B, ...]."""
        return x.shape

    @property
    def equations(self) -> Any:
        """The class that holds the equations: its own, unless its arguments choose among
        several."""
        if "overridden" in self.__dict__:
            return doors.stepwise(type(self), self.overridden)
        return type(self)

    @property
    def _cell(self) -> Any:
        return None if self.transition.neuron.elementwise else self

    # -- derived: the two pure ways to run --------------------------------------------------------

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step. Pure: it reads parameters and touches no attribute.

        Args:
            x: input, [B, ...].
            state: where to start; default: at rest.

        Returns:
            Spikes [B, ...] in the dtype of ``x``, and the new state.
        """
        state = self.initial(x) if state is None else state
        given = x.dtype
        dtype = given if state[0].dtype == given else torch.promote_types(given, state[0].dtype)
        x = x if dtype == given else x.to(dtype)
        if self.overridden and doors.through(self.overridden):
            spk, new = doors.step(self, x, self._in(state, dtype))
        else:
            spk, new = self.transition(x, self._in(state, dtype), self.params(dtype), self._cell)
        return spk if spk.dtype == given else spk.to(given), new

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """All time steps. Pure, and equal to stacking the results of `step`.

        Args:
            x: input, [T, B, ...], or [B, ...] if it is the same at every step and ``num_steps`` is
                given.
            state: where to start; default: at rest.
            num_steps: T, for a constant input.

        Returns:
            Spikes [T, B, ...], and the states over time, [T, B, ...] each.

        Raises:
            ValueError: there is no time step, or ``x`` on the CPU is not finite.
        """
        if (len(x) if num_steps is None else num_steps) < 1:
            raise ValueError(
                f"a sequence needs at least one time step, got {tuple(x.shape)}; expected [T, B, "
                "...]"
            )
        return self._run(x, state, num_steps, path=True)

    def _scanned(self, x: Tensor, state: Any, num_steps: int | None) -> tuple[Tensor, Any]:
        """Run `scan`; one of a subclass need not look at its input."""
        if getattr(self.scan, "__func__", None) is not Neuron.scan:
            self._look(x)
        return self.scan(x, state, num_steps=num_steps)

    def _look(self, x: Tensor) -> None:
        # elsewhere than on the CPU the answer would stall the queue; snn.run looks once per call
        if not torch.compiler.is_compiling() and x.device.type == "cpu":
            checks.finite(x, f"the input of {type(self).__name__}")

    def final(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """As `scan`, with the last state instead of all of them, which costs less memory.

        Args:
            x: as for `scan`.
            state: as for `scan`.
            num_steps: as for `scan`.

        Returns:
            Spikes [T, B, ...], and the last state, [B, ...] each.
        """
        if type(self).scan is Neuron.scan and self.transition.elementwise:
            return self._run(x, state, num_steps, path=False)
        spk, states = self.scan(x, state, num_steps=num_steps)
        return spk, self._last(states)

    def _run(
        self, x: Tensor, state: Any, num_steps: int | None, *, path: bool
    ) -> tuple[Tensor, Any]:
        state = self.initial(x[0] if num_steps is None else x) if state is None else state
        dtype = torch.promote_types(x.dtype, state[0].dtype)
        name, run = dispatch.chosen(self.transition, x, dtype, num_steps or 1)
        if not dispatch.looks(name):
            self._look(x)
        if run is not None:
            return run(
                self.key, x, self._in(state, dtype), self.params(dtype), num_steps, path=path
            )
        spk, states = self._loop(x, state, num_steps)
        return spk, states if path else self._last(states)

    def _in(self, state: Any, dtype: torch.dtype) -> Any:
        return (
            state if state[0].dtype == dtype else self.State(*(value.to(dtype) for value in state))
        )

    def _last(self, states: Any) -> Any:
        # a view of the last step would keep the states of all steps in memory
        return self.State(*(value[-1].clone() for value in states))

    def _loop(self, x: Tensor, state: Any, num_steps: int | None) -> tuple[Tensor, Any]:
        spk, states = [], []
        own = "step" in self.overridden
        for x_t in (
            x.unbind(0) if num_steps is None else [x] * num_steps
        ):  # indexing x[t] would cost O(T^2) backward
            s, state = self.step(x_t, state) if own else Neuron.step(self, x_t, state)
            spk.append(s)
            states.append(state)
        return torch.stack(spk), self.State(*map(torch.stack, zip(*states, strict=True)))

    def _configure(self) -> None:
        """Fix the transition now: building it in ``forward`` would break the graph of
        ``torch.compile``."""
        self._record = record(self._names)
        self.transition = Transition(
            self.equations,
            self.resets[self._reset_mechanism],
            self.spike_grad,
            self.reset_delay,
            self.inhibition,
            self.state_quant or None,
            self._names,
        )
        self.key = self.transition.key() if self.transition.elementwise else ""
        if self.key:
            self.transition = TRANSITIONS[self.key]  # one object for all equal ones keeps the name
