"""Conversion of ordinary networks: error bounds, equality of the two networks, files, NIR, balancing, reports."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.conversion import QCFS, Converted, SpikingMaxPool, convert, fine_tune, spike_norm, with_qcfs
from spikeloom.conversion.observe import fan_out
from spikeloom.nir import from_nir, to_nir


class Residual(nn.Module):
    """Batch norm, a reused ReLU, a sum, a concatenation, max pooling, dropout and a mean over places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu, self.pool, self.drop = nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5)
        self.conv3, self.fc = nn.Conv2d(9, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)) + y)
        y = self.pool(torch.cat([y, x], dim=1))
        y = torch.relu(self.conv3(self.drop(y)))
        return self.fc(y.mean((2, 3)))


@pytest.fixture(scope="module")
def ann() -> nn.Module:
    torch.manual_seed(3)
    net = Residual()
    for _ in range(5):
        net(torch.rand(16, 3, 8, 8))  # running statistics
    return net.eval()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(4))


def mlp(sizes: tuple[int, ...] = (6, 24, 24, 3), bias: bool = True) -> nn.Sequential:
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


# -- one layer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "share"), [(0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("steps", [1, 2, 5, 8, 33])
def test_the_rate_of_a_constant_input_is_off_by_at_most_a_step(start: float, share: float, steps: int) -> None:
    theta = 0.7
    z = torch.linspace(-1, 2, 301, dtype=torch.float64)
    neuron = snn.ScaledIF(theta, start, mode="sequence", init_hidden=True).double()
    rate = neuron(z.expand(steps, 1, -1)).mean(0)[0]
    bound = share * theta / steps
    assert (rate - z.clamp(0, theta)).abs().max() <= bound + 1e-12
    assert (rate - z.clamp(0, theta)).abs().max() > 0.8 * bound, "the bound is tight"


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
def test_a_layer_of_qcfs_is_its_neurons_at_as_many_steps(levels: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 40), QCFS(levels, 0.6))
    x = torch.randn(100, 5)
    converted = convert(net, x, method="qcfs")
    assert torch.allclose(converted(x, levels), net(x), atol=1e-6)


def test_a_current_acts_at_every_step_and_a_start_only_once() -> None:
    zeros = torch.zeros(10, 1, 1)
    assert snn.ScaledIF(1.0, current=0.35, mode="sequence")(zeros)[0].sum() == 3
    assert snn.ScaledIF(1.0, initial_mem=0.9, mode="sequence")(zeros)[1].flatten().tolist() == pytest.approx([0.9] * 10)


def test_balancing_sets_threshold_and_size_of_spikes() -> None:
    neuron = snn.ScaledIF(1.0, 0.5, mode="sequence", init_hidden=True)
    neuron.balance(torch.tensor([2.0, 4.0]))
    assert neuron(torch.full((1, 1, 2), 2.5)).tolist() == [[[2.0, 4.0]]]
    with pytest.raises(ValueError, match=r"threshold must lie in \(0, inf\), got 0"):
        neuron.balance(0.0)


# -- the whole -------------------------------------------------------------------------------------------


def test_the_ordinary_twin_equals_the_network_and_the_spiking_one_tends_to_it(ann: nn.Module, x: Tensor) -> None:
    net = convert(ann, x, method="max")
    wanted = ann(x).detach()
    assert torch.allclose(net.ann(x), wanted, atol=1e-4)
    off = [float((net(x, steps).detach() - wanted).norm() / wanted.norm()) for steps in (4, 16, 64, 256)]
    assert off[0] < 0.6 and off[1] < off[0] / 2 and off[2] < off[1] / 2 and off[3] < 0.01


def test_the_users_network_is_left_alone(ann: nn.Module, x: Tensor) -> None:
    before = {name: value.clone() for name, value in ann.state_dict().items()}
    ann.train()
    net = convert(ann, x, calibrate="bias")
    net(x)
    assert all(module.training for module in ann.modules())
    ann.eval()
    assert all(torch.equal(value, before[name]) for name, value in ann.state_dict().items())


OPTIONS: list[dict[str, Any]] = [
    {},
    {"method": "max"},
    {"method": "mmse", "num_steps": 4},
    {"method": "diehl_data"},
    {"method": "spike_norm", "balancing_steps": 10},
    {"per_channel": True},
    {"reset": "zero"},
    {"initial_mem": 0.0},
    {"readout": "spikes"},
    {"max_pool": "gate"},
    {"max_pool": "avg"},
    {"calibrate": "bias"},
    {"calibrate": "potential"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_two_calls_are_equal_and_so_is_another_batch_size_and_a_copy_and_a_file(
    options: dict[str, Any], ann: nn.Module, x: Tensor
) -> None:
    net = convert(ann, x, **options)
    first = net(x, 9)
    assert torch.equal(net(x, 9), first)
    alone = torch.cat([net(x[:7], 9), net(x[7:8], 9), net(x[8:], 9)])
    assert torch.allclose(alone, first, atol=1e-5)
    assert torch.equal(copy.deepcopy(net)(x, 9), first)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)  # the ordinary network is not needed
    assert torch.equal(again(x, 9), first) and torch.equal(again.ann(x), net.ann(x))
    other = convert(ann, 0.5 * x, **options)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x, 9), first)


def test_a_trace_holds_what_shorter_runs_give(ann: nn.Module, x: Tensor) -> None:
    net = convert(ann, x)
    trace = net(x, 20, trace=True)  # longer than a piece of time
    assert trace.shape == (20, 20, 4)
    for steps in (1, 5, 16, 17, 20):
        assert torch.allclose(trace[steps - 1], net(x, steps), atol=1e-6)


def test_one_step_runs_layer_by_layer_and_step_by_step_alike(ann: nn.Module, x: Tensor) -> None:
    for max_pool in ("max", "gate"):
        net = convert(ann, x, max_pool=max_pool).to(torch.float64)
        assert snn.run(net.net, x.double(), 3, explain=True).plan.layerwise
        snn.reset(net)
        steps = torch.stack([net.net(x.double()) for _ in range(11)])
        assert torch.allclose(snn.run(net.net, x.double(), 11), steps, atol=1e-12)
        with snn.backend("eager"):
            assert torch.allclose(snn.run(net.net, x.double(), 11), steps, atol=1e-12)


def test_neurons_send_nothing_but_zero_and_their_threshold(ann: nn.Module, x: Tensor) -> None:
    net = convert(ann, x, per_channel=True)
    record = snn.run(net.net, x, 6, record=[f"{path}.spk" for path in net.neurons]).record
    for path, threshold in net.thresholds.items():
        spk = record[f"{path}.spk"]
        assert torch.equal(spk, (spk != 0) * threshold) and 0 < (spk != 0).float().mean() < 1


def test_thresholds_are_the_percentile_of_the_activation(x: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    activation = net(x).detach()
    found = convert(net, x, percentile=95.0).thresholds["1"]
    assert float(found) == pytest.approx(float(torch.quantile(activation, 0.95)), abs=float(activation.max()) / 2048)
    assert float(convert(net, x, method="max").thresholds["1"]) == pytest.approx(float(activation.max()))
    half = convert(net, x, method="max", scaling_factor=0.5).thresholds["1"]
    assert float(half) == pytest.approx(float(activation.max()) / 2)
    channels = convert(net, x, method="max", per_channel=True).thresholds["1"]
    assert torch.allclose(channels.flatten(), activation.amax((0, 2, 3)))


def test_a_ceiling_bounds_the_threshold() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU6())
    assert float(convert(net, 100 * torch.rand(50, 3), method="max").thresholds["1"]) == 6.0


def test_a_loader_a_tensor_and_labelled_batches_calibrate_alike(x: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    y = torch.zeros(len(x), dtype=torch.int64)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=20)
    found = [convert(net, data, method="max").thresholds["1"] for data in (x, loader, [x[:9], x[9:]], (x, y))]
    assert all(torch.equal(each, found[0]) for each in found)


def test_mmse_is_the_best_of_a_grid() -> None:
    net = nn.Sequential(nn.Linear(4, 50), nn.ReLU())
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    steps, a = 3, net(x).detach()

    def error(theta: float) -> float:
        return float((((a * steps / theta + 0.5).floor().clamp(0, steps) * theta / steps) - a).square().mean())

    found = float(convert(net, x, method="mmse", num_steps=steps).thresholds["1"])
    assert error(found) <= 1.02 * min(error(float(a.max()) * share / 50) for share in range(1, 51))


# -- input and readout -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["poisson", "signed_poisson"])
def test_poisson_input_has_the_mean_of_the_sample_and_follows_its_generator(code: str) -> None:
    net = mlp()
    x = torch.rand(8, 6) * (3 if code == "poisson" else 6) - (0 if code == "poisson" else 3)
    converted = convert(net, x, method="max", input=code)
    assert float(converted.input_scale) == pytest.approx(float(x.abs().max()))
    mean = torch.stack([converted.coded(x) for _ in range(4000)]).mean(0)
    assert torch.allclose(mean, x, atol=0.2)
    one, two = (converted(x, 30, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, converted(x, 30))
    wanted = net(x)
    assert (converted(x, 2000) - wanted).norm() < 0.1 * wanted.norm()


def test_poisson_input_refuses_negative_numbers() -> None:
    converted = convert(mlp(), torch.rand(5, 6), input="poisson")
    with pytest.raises(ValueError, match=r'codes numbers >= 0, got -1; write input="signed_poisson"'):
        converted(-torch.ones(1, 6))


def test_a_spike_readout_counts_spikes_of_the_last_layer() -> None:
    x = torch.rand(30, 6)
    net = convert(mlp(), x, readout="spikes", method="max")
    size = net.thresholds["readout"]
    counts = net(x, 12) * 12 / size
    assert torch.allclose(counts, counts.round(), atol=1e-4) and counts.max() > 0
    assert torch.allclose(net(x, 500), mlp()(x).clamp(min=0), atol=float(size) / 100)
    assert torch.allclose(net.ann(x), mlp()(x), atol=1e-6)


# -- max pooling -----------------------------------------------------------------------------------------


def test_pooled_spikes_have_the_maximum_of_the_rates_at_every_step_and_are_spikes() -> None:
    spk = (torch.rand(30, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float() * 0.7
    pool = SpikingMaxPool(nn.MaxPool2d(2))
    pool.mode = "sequence"
    out = pool(spk)
    wanted = torch.stack([nn.functional.max_pool2d(total, 2) for total in spk.cumsum(0)])
    assert torch.allclose(out.cumsum(0), wanted, atol=1e-5)
    assert torch.allclose(out, (out > 0.1) * 0.7, atol=1e-5)


@pytest.mark.parametrize("rule", ["max", "gate", "avg"])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AdaptiveMaxPool2d(2)], ids=str)
def test_pooling_a_sequence_equals_its_steps_and_its_pieces(rule: str, pool: nn.Module) -> None:
    x = (torch.rand(6, 2, 3, 8, 8, dtype=torch.float64) < 0.4).double()
    step = SpikingMaxPool(pool, rule)
    steps = torch.stack([step(x_t) for x_t in x])
    whole = SpikingMaxPool(pool, rule)
    whole.mode = "sequence"
    assert torch.equal(torch.cat([whole(x[:2]), whole(x[2:])]), steps)


def test_the_gate_passes_spikes_of_the_input_that_leads() -> None:
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 1.0]]).reshape(4, 1, 1, 2)
    gate = SpikingMaxPool(nn.MaxPool1d(2), "gate")
    gate.mode = "sequence"
    assert gate(x).flatten().tolist() == [1.0, 0.0, 1.0, 1.0]


# -- balancing as published ------------------------------------------------------------------------------


def naive_spike_norm(weights: list[Tensor], batches: list[Tensor], steps: int) -> list[float]:
    """Thresholds of a chain of linear layers without bias, unit spikes, input as it is, reset by subtraction."""
    thresholds = [0.0] * len(weights)
    for x in batches:
        for layer in range(len(weights)):
            mems: list[Any] = [0.0] * layer
            for _ in range(steps):
                spk = x
                for k in range(layer):
                    mems[k] = mems[k] + spk @ weights[k].T
                    spk = (mems[k] > thresholds[k]).float()
                    mems[k] = mems[k] - spk * thresholds[k]
                thresholds[layer] = max(thresholds[layer], float((spk @ weights[layer].T).max()))
    return thresholds


def unit_chain(sizes: tuple[int, ...] = (6, 20, 20, 5)) -> nn.Sequential:
    torch.manual_seed(5)
    layers: list[nn.Module] = []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(a, b, bias=False), snn.ScaledIF(1.0, init_hidden=True)]
    return nn.Sequential(*layers)


def unit_threshold(neuron: Any, value: Tensor) -> None:
    neuron.threshold = value.clone()


def balanced(batches: list[Tensor], **options: Any) -> list[float]:
    net = unit_chain()
    neurons: Any = {str(i): net[i] for i in (1, 3, 5)}
    found = spike_norm(net, neurons, batches, lambda x: x, 12, balance=unit_threshold, **options)
    return [float(value) for value in found.values()]


BATCHES = list(torch.rand(24, 6, generator=torch.Generator().manual_seed(9)).split(8))


def test_spike_norm_finds_the_thresholds_of_a_literal_loop() -> None:
    weights = [layer.weight for layer in unit_chain() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        wanted = naive_spike_norm(weights, BATCHES, 12)
    assert balanced(BATCHES) == pytest.approx(wanted, rel=1e-5)


def test_a_scaling_factor_of_half_halves_every_threshold() -> None:
    assert balanced(BATCHES, scaling_factor=0.5) == pytest.approx([value / 2 for value in balanced(BATCHES)])
    options: dict[str, Any] = {"method": "spike_norm", "balancing_steps": 10}
    x = torch.rand(16, 6)
    one, half = (
        convert(mlp(), x, **options, scaling_factor=s, generator=torch.Generator().manual_seed(0)) for s in (1.0, 0.5)
    )
    assert all(torch.allclose(half.thresholds[k], v / 2) for k, v in one.thresholds.items())


def test_no_threshold_falls_with_more_batches() -> None:
    found = [balanced(BATCHES[:n]) for n in (1, 2, 3)]
    for few, more in zip(found, found[1:], strict=False):
        assert all(b >= a for a, b in zip(few, more, strict=True))


def test_spikes_of_the_size_of_their_threshold_balance_like_unit_spikes() -> None:
    unit = balanced(BATCHES)
    net = unit_chain()
    neurons: Any = {str(i): net[i] for i in (1, 3, 5)}
    sizes = [float(v) for v in spike_norm(net, neurons, BATCHES, lambda x: x, 12).values()]
    assert sizes == pytest.approx([unit[0], unit[0] * unit[1], unit[0] * unit[1] * unit[2]], rel=1e-4)


def test_spike_norm_says_that_nothing_reached_a_layer() -> None:
    net = nn.Sequential(nn.Linear(2, 3, bias=False), snn.ScaledIF(1.0, init_hidden=True))
    nn.init.constant_(net[0].weight, -1.0)  # pyright: ignore[reportArgumentType] (a tensor)
    with pytest.raises(ValueError, match=r"nothing above zero reached '1' in 3 steps"):
        spike_norm(net, {"1": net[1]}, [torch.ones(1, 2)], lambda x: x, 3)  # pyright: ignore[reportArgumentType]


def test_data_based_balancing_equals_the_published_rescaling_of_weights() -> None:
    """Weights divided by scale / previous scale, thresholds 1, as Diehl et al. have it, spike for spike."""
    net, x = mlp(bias=False), torch.rand(40, 6)
    weights = [layer.weight.detach().clone() for layer in net if isinstance(layer, nn.Linear)]
    activations, a = [], x
    for weight in weights[:2]:
        a = (a @ weight.T).clamp(min=0)
        activations.append(float(a.max()))
    previous, scaled = 1.0, []
    for weight, activation in zip(weights, activations, strict=False):
        scale = max(float(weight.max()), activation)
        scaled.append(weight / (scale / previous))
        previous = scale
    published = nn.Sequential(
        nn.Linear(6, 24, bias=False), snn.IF(1.0, init_hidden=True, reset_mechanism="zero"),
        nn.Linear(24, 24, bias=False), snn.IF(1.0, init_hidden=True, reset_mechanism="zero"),
    ).double()  # fmt: skip
    for layer, weight in zip((published[0], published[2]), scaled, strict=True):
        layer.weight = nn.Parameter(weight.double())
    ours = convert(net.double(), x.double(), method="diehl_data", reset="zero", initial_mem=0.0)
    spk = snn.run(published, x.double(), 40, record=["3.spk"]).record["3.spk"]
    own = snn.run(ours.net, x.double(), 40, record=["3.spk"]).record["3.spk"]
    assert torch.equal(own != 0, spk != 0) and 0 < spk.mean() < 1


def test_model_based_balancing_cannot_saturate() -> None:
    x = torch.rand(60, 6)
    net = convert(mlp(bias=False), x, method="diehl_model")
    assert all(spk.mean(0).max() < net.thresholds[path] for path, spk in _spikes(net, x, 50).items())


def _spikes(net: Converted, x: Tensor, steps: int) -> dict[str, Tensor]:
    record = snn.run(net.net, x, steps, record=[f"{path}.spk" for path in net.neurons]).record
    return {path: record[f"{path}.spk"] for path in net.neurons}


# -- calibration and tuning ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["bias", "potential"])
def test_calibration_brings_mean_rates_to_the_mean_activations(what: str, ann: nn.Module, x: Tensor) -> None:
    def lack(net: Converted) -> float:
        from spikeloom.conversion.observe import flows, ordinary_flows

        with flows(net) as found:
            net(x, 4)
        wanted, _ = ordinary_flows(net, x)
        return sum(float((found[p].given / 4 - wanted[p]).mean((0, 2, 3)).abs().sum()) for p in wanted)

    options: dict[str, Any] = {"method": "max", "num_steps": 4, "initial_mem": 0.3}
    assert lack(convert(ann, x, calibrate=what, **options)) < 0.5 * lack(convert(ann, x, **options))


def test_swapping_in_qcfs_keeps_the_network_and_its_training_mode(ann: nn.Module, x: Tensor) -> None:
    net = with_qcfs(ann, x, levels=256, percentile=100.0)
    assert (net(x) - ann(x)).norm() < 0.01 * ann(x).norm()
    assert sum(isinstance(module, QCFS) for module in net.modules()) == 3
    assert not net.training
    assert not any(isinstance(module, QCFS) for module in ann.modules())


def test_the_gradient_of_qcfs_passes_the_floor() -> None:
    z = torch.linspace(-0.5, 1.5, 9, requires_grad=True)
    qcfs = QCFS(4, 1.0)
    qcfs(z).sum().backward()
    assert z.grad is not None and z.grad.tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]  # inside [0, threshold]
    assert qcfs.threshold.grad is not None and torch.isfinite(qcfs.threshold.grad)


@pytest.mark.parametrize("levels", [0, 2.5])
def test_qcfs_needs_a_number_of_levels(levels: Any) -> None:
    with pytest.raises(ValueError, match=r"levels must be a positive integer"):
        QCFS(levels)


def test_qcfs_conversion_refuses_a_network_with_relus() -> None:
    with pytest.raises(ValueError, match=r"needs a QCFS activation everywhere, and '1' is a ReLU"):
        convert(mlp(), torch.rand(5, 6), method="qcfs")


# -- NIR -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"per_channel": True}, {"reset": "zero"}, {"calibrate": "bias"}], ids=str)
def test_unit_spikes_go_through_nir_and_back(options: dict[str, Any], x: Tensor) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 9),
        nn.ReLU(), nn.Linear(9, 3),
    ).eval()  # fmt: skip
    converted = convert(net, x, **options)
    unit = converted.unit_spikes()
    assert all(set(spk.unique().tolist()) <= {0.0, 1.0} for spk in _unit_record(unit, x).values())
    graph = to_nir(unit, x[:1])
    assert sorted(type(node).__name__ for node in graph.nodes.values()) == sorted(
        ["Input", "Conv2d", "IF", "AvgPool2d", "Flatten", "Affine", "IF", "Affine", "Output"]
    )
    for network in (unit, from_nir(graph)):
        assert torch.allclose(snn.run(network, x, 16).mean(0), converted(x, 16), atol=1e-5)


def _unit_record(unit: nn.Module, x: Tensor) -> dict[str, Tensor]:
    paths = [f"{p}.spk" for p, module in unit.named_modules() if isinstance(module, snn.ScaledIF)]
    return snn.run(unit, x, 8, record=paths).record


def test_nir_of_others_starts_at_zero_and_therefore_resets_below(x: Tensor) -> None:
    """Read without our record, an IF of NIR gives the same spikes: threshold and reset are measured from the start."""
    converted = convert(mlp(), torch.rand(30, 6))
    graph = to_nir(converted.unit_spikes())
    for node in graph.nodes.values():
        if type(node).__name__ == "IF":
            assert (node.v_reset < 0).all() and node.v_threshold == pytest.approx(-node.v_reset)
            node.metadata = {}
    x = torch.rand(10, 6)
    foreign = from_nir(graph, convention=snn.nir.Convention(dt=1e-4, reset="subtract", delay=False))
    assert torch.allclose(snn.run(foreign, x, 16).mean(0), converted(x, 16), atol=1e-5)


def test_unit_spikes_of_sums_and_concatenations_keep_a_factor(ann: nn.Module, x: Tensor) -> None:
    for options in ({}, {"per_channel": True}):
        converted = convert(ann, x, **options)
        unit = converted.unit_spikes()
        assert all(set(spk.unique().tolist()) <= {0.0, 1.0} for spk in _unit_record(unit, x).values())
        assert torch.allclose(snn.run(unit, x, 16).mean(0), converted(x, 16), atol=1e-5)


# -- the report ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Any]:
    data = snn.data.digits()
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(6):
        for index in torch.randperm(len(data.x_train)).split(64):
            loss = nn.functional.cross_entropy(net(images(data.x_train[index])), data.y_train[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval(), data


def images(x: Tensor) -> Tensor:
    return x.reshape(len(x), 1, 8, 8)


def test_digits_are_recognised_by_the_spiking_network_in_a_few_steps(digits: Any) -> None:
    net, data = digits
    test = (images(data.x_test), data.y_test)
    report = convert(net, images(data.x_train)).report(test, max_steps=16)
    assert report.ann_accuracy > 0.95
    assert report.accuracy[7] >= report.ann_accuracy - 0.01 and report.accuracy[15] >= report.ann_accuracy - 0.005
    assert report.enough is not None and report.enough <= 8
    tuned = fine_tune(net, (images(data.x_train), data.y_train), levels=2, epochs=4)
    quick = convert(tuned, images(data.x_train), method="qcfs").report(test, max_steps=4)
    assert quick.accuracy[1] >= report.ann_accuracy - 0.03 and quick.accuracy[0] > report.accuracy[0]


@pytest.mark.parametrize(
    "options", [{}, {"reset": "zero", "initial_mem": 0.0}, {"per_channel": True, "max_pool": "gate"}], ids=str
)
def test_the_parts_of_an_error_add_up_to_the_error_that_is_measured(options: dict[str, Any], digits: Any) -> None:
    net, data = digits
    x = images(data.x_test[:100])
    converted = convert(net, images(data.x_train[:300]), **options)
    report = converted.report((x, data.y_test[:100]), max_steps=4, steps=4, samples=100)
    record = _spikes(converted, x, 4)
    ordinary = net[:3](x)
    measured = float((record["2"].mean(0) - ordinary).norm() / ordinary.norm())
    assert report.layers[0].error == pytest.approx(measured, rel=1e-4)
    for layer in report.layers:
        parts = layer.inherited + layer.clipping + layer.quantisation + layer.unevenness
        assert parts == pytest.approx(layer.error, rel=1e-5)
        assert layer.spikes == pytest.approx(float((record[layer.path] != 0).sum()) / 100)
    first, second = report.layers
    assert first.inherited == 0 and (options.get("reset") or abs(first.unevenness) < 1e-6)
    assert second.inherited != 0 and second.unevenness != 0
    output = converted(x, 4)
    assert report.output_error == pytest.approx(float((output - net(x)).norm() / net(x).norm()), rel=1e-4)


def test_operations_are_those_of_a_literal_count(digits: Any) -> None:
    net, data = digits
    x = images(data.x_test[:10])
    converted = convert(net, images(data.x_train[:300]))
    report = converted.report((x, data.y_test[:10]), max_steps=3, steps=3)
    record = _spikes(converted, x, 3)
    conv, fc = net[4], net[7]
    pooled = record["2"].flatten(0, 1)  # [T * B, 8, 8, 8]
    pool = SpikingMaxPool(nn.MaxPool2d(2))
    pool.mode = "sequence"
    pooled = pool(record["2"]).flatten(0, 1)
    counted = nn.functional.conv2d((pooled != 0).float(), torch.ones_like(conv.weight), padding=1).sum()
    counted = counted + (record["5"] != 0).sum() * fc.out_features
    assert report.synaptic_operations == pytest.approx(float(counted) / 10)
    first = nn.functional.conv2d(torch.ones(1, 1, 8, 8), torch.ones(8, 1, 3, 3), padding=1).sum()
    second = nn.functional.conv2d(torch.ones(1, 8, 4, 4), torch.ones(16, 8, 3, 3), padding=1).sum()
    assert report.analog_operations == float(first)
    assert report.macs == float(first + second) + 256 * 10


def test_fan_out_counts_synapses_of_strided_and_grouped_convolutions() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, groups=2)
    assert fan_out(conv, torch.zeros(1, 4, 7, 7)).sum() == 9 * 6 * 9 * 2  # places, outputs, kernel, channels a group


def test_the_steps_of_early_exit_are_the_first_ones_that_are_sure(digits: Any) -> None:
    net, data = digits
    x, y = images(data.x_test), data.y_test
    converted = convert(net, images(data.x_train[:300]))
    report = converted.report((x, y), max_steps=12)
    trace = converted(x, 12, trace=True).softmax(-1).amax(-1)
    for each in report.exits:
        outputs, steps = converted.early_exit(x, each.confidence, 12)
        literal = [next((t + 1 for t in range(12) if trace[t, b] >= each.confidence), 12) for b in range(len(x))]
        assert steps.tolist() == literal
        assert each.steps == pytest.approx(sum(literal) / len(x))
        assert each.accuracy == pytest.approx(float((outputs.argmax(1) == y).float().mean()))
    assert [e.steps for e in report.exits] == sorted(e.steps for e in report.exits)


def test_a_report_is_printed_saved_and_drawn(digits: Any, tmp_path: Path) -> None:
    net, data = digits
    report = convert(net, images(data.x_train[:300])).report((images(data.x_test), data.y_test), max_steps=4)
    text = str(report)
    assert "ordinary network" in text and "quantisation" in text and "early exit" in text
    saved = json.loads(report.save(tmp_path / "report.json").read_text())
    assert saved["accuracy"] == list(report.accuracy) and saved["layers"][0]["path"] == "2"
    assert saved["settings"]["method"] == "percentile"
    report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000


# -- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "percentil"}, r"method must be one of .*did you mean 'percentile'"),
        ({"percentile": 0.0}, r"percentile must lie in \(0, 100\]"),
        ({"initial_mem": 2.0}, r"initial_mem must lie in \[0, 1\], got 2; it is a fraction"),
        ({"reset": "none"}, r"reset must be one of 'subtract', 'zero'"),
        ({"num_steps": 0}, r"num_steps must be a positive integer, got 0"),
        ({"calibrate": "weights"}, r"calibrate must be one of None, 'bias', 'potential'"),
        ({"scaling_factor": 0.0}, r"scaling_factor must lie in \(0, inf\)"),
        ({"max_pool": "median"}, r"max_pool must be one of 'max', 'gate', 'avg'"),
        ({"input": "rate"}, r"input must be one of 'current', 'poisson', 'signed_poisson'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(mlp(), torch.rand(5, 6), **options)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        ([], ValueError, r"there is no sample"),
        (torch.zeros(5, 6, dtype=torch.int64), TypeError, r"must be floating point"),
        (torch.zeros(6), ValueError, r"a batch of samples is \[B, ...\]"),
        (torch.full((2, 6), float("nan")), ValueError, r"NaN"),
        (torch.rand(5, 7), ValueError, r"does not take samples of shape \[7\]"),
        (iter([torch.rand(5, 6)]), TypeError, r"read several times, got an iterator"),
        ("digits", TypeError, r"samples must be a tensor \[N, ...\] or an iterable"),
    ],
)
def test_wrong_samples_are_named(data: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        convert(mlp(), data)


def test_a_network_without_rectifiers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has no ReLU"):
        convert(nn.Linear(6, 3), torch.rand(5, 6))
    assert convert(nn.Linear(6, 3), torch.rand(5, 6), readout="spikes")(torch.rand(2, 6)).shape == (2, 3)


def test_a_report_needs_labels_and_a_run_a_number_of_steps() -> None:
    net = convert(mlp(), torch.rand(5, 6))
    with pytest.raises(TypeError, match=r"accuracy needs labels"):
        net.report(torch.rand(5, 6))
    with pytest.raises(ValueError, match=r"num_steps must be a positive integer, got 0"):
        net(torch.rand(5, 6), 0)
    with pytest.raises(ValueError, match=r"tolerance must lie in \[0, 1\]"):
        net.report((torch.rand(5, 6), torch.zeros(5)), tolerance=5)
