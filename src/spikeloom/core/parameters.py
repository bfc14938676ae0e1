"""The parameters of a neuron's equations: registers them, reads them by name, and resets them."""

from collections import namedtuple
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from . import checks
from .decays import lead_inward
from .options import arguments

__all__ = ["Parameters", "record", "version"]


@cache
def record(names: tuple[str, ...]) -> Any:
    """Return the type in which equations receive their parameters, ``p.name``.

    >>> record(("threshold", "beta"))(1.0, 0.9)
    Params(threshold=1.0, beta=0.9)
    """
    return namedtuple("Params", names)


class Parameters(nn.Module):
    """Mixin of `Neuron`: named tensors, fixed or learned.

    >>> import spikeloom as snn
    >>> snn.Leaky(0.5).params(torch.float64).beta
    tensor(0.5000, dtype=torch.float64)
    """

    positive: ClassVar[tuple[str, ...]] = ("threshold",)  # what training must not push to 0
    spiking: ClassVar[bool]
    reset_dict: ClassVar[Any]
    _unset: bool
    reset_mechanism_val: Tensor
    _reset_mechanism: str
    _record: Any
    _mode: str

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self._decays: tuple[str, ...] = ()
        self._started_with: dict[str, Any] = {}
        self._versions: dict[str, Any] = {}

    def _configure(self) -> None:
        raise NotImplementedError

    def parameter(
        self, name: str, value: Any, learn: bool = False, *, persistent: bool = True
    ) -> None:
        """Register a tensor of the equations: a parameter if it learns, a buffer otherwise.

        Args:
            name: how ``integrate`` reads it, ``p.name``, and its key in ``state_dict``.
            value: a number or a tensor that broadcasts against one step ``[B, ...]``.
            learn: whether it has a gradient.
            persistent: False leaves a tensor that does not learn out of ``state_dict``.
        """
        checks.flags(type(self).__name__, **{f"learn_{name}": learn})
        try:
            tensor = torch.as_tensor(value).detach().clone()
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{type(self).__name__}: {name} must be a number or a tensor, got {value!r}; "
                f"write {name}=0.5"
            ) from error
        if tensor.layout is not torch.strided:
            raise TypeError(
                f"{type(self).__name__}: {name} must be dense, got {tensor.layout}; write "
                ".to_dense()"
            )
        tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
        if learn:
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor, persistent=persistent)
        self._names += (name,)
        self._started_with[name] = value
        self._configure()

    def decay_parameter(
        self, name: str, value: Any, learn: bool = False, *, of: str = "membrane"
    ) -> None:
        """Register a `parameter` that the equations clamp to [0, 1]; gradients lead it back there.

        Args:
            name: as for `parameter`.
            value: as for `parameter`, in [0, 1].
            learn: as for `parameter`.
            of: what decays, for the message.

        Raises:
            ValueError: ``value`` outside [0, 1].
        """
        why = f"it is the fraction of the {of} that is left after one step"
        checks.in_range(name, value, 0.0, 1.0, why=why)
        self.parameter(name, value, learn)
        self._decays += (name,)
        self._lead_inward()

    def _adopt(self, name: str) -> None:
        """Let the equations read a tensor that a subclass registered in place of `parameter`."""
        own = self._parameters.get(name, self._buffers.get(name, self.__dict__.get(name)))
        if name not in self._names and own is not None:
            self._names += (name,)
            self._started_with[name] = own.detach().clone()
            self._configure()

    def _lead_inward(self) -> None:
        for name in self._decays:
            value = self._parameters.get(name)
            if value is not None and value.requires_grad:
                lead_inward(value)

    def reset_parameters(self) -> None:
        """Set each tensor of the equations to the constructor's value, e.g. after ``to_empty()``.

        Raises:
            RuntimeError: the constructor received a tensor without values.
        """
        for name in self._names:
            value = torch.as_tensor(self._started_with[name])
            if value.device.type == "meta":
                raise RuntimeError(
                    f"{type(self).__name__}: {name} was computed on the meta device, so that its "
                    "value is not known; "
                    "call load_state_dict() instead"
                )
            with torch.no_grad():
                getattr(self, name).copy_(value)
        self.reset_mechanism_val.fill_(self.reset_dict[self._reset_mechanism])

    def inspect_values(self) -> None:
        """Check the parameters, and the weights of direct children, written since the last look.

        Reads version counters only where nothing was written, because this runs at every step.
        """
        known: dict[str, Any] = self._versions
        parameters = self._parameters
        buffers = self._buffers
        changed: list[tuple[str, Tensor]] = []
        for name in self._names:
            value = parameters.get(name)
            if value is None:
                value = buffers.get(name)
            if value is None:
                value = getattr(self, name)  # a property, or a parametrization
            seen = known.get(name)  # `_is_known` without its calls
            now = -1 if value.is_inference() else value._version
            if seen is None or seen[0] is not value or seen[1] != now:
                changed.append((name, value))
        for child, module in self._modules.items():
            for name, value in module._parameters.items() if module is not None else ():
                if value is not None and not _is_known(known.get(f"{child}.{name}"), value):
                    changed.append((f"{child}.{name}", value))
        if changed and all(checks.readable(value) for _, value in changed):
            self._check_values(changed)

    def _check_values(self, changed: list[tuple[str, Tensor]]) -> None:
        kind = type(self).__name__
        with torch.no_grad():
            for name, value in changed:
                if self._unset and name in self._names and version(value) == 0:
                    raise RuntimeError(
                        f"{kind}: {name} was made on the meta device and holds no values yet; call "
                        "neuron.reset_parameters() or load_state_dict() after to_empty()"
                    )
                if name == "threshold" and not self.spiking:
                    continue
                bad = int((~torch.isfinite(value)).sum()) if value.is_floating_point() else 0
                if bad:
                    raise ValueError(
                        f"{kind}: {name} holds {bad} NaN or infinite values of {value.numel()}; "
                        "training has diverged or a file was damaged: load an earlier state, lower "
                        "the learning rate or clip the gradients"
                    )
                if name in self.positive and not bool((value > 0).all()):
                    raise ValueError(
                        f"{kind}: {name} must stay above 0, got {value.min():.4g}; a neuron at "
                        "rest would fire or divide by 0: after optimizer.step() write "
                        f"neuron.{name}.data.clamp_(min=1e-3)"
                    )
            self.inspect_together()
        for name, value in changed:
            self._versions[name] = (value, version(value))

    def inspect_together(self) -> None:
        """Raise if learned parameters are inconsistent; called without gradients after a write."""

    def constants(self) -> list[str]:
        """Names of the tensors that the constructor takes, enough of them to determine the rest."""
        return [name for name in self._names if name in arguments(type(self))]

    def params(self, dtype: torch.dtype) -> Any:
        """Return the parameters by name, in ``dtype``, as the equations read them."""
        parameters = self._parameters
        buffers = self._buffers
        values = []
        for name in self._names:  # getattr of a module takes ten times as long as its dictionaries
            value = parameters.get(name)
            if value is None:
                value = buffers.get(name)
            if value is None:
                value = getattr(self, name)
            values.append(value if value.dtype == dtype else value.to(dtype))
        return self._record(*values)

    def extra_repr(self) -> str:
        """The settings that differ from the defaults, and the parameters."""
        values = []
        for name in self._names:
            value = getattr(self, name)
            text = (
                f"{value.item():.4g}"
                if value.numel() == 1 and value.device.type != "meta"
                else tuple(value.shape)
            )
            values.append(f"{name}={text}{' (learned)' if isinstance(value, nn.Parameter) else ''}")
        return ", ".join(
            [*values, f"reset_mechanism={self._reset_mechanism!r}", f"mode={self._mode!r}"]
        )


def _is_known(seen: Any, value: Tensor) -> bool:
    return seen is not None and seen[0] is value and seen[1] == version(value)


def version(value: Tensor) -> int:
    """Return how often a tensor was written; -1 for an inference tensor, which does not count.

    >>> version(torch.zeros(1).add_(1))
    1
    """
    return -1 if value.is_inference() else value._version
