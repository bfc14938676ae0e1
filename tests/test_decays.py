"""Learned decays come back from the edges of [0, 1], on every backend and every torch."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import spikeloom as snn
from spikeloom.core.decays import unit


def written(neuron: Any, name: str, value: float) -> Any:
    with torch.no_grad():
        neuron.get_parameter(name).fill_(value)
    return neuron


BACKENDS = ["eager", "torch", "numba"]


def gradient(neuron: Any, x: Tensor, backend: str, sign: float) -> Tensor:
    with snn.backend(backend):
        (sign * neuron.scan(x)[1].mem.sum()).backward()
    return neuron.beta.grad


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("beta", [-0.3, 0.0, 1.0, 1.3])
@pytest.mark.parametrize("name", ["Leaky", "LI", "Synaptic", "RefractoryLIF"])
def test_a_decay_at_or_beyond_an_edge_is_led_back_by_its_gradient(
    name: str, beta: float, backend: str
) -> None:
    if snn.backends()[backend] != "available":
        pytest.skip(snn.backends()[backend])
    x = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.1
    options = {"alpha": 0.5} if name == "Synaptic" else {}
    inward = 1.0 if beta >= 1 else -1.0  # descending the sum of membranes lowers beta
    inside = min(max(beta, 1e-9), 1 - 1e-9)
    make = partial(getattr(snn, name), beta=0.5, learn_beta=True, **options)
    for sign, leads_back in ((inward, True), (-inward, False)):
        found, expected = (
            gradient(written(make().double(), "beta", at), x, backend, sign)
            for at in (beta, inside)
        )
        torch.testing.assert_close(
            found, expected if leads_back else torch.zeros_like(found), rtol=1e-6, atol=1e-9
        )


def test_training_moves_a_decay_that_starts_at_1() -> None:
    neuron = snn.Leaky(beta=1.0, learn_beta=True, reset_mechanism="none", mode="sequence")
    optimizer = torch.optim.SGD(neuron.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        snn.reset(neuron)
        neuron(torch.ones(4, 1, 1))[1].square().sum().backward()
        optimizer.step()
    assert neuron.beta < 1


def test_a_decay_that_was_pushed_past_1_stays_where_it_is_until_it_is_led_back() -> None:
    neuron = written(snn.Leaky(beta=1.0, learn_beta=True, mode="sequence"), "beta", 1.1)
    assert gradient(neuron, torch.full((4, 1, 1), 0.1), "eager", -1.0) == 0


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda neuron: neuron.double(), lambda neuron: neuron.float()]
)
def test_the_gradient_of_a_decay_leads_inward_in_copies_too(how: Any) -> None:
    neuron = how(written(snn.Leaky(beta=1.0, learn_beta=True), "beta", 1.1))
    x = torch.full((4, 1, 1), 0.1, dtype=neuron.beta.dtype)
    assert gradient(neuron, x, "eager", -1.0) == 0
    neuron.beta.grad = None
    assert gradient(neuron, x, "eager", 1.0) > 0


def test_the_clamp_of_a_decay_has_the_values_of_clamp_and_the_gradient_1() -> None:
    value = torch.tensor([-1e30, -0.1, 0.0, 0.3, 1.0, 1.1, 1e30], requires_grad=True)
    assert torch.equal(unit(value), value.clamp(0, 1))
    assert torch.func.grad(lambda v: unit(v).sum())(value.detach()).tolist() == [1.0] * 7
    unit(value).sum().backward()
    assert value.grad is not None and value.grad.tolist() == [1.0] * 7
