"""Records the public names, signatures and state_dict layouts of snnTorch 1.0.0.

Usage, in an environment with snntorch==1.0.0 and torch==2.13.0: ``python
tests/recorded/record_signatures.py``. Writes ``signatures.json`` and ``state_dicts.json`` beside
this script; ``README.md`` describes them. Signatures are read from the source, since some modules
do not import without packages that snnTorch does not declare.
"""

import ast
import warnings
from pathlib import Path

import snntorch
import torch
from neuron_cases import cases
from replay import build, resolve
from store import write_lines

SOURCE = Path(snntorch.__file__).parent
FUNCTIONAL = ("loss", "acc", "reg", "probe")
MODULES = ("surrogate", "spikegen", "spikeplot", "backprop", "utils", "export_nir", "import_nir")
DATASETS = ("nmnist", "dvs_gesture", "shd")


def definitions(file):
    """Public classes and functions of a source file, by name."""
    nodes = ast.parse((SOURCE / file).read_text()).body
    kinds = ast.ClassDef | ast.FunctionDef
    return {
        node.name: node
        for node in nodes
        if isinstance(node, kinds) and not node.name.startswith("_")
    }


def surface():
    """Every public definition as (paths below the library, node)."""
    tree = ast.parse((SOURCE / "_neurons" / "__init__.py").read_text())
    for node in tree.body:
        for name in node.names if isinstance(node, ast.ImportFrom) else []:
            yield [name.name], definitions(f"_neurons/{node.module}.py")[name.name]
    for file in ("bntt", "graded_spikes"):
        for name, node in definitions(f"_layers/{file}.py").items():
            yield [name], node
    yield from functions()


def functions():
    """Every public function, and the data sets, as (paths below the library, node)."""
    for file in FUNCTIONAL:
        for name, node in definitions(f"functional/{file}.py").items():
            yield [f"functional.{name}", f"functional.{file}.{name}"], node
    for file in ("quant", "stdp_learner"):
        for name, node in definitions(f"functional/{file}.py").items():
            yield [f"functional.{file}.{name}"], node
    for file in MODULES:
        for name, node in definitions(f"{file}.py").items():
            yield [f"{file}.{name}"], node
    for file in DATASETS:
        for name, node in definitions(f"spikevision/spikedata/{file}.py").items():
            if isinstance(node, ast.ClassDef):
                yield [f"spikevision.spikedata.{name}"], node


def parameters(function, bound):
    """Parameters in order, each [name] or [name, default]; variable ones are named with their
    stars."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    listed = [
        [a.arg] if d is None else [a.arg, ast.unparse(d)]
        for a, d in zip(positional, defaults, strict=True)
    ]
    starred = [
        [stars + a.arg] for stars, a in (("*", arguments.vararg), ("**", arguments.kwarg)) if a
    ]
    return listed[bound:] + starred


def methods(node, classes):
    """Public methods and ``__init__``/``__call__`` of a class, those of its bases in snnTorch
    included."""
    found = {}
    for base in reversed(node.bases):
        if ast.unparse(base) in classes:
            found |= methods(classes[ast.unparse(base)], classes)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and (
            item.name in ("__init__", "__call__") or item.name[0] != "_"
        ):
            decorators = [ast.unparse(decorator) for decorator in item.decorator_list]
            if not any(
                decorator == "property" or ".setter" in decorator for decorator in decorators
            ):
                found[item.name] = parameters(item, bound="staticmethod" not in decorators)
    return found


def signatures():
    """One entry for each public definition."""
    listed = list(surface())
    classes = {node.name: node for _, node in listed if isinstance(node, ast.ClassDef)}
    for paths, node in listed:
        if isinstance(node, ast.FunctionDef):
            yield {"paths": paths, "kind": "function", "parameters": parameters(node, bound=False)}
        else:
            found = methods(node, classes)
            own = found.pop("__init__", None)
            yield {"paths": paths, "kind": "class", "parameters": own, "methods": found}


def layout(module):
    """Names, shapes and types in the state_dict, and the parameters in order."""
    state = {
        name: [list(value.shape), str(value.dtype).removeprefix("torch.")]
        for name, value in module.state_dict().items()
    }
    return {"state_dict": state, "parameters": [name for name, _ in module.named_parameters()]}


def state_dicts():
    """One entry for each variant of `neuron_cases`, whatever its reset, and for the layers."""
    seen = set()
    for name, neuron, kwargs, _ in cases():
        variant = "/".join(name.split("/")[:2])
        if variant not in seen:
            seen.add(variant)
            case = {"class": neuron, "kwargs": kwargs}
            yield {"name": variant, **case, **layout(build(snntorch, case, {}))}
    time = {"input_features": 5, "time_steps": 2}
    layers = {
        "GradedSpikes": {"size": 5, "constant_factor": 2.0},
        "BatchNormTT1d": time,
        "BatchNormTT2d": time,
    }
    for layer, kwargs in layers.items():
        yield {
            "name": layer,
            "class": layer,
            "kwargs": kwargs,
            **layout(resolve(snntorch, layer)(**kwargs)),
        }


def main():
    write_lines("signatures.json", {"definitions": list(signatures())})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(0)
        write_lines("state_dicts.json", {"modules": list(state_dicts())})


if __name__ == "__main__":
    main()
