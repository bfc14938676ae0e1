"""The trainings that test_processes runs in one and in several processes; also a script that runs
them under torchrun: ``several.py CASE FOLDER [resume]``."""

import os
import signal
import sys
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

import spikeloom as snn
from spikeloom.train import Callback, CSVLog, EarlyStopping, Result, macro_f1, processes

CASES = [
    "plain",
    "update",
    "data sets",
    "small last batch",
    "tbptt",
    "eprop",
    "regression",
    "own loop",
    "batch norm",
    "batch norm and tbptt",
    "unused weights",
    "chaos",
]


def data(number: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(number) % 3
    x = torch.eye(3, 6)[y] * 0.8 + 0.2 * torch.rand(number, 6, generator=generator)
    return x.double(), y


def net(learn_beta: bool = True) -> nn.Sequential:
    """In float64, so that sums in another order do not move a spike."""
    return nn.Sequential(
        nn.Linear(6, 12),
        snn.Leaky(beta=0.8, learn_beta=learn_beta, init_hidden=True),
        nn.Linear(12, 3),
        snn.Leaky(beta=0.8, init_hidden=True, output=True),
    ).double()


def with_batch_norm() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 12),
        nn.BatchNorm1d(12),
        snn.Leaky(beta=0.8, init_hidden=True),
        nn.Linear(12, 3),
        nn.BatchNorm1d(3, affine=False, momentum=None),
        snn.Leaky(beta=0.8, init_hidden=True, output=True),
    ).double()


class Unused(nn.Module):
    """One weight that nothing reads, and one that is read in some steps only by hidden spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.free = net(), nn.Parameter(torch.ones(3).double())
        self.side = nn.Linear(6, 2).double()
        self.spare = snn.Leaky(beta=0.8, init_hidden=True).double()

    def forward(self, x: torch.Tensor) -> Any:
        self.spare(self.side(x))
        return self.net(x)


class OwnLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 3), snn.Leaky(beta=0.8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem, spikes = self.lif.init_leaky(), []
        for _ in range(5):
            spk, mem = self.lif(self.fc(x), mem)
            spikes.append(spk)
        return torch.stack(spikes)


def own_loop() -> nn.Module:
    return snn.layerwise(OwnLoop().double())


class Kill(Callback):
    """Kills the process after some batches, as a machine that goes away."""

    def __init__(self, step: int) -> None:
        self.at = step

    def on_step(self, run: Any) -> None:
        if run.step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def arguments(case: str) -> dict[str, Any]:
    """Of `fit`, 50 updates or more."""
    x, y = data(100, 1)
    base: dict[str, Any] = {
        "net": net,
        "data": (x, y, *data(31, 2)),
        "num_steps": 5,
        "epochs": 5,
        "batch_size": 10,
        "lr": 0.01,
        "progress": False,
    }
    uneven = (x[:93], y[:93], *data(31, 2))  # three samples in the last batch
    changes: dict[str, dict[str, Any]] = {
        "update": {
            "accumulate": 2,
            "clip": 0.1,
            "epochs": 10,
            "validation": 0.2,
            "metrics": {"f1": macro_f1},
            "penalty": lambda spk: 0.1 * spk.mean(),  # a mean over samples, as the loss
        },
        "data sets": {"data": (TensorDataset(x, y), TensorDataset(*data(31, 2)))},
        "small last batch": {"data": (x[:97], y[:97], *data(31, 2)), "batch_size": 16, "epochs": 8},
        "tbptt": {"rule": snn.train.TBPTT(K=2), "epochs": 2},
        "eprop": {"net": lambda: net(learn_beta=False), "rule": "eprop", "epochs": 2},
        "regression": {
            "data": (x, x[:, :3], x[:31], x[:31, :3]),
            "loss": nn.MSELoss(),
            "readout": "last_membrane",
        },
        "own loop": {"net": own_loop, "num_steps": None},
        "batch norm": {"net": with_batch_norm, "accumulate": 3, "data": uneven, "epochs": 2},
        "batch norm and tbptt": {
            "net": with_batch_norm,
            "data": uneven,
            "rule": snn.train.TBPTT(K=3),
            "epochs": 1,
        },
        "unused weights": {
            "net": Unused,
            "optimizer": lambda parameters: torch.optim.AdamW(parameters, 0.01, weight_decay=0.1),
            "lr": None,
            "epochs": 1,
        },
        "chaos": {
            "chaos": snn.chaos.A(0.5),  # chaos would amplify the rounding
            "optimizer": lambda parameters: torch.optim.SGD(parameters, 0.1),
            "lr": None,
            "epochs": 1,
        },
    }
    return base | changes.get(case, {})


def train(case: str, **more: Any) -> Result:
    return snn.fit(**{**arguments(case), **more})


def found(result: Result) -> dict[str, Any]:
    """What is compared."""
    history = [{k: v for k, v in row.items() if k != "epoch"} for row in result.history]
    return {
        "weights": dict(result.net.state_dict()),
        "history": history,
        "test": result.test,
        "spikes": result.spikes_per_neuron,
    }


def main(case: str, folder: Path, resume: bool) -> None:
    rank = int(os.environ["RANK"])
    if case.startswith("all"):  # or "all:ONE|ANOTHER"
        chosen = case[4:].split("|") if case[4:] else CASES
        every = {each: found(train(each)) for each in chosen}
        torch.save(every, folder / f"found-{rank}.pt")
        return
    more: dict[str, Any] = {"out": folder / "run", "resume": resume}
    if case == "killed":
        more["callbacks"] = [] if resume else [Kill(33)]
    elif case == "stopped":  # the second process alone hears of it
        more["callbacks"] = [] if resume or rank == 0 else [Stop(33)]
    elif case == "logs":
        more["callbacks"] = [CSVLog(), EarlyStopping("train_loss", patience=1, min_delta=9.0)]
    elif case == "refused":
        (folder / "run").mkdir(exist_ok=True)
        (folder / "run" / "run.json").touch()
    elif case == "closed":
        torch.save(alive_after_the_end(), folder / f"found-{rank}.pt")
        return
    try:
        result = train("plain", **more)
    except (snn.train.Interrupted, FileExistsError, RuntimeError) as error:
        (folder / f"error-{rank}.txt").write_text(f"{type(error).__name__}: {error}")
        return
    torch.save(found(result), folder / f"found-{rank}.pt")


def alive_after_the_end() -> bool:
    """Whether the group outlives its end, after `fit` and a loop with torch's own wrapper."""
    train("plain", epochs=1)

    def own() -> None:
        wrapped = DistributedDataParallel(nn.Linear(6, 3).double())
        wrapped(data(10, 1)[0]).sum().backward()

    own()
    group = weakref.ref(distributed.group.WORLD)
    processes._close()
    return group() is not None


class Stop(Callback):
    """Sends SIGTERM to this process, as a scheduler does."""

    def __init__(self, step: int) -> None:
        self.at = step

    def on_step(self, run: Any) -> None:
        if run.step == self.at:
            signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "resume" in sys.argv)
