"""The rewrite of a convolution with its pooling gives the results of the plain interpreter."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.running.rewriting import pooling as images

from .networks import lif

static_or_not = pytest.mark.parametrize("static", [False, True], ids=["over time", "static"])


class Shared(nn.Module):
    """One pooling for both convolutions, once right after it and once after its neuron."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.conv1, self.conv2 = (
            nn.MaxPool2d(2),
            nn.Conv2d(1, 6, 3, bias=False),
            nn.Conv2d(6, 4, 3),
        )
        self.norm, self.lif = nn.BatchNorm2d(6), lif()
        self.fc = nn.Linear(4 * 9, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.norm(self.pool(self.conv1(x))))
        y = self.pool(self.lif(self.conv2(y) * 2))
        return self.fc(y.view(x.size(0), -1))


def chain(**pool: Any) -> nn.Sequential:
    """Pooled convolutions, one of them strided, dilated and in groups.

    The second sees no spikes: equal patterns of them tie in the pooling, and rounding decides where
    its gradient goes.
    """
    second = nn.Conv2d(6, 8, 3, stride=(1, 2), padding=2, dilation=(2, 1), groups=2, bias=False)
    layers = [
        nn.Conv2d(1, 6, 3),
        nn.MaxPool2d(2, **pool),
        nn.Tanh(),
        second,
        nn.MaxPool2d(3, stride=2, padding=1),
        lif(),
    ]
    return nn.Sequential(*layers)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of any size pay, in chunks of three or so."""
    monkeypatch.setattr(images, "LEAST", 0)
    monkeypatch.setattr(images, "CHUNK", 3000)


def batch(static: bool, side: int = 18) -> tuple[Tensor, int | None]:
    x = (
        torch.rand(
            *([4] if static else [5, 4]), 1, side, side, generator=torch.Generator().manual_seed(0)
        )
        * 3
    )
    return x, 5 if static else None


def outcome(net: nn.Module, x: Tensor, num_steps: int | None) -> tuple[Tensor, list[Tensor]]:
    x = x.clone().requires_grad_()
    output = snn.run(net, x, num_steps)
    weights = torch.rand(output.shape, generator=torch.Generator().manual_seed(1))
    wanted = [x, *(p for p in net.parameters() if p.requires_grad)]
    return output.detach(), list(torch.autograd.grad((output * weights).sum(), wanted))


@static_or_not
@pytest.mark.parametrize(
    "make", [chain, lambda: chain(ceil_mode=True), Shared], ids=["chain", "ceiling", "shared"]
)
def test_the_order_of_memory_changes_no_result(make: Any, static: bool) -> None:
    torch.manual_seed(0)
    net = make()
    twin, (x, num_steps) = copy.deepcopy(net), batch(static)
    output, gradients = outcome(net, x, num_steps)
    with snn.rewrites():
        expected, references = outcome(twin, x, num_steps)
        assert "channels last" not in str(snn.run(twin, x, num_steps, explain=True).plan)
    assert "channels last" in str(snn.run(net, x, num_steps, explain=True).plan)
    assert expected.any() and output.stride() == expected.stride()
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients, references, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


def test_the_plan_says_what_is_pooled_with_what() -> None:
    plan = snn.run(chain(), batch(False)[0], explain=True).plan
    assert [row.how for row in plan.rows[:2]] == [
        "time folded into the batch; channels last, with the pooling after it",
        "with the convolution before it",
    ]


def test_small_images_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LEAST", 2**17)
    assert "channels last" not in str(snn.run(chain(), batch(False)[0], explain=True).plan)


@pytest.mark.parametrize("change", ["float64", "autocast", "two readers"])
def test_other_convolutions_are_left_to_torch(change: str) -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.lif = nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), lif()

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.lif(self.pool(y)) + (y.mean() if change == "two readers" else 0)

    net, (x, _) = Branch(), batch(False)
    if change == "float64":
        net, x = net.double(), x.double()
    with torch.autocast("cpu", enabled=change == "autocast"):
        assert "channels last" not in str(snn.run(net, x, explain=True).plan)


def test_records_and_outputs_have_the_memory_format_of_the_input() -> None:
    net, (x, _) = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), lif()), batch(False)
    result = snn.run(net, x, record=["2.mem"])
    assert result.output.is_contiguous() and result.record["2.mem"].is_contiguous()


@static_or_not
def test_a_function_that_reads_memory_directly_finds_the_format_of_the_loop(static: bool) -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_strided(nn.functional.max_pool2d(self.conv(x), 2), (2, 9), (9, 1))

    net, (x, num_steps) = Looking(), batch(static)
    with snn.rewrites():
        expected = snn.run(net, x, num_steps)
    torch.testing.assert_close(snn.run(net, x, num_steps), expected)


def test_gradients_of_gradients_pass_a_pooled_convolution() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2))
    found = []
    for names in (("pooling",), ()):
        with snn.rewrites(*names):
            x = batch(False, 8)[0].requires_grad_()
            (first,) = torch.autograd.grad(snn.run(net, x).pow(2).sum(), x, create_graph=True)
            found.append(torch.autograd.grad(first.pow(2).sum(), net[0].weight)[0])
    assert found[1].any()
    torch.testing.assert_close(*found)


def test_a_frozen_convolution_gets_no_gradient_and_passes_one_on() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3).requires_grad_(False), nn.MaxPool2d(2))
    x = batch(False, 8)[0].requires_grad_()
    snn.run(net, x).sum().backward()
    assert net[0].weight.grad is None and x.grad is not None and x.grad.any()


def test_an_image_without_a_gradient_costs_none() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2))
    snn.run(net, batch(False, 8)[0]).sum().backward()
    assert net[0].weight.grad is not None and net[0].weight.grad.any()
