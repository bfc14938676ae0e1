"""Where neurons differ from snnTorch 1.0.0 on purpose: one test for each defect that is not
repeated here.

`docs/compatibility.md` has a row for each of them, with the name of the test.
"""

import copy
import gc
import io
import pickle

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.neuron import Neuron


def firing(steps: int = 12, *shape: int) -> Tensor:
    """An input that makes neurons fire now and then, [T, B, F] or as said."""
    return torch.rand(steps, *(shape or (2, 3)), generator=torch.Generator().manual_seed(4)) * 1.5


def spikes(neuron: Neuron, x: Tensor) -> Tensor:
    """Spikes of a sequence, from rest."""
    return neuron.scan(x)[0]


# -- which neurons there are, and who is reset -----------------------------------------------------


@pytest.mark.usefixtures("new_objects_only")
def test_neurons_that_nobody_holds_are_freed_although_instances_lists_them() -> None:
    before = len(snn.SpikingNeuron.instances)
    nets = [
        nn.Sequential(nn.Linear(3, 3), snn.Leaky(0.9), snn.RSynaptic(0.9, 0.8, linear_features=3))
        for _ in range(5)
    ]
    assert len(snn.SpikingNeuron.instances) == before + 10
    assert any(neuron is nets[0][1] for neuron in snn.SpikingNeuron.instances)
    nets.clear()
    gc.collect()
    assert len(snn.SpikingNeuron.instances) == before


def test_a_list_assigned_to_instances_receives_the_neurons_made_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snn.SpikingNeuron, "instances", [])
    neuron = snn.Leaky(0.9, init_hidden=True)
    neuron(torch.ones(1, 2))
    assert snn.SpikingNeuron.instances == [neuron]
    snn.Leaky.reset_hidden()
    assert neuron.mem.shape == (0,)


def test_utils_reset_reaches_nested_neurons() -> None:
    inner = snn.Leaky(0.9, init_hidden=True)
    net = nn.Sequential(nn.Sequential(nn.ModuleDict({"a": nn.Sequential(inner)})["a"]))
    net(torch.ones(1, 2))
    snn.utils.reset(net)
    assert inner.mem.shape == (0,)


def test_utils_reset_of_one_network_leaves_another_alone() -> None:
    a, b = snn.Leaky(0.9, init_hidden=True), snn.Leaky(0.9, init_hidden=True)
    for neuron in (a, b):
        neuron(torch.ones(1, 2))
    snn.utils.reset(nn.Sequential(a))
    assert a.mem.shape == (0,) and b.mem.shape == (1, 2)


def test_utils_reset_reaches_a_copied_network() -> None:
    net = copy.deepcopy(nn.Sequential(snn.Leaky(0.9, init_hidden=True)))
    net(torch.ones(1, 2))
    snn.utils.reset(net)
    assert net[0].mem.shape == (0,)
    net(torch.ones(1, 2))
    snn.Leaky.reset_hidden()
    assert net[0].mem.shape == (0,)


def test_utils_reset_works_on_delta_leaky_and_after_a_constructor_that_failed() -> None:
    with pytest.raises(ValueError, match="reset_mechanism"):
        snn.Leaky(0.9, reset_mechanism="soft")
    neuron = snn.DeltaLeaky(0.5, beta=0.9, init_hidden=True)
    neuron(torch.ones(1, 2))
    snn.utils.reset(nn.Sequential(neuron))
    snn.Leaky.reset_hidden()
    assert neuron.mem.shape == neuron.mem_prev.shape == (0,)


def test_resetting_and_detaching_rsynaptic_covers_its_spikes() -> None:
    neuron = snn.RSynaptic(0.9, 0.8, linear_features=3, init_hidden=True)
    neuron(firing()[0])
    assert neuron.spk.requires_grad
    snn.RSynaptic.detach_hidden()
    assert not any(value.requires_grad for value in (neuron.spk, neuron.syn, neuron.mem))
    snn.RSynaptic.reset_hidden()
    assert neuron.spk.shape == neuron.syn.shape == neuron.mem.shape == (0,)


# -- changing, copying, saving, moving -------------------------------------------------------------


def test_setting_reset_mechanism_changes_the_dynamics() -> None:
    x, neuron = firing(), snn.Leaky(0.9)
    before = spikes(neuron, x)
    neuron.reset_mechanism = "none"
    assert torch.equal(spikes(neuron, x), spikes(snn.Leaky(0.9, reset_mechanism="none"), x))
    assert not torch.equal(spikes(neuron, x), before)
    with pytest.raises(ValueError, match="reset_mechanism must be one of"):
        neuron.reset_mechanism = "soft"


def test_loading_a_checkpoint_changes_the_dynamics_to_those_that_were_saved() -> None:
    x, saved = firing(), snn.Leaky(0.5, threshold=0.7, reset_mechanism="zero")
    loaded = snn.Leaky(0.9)
    loaded.load_state_dict(saved.state_dict())
    assert loaded.reset_mechanism == "zero"
    assert torch.equal(spikes(loaded, x), spikes(saved, x))


def test_a_checkpoint_of_snntorch_0_8_with_a_saved_membrane_loads_strictly() -> None:
    state = {**snn.Leaky(0.5).state_dict(), "mem": torch.zeros(1)}
    neuron = snn.Leaky(0.9)
    neuron.load_state_dict(state)
    assert neuron.beta == 0.5 and neuron.mem.shape == (0,)


@pytest.mark.parametrize(
    "surrogate", ["atan", "fast_sigmoid", "sigmoid", "triangular", "LSO", "SFS"]
)
def test_a_whole_network_can_be_pickled_with_any_surrogate(surrogate: str) -> None:
    net = nn.Sequential(
        nn.Linear(3, 3),
        snn.Leaky(0.9, spike_grad=getattr(snn.surrogate, surrogate)(), init_hidden=True),
    )
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    x = firing()[0]
    for other in (torch.load(buffer, weights_only=False), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(x), net(x))
        snn.reset(net)


def test_a_network_can_be_copied_after_a_forward_pass() -> None:
    net = nn.Sequential(nn.Linear(3, 3), snn.RLeaky(0.9, linear_features=3, init_hidden=True))
    net(firing()[0])
    other = copy.deepcopy(net)
    assert torch.equal(other[1].mem, net[1].mem) and not other[1].mem.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_spikes_and_states_have_the_dtype_of_the_input(dtype: torch.dtype) -> None:
    net = nn.Sequential(
        nn.Linear(3, 3), snn.RLeaky(0.9, linear_features=3, init_hidden=True, output=True)
    ).to(dtype)
    for x_t in firing().to(dtype):
        spk, mem = net(x_t)
        assert spk.dtype == mem.dtype == dtype


def test_a_state_follows_its_network_to_another_dtype_and_device() -> None:
    net = nn.Sequential(nn.Linear(3, 3), snn.Synaptic(0.9, 0.8, init_hidden=True))
    net(firing()[0])
    net.double()
    assert net(firing()[0].double()).dtype == torch.float64
    net.to("meta")
    assert net(firing()[0].to("meta")).device.type == "meta"
    assert net[1].mem.device.type == "meta"


def test_a_passed_state_is_not_stored_when_the_call_is_refused() -> None:
    neuron = snn.Leaky(0.9, init_hidden=True)
    with pytest.raises(TypeError, match="keeps its own state"):
        neuron(torch.ones(1, 2), torch.full((1, 2), 0.5))
    assert neuron.mem.shape == (0,)


# -- states and parameters of other shapes and types -----------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1,), ()], ids=str)
def test_an_initial_state_is_broadcast(shape: tuple[int, ...]) -> None:
    x, start = firing()[0], torch.full(shape, 0.4)
    _, mem = snn.Leaky(0.5)(x, start)
    torch.testing.assert_close(mem, 0.5 * start.expand(2, 3) + x)


@pytest.mark.parametrize("shape", [(1,), ()], ids=str)
def test_one_value_assigned_as_state_serves_a_single_sample(shape: tuple[int, ...]) -> None:
    neuron = snn.Leaky(0.5, init_hidden=True, output=True)
    neuron.mem = torch.full(shape, 0.4)
    assert torch.equal(neuron(torch.zeros(3))[1], torch.full((3,), 0.2))


@pytest.mark.parametrize("learn", ["beta", "threshold"])
def test_integer_parameters_can_learn(learn: str) -> None:
    neuron = snn.Leaky(beta=1, threshold=1, **{f"learn_{learn}": True})
    spikes(neuron, firing()).sum().backward()
    gradient = getattr(neuron, learn).grad
    assert gradient.dtype == torch.float32 and gradient != 0


def test_alpha_of_an_alpha_neuron_can_learn() -> None:
    neuron = snn.Alpha(0.9, 0.6, threshold=0.3, learn_alpha=True)
    for _ in range(2):
        neuron.zero_grad()
        spikes(neuron, firing()).sum().backward()
    assert isinstance(neuron.alpha, nn.Parameter) and neuron.alpha.grad != 0


# -- inhibition and graded spikes ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 4, 4)], ids=str)
def test_inhibition_lets_one_neuron_of_a_sample_fire_in_any_shape(shape: tuple[int, ...]) -> None:
    spk, mem = snn.Leaky(0.9, threshold=0.3, inhibition=True)(firing(1, *shape)[0])
    samples, over = (
        (spk.flatten(1), mem.flatten(1)) if len(shape) > 1 else (spk[:, None], mem[:, None])
    )
    expected = torch.zeros_like(samples).scatter(1, over.argmax(1, keepdim=True), 1.0) * (
        over > 0.3
    )
    assert torch.equal(samples, expected)


def test_inhibition_keeps_the_value_of_graded_spikes() -> None:
    x = firing()[0] + 1
    spk, _ = snn.Leaky(0.9, inhibition=True, graded_spikes_factor=0.5)(x)
    assert torch.equal(spk.sum(1), torch.full((2,), 0.5))


def test_a_graded_spikes_factor_of_zero_resets_at_once_without_nan() -> None:
    _, states = snn.Leaky(0.9, graded_spikes_factor=0.0, reset_delay=False).scan(firing())
    _, expected = snn.Leaky(0.9, reset_delay=False).scan(firing())
    assert torch.equal(states.mem, expected.mem)


@pytest.mark.parametrize("neuron", ["StateLeaky", "LinearLeaky"])
def test_neurons_for_sequences_apply_the_graded_spikes_factor_once(neuron: str) -> None:
    sizes = {"channels": 3} if neuron == "StateLeaky" else {"in_features": 3, "out_features": 3}
    made = getattr(snn, neuron)(beta=0.5, threshold=0.2, graded_spikes_factor=0.5, **sizes)
    spk, _ = made(firing())
    assert set(spk.unique().tolist()) == {0.0, 0.5}
