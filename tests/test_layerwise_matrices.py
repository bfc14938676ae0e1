"""Matrix products and exchanged axes inside a loop over time run on all steps at once, and give
what the loop gives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from ways import as_the_loop, built, every_way

import spikeloom as snn

X = torch.rand(4, 2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Step = Callable[[Tensor, Tensor], Tensor]


class Net(nn.Module):
    """A function of the spikes [2, 3, 5, 5] of a step and of a weight."""

    def __init__(self, function: Step, *shape: int) -> None:
        super().__init__()
        self.lif = snn.Leaky(0.9, init_hidden=True, threshold=0.4)
        self.weight = nn.Parameter(torch.rand(shape or (5, 5)))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.lif(x), self.weight)


AT_ONCE: dict[str, tuple[Step, tuple[int, ...]]] = {
    "two signals": (lambda s, w: s @ (s + w), ()),
    "a weight behind": (lambda s, w: s @ w, ()),
    "a weight in front": (lambda s, w: torch.matmul(w, s), ()),
    "a weight of more axes": (lambda s, w: w @ s, (2, 1, 1, 5, 5)),
    "signals of different axes": (lambda s, w: s @ s.sum((0, 1)), ()),
    "a transposed signal": (lambda s, w: s.transpose(-2, -1) @ (s * w), ()),
    "axes from the front": (lambda s, w: s.transpose(0, 2) * w[0, 0], ()),
    "swapped axes": (lambda s, w: torch.swapaxes(s, 2, -1) * w, ()),
    "permuted": (lambda s, w: s.permute(3, 0, -2, 1) * w[0, 0], ()),
    "permuted by a tuple": (lambda s, w: torch.permute(s, (1, 2, 0, 3)) * w[0, 0], ()),
    "permuted by a list": (lambda s, w: s.permute([0, 1, 3, 2]) * w, ()),
}
ONE_BY_ONE: dict[str, tuple[Step, tuple[int, ...]]] = {
    "a vector behind": (lambda s, w: s @ w, (5,)),
    "a vector in front": (lambda s, w: w @ s, (5,)),
    "a vector of the step": (lambda s, w: s @ (s[0, 0, 0] * w), (5,)),
    "two vectors of the step": (lambda s, w: s[0, 0, 0] @ (s[1, 1, 1] * w), (5,)),
    "named factors": (lambda s, w: torch.matmul(input=s, other=w), ()),
    "a named input": (lambda s, w: torch.relu(input=s * w - 0.3), ()),
    "a named input, in place": (lambda s, w: F.relu(input=s * w - 0.3, inplace=True), ()),
    "a named input of a sum": (lambda s, w: torch.sum(input=s * w, dim=1), ()),
    "named axes": (lambda s, w: s.transpose(dim0=0, dim1=1) * w[0, 0], ()),
    "named permutation": (lambda s, w: torch.permute(s, dims=(1, 2, 0, 3)) * w[0, 0], ()),
}
ALL = AT_ONCE | ONE_BY_ONE


@every_way
@pytest.mark.parametrize("name", ALL)
def test_a_product_over_time_gives_what_the_loop_gives(way: str, name: str) -> None:
    function, shape = ALL[name]
    as_the_loop(way, lambda: Net(function, *shape), X)


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_product_of_matrices_runs_on_all_steps_at_once(name: str) -> None:
    function, shape = AT_ONCE[name]
    plan = snn.run(built(lambda: Net(function, *shape)), X, explain=True).plan
    assert [row for row in plan.rows if "step by step" in row.how] == []


def test_a_write_to_an_exchanged_view_changes_its_own_step() -> None:
    def write(s: Tensor, w: Tensor) -> Tensor:
        s = s * w
        view = s.transpose(2, 3)
        view[0].zero_()
        view.mul_(2.0)
        return s + view

    for way in ("run", "layerwise"):
        as_the_loop(way, lambda: Net(write), X)
