"""State from call to call: how networks are reset, detached, switched and run over time.

Neurons are one kind of it, delays another. State is a NamedTuple of tensors outside of the module's
buffers (DistributedDataParallel would broadcast it), made from the first input. Numbers may be
among them where ``forward`` is the module's own.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._C._functorch import (
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    maybe_current_level,
    maybe_get_level,
    unwrap_if_dead,
)

from . import alone, checks, graph, recording

__all__ = ["Stateful", "computes_in_other_dtype"]

# nodes from a membrane to the product with its decay, which saves tensors in every neuron
_OWN_DEPTH = 5


def _outlived(module: Any, value: Any) -> Any:
    """The state after the end of the ``torch.func`` transform that made it, as plain tensors."""
    value = unwrap_if_dead(value)
    if is_batchedtensor(value) and maybe_get_level(value) > (maybe_current_level() or 0):
        raise RuntimeError(
            f"{type(module).__name__} remembers a state of a torch.func.vmap that has ended, one "
            "for each of its "
            "entries; call snn.reset(net) after it, or pass the state and return it"
        )
    return value


def computes_in_other_dtype(x: Tensor) -> bool:
    """Whether autocast chooses the dtype in which operations on ``x`` compute.

    >>> computes_in_other_dtype(torch.zeros(1))
    False
    """
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)


class Stateful(nn.Module):
    """Base of modules with a state, for ``snn.reset``, ``detach``, ``set_mode`` and ``run``.

    A subclass declares ``State``, a NamedTuple of tensors, and ``advance``, which reads and sets
    ``_hidden``.

    >>> from typing import NamedTuple
    >>> class Last(Stateful):
    ...     class State(NamedTuple):
    ...         x: Tensor
    ...     def advance(self, input_, *, sequence, num_steps=None):
    ...         before = torch.zeros_like(input_) if self._hidden is None else self.hidden.x
    ...         self._hidden = self.State(input_)
    ...         return before, self._hidden
    ...     modes = ("step",)
    >>> last = Last()
    >>> last(torch.ones(1, 2)), last(torch.zeros(1, 2))
    (tensor([[0., 0.]]), tensor([[1., 1.]]))
    """

    State: Any
    modes: ClassVar[tuple[str, ...]] = ("step", "sequence")
    # axis of the samples in the state; None: padded recordings leave no state behind
    batch_axis: ClassVar[int | None] = None
    takes_ends: ClassVar[bool] = False  # whether `advance` takes ``ends``, steps of each sample
    _hidden: Any = None
    _foreign: bool = False  # whether a state was assigned, and not yet checked
    _mode: str = "step"
    _mover: Any = None  # the thread that moved the state last, see `spikeloom.core.alone`
    _ousted: Any = None  # threads whose state it was before

    def forward(self, input_: Tensor) -> Any:
        """Run one step or, in sequence mode, all steps of ``input_``, and store the last state."""
        if not torch.compiler.is_compiling():
            if alone.claimed:
                alone.refuse_others(self)
            recorder = recording.local.recorder
            if recorder is not None:
                return recorder.stateful(self, input_, (), {})
        return self.called(input_)

    def called(self, input_: Tensor) -> Any:
        """What ``forward`` does where nothing is recorded."""
        if torch.compiler.is_compiling():
            return self.returned(*self.advance(input_, sequence=self._mode == "sequence"))
        alone.go_on(self)
        found = self.returned(*self.advance(input_, sequence=self._mode == "sequence"))
        alone.stayed(self)
        return found

    def advance(
        self, input_: Tensor, *, sequence: bool, num_steps: int | None = None
    ) -> tuple[Any, Any]:
        """Run, remember the last state, and return the output and the new state.

        Args:
            input_: [B, ...], or [T, B, ...] in a sequence unless it is constant.
            sequence: whether to run over time.
            num_steps: T of a sequence whose input [B, ...] is the same at every step.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define advance(input_, *, sequence, num_steps=None)"
        )

    def returned(self, output: Any, state: Any) -> Any:
        """What ``forward`` returns of output and state."""
        return output

    # -- the remembered state ----------------------------------------------------------------------

    @property
    def hidden(self) -> Any:
        """The remembered state; every field has shape (0,) where there is none."""
        hidden = self._hidden  # read once, another thread may reset it
        if hidden is not None:
            compiling = torch.compiler.is_compiling()
            wrapped = not compiling and hidden and isinstance(hidden[0], Tensor)
            if wrapped and is_functorch_wrapped_tensor(hidden[0]):
                hidden = self._hidden = self.state_of(lambda value: _outlived(self, value))
            return hidden
        return self.State(*(torch.zeros(0) for _ in self.State._fields))

    def inspect_state(self, name: str, value: Tensor, x: Tensor, *, passed: bool) -> Tensor:
        """Check a state that a step is about to start from.

        Args:
            name: of the state variable.
            value: what was passed or is remembered.
            x: one step of the input.
            passed: whether the user gave it.

        Returns:
            ``value``, in the dtype of ``x`` if that loses nothing: whole numbers, and zeros of any
            dtype.
        """
        if value.device != x.device:
            kind = type(self).__name__
            raise RuntimeError(
                f"{kind}: {name} is on {value.device}, the input on {x.device}; write "
                f"{name}.to(x.device)"
            )
        if value.dtype != x.dtype:
            value = self._cast(name, value, x)
        own = self._hidden is not None and value is getattr(self._hidden, name)
        foreign = (passed and not own) or self._foreign
        if (foreign or value.dtype == torch.float16) and value.device.type == "cpu":
            checks.finite(value, f"{name}, a state of {type(self).__name__},")
        if (
            value.requires_grad
            and torch.is_grad_enabled()
            and graph.is_freed(value, _OWN_DEPTH if own else 8)
        ):
            raise RuntimeError(
                f"{type(self).__name__}: {name} still hangs on the graph of a batch that "
                "backward() has already used; call snn.reset(net) at the start of each batch, or "
                "snn.detach(net) to go on from its values"
            )
        return value

    def _cast(self, name: str, value: Tensor, x: Tensor) -> Tensor:
        if not value.is_floating_point() and not value.is_complex():
            return value.to(x.dtype)
        if computes_in_other_dtype(x):
            return value
        if not value.requires_grad and checks.readable(value) and not bool(value.any()):
            return value.to(x.dtype)
        raise TypeError(
            f"{type(self).__name__}: {name} is {value.dtype}, the input {x.dtype}; write "
            f"{name}.to(x.dtype) or "
            "snn.reset(net)"
        )

    def reset_mem(self) -> Any:
        """Forget the state; it is created again, at rest, for the next input.

        Returns:
            The forgotten state: a tensor of shape (0,), or a tuple of them, accepted by neurons as
                "at rest".
        """
        if alone.claimed:
            alone.refuse_others(self)
        alone.take(self)
        self._hidden = None
        recorder = recording.local.recorder
        if recorder is not None:
            recorder.reset.add(id(self))
        empty = self._shown(self.hidden)
        return empty[0] if len(empty) == 1 else empty

    def _shown(self, state: Any) -> tuple[Any, ...]:
        """The fields of a state that are returned and accepted."""
        return tuple(state)

    def forget_padded(self) -> None:
        """Forget a state that has no axis of the samples, which have ended at different steps."""
        self._hidden = None

    def detach_hidden(self) -> None:
        """Cut the remembered state from the graph and keep its values."""
        alone.take(self)
        self._hidden = self.state_of(torch.detach)

    def state_of(self, function: Callable[[Tensor], Tensor]) -> Any:
        """The remembered state with ``function`` of its tensors; None if there is none."""
        hidden = self._hidden  # read once, another thread may reset it
        if hidden is None:
            return None
        return self.State(*(function(v) if isinstance(v, Tensor) else v for v in hidden))

    # -- configuration, copies, devices ------------------------------------------------------------

    def __prepare_scriptable__(self) -> Any:
        """What ``torch.jit.script`` calls first; it cannot compile a module with a state."""
        raise TypeError(
            f"TorchScript cannot compile {type(self).__name__}; write torch.export.export of a "
            "module whose forward calls snn.run(net, x)"
        )

    @property
    def mode(self) -> str:
        """``"step"`` for inputs [B, ...], ``"sequence"`` for inputs [T, B, ...]."""
        return self._mode

    @mode.setter
    def mode(self, name: str) -> None:
        self._mode = checks.choice(f"mode of {type(self).__name__}", name, self.modes)

    def __getstate__(self) -> dict[str, Any]:
        attributes = self.__dict__.copy()
        attributes.pop("_mover", None)
        attributes.pop("_ousted", None)
        return {**attributes, "_hidden": self.state_of(torch.detach)}

    def _apply(self, fn: Any, *args: Any, **options: Any) -> Any:
        super()._apply(fn, *args, **options)
        self._hidden = self.state_of(fn)
        return self
