"""Regularisers and the quantiser of states."""

import copy
import pickle

import pytest
import torch
from torch import nn

import spikeloom as snn
import spikeloom.functional as SF


def test_rate_band_punishes_rates_outside_it_and_pulls_them_back():
    spk = torch.tensor([0.0, 0.3, 0.9]).repeat(10, 4, 1).requires_grad_()  # rates of 0, 0.3 and 0.9
    penalty = SF.rate_band(low=0.1, high=0.5, Lambda=3.0)(spk)
    torch.testing.assert_close(penalty, torch.tensor(3.0 * (0.1**2 + 0 + 0.4**2) / 3))
    penalty.backward()
    assert [sign.unique().tolist() for sign in spk.grad.sign().unbind(-1)] == [[-1], [0], [1]]
    with pytest.raises(ValueError, match=r"0 <= low <= high, got low=0\.5, high=0\.1"):
        SF.rate_band(0.5, 0.1)


@pytest.mark.parametrize(
    ("synapse", "shape"),
    [
        (nn.Linear(6, 5), (6,)),
        (nn.Conv1d(2, 3, 3, stride=2), (2, 9)),
        (nn.Conv2d(2, 4, 3, padding=1, dilation=2), (2, 6, 5)),
        (nn.Conv2d(4, 8, (3, 2), stride=(2, 1), groups=2, bias=False), (4, 7, 5)),
    ],
)
def test_fan_out_counts_the_outputs_that_an_input_reaches(synapse: nn.Module, shape: tuple) -> None:
    with torch.no_grad():
        for weight in synapse.parameters():
            weight.fill_(1.0)
        silent = synapse(torch.zeros(1, *shape))
        alone = torch.eye(int(torch.tensor(shape).prod())).reshape(
            -1, *shape
        )  # one input active in each sample
        reached = (synapse(alone) != silent).flatten(1).sum(1)
    assert torch.equal(SF.fan_out(synapse, shape), reached.reshape(shape).float())


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
@pytest.mark.parametrize("kernel_count", [1, 3])
def test_fan_out_of_a_layer_with_delays_counts_synapses_and_not_weights_of_lag_0(
    kernel: str, kernel_count: int
) -> None:
    options = {"max_delay": 4, "kernel": kernel, "kernel_count": kernel_count}
    linear = snn.DelayedLinear(3, 5, **options)
    linear.weight.detach().view(-1, 5, 3)[0, :2, 1] = 0.0
    snn.run(linear, torch.ones(2, 4, 3))  # its state is left alone
    assert torch.equal(SF.fan_out(linear, (3,)), torch.full((3,), 5.0 * kernel_count))
    pruned = 5.0 * kernel_count - torch.tensor([0.0, 2.0, 0.0])
    assert torch.equal(SF.fan_out(linear, (3,), pruned=True), pruned)
    assert linear.mode == "step"
    conv = snn.DelayedConv2d(2, 4, 3, padding=1, stride=2, **options)
    plain = nn.Conv2d(2, 4, 3, padding=1, stride=2)
    expected = kernel_count * SF.fan_out(plain, (2, 6, 5))
    assert torch.equal(SF.fan_out(conv, (2, 6, 5)), expected)


def test_fan_out_of_a_neuron_with_a_weight_of_its_own_asked_for_its_delays() -> None:
    with pytest.raises(ValueError, match="shape must be that of one sample of SlidingPSN"):
        SF.fan_out(snn.SlidingPSN(3, mode="sequence"), (2,))


def test_synops_are_spikes_times_fan_out_of_one_sample():
    fc, conv = nn.Linear(3, 10), nn.Conv2d(1, 2, 3)
    spk_fc, spk_conv = (
        torch.ones(5, 4, 3),
        (torch.rand(5, 4, 1, 6, 6) > 0.5).float().requires_grad_(),
    )
    count = SF.synops([fc, conv], Lambda=1.0)(spk_fc, spk_conv)
    reach = SF.fan_out(conv, (1, 6, 6))
    torch.testing.assert_close(count, 5 * 3 * 10 + (spk_conv * reach).sum() / 4)
    count.backward()
    torch.testing.assert_close(spk_conv.grad, (reach / 4).expand_as(spk_conv))
    torch.testing.assert_close(SF.synops(10, Lambda=0.1)(spk_fc), torch.tensor(15.0))


def test_regularisers_say_what_is_wrong():
    with pytest.raises(ValueError, match="synops expects 2 records of spikes, got 1"):
        SF.synops([1.0, 2.0])(torch.ones(1, 1, 1))
    with pytest.raises(TypeError, match="a module with a weight, got Sequential"):
        SF.fan_out(nn.Sequential(nn.Linear(2, 2)), (2,))


def test_sums_of_half_precision_do_not_overflow():
    spk = torch.ones(100, 100, 10, dtype=torch.float16)
    assert SF.l1_rate_sparsity(Lambda=1.0)(spk) == 100_000
    assert SF.synops(1.0, Lambda=1.0)(spk) == 1000


@pytest.mark.parametrize(
    "make", [SF.l1_rate_sparsity, lambda: SF.rate_band(0, 1), lambda: SF.synops(3)]
)
def test_regularisers_carry_their_name_and_can_be_pickled(make) -> None:
    made = make()
    assert made.__name__ == type(made).__name__
    spk = torch.rand(3, 2, 4)
    assert torch.equal(pickle.loads(pickle.dumps(made))(spk), made(spk))


GRIDS = [{}, {"uniform": False}, {"uniform": False, "thr_centered": False, "multiplier": 0.8}]


@pytest.mark.parametrize("settings", GRIDS)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_quantiser_finds_the_nearest_level(settings: dict, bits: int) -> None:
    quantise = SF.state_quant(bits, threshold=0.8, lower_limit=0.4, **settings)
    x = torch.randn(500)
    levels = quantise.levels
    assert len(levels) == 2**bits
    error = (x.unsqueeze(-1) - levels).abs().min(-1).values
    torch.testing.assert_close((quantise(x) - x).abs(), error)
    assert torch.equal(quantise(levels), levels)


def test_the_quantiser_passes_gradients_straight_through_also_under_vmap():
    quantise = SF.state_quant(3)
    x = torch.randn(4, 5, requires_grad=True)
    upstream = torch.randn(4, 5)
    quantise(x).backward(upstream)
    assert torch.equal(x.grad, upstream)
    assert torch.equal(
        torch.vmap(torch.func.grad(lambda row: quantise(row).sum()))(x.detach()), torch.ones(4, 5)
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_quantiser_keeps_the_dtype_of_the_state(dtype: torch.dtype) -> None:
    quantise = SF.state_quant(4)
    assert quantise(torch.randn(3, dtype=dtype)).dtype == dtype


def test_the_quantiser_does_not_hide_nan():
    assert SF.state_quant(4)(torch.tensor([torch.nan, 0.0])).isnan().tolist() == [True, False]


def test_the_quantiser_needs_no_memory_for_its_levels():
    x = torch.randn(2000)
    with torch.profiler.profile(profile_memory=True) as profile:
        SF.state_quant(8)(x)
    most = max(event.cpu_memory_usage for event in profile.key_averages())
    assert (
        most < 40 * x.numel()
    )  # a comparison with every level would take 4 * 256 bytes an element


def test_the_quantiser_is_a_value():
    quantise = SF.state_quant(4, uniform=False)
    quantise(torch.zeros(1))
    same = [copy.deepcopy(quantise), pickle.loads(pickle.dumps(quantise)), SF.state_quant(4, False)]
    assert all(other == quantise and hash(other) == hash(quantise) for other in same)
    assert SF.state_quant(5, False) != quantise
    with pytest.raises(AttributeError, match="num_bits"):
        quantise.num_bits = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_bits": 0}, r"num_bits must be in \[1, 16\], got 0"),
        (
            {"threshold": -1},
            "threshold must be positive and the limits at least 0, got threshold=-1.0",
        ),
        ({"upper_limit": -0.5}, "levels run from -1 to 0.5"),
        ({"multiplier": 0}, "multiplier must be positive, got 0"),
    ],
)
def test_the_quantiser_says_what_is_wrong(settings: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SF.state_quant(**settings)
