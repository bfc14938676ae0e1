"""Laws that every neuron obeys, whatever its equations."""

import copy
import gc
import io
import pickle
from typing import Any

import pytest
import torch
from closeness import assert_same_sums
from torch import nn

import spikeloom as snn
from spikeloom.core.neuron import Neuron

from .cases import (
    CONFIGURATIONS,
    IDS,
    OWN,
    STEPPING,
    B,
    T,
    build,
    current,
    last,
    steps_of,
    summands_of,
)

every_configuration = pytest.mark.parametrize(("name", "options"), CONFIGURATIONS, ids=IDS)
every_neuron = pytest.mark.parametrize("name", OWN)
every_stepping_neuron = pytest.mark.parametrize("name", STEPPING)


def equal(a: Any, b: Any) -> bool:
    return all(torch.equal(u, v) for u, v in zip(a, b, strict=True))


@every_configuration
def test_the_input_of_the_laws_makes_some_neurons_fire_and_others_not(
    name: str, options: dict[str, Any]
) -> None:
    spk, _ = build(name, **options).scan(current(name, steps=20))
    if name != "LI":  # its output is its membrane
        assert 0 < (spk != 0).double().mean() < 1


@every_configuration
def test_a_sequence_is_its_steps_stacked(name: str, options: dict[str, Any]) -> None:
    neuron, x = build(name, **options), current(name)
    spk, states = neuron.scan(x)
    expected_spk, expected_states = steps_of(neuron, x)
    assert_same_sums(spk, expected_spk, summands=summands_of(neuron))
    for value, expected in zip(states, expected_states, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@every_configuration
def test_a_sequence_is_its_chunks(name: str, options: dict[str, Any]) -> None:
    neuron, x = build(name, **options), current(name)
    spk, states = neuron.scan(x)
    first, carried = neuron.scan(x[:3])
    second, rest = neuron.scan(x[3:], last(carried))
    assert_same_sums(spk, torch.cat([first, second]), summands=summands_of(neuron))
    for value, a, b in zip(states, carried, rest, strict=True):
        torch.testing.assert_close(value, torch.cat([a, b]), rtol=1e-12, atol=1e-12)


@every_configuration
def test_a_constant_input_is_its_repetition(name: str, options: dict[str, Any]) -> None:
    x = current(name)[0].requires_grad_()
    results = []
    for repeated in (False, True):
        neuron = build(name, learn=True, **options)
        given = x.unsqueeze(0).repeat(T, *[1] * x.dim()) if repeated else x
        spk, states = neuron.scan(given, num_steps=None if repeated else T)
        weights = torch.linspace(0.5, 1.5, spk.numel(), dtype=spk.dtype).view_as(spk)
        loss = (spk * weights).sum() + sum(v.square().sum() for v in states)
        parameters = [p for p in neuron.parameters() if p.requires_grad]
        results.append((spk, torch.autograd.grad(loss, [x, *parameters], allow_unused=True)))
    assert_same_sums(results[0][0], results[1][0], summands=summands_of(neuron))
    for a, b in zip(results[0][1], results[1][1], strict=True):
        assert (a is None and b is None) or torch.allclose(a, b, rtol=1e-9, atol=1e-10)


@every_configuration
def test_the_future_does_not_act_on_the_past(name: str, options: dict[str, Any]) -> None:
    neuron, x = build(name, **options), current(name)
    other = x.clone()
    other[4:] = current(name, seed=5)[4:]
    (spk, states), (other_spk, other_states) = neuron.scan(x), neuron.scan(other)
    assert equal(
        [spk[:4], *(v[:4] for v in states)], [other_spk[:4], *(v[:4] for v in other_states)]
    )
    assert not all(
        torch.equal(a, b) for a, b in zip([spk, *states], [other_spk, *other_states], strict=True)
    )


@every_configuration
def test_samples_of_a_batch_do_not_meet(name: str, options: dict[str, Any]) -> None:
    neuron, x = build(name, **options), current(name)
    spk, states = neuron.scan(x)
    for b in range(B):
        alone, alone_states = neuron.scan(x[:, b : b + 1])
        torch.testing.assert_close(alone, spk[:, b : b + 1], rtol=1e-12, atol=1e-12)
        for value, whole in zip(alone_states, states, strict=True):
            torch.testing.assert_close(value, whole[:, b : b + 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@every_neuron
def test_the_dtype_follows_the_input(name: str, dtype: torch.dtype) -> None:
    neuron = build(name, dtype=dtype)
    spk, states = neuron.scan(current(name, dtype=dtype))
    assert {v.dtype for v in (spk, *states)} == {dtype}
    if "step" in neuron.modes:
        spk, state = neuron.step(current(name, dtype=dtype)[0])
        assert {v.dtype for v in (spk, *state)} == {dtype}


@every_stepping_neuron
def test_a_neuron_computes_in_float64_without_being_converted(name: str) -> None:
    if list(build(name).children()):
        pytest.skip("its modules have a dtype of their own")
    spk, states = build(name, dtype=torch.float32).step(current(name)[0])
    assert {v.dtype for v in (spk, *states)} == {torch.float64}


@every_configuration
def test_every_parameter_that_can_learn_receives_the_gradient_of_the_loop(
    name: str, options: dict[str, Any]
) -> None:
    gradients = []
    for backend in ("eager", None):
        neuron, x = build(name, learn=True, **options), current(name).requires_grad_()
        if backend:
            with snn.backend(backend):
                spk, states = neuron.scan(x)
        else:
            spk, states = neuron.scan(x)
        loss = (spk * torch.linspace(0.5, 2, spk.numel(), dtype=spk.dtype).view_as(spk)).sum()
        loss = loss + sum(v.square().mean() for v in states)
        learned = [p for p in neuron.parameters() if p.requires_grad]
        gradients.append(torch.autograd.grad(loss, [x, *learned], allow_unused=True))
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    assert gradients[0][0] is not None and gradients[0][0].abs().sum() > 0


def behaviour(neuron: Neuron, name: str) -> list[torch.Tensor]:
    spk, states = neuron.scan(current(name, seed=3))
    return [spk, *states]


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda neuron: pickle.loads(pickle.dumps(neuron)),
    "torch.save": lambda neuron: torch.load(_saved(neuron), weights_only=False),
}


def _saved(neuron: Neuron) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(neuron, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@every_configuration
def test_a_copy_behaves_alike_even_with_a_graph_in_its_state(
    name: str, options: dict[str, Any], duplicate: Any
) -> None:
    neuron = build(name, learn=True, **options)
    neuron.mode = "sequence"
    neuron(current(name))
    other = duplicate(neuron)
    assert equal(other.hidden, neuron.hidden)
    assert not any(v.requires_grad for v in other.hidden)
    assert equal(behaviour(neuron, name), behaviour(other, name))


@every_configuration
def test_a_state_dict_carries_the_behaviour(name: str, options: dict[str, Any]) -> None:
    neuron = build(name, **options)
    with torch.no_grad():
        neuron.threshold.mul_(1.25)
    plain = {k: v for k, v in options.items() if k != "reset_mechanism"}
    other = OWN[name](**{**OWN[name].example, **plain}).double()
    other.load_state_dict(neuron.state_dict())
    assert equal(behaviour(neuron, name), behaviour(other, name))


@every_neuron
def test_reset_leaves_other_networks_alone_and_reaches_nested_neurons(name: str) -> None:
    a, b = build(name), build(name)
    for neuron in (a, b):
        neuron.mode = "sequence"
        neuron(current(name))
    snn.reset(nn.ModuleList([nn.Sequential(nn.Sequential(a))]))
    assert all(v.shape == (0,) for v in a.hidden)
    assert all(v.shape != (0,) for v in b.hidden)


@pytest.mark.usefixtures("new_objects_only")
@every_neuron
def test_a_neuron_that_nobody_holds_is_freed(name: str) -> None:
    before = len(Neuron.instances)
    neuron = build(name)
    neuron.mode = "sequence"
    neuron(current(name))
    assert len(Neuron.instances) == before + 1
    del neuron
    gc.collect()
    assert len(Neuron.instances) == before


@every_stepping_neuron
def test_forward_in_sequence_mode_returns_its_step_results_stacked(name: str) -> None:
    x = current(name)
    for options in ({}, {"init_hidden": True}, {"init_hidden": True, "output": True}):
        steps, whole = build(name, **options), build(name, **options)
        results = [steps(x_t) for x_t in x]
        whole.mode = "sequence"
        result = whole(x)
        if isinstance(result, torch.Tensor):
            result, results = (result,), [(r,) for r in results]
        for value, column in zip(
            _flat(result), zip(*map(_flat, results), strict=True), strict=True
        ):
            torch.testing.assert_close(value, torch.stack(column), rtol=1e-12, atol=1e-12)
        assert equal(steps.hidden, whole.hidden) or all(
            torch.allclose(a, b, rtol=1e-12, atol=1e-12)
            for a, b in zip(steps.hidden, whole.hidden, strict=True)
        )


def _flat(values: Any) -> list[torch.Tensor]:
    return torch.utils._pytree.tree_leaves(values)


@every_neuron
def test_an_empty_batch_gives_an_empty_result(name: str) -> None:
    spk, _ = build(name).scan(current(name)[:, :0])
    assert spk.shape[:2] == (T, 0)


@every_stepping_neuron
def test_a_channels_last_input_stays_channels_last(name: str) -> None:
    if not OWN[name].elementwise:
        pytest.skip("its modules decide the memory format")
    x = (
        torch.rand(T * 2, 3, 4, 4, dtype=torch.float64)
        .to(memory_format=torch.channels_last)
        .unflatten(0, (T, 2))
    )
    spk, _ = build(name).scan(x)
    assert spk[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(spk, build(name).scan(x.contiguous())[0])


@every_neuron
def test_what_a_sequence_leaves_behind_is_one_step_of_state(name: str) -> None:
    neuron = build(name)
    neuron.mode = "sequence"
    neuron(current(name, steps=50))
    assert all(v.untyped_storage().nbytes() == v.numel() * v.element_size() for v in neuron.hidden)
