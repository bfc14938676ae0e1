"""Export then import gives a network that spikes the same, bit for bit, whatever NIR itself leaves
open."""

import copy
import pickle
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.neuron import REGISTRY
from spikeloom.core.options import arguments
from spikeloom.nir import Network, from_nir, to_nir
from spikeloom.nir.modules import Offset, Scale
from spikeloom.nir.neurons import SameStepLeaky, Threshold

F = 5
CLASSES = [
    snn.Leaky,
    snn.IF,
    snn.ScaledIF,
    snn.LI,
    snn.Lapicque,
    snn.PLIF,
    snn.Synaptic,
    snn.RLeaky,
    snn.RSynaptic,
]
CLASSES += [SameStepLeaky, Threshold]
NO_NODE = sorted(
    name
    for name, cls in REGISTRY.items()
    if cls.__module__.startswith("spikeloom.") and cls not in CLASSES
)


def configurations() -> list[Any]:
    """Every neuron that NIR can say, with every reset and delay that it has."""
    found = []
    for cls in CLASSES:
        takes = arguments(cls)
        for reset in cls.resets if "reset_mechanism" in takes else [None]:
            for delay in [True, False] if "reset_delay" in takes else [None]:
                options = {
                    k: v
                    for k, v in (("reset_mechanism", reset), ("reset_delay", delay))
                    if v is not None
                }
                found.append(pytest.param(cls, options, id=f"{cls.__name__}-{reset}-{delay}"))
    return found


def network(neuron: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, F), neuron, nn.Linear(F, 2), snn.Leaky(beta=0.7, init_hidden=True)
    ).to(dtype)


def spikes(net: nn.Module, x: Tensor) -> Tensor:
    """Of the second layer and of the output."""
    with torch.no_grad(), snn.backend("eager"):  # what is compared is the network, not the kernels
        run = snn.run(net, x, record=["1.spk"])
    return torch.cat([run.record["1.spk"], run.output], -1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("cls", "options"), configurations())
def test_a_network_read_back_spikes_the_same(
    cls: type, options: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    values = {k: v for k, v in cls.example.items() if k != "threshold"}
    net = network(cls(**values, **options, init_hidden=True), dtype)
    x = (torch.rand(60, 4, 3, dtype=dtype) - 0.2) * (60 if cls is snn.Lapicque else 6)
    expected = spikes(net, x)
    assert 0 < (expected != 0).float().mean() < 1
    graph = to_nir(net)
    nir.write(tmp_path / "net.nir", graph)
    for source in (graph, tmp_path / "net.nir", nir.read(tmp_path / "net.nir")):
        again = from_nir(source)
        assert type(again.get_submodule("1")) is cls
        assert torch.equal(spikes(again, x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_parameters_that_differ_between_neurons_come_back_to_the_last_bit(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(3)

    def values() -> Tensor:
        return torch.rand(F, generator=generator, dtype=dtype) * 0.9 + 0.05

    for neuron in (
        snn.Leaky(values(), values(), learn_beta=True),
        snn.Synaptic(values(), values(), values(), learn_threshold=True),
        snn.IF(values()),
        snn.LI(values()),
        snn.Lapicque(R=values() * 5, C=values() * 3, time_step=0.1, threshold=values()),
        snn.Lapicque(beta=values(), threshold=values(), learn_beta=True),
        snn.RLeaky(values(), values(), all_to_all=False, learn_recurrent=False),
        snn.RSynaptic(values(), values(), linear_features=F, graded_spikes_factor=values()),
        snn.RLeaky(values(), linear_features=F, learn_recurrent=False),
    ):
        neuron.init_hidden = True
        net = network(neuron, dtype)
        nir.write(tmp_path / "net.nir", to_nir(net))
        again = from_nir(tmp_path / "net.nir")
        expected, found = net.state_dict(), again.state_dict()
        assert found.keys() == expected.keys()
        assert {key: value.dtype for key, value in found.items()} == {
            k: v.dtype for k, v in expected.items()
        }
        assert all(torch.equal(found[key], value) for key, value in expected.items())
        learned = {name for name, p in net.named_parameters() if p.requires_grad}
        assert {name for name, p in again.named_parameters() if p.requires_grad} == learned


def test_convolutions_with_every_setting_come_back(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(
                2, 4, (3, 5), stride=(1, 2), padding=(2, 1), dilation=(2, 1), groups=2
            )
            self.lif1 = snn.Leaky(torch.rand(4, 1, 1), init_hidden=True)
            self.conv2 = nn.Conv2d(4, 4, 3, padding="same", bias=False)
            self.lif2 = snn.RLeaky(0.5, conv2d_channels=4, kernel_size=3, init_hidden=True)
            self.pool = nn.AvgPool2d(2, stride=1, padding=1)
            self.sums = nn.AvgPool2d((2, 1), divisor_override=1)
            self.drop = nn.Dropout(0.5)
            self.fc = nn.LazyLinear(3)
            self.lif3 = snn.Synaptic(0.5, 0.9, threshold=0.1, init_hidden=True, output=True)

        def forward(self, x: Tensor) -> Any:
            spk = self.lif2(self.conv2(self.lif1(self.conv1(x))))
            spk = self.drop(self.sums(self.pool(spk)))
            return self.lif3(self.fc(spk.view(spk.size(0), -1)))

    net, x = Net(), torch.rand(12, 2, 2, 9, 9) * 3
    with torch.no_grad():
        net(x[0])
    snn.reset(net)
    net.eval()
    nir.write(tmp_path / "net.nir", to_nir(net, x[0]))
    again = from_nir(tmp_path / "net.nir")
    expected = snn.run(net, x)[0]
    assert 0 < expected.mean() < 1
    assert torch.equal(snn.run(again, x), expected)
    assert again.get_submodule("conv2").bias is None
    assert {n for n, _ in again.named_parameters()} == {n for n, _ in net.named_parameters()}


@pytest.mark.parametrize(
    ("kernel", "padding", "dilation"), [(3, 2, 2), (5, 6, 3), (3, (1, 3), (1, 3))]
)
def test_a_dilated_convolution_as_feedback_comes_back(
    kernel: int, padding: Any, dilation: Any
) -> None:
    neuron = snn.RLeaky(0.5, conv2d_channels=2, kernel_size=3, init_hidden=True)
    neuron.recurrent = nn.Conv2d(2, 2, kernel, padding=padding, dilation=dilation)
    net = nn.Sequential(nn.Conv2d(1, 2, 1), neuron)
    x = torch.rand(6, 2, 1, 9, 9) * 3
    again = from_nir(to_nir(net, x[0]))
    found = next(module for module in again.modules() if isinstance(module, snn.RLeaky))
    assert isinstance(found.recurrent, nn.Conv2d)
    assert found.recurrent.dilation == neuron.recurrent.dilation
    assert torch.equal(snn.run(again, x), snn.run(net, x))


def test_one_dimensional_convolutions_come_back() -> None:
    layers = [
        nn.Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2),
        snn.IF(0.3, init_hidden=True),
        nn.Flatten(),
    ]
    net, x = nn.Sequential(*layers), torch.rand(15, 2, 2, 11)
    expected = snn.run(net, x)
    again = from_nir(to_nir(net, x[0]))
    assert expected.any() and torch.equal(snn.run(again, x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_delays_come_back_fractions_included(dtype: torch.dtype, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(4)
    for shape, delay in (
        ((F,), 2.0),
        ((F,), torch.rand(F, generator=generator) * 3),
        ((2, 3, 3), torch.tensor([0.0, 1.5])),
    ):
        channels = delay.numel() if isinstance(delay, Tensor) else None
        net = nn.Sequential(
            snn.SynapticDelay(4, delay, channels, learn_delay=channels is not None)
        ).to(dtype)
        x = torch.rand(9, 2, *shape, generator=generator, dtype=dtype)
        nir.write(tmp_path / "net.nir", to_nir(net, x[0]))
        again = from_nir(tmp_path / "net.nir")
        assert torch.equal(snn.run(again, x), snn.run(net, x))
        assert [p.requires_grad for p in again.parameters()] == [
            p.requires_grad for p in net.parameters()
        ]


def test_branches_sums_and_products_come_back() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, F), nn.Linear(3, F, bias=False)
            self.lif = snn.Leaky(0.8, threshold=0.5)
            self.weights = nn.Parameter(torch.rand(F))
            self.out = snn.LI(0.5)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            current = self.a(x) + self.b(x) * 2.0
            spk, _ = self.lif(current)
            mem, _ = self.out(spk * self.weights + current)
            return spk, mem

    net, x = Net(), torch.rand(20, 2, 3) * 2
    again = from_nir(to_nir(net))
    for found, expected in zip(snn.run(again, x), snn.run(net, x), strict=True):
        torch.testing.assert_close(found, expected)
    scales = [m for m in again.modules() if isinstance(m, Scale)]
    assert [isinstance(m.factor, nn.Parameter) for m in scales] == [False, True]


def whole(layer: nn.Module) -> nn.Module:
    """A layer with delays of whole steps."""
    with torch.no_grad():
        layer.delay.round_()
    return layer


CONNECTIONS = {
    "linear": lambda: nn.Linear(F, F),
    "delayed": lambda: whole(snn.DelayedLinear(F, F, 3, kernel_count=2)),
    "the spikes themselves": nn.Identity,
    "two layers": lambda: nn.Sequential(nn.Linear(F, 2), nn.Linear(2, F)),
}


@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("name", CONNECTIONS)
def test_spikes_that_return_through_a_layer_come_back_otherwise(
    name: str, reset: str, delay: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    neuron = snn.Leaky(0.9, reset_mechanism=reset, reset_delay=delay, init_hidden=True)
    net = nn.Sequential(nn.Linear(F, F), snn.Feedback(neuron, CONNECTIONS[name]()))
    x = torch.rand(40, 2, F) * 6
    want = snn.run(net, x)
    nir.write(tmp_path / "net.nir", to_nir(net, x[0], target="spikeloom"))
    read = from_nir(tmp_path / "net.nir")
    assert 0 < want.mean() < 1 and torch.equal(snn.run(read, x), want)
    snn.reset(read)
    assert torch.equal(snn.run(from_nir(to_nir(read, x[0], target="spikeloom")), x), want)


def test_snntorch_cannot_read_a_loop_that_is_no_subgraph() -> None:
    neuron = snn.Leaky(0.75, reset_mechanism="zero", reset_delay=False, init_hidden=True)
    net = nn.Sequential(nn.Linear(3, F), snn.Feedback(neuron, nn.Linear(F, F, bias=False)))
    graph = to_nir(net, target="snntorch")
    assert set(graph.nodes) == {"input", "0", "1", "output"}
    assert set(graph.nodes["1"].nodes) == {"input", "lif", "w_rec", "output"}
    assert set(graph.edges) == {("input", "0"), ("0", "1"), ("1", "output")}


def test_loops_that_nir_closes_otherwise_are_written() -> None:
    inner = nn.Sequential(nn.Linear(F, 3), snn.Leaky(0.7, init_hidden=True), nn.Linear(3, F))
    net = snn.Feedback(snn.Leaky(0.9, init_hidden=True), inner)
    with pytest.raises(ValueError, match="has neurons in its connection, which NIR would start"):
        to_nir(net, torch.zeros(1, F))
    net = snn.Feedback(snn.Leaky(0.9, init_hidden=True), nn.Linear(F, 3))
    with pytest.raises(ValueError, match=r"its connection sends \(3,\) to a neuron that receives"):
        to_nir(net, torch.zeros(1, F))
    net = snn.Feedback(snn.AdLIF(init_hidden=True), nn.Linear(F, F))
    with pytest.raises(ValueError, match=r"AdLIF has no NIR node.*'0\.neuron'"):
        to_nir(net, torch.zeros(1, F))


def test_a_graph_made_of_a_read_network_is_the_same_network() -> None:
    n = np.ones(3)
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([3])),
            "a": nir.LIF(n * 1e-3, n, n * -0.5, n, n * -0.2),
            "b": nir.Linear(np.eye(3)[::-1] * 0.3),
            "c": nir.CubaLI(n * 2e-3, n * 1e-3, n * 4, n * 0.25),
            "d": nir.Delay(n * 2e-4),
            "e": nir.Threshold(n * 0.26),
            "output": nir.Output(np.array([3])),
        },
        [
            ("input", "a"),
            ("a", "b"),
            ("b", "a"),
            ("a", "c"),
            ("c", "d"),
            ("d", "e"),
            ("e", "output"),
        ],
    )
    net = from_nir(graph, dt=1e-4, reset="zero", delay=False)
    assert any(isinstance(module, Offset) for module in net.modules()) and net.delayed == ["b"]
    again = from_nir(to_nir(net, torch.zeros(1, 3)))
    x = torch.rand(60, 2, 3) * 60
    assert 0 < snn.run(net, x).mean() < 1 and torch.equal(snn.run(again, x), snn.run(net, x))


def test_surrogates_come_back_and_can_be_replaced() -> None:
    surrogates = [
        snn.surrogate.fast_sigmoid(slope=7),
        snn.surrogate.SFS(slope=3, B=0.5),
        snn.surrogate.heaviside(),
    ]
    for spike_grad in surrogates:
        graph = to_nir(network(snn.Leaky(0.9, spike_grad=spike_grad, init_hidden=True)))
        assert from_nir(graph).get_submodule("1").spike_grad == spike_grad
        other = from_nir(graph, spike_grad=snn.surrogate.atan(alpha=3.0))
        assert other.get_submodule("1").spike_grad == snn.surrogate.atan(alpha=3.0)
    graph = to_nir(network(snn.Leaky(0.9, surrogate_disable=True, init_hidden=True)))
    found = from_nir(graph).get_submodule("1")
    assert found(torch.ones(1, F, requires_grad=True)).grad_fn is None


def test_gradients_of_a_network_read_back_are_the_same() -> None:
    net = network(
        snn.Synaptic(
            0.8, 0.9, spike_grad=snn.surrogate.fast_sigmoid(), init_hidden=True, learn_beta=True
        )
    )
    again, x = from_nir(to_nir(net)), torch.rand(20, 4, 3) * 3
    grads = []
    for each in (net, again):
        snn.run(each, x).sum().backward()
        grads.append({name: p.grad for name, p in each.named_parameters()})
    assert grads[0].keys() == grads[1].keys() and grads[0]["1.beta"] != 0
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


def test_editing_a_graph_counts_more_than_what_was_recorded() -> None:
    net, x = network(snn.Leaky(0.9, init_hidden=True)), torch.rand(40, 2, 3) * 4
    graph = to_nir(net)
    graph.nodes["1"].v_threshold = np.full(F, 2.5)
    edited = copy.deepcopy(net)
    edited[1].threshold = torch.tensor(2.5)
    assert torch.equal(spikes(from_nir(graph), x), spikes(edited, x))
    assert not torch.equal(spikes(edited, x), spikes(net, x))


def test_arguments_count_more_than_what_was_recorded() -> None:
    graph = to_nir(network(snn.Leaky(0.9, init_hidden=True)))
    neuron = from_nir(graph, reset="zero", delay=False).get_submodule("1")
    assert (neuron.reset_mechanism, neuron.reset_delay) == ("zero", False)
    graph = to_nir(network(snn.Leaky(0.9, reset_delay=False, init_hidden=True)))
    halved = from_nir(graph, dt=5e-5).get_submodule("1")
    assert isinstance(halved, nn.Sequential)
    assert (
        isinstance(halved.neuron, snn.Leaky)
        and halved.neuron.beta == pytest.approx(0.95)
        and halved.gain.factor == pytest.approx(0.5)
    )


def test_a_lapicque_read_with_another_time_step_keeps_its_circuit() -> None:
    net = network(snn.Lapicque(R=2.0, C=1e-3, time_step=1e-4, init_hidden=True))
    neuron = from_nir(to_nir(net, dt=1e-4), dt=5e-5).get_submodule("1")
    assert isinstance(neuron, snn.Lapicque)
    assert [float(v) for v in (neuron.R, neuron.C, neuron.time_step)] == pytest.approx(
        [2.0, 1e-3, 5e-5]
    )


def test_exporting_leaves_the_network_as_it_was() -> None:
    net = network(snn.Leaky(0.9, init_hidden=True))
    net(torch.rand(7, 3))
    before, random = net[1].mem.clone(), torch.get_rng_state()
    from_nir(to_nir(net))
    assert torch.equal(net[1].mem, before) and net.training
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_read_back_can_be_copied_moved_and_saved() -> None:
    net = from_nir(to_nir(network(snn.RLeaky(0.9, linear_features=F, init_hidden=True))))
    x = torch.rand(10, 2, 3) * 3
    for twin in (
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net).double().float(),
    ):
        assert isinstance(twin, Network) and torch.equal(snn.run(twin, x), snn.run(net, x))


def test_file_and_graph_carry_what_nir_leaves_open(tmp_path: Path) -> None:
    net = network(snn.Leaky(0.9, reset_mechanism="zero", reset_delay=False, init_hidden=True))
    nir.write(tmp_path / "net.nir", to_nir(net, dt=1e-3, name="mine"))
    graph = nir.read(tmp_path / "net.nir")
    assert graph.metadata["name"] == "mine"
    own = graph.metadata["spikeloom"]
    assert (own["dt"], own["dtype"], own["version"]) == (1e-3, "float32", snn.__version__)
    record = graph.nodes["1"].metadata
    assert (record["reset"], bool(record["delay"]), record["surrogate"]["name"]) == (
        "zero",
        False,
        "ATan",
    )
    assert graph.nodes["1"].tau == pytest.approx(np.full(F, 1e-2)) and graph.nodes[
        "1"
    ].r == pytest.approx(np.full(F, 10))


@pytest.mark.parametrize("name", NO_NODE)
def test_a_neuron_without_node_is_refused_by_name_and_reason(name: str) -> None:
    cls = REGISTRY[name]
    neuron = (
        cls(**cls.example) if cls.modes[0] == "sequence" else cls(**cls.example, init_hidden=True)
    )
    with pytest.raises(ValueError, match=rf"{name} has no NIR node; .+; use .+ \(layer '0'\)"):
        to_nir(nn.Sequential(neuron), torch.rand(2, *cls.example_shape))
