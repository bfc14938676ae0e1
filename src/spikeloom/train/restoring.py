"""What a checkpoint of a training must hold, checked before anything is restored."""

import math
from dataclasses import fields
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..core.tree import generators_of
from .job import Job
from .measure import Tally

__all__ = ["check", "fits", "keys"]

KEYS: dict[str, Any] = {
    "settings": dict,
    "threads": int,
    "epoch": int,
    "batch": int,
    "tally": dict,
    "history": list,
    "spikes": dict,
    "stopped": str,
    "seconds": dict,
    "random": dict,
    "random_of_others": list,
    "model": dict,
    "optimizer": dict,
    "schedule": (dict, type(None)),
    "callbacks": list,
    "chaos": (dict, type(None)),
}
ROW = {"epoch", "train_loss"}


def refuse(path: str, what: str) -> NoReturn:
    """Raise the error of a checkpoint that cannot be."""
    raise ValueError(
        f"{path} is no checkpoint to go on from: {what}; restore it from a copy, or write "
        "force=True"
    )


def keys(path: str, state: Any, wanted: dict[str, Any], where: str = "") -> None:
    """Check that entries are there and of their types.

    Raises:
        ValueError: one is missing or of another type.

    >>> keys("checkpoint.pt", {"epoch": 1}, {"epoch": int})
    """
    for name, kind in wanted.items():
        if not isinstance(state, dict) or name not in state:
            refuse(path, f"{where}{name} is missing")
        found = state[name]
        if not isinstance(found, kind) or isinstance(found, bool):
            refuse(path, f"{where}{name} cannot be of type {type(found).__name__}")


def number(path: str, name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Check that a number is finite and in range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        refuse(path, f"{name} must be a finite number, got {value!r}")
    if not low <= value <= high:
        limits = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        refuse(path, f"{name} must be {limits}, got {value!r}")


def check(path: str, state: dict[str, Any]) -> None:
    """Check the entries of a checkpoint of `Trainer`, by themselves.

    Args:
        path: of the checkpoint, for the errors.
        state: its content.

    Raises:
        ValueError: an entry is missing, of another type, or an impossible number.
    """
    keys(path, state, KEYS)
    number(path, "threads", state["threads"], 1)
    number(path, "epoch", state["epoch"], 0)
    number(path, "batch", state["batch"], 0)
    keys(path, state["seconds"], dict.fromkeys(("wall", "cpu"), (int, float)), "seconds.")
    for name, value in state["seconds"].items():
        number(path, f"seconds.{name}", value, 0)
    keys(
        path, state["tally"], {field.name: (int, float, dict) for field in fields(Tally)}, "tally."
    )
    if len(state["history"]) != state["epoch"]:
        refuse(path, f"epoch is {state['epoch']}, and the history has {len(state['history'])} rows")
    for index, row in enumerate(state["history"], 1):
        if not isinstance(row, dict) or not row.keys() >= ROW or row["epoch"] != index:
            refuse(path, f"row {index} of the history is not that of epoch {index}")
        for name in row:
            if name.endswith("_accuracy"):
                number(path, f"{name} of epoch {index}", row[name], 0, 1)
    for name in ("epoch", "now"):
        keys(path, state["random"], {name: dict}, "random.")
        keys(path, state["random"][name], {"cpu": Tensor}, f"random.{name}.")
        for kind in ("cpu", "order"):
            if kind in state["random"][name]:
                _generator(path, f"random.{name}.{kind}", state["random"][name][kind])


def _generator(path: str, name: str, value: Any, device: Any = "cpu") -> None:
    try:
        torch.Generator(device).set_state(value)
    except (RuntimeError, TypeError):
        refuse(path, f"{name} is no state of a random number generator")


def fits(path: str, state: dict[str, Any], job: Job) -> None:
    """Check that a checkpoint can be one of a job; its settings are those of the job.

    Raises:
        ValueError: position, weights or optimizer cannot be those of the job.
    """
    batches, samples = len(job.samples.train), state["tally"]["samples"]
    number(path, "epoch", state["epoch"], 0, job.epochs)
    number(path, "batch", state["batch"], 0, batches if state["epoch"] < job.epochs else 0)
    number(path, "tally.samples", samples, state["batch"], math.inf if state["batch"] else 0)
    number(path, "tally.hits", state["tally"]["hits"], 0, samples)
    _model(path, state["model"], job)
    _optimizer(path, state["optimizer"], job.optimizer.optimizer.state_dict())
    if "scaler" not in state:
        refuse(path, "scaler is missing")
    if job.optimizer.scaler is not None:
        keys(path, state, {"scaler": dict})
    if (state["chaos"] is None) != (job.chaos is None):
        refuse(path, "chaos is missing")
    if job.samples.train.generator is not None and "order" not in state["random"]["now"]:
        refuse(path, "random.now.order is missing")
    _own_generators(path, state["random"], generators_of(job.net))


def _own_generators(path: str, states: dict[str, Any], own: list[torch.Generator]) -> None:
    for moment in ("epoch", "now"):
        for i, generator in enumerate(own):
            name = f"net.{i}"
            if name not in states[moment]:
                refuse(path, f"random.{moment}.{name}, the state of a generator of net, is missing")
            _generator(path, f"random.{moment}.{name}", states[moment][name], generator.device)


def _model(path: str, model: dict[str, Any], job: Job) -> None:
    wanted = job.net.state_dict()
    for name in [*(n for n in wanted if n not in model), *(n for n in model if n not in wanted)]:
        refuse(
            path, f"model.{name} is {'missing' if name in wanted else 'no weight of the network'}"
        )
    learned = {name for name, _ in job.net.named_parameters()}
    for name, value in wanted.items():
        found = model[name]
        if not isinstance(value, Tensor):
            continue
        if (
            not isinstance(found, Tensor)
            or found.shape != value.shape
            or found.dtype != value.dtype
        ):
            refuse(path, f"model.{name} must be a tensor {list(value.shape)} of {value.dtype}")
        if name in learned and bool(found.isnan().any()):
            refuse(path, f"model.{name} holds NaN")


def _optimizer(path: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    keys(path, found, {"state": dict, "param_groups": list}, "optimizer.")
    sizes = [
        [len(group.get("params", ())) for group in state["param_groups"]]
        for state in (found, wanted)
    ]
    if sizes[0] != sizes[1]:
        refuse(path, f"optimizer has groups of {sizes[0]} parameters instead of {sizes[1]}")
    for ours, group in zip(wanted["param_groups"], found["param_groups"], strict=True):
        for name in ours:
            if name not in group:
                refuse(path, f"optimizer.{name} is missing")
        number(
            path,
            "optimizer.lr",
            group["lr"] if not isinstance(group["lr"], Tensor) else float(group["lr"]),
            0,
        )
