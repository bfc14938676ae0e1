"""Both engines and the step API against NumPy, and against each other."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from stdp_reference import Network
from test_stdp_rules import RULES
from torch import Tensor

from spikeloom.learning import DiehlAndCook2015, PowerLaw, Rule
from spikeloom.learning.diehl_cook import batched, event
from spikeloom.neurons.conductance_lif import AdaptiveConductanceLIF, ConductanceLIF

pytest.importorskip("numba")

from stdp_networks import N, T, network, train_of, without_numba


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


@pytest.mark.parametrize(("winner", "pairs"), [("one", "nearest"), ("all", "all")])
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
        for value, expected in (
            (net.xe.w, reference.w),
            (net.exc.theta, reference.theta),
            (mem, reference.mem[0]),
        ):
            np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_batch_shares_thresholds_and_defers_the_sum_of_its_changes(
    rule: Rule, chunk: int | None
) -> None:
    spikes = train_of(3)
    reference = Network(network(rule), 3)
    kept, size = [], chunk or T
    for t, s_t in enumerate(spikes.numpy()):
        kept.append((s_t, reference.step(s_t)))
        if len(kept) == size or t == T - 1:
            w = reference.w.copy()
            changes = [
                p.change(w, a[b], c[b]) for a, c in kept for b, p in enumerate(reference.plastic)
            ]
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
    net = network(
        PowerLaw(alpha=0.05), inh=17.0, exc=10.4, gain=60.0, tau_exc=100.0, tc_theta=1e7, **options
    )
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
        imem, ideaf = (
            np.where(answers > 0, 15, imem),
            np.where(answers > 0, 4, np.maximum(ideaf - 1, 0)),
        )
        total += int(fired.sum())
        np.testing.assert_allclose(net.exc.v.numpy(), mem, rtol=1e-4, atol=1e-4)
    assert (
        total > 2
        and isinstance(net.exc.neuron, AdaptiveConductanceLIF)
        and isinstance(net.inh.neuron, ConductanceLIF)
    )
    np.testing.assert_allclose(net.exc.theta.numpy(), thresholds, rtol=1e-5)
    assert "current-based" in event.refusal(net) and net.way().engine is batched


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_the_drive_of_a_step_is_the_sum_of_the_rows_of_all_its_spikes_however_many(
    gain: float,
) -> None:
    inputs, neurons = 40, 9
    w = np.random.default_rng(0).random((inputs, neurons)).astype(np.float32)
    order = np.random.default_rng(1).permutation(inputs)
    spikes = np.zeros((inputs + 1, inputs), np.float32)  # row n holds n spikes
    for n in range(inputs + 1):
        spikes[n, order[:n]] = 1
    expected = gain * spikes.astype(np.float64) @ w
    stepwise = np.full((inputs + 1, neurons), 7, np.float32)
    for n in range(inputs + 1):
        rows = np.flatnonzero(spikes[n]).astype(np.int32)
        event.compiled().drive(w, np.float32(gain), rows, stepwise[n])
    batch = np.full((inputs + 1, neurons), 7, np.float32)
    event.compiled().product(spikes, w, np.float32(gain), batch)
    np.testing.assert_allclose(stepwise, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(batch, expected, rtol=1e-5, atol=1e-6)
