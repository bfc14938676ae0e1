"""The one call that makes a spiking network of an ordinary one."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..core import checks
from ..core.numbers import flag, network, random_source, real, whole
from ..neurons.scaled_if import ScaledIF
from .activations import SITES
from .batchnorm import folded
from .calibrate import CALIBRATIONS, calibrated
from .check import checked
from .graph import called, shaped, traced
from .network import Converted
from .normalise import normalised
from .pooling import RULES
from .samples import batches, first_batch, home_of
from .scales import SCALES, scales
from .spike_norm import spike_norm
from .spiking import spiking, with_readout, without_head
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
    """Convert an ordinary network with rectifiers into a spiking one with the same weights.

    The network is copied, traced with ``torch.fx``, batch norm folded, dropout dropped, and each
    call of a ReLU becomes a `ScaledIF` neuron whose threshold is the scale of that activation over
    the samples. Defaults are what loses least.

    Args:
        ann: any network that ``torch.fx`` traces, of linear layers, convolutions, batch norm, ReLU
            in any spelling, ReLU6, `QCFS`, pooling, dropout, flattening, sums and concatenations.
            It is left as it is.
        calibration: samples as the network takes them, a few hundred: a tensor [N, ...], or an
            iterable of batches (x or (x, y, ...)), such as a ``DataLoader``.
        method: where thresholds come from. ``"percentile"`` of the activations; ``"max"`` of them;
            ``"mmse"``: least mean square error after ``num_steps``; ``"qcfs"``: what the network
            was trained with; ``"diehl_data"``: the largest activation or weight; ``"diehl_model"``:
            the largest activation that the weights allow; ``"spike_norm"``: the largest input of a
            step while the layers before spike.
        num_steps: T for which ``"mmse"`` and ``calibrate`` work, and the default of running the
            result.
        percentile: in (0, 100].
        per_channel: a threshold for each channel (or each neuron of a linear layer) instead of one
            for each layer.
        scaling_factor: by which all thresholds are multiplied.
        balancing_steps: steps for which ``"spike_norm"`` shows each batch to each layer.
        reset: of the neurons, ``"subtract"`` or ``"zero"``.
        initial_mem: membrane at rest as a fraction of the threshold; 0.5 halves the error, 0 is
            what was published before 2022.
        input: ``"current"``: the sample itself at each step; ``"poisson"``: spikes with its values
            as probabilities; ``"signed_poisson"``: with its magnitudes, the spikes bearing the
            sign.
        readout: the output is the mean of what the last layer computes, ``"membrane"``, or of its
            spikes, ``"spikes"``.
        max_pool: ``"max"`` of the rates, ``"gate"`` or ``"avg"``; see `SpikingMaxPool`.
        calibrate: None, or what is corrected on the samples in the end, ``"bias"``, ``"potential"``
            or ``"both"``.
        warm_up: fraction of the steps, rounded down, that the readout leaves out at the beginning,
            in [0, 1): until spikes have made their way, deep networks answer wrongly. Try it on
            your network: of two it helped one.
        signed: neurons are `SignedIF`, which take back by a negative spike what they fired too
            early. Deep networks need far fewer steps then; but spikes have two signs, and NIR has
            no such neuron.
        generator: source of the random spikes of ``"spike_norm"`` and of calibration with Poisson
            input.

    Returns:
        The converted network.

    Raises:
        TypeError: ``ann`` is no module, or the samples are no floating-point tensors.
        ValueError: an option is unknown or out of range, there is no sample, or the network holds
            what cannot be converted; the message names it, its place, and what to do.

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
    generator = random_source(generator)
    coding = (reset, initial_mem, input, readout, max_pool, calibrate, warm_up, signed)
    settings = Settings(method, num_steps, percentile, per_channel, scaling_factor, *coding)
    check_settings(settings, balancing_steps)
    gm, head = ordinary(ann, calibration, readout)
    norm = method == "spike_norm"
    found = {str(node.target): torch.ones(()) for node, _ in called(gm, *SITES)} if norm else {}
    found = found or {
        k: v * scaling_factor for k, v in scales(gm, calibration, method, settings).items()
    }
    stands_for = spiking(gm, found, settings)
    scale = max(1.0, max(float(x.abs().max()) for x in batches(calibration, gm)))
    converted = Converted(gm, stands_for, settings, scale, head).to(home_of(ann)[0])
    if norm:
        _spike_normed(converted, calibration, balancing_steps, generator)
    if calibrate is not None:
        calibrated(converted, calibration, calibrate, generator)
    return converted


def ordinary(
    ann: nn.Module, calibration: Any, readout: str = "membrane"
) -> tuple[fx.GraphModule, nn.Module | None]:
    """The normalised graph of a network, with batch norm folded, and the softmax that was its last
    operation.

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
            "the network has no ReLU, so that nothing in it could spike; convert one that has, or "
            "read its output as "
            'spikes: readout="spikes"'
        )
    return gm, head


def _spike_normed(
    converted: Converted, data: Any, steps: int, generator: torch.Generator | None
) -> None:
    """Set the thresholds by Spike-norm, on spikes even where the network will run on constant
    input."""
    settings = converted.settings
    code = "signed_poisson" if settings.input == "current" else settings.input
    coded = Converted(
        converted.net, {}, replace(settings, input=code), float(converted.input_scale)
    )
    ceilings: dict[int, Any] = {
        id(n): converted.stands_for[path] for path, n in converted.neurons.items()
    }

    def balance(neuron: ScaledIF, value: Tensor) -> None:
        ceiling = ceilings[id(neuron)].ceiling
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
    """Check the options of a conversion.

    Raises:
        ValueError: one is unknown, or out of range.

    >>> check_settings(Settings(percentile=500.0))
    Traceback (most recent call last):
    ValueError: percentile must lie in (0, 100], got 500; write percentile=99.9
    """
    checks.choice("method", settings.method, METHODS)
    checks.choice("reset", settings.reset, ("subtract", "zero"))
    for name in ("per_channel", "signed"):
        flag(name, getattr(settings, name))
    if settings.signed and settings.reset != "subtract":
        raise ValueError(
            'signed=True takes spikes back, which reset="zero" forgets; write reset="subtract"'
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
