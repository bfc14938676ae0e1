"""`convert`, which makes a spiking network from an ordinary one."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core import checks
from ..core.numbers import flag, network, random_source, real, whole
from ..neurons.scaled_if import ScaledIF
from .activations import SITES
from .batchnorm_folding import folded
from .calibrate import CALIBRATIONS, calibrated
from .check import checked
from .converted import Converted
from .fx_graph import called, shaped, traced
from .normalise import normalised
from .replacement import spiking, with_readout, without_head
from .sample_batches import batches, first_batch, home_of
from .scales import SCALES, scales
from .spike_norm import spike_norm
from .spiking_max_pool import RULES
from .twin import INPUTS, READOUTS, Settings

__all__ = ["METHODS", "check_settings", "convert", "ordinary"]

METHODS = (*SCALES, "spike_norm")
_MOST_STEPS = 2**24


def convert(
    ann: nn.Module,
    calibration: Any,
    method: str = "percentile",
    *,
    num_steps: int = 8,
    percentile: float = 99.9,
    per_channel: bool = False,
    scaling_factor: float = 1.0,
    balancing_steps: int = 100,
    reset: str = "subtract",
    initial_mem: float = 0.5,
    input: str = "current",
    readout: str = "membrane",
    max_pool: str = "max",
    calibrate: str | None = None,
    warm_up: float = 0.0,
    signed: bool = False,
    generator: torch.Generator | None = None,
) -> Converted:
    """Converts an ordinary network with rectifiers to a spiking one with the same weights.

    The network is copied and traced with ``torch.fx``, batch norm is folded, dropout is removed,
    and each call of a ReLU becomes a `ScaledIF` neuron whose threshold is the scale of that
    activation over the samples. The defaults lose least.

    Args:
        ann: any network that ``torch.fx`` traces, of linear layers, convolutions, batch norm, ReLU
            in any spelling, ReLU6, `QCFS`, pooling, dropout, flattening, sums and concatenations.
            It does not change.
        calibration: a few hundred input samples: a tensor [N, ...], or an iterable of batches (x or
            (x, y, ...)), such as a ``DataLoader``.
        method: source of the thresholds. ``"percentile"`` or ``"max"`` of the activations;
            ``"mmse"`` for the least mean square error after ``num_steps``; ``"qcfs"`` for the
            trained thresholds; ``"diehl_data"`` for the largest activation or weight;
            ``"diehl_model"`` for the largest activation that the weights allow; ``"spike_norm"``
            for the largest input of a step while the previous layers spike.
        num_steps: T of ``"mmse"`` and ``calibrate``, and the default T of the result.
        percentile: percentile of the activations, in (0, 100].
        per_channel: whether each channel (or each neuron of a linear layer) has its own threshold.
        scaling_factor: factor of all thresholds.
        balancing_steps: steps of each batch and layer for ``"spike_norm"``.
        reset: reset of the neurons, ``"subtract"`` or ``"zero"``.
        initial_mem: membrane at rest as a fraction of the threshold; 0.5 halves the error, 0 was
            usual before 2022.
        input: ``"current"`` for the sample itself at each step; ``"poisson"`` for spikes with its
            values as probabilities; ``"signed_poisson"`` for spikes with its magnitudes as
            probabilities and its signs.
        readout: ``"membrane"`` for the mean output of the last layer, ``"spikes"`` for that of
            spikes behind it.
        max_pool: ``"max"`` of the rates, ``"gate"`` or ``"avg"``; see `SpikingMaxPool`.
        calibrate: correction on the samples at the end, ``"bias"``, ``"potential"``, ``"both"`` or
            None.
        warm_up: fraction of the steps at the beginning, rounded down, that the readout ignores, in
            [0, 1): the output of deep networks is wrong until spikes have passed all layers. Test
            it on your network; it helped in one of two.
        signed: whether neurons are `SignedIF`, which correct excess spikes by negative ones. Deep
            networks then need far fewer steps, but spikes have two signs, and NIR has no such
            neuron.
        generator: source of the random spikes of ``"spike_norm"`` and of calibration with Poisson
            input.

    Returns:
        The converted network.

    Raises:
        TypeError: ``ann`` is not a module, or the samples are not floating-point tensors.
        ValueError: an option is unknown or out of range, there is no sample, or an operation of the
            network cannot be converted; the message gives its name, its path and a remedy.

    Source: Rueckauer et al. (2017), Front. Neurosci. 11:682 (percentile, reset by subtraction,
    membrane readout); Diehl et al. (2015), Proc. IJCNN; Sengupta et al. (2019), Front. Neurosci.
    13:95; Bu et al. (2022), ICLR; Wang et al. (2022), IJCAI (signed spikes).

    >>> import spikeloom as snn
    >>> _ = torch.manual_seed(0)
    >>> ann = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3))
    >>> x = torch.rand(200, 4)
    >>> net = snn.conversion.convert(ann, x)
    >>> (net(x, num_steps=64) - ann(x)).abs().max().item() < 0.05
    True
    """
    network(ann, "the network")
    checks.finite_parameters(ann)
    generator = random_source(generator)
    settings = Settings(
        method=method,
        num_steps=num_steps,
        percentile=percentile,
        per_channel=per_channel,
        scaling_factor=scaling_factor,
        reset=reset,
        initial_mem=initial_mem,
        input=input,
        readout=readout,
        max_pool=max_pool,
        calibrate=calibrate,
        warm_up=warm_up,
        signed=signed,
    )
    check_settings(settings, balancing_steps)
    gm, head = ordinary(ann, calibration, readout)
    if method == "spike_norm":
        thresholds = {str(node.target): torch.ones(()) for node, _ in called(gm, *SITES)}
    else:
        found = scales(gm, calibration, method, settings)
        thresholds = {path: scale * scaling_factor for path, scale in found.items()}
    stands_for = spiking(gm, thresholds, settings)
    largest = max(1.0, max(float(x.abs().max()) for x in batches(calibration, gm)))
    converted = Converted(gm, stands_for, settings, largest, head).to(home_of(ann)[0])
    if method == "spike_norm":
        _spike_normed(converted, calibration, balancing_steps, generator)
    if calibrate is not None:
        calibrated(converted, calibration, calibrate, generator)
    return converted


def ordinary(
    ann: nn.Module, calibration: Any, readout: str = "membrane"
) -> tuple[fx.GraphModule, nn.Module | None]:
    """The normalised graph of a network with batch norm folded, and its final softmax, if any.

    >>> ordinary(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Softmax(-1)), torch.zeros(1, 2))[1]
    Softmax(dim=-1)
    """
    sample: Tensor = first_batch(calibration, ann)[:2]
    gm = checked(folded(normalised(shaped(traced(ann), sample))))
    head = without_head(gm)
    if readout == "spikes":
        with_readout(gm)
    if not list(called(gm, *SITES)):
        raise ValueError(
            "the network must have a ReLU, got none; convert one that has, or read its output as "
            'spikes: readout="spikes"'
        )
    return gm, head


def _spike_normed(
    converted: Converted, data: Any, steps: int, generator: torch.Generator | None
) -> None:
    """Sets the thresholds by Spike-norm, on spikes even if the network will run on current."""
    settings = converted.settings
    code = "signed_poisson" if settings.input == "current" else settings.input
    coded = Converted(
        converted.net, {}, replace(settings, input=code), float(converted.input_scale)
    )
    activations: dict[int, Any] = {
        id(n): converted.stands_for[path] for path, n in converted.neurons.items()
    }

    def balance(neuron: ScaledIF, value: Tensor) -> None:
        ceiling = activations[id(neuron)].ceiling
        neuron.balance(value if ceiling is None else value.clamp(max=ceiling))

    spike_norm(
        converted.net,
        converted.neurons,
        batches(data, converted),
        lambda x: coded.coded(x, generator),
        steps,
        scaling_factor=settings.scaling_factor,
        balance=balance,
    )


def check_settings(settings: Settings, balancing_steps: int = 100) -> None:
    """Checks the options of a conversion.

    Raises:
        ValueError: one is unknown, or out of range.

    >>> check_settings(Settings(percentile=500.0))
    Traceback (most recent call last):
    ValueError: percentile must be in (0, 100], got 500; write percentile=99.9
    """
    checks.choice("method", settings.method, METHODS)
    checks.choice("reset", settings.reset, ("subtract", "zero"))
    for name in ("per_channel", "signed"):
        flag(name, getattr(settings, name))
    if settings.signed and settings.reset != "subtract":
        raise ValueError(
            'signed=True needs a reset that loses nothing, got reset="zero"; write reset="subtract"'
        )
    checks.choice("input", settings.input, INPUTS)
    checks.choice("readout", settings.readout, READOUTS)
    checks.choice("max_pool", settings.max_pool, RULES)
    checks.choice("calibrate", settings.calibrate, (None, *CALIBRATIONS))
    real("percentile", settings.percentile, 0.0, 100.0, open_low=True, example=99.9)
    real("scaling_factor", settings.scaling_factor, 0.0, open_low=True)
    real("initial_mem", settings.initial_mem, 0.0, 1.0, example=0.5)
    real("warm_up", settings.warm_up, 0.0, 1.0, open_high=True, example=0.0)
    whole("num_steps", settings.num_steps, 1, _MOST_STEPS)
    whole("balancing_steps", balancing_steps, 1, _MOST_STEPS)
