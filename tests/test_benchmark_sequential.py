"""What the networks of `benchmarks/sequential_mnist.py` compute, beside a loop over pixels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import imported
from torch import Tensor

import spikeloom as snn

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
LAYERS = ((6, 5, 2, 1), (5, 3, 1, 3), (4, 4, 3, 1))


@pytest.fixture
def networks() -> Iterator[Any]:
    with imported(BENCHMARKS / "sequential_networks.py") as module:
        yield module


def trained(networks: Any) -> Any:
    """A small network whose norms and leaks are not those of the beginning."""
    torch.manual_seed(0)
    net = networks.Lines(LAYERS, steps=24).double()
    for layer in net.layers:
        torch.nn.init.uniform_(layer.neurons.beta, 0.2, 0.9)
        torch.nn.init.uniform_(layer.norm.weight, 0.8, 1.5)
        torch.nn.init.uniform_(layer.norm.bias, 0.0, 0.5)
    net.train()
    for _ in range(30):
        net(torch.rand(24, 8).double())
    return net.eval()


def looped(net: Any, pixels: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
    """Output [B, 10] and the spikes of each layer, one pixel after the other."""
    known: list[list[Tensor]] = [[] for _ in range(len(net.layers) + 1)]
    mems: list[Tensor | None] = [None] * len(net.layers)
    cells = [snn.Leaky(layer.neurons.beta.detach()) for layer in net.layers]
    for pixel in pixels:
        known[0].append(pixel.unsqueeze(-1))
        for i, (layer, cell) in enumerate(zip(net.layers, cells, strict=True)):
            _, _, stride, apart = LAYERS[i]
            if len(known[i]) % stride:
                break
            weights = layer.synapses.weight[..., 0].flip(-1).unbind(-1)
            arrived = known[i][::-1][::apart]
            current = torch.stack(
                [x @ weight.T for x, weight in zip(arrived, weights, strict=False)]
            ).sum(0)
            mem = cell.init_leaky() if mems[i] is None else mems[i]
            norm = layer.norm
            scaled = (current - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
            spk, mems[i] = cell(scaled * norm.weight + norm.bias, mem)
            known[i + 1].append(spk)
    return net.readout(torch.cat(known[-1], 1)), known[1:]


def test_the_network_over_all_steps_differs_from_a_loop_over_pixels(networks: Any) -> None:
    net, pixels = trained(networks), torch.rand(24, 8).double()
    with torch.no_grad():
        outputs, spikes = net(pixels)
        expected, one_by_one = looped(net, pixels)
    for found, by_step in zip(spikes, one_by_one, strict=True):
        assert 0.02 < found.mean() < 0.9
        torch.testing.assert_close(found, torch.stack(by_step))
    torch.testing.assert_close(outputs[0], expected)


@pytest.mark.parametrize("step", [0, 7, 13, 23])
def test_a_spike_depends_on_a_later_pixel_or_the_output_misses_one(
    networks: Any, step: int
) -> None:
    net, pixels = trained(networks), torch.rand(24, 8).double()
    pixels.requires_grad_()
    outputs, before = net(pixels)
    (slopes,) = torch.autograd.grad(outputs.sum(), pixels)
    assert (slopes[step] != 0).any()
    changed = pixels.detach().clone()
    changed[step:] = torch.rand(24 - step, 8).double()
    with torch.no_grad():
        _, after = net(changed)
    stride = 1
    for layer, old, new in zip(LAYERS, before, after, strict=True):
        stride *= layer[2]
        torch.testing.assert_close(new[: step // stride], old[: step // stride].detach())
    assert not torch.equal(after[0], before[0])


def test_images_that_are_hardly_moved_come_back_as_others() -> None:
    x = torch.rand(5, 784, generator=torch.Generator().manual_seed(1))
    with imported(BENCHMARKS / "sequential_mnist.py") as script:
        near = script.augmented(x, 1e-6, torch.Generator().manual_seed(0))
        far = script.augmented(x, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(near, x, atol=1e-4, rtol=0)
    assert (far - x).abs().mean() > 0.1
