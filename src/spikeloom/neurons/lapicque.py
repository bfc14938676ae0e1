"""Lapicque's neuron: leaky integrate-and-fire as a circuit of a resistor and a capacitor."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import checks
from ..core.decays import unit
from ..core.options import AddedOptions, Unpack
from .leaky import LIF

__all__ = ["Lapicque"]


class Lapicque(LIF):
    r"""Leaky integrate-and-fire neuron with a resistance R and a capacitance C, as a Euler step.

    .. math::
        U[t+1] = \left(1 - \frac{\Delta t}{RC}\right) U[t] + \frac{\Delta t}{RC} R I[t+1]
        - R_{set}[t] \theta

    with ``reset_mechanism="subtract"``; ``"zero"`` multiplies the whole new membrane by ``1 -
    Rset[t]``. Give R and C, or ``beta = exp(-dt / RC)``, alone (then R = 1) or with one of R and C.
    The decay is the Euler factor, ``1 + ln(beta)``, not ``beta``; use `Leaky` for ``beta``.

    Unlike in snnTorch ``beta`` may be a tensor, all three may be given if they agree, and
    ``learn_beta`` works with any of these: what was not given (C, if nothing else) then follows
    beta; its buffer has the initial value.

    Args:
        beta: decay of the membrane per step, in (0, 1); a scalar or one value for each neuron.
        R: resistance in ohm, > 0; likewise.
        C: capacitance in farad, > 0; likewise.
        time_step: dt in seconds, > 0.
        learn_beta: make ``beta`` a parameter.
        (The other arguments are those of `Neuron`.)

    Raises:
        ValueError: neither ``beta`` nor both R and C are given, the three disagree, or one is out
            of range.

    Source: Lapicque (1907), in the form of Eshraghian et al. (2023), Proc. IEEE 111, 1016-1054.

    >>> import torch, spikeloom as snn
    >>> neuron = snn.Lapicque(R=5.0, C=1e-3, time_step=1e-3)
    >>> mem = neuron.init_lapicque()
    >>> spk, mem = neuron(torch.tensor([[0.1]]), mem)
    >>> spk, mem
    (tensor([[0.]]), tensor([[0.1000]]))
    """

    class State(NamedTuple):
        mem: Tensor  # membrane potential, [B, ...], in volt

    positive = ("threshold", "R", "C", "time_step")
    example = {"beta": 0.8}
    example_gain = 12.0  # R comes from beta and is small

    def __init__(
        self,
        beta: Any = False,
        R: Any = False,
        C: Any = False,
        time_step: Any = 1,
        threshold: Any = 1.0,
        spike_grad: Any = None,
        surrogate_disable: bool = False,
        init_hidden: bool = False,
        inhibition: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        state_quant: Any = False,
        output: bool = False,
        *,
        reset_delay: bool = True,
        **options: Unpack[AddedOptions],
    ) -> None:
        values = {
            name: None if value is False or value is None else value
            for name, value in (("beta", beta), ("R", R), ("C", C))
        }
        follows = _follower(values, learn_beta)
        _check(values, time_step)
        completed = _completed(values, time_step)
        super().__init__(
            completed["beta"],
            threshold=threshold,
            spike_grad=spike_grad,
            surrogate_disable=surrogate_disable,
            init_hidden=init_hidden,
            inhibition=inhibition,
            learn_beta=learn_beta,
            learn_threshold=learn_threshold,
            reset_mechanism=reset_mechanism,
            state_quant=state_quant,
            output=output,
            reset_delay=reset_delay,
            **options,
        )
        self._follows = follows
        for name in ("R", "C"):
            self.parameter(name, completed[name])
        self.parameter("time_step", time_step)
        self._init_mem()

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        leak = p.time_step / (p.R * p.C)
        return state._replace(mem=(1 - leak) * state.mem + leak * p.R * x)

    def params(self, dtype: torch.dtype) -> Any:
        """The parameters by name, in ``dtype``; R or C follows ``beta`` where it was not given."""
        p = super().params(dtype)
        return p._replace(**{self._follows: _other(p, self._follows)}) if self._follows else p

    @staticmethod
    def nir_node(p: Mapping[str, Any], dt: float) -> tuple[str, dict[str, Any]]:
        """Return a LIF with the same resistance and leak per step."""
        leak = p["time_step"] / (p["R"] * p["C"])
        return "LIF", {
            "tau": dt / leak,
            "r": p["R"],
            "v_leak": 0 * leak,
            "v_threshold": p["threshold"],
            "v_reset": 0 * leak,
        }

    def constants(self) -> list[str]:
        """Return the parameters that determine the others: two of ``beta``, R and C."""
        return [name for name in super().constants() if name != (self._follows or "beta")]

    _base_zero = LIF._zero_by_second_pass
    init_lapicque = LIF.reset_mem


def _follower(values: dict[str, Any], learn_beta: bool) -> str:
    """Which of R and C follows from beta; none where both are given and beta does not learn."""
    given = {name for name, value in values.items() if value is not None}
    if not given >= {"R", "C"} and "beta" not in given:
        raise ValueError(
            f"Lapicque needs beta, or R and C, got {', '.join(sorted(given)) or 'none of them'}; "
            "write Lapicque(beta=0.9) or Lapicque(R=5.0, C=1e-3, time_step=1e-3)"
        )
    if {"R", "C"} <= given and not learn_beta:
        return ""
    return "R" if "C" in given and "R" not in given else "C"


def _check(values: dict[str, Any], time_step: Any) -> None:
    if values["beta"] is not None:
        checks.in_range(
            "beta",
            values["beta"],
            0.0,
            1.0,
            open_low=True,
            open_high=True,
            why="it is exp(-time_step / (R C))",
        )
    for name, value in (("R", values["R"]), ("C", values["C"]), ("time_step", time_step)):
        if value is not None:
            checks.in_range(
                name, value, 0.0, math.inf, open_low=True, why="it is a physical quantity"
            )


def _completed(values: dict[str, Any], time_step: Any) -> dict[str, Tensor]:
    """R, C and beta as tensors, the missing ones from those given."""
    made = {
        name: torch.as_tensor(value, dtype=_dtype(value))
        for name, value in values.items()
        if value is not None
    }
    step = torch.as_tensor(time_step, dtype=_dtype(time_step))
    if "R" in made and "C" in made:
        beta = torch.exp(-step / (made["R"] * made["C"]))
        made.setdefault("beta", beta)
        if beta.device.type != "meta" and not torch.allclose(
            made["beta"], beta, rtol=1e-3, atol=1e-6
        ):
            raise ValueError(
                f"beta, R and C disagree: exp(-time_step / (R C)) is {beta.tolist()}, got "
                f"beta={values['beta']}; "
                "leave out one of the three"
            )
        return made
    log = -torch.log(made["beta"])
    if "C" in made:
        return {**made, "R": step / (made["C"] * log)}
    made.setdefault("R", torch.ones(()))
    return {**made, "C": step / (made["R"] * log)}


def _dtype(value: Any) -> torch.dtype:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.dtype if floating else torch.get_default_dtype()


def _other(p: Any, name: str) -> Tensor:
    """R from beta and C, or C from beta and R."""
    leak = -torch.log(unit(p.beta, 1e-6))
    return p.time_step / ((p.C if name == "R" else p.R) * leak)
