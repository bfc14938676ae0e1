"""Ready networks of one step, of any neuron: multilayer perceptron, small convolutional network."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..core import checks
from ..core.neuron import REGISTRY, Neuron
from ..core.options import arguments
from .settings import whole

__all__ = ["MODELS", "conv", "is_spiking", "mlp", "neurons"]

NUMBERS = ("alpha", "beta", "rho", "threshold")  # arguments that have a value for every layer
SIZES = (
    "linear_features",
    "input_size",
    "hidden_size",
)  # arguments that repeat the number of neurons of a layer

START = {  # where training from a static image begins; other neurons begin with their example
    "Leaky": {"beta": 0.8},
    "Synaptic": {"alpha": 0.5, "beta": 0.8},
    "RSynaptic": {"alpha": 0.5, "beta": 0.8},
}


def neurons(*, without_sizes: bool = False) -> dict[str, type[Neuron]]:
    """The neurons that ready networks can be made of, by their names in lower case.

    Args:
        without_sizes: only those that do not connect the neurons of their layer.

    >>> neurons()["leaky"].__name__
    'Leaky'
    """
    found = {}
    for name, kind in REGISTRY.items():
        example = kind.example
        ours = kind.__module__.startswith("spikeloom.neurons")
        if not ours or not example or not is_spiking(kind) or "step" not in kind.modes:
            continue
        allowed = NUMBERS if without_sizes else NUMBERS + SIZES
        if set(example) <= set(allowed):
            found[name.lower()] = kind
    return dict(sorted(found.items()))


def mlp(
    sample_shape: Sequence[int],
    num_classes: int,
    hidden: int | Sequence[int] = 512,
    neuron: str = "leaky",
    **settings: Any,
) -> nn.Sequential:
    """A multilayer perceptron of linear layers and neurons; the last return ``(spk, *state)``.

    Args:
        sample_shape: shape of one sample, without batch; it is flattened.
        num_classes: neurons of the last layer.
        hidden: neurons of each hidden layer.
        neuron: name of the neuron in lower case.
        settings: passed to every neuron, e.g. ``beta=0.8``. Its decays are learned unless
            ``learn_beta=False``.

    Raises:
        ValueError: an unknown neuron, a setting that it does not have, or a size below 1.

    >>> [type(layer).__name__ for layer in mlp([1, 8, 8], 10, hidden=32)]
    ['Flatten', 'Linear', 'Leaky', 'Linear', 'Leaky']
    """
    kind = neurons()[checks.choice("neuron", neuron, neurons())]
    widths = [hidden] if isinstance(hidden, int) else list(hidden)
    sizes = [_product(sample_shape), *(whole("hidden", width) for width in widths), num_classes]
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        layers += [nn.Linear(inputs, outputs), build(kind, settings, outputs, output=last)]
    return nn.Sequential(*layers)


def conv(
    sample_shape: Sequence[int],
    num_classes: int,
    hidden: int | Sequence[int] = (16, 32),
    neuron: str = "leaky",
    **settings: Any,
) -> nn.Sequential:
    """A convolutional network: 3 x 3 filters, neurons, 2 x 2 maxima, then a linear layer.

    Args:
        sample_shape: channels, height and width of one image.
        num_classes: neurons of the last layer.
        hidden: filters of each convolution.
        neuron: as for `mlp`, but none that connects the neurons of its layer.
        settings: as for `mlp`.

    Raises:
        ValueError: samples are no images, or too small; otherwise as `mlp`.

    >>> net = conv([1, 8, 8], 10, hidden=4)
    >>> net[-2]
    Linear(in_features=64, out_features=10, bias=True)
    """
    kinds = neurons(without_sizes=True)
    kind = kinds[checks.choice("neuron of a convolutional network", neuron, kinds)]
    filters = [hidden] if isinstance(hidden, int) else list(hidden)
    if len(sample_shape) != 3 or min(sample_shape[1:]) < 2 ** len(filters):
        raise ValueError(
            f"a convolutional network with {len(filters)} maxima needs images [channels, height, "
            "width] of at least "
            f'{2 ** len(filters)} pixels, got {list(sample_shape)}; write model="mlp" for other '
            "samples"
        )
    channels, height, width = sample_shape
    layers: list[nn.Module] = []
    for number in filters:
        layers += [
            nn.Conv2d(channels, whole("hidden", number), 3, padding=1),
            build(kind, settings),
            nn.MaxPool2d(2),
        ]
        channels, height, width = number, height // 2, width // 2
    readout = build(kind, settings, output=True)
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(channels * height * width, num_classes), readout
    )


MODELS = {"mlp": mlp, "conv": conv}


def build(
    kind: type[Neuron], settings: Mapping[str, Any], size: int = 0, *, output: bool = False
) -> Neuron:
    """One layer of neurons from each neuron's example, with new sizes and ``settings``.

    >>> build(neurons()["leaky"], {"beta": 0.5}, output=True).beta
    Parameter containing:
    tensor(0.5000, requires_grad=True)
    """
    known = arguments(kind)
    example = {**kind.example, **START.get(kind.__name__, {})}
    values = {name: size if name in SIZES else value for name, value in example.items()}
    learned = {name: True for name in ("learn_alpha", "learn_beta") if name in known}
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ValueError(
            f"{kind.__name__} must be given settings that it has, got {unknown[0]}; it takes "
            f"{', '.join(known)}"
        )
    return kind(**{**values, **learned, **settings}, init_hidden=True, output=output)


def is_spiking(kind: type[Neuron] | Neuron) -> bool:
    """Whether a neuron fires; a leaky integrator does not.

    >>> import spikeloom as snn
    >>> is_spiking(snn.Leaky), is_spiking(snn.LI)
    (True, False)
    """
    return bool(getattr(kind, "spiking", True))


def _product(shape: Sequence[int]) -> int:
    number = 1
    for size in shape:
        number *= size
    return number
