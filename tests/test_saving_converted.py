"""Converted networks: saved with their graph as JSON, loaded without pickle."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import conversion
from spikeloom.saving import safetensors
from spikeloom.saving.architecture import build, describe

X = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.conv, self.pool, self.head = nn.Conv2d(4, 4, 1), nn.MaxPool2d(2), nn.Linear(64, 5)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        x = self.pool(torch.relu(self.conv(x) + x))
        x = self.head(x.flatten(1)).view(x.shape[0], -1) * self.scale
        return torch.log_softmax(x, 1)


def converted(**options: Any) -> Any:
    torch.manual_seed(0)
    return conversion.convert(Residual().eval(), X, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"calibrate": "bias", "per_channel": True},
        {"readout": "spikes", "max_pool": "avg", "signed": True},
        {"input": "poisson", "max_pool": "gate"},
    ],
    ids=str,
)
def test_a_converted_network_could_only_be_kept_as_a_pickle(
    options: dict[str, Any], tmp_path: Path
) -> None:
    net: Any = converted(**options)
    loaded: Any = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    assert isinstance(loaded, conversion.Converted) and loaded.settings == net.settings
    assert {n: v.shape for n, v in loaded.state_dict().items()} == {
        n: v.shape for n, v in net.state_dict().items()
    }
    found = [each(X, 8, generator=torch.Generator().manual_seed(1)) for each in (net, loaded)]
    assert torch.equal(*found) and found[0].std() > 0
    assert torch.equal(net.ann(X), loaded.ann(X))
    assert list(net.neurons) == list(loaded.neurons)
    if "calibrate" not in options and "input" not in options:
        assert torch.equal(net.unit_spikes()(X), loaded.unit_spikes()(X))


def test_the_activations_that_neurons_stand_for_keep_their_thresholds(tmp_path: Path) -> None:
    ann = nn.Sequential(nn.Linear(4, 8), conversion.QCFS(4, 2.5), nn.Linear(8, 3))
    x = torch.rand(20, 4)
    net = conversion.convert(ann.eval(), x, method="qcfs")
    loaded: Any = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    assert torch.equal(net(x), loaded(x)) and torch.equal(net.ann(x), loaded.ann(x))


def changed(net: Any, where: list[Any], value: Any) -> dict[str, Any]:
    described = copy.deepcopy(describe(net))
    inner: Any = described
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return json.loads(json.dumps(described))


def node(op: str, target: str, *args: Any, **more: Any) -> dict[str, Any]:
    made = {"op": op, "name": "planted", "target": target, "args": {"tuple": list(args)}}
    return {**made, "kwargs": {}, "shape": None, **more}


FIRST = ["graph", "nodes", 1]
HOSTILE = {
    "a function that is not on the list": (FIRST, node("call_function", "os.system", "true")),
    "a function of torch that is not": (FIRST, node("call_function", "torch.load", "net.pt")),
    "a method that is not on the list": (FIRST, node("call_method", "__reduce__", {"node": 0})),
    "an attribute that is not": (
        FIRST,
        node("call_function", "getattr", {"node": 0}, "__class__"),
    ),
    "code as the name of a layer": (FIRST, node("call_module", "a); print(1", {"node": 0})),
    "code as the name of a node": (
        FIRST,
        node("call_method", "dim", {"node": 0}, name="x = print(1)"),
    ),
    "code as the name of an argument": (
        FIRST,
        node("call_method", "dim", {"node": 0}, kwargs={"a=print(1), b": 0}),
    ),
    "code as the name of the input": (["graph", "nodes", 0, "target"], "x=print(1)"),
    "a keyword as the name of the input": (["graph", "nodes", 0, "target"], "import"),
    "a node that comes later": (["graph", "nodes", 1, "args"], {"tuple": [{"node": 9}]}),
    "an operation that graphs do not have": (FIRST, node("call_code", "print", {"node": 0})),
    "a layer in the place of a method": (["graph", "layers", "forward"], {"kind": "x"}),
    "a setting that conversions do not have": (["settings", "code"], "print(1)"),
    "a graph that is a list": (["graph"], []),
    "a value that is no tensor": (["graph", "values", "w"], {"value": 1.0, "learns": False}),
}


@pytest.mark.parametrize(("where", "value"), HOSTILE.values(), ids=HOSTILE)
def test_a_planted_graph_is_refused_and_not_run(
    where: list[Any], value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = conversion.convert(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.rand(9, 2))
    with pytest.raises(ValueError, match="the architecture has"):
        build(changed(net, where, value))
    assert capsys.readouterr().out == ""
    tensors, texts = safetensors.read(snn.save(net, tmp_path / "net.safetensors"))
    described = {**json.loads(texts["spikeloom.network"]), "architecture": []}
    safetensors.write(tmp_path / "planted", tensors, {"spikeloom.network": json.dumps(described)})
    with pytest.raises(ValueError, match="must hold an architecture"):
        snn.load(tmp_path / "planted")
