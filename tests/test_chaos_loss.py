"""The chaotic loss: exact where the published forms overflow, literal where they do not, annealed
as told."""

import io
import math

import pytest
import torch
from reference_csbp import multi_layer_loss, single_neuron_loss
from torch import nn

import spikeloom as snn
from spikeloom.chaos import ChaoticLoss, Cosine, Exponential, Function, Until, chaotic_loss


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_value_and_gradient_are_exact_for_any_pre_activation(
    dtype: torch.dtype, scale: float
) -> None:
    h = torch.tensor(
        [-1e4, -100.0, -17.0, -1.0, 0.0, 0.5, 17.0, 30.0, 100.0, 1e4],
        dtype=dtype,
        requires_grad=True,
    )
    loss = chaotic_loss(h[:, None], 7.0, scale=scale, reduction="sum")
    loss.backward()
    x = [v / scale for v in h.tolist()]
    softplus = [max(v, 0.0) + math.log1p(math.exp(-abs(v))) for v in x]
    assert loss.item() == pytest.approx(
        7.0 * sum(s - 0.65 * v for s, v in zip(softplus, x, strict=True)), rel=1e-6
    )
    sigmoid = [1 / (1 + math.exp(-v)) if v > -700 else 0.0 for v in x]
    expected = torch.tensor([7.0 / scale * (p - 0.65) for p in sigmoid], dtype=dtype)
    assert torch.allclose(h.grad, expected, rtol=1e-6 if dtype == torch.float32 else 1e-14, atol=0)


def test_the_published_log_form_is_infinite_where_this_one_is_exact() -> None:
    h = torch.tensor([[17.0], [-100.0]])
    assert torch.isinf(single_neuron_loss(torch.sigmoid(h), 10)).all()
    assert torch.isfinite(chaotic_loss(h, 10.0))


def test_it_is_the_loss_of_the_single_neuron_example() -> None:
    h = torch.linspace(-5, 5, 11).reshape(-1, 1)
    ours = torch.stack([chaotic_loss(v[None], 10.0) for v in h])
    assert torch.allclose(ours, single_neuron_loss(torch.sigmoid(h), 10)[:, 0], rtol=1e-5)


def test_it_is_the_loss_of_the_multi_layer_example_with_a_sum_or_with_a_mean() -> None:
    h = 8 * torch.randn(4, 2, 3, 5, 5)
    for reduction in ("sum", "mean"):
        theirs, ours = h.clone().requires_grad_(), h.clone().requires_grad_()
        expected = getattr(multi_layer_loss(theirs, 10), reduction)()
        found = ChaoticLoss(10.0, scale=10.0, reduction=reduction)(ours)
        expected.backward(), found.backward()
        assert torch.allclose(found, expected, rtol=1e-5)
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-9)


def test_the_clamp_of_the_authors_stops_the_gradient_outside() -> None:
    h = torch.tensor([[-11.0, -9.0, 9.0, 10.0]], requires_grad=True)
    ChaoticLoss(1.0, scale=10.0, clamp=(-10, 9.9))(h).backward()
    assert (h.grad != 0).tolist() == [[False, True, True, False]]


def test_reductions_divide_by_all_by_the_samples_or_by_nothing() -> None:
    h = torch.randn(3, 4, 5)  # three steps, four samples, five units
    total = ChaoticLoss(2.0, reduction="sum")(h, samples=2)
    assert torch.allclose(ChaoticLoss(2.0, reduction="mean")(h, samples=2), total / 60)
    assert torch.allclose(ChaoticLoss(2.0, reduction="sum_units")(h, samples=2), total / 12)


def test_the_gradient_vanishes_at_the_rest_point() -> None:
    h = torch.tensor([[0.5 + 3.0 * math.log(0.65 / 0.35)]], dtype=torch.double, requires_grad=True)
    chaotic_loss(h, 10.0, center=0.5, scale=3.0).backward()
    assert abs(float(h.grad)) < 1e-15


def test_an_intensity_of_zero_has_no_graph() -> None:
    assert not ChaoticLoss(0.0)(torch.ones(1, 1, requires_grad=True)).requires_grad


@pytest.mark.parametrize(
    ("anneal", "expected"),
    [
        (Exponential(0.5), [8.0, 4.0, 2.0, 1.0]),
        (Exponential(0.5, per="epoch"), [8.0, 8.0, 8.0, 8.0]),
        (Cosine(2), [8.0, 4.0, 0.0, 0.0]),
        (Until(3.0, 0.5), [8.0, 4.0, 0.0, 0.0]),
        (Until(4.0, 0.5), [8.0, 4.0, 0.0, 0.0]),  # the end itself still counts
        (Function(lambda n: 1.0 / (n + 1)), [8.0, 4.0, 8 / 3, 2.0]),
        (lambda n: float(n < 2), [8.0, 8.0, 0.0, 0.0]),
        (None, [8.0, 8.0, 8.0, 8.0]),
    ],
)
def test_annealing_by_the_step(anneal: object, expected: list[float]) -> None:
    loss, found = ChaoticLoss(8.0, anneal=anneal), []
    for _ in expected:
        found.append(loss.z)
        loss.step()
    assert found == pytest.approx(expected)


def test_annealing_by_the_epoch_ignores_steps() -> None:
    loss = ChaoticLoss(8.0, anneal=Exponential(0.5, per="epoch"))
    loss.step(), loss.epoch(), loss.step(), loss.epoch()
    assert loss.z == 2.0


def test_the_state_survives_a_checkpoint() -> None:
    net, file = nn.Sequential(ChaoticLoss(8.0, anneal=Exponential(0.5))), io.BytesIO()
    net[0].step()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = nn.Sequential(ChaoticLoss(1.0, anneal=Exponential(0.5)))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other[0].z == 4.0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ChaoticLoss(-1.0), "z must be in"),
        (lambda: ChaoticLoss(I0=1.0), "I0 must be in"),
        (lambda: ChaoticLoss(scale=0.0), "scale must be in"),
        (lambda: ChaoticLoss(reduction="max"), "reduction must be one of"),
        (lambda: ChaoticLoss(clamp=(1.0, 1.0)), "clamp must be"),
        (lambda: Exponential(1.5), "beta must be in"),
        (lambda: Exponential(0.5, per="batch"), "per must be one of"),
        (lambda: Until(0.0, 0.5), "end must be in"),
        (lambda: Cosine(0), "length must be in"),
        (lambda: snn.chaos.A(-1.0), "A must be in"),
        (lambda: snn.chaos.CSBP(snn.chaos.Z(1.0), signal="spikes"), "signal must be one of"),
        (lambda: snn.chaos.CSBP(snn.chaos.Z(1.0), drive="tent"), "drive must be one of"),
        (lambda: snn.chaos.CSBP(snn.chaos.Z(1.0), center="rest"), "center must be one of"),
        (lambda: snn.chaos.CSBP(snn.chaos.Z(1.0), I0=2.0), "I0 must be in"),
    ],
)
def test_settings_outside_their_range_are_refused(make: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()  # type: ignore[operator]


def test_wrong_kinds_are_refused() -> None:
    with pytest.raises(TypeError, match=r"anneal must be a schedule"):
        ChaoticLoss(anneal=0.5)
    with pytest.raises(TypeError, match=r"strength must be chaos\.A"):
        snn.chaos.CSBP(3.8)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"function must map"):
        Function(0.5)  # type: ignore[arg-type]
