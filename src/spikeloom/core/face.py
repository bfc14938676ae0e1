"""The remembering side of a neuron: snnTorch's call protocol, once for all neurons.

``forward`` picks the state (passed, remembered or fresh), runs `Neuron.step` or `Neuron.scan`, remembers the new state
and shapes what is returned. State is neither a buffer (DistributedDataParallel would broadcast it) nor known outside
its neuron. In sequence mode ``forward`` returns what stacking its results in step mode would return.
"""

import warnings
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from . import checks

__all__ = ["Face", "StateField", "TimeAxisWarning"]


class TimeAxisWarning(UserWarning):
    """An input in step mode has the number of axes of a sequence."""


class _Live:
    """A list-like view of the neurons alive; it keeps none of them alive."""

    def __init__(self) -> None:
        self._refs: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, neuron: Any) -> None:
        self._refs.add(neuron)

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._refs))

    def __getitem__(self, index: int) -> Any:
        return list(self._refs)[index]


class StateField:
    """``lif.mem`` reads and writes one field of the remembered state; of shape (0,) where there is none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, neuron: Any, owner: type | None = None) -> Any:
        return self if neuron is None else getattr(neuron.hidden, self.name)

    def __set__(self, neuron: Any, value: Tensor) -> None:
        neuron._hidden = neuron.hidden._replace(**{self.name: value})


class _OneOrAll:
    """A method that acts on one neuron, or, called on a class, on all living neurons of that class."""

    def __init__(self, method: Any) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, neuron: Any, owner: type) -> Any:
        if neuron is not None:
            return self.method.__get__(neuron, owner)
        return lambda: [self.method(each) for each in Face.live if isinstance(each, owner)] and None


class Face:
    """Mixin of `Neuron`; see the module."""

    live: ClassVar[_Live] = _Live()
    instances: ClassVar[Any] = live  # snnTorch's name; assigning a list to it is harmless
    State: Any
    _hidden: Any
    _checked: Any
    _reset: str
    _names: tuple[str, ...]

    # -- calling -------------------------------------------------------------------------------------

    def forward(self, input_: Tensor, *state: Tensor | None, **named: Tensor | None) -> Any:
        """Run one step or, in sequence mode, all steps of ``input_``, and remember the last state.

        Args:
            input_: current, [B, ...] or [T, B, ...] by ``mode``, floating point.
            *state: where to start, in the order of ``State``, by position or name. None or a tensor of shape (0,)
                means: as remembered or at rest. Broadcast to one step of the input.

        Returns:
            ``(spk, *state)``; spikes only with ``init_hidden=True`` unless ``output=True``.

        Raises:
            TypeError: the input is no floating-point tensor, or a state is passed although ``init_hidden=True``.
            ValueError: the state does not fit the input, or the input is not finite.
            RuntimeError: the state hangs on a graph that ``backward()`` has already freed.
        """
        sequence = self.mode == "sequence"
        if not torch.compiler.is_compiling():
            self._inspect(input_, sequence)
        x = input_.detach()[0] if sequence else input_
        start = self._start(x, state, named)
        spk, new = self.scan(input_, start) if sequence else self.step(input_, start)
        # a view of the last step would keep the states of all steps in memory
        self._hidden = self.State(*(value[-1].clone() for value in new)) if sequence else new
        return self._returned(spk, new)

    def _returned(self, spk: Tensor, state: Any) -> Any:
        if self.init_hidden and not self.output:
            return spk
        return tuple(state) if "spk" in state._fields else (spk, *state)

    def _start(self, x: Tensor, state: tuple[Any, ...], named: dict[str, Any]) -> Any:
        given = self._given(state, named)
        if not given and self._hidden is None:
            return self.initial(x)
        shape, rest, hidden = self.state_shape(x), None, self.hidden
        values = []
        for name in self.State._fields:
            value = given.get(name, getattr(hidden, name))
            if value.shape != shape:
                if value.shape == (0,):
                    rest = self.initial(x) if rest is None else rest
                    value = getattr(rest, name)
                else:
                    value = self._broadcast(name, value, shape, explicit=name in given)
            if not torch.compiler.is_compiling():
                self._inspect_state(name, value, x)
            values.append(value)
        return self.State(*values)

    def _given(self, state: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Tensor]:
        fields, kind = self.State._fields, type(self).__name__
        if len(state) > len(fields) or not named.keys() <= set(fields):
            raise TypeError(
                f"{kind} takes an input and the state ({', '.join(fields)}), got {len(state)} state(s)"
                f"{' and ' + ', '.join(named) if named else ''}"
            )
        given = {n: v for n, v in (*zip(fields, state, strict=False), *named.items()) if v is not None}
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
            f"{type(self).__name__}: {name} of shape {tuple(value.shape)} {origin}, but this input needs {tuple(shape)}; "
            "call snn.reset(net) before a batch of another size, or pass a state that fits"
        )

    # -- checks ----------------------------------------------------------------------------------------

    def _inspect(self, x: Tensor, sequence: bool) -> None:
        kind = type(self).__name__
        checks.floating(x, f"the input of {kind}")
        seen = (x.shape, x.dtype, x.device, sequence)
        if seen != self._checked:
            self._inspect_shape(x, sequence)
            self._checked = seen
        if x.device.type == "cpu":  # elsewhere the answer would stall the queue; snn.run looks once per call
            checks.finite(x, f"the input of {kind}")

    def _inspect_shape(self, x: Tensor, sequence: bool) -> None:
        kind = type(self).__name__
        if sequence and x.dim() < 3:
            raise ValueError(
                f"{kind} in sequence mode expects [T, B, features...], got {tuple(x.shape)}; for one time step write "
                'mode="step", for a single feature x.unsqueeze(-1), for a single sample x.unsqueeze(1)'
            )
        if not sequence and x.dim() == 3 and "sequence" in self.modes:
            warnings.warn(
                f"{kind} in step mode takes axis 0 of {tuple(x.shape)} as the batch; if it is time, write "
                'mode="sequence" or snn.run(net, x)',
                TimeAxisWarning,
                stacklevel=6,
            )
        target = self.state_shape(x[0] if sequence else x)
        for name in self._names:
            value = getattr(self, name)
            if value.device != x.device:
                raise RuntimeError(
                    f"{kind} is on {value.device}, its input on {x.device}; write net.to({str(x.device)!r})"
                )
            fits = value.dim() <= len(target) or value.numel() == 1
            pairs = zip(reversed(value.shape), reversed(target), strict=False)
            if not fits or any(v not in (1, t) for v, t in pairs):
                raise ValueError(
                    f"{kind}: {name} of shape {tuple(value.shape)} does not broadcast against one step of the input, "
                    f"{tuple(target)}; give one value, or one for each neuron"
                )

    def _inspect_state(self, name: str, value: Tensor, x: Tensor) -> None:
        kind = type(self).__name__
        if value.device != x.device:
            raise RuntimeError(
                f"{kind}: {name} is on {value.device}, the input on {x.device}; write {name}.to(x.device)"
            )
        if value.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"{kind}: {name} is {value.dtype}, the input {x.dtype}; write {name}.to(x.dtype) or snn.reset(net)"
            )
        if value.requires_grad and torch.is_grad_enabled() and checks.graph_is_freed(value):
            raise RuntimeError(
                f"{kind}: {name} still hangs on the graph of a batch that backward() has already used; call "
                "snn.reset(net) at the start of each batch, or snn.detach(net) to go on from its values"
            )

    # -- the remembered state ------------------------------------------------------------------------------

    @property
    def hidden(self) -> Any:
        """The remembered state; every field has shape (0,) where there is none."""
        if self._hidden is not None:
            return self._hidden
        return self.State(*(torch.zeros(0) for _ in self.State._fields))

    def reset_mem(self) -> Any:
        """Forget the state; it is created again, at rest, for the next input.

        Returns:
            The forgotten state: a tensor of shape (0,), or a tuple of them, accepted by ``forward`` as "at rest".
        """
        self._hidden = None
        empty = tuple(self.hidden)
        return empty[0] if len(empty) == 1 else empty

    def _detach_hidden(self) -> None:
        """Cut the remembered state from the graph and keep its values."""
        if self._hidden is not None:
            self._hidden = self.State(*(value.detach() for value in self._hidden))

    detach_hidden = _OneOrAll(_detach_hidden)
    reset_hidden = _OneOrAll(lambda self: self.reset_mem() and None)

    # -- configuration ---------------------------------------------------------------------------------------

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
        return self._reset

    @reset_mechanism.setter
    def reset_mechanism(self, name: str) -> None:
        self._reset = checks.choice("reset_mechanism", name, self.resets)
        self.reset_mechanism_val.fill_(list(self.resets).index(name))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if (
            name in ("spike_grad", "reset_delay", "inhibition", "state_quant", "_reset")
            and "transition" in self.__dict__
        ):
            self._configure()

    # -- copies, checkpoints, devices ----------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        kept = {k: v for k, v in self.__dict__.items() if k not in ("transition", "key", "_record")}
        hidden = self._hidden
        return {**kept, "_hidden": hidden and self.State(*(v.detach() for v in hidden)), "_checked": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._configure()
        Face.live.add(self)

    def _apply(self, fn: Any, *args: Any, **options: Any) -> Any:
        super()._apply(fn, *args, **options)
        self._checked = None
        if self._hidden is not None:
            self._hidden = self.State(*map(fn, self._hidden))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in self.State._fields:  # snnTorch 0.8 saved the state; it is not a parameter
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._reset = list(self.resets)[
            int(self.reset_mechanism_val)
        ]  # a string: reading a tensor each step would stall

    def extra_repr(self) -> str:
        """The settings that differ from the defaults, and the parameters."""
        values = []
        for name in self._names:
            value = getattr(self, name)
            text = f"{value.item():.4g}" if value.numel() == 1 and value.device.type != "meta" else tuple(value.shape)
            values.append(f"{name}={text}{' (learned)' if isinstance(value, nn.Parameter) else ''}")
        return ", ".join([*values, f"reset_mechanism={self._reset!r}", f"mode={self._mode!r}"])
