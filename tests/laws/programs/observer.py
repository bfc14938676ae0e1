"""Runs a program and notes everything that can be seen of it."""

import collections
import copy
import linecache
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeloom as snn
from spikeloom.core.tree import generators_of

from .network import SCOPE, Base, H, T
from .program import Program

__all__ = ["Failure", "Wrap", "observe"]

Wrap = Callable[[Any], Any]  # a module or a function, as the user wrote it or recorded
MODES = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}
SIMPLE = (int, float, str, bool, np.ndarray, torch.Size, torch.dtype, type(None))


class Failure(str):
    """The kind of an error that the program raised; what it says is in ``text``."""

    text = ""


def _failure(error: Exception) -> Failure:
    found = Failure(type(error).__name__)
    found.text = str(error)
    return found


def _build(program: Program, shown: list[str]) -> tuple[Base, Any]:
    """The network, and the function with the loop where the program is one."""
    file = f"<program {program.seed}>"
    linecache.cache[file] = (len(program.text), None, program.text.splitlines(True), file)
    scope = {
        "torch": torch,
        "nn": nn,
        "F": F,
        "T": T,
        "B": program.batch,
        "H": H,
        "copy": copy,
        **SCOPE,
    }
    scope["shown"] = lambda o: shown.append(f"{float(o.detach().sum()):.5f} {tuple(o.shape)}")
    exec(compile(program.text, file, "exec"), scope)
    torch.manual_seed(program.seed)
    methods = {} if program.style == "function" else {"forward": scope["forward"]}
    net = type("Net", (Base,), methods)(program)
    net.to(torch.float64 if program.double else torch.float32).clear()
    net.train(program.training)
    return net, scope.get("forward_pass")


def _hooks(program: Program, net: Base, shown: list[str]) -> None:
    """Hooks that watch every layer and neuron, or one that changes what a neuron gives."""

    def watch(module: nn.Module, args: Any, output: Any) -> None:
        shown.append(
            f"{type(module).__name__} {isinstance(args[0], Tensor)} {isinstance(output, Tensor)}"
        )

    def weaken(module: nn.Module, args: Any, output: Any) -> Any:
        return output * 0.9 if isinstance(output, Tensor) else (output[0] * 0.9, *output[1:])

    if program.hooks == "watching":
        for module in (*net.layers, *net.neurons):
            module.register_forward_hook(watch)
    if program.hooks == "changing":
        net.neurons[0].register_forward_hook(weaken)


def _input(program: Program) -> Tensor:
    generator = torch.Generator().manual_seed(program.seed)
    x = torch.rand(T, program.batch, H, generator=generator, dtype=torch.float64) * 1.5
    x = x if program.double else x.float()
    if program.input == "numpy":
        return torch.from_numpy(x.numpy().copy())
    return x.requires_grad_(program.input == "leaf")


def flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Everything in nested containers, with where it is; other objects are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple, collections.deque)) and not isinstance(value, torch.Size):
        yield f"{path} length", len(value)
        for index, inner in enumerate(value):
            yield from flat(inner, f"{path}.{index}")
    elif isinstance(value, (Tensor, *SIMPLE)):
        yield path, value


def _visible(net: Base, x: Tensor, shown: list[str]) -> Iterator[tuple[str, Any]]:
    """The state of the world after a call."""
    kept = {k: v for k, v in vars(net).items() if not k.startswith("_") and k != "training"}
    for name, value in kept.items():
        if not isinstance(value, (random.Random, np.random.Generator, torch.Generator)):
            yield from flat(value, f"attribute {name}")
    for index, layer in enumerate(net.neurons):
        yield from flat(tuple(layer.hidden), f"hidden {index}")
    for name, value in net.named_buffers():
        yield f"buffer {name}", value.clone()
    for name, value in net.named_parameters():
        yield f"parameter {name}", value.detach().clone()
    yield "input", x.detach().clone()
    yield "calls", list(shown)
    draws = [net.random.random(), net.numpy_random.random(), random.random(), torch.rand(()).item()]
    draws += [torch.rand((), generator=source).item() for source in generators_of(net)]
    yield from flat(draws, "random numbers")


def _loss(values: dict[str, Any]) -> Any:
    """A weighted sum of everything with a graph."""
    loss: Any = 0
    for name, value in values.items():
        if (
            isinstance(value, Tensor)
            and value.grad_fn is not None
            and not name.startswith("hidden")
        ):
            weights = torch.linspace(0.5, 1.5, max(value.numel(), 1), dtype=value.dtype)
            loss = loss + (value * weights.reshape(value.shape)).sum() + value.pow(2).sum() * 0.1
    return loss


def _gradients(program: Program, net: Base, x: Tensor, values: dict[str, Any]) -> None:
    loss = _loss(values)
    if isinstance(loss, Tensor) and program.mode == "grad":
        try:
            if program.second and x.requires_grad:
                (gradient,) = torch.autograd.grad(loss, x, create_graph=True, allow_unused=True)
                if gradient is not None and gradient.requires_grad:
                    loss = loss + gradient.pow(2).sum()
            loss.backward()
        except Exception as error:  # whatever a program raises is part of what is compared
            values["backward fails"] = _failure(error)
    for name, p in net.named_parameters():
        values[f"gradient {name}"] = None if p.grad is None else p.grad.clone()
    values["gradient of the input"] = None if x.grad is None else x.grad.clone()


def _call(
    program: Program, net: Base, function: Any, wrap: Wrap, run: Any
) -> Callable[[Tensor], Any]:
    """A function of the input."""
    if program.style == "step":
        return lambda x: run(net, x)
    if program.style == "function":
        recorded = wrap(function)
        return lambda x: recorded(net, x)
    return wrap(net)


def observe(program: Program, wrap: Wrap, run: Any) -> list[dict[str, Any]]:
    """What is seen of each call: outputs, attributes, hidden state, buffers, parameters, gradients,
    random numbers.

    Args:
        program: what to run.
        wrap: for programs with a loop of their own.
        run: for programs of one step, ``run(net, x)``.
    """
    shown: list[str] = []
    net, function = _build(program, shown)
    _hooks(program, net, shown)
    x, seen = _input(program), []
    call = _call(program, net, function, wrap, run)
    torch.manual_seed(program.seed + 1)
    random.seed(program.seed)
    for _ in range(program.calls):
        values: dict[str, Any] = {}
        with MODES[program.mode]():
            try:
                values |= flat(call(x), "output")
            except Exception as error:  # as above
                values["forward fails"] = _failure(error)
        values |= _visible(net, x, shown)
        _gradients(program, net, x, values)
        seen.append(values)
        try:
            snn.reset(net) if program.reset else snn.detach(net)
        except Exception as error:  # what is remembered is not what a loop leaves behind
            values["state fails"] = _failure(error)
        net.clear()
    return seen
