"""Neurons with feedback, weights or adaptation against loops written out by hand, and against the
LSTM of torch."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn

T = 40
DOUBLE = torch.float64


def noise(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))


# -- feedback --------------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", ["RLeaky", "RSynaptic"])
@pytest.mark.parametrize("kind", ["linear", "one_to_one"])
def test_the_spikes_of_the_last_step_are_fed_back(neuron: str, kind: str) -> None:
    x, alpha, beta = noise(T, 2, 3), 0.75, 0.5
    feedback = (
        {"linear_features": 3}
        if kind == "linear"
        else {"all_to_all": False, "V": torch.tensor([0.5, -1.0, 2.0])}
    )
    decays = {"beta": beta} if neuron == "RLeaky" else {"alpha": alpha, "beta": beta}
    module = getattr(snn, neuron)(**decays, **feedback, mode="sequence").double()
    weight = module.recurrent.weight if kind == "linear" else torch.diag(module.V)
    bias = module.recurrent.bias if kind == "linear" else torch.zeros(3, dtype=DOUBLE)
    spk, *_, mem = module(x)
    fed, current, old = np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
    for t, value in enumerate(x.numpy()):
        fired = old > 1
        total = value + fed @ weight.detach().numpy().T + bias.detach().numpy()
        current = total if neuron == "RLeaky" else alpha * current + total
        old = beta * old + current - fired
        fed = (old > 1).astype(float)
        np.testing.assert_array_equal(spk[t].detach().numpy(), fed)
        np.testing.assert_allclose(mem[t].detach().numpy(), old, atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, inside its compiler
@pytest.mark.parametrize("neuron", ["RLeaky", "RSynaptic"])
def test_feedback_one_to_one_is_fused_over_time_and_compiles(neuron: str) -> None:
    decays = {"beta": 0.5} if neuron == "RLeaky" else {"alpha": 0.75, "beta": 0.5}
    module = getattr(snn, neuron)(**decays, V=torch.tensor([0.5, -1.0, 2.0]), all_to_all=False)
    x = noise(T, 2, 3).float()
    with snn.backend("torch"):
        fused = module.scan(x)
    with snn.backend("eager"):
        loop = module.scan(x)
    assert torch.equal(fused[0], loop[0]) and fused[0].sum() > 0
    for a, b in zip(fused[1], loop[1], strict=True):
        torch.testing.assert_close(a, b)
    step = torch.compile(module.step, fullgraph=True, backend="eager")
    for found, expected in zip(step(x[0])[1], module.step(x[0])[1], strict=True):
        torch.testing.assert_close(found, expected)


def test_convolutional_feedback_adds_the_convolved_spikes() -> None:
    neuron = snn.RLeaky(0.5, conv2d_channels=2, kernel_size=(3, 5)).double()
    x, spk, mem = noise(3, 2, 6, 7), (noise(3, 2, 6, 7) > 0).double(), noise(3, 2, 6, 7)
    _, new = neuron(x[:, None].squeeze(1), spk, mem)
    convolved = nn.functional.conv2d(
        spk, neuron.recurrent.weight, neuron.recurrent.bias, padding=(1, 2)
    )
    torch.testing.assert_close(new, 0.5 * mem + x + convolved - (mem > 1).double())


# -- LSTM cells ------------------------------------------------------------------------------------


def test_slstm_without_reset_is_the_lstm_of_torch() -> None:
    cell = snn.SLSTM(3, 5, threshold=0.1, mode="sequence").double()
    lstm = nn.LSTM(3, 5).double()
    lstm.load_state_dict(
        {f"{name}_l0": value for name, value in cell.lstm_cell.state_dict().items()}
    )
    x = noise(T, 2, 3)
    spk, syn, mem = cell(x)
    hidden, (_, last_cell) = lstm(x)
    torch.testing.assert_close(mem, hidden)
    torch.testing.assert_close(syn[-1], last_cell[0])
    assert torch.equal(spk, (mem > 0.1).double())


def test_sconv2dlstm_on_single_pixels_is_the_lstm_of_torch() -> None:
    cell = snn.SConv2dLSTM(3, 5, kernel_size=1, threshold=0.1, mode="sequence").double()
    lstm = nn.LSTM(3, 5).double()
    i, f, o, g = cell.conv.weight.flatten(1).chunk(4)
    weight = torch.cat([i, f, g, o])  # the order of torch
    i, f, o, g = cell.conv.bias.chunk(4)
    bias = torch.cat([i, f, g, o])
    halves = {
        "weight_ih_l0": weight[:, :3],
        "weight_hh_l0": weight[:, 3:],
        "bias_ih_l0": bias,
        "bias_hh_l0": 0 * bias,
    }
    lstm.load_state_dict(halves)
    x = noise(T, 2, 3)
    spk, _, mem = cell(x[..., None, None])
    torch.testing.assert_close(mem[..., 0, 0], lstm(x)[0])
    assert torch.equal(spk, (mem > 0.1).double())


@pytest.mark.parametrize(
    ("pool", "function"), [("max_pool", "max_pool2d"), ("avg_pool", "avg_pool2d")]
)
def test_sconv2dlstm_compares_the_pooled_membrane_with_the_threshold(
    pool: str, function: str
) -> None:
    cell = snn.SConv2dLSTM(1, 2, kernel_size=3, threshold=0.05, **{pool: 2}).double()
    spk, _, mem = cell(noise(3, 1, 4, 6))
    assert mem.shape == (3, 2, 4, 6)
    assert torch.equal(spk, (getattr(nn.functional, function)(mem, 2) > 0.05).double())


# -- neurons for whole sequences, adaptation, change -----------------------------------------------


def test_leaky_parallel_is_a_rectified_leaky_neuron_behind_a_linear_layer() -> None:
    beta = torch.tensor([0.25, 0.5, 0.75])
    neuron = snn.LeakyParallel(4, 3, beta=beta, threshold=0.3).double()
    x, mem = noise(T, 2, 4), np.zeros((2, 3))
    weights = {
        name.removesuffix("_l0"): value.detach().numpy()
        for name, value in neuron.rnn.named_parameters()
    }
    spk = neuron(x)
    for t, value in enumerate(x.numpy()):
        total = value @ weights["weight_ih"].T + weights["bias_ih"] + weights["bias_hh"]
        mem = np.maximum(0, total + beta.numpy() * mem)
        np.testing.assert_array_equal(spk[t].detach().numpy(), mem > 0.3)


@pytest.mark.parametrize("query", [True, False])
def test_associative_leaky_is_its_recurrence(query: bool) -> None:
    neuron = snn.AssociativeLeaky(
        5, d_value=3, d_key=2, use_q_projection=query, threshold=0.1
    ).double()
    x = noise(300, 2, 5, scale=3.0)
    out, states = neuron.scan(x)
    mem = torch.zeros(2, 3, 2, dtype=DOUBLE)
    for t, value in enumerate(x):
        share = torch.sigmoid(neuron.to_alpha(value))
        mem = (
            mem * share[:, None, :]
            + neuron.to_v(value)[:, :, None] * neuron.to_k(value)[:, None, :]
        )
        spk = (mem > 0.1).double()
        expected = spk @ neuron.to_q(value).view(2, 2, 2) if neuron.to_q is not None else spk
        torch.testing.assert_close(states.mem[t], mem.flatten(1))
        torch.testing.assert_close(out[t], expected.flatten(1))


def test_delta_leaky_fires_where_its_membrane_moves() -> None:
    x, beta = noise(T, 2, 3), 0.5
    spk, (mem, before) = snn.DeltaLeaky(0.75, beta, mode="sequence").double()(x)
    _, expected = snn.Leaky(beta, reset_mechanism="none", mode="sequence").double()(x)
    torch.testing.assert_close(mem, expected)
    torch.testing.assert_close(before, torch.cat([torch.zeros_like(mem[:1]), mem[:-1]]))
    assert torch.equal(spk, ((mem - before).abs() > 0.75).double())


def test_adlif_step_by_step() -> None:
    alpha, beta, a, b, threshold = 0.75, 0.875, 4.0, 8.0, 0.5
    x = noise(100, 2, 3, scale=2.0) + 1
    spk, mem, adapt = snn.AdLIF(alpha, beta, a, b, threshold, mode="sequence").double()(x)
    u, w = np.zeros((2, 3)), np.zeros((2, 3))
    for t, current in enumerate(x.numpy()):
        u = alpha * u + (1 - alpha) * (current - w)
        s = u > threshold
        u = u * ~s
        w = beta * w + (1 - beta) * (a * u + b * s)
        np.testing.assert_array_equal(spk[t].numpy(), s)
        np.testing.assert_allclose(mem[t].numpy(), u, atol=1e-12)
        np.testing.assert_allclose(adapt[t].numpy(), w, atol=1e-12)
    assert 0.05 < spk.mean() < 0.5


def test_adlif_below_its_threshold_resonates_at_the_frequency_of_its_symplectic_map() -> None:
    alpha, beta, a = 0.875, 0.9375, 30.0
    neuron = snn.AdLIF(alpha, beta, a, threshold=99.0, mode="sequence").double()
    x = torch.zeros(400, 1, 1, dtype=DOUBLE)
    x[0] = 1.0
    _, mem, adapt = neuron(x)
    matrix = np.array(
        [[alpha, alpha - 1], [(1 - beta) * a * alpha, beta - (1 - beta) * a * (1 - alpha)]]
    )
    path = np.stack([mem.numpy().ravel(), adapt.numpy().ravel()])
    np.testing.assert_allclose(path[:, 1:], matrix @ path[:, :-1], atol=1e-12)
    eigenvalue = np.linalg.eigvals(matrix)[0]
    assert abs(eigenvalue.imag) > 0.1  # it oscillates
    assert np.linalg.det(matrix) == pytest.approx(
        alpha * beta
    )  # and is stable whatever a is: |eigenvalue|^2
    assert abs(path[0, -1]) < 1e-3 < abs(path[0, 10])


def test_adaptation_by_spikes_lengthens_the_intervals() -> None:
    spk, *_ = snn.AdLIF(0.9, 0.99, a=0.0, b=20.0, threshold=0.5, mode="sequence")(
        torch.full((200, 1, 1), 2.0)
    )
    intervals = spk.flatten().nonzero().flatten().diff()
    assert bool((intervals[:12].diff() >= 0).all()) and intervals[11] > 3 * intervals[0]


@pytest.mark.parametrize(
    "neuron",
    [
        snn.StateLeaky(0.5, channels=3),
        snn.LinearLeaky(0.5, 3, 3, threshold=0.2),
        snn.LeakyParallel(3, 3, beta=0.5, threshold=0.1),
        snn.AssociativeLeaky(3, 2, 2, threshold=0.1),
    ],
    ids=lambda neuron: type(neuron).__name__,
)
def test_neurons_for_whole_sequences_start_every_call_at_rest(neuron: nn.Module) -> None:
    x = noise(T, 2, 3).float()
    first, second = neuron(x), neuron(x)
    first, second = (value[0] if isinstance(value, tuple) else value for value in (first, second))
    assert torch.equal(first, second) and bool((first != 0).any())
    with pytest.raises(ValueError, match=r"mode of \w+ must be one of 'sequence', got 'step'"):
        snn.set_mode(neuron, "step")


def test_a_truncated_or_quantised_sum_is_made_in_one_piece() -> None:
    x, mem = noise(T, 2, 3).float(), torch.ones(2, 3)
    carried, _ = snn.StateLeaky(0.5, channels=3)(x, mem)
    assert not torch.equal(carried, snn.StateLeaky(0.5, channels=3)(x)[0])
    for options in ({"kernel_truncation_steps": 3}, {"state_quant": torch.round}):
        with pytest.raises(ValueError, match="pass the sequence in one piece"):
            snn.StateLeaky(0.5, channels=3, **options)(x, mem)
    _, rounded = snn.StateLeaky(0.5, channels=3, state_quant=torch.round)(x)
    assert torch.equal(rounded, snn.StateLeaky(0.5, channels=3)(x)[1].round())
