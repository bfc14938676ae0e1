"""One time step as a pure, hashable value: neuron x reset x surrogate x delay.

A `Transition` is the single source of a neuron's behaviour. Called on tensors it is the eager step;
traced, it is the program from which the fused loops and kernels are printed. It reads no attribute
of any module.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from . import checks
from .parameters import record
from .reset import Reset
from .surrogate import Disabled, Surrogate, above, spikes_of

__all__ = ["MOST_TRANSITIONS", "TRANSITIONS", "Transition", "over_threshold", "winner"]

MOST_TRANSITIONS = 512  # that stay in the table after their last neuron is gone


class Transitions:
    """Transitions of neurons by name, which is the fused operator's string argument.

    Annealing a slope makes a transition at every value. Those of living neurons are found as long
    as the neurons live; of others the latest stay, because a backward pass may still need them.
    """

    def __init__(self) -> None:
        self._living: WeakValueDictionary[str, Transition] = WeakValueDictionary()
        self._latest: OrderedDict[str, Transition] = OrderedDict()

    def __getitem__(self, key: str) -> "Transition":
        return self._living[key]

    def __len__(self) -> int:
        return len(self._living)

    def setdefault(self, key: str, transition: "Transition") -> "Transition":
        """The transition of a name, which is ``transition`` where the name is new."""
        found = self._living.setdefault(key, transition)
        self._latest[key] = found
        self._latest.move_to_end(key)
        while len(self._latest) > MOST_TRANSITIONS:
            self._latest.popitem(last=False)
        return found


TRANSITIONS = Transitions()


@dataclass(frozen=True)
class Transition:
    """``(x, state, p) -> (spk, state)``: one time step of a neuron.

    Args:
        neuron: the class; provides ``integrate``, ``trigger``, ``settle``, and ``retract`` where
            spikes have signs.
        reset: what a spike does to the state, and when.
        surrogate: the spike function of ``mem - threshold``.
        delay: True resets one step after the spike, as snnTorch does by default; False resets in
            the same step.
        inhibition: only the neuron furthest above its threshold fires.
        quantize: applied to every state variable after the integration and the reset.
        names: the parameters in the order of their registration.
        shifts: the parameter to which ``state.shift`` is added where the spike is decided; the
            state has the fields of `spikeloom.core.noise.SHIFTED`. "": none.
    """

    neuron: Any
    reset: Reset
    surrogate: Callable[[Tensor], Tensor]
    delay: bool = True
    inhibition: bool = False
    quantize: Callable[[Tensor], Tensor] | None = None
    names: tuple[str, ...] = ()
    shifts: str = ""

    def __post_init__(self) -> None:
        # Cached, because every call of a layer needs it to find its loops
        object.__setattr__(self, "_hash", hash(self._values()))

    def __hash__(self) -> int:
        return self._hash  # pyright: ignore[reportAttributeAccessIssue]

    def __reduce__(self) -> Any:
        return Transition, self._values()  # hashes of functions are those of a process

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    def __call__(self, x: Tensor, state: Any, p: Any, cell: Any = None) -> tuple[Tensor, Any]:
        """One step by the equations of ``cell``: the class, or an instance with modules."""
        cell = self.neuron if cell is None else cell
        acts = self.reset.acts
        fired = self._fired(x, state, p) if acts else x
        state = self.reset.advance(cell.integrate, x, state, fired, p)
        if self.quantize is not None:
            state = state._make(self.quantize(value) for value in state)
        seen = self._seen(state, p) if self.shifts else p
        over = cell.trigger(state, seen)
        spk = exceeded = spikes_of(self.surrogate, over)
        if self.inhibition:
            spk = spk * winner(over)
        if self.neuron.retract is not None:
            spk = spk - spikes_of(self.surrogate, cell.retract(state, seen))
        if acts and not self.delay:  # clear now what the next step would have cleared
            state = self.reset.clear(state, spk - fired, p)
        if self.shifts:
            state = self._remembering(state, exceeded, fired, p)
        # a factor of 1 is left out where `spk` is a new tensor, not the membrane that `LI` returns
        alone = self._is_step and not self.shifts and spk is not over
        if not (alone and _is_one(p.graded_spikes_factor)):
            spk = spk * p.graded_spikes_factor
        return spk, cell.settle(state, spk, seen)

    def _seen(self, state: Any, p: Any) -> Any:
        """The parameters with the threshold of this step."""
        return p._replace(**{self.shifts: getattr(p, self.shifts) + state.shift})

    def _remembering(self, state: Any, exceeded: Tensor, fired: Tensor, p: Any) -> Any:
        """The state with who exceeded the threshold, for the reset in the next step.

        Without delay only neurons count that their reset, now or before, left above the threshold.
        """
        now = exceeded if self.reset.attached else exceeded.detach()
        if self.reset.acts and not self.delay:
            above = (state.mem.detach() > p.threshold.detach()).to(now.dtype)
            now = torch.maximum(now, fired) * above
        return state._replace(fired=now)

    def _fired(self, x: Tensor, state: Any, p: Any) -> Tensor:
        """Who exceeded the threshold in the step before."""
        if self.shifts:
            return state.fired
        if self.reset.attached:
            return spikes_of(self.surrogate, state.mem - p.threshold)
        if not self._is_step:
            return spikes_of(self.surrogate, (state.mem - p.threshold).detach()).detach()
        return above(state.mem, p.threshold)

    @property
    def _is_step(self) -> bool:
        """Whether spikes are known to be 1 above the threshold and 0 elsewhere."""
        return isinstance(self.surrogate, (Surrogate, Disabled))

    @property
    def elementwise(self) -> bool:
        """Whether one neuron's step is arithmetic of that neuron alone, so that it may be fused."""
        return not self.obstacle()

    def obstacle(self) -> str:
        """Why the step is not elementwise arithmetic; empty if it is."""
        overridden = getattr(self.neuron, "overridden", ())
        if overridden and not self.neuron.elementwise:
            return f"its class overrides {', '.join(overridden)}, which may do anything"
        if not self.neuron.elementwise:
            return "it owns modules (its equations are methods, not static functions)"
        if self.shifts:
            return "its threshold is drawn anew at every step (noise)"
        if self.inhibition:
            return "inhibition=True makes the neurons of a sample depend on each other"
        if self.quantize is not None:
            return "state_quant is a function without a kernel"
        if not self._is_step:
            return (
                "spike_grad is a function of its own; subclass snn.surrogate.Surrogate to "
                "have it fused"
            )
        return ""

    def compared(self) -> dict[str, str]:
        """States that alone decide a spike, with the parameter that each is compared with.

        Empty where a spike depends on more than ``mem - threshold`` after the step.
        """
        plain = self.neuron.trigger is over_threshold and self.neuron.retract is None
        alone = plain and (self.delay or not self.reset.acts) and self._settles_beside_mem()
        return {"mem": "threshold"} if alone else {}

    def _settles_beside_mem(self) -> bool:
        """Whether ``settle`` returns the membrane that decided the spike."""
        if not self.neuron.elementwise:
            return False
        state = self.neuron.State(*(torch.zeros(()) for _ in self.neuron.State._fields))
        p = record(self.names)(*(torch.zeros(()) for _ in self.names))
        return self.neuron.settle(state, torch.zeros(()), p).mem is state.mem

    def key(self) -> str:
        """A readable name, unique among all transitions of this process."""
        name = (
            f"{self.neuron.__module__}.{self.neuron.__qualname__}({', '.join(self.names)})"
            f"|{self.reset}|{self.surrogate}|delay={self.delay}"
        )
        key = name
        n = 1
        while (
            TRANSITIONS.setdefault(key, self) != self
        ):  # a class redefined in a notebook keeps its name
            n += 1
            key = f"{name}#{n}"
        return key


def _is_one(factor: Tensor) -> bool:
    """Whether a factor that does not learn can be left out; reads it only where that is quick."""
    if factor.requires_grad or factor.dim() or not checks.direct(factor):
        return False
    return factor.item() == 1.0


def over_threshold(state: Any, p: Any) -> Tensor:
    """What must be positive for a spike."""
    return state.mem - p.threshold


def winner(over: Tensor) -> Tensor:
    """1 at the element furthest above its threshold in a sample (the first of equals), else 0."""
    flat = over.detach().flatten(1) if over.dim() > 1 else over.detach().unsqueeze(1)
    if flat.shape[1] == 0:  # argmax has no answer
        return torch.zeros_like(over)
    mask = torch.zeros_like(flat).scatter_(1, flat.argmax(1, keepdim=True), 1.0)
    return mask.reshape(over.shape)
