"""What the tests of training share: three noisy patterns, small networks, a loss that presses
Ctrl-C."""

import signal
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.data import Split

CENTRES = torch.eye(3, 6) * 0.8 + 0.1
SETTINGS: dict[str, Any] = {"num_steps": 5, "epochs": 3, "batch_size": 8, "progress": False}


def toy(number: int = 20, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Three noisy patterns of six values in [0, 1] and their classes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(number) % 3
    return (CENTRES[y] + 0.1 * torch.rand(number, 6, generator=generator)).clamp(0, 1), y


def split() -> Split:
    return Split(*toy(20), *toy(9, seed=2), "toy", "three patterns")


def tensors() -> tuple[Tensor, ...]:
    return (*toy(20), *toy(9, seed=2))


def loaders() -> tuple[DataLoader, DataLoader]:
    return DataLoader(TensorDataset(*toy(20)), 8, shuffle=True), DataLoader(
        TensorDataset(*toy(9, seed=2)), 8
    )


def build() -> nn.Sequential:
    """Everything that has a state of its own: batch norm, dropout, learned decays."""
    return nn.Sequential(
        nn.Linear(6, 12),
        nn.BatchNorm1d(12),
        snn.Leaky(beta=0.8, learn_beta=True, init_hidden=True),
        nn.Dropout(0.2),
        nn.Linear(12, 3),
        snn.Leaky(beta=0.8, init_hidden=True, output=True),
    )


def plain(outputs: int = 3) -> nn.Sequential:
    """One layer whose weights are large enough for spikes from the beginning."""
    linear = nn.Linear(6, outputs)
    nn.init.uniform_(linear.weight, 0.0, 1.0)
    return nn.Sequential(linear, snn.Leaky(beta=0.8, init_hidden=True, output=True))


class Interruption:
    """A loss that presses Ctrl-C, or sends another signal, while it computes a chosen batch of the
    training."""

    def __init__(self, batch: int | None, number: int = signal.SIGINT) -> None:
        self.batch, self.number, self.seen = batch, number, 0

    def __call__(self, spk: Tensor, y: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            if self.seen == self.batch:
                signal.raise_signal(self.number)
            self.seen += 1
        return SF.ce_count_loss()(spk, y)


def leave_out_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than these trainings."""
    monkeypatch.setattr(
        sys.modules["spikeloom.train.fit"], "pictures_missing", lambda: "not wanted here"
    )


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    old, new = a.state_dict(), b.state_dict()
    return old.keys() == new.keys() and all(torch.equal(old[name], new[name]) for name in old)


def bad_data(**changes: Any) -> tuple[Tensor, ...]:
    names = ("x_train", "y_train", "x_test", "y_test")
    parts = dict(zip(names, tensors(), strict=True))
    return tuple(changes.get(name, lambda part: part)(parts[name]) for name in names)
