"""The manual's own steps for STDP, with ``n3ml`` replaced by ``spikeloom.n3ml``."""

import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch

from spikeloom import data
from spikeloom.n3ml.encoder import PoissonEncoder
from spikeloom.n3ml.model import DiehlAndCook2015, DiehlAndCook2015Infer
from spikeloom.n3ml.visualizer import plot

MANUAL = """
from n3ml.encoder import PoissonEncoder
encoder = PoissonEncoder(opt.time_interval)
from n3ml.model import DiehlAndCook2015
model = DiehlAndCook2015(neurons=100)
for epoch in range(opt.num_epochs):
    for step, (images, labels) in enumerate(train_loader):
        model.init_param()
        images = images.view(1, 28, 28)
        spiked_images = encoder(images)
        spiked_images = spiked_images.view(opt.time_interval, -1)
        for t in range(opt.time_interval):
            model.run({'inp': spiked_images[t]})
            model.update()
        model.normalize()
        w = model.xe.w.detach().cpu().numpy()
        fig, mat = plot(fig, mat, w)
"""


def loader(number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Enlarged digits as the manual's transform leaves them: rates in Hz, batches of one."""
    split = data.digits()
    x = torch.nn.functional.interpolate(split.x_train[:number], (28, 28), mode="bilinear")
    return [
        (image.unsqueeze(0) * 32 * 4, label.unsqueeze(0))
        for image, label in zip(x, split.y_train, strict=False)
    ]


def test_the_manuals_steps_train_any_number_of_neurons_and_plot_them() -> None:
    code = re.sub(r"\bn3ml\b", "spikeloom.n3ml", MANUAL)
    scope = {
        "opt": SimpleNamespace(time_interval=100, num_epochs=1),
        "train_loader": loader(3),
        "plot": plot,
    }
    scope |= {"fig": None, "mat": None}
    before = DiehlAndCook2015(neurons=100).exc.theta
    exec(code, scope)
    model = scope["model"]
    assert isinstance(model, DiehlAndCook2015)
    torch.testing.assert_close(model.xe.w.sum(1), torch.full((100,), 78.4))
    assert (model.exc.theta > before).any() and model.exc.s.shape == (100,)
    assert scope["mat"].get_array().shape == (10 * 29 + 1, 10 * 29 + 1)
    plt.close(scope["fig"])


def test_inference_copies_weights_and_thresholds_and_learns_nothing() -> None:
    trained, model = DiehlAndCook2015(neurons=7), DiehlAndCook2015Infer(neurons=7)
    trained.exc.theta += 1.5
    model.xe.w.copy_(trained.state_dict()["xe.weight"])
    model.exc.theta.copy_(trained.state_dict()["exc.theta"])
    model.init_param()
    encoder = PoissonEncoder(50)
    spikes = encoder(128 * torch.rand(1, 28, 28)).view(50, -1)
    rates = torch.stack([model.run({"inp": s_t}).clone() for s_t in spikes]).sum(0) / 50
    assert (
        rates.sum() > 0 and model.exc.theta.eq(1.5).all() and torch.equal(model.xe.w, trained.xe.w)
    )
    model.naming = None
    assert model.assign(torch.rand(4, 784), torch.arange(4)).shape == (7,)
    assert not model.predict(torch.zeros(1, 784)).isnan().any()


def test_the_network_starts_at_rest_without_being_told() -> None:
    model = DiehlAndCook2015(neurons=5)
    assert model.run({"inp": torch.zeros(784)}).sum() == 0 and model.exc.v.eq(0).all()


def test_rates_are_in_hertz_and_steps_in_milliseconds() -> None:
    rates = torch.tensor([0.0, 20.0, 128.0, 1000.0])
    spikes = PoissonEncoder(20_000, generator=torch.Generator().manual_seed(0))(rates)
    assert spikes.shape == (20_000, 4)
    torch.testing.assert_close(spikes.sum(0) / 20, rates, rtol=0.06, atol=1e-6)
    finer = PoissonEncoder(10_000, dt=0.5, generator=torch.Generator().manual_seed(0))
    assert repr(finer) == "PoissonEncoder(T=10000, dt=0.5)"
    torch.testing.assert_close(finer(rates).sum(0) / 10, rates, rtol=0.06, atol=1e-6)


def test_rates_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rates must be in \[0, 1000\], got 1001"):
        PoissonEncoder(10)(torch.tensor([1001.0]))
    with pytest.raises(
        ValueError, match=r"T must be at least dt > 0, both in ms, got T=0.* and dt=1\.0"
    ):
        PoissonEncoder(0)
