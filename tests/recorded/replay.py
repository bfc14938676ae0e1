"""Replays a recorded case on any library that has snnTorch's surface.

The recorders call these functions with ``snntorch``, the compatibility tests with ``spikeloom``:
both sides run the same code, so that a difference lies in the libraries. ``README.md`` describes
the layout of the index files.
"""

import importlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["build", "decode", "load", "replay_call", "replay_neuron", "resolve"]

HERE = Path(__file__).parent

FUNCTIONS = {
    "square": lambda weight: weight**2,
    "one_minus": lambda weight: 1 - weight,
    "gated": lambda input_, grad_input, spikes: grad_input * (spikes + input_.abs()),
}


def load(name):
    """Index and arrays of ``<name>.json`` and ``<name>.npz``."""
    with np.load(HERE / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    return json.loads((HERE / f"{name}.json").read_text()), arrays


def resolve(library, path):
    """Attribute at the dotted ``path`` below ``library``, importing the submodules on the way."""
    found = library
    for name in path.split("."):
        if not hasattr(found, name):
            importlib.import_module(f"{found.__name__}.{name}")
        found = getattr(found, name)
    return found


def decode(value, library, arrays):
    """The argument that an entry of the index stands for; plain values stand for themselves."""
    if isinstance(value, list):
        return [decode(entry, library, arrays) for entry in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"])
    if "array" in value:
        return torch.from_numpy(arrays[value["array"]].copy())
    if "function" in value:
        return FUNCTIONS[value["function"]]
    kwargs = {
        name: decode(entry, library, arrays) for name, entry in value.get("kwargs", {}).items()
    }
    if "call" in value:
        return resolve(library, value["call"])(**kwargs)
    module = getattr(nn, value["module"])(**kwargs)
    module.load_state_dict(
        {name: torch.from_numpy(arrays[key].copy()) for name, key in value["weights"].items()}
    )
    return module


def build(library, case, arrays):
    """The neuron of ``case`` with its recorded weights."""
    kwargs = {name: decode(value, library, arrays) for name, value in case["kwargs"].items()}
    neuron = resolve(library, case["class"])(**kwargs)
    if case.get("state_dict"):
        state = {
            name: torch.from_numpy(arrays[key].copy()) for name, key in case["state_dict"].items()
        }
        neuron.load_state_dict(state)
    return neuron


def replay_neuron(library, case, arrays):
    """Outputs over time and gradients of a neuron case: two dictionaries, named as ``expect`` and
    ``grads``."""
    return drive(build(library, case, arrays), case, arrays)


def drive(neuron, case, arrays):
    """Run ``neuron`` over the recorded input and differentiate the recorded loss."""
    x = torch.from_numpy(arrays[case["x"]].copy()).requires_grad_()
    state = {
        name: torch.from_numpy(arrays[key].copy()).requires_grad_()
        for name, key in case["initial"].items()
    }
    leaves = {"x": x, **{f"initial.{name}": value for name, value in state.items()}}
    if case["mode"] == "sequence":
        outputs = named(case, neuron(x))
    else:
        steps = []
        for x_t in x:
            given = [] if case["mode"] == "hidden" or not state else pack(case["inputs"], state)
            state = named(case, neuron(x_t, *given))
            steps.append(state)
        outputs = {name: torch.stack([step[name] for step in steps]) for name in case["outputs"]}
    first = outputs[case["outputs"][0]]
    loss = (first * torch.from_numpy(arrays["w"])[: first.numel()].view_as(first)).sum()
    if "mem" in outputs:
        loss = loss + 0.1 * outputs["mem"][-1].sum()
    if loss.requires_grad:
        loss.backward()
    leaves.update(neuron.named_parameters())
    grads = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {name: value.detach() for name, value in outputs.items()}, grads


def pack(inputs, state):
    """State arguments in order; a list of names stands for a tuple argument."""
    return [
        state[entry] if isinstance(entry, str) else tuple(state[name] for name in entry)
        for entry in inputs
    ]


def named(case, returned):
    """What a neuron returned, by name; a bare tensor where a tuple was recorded (or the reverse) is
    an error."""
    if isinstance(returned, Tensor) != (case["returns"] == "tensor"):
        raise TypeError(
            f"{case['name']}: expected a {case['returns']}, got {type(returned).__name__}"
        )
    return dict(zip(case["outputs"], flatten(returned), strict=True))


def flatten(value):
    """Tensors in a nested tuple or list, in order; numbers become 0-d tensors."""
    if isinstance(value, (tuple, list)):
        return [leaf for entry in value for leaf in flatten(entry)]
    return [value if isinstance(value, Tensor) else torch.tensor(float(value))]


def replay_call(library, case, arrays):
    """The flat list of tensors that a surface case returns, and ``{argument position:
    gradient}``."""
    args = [decode(value, library, arrays) for value in case["args"]]
    for position in case["differentiate"]:
        args[position].requires_grad_()
    kwargs = {name: decode(value, library, arrays) for name, value in case["kwargs"].items()}
    if case["how"] == "scenario":
        scenarios = importlib.import_module(
            f"{__package__}.scenarios" if __package__ else "scenarios"
        )
        returned = getattr(scenarios, case["call"])(partial(resolve, library), *args, **kwargs)
    elif case["how"] == "make":
        returned = resolve(library, case["call"])(**kwargs)(*args)
    else:
        returned = resolve(library, case["call"])(*args, **kwargs)
    outputs = flatten(returned)
    if case["differentiate"]:
        upstream = torch.from_numpy(arrays["upstream"])[: outputs[0].numel()].view_as(outputs[0])
        outputs[0].backward(upstream)
    grads = {str(position): args[position].grad for position in case["differentiate"]}
    return [value.detach() for value in outputs], grads
