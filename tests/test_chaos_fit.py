"""``snn.fit(..., chaos=...)``: the plug-in in a training that can be resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import Interruption, leave_out_pictures, same_weights, split

import spikeloom as snn
from spikeloom.chaos import CSBP, A, ChaosWarning, Exponential, Z
from spikeloom.train import Interrupted

CHAOTIC = CSBP(A(3.5), layers="hidden", center="threshold", anneal=Exponential(0.5, per="epoch"))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


def build() -> nn.Sequential:
    data = split()
    hidden, last = (snn.Leaky(0.8, init_hidden=True) for _ in range(2))
    features = data.x_train[0].numel()
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, 12),
        hidden,
        nn.Linear(12, int(data.y_train.max()) + 1),
        last,
    )


def fit(**options: Any) -> Any:
    settings = {"num_steps": 5, "epochs": 3, "batch_size": 8, "progress": False}
    sgd = {
        "optimizer": lambda parameters: torch.optim.SGD(
            parameters, lr=0.1, momentum=options.pop("momentum", 0.0)
        )
    }
    return snn.fit(build, split(), **{**settings, **sgd, **options})


def test_strength_zero_is_the_training_without_it_bit_for_bit() -> None:
    without = fit()
    for strength in (Z(0.0), A(0.0), CSBP(Z(0.0), signal="membrane", drive="noise")):
        assert same_weights(fit(chaos=strength).net, without.net)


def test_it_changes_the_training_and_leaves_the_network_clean() -> None:
    without, found = fit(), fit(chaos=CHAOTIC)
    assert not same_weights(found.net, without.net)
    assert not any(neuron._taps for neuron in (found.net[2], found.net[4]))
    assert (
        len(found.history) == 3 and found.history[0]["train_loss"] < 10
    )  # the loss of the task alone


@pytest.mark.filterwarnings("ignore::spikeloom.chaos.ChaosWarning")  # a strength of 2 is weak
@pytest.mark.parametrize(
    "settings", [CHAOTIC, CSBP(Z(2.0), drive="noise", anneal=Exponential(0.9))]
)
def test_an_interrupted_run_goes_on_bit_for_bit(settings: CSBP, tmp_path: Path) -> None:
    whole = fit(chaos=settings, loss=Interruption(None))
    for batch in (1, 4):
        out = tmp_path / str(batch)
        with pytest.raises(Interrupted):
            fit(chaos=settings, loss=Interruption(batch), out=out)
        resumed = fit(chaos=settings, loss=Interruption(None), out=out, resume=True)
        assert resumed.history == whole.history and same_weights(resumed.net, whole.net)
    with pytest.raises(ValueError, match="but chaos was"):
        fit(chaos=Z(1.0), loss=Interruption(None), out=tmp_path / "1", resume=True)


def test_a_literal_strength_that_is_no_chaos_warns() -> None:
    with pytest.warns(ChaosWarning, match="is not chaotic"):
        fit(chaos=Z(1e-3), epochs=1)


def test_a_literal_strength_works_with_any_optimizer() -> None:
    found = snn.fit(build, split(), num_steps=5, epochs=1, chaos=Z(1.0), progress=False)
    assert len(found.history) == 1


def test_what_makes_no_sense_is_refused_before_work() -> None:
    with pytest.raises(ValueError, match="is a dimensionless strength, defined for SGD"):
        snn.fit(build, split(), num_steps=5, chaos=A(3.8), progress=False)
    with pytest.raises(TypeError, match="chaos must be settings or a strength"):
        fit(chaos=3.8)
    with pytest.raises(ValueError, match="a name in layers must be one of"):
        fit(chaos=CSBP(A(3.8), layers="hidden1"))
