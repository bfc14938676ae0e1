"""`doctor.check` has nothing to say about the networks that the tutorials train."""

import json
import shutil
from pathlib import Path

import pytest
from scripts import run_script

pytest.importorskip("matplotlib")
FOLDER = Path(__file__).resolve().parent.parent / "tutorials"
COUNTS = "SF.mse_count_loss(correct_rate=0.9, incorrect_rate=0.1)"

# For each tutorial: the line before which it is cut, and the arguments of `doctor.check`. Missing
# are those that do not train by a surrogate gradient, `delays`, which freezes its weights on
# purpose, and `several_processes`, whose network is that of `first_ten_minutes`.
CHECKED = {
    "accelerators": (
        "optimizer = ",
        "fast.layers, (data, targets), SF.ce_count_loss(), num_steps=num_steps, lr=1e-3",
    ),
    "autoencoder": (
        "@torch.no_grad()\ndef test_error",
        "net, (split.x_train[:32],) * 2, lambda out, x: F.mse_loss(out[-1], x), "
        "num_steps=num_steps, optimizer=optimizer",
    ),
    "chaos": (
        "sgd = ",
        "net, (split.x_train[:64], split.y_train[:64]), "
        "lambda out, y: nn.functional.cross_entropy(out.mean(0), y), num_steps=num_steps, "
        "optimizer=torch.optim.SGD(net.parameters(), lr=0.3)",
    ),
    "exoplanets: all steps at once": (
        "def train(",
        "WholeSeries(), (x_train[:64], y_train[:64]), lambda out, y: F.cross_entropy(out[0], y), "
        "num_steps=1, lr=2e-3",
    ),
    "exoplanets: step by step": (
        "def train(",
        "StepByStep(), (x_train[:64], y_train[:64]), F.cross_entropy, lr=2e-3",
    ),
    "export_network": (
        "result = ",
        "net, (digits.x_train[:64], digits.y_train[:64]), num_steps=num_steps, lr=2e-3",
    ),
    "first_ten_minutes": (
        "run = ",
        "net, (digits.x_train[:64], digits.y_train[:64]), num_steps=10, lr=2e-3",
    ),
    "own_loop": ("net = ", "plain, (x, y), lr=5e-4"),
    "population_coding: one neuron for each class": (
        "results = ",
        f"network(1), (split.x_train[:64], split.y_train[:64]), {COUNTS}, num_steps=1, lr=2e-3",
    ),
    "population_coding: fifty": (
        "results = ",
        "network(50), (split.x_train[:64], split.y_train[:64]), "
        "SF.mse_count_loss(1.0, 0.0, population_code=True, num_classes=10), num_steps=1, lr=2e-3",
    ),
    "regression_1": (
        "schedule = ",
        "net, (ramp, target), lambda out, y: nn.functional.mse_loss(out, y), optimizer=optimizer",
    ),
    "regression_2": (
        "training = ",
        f"net, (split.x_train[:64], split.y_train[:64]), {COUNTS}, num_steps=num_steps, lr=1e-3",
    ),
    "sound_and_series": (
        "loss_of = ",
        "net, (x, y), SF.ce_count_loss(), optimizer=optimizer",
    ),
    "st_mnist": ("loss_hist, ", "net, next(iter(train_loader)), loss_fn, optimizer=optimizer"),
    "tutorial_5_training": (
        "def update(",
        "net, (data, targets), SF.ce_rate_loss(), num_steps=num_steps, optimizer=optimizer",
    ),
    "tutorial_6_convolutional_network": (
        "result = ",
        f"network(slope=25), (data, targets), {COUNTS}, num_steps=num_steps, lr=5e-3",
    ),
    "tutorial_7_event_data": (
        "num_iterations = ",
        "net, next(iter(train_loader)), loss_fn, optimizer=optimizer",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKED)
def test_the_doctor_finds_a_fault_in_the_network_of_a_tutorial(name: str, tmp_path: Path) -> None:
    tutorial = name.partition(":")[0]
    line, arguments = CHECKED[name]
    text = (FOLDER / f"{tutorial}.py").read_text(encoding="utf-8")
    before, found, _ = text.partition(f"\n{line}")
    assert found, f"{tutorial} has no line {line!r} any more"
    ending = f"\nimport json\nfound = snn.doctor.check({arguments}).findings\n"
    ending += "print(json.dumps([str(finding) for finding in found]))\n"
    shutil.copy(FOLDER / "common.py", tmp_path)
    script = tmp_path / f"{tutorial}.py"
    script.write_text(before + ending, encoding="utf-8")
    settings = {"SPIKELOOM_SMOKE": "1", "SPIKELOOM_OUT": str(tmp_path), "SPIKELOOM_DATA": ""}
    _, printed = run_script(script, environment=settings)
    assert json.loads(printed.splitlines()[-1]) == []
