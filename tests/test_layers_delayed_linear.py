"""A linear layer with a delay for each synapse: hand-written loops, gradients, and a task that
needs delays."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn

T, B, N_IN, N_OUT, D = 11, 2, 3, 4, 5


def signal() -> Tensor:
    return torch.randn(T, B, N_IN, generator=torch.Generator().manual_seed(0)).double()


def layer(delay: Any = None, **options: Any) -> snn.DelayedLinear:
    torch.manual_seed(1)
    return snn.DelayedLinear(N_IN, N_OUT, D, delay, **options).double()


def by_hand(x: Tensor, net: snn.DelayedLinear) -> Tensor:
    """Each synapse reads the two steps around its delay."""
    y = torch.zeros(len(x), x.shape[1], net.out_features, dtype=x.dtype)
    for t, o, i in itertools.product(
        range(len(x)), range(net.out_features), range(net.in_features)
    ):
        d = float(net.delay[o, i])
        whole = min(int(d), net.max_delay - 1)
        for step, share in ((whole, 1 - (d - whole)), (whole + 1, d - whole)):
            if t >= step:
                y[t, :, o] += net.weight[o, i].detach() * share * x[t - step, :, i]
    return y if net.bias is None else y + net.bias.detach()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("whole_steps", [True, False])
def test_each_synapse_has_its_own_delay(whole_steps: bool, bias: bool) -> None:
    delay = torch.rand(N_OUT, N_IN, generator=torch.Generator().manual_seed(2)) * D
    net = layer(delay.round() if whole_steps else delay, bias=bias, mode="sequence")
    torch.testing.assert_close(net(signal()), by_hand(signal(), net), rtol=1e-6, atol=1e-6)


def test_without_delay_it_is_a_linear_layer() -> None:
    net = layer(0.0, mode="sequence")
    expected = nn.functional.linear(signal(), net.weight, net.bias)
    torch.testing.assert_close(net(signal()), expected)


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_steps_chunks_and_runs_are_the_sequence(kernel: str) -> None:
    options = {"kernel": kernel, "sigma": 1.3}
    whole, steps, chunks = (layer(**options, mode=m) for m in ("sequence", "step", "sequence"))
    expected = whole(signal())
    torch.testing.assert_close(torch.stack([steps(x) for x in signal()]), expected)
    torch.testing.assert_close(torch.cat([chunks(signal()[:4]), chunks(signal()[4:])]), expected)
    torch.testing.assert_close(snn.run(layer(**options), signal()), expected)
    torch.testing.assert_close(whole.hidden.past, signal()[-D:])
    torch.testing.assert_close(steps.hidden.past, signal()[-D:])


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_gradients_of_inputs_weights_and_delays_are_exact(kernel: str) -> None:
    net = layer(learn_delay=True, kernel=kernel, sigma=1.3, mode="sequence")
    values = [signal().requires_grad_(), *(p.detach().requires_grad_() for p in net.parameters())]

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        snn.reset(net)
        named = dict(zip(dict(net.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(net, named, (x,))

    assert torch.autograd.gradcheck(run, tuple(values))


def test_learned_delays_find_those_of_a_teacher_while_the_kernel_narrows() -> None:
    x = torch.randn(60, 8, N_IN, generator=torch.Generator().manual_seed(3)).double()
    delay = torch.tensor([[0.0, 4.0, 2.0], [5.0, 1.0, 3.0]])
    torch.manual_seed(4)
    teacher = snn.DelayedLinear(N_IN, 2, D, delay, bias=False, mode="sequence").double()
    nn.init.ones_(teacher.weight)
    net = snn.DelayedLinear(
        N_IN, 2, D, 2.5, bias=False, learn_delay=True, kernel="gaussian", mode="sequence"
    ).double()
    nn.init.ones_(net.weight)
    optimizer = torch.optim.Adam([net.delay], lr=0.1)
    for step in range(150):
        net.sigma = max(0.3, 2.5 * 0.98**step)
        snn.reset(net)
        snn.reset(teacher)
        optimizer.zero_grad()
        (net(x) - teacher(x)).square().mean().backward()
        optimizer.step()
    assert torch.equal(net.delay.detach().round().clamp(0, D), delay.double())


def coincidences(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two spikes, 6 steps apart, at a random time: the class says which input fires first."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=generator)
    start = torch.randint(0, 14, (count,), generator=generator)
    x = torch.zeros(30, count, 2)
    samples = torch.arange(count)
    x[start, samples, labels] = 1
    x[start + 6, samples, 1 - labels] = 1
    return x, labels


def accuracy_of_coincidences(connection: nn.Module) -> float:
    """A network without memory besides its connection: neurons of beta 0, and counted spikes."""
    net = nn.Sequential(
        connection, snn.Leaky(0.0, reset_mechanism="none", init_hidden=True), nn.Linear(16, 2)
    )
    x, y = coincidences(256, seed=0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for step in range(150):
        if isinstance(connection, snn.DelayedLinear):
            connection.sigma = max(0.5, 4.0 * 0.97**step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(snn.run(net, x).sum(0), y).backward()
        optimizer.step()
    x, y = coincidences(500, seed=1)
    with torch.no_grad():
        return float((snn.run(net, x).sum(0).argmax(-1) == y).float().mean())


@pytest.mark.slow
def test_delayed_coincidences_are_told_apart_with_delays_and_not_without() -> None:
    torch.manual_seed(0)
    with_delays = snn.DelayedLinear(2, 16, 10, learn_delay=True, kernel="gaussian")
    assert accuracy_of_coincidences(with_delays) > 0.97
    # without delays the sum over time is the same for both classes
    assert 0.4 < accuracy_of_coincidences(nn.Linear(2, 16)) < 0.6


MISTAKES = {
    "too long": (lambda: layer(6.0), ValueError, r"delay must be in \[0, 5\], got 6"),
    "another shape": (
        lambda: layer(torch.ones(3)),
        ValueError,
        r"shape \(4, 3\), got shape \(3,\)",
    ),
    "no delay": (lambda: snn.DelayedLinear(2, 3, 0), ValueError, "max_delay must be"),
    "no input": (lambda: snn.DelayedLinear(0, 3, 2), ValueError, "in_features must be"),
    "features": (lambda: layer()(torch.ones(2, 4).double()), ValueError, r"\[B, 3\], got \(2, 4\)"),
    "axes": (
        lambda: layer()(torch.ones(2, 1, 3).double()),
        ValueError,
        r"\[B, 3\], got \(2, 1, 3\)",
    ),
    "dtype": (lambda: layer()(torch.ones(2, 3)), TypeError, r"weight of torch.float64, got .*32"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_the_rule_and_the_value(mistake: str) -> None:
    call, error, message = MISTAKES[mistake]
    with pytest.raises(error, match=message):
        call()


def test_a_network_with_delays_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    net = nn.Sequential(snn.DelayedLinear(3, 4, 5), snn.Leaky(0.9, threshold=0.1, init_hidden=True))
    again = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    x = torch.rand(9, 2, 3)
    assert torch.equal(snn.run(net, x), snn.run(again, x)) and snn.run(net, x).any()
