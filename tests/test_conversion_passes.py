"""Passes over the graph of an ordinary network: each keeps the function, and each refused construct is named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn
from spikeloom.conversion import QCFS
from spikeloom.conversion.activations import Activation
from spikeloom.conversion.batchnorm import folded
from spikeloom.conversion.bounds import bounds
from spikeloom.conversion.check import checked
from spikeloom.conversion.graph import called, shaped, traced
from spikeloom.conversion.histogram import Histogram
from spikeloom.conversion.normalise import normalised

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Call(nn.Module):
    """A network whose forward is a function of its layers and the input."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(x, **self.layers)


def graph(net: nn.Module, x: Tensor = X) -> Any:
    return normalised(shaped(traced(net), x[:2]))


def kinds(gm: Any) -> list[str]:
    return [type(module).__name__ for _, module in called(gm, nn.Module)]


def conv() -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(3, 4, 3, padding=1)


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
        node.op in ("placeholder", "call_module", "output") or node.name in ("sub", "mul") for node in gm.graph.nodes
    )


@pytest.mark.parametrize(("layer", "ceiling"), [(nn.ReLU6(), 6.0), (nn.Hardtanh(0.0, 2.0), 2.0), (nn.ReLU(), None)])
def test_clipped_rectifiers_keep_their_ceiling(layer: nn.Module, ceiling: float | None) -> None:
    gm = graph(nn.Sequential(conv(), layer))
    assert [module.ceiling for _, module in called(gm, Activation)] == [ceiling]
    assert torch.equal(gm(30 * X), nn.Sequential(conv(), layer)(30 * X))


def test_a_rectifier_that_is_called_twice_gets_two_modules_named_in_order() -> None:
    net = Call(lambda x, c, r: r(r(c(x)) - 0.2), c=conv(), r=nn.ReLU())
    assert [str(node.target) for node, _ in called(graph(net), Activation)] == ["layers.r", "layers.r_2"]


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


def test_dropout_and_identity_leave_the_graph() -> None:
    net = Call(
        lambda x, c, d, i: F.dropout(i(d(c(x))), 0.5, training=False).contiguous(),
        c=conv(), d=nn.Dropout2d(), i=nn.Identity(),
    )  # fmt: skip
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


# -- batch norm ------------------------------------------------------------------------------------------


def used(norm: Any) -> Any:
    """A batch norm that has seen something."""
    generator = torch.Generator().manual_seed(5)
    for name, low in (("running_mean", -0.5), ("running_var", 0.3), ("weight", 0.2), ("bias", -0.5)):
        value = getattr(norm, name)
        if value is not None:
            value.data.copy_(torch.rand(value.shape, generator=generator) + low)
    return norm.eval()


NORMS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "after a convolution": (lambda: nn.Sequential(conv(), used(nn.BatchNorm2d(4))), (3, 8, 8)),
    "after a linear layer": (lambda: nn.Sequential(nn.Linear(6, 5), used(nn.BatchNorm1d(5))), (6,)),
    "without bias": (lambda: nn.Sequential(nn.Conv1d(3, 4, 2, bias=False), used(nn.BatchNorm1d(4))), (3, 8)),
    "without weights": (lambda: nn.Sequential(conv(), used(nn.BatchNorm2d(4, affine=False))), (3, 8, 8)),
    "before a convolution": (lambda: nn.Sequential(used(nn.BatchNorm2d(3)), conv()), (3, 8, 8)),
    "after a rectifier": (lambda: nn.Sequential(conv(), nn.ReLU(), used(nn.BatchNorm2d(4))), (3, 8, 8)),
    "of other axes": (lambda: nn.Sequential(nn.Linear(6, 5), used(nn.BatchNorm1d(3))), (3, 6)),
    "of a shared layer": (
        lambda: Call(lambda x, c, a, b: a(c(x)) + b(c(x + 1)), c=conv(), a=used(nn.BatchNorm2d(4)), b=used(nn.BatchNorm2d(4))),
        (3, 8, 8),
    ),
    "of a branch": (lambda: Call(lambda x, c, b: b(y := c(x)) + y, c=conv(), b=used(nn.BatchNorm2d(4))), (3, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("where", NORMS)
def test_folded_batch_norm_equals_unfolded(where: str) -> None:
    net, shape = NORMS[where][0]().eval(), NORMS[where][1]
    x = torch.rand(4, *shape, generator=torch.Generator().manual_seed(2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gm = folded(graph(net, x))
    assert not any("BatchNorm" in kind for kind in kinds(gm))
    assert torch.allclose(gm(x), net(x), atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "the network was changed"


def test_batch_norm_after_a_layer_disappears_into_it_and_elsewhere_stays_a_product_and_a_sum() -> None:
    assert len(folded(graph(NORMS["after a convolution"][0]())).graph.nodes) == 3
    assert "shift" in folded(graph(NORMS["after a rectifier"][0]())).code


# -- what cannot be converted -----------------------------------------------------------------------------

REFUSED: dict[str, tuple[nn.Module, str]] = {
    "sigmoid": (nn.Sequential(conv(), nn.Sigmoid(), nn.Conv2d(4, 2, 1)), r"Sigmoid '1' cannot be converted: .*nn\.ReLU"),
    "torch.sigmoid": (Call(lambda x, c: torch.sigmoid(c(x)), c=conv()), r"sigmoid \(node 'sigmoid'\).*, line \d+.*nn\.ReLU"),
    "tanh": (nn.Sequential(conv(), nn.Tanh()), r"Tanh '1' cannot be converted"),
    "gelu": (nn.Sequential(conv(), nn.GELU()), r"GELU '1' cannot be converted"),
    "F.silu": (Call(lambda x, c: F.silu(c(x)), c=conv()), r"silu .* cannot be converted"),
    "leaky relu": (nn.Sequential(conv(), nn.LeakyReLU()), r"LeakyReLU '1' cannot be converted"),
    "softmax inside": (nn.Sequential(conv(), nn.Softmax(1), nn.ReLU()), r"Softmax '1' cannot be converted: .*put it last"),
    "layer norm": (nn.Sequential(nn.LayerNorm(8), conv()), r"LayerNorm '0' cannot be converted: .*batch norm"),
    "group norm": (nn.Sequential(conv(), nn.GroupNorm(2, 4)), r"GroupNorm '1' cannot be converted"),
    "instance norm": (nn.Sequential(conv(), nn.InstanceNorm2d(4)), r"InstanceNorm2d '1' cannot be converted"),
    "product of signals": (Call(lambda x, c: c(x) * c(x), c=conv()), r"mul .* cannot be converted: a product of two"),
    "quotient": (Call(lambda x, c: 1 / c(x), c=conv()), r"truediv .* cannot be converted: a quotient"),
    "exp": (Call(lambda x, c: torch.exp(c(x)), c=conv()), r"exp .* cannot be converted"),
    "negative clip": (nn.Sequential(conv(), nn.Hardtanh()), r"Hardtanh '1' clips to \[-1.0, 1.0\]"),
    "indices": (nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2, return_indices=True)), r"MaxPool2d '2' cannot be"),
    "attention": (Call(lambda x, a: a(y := x.flatten(2), y, y)[0], a=nn.MultiheadAttention(64, 1)), r"MultiheadAttention"),
    "lstm": (Call(lambda x, r: r(x.flatten(2))[0], r=nn.LSTM(64, 4)), r"LSTM 'layers.r' cannot be converted: .*feed-forward"),
    "two outputs": (Call(lambda x, c: (c(x), x), c=conv()), r"must return one tensor, got a tuple"),
    "unknown": (Call(lambda x, c: torch.sort(c(x))[0], c=conv()), r"sort .* not known to be linear"),
    "weights that are signals": (Call(lambda x: F.linear(x, x[0, 0])), r"linear .* must be parameters of the network"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name_and_place(what: str) -> None:
    net, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        checked(folded(graph(net)))


def test_control_flow_is_refused_with_its_line() -> None:
    def forward(x: Tensor, c: Any) -> Tensor:
        y = c(x)
        return y if y.sum() > 0 else -y

    with pytest.raises(ValueError, match=r"Call cannot be traced: .*test_conversion_passes.py:\d+: return y if y.sum"):
        snn.conversion.convert(Call(forward, c=conv()), X)


def test_batch_norm_without_running_statistics_is_refused() -> None:
    net = nn.Sequential(conv(), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(ValueError, match=r"BatchNorm2d '1' takes the statistics of each batch"):
        folded(graph(net))


def test_a_second_input_is_refused_by_name() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor, gate: Tensor) -> Tensor:
            return x + gate

    with pytest.raises(ValueError, match=r"forward takes 'gate' besides its input"):
        traced(Net())


def test_a_spiking_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"spiking neurons already \('1'\)"):
        traced(nn.Sequential(conv(), snn.Leaky(0.9, init_hidden=True)))


@pytest.mark.parametrize("last", [nn.Softmax(-1), nn.LogSoftmax(-1)])
def test_a_softmax_in_the_end_is_applied_to_the_mean(last: nn.Module) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    x = torch.rand(50, 6)
    net = snn.conversion.convert(nn.Sequential(body, last), x)
    plain = snn.conversion.convert(body, x)
    assert torch.allclose(net(x, 8), last(plain(x, 8)), atol=1e-6)
    assert torch.allclose(net.ann(x), last(body(x)), atol=1e-6)


# -- scales ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [1.0, 50.0, 99.0, 99.9, 100.0])
def test_a_percentile_of_a_stream_is_off_by_at_most_a_bin(percent: float) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(5000, generator=generator) ** 3 * scale for scale in (0.1, 5.0, 1.0, 40.0)]
    hist = Histogram()
    for part in parts:
        hist.add(part)
    values = torch.cat(parts).double()
    low, high = (float(torch.quantile(values, percent / 100, interpolation=side)) for side in ("lower", "higher"))
    a_bin = float(values.max()) / 2048
    assert low - a_bin <= float(hist.percentile(percent)) <= high + a_bin


def test_each_channel_has_a_percentile_of_its_own() -> None:
    values = torch.rand(200, 3, 5, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 10.0, 0.0])[:, None]
    hist = Histogram(3)
    for part in values.split(50):
        hist.add(part)
    exact = torch.quantile(values.transpose(0, 1).flatten(1).double(), 0.9, dim=1)
    assert torch.allclose(hist.percentile(90.0), exact, atol=10 / 2048)


def test_bounds_by_weights_are_never_exceeded_and_are_those_of_a_literal_sum() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(conv(), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 5, bias=False), nn.ReLU())
    net[0].bias.data.zero_()
    net.requires_grad_(False)
    found = bounds(folded(graph(net)), X)
    first = float(net[0].weight.clamp(min=0).sum((1, 2, 3)).max() * X.max())
    assert found["1"] == pytest.approx(first)
    assert found["5"] == pytest.approx(float(net[4].weight.clamp(min=0).sum(1).max()) * first)
    assert net[:2](X).max() <= found["1"] and net(X).max() <= found["5"]
