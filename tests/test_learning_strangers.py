"""Learning rules that users write, each in one file of at most 25 lines, in every door."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stdp_networks import ENGINES, N, T, images, network, small, train_of
from torch import nn

import spikeloom as snn
from spikeloom import cli
from spikeloom.learning import RULES, DiehlAndCook2015, PairRule, PowerLaw, Rule, TrainingRule
from spikeloom.learning.diehl_cook import batched, event
from spikeloom.learning.registry import rule_of

MOST_LINES = 25

TRIPLET = """
from dataclasses import dataclass
from typing import NamedTuple

from spikeloom.learning import Rule, Term


class Detectors(NamedTuple):
    r1: object = None  # of the input, fast and slow
    r2: object = None
    o1: object = None  # of the output
    o2: object = None


@dataclass(frozen=True)
class FullTriplet(Rule, name="full_triplet"):
    initial = Detectors()
    slow: float = 30.0

    def terms(self, pre, post, memory):
        r1, o1 = (self.remember(m, s, 15.0) for m, s in ((memory.r1, pre), (memory.o1, post)))
        r2, o2 = (self.remember(m, s, self.slow) for m, s in ((memory.r2, pre), (memory.o2, post)))
        up = lambda w: 0.02 * (1.0 - w) ** 1.7
        return Detectors(r1, r2, o1, o2), (
            Term(up, r1, post * (0.3 + o2)), Term(lambda w: -0.01 * w.sqrt(), pre * (0.5 + r2), o1))
"""

SIGNED = '''
import torch
from spikeloom.learning import Outcome, TrainingRule


class Signed(TrainingRule, name="signed"):
    """Backpropagation through time, of which only the signs are used."""

    def learn(self, job, x, y):
        outputs, spikes = job.forward(x)
        loss = job.loss(outputs, y)
        job.optimizer.zero_grad()
        loss.backward()
        for p in job.net.parameters():
            p.grad = p.grad.sign()
        job.optimizer.step()
        return Outcome(loss.item(), outputs.detach(), spikes)
'''

LAST = '''
import torch
import spikeloom as snn
from spikeloom.learning import TrainingRule


class LastLayer(TrainingRule, name="last_layer"):
    """Only the last two parameters learn."""

    def gradients(self, net, x, y, loss):
        parameters = list(net.parameters())
        value = loss(snn.run(net, x)[0], y)
        found = torch.autograd.grad(value, parameters[-2:])
        return [*(torch.zeros_like(p) for p in parameters[:-2]), *found]
'''

FILES = {"full_triplet": TRIPLET, "signed": SIGNED, "last_layer": LAST}


@pytest.fixture
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The class of a rule from a file of a user; its name leaves the table afterwards."""
    text = FILES[request.param].strip() + "\n"
    assert len(text.splitlines()) <= MOST_LINES
    path = tmp_path / f"my_{request.param}.py"
    path.write_text(text)
    kind = Rule if "(Rule" in text else TrainingRule
    try:
        yield type(rule_of(f"{path}:{request.param}", kind))
    finally:
        RULES.pop(request.param, None)
        sys.modules.pop(path.stem, None)


def feedforward() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12),
        snn.Leaky(0.9, init_hidden=True),
        nn.Linear(12, 3),
        snn.Leaky(0.9, init_hidden=True, output=True),
    )


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(9, 12, 6, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(12) % 3


# -- plasticity ------------------------------------------------------------------------------------

stranger_stdp = pytest.mark.parametrize("written", ["full_triplet"], indirect=True)


@stranger_stdp
def test_a_rule_of_a_user_learns_the_same_by_events_and_in_batches(written: Any) -> None:
    pytest.importorskip("numba")
    spikes = train_of()
    for pairs in ("nearest", "all"):
        rule = written(pairs=pairs)
        one, other, start = network(rule), network(rule), network(rule)
        counts, mem = event.presented(one, spikes, learn=True)
        train, last = batched.presented(other, spikes.unsqueeze(1), learn=True, chunk=1)
        assert counts.sum() > 5 and torch.equal(counts.float(), train.sum((0, 1)))
        torch.testing.assert_close(one.xe.w, other.xe.w, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.exc.theta, other.exc.theta, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(mem, last[0], rtol=1e-4, atol=1e-4)
        assert (one.xe.w - start.xe.w).abs().max() > 0.05


@stranger_stdp
def test_a_rule_of_a_user_is_found_by_its_name_and_chosen_automatically(written: Any) -> None:
    pytest.importorskip("numba")
    net = small(rule="full_triplet")
    assert isinstance(net.rule, written) and net.way().engine is event
    for engine in ENGINES:
        net = small(rule="full_triplet")
        before = net.xe.w.clone()
        net.fit(images(), engine=engine, generator=torch.Generator().manual_seed(0))
        assert not torch.equal(before, net.xe.w)


@stranger_stdp
def test_a_rule_of_a_user_learns_from_the_command_line(
    written: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "run", tmp_path / "my_full_triplet.py"
    arguments = ["--neurons", "4", "--epochs", "1", "--quiet", "--out", str(out)]
    assert cli.main(["stdp", "--rule", f"{file}:full_triplet", *arguments]) == 0
    assert "full_triplet" in (out / "run.json").read_text()
    assert cli.main(["stdp", "--rule", "half_triplet", *arguments, "--force"]) == 2
    assert "rule must be one of 'power_law'" in capsys.readouterr().err
    assert cli.main(["stdp", "--rule", "gone.py:full_triplet", *arguments, "--force"]) == 2
    assert "'gone.py', which does not exist" in capsys.readouterr().err


class Reading(PowerLaw):
    """Strengthens by the trace before this step, with functions that the built-in rules lack."""

    def terms(self, pre: Any, post: Any, memory: Any) -> Any:
        before = torch.zeros_like(pre) if memory.pre is None else memory.pre
        memory, (term,) = super().terms(pre, post, memory)
        recent = torch.where(before > 0.5, before, torch.tanh(before))
        return memory, (term, term._replace(pre=recent, shift=-0.1))


class OfInputs(PowerLaw):
    """Weakens at each spike of an input, whether the output has fired or not."""

    def terms(self, pre: Any, post: Any, memory: Any) -> Any:
        memory, terms = super().terms(pre, post, memory)
        weaker = terms[0]._replace(
            strength=lambda w: -0.02 * w, pre=pre, post=torch.ones_like(post), shift=0.0
        )
        return memory, (*terms, weaker)


@pytest.mark.parametrize(
    "rule",
    [
        Reading(alpha=0.05),
        OfInputs(alpha=0.05),
        PairRule.of_times(7.0, 9.0, lambda w: 0.02 * w**1.5, lambda w: 0.05 * (1 - w).abs()),
        PowerLaw(alpha=0.05, mu=2.0, w_min=-0.5),
    ],
    ids=["reads a trace before its spike", "acts at inputs alone", "pairs", "square"],
)
def test_rules_of_many_forms_are_event_driven(rule: Rule) -> None:
    pytest.importorskip("numba")
    spikes = train_of()
    one, other = network(rule), network(rule)
    counts, _ = event.presented(one, spikes, learn=True)
    train, _ = batched.presented(other, spikes.unsqueeze(1), learn=True, chunk=1)
    assert counts.sum() > 5 and torch.equal(counts.float(), train.sum((0, 1)))
    torch.testing.assert_close(one.xe.w, other.xe.w, rtol=1e-5, atol=1e-5)


class Saturating(PowerLaw):
    def terms(self, pre: Any, post: Any, memory: Any) -> Any:
        memory, terms = super().terms(pre, post, memory)
        return memory._replace(pre=memory.pre - 0.001), terms


class Summing(PowerLaw):
    def terms(self, pre: Any, post: Any, memory: Any) -> Any:
        memory, (term,) = super().terms(pre, post, memory)
        return memory, (term._replace(pre=term.pre / (1 + term.pre.sum())),)


class Applying(PowerLaw):
    def apply(self, synapse: Any, change: Any) -> None:
        super().apply(synapse, change.sign())


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Saturating(), "its trace 'pre' does not decay by a constant factor"),
        (Summing(), "its equations cannot be traced .*sum"),
        (Applying(), "its class overrides apply"),
    ],
)
def test_a_rule_that_is_not_event_driven_is_refused_with_the_reason(rule: Rule, why: str) -> None:
    net = small(rule=rule)
    with pytest.raises(RuntimeError, match=f"{type(rule).__name__} is not event-driven, {why}"):
        net.fit(images(), engine="event")
    assert net.way().engine is batched


# -- rules of fit ----------------------------------------------------------------------------------

stranger_fit = pytest.mark.parametrize("written", ["signed", "last_layer"], indirect=True)
SETTINGS: dict[str, Any] = {"epochs": 1, "num_steps": 6, "batch_size": 8, "progress": False}


def samples() -> tuple[torch.Tensor, ...]:
    x, y = batch()
    return x[0], y, x[0], y


@stranger_fit
def test_a_rule_of_a_user_trains_by_name_and_as_a_value(written: Any) -> None:
    nets = []
    for rule in (written.name, written()):
        net = feedforward()
        before = [p.detach().clone() for p in net.parameters()]
        result = snn.fit(net, samples(), rule=rule, **SETTINGS)
        moved = [bool((p != old).any()) for p, old in zip(net.parameters(), before, strict=True)]
        assert moved == [written.name == "signed"] * 2 + [True, True]
        assert len(result.history) == 1
        nets.append(net)
    assert all(map(torch.equal, nets[0].parameters(), nets[1].parameters()))


@stranger_fit
def test_a_rule_of_a_user_is_in_the_report_of_gradients(written: Any) -> None:
    net = feedforward()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for rules in ([written.name], [written()], None):
        report = snn.gradient_report(net, batch(), rules=rules)
        rows = {row.layer: row for row in report.rows if row.rule == written.name}
        assert set(rows) == {name for name, _ in net.named_parameters()}
        if written.name == "last_layer":
            assert rows["2.weight"].scale == pytest.approx(1) and rows["0.weight"].scale == 0
        else:
            assert 0.3 < rows["2.weight"].cosine < 0.999 and rows["2.weight"].scale > 1
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_report_of_one_rule_with_other_numbers_names_them() -> None:
    report = snn.gradient_report(feedforward(), batch(), rules=[snn.train.TBPTT(K=3)])
    assert {row.rule for row in report.rows} == {"TBPTT(K=3)"}


def test_a_rule_that_changes_weights_itself_reports_the_change_as_its_gradient() -> None:
    class Moving(TrainingRule):
        def learn(self, job: Any, x: Any, y: Any) -> Any:
            with torch.no_grad():
                job.net[0].weight -= 0.25
            return snn.learning.Outcome(0.0, x, {})

    net = feedforward()
    before = net[0].weight.detach().clone()
    gradient, *others = Moving().gradients(net, *batch(), snn.functional.ce_rate_loss())
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.25))
    assert torch.equal(net[0].weight, before) and not any(g.any() for g in others)


def test_a_rule_that_reads_what_only_fit_has_says_so_in_the_report() -> None:
    class Curious(TrainingRule, name="curious"):
        def learn(self, job: Any, x: Any, y: Any) -> Any:
            return job.samples

    try:
        report = snn.gradient_report(feedforward(), batch(), rules=["curious"])
        assert "learn reads job.samples, which exists in fit only" in report.refused["curious"]
    finally:
        del RULES["curious"]


def test_a_name_of_another_kind_of_rule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rule must be one of .*'bptt'.*got 'triplet'"):
        snn.fit(feedforward(), samples(), rule="triplet", **SETTINGS)
    with pytest.raises(ValueError, match=r"rule must be one of .*'triplet'.*got 'bptt'"):
        DiehlAndCook2015(rule="bptt")


def test_a_pair_rule_is_a_rule_of_every_synapse() -> None:
    rule = PairRule.of_times(4.0, 6.0, torch.ones_like, torch.ones_like, exact=True)
    conv = nn.Conv1d(1, 2, 3, bias=False)
    pre = (torch.rand(T, 2, 1, 7, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    post = (torch.rand(T, 2, 2, 5, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    classical = snn.learning.PostPre(
        nu_pre=1.0, nu_post=1.0, tau_pre=4.0, tau_post=6.0, pairs="all"
    )
    for reduction in ("sum", "mean", "max"):
        found = replace(rule, reduction=reduction).sequence(conv, pre, post)[1]
        wanted = replace(classical, reduction=reduction).sequence(conv, pre, post)[1]
        torch.testing.assert_close(found, wanted)
    assert N == 5 and isinstance(rule, Rule)
