"""What cannot be converted is refused by name and place; scales of activations from samples and
from weights."""

from typing import Any

import pytest
import torch
from conversion_nets import Call, X, conv, graph
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn
from spikeloom.conversion.batchnorm_folding import folded
from spikeloom.conversion.bounds import bounds
from spikeloom.conversion.check import checked
from spikeloom.conversion.fx_graph import traced
from spikeloom.conversion.histogram import Histogram

# -- what cannot be converted ----------------------------------------------------------------------

REFUSED: dict[str, tuple[nn.Module, str]] = {
    "sigmoid": (
        nn.Sequential(conv(), nn.Sigmoid(), nn.Conv2d(4, 2, 1)),
        r"Sigmoid '1' cannot be converted: .*ReLU",
    ),
    "torch.sigmoid": (
        Call(lambda x, c: torch.sigmoid(c(x)), c=conv()),
        r"sigmoid \(node 'sigmoid'\).*, line \d+",
    ),
    "tanh": (nn.Sequential(conv(), nn.Tanh()), r"Tanh '1' cannot be converted"),
    "gelu": (nn.Sequential(conv(), nn.GELU()), r"GELU '1' cannot be converted"),
    "F.silu": (Call(lambda x, c: F.silu(c(x)), c=conv()), r"silu .* cannot be converted"),
    "leaky relu": (nn.Sequential(conv(), nn.LeakyReLU()), r"LeakyReLU '1' cannot be converted"),
    "softmax inside": (
        nn.Sequential(conv(), nn.Softmax(1), nn.ReLU()),
        r"Softmax '1' cannot be .*put it last",
    ),
    "layer norm": (
        nn.Sequential(nn.LayerNorm(8), conv()),
        r"LayerNorm '0' cannot be converted: .*batch norm",
    ),
    "group norm": (nn.Sequential(conv(), nn.GroupNorm(2, 4)), r"GroupNorm '1' cannot be converted"),
    "instance norm": (
        nn.Sequential(conv(), nn.InstanceNorm2d(4)),
        r"InstanceNorm2d '1' cannot be converted",
    ),
    "product of signals": (
        Call(lambda x, c: c(x) * c(x), c=conv()),
        r"mul .* cannot be converted: a product of two",
    ),
    "quotient": (
        Call(lambda x, c: 1 / c(x), c=conv()),
        r"truediv .* cannot be converted: a quotient",
    ),
    "exp": (Call(lambda x, c: torch.exp(c(x)), c=conv()), r"exp .* cannot be converted"),
    "negative clip": (nn.Sequential(conv(), nn.Hardtanh()), r"Hardtanh '1' clips to \[-1.0, 1.0\]"),
    "indices": (
        nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2, return_indices=True)),
        r"MaxPool2d '2' cannot be",
    ),
    "attention": (
        Call(lambda x, a: a(x[0], x[0], x[0])[0], a=nn.MultiheadAttention(8, 1)),
        r"MultiheadAttention",
    ),
    "lstm": (
        Call(lambda x, r: r(x.flatten(2))[0], r=nn.LSTM(64, 4)),
        r"LSTM 'layers.r' cannot be .*feed-forward",
    ),
    "two outputs": (Call(lambda x, c: (c(x), x), c=conv()), r"must return one tensor, got a tuple"),
    "unknown": (
        Call(lambda x, c: torch.sort(c(x))[0], c=conv()),
        r"sort .* not known to be linear",
    ),
    "weights that are signals": (
        Call(lambda x: F.linear(x, x[0, 0])),
        r"linear .* must be parameters of the network",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_converted_is_refused_by_name_and_place(what: str) -> None:
    net, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        checked(folded(graph(net)))


def test_control_flow_is_refused_with_its_line() -> None:
    def forward(x: Tensor, c: Any) -> Tensor:
        y = c(x)
        return y if y.sum() > 0 else -y

    with pytest.raises(
        ValueError,
        match=r"Call cannot be traced: .*test_conversion_refused.py:\d+: return y if y.sum",
    ):
        snn.conversion.convert(Call(forward, c=conv()), X)


def test_sizes_are_no_signals() -> None:
    net = Call(lambda x, c: c(x) / x.size(1) + x.shape[-1] / x.dim(), c=conv())
    gm = checked(folded(graph(net)))
    assert torch.equal(gm(X), net(X))


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


# -- scales ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [1.0, 50.0, 99.0, 99.9, 100.0])
def test_a_percentile_of_a_stream_is_off_by_at_most_a_bin(percent: float) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.rand(5000, generator=generator) ** 3 * scale for scale in (0.1, 5.0, 1.0, 40.0)]
    hist = Histogram()
    for part in parts:
        hist.add(part)
    values = torch.cat(parts).double()
    low, high = (
        float(torch.quantile(values, percent / 100, interpolation=side))
        for side in ("lower", "higher")
    )
    a_bin = float(values.max()) / 2048
    assert low - a_bin <= float(hist.percentile(percent)) <= high + a_bin


def test_each_channel_has_a_percentile_of_its_own() -> None:
    values = (
        torch.rand(200, 3, 5, generator=torch.Generator().manual_seed(1))
        * torch.tensor([1.0, 10.0, 0.0])[:, None]
    )
    hist = Histogram(3)
    for part in values.split(50):
        hist.add(part)
    exact = torch.quantile(values.transpose(0, 1).flatten(1).double(), 0.9, dim=1)
    assert torch.allclose(hist.percentile(90.0), exact, atol=10 / 2048)


def test_bounds_by_weights_are_never_exceeded_and_are_those_of_a_literal_sum() -> None:
    torch.manual_seed(2)
    first_layer, last = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Linear(64, 5, bias=False)
    net = nn.Sequential(
        first_layer, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), last, nn.ReLU()
    ).requires_grad_(False)
    found = bounds(folded(graph(net)), X)
    first = float(first_layer.weight.clamp(min=0).sum((1, 2, 3)).max() * X.max())
    assert found["1"] == pytest.approx(first)
    assert found["5"] == pytest.approx(float(last.weight.clamp(min=0).sum(1).max()) * first)
    assert net[:2](X).max() <= found["1"] and net(X).max() <= found["5"]


class Sine(nn.Module):
    """Calls an operation that no neuron stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(x))
        return self.last(h.sin())


def test_the_place_of_a_refused_operation_is_the_users_line_and_not_torchs() -> None:
    line = Sine.forward.__code__.co_firstlineno + 2
    with pytest.raises(
        ValueError, match=rf'test_conversion_refused.py", line {line}, in forward\) cannot be'
    ) as caught:
        snn.conversion.convert(Sine(), torch.rand(5, 3))
    assert "proxy.py" not in str(caught.value) and "site-packages" not in str(caught.value)


def test_a_weight_of_nan_was_converted() -> None:
    ann = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    ann[2].weight.data[1, 2] = torch.nan
    with pytest.raises(ValueError, match="the weight of layer '2' holds 1 NaN or infinite values"):
        snn.conversion.convert(ann, torch.rand(8, 3))
