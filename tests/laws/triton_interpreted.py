"""The kernels printed for Triton are the eager loop, bit for bit; run by `test_triton` in Triton's
interpreter.

The interpreter has to be on before Triton is imported, hence a process of its own. It computes with
numpy, and its functions are torch's (`spikeloom.kernels.interpreted`), so that nothing here is
compared up to a tolerance but sums over neurons, whose order differs, and numbers stored as
bfloat16, which it does not always round to nearest.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import spikeloom as snn
from spikeloom.core import dispatch
from spikeloom.core.dispatch import RESIDUALS
from spikeloom.core.neuron import REGISTRY, Neuron
from spikeloom.kernels import triton_cuda
from spikeloom.kernels.scan import scan

from .cases import ELEMENTWISE, ELEMENTWISE_IDS, build, current
from .test_programs import TRACEABLE

pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning"
)  # numpy's, on lanes behind the last neuron

STATE: Any = lambda spk, states: sum(v.sum() for v in states)  # noqa: E731
BOTH: Any = lambda spk, states: weighted(spk) + sum(weighted(v) for v in states)  # noqa: E731


def weighted(value: Tensor) -> Tensor:
    weights = torch.linspace(-1, 2, value.numel(), dtype=value.dtype, device=value.device)
    return (value * weights.view(value.shape)).sum()


def results(
    neuron: Neuron,
    x: Tensor,
    start: Any,
    backend: str,
    loss: Any,
    residual: str = "state",
    **options: Any,
) -> tuple[Any, Any]:
    learned = [p for p in neuron.parameters() if p.requires_grad]
    with snn.backend(backend), snn.residual("state" if backend == "eager" else residual):
        spk, states = neuron.scan(x, start, **options)
    inputs = [x, *(start or ()), *learned]
    return [spk, *states], torch.autograd.grad(loss(spk, states), inputs, materialize_grads=True)


def agree(
    neuron: Neuron,
    x: Tensor,
    *,
    rest: bool = False,
    loss: Any = BOTH,
    residual: str = "state",
    **options: Any,
) -> None:
    """Spikes, states and the gradients of input and initial state bit for bit, parameters up to the
    order of a sum."""
    x.requires_grad_()
    first = x if options else x[0]
    start = (
        None
        if rest
        else neuron.State(*(torch.rand_like(v).requires_grad_() for v in neuron.initial(first)))
    )
    expected, found = (
        results(neuron, x, start, used, loss, residual, **options) for used in ("eager", "triton")
    )
    for a, b in zip(expected[0], found[0], strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype
    bits = 1 + len(start or ())
    for a, b in zip(expected[1][:bits], found[1][:bits], strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype
    tolerance = 1e-5 if x.dtype == torch.float32 else 1e-12
    for a, b in zip(expected[1][bits:], found[1][bits:], strict=True):
        torch.testing.assert_close(
            a, b, rtol=tolerance, atol=tolerance * (1 + a.abs().max().item())
        )


@pytest.mark.parametrize(("name", "options"), ELEMENTWISE, ids=ELEMENTWISE_IDS)
def test_every_neuron_is_the_eager_loop(name: str, options: dict[str, Any]) -> None:
    agree(
        build(name, dtype=torch.float32, learn=True, **options),
        current(name, dtype=torch.float32, steps=4),
    )


@pytest.mark.parametrize("name", ["Leaky", "Alpha", "AdLIF"])
def test_float64_is_the_eager_loop(name: str) -> None:
    agree(build(name, learn=True), current(name, steps=4))


@pytest.mark.parametrize("surrogate", TRACEABLE, ids=lambda s: s.__name__)
def test_every_surrogate_is_the_eager_loop(surrogate: Any) -> None:
    agree(snn.Leaky(0.9, spike_grad=surrogate()), torch.rand(3, 2, 6) * 1.2)


@pytest.mark.parametrize(
    "loss", [lambda spk, states: weighted(spk), STATE, lambda spk, states: states.mem[-1].sum()]
)
def test_only_what_receives_a_gradient_flows_back(loss: Any) -> None:
    agree(snn.Synaptic(0.8, 0.9, reset_mechanism="zero"), torch.rand(5, 3, 4), loss=loss)


def test_a_gradient_that_is_the_same_at_every_step_is_not_copied() -> None:
    agree(snn.Leaky(0.9), torch.rand(5, 3, 4), loss=lambda spk, states: weighted(spk.sum(0)))


def test_parameters_for_each_neuron() -> None:
    per_neuron = {"beta": torch.linspace(0.5, 0.9, 5), "threshold": torch.linspace(0.6, 1.4, 5)}
    agree(
        snn.Synaptic(0.8, **per_neuron, learn_beta=True, learn_threshold=True), torch.rand(5, 3, 5)
    )
    agree(snn.Leaky(torch.rand(3, 5), learn_beta=True), torch.rand(5, 3, 5))


def test_a_constant_input_is_read_once_and_its_gradient_summed() -> None:
    agree(snn.Leaky(torch.linspace(0.5, 0.9, 5), learn_beta=True), torch.rand(3, 5), num_steps=6)
    agree(snn.Alpha(0.9, 0.8), torch.rand(3, 5), num_steps=6, rest=True)


@pytest.mark.parametrize(("size", "steps"), [(1, 3), (127, 1), (128, 2), (300, 3)])
def test_any_number_of_neurons_and_steps(size: int, steps: int) -> None:
    agree(snn.Leaky(0.9), torch.rand(steps, 1, size) * 2)


def test_any_dense_memory_format_passes_through() -> None:
    neuron, images = snn.Leaky(0.9), torch.rand(4, 2, 3, 4, 5)
    last = images.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert last[0].is_contiguous(memory_format=torch.channels_last)
    agree(neuron, last)
    with snn.backend("triton"):
        spk, states = neuron.scan(last)
    assert spk[0].stride() == states.mem[0].stride() == last[0].stride()


@pytest.mark.parametrize(
    "view",
    [lambda x: x[::2], lambda x: x.transpose(0, 1), lambda x: x[:, :, ::2]],
    ids=["every second step", "batch first", "every second neuron"],
)
def test_views_are_read_in_place_or_copied(view: Callable[[Tensor], Tensor]) -> None:
    agree(snn.Leaky(0.9), view(torch.rand(6, 4, 8)).detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_under_autocast_the_state_is_float32_and_spikes_have_the_type_of_the_input(
    dtype: torch.dtype,
) -> None:
    neuron = snn.Leaky(0.97, learn_beta=True)
    x = (torch.rand(6, 3, 5) * 0.8).to(dtype).requires_grad_()
    wide = x.detach().float().requires_grad_()
    expected = results(neuron, wide, None, "eager", BOTH)
    with torch.autocast("cpu", dtype):
        found = results(neuron, x, None, "triton", BOTH)
    assert found[0][0].dtype == dtype and torch.equal(found[0][0].float(), expected[0][0])
    assert found[0][1].dtype == torch.float32 and torch.equal(found[0][1], expected[0][1])
    assert found[1][0].dtype == dtype
    if dtype == torch.float16:
        torch.testing.assert_close(found[1][0], expected[1][0].to(dtype), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1][1], expected[1][1], rtol=1e-2, atol=1e-2)


def test_under_autocast_the_choice_goes_by_the_type_of_the_state() -> None:
    net, x = (
        torch.nn.Sequential(snn.Leaky(0.9, init_hidden=True)),
        torch.rand(4, 2, 5).half().requires_grad_(),
    )
    with torch.autocast("cpu", torch.float16), snn.backend("triton"), snn.residual("half"):
        spk, plan = snn.run(net, x), snn.run(net, x, explain=True).plan
        compressed = snn.run(net, x, explain=True, memory="compressed").plan
    assert spk.dtype == torch.float16
    assert all(
        "triton" in made.rows[0].how and "stored whole" not in made.rows[0].how
        for made in (plan, compressed)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_the_operator_passes_torch_s_own_checks(dtype: torch.dtype, residual: str) -> None:
    neuron = snn.Synaptic(0.8, 0.9, learn_beta=True)
    x, state, params = (
        torch.rand(3, 2, 4).to(dtype),
        [torch.zeros(2, 4)] * 2,
        list(neuron.params(torch.float32)),
    )
    wanted = [True, False, False, *(p.requires_grad for p in params)]
    for path, given, num_steps in ((True, x, 0), (False, x[0], 3)):
        arguments = (
            "triton",
            neuron.key,
            residual,
            path,
            given.clone().requires_grad_(),
            num_steps,
            state,
            params,
            wanted,
        )
        assert set(torch.library.opcheck(scan, arguments).values()) == {"SUCCESS"}


@pytest.mark.parametrize("name", ["Leaky", "Synaptic", "AdLIF"])
def test_the_last_state_alone_is_that_of_the_eager_loop_and_so_is_its_gradient(name: str) -> None:
    neuron, x, found = (
        build(name, dtype=torch.float32),
        current(name, dtype=torch.float32).requires_grad_(),
        [],
    )
    for backend in ("eager", "triton"):
        with snn.backend(backend):
            spk, state = neuron.final(x)
        found.append(
            [
                spk,
                *state,
                torch.autograd.grad(weighted(spk) + sum(weighted(v) for v in state), x)[0],
            ]
        )
    assert all(map(torch.equal, *found))


def test_the_input_as_residual_gives_the_same_gradients() -> None:
    agree(snn.Synaptic(0.8, 0.9, learn_beta=True), torch.rand(5, 3, 4), residual="input")
    agree(snn.Leaky(0.9), torch.rand(3, 5), num_steps=6, residual="input")


def test_half_residuals_keep_who_fired_and_nearly_all_of_the_gradient() -> None:
    neuron, x, found = (
        snn.Synaptic(0.8, 0.9, threshold=0.75),
        torch.rand(6, 3, 5).requires_grad_(),
        [],
    )
    for residual in ("state", "half"):
        with snn.backend("triton"), snn.residual(residual):
            spk, states = neuron.scan(x)
        found.append(
            [spk, *states, torch.autograd.grad(weighted(spk) + weighted(states.mem), x)[0]]
        )
    assert all(map(torch.equal, found[0][:3], found[1][:3]))
    assert not torch.equal(found[0][3], found[1][3])
    torch.testing.assert_close(
        found[0][3], found[1][3], rtol=3e-2, atol=3e-2
    )  # it cuts bfloat16 off instead of rounding


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "exponentials": lambda x: (
        torch.exp(x) + torch.tanh(x) * torch.sigmoid(x) - torch.erf(x) * torch.log(x.abs() + 1)
    ),
    "angles": lambda x: torch.sin(x) * torch.cos(x) + torch.atan(x),
    "powers": lambda x: x**3 - x**2 + torch.square(x) * torch.sqrt(x.abs() + 1),
    "extremes": lambda x: (
        torch.maximum(x, x * x) - torch.minimum(x, x * x) + torch.relu(x) * torch.sign(x)
    ),
    "clamp": lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0.1) * x.clamp_max(0.2),
    "division": lambda x: x / 2.5 + 2.5 / (x.abs() + 1),
    "comparisons": lambda x: torch.where((x > 0) & ~(x >= 1) | (x < -1), x, -x),
    "logic": lambda x: (
        torch.where(torch.logical_or(x > 1, torch.logical_not(x)), x, 0.5 * x) * (x != 1)
    ),
    "infinity": lambda x: torch.where(x > 2, math.inf, x).clamp(max=3.0),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_neuron_of_a_user_is_the_eager_loop(function: Callable[[Tensor], Tensor]) -> None:
    class Own(Neuron):
        class State(NamedTuple):
            mem: Tensor
            drift: Tensor

        def __init__(self, rate: float, **common: Any) -> None:
            super().__init__(**common)
            self.parameter("rate", rate, learn=True)

        @staticmethod
        def integrate(x: Tensor, state: Any, p: Any) -> Any:
            drift = torch.exp(-p.rate) * state.drift + 0.3 * function(x - 0.5 * state.mem)
            return state._replace(mem=0.9 * state.mem + drift, drift=drift)

    del REGISTRY["Own"]
    agree(Own(0.3), torch.randn(4, 3, 4))


def test_what_it_does_not_serve_is_refused_with_the_reason() -> None:
    with (
        snn.backend("triton"),
        pytest.raises(RuntimeError, match=r"got torch\.bfloat16; .* under torch\.autocast"),
    ):
        snn.Leaky(0.9).scan(torch.rand(4, 2, 3).bfloat16())
    with (
        snn.backend("triton"),
        pytest.raises(RuntimeError, match="does not serve RLeaky: it owns modules"),
    ):
        snn.RLeaky(0.9, linear_features=3).scan(torch.rand(4, 2, 3))
    meta = torch.rand(4, 2, 3, device="meta")
    with (
        snn.backend("triton"),
        pytest.raises(RuntimeError, match=r"its interpreter is on .* computes on cpu"),
    ):
        snn.Leaky(0.9).scan(meta)


def test_on_the_cpu_it_runs_only_when_it_is_asked_for() -> None:
    assert snn.backends()["triton"] == "available"
    assert dispatch.name_of(snn.Leaky(0.9).transition, torch.rand(4, 2, 2**15)) != "triton"


def test_large_layers_read_as_wide_as_they_can_and_small_ones_fill_the_gpu() -> None:
    assert triton_cuda.block_size(10**7, 4) == 512
    assert triton_cuda.block_size(10**7, 2) == 1024
    assert triton_cuda.block_size(128_000, 4) == 256
    assert triton_cuda.block_size(10, 4) == 128
