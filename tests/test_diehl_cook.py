"""What the Diehl & Cook network must and must not do."""

import copy
import io
import math
from itertools import islice
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from spikeloom.learning import DiehlAndCook2015
from spikeloom.learning.diehl_cook import batched, event, voting

pytest.importorskip("numba")

from stdp_networks import ENGINES, INPUTS, images, network, seeded, small, train_of


@pytest.mark.parametrize("engine", ["event", pytest.param("batched", marks=pytest.mark.slow)])
def test_bars_are_learned_without_labels_and_named_with_them(engine: str) -> None:
    net, x, y = small(time=150.0), images(200), torch.arange(200) % 4
    rows = net.fit(x, 2, engine=engine, generator=seeded(), labels=y, every=100)
    assert (
        [row.images for row in rows] == [112, 200, 312, 400]
        if engine == "batched"
        else [100, 200, 300, 400]
    )
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
    assert counts.sum() > 0 and torch.equal(
        counts, net.responses(x, engine=engine, generator=seeded())
    )
    for s_t in train_of():
        net.run({"inp": s_t})
    assert all(
        torch.equal(before[name], net.state_dict()[name]) for name in ("xe.weight", "exc.theta")
    )
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
    with pytest.raises(
        RuntimeError, match=r"predict needs names of the neurons; call assign\(x_train, y_train\)"
    ):
        net.predict(x)


@pytest.mark.slow
def test_one_generator_state_gives_one_result_the_same_in_both_engines_at_batch_size_1() -> None:
    nets = [small() for _ in range(4)]
    for net, options in zip(
        nets,
        [{}, {}, {"engine": "batched", "batch": 1, "chunk": 1}, {"engine": "event"}],
        strict=True,
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
        with mock.patch.object(
            event, "loop_refusal", event.loop_refusal if numba else lambda net: "not here"
        ):
            train, mem = batched.presented(net, given, learn=True)
        found.append((train, mem, net.xe.w, net.exc.theta))
    assert torch.equal(found[0][0][:, order], found[1][0]) and torch.equal(
        found[0][1][order], found[1][1]
    )
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
    faint, bright = (
        net.responses(x, engine=engine, generator=seeded()).sum(1) for net in (once, again)
    )
    assert faint[1] < 5 <= bright[1] and bright[0] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_theta_is_forgotten_in_presented_time_whatever_the_batch(engine: str) -> None:
    net = small(theta_start=7.0, rest=40.0, retries=0)
    net.fit(torch.zeros(32, INPUTS), engine=engine, generator=seeded())
    torch.testing.assert_close(net.exc.theta, torch.full((8,), 7 * math.exp(-32 * (60 + 40) / 1e5)))


@pytest.mark.slow
def test_theta_of_a_slow_time_constant_is_forgotten_although_a_step_is_below_single_precision() -> (
    None
):
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
    torch.testing.assert_close(
        net.exc.v, torch.where(first > 0, decay * before, decay * before - 200.0)
    )


def test_classes_without_neurons_get_no_vote_and_silence_no_answer() -> None:
    counts = torch.tensor([[5, 0, 0], [6, 1, 0], [0, 4, 0], [0, 5, 0]])
    naming = voting.named(counts, torch.tensor([0, 0, 3, 3]))
    assert naming.labels.tolist() == [0, 3, -1]
    for vote in ("all", "proportion"):
        answers = voting.votes(
            torch.tensor([[1, 0, 9], [0, 2, 0], [0, 0, 7], [0, 0, 0]]), naming, vote
        )
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


@pytest.mark.cuda
def test_the_batched_engine_learns_on_a_gpu() -> None:
    net, x, y = small(time=150.0).cuda(), images(200), torch.arange(200) % 4
    net.fit(x, 2, batch=8, generator=seeded(), labels=y, every=200)
    net.eval()
    assert net.assign(x, y, generator=seeded(1)).is_cuda and net.xe.w.is_cuda
    assert (net.predict(x, generator=seeded(2)).cpu() == y).double().mean() > 0.8
