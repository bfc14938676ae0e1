"""Laws of what is kept for the backward pass: whichever it is, spikes, states and, but for 16 bits,
gradients agree."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import spikeloom as snn
from spikeloom.core.dispatch import RESIDUALS
from spikeloom.core.neuron import Neuron

from .cases import ELEMENTWISE, ELEMENTWISE_IDS, build, current

every_elementwise = pytest.mark.parametrize(("name", "options"), ELEMENTWISE, ids=ELEMENTWISE_IDS)
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def outcome(
    neuron: Neuron, x: Tensor, run: Callable[..., Any], **options: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """Spikes and last states; gradients of input, initial states and parameters."""
    x = x.detach().requires_grad_()
    first = x if options else x[0]
    start = neuron.State(*(torch.full_like(v, 0.3).requires_grad_() for v in neuron.initial(first)))
    spk, states = run(x, start, **options)
    last = [v if v.dim() == spk.dim() - 1 else v[-1] for v in states]
    weights = torch.linspace(-1, 2, spk.numel(), dtype=spk.dtype).view(spk.shape)
    loss = (spk * weights).sum() + sum((v * weights[-1]).sum() for v in last)
    learned = [p for p in neuron.parameters() if p.requires_grad]
    inputs = [x, *start, *learned]
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [spk, *last], [
        torch.zeros_like(v) if g is None else g for v, g in zip(inputs, found, strict=True)
    ]


@pytest.mark.parametrize("residual", ["state", "input"])
@every_elementwise
def test_the_last_state_alone_has_the_gradients_of_all_states(
    name: str, options: dict[str, Any], residual: str
) -> None:
    neuron, x = build(name, learn=True, **options), current(name, steps=12)
    with snn.backend("eager"):
        expected = outcome(neuron, x, neuron.scan)
    with snn.backend("torch"), snn.residual(residual):
        for run in (neuron.scan, neuron.final):
            agree(outcome(neuron, x, run), expected)


@every_elementwise
def test_a_constant_input_has_the_same_gradients_whatever_is_kept(
    name: str, options: dict[str, Any]
) -> None:
    neuron, x = build(name, learn=True, **options), current(name)[0]
    with snn.backend("eager"):
        expected = outcome(neuron, x, neuron.scan, num_steps=9)
    for residual in ("state", "input"):
        with snn.backend("torch"), snn.residual(residual):
            agree(outcome(neuron, x, neuron.final, num_steps=9), expected)


def agree(found: Any, expected: Any) -> None:
    for a, b in zip(found[0], expected[0], strict=True):
        assert torch.equal(a, b)
    for a, b in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@every_elementwise
def test_sixteen_bits_leave_spikes_alone_and_gradients_nearly_or_are_refused(
    name: str, options: dict[str, Any]
) -> None:
    neuron, x = build(name, learn=True, **options), current(name, steps=12)
    with snn.backend("torch"):
        expected = outcome(neuron, x, neuron.final)
        with snn.residual("half"):
            if not neuron.transition.compared():
                with pytest.raises(
                    RuntimeError, match=r"residual 'half' does not serve .* depend on more than"
                ):
                    neuron.final(x)
                return
            found = outcome(neuron, x, neuron.final)
    for a, b in zip(found[0], expected[0], strict=True):
        assert torch.equal(a, b)
    # a sum over all neurons may cancel to less than its terms' errors
    scale = expected[1][0].norm()
    for a, b in zip(found[1], expected[1], strict=True):
        assert (a - b).norm() <= 1e-2 * max(b.norm(), scale)


@pytest.mark.parametrize(
    "surrogate",
    [snn.surrogate.Rectangular(1.0), snn.surrogate.Triangular(), snn.surrogate.ATan()],
    ids=str,
)
def test_half_residuals_put_the_gradient_of_a_learned_scalar_off_by_its_terms_rounding(
    surrogate: Any,
) -> None:
    found = {}
    for residual in ("state", "half"):
        torch.manual_seed(0)
        x, beta = torch.rand(40, 8, 32), torch.full((32,), 0.9)
        neuron = snn.Leaky(beta, learn_beta=True, mode="sequence", spike_grad=surrogate)
        with snn.backend("torch"), snn.residual(residual):
            (neuron(x)[0] * torch.randn(32)).sum().backward()
        found[residual] = neuron.beta.grad
    terms, rounded = found["state"], found["half"]
    # a scalar beta has the gradient terms.sum(), however small their cancellation makes it
    off = (rounded.sum() - terms.sum()).abs()
    assert 0 < off < torch.finfo(torch.bfloat16).eps * terms.abs().sum()


def saved_bytes(run: Callable[[], Any]) -> int:
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    assert result is not None
    return sum(sizes.values())


T, B, N = 40, 4, 64


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_what_is_kept_has_the_size_that_the_residual_promises(backend: str) -> None:
    if backend == "numba":
        pytest.importorskip("numba", reason="the extra cpu is not installed")
    x, constant = torch.rand(T, B, N, requires_grad=True), torch.rand(B, N, requires_grad=True)
    neuron, step = (
        snn.Synaptic(0.9, 0.8),
        B * N * 4,
    )  # beta does not learn: nobody reads syn in the backward pass
    kept = {}
    with snn.backend(backend):
        for residual in RESIDUALS:
            with snn.residual(residual):
                kept[residual] = saved_bytes(lambda: neuron.final(x)[0])
        free = saved_bytes(lambda: neuron.final(constant, num_steps=T)[0])
        with torch.no_grad():
            assert saved_bytes(lambda: neuron.final(x)[0]) == 0
    states = 3 * step  # the initial states, and what is left
    assert T * step <= kept["state"] <= T * step + states
    assert T * step <= kept["input"] <= T * step + states
    assert T * step // 2 <= kept["half"] <= T * step // 2 + states
    assert free <= (T * step if backend == "torch" else 0) + states + step


def test_what_cannot_be_kept_is_refused_by_name() -> None:
    x = torch.rand(5, 2, 3, requires_grad=True)
    choices = r"residual must be one of 'state', 'half', 'input', got 'halff'.*half"
    with pytest.raises(ValueError, match=choices), snn.residual("halff"):
        pass
    reason = "residual 'input' does not serve Leaky: only printed loops"
    with snn.residual("input"), snn.backend("eager"), pytest.raises(RuntimeError, match=reason):
        snn.Leaky(0.9).scan(x)
    with (
        snn.residual("half"),
        pytest.raises(RuntimeError, match=r"does not serve RLeaky.*owns modules"),
    ):
        snn.RLeaky(0.9, linear_features=3).scan(x)
    with (
        snn.residual("half"),
        torch.no_grad(),
    ):  # nothing is kept, so that there is nothing to refuse
        assert snn.RLeaky(0.9, linear_features=3).scan(x)[0].shape == x.shape


def test_autocast_keeps_the_state_in_float32_and_the_spikes_in_the_input_s_dtype() -> None:
    layer, neuron = torch.nn.Linear(6, 5), snn.Leaky(0.95, learn_beta=True)
    x = torch.rand(30, 2, 6) * 2
    for backend in ("eager", "torch", "numba"):
        if backend == "numba" and snn.backends()["numba"] != "available":
            continue
        neuron.zero_grad()
        with torch.autocast("cpu", torch.bfloat16), snn.backend(backend):
            current = layer(x)
            spk, states = neuron.scan(current)
        assert current.dtype == spk.dtype == torch.bfloat16 and states.mem.dtype == torch.float32
        wide, mem = neuron.scan(current.float())
        assert torch.equal(spk.float(), wide) and torch.equal(states.mem, mem.mem)
        spk.sum().backward()
        assert neuron.beta.grad is not None and neuron.beta.grad.dtype == torch.float32


def test_a_step_under_autocast_is_a_step_of_the_sequence() -> None:
    neuron, x = snn.Leaky(0.9), torch.rand(8, 2, 5).bfloat16() * 2
    with torch.autocast("cpu", torch.bfloat16):
        spk, states = neuron.scan(x)
        state, spikes = None, []
        for x_t in x:
            s, state = neuron.step(x_t, state)
            spikes.append(s)
    assert torch.equal(torch.stack(spikes), spk) and torch.equal(state.mem, states.mem[-1])


def test_the_steps_of_an_expanded_input_have_gradients_of_their_own() -> None:
    x = torch.rand(2, 3).expand(6, 2, 3).requires_grad_()
    found = []
    for backend in ("eager", "torch"):
        with snn.backend(backend):
            spk, _ = snn.Leaky(0.9).scan(x)
        found.append(torch.autograd.grad((spk * torch.arange(6.0).view(6, 1, 1)).sum(), x)[0])
    assert not torch.equal(found[0][0], found[0][1])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_sixteen_bits_round_to_the_nearest_and_ties_to_even(backend: str) -> None:
    if snn.backends()[backend] != "available":
        pytest.skip(snn.backends()[backend])
    above = 1 + torch.arange(1, 64, 2) * 2.0**-8  # halfway between two numbers of bfloat16
    x = (1 + above).expand(3, 1, -1).clone().requires_grad_()
    surrogate = snn.surrogate.fast_sigmoid(slope=1.0)
    neuron = snn.Leaky(0.0, reset_mechanism="none", spike_grad=surrogate)
    with snn.backend(backend), snn.residual("half"):
        spk, _ = neuron.scan(x)
    (gradient,) = torch.autograd.grad(spk.sum(), x)
    expected = 1 / (1 + above.bfloat16().float()) ** 2  # of what bfloat16 keeps of mem - threshold
    torch.testing.assert_close(gradient[0, 0], expected, rtol=1e-6, atol=0)
