"""Losses of counts, rates and membranes, and the accuracies: what differs from snnTorch, and what
they refuse.

The numbers that agree with snnTorch are compared in `test_recorded_surface`.
"""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import spikeloom.functional as SF

T, B, C = 7, 4, 3
LABELS = torch.tensor([0, 2, 1, 2])
WEIGHT = torch.tensor([0.5, 2.0, 3.0])
CLASS_LOSSES = [
    SF.ce_rate_loss,
    SF.ce_count_loss,
    SF.ce_max_membrane_loss,
    SF.mse_count_loss,
    SF.mse_membrane_loss,
    SF.mse_temporal_loss,
]


def spikes(neurons: int = C) -> torch.Tensor:
    return (torch.rand(T, B, neurons, generator=torch.Generator().manual_seed(5)) > 0.6).float()


@pytest.mark.parametrize(
    "loss", [*CLASS_LOSSES, SF.ce_temporal_loss], ids=lambda loss: loss.__name__
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reductions_are_those_of_the_unreduced_loss(loss, reduction: str) -> None:
    single = loss(reduction="none")(spikes(), LABELS)
    assert single.shape[0] == B
    reduced = loss(reduction=reduction)(spikes(), LABELS)
    torch.testing.assert_close(reduced.squeeze(), getattr(single, reduction)())


@pytest.mark.parametrize("loss", CLASS_LOSSES, ids=lambda loss: loss.__name__)
def test_class_weights_act_on_samples_no_longer_on_the_class_axis(loss) -> None:
    single = loss(reduction="none")(spikes(), LABELS)
    factor = WEIGHT[LABELS].reshape(-1, *[1] * (single.dim() - 1))
    torch.testing.assert_close(
        loss(reduction="none", weight=WEIGHT)(spikes(), LABELS), single * factor
    )


@pytest.mark.parametrize("loss", CLASS_LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weighted_losses_are_reduced_also_by_sum(loss, reduction: str) -> None:
    weighted = loss(reduction="none", weight=WEIGHT)(spikes(), LABELS)
    result = loss(reduction=reduction, weight=WEIGHT)(spikes(), LABELS)
    torch.testing.assert_close(result, getattr(weighted, reduction)())


def test_ce_rate_population_code_is_the_mean_of_the_group_at_every_step():
    spk = spikes(2 * C)
    loss = SF.ce_rate_loss(population_code=True, num_classes=C)(spk, LABELS)
    logits = spk.reshape(T, B, C, 2).mean(-1)
    wanted = torch.stack([cross_entropy(step, LABELS) for step in logits]).mean()
    torch.testing.assert_close(loss, wanted.reshape(1))


def test_ce_rate_population_code_takes_a_weight_for_each_class():
    spk = spikes(2 * C)
    make = {"population_code": True, "num_classes": C, "reduction": "none"}
    plain, weighted = (
        SF.ce_rate_loss(**make, weight=weight)(spk, LABELS) for weight in (None, WEIGHT)
    )
    torch.testing.assert_close(weighted, plain * WEIGHT[LABELS])


def test_mse_membrane_loss_with_targets_that_change_over_time():
    mem = torch.randn(T, B, C)
    labels = torch.randint(C, (T, B))
    loss = SF.mse_membrane_loss(time_var_targets=True, on_target=1.5, off_target=-0.5)(mem, labels)
    wanted = torch.where(torch.nn.functional.one_hot(labels, C).bool(), 1.5, -0.5)
    torch.testing.assert_close(loss, ((mem - wanted) ** 2).mean().reshape(1))
    constant = labels[:1].expand(T, -1)
    for weight in (None, WEIGHT):
        over_time = SF.mse_membrane_loss(time_var_targets=True, weight=weight)(mem, constant)
        torch.testing.assert_close(over_time, SF.mse_membrane_loss(weight=weight)(mem, labels[0]))


def test_mse_count_targets_are_cut_off_not_rounded():
    spk = torch.zeros(7, 1, 2)
    loss = SF.mse_count_loss(correct_rate=0.8, reduction="none")(
        spk, torch.tensor([1])
    )  # 7 * 0.8 = 5.6
    assert (loss * 7).tolist() == [[0, 25]]


def test_losses_keep_the_shapes_that_snntorch_gives_them():
    shapes = {loss.__name__: tuple(loss()(spikes(), LABELS).shape) for loss in CLASS_LOSSES}
    assert [name for name, shape in shapes.items() if shape == (1,)] == [
        "ce_rate_loss",
        "mse_membrane_loss",
    ]
    assert SF.ce_rate_loss(weight=WEIGHT)(spikes(), LABELS).shape == ()


@pytest.mark.parametrize("loss", CLASS_LOSSES[:5], ids=lambda loss: loss.__name__)
def test_gradients_are_those_of_the_numbers(loss) -> None:
    out = torch.randn(T, B, C, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(weight=WEIGHT)(x, LABELS), out)


@pytest.mark.parametrize(
    "loss", [*CLASS_LOSSES, SF.ce_temporal_loss], ids=lambda loss: loss.__name__
)
def test_losses_follow_double_and_compute_half_in_single(loss) -> None:
    spk, plain = spikes(), loss()(spikes(), LABELS)
    assert loss(weight=WEIGHT)(spk.double(), LABELS).dtype == torch.float64
    half = spk.half().requires_grad_()
    torch.testing.assert_close(loss()(half, LABELS), plain)
    loss()(half, LABELS).sum().backward()
    assert half.grad is not None and half.grad.dtype == torch.float16


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # torch's tracer does it itself
@pytest.mark.parametrize(
    "loss",
    [SF.ce_rate_loss, SF.mse_count_loss, SF.mse_temporal_loss],
    ids=lambda loss: loss.__name__,
)
def test_losses_compile_without_a_graph_break(loss) -> None:
    made = loss(weight=WEIGHT)
    compiled = torch.compile(lambda spk, labels: made(spk, labels), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(spikes(), LABELS), made(spikes(), LABELS))


def test_the_highest_membrane_passes_its_gradient_to_one_step_only():
    mem = torch.ones(T, B, C, requires_grad=True)
    SF.ce_max_membrane_loss()(mem, LABELS).backward()
    assert mem.grad[0].all() and not mem.grad[1:].any()


def test_counts_of_half_precision_do_not_saturate():
    spk = torch.ones(3000, 1, 2, dtype=torch.float16)
    assert SF.mse_count_loss(correct_rate=1, incorrect_rate=1)(spk, torch.tensor([0])) == 0


@pytest.mark.parametrize(
    "loss", [*CLASS_LOSSES, SF.ce_temporal_loss], ids=lambda loss: loss.__name__
)
def test_losses_carry_their_name_and_settings_and_can_be_copied(loss) -> None:
    made = loss(reduction="sum", weight=WEIGHT)
    assert (made.__name__, made.reduction, made.weight is WEIGHT) == (loss.__name__, "sum", True)
    for same in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        torch.testing.assert_close(same(spikes(), LABELS), made(spikes(), LABELS))
    assert repr(made).startswith(f"{loss.__name__}(reduction='sum'")


@pytest.mark.parametrize(
    "loss", [*CLASS_LOSSES, SF.ce_temporal_loss], ids=lambda loss: loss.__name__
)
@pytest.mark.parametrize(
    ("spk", "labels", "error", "text"),
    [
        ([torch.zeros(B, C)], LABELS, TypeError, r"got list; write torch.stack\(spk_rec\)"),
        ((torch.zeros(T, B, C), None), LABELS, TypeError, "got tuple; write the spikes alone"),
        (
            torch.zeros(B, C),
            LABELS,
            ValueError,
            r"got \(4, 3\); write spk.unsqueeze\(0\) for one step",
        ),
        (torch.zeros(T, B, 2, 2), LABELS, ValueError, r"write spk.flatten\(2\)"),
        (torch.zeros(0, B, C), LABELS, ValueError, "with T > 0"),
        (
            torch.zeros(B, T, C),
            LABELS,
            ValueError,
            r"class labels of shape \(7,\), got \(4,\); write outputs as",
        ),
        (torch.zeros(T, B, C), [0, 2, 1, 2], TypeError, "targets as a tensor, got list"),
        (
            torch.zeros(T, B, C),
            torch.eye(3)[LABELS],
            ValueError,
            r"write targets.argmax\(-1\) for one-hot",
        ),
        (
            torch.zeros(T, B, C),
            LABELS + 1,
            ValueError,
            r"class labels in \[0, 2\] for 3 classes, got 3",
        ),
        (torch.zeros(T, B, C), LABELS + 0.5, TypeError, "got fractions; write integer labels"),
    ],
)
def test_losses_say_what_is_wrong_with_a_call(loss, spk, labels, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        loss()(spk, labels)


def test_losses_say_what_is_wrong_with_their_settings():
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        SF.ce_rate_loss(reduction="men")
    with pytest.raises(ValueError, match="a population code needs num_classes, got none"):
        SF.ce_count_loss(population_code=True)(spikes(), LABELS)
    with pytest.raises(
        ValueError, match="multiple of num_classes=3, got 4; write an output layer of 6 neurons"
    ):
        SF.mse_count_loss(population_code=True, num_classes=3)(spikes(4), LABELS)
    with pytest.raises(ValueError, match=r"one number per class, got shape \(2,\)"):
        SF.mse_count_loss(weight=torch.ones(2))(spikes(), LABELS)
    with pytest.raises(NotImplementedError, match="must define _compute_loss"):
        SF.LossFunctions("mean", None)(spikes(), LABELS)


def test_accuracies_are_numpy_numbers_as_the_tutorials_expect():
    for accuracy in (SF.accuracy_rate(spikes(), LABELS), SF.accuracy_temporal(spikes(), LABELS)):
        assert type(accuracy) is np.float64
        assert 0 <= accuracy.item() <= 1


def test_accuracy_rate_reads_a_population_code():
    spk = torch.zeros(T, 2, 4)
    spk[:, 0, 1], spk[:3, 0, 2:] = 1, 1  # 7 spikes in group 0, 6 in group 1
    spk[:2, 1, 3] = 1
    assert SF.accuracy_rate(spk, torch.tensor([0, 1]), population_code=True, num_classes=2) == 1
    assert SF.accuracy_rate(spk, torch.tensor([1, 3])) == 1


def test_accuracy_temporal_counts_silent_outputs_as_last_and_reads_graded_spikes():
    spk = torch.zeros(T, 3, C)
    spk[3, 0, 2] = 0.1
    spk[2, 0, 1] = 9.0
    assert SF.accuracy_temporal(spk, torch.tensor([1, 0, 0])) == 1
    late = torch.zeros(T, 2, C)
    late[T - 1, 0, 1] = 1  # ties with the silent ones, so that the lowest class wins
    late[T - 2, 1, 1] = 1  # comes before them
    assert SF.accuracy_temporal(late, torch.tensor([0, 1])) == 1


def test_accuracies_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"accuracy_rate expects outputs \[T, B, N\]"):
        SF.accuracy_rate(torch.zeros(B, C), LABELS)
    with pytest.raises(
        ValueError, match=r"accuracy_temporal expects class labels of shape \(4,\), got \(3,\)"
    ):
        SF.accuracy_temporal(spikes(), LABELS[:3])
