"""torch.export, ONNX and AOTInductor: a step, a sequence, and a module that calls `snn.run`."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn


class Step(nn.Module):
    """One time step with its states as arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.lif = nn.Linear(6, 8), snn.Leaky(0.9)
        self.second, self.synaptic = nn.Linear(8, 3), snn.Synaptic(0.8, 0.9)

    def forward(self, x: Tensor, mem: Tensor, syn: Tensor, mem_out: Tensor) -> tuple[Tensor, ...]:
        spk, mem = self.lif(self.first(x), mem)
        out, syn, mem_out = self.synaptic(self.second(spk), syn, mem_out)
        return out, mem, syn, mem_out


class Sequence(nn.Module):
    """All time steps, by neurons in sequence mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.lif = nn.Linear(6, 8), snn.Leaky(0.9, mode="sequence")
        self.second = nn.Linear(8, 3)
        self.last = snn.RLeaky(0.9, linear_features=3, mode="sequence")

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.lif(self.first(x))[0]))[0]


class Run(nn.Module):
    """All time steps, by `snn.run`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 8),
            snn.Leaky(0.9, init_hidden=True),
            nn.Linear(8, 3),
            snn.Synaptic(0.8, 0.9, init_hidden=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return snn.run(self.net, x)


X = torch.rand(8, 2, 6, generator=torch.Generator().manual_seed(1)) * 6
STATE = (torch.zeros(2, 8), torch.zeros(2, 3), torch.zeros(2, 3))
CASES: dict[str, tuple[Any, tuple[Tensor, ...]]] = {
    "step": (Step, (X[0], *STATE)),
    "sequence": (Sequence, (X,)),
    "run": (Run, (X,)),
}


def made(name: str) -> tuple[nn.Module, tuple[Tensor, ...], list[Tensor]]:
    """A network, what it is called with, and its outputs."""
    kind, given = CASES[name]
    torch.manual_seed(3)
    net = kind().eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.mul_(3)
            if name.startswith(("second.", "net.2.")):
                parameter.abs_()  # or the last neurons stay silent
        out = net(*given)
    snn.reset(net)  # a state that a neuron remembers would be a constant of the graph
    outputs = list(out) if isinstance(out, tuple) else [out]
    assert outputs[1 if name == "step" else 0].any()
    return net, given, outputs


def exported(name: str) -> tuple[Any, tuple[Tensor, ...], list[Tensor]]:
    net, given, want = made(name)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about states that neurons remember
        return torch.export.export(net, given), given, want


def equal(found: Any, want: list[Tensor]) -> bool:
    outputs = list(found) if isinstance(found, (tuple, list)) else [found]
    return all(torch.equal(x, y) for x, y in zip(outputs, want, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_an_exported_graph_needs_spikeloom_or_fires_otherwise(name: str, tmp_path: Path) -> None:
    program, given, want = exported(name)
    assert not [n for n in program.graph.nodes if "spikeloom" in str(n.target)]
    torch.export.save(program, tmp_path / "net.pt2")
    again = torch.export.load(tmp_path / "net.pt2")
    assert equal(again.module()(*given), want)


def test_a_backend_that_was_chosen_is_replaced_in_an_export() -> None:
    net = snn.Leaky(0.9, mode="sequence")
    want = net(X)[0]
    snn.reset(net)
    with warnings.catch_warnings(), torch.no_grad(), snn.backend("torch"):
        warnings.simplefilter("ignore")
        program = torch.export.export(net, (X,))
    assert any("spikeloom.scan" in str(node.target) for node in program.graph.nodes)
    assert want.any() and torch.equal(program.module()(X)[0], want)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_onnx_runs_another_network(name: str, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import onnxruntime

    net, given, want = made(name)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, given, tmp_path / "net.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, {n: x.numpy() for n, x in zip(names, given, strict=True)})
    for output, expected in zip(found, want, strict=True):
        assert torch.allclose(torch.from_numpy(output), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*treespec:FutureWarning")  # torch calls its own old names
def test_aot_inductor_runs_another_network(tmp_path: Path) -> None:
    program, given, want = exported("run")
    try:
        path = torch._inductor.aoti_compile_and_package(
            program, package_path=str(tmp_path / "net.pt2")
        )
    except Exception as error:
        if "compiler" in str(error).lower():
            pytest.skip(f"no C++ compiler: {error}")
        raise
    assert equal(torch._inductor.aoti_load_package(path)(*given), want)
