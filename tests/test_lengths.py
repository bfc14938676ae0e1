"""Recordings of unequal length: a padded batch gives what the recordings give one by one."""

from typing import Any

import pytest
import torch
from laws.cases import OWN, STEPPING, build, current, takes
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.utils._pytree import tree_leaves

import spikeloom as snn
from spikeloom import functional as SF

ENDS = torch.tensor([4, 9, 1])


def padded_and_alone(net: nn.Module, x: Tensor, **options: Any) -> list[list[Tensor]]:
    """Outputs, last states and gradients of a padded batch, and of its recordings one by one."""
    x = x.clone().requires_grad_()
    neurons = [m for m in net.modules() if isinstance(m, snn.Neuron)]

    def run(x: Tensor, **more: Any) -> tuple[Tensor, list[Tensor]]:
        out = snn.run(net, x, **more)
        return torch.cat(tree_leaves(out), -1), [value for n in neurons for value in n.hidden]

    def gradients(out: Tensor, states: list[Tensor]) -> list[Tensor]:
        weights = torch.linspace(0.5, 2, out.numel(), dtype=out.dtype).view_as(out)
        loss = (out * weights).sum() + sum(v.square().sum() for v in states)
        learned = [p for p in net.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, [x, *learned], allow_unused=True)
        return [torch.zeros(()) if g is None else g for g in found]

    out, states = run(x, lengths=ENDS, **options)
    parts = [run(x[:end, b : b + 1]) for b, end in enumerate(ENDS)]
    alone = torch.zeros_like(out)  # nothing fires after an end
    for b, end in enumerate(ENDS):
        alone[:end, b : b + 1] = parts[b][0]
    last = [torch.cat(values) for values in zip(*(part[1] for part in parts), strict=True)]
    return [[out, *states, *gradients(out, states)], [alone, *last, *gradients(alone, last)]]


def takes_state(name: str) -> dict[str, Any]:
    return {"init_hidden": True} if takes(OWN[name], "init_hidden") else {}


@pytest.mark.parametrize("name", OWN)
def test_a_padded_batch_gives_what_its_recordings_give_one_by_one(name: str) -> None:
    net = nn.Sequential(build(name, learn=True, **takes_state(name)))
    together, alone = padded_and_alone(net, current(name, steps=9))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("memory", ["exact", "checkpoint"])
def test_layers_before_and_after_a_neuron_do_not_act_across_the_end(memory: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(5, 6),
        nn.LayerNorm(6),
        snn.Synaptic(0.8, 0.7, threshold=0.3, init_hidden=True),
        snn.SynapticDelay(3, 1.5, learn_delay=True),
        snn.DelayedLinear(
            6, 4, 3, learn_delay=True
        ),  # its bias drives the last neuron after an end
        snn.RLeaky(0.9, linear_features=4, threshold=0.4, init_hidden=True),
    ).double()
    x = 3 * torch.rand(9, 3, 5, dtype=torch.float64)
    together, alone = padded_and_alone(net, x, memory=memory)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_what_the_padding_holds_does_not_matter_and_a_run_goes_on_from_the_last_state() -> None:
    net = nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9, threshold=0.2, init_hidden=True)).double()
    x, more = torch.rand(9, 3, 2).double(), torch.rand(5, 3, 2).double()
    other = x.clone()
    for b, end in enumerate(ENDS):
        other[end:, b] = 1e6
    other[4:, 0] = torch.nan
    first = snn.run(net, x, lengths=ENDS, record=["1.mem"])
    second = snn.run(net, other, lengths=ENDS, record=["1.mem"])
    assert torch.equal(first.output, second.output) and first.record.keys() == {"1.mem"}
    assert torch.equal(first.record["1.mem"], second.record["1.mem"])
    assert not first.record["1.mem"][4:, 0].any()
    went_on = snn.run(net, more, reset=False)
    for b, end in enumerate(ENDS):
        joined = torch.cat([x[:end, b], more[:, b]]).unsqueeze(1)
        torch.testing.assert_close(went_on[:, b : b + 1], snn.run(net, joined)[end:])


def test_a_static_input_ends_for_each_sample_at_its_own_step() -> None:
    net = nn.Sequential(snn.Leaky(0.9, threshold=0.5, init_hidden=True))
    out = snn.run(net, torch.ones(3, 2), num_steps=9, lengths=ENDS)
    assert out.sum((0, 2)).tolist() == [
        2 * snn.run(net, torch.ones(1, 1), int(n)).sum() for n in ENDS
    ]


@pytest.mark.parametrize("in_order", [True, False])
def test_packed_recordings_give_what_padded_ones_give(in_order: bool) -> None:
    net = nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9, threshold=0.2, init_hidden=True)).double()
    ends = torch.tensor([9, 4, 1]) if in_order else ENDS
    x = torch.rand(9, 3, 2).double().requires_grad_()
    padded = snn.run(net, x, lengths=ends)
    mem = net[1].mem  # pyright: ignore
    packed = snn.run(net, rnn.pack_padded_sequence(x, ends, enforce_sorted=in_order))
    assert torch.equal(net[1].mem, mem)  # pyright: ignore
    value, found = rnn.pad_packed_sequence(packed)
    assert torch.equal(value, padded) and torch.equal(found, ends) and padded.any()
    grads = [torch.autograd.grad(v.square().sum(), x)[0] for v in (value, padded)]
    assert torch.equal(*grads)
    with pytest.raises(ValueError, match="a PackedSequence has steps and lengths of its own"):
        snn.run(net, packed, lengths=ends)


def test_delays_go_on_from_the_last_valid_state() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(
        snn.SynapticDelay(3, 1.5), nn.Linear(2, 2), snn.DelayedLinear(2, 3, 4)
    ).double()
    x, more = torch.rand(9, 3, 2).double(), torch.rand(5, 3, 2).double()
    snn.run(net, x, lengths=ENDS)
    went_on = snn.run(net, more, reset=False)
    for b, end in enumerate(ENDS):
        joined = torch.cat([x[:end, b], more[:, b]]).unsqueeze(1)
        torch.testing.assert_close(went_on[:, b : b + 1], snn.run(net, joined)[end:])


def test_monitors_and_records_see_nothing_after_the_end_of_a_recording() -> None:
    linear = nn.Linear(2, 3)
    nn.init.ones_(linear.bias)  # drives the neurons after an end, too
    net = nn.Sequential(linear, snn.Leaky(0.9, threshold=0.2, init_hidden=True)).double()
    x = torch.rand(9, 3, 2).double()
    with (
        SF.OutputMonitor(net, snn.Leaky) as outputs,
        SF.AttributeMonitor("mem", False, net, snn.Leaky) as membranes,
    ):
        spk = snn.run(net, x, lengths=ENDS)
    torch.testing.assert_close(torch.stack(outputs.records), spk)
    assert spk[:4, 0].any() and not spk[4:, 0].any()
    for later in membranes.records[4:]:
        assert torch.equal(later[0], membranes.records[3][0])


class OwnLoop(nn.Module):
    """A neuron, and how often it fires, with a loop over time of its own."""

    def __init__(self, neuron: nn.Module) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        snn.reset(self)
        outputs = [tree_leaves(self.neuron(x_t))[0] for x_t in x]
        count = outputs[0]
        for spk in outputs[1:]:
            count = count + spk
        return torch.stack(outputs), count


def padded_and_alone_layerwise(net: OwnLoop, x: Tensor) -> list[list[Tensor]]:
    """What `padded_and_alone` gives, of a network with its own loop, and its counts."""
    x = x.clone().requires_grad_()
    run = snn.layerwise(net)

    def found(x: Tensor, **options: Any) -> list[Tensor]:
        out, count = run(x, **options)
        hidden = [value for m in net.modules() if isinstance(m, snn.Neuron) for value in m.hidden]
        return [out, count, *hidden]

    def gradients(values: list[Tensor]) -> list[Tensor]:
        weights = torch.linspace(0.5, 2, values[0].numel(), dtype=x.dtype).view_as(values[0])
        loss = (values[0] * weights).sum() + sum(v.square().sum() for v in values[1:])
        learned = [p for p in net.parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss, [x, *learned], allow_unused=True)
        return [torch.zeros(()) if g is None else g for g in grads]

    together = found(x, lengths=ENDS)
    parts = [found(x[:end, b : b + 1]) for b, end in enumerate(ENDS)]
    out = torch.zeros_like(together[0])
    for b, end in enumerate(ENDS):
        out[:end, b : b + 1] = parts[b][0]
    alone = [out, *(torch.cat(v) for v in zip(*(part[1:] for part in parts), strict=True))]
    return [[*together, *gradients(together)], [*alone, *gradients(alone)]]


@pytest.mark.parametrize("name", STEPPING)
def test_a_loop_of_its_own_over_a_padded_batch_counts_what_its_recordings_give(name: str) -> None:
    neuron = build(name, learn=True, **takes_state(name))
    if not takes_state(name) and not getattr(neuron, "carries", False):
        pytest.skip("it keeps no state between calls")
    together, alone = padded_and_alone_layerwise(OwnLoop(neuron), current(name, steps=9))
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


class Explicit(nn.Module):
    """Membranes that the loop passes on itself, and a neuron whose spikes are fed back."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(2, 3), snn.Synaptic(0.8, 0.9, threshold=0.3)
        self.last = snn.RLeaky(0.9, linear_features=3, threshold=0.4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        syn, mem = self.lif.init_synaptic()
        fed, other = self.last.init_rleaky()
        count = torch.zeros(x.shape[1], 3, dtype=x.dtype)
        for x_t in x:
            spk, syn, mem = self.lif(self.fc(x_t), syn, mem)
            fed, other = self.last(spk, fed, other)
            count = count + fed
        return count, mem, other


@pytest.mark.parametrize("read", [False, True])
def test_membranes_that_a_loop_passes_on_are_the_last_valid_ones(read: bool) -> None:
    torch.manual_seed(0)
    net = Explicit().double()
    x = 3 * torch.rand(9, 3, 2).double()

    @snn.layerwise
    def forward(x: Tensor) -> tuple[Tensor, ...]:
        found = net(x)
        if read:  # a value that Python needs divides the recording
            assert found[0].sum() >= 0
        return found

    together = forward(x, lengths=ENDS)
    parts = [net(x[:end, b : b + 1]) for b, end in enumerate(ENDS)]
    for value, alone in zip(together, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(value, torch.cat(alone))


@pytest.mark.parametrize("sequence", [False, True])
def test_lengths_reach_neurons_that_layerwise_does_not_record(sequence: bool) -> None:
    kind, mode = (snn.Leaky, "sequence") if sequence else (Halved, "step")
    neuron = kind(0.9, threshold=0.2, init_hidden=True, mode=mode)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = neuron

        def forward(self, x: Tensor) -> Tensor:
            snn.reset(self)
            return self.lif(x) if sequence else torch.stack([self.lif(x_t) for x_t in x])

    net, x = Net(), torch.rand(9, 3, 2)
    spk = snn.layerwise(net)(x, lengths=ENDS)
    mem = neuron.mem
    for b, end in enumerate(ENDS):
        torch.testing.assert_close(spk[:end, b : b + 1], net(x[:end, b : b + 1]))
        torch.testing.assert_close(mem[b : b + 1], neuron.mem)
        assert not spk[end:, b].any()


class Halved(snn.Leaky):
    """It overrides how it runs, so that it runs at every step."""

    def step(self, x: Tensor, state: Any = None) -> Any:
        return super().step(x / 2, state)


class Written(snn.Leaky):
    """Its forward does everything itself, out of sight of a recording."""

    def forward(self, input_: Tensor, *state: Any, **named: Any) -> Any:
        before = torch.zeros_like(input_) if self._hidden is None else self._hidden.mem
        mem = self.beta * before + input_
        spk = (mem > self.threshold).to(mem.dtype)
        self._hidden = self.State(mem - spk * self.threshold)
        return spk


@pytest.mark.parametrize("kind", [Halved, Written])
def test_a_run_keeps_the_last_states_of_neurons_that_it_does_not_record(kind: Any) -> None:
    neuron = kind(0.9, threshold=0.4, init_hidden=True)
    net, x = nn.Sequential(nn.Linear(2, 3), neuron).double(), torch.rand(9, 3, 2).double() * 3
    spk = snn.run(net, x, lengths=ENDS)
    mem = neuron._hidden.mem
    assert spk.any()
    for b, end in enumerate(ENDS):
        torch.testing.assert_close(spk[:end, b : b + 1], snn.run(net, x[:end, b : b + 1]))
        torch.testing.assert_close(mem[b : b + 1], neuron._hidden.mem)
        assert not spk[end:, b].any()


def test_a_transform_of_torch_runs_padded_recordings_in_the_plain_loop() -> None:
    linear, neuron = nn.Linear(2, 3), snn.Leaky(0.9, threshold=0.2, init_hidden=True)
    net = nn.Sequential(linear, snn.SynapticDelay(2, 1.0), neuron).double()
    x = torch.rand(9, 3, 2).double()

    def loss(weight: Tensor) -> tuple[Tensor, Tensor]:
        spk = torch.func.functional_call(Over(net), {"net.0.weight": weight}, (x,))
        return (spk.sum() + neuron.hidden.mem.square().sum()), neuron.hidden.mem

    class Over(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return snn.run(self.net, x, lengths=ENDS)

    found, mem = torch.func.grad(loss, has_aux=True)(linear.weight.detach())
    snn.reset(net)
    value, expected = loss(linear.weight)
    torch.testing.assert_close(mem, expected)
    torch.testing.assert_close(found, torch.autograd.grad(value, linear.weight)[0])


def test_layerwise_refuses_lengths_that_do_not_fit_its_loop() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (snn.Leaky(0.9, init_hidden=True) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for x_t in x:
                self.two(self.one(self.one(x_t)))
            return x

    x = torch.rand(9, 3, 2)
    net = OwnLoop(snn.Leaky(0.9, init_hidden=True))
    with pytest.raises(ValueError, match="every neuron takes once, got Leaky 'two' with 9 of 18"):
        snn.layerwise(Twice())(x, lengths=ENDS)
    with pytest.raises(ValueError, match=r"lengths must be in \[1, 9\].*got 10"):
        snn.layerwise(net)(x, lengths=[10, 2, 3])
    with pytest.raises(ValueError, match="lengths are for 2 samples, got 3 a step"):
        snn.layerwise(net)(x, lengths=[2, 3])
    with pytest.raises(ValueError, match="got a call that runs none"):
        snn.layerwise(nn.Linear(2, 2))(x, lengths=ENDS)
    with pytest.raises(ValueError, match="0: BatchNorm1d in training"):
        snn.layerwise(nn.Sequential(nn.BatchNorm1d(3), net))(x, lengths=ENDS)


def test_a_network_with_an_argument_of_that_name_receives_the_lengths_itself() -> None:
    class Own(nn.Module):
        def forward(self, x: Tensor, lengths: Any = None) -> Any:
            return lengths

    assert snn.layerwise(Own())(torch.ones(2, 1), lengths="mine") == "mine"


def test_rates_and_penalties_do_not_count_what_follows_an_end() -> None:
    spk = (torch.rand(9, 3, 4, generator=torch.Generator().manual_seed(1)) > 0.6).double()
    alone = [spk[:end, b : b + 1] for b, end in enumerate(ENDS)]
    rates = snn.decode.rates(spk, lengths=ENDS)
    torch.testing.assert_close(rates, torch.cat([snn.decode.rates(part) for part in alone]))
    sparse, count = SF.l1_rate_sparsity(0.5), SF.synops(2.0)
    torch.testing.assert_close(sparse(spk, lengths=ENDS), sum(map(sparse, alone)))
    torch.testing.assert_close(count(spk, lengths=ENDS), sum(map(count, alone)) / 3)
    band = SF.rate_band(0.3, 0.3)(spk, lengths=ENDS)
    torch.testing.assert_close(band, (rates.mean(0) - 0.3).square().mean())


LOSSES = {
    "ce_rate": SF.ce_rate_loss,
    "ce_count": SF.ce_count_loss,
    "ce_max_membrane": SF.ce_max_membrane_loss,
    "mse_count": lambda **o: SF.mse_count_loss(0.8, 0.2, **o),
    "mse_rate": SF.mse_rate_loss,
    "mse_membrane": SF.mse_membrane_loss,
    "ce_temporal": SF.ce_temporal_loss,
    "mse_temporal": SF.mse_temporal_loss,
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_padded_recordings_is_the_mean_of_their_losses(name: str) -> None:
    spk = (torch.rand(9, 3, 4, generator=torch.Generator().manual_seed(1)) > 0.6).double()
    spk.requires_grad_()
    targets = torch.tensor([2, 0, 3])
    together = LOSSES[name]()(spk, targets, lengths=ENDS)
    alone = torch.stack(
        [
            LOSSES[name]()(spk[:end, b : b + 1], targets[b : b + 1]).reshape(())
            for b, end in enumerate(ENDS.tolist())
        ]
    ).mean()
    torch.testing.assert_close(together.reshape(()), alone)
    found = [torch.autograd.grad(v.sum(), spk, retain_graph=True)[0] for v in (together, alone)]
    torch.testing.assert_close(*found)


def test_accuracies_of_padded_recordings_do_not_count_what_follows_their_end() -> None:
    spk = torch.zeros(5, 2, 2)
    spk[0, 0, 0] = spk[1:, 0, 1] = 1  # class 0 until step 1, class 1 afterwards
    spk[3, 1, 0] = spk[4, 1, 1] = 1
    targets, ends = torch.tensor([0, 0]), torch.tensor([1, 5])
    assert SF.accuracy_rate(spk, targets) == 0.5
    assert SF.accuracy_rate(spk, targets, lengths=ends) == 1.0
    late = torch.zeros(6, 1, 2)
    late[4, 0, 1] = 1
    assert SF.accuracy_temporal(late, torch.tensor([0])) == 0.0
    assert SF.accuracy_temporal(late, torch.tensor([0]), lengths=torch.tensor([3])) == 1.0


MISTAKES = {
    "too long": ([3, 10, 2], ValueError, r"lengths must be in \[1, 9\].*got 10"),
    "empty": ([3, 0, 2], ValueError, r"lengths must be in \[1, 9\].*got 0"),
    "another batch": ([3, 4], ValueError, r"lengths must have shape \(3,\).*got \(2,\)"),
    "fractions": ([3.0, 4.0, 5.0], TypeError, r"lengths must be whole numbers, got torch.float32"),
    "words": (["a"], TypeError, "lengths must hold one whole number"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_lengths_are_refused_by_runs_losses_and_accuracies(mistake: str) -> None:
    lengths, error, message = MISTAKES[mistake]
    x, targets = torch.rand(9, 3, 4), torch.tensor([0, 1, 2])
    for call in (
        lambda: snn.run(snn.Leaky(0.9), x, lengths=lengths),
        lambda: SF.ce_rate_loss()(x, targets, lengths=lengths),
        lambda: SF.accuracy_rate(x, targets, lengths=lengths),
        lambda: SF.accuracy_temporal(x, targets, lengths=lengths),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_batch_norm_that_would_learn_from_the_padding_is_refused() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), snn.Leaky(0.9, init_hidden=True))
    x = torch.rand(9, 3, 2)
    with pytest.raises(ValueError, match="0: BatchNorm1d in training would take its statistics"):
        snn.run(net, x, lengths=ENDS)
    assert snn.run(net.eval(), x, lengths=ENDS).shape == x.shape


def test_a_loss_with_targets_at_every_step_refuses_lengths() -> None:
    loss = SF.mse_membrane_loss(time_var_targets=True)
    with pytest.raises(ValueError, match="lengths are for one target a sample"):
        loss(torch.rand(9, 3, 4), torch.zeros(9, 3), lengths=ENDS)


@pytest.mark.parametrize("name", ["RLeaky", "RSynaptic", "RefractoryLIF"])
def test_the_last_spikes_of_a_neuron_that_ran_in_parts_were_lost_at_an_end(name: str) -> None:
    class Looked(nn.Module):
        """Needs a value at each step, and gives a constant of its own."""

        def forward(self, x: Tensor) -> Tensor:
            return x * (1.0 if float(x.detach().sum()) < 1e9 else 2.0)

    class Scaled(nn.Module):
        """Another operation at each step."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.linspace(1, 2, 20, dtype=torch.float64))
            self.step = 0

        def forward(self, x: Tensor) -> Tensor:
            self.step += 1
            return x * self.scale[self.step]

    neuron = build(name, threshold=0.3, **takes_state(name))
    scaled = Scaled()
    net = nn.Sequential(Looked(), scaled, neuron)
    x = current(name, steps=9)
    spk = snn.run(net, x, lengths=ENDS)
    last = [value.clone() for value in neuron.hidden]
    assert spk.any()
    for b, end in enumerate(ENDS):
        scaled.step = 0
        alone = snn.run(net, x[:end, b : b + 1])
        torch.testing.assert_close(spk[:end, b : b + 1], alone)
        for together, one in zip(last, neuron.hidden, strict=True):
            torch.testing.assert_close(together[b : b + 1], one)
