"""Delays against shifted and interpolated signals."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn

T, B, C = 12, 2, 3


def signal(*shape: int) -> Tensor:
    return torch.randn(*(shape or (T, B, C)), dtype=torch.float64)


def shifted(x: Tensor, steps: int) -> Tensor:
    """The signal that many steps later, zeros before."""
    return torch.cat([torch.zeros_like(x[:steps]), x[: len(x) - steps]])


def sequence(*arguments: object, **options: object) -> snn.SynapticDelay:
    return snn.SynapticDelay(*arguments, mode="sequence", **options).double()


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_whole_delay_shifts(steps: int) -> None:
    x = signal()
    torch.testing.assert_close(sequence(5, steps)(x), shifted(x, steps))


def test_a_fractional_delay_interpolates_between_its_neighbours() -> None:
    x = signal()
    torch.testing.assert_close(sequence(5, 2.25)(x), 0.75 * shifted(x, 2) + 0.25 * shifted(x, 3))


@pytest.mark.parametrize("shape", [(), (4, 4)], ids=["features", "images"])
def test_each_channel_has_its_own_delay(shape: tuple[int, ...]) -> None:
    x, delays = signal(T, B, C, *shape), torch.tensor([0.0, 1.5, 4.0])
    y = sequence(4, delays, C)(x)
    for c, delay in enumerate(delays.tolist()):
        torch.testing.assert_close(y[:, :, c], sequence(4, delay)(x[:, :, c : c + 1])[:, :, 0])


def test_a_gaussian_kernel_weighs_all_steps_around_the_delay() -> None:
    x, layer = signal(), sequence(6, 2.5, kernel="gaussian", sigma=0.75)
    weights = torch.exp(-0.5 * ((torch.arange(7) - 2.5) / 0.75) ** 2).double()
    weights = weights / weights.sum()
    torch.testing.assert_close(layer(x), sum(w * shifted(x, k) for k, w in enumerate(weights)))
    layer.sigma = 1e-3
    layer.delay.fill_(2.0)
    snn.reset(layer)
    torch.testing.assert_close(layer(x), shifted(x, 2))


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
@pytest.mark.parametrize("delay", [0.0, 1.0, 2.6, 4.0])
def test_the_delay_has_a_gradient_at_whole_steps_too(kernel: str, delay: float) -> None:
    x, weight = signal(), signal()
    layer = sequence(4, delay, learn_delay=True, kernel=kernel)
    (layer(x) * weight).sum().backward()
    moved = sequence(4, torch.tensor(delay, dtype=torch.float64), kernel=kernel)
    values, reach = [], 1e-6
    for d in (delay - reach, delay + reach):
        moved.delay.fill_(d)
        snn.reset(moved)
        values.append((moved(x) * weight).sum())
    slope = (values[1] - values[0]) / (2 * reach)  # both sides; beyond 0 and 4 the delay is clamped
    inside = kernel == "gaussian" and delay in (
        0.0,
        4.0,
    )  # there the smooth kernel has a gradient of its own
    torch.testing.assert_close(
        layer.delay.grad, 2 * slope if inside else slope, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("target", [2, 4])
def test_a_whole_delay_of_a_spike_is_learned_in_both_directions(target: int) -> None:
    x = torch.zeros(20, 1, 1).index_fill(0, torch.tensor([3, 11]), 1.0)
    layer = snn.SynapticDelay(8, 3.0, learn_delay=True, mode="sequence")
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(120):
        snn.reset(layer)
        optimizer.zero_grad()
        (layer(x) - shifted(x, target)).square().sum().backward()
        optimizer.step()
    assert layer.delay.item() == pytest.approx(target, abs=0.1)


@pytest.mark.parametrize("kernel", ["linear", "gaussian"])
def test_a_delay_is_learned_from_a_delayed_signal(kernel: str) -> None:
    time = torch.arange(60.0).view(-1, 1, 1)
    x = torch.sin(0.2 * time)
    target = torch.sin(0.2 * (time - 3.4))
    layer = snn.SynapticDelay(8, 1.0, learn_delay=True, kernel=kernel, sigma=0.5, mode="sequence")
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(80):
        snn.reset(layer)
        optimizer.zero_grad()
        (layer(x) - target)[10:].square().mean().backward()
        optimizer.step()
    assert layer.delay.item() == pytest.approx(3.4, abs=0.05)


def test_steps_give_what_the_sequence_gives_and_go_on_where_they_were() -> None:
    x, layer, whole = signal(), snn.SynapticDelay(4, 2.5, C).double(), sequence(4, 2.5, C)
    steps = torch.stack([layer(x_t) for x_t in x])
    assert torch.equal(steps, whole(x))
    assert torch.equal(layer.hidden.past, whole.hidden.past) and torch.equal(
        whole.hidden.past, x[-4:]
    )
    torch.testing.assert_close(layer(x[0]), 0.5 * x[-2] + 0.5 * x[-3])
    snn.reset(layer)
    assert torch.equal(layer(x[0]), torch.zeros(B, C, dtype=torch.float64))


def test_a_network_with_delays_runs_over_time_like_its_step_loop() -> None:
    net = nn.Sequential(
        nn.Linear(3, 4),
        snn.SynapticDelay(4, 1.5, channels=4),
        snn.Leaky(0.9, init_hidden=True),
        nn.Linear(4, 2),
    ).double()
    x = signal()
    expected = torch.stack([net(x_t) for x_t in x])
    snn.reset(net)
    torch.testing.assert_close(snn.run(net, x), expected)


def test_a_state_dict_holds_the_delay_and_nothing_else() -> None:
    assert set(sequence(4, 2.0, C, learn_delay=True).state_dict()) == {"delay"}


def test_a_copy_remembers_what_its_original_does() -> None:
    layer, x = sequence(4, 2.5, C, learn_delay=True), signal()
    layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other.hidden.past, layer.hidden.past)
        assert torch.equal(other(x[:2]), copy.deepcopy(layer)(x[:2]))


def test_a_batch_of_another_size_needs_a_reset() -> None:
    layer = sequence(4)
    layer(signal())
    with pytest.raises(
        ValueError,
        match=r"remembers inputs of shape \(2, 3\), got a step of shape \(5, 3\); call snn",
    ):
        layer(signal(T, 5, C))


def test_a_kept_past_is_cut_from_the_graph_by_detach() -> None:
    layer, x = sequence(4, 1.5), signal().requires_grad_()
    (layer(2 * x)).square().sum().backward()
    with pytest.raises(RuntimeError, match="past still hangs on the graph"):
        layer(2 * x)
    snn.detach(layer)
    (layer(2 * x)).square().sum().backward()


MISTAKES = {
    "no delay possible": (lambda: snn.SynapticDelay(0), r"max_delay must be in \[1, \d+\], got 0"),
    "beyond the longest": (
        lambda: snn.SynapticDelay(4, 5.0),
        r"delay must be in \[0, 4\], got 5; max_delay",
    ),
    "other channels": (
        lambda: snn.SynapticDelay(4, torch.ones(2), 3),
        r"or have shape \(3,\), got shape \(2,\)",
    ),
    "unknown kernel": (
        lambda: snn.SynapticDelay(4, kernel="gauss"),
        r"kernel must be one of .*did you mean 'gaussian'",
    ),
    "other input": (
        lambda: snn.SynapticDelay(4, 1.0, 3)(torch.ones(2, 4)),
        r"channels=3, got one step of shape \(2, 4\)",
    ),
}


@pytest.mark.parametrize(("act", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_delay_that_cannot_be_is_named(act: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        act()
