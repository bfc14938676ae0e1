"""The neuron: one pure step, its loops over time, and the state that it stores.

A subclass declares ``State`` (a NamedTuple of tensors with a field ``mem``), ``integrate`` and its
parameters. A static ``integrate`` is pure elementwise arithmetic and may be fused over time; one
with ``self`` owns modules and runs step by step.

`Neuron.step` and `Neuron.scan` are pure. ``forward`` is snnTorch's call protocol around them: it
picks the state (passed, remembered or fresh), runs, remembers the new state and shapes what is
returned. State is neither a buffer (DistributedDataParallel would broadcast it) nor known outside
its neuron. In sequence mode ``forward`` returns what stacking its results in step mode would
return.
"""

import inspect
import warnings
from collections import namedtuple
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor, nn

from . import alone, checks, dispatch, doors, recording
from .curves import ATan
from .noise import SHIFTED, Noise, extended
from .numbers import whole
from .options import Refusing
from .parameters import Parameters, record
from .reset import Keep, Reset, Subtract, Zero
from .stateful import Stateful, computes_in_other_dtype
from .surrogate import Disabled, resolve, spikes_of
from .taps import Moment, Tap
from .transition import TRANSITIONS, Transition, over_threshold

__all__ = ["REGISTRY", "Neuron", "TimeAxisWarning"]

# every subclass by name, for the laws, files and NIR; names of the library's own stay theirs
REGISTRY: dict[str, type["Neuron"]] = {}

_SETTINGS = frozenset(
    {"spike_grad", "reset_delay", "inhibition", "state_quant", "_reset_mechanism"}
)
_EQUATIONS = ("integrate", "trigger", "retract", "settle")
_PLAIN = frozenset({"_hidden", "_signal", "_foreign"})
_REPLACEABLE = frozenset({*doors.STEP, *doors.CALLS}) - {"state_function"}  # which has a setter
_COMPUTING = (nn.Linear, nn.Conv2d, nn.LSTMCell, nn.RNN)


class TimeAxisWarning(UserWarning):
    """An input in step mode has the number of axes of a sequence."""


class Live(WeakSet[Any]):
    """A list-like view of the neurons alive; it keeps none of them alive."""

    def __iter__(self) -> Iterator[Any]:
        return iter(list(super().__iter__()))

    def __getitem__(self, index: int) -> Any:
        return list(self)[index]


class StateField:
    """``lif.mem`` reads and writes one field of the stored state; of shape (0,) without one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, neuron: Any, owner: type | None = None) -> Any:
        return self if neuron is None else getattr(neuron.hidden, self.name)

    def __set__(self, neuron: Any, value: Tensor) -> None:
        neuron._hidden = neuron.hidden._replace(**{self.name: value})
        neuron._foreign = True


class OneOrAll:
    """A method that acts on one neuron, or, called on a class, on all its living instances."""

    def __init__(self, method: Any) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, neuron: Any, owner: type) -> Any:
        if neuron is not None:
            return self.method.__get__(neuron, owner)
        return lambda: (
            [self.method(each) for each in owner.live if isinstance(each, owner)] and None
        )


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _is_method(cls: type, name: str) -> bool:
    """Whether reading ``name`` from an instance finds a method or a value computed by the class."""
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, property):
        return found.fset is None
    return inspect.isroutine(found) or isinstance(found, (staticmethod, classmethod))


def _cast(x: Tensor) -> bool:
    return x.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled(x.device.type)


class Neuron(Parameters, doors.Doors, Stateful, Refusing):
    r"""Base of the spiking neurons: a membrane is integrated, compared to a threshold, and reset.

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

    # none: a subclass with a ``forward`` of its own keeps it as it likes
    State: Any = namedtuple("State", ())
    spiking: ClassVar[bool] = True  # False: the threshold has no effect, and is infinite
    # True: ``integrate`` filters the input linearly, by constants alpha and beta, and ``mem`` alone
    # decides on spikes, so that learning.online can carry a gradient forward as a trace
    is_linear: ClassVar[bool] = False
    compared_with: ClassVar[str] = "threshold"  # the parameter that noise of the threshold shifts
    carries: ClassVar[bool] = True  # False: every call starts at rest unless a state is passed
    causal: Any = True  # False: later steps act on earlier ones
    fewest_steps: int = 1  # of a sequence
    modes: ClassVar[tuple[str, ...]] = ("step", "sequence")
    resets: ClassVar[Mapping[str, Reset]] = {"subtract": Subtract(), "zero": Zero(), "none": Keep()}
    # ``(p, dt) -> (type, fields)``, a static method: the NIR node of the neuron with the parameters
    # ``p``, float64 arrays by name, and steps of ``dt`` seconds; None: there is none, because ...
    nir_node: ClassVar[Any] = None
    no_nir_node: ClassVar[str] = (
        "no NIR neuron has its equations; "
        "use Leaky, IF, LI, Lapicque, Synaptic, RLeaky or RSynaptic"
    )
    # arguments with which the neuron fires now and then for inputs of ``example_shape`` (without
    # batch) between -0.2 and 1.4 times ``example_gain``: what tests and documents build
    example: ClassVar[Mapping[str, Any]] = {}
    example_shape: ClassVar[tuple[int, ...]] = (5,)
    example_gain: ClassVar[float] = 1.0

    # for editors: fields of ``State`` and parameters are attributes
    mem: Tensor
    threshold: Tensor
    graded_spikes_factor: Tensor

    batch_axis: ClassVar[int | None] = 0

    # set for every class and instance
    elementwise: ClassVar[bool] = True
    live: ClassVar[Live] = Live()
    # snnTorch's names; a list that is assigned to ``instances`` receives new neurons
    instances: ClassVar[Any] = live
    reset_dict: ClassVar[Mapping[str, int]] = {"subtract": 0, "zero": 1, "none": 2}

    takes_batches: bool = False  # axis 0 of a step is known to be the batch, as of tokens [B, N, C]
    _checked: Any = None  # the last shape, dtype and device that were checked
    _noise: Noise | None = None
    _unset: bool = False  # whether the parameters came from the meta device without values
    # called with what the neuron receives and gives, see `spikeloom.core.taps`
    _taps: tuple[Tap, ...] = ()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.reset_dict = {name: index for index, name in enumerate(cls.resets)}
        cls._declare()
        if cls.State is Neuron.State:
            return  # a mixin, or a base
        known = REGISTRY.get(cls.__name__)
        if known is None or _is_ours(cls) or not _is_ours(known):
            REGISTRY[cls.__name__] = cls
        if cls.is_linear and "is_linear" not in vars(cls) and vars(cls).keys() & {*_EQUATIONS}:
            cls.is_linear = False
        for name in cls.State._fields:
            setattr(cls, name, StateField(name))

    @classmethod
    def _declare(cls) -> None:
        """Find which methods are overridden; ``Kind.fire = function`` may come after the class."""
        overridden = doors.overridden_by(cls)
        if overridden == vars(cls).get("overridden"):
            return
        cls.overridden = overridden
        equations = [name for name in _EQUATIONS if getattr(cls, name) is not None]
        pure = all(
            isinstance(inspect.getattr_static(cls, name), staticmethod) for name in equations
        )
        cls.elementwise = pure and not doors.through(overridden) and "step" not in overridden

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
        self._declare()
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
        checks.flags(
            type(self).__name__,
            init_hidden=init_hidden,
            inhibition=inhibition,
            output=output,
            reset_delay=reset_delay,
            surrogate_disable=surrogate_disable,
        )
        self._hidden = None
        self.surrogate_disable = surrogate_disable
        self.init_hidden = init_hidden
        self.output = output
        self.inhibition = inhibition
        if surrogate_disable:
            self.spike_grad = resolve(self._surrogate_bypass)
        else:
            self.spike_grad = ATan() if spike_grad is None else resolve(spike_grad)
        self.reset_delay = reset_delay
        self.state_quant: Any = state_quant
        self._reset_mechanism = checks.choice("reset_mechanism", reset_mechanism, self.resets)
        self._threshold_buffer(threshold, learn_threshold)
        self._adopt("threshold")
        self._graded_spikes_buffer(graded_spikes_factor, learn_graded_spikes_factor)
        self._adopt("graded_spikes_factor")
        self.register_buffer(
            "reset_mechanism_val", torch.tensor(list(self.resets).index(reset_mechanism))
        )
        self.mode = mode
        self._enter()

    # -- snnTorch's names, for subclasses that register other parameters ---------------------------

    _surrogate_bypass: Any = Disabled()

    def _threshold_buffer(self, threshold: Any, learn_threshold: bool) -> None:
        self.parameter("threshold", threshold, learn_threshold)

    def _graded_spikes_buffer(self, factor: Any, learn_factor: bool) -> None:
        self.parameter("graded_spikes_factor", factor, learn_factor)

    # -- the equations: what a subclass writes ---------------------------------------------------

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        """The state after the input, before the spike. Pure; no Python branch on tensor values."""
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
        """The state at rest for inputs like ``x``, [B, ...]: zeros of `state_shape` on its device.

        Its memory format is that of ``x`` where the shapes agree. Its dtype is that of ``x``, but
        float32 where autocast makes inputs of 16 bits.
        """
        dtype = torch.float32 if _cast(x) else x.dtype
        shape = self.state_shape(x)
        like = x if shape == x.shape else x.new_empty(shape)
        return self.State(*(torch.zeros_like(like, dtype=dtype) for _ in self.State._fields))

    def state_shape(self, x: Tensor) -> torch.Size:
        """Shape of every state variable for inputs like ``x``, [B, ...]."""
        return x.shape

    def state_type(self) -> Any:
        """The type of the state: `State` of the class, unless arguments add fields."""
        return type(self).State

    @property
    def equations(self) -> Any:
        """The class that has the equations: its own, unless arguments choose among several."""
        if "overridden" in self.__dict__:
            return doors.stepwise(type(self), self.overridden)
        return type(self)

    @property
    def _cell(self) -> Any:
        return None if self.transition.neuron.elementwise else self

    # -- derived: step and scan, both pure ---------------------------------------------------------

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One time step. Pure: it reads parameters and touches no attribute.

        Args:
            x: input, [B, ...].
            state: where to start; default: at rest.

        Returns:
            Spikes [B, ...] in the dtype of ``x``, and the new state.
        """
        return self._stepped(x, self.initial(x) if state is None else self._fitted(x, state))

    def _stepped(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step from a state that fits the input."""
        given = x.dtype
        dtype = state[0].dtype
        if dtype != given:
            dtype = torch.promote_types(given, dtype)
            x, state = x.to(dtype), self._in(state, dtype)
        if self.overridden and doors.through(self.overridden):
            spk, new = doors.step(self, x, state)
        else:
            spk, new = self.transition(x, state, self.params(dtype), self._cell)
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
        if num_steps is None and len(x) < 1:
            raise ValueError(
                f"a sequence needs at least one time step, got {tuple(x.shape)}; expected [T, B, "
                "...]"
            )
        return self._run(x, state, num_steps, path=True)

    def _scanned(self, x: Tensor, state: Any, num_steps: int | None) -> tuple[Tensor, Any]:
        """Run `scan`; one of a subclass need not look at its input."""
        if getattr(self.scan, "__func__", None) is not Neuron.scan:
            self._check_finite(x)
        return self.scan(x, state, num_steps=num_steps)

    def _spikes(self, states: Any, p: Any) -> Tensor:
        """The spikes of states at all steps, where no spike acts on a state."""
        return spikes_of(self.spike_grad, self.trigger(states, p)) * p.graded_spikes_factor

    def _check_finite(self, x: Tensor) -> None:
        # on a GPU, reading the result would stall the queue; snn.run checks once per call
        if not torch.compiler.is_compiling() and x.device.type == "cpu":
            checks.finite(x, f"the input of {type(self).__name__}")

    def _finite_start(self, x: Tensor, state: Any) -> Any:
        """`_fitted`, whose values on the CPU are finite."""
        state = self._fitted(x, state)
        if not torch.compiler.is_compiling():
            for name, value in zip(self.State._fields, state, strict=True):
                if value.device.type == "cpu":
                    checks.finite(value, f"{name}, a state of {type(self).__name__},")
        return state

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
        if not torch.compiler.is_compiling():
            if num_steps is not None:
                whole("num_steps", num_steps, least=1)
            self.inspect_values()
        first = x[0] if num_steps is None else x
        state = self.initial(first) if state is None else self._finite_start(first, state)
        dtype = torch.promote_types(x.dtype, state[0].dtype)
        name, run = dispatch.chosen(self.transition, x, dtype, num_steps or 1)
        if not dispatch.checks_input(name):
            self._check_finite(x)
        if run is not None:
            return run(
                self.key, x, self._in(state, dtype), self.params(dtype), num_steps, path=path
            )
        spk, states = self._loop(x, state, num_steps)
        return spk, states if path else self._last(states)

    def _fitted(self, x: Tensor, state: Any) -> Any:
        """``state``, which the caller made, broadcast to one step of the input."""
        if torch.compiler.is_compiling():
            return state
        fields = self.State._fields
        if not isinstance(state, tuple) or len(state) != len(fields):
            received = f"{len(state)} states" if isinstance(state, tuple) else type(state).__name__
            raise TypeError(
                f"{type(self).__name__} starts from a state ({', '.join(fields)}), got "
                f"{received}; write State({', '.join(fields)}) of the neuron"
            )
        # what an elementwise neuron integrates has the shape of its state
        shape = x.shape if self.transition.elementwise else self.state_shape(x)
        if type(state) is self.State:
            for value in state:
                if getattr(value, "shape", None) != shape:
                    break
            else:
                return state
        given = self._given(state, {})
        if len(given) < len(fields):
            given = {**self.initial(x)._asdict(), **given}
        return self.State(
            *(
                value
                if value.shape == shape
                else self._broadcast(name, value, shape, explicit=True)
                for name, value in given.items()
            )
        )

    def _in(self, state: Any, dtype: torch.dtype) -> Any:
        return (
            state if state[0].dtype == dtype else self.State(*(value.to(dtype) for value in state))
        )

    def _last(self, states: Any) -> Any:
        # a view of the last step would keep the states of all steps in memory
        return self.State(*(value[-1].clone() for value in states))

    def _loop(self, x: Tensor, state: Any, num_steps: int | None) -> tuple[Tensor, Any]:
        spk = []
        states = []
        own = "step" in self.overridden
        for x_t in (
            x.unbind(0) if num_steps is None else [x] * num_steps
        ):  # indexing x[t] would cost O(T^2) backward
            s, state = self.step(x_t, state) if own else Neuron.step(self, x_t, state)
            spk.append(s)
            states.append(state)
        return torch.stack(spk), self.State(*map(torch.stack, zip(*states, strict=True)))

    def _configure(self) -> None:
        """Build the transition now; in ``forward`` it breaks the graph of ``torch.compile``."""
        self._record = record(self._names)
        state = self.state_type()
        state = extended(state, SHIFTED) if self._has_shift() else state
        self.__dict__.pop("State", None)
        if state is not type(self).State:
            self.__dict__["State"] = state
        self.transition = Transition(
            self.equations,
            self.resets[self._reset_mechanism],
            self.spike_grad,
            self.reset_delay,
            self.inhibition,
            self.state_quant or None,
            self._names,
            self.compared_with if self._has_shift() else "",
        )
        self.key = self.transition.key() if self.transition.elementwise else ""
        if self.key:
            self.transition = TRANSITIONS[self.key]  # one object for all equal ones keeps the name

    # -- calling -----------------------------------------------------------------------------------

    def forward(self, input_: Tensor, *state: Tensor | None, **named: Tensor | None) -> Any:
        """Run one step or, in sequence mode, all steps of ``input_``, and remember the last state.

        Args:
            input_: current, [B, ...] or [T, B, ...] by ``mode``, floating point.
            *state: where to start, in the order of ``State``, by position or name. None or a tensor
                of shape (0,) means: as remembered or at rest. Broadcast to one step of the input.

        Returns:
            ``(spk, *state)``; spikes only with ``init_hidden=True`` unless ``output=True``.

        Raises:
            TypeError: the input is no floating-point tensor, or a state is passed although
                ``init_hidden=True``.
            ValueError: the state does not fit the input, or the input is not finite.
            RuntimeError: the state hangs on a graph that ``backward()`` has already freed.
        """
        compiling = torch.compiler.is_compiling()
        recorder = None if compiling else recording.local.recorder
        if self._noise is not None:
            a_step = self._mode == "step" or (recorder is not None and recorder.stepping)
            input_ = self._with_noise(self._noise, input_, timed=not a_step)
        if alone.claimed and not compiling:
            alone.refuse_others(self)
        if recorder is not None:
            return recorder.stateful(self, input_, state, named)
        return self.called(input_, *state, **named)

    def called(self, input_: Tensor, *state: Tensor | None, **named: Tensor | None) -> Any:
        """What ``forward`` does where nothing is recorded."""
        passed = (state or named) and any(v is not None for v in (*state, *named.values()))
        alone_in_it = not passed and self.carries and not torch.compiler.is_compiling()
        if alone_in_it:
            alone.go_on(self)
        spk, new = self._advance(input_, state, named, self._mode == "sequence", None)
        if alone_in_it:
            alone.stayed(self)
        return self.returned(spk, new)

    def advance(
        self,
        input_: Tensor,
        *state: Tensor | None,
        sequence: bool,
        num_steps: int | None = None,
    ) -> tuple[Tensor, Any]:
        """Run, remember the last state, and return the spikes and the new state or states.

        Args:
            input_: [B, ...], or [T, B, ...] in a sequence unless it is constant.
            *state: as for `forward`.
            sequence: whether ``input_`` is a sequence.
            num_steps: T of a sequence whose input [B, ...] is the same at every step.
        """
        return self._advance(input_, state, {}, sequence, num_steps)

    def _advance(
        self,
        input_: Tensor,
        state: Any,
        named: dict[str, Any],
        sequence: bool,
        num_steps: int | None,
    ) -> tuple[Tensor, Any]:
        timed = sequence and num_steps is None
        if not torch.compiler.is_compiling():
            self.inspect_input(input_, sequence, timed)
        step = input_.detach()[0] if timed else input_
        start = self._start(step, state, named)
        if not sequence:
            self._signal = start
            if self._has_shift():
                input_, start = self._drawn(input_, start)
            # the state fits, so that the neuron's own step need not look at it again
            run = self._stepped if getattr(self.step, "__func__", None) is _STEP else self.step
            spk, new = run(input_, start)
            self._hidden = new
            for tap in self._taps:
                tap(self, Moment(input_, spk, new, False))
            return spk, new
        if self._has_shift():
            spk, new = self._drawn_over_time(input_, start, num_steps)
        else:
            spk, new = self._scanned(input_, start, num_steps)
        for tap in self._taps:
            tap(self, Moment(input_, spk, new, True, num_steps or 1))
        self._hidden = self._last(new)
        return spk, new

    def returned(self, spk: Tensor, state: Any) -> Any:
        """What ``forward`` returns of spikes and state."""
        if self.init_hidden and not self.output:
            return spk
        values = self._shown(state)
        return values if "spk" in state._fields else (spk, *values)

    def _shown(self, state: Any) -> tuple[Any, ...]:
        return state[: len(self.state_type()._fields)]

    def _start(self, x: Tensor, state: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = self._given(state, named) if state or named else {}
        if given and self.init_hidden:
            raise TypeError(
                f"{type(self).__name__}(init_hidden=True) keeps its own state, got "
                f"{', '.join(given)}; call it with the input only, or build it with "
                "init_hidden=False"
            )
        if not given and (self._hidden is None or not self.carries):
            return self.initial(x)
        shape = self.state_shape(x)
        start = hidden = self.hidden
        compiling = torch.compiler.is_compiling()
        for name, stored in zip(hidden._fields, hidden, strict=True):
            passed = name in given
            value: Any = given[name] if passed else stored
            if value.shape != shape:
                if value.shape == (0,):
                    value = getattr(self.initial(x), name)
                else:
                    value = self._broadcast(name, value, shape, explicit=passed)
            if not compiling:
                value = self.inspect_state(name, value, x, passed=passed)
            if value is not stored:
                start = start._replace(**{name: value})
        if self._foreign:
            self._foreign = False
        return start if type(start) is self.State else self.State(*start)

    def _given(self, state: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Tensor]:
        fields = self.State._fields
        kind = type(self).__name__
        if len(state) > len(fields) or not named.keys() <= set(fields):
            raise TypeError(
                f"{kind} takes an input and the state ({', '.join(fields)}), got {len(state)} "
                "state(s)"
                f"{' and ' + ', '.join(named) if named else ''}"
            )
        given = {
            n: v for n, v in (*zip(fields, state, strict=False), *named.items()) if v is not None
        }
        for name, value in given.items():
            if not isinstance(value, Tensor) or value.layout is not torch.strided:
                raise TypeError(
                    f"{kind}: {name} must be a tensor, got {value!r}; leave it out to start at "
                    "rest, or write "
                    "torch.zeros_like(x)"
                )
        return given

    def _broadcast(self, name: str, value: Tensor, shape: torch.Size, *, explicit: bool) -> Tensor:
        if value.numel() == 1 and (explicit or value.dim() < max(len(shape), 2)):
            return value.reshape(()).expand(shape)
        if explicit or value.dim() < len(shape):
            try:
                return value.expand(shape)
            except RuntimeError:
                pass
        origin = "was passed" if explicit else "is remembered from the previous call"
        raise ValueError(
            f"{type(self).__name__}: {name} of shape {tuple(value.shape)} {origin}, but this "
            f"input needs {tuple(shape)}; call snn.reset(net) before a batch of another size, "
            "write one neuron object for each layer, or pass a state that fits"
        )

    # -- noise -------------------------------------------------------------------------------------

    @property
    def noise(self) -> Noise | None:
        """What is random at every step; None: nothing. `spikeloom.noisy` sets it."""
        return self._noise

    @noise.setter
    def noise(self, noise: Noise | None) -> None:
        kind = type(self).__name__
        if noise is not None and not isinstance(noise, Noise):
            raise TypeError(
                f"{kind}: noise must be a Noise or None, got {noise!r}; write "
                "snn.noisy(neuron, current=0.1)"
            )
        obstacle = self.shift_obstacle() if noise is not None and noise.shifts else ""
        if obstacle:
            raise ValueError(
                f"{kind} takes no noise of the threshold and no escape rate: {obstacle}; write "
                "snn.noisy(neuron, current=...)"
            )
        self._noise = noise
        self.reset_mem()
        self._configure()

    def shift_obstacle(self) -> str:
        """Why the threshold cannot be random; empty if it can."""
        if not self.spiking:
            return "it does not fire"
        if "step" not in self.modes:
            return "it runs whole sequences"
        if self.overridden:
            return f"its class overrides {', '.join(self.overridden)}, which may compare anything"
        return ""

    def _has_shift(self) -> bool:
        return self._noise is not None and self._noise.shifts

    def _with_noise(self, noise: Noise, x: Any, *, timed: bool) -> Any:
        """The input with noise of the current; a random threshold draws both in each step."""
        if noise.shifts or not self._acts(noise):
            return x
        checks.floating(x, f"the input of {type(self).__name__}")
        return noise.added_over_time(x, None) if timed and x.dim() > 1 else noise.added(x)

    def _acts(self, noise: Noise) -> bool:
        return self.training or not noise.training_only

    def _drawn(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Input and state of a step with the noise of this step."""
        noise = self._noise
        if noise is None or not self._acts(noise):
            return x, state._replace(shift=torch.zeros_like(state.shift))
        x = noise.added(x)
        return x, state._replace(shift=noise.shift(state.shift))

    def _drawn_over_time(self, x: Tensor, state: Any, num_steps: int | None) -> tuple[Tensor, Any]:
        if not torch.compiler.is_compiling():
            dispatch.name_of(self.transition, x)  # refuses a backend that was forced
        self._check_finite(x)
        spikes = []
        states = []
        for x_t in x.unbind(0) if num_steps is None else [x] * num_steps:
            spk, state = self.step(*self._drawn(x_t, state))
            spikes.append(spk)
            states.append(state)
        return torch.stack(spikes), self.State(*map(torch.stack, zip(*states, strict=True)))

    # -- checks of a call before any work ----------------------------------------------------------

    def inspect_input(self, x: Tensor, sequence: bool, timed: bool) -> None:
        """Check an input before work is done; what depends on its shape only once for each shape.

        Args:
            x: the input.
            sequence: whether the neuron runs over time.
            timed: whether ``x`` has a time axis, [T, B, ...].
        """
        seen = (x.shape, x.dtype, x.device, sequence) if isinstance(x, Tensor) else None
        if seen != self._checked or seen is None:
            checks.floating(x, f"the input of {type(self).__name__}")
        if torch._C._get_tracing_state() is not None:
            checks.not_traced(self)
            return
        if seen != self._checked:
            self._inspect_axes(x, sequence, timed)
            self._inspect_fit(x.detach()[0] if timed else x)
            self._checked = seen
        self.inspect_values()
        if x.is_cpu and not sequence:  # a sequence is checked where it runs
            checks.finite(x, f"the input of {type(self).__name__}")

    def _inspect_axes(self, x: Tensor, sequence: bool, timed: bool) -> None:
        kind = type(self).__name__
        if timed and x.dim() > 0 and len(x) == 0:
            raise ValueError(
                f"{kind} needs at least one time step, got {tuple(x.shape)}; expected [T, B, "
                "features...]"
            )
        if sequence and x.dim() < 2 + timed:
            raise ValueError(
                f"{kind} in sequence mode expects [T, B, features...], got {tuple(x.shape)}; for "
                'one time step write mode="step", for a single feature x.unsqueeze(-1), for a '
                "single sample x.unsqueeze(1)"
            )
        known = self.takes_batches or getattr(self, "conv2d_channels", None) is not None
        if not sequence and x.dim() == 3 and "sequence" in self.modes and not known:
            warnings.warn(
                f"{kind} in step mode takes axis 0 of {tuple(x.shape)} as the batch; if it is "
                'time, write mode="sequence" or snn.run(net, x)',
                TimeAxisWarning,
                stacklevel=7,
            )

    def _inspect_fit(self, x: Tensor) -> None:
        kind = type(self).__name__
        target = self.state_shape(x)
        for name in self._names:
            value = getattr(self, name)
            if value.device != x.device:
                raise RuntimeError(
                    f"{kind} is on {value.device}, its input on {x.device}; write "
                    f"net.to({str(x.device)!r})"
                )
            fits = value.dim() <= len(target) or value.numel() == 1
            pairs = zip(reversed(value.shape), reversed(target), strict=False)
            if not fits or any(v not in (1, t) for v, t in pairs):
                raise ValueError(
                    f"{kind}: {name} of shape {tuple(value.shape)} does not broadcast against one "
                    "step of the input, "
                    f"{tuple(target)}; give one value, or one for each neuron"
                )
        self._inspect_weights(x)

    def _inspect_weights(self, x: Tensor) -> None:
        """Raise if the weights of inner modules and the input differ in dtype."""
        for child, module in self._modules.items():
            weight = (
                next(iter(module._parameters.values()), None)
                if isinstance(module, _COMPUTING)
                else None
            )
            if weight is not None and weight.dtype != x.dtype and not computes_in_other_dtype(x):
                raise TypeError(
                    f"{type(self).__name__} has {child} in {weight.dtype}, got an input in "
                    f"{x.dtype}; write "
                    f"x.to({weight.dtype}) or self.to({x.dtype})"
                )

    # -- the remembered state ----------------------------------------------------------------------

    def _reset_hidden(self) -> None:
        """Forget the state."""
        if alone.claimed:
            alone.refuse_others(self)
        alone.take(self)
        self._hidden = self._signal = None

    detach_hidden: Any = OneOrAll(Stateful.detach_hidden)
    reset_hidden = OneOrAll(_reset_hidden)

    # -- configuration -----------------------------------------------------------------------------

    @property
    def reset_mechanism(self) -> str:
        """``"subtract"``, ``"zero"`` or ``"none"``; assigning changes the dynamics."""
        return self._reset_mechanism

    @reset_mechanism.setter
    def reset_mechanism(self, name: str) -> None:
        self._reset_mechanism = checks.choice("reset_mechanism", name, self.resets)
        self.reset_mechanism_val.fill_(list(self.resets).index(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if (
            name in _PLAIN
        ):  # set at every call; a module would look among its parameters, buffers and modules first
            self.__dict__[name] = value
            return
        if isinstance(value, (nn.Module, nn.Parameter)) and _is_method(type(self), name):
            raise TypeError(
                f"{type(self).__name__}: {name} is already a name of every neuron, which torch's "
                f"modules and parameters cannot replace, got {type(value).__name__}; choose "
                "another name"
            )
        if name in _REPLACEABLE:
            self.replaced(name, value)
        super().__setattr__(name, value)
        if name in _SETTINGS and "transition" in self.__dict__:
            self._configure()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """As in any module, but a state, as registered by snnTorch's ``_init_mem``, is stored."""
        if name not in self.State._fields:
            super().register_buffer(name, tensor, persistent)
        elif tensor is not None and tensor.shape != (0,):
            setattr(self, name, tensor)

    # -- copies, checkpoints, devices --------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("transition", "key", "_record", "_taps", "_signal", "State")
        saved = {k: v for k, v in super().__getstate__().items() if k not in left_out}
        return {**saved, "_checked": None, "_versions": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._configure()
        self._lead_inward()
        Neuron.live.add(self)

    def _apply(self, fn: Any, *args: Any, **options: Any) -> Any:
        before = self._on_meta()
        self._checked = None
        self._signal = None
        self._versions = {}
        moved = super()._apply(fn, *args, **options)
        self._unset = before and not self._on_meta()
        self._lead_inward()
        return moved

    def _on_meta(self) -> bool:
        return any(getattr(self, name).device.type == "meta" for name in self._names)

    def _enter(self) -> None:
        Neuron.live.add(self)
        if (
            self.instances is not Neuron.live
        ):  # a list of the user, as in ``SpikingNeuron.instances = []``
            self.instances.append(self)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self.State._fields:  # snnTorch 0.8 saved the state; it is not a parameter
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)
        # a string: reading a tensor each step would stall
        self._reset_mechanism = list(self.resets)[int(self.reset_mechanism_val)]


_STEP = Neuron.step
