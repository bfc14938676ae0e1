"""Laws of the surrogates."""

import inspect
import pickle
from typing import Any

import pytest
import torch
from torch.autograd import forward_ad

import spikeloom as snn
from spikeloom.core.curves import ATan, StochasticSpikeOperator
from spikeloom.core.densities import ZIF, Gaussian, Logistic, Polynomial, Rectangular
from spikeloom.core.surrogate import Surrogate, above

ALL = sorted(
    (s for s in Surrogate.__subclasses__() if s.__module__.startswith("spikeloom.core.")),
    key=lambda s: s.__name__,
)
SMOOTH = [s for s in ALL if s is not StochasticSpikeOperator]
DENSITIES = [ZIF, Rectangular, Polynomial, Logistic, Gaussian]
by_name = {"ids": lambda s: s.__name__}


@pytest.mark.parametrize("surrogate", ALL, **by_name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_forward_is_a_strict_step_in_the_dtype_of_the_input(
    surrogate: type[Surrogate], dtype: torch.dtype
) -> None:
    spk = surrogate()(torch.tensor([-1.0, -0.0, 0.0, 1e-20, 1.0], dtype=dtype))
    assert spk.dtype == dtype
    assert spk.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("surrogate", SMOOTH, **by_name)
def test_the_derivative_is_that_of_the_primitive(surrogate: type[Surrogate]) -> None:
    x = torch.linspace(-2.03, 2.02, 41, dtype=torch.float64)
    spike, h = surrogate(), 1e-6
    difference = (spike.primitive(x + h) - spike.primitive(x - h)) / (2 * h)
    torch.testing.assert_close(spike.derivative(x), difference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("surrogate", ALL, **by_name)
def test_backward_multiplies_by_the_derivative(surrogate: type[Surrogate]) -> None:
    x = torch.linspace(-1, 1, 9, requires_grad=True)
    upstream = torch.linspace(1, 2, 9)
    torch.manual_seed(3)
    surrogate()(x).backward(upstream)
    torch.manual_seed(3)
    assert torch.equal(x.grad, upstream * surrogate().derivative(x.detach()))


@pytest.mark.parametrize("surrogate", ALL, **by_name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_gradient_is_finite_far_from_the_threshold(
    surrogate: type[Surrogate], dtype: torch.dtype
) -> None:
    x = torch.tensor([-1e4, -100.0, -4.0, 0.0, 4.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    surrogate()(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("surrogate", ALL, **by_name)
def test_a_surrogate_is_a_picklable_value(surrogate: type[Surrogate]) -> None:
    assert pickle.loads(pickle.dumps(surrogate())) == surrogate()
    assert hash(surrogate()) == hash(surrogate())


@pytest.mark.parametrize("surrogate", DENSITIES, **by_name)
@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_the_curves_of_stbp_and_the_triangle_have_area_one(
    surrogate: type[Surrogate], width: float
) -> None:
    x = torch.linspace(-60, 60, 2_400_001, dtype=torch.float64)
    area = torch.trapezoid(surrogate(width).derivative(x), x)
    torch.testing.assert_close(area, torch.tensor(1.0, dtype=torch.float64), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("surrogate", DENSITIES, **by_name)
def test_a_width_that_is_not_positive_is_refused(surrogate: type[Surrogate]) -> None:
    with pytest.raises(ValueError, match=r"must be positive, got -1"):
        surrogate(-1)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own forward mode
@pytest.mark.parametrize("surrogate", SMOOTH, **by_name)
def test_every_kind_of_derivative_is_that_of_the_surrogate(surrogate: type[Surrogate]) -> None:
    spike, x = surrogate(), torch.linspace(-1.1, 1.2, 7, dtype=torch.float64)
    expected, tangent = spike.derivative(x), torch.ones_like(x)
    with forward_ad.dual_level():
        assert torch.equal(
            forward_ad.unpack_dual(spike(forward_ad.make_dual(x, tangent))).tangent, expected
        )
    assert torch.equal(torch.func.jvp(spike, (x,), (tangent,))[1], expected)
    assert torch.equal(torch.func.grad(lambda v: spike(v).sum())(x), expected)
    assert torch.equal(torch.vmap(torch.func.grad(spike))(x), expected)
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(spike(leaf).sum(), leaf, create_graph=True)
    assert torch.equal(first, expected)


def test_a_step_of_a_neuron_looked_up_signatures_in_every_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*args: object, **options: object) -> None:
        raise AssertionError("inspect.signature costs more than the arithmetic of a step")

    neuron, x = snn.Leaky(0.9), torch.ones(2, 3, requires_grad=True)
    monkeypatch.setattr(inspect, "signature", refused)
    spk, _ = neuron(x, torch.zeros(2, 3))
    spk.sum().backward()
    assert x.grad is not None


def test_surrogates_work_as_values_classes_and_apply() -> None:
    x = torch.linspace(-1, 1, 9)
    expected = snn.surrogate.fast_sigmoid()(x)
    assert torch.equal(snn.surrogate.FastSigmoid.apply(x), expected)
    assert torch.equal(snn.surrogate.FastSigmoid.apply(x, 25), expected)
    for spike_grad in (
        snn.surrogate.FastSigmoid,
        snn.surrogate.FastSigmoid.apply,
        snn.surrogate.fast_sigmoid(),
    ):
        assert snn.Leaky(0.9, spike_grad=spike_grad).spike_grad == snn.surrogate.fast_sigmoid()
    assert snn.Leaky(0.9).spike_grad == ATan(2.0)


def test_a_custom_surrogate_receives_input_gradient_and_spikes() -> None:
    seen = []

    def rule(input_: torch.Tensor, grad_input: torch.Tensor, spikes: torch.Tensor) -> torch.Tensor:
        seen.append((input_.clone(), grad_input.clone(), spikes.clone()))
        return grad_input * 3

    x = torch.tensor([-0.5, 0.5], requires_grad=True)
    snn.surrogate.custom_surrogate(rule)(x).backward(torch.tensor([1.0, 2.0]))
    assert x.grad.tolist() == [3.0, 6.0]
    assert [v.tolist() for v in seen[0]] == [[-0.5, 0.5], [1.0, 2.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
@pytest.mark.parametrize("level", [None, 1.0, 1e-44, "each"], ids=str)
def test_the_comparison_in_one_pass_is_that_of_the_difference(
    dtype: torch.dtype, level: Any
) -> None:
    tiny = 2 * torch.finfo(dtype).tiny
    ends = [torch.inf, -torch.inf, torch.nan, 0.0, -0.0, tiny, 1.0, 1 + 1e-3, 2.0]
    x = torch.tensor([*ends, *torch.linspace(-2, 2, 101)], dtype=dtype).expand(3, -1)
    if level is not None:
        level = x[0].flip(0) if level == "each" else torch.tensor(level, dtype=dtype)
    over = x if level is None else x - level
    assert above(x, level).dtype == dtype
    assert torch.equal(above(x, level), (over > 0).to(dtype))


def test_the_comparison_keeps_the_memory_format_and_needs_no_gradient() -> None:
    x = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    for level in (None, torch.full((), 0.5, requires_grad=True)):
        found = above(x, level)
        assert found.stride() == x.stride()
        assert not found.requires_grad


def test_without_gradients_a_spike_calls_no_function_of_autograd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spikeloom.core.surrogate._applied", None)
    spike = ATan()
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert spike(x).tolist() == [1, 1]
    assert spike(x.detach()).tolist() == [1, 1]


def test_forward_mode_has_the_derivative_where_nothing_requires_a_gradient() -> None:
    with torch.no_grad(), forward_ad.dual_level():
        x = forward_ad.make_dual(torch.tensor([0.25]), torch.tensor([3.0]))
        tangent = forward_ad.unpack_dual(ATan()(x)).tangent
    assert tangent is not None
    assert torch.equal(tangent, 3 * ATan().derivative(torch.tensor([0.25])))
