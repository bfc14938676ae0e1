"""BPTT, TBPTT and RTRL: snnTorch's numbers where it has some, and what it does wrong done right."""

import gc
import importlib
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from recorded.replay import load, replay_call
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom.backprop import BPTT, RTRL, TBPTT

INDEX, ARRAYS = load("surface")
CASES = [case for case in INDEX["cases"] if case["call"] == "train"]
T, B, N = 6, 4, 3
LABELS = torch.tensor([0, 2, 1, 1])


def data(*shape: int, batches: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shape = shape or (T, B, 5)
    return [
        (torch.rand(*shape, generator=generator, dtype=torch.float64) * 3, LABELS)
        for _ in range(batches)
    ]


def network(*neurons: Any) -> nn.Sequential:
    """A linear layer before each neuron; one leaky neuron if none is given."""
    torch.manual_seed(0)
    neurons = neurons or (lif(output=True),)
    sizes = [5, *[7] * (len(neurons) - 1), N]
    layers = [
        (nn.Linear(a, b), neuron) for a, b, neuron in zip(sizes, sizes[1:], neurons, strict=False)
    ]
    return nn.Sequential(*(module for pair in layers for module in pair)).double()


def lif(**options: Any) -> snn.Leaky:
    return snn.Leaky(0.8, init_hidden=True, **options)


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.5)


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def by_hand(
    net: nn.Module,
    batches: list[tuple[Tensor, Tensor]],
    loss: Callable[..., Tensor],
    K: int,
    field: int = 0,
    moving: bool = False,
) -> None:
    """The loop that `TBPTT` stands for, over data [T, B, ...], written out."""
    optimizer = sgd(net)
    for x, targets in batches:
        snn.reset(net)
        for start in range(0, len(x), K):
            outputs = torch.stack([net(x_t)[field] for x_t in x[start : start + K]])
            optimizer.zero_grad()
            loss(outputs, targets[start : start + K] if moving else targets).backward()
            optimizer.step()
            snn.detach(net)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_training_gives_the_recorded_loss_and_weights(case: dict) -> None:
    outputs, _ = replay_call(snn, case, ARRAYS)
    for output, key in zip(outputs, case["expect"], strict=True):
        torch.testing.assert_close(output, torch.from_numpy(ARRAYS[key]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("K", [1, 2, 4, 6])
def test_tbptt_no_longer_crashes_on_data_that_varies_over_time(K: int) -> None:
    net, twin = network(), network()
    loss = TBPTT(net, data(), sgd(net), SF.ce_rate_loss(), K=K)
    by_hand(twin, data(), SF.ce_rate_loss(), K)
    assert loss.shape == (1,)
    for a, b in zip(weights(net), weights(twin), strict=True):
        torch.testing.assert_close(a, b)


def test_rtrl_is_tbptt_with_one_step_a_chunk_and_says_so() -> None:
    net, twin = network(), network()
    loss = RTRL(net, data(), sgd(net), SF.ce_count_loss())
    torch.testing.assert_close(loss, TBPTT(twin, data(), sgd(twin), SF.ce_count_loss(), K=1))
    torch.testing.assert_close(weights(net), weights(twin))
    assert "K=1" in str(RTRL.__doc__) and "*not* real-time recurrent learning" in str(RTRL.__doc__)


def test_bptt_is_tbptt_with_all_steps_in_one_chunk() -> None:
    net, twin = network(), network()
    loss = BPTT(net, data(), sgd(net), SF.mse_count_loss())
    torch.testing.assert_close(loss, TBPTT(twin, data(), sgd(twin), SF.mse_count_loss(), K=T))
    torch.testing.assert_close(weights(net), weights(twin))


def test_several_kinds_of_neurons_are_all_detached() -> None:
    def make() -> nn.Sequential:
        synaptic = snn.Synaptic(0.7, 0.8, init_hidden=True)
        return network(lif(), synaptic, snn.Alpha(0.9, 0.7, init_hidden=True, output=True))

    net, twin = make(), make()
    TBPTT(net, data(), sgd(net), SF.ce_max_membrane_loss(), K=2)
    by_hand(twin, data(), SF.ce_max_membrane_loss(), K=2, field=3)
    torch.testing.assert_close(weights(net), weights(twin))


def test_static_data_repeats_for_num_steps() -> None:
    net, twin = network(), network()
    still = data(B, 5)
    TBPTT(net, still, sgd(net), SF.ce_rate_loss(), num_steps=5, time_var=False, K=2)
    by_hand(twin, [(x.expand(5, *x.shape), y) for x, y in still], SF.ce_rate_loss(), K=2)
    torch.testing.assert_close(weights(net), weights(twin))


def test_data_may_have_the_batch_axis_first() -> None:
    net, twin = network(), network()
    loss = TBPTT(
        net,
        [(x.transpose(0, 1), y) for x, y in data()],
        sgd(net),
        SF.ce_rate_loss(),
        time_first=False,
        K=4,
    )
    torch.testing.assert_close(loss, TBPTT(twin, data(), sgd(twin), SF.ce_rate_loss(), K=4))
    torch.testing.assert_close(weights(net), weights(twin))


@pytest.mark.parametrize("time_first", [True, False])
def test_targets_over_time_do_not_drift_from_batch_to_batch(time_first: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    batches = [(x, torch.randint(0, N, (T, B), generator=generator)) for x, _ in data(batches=3)]
    given = batches if time_first else [(x.transpose(0, 1), y.transpose(0, 1)) for x, y in batches]
    net, twin, loss = network(), network(), SF.mse_membrane_loss(time_var_targets=True)
    TBPTT(net, given, sgd(net), loss, time_first=time_first, K=2)
    by_hand(twin, batches, loss, K=2, field=1, moving=True)
    torch.testing.assert_close(weights(net), weights(twin))


def test_the_mean_loss_weighs_chunks_as_snntorch_does() -> None:
    """A full chunk counts K / T; the rest of r steps 1 / r, although its share is r / T."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    x, y = data()[0]
    output = torch.stack([net(x_t)[0] for x_t in x])
    parts = [SF.ce_rate_loss()(output[a:b], y) for a, b in ((0, 4), (4, 6))]
    loss = TBPTT(net, [(x, y)], optimizer, SF.ce_rate_loss(), K=4)
    torch.testing.assert_close(loss, (parts[0] * 4 / 6 + parts[1] / 2).detach())


def test_regularisation_sees_the_spikes_of_a_chunk() -> None:
    seen = []

    def cost(spk: Tensor) -> Tensor:
        seen.append(spk)
        return 10 * spk.sum()

    net, plain = network(), network()
    with_cost = TBPTT(net, data(), sgd(net), SF.ce_rate_loss(), regularization=cost, K=4)
    without = TBPTT(plain, data(), sgd(plain), SF.ce_rate_loss(), K=4)
    assert [spk.shape for spk in seen] == [(4, B, N), (2, B, N)] * 2
    assert all(((spk == 0) | (spk == 1)).all() for spk in seen)
    assert with_cost > without


def test_a_network_that_returns_spikes_alone_is_enough_for_a_loss_of_spikes() -> None:
    net, twin = network(lif()), network()
    BPTT(net, data(), sgd(net), SF.ce_rate_loss())
    BPTT(twin, data(), sgd(twin), SF.ce_rate_loss())
    torch.testing.assert_close(weights(net), weights(twin))


def test_the_membrane_is_found_where_it_is_not_last() -> None:
    net, twin = (network(snn.AdLIF(init_hidden=True, output=True)) for _ in range(2))
    TBPTT(net, data(), sgd(net), SF.ce_max_membrane_loss(), K=3)  # returns spk, mem, adapt
    by_hand(twin, data(), SF.ce_max_membrane_loss(), K=3, field=1)
    torch.testing.assert_close(weights(net), weights(twin))


class Token:
    """Lives as long as the node of a graph that holds it."""


class Watch(torch.autograd.Function):
    alive: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.token = Token()
        Watch.alive.add(ctx.token)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


def test_the_returned_loss_keeps_no_batch_alive() -> None:
    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert len(Watch.alive) <= 2 * T  # this batch, and the last chunk of the one before
            return Watch.apply(x)

    net = network()
    net.insert(1, Watched())
    loss = TBPTT(net, data(batches=9), sgd(net), SF.ce_rate_loss(), K=2)
    gc.collect()
    assert not loss.requires_grad
    assert not Watch.alive


def test_no_state_of_an_earlier_batch_matters() -> None:
    net, twin = network(), network()
    net(torch.rand(9, 5, dtype=torch.float64))  # another batch size, with a graph
    TBPTT(net, data(), sgd(net), SF.ce_rate_loss(), K=2)
    TBPTT(twin, data(), sgd(twin), SF.ce_rate_loss(), K=2)
    torch.testing.assert_close(weights(net), weights(twin))
    assert net.training and not net[1].mem.requires_grad


def test_the_import_warns_of_no_deprecation() -> None:
    importlib.reload(
        importlib.import_module("spikeloom.backprop")
    )  # warnings are errors in the tests


def mistake(
    criterion: Any = None, batches: Any = None, net: Any = None, loop: Any = TBPTT, **options: Any
) -> Any:
    net = network() if net is None else net
    return loop(
        net,
        data() if batches is None else batches,
        sgd(net),
        criterion or SF.ce_rate_loss(),
        **options,
    )


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "torch criterion": (
        lambda: mistake(nn.CrossEntropyLoss()),
        TypeError,
        r"a loss over time from spikeloom\.functional, got CrossEntropyLoss; write e\.g\. "
        r"functional\.ce_rate_loss",
    ),
    "function as criterion": (
        lambda: mistake(lambda spk, y: spk.sum()),
        TypeError,
        "got function; write",
    ),
    "num_steps of data over time": (
        lambda: mistake(num_steps=6),
        ValueError,
        r"num_steps is the length of static data, got num_steps=6 with time_var=True; leave it out",
    ),
    "static data without num_steps": (
        lambda: mistake(time_var=False),
        ValueError,
        r"static data \(time_var=False\) needs num_steps, a whole number > 0, got False",
    ),
    "K beyond num_steps": (
        lambda: mistake(num_steps=6, time_var=False, K=7),
        ValueError,
        r"K must not exceed num_steps=6, got K=7; write K=6 or smaller",
    ),
    "K beyond the data": (
        lambda: mistake(K=7),
        ValueError,
        r"number of steps, got K=7 for 6 steps; write K=6",
    ),
    "K of nothing": (
        lambda: mistake(K=0),
        ValueError,
        "K must be a whole number of steps > 0, or False for all",
    ),
    "static data with the batch first": (
        lambda: mistake(num_steps=6, time_var=False, time_first=False),
        ValueError,
        "time_first=False is for data with a time axis, got time_var=False; leave time_first out",
    ),
    "no batch": (lambda: mistake(batches=[]), ValueError, "at least one batch .* got none"),
    "unreduced loss": (
        lambda: mistake(SF.ce_rate_loss(reduction="none")),
        ValueError,
        r"criterion must return one number, got shape \(4,\); build it with reduction='mean'",
    ),
    "targets of another length": (
        lambda: mistake(
            SF.mse_membrane_loss(time_var_targets=True), [(data()[0][0], torch.zeros(5, B).long())]
        ),
        ValueError,
        r"needs targets \[T, B\] for T=6 steps, got \(5, 4\)",
    ),
    "membrane loss without membranes": (
        lambda: mistake(SF.mse_membrane_loss(), net=network(lif())),
        TypeError,
        r"returns \(spk, \.\.\., mem\), got Tensor; build its last neuron with output=True",
    ),
}


@pytest.mark.parametrize(("act", "error", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_came_and_what_to_write(
    act: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        act()


def test_a_loss_of_the_users_own_works_as_a_subclass() -> None:
    class silence(SF.LossFunctions):
        def _compute_loss(self, spk_out: Tensor, targets: Tensor) -> Tensor:
            return spk_out.sum((0, 2))

    net = network()
    rates = [BPTT(net, data(), sgd(net), silence("mean", None)).item() for _ in range(20)]
    assert rates[-1] < 0.2 * rates[0]
