"""`doctor.cost`: counts equal counts by hand, for every way in which a network runs, and those of
NeuroBench."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.doctor import ARITHMETIC, MEMORY, NEUROMORPHIC, EnergyModel
from spikeloom.doctor.energy import matched_bits

T, B = 6, 4


def spikes(*shape: int, rate: float = 0.3, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return (torch.rand(T, B, *shape, generator=source) < rate).float()


def by_hand(layer: Any, x: Tensor) -> float:
    """Additions for a sample: for each spike, the outputs that it changes by a weight that is not
    0, one at a time."""
    total = 0
    with torch.no_grad():
        zero = layer(torch.zeros_like(x[0, :1]))
        for step in x:
            for sample in step:
                for place in sample.flatten().nonzero():
                    one = torch.zeros(sample.numel())
                    one[place] = 1.0
                    total += int((layer(one.view_as(sample)[None]) != zero).sum())
    return total / x.shape[1]


def rows(found: Any) -> dict[str, Any]:
    return {row.path: row for row in found.layers}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(7, 5), (7,)),
        (nn.Conv2d(2, 3, 3, padding=1, stride=2), (2, 5, 4)),
        (nn.Conv1d(2, 4, 3, dilation=2, groups=2), (2, 9)),
    ],
    ids=["linear", "conv with borders and stride", "conv with groups and dilation"],
)
def test_synaptic_operations_are_those_counted_one_by_one(layer: nn.Module, shape: Any) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        layer.weight[torch.rand_like(layer.weight) < 0.3] = 0.0  # pruned
    net = nn.Sequential(layer, snn.Leaky(0.9, init_hidden=True))
    x = spikes(*shape)
    found = rows(snn.doctor.cost(net, x))["0"]
    assert found.synaptic == by_hand(layer, x) and found.analog == 0
    assert found.arriving == float(x.sum()) / B


class Delays(nn.Module):
    """A layer with delays in a loop of its own, as a step or over the whole sequence."""

    def __init__(self, layer: Any, mode: str) -> None:
        super().__init__()
        self.layer, self.lif = layer, snn.Leaky(0.9)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        snn.reset(self)
        self.layer.mode = self.mode
        currents = self.layer(x) if self.mode == "sequence" else [self.layer(step) for step in x]
        mem, found = self.lif.init_leaky(), []
        for current in currents:
            spk, mem = self.lif(current, mem)
            found.append(spk)
        return torch.stack(found)


def synapses(layer: Any, x: Tensor) -> float:
    """Additions of a layer with delays for a sample: by the same layer without them."""
    plain: Any = nn.Linear(7, 5)
    if isinstance(layer, snn.DelayedConv2d):
        plain = nn.Conv2d(2, 3, 3, padding=1)
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
    return by_hand(plain, x)


@pytest.mark.parametrize("way", ["run", "loop", "sequence", "loop over a sequence"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_each_synapse_with_a_delay_is_counted_once(kind: str, way: str) -> None:
    torch.manual_seed(2)
    layer: Any = snn.DelayedLinear(7, 5, max_delay=4, learn_delay=True)
    shape: tuple[int, ...] = (7,)
    if kind == "conv":
        layer, shape = snn.DelayedConv2d(2, 3, 3, max_delay=4, padding=1), (2, 5, 4)
    with torch.no_grad():
        layer.weight[torch.rand_like(layer.weight) < 0.3] = 0.0
    net: nn.Module = nn.Sequential(layer, snn.Leaky(0.9, init_hidden=True))
    if way.startswith("loop"):
        net = Delays(layer, "sequence" if way == "loop over a sequence" else "step")
    elif way == "sequence":
        snn.set_mode(net, "sequence")
    x = spikes(*shape)
    cost = snn.doctor.cost(net, x)
    found = cost.layers[0]
    assert found.synaptic == synapses(layer, x) and found.analog == 0 and not cost.uncounted
    assert found.state == 4 * 4 * x[0, 0].numel(), "the last four inputs, in four bytes each"


def test_feedback_is_counted_from_the_spikes_of_the_step_before() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), snn.RLeaky(0.9, linear_features=8, init_hidden=True))
    x = 3 * spikes(5)
    record = snn.run(net, x, record=["1.spk"]).record["1.spk"].detach()
    found = rows(snn.doctor.cost(net, x))
    assert found["1.recurrent"].synaptic == float(record[:-1].sum()) * 8 / B
    assert found["1"].spikes == float(record.sum()) / B
    assert found["1"].state == 8 * 4 and found["1"].updates == T * 8


def test_an_analog_input_costs_products_once_if_it_is_the_same_at_every_step() -> None:
    net = nn.Sequential(nn.Linear(5, 8), snn.Leaky(0.9, init_hidden=True))
    x = torch.rand(B, 5) + 0.1
    for batch, options in ((x, {"num_steps": T}), (x.expand(T, B, 5), {})):
        found = rows(snn.doctor.cost(net, batch, **options))["0"]
        assert found.synaptic == 0 and found.macs == 40
        assert found.analog == 40 * T
    assert rows(snn.doctor.cost(net, x, num_steps=T))["0"].once == 40


class OwnLoop(nn.Module):
    """Explicit states in a loop over time."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.fc1, self.fc2 = net[0], net[2]
        self.lif1, self.lif2 = snn.Leaky(0.9), snn.Leaky(0.9)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        outputs = []
        for x_t in x:
            spk, mem1 = self.lif1(self.fc1(x_t), mem1)
            spk, mem2 = self.lif2(self.fc2(spk), mem2)
            outputs.append(spk)
        return torch.stack(outputs)


def test_all_ways_to_run_cost_the_same() -> None:
    torch.manual_seed(0)
    lif: dict[str, Any] = {"beta": 0.9, "init_hidden": True}
    net = nn.Sequential(nn.Linear(6, 9), snn.Leaky(**lif), nn.Linear(9, 3), snn.Leaky(**lif))
    x = 2 * spikes(6, rate=0.6)
    stepwise = snn.doctor.cost(net, x).total
    own = snn.doctor.cost(OwnLoop(net), x)
    assert own.steps == T and own.total[2:] == stepwise[2:]
    sequence = snn.set_mode(net, "sequence")
    assert snn.doctor.cost(sequence, x).total[2:] == stepwise[2:]


def test_a_converted_network_costs_what_its_own_report_says() -> None:
    torch.manual_seed(0)
    ordinary = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
    x, y = torch.rand(40, 6), torch.arange(40) % 3
    converted = snn.conversion.convert(ordinary, x, num_steps=16)
    report = converted.report((x, y), max_steps=16, steps=16)
    found = snn.doctor.cost(converted, x, num_steps=16)
    assert found.total.spikes == pytest.approx(report.spikes)
    assert found.total.synaptic == pytest.approx(report.synaptic_operations)
    assert found.total.macs == report.macs and found.total.once == report.analog_operations


def test_energy_is_the_sum_of_counts_times_prices() -> None:
    net = nn.Sequential(nn.Linear(4, 2), snn.Leaky(0.9, init_hidden=True))
    x = spikes(4, rate=0.5)
    found = snn.doctor.cost(net, x)
    operations, arriving = float(x.sum()) * 2 / B, float(x.sum()) / B
    assert found.energy(ARITHMETIC) == pytest.approx(0.9 * operations)
    memory = operations * (0.05448 + 8 * 20.3)  # an addition and eight bits of a weight
    memory += T * 2 * (2 * 0.05448 + 2 * 16 * 0.25)  # compare, reset, read and write 16 bits
    memory += arriving * 2 * 3.0  # four senders have addresses of two bits
    assert found.energy(MEMORY) == pytest.approx(memory)
    dense = 8 * (0.2 * 3 / 8 + 8 * 20.3) + 4 * 3 * 0.25  # 3 bits for 6 steps
    assert found.without_spikes(MEMORY) == pytest.approx(dense)
    fired = (x.sum(0) > 0).sum().item() / B
    skipping = fired * 2 * (0.2 * 3 / 8 + 8 * 20.3) + 4 * 3 * 0.25
    assert found.without_spikes(MEMORY, skip_zeros=True) == pytest.approx(skipping)


def spent(model: EnergyModel, rate: float, steps: int, size: int) -> float:
    """Energy of a fully connected layer with spikes."""
    return model.spiking(
        synaptic=rate * steps * size * size,
        analog=0,
        updates=steps * size,
        spikes=rate * steps * size,
        neurons=size,
    )


@pytest.mark.parametrize("steps", [5, 10])
def test_at_the_break_even_rate_both_networks_cost_the_same(steps: int) -> None:
    size = 256
    rate = MEMORY.break_even(steps, inputs=size)
    spiking = spent(MEMORY, rate, steps, size)
    ordinary = MEMORY.ordinary(macs=size * size, values=size, bits=matched_bits(steps))
    assert spiking == pytest.approx(ordinary)
    assert MEMORY.break_even(steps, zeros=0.5, inputs=size) < rate


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be 1 or more, got 0; write steps=1"),
        ({"steps": "5"}, TypeError, "steps must be a whole number, got '5'; write steps=1"),
        ({"steps": 5, "zeros": 2}, ValueError, r"zeros must be in \[0, 1\], got 2; write zeros="),
        (
            {"steps": 5, "zeros": math.nan},
            ValueError,
            "zeros must be finite, got nan",
        ),
        ({"steps": 5, "inputs": 0}, ValueError, "inputs must be 1 or more, got 0; write inputs=1"),
    ],
)
def test_a_break_even_of_impossible_numbers_is_refused(arguments, kind, message) -> None:
    with pytest.raises(kind, match=message):
        NEUROMORPHIC.break_even(**arguments)


PUBLISHED = {  # break-even in %: T, bits of a weight, changed prices (arXiv 2409.08290v4)
    "T = 5": (5, 4, {}, 5.7, 0.3),
    "half the price of weights": (5, 4, {"weight_bit": 0.5}, 5.39, 0.1),
    "one and a half of the price of weights": (5, 4, {"weight_bit": 1.5}, 6.08, 0.1),
    "half the price of moving values": (5, 4, {"value_move": 0.5}, 3.41, 0.2),
    "half the price of moving spikes": (5, 4, {"spike_move": 0.5}, 10.80, 0.2),
    "T = 2": (2, 4, {}, 10.4, 0.3),
    "T = 2, weights of eight bits": (2, 8, {}, 12.3, 0.3),
    "T = 3, weights of eight bits": (3, 8, {}, 8.2, 0.3),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_break_even_of_the_paper_is_reproduced(name: str) -> None:
    steps, bits, factors, published, tolerance = PUBLISHED[name]
    prices = {price: factor * getattr(NEUROMORPHIC, price) for price, factor in factors.items()}
    product = bits * NEUROMORPHIC.accumulate  # as many additions as an activation has bits
    model = dataclasses.replace(NEUROMORPHIC, weight_bits=bits, multiply=product, **prices)
    rate = 100 * model.break_even(steps, zeros=None, inputs=4096)
    assert abs(rate - published) < tolerance


def test_at_the_break_even_rate_of_a_dense_model_both_networks_cost_the_same() -> None:
    size, steps = 256, 5
    rate = NEUROMORPHIC.break_even(steps, zeros=None, inputs=size)
    spiking = spent(NEUROMORPHIC, rate, steps, size)
    active = 2 * rate / (1 / steps + 1)
    ordinary = NEUROMORPHIC.ordinary(
        macs=active * size * size, values=size, bits=matched_bits(steps), synapses=size * size
    )
    assert spiking == pytest.approx(ordinary)


def test_a_dense_model_moves_activations_of_zero_as_well() -> None:
    net = nn.Sequential(nn.Linear(4, 2), snn.Leaky(0.9, init_hidden=True))
    x = spikes(4, rate=0.2)
    found = snn.doctor.cost(net, x)
    products = NEUROMORPHIC.multiply * 3 / 4  # 3 bits for 6 steps, 4-bit weights
    moved = 8 * (4 * NEUROMORPHIC.weight_bit + 3 * NEUROMORPHIC.value_move)
    fired = (x.sum(0) > 0).sum().item() / B
    assert found.without_spikes(NEUROMORPHIC) == pytest.approx(8 * products + moved)
    skipping = found.without_spikes(NEUROMORPHIC, skip_zeros=True)
    assert skipping == pytest.approx(fired * 2 * products + moved)


def test_the_network_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), snn.Leaky(0.9, init_hidden=True))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    snn.doctor.cost(net, spikes(4))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training and not net[0]._forward_hooks and not net[2]._taps


def test_weights_that_are_not_counted_are_named() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3, 4))
            self.lif = snn.Leaky(0.9, init_hidden=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lif(nn.functional.linear(x, self.weight))

    found = snn.doctor.cost(Functional(), spikes(4))
    assert found.uncounted == ("weight",) and "not counted: weight" in str(found)


def test_a_table_is_printed_with_its_assumptions() -> None:
    found = snn.doctor.cost(
        nn.Sequential(nn.Linear(4, 2), snn.Leaky(0.9, init_hidden=True)), spikes(4)
    )
    for text in (str(found), found._repr_html_()):
        assert "Horowitz" in text and "without, not for 0" in text and "with memory" in text


def test_a_network_without_neurons_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one neuron"):
        snn.doctor.cost(nn.Linear(2, 2), spikes(2))


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "Lapicque", "Alpha", "RLeaky"])
def test_neurobench_gives_the_figures_that_it_gives_for_snntorch(kind: str) -> None:
    peer = pytest.importorskip("snntorch")
    models = pytest.importorskip("neurobench.models")
    benchmarks = pytest.importorskip("neurobench.benchmarks")
    static = pytest.importorskip("neurobench.metrics.static")
    workload = pytest.importorskip("neurobench.metrics.workload")
    numbers = {"Synaptic": {"alpha": 0.8, "beta": 0.9}, "Alpha": {"alpha": 0.9, "beta": 0.8}}

    def build(package: Any) -> nn.Sequential:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for inputs, outputs in ((20, 30), (30, 5)):
            more = {"linear_features": outputs} if kind == "RLeaky" else {}
            more |= {"output": True} if outputs == 5 else {}
            options = numbers.get(kind, {"beta": 0.9})
            neuron = getattr(package, kind)(**options, init_hidden=True, **more)
            layers += [nn.Linear(inputs, outputs), neuron]
        return nn.Sequential(*layers)

    class Peer(models.SNNTorchModel):
        def __call__(self, data: Tensor) -> Tensor:
            peer.utils.reset(self.net)
            steps = [self.net(data[:, t])[0] for t in range(data.shape[1])]
            return torch.stack(steps).transpose(0, 1)

    x = (torch.rand(40, 12, 20, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    samples = torch.utils.data.TensorDataset(x, torch.arange(40) % 5)
    loader = torch.utils.data.DataLoader(samples, batch_size=20)
    metrics = [workload.ActivationSparsity, workload.SynapticOperations, workload.MembraneUpdates]
    metrics += [workload.ActivationSparsityByLayer, workload.ClassificationAccuracy]
    metrics += [] if kind == "RLeaky" else [workload.NeuronOperations]
    wanted = [[static.ParameterCount, static.ConnectionSparsity], metrics]
    read = [lambda spk: spk.sum(1).argmax(-1)]
    ours = build(snn)
    found = [
        benchmarks.Benchmark(model, loader, [], read, wanted).run(quiet=True)
        for model in (Peer(build(peer)), snn.doctor.neurobench(ours))
    ]
    assert found[0] == found[1]
    operations = found[1]["SynapticOperations"]
    assert operations["Effective_ACs"] > 0
    counted = snn.doctor.cost(ours, x.transpose(0, 1)).total
    assert counted.synaptic == operations["Effective_ACs"]
    assert counted.macs * 12 == operations["Dense"]


def test_a_batch_without_samples_is_named() -> None:
    net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))
    with pytest.raises(ValueError, match=r"x must hold at least one sample, got shape \(0, 4\)"):
        snn.doctor.cost(net, torch.zeros(0, 4), num_steps=3)
