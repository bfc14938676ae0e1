"""Records snnTorch 1.0.0's neurons: outputs over time, gradients of the input, the initial state
and every parameter.

Usage, in an environment with snntorch==1.0.0 and torch==2.13.0: ``python
tests/recorded/record_neurons.py``. Writes ``neurons.npz`` and ``neurons.json`` beside this script;
``README.md`` describes them.
"""

import warnings

import snntorch
import torch
from neuron_cases import SKIPPED, cases
from replay import build, drive
from store import Store


def inputs():
    """Seeded input sequences [T, B, ...]; the quarters of ``ties`` put membranes exactly on the
    threshold."""
    torch.manual_seed(5)
    dense = 0.4 + 0.9 * torch.randn(12, 3, 5)
    image = 0.4 + 0.9 * torch.randn(6, 2, 2, 6, 6)
    return {
        "dense": dense,
        "small": 0.5 * dense,
        "large": 3.0 * dense,
        "short": 1.5 * dense[:4],
        "image": image,
        "image_large": 3.0 * image,
        "ties": 0.25 * (torch.arange(48).reshape(6, 2, 4) % 5).float(),
    }


def record(store, name, neuron, kwargs, setup):
    """Run one case and store it."""
    case = {"name": name, "class": neuron, "kwargs": kwargs, "mode": setup.get("mode", "explicit")}
    case |= {
        "returns": setup.get("returns", "tuple"),
        "outputs": setup["outputs"],
        "inputs": setup["inputs"],
    }
    case |= {"x": f"x/{setup['x']}"}
    torch.manual_seed(1)
    module = build(snntorch, case, store.arrays)
    for weight, factor in setup.get("scale", {}).items():
        module.get_parameter(weight).data.mul_(factor)
    for weight, values in setup.get("set", {}).items():
        module.get_parameter(weight).data.copy_(torch.tensor(values))
    if any(module.children()) or "set" in setup:
        case["state_dict"] = store.add_all(f"{name}/state_dict", module.state_dict())
    torch.manual_seed(2)
    initial = {
        state: 0.9 * torch.randn(store.arrays[case["x"]].shape[1:])
        for state in setup.get("initial", [])
    }
    if "spk" in initial:
        initial["spk"] = (initial["spk"] > 0).float()
    case["initial"] = store.add_all(f"{name}/initial", initial)
    outputs, grads = drive(module, case, store.arrays)
    if not setup.get("exact"):
        check(name, outputs, store, case)
    case["expect"] = store.add_all(name, outputs)
    case["grads"] = store.add_all(f"{name}/grad", grads)
    store.cases.append(case)


def check(name, outputs, store, case):
    """Refuse a case that rarely or almost always spikes, or whose spikes hang on the last bits of
    the input."""
    first = case["outputs"][0]
    rate = (outputs[first] != 0).float().mean()
    if first == "spk" and not 0.05 < rate < 0.95:
        raise ValueError(f"{name}: {rate:.0%} of the outputs are spikes; scale the input")
    for factor in (1 - 1e-5, 1 + 1e-5):
        nudged = {**store.arrays, case["x"]: store.arrays[case["x"]] * factor}
        again, _ = drive(build(snntorch, case, store.arrays), case, nudged)
        if not all(
            torch.allclose(again[output], outputs[output], rtol=1e-3, atol=1e-3)
            for output in outputs
        ):
            raise ValueError(
                f"{name}: outputs jump when the input changes by 1e-5; choose another seed"
            )


def main():
    torch.set_num_threads(1)
    store = Store()
    store.add_all("x", inputs())
    torch.manual_seed(4)
    store.add("w", torch.randn(864))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for case in cases():
            record(store, *case)
    skipped = [
        {"class": neuron, "kwargs": kwargs, "reason": reason} for neuron, kwargs, reason in SKIPPED
    ]
    store.write("neurons", skipped)


if __name__ == "__main__":
    main()
