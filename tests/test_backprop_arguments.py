"""Arguments of an epoch that torch or Python would refuse in words of their own."""

import re
from typing import Any

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.backprop import BPTT

NET = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, init_hidden=True, output=True))
SGD = torch.optim.SGD(NET.parameters(), lr=0.1)
BATCHES = [(torch.rand(4, 2, 3), torch.tensor([0, 1]))]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"net": 3}, TypeError, "net must be a torch.nn.Module, got int"),
        ({"optimizer": torch.optim.lr_scheduler.ConstantLR(SGD)}, TypeError, "got ConstantLR"),
        (
            {"optimizer": nn.Linear(2, 2)},
            TypeError,
            "optimizer must be a torch.optim.Optimizer, got Linear",
        ),
        (
            {"dataloader": torch.rand(4, 2, 3)},
            TypeError,
            "dataloader must yield (data, targets), got Tensor",
        ),
        (
            {"dataloader": [torch.rand(4, 2, 3)]},
            TypeError,
            "dataloader must yield pairs (data, targets), got Tensor",
        ),
        ({"device": "no device"}, ValueError, "device must be a device, got 'no device'"),
        ({"time_first": torch.ones(2)}, TypeError, "time_first must be True or False"),
        ({"num_steps": [4]}, TypeError, "num_steps must be a whole number or False, got [4]"),
        (
            {"regularization": 0.1},
            TypeError,
            "regularization must be a function of the spikes, or False, got 0.1",
        ),
        (
            {"regularization": lambda spk: None},
            TypeError,
            "regularization must return a number, got NoneType",
        ),
    ],
)
def test_an_argument_of_the_wrong_kind_was_refused_by_torch(
    change: dict[str, Any], error: Any, text: str
) -> None:
    valid = {"net": NET, "dataloader": BATCHES, "optimizer": SGD, "criterion": SF.ce_rate_loss()}
    with pytest.raises(error, match=re.escape(text)):
        BPTT(**valid | change)
