"""OTTT and SLTT: the published gradients written by hand, and what they need."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

import spikeloom as snn
from spikeloom.learning import OTTT, SLTT, cosine

T, B = 12, 4
Y = torch.tensor([0, 2, 1, 0])
LOSS = snn.functional.ce_rate_loss()


def network(**last: Any) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 10),
        snn.Leaky(0.7, init_hidden=True, threshold=0.5),
        nn.Linear(10, 8),
        snn.Leaky(0.8, init_hidden=True, threshold=0.5),
        nn.Linear(8, 3),
        snn.Leaky(0.9, init_hidden=True, threshold=0.5, **last),
    ).double()
    with torch.no_grad():
        for name, p in net.named_parameters():
            p += 0.15 * ("bias" not in name)
    return net


def signal() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(T, B, 6, generator=generator, dtype=torch.float64) * 2


def by_hand(
    net: Any, x: Tensor, y: Tensor, *, traced: bool, steps: set[int] | None = None
) -> list[Tensor]:
    """The published sums over steps, with spikes, surrogates and errors written out.

    ``traced``: OTTT, whose synapses remember their input; else SLTT, whose synapses do not.
    ``steps``: those that have a gradient; None: all.
    """
    synapses, neurons = [net[i] for i in (0, 2, 4)], [net[i] for i in (1, 3, 5)]
    mems = [torch.zeros(B, layer.out_features, dtype=x.dtype) for layer in synapses]
    traces = [torch.zeros(B, layer.in_features, dtype=x.dtype) for layer in synapses]
    sums = [torch.zeros_like(p) for layer in synapses for p in (layer.weight, layer.bias)]
    with torch.no_grad():
        for t, x_t in enumerate(x):
            spk, inputs, overs = x_t, [], []
            for k, (synapse, neuron) in enumerate(zip(synapses, neurons, strict=True)):
                inputs.append(spk)
                reset = (mems[k] > neuron.threshold) * neuron.threshold
                mems[k] = neuron.beta * mems[k] + spk @ synapse.weight.T + synapse.bias - reset
                traces[k] = neuron.beta * traces[k] + spk
                overs.append(mems[k] - neuron.threshold)
                spk = (overs[k] > 0).to(x.dtype)
            if steps is not None and t not in steps:
                continue
            error = (spk.softmax(1) - one_hot(y, 3)) / B / T  # of the mean cross-entropy
            for k in (2, 1, 0):
                error = error * neurons[k].spike_grad.derivative(overs[k])
                sums[2 * k] += error.T @ (traces[k] if traced else inputs[k])
                sums[2 * k + 1] += error.sum(0)
                error = error @ synapses[k].weight
    return sums


@pytest.mark.parametrize(
    ("rule", "traced"), [(OTTT(), True), (SLTT(), False)], ids=["ottt", "sltt"]
)
def test_the_gradient_is_the_published_sum(rule: Any, traced: bool) -> None:
    net, x = network(), signal()
    found, expected = rule.gradients(net, x, Y, LOSS), by_hand(net, x, Y, traced=traced)
    rates = []
    snn.reset(net)
    for x_t in x:
        for layer in net:
            x_t = layer(x_t)
            rates += [x_t.mean()] if isinstance(layer, snn.Leaky) else []
    assert 0.1 < torch.stack(rates).mean() < 0.9
    for a, b in zip(found, expected, strict=True):
        assert b.abs().sum() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def backpropagated(net: nn.Module, x: Tensor, loss: Callable[..., Tensor]) -> list[Tensor]:
    snn.reset(net)
    outputs = []
    for x_t in x:
        outputs.append(net(x_t))
        for module in net.modules():
            if isinstance(module, snn.Neuron):
                module._hidden = module.State(*(v.detach() for v in module._hidden))
    value = loss(torch.stack(outputs), Y)
    return list(torch.autograd.grad(value, list(net.parameters())))


class Residual(nn.Module):
    """No chain: convolution, normalisation, a recurrent neuron, learned constants."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.lif1 = snn.Leaky(0.8, learn_beta=True, learn_threshold=True, init_hidden=True)
        self.lif2 = snn.RLeaky(0.9, linear_features=3, init_hidden=True)
        self.fc = nn.Linear(24, 3)
        self.last = snn.Synaptic(0.7, 0.8, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.conv(x.view(-1, 1, 2, 3)))
        h = h + self.lif1(2 * h)
        return self.last(self.fc(self.lif2(h).flatten(1)))


def test_sltt_is_backpropagation_without_the_terms_through_time_for_any_network() -> None:
    torch.manual_seed(3)
    net = Residual().double()
    found = SLTT().gradients(net, signal(), Y, LOSS)
    expected = backpropagated(net, signal(), LOSS)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert sum(float(b.abs().sum() > 0) for b in expected) >= 10


def test_ottt_and_eprop_agree_on_weights_and_differ_in_biases() -> None:
    net, x = network(), signal()
    ottt, eprop = (snn.learning.GRADIENTS[name](net, x, Y, LOSS) for name in ("ottt", "eprop"))
    for (name, _), a, b in zip(net.named_parameters(), ottt, eprop, strict=True):
        assert torch.equal(a, b) is name.endswith("weight")
    bptt = snn.learning.GRADIENTS["bptt"](net, x, Y, LOSS)
    assert cosine([ottt[4]], [bptt[4]]) > 0.9


def test_k_steps_of_sltt_are_drawn_anew_and_are_a_part_of_the_sum() -> None:
    net, x = network(), signal()
    drawn = []
    for seed in range(3):
        drawn.append(set(torch.randperm(T, generator=torch.manual_seed(seed))[:3].tolist()))
        torch.manual_seed(seed)
        found = SLTT(K=3).gradients(net, x, Y, LOSS)
        expected = by_hand(net, x, Y, traced=False, steps=drawn[-1])
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert len(set(map(frozenset, drawn))) == 3
    whole = SLTT().gradients(net, x, Y, LOSS)[0]
    torch.testing.assert_close(SLTT(K=T).gradients(net, x, Y, LOSS)[0], whole)


@pytest.mark.parametrize("rule", ["ottt", "sltt"])
def test_no_spikes_of_an_earlier_step_stay_alive(rule: str) -> None:
    net, seen, alive = network(), [], []

    def note(module: nn.Module, args: Any, spk: Tensor) -> None:
        seen.append(weakref.ref(spk))
        alive.append(sum(spikes() is not None for spikes in seen))

    net[1].register_forward_hook(note)
    snn.learning.GRADIENTS[rule](net, signal()[:1].expand(30, B, 6), Y, LOSS)
    assert len(seen) == 30 and max(alive) <= 3


def test_changing_the_weights_in_every_step_is_online_descent() -> None:
    data = snn.data.digits(flat=True)
    x, y = data.x_train[:32], data.y_train[:32]
    make = lambda: nn.Sequential(nn.Linear(64, 10), snn.Leaky(0.9, init_hidden=True))  # noqa: E731

    def net() -> nn.Sequential:
        torch.manual_seed(5)
        return make()

    options: dict[str, Any] = {
        "num_steps": 4,
        "epochs": 1,
        "batch_size": 32,
        "progress": False,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, 0.5),
        "lr": None,
    }
    found = {
        every: snn.fit(net(), (x, y, x, y), rule=snn.train.OTTT(every_step=every), **options).net
        for every in (True, False)
    }
    for every, trained in found.items():
        twin = net()
        learner = snn.learning.Online(twin, cross_entropy, traced_biases=False)
        sgd = torch.optim.SGD(twin.parameters(), 0.5)
        for _ in range(4):
            learner.step(x, y, scale=1 / 4)
            if every:
                sgd.step()
                sgd.zero_grad()
        if not every:
            sgd.step()
        for p, other in zip(trained.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p, other)
    assert not torch.equal(found[True][0].weight, found[False][0].weight)


def hidden(neuron: Callable[[], Any]) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 3), neuron())


REFUSED = {
    "two decays": (
        OTTT(),
        lambda: hidden(lambda: snn.Synaptic(0.8, 0.9, init_hidden=True)),
        TypeError,
        "Synaptic '1' has two; write rule=\"eprop\"",
    ),
    "no chain": (OTTT(), Residual, TypeError, "net must be nn.Sequential"),
    "whole sequences": (
        SLTT(),
        lambda: hidden(lambda: snn.PSN(T)),
        TypeError,
        "PSN '1' runs whole sequences",
    ),
    "sequence mode": (
        SLTT(),
        lambda: hidden(lambda: snn.Leaky(0.9, init_hidden=True, mode="sequence")),
        ValueError,
        "got Leaky '1' in mode='sequence'; write snn.set_mode",
    ),
    "no gradient": (
        SLTT(),
        lambda: hidden(lambda: snn.Leaky(0.9, init_hidden=True, surrogate_disable=True)),
        ValueError,
        "no spike has a gradient",
    ),
    "more steps than there are": (
        SLTT(K=T + 1),
        network,
        ValueError,
        "K must not exceed the number of steps, got K=13 for 12",
    ),
}


@pytest.mark.parametrize(("rule", "make", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_what_a_rule_cannot_train_is_refused_before_any_work(
    rule: Any, make: Any, error: Any, text: str
) -> None:
    x = signal()[0].float()
    with pytest.raises(error, match=text):
        snn.fit(make().float(), (x, Y, x, Y), rule=rule, num_steps=T, epochs=1, progress=False)


def test_rules_have_checked_numbers() -> None:
    with pytest.raises(ValueError, match="K must be"):
        SLTT(K=0)
    with pytest.raises(TypeError, match="every_step must be True or False"):
        OTTT(every_step="no")  # pyright: ignore[reportArgumentType]
