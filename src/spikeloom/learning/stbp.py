r"""STBP: backpropagation in space and time, as a choice of neuron, surrogate and loss.

The iterative neuron is `Leaky` whose membrane is cleared by the spike of the step before, gradient
included:

.. math:: u[t] = \tau\, u[t-1] (1 - o[t-1]) + W s[t] + b \qquad o[t] = H(u[t] - V)

A spike's derivative is one of four curves of area 1, and the loss is half the squared error of the
rates, `functional.mse_rate_loss`. A network of such neurons runs and learns like any other:
`spikeloom.run`, ``rule="stbp"``.

Source: Wu, Deng, Li, Zhu & Shi (2018), Front. Neurosci. 12:331, for the curves, and the numbers of
the authors' later code (threshold 0.5, decay 0.2, a rectangle of width 1). A spike needs u > V
here, u >= V there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import checks
from ..core.densities import Gaussian, Logistic, Polynomial, Rectangular
from ..core.tree import named_neurons
from ..functional.loss import mse_rate_loss
from ..neurons.leaky import Leaky
from ..running import run
from .bptt import BPTT
from .training import Loss, refusal

__all__ = ["STBP", "STBP_CURVES", "Wu2018", "stbp_neuron"]

STBP_CURVES = {
    "rectangular": Rectangular,
    "polynomial": Polynomial,
    "logistic": Logistic,
    "gaussian": Gaussian,
}  # h1..h4


def stbp_neuron(
    threshold: float = 0.5,
    tau: float = 0.2,
    curve: str = "rectangular",
    a: float = 1.0,
    *,
    output: bool = False,
) -> Leaky:
    """The iterative neuron of STBP, which keeps its state.

    Args:
        threshold: V.
        tau: decay of the membrane per step, in [0, 1].
        curve: derivative of the spike: ``"rectangular"`` (h1), ``"polynomial"`` (h2),
            ``"logistic"`` (h3) or ``"gaussian"`` (h4).
        a: its width, see `surrogate`; > 0.
        output: also return the membrane, for the last layer.

    Raises:
        ValueError: an unknown curve, or a number out of range.

    >>> stbp_neuron().reset_mechanism
    'zero_attached'
    """
    kind = STBP_CURVES[checks.choice("curve", curve, STBP_CURVES)]
    return Leaky(
        tau,
        threshold,
        spike_grad=kind(a),
        reset_mechanism="zero_attached",
        init_hidden=True,
        output=output,
    )


class Wu2018(nn.Module):
    """The network of the authors' later code: two convolutions with pooling, 128 and C neurons.

    Args:
        batch_size: accepted for the calls of n3ml's manual; any batch is taken.
        time_interval: T, the steps for which an image is shown.
        sample_shape: channels, height and width of an image.
        num_classes: C.
        encoding: ``"rate"``: a pixel is the probability of a spike, at each step anew;
            ``"direct"``: a current.
        intensity: value of a white pixel, which images are divided by: 32 in n3ml's manual.
        threshold: of the neurons.
        tau: their decay.
        curve: the derivative of their spikes, see `stbp_neuron`.
        a: its width.
        generator: source of the spikes; default is torch's global one.

    Raises:
        ValueError: an unknown encoding, an image too small for two poolings, or a number out of
            range.

    ``net`` is the network of one step, for `spikeloom.run` and `spikeloom.fit`.

    >>> model = Wu2018(time_interval=4, sample_shape=(1, 8, 8))
    >>> model(32 * torch.rand(3, 1, 8, 8)).shape
    torch.Size([3, 10])
    """

    def __init__(
        self,
        batch_size: int | None = None,
        time_interval: int = 5,
        *,
        sample_shape: tuple[int, int, int] = (1, 28, 28),
        num_classes: int = 10,
        encoding: str = "rate",
        intensity: float = 32.0,
        threshold: float = 0.5,
        tau: float = 0.2,
        curve: str = "rectangular",
        a: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.encoding = checks.choice("encoding", encoding, ("rate", "direct"))
        checks.in_range(
            "intensity", intensity, 0.0, float("inf"), open_low=True, why="images are divided by it"
        )
        channels, height, width = sample_shape
        if time_interval < 1 or min(height, width) < 4:
            raise ValueError(
                f"time_interval must be positive and an image at least 4 x 4, got {time_interval} "
                "and "
                f"{height} x {width}; write time_interval=5"
            )
        self.time_interval = time_interval
        self.intensity = intensity
        self.generator = generator

        def neuron() -> Leaky:
            return stbp_neuron(threshold, tau, curve, a)

        self.net = nn.Sequential(
            *(nn.Conv2d(channels, 32, 3, padding=1), neuron(), nn.AvgPool2d(2)),
            *(nn.Conv2d(32, 32, 3, padding=1), neuron(), nn.AvgPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), 128), neuron()),
            *(nn.Linear(128, num_classes), neuron()),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Rates of the output neurons.

        Args:
            images: [B, channels, height, width], from 0 to ``intensity``.

        Returns:
            [B, C], in spikes per step.

        Raises:
            ValueError: with ``encoding="rate"``, a pixel is below 0 or above ``intensity``.
        """
        x = images / self.intensity
        if self.encoding == "direct":
            return run(self.net, x, self.time_interval).mean(0)
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):
            raise ValueError(
                f"pixels are rates between 0 and intensity={self.intensity:g}, got "
                f"{float(images.min()):g} to "
                f"{float(images.max()):g}; write intensity=1.0 for images in [0, 1], or scale them"
            )
        shape = (self.time_interval, *x.shape)
        draw = torch.rand(shape, dtype=x.dtype, device=x.device, generator=self.generator)
        return run(self.net, (draw < x).to(x.dtype)).mean(0)


@dataclass(frozen=True)
class STBP(BPTT, name="stbp"):
    """Backpropagation in space and time: `BPTT` for networks of `stbp_neuron`.

    The loss is ``mse_rate_loss()`` unless another one is given.

    >>> STBP().name
    'stbp'
    """

    def loss(self, given: Any) -> Callable[..., Tensor]:
        return mse_rate_loss() if given is None else given

    def check(self, job: Any, probe: Any) -> None:
        super().check(job, probe)
        self._check_neurons(job.net)

    def gradients(self, net: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> list[Tensor]:
        self._check_neurons(net)
        return super().gradients(net, x, y, loss)

    def _check_neurons(self, net: nn.Module) -> None:
        for path, neuron in named_neurons(net):
            if (
                type(neuron) is not Leaky
                or neuron.reset_mechanism != "zero_attached"
                or not neuron.reset_delay
            ):
                kind = type(neuron).__name__
                why = (
                    f"{kind} {path!r} is not its neuron, whose spike clears the membrane and "
                    "passes the gradient"
                )
            elif not isinstance(neuron.spike_grad, tuple(STBP_CURVES.values())):
                why = (
                    f"the surrogate of {path!r} is none of its four curves, got {neuron.spike_grad}"
                )
            else:
                continue
            raise TypeError(refusal(self, why, "write snn.learning.stbp_neuron() in its place"))
