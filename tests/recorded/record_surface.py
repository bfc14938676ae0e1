"""Records snnTorch 1.0.0's surrogates, encoders, losses, accuracies, quantisers, learning rules and
helpers.

Usage, in an environment with snntorch==1.0.0 and torch==2.13.0: ``python
tests/recorded/record_surface.py``. Writes ``surface.npz`` and ``surface.json`` beside this script;
``README.md`` describes them.
"""

import warnings

import snntorch
import torch
from replay import replay_call
from store import Store
from surface_cases import SKIPPED, cases


def encode(value, name, store):
    """A value as the index holds it: tensors are stored, and so are the weights of modules."""
    if isinstance(value, torch.Tensor):
        return {"array": store.add(name, value)}
    if isinstance(value, list):
        return [encode(entry, f"{name}/{number}", store) for number, entry in enumerate(value)]
    if isinstance(value, dict) and "module" in value:
        return {**value, "weights": store.add_all(name, value["weights"])}
    return value


def record(store, name, call, args, kwargs, options):
    """Make one call and store it."""
    case = {
        "name": name,
        "call": call,
        "args": encode(args, f"{name}/args", store),
        "kwargs": kwargs,
    }
    case |= {"how": options["how"], "differentiate": options.get("differentiate", [])}
    outputs, grads = replay_call(snntorch, case, store.arrays)
    if not all(torch.isfinite(value).all() for value in [*outputs, *grads.values()]):
        raise ValueError(f"{name}: infinite or undefined numbers")
    case["expect"] = [store.add(f"{name}/{number}", value) for number, value in enumerate(outputs)]
    case["grads"] = store.add_all(f"{name}/grad", grads)
    store.cases.append(case)


def main():
    torch.set_num_threads(1)
    store = Store()
    torch.manual_seed(4)
    store.add("upstream", torch.randn(128))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases():
            record(store, *case)
    skipped = [
        {"call": call, "kwargs": kwargs, "reason": reason} for call, kwargs, reason in SKIPPED
    ]
    store.write("surface", skipped)


if __name__ == "__main__":
    main()
