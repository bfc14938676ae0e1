"""The Diehl & Cook network: both engines and the step API against NumPy, and what it must and must not do."""

import copy
import io
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from stdp_reference import Network
from test_stdp_rules import RULES
from torch import Tensor

from spikeloom.learning import DiehlAndCook2015, PowerLaw, Rule
from spikeloom.learning.diehl_cook import batched, event, voting
from spikeloom.neurons.conductance_lif import AdaptiveConductanceLIF, ConductanceLIF

pytest.importorskip("numba")

N, INPUTS, T = 5, 12, 40
ENGINES = ("event", "batched")


def network(rule: Rule | str | None = None, *, seed: int = 1, **options: Any) -> DiehlAndCook2015:
    options = {
        "neurons": N,
        "inputs": INPUTS,
        "theta_plus": 8.0,
        "inh": 3.0,
        "gain": 20.0,
        "tc_theta": 500.0,
        **options,
    }
    return DiehlAndCook2015(rule=rule, generator=torch.Generator().manual_seed(seed), **options)


def train_of(*samples: int, seed: int = 0) -> Tensor:
    return (torch.rand(T, *samples, INPUTS, generator=torch.Generator().manual_seed(seed)) < 0.12).float()


def without_numba() -> Any:
    return mock.patch.object(event, "loop_refusal", lambda net: "not here")


def stepped(net: DiehlAndCook2015, spikes: Tensor) -> tuple[Tensor, Tensor]:
    counts = torch.zeros(net.neurons)
    for s_t in spikes:
        counts += net.run({"inp": s_t})
        net.update()
    return counts, net.exc.v


def in_batches(net: DiehlAndCook2015, spikes: Tensor) -> tuple[Tensor, Tensor]:
    train, mem = batched.presented(net, spikes.unsqueeze(1), learn=True, chunk=1)
    return train.sum((0, 1)), mem[0]


def in_batches_of_torch(net: DiehlAndCook2015, spikes: Tensor) -> tuple[Tensor, Tensor]:
    with without_numba():
        return in_batches(net, spikes)


WAYS: dict[str, Callable[[DiehlAndCook2015, Tensor], tuple[Tensor, Tensor]]] = {
    "steps": stepped,
    "batched": in_batches,
    "batched without numba": in_batches_of_torch,
    "event": lambda net, spikes: event.presented(net, spikes, learn=True),
}


@pytest.mark.parametrize("pairs", ["nearest", "all"])
@pytest.mark.parametrize("winner", ["one", "all"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_weights_thresholds_and_membranes_are_those_of_numpy_in_every_engine(
    rule: Rule, winner: str, pairs: str
) -> None:
    rule, spikes = replace(rule, pairs=pairs), train_of()
    reference = Network(network(rule, winner=winner), 1)
    counts = np.zeros(N)
    for s_t in spikes.numpy():
        post = reference.step(s_t[None])
        reference.update(s_t[None], post)
        counts += post[0]
    assert counts.sum() > 5 and (counts > 0).sum() > 1
    for name, way in WAYS.items():
        net = network(rule, winner=winner)
        found, mem = way(net, spikes)
        assert np.array_equal(found.numpy(), counts), name
        for value, expected in ((net.xe.w, reference.w), (net.exc.theta, reference.theta), (mem, reference.mem[0])):
            np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_batch_shares_thresholds_and_defers_the_sum_of_its_changes(rule: Rule, chunk: int | None) -> None:
    spikes = train_of(3)
    reference = Network(network(rule), 3)
    kept, size = [], chunk or T
    for t, s_t in enumerate(spikes.numpy()):
        kept.append((s_t, reference.step(s_t)))
        if len(kept) == size or t == T - 1:
            w = reference.w.copy()
            changes = [p.change(w, a[b], c[b]) for a, c in kept for b, p in enumerate(reference.plastic)]
            reference.w, kept = np.clip(w + sum(changes), 0, 1), []
    for use in (False, True):
        net = network(rule)
        if use:
            batched.presented(net, spikes, learn=True, chunk=chunk)
        else:
            with without_numba():
                batched.presented(net, spikes, learn=True, chunk=chunk)
        np.testing.assert_allclose(net.xe.w.numpy(), reference.w, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(net.exc.theta.numpy(), reference.theta, rtol=1e-5)


def test_the_published_conductances_are_those_of_numpy() -> None:
    options = {"dt": 0.5, "synapses": "conductance", "theta_start": 20.0, "theta_offset": 20.0}
    net = network(PowerLaw(alpha=0.05), inh=17.0, exc=10.4, gain=60.0, tau_exc=100.0, tc_theta=1e7, **options)
    w, theta, spikes = net.xe.w.double().numpy().copy(), 20.0, train_of()
    mem, ge, gi, deaf = (np.zeros(N) for _ in range(4))
    imem, ige, ideaf, answers = (np.zeros(N) for _ in range(4))
    thresholds, total = np.full(N, theta), 0
    for s_t in spikes.numpy().astype(float):
        spk = net.run({"inp": torch.from_numpy(s_t).float()}).numpy()
        gi += 17.0 * (answers.sum() - answers)
        ge, gi = ge * math.exp(-0.5) + 60.0 * w @ s_t, gi * math.exp(-0.25)
        mem = np.where(deaf > 0, mem, mem + 0.005 * (-mem + ge * (65 - mem) + gi * (-35 - mem)))
        thresholds = thresholds * math.exp(-0.5 / 1e7)
        over = np.where(deaf > 0, -1, mem - (13 + thresholds - 20))
        fired = (over > 0) & (np.arange(N) == over.argmax())
        assert np.array_equal(fired, spk > 0)
        mem, deaf = np.where(fired, 0, mem), np.where(fired, 10, np.maximum(deaf - 1, 0))
        thresholds = thresholds + 8.0 * fired
        ige = ige * math.exp(-0.5) + 10.4 * fired
        imem = np.where(ideaf > 0, imem, imem + 0.05 * (-imem + ige * (60 - imem)))
        answers = ((imem > 20) & (ideaf == 0)).astype(float)
        imem, ideaf = np.where(answers > 0, 15, imem), np.where(answers > 0, 4, np.maximum(ideaf - 1, 0))
        total += int(fired.sum())
        np.testing.assert_allclose(net.exc.v.numpy(), mem, rtol=1e-4, atol=1e-4)
    assert (
        total > 2 and isinstance(net.exc.neuron, AdaptiveConductanceLIF) and isinstance(net.inh.neuron, ConductanceLIF)
    )
    np.testing.assert_allclose(net.exc.theta.numpy(), thresholds, rtol=1e-5)
    assert "current-based" in event.refusal(net) and net.way().engine is batched


def images(number: int = 24, seed: int = 3) -> Tensor:
    """Four bars of three pixels, at three intensities, with noise."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.1 * torch.rand(number, INPUTS, generator=generator)
    for k in range(number):
        x[k, 3 * (k % 4) : 3 * (k % 4) + 3] = 0.9
    return x


def small(**options: Any) -> DiehlAndCook2015:
    usual = {"time": 60.0, "gain": 30.0, "inh": 120.0, "tc_theta": 1e5, "neurons": 8, "theta_plus": 2.0}
    return network(**{**usual, **options})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("engine", ENGINES)
def test_bars_are_learned_without_labels_and_named_with_them(engine: str) -> None:
    net, x, y = small(time=150.0), images(200), torch.arange(200) % 4
    rows = net.fit(x, 2, engine=engine, generator=seeded(), labels=y, every=100)
    assert [row.images for row in rows] == [112, 200, 312, 400] if engine == "batched" else [100, 200, 300, 400]
    labels = net.assign(x, y, engine=engine, generator=seeded(1))
    assert set(labels.tolist()) - {-1} == {0, 1, 2, 3}
    for vote in ("all", "proportion"):
        new = images(80, seed=9)
        assert (
            net.predict(new, vote, engine=engine, generator=seeded(2)) == torch.arange(80) % 4
        ).double().mean() > 0.9
    assert math.isnan(rows[0].accuracy) and rows[-1].accuracy > 0.8


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_sum_to_the_norm_and_nothing_is_nan(engine: str) -> None:
    net = small(norm=2.0)
    x = images()
    x[:4] = 0
    net.fit(x, engine=engine, generator=seeded())
    torch.testing.assert_close(net.xe.w.sum(1), torch.full((8,), 2.0))
    assert net.xe.w.isfinite().all() and net.exc.theta.isfinite().all()
    with torch.no_grad():
        net.xe.weight[0] = 0
    net.normalize()
    assert net.xe.w[0].eq(0).all() and not net.xe.w.isnan().any()


@pytest.mark.parametrize("engine", ENGINES)
def test_evaluation_changes_nothing_and_thresholds_are_frozen(engine: str) -> None:
    net, x = small(theta_start=1.0), images()
    net.fit(x, engine=engine, generator=seeded())
    before = copy.deepcopy(net.state_dict())
    net.eval()
    counts = net.responses(x, engine=engine, generator=seeded())
    assert counts.sum() > 0 and torch.equal(counts, net.responses(x, engine=engine, generator=seeded()))
    for s_t in train_of():
        net.run({"inp": s_t})
    assert all(torch.equal(before[name], net.state_dict()[name]) for name in ("xe.weight", "exc.theta"))
    with pytest.raises(RuntimeError, match=r"evaluation mode; call net.train\(\) first"):
        net.update()
    with pytest.raises(RuntimeError, match=r"evaluation mode; call net.train\(\) first"):
        net.fit(x)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_goes_on_exactly_where_a_saved_one_stopped(engine: str) -> None:
    x, y = images(48), torch.arange(48) % 4
    whole, first, second = small(), small(), small(seed=7)

    def walk(net: DiehlAndCook2015, done: int = 0) -> Any:
        return net.rows(x, 2, net.way(engine), labels=y, every=16, seed=5, done=done)

    rows = list(walk(whole))
    begun = list(islice(walk(first), 4))
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    rest = list(walk(second, begun[-1].images))
    assert str([*begun, *rest]) == str(rows) and begun[-1].images == 64 > len(x)
    assert torch.equal(whole.xe.w, second.xe.w) and torch.equal(whole.exc.theta, second.exc.theta)


def test_names_are_kept_in_the_state_and_lost_by_learning() -> None:
    net, other, x, y = small(), small(seed=7), images(), torch.arange(24) % 4
    net.fit(x, generator=seeded())
    net.assign(x, y, generator=seeded())
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.predict(x, generator=seeded()), other.predict(x, generator=seeded()))
    net.fit(x, generator=seeded())
    with pytest.raises(RuntimeError, match=r"predict needs names of the neurons; call assign\(x_train, y_train\)"):
        net.predict(x)


def test_one_generator_state_gives_one_result_and_one_image_at_a_time_the_same_in_both_engines() -> None:
    nets = [small() for _ in range(4)]
    for net, options in zip(
        nets, [{}, {}, {"engine": "batched", "batch": 1, "chunk": 1}, {"engine": "event"}], strict=True
    ):
        net.fit(images(), generator=seeded(4), **options)
    assert torch.equal(nets[0].xe.w, nets[1].xe.w)
    for net in nets[2:]:
        torch.testing.assert_close(nets[0].xe.w, net.xe.w, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(nets[0].exc.theta, net.exc.theta, rtol=1e-5, atol=1e-5)
    other = small()
    other.fit(images(), generator=seeded(5))
    assert not torch.equal(nets[0].xe.w, other.xe.w)


@pytest.mark.parametrize("numba", [True, False])
def test_the_order_of_a_batch_does_not_matter(numba: bool) -> None:
    spikes, order = train_of(6), torch.randperm(6)
    found = []
    for given in (spikes, spikes[:, order]):
        net = network()
        with mock.patch.object(event, "loop_refusal", event.loop_refusal if numba else lambda net: "not here"):
            train, mem = batched.presented(net, given, learn=True)
        found.append((train, mem, net.xe.w, net.exc.theta))
    assert torch.equal(found[0][0][:, order], found[1][0]) and torch.equal(found[0][1][order], found[1][1])
    torch.testing.assert_close(found[0][2], found[1][2])
    torch.testing.assert_close(found[0][3], found[1][3])


def test_responses_do_not_depend_on_the_batch_in_which_an_image_is_shown() -> None:
    net, x = small(), images(70)
    net.fit(x, generator=seeded())
    one = net.responses(x, engine="event", generator=seeded())
    assert torch.equal(one, net.responses(x, engine="batched", generator=seeded(), batch=64))
    assert torch.equal(one, net.responses(x, engine="batched", generator=seeded(), batch=70))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_faint_image_is_shown_again_brighter_and_a_black_one_is_given_up(engine: str) -> None:
    x = torch.stack([torch.zeros(INPUTS), torch.full((INPUTS,), 0.3)])
    options: dict[str, Any] = {"rate_max": 20.0, "gain": 10.0, "tau_exc": 10.0}
    once, again = (small(retries=retries, boost=200.0, **options) for retries in (0, 5))
    faint, bright = (net.responses(x, engine=engine, generator=seeded()).sum(1) for net in (once, again))
    assert faint[1] < 5 <= bright[1] and bright[0] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_theta_is_forgotten_in_presented_time_whatever_the_batch(engine: str) -> None:
    net = small(theta_start=7.0, rest=40.0, retries=0)
    net.fit(torch.zeros(32, INPUTS), engine=engine, generator=seeded())
    torch.testing.assert_close(net.exc.theta, torch.full((8,), 7 * math.exp(-32 * (60 + 40) / 1e5)))


def test_theta_of_a_slow_time_constant_is_forgotten_although_a_step_is_below_single_precision() -> None:
    net = network(theta_start=100.0, tc_theta=1e7, theta_plus=0.0)
    for _ in range(1000):
        net.run({"inp": torch.zeros(INPUTS)})
    assert net.exc.theta[0].item() == pytest.approx(100 * math.exp(-1e-4), abs=2e-5)


def test_the_first_wave_is_one_spike_with_one_winner_and_the_partner_inhibits_the_others() -> None:
    net, s_t = network(gain=40.0, norm=6.0, inh=200.0), (torch.arange(INPUTS) % 2).float()
    first = net.run({"inp": s_t})
    assert first.sum() == 1 and torch.equal(net.inh.s, first)
    drive = net.constants.gain * net.xe.w @ s_t
    assert first.argmax() == drive.argmax()
    before = net.exc.v.clone()
    net.run({"inp": torch.zeros(INPUTS)})
    decay = math.exp(-1 / net.constants.tau_exc)
    torch.testing.assert_close(net.exc.v, torch.where(first > 0, decay * before, decay * before - 200.0))


def test_classes_without_neurons_get_no_vote_and_silence_no_answer() -> None:
    counts = torch.tensor([[5, 0, 0], [6, 1, 0], [0, 4, 0], [0, 5, 0]])
    naming = voting.named(counts, torch.tensor([0, 0, 3, 3]))
    assert naming.labels.tolist() == [0, 3, -1]
    for vote in ("all", "proportion"):
        answers = voting.votes(torch.tensor([[1, 0, 9], [0, 2, 0], [0, 0, 7], [0, 0, 0]]), naming, vote)
        assert answers.tolist() == [0, 3, -1, -1]


def test_a_class_with_many_neurons_has_no_advantage_in_the_mean_vote() -> None:
    naming = voting.Naming(torch.tensor([0, 0, 0, 1]), torch.eye(2)[[0, 0, 0, 1]])
    counts = torch.tensor([[2, 2, 2, 3]])
    assert voting.votes(counts, naming, "all").tolist() == [1]
    assert voting.votes(counts, naming, "proportion").tolist() == [0]


def test_classes_of_unequal_size_name_neurons_by_their_mean_response() -> None:
    counts = torch.tensor([[1]] * 9 + [[2]])
    assert voting.named(counts, torch.tensor([0] * 9 + [1])).labels.tolist() == [1]


def test_receptive_fields_are_one_image_of_all_weights() -> None:
    net = DiehlAndCook2015(neurons=5, inputs=12)
    fields = net.receptive_fields(shape=(3, 4))
    assert fields.shape == (6, 12) and torch.equal(fields[3:, 4:8], net.xe.w[4].reshape(3, 4))
    assert fields[3:, 8:].eq(0).all()
    assert DiehlAndCook2015(neurons=400).receptive_fields().shape == (560, 560)
    with pytest.raises(ValueError, match="12 pixels make no image of 5 x 5; write shape"):
        net.receptive_fields(shape=(5, 5))


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a grey image": (lambda: small().fit(255 * images()), ValueError, r"x must lie in \[0, 1\], got .*divide by 255"),
    "a negative one": (lambda: small().responses(-images()), ValueError, r"x must lie in \[0, 1\]"),
    "NaN": (lambda: small().fit(images() * float("nan")), ValueError, r"x must lie in \[0, 1\], got nan"),
    "integers": (lambda: small().fit(torch.zeros(2, INPUTS).long()), TypeError, "x must be floating point.*x.float()"),
    "a wrong size": (lambda: small().fit(torch.zeros(2, 1, 5, 5)), ValueError, "12 pixels, .*write inputs=25 when you"),
    "one image alone": (lambda: small().fit(torch.zeros(INPUTS)), ValueError, r"got shape \(12,\).*x.unsqueeze\(0\)"),
    "no image": (lambda: small().fit(torch.zeros(0, INPUTS)), ValueError, r"got shape \(0, 12\)"),
    "predict first": (lambda: small().predict(images()), RuntimeError, r"call assign\(x_train, y_train\) after"),
    "a mistyped rule": (lambda: small(rule="powerlaw"), ValueError, "rule must be one of .*did you mean 'power_law'"),
    "no rule": (lambda: small(rule=3), TypeError, "or a rule such as PowerLaw"),
    "a mistyped vote": (lambda: small().predict(images(), "al"), ValueError, "vote must be one of 'all', 'proportion'"),
    "a mistyped engine": (lambda: small().fit(images(), engine="events"), ValueError, "did you mean 'event'"),
    "events in batches": (lambda: small().fit(images(), batch=4, engine="event"), ValueError, 'or write engine="batched"'),
    "a batch of 0": (lambda: small().fit(images(), batch=0), ValueError, r"batch must lie in \[1, inf\)?"),
    "no epochs": (lambda: small().fit(images(), 0), ValueError, "epochs must lie in"),
    "float labels": (lambda: small().assign(images(), torch.zeros(24)), TypeError, "whole numbers, got torch.float32"),
    "few labels": (lambda: small().assign(images(), torch.arange(4)), ValueError, r"24 samples, got shape \(4,\)"),
    "negative labels": (lambda: small().assign(images(), torch.arange(24) - 1), ValueError, "y must lie in"),
    "neurons": (lambda: DiehlAndCook2015(neurons=2.5), TypeError, "neurons must be a whole number, got 2.5; write neurons=100"),
    "no neurons": (lambda: DiehlAndCook2015(neurons=0), ValueError, "neurons must lie in"),
    "a rate": (lambda: small(rate_max=2000.0), ValueError, r"rate_max must lie in \(0, 1000\], got 2000"),
    "a time": (lambda: DiehlAndCook2015(time=0.2), ValueError, "time must be at least dt=1 ms, got 0.2 ms; write time=250"),
    "a winner": (lambda: small(winner="two"), ValueError, "winner must be one of 'one', 'all'"),
    "inhibition": (lambda: network(inh=-1.0), ValueError, "inh must lie in"),
    "no dict": (lambda: small().run(torch.zeros(INPUTS)), ValueError, r"as \{'inp': s_t\}, got Tensor"),
    "a wrong step": (lambda: small().run({"inp": torch.zeros(3)}), ValueError, r"s_t must be \[12\] or \[B, 12\].*inputs=3"),
    "update first": (lambda: small().update(), RuntimeError, r"nothing has run since the last update; call run\(\) first"),
    "conductances": (
        lambda: small(synapses="conductance").fit(images(), engine="event"),
        RuntimeError,
        "does not serve this network: it knows current-based synapses only",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_said_clearly_before_any_work(call, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_a_presentation_does_not_change_its_batch() -> None:
    net = network()
    net.run({"inp": torch.zeros(2, INPUTS)})
    with pytest.raises(ValueError, match=r"2 images cannot go on with 3; call init_param\(\) first"):
        net.run({"inp": torch.zeros(3, INPUTS)})
    net.init_param()
    assert net.run({"inp": torch.zeros(3, INPUTS)}).shape == (3, N)


def test_a_rule_of_ones_own_learns_in_the_batched_engine() -> None:
    class Backwards(PowerLaw):
        def terms(self, pre, post, memory):
            memory, (term,) = super().terms(pre, post, memory)
            return memory, (term._replace(shift=-1.0),)

    net = small(rule=Backwards())
    before = net.xe.w.clone()
    net.fit(images(), generator=seeded())
    assert net.way().engine is batched and not torch.equal(before, net.xe.w)
    with pytest.raises(RuntimeError, match='not Backwards; write engine="batched"'):
        net.fit(images(), engine="event")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_input_spikes_have_the_rate_of_the_pixels(engine: str) -> None:
    x, steps = torch.tensor([[0.0, 0.1, 0.5, 1.0]]), 20000
    if engine == "event":
        spikes = event.drawn(x, np.array([1], np.uint64), 0.2, steps)[:, 0]
    else:
        spikes = batched._Bernoulli(torch.tensor([1]))(x, torch.arange(1), 0.2, steps)[:, 0]
    assert spikes.unique().tolist() == [0.0, 1.0]
    torch.testing.assert_close(spikes.mean(0), 0.2 * x[0], rtol=0, atol=0.01)
    pair = (spikes[1:, 3] * spikes[:-1, 3]).mean().item()
    assert pair == pytest.approx(0.04, abs=0.006), "steps are independent"
