"""Converted networks: error bounds, equality of the two networks, copies, files, thresholds."""

import copy
import io
from typing import Any

import pytest
import torch
from conversion_nets import residual, samples
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.conversion import QCFS, convert


@pytest.fixture(scope="module")
def ann() -> nn.Module:
    return residual()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return samples()


# -- one layer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "share"), [(0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("steps", [1, 2, 5, 8, 33])
def test_the_rate_of_a_constant_input_is_off_by_at_most_a_step(
    start: float, share: float, steps: int
) -> None:
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
    assert snn.ScaledIF(1.0, initial_mem=0.9, mode="sequence")(zeros)[
        1
    ].flatten().tolist() == pytest.approx([0.9] * 10)


def test_signed_spikes_count_what_came_in_however_unevenly_it_came() -> None:
    torch.manual_seed(0)
    theta, steps = 0.7, 12
    x = torch.randn(steps, 50, 40, dtype=torch.float64)
    x = torch.cat([x, torch.zeros(2 * steps, 50, 40, dtype=torch.float64)])  # time to follow
    spk, _, count = snn.SignedIF(theta, 0.5, mode="sequence").double()(x)
    wanted = (x.sum(0) / theta + 0.5).floor().clamp(min=0)
    assert wanted.max() > 5 and (x.sum(0) < 0).any()
    assert torch.equal(count[-1], wanted) and torch.allclose(spk.sum(0), theta * wanted)
    assert set(spk.sign().unique().tolist()) == {-1.0, 0.0, 1.0} and (count >= 0).all()
    plain = snn.ScaledIF(theta, 0.5, mode="sequence").double()(x)[0].sum(0)
    assert (plain - theta * wanted).abs().mean() > 0.5 * theta, "which is what it is for"


def test_without_an_excess_signed_spikes_are_those_of_a_scaled_neuron() -> None:
    x = 0.7 * torch.rand(1, 70, generator=torch.Generator().manual_seed(0)).expand(20, 1, 70)
    signed, scaled = (cls(0.7, 0.5, mode="sequence")(x)[0] for cls in (snn.SignedIF, snn.ScaledIF))
    assert torch.equal(signed, scaled)


def test_balancing_sets_threshold_and_size_of_spikes() -> None:
    neuron = snn.ScaledIF(1.0, 0.5, mode="sequence", init_hidden=True)
    neuron.balance(torch.tensor([2.0, 4.0]))
    assert neuron(torch.full((1, 1, 2), 2.5)).tolist() == [[[2.0, 4.0]]]
    with pytest.raises(ValueError, match=r"threshold must be in \(0, inf\), got 0"):
        neuron.balance(0.0)


# -- the whole -------------------------------------------------------------------------------------


def test_the_ordinary_twin_equals_the_network_and_the_spiking_one_tends_to_it(
    ann: nn.Module, x: Tensor
) -> None:
    net = convert(ann, x, method="max")
    wanted = ann(x).detach()
    assert torch.allclose(net.ann(x), wanted, atol=1e-4)
    off = [
        float((net(x, steps).detach() - wanted).norm() / wanted.norm())
        for steps in (4, 16, 64, 256)
    ]
    assert off[0] < 0.6 and off[1] < off[0] / 2 and off[2] < off[1] / 2 and off[3] < 0.01


def test_signed_spikes_leave_half_of_the_error_of_a_deep_network_and_none_of_its_unevenness() -> (
    None
):
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(10):
        layers += [nn.Linear(64, 64), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)  # pyright: ignore[reportArgumentType] (a weight)
    deep, x = nn.Sequential(*layers, nn.Linear(64, 5)), torch.randn(100, 64)
    wanted = deep(x).detach()
    plain, signed = (convert(deep, x, "max", signed=s) for s in (False, True))
    assert (signed(x, 16) - wanted).norm() < 0.5 * (plain(x, 16) - wanted).norm()
    y = torch.zeros(100, dtype=torch.long)
    plain_rows, rows = (
        net.report((x, y), max_steps=16, steps=16).layers for net in (plain, signed)
    )
    assert sum(row.unevenness for row in rows) < 0.2 * sum(row.unevenness for row in plain_rows)


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
    {"warm_up": 0.25},
    {"signed": True},
    {"signed": True, "calibrate": "both"},
    {"signed": True, "method": "spike_norm", "balancing_steps": 10},
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


@pytest.mark.parametrize("warm_up", [0.0, 0.25, 0.99])
def test_a_trace_holds_what_shorter_runs_give(warm_up: float, ann: nn.Module, x: Tensor) -> None:
    net = convert(ann, x, warm_up=warm_up)
    trace = net(x, 20, trace=True)  # longer than a piece of time
    assert trace.shape == (20, 20, 4)
    for steps in (1, 5, 16, 17, 20):
        assert torch.allclose(trace[steps - 1], net(x, steps), atol=1e-6)


def test_the_readout_leaves_the_first_steps_out(ann: nn.Module, x: Tensor) -> None:
    outputs = snn.run(convert(ann, x).net, x, 20)
    net = convert(ann, x, warm_up=0.25)
    for steps, first in ((20, 5), (18, 4), (3, 0)):
        assert torch.allclose(net(x, steps), outputs[first:steps].mean(0), atol=1e-6)


def test_a_fraction_of_whole_steps_is_not_rounded_to_one_step_less(
    ann: nn.Module, x: Tensor
) -> None:
    assert 0.29 * 100 < 29
    outputs = snn.run(convert(ann, x).net, x, 100)
    net = convert(ann, x, warm_up=0.29)
    assert torch.allclose(net(x, 100), outputs[29:].mean(0), atol=1e-6)
    assert not torch.allclose(net(x, 100), outputs[28:].mean(0), atol=1e-6)


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
    assert float(found) == pytest.approx(
        float(torch.quantile(activation, 0.95)), abs=float(activation.max()) / 2048
    )
    assert float(convert(net, x, method="max").thresholds["1"]) == pytest.approx(
        float(activation.max())
    )
    half = convert(net, x, method="max", scaling_factor=0.5).thresholds["1"]
    assert float(half) == pytest.approx(float(activation.max()) / 2)
    channels = convert(net, x, method="max", per_channel=True).thresholds["1"]
    assert torch.allclose(channels.flatten(), activation.amax((0, 2, 3)))


def test_a_ceiling_bounds_the_threshold() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU6())
    for method in ("max", "spike_norm"):
        assert float(convert(net, 100 * torch.rand(50, 3), method=method).thresholds["1"]) == 6.0


def test_a_layer_that_is_hardly_ever_active_gets_its_maximum() -> None:
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    nn.init.ones_(net[0].weight)  # pyright: ignore[reportArgumentType] (a tensor)
    x = -torch.ones(5000, 1)
    x[0] = 3
    assert float(convert(net, x).thresholds["1"]) == 3


def test_a_loader_a_tensor_and_labelled_batches_calibrate_alike(x: Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    y = torch.zeros(len(x), dtype=torch.int64)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=20)
    found = [
        convert(net, data, method="max").thresholds["1"]
        for data in (x, loader, [x[:9], x[9:]], (x, y))
    ]
    assert all(torch.equal(each, found[0]) for each in found)


def test_mmse_is_the_best_of_a_grid() -> None:
    net = nn.Sequential(nn.Linear(4, 50), nn.ReLU())
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    steps, a = 3, net(x).detach()

    def error(theta: float) -> float:
        return float(
            (((a * steps / theta + 0.5).floor().clamp(0, steps) * theta / steps) - a)
            .square()
            .mean()
        )

    found = float(convert(net, x, method="mmse", num_steps=steps).thresholds["1"])
    assert error(found) <= 1.02 * min(error(float(a.max()) * share / 50) for share in range(1, 51))
