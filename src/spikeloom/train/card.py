"""The run card: one JSON file that says what was trained, on what, with which result."""

import json
import math
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .checkpoint import atomic
from .job import Job, Probe
from .model import device_of
from .result import Result
from .settings import Settings
from .threads import Threads
from .time_control import TimeControl

__all__ = ["card", "versions", "write_card"]

NOTE = (
    "quoted is the accuracy after the last epoch; best is the highest of all epochs, chosen on "
    "the test samples "
    "themselves and therefore too good"
)
ONCE = "the test samples were looked at once, after the training"


def versions() -> dict[str, str]:
    """What the result was computed with.

    >>> list(versions())
    ['spikeloom', 'torch', 'numpy', 'python', 'platform']
    """
    package = __name__.partition(".")[0]
    return {
        package: sys.modules[package].__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def card(
    result: Result,
    job: Job,
    probe: Probe,
    settings: Settings,
    threads: Threads,
    notes: Mapping[str, str],
) -> Any:
    """The run card as plain values.

    Args:
        result: of the training.
        job: of the first seed.
        probe: of the same.
        settings: of the same.
        threads: in use, and why.
        notes: remarks, by the entry that they belong to.
    """
    last, best = (None if math.isnan(value) else value for value in result.test_accuracy)
    note = ONCE if job.samples.validation is not None else NOTE
    several = len(result.each) > 1
    return {
        "format": 1,
        "configuration": {k: v for k, v in settings.items() if k not in ("data", "network")},
        "data": settings["data"],
        "network": {
            "layers": settings["network"],
            "parameters": parameters(result.net),
            "classes": probe.classes,
        },
        "seeds": list(result.seeds),
        "test_accuracy": {"last": last, "best": best, "quoted": "last", "note": note},
        "test": result.test,
        "prediction": job.readout.rule,
        **({} if result.time_control is None else {"time_control": _control(result.time_control)}),
        "spread": {
            "of": f"{result.scored.replace('_', ' ')} after the last epoch",
            "each": list(result.each),
        }
        | {"mean": result.mean, "std": result.std if several else None, "std_is": "sample, n - 1"},
        "spikes_per_neuron_and_sample": {
            "mean": mean_of(result.spikes_per_neuron, probe.layers),
            "layers": result.spikes_per_neuron,
        },
        "time": {"wall_seconds": result.seconds, "cpu_seconds": result.cpu_seconds}
        | {"of": "training and its evaluations after each epoch, all seeds"},
        "threads": {"number": threads.number, "why": threads.why},
        "device": str(device_of(result.net)),
        "processes": job.optimizer.here.size,
        "multiply_adds_per_sample": probe.multiply_adds,
        "versions": versions(),
        "ended_early": result.stopped,
        "files": {kind: path.name for kind, path in result.paths.items()},
        "notes": dict(notes),
        "history": list(result.history),
    }


def _control(found: TimeControl) -> dict[str, Any]:
    return {**asdict(found), "gap": found.gap, "static": found.static}


def mean_of(values: Mapping[str, float], sizes: Mapping[str, int]) -> float:
    """Mean over all neurons of the means of their layers.

    >>> mean_of({"1": 1.0, "3": 0.0}, {"1": 3, "3": 1})
    0.75
    """
    return sum(values[name] * sizes[name] for name in values) / max(sum(sizes.values()), 1)


def parameters(net: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def write_card(path: Path, content: Any) -> None:
    """Write ``content`` as JSON, atomically.

    >>> write_card(Path("run.json"), {"seeds": [0]})
    >>> json.loads(Path("run.json").read_text())
    {'seeds': [0]}
    """
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=True) + "\n", encoding="utf-8")
