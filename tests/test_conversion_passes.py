"""Passes over the graph of an ordinary network: each keeps the function, and each refused construct
is named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conversion_nets import Call, X, conv, graph, kinds
from torch import Tensor, nn
from torch.nn import functional as F

from spikeloom.conversion import QCFS
from spikeloom.conversion.activations import Activation
from spikeloom.conversion.batchnorm_folding import folded
from spikeloom.conversion.fx_graph import called

RELUS: dict[str, Callable[..., Tensor]] = {
    "module": lambda x, c, r: r(c(x)),
    "module twice": lambda x, c, r: r(r(c(x)) - 0.2),
    "F.relu": lambda x, c, r: F.relu(c(x)),
    "F.relu in place": lambda x, c, r: F.relu(c(x), inplace=True),
    "F.relu_": lambda x, c, r: F.relu_(c(x)),
    "torch.relu": lambda x, c, r: torch.relu(c(x)),
    "torch.relu_": lambda x, c, r: torch.relu_(c(x)),
    "method": lambda x, c, r: c(x).relu(),
    "method in place": lambda x, c, r: c(x).relu_(),
    "clamp": lambda x, c, r: torch.clamp(c(x), min=0),
    "clamp method": lambda x, c, r: c(x).clamp(0),
    "clamp_min": lambda x, c, r: torch.clamp_min(c(x), 0),
    "clamp_min_": lambda x, c, r: c(x).clamp_min_(0.0),
    "F.hardtanh": lambda x, c, r: F.hardtanh(c(x), 0.0, 0.3),
    "F.relu6": lambda x, c, r: F.relu6(20 * c(x)),
    "clamped above": lambda x, c, r: torch.clamp(c(x), 0, 0.5),
}


@pytest.mark.parametrize("spelling", RELUS)
def test_a_rectifier_in_any_spelling_becomes_one_activation_for_each_call(spelling: str) -> None:
    net = Call(RELUS[spelling], c=conv(), r=nn.ReLU(inplace=True))
    gm = graph(net)
    assert kinds(gm).count("Activation") == (2 if spelling == "module twice" else 1)
    assert torch.equal(gm(X), net(X))
    assert all(
        node.op in ("placeholder", "call_module", "output") or node.name in ("sub", "mul")
        for node in gm.graph.nodes
    )


@pytest.mark.parametrize(
    ("layer", "ceiling"), [(nn.ReLU6(), 6.0), (nn.Hardtanh(0.0, 2.0), 2.0), (nn.ReLU(), None)]
)
def test_clipped_rectifiers_keep_their_ceiling(layer: nn.Module, ceiling: float | None) -> None:
    gm = graph(nn.Sequential(conv(), layer))
    assert [module.ceiling for _, module in called(gm, Activation)] == [ceiling]
    assert torch.equal(gm(30 * X), nn.Sequential(conv(), layer)(30 * X))


def test_a_rectifier_that_is_called_twice_gets_two_modules_named_in_order() -> None:
    net = Call(lambda x, c, r: r(r(c(x)) - 0.2), c=conv(), r=nn.ReLU())
    assert [str(node.target) for node, _ in called(graph(net), Activation)] == [
        "layers.r",
        "layers.r_2",
    ]


def test_a_qcfs_that_is_called_twice_keeps_its_threshold_in_both() -> None:
    qcfs = QCFS(4, 0.7)
    gm = graph(Call(lambda x, c, q: q(q(c(x)) - 0.2), c=conv(), q=qcfs))
    first, second = (module for _, module in called(gm, QCFS))
    assert first is not second and first.ceiling == second.ceiling == pytest.approx(0.7)


def test_what_is_written_in_place_is_what_later_readers_see() -> None:
    def forward(x: Tensor, c: Any, r: Any) -> Tensor:
        y = c(x)
        z = r(y)  # in place: y is rectified too
        y += 1
        return torch.cat([y, z], 1) + y.mul_(2).repeat_interleave(2, 1).mean()

    def plain(x: Tensor, c: Any, r: Any) -> Tensor:
        y = c(x)
        r(y)
        return y

    net = Call(plain, c=conv(), r=nn.ReLU(inplace=True))
    assert torch.equal(graph(net)(X), net(X)) and (net(X) >= 0).all()
    residual = Call(lambda x, c, r: r(c(x)).add_(x[:, :1]), c=conv(), r=nn.ReLU(inplace=True))
    assert torch.equal(graph(residual)(X), residual(X))


def test_what_is_read_before_a_write_in_place_is_the_old_value() -> None:
    def forward(x: Tensor, c: Any, r: Any) -> Tensor:
        y = c(x)
        before = y * 1
        r(y)
        return before + y

    net = Call(forward, c=conv(), r=nn.ReLU(inplace=True))
    assert torch.equal(graph(net)(X), net(X)) and (net(X) < 0).any()


def test_dropout_and_identity_leave_the_graph() -> None:
    net = Call(
        lambda x, c, d, i: F.dropout(i(d(c(x))), 0.5, training=False).contiguous(),
        c=conv(),
        d=nn.Dropout2d(),
        i=nn.Identity(),
    )
    gm = graph(net)
    assert kinds(gm) == ["Conv2d"] and len(gm.graph.nodes) == 3
    assert torch.equal(gm(X), net.eval()(X))


POOLS: dict[str, Callable[..., Tensor]] = {
    "max": lambda x: F.max_pool2d(x, 2),
    "max strided": lambda x: F.max_pool2d(x, kernel_size=3, stride=2, padding=1),
    "torch.max_pool2d": lambda x: torch.max_pool2d(x, 2),
    "avg": lambda x: F.avg_pool2d(x, 2),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 2),
    "adaptive uneven": lambda x: F.adaptive_avg_pool2d(x, 3),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, 2),
    "mean": lambda x: x.mean((2, 3)),
    "mean kept": lambda x: torch.mean(x, dim=[-1, -2], keepdim=True),
}


@pytest.mark.parametrize("spelling", POOLS)
def test_pooling_functions_become_modules(spelling: str) -> None:
    net = Call(POOLS[spelling])
    gm = graph(net)
    assert all(node.op in ("placeholder", "call_module", "output") for node in gm.graph.nodes)
    assert torch.allclose(gm(X), net(X), atol=1e-6)
    assert any("Pool" in kind for kind in kinds(gm))


FLAT: dict[str, Callable[..., Tensor]] = {
    "view": lambda x: x.view(x.size(0), -1),
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "method": lambda x: x.flatten(start_dim=1),
    "other way": lambda x: x.view(-1, 192),
}


@pytest.mark.parametrize("spelling", FLAT)
def test_flattening_in_any_spelling_takes_any_batch(spelling: str) -> None:
    gm = graph(Call(FLAT[spelling]))
    assert kinds(gm) == ["Flatten"] and len(gm.graph.nodes) == 3
    assert torch.equal(gm(X[:3]), X[:3].flatten(1))


def test_functions_with_the_networks_own_weights_become_layers() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.rand(4, 3, 3, 3))
            self.matrix, self.offset = nn.Parameter(torch.rand(5, 256)), nn.Parameter(torch.rand(5))

        def forward(self, x: Tensor) -> Tensor:
            x = F.conv2d(x, self.kernel, stride=1, padding=1)
            return F.linear(x.flatten(1), self.matrix, self.offset)

    net = Net()
    gm = graph(net)
    assert kinds(gm) == ["Conv2d", "Flatten", "Linear"]
    assert torch.allclose(gm(X), net(X), atol=1e-4)


# -- batch norm ------------------------------------------------------------------------------------


def used(norm: Any) -> Any:
    """A batch norm that has seen something."""
    generator = torch.Generator().manual_seed(5)
    for name, low in (
        ("running_mean", -0.5),
        ("running_var", 0.3),
        ("weight", 0.2),
        ("bias", -0.5),
    ):
        value = getattr(norm, name)
        if value is not None:
            value.data.copy_(torch.rand(value.shape, generator=generator) + low)
    return norm.eval()


def norm() -> nn.Module:
    return used(nn.BatchNorm2d(4))


NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "after a convolution": (lambda: nn.Sequential(conv(), used(nn.BatchNorm2d(4))), (3, 8, 8)),
    "after a linear layer": (lambda: nn.Sequential(nn.Linear(6, 5), used(nn.BatchNorm1d(5))), (6,)),
    "without bias": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 2, bias=False), used(nn.BatchNorm1d(4))),
        (3, 8),
    ),
    "without weights": (
        lambda: nn.Sequential(conv(), used(nn.BatchNorm2d(4, affine=False))),
        (3, 8, 8),
    ),
    "before a convolution": (lambda: nn.Sequential(used(nn.BatchNorm2d(3)), conv()), (3, 8, 8)),
    "after a rectifier": (
        lambda: nn.Sequential(conv(), nn.ReLU(), used(nn.BatchNorm2d(4))),
        (3, 8, 8),
    ),
    "of other axes": (lambda: nn.Sequential(nn.Linear(6, 5), used(nn.BatchNorm1d(3))), (3, 6)),
    "of a shared layer": (
        lambda: Call(lambda x, c, a, b: a(c(x)) + b(c(x + 1)), c=conv(), a=norm(), b=norm()),
        (3, 8, 8),
    ),
    "of a branch": (
        lambda: Call(lambda x, c, b: b(y := c(x)) + y, c=conv(), b=used(nn.BatchNorm2d(4))),
        (3, 8, 8),
    ),
}


@pytest.mark.parametrize("where", NORMS)
def test_folded_batch_norm_equals_unfolded(where: str) -> None:
    net, shape = NORMS[where][0]().eval(), NORMS[where][1]
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gm = folded(graph(net, x))
    assert not any("BatchNorm" in kind for kind in kinds(gm))
    assert torch.allclose(gm(x), net(x), atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), (
        "the network was changed"
    )


def test_batch_norm_after_a_layer_disappears_into_it_and_elsewhere_stays_a_product_and_a_sum() -> (
    None
):
    assert len(folded(graph(NORMS["after a convolution"][0]())).graph.nodes) == 3
    assert "shift" in folded(graph(NORMS["after a rectifier"][0]())).code
