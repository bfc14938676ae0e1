"""A neuron and the linear layer with few outputs behind it, run together: the numbers of both run apart."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.neuron import REGISTRY
from spikeloom.kernels import readout
from spikeloom.run import readouts

pytest.importorskip("numba")

T, B, K, N = 12, 7, 30, 5
SERVED = ("Leaky", "Synaptic", "Alpha", "Lapicque", "ScaledIF", "SignedIF", "IF", "AdLIF")


def each_served() -> list[Any]:
    """All neurons that run together with their readout; each has kernels of its own, and those of two compile fast."""
    return [name if name in ("Leaky", "Synaptic") else pytest.param(name, marks=pytest.mark.slow) for name in SERVED]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of any size run together, three samples at a time."""
    monkeypatch.setattr(readouts, "LEAST", 1)
    monkeypatch.setattr(readout, "SCRATCH", 3 * T * K)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from spikeloom.kernels import threads as module

    monkeypatch.setattr(module, "PARALLEL", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def neuron(name: str) -> Any:
    options = {"beta": 0.8} if name in ("Leaky", "Synaptic", "Alpha", "Lapicque") else {}
    options |= {"alpha": 0.9} if name in ("Synaptic", "Alpha") else {}
    return REGISTRY[name](**options, init_hidden=True)


def network(name: str = "Leaky", dtype: torch.dtype = torch.float64, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    last = snn.Leaky(0.9, init_hidden=True, output=True)
    return nn.Sequential(nn.Linear(20, K), neuron(name), nn.Linear(K, N, bias=bias), last).to(dtype)


def given(static: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, int | None]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(B, 20, generator=generator) if static else torch.rand(T, B, 20, generator=generator)
    return (3 * x).to(dtype), T if static else None


def outcome(net: nn.Sequential, static: bool, backend: str, **options: Any) -> list[Tensor]:
    """Output, last states and all gradients of a loss of output and last states."""
    x, steps = given(static, net[0].weight.dtype)
    x.requires_grad_()
    net.zero_grad()
    with snn.backend(backend):
        spk, mem = snn.run(net, x, num_steps=steps, **options)
    last = list(net[1].hidden)
    (mem.square().sum() + spk.sum() + sum(value.square().sum() for value in last)).backward()
    return [mem.detach(), *(v.detach() for v in last), x.grad, *(p.grad for p in net.parameters())]


def together(net: nn.Module, static: bool = True, **options: Any) -> bool:
    x, steps = given(static, next(net.parameters()).dtype)
    with snn.backend("numba"):
        plan = snn.run(net, x, num_steps=steps, explain=True, **options).plan
    return "a few samples at a time" in str(plan)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("name", each_served())
def test_outputs_states_and_gradients_are_those_of_the_ordinary_loop(name: str, static: bool) -> None:
    net = network(name)
    assert together(net, static)
    for found, wanted in zip(outcome(net, static, "numba"), outcome(net, static, "eager"), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("static", [pytest.param(True, marks=pytest.mark.slow), False])
def test_learned_parameters_of_the_neuron_have_their_gradients(static: bool) -> None:
    net = network()
    for beta in (torch.tensor(0.8), torch.rand(K)):
        net[1] = snn.Leaky(beta, threshold=0.9, init_hidden=True, learn_beta=True, learn_threshold=True).double()
        assert together(net, static)
        for found, wanted in zip(outcome(net, static, "numba"), outcome(net, static, "eager"), strict=True):
            assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("frozen", [(0,), (2,), (0, 2), (0, 1, 2, 3)])
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(frozen: tuple[int, ...]) -> None:
    net, (x, steps) = network(bias=False), given(True)
    for i in frozen:
        net[i].requires_grad_(False)
    asked = [p for p in net.parameters() if p.requires_grad]
    found = []
    for backend in ("numba", "eager"):
        with snn.backend(backend):
            mem = snn.run(net, x, num_steps=steps)[1]
        assert mem.requires_grad == bool(asked)
        found.append(torch.autograd.grad(mem.square().sum(), asked) if asked else (mem,))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11)


def test_neither_spikes_nor_their_gradients_exist_as_a_whole() -> None:
    net, (x, steps) = network(), given(True)
    sizes: list[int] = []

    def note(value: Tensor) -> Tensor:
        sizes.append(value.numel())
        return value

    with snn.backend("numba"), torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        mem = snn.run(net, x, num_steps=steps)[1]
    assert T * B * K not in sizes
    with torch.profiler.profile(profile_memory=True) as profiler:
        mem.sum().backward()
    found = [e.nbytes() for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert max(found) < T * B * K * 8


@pytest.mark.parametrize("static", [True, False])
def test_a_network_goes_on_from_where_it_was(static: bool) -> None:
    net, (x, steps) = network(), given(static)
    found = []
    for backend in ("numba", "eager"):
        net.zero_grad()
        with snn.backend(backend):
            snn.run(net, x, num_steps=steps)
            snn.run(net, x, num_steps=steps, reset=False)[1].sum().backward()
        found.append([net[1].hidden.mem.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_segments_that_are_computed_again_give_the_same_gradients() -> None:
    net = network()
    pairs = zip(outcome(net, False, "numba", memory="checkpoint"), outcome(net, False, "eager"), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-11) for a, b in pairs)
    assert together(net, False, memory="checkpoint")
    assert not together(net, False, memory="compressed"), "it keeps bits of spikes, and no input"


def test_who_wants_to_see_the_spikes_sees_them() -> None:
    net = network()
    assert together(net)
    assert not together(net, record=["1.spk"])
    assert not together(net, record=["1.mem"])
    with snn.residual("state"):
        assert not together(net)
    for layer in (net[1], net[2]):
        handle = layer.register_forward_hook(lambda module, inputs, output: None)
        assert not together(net)
        handle.remove()
    assert together(net)
    net[1] = snn.Leaky(0.8, init_hidden=True, output=False)
    twice = nn.Sequential(*net[:2], nn.Dropout(0.0), *net[2:])
    assert not together(twice.double())


def test_a_neuron_that_runs_over_time_in_its_own_way_does_so() -> None:
    class Louder(snn.Leaky):
        def final(self, *args: Any, **options: Any) -> Any:
            spk, state = super().final(*args, **options)
            return 2 * spk, state

    net = network()
    net[1] = Louder(0.8, init_hidden=True).double()
    assert not together(net)
    x, steps = given(True)
    with snn.backend("numba"):
        found = snn.run(net, x, num_steps=steps)[1]
    net[1] = snn.Leaky(0.8, init_hidden=True).double()
    net[2].weight.data *= 2
    with snn.backend("numba"):
        assert torch.allclose(found, snn.run(net, x, num_steps=steps)[1], rtol=1e-12)


def test_spikes_with_two_readers_are_not_hidden_from_either() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(20, K), snn.Leaky(0.9, init_hidden=True)
            self.a, self.b = nn.Linear(K, N), nn.Linear(K, N)

        def forward(self, x: Tensor) -> Tensor:
            spk = self.lif(self.fc(x))
            return self.a(spk) + self.b(spk)

    net = Two().double()
    assert not together(net)


def test_gradients_of_gradients_are_refused_by_name_and_not_left_out() -> None:
    net, (x, steps) = network(), given(True)
    with snn.backend("numba"):
        mem = snn.run(net, x, num_steps=steps)[1]
    first = torch.autograd.grad(mem.sum(), net[0].weight, create_graph=True)[0]
    with snn.backend("eager"):
        wanted = torch.autograd.grad(snn.run(net, x, num_steps=steps)[1].sum(), net[0].weight)[0]
    assert torch.allclose(first, wanted, rtol=1e-9)
    with pytest.raises(RuntimeError, match="no second derivative"):
        first.sum().backward()


def test_in_float32_the_states_are_those_of_the_ordinary_loop_bit_for_bit() -> None:
    net = network(dtype=torch.float32)
    found, wanted = outcome(net, True, "numba"), outcome(net, True, "eager")
    assert torch.equal(found[1], wanted[1])
    assert torch.allclose(found[0], wanted[0], atol=1e-6)


def test_without_gradients_the_output_is_the_same() -> None:
    net, (x, steps) = network(), given(False)
    with torch.no_grad(), snn.backend("numba"):
        found = snn.run(net, x)[1]
    with torch.inference_mode(), snn.backend("eager"):
        assert torch.allclose(found, snn.run(net, x)[1], rtol=1e-12)
    assert steps is None


def test_an_input_that_is_not_finite_is_refused_with_the_layers_name() -> None:
    net, (x, steps) = network(), given(True)
    net[0].weight.data[0, 0] = torch.nan
    with snn.backend("numba"), pytest.raises(ValueError, match=r"layer '1'.*NaN"):
        snn.run(net, x, num_steps=steps)
