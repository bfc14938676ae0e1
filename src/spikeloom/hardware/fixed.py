r"""Networks of integers: weights of few bits, membranes and thresholds on a grid.

A layer with weights w and the neurons behind it become

.. math::
    U[t+1] = \lfloor 2^{-8} (\beta U[t] + 2^7) \rfloor + \lfloor g (q \cdot x + h) \rfloor + c
    \qquad q = \mathrm{round}(w / s)

with one scale s for each output channel (or for the layer), membranes in units of s / g, the decay
beta / 256, the gain g a power of two, h half a unit of it, and c the bias in units of the membrane.
All of them are integers but g, which is a shift. The values are exact in float32, so a network of
`quantize` runs everywhere that an ordinary one does, with the spikes of an integer processor.
"""

import copy
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import fusion, parametrize

from ..core import checks
from ..core.neuron import Neuron
from ..core.numbers import network, whole
from ..core.reset import Keep, Reset, Subtract, ZeroBefore
from ..neurons.integrate_fire import IF
from ..neurons.leaky import Leaky
from ..nir.computed_weights import plain_layers
from ..nir.wiring import Part, wiring_of
from .c_layers import serves

__all__ = ["FixedPointLeaky", "fake_quantize", "quantize"]

DECAY_BITS = 8
EXACT = 2**24  # integers up to here are exact in float32
LARGEST = 2.0**30  # of what a membrane receives in a step, for processors with 32 bits
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)


class FixedPointLeaky(Neuron):
    """A leaky integrate-and-fire neuron in integers; see `spikeloom.hardware.fixed`.

    `quantize` makes it. All values are integers in units of the membrane, but ``gain``.

    Args:
        beta: decay of the membrane per step in 1/256, in [0, 256]; a scalar or one for each neuron.
        threshold: > 0; a scalar or one for each neuron.
        gain: of the input, a power of two.
        bias: added at every step; a scalar or one for each neuron.
        state_bits: width of the membrane, which is clamped to it, in [4, 24].
        reset_mechanism: ``"subtract"``, ``"zero"`` or ``"none"``.
        reset_delay: reset one step after the spike.
        init_hidden: remember the state.
        output: return ``(spk, mem)`` although ``init_hidden=True``.
        mode: ``"step"`` or ``"sequence"``.

    Raises:
        ValueError: a value is no integer or out of its range.

    >>> lif = FixedPointLeaky(beta=128, threshold=10, mode="sequence")
    >>> lif(torch.tensor([8.0, 8.0, 0.0]).view(3, 1, 1))[0].flatten()
    tensor([0., 1., 0.])
    """

    class State(NamedTuple):
        mem: Tensor  # membrane, integers, [B, ...]

    resets: ClassVar[Mapping[str, Reset]] = {
        "subtract": Subtract(),
        "zero": ZeroBefore(),
        "none": Keep(),
    }
    example: ClassVar[dict[str, Any]] = {"beta": 230, "threshold": 2}

    def __init__(
        self,
        beta: Any,
        threshold: Any,
        *,
        gain: float = 1.0,
        bias: Any = 0.0,
        state_bits: int = 16,
        reset_mechanism: str = "subtract",
        reset_delay: bool = True,
        init_hidden: bool = False,
        output: bool = False,
        spike_grad: Any = None,
        mode: str = "step",
    ) -> None:
        state_bits = whole("state_bits", state_bits, 4, 24)
        checks.in_range("beta", beta, 0.0, 2.0**DECAY_BITS)
        for name, value in (("beta", beta), ("threshold", threshold), ("bias", bias)):
            number = torch.as_tensor(value, dtype=torch.float64)
            if bool((number != number.round()).any()) or bool((number.abs() > EXACT).any()):
                raise ValueError(f"{name} must be an integer of at most 24 bits, got {value!r}")
        mantissa, exponent = math.frexp(gain)
        if mantissa != 0.5:
            raise ValueError(f"gain must be a power of two such as 0.25, got {gain!r}")
        super().__init__(
            threshold,
            spike_grad,
            init_hidden=init_hidden,
            output=output,
            reset_mechanism=reset_mechanism,
            reset_delay=reset_delay,
            mode=mode,
        )
        self.parameter("beta", beta, False)
        self.parameter("bias", bias, False)
        self.parameter("gain", gain, False)
        self.parameter("offset", 2.0 ** (-exponent) if exponent < 1 else 0.0, False)
        self.parameter("top", 2.0 ** (state_bits - 1) - 1, False)
        self.state_bits = state_bits

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        # in two parts, so that no product is longer than 24 bits
        high = (state.mem * 2.0**-DECAY_BITS).floor()
        low = state.mem - high * 2.0**DECAY_BITS
        rounded = ((low * p.beta + 2 ** (DECAY_BITS - 1)) * 2.0**-DECAY_BITS).floor()
        mem = high * p.beta + rounded + ((x + p.offset) * p.gain).floor() + p.bias
        return state._replace(mem=torch.maximum(torch.minimum(mem, p.top), -p.top))


def quantize(
    net: nn.Module,
    sample: Tensor,
    *,
    weight_bits: int = 8,
    per_channel: bool = True,
    state_bits: int = 16,
    input_step: float = 1.0,
) -> nn.Module:
    """Return a copy of a network in integers.

    Weights, biases, thresholds and membranes become integers (see `spikeloom.hardware.fixed`);
    batch normalization is folded into the layer before it. The copy runs with ``snn.run`` and
    ``snn.layerwise``, and `to_c` writes it with 8-bit weights and 32-bit arithmetic. Each neuron
    has the ``unit`` of its membrane, the value of 1 in the network of floating-point numbers;
    ``unit * gain`` is that of the weights before it. For 4 bits and less train the network with
    `fake_quantize` first.

    Args:
        net: takes one time step [B, ...] per call. Each `Leaky` or `IF` is fed by one linear layer
            or convolution; flattening and maximum pooling may be between them.
        sample: one step of input, [B, ...]; only its shape and dtype matter.
        weight_bits: 2 to 8; 2 is ternary, -1, 0 and 1.
        per_channel: one scale for each output channel, or one for the layer.
        state_bits: width of the membrane, 8 to 24.
        input_step: value of an input of 1 in the copy. Spikes: 1. For pixels in [0, 1] write
            ``input_step=1 / 255`` and give the copy ``(255 * x).round()``.

    Returns:
        A network whose parameters are integers.

    Raises:
        ValueError: a layer or neuron has no integer form (the message names it).

    >>> net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))
    >>> quantized = snn.hardware.quantize(net, torch.zeros(1, 3))
    >>> quantized[0].weight.detach().abs().max(1).values
    tensor([127., 127.])
    """
    network(net)
    weight_bits = whole("weight_bits", weight_bits, 2, 8)
    state_bits = whole("state_bits", state_bits, 8, 24)
    checks.in_range("input_step", input_step, 0.0, math.inf, open_low=True)
    made = _folded(copy.deepcopy(plain_layers(net)).eval())
    wiring = wiring_of(made, sample, accepts=lambda module: serves(module) or _passes(module))
    scales: dict[str, _Scaled] = {}
    raw = set(wiring.inputs)  # what sends an input of the network
    layers = dict(made.named_modules())
    for name, part in wiring.parts.items():
        if isinstance(part.what, nn.Module) and name not in layers:
            raise ValueError(
                f"{type(part.what).__name__} {name!r} is the second call of a layer, whose outputs "
                "may need another scale; use a copy of the layer"
            )
        if isinstance(part.what, WEIGHTED):
            step = input_step if raw.intersection(part.sources) else 1.0
            scales[name] = _weighed(made, name, weight_bits, per_channel, step)
        elif _passes(part.what):
            raw.update({name} if raw.intersection(part.sources) else ())
            scales.update((name, scales[s]) for s in part.sources if s in scales)
        elif isinstance(part.what, Neuron):
            _settle(made, name, part, scales, state_bits)
        else:
            kind = type(part.what).__name__
            raise ValueError(
                f"layer {name!r} ({kind}) has no integer form; what has: nn.Linear, nn.Conv1d, "
                "nn.Conv2d, nn.MaxPool1d, nn.MaxPool2d, nn.Flatten, batch normalization after a "
                "convolution or linear layer, Leaky and IF"
            )
    return made


def _passes(what: Any) -> bool:
    return what is None or isinstance(what, (nn.Flatten, nn.MaxPool1d, nn.MaxPool2d))


def _folded(net: nn.Module) -> nn.Module:
    """Fold each batch normalization into the layer before it, in place."""
    for module in list(net.modules()):
        children = list(module.named_children())
        if not isinstance(module, nn.Sequential):
            continue
        for (name, first), (following, second) in pairwise(children):
            if isinstance(second, (nn.BatchNorm1d, nn.BatchNorm2d)):
                linear = isinstance(first, nn.Linear)
                fold: Any = fusion.fuse_linear_bn_eval if linear else fusion.fuse_conv_bn_eval
                setattr(module, name, fold(first, second))
                setattr(module, following, nn.Identity())
    return net


class _Scaled(NamedTuple):
    """What a layer of integers sends.

    Args:
        unit: value of 1, for each output channel.
        bias: of the layer, in the unit of the floating-point network.
        most: the largest sum of its weights.
    """

    unit: Tensor
    bias: Tensor
    most: float


def _weighed(net: nn.Module, name: str, bits: int, per_channel: bool, step: float) -> _Scaled:
    """Make the weights of a layer integers."""
    layer: Any = net.get_submodule(name)
    weight = layer.weight.detach()
    checks.finite(weight, f"the weight of layer {name!r}")
    scale = scale_of(weight, bits, per_channel)
    rounded = rounded_to(weight, scale, bits)
    worst = rounded.abs().flatten(1).sum(1).max().item() / step
    if worst >= EXACT:
        raise ValueError(
            f"layer {name!r}: sums of its weights reach {worst:.3g}, more than float32 holds "
            "exactly; use fewer weight_bits or a larger input_step"
        )
    with torch.no_grad():
        layer.weight.copy_(rounded)
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().clone()
    layer.register_parameter("bias", None)
    return _Scaled(scale.flatten().double() * step, bias.double(), worst)


def scale_of(weight: Tensor, bits: int, per_channel: bool) -> Tensor:
    """Return the step between weights, one for each output channel, [out, 1, ...].

    Ternary weights take the mean magnitude of the weights above 0.7 of the mean magnitude.

    Source: Li, Zhang & Liu (2016), arXiv 1605.04711, for ternary weights.

    >>> scale_of(torch.tensor([[0.5, -1.27]]), 8, True)
    tensor([[0.0100]])
    """
    rows = weight.detach().abs().flatten(1)
    rows = rows if per_channel else rows.reshape(1, -1)
    if bits == 2:
        large = rows * (rows > 0.7 * rows.mean(1, keepdim=True))
        value = large.sum(1) / (large > 0).sum(1).clamp_min(1)
    else:
        value = rows.amax(1) / (2 ** (bits - 1) - 1)
    value = torch.where(value > 0, value, torch.ones_like(value)).expand(len(weight))
    return value.reshape(-1, *[1] * (weight.dim() - 1))


def rounded_to(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Return the integers nearest to ``weight / scale``, clamped to the range of the bits.

    >>> rounded_to(torch.tensor([[0.5, -1.27]]), torch.tensor([[0.01]]), 8)
    tensor([[  50., -127.]])
    """
    top = 2 ** (bits - 1) - 1
    if bits == 2:
        above = weight.abs() > 0.5 * scale
        return weight.sign() * above
    return (weight / scale).round().clamp(-top, top)


def _settle(
    net: nn.Module, name: str, part: Part, scales: dict[str, _Scaled], state_bits: int
) -> None:
    """Replace a neuron by its integer form."""
    neuron: Any = part.what
    source = part.sources[0]
    if type(neuron) not in (Leaky, IF) or len(part.sources) != 1 or source not in scales:
        raise ValueError(
            f"neuron {name!r} ({type(neuron).__name__}) has no integer form; it must be a Leaky "
            "or IF that one layer with weights feeds"
        )
    if neuron.noise is not None:
        raise ValueError(
            f"neuron {name!r} has noise, which has no integer form; write snn.noisy(net), which "
            "takes it away"
        )
    if neuron.inhibition or neuron.state_quant or bool((neuron.graded_spikes_factor != 1).any()):
        raise ValueError(
            f"neuron {name!r} has inhibition, state_quant or graded spikes, which have no integer "
            "form"
        )
    shape = (-1, *[1] * (len(part.shape_out) - 1))
    sent = scales[source]
    unit = sent.unit.view(shape)
    threshold = neuron.threshold.detach().double() / unit
    bias = sent.bias.view(shape) / unit
    room = 2.0 ** (state_bits - 3)  # membranes reach four thresholds before they are clamped
    gain = 2.0 ** math.floor(math.log2(room / threshold.max().item()))
    most = sent.most + bias.abs().max().item()
    gain = min(gain, EXACT / 2.0**state_bits, 2.0 ** math.floor(math.log2(LARGEST / max(most, 1))))
    threshold = (threshold * gain).round()
    if bool((threshold < 1).any()):
        raise ValueError(
            f"neuron {name!r}: {int((threshold < 1).sum())} thresholds are below one unit of the "
            "membrane; use more state_bits, or per_channel=False"
        )
    beta = torch.ones(()) if type(neuron) is IF else neuron.params(torch.float64).beta.detach()
    made = FixedPointLeaky(
        (beta.clamp(0, 1) * 2**DECAY_BITS).round().float(),
        threshold.float(),
        gain=gain,
        bias=(bias * gain).round().clamp(-EXACT, EXACT).float(),
        state_bits=state_bits,
        reset_mechanism=neuron.reset_mechanism,
        reset_delay=neuron.reset_delay,
        init_hidden=neuron.init_hidden,
        output=neuron.output,
        spike_grad=neuron.spike_grad,
        mode=neuron.mode,
    )
    made.register_buffer("unit", (unit / gain).float())
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, made)


class _FakeQuantize(nn.Module):
    """The weights as integers times a scale; the gradient passes the rounding unchanged."""

    def __init__(self, bits: int, per_channel: bool) -> None:
        super().__init__()
        self.bits = bits
        self.per_channel = per_channel

    def forward(self, weight: Tensor) -> Tensor:
        scale = scale_of(weight, self.bits, self.per_channel)
        return weight + (rounded_to(weight, scale, self.bits) * scale - weight).detach()


def fake_quantize(net: nn.Module, *, weight_bits: int = 4, per_channel: bool = True) -> nn.Module:
    """Let a network compute with weights of few bits while it is trained; returns ``net``.

    Every linear layer and convolution gets a parametrization: its ``weight`` is rounded to the grid
    of `quantize`, and the gradient passes the rounding unchanged (straight-through). Train it as
    usual; `quantize` with the same bits then changes no weight.

    Args:
        net: the network, changed in place.
        weight_bits: 2 to 8.
        per_channel: one scale for each output channel, or one for the layer.

    Raises:
        ValueError: ``weight_bits`` out of range.

    Source: Jacob et al. (2018), CVPR, for training with simulated quantization.

    >>> net = snn.hardware.fake_quantize(nn.Sequential(nn.Linear(3, 1)), weight_bits=2)
    >>> net[0].weight.unique().numel() <= 3
    True
    """
    network(net)
    weight_bits = whole("weight_bits", weight_bits, 2, 8)
    for module in net.modules():
        if isinstance(module, WEIGHTED):
            parametrize.register_parametrization(
                module, "weight", _FakeQuantize(weight_bits, per_channel)
            )
    return net
