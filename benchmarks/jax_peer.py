"""The networks of `peers` in JAX: ``jit`` around a whole training step, ``lax.scan`` over the same
time step.

Weights, neurons, surrogate, loss and Adam are those of the other libraries; all of it is one
compiled function on one thread of the CPU.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from peers import Stages
from torch import Tensor, nn

__all__ = ["step_of"]

_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
RATE, DECAYS, EPSILON = 1e-3, (0.9, 0.999), 1e-8  # of Adam, torch's defaults


def step_of(net: Stages) -> Callable[[Tensor, "int | None", Tensor], float]:
    """One training step; it returns the loss before it.

    Raises:
        ImportError: JAX is not installed.
    """
    os.environ.setdefault("XLA_FLAGS", _ONE_THREAD)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax

    stages = [_stage(part) for part in net.parts()]
    weights = [
        [jax.numpy.asarray(p.detach().numpy()) for p in part.parameters()] for part in net.parts()
    ]
    moments = [jax.tree.map(jax.numpy.zeros_like, weights) for _ in range(2)]
    loss = partial(_loss, stages, _neuron(net))
    update = jax.jit(partial(_update, loss), static_argnames="num_steps")
    held = {"weights": weights, "moments": moments, "count": 0}

    def step(x: Tensor, num_steps: int | None, y: Tensor) -> float:
        held["count"] += 1
        count = jax.numpy.float32(held["count"])
        arrays = jax.numpy.asarray(x.numpy()), jax.numpy.asarray(y.numpy())
        found = update(held["weights"], held["moments"], count, *arrays, num_steps=num_steps)
        value, held["weights"], held["moments"] = found
        return float(value)

    return step


def _update(
    loss: Any, weights: Any, moments: Any, count: Any, x: Any, y: Any, num_steps: int | None
) -> Any:
    """Loss, gradient and Adam."""
    import jax
    from jax import numpy as jnp

    value, gradient = jax.value_and_grad(loss)(weights, x, y, num_steps)
    a, b = DECAYS
    first = jax.tree.map(lambda m, g: a * m + (1 - a) * g, moments[0], gradient)
    second = jax.tree.map(lambda v, g: b * v + (1 - b) * g * g, moments[1], gradient)

    def moved(w: Any, m: Any, v: Any) -> Any:
        return w - RATE * (m / (1 - a**count)) / (jnp.sqrt(v / (1 - b**count)) + EPSILON)

    return value, jax.tree.map(moved, weights, first, second), [first, second]


def _loss(stages: Any, neuron: Any, weights: Any, x: Any, y: Any, num_steps: int | None) -> Any:
    """Sum over time of the cross entropy of the last membranes."""
    import jax
    from jax import numpy as jnp

    def forward(mems: Any, x_t: Any) -> Any:
        h = x if x_t is None else x_t
        new = []
        for stage, parameters, mem in zip(stages, weights, mems, strict=True):
            h, mem = neuron(stage(h, parameters), mem)
            new.append(mem)
        return new, new[-1]

    shapes, h = [], x if num_steps is not None else x[0]
    for stage, parameters in zip(stages, weights, strict=True):
        h = jax.eval_shape(stage, h, parameters)
        shapes.append(jnp.zeros(h.shape, h.dtype))
    _, membranes = jax.lax.scan(
        forward, shapes, None if num_steps is not None else x, length=num_steps
    )
    logs = jax.nn.log_softmax(membranes, axis=-1)
    return -jnp.take_along_axis(logs, y[None, :, None], axis=-1).mean(axis=(1, 2)).sum()


def _neuron(net: Stages) -> Any:
    """A leaky neuron: decay, input, reset by subtraction in the step after the spike."""
    import jax
    from jax import numpy as jnp

    @jax.custom_vjp
    def fire(v: Any) -> Any:
        return (v > 0).astype(v.dtype)

    def forward(v: Any) -> Any:
        return fire(v), v

    def backward(v: Any, gradient: Any) -> Any:
        if net.slope is None:
            return (gradient / (1 + (jnp.pi * v) ** 2),)
        return (gradient / (net.slope * jnp.abs(v) + 1) ** 2,)

    fire.defvjp(forward, backward)

    def neuron(current: Any, mem: Any) -> Any:
        reset = jax.lax.stop_gradient((mem > 1).astype(mem.dtype))
        mem = net.beta * mem + current - reset
        return fire(mem - 1), mem

    return neuron


def _stage(part: nn.Module) -> Callable[[Any, Any], Any]:
    """A stage as a function of its input and its list of weights."""
    modules = list(part) if isinstance(part, nn.Sequential) else [part]
    functions = [_layer(module) for module in modules]
    counts = [len(list(module.parameters())) for module in modules]

    def run(h: Any, weights: Any) -> Any:
        taken = 0
        for function, count in zip(functions, counts, strict=True):
            h = function(h, *weights[taken : taken + count])
            taken += count
        return h

    return run


def _layer(module: nn.Module) -> Callable[..., Any]:
    from jax import lax
    from jax import numpy as jnp

    if isinstance(module, nn.Flatten):
        return lambda h: h.reshape(h.shape[0], -1)
    if isinstance(module, nn.Linear):
        return lambda h, weight, bias: h @ weight.T + bias
    if isinstance(module, nn.Conv2d):
        return lambda h, weight, bias: lax.conv(h, weight, (1, 1), "VALID") + bias[:, None, None]
    if isinstance(module, nn.MaxPool2d):
        size = (1, 1, 2, 2)
        return lambda h: lax.reduce_window(h, -jnp.inf, lax.max, size, size, "VALID")
    raise TypeError(f"jax_peer has no {type(module).__name__}; write it in _layer")
