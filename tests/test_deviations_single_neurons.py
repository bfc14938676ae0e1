"""Where single neurons differ from snnTorch 1.0.0 on purpose: one test for each defect that is not
repeated here.

What concerns all neurons is in `test_deviations_neurons.py`; `docs/compatibility.md` has a row for
each test.
"""

import copy
import math
import pickle
from typing import Any

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


# -- Lapicque --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [{"beta": 0.8}, {"beta": 0.8, "R": 2.0}, {"beta": 0.8, "C": 3.0}, {"R": 2.0, "C": 3.0}]
)
def test_beta_of_lapicque_learns_over_many_backward_passes(given: dict[str, float]) -> None:
    neuron, x = snn.Lapicque(**given, learn_beta=True, reset_mechanism="none"), 2 * firing()
    optimizer, losses = torch.optim.Adam(neuron.parameters(), lr=0.005), []
    for _ in range(20):
        loss = neuron.scan(x)[1].mem.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0]
    now = {
        name: value for name, value in given.items() if {"R", "C"} != given.keys() or name == "R"
    }
    same = snn.Lapicque(**{**now, "beta": neuron.beta.item()}, reset_mechanism="none")
    torch.testing.assert_close(same.scan(x)[1].mem, neuron.scan(x)[1].mem)


def test_lapicque_takes_one_beta_for_each_neuron() -> None:
    x, beta = firing(), torch.tensor([0.5, 0.7, 0.9])
    spk, states = snn.Lapicque(beta).scan(x)
    for i, value in enumerate(beta):
        alone, mem = snn.Lapicque(value.item()).scan(x[..., i : i + 1])
        assert torch.equal(alone, spk[..., i : i + 1])
        torch.testing.assert_close(mem.mem, states.mem[..., i : i + 1])


def test_lapicque_takes_beta_R_and_C_together_if_they_agree() -> None:
    x = firing()
    all_three = snn.Lapicque(beta=math.exp(-1 / 6), R=2.0, C=3.0)
    assert torch.equal(spikes(all_three, x), spikes(snn.Lapicque(R=2.0, C=3.0), x))
    with pytest.raises(
        ValueError,
        match=r"beta, R and C disagree: exp\(-time_step / \(R C\)\) is 0\.846.*beta=0\.5",
    ):
        snn.Lapicque(beta=0.5, R=2.0, C=3.0)


@pytest.mark.parametrize("given", [{}, {"R": 1.0}, {"C": 1.0}], ids=str)
def test_lapicque_names_what_it_needs(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Lapicque needs beta, or R and C"):
        snn.Lapicque(**given)


# -- feedback --------------------------------------------------------------------------------------


def test_assigning_V_has_an_effect() -> None:
    neuron, x = snn.RLeaky(0.5, all_to_all=False, learn_recurrent=False), firing()
    neuron.V = torch.tensor([0.1, 0.5, -1.0])
    expected = snn.RLeaky(
        0.5, V=torch.tensor([0.1, 0.5, -1.0]), all_to_all=False, learn_recurrent=False
    )
    assert torch.equal(spikes(neuron, x), spikes(expected, x))
    assert torch.equal(neuron.recurrent.V, neuron.V)
    neuron.recurrent.V = torch.zeros(3)
    assert torch.equal(spikes(neuron, x), spikes(snn.Leaky(0.5), x))


@pytest.mark.parametrize("learn", [True, False])
def test_V_follows_its_neuron_to_another_dtype(learn: bool) -> None:
    neuron = snn.RSynaptic(0.9, 0.5, V=0.5, all_to_all=False, learn_recurrent=learn).double()
    assert neuron.V.dtype == neuron.recurrent.V.dtype == torch.float64
    state = {key: value + 1 for key, value in neuron.state_dict().items() if key.endswith("V")}
    neuron.load_state_dict(state, strict=False)
    assert neuron.V == neuron.recurrent.V == 1.5
    assert dict(neuron.named_parameters()).keys() == ({"V"} if learn else set())


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_rsynaptic_resets_in_the_step_of_the_spike(reset: str) -> None:
    options = {"reset_mechanism": reset, "reset_delay": False}
    x = firing().clamp(max=0.9) * 0.5
    feedback = snn.RSynaptic(0.5, 0.5, V=0.0, all_to_all=False, **options)
    spk, states = feedback.scan(x)
    expected, syn_mem = snn.Synaptic(0.5, 0.5, **options).scan(x)
    assert torch.equal(spk, expected) and torch.equal(states.mem, syn_mem.mem) and spk.sum() > 0
    module = snn.RSynaptic(0.5, 0.5, linear_features=3, **options)
    with torch.no_grad():
        for parameter in module.recurrent.parameters():
            parameter.zero_()
    assert torch.equal(spikes(module, x), expected)


def test_an_even_kernel_is_refused_where_the_feedback_is_made() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        snn.RLeaky(0.9, conv2d_channels=2, kernel_size=4)


def test_feedback_of_another_size_than_the_input_is_named() -> None:
    with pytest.raises(
        ValueError,
        match=r"RLeaky has linear_features=4, got one step of shape \(2, 3\); write linear_f",
    ):
        snn.RLeaky(0.9, linear_features=4)(firing()[0])


# -- cells and neurons with weights ----------------------------------------------------------------


def test_slstm_remembers_when_its_sizes_differ() -> None:
    cell = snn.SLSTM(3, 5, threshold=0.1)
    reference = nn.LSTM(3, 5)
    reference.load_state_dict(
        {f"{name}_l0": value for name, value in cell.lstm_cell.state_dict().items()}
    )
    x, state = firing(), cell.init_slstm()
    for x_t in x:
        spk, *state = cell(x_t, *state)
    torch.testing.assert_close(state[1], reference(x)[0][-1])
    assert spk.shape == (2, 5)


def test_leaky_parallel_obeys_one_beta_for_each_neuron() -> None:
    beta = torch.tensor([0.1, 0.5, 0.9])
    neuron = snn.LeakyParallel(3, 3, beta=beta)
    assert torch.equal(neuron.rnn.weight_hh_l0, torch.diag(beta))
    dense = snn.LeakyParallel(3, 3, beta=beta, weight_hh_enable=True)
    assert torch.equal(dense.rnn.weight_hh_l0, beta[:, None].expand(3, 3))


def test_the_dropout_of_leaky_parallel_was_ignored() -> None:
    torch.manual_seed(0)
    x = torch.rand(20, 4, 3) * 2
    plain = snn.LeakyParallel(3, 5, beta=0.5, threshold=0.3)
    halved = snn.LeakyParallel(3, 5, beta=0.5, threshold=0.3, dropout=0.5)
    halved.load_state_dict(plain.state_dict())
    spikes, kept = plain(x), halved(x)
    silenced = (spikes > kept).sum() / spikes.sum()
    assert 0.3 < silenced < 0.7  # the membranes that stay are twice as large, as behind nn.Dropout
    assert torch.equal(halved.eval()(x), spikes)
    assert snn.LeakyParallel(3, 5, dropout=1.0)(10 * x).sum() == 0
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\]"):
        snn.LeakyParallel(3, 5, dropout=1.5)


def test_leaky_parallel_takes_beta_as_a_tensor_without_axes() -> None:
    neuron = snn.LeakyParallel(3, 4, beta=torch.tensor(0.5))
    assert torch.equal(neuron.rnn.weight_hh_l0, 0.5 * torch.eye(4))
    with pytest.raises(
        ValueError, match=r"beta must be one number or have shape \(4,\), got shape \(3,\)"
    ):
        snn.LeakyParallel(3, 4, beta=torch.rand(3))


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda neuron: pickle.loads(pickle.dumps(neuron))]
)
def test_a_copied_leaky_parallel_keeps_its_recurrence_diagonal(duplicate: Any) -> None:
    neuron = duplicate(snn.LeakyParallel(3, 4, beta=0.9, threshold=0.2, learn_beta=True))
    with torch.no_grad():
        neuron.rnn.weight_ih_l0.abs_()
    neuron(firing()).sum().backward()
    gradient = neuron.rnn.weight_hh_l0.grad
    assert gradient.diagonal().abs().sum() > 0 and torch.equal(
        gradient, torch.diag(gradient.diagonal())
    )


def test_every_parameter_of_state_leaky_has_a_gradient_and_its_checkpoint_both_names() -> None:
    neuron = snn.StateLeaky(beta=torch.tensor([0.2, 0.5, 0.8]), channels=3, learn_beta=True)
    neuron(firing())[0].sum().backward()
    assert {name: p.grad is not None for name, p in neuron.named_parameters()} == {"tau": True}
    other = snn.StateLeaky(beta=torch.rand(3), channels=3, learn_beta=True)
    other.load_state_dict(neuron.state_dict())
    torch.testing.assert_close(other.beta, torch.tensor([0.2, 0.5, 0.8]))
    assert {"beta", "tau"} <= neuron.state_dict().keys()


def test_associative_leaky_finds_its_number_of_neurons_itself() -> None:
    neuron = snn.AssociativeLeaky(3, d_value=2, d_key=4, num_spiking_neurons=None)
    assert neuron.num_spiking_neurons == 8
    assert neuron(firing()).shape == (12, 2, 8)


@pytest.mark.parametrize(("number", "instead"), [(-4, 1), (0, 1), (2, 4), (5, 9), (8, 9)])
def test_a_number_of_neurons_that_is_no_square_is_refused(number: int, instead: int) -> None:
    with pytest.raises(ValueError, match=f"square number, got {number}; write {instead},"):
        snn.AssociativeLeaky.from_num_spiking_neurons(3, number)


@pytest.mark.parametrize(("number", "side"), [(1, 1), (4, 2), (9, 3)])
def test_a_square_number_of_neurons_is_a_square_memory(number: int, side: int) -> None:
    neuron = snn.AssociativeLeaky.from_num_spiking_neurons(3, number, use_q_projection=False)
    assert (neuron.d_value, neuron.d_key, neuron.num_spiking_neurons) == (side, side, number)
    assert neuron.to_q is None
    assert snn.AssociativeLeaky.from_num_spiking_neurons(3, number).to_q is not None


def test_associative_leaky_has_as_many_outputs_as_neurons_when_its_sizes_differ() -> None:
    for query in (True, False):
        neuron = snn.AssociativeLeaky(
            3, d_value=2, d_key=4, num_spiking_neurons=8, use_q_projection=query
        )
        assert neuron(firing()).shape == (12, 2, 8)


def test_associative_leaky_stays_exact_over_long_sequences() -> None:
    neuron = snn.AssociativeLeaky(3, 2, 2, use_q_projection=False)
    x = firing(2000)
    _, states = neuron.scan(x)
    late, _ = neuron.double().scan(x.double())
    _, tail = neuron.float().scan(x[1900:])  # what was stored long ago is forgotten
    torch.testing.assert_close(states.mem[-1], tail.mem[-1], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(states.mem).all() and late.shape == (2000, 2, 4)


def test_delta_leaky_starts_at_rest_without_a_state() -> None:
    neuron, x = snn.DeltaLeaky(0.5, beta=0.9), firing()[0]
    spk, pair = neuron(x)
    assert torch.equal(pair[0], x) and torch.equal(pair[1], torch.zeros_like(x))
    again, _ = snn.DeltaLeaky(0.5, beta=0.9)(x, (torch.zeros(2, 3), torch.zeros(2, 3)))
    assert torch.equal(spk, again)


def test_a_learned_threshold_of_delta_leaky_is_the_one_that_fires() -> None:
    neuron = snn.DeltaLeaky(0.5, beta=0.9, learn_threshold=True)
    neuron.scan(firing())[0].sum().backward()
    assert neuron.delta_threshold.grad < 0
    assert [name for name, _ in neuron.named_parameters()] == ["delta_threshold"]


def test_a_checkpoint_of_snntorch_with_a_learned_threshold_of_delta_leaky_was_refused() -> None:
    neuron = snn.DeltaLeaky(0.25, beta=0.9, learn_threshold=True)
    saved = {
        "threshold": torch.tensor(1.5),
        "beta": torch.tensor(0.5),
        "graded_spikes_factor": torch.tensor(1.0),
        "reset_mechanism_val": torch.tensor(0),
    }
    neuron.load_state_dict(saved)
    assert (neuron.delta_threshold, neuron.beta, neuron.threshold) == (0.25, 0.5, 1.5)
    neuron.load_state_dict({**saved, "delta_threshold": torch.tensor(0.75)})
    assert neuron.delta_threshold == 0.75


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: snn.SLSTM(3, 16, threshold=1e-3, inhibition=True), (3,)),
        (lambda: snn.SConv2dLSTM(2, 3, 3, threshold=1e-3, inhibition=True), (2, 4, 4)),
        (lambda: snn.DeltaLeaky(0.1, beta=0.5, inhibition=True), (6,)),
    ],
    ids=["SLSTM", "SConv2dLSTM", "DeltaLeaky"],
)
def test_inhibition_of_cells_and_of_delta_leaky_was_ignored(
    make: Any, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    neuron = make()
    free = copy.deepcopy(neuron)
    free.inhibition = False
    x = firing(20, 5, *shape)
    fired = free.scan(x)[0].flatten(2).sum(-1)
    assert fired.max() > 1
    assert torch.equal(neuron.scan(x)[0].flatten(2).sum(-1), fired.clamp(max=1))


def test_graded_spikes_scale_neurons_and_not_samples() -> None:
    layer = snn.GradedSpikes(3, constant_factor=2.0)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
    for shape in ((2, 3), (3, 3), (4, 2, 3)):
        assert torch.equal(layer(torch.ones(shape)), torch.tensor([1.0, 2.0, 3.0]).expand(shape))
    with pytest.raises(ValueError, match=r"GradedSpikes has size=3, got spikes of shape \(5, 4\)"):
        layer(torch.ones(5, 4))


# -- ranges ----------------------------------------------------------------------------------------

OUT_OF_RANGE = {
    "Leaky": (lambda: snn.Leaky(1.2), r"beta must be in \[0, 1\], got 1\.2"),
    "Lapicque": (lambda: snn.Lapicque(1.0), r"beta must be in \(0, 1\), got 1"),
    "Lapicque R": (lambda: snn.Lapicque(R=-1.0, C=1.0), r"R must be in \(0, inf\), got -1"),
    "Synaptic": (lambda: snn.Synaptic(-0.1, 0.5), r"alpha must be in \[0, 1\], got -0\.1"),
    "Alpha": (
        lambda: snn.Alpha(0.5, 0.6),
        r"Alpha needs alpha > beta everywhere, got alpha=0\.5, beta=0\.6",
    ),
    "Alpha beta": (lambda: snn.Alpha(1.0, 1.0), r"beta must be in \[0, 1\), got 1"),
    "RLeaky": (lambda: snn.RLeaky(1.2, linear_features=3), r"beta must be in \[0, 1\], got 1\.2"),
    "RSynaptic": (
        lambda: snn.RSynaptic(0.5, 1.2, linear_features=3),
        r"beta must be in \[0, 1\], got 1\.2",
    ),
    "LI": (lambda: snn.LI(1.2), r"beta must be in \[0, 1\], got 1\.2"),
    "AdLIF": (lambda: snn.AdLIF(beta=1.2), r"beta must be in \[0, 1\], got 1\.2"),
    "StateLeaky": (lambda: snn.StateLeaky(1.2, 3), r"beta must be in \[0, 1\], got 1\.2"),
    "LeakyParallel": (
        lambda: snn.LeakyParallel(3, 3, beta=1.2),
        r"beta must be in \[0, 1\], got 1\.2",
    ),
    "DeltaLeaky": (
        lambda: snn.DeltaLeaky(0.0, beta=0.5),
        r"delta_threshold must be in \(0, inf\), got 0",
    ),
    "threshold": (
        lambda: snn.SLSTM(3, 3, threshold=-1.0),
        r"threshold must be in \(0, inf\), got -1",
    ),
}


@pytest.mark.parametrize(("make", "text"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_parameter_out_of_range_is_refused_where_the_neuron_is_made(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()
