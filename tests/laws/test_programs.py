"""Laws of the traced programs: pointwise operations only, and the loop printed from them is the
eager loop."""

import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import spikeloom as snn
from spikeloom.core.dispatch import RESIDUALS
from spikeloom.core.neuron import REGISTRY, Neuron
from spikeloom.core.surrogate import Surrogate
from spikeloom.kernels import torch_loop
from spikeloom.kernels.program import Program
from spikeloom.kernels.scan import scan
from spikeloom.kernels.task import Task
from spikeloom.kernels.trace import program

from .cases import ELEMENTWISE, ELEMENTWISE_IDS, OWN, build, current

every_elementwise = pytest.mark.parametrize(("name", "options"), ELEMENTWISE, ids=ELEMENTWISE_IDS)
TRACEABLE = [
    s
    for s in Surrogate.__subclasses__()
    if s.__name__ != "StochasticSpikeOperator" and "." in s.__module__
]
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@every_elementwise
def test_a_transition_and_its_pullback_are_pointwise_operations_only(
    name: str, options: dict[str, Any]
) -> None:
    built = program(build(name, **options).transition, torch.float32)
    assert isinstance(built, Program), built
    operations = [node.op for node in built.nodes if node.op is not None]
    assert operations and all(
        torch.Tag.pointwise in op.tags or "_to_copy" in str(op) for op in operations
    )
    assert not any("sum" in str(op) for op in operations)


@pytest.mark.parametrize("surrogate", TRACEABLE, ids=lambda s: s.__name__)
def test_every_surrogate_with_a_derivative_is_traced(surrogate: type[Surrogate]) -> None:
    neuron = snn.Leaky(0.9, spike_grad=surrogate())
    assert isinstance(program(neuron.transition, torch.float32), Program)
    loops_agree(neuron.double(), torch.rand(9, 2, 6, dtype=torch.float64) * 1.2, torch.float64)


@dtypes
@every_elementwise
def test_the_traced_loop_is_the_eager_loop(
    name: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    loops_agree(
        build(name, dtype=dtype, learn=True, **options), current(name, dtype=dtype, steps=20), dtype
    )
    loops_agree(
        build(name, dtype=dtype, learn=False, **options),
        current(name, dtype=dtype, steps=20),
        dtype,
    )


def test_the_traced_loop_rounds_a_square_that_the_eager_loop_multiplies() -> None:
    neuron = snn.Izhikevich().double()
    start = neuron.initial(torch.zeros(20_000, dtype=torch.float64))
    start = start._replace(mem=torch.rand(20_000, dtype=torch.float64) * 100 - 80)
    x = torch.zeros(1, 20_000, dtype=torch.float64)
    found = []
    for used in ("eager", "torch"):
        with snn.backend(used):
            found.append(neuron.scan(x, start)[1].mem)
    assert torch.equal(*found)


@every_elementwise
def test_the_traced_loop_takes_parameters_for_each_neuron(
    name: str, options: dict[str, Any]
) -> None:
    if "beta" not in build(name)._names:
        pytest.skip("it has no beta")
    if name == "LI":
        pytest.skip("it has no threshold")
    per_neuron = {
        "beta": torch.linspace(0.5, 0.8, current(name).shape[-1]),
        "threshold": torch.linspace(0.6, 1.4, 5),
    }
    if name in ("StateLeaky", "LinearLeaky"):
        pytest.skip("its parameters are one for each channel by construction")
    loops_agree(
        build(name, learn=True, **options, **per_neuron), current(name, steps=20), torch.float64
    )


def loops_agree(
    neuron: Neuron, x: Tensor, dtype: torch.dtype, backend: str = "torch", *, bits: bool = False
) -> None:
    """Spikes and states bit for bit; gradients up to the order in which a sum is taken.

    With ``bits``, gradients of the input and of the initial states bit for bit too, those of
    parameters, which are sums over all neurons, as before.
    """
    x = x.requires_grad_()
    start = neuron.State(*(torch.rand_like(v).requires_grad_() for v in neuron.initial(x[0])))
    learned = [p for p in neuron.parameters() if p.requires_grad]
    found = []
    for used in ("eager", backend):
        with snn.backend(used):
            spk, states = neuron.scan(x, start)
        weights = torch.linspace(-1, 2, spk.numel(), dtype=dtype).view_as(spk)
        loss = (spk * weights).sum() + sum((v * weights).sum() for v in states)
        found.append(
            ([spk, *states], torch.autograd.grad(loss, [x, *start, *learned], allow_unused=True))
        )
    for a, b in zip(found[0][0], found[1][0], strict=True):
        assert torch.equal(a, b)
    tolerance = (
        {"rtol": 2e-4, "atol": 2e-4} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    )
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b, **tolerance)
    if bits:
        for a, b in zip(found[0][1][: 1 + len(start)], found[1][1], strict=False):
            assert torch.equal(torch.zeros_like(b) if a is None else a, b)


@every_elementwise
def test_only_what_receives_a_gradient_flows_back(name: str, options: dict[str, Any]) -> None:
    neuron, x = build(name, **options), current(name).requires_grad_()
    for pick in (lambda spk, states: spk.sum(), lambda spk, states: states.mem.square().sum()):
        gradients = []
        for backend in ("eager", "torch"):
            with snn.backend(backend):
                gradients.append(torch.autograd.grad(pick(*neuron.scan(x)), x)[0])
        torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_the_operator_passes_torch_s_own_checks() -> None:
    neuron = snn.Synaptic(0.8, 0.9, learn_beta=True)
    state = [torch.zeros(3, 4), torch.zeros(3, 4)]
    x, params = torch.rand(6, 3, 4).requires_grad_(), list(neuron.params(torch.float32))
    wanted = [True, False, False, *(p.requires_grad for p in params)]
    for residual in RESIDUALS:
        for path, num_steps in ((True, 0), (False, 5)):
            given = x[0].detach().requires_grad_() if num_steps else x
            arguments = (
                "torch",
                neuron.key,
                residual,
                path,
                given,
                num_steps,
                state,
                params,
                wanted,
            )
            assert set(torch.library.opcheck(scan, arguments).values()) == {"SUCCESS"}


def test_a_neuron_written_by_a_user_is_fused_and_learns_like_the_loop() -> None:
    class Drifting(Neuron):
        class State(NamedTuple):
            mem: Tensor
            drift: Tensor

        def __init__(self, rate: float, **common: Any) -> None:
            super().__init__(**common)
            self.parameter("rate", rate, learn=True)

        @staticmethod
        def integrate(x: Tensor, state: Any, p: Any) -> Any:
            drift = torch.exp(-p.rate) * state.drift + torch.tanh(x) * state.mem
            return state._replace(mem=0.9 * state.mem + x - 0.1 * drift, drift=drift)

    neuron = Drifting(0.3).double()
    assert isinstance(program(neuron.transition, torch.float64), Program)
    loops_agree(neuron, torch.rand(20, 3, 4, dtype=torch.float64), torch.float64)
    del REGISTRY["Drifting"]


def test_a_redefined_class_does_not_inherit_the_loop_of_its_predecessor() -> None:
    def define(decay: float) -> type[Neuron]:
        class Again(Neuron):
            class State(NamedTuple):
                mem: Tensor

            @staticmethod
            def integrate(x: Tensor, state: Any, p: Any) -> Any:
                return state._replace(mem=decay * state.mem + x)

        return Again

    x = torch.full((3, 1, 1), 0.3)
    first, second = define(0.5)(), define(0.9)()
    assert first.scan(x)[1].mem[-1] < second.scan(x)[1].mem[-1]
    assert first.key != second.key
    del REGISTRY["Again"]


class Branching(Neuron):
    class State(NamedTuple):
        mem: Tensor

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=state.mem + (x if x.sum() > 0 else -x))


@dataclass(frozen=True)
class Squashed(Surrogate):
    def primitive(self, x: Tensor) -> Tensor:
        return x

    def derivative(self, x: Tensor) -> Tensor:
        return x.softmax(-1)


del REGISTRY["Branching"]

REFUSED = {
    "custom functions": (
        lambda: snn.Leaky(0.9, spike_grad=lambda x: (x > 0).to(x)),
        "function of its own",
    ),
    "inhibition": (lambda: snn.Leaky(0.9, inhibition=True), "inhibition=True"),
    "quantised state": (lambda: snn.Leaky(0.9, state_quant=torch.round), "state_quant"),
    "modules": (lambda: snn.RLeaky(0.9, linear_features=4), "owns modules"),
    "branches on values": (lambda: Branching(), "cannot be traced"),
    "reductions": (lambda: snn.Leaky(0.9, spike_grad=Squashed()), "not a deterministic pointwise"),
    "noise": (lambda: snn.Leaky(0.9, spike_grad=snn.surrogate.SSO()), "deterministic"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_fused_runs_the_loop_and_an_explicit_backend_says_why(
    make: Any, reason: str
) -> None:
    neuron, x = make(), torch.rand(5, 3, 4)
    with snn.backend("eager"):
        expected = neuron.scan(x)
    assert torch.equal(neuron.scan(x)[0], expected[0])
    with (
        snn.backend("torch"),
        pytest.raises(RuntimeError, match=f"does not serve {type(neuron).__name__}.*{reason}"),
    ):
        neuron.scan(x)


def test_an_unknown_backend_is_refused_by_name() -> None:
    with (
        pytest.raises(ValueError, match=r"backend must be one of .*'eager', got 'tritn'"),
        snn.backend("tritn"),
    ):
        pass


def test_the_printed_loop_leaves_out_products_with_one() -> None:
    ones = ("threshold", "graded_spikes_factor")
    source = torch_loop.compiled_forward(
        Task(snn.Leaky(0.9).transition, torch.float32, ones)
    ).source
    body = source.split("for t in")[1]
    assert body.count("torch.") == 5, source  # who fired before, decay, input, reset, threshold


def test_kernels_state_no_equation() -> None:
    """Whatever a kernel computes was traced: no kernel file knows a neuron or a parameter by
    name."""
    for file in Path(torch_loop.__file__).parent.glob("*.py"):
        words = set(re.findall(r"\w+", file.read_text()))
        assert not words & ({"beta", "alpha", "mem", "syn"} | set(OWN)), file


def test_torch_func_transforms_see_the_ordinary_loop() -> None:
    neuron, x = snn.Leaky(0.9, learn_beta=True), torch.rand(6, 3, 4)

    def total(beta: Tensor, x: Tensor) -> Tensor:
        return (
            torch.func.functional_call(neuron, {"beta": beta}, (x[0],))[1].sum()
            + neuron.scan(x)[1].mem.sum()
        )

    assert torch.func.grad(total, argnums=1)(neuron.beta, x).shape == x.shape
    spikes = torch.vmap(lambda v: neuron.scan(v)[0], in_dims=1, out_dims=1)(x)
    assert torch.equal(spikes, neuron.scan(x)[0])


@every_elementwise
@pytest.mark.parametrize("path", [True, False], ids=["all states", "last states"])
def test_a_second_derivative_was_silently_wrong(
    name: str, options: dict[str, Any], path: bool
) -> None:
    """The input depends on the initial state here, a path that must not be counted twice."""
    neuron, found = build(name, learn=True, **options), []
    x = current(name, steps=5)
    learned = [p for p in neuron.parameters() if p.requires_grad]
    for backend in ("eager", "torch"):
        start = neuron.State(
            *(torch.full_like(v, 0.3).requires_grad_() for v in neuron.initial(x[0]))
        )
        inputs = [*start, *learned]
        driven = x + start[0].sin().mean()
        with snn.backend(backend):
            spk, states = (neuron.scan if path else neuron.final)(driven, start)
        loss = spk.pow(2).sum() + sum(value.pow(3).sum() for value in states)
        first = torch.autograd.grad(loss, [driven, *inputs], create_graph=True, allow_unused=True)
        penalty = sum(g.pow(2).sum() for g in first if g is not None and g.requires_grad)
        second = torch.autograd.grad(penalty, inputs, allow_unused=True)
        pairs = zip((*first, *second), (driven, *inputs, *inputs), strict=True)
        found.append([torch.zeros_like(v) if g is None else g for g, v in pairs])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.detach().abs().max()))


@pytest.mark.parametrize("residual", RESIDUALS)
def test_a_second_derivative_without_the_input_is_refused_not_wrong(residual: str) -> None:
    x, found = torch.rand(6, 3, 4, dtype=torch.float64, requires_grad=True), []
    for backend in ("eager", "torch"):
        with snn.backend(backend), snn.residual(residual) if backend == "torch" else nullcontext():
            mem = snn.Leaky(0.9).scan(x)[1].mem
        if backend == "torch" and residual != "input":
            with pytest.raises(
                RuntimeError, match=r"second derivative needs the input of Leaky.*snn\.residual"
            ):
                torch.autograd.grad(mem.pow(2).sum(), x, create_graph=True)
            continue
        (first,) = torch.autograd.grad(mem.pow(2).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.pow(3).sum(), x)[0])
    if residual == "input":
        torch.testing.assert_close(*found)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own forward mode
def test_a_derivative_in_forward_mode_was_lost() -> None:
    x, tangent = torch.rand(6, 3, 4), torch.rand(6, 3, 4)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, tangent)
        found = forward_ad.unpack_dual(snn.LI(0.9, mode="sequence").scan(dual)[1].mem).tangent
        for backend in sorted(set(snn.backends()) - {"eager"}):
            if snn.backends()[backend] == "available":
                with snn.backend(backend), pytest.raises(RuntimeError, match="forward mode"):
                    snn.LI(0.9, mode="sequence").scan(dual)
    expected = snn.LI(0.9, mode="sequence").scan(tangent)[1].mem  # it is linear
    torch.testing.assert_close(found, expected)


class Loop(torch.nn.Module):
    """A loop over time around a network."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        snn.reset(self)
        return torch.stack([self.net(step)[1] for step in x])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own forward mode
@pytest.mark.parametrize(
    "through",
    [lambda net, x: snn.run(net, x)[1], lambda net, x: snn.layerwise(Loop(net))(x)],
    ids=["run", "layerwise"],
)
def test_a_network_lost_the_derivative_in_forward_mode(through: Any) -> None:
    x, tangent = torch.rand(6, 3, 4), torch.rand(6, 3, 4)
    net = torch.nn.Sequential(snn.LI(0.9, init_hidden=True, output=True))
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(through(net, forward_ad.make_dual(x, tangent))).tangent
    torch.testing.assert_close(found, through(net, tangent))  # it is linear
