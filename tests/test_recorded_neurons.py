"""Every neuron against numbers recorded from snnTorch: spikes, states and gradients, step by step
and over sequences.

`recorded/README.md` describes the cases; a case of a neuron that the package lacks is an error, not
a skip.
"""

import inspect
import json

import pytest
import torch
from recorded.replay import HERE, build, decode, load, pack, replay_call, replay_neuron, resolve
from torch import Tensor

import spikeloom as snn
from spikeloom import Neuron

INDEX, ARRAYS = load("neurons")
CASES = INDEX["cases"]
STEPWISE = [case for case in CASES if case["mode"] != "sequence" and case["class"] != "DeltaLeaky"]


def compare(case: dict, outputs: dict[str, Tensor], grads: dict[str, Tensor]) -> None:
    """Spikes exactly, states to 1e-6 of their largest value, gradients to 1e-5 of theirs.

    At and beyond the edges of [0, 1] the gradient of a decay is compared in
    `test_a_decay_at_or_beyond_an_edge_is_led_back_by_its_gradient`: there snnTorch has that of
    ``torch.clamp``.

    AssociativeLeaky is the exception: snnTorch divides by cumulative products plus 1e-8, which is
    inexact, and its output are spikes times a query.
    """
    inexact = case["class"].startswith("AssociativeLeaky")
    for name, key in case["expect"].items():
        expected = torch.from_numpy(ARRAYS[key])
        if name == "spk" and not inexact:
            torch.testing.assert_close(
                outputs[name], expected, rtol=0, atol=0, msg=lambda m, n=name: f"{n}: {m}"
            )
        else:
            close(name, outputs[name], expected, 1e-6)
    assert case["grads"].keys() <= grads.keys()
    for name, found in grads.items():  # no gradient and zeros are the same
        key = case["grads"].get(name)
        expected = torch.from_numpy(ARRAYS[key]) if key else torch.zeros_like(found)
        if name in ("alpha", "beta") and "/clamp/" in case["name"]:
            value = torch.from_numpy(ARRAYS[case["state_dict"][name]])
            inside = (value > 0) & (value < 1)
            found, expected = found[inside], expected[inside]
        close(f"gradient of {name}", found, expected, 1e-4 if inexact else 1e-5)


def close(name: str, found: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = max(float(expected.abs().max()), 1.0)
    torch.testing.assert_close(
        found, expected, rtol=tolerance, atol=tolerance * scale, msg=lambda m: f"{name}: {m}"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.filterwarnings("ignore:StateLeaky")
def test_a_neuron_gives_the_recorded_numbers(case: dict) -> None:
    compare(case, *replay_neuron(snn, case, ARRAYS))


@pytest.mark.parametrize("backend", ["eager", "torch"])
@pytest.mark.parametrize("case", STEPWISE, ids=lambda case: case["name"])
def test_a_neuron_gives_the_recorded_numbers_over_a_sequence(case: dict, backend: str) -> None:
    neuron = build(snn, case, ARRAYS)
    assert isinstance(neuron, Neuron)
    if backend == "torch" and not neuron.transition.elementwise:
        with snn.backend("torch"), pytest.raises(RuntimeError, match="does not serve"):
            neuron.scan(torch.from_numpy(ARRAYS[case["x"]]))
        return
    neuron.mode = "sequence"
    x = torch.from_numpy(ARRAYS[case["x"]].copy()).requires_grad_()
    state = {
        name: torch.from_numpy(ARRAYS[key].copy()).requires_grad_()
        for name, key in case["initial"].items()
    }
    with snn.backend(backend):
        returned = neuron(x, *(pack(case["inputs"], state) if state else []))
    outputs = dict(
        zip(case["outputs"], [returned] if isinstance(returned, Tensor) else returned, strict=True)
    )
    spk = outputs[case["outputs"][0]]
    loss = (spk * torch.from_numpy(ARRAYS["w"])[: spk.numel()].view_as(spk)).sum()
    if "mem" in outputs:
        loss = loss + 0.1 * outputs["mem"][-1].sum()
    if loss.requires_grad:
        loss.backward()
    leaves = {
        "x": x,
        **{f"initial.{name}": value for name, value in state.items()},
        **dict(neuron.named_parameters()),
    }
    grads = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    compare(case, {name: value.detach() for name, value in outputs.items()}, grads)


MODULES = json.loads((HERE / "state_dicts.json").read_text())["modules"]
SURFACE, SURFACE_ARRAYS = load("surface")
LAYERS = [case for case in SURFACE["cases"] if case["call"] in ("GradedSpikes", "time_batchnorm")]
DEFINITIONS = [
    (path, definition["parameters"])
    for definition in json.loads((HERE / "signatures.json").read_text())["definitions"]
    for path in definition["paths"]
    if "." not in path and path != "DeltaLeaky"  # which names what snnTorch takes as *args
]


@pytest.mark.parametrize("case", MODULES, ids=lambda case: case["name"])
@pytest.mark.filterwarnings("ignore:StateLeaky")
def test_a_state_dict_has_the_recorded_names_and_loads_a_recorded_one(case: dict) -> None:
    kwargs = {name: decode(value, snn, {}) for name, value in case["kwargs"].items()}
    module = resolve(snn, case["class"])(**kwargs)
    assert {name: list(value.shape) or [1] for name, value in module.state_dict().items()} == {
        name: shape or [1] for name, (shape, _) in case["state_dict"].items()
    }
    derived = {"beta"} if "tau" in case["state_dict"] else set()  # StateLeaky learns tau alone
    assert {name for name, _ in module.named_parameters()} == set(case["parameters"]) - derived
    recorded = {
        n: torch.ones(shape).to(getattr(torch, dtype))
        for n, (shape, dtype) in case["state_dict"].items()
    }
    if "reset_mechanism_val" in recorded:
        recorded["reset_mechanism_val"] = torch.tensor(0)
    module.load_state_dict(recorded)
    assert all(bool((parameter == 1).all()) for parameter in module.parameters())


@pytest.mark.parametrize(("path", "wanted"), DEFINITIONS, ids=[path for path, _ in DEFINITIONS])
def test_a_constructor_takes_the_recorded_arguments_in_their_order(
    path: str, wanted: list[list[str]]
) -> None:
    known = inspect.signature(resolve(snn, path)).parameters.values()
    found = {p.name: p for p in known if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(found)[: len(wanted)] == [name for name, *_ in wanted]
    for name, *default in wanted:
        if default:  # what is required there may have a default here
            assert repr(found[name].default) == default[0]


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case["name"])
def test_a_layer_gives_the_recorded_numbers(case: dict) -> None:
    outputs, grads = replay_call(snn, case, SURFACE_ARRAYS)
    for output, key in zip(outputs, case["expect"], strict=True):
        torch.testing.assert_close(output, torch.from_numpy(SURFACE_ARRAYS[key]))
    for position, key in case["grads"].items():
        torch.testing.assert_close(grads[position], torch.from_numpy(SURFACE_ARRAYS[key]))
