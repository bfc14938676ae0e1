"""The rules of `fit`: each trains what it applies to, and says before any work why it does not
apply to the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import SETTINGS, Interruption, build, leave_out_pictures, plain, same_weights, split

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.learning import bp_stdp, online, stbp_neuron
from spikeloom.train.rules import RULES, Outcome, Rule

SPIKES: dict[str, Any] = {**SETTINGS, "num_steps": 8, "encode": "rate"}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_pictures(monkeypatch)


def hidden(
    neuron: Callable[[], nn.Module], last: Callable[[], nn.Module], scale: float = 1.0
) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(6, 20), neuron(), nn.Linear(20, 3), last())
    with torch.no_grad():
        for p in net.parameters():
            p *= scale
    return net


def leaky() -> nn.Sequential:
    return hidden(
        lambda: snn.Leaky(0.8, init_hidden=True),
        lambda: snn.Leaky(0.8, init_hidden=True, output=True),
        2.0,
    )


def integrating() -> nn.Sequential:
    def neuron(**options: Any) -> snn.IF:
        return snn.IF(0.5, reset_mechanism="zero", init_hidden=True, **options)

    return hidden(neuron, lambda: neuron(output=True))


def iterative() -> nn.Sequential:
    return hidden(stbp_neuron, lambda: stbp_neuron(output=True), 2.0)


TRAINED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "bptt": (leaky, {"lr": 0.02}),
    "tbptt": (leaky, {"num_steps": 12, "lr": 0.02}),
    "eprop": (leaky, {"lr": 0.01}),
    "ottt": (leaky, {"lr": 0.01}),
    "sltt": (leaky, {"lr": 0.01}),
    "bp_stdp": (integrating, {"encode": "rate", "num_steps": 20}),
    "stbp": (iterative, {"lr": 0.02}),
}


@pytest.mark.parametrize("rule", TRAINED)
def test_each_rule_learns_three_patterns(rule: str) -> None:
    net, options = TRAINED[rule]
    result = snn.fit(net, split(), **{**SETTINGS, "epochs": 30, "rule": rule, **options})
    assert result.test_accuracy.last > 0.85
    assert sum(result.spikes_per_neuron.values()) > 0


def test_a_chunk_of_all_steps_is_backpropagation_through_all_of_them() -> None:
    whole = snn.fit(leaky, split(), **SETTINGS, rule=snn.train.BPTT())
    chunk = snn.fit(leaky, split(), **SETTINGS, rule=snn.train.TBPTT(K=5))
    assert same_weights(whole.net, chunk.net) and whole.history == chunk.history
    assert not same_weights(
        whole.net, snn.fit(leaky, split(), **SETTINGS, rule=snn.train.TBPTT(K=3)).net
    )


def test_chunks_make_one_change_each_as_snntorchs_tbptt_does() -> None:
    data, loss = split(), SF.ce_rate_loss()
    sgd: Any = lambda parameters: torch.optim.SGD(parameters, lr=0.1)  # noqa: E731
    options: dict[str, Any] = {
        **SETTINGS,
        "epochs": 1,
        "batch_size": 20,
        "loss": loss,
        "optimizer": sgd,
    }
    found = snn.fit(leaky, data, **options, rule=snn.train.TBPTT(K=2))
    torch.manual_seed(0)
    net = leaky()
    batch = [(data.x_train, data.y_train)]
    snn.backprop.TBPTT(net, batch, sgd(net.parameters()), loss, num_steps=5, time_var=False, K=2)
    for p, other in zip(found.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, other)


@pytest.mark.parametrize("loss", [None, SF.mse_membrane_loss()], ids=["spikes", "membranes"])
def test_eprop_makes_the_change_that_the_learning_rule_says(loss: Any) -> None:
    data = split()
    options: dict[str, Any] = {
        **SETTINGS,
        "epochs": 1,
        "batch_size": 20,
        "loss": loss,
        "rule": "eprop",
    }
    result = snn.fit(
        leaky, data, **options, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    )
    torch.manual_seed(0)
    net = leaky()

    def of_step(output: Any, y: Tensor) -> Tensor:
        if loss is None:
            return nn.functional.cross_entropy(output[0], y)
        return nn.functional.mse_loss(output[1], nn.functional.one_hot(y, 3).float())

    value = online(net, data.x_train, data.y_train, of_step, num_steps=5)
    assert result.history[0]["train_loss"] == pytest.approx(float(value), rel=1e-5)
    for p, other in zip(result.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, other - 0.1 * other.grad)


def test_bp_stdp_makes_the_change_that_the_learning_rule_says() -> None:
    data, seen = split(), []

    def encode(x: Tensor, num_steps: int) -> Tensor:
        seen.append(x)
        return (x.expand(num_steps, *x.shape) > 0.5).float()

    rule = snn.train.BPSTDP(epsilon=2, interval=3)
    result = snn.fit(
        integrating,
        data,
        **{**SETTINGS, "epochs": 1, "batch_size": 20, "encode": encode},
        rule=rule,
        lr=0.1,
    )
    torch.manual_seed(0)
    net = integrating()
    desired = torch.tensor([0, 0, 1, 0, 0])
    bp_stdp(net, encode(data.x_train, 5), data.y_train, epsilon=2, desired=desired)
    for p, other in zip(result.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(p, other - 0.1 * other.grad)
    assert any(p.grad.any() for p in net.parameters())


def test_stbp_is_backpropagation_with_its_own_loss() -> None:
    own = snn.fit(iterative, split(), **SETTINGS, rule="stbp")
    same = snn.fit(iterative, split(), **SETTINGS, loss=SF.mse_rate_loss())
    assert same_weights(own.net, same.net)


def disabled() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 3), snn.Leaky(0.8, surrogate_disable=True, init_hidden=True, output=True)
    )


def recurrent() -> nn.Sequential:
    return hidden(
        lambda: snn.RLeaky(0.8, all_to_all=False, init_hidden=True),
        lambda: snn.LI(0.9, init_hidden=True),
    )


def curved() -> nn.Sequential:
    lif = snn.Leaky(0.5, reset_mechanism="zero_attached", init_hidden=True, output=True)
    return nn.Sequential(nn.Linear(6, 3), lif)


REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], type[Exception], str]] = {
    "no gradient": (
        disabled,
        {"rule": "bptt"},
        ValueError,
        r"the spikes of '1' have no gradient; leave out surr",
    ),
    "long chunks": (
        plain,
        {"rule": snn.train.TBPTT(K=9)},
        ValueError,
        r"got K=9 for 5 steps; write rule=TBPTT\(K=2\)",
    ),
    "no trace": (
        build,
        {"rule": "eprop"},
        TypeError,
        "online learning trains weights, got Leaky .2. with constants that learn",
    ),
    "loss over time": (
        *(plain, {"rule": "eprop", "loss": SF.mse_count_loss()}, ValueError),
        r'rule="eprop" does not apply: mse_count_loss is no mean over single steps; write '
        r"loss=ce_rate_loss\(\)",
    ),
    "leak": (
        plain,
        {"rule": "bp_stdp", "encode": "rate"},
        TypeError,
        r"BP-STDP trains IF, got Leaky '1'; write snn\.IF",
    ),
    "current": (
        integrating,
        {"rule": "bp_stdp"},
        ValueError,
        "counts input spikes, got encode='direct'; write encode=\"rate\"",
    ),
    "own error": (
        *(
            integrating,
            {"rule": "bp_stdp", "encode": "rate", "loss": SF.ce_rate_loss()},
            ValueError,
        ),
        "it has an error of its own, got loss; leave loss out",
    ),
    "no desired spike": (
        *(integrating, {"rule": snn.train.BPSTDP(interval=9), "encode": "rate"}, ValueError),
        "a desired spike every 9 steps needs 1 <= interval <= T = 5",
    ),
    "another neuron": (
        leaky,
        {"rule": "stbp"},
        TypeError,
        r"Leaky '1' is not its neuron.*write snn\.learning\.stbp_neuron",
    ),
    "another curve": (
        curved,
        {"rule": "stbp"},
        TypeError,
        "the surrogate of '1' is none of its four curves, got ATan",
    ),
    "chaos": (
        plain,
        {"rule": "eprop", "chaos": snn.chaos.Z(1.0)},
        ValueError,
        'got rule="eprop"; write rule="bptt"',
    ),
    "no rule": (
        plain,
        {"rule": 3},
        TypeError,
        r'rule must be a name or a rule, got 3; write rule="bptt"',
    ),
    "spelling": (
        plain,
        {"rule": "e-prop"},
        ValueError,
        "rule must be one of .*did you mean 'eprop'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_rule_that_does_not_apply_says_why_before_any_work(name: str) -> None:
    make, options, kind, text = REFUSED[name]
    net = make()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(kind, match=text):
        snn.fit(net, split(), **{**SETTINGS, **options})
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_rules_have_checked_numbers() -> None:
    with pytest.raises(ValueError, match="K must be 1 or more, got 0"):
        snn.train.TBPTT(K=0)
    with pytest.raises(ValueError, match="interval must be a whole number of steps from 1, got 0"):
        snn.train.BPSTDP(interval=0)


@pytest.mark.parametrize("rule", ["tbptt", "eprop", "sltt", "bp_stdp"])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(rule: str, tmp_path: Path) -> None:
    net, options = TRAINED[rule]
    settings = {**SETTINGS, "rule": rule, **options}
    wanted = snn.fit(net, split(), **settings)

    class Stop(Interruption):
        def __call__(self, spk: Tensor, y: Tensor) -> Tensor:
            return super().__call__(spk, y)

    stop = Stop(4)
    original = RULES[rule].learn

    def learn(self: Any, job: Any, x: Tensor, y: Tensor) -> Outcome:
        stop(torch.zeros(1, len(y), 3, requires_grad=True), y)
        return original(self, job, x, y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RULES[rule], "learn", learn)
        with pytest.raises(snn.train.Interrupted):
            snn.fit(net, split(), **settings, out=tmp_path)
    result = snn.fit(net, split(), **settings, out=tmp_path, resume=True)
    assert same_weights(result.net, wanted.net) and result.history == wanted.history
    assert json.loads((tmp_path / "run.json").read_text())["configuration"]["rule"] == rule


def test_a_rule_with_other_numbers_is_another_setting(tmp_path: Path) -> None:
    snn.fit(leaky, split(), **SETTINGS, rule=snn.train.TBPTT(K=2), out=tmp_path)
    card = json.loads((tmp_path / "run.json").read_text())
    assert card["configuration"]["rule"] == "TBPTT(K=2)"
    with pytest.raises(ValueError, match=r"rule was 'TBPTT\(K=2\)'"):
        snn.fit(leaky, split(), **SETTINGS, rule=snn.train.TBPTT(K=3), out=tmp_path, resume=True)


def test_a_rule_of_ones_own_trains_under_its_name() -> None:
    class Nothing(Rule, name="nothing"):
        """Changes nothing."""

        def learn(self, job: Any, x: Tensor, y: Tensor) -> Outcome:
            outputs, spikes = job.forward(x)
            return Outcome(0.0, outputs.detach(), spikes)

    try:
        net = plain()
        before = net[0].weight.detach().clone()
        snn.fit(net, split(), **SETTINGS, rule="nothing")
        assert torch.equal(net[0].weight, before)
        with pytest.raises(
            ValueError, match="a rule needs a name of its own, got 'bptt', which BPTT has"
        ):

            class Other(Rule, name="bptt"):
                """Another one."""

    finally:
        del RULES["nothing"]
    assert RULES["bptt"] is snn.train.BPTT
