"""Gradients carried forward in time: exact for one layer of neurons, close in direction below,
constant in memory."""

import gc
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import spikeloom as snn
from spikeloom.learning import Online, cosine, online

ROOT = Path(__file__).resolve().parent.parent
T, B = 20, 4
Y = torch.tensor([0, 2, 1, 0])
F64 = {"dtype": torch.float64}


def lif(beta: float = 0.8, **options: Any) -> snn.Leaky:
    return snn.Leaky(beta, **{"init_hidden": True, **options})


def awake(net: nn.Sequential) -> nn.Sequential:
    """The network in float64, its weights raised so that neurons fire."""
    net = net.double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter += 0.15 * ("bias" not in name)
    return net


def signal(*shape: int) -> Tensor:
    return (
        torch.rand(
            T, B, *(shape or (6,)), generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        * 2
    )


def exact(
    net: nn.Module, x: Tensor, y: Any, loss: Callable[..., Tensor], moving: bool = False
) -> tuple[Tensor, list]:
    """Mean loss over time and its gradients by backpropagation through time."""
    snn.reset(net)
    value = torch.stack([loss(net(x_t), y[t] if moving else y) for t, x_t in enumerate(x)]).mean()
    return value.detach(), list(
        torch.autograd.grad(value, [p for p in net.parameters() if p.requires_grad])
    )


def forward(
    net: nn.Sequential, x: Tensor, y: Any, loss: Any, **options: Any
) -> tuple[Tensor, list]:
    net.zero_grad()
    value = online(net, x, y, loss, **options)
    return value, [p.grad for p in net.parameters() if p.requires_grad]


def compare(net: nn.Sequential, x: Tensor, y: Any = Y, loss: Any = cross_entropy) -> None:
    for found, wanted in zip(forward(net, x, y, loss), exact(net, x, y, loss), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


ONE_LAYER: dict[str, Callable[[], nn.Sequential]] = {
    "linear": lambda: nn.Sequential(nn.Linear(6, 3), lif()),
    "without bias": lambda: nn.Sequential(nn.Linear(6, 3, bias=False), lif()),
    "no reset": lambda: nn.Sequential(nn.Linear(6, 3), lif(reset_mechanism="none")),
    "no leak": lambda: nn.Sequential(nn.Linear(6, 3), snn.IF(init_hidden=True)),
    "leaky integrator": lambda: nn.Sequential(nn.Linear(6, 3), snn.LI(0.8, init_hidden=True)),
    "second order": lambda: nn.Sequential(
        nn.Linear(6, 3), snn.Synaptic(0.7, 0.8, init_hidden=True)
    ),
    "a threshold for each neuron": lambda: nn.Sequential(
        nn.Linear(6, 3), lif(threshold=torch.rand(3) + 0.5)
    ),
    "two synapses in a row": lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3), lif()),
    "a readout without neurons": lambda: nn.Sequential(nn.Linear(6, 5), lif(), nn.Linear(5, 3)),
    "a nonlinear readout": lambda: nn.Sequential(
        nn.Linear(6, 5), lif(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)
    ),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(6, 5), lif()), nn.Sequential(nn.Linear(5, 3))
    ),
    "behind neurons that do not learn": lambda: nn.Sequential(
        nn.Linear(6, 5).requires_grad_(False), lif(), nn.Linear(5, 3), lif()
    ),
    "weight norm": lambda: nn.Sequential(
        torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)), lif()
    ),
}


@pytest.mark.parametrize("make", ONE_LAYER.values(), ids=ONE_LAYER)
def test_one_layer_of_neurons_gets_the_gradient_of_bptt_exactly(
    make: Callable[[], nn.Sequential],
) -> None:
    net, rates = awake(make()), []
    neuron = next(module for module in net.modules() if isinstance(module, snn.Neuron))
    neuron.register_forward_hook(lambda module, args, spk: rates.append(spk.mean()))
    compare(net, signal())
    rate = torch.stack(rates).mean().item()
    assert isinstance(neuron, snn.LI) or 0.02 < rate < 0.98


@pytest.mark.parametrize("pool", [nn.Identity(), nn.AvgPool2d(2)], ids=["plain", "pooled"])
def test_a_convolution_gets_the_gradient_of_bptt_exactly(pool: nn.Module) -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=1, padding=1), pool, lif(), nn.Flatten(), nn.LazyLinear(3)
    ).double()
    compare(net, signal(1, 6, 6))


def test_membranes_may_be_read_through_output() -> None:
    net = nn.Sequential(nn.Linear(6, 3), lif(output=True)).double()
    compare(net, signal(), loss=lambda output, y: cross_entropy(output[1], y))


def test_a_network_of_its_own_state_is_reset_first() -> None:
    net = nn.Sequential(nn.Linear(6, 3), lif()).double()
    first = forward(net, signal(), Y, cross_entropy)
    torch.testing.assert_close(forward(net, signal(), Y, cross_entropy), first)
    assert not net[1].mem.requires_grad


def test_static_input_needs_num_steps_and_gives_the_same() -> None:
    net, x = nn.Sequential(nn.Linear(6, 3), lif()).double(), signal()[0]
    found = forward(net, x, Y, cross_entropy, num_steps=T)
    torch.testing.assert_close(found, forward(net, x.expand(T, B, 6), Y, cross_entropy))


def test_targets_may_vary_over_time() -> None:
    net, y = nn.Sequential(nn.Linear(6, 3), lif()).double(), torch.rand(T, B, 3, **F64)
    found = forward(net, signal(), y, nn.functional.mse_loss, time_var_targets=True)
    torch.testing.assert_close(found, exact(net, signal(), y, nn.functional.mse_loss, moving=True))


def test_gradients_add_to_those_that_are_there() -> None:
    net = nn.Sequential(nn.Linear(6, 3), lif()).double()
    _, once = forward(net, signal(), Y, cross_entropy)
    once = [g.clone() for g in once]
    online(net, signal(), Y, cross_entropy)
    torch.testing.assert_close([p.grad for p in net.parameters()], [2 * g for g in once])


@pytest.mark.parametrize(("layers", "least"), [(2, 0.95), (3, 0.9)])
def test_below_other_neurons_the_direction_is_close(layers: int, least: float) -> None:
    torch.manual_seed(0)
    sizes = [6, *[60] * (layers - 1), 3]
    pairs = [(nn.Linear(a, b), lif(0.9)) for a, b in pairwise(sizes)]
    net = nn.Sequential(*(module for pair in pairs for module in pair)).double()
    (_, found), (_, wanted) = (
        forward(net, signal(), Y, cross_entropy),
        exact(net, signal(), Y, cross_entropy),
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert cosine([ours], [theirs]) > least
    torch.testing.assert_close(
        found[-2:], wanted[-2:], rtol=1e-9, atol=1e-12
    )  # the last layer is exact
    assert found[0].norm() < 0.5 * wanted[0].norm()  # and the others too short, as documented


@pytest.mark.parametrize(
    "options", [{"reset_mechanism": "zero"}, {"reset_delay": False}], ids=["zero", "same step"]
)
def test_other_resets_are_close(options: dict) -> None:
    net = awake(nn.Sequential(nn.Linear(6, 3), lif(**options)))
    (_, found), (_, wanted) = (
        forward(net, signal(), Y, cross_entropy),
        exact(net, signal(), Y, cross_entropy),
    )
    assert 0.9 < cosine(found, wanted) < 1 - 1e-6


def test_a_stream_may_be_learned_with_an_update_at_every_step() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), lif(), nn.Linear(20, 3), lif(output=True)).double()
    learner = Online(net, lambda output, y: cross_entropy(output[1], y))
    adam, losses = torch.optim.Adam(net.parameters(), lr=1e-2), []
    patterns = torch.rand(3, 6, **F64)
    for _ in range(15):
        learner.reset()
        for _ in range(T):
            adam.zero_grad()
            losses.append(learner.step(patterns[Y], Y))
            adam.step()
    assert sum(losses[-T:]) < 0.3 * sum(losses[:T])
    assert not losses[0].requires_grad


@pytest.mark.usefixtures("new_objects_only")
def test_a_step_keeps_nothing_of_the_steps_before() -> None:
    """The number of tensors alive does not depend on how many steps were run."""
    net = nn.Sequential(
        nn.Linear(6, 5), lif(), nn.Linear(5, 3), snn.Synaptic(0.7, 0.8, init_hidden=True)
    )
    learner, alive = Online(net, cross_entropy), []
    for _ in range(12):
        learner.step(torch.rand(B, 6), Y)
        gc.collect()
        alive.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
    assert len(set(alive[2:])) == 1, alive


@pytest.mark.slow
def test_the_memory_benchmark_shows_a_rule_that_does_not_grow() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read from /proc")
    done = subprocess.run(
        [sys.executable, "benchmarks/online_memory.py", "--smoke"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+)$", done.stdout, re.MULTILINE)
    (_, short, small), (_, long, constant) = [tuple(map(float, row)) for row in rows[:2]]
    assert long - short > 5, done.stdout  # MiB; 9 to 12 were measured
    assert constant - small < 3, done.stdout
    assert "cosine of layer 1" in done.stdout


class Forked(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lif = lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(x)


def learn(*layers: nn.Module, loss: Any = cross_entropy, x: Any = None, **options: Any) -> Tensor:
    return online(nn.Sequential(*layers).double(), signal() if x is None else x, Y, loss, **options)


FC = nn.Linear(6, 3)
SHARED = lif()
MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no sequential": (
        lambda: online(Block(), signal(), Y, cross_entropy),
        TypeError,
        "must be nn.Sequential, .* Block",
    ),
    "a forward of its own": (
        lambda: Online(Forked(FC, lif()), cross_entropy),
        TypeError,
        "got Forked; write",
    ),
    "a block with a state": (
        lambda: learn(FC, Block()),
        TypeError,
        r"got Block '1' with a state inside; write its",
    ),
    "a delay": (
        lambda: learn(FC, snn.SynapticDelay(3, 1.0), lif()),
        TypeError,
        r"got SynapticDelay '1' with a state inside",
    ),
    "another neuron": (
        lambda: learn(FC, snn.Alpha(0.9, 0.8, init_hidden=True)),
        TypeError,
        r"Leaky, IF, LI, Synaptic.*, got Alpha '1'; train it with snn\.run",
    ),
    "a neuron that learns": (
        lambda: learn(FC, lif(learn_beta=True)),
        TypeError,
        "constants that learn; build it",
    ),
    "explicit state inside": (
        lambda: learn(FC, snn.Leaky(0.9), nn.Linear(3, 3)),
        TypeError,
        r"passes on spikes only, got Leaky '1'; write init_hidden=True",
    ),
    "one beta for each neuron": (
        lambda: learn(FC, lif(torch.rand(3))),
        ValueError,
        r"a trace serves a whole layer of neurons, got beta \(3,\) in Leaky '1'; give one value",
    ),
    "sequence mode": (
        lambda: learn(FC, lif(mode="sequence")),
        ValueError,
        r"write snn\.set_mode\(net, \"step\"\)",
    ),
    "a neuron in two places": (
        lambda: learn(FC, SHARED, nn.Linear(3, 3), SHARED),
        ValueError,
        r"one input a step, got '3' in two places; write a second neuron",
    ),
    "a layer with other parameters": (
        lambda: learn(FC, nn.LayerNorm(3), lif()),
        TypeError,
        r"trains nn\.Linear and convolutions, got parameters of LayerNorm '1'; write "
        r"layer\.requires_grad_\(False\)",
    ),
    "nothing to learn": (
        lambda: learn(lif()),
        ValueError,
        r"no synapse with requires_grad=True; add nn\.Linear",
    ),
    "a loss for each sample": (
        lambda: learn(FC, lif(), loss=lambda output, y: cross_entropy(output, y, reduction="none")),
        ValueError,
        r"one number, got shape \(4,\); write reduction='mean'",
    ),
    "no step": (
        lambda: learn(FC, lif(), x=signal()[:0]),
        ValueError,
        r"with T > 0, got \(0, 4, 6\)",
    ),
    "targets of another length": (
        lambda: learn(FC, lif(), time_var_targets=True),
        ValueError,
        "one target for each of 20 steps, got 4",
    ),
    "gradients of other shapes": (
        lambda: cosine([torch.ones(2)], [torch.ones(3)]),
        ValueError,
        r"same shapes, got \[\(2,\)\] and \[\(3,\)\]; write",
    ),
    "a gradient of zero": (
        lambda: cosine([torch.ones(2)], [torch.zeros(2)]),
        ValueError,
        "zero has no direction",
    ),
}


@pytest.mark.parametrize(("act", "error", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_came_and_what_to_write(
    act: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        act()
