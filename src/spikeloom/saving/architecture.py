"""Describes a network as JSON: nested ``nn.Sequential`` of known layers and their arguments.

A description is accepted only if the network built from it equals the original, layer by layer.
Nothing in it is executed: a kind is a key of a table, and an argument is a plain value.
"""

import inspect
import json
import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..blocks import QKAttention, Residual, SelfAttention, TokenLayer, TokenMean, Tokens
from ..conversion.activations import QCFS, Activation, OutputActivation
from ..conversion.converted import Converted
from ..conversion.spiking_max_pool import SpikingMaxPool
from ..core.neuron import REGISTRY, Neuron
from ..core.options import arguments
from ..core.surrogate import Disabled
from ..layers.batchnorm import EachStep, TemporalEffectiveBatchNorm
from ..layers.delay import SynapticDelay
from ..layers.delayed_conv import DelayedConv1d, DelayedConv2d
from ..layers.delayed_linear import DelayedLinear
from ..layers.feedback import Feedback
from ..layers.graded import GradedSpikes
from ..layers.spike_linear import SpikeLinear
from .graphs import build_converted, describe_converted
from .values import decoded, encoded

__all__ = ["FORMAT", "KEY", "build", "contents", "describe", "weights"]

KEY = "spikeloom.network"
FORMAT = 1
DEPTH = 50
TORCH = """
Linear Bilinear Identity Flatten Unflatten
Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d
LayerNorm GroupNorm RMSNorm Dropout Dropout1d Dropout2d Dropout3d AlphaDropout
MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d
AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d
AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d
ZeroPad1d ZeroPad2d ReflectionPad1d ReflectionPad2d ReflectionPad3d
ReplicationPad1d ReplicationPad2d ReplicationPad3d
Upsample PixelShuffle PixelUnshuffle
ReLU ReLU6 LeakyReLU ELU SELU CELU GELU SiLU Mish Sigmoid Tanh Hardtanh Softplus
Softmax LogSoftmax
"""
OURS = (
    SynapticDelay,
    DelayedLinear,
    DelayedConv1d,
    DelayedConv2d,
    GradedSpikes,
    SpikeLinear,
    EachStep,
    Feedback,
    TemporalEffectiveBatchNorm,
    Residual,
    TokenLayer,
    Tokens,
    TokenMean,
    SelfAttention,
    QKAttention,
    QCFS,
    Activation,
    OutputActivation,
)
KINDS: dict[str, type[nn.Module]] = {
    **{f"torch.nn.{name}": getattr(nn, name) for name in TORCH.split()},
    **{f"spikeloom.{kind.__name__}": kind for kind in OURS},
}
CONTAINERS = {"torch.nn.Sequential": nn.Sequential, "torch.nn.ModuleList": nn.ModuleList}
REMEDY = "write snn.save(net.state_dict(), path) and snn.load(path, into=net)"


def kinds() -> dict[str, type[nn.Module]]:
    """The layers that can be saved, by name; a neuron of one's own once its module is imported.

    >>> kinds()["spikeloom.Leaky"].__name__
    'Leaky'
    """
    neurons = {
        f"spikeloom.{name}"
        if kind.__module__.startswith("spikeloom.neurons.")
        else f"{kind.__module__}.{kind.__qualname__}": kind
        for name, kind in REGISTRY.items()
    }
    return KINDS | neurons


def contents(net: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the texts of the file of a network.

    Raises:
        TypeError: a layer cannot be described.

    >>> tensors, texts = contents(nn.Linear(2, 3))
    >>> list(tensors), list(texts)
    (['weight', 'bias'], ['spikeloom.network'])
    """
    described = {
        "format": FORMAT,
        "architecture": describe(net),
        "frozen": [name for name, p in net.named_parameters() if not p.requires_grad],
        "training": net.training,
    }
    return weights(net.state_dict()), {KEY: json.dumps(described, allow_nan=False)}


def weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """A ``state_dict``, if it holds tensors only.

    Raises:
        TypeError: it holds something else.

    >>> weights({"w": torch.ones(1)})
    {'w': tensor([1.])}
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} must be a tensor, got {type(value).__name__}; save a state_dict of tensors"
            )
    return dict(state)


def describe(net: nn.Module) -> dict[str, Any]:
    """Describes a network.

    Raises:
        TypeError: a layer cannot be described; the message names its path and its type.

    >>> describe(nn.Sequential(nn.Flatten()))["children"]
    {'0': {'kind': 'torch.nn.Flatten', 'options': {'start_dim': 1, 'end_dim': -1}}}
    """
    paths: dict[int, str] = {}
    for path, module in net.named_modules(remove_duplicate=False):
        if id(module) in paths:
            raise TypeError(
                f"{_named(path)} is the same module as {_named(paths[id(module)])}; {REMEDY}"
            )
        paths[id(module)] = path
    found = _described(net, "")
    _compare(net, build(found))
    return found


def _described(module: nn.Module, path: str) -> dict[str, Any]:
    if "forward" in vars(module):
        raise TypeError(f"{_named(path)} has a forward of its own; {REMEDY}")
    if type(module) in CONTAINERS.values():
        children = {
            name: _described(child, f"{path}.{name}".strip("."))
            for name, child in module.named_children()
        }
        return {"kind": f"torch.nn.{type(module).__name__}", "children": children}
    if type(module) is Converted:
        try:
            return describe_converted(module, path, _described)
        except TypeError as error:
            raise TypeError(f"{_named(path)} cannot be saved ({error}); {REMEDY}") from error
    if type(module) is SpikingMaxPool:
        options = {"pool": _described(module.pool, f"{path}.pool"), "rule": encoded(module.rule)}
        return {"kind": "spikeloom.SpikingMaxPool", "options": options}
    if isinstance(module, Neuron) and module.noise is not None:
        raise TypeError(
            f"{_named(path)} has noise, which no file holds; write snn.noisy(net) before saving, "
            "which takes it away, and set it again after loading"
        )
    kind = next((name for name, known in kinds().items() if known is type(module)), None)
    if kind is None:
        raise TypeError(
            f"{_named(path)} is a {type(module).__module__}.{type(module).__qualname__}, which is "
            f"no layer of torch or spikeloom that can be saved; {REMEDY}"
        )
    options = {}
    parts = {}
    for name in _arguments(type(module)):
        if isinstance(part := getattr(module, name, None), nn.Module):
            parts[name] = _described(part, f"{path}.{name}".strip("."))
        elif name not in ("device", "dtype"):
            try:
                options[name] = encoded(_option(module, name))
            except (TypeError, AttributeError) as error:
                raise TypeError(
                    f"{_named(path)}: {name} cannot be saved ({error}); {REMEDY}"
                ) from error
    found = {"kind": kind, "options": options}
    return {**found, "parts": parts} if parts else found


def _arguments(kind: type) -> list[str]:
    """Names of a constructor's arguments."""
    if issubclass(kind, Neuron):
        return list(arguments(kind))
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(kind.__init__).parameters.values()
    return [p.name for p in found if p.name != "self" and p.kind not in any_number]


def _option(module: Any, name: str) -> Any:
    """Reads a constructor argument of a layer from the layer."""
    if isinstance(module, Neuron):
        return _neuron_option(module, name)
    if name.startswith("learn_"):
        return isinstance(getattr(module, name.removeprefix("learn_")), nn.Parameter)
    if name == "constant_factor":  # of GradedSpikes, whose weights are loaded
        return 1.0
    value = getattr(module, name)
    if name == "bias":
        return value if isinstance(value, bool) else value is not None
    return _like(value) if isinstance(value, Tensor) else value


def _neuron_option(neuron: Any, name: str) -> Any:
    if name == "spike_grad":
        return None if isinstance(neuron.spike_grad, Disabled) else neuron.spike_grad
    if name == "surrogate_disable":
        return isinstance(neuron.spike_grad, Disabled)
    if name == "state_quant":
        return getattr(neuron, "mem_quant", False) or neuron.state_quant or False
    special = _special(neuron, name)
    if special is not None:
        return special[0]
    if name in neuron._names:
        value = getattr(neuron, name)
        loaded = name in neuron.state_dict()
        return _like(value, _plain(neuron, name)) if loaded else value.detach()
    if name.startswith("learn_") and name not in ("learn_recurrent", "learn_parameters"):
        return isinstance(getattr(neuron, name.removeprefix("learn_")), nn.Parameter)
    return getattr(neuron, name)


def _special(neuron: Any, name: str) -> tuple[Any] | None:
    """Reads an argument that is renamed, depends on others, or belongs to an inner module."""
    kind = type(neuron).__name__
    if kind in ("RLeaky", "RSynaptic") and name == "V":
        return (_like(neuron.V) if "V" in neuron._names else 1.0,)
    if kind == "LeakyParallel":
        found = {
            "input_size": neuron.rnn.input_size,
            "bias": neuron.rnn.bias,
            "learn_beta": neuron.learn_beta,
            "weight_hh_enable": neuron._full_weight_hh,
            "beta": None if neuron.beta is None else _like(neuron.beta, 0.9),
        }
        return (found[name],) if name in found else None
    if kind in ("StateLeaky", "LinearLeaky") and name == "learn_beta":
        return (isinstance(neuron.tau, nn.Parameter),)
    if kind in ("StateLeaky", "LinearLeaky") and name == "beta":
        return (_like(neuron.tau, 0.9),)
    if kind == "LinearLeaky" and name in ("in_features", "out_features", "bias"):
        return (_option(neuron.linear, name),)
    if kind == "Lapicque" and name in ("beta", "R", "C", "time_step"):
        return (_lapicque(neuron)[name],)
    if kind == "DeltaLeaky" and name == "learn_threshold":
        return (isinstance(neuron.delta_threshold, nn.Parameter),)
    return None


def _lapicque(neuron: Any) -> dict[str, Any]:
    """The passed ones of beta, R and C, with the time step, in values that are consistent."""
    values = {name: _like(getattr(neuron, name)) for name in ("beta", "R", "C", "time_step")}
    values["beta"] *= math.exp(-1)
    # The order of registration shows whether beta was passed.
    given = neuron._names.index("beta") < neuron._names.index("R")
    if not given:
        return {**values, "beta": None}
    return values if neuron._follows == "" else {**values, neuron._follows: None}


def _plain(neuron: Neuron, name: str) -> float:
    """A value that the constructor accepts, since training may have left its range."""
    example = {**arguments(type(neuron)), **type(neuron).example}[name]
    number = isinstance(example, (int, float)) and not isinstance(example, bool)
    return float(example) if number else 1.0


def _like(value: Tensor, plain: float | None = None) -> Any:
    """A constant in the shape of a tensor, whose values are loaded later."""
    return torch.full_like(value.detach(), 1.0 if plain is None else plain)


def build(described: Any, depth: int = 0) -> nn.Module:
    """Builds the network of a description, with freshly initialised weights.

    Raises:
        ValueError: the description does not come from `describe`.

    >>> build({"kind": "torch.nn.Linear", "options": {"in_features": 2, "out_features": 3}})
    Linear(in_features=2, out_features=3, bias=True)
    """
    if not isinstance(described, dict) or depth > DEPTH:
        raise ValueError("the architecture is not a description of a layer, or nested too deeply")
    kind = described.get("kind")
    children = described.get("children")
    if kind in CONTAINERS and isinstance(children, dict):
        built = OrderedDict((name, build(child, depth + 1)) for name, child in children.items())
        return nn.Sequential(built) if kind == "torch.nn.Sequential" else _listed(built)
    if kind == "spikeloom.Converted":
        return _converted(described, depth)
    options = described.get("options")
    if kind == "spikeloom.SpikingMaxPool" and isinstance(options, dict):
        return SpikingMaxPool(build(options.get("pool"), depth + 1), str(options.get("rule")))
    known = kinds().get(str(kind))
    inside = described.get("parts", {})
    if known is None or not isinstance(options, dict) or not isinstance(inside, dict):
        raise ValueError(
            f"the architecture has the unknown layer {kind!r}; import the module that defines it "
            "before load, or update spikeloom"
        )
    parts = {name: build(part, depth + 1) for name, part in inside.items()}
    try:
        # Initial weights must not advance the caller's generator.
        with torch.random.fork_rng(devices=[]):
            return known(**{name: decoded(value) for name, value in options.items()}, **parts)
    except (TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"the architecture has a {kind} that cannot be built: {error}") from error


def _listed(built: dict[str, nn.Module]) -> nn.ModuleList:
    if list(built) != [str(number) for number in range(len(built))]:
        raise ValueError(f"the architecture has a list of layers with the names {list(built)}")
    return nn.ModuleList(built.values())


def _converted(described: dict[str, Any], depth: int) -> nn.Module:
    try:
        return build_converted(described, build, depth)
    except (ArithmeticError, AssertionError, AttributeError, LookupError) as error:
        raise ValueError(f"the architecture has a graph that cannot be built: {error}") from error
    except (RuntimeError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"the architecture has a graph that cannot be built: {error}") from error


def _compare(net: nn.Module, built: nn.Module) -> None:
    """Refuses a network that differs from the one built from its description."""
    found = dict(built.named_modules())
    for path, ours in net.named_modules():
        theirs = found.pop(path, nn.Module())
        if isinstance(ours, (*CONTAINERS.values(), fx.GraphModule)):
            continue
        if _shapes(ours) != _shapes(theirs) or _settings(ours) != _settings(theirs):
            raise TypeError(
                f"{_named(path)} is a {type(ours).__name__} that its constructor does not make as "
                f"it is now; {REMEDY}"
            )
    if found:
        raise TypeError(f"{_named(next(iter(found)))} is in no description; {REMEDY}")


def _shapes(module: nn.Module) -> dict[str, Any]:
    """Shapes of the weights of a layer, None for other entries of its ``state_dict``."""
    state = module.state_dict()
    return {name: t.shape if isinstance(t, Tensor) else None for name, t in state.items()}


def _settings(module: nn.Module) -> dict[str, Any]:
    """Plain attributes of a layer; private ones only if the equations depend on them."""
    plain = (bool, int, float, str, tuple, type(None))
    private = ("_names", "_mode", "_reset", "_reset_mechanism", "_follows")
    ignored = ("training",)  # set by a change of mode
    found = {k: v for k, v in vars(module).items() if isinstance(v, plain) and k not in ignored}
    return {k: v for k, v in found.items() if v == v and (k in private or not k.startswith("_"))}


def _named(path: str) -> str:
    return f"layer {path!r}" if path else "the network"
