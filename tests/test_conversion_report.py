"""The report: accuracy, errors that add up, operations, early exit; and digits from end to end."""

import itertools
import json
from dataclasses import replace
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
    layers = (
        LayerError("1", 0.1, 0.2, -0.1, 0.3, -0.3, 5.0),
        LayerError("2", 0.009, 0.002, 0.004, -0.002, 0.005, 5.0),  # each below one percent
    )
    axes = panels(layers=layers)[1]
    bars = sorted(axes.patches, key=lambda bar: round(bar.get_x()))
    assert [bar.get_height() for bar in bars] == pytest.approx(
        [20, -10, 30, -30, 0.2, 0.4, -0.2, 0.5]
    )
    assert [bar.get_y() for bar in bars] == pytest.approx([0, 0, 20, -10, 0, 0.2, 0, 0.6])
    points = next(line for line in axes.lines if line.get_marker() == "o")
    assert list(points.get_ydata()) == pytest.approx([10, 0.9])


def panels(**fields: Any) -> Any:
    """The axes of a report with these fields."""
    pytest.importorskip("matplotlib")
    report = Report(10, 0.9, (0.25, 0.5), 0.15, None, 2, (), 0.1, 3.0, 20.0, 5.0, 40.0, (), {})
    return picture(replace(report, **fields)).axes


def test_a_single_layer_filled_the_whole_panel_of_errors() -> None:
    layer = LayerError("1", 0.1, 0.2, -0.1, 0.3, -0.3, 5.0)
    assert panels(layers=(layer,))[1].get_xlim() == pytest.approx((-1.6, 1.6))
    assert panels(layers=(layer,) * 5)[1].get_xlim() == pytest.approx((-0.6, 4.6))


def test_the_picture_shows_accuracies_in_percent_and_the_steps_that_are_enough() -> None:
    curve, ordinary, enough = panels(accuracy=(0.25, 0.5, 0.8), enough=3)[0].lines
    assert curve.get_xydata().tolist() == [[1, 25], [2, 50], [3, 80]]
    assert list(ordinary.get_ydata()) == [90, 90] and list(enough.get_xdata()) == [3, 3]
    assert enough.get_label() == "within 15 points: T = 3"
    axes = panels(accuracy=(0.5,) * 8)[0]
    assert len(axes.lines) == 2  # no number of steps is enough
    assert axes.get_xticks().tolist() == [1, 2, 4, 8]
    curve, ordinary = panels(exits=(Exit(0.5, 0.25, 1.5), Exit(0.9, 0.75, 2)))[2].lines
    assert curve.get_xydata().tolist() == [[1.5, 25], [2, 75]]
    assert list(ordinary.get_ydata()) == [90, 90]


def test_the_label_of_an_exit_is_on_the_side_of_the_middle() -> None:
    labels = panels(exits=(Exit(0.5, 0.25, 1), Exit(0.9, 0.75, 2)))[2].texts
    assert [label.get_ha() for label in labels] == ["left", "right"]
    assert [label.xyann for label in labels] == [(6, -10), (-4, -12)]


def test_the_printed_report_says_accuracies_losses_and_errors_in_percent() -> None:
    layer = LayerError("1", 0.25, 0.5, -0.125, 0.0625, -0.1875, 5.4)
    report = Report(
        10, 0.75, (0.25, 0.5, 0.625), 0.15, None, 3, (layer,), 0.125, 3.0, 20.0, 5.0, 40.0, (), {}
    )
    rows = [line.split() for line in str(report).splitlines()]
    assert ["T", "1", "2", "3"] in rows  # the last one is no power of two
    assert ["spiking", "[%]", "25.00", "50.00", "62.50"] in rows
    assert ["loss", "[points]", "50.00", "25.00", "12.50"] in rows
    assert ["1", "25.00", "50.00", "-12.50", "6.25", "-18.75", "5"] in rows
    assert ["output", "12.50", "3"] in rows
    assert "within 15 points: no number of steps" in str(report)
    early = replace(report, enough=2, exits=(Exit(0.5, 0.25, 1.5),))
    rows = [line.split() for line in str(early).splitlines()]
    assert ["accuracy", "[%]", "25.00"] in rows and ["mean", "T", "1.50"] in rows
    assert "within 15 points: T = 2" in str(early)


@pytest.mark.parametrize(
    ("most", "columns"),
    [(1, ["1"]), (2, ["1", "2"]), (4, ["1", "2", "4"]), (17, ["1", "2", "4", "8", "16", "17"])],
)
def test_the_printed_report_has_a_column_for_each_power_of_two_and_for_the_last_step(
    most: int, columns: list[str]
) -> None:
    layers, accuracy = (), (0.5,) * most
    report = Report(10, 0.75, accuracy, 0.15, 1, 3, layers, 0.1, 3.0, 20.0, 5.0, 40.0, (), {})
    assert ["T", *columns] in [line.split() for line in str(report).splitlines()]
