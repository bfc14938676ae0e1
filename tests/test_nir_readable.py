"""Files that `nir.read` takes with its type check on: convolutions with groups, and kernels that
are not square."""

from pathlib import Path
from typing import Any

import nir
import nir_executor
import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.nir import from_nir, to_nir
from spikeloom.nir.plain_form import original_form, plain_form

IMAGE, SOUND = (4, 9, 8), (4, 11)
CONVOLUTIONS = {
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), IMAGE),
    "two groups": (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False), IMAGE),
    "groups and same": (nn.Conv2d(4, 6, 3, padding="same", groups=2), IMAGE),
    "groups and valid": (nn.Conv2d(4, 6, (1, 3), padding="valid", groups=2), IMAGE),
    "wide": (nn.Conv2d(4, 2, (3, 5), padding=(1, 2)), IMAGE),
    "high, stride, dilation": (
        nn.Conv2d(4, 2, (5, 1), stride=(2, 1), padding=(2, 0), dilation=(1, 2)),
        IMAGE,
    ),
    "2 x 4": (nn.Conv2d(4, 2, (2, 4)), IMAGE),
    "2 x 3, same": (nn.Conv2d(4, 2, (2, 3), padding="same", dilation=2), IMAGE),
    "sound": (nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2), SOUND),
}


def network(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, snn.Leaky(0.8, threshold=0.3, init_hidden=True), nn.Flatten())


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_with_groups_or_a_flat_kernel_is_read_by_nir_and_comes_back(
    layer: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    net = network(layer)
    x = torch.rand(12, 2, *shape)
    nir.write(tmp_path / "net.nir", to_nir(net, x[0]))
    graph = nir.read(tmp_path / "net.nir")  # checks the types
    assert graph.nodes["0"].groups == 1
    again = from_nir(tmp_path / "net.nir")
    expected = snn.run(net, x)
    assert expected.any() and torch.equal(snn.run(again, x), expected)
    own = again.get_submodule("0")
    assert own.groups == layer.groups and own.weight.shape == layer.weight.shape


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_what_is_written_is_the_same_convolution(layer: Any, shape: tuple[int, ...]) -> None:
    graph = to_nir(nn.Sequential(layer), torch.rand(2, *shape))
    x = torch.rand(shape)
    written = nir_executor.run(graph, x.numpy()[None])[0]
    np.testing.assert_allclose(written, layer(x[None])[0].detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_kernel_that_zeros_do_not_make_square_is_written_with_a_warning(tmp_path: Path) -> None:
    net = network(nn.Conv2d(4, 2, (2, 3)))
    x = torch.rand(12, 2, *IMAGE)
    with pytest.warns(UserWarning, match=r"Conv2d '0' has a kernel \(2, 3\).*type_check=False"):
        graph = to_nir(net, x[0])
    nir.write(tmp_path / "net.nir", graph)
    assert torch.equal(snn.run(from_nir(tmp_path / "net.nir"), x), snn.run(net, x))


def test_a_weight_between_groups_that_was_added_to_the_file_counts() -> None:
    layer = nn.Conv2d(4, 4, 3, groups=4)
    graph = to_nir(nn.Sequential(layer), torch.rand(2, *IMAGE))
    graph.nodes["0"].weight[0, 3, 1, 1] = 2.0
    own = from_nir(graph).get_submodule("0")
    assert own.groups == 1 and own.weight[0, 3, 1, 1] == 2.0


def test_a_weight_in_the_border_that_was_added_to_the_file_counts() -> None:
    graph = to_nir(nn.Sequential(nn.Conv2d(4, 2, (3, 5), padding=(1, 2))), torch.rand(2, *IMAGE))
    graph.nodes["0"].weight[0, 0, 0, 0] = 2.0
    own = from_nir(graph).get_submodule("0")
    assert own.kernel_size == (5, 5) and own.weight[0, 0, 0, 0] == 2.0


@pytest.mark.parametrize(
    "record", [{"groups": 3}, {"groups": -1}, {"groups": "x"}, {"kernel": 3}, {"kernel": [1, 9]}]
)
def test_a_record_that_does_not_fit_is_left_aside(record: dict[str, Any]) -> None:
    weight = np.ones((4, 4, 3, 3))
    settings = {"groups": 1, "padding": (1, 1), "dilation": (1, 1), "stride": (1, 1)}
    same, unchanged = original_form(weight, settings, record)
    assert np.array_equal(same, weight) and unchanged == settings


def test_plain_form_and_original_form_are_inverses() -> None:
    random = np.random.default_rng(0)
    for groups, kernel in ((1, (3, 5)), (2, (5, 1)), (4, (3, 3)), (2, (1, 7))):
        weight = random.normal(size=(8, 8 // groups, *kernel))
        settings = {"groups": groups, "padding": (2, 1), "dilation": (2, 3), "stride": (1, 2)}
        plain, changed, record = plain_form(weight, settings)
        assert plain.shape[2] == plain.shape[3] and changed["groups"] == 1
        again, restored = original_form(plain, changed, record)
        assert np.array_equal(again, weight) and restored == settings
