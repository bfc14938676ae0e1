"""A program: its text and the choices around it."""

from dataclasses import dataclass

__all__ = ["Program"]


@dataclass
class Program:
    """What a seed gives."""

    seed: int
    style: str  # "class" and "function" have their own loop over time, "step" is run by `snn.run`
    layers: list[str]
    neurons: list[str]
    hidden: list[bool]
    online: str  # what happens to gradients inside the loop
    mode: str  # "grad", "no_grad" or "inference"
    calls: int
    training: bool
    double: bool
    input: str  # "plain", "leaf" (requires grad) or "numpy" (memory shared with an array)
    hooks: str  # "none", "watching" or "changing"
    second: bool  # the loss contains a gradient of the input
    reset: bool  # forget the state between calls
    batch: int  # 13: a step has more values than what is computed at once for being small
    text: str = ""
