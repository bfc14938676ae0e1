"""Linear layers with few outputs: the ordinary layer's numbers, by a loop of our own where there is enough to do."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import spikeloom as snn
from spikeloom.kernels.events import choice, narrow
from spikeloom.kernels.events.linear import linear


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1003, 999, 10), (256, 4100, 16), (33, 70_000, 1), (3, 1, 1)])
def test_results_and_gradients_are_those_of_the_ordinary_layer(
    rows: int, inputs: int, outputs: int, bias: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(rows, inputs, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, inputs, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(outputs, dtype=torch.float64, requires_grad=True) if bias else None
    given = [x, weight, *([offset] if offset is not None else [])]
    flow = torch.randn(rows, outputs, dtype=torch.float64)
    found, wanted = (f(x, weight, offset) for f in (narrow.linear, F.linear))
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad(y, given, flow) for y in (found, wanted)), strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-10)


@pytest.mark.usefixtures("threads")
def test_two_threads_give_the_sums_of_one() -> None:
    x, weight = torch.randn(5000, 300), torch.randn(7, 300, requires_grad=True)
    found, wanted = narrow.linear(x, weight, None), F.linear(x, weight)
    flow = torch.randn_like(found)
    assert torch.allclose(found, wanted, atol=1e-4)
    one, two = (torch.autograd.grad(y, weight, flow)[0] for y in (found, wanted))
    assert torch.allclose(one, two, atol=1e-5 * float(two.abs().max()))


def test_inputs_and_weights_may_lie_in_any_order() -> None:
    x, weight = torch.randn(999, 400).t(), torch.randn(999, 3).t()
    assert torch.allclose(narrow.linear(x, weight, None), F.linear(x, weight), atol=1e-4)


def test_the_operator_keeps_torchs_promises_and_has_gradients_of_gradients() -> None:
    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(narrow.narrow_linear, (x, weight, bias))
    torch.library.opcheck(narrow.narrow_linear_weight, (torch.randn(6, 3), torch.randn(6, 5)))
    assert torch.autograd.gradcheck(narrow.narrow_linear, (x, weight, bias))
    assert torch.autograd.gradgradcheck(narrow.narrow_linear, (x, weight, bias))


@pytest.mark.parametrize(
    ("outputs", "rows", "taken"), [(10, 2000, True), (16, 2000, True), (17, 2000, False), (10, 2, False)]
)
def test_few_outputs_and_much_work_are_what_it_is_for(outputs: int, rows: int, taken: bool) -> None:
    x, weight = torch.rand(rows, 1000), torch.randn(outputs, 1000, requires_grad=True)
    asked: list[int] = []

    def watched(*given: torch.Tensor) -> torch.Tensor:
        asked.append(len(given[0]))
        return F.linear(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrow, "linear", watched)
        linear(x, weight)
    assert bool(asked) == taken


def test_what_was_compiled_before_does_not_decide() -> None:
    x, weight = torch.rand(300, 1000), torch.randn(10, 1000)  # less than is worth a loop
    first = linear(x, weight)
    snn.SpikeLinear(1000, 64, events="always")(x)  # compiles loops over events
    assert torch.equal(linear(x, weight), first) and torch.equal(first, F.linear(x, weight))


def test_a_network_runs_through_it_and_learns_what_a_loop_over_time_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "WORTH", 0)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(30, 40), snn.Leaky(0.9, init_hidden=True), nn.Linear(40, 10), snn.Leaky(0.9, init_hidden=True)
    ).double()
    x = torch.rand(9, 4, 30, dtype=torch.float64) * 3

    def gradients(output: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((output * torch.arange(10.0)).sum(), list(net.parameters())))

    whole = snn.run(net, x)
    first = gradients(whole)
    snn.reset(net)
    steps = torch.stack([net(step) for step in x])
    assert torch.equal(whole, steps)
    for a, b in zip(first, gradients(steps), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)
