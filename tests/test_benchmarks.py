"""The benchmark scripts run and print the rows that they promise; times are not judged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import run_script

import spikeloom as snn
from spikeloom.core.checks import installed
from spikeloom.train.rules import Rule, rules_of

ROOT = Path(__file__).resolve().parent.parent


def printed(name: str, *arguments: object) -> str:
    """What a script prints, run in this process."""
    code, text = run_script(ROOT / "benchmarks" / f"{name}.py", *arguments)
    assert code == 0, text
    return text


def last(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


def report(name: str, *arguments: object) -> list[dict[str, Any]]:
    """The rows that a script prints last, in a smoke run."""
    found = last(printed(name, "--smoke", *arguments))
    assert found["machine"]["threads"] == 1 and found["machine"]["torch"]
    return found["rows"]


def tables(name: str) -> list[list[dict[str, Any]]]:
    """The rows of each table that a script prints, in a smoke run."""
    lines = printed(name, "--smoke").splitlines()
    return [json.loads(line)["rows"] for line in lines if line.startswith('{"title"')]


def test_the_loop_is_measured_against_the_eager_one() -> None:
    command = [sys.executable, "benchmarks/loop.py", "--smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    row = last(done.stdout)["rows"][0]
    assert {"ours [ms]", "torch / ours", "eager / ours"} <= row.keys()


@pytest.mark.slow
def test_the_networks_train_on_each_kind_of_input() -> None:
    _, shares, rows = tables("mlp")
    assert {row["input"] for row in rows} >= {"static", "dense", "spikes"}
    assert all({"ms", "peak [MiB]"} <= row.keys() for row in rows)
    assert all(0 < row["not products [%]"] < 100 for row in shares)


@pytest.mark.slow
def test_networks_with_a_loop_of_their_own_compute_the_same_in_every_way() -> None:
    rows = report("loops")
    assert len(rows) >= 8 and all(row["losses apart"] < 1e-4 for row in rows)
    assert all("layerwise [ms]" in row for row in rows)


@pytest.mark.slow
def test_deep_networks_compute_layer_by_layer_what_the_loop_computes() -> None:
    rows = report("deep", "--epochs", "0", "--repeats", "1")
    compared = [row for row in rows if row["way"] in ("layerwise", "run")]
    assert len(compared) == 4
    for row in compared:
        apart = (row[f"{what} apart"] for what in ("losses", "gradients", "statistics"))
        assert all(float(value) < 1e-10 for value in apart)


@pytest.mark.slow
def test_deep_networks_are_trained() -> None:
    (deep,) = report("deep", "--network", "sew", "--repeats", "1")
    assert deep["epochs"] == 1 and {"parameters", "test [%]", "cpu [s]"} <= deep.keys()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lines", "resonators"])
@pytest.mark.parametrize("order", ["sequential", "permuted"])
def test_images_are_read_pixel_by_pixel(network: str, order: str) -> None:
    permuted = ["--permuted"] * (order == "permuted")
    (row,) = report("sequential_mnist", "--network", network, *permuted)
    assert row["network"] == network and row["order"] == order and row["epochs"] == 1
    assert {"parameters", "validation [%]", "test [%]", "spikes", "cpu [s]"} <= row.keys()


@pytest.mark.slow
def test_tuning_on_sequences_of_pixels_leaves_the_test_part_alone() -> None:
    (row,) = report("sequential_mnist", "--tuning", "--half")
    assert row["test [%]"] is None and 0 <= row["validation [%]"] <= 100


@pytest.mark.slow
def test_static_images_and_images_over_time_are_measured() -> None:
    _, rows = tables("conv")
    assert [row["input"] for row in rows if row["network"] == "ours"] == ["static", "over time"]


@pytest.mark.slow
def test_memory_is_measured_for_short_and_long_recordings() -> None:
    assert len({(row["layers"], row["T"]) for row in report("memory")}) == 4


@pytest.mark.slow
def test_the_cost_of_a_step_is_measured_for_short_and_long_sequences() -> None:
    short, long = report("steps")
    assert short["T"] < long["T"]
    assert all("ours [ns]" in row for row in (short, long))


@pytest.mark.slow
def test_sixteen_bits_cost_a_few_thousandths_of_a_gradient() -> None:
    errors = [row["three layers"] for row in report("residuals") if row["neuron"] == "Leaky"]
    assert 0 < max(errors) < 5


@pytest.mark.slow
def test_the_bandwidth_of_a_layer_is_measured_beside_a_copy() -> None:
    measured = {row["what"] for row in report("bandwidth")}
    assert measured == {"copy, loop", "copy, memcpy", "forward", "backward"}


@pytest.mark.slow
def test_the_first_use_is_measured_with_a_cold_and_a_warm_cache() -> None:
    measured = {(row["cache"], row["kernel"]) for row in report("first_use")}
    assert measured == {(c, k) for c in ("cold", "cached") for k in ("forward", "backward")}


@pytest.mark.slow
def test_the_check_of_a_training_is_measured_where_it_learns_and_where_it_does_not() -> None:
    assert {row["training"] for row in report("check_cost")} == {"learns", "learns nothing"}


@pytest.mark.slow
def test_accuracy_is_measured_and_finished_trainings_are_not_repeated(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = {
        f"x_{part}": generator.integers(0, 256, (512, 28, 28), dtype=np.uint8)
        for part in ("train", "test")
    }
    labels = {
        f"y_{part}": generator.integers(0, 10, 512, dtype=np.uint8) for part in ("train", "test")
    }
    np.savez(tmp_path / "mnist.npz", **images, **labels)
    arguments = (
        tmp_path,
        "--seeds",
        "1",
        "--network",
        "mlp",
        "--results",
        tmp_path / "results.json",
    )
    first, again = report("accuracy", *arguments), report("accuracy", *arguments)
    assert first == again and "processor [s]" in first[0]


@pytest.mark.slow
def test_the_comparison_of_csbp_continues_where_it_was_and_pairs_by_seed(tmp_path: Path) -> None:
    results = tmp_path / "csbp.json"
    first = printed("csbp", "--smoke", "--results", results)
    kept = results.read_text()
    runs = json.loads(kept)
    assert len(runs) == 2 * 5 and all(0 <= run["last"] <= run["best"] <= 1 for run in runs.values())
    assert printed("csbp", "--smoke", "--results", results) == first
    assert results.read_text() == kept
    rows = json.loads(first.splitlines()[-1])["rows"]
    assert rows[0]["contender"] == "plain" and len(rows) == 5
    mean = sum(b - a for a, b in zip(rows[0]["each"], rows[1]["each"], strict=True)) / 2
    assert abs(float(rows[1]["minus plain"].split()[0]) - mean) < 0.011
    assert any("is not chaotic, a weak bias" in text for text in rows[1]["warned"])


@pytest.mark.slow
def test_neurons_are_compared_with_brian2_where_it_is_installed() -> None:
    if not installed("brian2"):
        assert "skipped: Brian2 is not installed" in printed("fidelity", "--smoke")
        return
    rows = report("fidelity")
    assert [row["model"] for row in rows] == ["qif", "adex", "adex, finer", "hh", "hh, finer"]
    for row in rows:
        assert row["spikes, ours"] > 0
        assert not row["same scheme"] or row["same step [%]"] == 100


@pytest.mark.slow
def test_the_single_neuron_script_draws_both_plots(tmp_path: Path) -> None:
    out = printed("single_neuron", "--out", tmp_path, "--epochs", "60")
    assert out.splitlines()[0].split()[:2] == ["w", "without"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"chaos_{name}.png" for name in ("without", "with", "exponents", "bifurcation"))
    }


@pytest.mark.slow
def test_the_digits_benchmark_prints_mean_and_spread_over_seeds() -> None:
    short = ("--seeds", "2", "--epochs", "3", "--hidden", "128")
    last = printed("digits", *short).splitlines()[-1]
    assert last.startswith("mean ") and "standard deviation" in last
    assert float(last.split()[1]) > 70


@pytest.mark.slow
def test_the_gpu_benchmark_measures_or_says_that_it_did_not() -> None:
    report = last(printed("gpu", "--smoke"))
    measured = [row for row in report["rows"] if row["measured"] is not None]
    assert bool(measured) == (report["machine"]["gpu"] is not None)
    assert measured or "nothing was measured" in report["title"]


@pytest.mark.slow
def test_the_stdp_benchmarks_print_accuracy_and_speed_and_keep_finished_seeds(
    tmp_path: Path,
) -> None:
    pytest.importorskip("numba")
    out = tmp_path / "stdp.json"
    lines = printed("stdp", "--smoke", "--out", out).splitlines()
    accuracy = next(line for line in lines if "vote 'all'" in line)
    assert float(accuracy.split()[5]) > 50
    again = printed("stdp", "--smoke", "--out", out)
    assert accuracy in again and "seed 0" not in again, "a finished seed is not computed again"
    report = last(printed("stdp_speed", "--smoke"))
    assert {"batches of 16", "event-driven"} <= {row["network"] for row in report["rows"]}


@pytest.mark.slow
def test_conversion_loses_little_and_its_network_is_measured_beside_a_loop() -> None:
    losses = {row["way"]: row for row in report("conversion")}
    assert losses["percentile 99.9 (default)"]["T=8"] < losses["default, start at 0"]["T=1"]
    measured = {row["contender"] for row in report("conversion_speed")}
    assert {"ours, constant input", "n3ml's loop"} <= measured


@pytest.mark.slow
@pytest.mark.skipif(
    snn.backends()["numba"] != "available", reason="events are compiled by numba, the extra cpu"
)
def test_events_are_measured_against_the_dense_product() -> None:
    report = last(printed("events", "--smoke"))
    assert report["rows"] and all("dense / SpikeLinear at 5 %" in row for row in report["rows"])


@pytest.mark.slow
def test_the_benchmark_of_bp_stdp_learns_xor_and_keeps_finished_seeds(tmp_path: Path) -> None:
    arguments = (
        "bp_stdp",
        "--smoke",
        "--rows",
        "XOR",
        "--out",
        tmp_path / "bp_stdp.json",
    )
    first = printed(*arguments)
    assert first.splitlines()[0].startswith("XOR 2-20-2, seed 0")
    assert "seed 0:" not in printed(*arguments), "a finished seed is not computed again"


@pytest.mark.slow
def test_batches_of_bp_stdp_are_measured_beside_the_loop_over_steps() -> None:
    measured = {row["what"] for row in report("bp_stdp_speed")}
    assert {"batches of 64", "n3ml's loop, one image at a time"} <= measured


@pytest.mark.slow
def test_the_benchmark_of_stbp_trains_every_network() -> None:
    found = last(printed("stbp", "--smoke"))
    assert len(found["rows"]) == 5 and all(
        run["spikes"] for runs in found["rows"].values() for run in runs
    )


@pytest.mark.slow
def test_the_c_program_is_measured_beside_pytorch() -> None:
    assert report("c_export")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_integers_lose_accuracy_or_differ_from_integer_arithmetic(network: str) -> None:
    whole, eight, four = report("quantized", "--network", network)
    assert whole["numbers"] == "float32" and "accuracy %" in whole
    for row in (eight, four):
        assert {"accuracy %", "loss in points"} <= row.keys()
        assert row["differ"] == 0


@pytest.mark.slow
def test_the_comparison_of_rules_covers_every_rule_of_fit() -> None:
    found = last(printed("rules", "--smoke"))
    assert {name.partition(" ")[0] for name in found["rows"]} == set(rules_of(Rule))
    assert "bp_stdp" in found["gradients"]["before training"]


def test_tests_of_a_peer_run_under_its_name_and_failures_that_are_meant_are_told_apart(
    tmp_path: Path,
) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_peer.py").write_text(
        "import snntorch as snn\n"
        "from snntorch import spikegen\n"
        "from snntorch.functional import probe\n"
        "def test_right(): assert snn.Leaky(0.5).beta == 0.5 and callable(spikegen.rate)\n"
        "def test_mse_count_loss_weighted(): assert not probe.OutputMonitor\n"
        "def test_wrong(): snn.Leeky(0.5)\n"
    )
    (tests / "test_later.py").write_text("from snntorch.functional import later_loss\n")
    command = [sys.executable, "benchmarks/peer_tests.py", str(tests)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "1 of 4 tests of snntorch pass on spikeloom" in done.stdout
    assert "weights of a loss act on samples" in done.stdout
    assert "AttributeError: module 'spikeloom' has no attribute 'Leeky'" in done.stdout
    assert "cannot import name 'later_loss' from 'spikeloom.functional'" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["rows"][0]["documented"] == 1


@pytest.mark.slow
def test_every_neuron_is_fitted_to_one_recording_and_predicts_the_other() -> None:
    rows = report("real_neuron")
    assert [row["neuron"] for row in rows][:2] == ["Leaky (control)", "RefractoryLIF"]
    assert len(rows) == 7
    for row in rows:
        for name in ("fitted, 4 ms", "new, 4 ms", "fitted, 2 ms", "new, 2 ms"):
            assert row[name] is None or row[name] < 0.5, "random spikes are predicted by chance"


@pytest.mark.slow
def test_networks_that_live_in_time_are_judged_beside_steps_in_random_order(tmp_path: Path) -> None:
    results = tmp_path / "temporal.json"
    rows = {row["row"]: row for row in report("temporal", "--results", results)}
    assert {"spoken words", "event digits", "heart beats", "vowels"} <= rows.keys()
    assert rows["spoken words"]["parameters"] <= 300_000
    for row in rows.values():
        assert row["spikes"] > 0 and 0 <= row["ridge, time [%]"] <= 100
        assert row["synaptic operations"] + row["products"] > 0 and row["energy [uJ]"] > 0
    controlled = {name for name, row in rows.items() if row["static"] is not None}
    assert controlled == rows.keys() - {"spoken words, one delay"}
    again = printed("temporal", "--smoke", "--results", results)
    assert "seed 0" not in again, "a finished seed is not trained again"
