"""`doctor.check`: broken networks get the right finding first, healthy ones get none, and the
network is left as it was."""

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import run_script
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import spikeloom as snn
from spikeloom.doctor.observe import Curve
from spikeloom.doctor.rules import LIMITS
from spikeloom.functional import ce_max_membrane_loss, ce_rate_loss, mse_count_loss
from spikeloom.train.models import conv, mlp, neurons

CAMPAIGNS = Path(__file__).resolve().parent.parent / "campaigns"
DIGITS = snn.data.digits()
BATCH = (DIGITS.x_train[:64], DIGITS.y_train[:64])
T = 10


def net(hidden: tuple[int, ...] = (64,), seed: int = 0, **neuron: Any) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    sizes = [64, *hidden, 10]
    for i, size in enumerate(sizes[1:]):
        options = {"beta": 0.9, "init_hidden": True, **neuron}
        layers += [nn.Linear(sizes[i], size), snn.Leaky(**options)]
    return nn.Sequential(*layers)


def first(net: nn.Module, batch: Any = BATCH, loss: Any = None, **options: Any) -> tuple[str, str]:
    """Fault and path of the first finding."""
    options = {"num_steps": T, **options}
    found = snn.doctor.check(net, batch, loss, **options).findings
    return (found[0].fault, found[0].path) if found else ("", "")


def changed(change: Callable[[Any], None], **options: Any) -> nn.Sequential:
    made = net(**options)
    with torch.no_grad():
        change(made)
    return made


# -- the ten networks that trained to chance without a word ----------------------------------------

BROKEN: dict[str, tuple[Callable[[], tuple[str, str]], tuple[str, str]]] = {
    "bias of 5": (
        lambda: first(changed(lambda n: n[1].bias.fill_(5.0))),
        ("saturated layer", "2"),
    ),
    "slope of 500 in four layers": (
        lambda: first(net((64, 64, 64), spike_grad=snn.surrogate.fast_sigmoid(500))),
        ("surrogate too steep", "2"),
    ),
    "output threshold of 50": (
        lambda: first(changed(lambda n: n[4].threshold.fill_(50.0))),
        ("output never fires", "4"),
    ),
    "slope of 1e9": (
        lambda: first(net(spike_grad=snn.surrogate.sigmoid(1e9))),
        ("surrogate too steep", "2"),
    ),
    "learning rate of 100": (
        lambda: first(net(), lr=100.0),
        ("learning rate too high", "optimizer"),
    ),
    "learning rate of 1e-7": (
        lambda: first(net(), lr=1e-7),
        ("learning rate too low", "optimizer"),
    ),
    "input of zeros": (
        lambda: first(net(), (torch.zeros_like(BATCH[0]), BATCH[1])),
        ("input does not vary", "input"),
    ),
    "silent hidden layer": (
        lambda: first(changed(lambda n: n[1].bias.fill_(-5.0))),
        ("dead layer", "2"),
    ),
    "labels from 1": (
        lambda: first(net(), (BATCH[0], BATCH[1] + 1)),
        ("labels do not fit", "labels"),
    ),
    "surrogate switched off": (
        lambda: first(net(surrogate_disable=True)),
        ("detached graph", "2"),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_network_gets_the_right_finding_first(name: str) -> None:
    finding, right = BROKEN[name]
    assert finding() == right


# -- networks that learn ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", neurons())
def test_the_default_networks_of_train_get_no_finding(name: str) -> None:
    torch.manual_seed(1)
    made = mlp([1, 8, 8], 10, 512, name)
    loss = mse_count_loss(correct_rate=0.9, incorrect_rate=0.1)
    report = snn.doctor.check(made, BATCH, loss, num_steps=12, lr=2e-3)
    assert report.healthy, report


def test_convolutional_networks_get_no_finding() -> None:
    torch.manual_seed(0)
    assert first(conv([1, 8, 8], 10, [16, 32]), num_steps=12, lr=2e-3) == ("", "")
    curve = snn.surrogate.fast_sigmoid(25)
    tutorial = conv([1, 8, 8], 10, [12, 24], beta=0.5, spike_grad=curve)  # of tutorial 6
    assert first(tutorial, lr=1e-2) == ("", "")


class TutorialNet(nn.Module):
    """The network of tutorial 5: explicit states, a loop over time of its own."""

    def __init__(self, steps: int = 25) -> None:
        super().__init__()
        self.steps = steps
        self.fc1, self.lif1 = nn.Linear(64, 100), snn.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(100, 10), snn.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, membranes = [], []
        for _ in range(self.steps):
            spk1, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


def test_a_network_with_its_own_loop_is_checked_as_it_is() -> None:
    torch.manual_seed(0)
    made = TutorialNet()
    report = snn.doctor.check(made, BATCH, lr=5e-4)
    assert report.healthy, report
    assert [row.path for row in report.layers] == ["lif1", "lif2"] and report.steps == 25
    with torch.no_grad():
        made.fc1.bias.fill_(-6.0)
    assert first(made, num_steps=None) == ("dead layer", "lif1")


def test_small_weights_that_recover_are_no_fault() -> None:
    made = changed(lambda n: [p.mul_(0.01) for p in n.parameters()])
    assert first(made, lr=2e-3) == ("", "")


def test_a_readout_of_membranes_is_checked_by_its_loss() -> None:
    made = net()
    made[-1] = snn.LI(0.9, init_hidden=True)
    assert first(made, loss=ce_max_membrane_loss(), lr=2e-3) == ("", "")


# -- mistakes of the first day ---------------------------------------------------------------------


class Own(nn.Module):
    """A loop over time of its own; ``end`` makes its result of the outputs of all steps."""

    def __init__(self, end: Callable[[list[Tensor]], Tensor]) -> None:
        super().__init__()
        self.end = end
        self.fc, self.lif = nn.Linear(64, 10), snn.Leaky(beta=0.9)

    def forward(self, x: Tensor) -> Tensor:
        mem, spikes = self.lif.init_leaky(), []
        for _ in range(T):
            spk, mem = self.lif(self.fc(x.flatten(1)), mem)
            spikes.append(spk)
        return self.end(spikes)


def equal(value: float) -> nn.Sequential:
    made = net()
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.fill_(value if "weight" in name else 0.0)
    return made


MISTAKES: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[str, str], str]] = {
    "a loss of torch over time": (
        net,
        {"loss": nn.CrossEntropyLoss()},
        ("outputs do not fit the loss", "loss"),
        "own_loss(out.sum(0), y)",
    ),
    "the last step only": (
        lambda: Own(lambda spikes: spikes[-1]),
        {"num_steps": None},
        ("outputs do not fit the loss", "loss"),
        "torch.stack(outputs) of all 10 steps",
    ),
    "outputs stacked with the batch first": (
        lambda: Own(lambda spikes: torch.stack(spikes, 1)),
        {"num_steps": None},
        ("time and batch exchanged", "output"),
        "torch.stack(outputs), with the steps first",
    ),
    "images without a number of steps": (
        net,
        {"num_steps": None},
        ("time and batch exchanged", "input"),
        "num_steps=10",
    ),
    "weights of zero": (
        lambda: equal(0.0),
        {},
        ("equal weights", "1"),
        "reset_parameters()",
    ),
    "weights of one size": (
        lambda: equal(0.05),
        {},
        ("equal weights", "1"),
        "reset_parameters()",
    ),
    "a ReLU that leaves nothing": (
        lambda: nn.Sequential(nn.Threshold(2.0, 0.0), *net()),
        {},
        ("input does not vary", "3"),
        "in front of net.get_submodule('3')",
    ),
    "a dataset sorted by class": (
        net,
        {"batch": (BATCH[0], torch.full_like(BATCH[1], 4))},
        ("labels do not fit", "labels"),
        "shuffle the samples",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_first_day_was_not_named(name: str) -> None:
    make, options, right, line = MISTAKES[name]
    options = {"num_steps": T, "batch": BATCH, "loss": None, **options}
    finding = snn.doctor.check(make(), **options).findings[0]
    assert (finding.fault, finding.path) == right and line in finding.write, finding


def test_equal_weights_that_the_next_layer_tells_apart_are_no_fault() -> None:
    made = equal(0.05)
    nn.init.normal_(made[3].weight, std=0.2)
    assert first(made, lr=2e-3) == ("", "")


# -- single rules ----------------------------------------------------------------------------------


def test_the_axes_of_a_sequence_are_told_apart() -> None:
    x = BATCH[0].expand(T, *BATCH[0].shape)
    options: dict[str, Any] = {"num_steps": None}
    assert first(net(), (x, BATCH[1]), **options) == ("", "")
    exchanged = (x.transpose(0, 1), BATCH[1])
    assert first(net(), exchanged, **options) == ("time and batch exchanged", "input")


@pytest.mark.parametrize(
    ("factor", "fault"), [(255, True), (16, True), (1, False), (1 / 255, True)]
)
def test_an_input_on_another_scale_is_named_with_its_factor(factor: float, fault: bool) -> None:
    report = snn.doctor.check(net(), (factor * BATCH[0], BATCH[1]), num_steps=T)
    assert bool(report.findings) is fault
    if fault:
        assert report.findings[0].write == f"x = x / {factor * BATCH[0].max():g}"


@pytest.mark.parametrize("steps", [3, 4])
def test_an_image_of_as_many_channels_as_samples_or_steps_is_no_fault(steps: int) -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        snn.Leaky(0.5, init_hidden=True),
        nn.Conv2d(4, 3, 3),
        nn.BatchNorm2d(3),
        snn.Leaky(0.5, init_hidden=True),
        nn.Flatten(),
        nn.Linear(12, 3),
        snn.Leaky(0.5, init_hidden=True, output=True),
    )
    batch = torch.rand(4, 2, 6, 6), torch.arange(4) % 3
    found = snn.doctor.check(net, batch, num_steps=steps)
    assert "batch norm over the wrong axis" not in str(found)


def test_a_cut_graph_is_named_by_the_last_layer_before_it() -> None:
    class Cut(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach()

    made = net((64, 64))
    made.insert(5, Cut())
    assert first(made) == ("detached graph", "3")
    assert first(net(), loss=lambda out, y: ce_rate_loss()(out.detach(), y)) == (
        "loss does not see the spikes",
        "loss",
    )


def test_layers_in_a_plain_list_are_missed() -> None:
    made = TutorialNet(5)
    made.extra = [nn.Linear(3, 3)]
    assert first(made, num_steps=None) == ("forgotten parameters", "extra")


def test_the_optimizer_is_compared_with_the_network() -> None:
    made = net(learn_beta=True)
    some = torch.optim.Adam(made[1].parameters(), lr=2e-3)
    assert first(made, optimizer=some) == ("parameters not in the optimizer", "2")
    every = torch.optim.AdamW(made.parameters(), lr=2e-3, weight_decay=0.1)
    assert first(made, optimizer=every) == ("weight decay on time constants", "2")
    assert every.state_dict()["state"] == {}, "the optimizer of the user has made a step"


def test_a_state_that_is_carried_over_is_found_also_where_outputs_are_silent() -> None:
    class Carries(nn.Module):
        def __init__(self, resets: bool) -> None:
            super().__init__()
            self.body, self.resets = net(), resets

        def forward(self, x: Tensor) -> Tensor:
            if self.resets:
                snn.reset(self)
            return torch.stack([self.body(x) for _ in range(T)])

    assert first(Carries(True), num_steps=None) == ("", "")
    assert first(Carries(False), num_steps=None) == ("forgotten reset", "body.2")


def test_dropout_in_evaluation_mode_is_found_as_function_and_as_module() -> None:
    class Always(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.3)

    class Proper(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.3, self.training)

    for layer, right in (
        (Always(), "dropout at evaluation"),
        (Proper(), ""),
        (nn.Dropout(0.3), ""),
    ):
        made = net()
        made.insert(3, layer)
        assert first(made)[0] == right


def test_nan_is_found_before_a_layer_refuses_it() -> None:
    x = BATCH[0].clone()
    x[3, 0, 2, 2] = float("nan")
    assert first(net(), (x, BATCH[1])) == ("not a number", "input")
    made = changed(lambda n: n[3].weight[2].fill_(float("inf")))
    assert first(made) == ("not a number", "3")


@pytest.mark.parametrize(
    ("curve", "width"),
    [
        (snn.surrogate.fast_sigmoid(25), (10**0.5 - 1) / 25),
        (snn.surrogate.atan(2.0), 3 / torch.pi),
        (snn.surrogate.fast_sigmoid(500), (10**0.5 - 1) / 500),
    ],
)
def test_the_width_of_a_surrogate_is_that_of_its_formula(curve: Any, width: float) -> None:
    """Where the derivative has fallen to a tenth: 1 / (1 + s u)^2, 1 / (1 + (pi u)^2)."""
    measured = Curve(snn.Leaky(0.9, spike_grad=curve), 1.0)
    assert measured.width == pytest.approx(width, rel=0.05)
    assert measured.falls and not measured.wide


def test_figures_of_a_layer_are_those_of_its_spikes_and_membranes() -> None:
    made = net()
    report = snn.doctor.check(made, BATCH, num_steps=T)
    record = snn.run(made, BATCH[0], T, record=["2"]).record
    spk, mem = record["2.spk"].detach(), record["2.mem"].detach()
    row = report.layers[0]
    assert row.rate == pytest.approx(float(spk.mean()))
    assert row.silent == pytest.approx(float((spk.sum((0, 1)) == 0).float().mean()))
    assert row.median == pytest.approx(float(mem.median()) - 1, abs=0.06), "bins of 0.05"
    support = 1 / (1 + (torch.pi * (mem - 1)) ** 2) > 0.1
    assert row.support == pytest.approx(float(support.float().mean()), abs=1e-3)


def test_a_check_leaves_the_network_as_it_was() -> None:
    made = net(learn_beta=True)
    made.insert(2, nn.BatchNorm1d(64))
    made.eval()
    before = copy.deepcopy(made.state_dict())
    made[1].weight.grad = torch.ones_like(made[1].weight)
    random = torch.get_rng_state()
    optimizer = torch.optim.Adam(made.parameters(), lr=2e-3)
    snn.doctor.check(made, BATCH, num_steps=T, optimizer=optimizer)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert torch.equal(made[1].weight.grad, torch.ones_like(made[1].weight))
    assert made[3].weight.grad is None if hasattr(made[3], "weight") else True
    assert not made.training and torch.equal(torch.get_rng_state(), random)
    assert not any(module._taps for module in made.modules() if isinstance(module, snn.Neuron))
    assert not any(module._forward_hooks for module in made.modules())


def test_a_report_prints_as_text_html_and_picture() -> None:
    pytest.importorskip("matplotlib")
    report = snn.doctor.check(changed(lambda n: n[1].bias.fill_(-5.0)), BATCH, num_steps=T)
    text, page = str(report), report._repr_html_()
    assert "1. dead layer at 2" in text and "docs/not_learning.md" in text
    assert "<b>dead layer</b>" in page and page.count("<tr>") == 1 + len(report.layers)
    axes = report.plot().axes
    assert [ax.get_title() for ax in axes] == ["Membranes", "Activity", "Gradient"]


def test_every_fault_has_a_heading_on_the_page() -> None:
    sys.path.insert(0, str(CAMPAIGNS))
    try:
        faults = __import__("doctor_networks").FAULTS
    finally:
        sys.path.remove(str(CAMPAIGNS))
    page = (CAMPAIGNS.parent / "docs" / "not_learning.md").read_text(encoding="utf-8").lower()
    assert not [fault for fault in faults if f"## {fault}" not in page]


@pytest.mark.parametrize(
    ("loss", "came"),
    [
        (lambda out, y: out.sum(0), r"\(64, 10\)"),
        (lambda out, y: float(out.detach().sum()), "float"),
        (lambda out, y: None, "NoneType"),
    ],
    ids=["a tensor of many", "a number without gradient", "nothing"],
)
def test_a_loss_that_returns_no_single_tensor_is_named_with_what_came(loss: Any, came: str) -> None:
    report = snn.doctor.check(net(), BATCH, loss, num_steps=T)
    assert re.search(f"must return one number, got {came}", str(report))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((nn.Sequential(nn.Linear(2, 2)), BATCH), ValueError, "at least one spiking neuron"),
        ((net(), BATCH[0]), TypeError, r"pair \(x, y\), got Tensor; write \(x, y\)"),
        ((net(), DIGITS), TypeError, r"got Split; write \(data\.x_train\[:64\]"),
        ((net(), DataLoader(TensorDataset(*BATCH))), TypeError, r"write next\(iter\(loader\)\)"),
        ((net(), (BATCH[0], 3)), TypeError, "labels must be a tensor"),
        ((net(), BATCH, nn.MSELoss), TypeError, "function of outputs and labels"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        snn.doctor.check(*arguments, num_steps=T)


@pytest.mark.slow
def test_the_campaign_finds_the_faults_of_one_network(tmp_path: Path) -> None:
    left_out = ["leak too slow"]  # which does no harm to a static input of ten steps
    sys.path.insert(0, str(CAMPAIGNS))
    try:
        every = [name for name in __import__("doctor_networks").FAULTS if name not in left_out]
    finally:
        sys.path.remove(str(CAMPAIGNS))
    words = ("--data", "digits", "--networks", "recurrent", "--parts", "faults", "--faults")
    names = every[::3]
    code, printed = run_script(CAMPAIGNS / "doctor.py", "--out", tmp_path, *words, *names)
    assert code == 0 and "WRONG" not in printed, printed
    assert LIMITS.silent == 0.98


# -- fit says it at its end ------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {"num_steps": T, "epochs": 2, "progress": False}
UNTRAINED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "bias": (lambda: changed(lambda n: n[1].bias.fill_(5.0)), {}, "saturated layer"),
    "threshold": (
        lambda: changed(lambda n: n[4].threshold.fill_(50.0)),
        {},
        "output never fires",
    ),
    "slope": (
        lambda: net((64, 64, 64), spike_grad=snn.surrogate.fast_sigmoid(500)),
        {},
        "surrogate too steep",
    ),
    "high rate": (net, {"lr": 100.0}, "learning rate too high"),
    "low rate": (net, {"lr": 1e-7}, "learning rate too low"),
}


@pytest.mark.parametrize("name", UNTRAINED)
def test_a_training_that_learned_nothing_says_why_in_two_lines(name: str) -> None:
    build, options, fault = UNTRAINED[name]
    result = snn.fit(build(), DIGITS, **SETTINGS, **options)
    assert result.findings[0].fault == fault
    first_line, second_line = str(result).splitlines()[-2:]
    assert first_line.startswith(f"nothing was learned: {fault}")
    assert second_line.startswith("write: ") and "docs/not_learning.md" in second_line


def test_zeros_as_input_are_named_at_the_end_of_a_training() -> None:
    zeros = [torch.zeros_like(part) for part in (DIGITS.x_train, DIGITS.x_test)]
    data = (zeros[0], DIGITS.y_train, zeros[1], DIGITS.y_test)
    assert snn.fit(net(), data, **SETTINGS).findings[0].fault == "input does not vary"


def test_a_training_that_learns_pays_for_a_copy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("the doctor ran a network that learned")

    monkeypatch.setattr("spikeloom.train.diagnosis.examine", refuse)
    assert snn.fit(net(seed=1), DIGITS, **{**SETTINGS, "epochs": 4}).findings == ()


def test_a_training_that_learns_says_nothing_and_one_may_decline() -> None:
    made = net(seed=1)
    with_check = snn.fit(copy.deepcopy(made), DIGITS, **{**SETTINGS, "epochs": 4})
    assert with_check.findings == () and "nothing was learned" not in str(with_check)
    without = snn.fit(copy.deepcopy(made), DIGITS, **{**SETTINGS, "epochs": 4}, check=False)
    assert without.history == with_check.history, "the check changed the training"
    silent = changed(lambda n: n[1].bias.fill_(5.0))
    assert snn.fit(silent, DIGITS, **SETTINGS, check=False).findings == ()
    with pytest.raises(TypeError, match="check must be True or False"):
        snn.fit(net(), DIGITS, **SETTINGS, check="yes")  # pyright: ignore


@pytest.mark.parametrize("examine", ["check", "repair", "cost"])
@pytest.mark.parametrize("own", [False, True])
def test_an_input_that_does_not_fit_a_layer_had_an_error_of_torch(examine: str, own: bool) -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.lif(self.fc(x[t])) for t in range(len(x))])

    layers = [nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True)]
    net, path = (Loop(), "fc") if own else (nn.Sequential(*layers), "0")
    x, y = torch.rand(5, 6, 7), torch.arange(6) % 3
    words = f"layer '{path}' (Linear): expects 4 features in the last axis, got a step of shape"
    with pytest.raises(ValueError, match=re.escape(words)):
        getattr(snn.doctor, examine)(net, x if examine == "cost" else (x, y))


def test_images_over_time_that_do_not_fit_a_later_layer_were_said_to_have_wrong_axes() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        snn.Leaky(0.9, init_hidden=True),
        nn.Flatten(),
        nn.Linear(9, 3),
        snn.Leaky(0.9, init_hidden=True),
    )
    with pytest.raises(ValueError, match=re.escape("layer '3' (Linear): expects 9 features")):
        snn.doctor.check(net, (torch.rand(5, 6, 1, 6, 6), torch.arange(6) % 3))


@pytest.mark.parametrize("ask", [snn.doctor.check, snn.doctor.repair, snn.doctor.cost])
def test_a_neuron_that_returns_its_state_was_said_to_remember_another_batch(ask: Any) -> None:
    net = nn.Sequential(nn.Linear(3, 4), snn.Leaky(0.9), nn.Linear(4, 2), snn.LIF(beta=0.9))
    batch = torch.rand(6, 2, 3), torch.tensor([0, 1])
    with pytest.raises(TypeError, match=r"a neuron inside nn\.Sequential needs init_hidden=True"):
        ask(net, batch)
