"""What public scripts for snnTorch do, and what they met here: networks with a loop of their own,
layers of other packages, edited NIR graphs, values that snnTorch lets pass.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn


class Loop(nn.Module):
    """A network of the tutorials: one call is the whole sequence."""

    def __init__(self, *, hidden: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.lif = snn.Leaky(0.9, init_hidden=hidden)

    def forward(self, x: Tensor) -> Tensor:
        if self.lif.init_hidden:
            snn.utils.reset(self)
            return torch.stack([self.lif(self.fc(x)) for _ in range(10)])
        mem, record = self.lif.init_leaky(), []
        for _ in range(10):
            spk, mem = self.lif(self.fc(x), mem)
            record.append(spk)
        return torch.stack(record)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_network_that_loops_over_time_was_run_for_the_square_of_its_steps(hidden: bool) -> None:
    net, x = Loop(hidden=hidden), torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"more than once; write snn\.layerwise\(net\)\(x\)"):
        snn.run(net, x, num_steps=10)
    assert torch.equal(snn.layerwise(net)(x), net(x))


def test_a_converted_network_was_run_for_the_product_of_both_numbers_of_steps() -> None:
    ann = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    converted = snn.conversion.convert(ann, torch.rand(50, 4))
    with pytest.raises(ValueError, match="Converted has a loop over time of its own"):
        snn.run(converted, torch.rand(4, 4), num_steps=4)
    assert converted(torch.rand(4, 4), 4).shape == (4, 2)


class Quantised(nn.Module):
    """A layer as another package writes it: it makes a tensor of its own in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.mul(8).round().div(8) + torch.zeros(3)


def test_one_layer_of_another_package_made_the_whole_network_run_step_by_step() -> None:
    net = nn.Sequential(nn.Linear(3, 3), Quantised(), snn.Leaky(0.9, init_hidden=True))
    x = torch.rand(6, 2, 3)
    output, _, plan = snn.run(net, x, explain=True)
    assert plan.layerwise and plan.rows[0].how == "time folded into the batch"
    assert "scan over time" in plan.rows[-1].how
    snn.reset(net)
    torch.testing.assert_close(output, torch.stack([net(x_t) for x_t in x]))


def test_a_flatten_that_a_script_moved_to_the_batch_axis_of_snntorch_is_named() -> None:
    nir = pytest.importorskip("nir")
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        snn.Leaky(0.9, init_hidden=True),
        nn.Flatten(),
        nn.Linear(32, 3),
        snn.Leaky(0.9, init_hidden=True, output=True),
    )
    graph = snn.export_to_nir(net, torch.rand(2, 1, 6, 6))
    assert snn.import_from_nir(graph)(torch.rand(2, 1, 6, 6))[0].shape == (2, 3)
    node = next(node for node in graph.nodes.values() if isinstance(node, nir.Flatten))
    node.start_dim = 1  # what scripts do after reading a graph, for snnTorch's importer
    with pytest.raises(ValueError, match=r"one sample of shape \(4, 4\), which reaches it from"):
        snn.import_from_nir(graph)


REFUSED: dict[str, tuple[Any, str]] = {
    "a decay above 1": (lambda: snn.Leaky(2.0), "beta must .* in .0, 1., got 2"),
    "a threshold of 0": (lambda: snn.Leaky(0.9, threshold=0.0), "a neuron at rest would fire"),
    "bytes as input": (
        lambda: snn.Leaky(0.9)(torch.ones(2, 3, dtype=torch.uint8)),
        "must be floating point",
    ),
}


@pytest.mark.parametrize(("call", "text"), REFUSED.values(), ids=list(REFUSED))
def test_what_snntorch_lets_pass_is_refused_in_words(call: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        call()
