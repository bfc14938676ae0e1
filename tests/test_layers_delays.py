"""Delays of convolutions, of feedback, and several of a synapse: hand-written loops, gradients,
NIR."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ways import as_the_loop, every_way

import spikeloom as snn
from spikeloom import nir

T, B, D = 9, 2, 4
LAYERS: dict[str, Any] = {
    "linear": (lambda **o: snn.DelayedLinear(3, 4, D, **o), (3,)),
    "conv1d": (
        lambda **o: snn.DelayedConv1d(2, 4, 3, D, stride=2, padding=1, groups=2, **o),
        (2, 7),
    ),
    "conv2d": (
        lambda **o: snn.DelayedConv2d(2, 3, (3, 1), D, padding=(2, 0), dilation=(2, 1), **o),
        (2, 5, 4),
    ),
}
KINDS = [(name, count) for name in LAYERS for count in (1, 2)]


def layer(name: str, **options: Any) -> Any:
    torch.manual_seed(1)
    return LAYERS[name][0](**options).double()


def signal(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(T, B, *LAYERS[name][1], generator=generator, dtype=torch.float64)


def applied(net: Any, x: Tensor, weight: Tensor) -> Tensor:
    """One step of the layer with other weights, without bias."""
    if isinstance(net, snn.DelayedLinear):
        return nn.functional.linear(x, weight)
    convolve = nn.functional.conv1d if weight.dim() == 3 else nn.functional.conv2d
    return convolve(x, weight, None, net.stride, net.padding, net.dilation, net.groups)


def by_hand(net: Any, x: Tensor) -> Tensor:
    """Each weight alone reads the two steps around its delay."""
    weights, delays = net.weight.detach(), net.delay.detach()
    if net.kernel_count == 1:
        weights, delays = weights.unsqueeze(0), delays.unsqueeze(0)
    y = [torch.zeros_like(applied(net, x[0], weights[0])) for _ in x]
    for at in itertools.product(*map(range, weights.shape)):
        one = torch.zeros_like(weights[0])
        one[at[1:]] = weights[at]
        d = float(delays[at])
        whole = min(int(d), D - 1)
        for lag, share in ((whole, 1 - (d - whole)), (whole + 1, d - whole)):
            for t in range(lag, len(x)):
                y[t] = y[t] + share * applied(net, x[t - lag], one)
    bias = 0 if net.bias is None else net.bias.detach().view(-1, *[1] * (y[0].dim() - 2))
    return torch.stack(y) + bias


@pytest.mark.parametrize(("name", "count"), KINDS)
@pytest.mark.parametrize("whole", [True, False])
def test_every_weight_has_its_own_delay(name: str, count: int, whole: bool) -> None:
    net = layer(name, kernel_count=count, bias=whole)
    if whole:
        net.delay.round_()
    torch.testing.assert_close(snn.run(net, signal(name)), by_hand(net, signal(name)))


@pytest.mark.parametrize(("name", "count"), KINDS)
def test_steps_chunks_and_runs_are_the_sequence(name: str, count: int) -> None:
    options = {"kernel": "gaussian", "sigma": 1.3, "kernel_count": count}
    sequence, steps, chunks, run = (layer(name, **options) for _ in range(4))
    for net in (sequence, chunks):
        net.mode = "sequence"
    x = signal(name)
    expected = sequence(x)
    torch.testing.assert_close(torch.stack([steps(x_t) for x_t in x]), expected)
    torch.testing.assert_close(torch.cat([chunks(x[:4]), chunks(x[4:])]), expected)
    torch.testing.assert_close(snn.run(run, x), expected)


@pytest.mark.parametrize(("name", "count"), [("conv1d", 2), ("conv2d", 1), ("linear", 2)])
@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_gradients_of_inputs_weights_and_delays_are_exact(
    name: str, count: int, kernel: str
) -> None:
    net = layer(name, learn_delay=True, kernel=kernel, sigma=1.3, kernel_count=count)
    net.mode = "sequence"
    x = signal(name)[:5]
    values = [x.requires_grad_(), *(p.detach().requires_grad_() for p in net.parameters())]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        snn.reset(net)
        named = dict(zip(dict(net.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(net, named, (x,))

    assert torch.autograd.gradcheck(run, tuple(values))


def fed_back(neuron: Any, connection: Any, x: Tensor, delays: Tensor, weight: Tensor) -> Tensor:
    """Spikes of a layer whose synapse from j to i delivers d_ij + 1 steps later, by hand."""
    spikes: list[Tensor] = []
    for t, x_t in enumerate(x):
        current = x_t + (0 if connection.bias is None else connection.bias)
        for i, j in itertools.product(range(weight.shape[0]), range(weight.shape[1])):
            sent = t - 1 - int(delays[i, j])
            if sent >= 0:
                current = (
                    current
                    + weight[i, j]
                    * spikes[sent][:, j, None]
                    * torch.eye(len(weight), dtype=x.dtype)[i]
                )
        spikes.append(neuron(current))
    return torch.stack(spikes)


NEURONS: dict[str, Any] = {
    "Leaky": lambda: snn.Leaky(0.9, threshold=0.5, init_hidden=True).double(),
    "Synaptic": lambda: snn.Synaptic(0.8, 0.9, threshold=0.5, init_hidden=True).double(),
}


@pytest.mark.parametrize("name", NEURONS)
def test_feedback_with_delays_is_a_hand_written_loop(name: str) -> None:
    torch.manual_seed(2)
    delays = torch.randint(0, 4, (3, 3)).double()
    connection = snn.DelayedLinear(3, 3, 4, delays).double()
    nn.init.uniform_(connection.weight, -2, 2)
    net = snn.Feedback(NEURONS[name](), connection).double()
    x = torch.rand(12, 2, 3).double()
    expected = fed_back(NEURONS[name](), connection, x, delays, connection.weight)
    assert expected.any()
    torch.testing.assert_close(snn.run(net, x), expected)
    snn.reset(net)
    torch.testing.assert_close(torch.stack([net(x_t) for x_t in x]), expected)
    other = snn.run(net, x[:5])
    assert torch.equal(torch.cat([other, snn.run(net, x[5:], reset=False)]), snn.run(net, x))


def test_feedback_without_delays_is_that_of_rleaky() -> None:
    torch.manual_seed(3)
    rleaky = snn.RLeaky(0.9, linear_features=4, threshold=0.5, init_hidden=True).double()
    leaky = snn.Leaky(0.9, threshold=0.5, init_hidden=True)
    net = snn.Feedback(leaky, rleaky.recurrent).double()
    x = torch.rand(12, 2, 4).double().requires_grad_()
    found = []
    for each in (rleaky, net):
        spk = snn.run(each, x)
        loss = (spk * torch.linspace(0, 1, spk.numel()).double().view_as(spk)).sum()
        grads = torch.autograd.grad(loss, [x, *rleaky.recurrent.parameters()])
        found.append([spk, *grads])
    assert found[0][0].any()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_feedback_of_padded_recordings_is_that_of_each_one_alone() -> None:
    torch.manual_seed(4)
    net = snn.Feedback(
        snn.Leaky(0.9, threshold=0.4, init_hidden=True), snn.DelayedLinear(3, 3, 4)
    ).double()
    x, ends = torch.rand(9, 3, 3).double(), torch.tensor([4, 9, 1])
    spk = snn.run(net, x, lengths=ends)
    later = snn.run(net, x, reset=False)
    for b, end in enumerate(ends):
        joined = torch.cat([x[:end, b], x[:, b]]).unsqueeze(1)
        alone = snn.run(net, joined)
        torch.testing.assert_close(spk[:end, b : b + 1], alone[:end])
        torch.testing.assert_close(later[:, b : b + 1], alone[end:])
        assert not spk[end:, b].any()


@pytest.mark.parametrize("name", LAYERS)
def test_a_delayed_layer_goes_through_nir_as_parallel_paths(name: str) -> None:
    net = nn.Sequential(
        layer(name, kernel_count=2), snn.Leaky(0.9, threshold=0.3, init_hidden=True)
    )
    net[0].delay.round_()  # pyright: ignore[reportCallIssue]
    net = net.float()
    x = signal(name).float()
    again = nir.from_nir(nir.to_nir(net, x[0]))
    expected = snn.run(net, x)
    assert expected.any()
    torch.testing.assert_close(snn.run(again, x), expected)


MISTAKES: dict[str, Any] = {
    "fractional": (lambda: nir.to_nir(layer("linear"), signal("linear")[0]), "round_"),
    "gaussian": (
        lambda: nir.to_nir(layer("conv1d", kernel="gaussian"), signal("conv1d")[0]),
        "kernel='gaussian' has no NIR node",
    ),
    "feedback": (
        lambda: snn.Feedback(snn.Leaky(0.9, init_hidden=True), nn.Linear(3, 3))(
            torch.full((2, 3), float("nan"))
        ),
        "the input of Leaky holds 6 NaN or infinite values",
    ),
    "groups": (lambda: snn.DelayedConv1d(3, 4, 3, D, groups=2), "groups must divide"),
    "padding": (lambda: snn.DelayedConv1d(3, 4, 3, D, padding="same"), "whole numbers, got 'same'"),
    "sizes": (lambda: snn.DelayedConv2d(3, 4, (3, 3, 3), D), "kernel_size must be one number or 2"),
    "channels": (lambda: layer("conv2d")(torch.rand(1, 3, 5, 4).double()), r"\[B, 2, H, W\]"),
    "count": (lambda: snn.DelayedLinear(2, 3, 4, kernel_count=0), "kernel_count must be"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_does_not_fit_is_refused_in_words(case: str) -> None:
    call, message = MISTAKES[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_feedback_takes_neurons_that_keep_their_state() -> None:
    with pytest.raises(TypeError, match="a neuron that keeps its state, got Leaky"):
        snn.Feedback(snn.Leaky(0.9), nn.Linear(2, 2))
    with pytest.raises(TypeError, match="connection must be a module, got function"):
        snn.Feedback(snn.Leaky(0.9, init_hidden=True), lambda x: x)  # pyright: ignore


@pytest.mark.parametrize(("name", "count"), KINDS)
def test_a_network_with_delays_is_loaded_as_it_was_saved(
    name: str, count: int, tmp_path: Path
) -> None:
    net = nn.Sequential(layer(name, kernel_count=count, learn_delay=True)).float()
    again = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    assert torch.equal(snn.run(net, signal(name).float()), snn.run(again, signal(name).float()))


FED_BACK: dict[str, Any] = {
    "delays": lambda: snn.Feedback(
        snn.Leaky(0.9, threshold=0.4, init_hidden=True), snn.DelayedLinear(3, 3, 4)
    ),
    "membrane too": lambda: snn.Feedback(
        snn.Leaky(0.9, threshold=0.4, init_hidden=True, output=True), nn.Linear(3, 3)
    ),
    "another width": lambda: snn.Feedback(
        snn.SLSTM(3, 5, threshold=0.1, init_hidden=True), nn.Linear(5, 3)
    ),
    "two loops": lambda: nn.Sequential(
        FED_BACK["delays"](), nn.Linear(3, 4), FED_BACK["delays of four"]()
    ),
    "delays of four": lambda: snn.Feedback(
        snn.Synaptic(0.8, 0.9, threshold=0.4, init_hidden=True), snn.DelayedLinear(4, 4, 2)
    ),
}


@every_way
@pytest.mark.parametrize("name", [name for name in FED_BACK if name != "delays of four"])
def test_feedback_recorded_is_the_plain_loop(way: str, name: str) -> None:
    _, _, output = as_the_loop(way, FED_BACK[name], torch.rand(7, 2, 3) * 2)
    assert (output[0] if isinstance(output, tuple) else output).any()


def test_a_network_with_feedback_could_not_be_saved(tmp_path: Path) -> None:
    net = nn.Sequential(FED_BACK["delays"](), nn.Linear(3, 2), nn.ReLU())
    again = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    x = torch.rand(9, 2, 3)
    assert torch.equal(snn.run(net, x), snn.run(again, x))


def test_a_mode_that_one_layer_refuses_was_set_for_the_others() -> None:
    net = nn.Sequential(snn.Leaky(0.9, init_hidden=True), FED_BACK["delays"]())
    with pytest.raises(ValueError, match=r"with feedback runs step by step, got mode='sequence'"):
        snn.set_mode(net, "sequence")
    assert {m.mode for m in net.modules() if hasattr(m, "mode")} == {"step"}
    with pytest.raises(ValueError, match="step by step, got PSN"):
        snn.Feedback(snn.PSN(4), nn.Linear(3, 3))


def test_feedback_of_another_shape_or_batch_is_refused_in_words() -> None:
    wide = snn.Feedback(snn.Leaky(0.9, init_hidden=True), nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"must return the shape of the input, \(2, 3\), got \(2"):
        wide(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"must return the shape of the input, \(2, 3\), got \(2"):
        snn.run(wide, torch.rand(5, 2, 3))
    net = FED_BACK["delays"]()
    net(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"spikes of 2 samples, got 4; call snn\.reset"):
        net(torch.rand(4, 3))
    sequence = snn.Feedback(snn.Leaky(0.9, init_hidden=True, mode="sequence"), nn.Linear(3, 3))
    with pytest.raises(ValueError, match="with feedback runs step by step"):
        sequence(torch.rand(5, 2, 3))
    assert snn.run(sequence, torch.rand(5, 2, 3)).shape == (5, 2, 3)


def test_feedback_of_a_graph_that_backward_has_used_is_named() -> None:
    net = snn.Feedback(snn.Leaky(0.9, init_hidden=True), nn.Linear(3, 3))
    net(torch.rand(2, 3)).sum().backward()
    with pytest.raises(RuntimeError, match=r"call snn\.reset\(net\) at the start of each batch"):
        net(torch.rand(2, 3))
    snn.detach(net)
    net(torch.rand(2, 3)).sum().backward()


@pytest.mark.parametrize("x", ["spikes", torch.ones(2, 3, dtype=torch.int64)], ids=["text", "int"])
def test_feedback_names_an_input_that_is_no_current(x: Any) -> None:
    net = snn.Feedback(snn.Leaky(0.9, init_hidden=True), nn.Linear(3, 3))
    with pytest.raises(TypeError, match="the input of Feedback must be"):
        net(x)
