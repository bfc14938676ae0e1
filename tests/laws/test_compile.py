"""``torch.compile`` sees one graph, in both modes, for every elementwise neuron."""

import warnings

import pytest
import torch
from torch import Tensor

import spikeloom as snn

from .cases import OWN, build, current

NAMES = [name for name, cls in OWN.items() if cls.elementwise]
# A sequence is one operator, the same for all of them: a few suffice, with one state and several.
SEQUENCES = ["Leaky", "Alpha", "AdEx", "GLIF", "RefractoryLIF", "TernaryLIF", "LI"]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("name", [n for n in NAMES if "step" in OWN[n].modes])
def test_a_step_compiles_into_one_graph(name: str) -> None:
    check(name, "step", current(name, dtype=torch.float32)[0], backend="eager")


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_compiles_into_one_graph(name: str) -> None:
    check(name, "sequence", current(name, dtype=torch.float32), backend="aot_eager")


def check(name: str, mode: str, x: Tensor, backend: str) -> None:
    neuron = build(name, dtype=torch.float32, learn=True)
    neuron.mode = mode
    results = []
    for compiled in (False, True):
        snn.reset(neuron)
        neuron.zero_grad()
        call = (
            torch.compile(neuron.forward, fullgraph=True, backend=backend)
            if compiled
            else neuron.forward
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, inside its compiler
            outputs = torch.utils._pytree.tree_leaves(call(x))
        sum(v.square().sum() for v in outputs).backward()
        results.append([*outputs, *(p.grad for p in neuron.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_network_over_time_compiles_into_one_graph() -> None:
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 4), snn.Leaky(0.9, init_hidden=True, mode="sequence")
    )
    x = torch.rand(6, 3, 5)
    expected = net(x)
    snn.reset(net)
    assert torch.equal(torch.compile(net, fullgraph=True, backend="aot_eager")(x), expected)
