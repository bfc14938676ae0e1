"""BP-STDP: every path equals a literal loop over neurons and steps, the window is epsilon's, XOR is
learned."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.learning import BPSTDP, SpikeError, bp_stdp, desired_spikes
from spikeloom.learning.spike_errors import window_counts

SIZES = {"one hidden layer": (6, 9, 3), "two hidden layers": (6, 8, 7, 3), "none": (6, 3)}
T, B = 17, 5


def network(sizes: tuple[int, ...], bias: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [
            nn.Linear(a, b, bias=bias),
            snn.IF(0.7, reset_mechanism="zero", init_hidden=True),
        ]
    net = nn.Sequential(*layers).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.7)
    return net


def trains(*shape: int, seed: int = 0) -> Tensor:
    return (
        torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) < 0.4
    ).double()


def literal(
    net: nn.Sequential, x: Tensor, label: int, z: Any, epsilon: int, mu: float = 0.0
) -> list[Tensor]:
    """The rule for one sample [T, N] as printed, in scalars, step by step; with ``mu`` weights
    change on the way."""
    weights = [layer.weight.detach().clone() for layer in net if isinstance(layer, nn.Linear)]
    total = [torch.zeros_like(w) for w in weights]
    membranes = [torch.zeros(len(w), dtype=x.dtype) for w in weights]
    spikes: list[list[Tensor]] = [[] for _ in range(len(weights) + 1)]
    for t in range(len(x)):
        s = x[t]
        spikes[0].append(s)
        for k, w in enumerate(weights):
            out = torch.zeros(len(w), dtype=x.dtype)
            for i in range(len(w)):
                membranes[k][i] += sum(float(w[i, j] * s[j]) for j in range(len(s)))
                if membranes[k][i] > 0.7:
                    out[i], membranes[k][i] = 1.0, 0.0
            s = out
            spikes[k + 1].append(s)
        if not z[t]:
            continue
        n = [
            [
                sum(float(train[u][i]) for u in range(max(0, t - epsilon), t + 1))
                for i in range(len(train[t]))
            ]
            for train in spikes
        ]
        error = [
            (1.0 if not n[-1][i] else 0.0) if i == label else (-1.0 if n[-1][i] else 0.0)
            for i in range(len(n[-1]))
        ]
        for k in reversed(range(len(weights))):
            change = torch.tensor(
                [[error[i] * n[k][j] for j in range(len(n[k]))] for i in range(len(error))]
            ).double()
            below = [
                (1.0 if n[k][j] else 0.0)
                * sum(error[i] * float(weights[k][i, j]) for i in range(len(error)))
                for j in range(len(n[k]))
            ]
            total[k] += change
            if mu:
                weights[k] = weights[k] + mu * change
            error = below
    return weights if mu else total


@pytest.mark.parametrize("epsilon", [0, 3, 30])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_a_batch_changes_weights_as_the_literal_loop_over_its_samples_does(
    sizes: tuple[int, ...], epsilon: int
) -> None:
    net, x, labels = network(sizes), trains(T, B, 6), torch.tensor([0, 2, 1, 1, 0])
    z = trains(T, B, seed=2)
    shown = bp_stdp(net, x, labels, epsilon=epsilon, desired=z)
    wanted = [literal(net, x[:, b], int(labels[b]), z[:, b], epsilon) for b in range(B)]
    for place, p in enumerate(net.parameters()):
        torch.testing.assert_close(p.grad, -sum(w[place] for w in wanted) / B, rtol=0, atol=1e-6)
        assert p.grad is not None and p.grad.any()
    assert shown.spikes[str(len(net) - 1)].sum() > 10


def test_few_errors_are_counted_as_many_are() -> None:
    net, x, labels = network((6, 8, 3)), trains(T, B, 6), torch.tensor([0, 2, 1, 1, 0])
    z = torch.zeros(T, B)
    z[1, 0] = z[9, 3] = z[1, 2] = 1
    bp_stdp(net, x, labels, epsilon=3, desired=z)
    wanted = [literal(net, x[:, b], int(labels[b]), z[:, b], 3) for b in (0, 2, 3)]
    for place, p in enumerate(net.parameters()):
        torch.testing.assert_close(p.grad, -sum(w[place] for w in wanted) / B, rtol=0, atol=1e-6)
        assert p.grad is not None and p.grad.any()


def test_weights_that_change_within_a_presentation_are_those_of_the_literal_loop() -> None:
    net, x, z = network((6, 8, 7, 3)), trains(T, 6), [t % 3 == 2 for t in range(T)]
    wanted = literal(net, x, 1, z, 4, mu=0.02)
    learner, sgd = BPSTDP(net), torch.optim.SGD(net.parameters(), lr=0.02)
    for t in range(T):
        sgd.zero_grad()
        learner.step(x[t : t + 1], torch.tensor([1]), desired=z[t])
        sgd.step()
    for found, weight in zip(net.parameters(), wanted, strict=True):
        torch.testing.assert_close(found.detach(), weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_steps_with_constant_weights_add_up_to_the_batch(bias: bool) -> None:
    net, x, labels = network((6, 8, 3), bias), trains(T, B, 6), torch.arange(B) % 3
    bp_stdp(net, x, labels, epsilon=2)
    batch = [p.grad for p in net.parameters()]
    net.zero_grad()
    learner, z = BPSTDP(net, epsilon=2), desired_spikes(T)
    outputs = [learner.step(x[t], labels, desired=bool(z[t])) for t in range(T)]
    for p, gradient in zip(net.parameters(), batch, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=0, atol=1e-12)
    assert torch.stack(outputs).sum() > 0


def test_a_bias_learns_as_the_weight_of_an_input_that_always_fires() -> None:
    net, x, labels = network((6, 8, 3), bias=True), trains(T, B, 6), torch.arange(B) % 3
    bp_stdp(net, x, labels)
    wide = network((7, 8, 3))
    with torch.no_grad():
        wide[0].weight.copy_(torch.cat([net[0].weight, net[0].bias[:, None]], 1))
        wide[2].weight.copy_(net[2].weight)
    wide[2].bias = nn.Parameter(net[2].bias.detach().clone())
    bp_stdp(wide, torch.cat([x, torch.ones(T, B, 1).double()], -1), labels)
    torch.testing.assert_close(
        torch.cat([net[0].weight.grad, net[0].bias.grad[:, None]], 1), wide[0].weight.grad
    )


def test_a_convolution_learns_as_the_linear_layer_that_does_the_same() -> None:
    torch.manual_seed(3)
    convolution, dense = (
        nn.Conv2d(1, 2, 3, bias=False).double(),
        nn.Linear(16, 8, bias=False).double(),
    )
    nn.init.normal_(convolution.weight)
    units = torch.eye(16).double().reshape(16, 1, 4, 4)
    dense.weight.data = convolution(units).flatten(1).T.detach().clone()
    head = nn.Linear(2, 3, bias=False).double()
    nn.init.normal_(head.weight)

    def end() -> list[nn.Module]:
        return [
            snn.IF(0.5, reset_mechanism="zero", init_hidden=True),
            nn.Flatten(),
            head,
            snn.IF(0.5, reset_mechanism="zero", init_hidden=True),
        ]

    def pooled() -> list[nn.Module]:
        return [nn.AvgPool2d(2), *end()]

    x, labels = trains(T, B, 1, 4, 4), torch.arange(B) % 3
    bp_stdp(nn.Sequential(convolution, *pooled()), x, labels)
    first = head.weight.grad
    head.zero_grad()
    bp_stdp(nn.Sequential(nn.Flatten(), dense, nn.Unflatten(1, (2, 2, 2)), *pooled()), x, labels)
    torch.testing.assert_close(head.weight.grad, first)
    # a weight of the convolution is shared by the positions: its change is the sum of theirs
    spread = torch.autograd.functional.vjp(
        lambda w: nn.functional.conv2d(units, w).flatten(1).T,
        convolution.weight.detach(),
        dense.weight.grad,
    )[1]
    torch.testing.assert_close(convolution.weight.grad, spread)
    assert spread.any()


def test_the_window_holds_epsilon_steps_before_now_and_now() -> None:
    spk = trains(9, 2)
    for epsilon in (0, 2, 8, 20):
        wanted = torch.stack([spk[max(0, t - epsilon) : t + 1].sum(0) for t in range(9)])
        torch.testing.assert_close(window_counts(spk, epsilon), wanted)


def test_the_error_is_the_published_one() -> None:
    spk = torch.zeros(4, 2, 3)
    spk[1, 0, 0] = spk[0, 1, 1] = spk[0, 1, 2] = 1
    # interval 2: errors at steps 1 and 3; sample 0: right, then silent: 1; sample 1: three errors,
    # then one
    value = SpikeError(epsilon=1, interval=2)(spk, torch.tensor([0, 0]))
    assert float(value) == pytest.approx(((1 / 4) ** 2 + ((1 - 2 + 1) / 4) ** 2) / 2)


def test_xor_is_learned() -> None:
    x = torch.tensor([[0.2, 0.2], [0.2, 1.0], [1.0, 0.2], [1.0, 1.0]])
    y = torch.tensor([0, 1, 1, 0])
    steps = torch.arange(51.0)[:, None, None]
    spikes = (x * steps).floor().diff(dim=0)
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Linear(2, 20), snn.IF(0.9, reset_mechanism="zero", init_hidden=True)),
        *(nn.Linear(20, 2), snn.IF(0.5, reset_mechanism="zero", init_hidden=True)),
    )
    sgd = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(150):
        sgd.zero_grad()
        shown = bp_stdp(net, spikes, y)
        sgd.step()
    assert shown.spikes["3"].sum(0).argmax(1).tolist() == y.tolist() and shown.error == 0


def test_gradients_are_added_and_frozen_weights_left_alone() -> None:
    net, x, labels = network((6, 8, 3)), trains(T, B, 6), torch.arange(B) % 3
    net[0].requires_grad_(False)
    bp_stdp(net, x, labels)
    once = net[2].weight.grad.clone()
    bp_stdp(net, x, labels)
    torch.testing.assert_close(net[2].weight.grad, 2 * once)
    assert net[0].weight.grad is None


def if_(**options: Any) -> snn.IF:
    return snn.IF(**{"init_hidden": True, **options})


MISTAKES: dict[str, tuple[nn.Module, type[Exception], str]] = {
    "no sequence": (
        nn.Linear(6, 3),
        TypeError,
        r"BP-STDP reads a network from nn.Sequential, got Linear",
    ),
    "leak": (
        nn.Sequential(nn.Linear(6, 3), snn.Leaky(0.9, init_hidden=True)),
        TypeError,
        "trains IF, got Leaky '1'",
    ),
    "two synapses": (
        nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 3), if_()),
        ValueError,
        "neurons between two synapses",
    ),
    "no synapse": (nn.Sequential(if_()), ValueError, "a synapse before IF '0', got none"),
    "no end": (
        nn.Sequential(nn.Linear(6, 3), if_(), nn.Linear(3, 3)),
        ValueError,
        "ends with neurons",
    ),
    "dropout": (
        nn.Sequential(nn.Dropout(), nn.Linear(6, 3), if_()),
        TypeError,
        "got Dropout '0'; leave it out",
    ),
    "state": (
        nn.Sequential(nn.Linear(6, 3), if_(init_hidden=False)),
        TypeError,
        "write init_hidden=True",
    ),
    "sequence": (
        nn.Sequential(nn.Linear(6, 3), if_(mode="sequence")),
        ValueError,
        r'set_mode\(net, "step"\)',
    ),
    "learned": (
        nn.Sequential(nn.Linear(6, 3), if_(learn_threshold=True)),
        TypeError,
        "constants that learn",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_network_that_the_rule_does_not_train_is_refused(name: str) -> None:
    net, kind, text = MISTAKES[name]
    with pytest.raises(kind, match=text):
        bp_stdp(net, trains(T, B, 6).float(), torch.zeros(B, dtype=torch.long))
    with pytest.raises(kind, match=text):
        BPSTDP(net)


def test_a_layer_in_two_places_is_refused() -> None:
    linear = nn.Linear(6, 6)
    with pytest.raises(ValueError, match="takes each layer in one place, got Linear '2' in two"):
        BPSTDP(nn.Sequential(linear, if_(), linear, if_()))


def test_input_that_is_no_spike_train_is_refused() -> None:
    net, labels = network((6, 3)).float(), torch.zeros(B, dtype=torch.long)
    with pytest.raises(
        ValueError, match=r"counts input spikes, 0 or 1, got values from 0\.5 to 0\.5"
    ):
        bp_stdp(net, torch.full((T, B, 6), 0.5), labels)
    with pytest.raises(
        ValueError, match=r"takes spikes \[T, B, ...\] and classes \[B\], got \(17, 6\) and \(5,\)"
    ):
        bp_stdp(net, torch.zeros(T, 6), labels)
    with pytest.raises(ValueError, match=r"desired spikes are \[T\] or \[T, B\], got \(3,\)"):
        bp_stdp(net, torch.zeros(T, B, 6), labels, desired=torch.ones(3))
    with pytest.raises(
        ValueError, match="classes count from 0 to 2 for 3 outputs, got 3; write an output layer"
    ):
        bp_stdp(net, torch.zeros(T, B, 6), labels + 3)
    with pytest.raises(ValueError, match=r"epsilon must be a whole number of steps from 0, got -1"):
        bp_stdp(net, torch.zeros(T, B, 6), labels, epsilon=-1)
    with pytest.raises(
        ValueError, match=r"a desired spike every 4 steps needs 1 <= interval <= T = 3"
    ):
        desired_spikes(3)
