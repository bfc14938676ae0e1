"""Losses of spike times: times, gradients, and what snnTorch gets wrong."""

import pytest
import torch

import spikeloom.functional as SF

SPK = (
    torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]]).float().unsqueeze(1)
)  # [T, B, N] = [5, 1, 3]


def test_multi_spike_times_of_a_neuron_are_untouched_by_other_neurons():
    time, _ = SF.SpikeTime(multi_spike=True, on_target=[0, 1, 2], off_target=[0, 1, 2])(
        SPK, torch.tensor([0])
    )
    assert time.squeeze(1).tolist() == [[1, 0, 4], [3, 1, 4], [4, 3, 4]]


def test_mse_temporal_loss_leaves_the_targets_of_the_caller_alone():
    targets = torch.tensor([[2.0, -1.0, -5.0]])
    before = targets.clone()
    loss = SF.mse_temporal_loss(target_is_time=True, reduction="none")(SPK, targets)
    assert torch.equal(targets, before)
    torch.testing.assert_close(
        loss, torch.tensor([[(1 - 2) ** 2, (0 - 4) ** 2, (4 - 0) ** 2]]) / 25
    )


def test_mse_temporal_loss_wants_other_classes_at_the_end_no_longer_at_step_0():
    loss = SF.mse_temporal_loss(reduction="none")(SPK, torch.tensor([1]))
    torch.testing.assert_close(loss, torch.tensor([[(1 - 4) ** 2, 0, 0]]) / 25)


def test_the_gradient_of_a_time_is_minus_one_at_its_spike():
    spk = SPK.clone().requires_grad_()
    time, _ = SF.SpikeTime()(spk, torch.tensor([0]))
    (time * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    wanted = torch.zeros_like(SPK)
    wanted[1, 0, 0], wanted[0, 0, 1], wanted[4, 0, 2] = (
        -1,
        -2,
        -3,
    )  # a silent output: at the last step
    assert torch.equal(spk.grad, wanted)


def test_the_gradient_of_several_times_adds_up_where_they_share_a_step():
    spk = SPK.clone().requires_grad_()
    time, _ = SF.SpikeTime(multi_spike=True, on_target=[0, 1, 2], off_target=[0, 1, 2])(
        spk, torch.tensor([0])
    )
    (time * torch.tensor([1.0, 2.0, 4.0]).reshape(3, 1, 1)).sum().backward()
    wanted = torch.zeros_like(SPK)
    wanted[[1, 3, 4], 0, 0] = torch.tensor([-1.0, -2, -4])
    wanted[[0, 1, 3], 0, 1] = torch.tensor([-1.0, -2, -4])
    wanted[4, 0, 2] = -7
    assert torch.equal(spk.grad, wanted)


def test_spikes_within_the_tolerance_count_as_on_time_and_keep_their_gradient():
    spk = SPK.clone().requires_grad_()
    time, wanted = SF.SpikeTime(on_target=2, off_target=3, tolerance=2)(spk, torch.tensor([0]))
    assert time.tolist() == [[2, 0, 3]]
    assert wanted.tolist() == [[2, 3, 3]]
    time.sum().backward()
    assert spk.grad.sum() == -3


def test_graded_spikes_have_the_time_of_their_step_no_longer_scaled_by_their_size():
    assert SF.SpikeTime()(SPK * 0.25, torch.tensor([0]))[0].tolist() == [[1, 0, 4]]


def test_multi_spike_class_weights_act_on_samples():
    spk = SPK.repeat(1, 2, 1)
    labels, weight = torch.tensor([0, 2]), torch.tensor([2.0, 1.0, 5.0])
    make = {"multi_spike": True, "on_target": [0, 1], "off_target": [3, 4], "reduction": "none"}
    plain, weighted = (SF.mse_temporal_loss(**make, weight=w)(spk, labels) for w in (None, weight))
    torch.testing.assert_close(weighted, plain * weight[labels][None, :, None])


def test_times_and_class_weights_exclude_each_other():
    with pytest.raises(
        ValueError, match="weight needs class labels as targets, got target_is_time=True"
    ):
        SF.mse_temporal_loss(target_is_time=True, weight=torch.ones(3))


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        (
            {"multi_spike": True},
            TypeError,
            r"multi_spike=True does not fit on_target=0; write a sequence of times",
        ),
        (
            {"on_target": [0, 1]},
            TypeError,
            r"multi_spike=False does not fit on_target=\[0, 1\]; write one time",
        ),
        (
            {"multi_spike": True, "on_target": [0], "off_target": [1, 2]},
            ValueError,
            "same length, got 1 and 2",
        ),
    ],
)
def test_spike_time_says_what_is_wrong_with_its_settings(
    settings: dict, error: type, text: str
) -> None:
    with pytest.raises(error, match=text):
        SF.SpikeTime(**settings)


def test_temporal_losses_say_what_is_wrong():
    with pytest.raises(
        ValueError, match=r"expects times \[B, N\] for outputs \(5, 1, 3\), got \(1,\)"
    ):
        SF.mse_temporal_loss(target_is_time=True)(SPK, torch.tensor([0]))
    with pytest.raises(
        ValueError, match="inverse must be one of 'negate', 'reciprocal', got 'negative'"
    ):
        SF.ce_temporal_loss(inverse="negative")


def test_ce_temporal_loss_prefers_the_class_that_fires_first():
    for inverse in ("negate", "reciprocal"):
        first, last = (SF.ce_temporal_loss(inverse)(SPK, torch.tensor([label])) for label in (1, 2))
        assert first < last
