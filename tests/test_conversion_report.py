"""The report: accuracy, errors that add up, operations, early exit; and digits from end to end."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.conversion import SpikingMaxPool, convert, fine_tune
from spikeloom.conversion.error_parts import LayerError
from spikeloom.conversion.loss_report import Exit, Report
from spikeloom.conversion.report_views import picture
from spikeloom.functional import fan_out

# -- the report ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Any]:
    data = snn.data.digits()
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(6):
        for index in torch.randperm(len(data.x_train)).split(64):
            loss = nn.functional.cross_entropy(
                net(images(data.x_train[index])), data.y_train[index]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval(), data


def images(x: Tensor) -> Tensor:
    return x.reshape(len(x), 1, 8, 8)


@pytest.mark.slow
def test_digits_are_recognised_by_the_spiking_network_in_a_few_steps(digits: Any) -> None:
    net, data = digits
    test = (images(data.x_test), data.y_test)
    report = convert(net, images(data.x_train)).report(test, max_steps=16)
    assert report.ann_accuracy > 0.95
    assert (
        report.accuracy[7] >= report.ann_accuracy - 0.01
        and report.accuracy[15] >= report.ann_accuracy - 0.005
    )
    assert report.enough is not None and report.enough <= 8
    tuned = fine_tune(net, (images(data.x_train), data.y_train), levels=2, epochs=4)
    quick = convert(tuned, images(data.x_train), method="qcfs").report(test, max_steps=4)
    assert (
        quick.accuracy[1] >= report.ann_accuracy - 0.03 and quick.accuracy[0] > report.accuracy[0]
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"reset": "zero", "initial_mem": 0.0}, {"per_channel": True, "max_pool": "gate"}],
    ids=str,
)
def test_the_parts_of_an_error_add_up_to_the_error_that_is_measured(
    options: dict[str, Any], digits: Any
) -> None:
    net, data = digits
    x = images(data.x_test[:100])
    converted = convert(net, images(data.x_train[:300]), **options)
    report = converted.report((x, data.y_test[:100]), max_steps=4, steps=4, samples=100)
    record = spikes(converted, x, 4)
    ordinary = net[:3](x).detach()
    measured = float((record["2"].mean(0) - ordinary).norm() / ordinary.norm())
    assert report.layers[0].error == pytest.approx(measured, rel=1e-4)
    for layer in report.layers:
        parts = layer.inherited + layer.clipping + layer.quantisation + layer.unevenness
        assert parts == pytest.approx(layer.error, rel=1e-5)
        assert layer.spikes == pytest.approx(float((record[layer.path] != 0).sum()) / 100)
    first, second = report.layers
    assert first.inherited == 0 and (options.get("reset") or abs(first.unevenness) < 1e-6)
    assert second.inherited != 0 and second.unevenness != 0
    output, wanted = converted(x, 4).detach(), net(x).detach()
    assert report.output_error == pytest.approx(
        float((output - wanted).norm() / wanted.norm()), rel=1e-4
    )


def test_operations_are_those_of_a_literal_count(digits: Any) -> None:
    net, data = digits
    x = images(data.x_test[:10])
    converted = convert(net, images(data.x_train[:300]))
    report = converted.report((x, data.y_test[:10]), max_steps=3, steps=3)
    record = spikes(converted, x, 3)
    conv, fc = net[4], net[7]
    pooled = record["2"].flatten(0, 1)  # [T * B, 8, 8, 8]
    pool = SpikingMaxPool(nn.MaxPool2d(2))
    pool.mode = "sequence"
    pooled = pool(record["2"]).flatten(0, 1)
    counted = nn.functional.conv2d(
        (pooled != 0).float(), torch.ones_like(conv.weight), padding=1
    ).sum()
    counted = counted + (record["5"] != 0).sum() * fc.out_features
    assert report.synaptic_operations == pytest.approx(float(counted) / 10)
    first = nn.functional.conv2d(torch.ones(1, 1, 8, 8), torch.ones(8, 1, 3, 3), padding=1).sum()
    second = nn.functional.conv2d(torch.ones(1, 8, 4, 4), torch.ones(16, 8, 3, 3), padding=1).sum()
    assert report.analog_operations == float(first)
    assert report.macs == float(first + second) + 256 * 10


def test_fan_out_counts_synapses_of_strided_and_grouped_convolutions() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, groups=2)
    # Positions, outputs, kernel, channels per group.
    assert fan_out(conv, (4, 7, 7)).sum() == 9 * 6 * 9 * 2


def test_the_steps_of_early_exit_are_the_first_ones_that_are_sure(digits: Any) -> None:
    net, data = digits
    x, y = images(data.x_test), data.y_test
    converted = convert(net, images(data.x_train[:300]))
    report = converted.report((x, y), max_steps=12)
    trace = converted(x, 12, trace=True).softmax(-1).amax(-1)
    for each in report.exits:
        outputs, steps = converted.early_exit(x, each.confidence, 12)
        literal = [
            next((t + 1 for t in range(12) if trace[t, b] >= each.confidence), 12)
            for b in range(len(x))
        ]
        assert steps.tolist() == literal
        assert each.steps == pytest.approx(sum(literal) / len(x))
        assert each.accuracy == pytest.approx(float((outputs.argmax(1) == y).float().mean()))
    assert [e.steps for e in report.exits] == sorted(e.steps for e in report.exits)


def test_a_report_is_printed_saved_and_drawn(digits: Any, tmp_path: Path) -> None:
    net, data = digits
    report = convert(net, images(data.x_train[:300])).report(
        (images(data.x_test), data.y_test), max_steps=4, tolerance=0.3
    )
    wanted = report.ann_accuracy - report.tolerance
    right = [step for step, share in enumerate(report.accuracy, 1) if share >= wanted]
    assert report.enough == (right[0] if right else None)
    text = str(report)
    assert "ordinary network" in text and "quantisation" in text and "early exit" in text
    saved = json.loads(report.save(tmp_path / "report.json").read_text())
    assert saved["accuracy"] == list(report.accuracy) and saved["layers"][0]["path"] == "2"
    assert saved["settings"]["method"] == "percentile"
    figure = report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000
    names = [each.get_text() for each in figure.axes[1].get_xticklabels()]
    assert names == [each.layer for each in report.layers] and names[0] == "Conv2d 0"


def test_labels_of_early_exit_overlap_or_run_out_of_the_frame() -> None:
    exits = [(0.5, 0.78, 1.6), (0.7, 0.87, 3.4), (0.8, 0.91, 5.1), (0.9, 0.94, 7.9)]
    exits += [(0.95, 0.951, 11.5), (0.99, 0.955, 11.9), (0.999, 0.955, 12.0)]
    report = Report(
        *(200, 0.965, (0.6, 0.9, 0.96), 0.005, 3, 3, (), 0.1, 9.0, 9.0, 9.0, 9.0),
        tuple(Exit(*each) for each in exits),
        {},
    )
    figure = report.plot()
    figure.canvas.draw()
    ax = figure.axes[2]
    boxes = [text.get_window_extent() for text in ax.texts]
    assert [text.get_text() for text in ax.texts][-1] == "0.95, 0.99, 0.999"
    assert not [1 for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
    frame = ax.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)


@torch.no_grad()
def spikes(net: Any, x: Tensor, steps: int) -> dict[str, Tensor]:
    record = snn.run(net.net, x, steps, record=[f"{path}.spk" for path in net.neurons]).record
    return {path: record[f"{path}.spk"] for path in net.neurons}


def test_parts_of_an_error_are_stacked_away_from_zero_in_the_picture() -> None:
    pytest.importorskip("matplotlib")
    layers = (LayerError("1", 0.1, 0.2, -0.1, 0.3, -0.3, 5.0),)
    report = Report(10, 1.0, (0.5, 1.0), 0.1, 2, 2, layers, 0.1, 3.0, 20.0, 5.0, 40.0, (), {})
    bars = picture(report).axes[1].patches
    bottoms = [bar.get_y() for bar in bars]
    assert [bar.get_height() for bar in bars] == pytest.approx([20, -10, 30, -30])
    assert bottoms == pytest.approx([0, 0, 20, -10])
