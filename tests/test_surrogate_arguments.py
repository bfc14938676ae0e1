"""Numbers of surrogates that would explode, vanish or become NaN in the backward pass are refused
at construction."""

import numpy as np
import pytest
import torch

import spikeloom as snn
from spikeloom import surrogate

CURVES = {
    surrogate.atan: "alpha",
    surrogate.fast_sigmoid: "slope",
    surrogate.sigmoid: "slope",
    surrogate.triangular: "threshold",
    surrogate.spike_rate_escape: "slope",
    surrogate.SSO: "variance",
    surrogate.LSO: "slope",
    surrogate.SFS: "slope",
    surrogate.zif: "gamma",
    surrogate.rectangular: "a",
    surrogate.polynomial: "a",
    surrogate.logistic: "a",
    surrogate.gaussian: "a",
}
CASES = [pytest.param(curve, name, id=curve.__name__) for curve, name in CURVES.items()]


@pytest.mark.parametrize(("curve", "name"), CASES)
@pytest.mark.parametrize(
    "value", ["25", None, True, 1j, torch.ones(2), torch.ones((), requires_grad=True)]
)
def test_a_surrogate_is_not_built_with_what_is_no_number(curve, name, value):
    with pytest.raises(TypeError, match=f"{name} must be a real number, got"):
        curve(**{name: value})


@pytest.mark.parametrize(("curve", "name"), CASES)
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -1.0, 10**400], ids=["nan", "inf", "-1", "10^400"]
)
def test_a_surrogate_that_is_not_finite_or_is_upside_down_is_refused(curve, name, value):
    with pytest.raises(ValueError, match=rf"{name} must be (finite|positive|0 or more), got"):
        curve(**{name: value})


@pytest.mark.parametrize(("curve", "name"), CASES)
def test_numbers_of_numpy_and_torch_are_numbers(curve, name):
    x = torch.tensor([-0.3, 0.1, 0.7])
    if curve is surrogate.SSO:
        x = x.abs()  # no noise there
    expected = curve(**{name: 0.5}).derivative(x)
    for value in (np.float32(0.5), np.float64(0.5), torch.tensor(0.5)):
        torch.testing.assert_close(curve(**{name: value}).derivative(x), expected)


def test_the_functional_spelling_checks_its_numbers_too():
    with pytest.raises(TypeError, match="slope must be a real number, got '25'"):
        surrogate.FastSigmoid.apply(torch.zeros(1), "25")


def test_a_custom_surrogate_that_cannot_be_called_is_refused_before_the_backward_pass():
    with pytest.raises(TypeError, match="custom_surrogate_function must be callable, got 3"):
        surrogate.custom_surrogate(3)


def test_a_neuron_with_a_checked_surrogate_still_has_its_gradient():
    x = torch.tensor([[0.5]], requires_grad=True)
    snn.Leaky(0.9, spike_grad=surrogate.fast_sigmoid(slope=25))(x)[0].sum().backward()
    assert x.grad.item() == pytest.approx(1 / (1 + 25 * 0.5) ** 2)


@pytest.mark.parametrize("reset", ["subtract", "none"])
@pytest.mark.parametrize(
    ("function", "got"), [(print, "None"), (lambda x: 3, "3"), (lambda x: x[:1], r"\(1, 3\)")]
)
def test_a_function_of_ones_own_that_returns_no_spikes_is_named(function, got, reset):
    neuron = snn.Leaky(0.9, spike_grad=function, reset_mechanism=reset)
    with pytest.raises(TypeError, match=rf"spike_grad must return .* \(2, 3\), got {got} from"):
        neuron(torch.ones(2, 3))
    with pytest.raises(TypeError, match="spike_grad must return"):
        neuron.scan(torch.ones(4, 2, 3))


def test_a_subclass_with_a_surrogate_that_returns_nothing_is_named():
    class Own(snn.Leaky):
        def fire(self, mem):
            return super().fire(mem)

    with pytest.raises(TypeError, match="spike_grad must return"):
        Own(0.9, spike_grad=print)(torch.ones(2, 3))
