"""The remembering side of a neuron: snnTorch's call protocol, once for all neurons.

``forward`` picks the state (passed, remembered or fresh), runs `Neuron.step` or `Neuron.scan`,
remembers the new state and shapes what is returned. State is neither a buffer
(DistributedDataParallel would broadcast it) nor known outside its neuron. In sequence mode
``forward`` returns what stacking its results in step mode would return.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from . import alone, checks, recording
from .doors import CALLS, STEP, Doors
from .helpers import Helpers
from .inspection import inspect_input, inspect_state
from .live import Live, OneOrAll
from .parameters import Parameters
from .reset import Reset
from .stateful import Stateful
from .taps import Moment, Tap

__all__ = ["Face"]


_SETTINGS = frozenset(
    {"spike_grad", "reset_delay", "inhibition", "state_quant", "_reset_mechanism"}
)
_PLAIN = frozenset({"_hidden", "_signal", "_foreign"})
_REPLACEABLE = frozenset({*STEP, *CALLS}) - {"state_function"}  # which has a setter


class Face(Parameters, Doors, Helpers, Stateful):
    """What remembers, of a neuron; see the module. The equations and the two pure ways to run are
    in `Neuron`."""

    live: ClassVar[Live] = Live()
    instances: ClassVar[Any] = (
        live  # snnTorch's name; a list that is assigned to it receives new neurons
    )
    resets: ClassVar[Mapping[str, Reset]]
    carries: ClassVar[bool] = True  # False: every call starts at rest unless a state is passed
    _checked: Any
    _unset: bool = False  # whether the parameters came from the meta device without values
    _taps: tuple[
        Tap, ...
    ] = ()  # told what the neuron receives and gives, see `spikeloom.core.taps`

    # -- what the neuron provides ------------------------------------------------------------------

    def initial(self, x: Tensor) -> Any:
        """See `Neuron.initial`."""
        raise NotImplementedError

    def state_shape(self, x: Tensor) -> torch.Size:
        """See `Neuron.state_shape`."""
        raise NotImplementedError

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """See `Neuron.step`."""
        raise NotImplementedError

    def scan(
        self, x: Tensor, state: Any = None, *, num_steps: int | None = None
    ) -> tuple[Tensor, Any]:
        """See `Neuron.scan`."""
        raise NotImplementedError

    def _scanned(self, x: Tensor, state: Any, num_steps: int | None) -> tuple[Tensor, Any]:
        """See `Neuron._scanned`."""
        raise NotImplementedError

    def _last(self, states: Any) -> Any:
        raise NotImplementedError

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
        if not torch.compiler.is_compiling():
            if alone.claimed:
                alone.refuse_others(self)
            recorder = recording.local.recorder
            if recorder is not None:
                return recorder.stateful(self, input_, state, named)
        return self.called(input_, *state, **named)

    def called(self, input_: Tensor, *state: Tensor | None, **named: Tensor | None) -> Any:
        """What ``forward`` does where nothing is recorded."""
        passed = (state or named) and any(v is not None for v in (*state, *named.values()))
        if passed or torch.compiler.is_compiling() or not self.carries:
            return self._called(input_, state, named)
        alone.go_on(self)
        found = self._called(input_, state, named)
        alone.stayed(self)
        return found

    def _called(self, input_: Tensor, state: Any, named: dict[str, Any]) -> Any:
        return self.returned(*self._advance(input_, state, named, self.mode == "sequence", None))

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
            inspect_input(self, input_, sequence, timed)
        step = input_.detach()[0] if timed else input_
        start = self._start(step, state, named)
        if not sequence:
            self._signal = start
            spk, self._hidden = self.step(input_, start)
            for tap in self._taps:
                tap(self, Moment(input_, spk, self._hidden, False))
            return spk, self._hidden
        spk, new = self._scanned(input_, start, num_steps)
        for tap in self._taps:
            tap(self, Moment(input_, spk, new, True, num_steps or 1))
        self._hidden = self._last(new)
        return spk, new

    def returned(self, spk: Tensor, state: Any) -> Any:
        """What ``forward`` returns of spikes and state."""
        if self.init_hidden and not self.output:
            return spk
        return tuple(state) if "spk" in state._fields else (spk, *state)

    def _start(self, x: Tensor, state: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = self._given(state, named) if state or named else {}
        if not given and (self._hidden is None or not self.carries):
            return self.initial(x)
        shape, hidden = self.state_shape(x), self.hidden
        compiling = torch.compiler.is_compiling()
        rest: Any = None
        values: list[Any] = []
        for name, kept in zip(hidden._fields, hidden, strict=True):
            passed = name in given
            value: Any = given[name] if passed else kept
            if value.shape != shape:
                if value.shape == (0,):
                    rest = self.initial(x) if rest is None else rest
                    value = getattr(rest, name)
                else:
                    value = self._broadcast(name, value, shape, explicit=passed)
            values.append(
                value if compiling else inspect_state(self, name, value, x, passed=passed)
            )
        if self._foreign:
            self._foreign = False
        return self.State(*values)

    def _given(self, state: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Tensor]:
        fields, kind = self.State._fields, type(self).__name__
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
        if given and self.init_hidden:
            raise TypeError(
                f"{kind}(init_hidden=True) keeps its own state, got {', '.join(given)}; "
                "call it with the input only, or build it with init_hidden=False"
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
            "input needs "
            f"{tuple(shape)}; call snn.reset(net) before a batch of another size, or pass a state "
            "that fits"
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
    def mode(self) -> str:
        """``"step"`` for inputs [B, ...], ``"sequence"`` for inputs [T, B, ...]."""
        return self._mode

    @mode.setter
    def mode(self, name: str) -> None:
        self._mode = checks.choice(f"mode of {type(self).__name__}", name, self.modes)
        self._checked = None

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
        if name in _REPLACEABLE:
            self.replaced(name, value)
        super().__setattr__(name, value)
        if name in _SETTINGS and "transition" in self.__dict__:
            self._configure()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """As in any module; a state, which snnTorch's ``_init_mem`` registers, is remembered
        instead."""
        if name not in self.State._fields:
            super().register_buffer(name, tensor, persistent)
        elif tensor is not None and tensor.shape != (0,):
            setattr(self, name, tensor)

    # -- copies, checkpoints, devices --------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("transition", "key", "_record", "_taps", "_signal")
        kept = {k: v for k, v in super().__getstate__().items() if k not in left_out}
        return {**kept, "_checked": None, "_versions": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._configure()
        self._lead_inward()
        Face.live.add(self)

    def _apply(self, fn: Any, *args: Any, **options: Any) -> Any:
        before = self._on_meta()
        self._checked, self._signal, self._versions = None, None, {}
        moved = super()._apply(fn, *args, **options)
        self._unset = before and not self._on_meta()
        self._lead_inward()
        return moved

    def _on_meta(self) -> bool:
        return any(getattr(self, name).device.type == "meta" for name in self._names)

    def _enter(self) -> None:
        Face.live.add(self)
        if (
            self.instances is not Face.live
        ):  # a list of the user, as in ``SpikingNeuron.instances = []``
            self.instances.append(self)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self.State._fields:  # snnTorch 0.8 saved the state; it is not a parameter
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)
        # a string: reading a tensor each step would stall
        self._reset_mechanism = list(self.resets)[int(self.reset_mechanism_val)]
