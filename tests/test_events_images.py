"""Convolutions of spikes from their nonzero elements, and gradients from the winners of a pooling,
against torch."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn

pytest.importorskip("numba", reason="the extra cpu is not installed")

from spikeloom.kernels.events import choice, images
from spikeloom.kernels.pooled_convolution import Pair, pooled
from spikeloom.running.rewriting import pooling

# images [M, C, H, W], filters, kernel, stride, padding
CASES = [
    ((3, 2, 7, 9), 5, (3, 3), (1, 1), (1, 1)),
    ((2, 3, 9, 8), 4, (3, 2), (2, 1), (1, 0)),
    ((2, 70, 5, 6), 9, (3, 3), (1, 1), (1, 1)),  # a line of a window is longer than 64 bits
    ((1, 5, 6, 7), 70, (5, 3), (1, 2), (2, 2)),
    ((2, 64, 4, 4), 3, (1, 1), (1, 1), (0, 0)),
    ((2, 1, 5, 5), 3, (3, 3), (2, 2), (4, 5)),  # windows that are all padding
    ((2, 67, 8, 70), 4, (5, 5), (1, 1), (2, 2)),
    ((1, 2, 2, 3), 1, (2, 3), (1, 1), (0, 0)),
]
over = pytest.mark.parametrize(("shape", "filters", "kernel", "stride", "padding"), CASES)
real = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def close(found: Any, expected: Any) -> None:
    """Check that numbers differ by the rounding of their sums alone."""
    first = found if isinstance(found, Tensor) else found[0]
    most = {torch.float32: 3e-4, torch.float64: 1e-9}[first.dtype]
    torch.testing.assert_close(found, expected, rtol=most, atol=most)


def spikes(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, rate: float = 0.3) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(3)) < rate).to(dtype)


def filters_of(shape: Any, filters: int, kernel: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(filters, shape[1], *kernel, generator=generator, dtype=dtype)
    return weight.requires_grad_(), torch.randn(filters, dtype=dtype).requires_grad_()


@over
def test_windows_are_those_of_unfold(
    shape: Any, filters: int, kernel: Any, stride: Any, padding: Any
) -> None:
    x = spikes(shape)
    found = images.windows(x, images.Windows(kernel, stride, padding))
    assert found is not None
    expected = F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2)
    expected = expected.reshape(-1, shape[1], kernel[0] * kernel[1]).transpose(1, 2).flatten(1)
    assert torch.equal(found.dense(x.dtype), expected)


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, torch.nan, torch.inf])
@pytest.mark.parametrize("at", [0, 63, 64, 69])  # in a whole vector and behind the last
def test_a_value_that_is_no_spike_is_seen_wherever_it_is(value: float, at: int) -> None:
    x = spikes((1, 7, 2, 5))
    x.view(-1)[at] = value
    assert images.windows(x, images.Windows((2, 2))) is None
    last = x.contiguous(memory_format=torch.channels_last)
    assert images.windows(last, images.Windows((2, 2))) is None


@real
@over
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_by_events_and_its_gradients_are_those_of_torch(
    shape: Any, filters: int, kernel: Any, stride: Any, padding: Any, order: Any, dtype: Any
) -> None:
    x = spikes(shape, dtype).contiguous(memory_format=order).requires_grad_()
    weight, bias = filters_of(shape, filters, kernel, dtype)
    where = images.Windows(kernel, stride, padding)
    for b in (bias, None):
        given = [v for v in (x, weight, b) if v is not None]
        expected = torch.conv2d(x, weight, b, stride, padding)
        y = images.convolution(x, weight, b, where)
        close(y, expected)
        grad = torch.randn_like(expected)
        same = torch.autograd.grad(y, given, grad)
        close(same, torch.autograd.grad(expected, given, grad))


@real
@over
def test_gradients_from_the_winners_are_those_of_the_convolution_and_its_pooling(
    shape: Any, filters: int, kernel: Any, stride: Any, padding: Any, dtype: Any
) -> None:
    x = torch.randn(shape, dtype=dtype, requires_grad=True)  # no spikes are needed
    weight, _ = filters_of(shape, filters, kernel, dtype)
    where = images.Windows(kernel, stride, padding)
    y = torch.conv2d(x, weight, None, stride, padding)
    largest, positions = F.max_pool2d(y, 3, 2, 1, return_indices=True)
    grad = torch.randn_like(largest)
    expected = torch.autograd.grad(largest, (x, weight), grad)
    for kind in (torch.int16, torch.int32):
        for order in (torch.contiguous_format, torch.channels_last):
            dx = torch.full_like(x, torch.nan, memory_format=order)
            images.input_gradient(grad, positions.to(kind), weight, dx, where)
            dw = images.weight_gradient(grad, positions.to(kind), weight, x, where)
            close([dx, dw], list(expected))


def test_gradients_of_gradients_of_a_convolution_by_events_are_right() -> None:
    x = spikes((2, 2, 4, 4)).requires_grad_()
    weight, bias = filters_of(x.shape, 3, (2, 2), torch.float64)
    where = images.Windows((2, 2), (1, 1), (1, 1))

    def twice(function: Callable[..., Tensor]) -> Any:
        inner = torch.autograd.grad(
            function(x, weight, bias).tanh().sum(), (x, weight), create_graph=True
        )
        return torch.autograd.grad(sum(g.pow(2).sum() for g in inner), (x, weight, bias))

    close(
        twice(lambda *given: images.convolution(*given, where)),
        twice(lambda *given: torch.conv2d(*given, padding=1)),
    )


def test_images_that_turn_out_to_hold_numbers_are_convolved_as_such() -> None:
    x = spikes((5, 2, 4, 4))
    x[-1, -1, -1, -1] = 0.5
    weight, bias = filters_of(x.shape, 3, (2, 2), torch.float64)
    y = images.convolution(x, weight, bias, images.Windows((2, 2)))
    expected = torch.conv2d(x, weight, bias)
    close(y, expected)
    found, same = (torch.autograd.grad(v.sum(), (weight, bias)) for v in (y, expected))
    close(found, same)


def test_numbers_behind_the_first_images_stopped_the_timing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "WORTH", 0)
    monkeypatch.setattr(choice, "_answers", dict)
    x = spikes((20, 2, 6, 6), torch.float32)
    x[-1, -1, -1, -1] = 0.5
    weight, bias = filters_of(x.shape, 3, (2, 2), torch.float32)
    y, remark = choice.convolution(x, weight, bias, images.Windows((2, 2)))
    assert y is None and not remark


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Which methods are found to pay; sizes do not matter."""
    answers = {"convolution": True, "winners": True}
    monkeypatch.setattr(choice, "WORTH", 0)
    monkeypatch.setattr(pooling, "LEAST", 0)
    monkeypatch.setattr(choice, "paid", lambda key, *_, **__: answers[key.partition(" ")[0]])
    return answers


@over
@pytest.mark.parametrize(("events", "winners"), [*itertools.product([False, True], [False, True])])
@pytest.mark.parametrize("wanted", [*itertools.product([False, True], repeat=3)])
def test_every_method_of_a_pooled_convolution_has_the_same_results(
    shape: Any, filters: int, kernel: Any, stride: Any, padding: Any,
    events: bool, winners: bool, wanted: Any, pays: dict[str, bool],
) -> None:  # fmt: skip
    pays.update(convolution=events, winners=winners)
    weight, bias = filters_of(shape, filters, kernel, torch.float32)
    x = spikes(shape, torch.float32).contiguous(memory_format=torch.channels_last)
    given = [
        v.detach().requires_grad_(flag) for v, flag in zip((x, weight, bias), wanted, strict=True)
    ]
    others = ([*stride], [*padding], [1, 1], 1)
    pair = Pair(others, ([2, 2], [2, 2], [1, 1], [1, 1], False), 2)
    y, remark = pooled(*given, pair, events=True)
    expected = F.max_pool2d(torch.conv2d(*given, *others), 2, 2, 1)
    close(y, expected)
    assert ("events" in remark) == events
    if any(wanted):
        grad, asked = torch.randn_like(expected), [v for v in given if v.requires_grad]
        found = torch.autograd.grad(y, asked, grad)
        close(found, torch.autograd.grad(expected, asked, grad))


@pytest.mark.parametrize("winners", [False, True])
def test_a_later_part_of_images_may_hold_numbers(winners: bool, pays: dict[str, bool]) -> None:
    pays["winners"] = winners
    shape, padding = (5, 2, 7, 9), [1, 1]
    weight, bias = filters_of(shape, 4, (3, 3), torch.float32)
    x = spikes(shape, torch.float32)
    x[-1, 0, 3, 3] = 0.5
    given = [x.contiguous(memory_format=torch.channels_last).requires_grad_(), weight, bias]
    pair = Pair(([1, 1], padding, [1, 1], 1), ([2, 2], [2, 2], [0, 0], [1, 1], False), 2)
    y, remark = pooled(*given, pair, events=True)
    assert "events" in remark
    expected = F.max_pool2d(torch.conv2d(*given, padding=padding), 2)
    close(y, expected)
    grad = torch.randn_like(expected)
    close(torch.autograd.grad(y, given, grad), torch.autograd.grad(expected, given, grad))


def network() -> nn.Module:
    torch.manual_seed(0)
    lif = lambda: snn.Leaky(0.9, init_hidden=True)  # noqa: E731
    layers = [
        nn.Conv2d(2, 6, 3),
        nn.MaxPool2d(2),
        lif(),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.MaxPool2d(2),
        lif(),
        nn.Conv2d(8, 4, 2, stride=2, bias=False),  # without a pooling
        lif(),
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 3))


def gradients(net: nn.Module, x: Tensor, *rewrites: str) -> tuple[Tensor, list[Tensor], str]:
    with snn.rewrites(*rewrites):
        run = snn.run(net, x, explain=True)
    y = run.output
    return y, list(torch.autograd.grad(y.pow(2).sum(), list(net.parameters()))), str(run.plan)


@pytest.mark.parametrize("rewrites", [("events",), ("events", "pooling")])
def test_a_network_of_convolutions_by_events_has_the_results_of_the_plain_program(
    rewrites: tuple[str, ...], pays: dict[str, bool]
) -> None:
    x = spikes((6, 5, 2, 14, 14), torch.float32)
    net = network()
    y, grads, plan = gradients(net, x, *rewrites)
    expected, same, _ = gradients(net, x)
    close(y, expected)
    close(grads, same)
    assert plan.count("events (density") == 3


def test_a_pooled_convolution_took_the_default_dtype_of_torch(pays: dict[str, bool]) -> None:
    x, net = spikes((6, 5, 2, 14, 14), torch.float32), network().float()
    expected = gradients(net, x, "events", "pooling")[:2]
    for answers in (True, False):
        pays.update(convolution=answers, winners=answers)
        torch.set_default_dtype(torch.float64)
        try:
            found = gradients(net, x, "events", "pooling")[:2]
        finally:
            torch.set_default_dtype(torch.float32)
        close(found[0], expected[0])
        close(found[1], expected[1])


def test_without_the_rewrite_of_events_a_pooled_convolution_reads_zeros(
    pays: dict[str, bool],
) -> None:
    x = spikes((6, 5, 2, 14, 14), torch.float32)
    assert "events (density" not in gradients(network(), x, "pooling")[2]


@pytest.mark.parametrize(("scale", "rate"), [(0.1, 0.3), (1.0, 0.9)])
def test_numbers_and_dense_spikes_are_not_convolved_by_events(
    scale: float, rate: float, pays: dict[str, bool]
) -> None:
    x = scale * spikes((6, 5, 2, 14, 14), torch.float32, rate)
    plan = gradients(network(), x, "events", "pooling")[2]
    first = next(line for line in plan.splitlines() if line.startswith("  0 "))
    assert "events" not in first
    assert "events" in plan  # of the layers behind it
