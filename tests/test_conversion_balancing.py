"""Balancing as published, against literal loops; calibration; activations to train with."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from conversion_nets import mlp, residual, samples
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.conversion import QCFS, Converted, convert, spike_norm, with_qcfs
from spikeloom.conversion.observe import neuron_sums
from spikeloom.conversion.twin import OrdinaryTwin


@pytest.fixture(scope="module")
def ann() -> nn.Module:
    return residual()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return samples()


# -- balancing as published ------------------------------------------------------------------------


def naive_spike_norm(weights: list[Tensor], batches: list[Tensor], steps: int) -> list[float]:
    """Thresholds of a chain of linear layers without bias, unit spikes, input as it is, reset by
    subtraction."""
    thresholds = [0.0] * len(weights)
    for x in batches:
        for layer in range(len(weights)):
            mems: list[Any] = [0.0] * layer
            for _ in range(steps):
                spk = x
                for k in range(layer):
                    mems[k] = mems[k] + spk @ weights[k].T
                    spk = (mems[k] > thresholds[k]).float()
                    mems[k] = mems[k] - spk * thresholds[k]
                thresholds[layer] = max(thresholds[layer], float((spk @ weights[layer].T).max()))
    return thresholds


def unit_chain(sizes: tuple[int, ...] = (6, 20, 20, 5)) -> nn.Sequential:
    torch.manual_seed(5)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b, bias=False), snn.ScaledIF(1.0, init_hidden=True)]
    return nn.Sequential(*layers)


def unit_threshold(neuron: Any, value: Tensor) -> None:
    neuron.threshold = value.clone()


def balanced(batches: list[Tensor], **options: Any) -> list[float]:
    net = unit_chain()
    neurons: Any = {str(i): net[i] for i in (1, 3, 5)}
    found = spike_norm(net, neurons, batches, lambda x: x, 12, balance=unit_threshold, **options)
    return [float(value) for value in found.values()]


BATCHES = list(torch.rand(24, 6, generator=torch.Generator().manual_seed(9)).split(8))


def test_spike_norm_finds_the_thresholds_of_a_literal_loop() -> None:
    weights = [layer.weight for layer in unit_chain() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        wanted = naive_spike_norm(weights, BATCHES, 12)
    assert balanced(BATCHES) == pytest.approx(wanted, rel=1e-5)


def test_a_scaling_factor_of_half_halves_every_threshold() -> None:
    assert balanced(BATCHES, scaling_factor=0.5) == pytest.approx(
        [value / 2 for value in balanced(BATCHES)]
    )
    options: dict[str, Any] = {"method": "spike_norm", "balancing_steps": 10}
    x = torch.rand(16, 6)
    one, half = (
        convert(mlp(), x, **options, scaling_factor=s, generator=torch.Generator().manual_seed(0))
        for s in (1.0, 0.5)
    )
    assert all(torch.allclose(half.thresholds[k], v / 2) for k, v in one.thresholds.items())


def test_no_threshold_falls_with_more_batches() -> None:
    found = [balanced(BATCHES[:n]) for n in (1, 2, 3)]
    for few, more in pairwise(found):
        assert all(b >= a for a, b in zip(few, more, strict=True))


def test_spikes_of_the_size_of_their_threshold_balance_like_unit_spikes() -> None:
    unit = balanced(BATCHES)
    net = unit_chain()
    neurons: Any = {str(i): net[i] for i in (1, 3, 5)}
    sizes = [float(v) for v in spike_norm(net, neurons, BATCHES, lambda x: x, 12).values()]
    assert sizes == pytest.approx(
        [unit[0], unit[0] * unit[1], unit[0] * unit[1] * unit[2]], rel=1e-4
    )


def test_spike_norm_says_that_nothing_reached_a_layer() -> None:
    net = nn.Sequential(nn.Linear(2, 3, bias=False), snn.ScaledIF(1.0, init_hidden=True))
    nn.init.constant_(net[0].weight, -1.0)  # pyright: ignore[reportArgumentType] (a tensor)
    with pytest.raises(
        ValueError, match=r"the input of '1' must be positive in some step, got none in 3 steps"
    ):
        spike_norm(net, {"1": net[1]}, [torch.ones(1, 2)], lambda x: x, 3)  # pyright: ignore[reportArgumentType]


def test_data_based_balancing_equals_the_published_rescaling_of_weights() -> None:
    """Weights divided by scale / previous scale, thresholds 1, as Diehl et al. have it, spike for
    spike."""
    net, x = mlp(bias=False).double(), torch.rand(40, 6, dtype=torch.float64)
    weights = [layer.weight.detach().clone() for layer in net if isinstance(layer, nn.Linear)]
    activations, a = [], x
    for weight in weights[:2]:
        a = (a @ weight.T).clamp(min=0)
        activations.append(float(a.max()))
    previous, scaled = 1.0, []
    for weight, activation in zip(weights, activations, strict=False):
        scale = max(float(weight.max()), activation)
        scaled.append(weight / (scale / previous))
        previous = scale
    published = nn.Sequential(
        nn.Linear(6, 24, bias=False),
        snn.IF(1.0, init_hidden=True, reset_mechanism="zero"),
        nn.Linear(24, 24, bias=False),
        snn.IF(1.0, init_hidden=True, reset_mechanism="zero"),
    ).double()
    for layer, weight in zip((published[0], published[2]), scaled, strict=True):
        layer.weight = nn.Parameter(weight)
    ours = convert(net, x, method="diehl_data", reset="zero", initial_mem=0.0)
    x = 0.97 * x  # the largest activation meets its threshold exactly, and rounding would decide
    spk = snn.run(published, x, 40, record=["3.spk"]).record["3.spk"]
    own = snn.run(ours.net, x, 40, record=["3.spk"]).record["3.spk"]
    assert torch.equal(own != 0, spk != 0) and 0 < spk.mean() < 1


def test_model_based_balancing_cannot_saturate() -> None:
    x = torch.rand(60, 6)
    net = convert(mlp(bias=False), x, method="diehl_model")
    assert all(
        spk.mean(0).max() < net.thresholds[path] for path, spk in _spikes(net, x, 50).items()
    )


def _spikes(net: Converted, x: Tensor, steps: int) -> dict[str, Tensor]:
    record = snn.run(net.net, x, steps, record=[f"{path}.spk" for path in net.neurons]).record
    return {path: record[f"{path}.spk"] for path in net.neurons}


# -- calibration and tuning ------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["bias", "potential", "both"])
def test_calibration_brings_mean_rates_to_the_mean_activations(
    what: str, ann: nn.Module, x: Tensor
) -> None:
    def lack(net: Converted) -> float:
        with neuron_sums(net) as found:
            net(x, 4)
        twin = OrdinaryTwin(net, record=True)
        twin.run(x)
        return sum(
            float((sums.given / 4 - twin.values[path]).detach().mean((0, 2, 3)).abs().sum())
            for path, sums in found.items()
        )

    options: dict[str, Any] = {"method": "max", "num_steps": 4, "initial_mem": 0.3}
    assert lack(convert(ann, x, calibrate=what, **options)) < 0.5 * lack(convert(ann, x, **options))


def test_swapping_in_qcfs_keeps_the_network_and_its_training_mode(
    ann: nn.Module, x: Tensor
) -> None:
    net = with_qcfs(ann, x, levels=256, percentile=100.0)
    assert (net(x) - ann(x)).norm() < 0.01 * ann(x).norm()
    assert sum(isinstance(module, QCFS) for module in net.modules()) == 3
    assert not net.training
    assert not any(isinstance(module, QCFS) for module in ann.modules())


def test_the_gradient_of_qcfs_passes_the_floor() -> None:
    # between the edges 0 and 1, where the gradient of clamp is another one since torch 2.14
    z = torch.linspace(-0.45, 1.55, 9, requires_grad=True)
    qcfs = QCFS(4, 1.0)
    qcfs(z).sum().backward()
    assert z.grad is not None and z.grad.tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0]
    assert qcfs.threshold.grad is not None and torch.isfinite(qcfs.threshold.grad)


@pytest.mark.parametrize(("levels", "kind"), [(0, ValueError), (2.5, TypeError)])
def test_qcfs_needs_a_number_of_levels(levels: Any, kind: type[Exception]) -> None:
    with pytest.raises(
        kind,
        match=r"levels must (be in \[1, .*, got 0|be a whole number, got 2\.5); write levels=1",
    ):
        QCFS(levels)


def test_qcfs_conversion_refuses_a_network_with_relus() -> None:
    with pytest.raises(ValueError, match=r"needs a QCFS activation everywhere, and '1' is a ReLU"):
        convert(mlp(), torch.rand(5, 6), method="qcfs")
