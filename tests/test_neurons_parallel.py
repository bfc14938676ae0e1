"""Parallel spiking neurons: published formulas, whole sequences, and what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.taps import tapped_by

T, B, F = 7, 3, 5


def current(steps: int = T, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, B, F, generator=generator, dtype=torch.float64) * 3 - 0.5


def built(kind: type, *sizes: int, **options: Any) -> Any:
    torch.manual_seed(1)
    return kind(*sizes, **options).double()


MAKERS = {
    "parallel": lambda: built(snn.PSN, T),
    "masked": lambda: built(snn.MaskedPSN, T, 3),
    "half masked": lambda: built(snn.MaskedPSN, T, 3, 0.5),
    "sliding": lambda: built(snn.SlidingPSN, 3, init_hidden=True, mode="sequence"),
}
every_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
whole_only = pytest.mark.parametrize(
    "make", [make for name, make in MAKERS.items() if name != "sliding"]
)


def test_the_parallel_neuron_is_the_published_product_with_a_threshold_for_each_step() -> None:
    neuron, x = built(snn.PSN, T), current()
    with torch.no_grad():
        neuron.fc.bias.copy_(torch.linspace(-1, 1, T))
    spk, states = neuron.scan(x)
    thresholds = 1 - torch.linspace(-1, 1, T, dtype=torch.float64)  # B of the paper
    for t in range(T):
        membrane = sum(neuron.fc.weight[t, s] * x[s] for s in range(T))
        torch.testing.assert_close(states.mem[t] - 1, membrane - thresholds[t])
        assert torch.equal(spk[t] > 0, membrane > thresholds[t])
    assert 0 < spk.mean() < 1


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_mask_has_the_formula_of_the_paper(strength: float) -> None:
    neuron, k = built(snn.MaskedPSN, T, 3, strength), 3
    for i in range(T):
        for j in range(T):
            inside = j <= i <= j + k - 1
            expected = neuron.fc.weight[i, j] * (strength * inside + 1 - strength)
            assert neuron.weights()[i, j].item() == pytest.approx(expected.item(), abs=1e-7)


def test_at_full_strength_no_later_or_too_early_step_acts() -> None:
    neuron, x = built(snn.MaskedPSN, T, 3), current()
    assert neuron.causal and not built(snn.MaskedPSN, T, 3, 0.9).causal
    for changed in range(T):
        other = x.clone()
        other[changed] += 1
        differs = (neuron.scan(other)[1].mem - neuron.scan(x)[1].mem).abs().amax((1, 2)) > 1e-9
        assert differs.nonzero().flatten().tolist() == [
            t for t in range(T) if changed <= t < changed + 3
        ]


def test_the_strength_of_the_mask_is_annealed_and_saved() -> None:
    neuron = built(snn.MaskedPSN, T, 2, 0.0)
    for epoch in range(5):
        neuron.lambda_ = epoch / 4
    twin = built(snn.MaskedPSN, T, 2, 0.25)
    twin.load_state_dict(neuron.state_dict())
    assert neuron.lambda_ == twin.lambda_ == 1.0
    with pytest.raises(ValueError, match=r"lambda_ must be .*, got 1\.5"):
        neuron.lambda_ = 1.5


def test_the_sliding_neuron_has_the_formula_of_the_paper_and_its_first_weights() -> None:
    k, x = 4, current(9)
    neuron = built(snn.SlidingPSN, k, init_hidden=True, output=True, mode="sequence")
    assert neuron.weight.tolist() == [0.125, 0.25, 0.5, 1.0]
    with torch.no_grad():
        neuron.weight.copy_(torch.tensor([0.3, -0.2, 0.5, 0.9]))
        neuron.bias.fill_(0.1)
    spk, mem, *past = neuron(x)
    for t in range(9):
        expected = torch.full((B, F), 0.1, dtype=torch.float64)
        for i in range(k):
            if t - k + 1 + i >= 0:
                expected = expected + neuron.weight[i] * x[t - k + 1 + i]
        torch.testing.assert_close(mem[t], expected)
        assert torch.equal(spk[t] != 0, expected > 1)
    assert len(past) == k - 1 and torch.equal(past[0][5], x[5]) and torch.equal(past[2][5], x[3])


def test_a_masked_neuron_with_equal_weights_is_the_sliding_one() -> None:
    masked, sliding, x = built(snn.MaskedPSN, T, 3), built(snn.SlidingPSN, 3), current()
    with torch.no_grad():
        for t in range(T):
            for i in range(3):
                if t - 2 + i >= 0:
                    masked.fc.weight[t, t - 2 + i] = sliding.weight[i]
    torch.testing.assert_close(masked.scan(x)[1].mem, sliding.scan(x)[1].mem)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_the_sliding_neuron_goes_on_where_the_last_piece_ended(k: int) -> None:
    x = current(10)
    neuron = built(snn.SlidingPSN, k, init_hidden=True, mode="sequence")
    expected = neuron(x)
    snn.reset(neuron)
    assert torch.equal(torch.cat([neuron(x[:4]), neuron(x[4:5]), neuron(x[5:])]), expected)
    snn.set_mode(neuron, "step")
    snn.reset(neuron)
    assert torch.equal(torch.stack([neuron(x_t) for x_t in x]), expected)


def network(neuron: Any) -> nn.Sequential:
    torch.manual_seed(2)
    first, last = nn.Linear(F, F), nn.Linear(F, 2)
    with torch.no_grad():
        first.weight.mul_(3)
        last.weight.abs_()
        neuron.threshold.fill_(0.2)
    return nn.Sequential(first, neuron, last, snn.Leaky(0.9, init_hidden=True)).double()


@every_kind
def test_a_run_calls_the_neuron_once_for_all_steps(make: Any) -> None:
    net, x = network(make()), current()
    gradients = []
    for how in ("run", "layerwise", "by hand"):
        net.zero_grad()
        snn.reset(net)
        if how == "run":
            result = snn.run(net, x, explain=True)
            assert result.plan.layerwise and not result.plan.forced
            spk = result.output
        elif how == "layerwise":
            loop = snn.layerwise(lambda net, x: torch.stack([net(x_t) for x_t in x]))
            if net[1].mode == "sequence" and "step" in net[1].modes:
                net[1].mode = "step"
            spk = loop(net, x) if "step" in net[1].modes else snn.run(net, x)
        else:
            h = net[1].scan(net[0](x))[0]
            spk = net[3].scan(net[2](h))[0]
        (spk * torch.linspace(1, 2, spk.numel()).view_as(spk)).sum().backward()
        gradients.append([spk.detach(), *(p.grad.clone() for p in net.parameters())])
    assert gradients[0][0].any()
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_it_is_trained_by_fit() -> None:
    def net() -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(64, 30), snn.PSN(4), nn.Linear(30, 10), snn.LI(0.9, init_hidden=True)
        )

    digits = snn.data.digits(flat=True)
    few = digits._replace(x_train=digits.x_train[:400], y_train=digits.y_train[:400])
    result = snn.fit(net, few, num_steps=4, epochs=6, lr=0.02, batch_size=50, progress=False)
    assert result.test_accuracy.last > 0.6 and sum(result.spikes_per_neuron.values()) > 0


def test_a_step_of_a_foreign_trace_was_taken_as_a_sequence() -> None:
    net = nn.Sequential(nn.Linear(F, F), snn.LeakyParallel(F, F))
    with pytest.raises(ValueError, match="1: LeakyParallel runs whole sequences"):
        torch.func.vmap(lambda x: snn.run(net, x))(torch.rand(2, T, B, F))


def test_what_a_network_knows_late_it_uses_early() -> None:
    # the class is shown in the last step; only a neuron that reads later steps fires in the first
    torch.manual_seed(0)
    label = torch.arange(32) % 2
    x = torch.zeros(T, 32, 1)
    x[-1, :, 0] = 2.0 * label - 1
    neuron = snn.PSN(T)
    optimizer = torch.optim.Adam(neuron.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss = (neuron(x)[0, :, 0] - label.float()).square().mean()
        loss.backward()
        optimizer.step()
    assert torch.equal(neuron(x)[0, :, 0], label.float())


REFUSED = {
    "a step": (
        lambda: snn.PSN(T).step(torch.ones(B, F)),
        TypeError,
        "PSN reads all steps of a sequence at once",
    ),
    "a plain loop": (
        lambda: snn.set_mode(snn.MaskedPSN(T, 2), "step"),
        ValueError,
        "mode of MaskedPSN must be one of 'sequence'",
    ),
    "a step in a loop": (lambda: snn.PSN(T)(torch.ones(B, F)), ValueError, "expects .T, B, feat"),
    "another length": (
        lambda: snn.PSN(T)(torch.ones(4, B, F)),
        ValueError,
        r"at once, got 4 of 7 steps; write num_steps=4 for shorter sequences",
    ),
    "a run of another length": (
        lambda: snn.run(nn.Sequential(snn.PSN(T)), torch.ones(4, B, F)),
        ValueError,
        "layer '0' .*got 4 of 7 steps",
    ),
    "a state": (lambda: snn.PSN(T)(torch.ones(T, B, F), torch.ones(B, F)), TypeError, "own state"),
    "padded recordings": (
        lambda: snn.run(nn.Sequential(snn.PSN(T)), torch.ones(T, B, F), lengths=[7, 5, 3]),
        ValueError,
        "0: PSN reads later steps, also those after the end",
    ),
    "no step": (lambda: snn.PSN(0), ValueError, "num_steps must be"),
    "no window": (lambda: snn.SlidingPSN(0), ValueError, "k must be"),
    "a window beyond the sequence": (lambda: snn.MaskedPSN(4, 5), ValueError, "k must be"),
    "a random threshold": (
        lambda: snn.noisy(snn.PSN(T), escape=0.1),
        ValueError,
        "runs whole sequences",
    ),
    "NIR": (
        lambda: snn.nir.to_nir(nn.Sequential(nn.Linear(2, 2), snn.SlidingPSN(2, init_hidden=True))),
        ValueError,
        "reads a window of its input",
    ),
}


@pytest.mark.parametrize(("attempt", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_what_these_neurons_cannot_do_is_refused(attempt: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        attempt()


@whole_only
def test_a_loop_that_reads_spikes_step_by_step_is_refused(make: Any) -> None:
    neuron = make()

    @snn.layerwise
    def loop(x: Tensor) -> Tensor:
        total = torch.zeros(())
        for x_t in x:
            total = total + neuron(x_t).sum().item()
        return total

    with pytest.raises(ValueError, match=r"expects \[T, B|at once, got"):
        loop(current())


def test_padded_recordings_are_those_one_by_one_for_a_window() -> None:
    net = network(snn.SlidingPSN(3, init_hidden=True))
    x, lengths = current(), [7, 5, 3]
    output = snn.run(net, x, lengths=lengths)
    for b, length in enumerate(lengths):
        alone = snn.run(net, x[:length, b : b + 1])
        assert torch.equal(output[:length, b : b + 1], alone) and not output[length:, b].any()


@every_kind
def test_it_is_saved_with_its_network(make: Any, tmp_path: Any) -> None:
    net = network(make())
    snn.save(net, tmp_path / "net.safetensors")
    again = snn.load(tmp_path / "net.safetensors")
    assert torch.equal(snn.run(net, current()), snn.run(again, current()))


@whole_only
@pytest.mark.parametrize("memory", ["checkpoint", "compressed"])
def test_a_run_in_segments_named_a_shorter_sequence_as_the_remedy(make: Any, memory: str) -> None:
    with pytest.raises(ValueError, match='memory="exact" for whole ones'):
        snn.run(network(make()), current().repeat(1, 40, 1), memory=memory)


@whole_only
def test_a_rule_that_runs_parts_of_sequences_is_refused_before_work(make: Any) -> None:
    net = nn.Sequential(nn.Linear(F, F), make(), nn.Linear(F, 2), snn.Leaky(0.9, init_hidden=True))
    x, y = current().transpose(0, 1).float(), torch.arange(B) % 2
    options: dict[str, Any] = {"encode": "sequence", "progress": False}
    with pytest.raises(TypeError, match=r"runs whole sequences, the rule parts; write rule="):
        snn.fit(net.float(), (x, y, x, y), rule=snn.train.TBPTT(K=2), **options)


@whole_only
def test_the_doctor_took_a_network_with_such_a_neuron_for_one_with_its_own_loop(make: Any) -> None:
    last = snn.Leaky(0.9, init_hidden=True, output=True)
    net = nn.Sequential(nn.Linear(F, F), make(), nn.Linear(F, 2), last).float()
    report = snn.doctor.check(net, (current().float(), torch.arange(B) % 2))
    assert "forgotten reset" not in str(report)


@every_kind
def test_a_run_told_the_taps_of_a_neuron_for_whole_sequences_nothing(make: Any) -> None:
    neuron = make()
    seen: list[Any] = []
    net = nn.Sequential(neuron, nn.Linear(F, 2).double(), snn.Leaky(0.9, init_hidden=True))

    def loop(x: Tensor) -> Tensor:
        return net[1](neuron(x))

    def tap(module: nn.Module, moment: Any) -> None:
        gradients: list[Tensor] = []
        if moment.output.requires_grad:
            moment.output.register_hook(gradients.append)
        seen.append((moment, gradients))

    x = current()
    expected = snn.run(net, x, record=["0.spk"]).record["0.spk"]
    for call in (lambda: snn.run(net, x), lambda: snn.layerwise(loop)(x)):
        seen.clear()
        snn.reset(net)
        with tapped_by(neuron, tap):
            call().sum().backward()
        ((moment, gradients),) = seen
        assert torch.equal(moment.output, expected) and torch.equal(moment.x, x)
        assert moment.state.mem.shape == x.shape and moment.timed
        assert len(gradients) == 1 and gradients[0].shape == x.shape


def test_a_run_of_one_step_and_of_the_same_input_told_the_taps_nothing() -> None:
    for steps, x in ((1, current(1)), (T, current()[:1].expand(T, B, F))):
        neuron, seen = built(snn.PSN, steps), []
        expected = neuron(x)
        with tapped_by(neuron, lambda module, moment, seen=seen: seen.append(moment)):
            snn.run(nn.Sequential(neuron), x)
            snn.run(nn.Sequential(neuron), x[0], steps)
        for moment in seen:
            output = moment.output if moment.timed else moment.output.unsqueeze(0)
            assert torch.equal(output, expected)
        assert len(seen) == 2


@whole_only
def test_the_doctor_saw_no_neuron_for_whole_sequences(make: Any) -> None:
    neuron = make().float()
    net = nn.Sequential(nn.Linear(F, 4), neuron, nn.Linear(4, 2), snn.Leaky(0.9, init_hidden=True))
    x = (current() > 1).float()
    report = snn.doctor.check(net, (x, torch.tensor([0, 1, 0])))
    assert [row.path for row in report.layers] == ["1", "3"]
    row = snn.doctor.cost(net, x).layers[1]
    assert (row.path, row.kind) == ("1", type(neuron).__name__)
    assert row.analog == 4 * int((neuron.weights() != 0).sum()), "one for each step that is read"
