"""STBP: recurrence, loss and gradient are those of a hand-written loop; the ready network takes any
image."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.functional import mse_rate_loss
from spikeloom.learning import STBP_CURVES, Wu2018, stbp_neuron

T, B = 9, 4
WIDTHS = {"rectangular": 0.8, "polynomial": 0.6, "logistic": 0.3, "gaussian": 0.4}


def net(curve: str, tau: float = 0.25) -> nn.Sequential:
    torch.manual_seed(0)
    found = nn.Sequential(
        *(nn.Linear(5, 8), stbp_neuron(0.5, tau, curve, WIDTHS[curve])),
        *(nn.Linear(8, 3), stbp_neuron(0.5, tau, curve, WIDTHS[curve])),
    ).double()
    for p in found.parameters():
        nn.init.normal_(p, std=0.6)
    return found


def by_hand(found: nn.Sequential, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Spikes, loss and gradients of the equations as printed, errors passed back in space and time
    without autograd."""
    w = [found[0].weight.detach(), found[2].weight.detach()]
    b = [found[0].bias.detach(), found[2].bias.detach()]
    curve, tau, V = found[1].spike_grad, float(found[1].beta), float(found[1].threshold)
    u = [[torch.zeros(B, len(w[n]), dtype=x.dtype)] for n in (0, 1)]
    o = [[torch.zeros(B, len(w[n]), dtype=x.dtype)] for n in (0, 1)]
    for t in range(T):
        s = x[t]
        for n in (0, 1):
            u[n].append(tau * u[n][-1] * (1 - o[n][-1]) + s @ w[n].T + b[n])
            o[n].append((u[n][-1] >= V).double())
            s = o[n][-1]
    wanted = torch.eye(3, dtype=x.dtype)[y]
    rates = torch.stack(o[1][1:]).mean(0)
    loss = (wanted - rates).square().sum() / (2 * B)
    later = [torch.zeros_like(u[n][0]) for n in (0, 1)]  # dL/du of the step after
    gradients = [[torch.zeros_like(w[n]), torch.zeros_like(b[n])] for n in (0, 1)]
    for t in range(T, 0, -1):
        above = -(wanted - rates) / (T * B)  # dL/do of the last layer
        for n in (1, 0):
            do = above - later[n] * tau * u[n][t]
            du = do * curve.derivative(u[n][t] - V) + later[n] * tau * (1 - o[n][t])
            below = x[t - 1] if n == 0 else o[0][t]
            gradients[n][0] += du.T @ below
            gradients[n][1] += du.sum(0)
            later[n], above = du, du @ w[n]
    return torch.stack(o[1][1:]), loss, [g for pair in gradients for g in pair]


@pytest.mark.parametrize("curve", STBP_CURVES)
def test_recurrence_loss_and_gradients_are_those_of_the_hand_written_loop(curve: str) -> None:
    found, y = net(curve), torch.tensor([0, 2, 1, 1])
    x = torch.rand(T, B, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    spk = snn.run(found, x)
    loss = mse_rate_loss()(spk, y)
    gradients = torch.autograd.grad(loss, list(found.parameters()))
    wanted = by_hand(found, x, y)
    torch.testing.assert_close(spk, wanted[0])
    assert 0.05 < spk.mean() < 0.95
    torch.testing.assert_close(loss, wanted[1], rtol=0, atol=1e-12)
    for gradient, other in zip(gradients, wanted[2], strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-6)
        assert other.abs().max() > 1e-4


def test_the_gradient_passes_the_reset_unlike_with_zero() -> None:
    x = torch.full((3, 1, 1), 0.7, dtype=torch.float64)
    found = {}
    for reset in ("zero", "zero_attached"):
        lif = snn.Leaky(
            0.5,
            0.5,
            spike_grad=STBP_CURVES["gaussian"](1.0),
            reset_mechanism=reset,
            mode="sequence",
        )
        inputs = x.clone().requires_grad_()
        spk = lif(inputs)[0]
        found[reset] = spk, torch.autograd.grad(spk.sum(), inputs)[0]
    assert torch.equal(found["zero"][0], found["zero_attached"][0])
    assert not torch.allclose(found["zero"][1], found["zero_attached"][1])


@pytest.mark.parametrize("curve", STBP_CURVES)
@pytest.mark.parametrize("a", [0.3, 1.0, 2.5])
def test_each_curve_has_area_one(curve: str, a: float) -> None:
    x = torch.linspace(-60, 60, 1_200_001, dtype=torch.float64)
    area = torch.trapezoid(STBP_CURVES[curve](a).derivative(x), x)
    torch.testing.assert_close(area, torch.ones_like(area), rtol=0, atol=5e-4)


def test_the_rate_loss_weighs_classes_and_reduces() -> None:
    spk = torch.zeros(4, 2, 3)
    spk[:2, 0, 0] = 1
    y = torch.tensor([0, 2])
    torch.testing.assert_close(mse_rate_loss("none")(spk, y), torch.tensor([0.125, 0.5]))
    torch.testing.assert_close(mse_rate_loss("sum")(spk, y), torch.tensor(0.625))
    weighted = mse_rate_loss("none", weight=torch.tensor([4.0, 1.0, 2.0]))(spk, y)
    torch.testing.assert_close(weighted, torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match=r"class labels in \[0, 2\] for 3 classes, got 3"):
        mse_rate_loss()(spk, torch.tensor([0, 3]))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14)])
def test_the_ready_network_takes_any_batch_and_image(shape: tuple[int, int, int]) -> None:
    model = Wu2018(batch_size=2, time_interval=3, sample_shape=shape, num_classes=4)
    for batch in (1, 5):
        rates = model(32 * torch.rand(batch, *shape))
        assert rates.shape == (batch, 4) and ((rates * 3).round() == rates * 3).all()


def test_rate_coding_fires_at_the_rate_of_the_pixel() -> None:
    model = Wu2018(
        time_interval=4000, sample_shape=(1, 4, 4), generator=torch.Generator().manual_seed(0)
    )
    seen: list[Tensor] = []
    handle = model.net[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    image = torch.linspace(0, 32, 16).reshape(1, 1, 4, 4)
    model(image)
    handle.remove()
    spikes = torch.cat([each.reshape(-1, 1, 4, 4) for each in seen])
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(spikes.mean(0), image[0] / 32, rtol=0, atol=0.03)


def test_direct_coding_shows_the_same_current_at_every_step() -> None:
    torch.manual_seed(0)
    model = Wu2018(time_interval=6, sample_shape=(1, 8, 8), encoding="direct", intensity=1.0)
    x = 3 * torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(model(x), snn.run(model.net, x, 6).mean(0))
    assert torch.equal(model(x), model(x))


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "encoding": (
        {"encoding": "latency"},
        "encoding must be one of 'rate', 'direct', got 'latency'",
    ),
    "size": ({"sample_shape": (1, 3, 9)}, "an image at least 4 x 4, got 5 and 3 x 9"),
    "intensity": ({"intensity": 0.0}, "intensity must be in"),
    "curve": ({"curve": "triangle"}, "curve must be one of 'rectangular'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_its_arguments_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=MISTAKES[name][1]):
        Wu2018(**MISTAKES[name][0])


def test_pixels_beyond_the_intensity_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"between 0 and intensity=1, got 0 to 32; write intensity=1\.0"
    ):
        Wu2018(sample_shape=(1, 4, 4), intensity=1.0)(
            torch.tensor([0.0, 32.0]).repeat(8).reshape(1, 1, 4, 4)
        )
