"""Converted networks with spikes of size 1, through NIR and back."""

from typing import Any

import pytest
import torch
from conversion_nets import mlp, residual, samples
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.conversion import convert
from spikeloom.conversion.unit import unit_spikes
from spikeloom.nir import from_nir, to_nir


@pytest.fixture(scope="module")
def ann() -> nn.Module:
    return residual()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return samples()


# -- NIR -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"per_channel": True}, {"reset": "zero"}, {"calibrate": "bias"}], ids=str
)
def test_unit_spikes_go_through_nir_and_back(options: dict[str, Any], x: Tensor) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 9),
        nn.ReLU(),
        nn.Linear(9, 3),
    ).eval()
    converted = convert(net, x, **options)
    unit = converted.unit_spikes()
    assert all(set(spk.unique().tolist()) <= {0.0, 1.0} for spk in _unit_record(unit, x).values())
    graph = to_nir(unit, x[:1])
    assert sorted(type(node).__name__ for node in graph.nodes.values()) == sorted(
        ["Input", "Conv2d", "IF", "AvgPool2d", "Flatten", "Affine", "IF", "Affine", "Output"]
    )
    for network in (unit, from_nir(graph)):
        assert torch.allclose(snn.run(network, x, 16).mean(0), converted(x, 16), atol=1e-5)


def _unit_record(unit: nn.Module, x: Tensor) -> dict[str, Tensor]:
    paths = [f"{p}.spk" for p, module in unit.named_modules() if isinstance(module, snn.ScaledIF)]
    return snn.run(unit, x, 8, record=paths).record


def test_signed_spikes_of_size_one_give_the_same_output_and_nir_refuses_them(x: Tensor) -> None:
    converted = convert(residual(), x, signed=True)
    unit = converted.unit_spikes()
    signs = torch.cat([spk.flatten() for spk in _unit_record(unit, x).values()])
    assert set(signs.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert torch.allclose(snn.run(unit, x, 16).mean(0), converted(x, 16), atol=1e-5)
    with pytest.raises(ValueError, match="it has negative spikes, which no NIR neuron has"):
        to_nir(snn.SignedIF(init_hidden=True), torch.rand(1, 3))


def test_nir_of_others_starts_at_zero_and_therefore_resets_below(x: Tensor) -> None:
    """Read without our record, an IF of NIR gives the same spikes: threshold and reset are measured
    from the start."""
    converted = convert(mlp(), torch.rand(30, 6))
    graph = to_nir(converted.unit_spikes())
    for node in graph.nodes.values():
        if type(node).__name__ == "IF":
            assert (node.v_reset < 0).all() and node.v_threshold == pytest.approx(-node.v_reset)
            node.metadata = {}
    x = torch.rand(10, 6)
    foreign = from_nir(graph, convention=snn.nir.Convention(dt=1e-4, reset="subtract", delay=False))
    assert torch.allclose(snn.run(foreign, x, 16).mean(0), converted(x, 16), atol=1e-5)


def test_unit_spikes_of_sums_and_concatenations_keep_a_factor(ann: nn.Module, x: Tensor) -> None:
    both: list[dict[str, Any]] = [{}, {"per_channel": True}]
    for options in both:
        converted = convert(ann, x, **options)
        unit = converted.unit_spikes()
        assert all(
            set(spk.unique().tolist()) <= {0.0, 1.0} for spk in _unit_record(unit, x).values()
        )
        assert torch.allclose(snn.run(unit, x, 16).mean(0), converted(x, 16), atol=1e-5)


def per_channel(net: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes of the spikes of neuron 1, and the weights of layer 2 before and after them."""
    converted = convert(net, x, per_channel=True)
    sizes = converted.net.get_submodule("1").graded_spikes_factor.flatten()
    assert len(set(sizes.tolist())) > 1
    layers: list[Any] = [
        each.get_submodule("2") for each in (converted.net, unit_spikes(converted.net))
    ]
    return sizes, layers[0].weight, layers[1].weight


def test_sizes_of_spikes_went_into_the_channels_of_another_group() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten()
    )
    net.append(nn.Linear(96, 5))
    sizes, before, after = per_channel(net, samples())
    assert sizes[:2].tolist() != sizes[2:].tolist()
    for o in range(6):
        for i in range(2):  # of the two channels that the group of output o reads
            torch.testing.assert_close(after[o, i], before[o, i] * sizes[o // 3 * 2 + i])


def test_sizes_of_spikes_went_along_another_axis_of_the_weight() -> None:
    torch.manual_seed(1)
    conv = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 5, 4), nn.ReLU())
    sizes, before, after = per_channel(conv, torch.rand(4, 3, 9))
    torch.testing.assert_close(after, before * sizes.reshape(1, 4, 1))
    torch.manual_seed(2)
    linear = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    sizes, before, after = per_channel(linear, torch.rand(5, 6))
    torch.testing.assert_close(after, before * sizes.reshape(1, 4))
