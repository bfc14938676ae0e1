"""Noise is a property of every neuron: the same numbers however it runs, with the right law."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.neuron import Neuron
from spikeloom.core.noise import Noise

from .cases import CONFIGURATIONS, IDS, OWN, T, build, current

every_configuration = pytest.mark.parametrize(("name", "options"), CONFIGURATIONS, ids=IDS)
SHIFTING = [(n, o) for n, o in CONFIGURATIONS if not build(n, **o).shift_obstacle()]
every_shifting = pytest.mark.parametrize(
    ("name", "options"), SHIFTING, ids=[IDS[CONFIGURATIONS.index(case)] for case in SHIFTING]
)
every_shifting_neuron = pytest.mark.parametrize("name", dict(SHIFTING))
WITHOUT_SHIFT = {"LI", "SignedIF", "LeakyParallel", "LinearLeaky", "StateLeaky", "AssociativeLeaky"}


def noisy(neuron: Neuron, seed: int = 0, **noise: Any) -> Neuron:
    return snn.noisy(neuron, **noise, generator=torch.Generator().manual_seed(seed))


def amounts(name: str) -> dict[str, float]:
    """Noise that matters to a neuron of the laws."""
    threshold = float(build(name).threshold)
    width = 0.2 * threshold if math.isfinite(threshold) else 0.0
    found = {"current": 0.3 * OWN[name].example_gain}
    return found if name in WITHOUT_SHIFT else {**found, "threshold": width, "escape": width}


def spikes(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def called(neuron: Neuron, x: Tensor, mode: str) -> Tensor:
    neuron.mode = mode
    if mode == "sequence":
        return spikes(neuron(x))
    return torch.stack([spikes(neuron(x_t)) for x_t in x])


def test_neurons_that_refuse_a_random_threshold_are_few_and_known() -> None:
    assert {n for n, _ in CONFIGURATIONS} - {n for n, _ in SHIFTING} == WITHOUT_SHIFT


@every_configuration
def test_a_loop_a_run_and_a_sequence_draw_the_same_noise(
    name: str, options: dict[str, Any]
) -> None:
    x = current(name, steps=12)
    found = []
    for how in ("run", "layerwise", "sequence", "step"):
        neuron = noisy(build(name, **options), **amounts(name))
        if "step" not in neuron.modes:
            if how != "step":
                found.append(called(neuron, x, "sequence"))
            continue
        neuron.init_hidden = neuron.output = True
        if how == "run":
            found.append(spikes(snn.run(neuron, x)))
        elif how == "layerwise":
            loop = snn.layerwise(lambda net, x: torch.stack([spikes(net(x_t)) for x_t in x]))
            found.append(loop(neuron, x))
        else:
            found.append(called(neuron, x, how))
    for other in found[:-1]:
        torch.testing.assert_close(other, found[-1], rtol=1e-9, atol=1e-9)
    if "step" not in OWN[name].modes:
        return
    plain = build(name, **options)
    plain.init_hidden = plain.output = True
    assert not torch.equal(spikes(snn.run(plain, x)), found[-1])


@every_shifting
def test_noise_without_effect_is_the_plain_neuron(name: str, options: dict[str, Any]) -> None:
    x = current(name, steps=20)
    plain, other = build(name, **options), build(name, **options)
    noisy(other, **amounts(name), training_only=True).eval()
    for neuron in (plain, other):
        neuron.mode = "sequence"
    results = [torch.utils._pytree.tree_leaves(neuron(x)) for neuron in (plain, other)]
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    other.train()
    snn.reset(other)
    assert not torch.equal(torch.utils._pytree.tree_leaves(other(x))[0], results[0][0])


@every_shifting_neuron
def test_a_random_threshold_is_pickled_and_copied_with_its_state(name: str) -> None:
    neuron = noisy(build(name), **amounts(name))
    neuron.init_hidden = True
    x = current(name, steps=12)
    called(neuron, x[:6], "step")
    twins = [copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))]
    expected = called(neuron, x[6:], "step")
    for twin in twins:
        assert torch.equal(called(twin, x[6:], "step"), expected)


@every_shifting_neuron
def test_gradients_flow_through_a_random_threshold(name: str) -> None:
    neuron = noisy(build(name, learn=True), **amounts(name))
    neuron.init_hidden = True
    x = current(name, steps=8).requires_grad_()
    spk = called(neuron, x, "step")
    (spk * torch.linspace(0.5, 2, spk.numel(), dtype=spk.dtype).view_as(spk)).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_a_neuron_resets_where_its_random_threshold_was_passed() -> None:
    x = torch.full((400, 1, 50), 0.3, dtype=torch.float64)
    for delay in (True, False):
        lif = snn.Leaky(0.8, reset_mechanism="zero", reset_delay=delay, mode="sequence").double()
        spk, mem = noisy(lif, escape=0.3)(x)
        cleared = mem[1:][spk[:-1] != 0] if delay else mem[spk != 0]
        kept = mem[1:][spk[:-1] == 0] if delay else mem[spk == 0]
        assert spk.any() and (spk == 0).any()
        assert (cleared == (0.3 if delay else 0)).all()  # a delayed reset comes before the input
        assert kept.min() >= 0.3 and kept.max() > 0.9


def test_noise_of_the_current_has_its_size_and_is_independent() -> None:
    sigma, neurons, steps = 0.25, 400, 200
    lif = snn.Leaky(0.0, threshold=99.0, mode="sequence").double()
    _, mem = noisy(lif, current=sigma)(torch.zeros(steps, 3, neurons, dtype=torch.float64))
    count = mem.numel()
    assert abs(mem.mean()) < 5 * sigma / math.sqrt(count)
    assert abs(mem.var() / sigma**2 - 1) < 5 * math.sqrt(2 / count)
    for a, b in ((mem[1:], mem[:-1]), (mem[:, 0], mem[:, 1]), (mem[..., 1:], mem[..., :-1])):
        assert abs((a * b).mean()) < 5 * sigma**2 / math.sqrt(a.numel())


def share_of_spikes(membrane: float, **noise: float) -> tuple[float, int]:
    lif = snn.Leaky(0.0, reset_mechanism="none", mode="sequence").double()
    spk, _ = noisy(lif, **noise)(torch.full((100, 10, 100), membrane, dtype=torch.float64))
    return spk.mean().item(), spk.numel()


@pytest.mark.parametrize("membrane", [0.5, 0.8, 1.0, 1.1])
def test_the_escape_rate_is_the_probability_of_its_formula(membrane: float) -> None:
    share, count = share_of_spikes(membrane, escape=0.2)
    expected = 1 - math.exp(-math.exp((membrane - 1) / 0.2))
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize("membrane", [0.7, 1.0, 1.2])
def test_a_normal_threshold_is_passed_as_often_as_the_normal_law_says(membrane: float) -> None:
    share, count = share_of_spikes(membrane, threshold=0.2)
    expected = 0.5 * math.erfc((1 - membrane) / 0.2 / math.sqrt(2))
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / count)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 20),
        snn.Leaky(0.9, init_hidden=True, threshold=0.5),
        nn.Linear(20, 4),
        snn.Synaptic(0.8, 0.9, init_hidden=True, output=True),
    ).double()


@pytest.mark.parametrize("amount", [{"current": 0.3}, {"threshold": 0.2}, {"escape": 0.1}])
@pytest.mark.parametrize("static", [False, True])
def test_a_run_of_a_noisy_network_is_its_loop_with_the_global_generator(
    amount: dict[str, float], static: bool
) -> None:
    net = snn.noisy(network(), **amount)
    x = torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    over_time = x if static else x.expand(9, 2, 6).contiguous()
    found = []
    for execute in (
        lambda: snn.run(net, over_time, 9 if static else None),
        lambda: tuple(map(torch.stack, zip(*[net(x) for _ in range(9)], strict=True))),
    ):
        snn.reset(net)
        net.zero_grad()
        torch.manual_seed(3)
        output = execute()
        output[0].sum().backward()
        found.append([*output, *(p.grad for p in net.parameters())])
    assert found[0][0].any()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ["eager", "torch", "numba"])
def test_noise_of_the_current_is_that_of_the_loop_on_every_backend(backend: str) -> None:
    if snn.backends()[backend] != "available":
        pytest.skip(snn.backends()[backend])
    x = torch.rand(T, 4, 6, dtype=torch.float64)
    lif = snn.Leaky(0.9, init_hidden=True)
    expected = called(noisy(copy.deepcopy(lif), current=0.4), x, "step")
    with snn.backend(backend):
        assert torch.equal(called(noisy(lif, current=0.4), x, "sequence"), expected)


def test_a_backend_that_cannot_draw_thresholds_served_a_random_one() -> None:
    lif = noisy(snn.Leaky(0.9, mode="sequence"), escape=0.1)
    with (
        snn.backend("torch"),
        pytest.raises(RuntimeError, match="its threshold is drawn anew at every step"),
    ):
        lif(torch.ones(4, 1, 2))


def test_users_pass_the_membrane_to_a_noisy_neuron_as_to_any_other() -> None:
    x = current("Leaky", steps=30)
    kept = noisy(snn.Leaky(0.9, init_hidden=True), escape=0.2)
    passed = noisy(snn.Leaky(0.9), escape=0.2)
    mem = passed.init_leaky()
    assert isinstance(mem, Tensor)
    found = []
    for x_t in x:
        spk, mem = passed(x_t, mem)
        found.append(spk)
    assert torch.equal(torch.stack(found), called(kept, x, "step"))


def test_noise_stopped_a_recording_from_being_checkpointed() -> None:
    x = torch.rand(40, 3, 6, dtype=torch.float64)
    gradients = []
    for memory in ("exact", "checkpoint"):
        net = snn.noisy(network(), current=0.2, escape=0.1)
        torch.manual_seed(3)
        snn.run(net, x, memory=memory)[0].sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_noise_comes_and_goes() -> None:
    net = network()
    x = torch.rand(5, 2, 6, dtype=torch.float64)
    before = snn.run(net, x)[0]
    noise = snn.noisy(net, current=0.5, escape=0.2)[1].noise
    assert noise == Noise(0.5, 0.0, 0.2)
    assert not torch.equal(snn.run(net, x)[0], before)
    assert snn.noisy(net)[1].noise is None
    assert torch.equal(snn.run(net, x)[0], before)


def test_noise_stays_in_evaluation_unless_the_user_says_otherwise() -> None:
    x = torch.rand(20, 2, 6, dtype=torch.float64)
    net = network().eval()
    plain = snn.run(net, x)[1]
    assert not torch.equal(snn.run(snn.noisy(net, current=0.2), x)[1], plain)
    assert torch.equal(snn.run(snn.noisy(net, current=0.2, training_only=True), x)[1], plain)


REFUSED = {
    "a negative size": (lambda: snn.noisy(snn.Leaky(0.9), current=-1.0), ValueError, "current"),
    "an infinite size": (
        lambda: snn.noisy(snn.Leaky(0.9), escape=math.inf),
        ValueError,
        "escape must be",
    ),
    "a seed for a generator": (
        lambda: snn.noisy(snn.Leaky(0.9), current=1.0, generator=3),
        TypeError,
        "generator must be a torch.Generator",
    ),
    "a leaky integrator": (
        lambda: snn.noisy(snn.LI(0.9), threshold=0.1),
        ValueError,
        "LI takes no noise of the threshold.*does not fire",
    ),
    "whole sequences": (
        lambda: snn.noisy(snn.LeakyParallel(3, 2), escape=0.1),
        ValueError,
        "runs whole sequences",
    ),
    "pooled spikes": (
        lambda: snn.noisy(snn.SConv2dLSTM(1, 4, 3, max_pool=2), escape=0.1),
        ValueError,
        "which neuron fired",
    ),
    "an assigned number": (
        lambda: setattr(snn.Leaky(0.9), "noise", 0.1),
        TypeError,
        "snn.noisy",
    ),
    "a NIR graph": (
        lambda: snn.nir.to_nir(snn.noisy(plain_network(), current=0.1), target="spikeloom"),
        ValueError,
        "'1': noise has no NIR node",
    ),
    "C": (
        lambda: snn.export.to_c(snn.noisy(plain_network(), current=0.1), torch.zeros(1, 3)),
        ValueError,
        "'1' cannot be written as C: its noise",
    ),
    "integers": (
        lambda: snn.hardware.quantize(snn.noisy(plain_network(), escape=0.1), torch.zeros(1, 3)),
        ValueError,
        "'1' has noise",
    ),
    "a file": (
        lambda: snn.save(snn.noisy(plain_network(), current=0.1), "never.safetensors"),
        TypeError,
        "'1' has noise, which no file holds",
    ),
    "exact spike times": (
        lambda: snn.learning.EventNetwork(
            snn.noisy(nn.Sequential(nn.Linear(3, 2), snn.Synaptic(0.8, 0.9)), current=0.1)
        ),
        ValueError,
        "noisy Synaptic at '1'",
    ),
}


def plain_network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True))


@pytest.mark.parametrize(("attempt", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_noise_is_refused_where_it_has_no_meaning(attempt: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        attempt()


def test_a_network_was_half_noisy_after_a_refusal() -> None:
    net = nn.Sequential(snn.Leaky(0.9), snn.LI(0.9))
    with pytest.raises(ValueError, match="LI takes no noise"):
        snn.noisy(net, escape=0.1)
    assert net[0].noise is None
