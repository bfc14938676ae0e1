"""`snn.run(memory=...)`: what is kept and computed again changes neither spikes nor, but for 16
bits, gradients."""

import gc
from typing import Any

import pytest
import torch
from sparse import saved_bytes
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.running import memory
from spikeloom.running.execution import Execution

T, B = 30, 4


def network(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 20),
        snn.Leaky(0.9, init_hidden=True, learn_beta=True, **options),
        nn.BatchNorm1d(20),
        nn.Dropout(0.2),
        snn.SynapticDelay(3, 1.5, 20, learn_delay=True),
        nn.Linear(20, 20),
        snn.Synaptic(0.8, 0.9, init_hidden=True, **options),
        nn.Linear(20, 5),
        snn.RLeaky(0.8, linear_features=5, init_hidden=True, output=True),
    ).double()


def outcome(kind: str, x: Tensor, **options: Any) -> tuple[list[Tensor], list[Tensor], nn.Module]:
    """Outputs, gradients, and the network with what the run left behind."""
    net, x = network(), x.clone().requires_grad_()
    torch.manual_seed(1)
    spk, *states = snn.run(net, x, memory=kind, **options)
    loss = (spk * torch.linspace(-1, 1, spk.numel()).view(spk.shape)).sum() + sum(
        s.square().mean() for s in states
    )
    return [spk, *states], list(torch.autograd.grad(loss, [x, *net.parameters()])), net


def test_a_segment_that_is_computed_again_changes_nothing() -> None:
    x = torch.rand(T, B, 6, dtype=torch.float64) * 2
    again, kept = outcome("checkpoint", x), outcome("exact", x)
    for a, b in zip([*again[0], *again[1]], [*kept[0], *kept[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    for a, b in zip(again[2].buffers(), kept[2].buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("static", [False, True], ids=["input over time", "static input"])
def test_a_checkpointed_run_is_the_exact_one(static: bool) -> None:
    x = torch.rand(*(() if static else (T,)), B, 6, dtype=torch.float64) * 2
    options = {"num_steps": T} if static else {}
    net = nn.Sequential(
        nn.Linear(6, 20), snn.Leaky(0.9, init_hidden=True), nn.Linear(20, 5), snn.LI(0.9)
    ).double()
    found = []
    for kind in ("exact", "checkpoint"):
        spk, mem = snn.run(net, x, memory=kind, **options)
        found.append([spk, mem, *torch.autograd.grad(mem.square().sum(), list(net.parameters()))])
        assert net[1].mem.shape == (B, 20)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_compressed_run_has_the_same_spikes_and_nearly_the_same_gradients() -> None:
    x = torch.rand(T, B, 6, dtype=torch.float64) * 2
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 20), snn.Leaky(0.9, init_hidden=True), nn.Linear(20, 5), snn.Leaky(0.9)
    ).double()
    found = []
    for kind in ("exact", "compressed"):
        spk, mem = snn.run(net, x, memory=kind)
        found.append([spk, mem, *torch.autograd.grad(mem.square().sum(), list(net.parameters()))])
    torch.testing.assert_close(found[0][:2], found[1][:2], rtol=1e-12, atol=1e-12)
    for a, b in zip(found[0][2:], found[1][2:], strict=True):
        assert 0 < (a - b).norm() <= 1e-2 * a.norm()


def test_the_python_of_a_network_runs_once_whatever_is_computed_again() -> None:
    net, steps = nn.Sequential(nn.Linear(6, 8), snn.Leaky(0.9, init_hidden=True)), []
    net[0].register_forward_hook(lambda *_: steps.append(1))
    spk = snn.run(net, torch.rand(T, 64, 6), memory="checkpoint")
    spk.sum().backward()
    assert len(steps) == T


def test_less_is_kept_the_more_is_asked_for() -> None:
    x = torch.rand(100, 8, 6)
    net = nn.Sequential(
        *(nn.Linear(6, 300), snn.Leaky(0.9, init_hidden=True)),
        *(nn.Linear(300, 300), snn.Leaky(0.9, init_hidden=True)),
    )
    own = list(net.parameters())
    kept = {
        kind: saved_bytes(lambda kind=kind: snn.run(net, x, memory=kind), *own)
        for kind in memory.MEMORIES
    }
    assert kept["compressed"] < 0.8 * kept["exact"]
    # a sixth of the steps, whose loops are so small that they keep input and states, and the states
    # between segments
    assert kept["checkpoint"] < 0.3 * kept["exact"]


def test_the_plan_tells_the_segments_and_what_is_kept_whole() -> None:
    x = torch.rand(20, B, 6, dtype=torch.float64, requires_grad=True)
    plan = str(snn.run(network(), x, memory="compressed", explain=True).plan)
    assert plan.startswith("layer by layer, in 2 segments of 16 steps, compressed\n")
    assert "stored whole: only printed loops choose what they keep, and it owns modules" in plan
    plan = str(snn.run(network(), x, memory="checkpoint", explain=True).plan)
    assert plan.startswith(
        "layer by layer, in 2 segments of 16 steps, all but the last computed again for gradients\n"
    )


def test_records_and_the_remembered_state_go_through_the_segments() -> None:
    x = torch.rand(T, B, 6, dtype=torch.float64)
    exact, found = (
        snn.run(network().eval(), x, record=["1.mem"], memory=k) for k in ("exact", "checkpoint")
    )
    torch.testing.assert_close(exact.record["1.mem"], found.record["1.mem"], rtol=1e-12, atol=1e-12)
    net = network().eval()
    first = snn.run(net, x[:12], memory="checkpoint")[0]
    second = snn.run(net, x[12:], memory="checkpoint", reset=False)[0]
    assert torch.equal(torch.cat([first, second]), exact.output[0])


def test_the_parts_of_a_long_run_are_not_small() -> None:
    net = nn.Sequential(
        *(nn.Linear(6, 20), snn.Leaky(0.9, init_hidden=True)),
        *(nn.Linear(20, 2), snn.Leaky(0.9, init_hidden=True)),
    )
    x = torch.rand(1000, 20, 6)
    own = list(net.parameters())
    exact, found = (
        saved_bytes(lambda kind=kind: snn.run(net, x, memory=kind), *own)
        for kind in ("exact", "checkpoint")
    )
    assert found < 0.3 * exact


def test_what_cannot_be_done_is_refused_with_the_reason() -> None:
    x = torch.rand(10, B, 6)
    with pytest.raises(
        ValueError, match=r"memory must be one of 'exact', 'compressed', 'checkpoint', got 'small'"
    ):
        snn.run(network().float(), x, memory="small")
    with pytest.raises(
        ValueError, match=r'batch_norm="time" takes the statistics of all steps together'
    ):
        snn.run(network().float(), x, memory="checkpoint", batch_norm="time")


class Reshaping(nn.Module):
    """Names the size of its batch, multiplies steps elementwise and keeps two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 6), snn.Leaky(0.9, init_hidden=True, learn_beta=True)
        self.norm = nn.LayerNorm(3)
        self.fc2, self.lif2 = nn.Linear(6, 5), snn.Synaptic(0.8, 0.9, init_hidden=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spk = self.lif1(self.fc1(x.view(x.size(0), 6)) * 2 + x)
        y = self.norm(spk.view(x.size(0), 2, 3)).view(x.size(0), -1)
        return self.lif2(self.fc2(torch.relu(y))), y


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.BatchNorm2d(2).eval(),
        nn.MaxPool2d(2),
        snn.Leaky(0.9, init_hidden=True),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8, 5),
        snn.Leaky(0.8, init_hidden=True, learn_threshold=True, output=True),
    )


ALONE = {"flat": (Reshaping, (6,)), "images": (images, (1, 6, 6))}


@pytest.mark.parametrize("memory_", ["checkpoint", "compressed"])
@pytest.mark.parametrize(("name", "static"), [("flat", False), ("images", False), ("images", True)])
def test_parts_of_the_batch_differ_from_the_whole(
    name: str, static: bool, memory_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ROWS", 1)
    make, shape = ALONE[name]
    found = []
    for kind in ("exact", memory_):
        torch.manual_seed(0)
        net = make().double()
        x = (torch.rand(*(() if static else (T,)), 6, *shape) * 2).double().requires_grad_()
        options: dict[str, Any] = {"num_steps": T} if static else {}
        result = snn.run(net, x, memory=kind, explain=True, **options)
        assert ("parts of" in result.plan.segments) is (kind != "exact")
        again = snn.run(net, x, memory=kind, reset=False, **options)
        outputs = [*result.output, *again]
        loss = sum((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum() for y in outputs)
        leaves = [x, *net.parameters()]
        found.append((outputs, torch.autograd.grad(loss, leaves)))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        least = 1e-10 if memory_ == "checkpoint" else 0.3  # a sum of terms that cancel
        assert (a - b).norm() <= least * (1 + a.norm())


class Mixing(nn.Module):
    """Reads other samples of the batch in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.fc = how, nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        beta = torch.linspace(0.5, 0.9, 36).view(6, 6) if how == "a beta of each sample" else 0.9
        self.lif = snn.Leaky(beta, init_hidden=True)
        self.offset = torch.linspace(0, 1, 36).view(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        ways = {
            "softmax": lambda: y.softmax(0),
            "mean": lambda: y - y.mean(0),
            "batch norm": lambda: self.norm(y),
            "flattened": lambda: y.flatten().view(6, 6),
            "transposed": lambda: y.t() + y,
            "product": lambda: y @ y,
            "as weight": lambda: torch.nn.functional.linear(y, y),
            "reversed": lambda: y.flip(0),
            "concatenated": lambda: torch.cat([y[1:], y[:1]]),
            "offset of each sample": lambda: y + self.offset,
        }
        return self.lif(ways[self.how]() if self.how in ways else y)


@pytest.mark.parametrize(
    "how",
    [
        "softmax",
        "mean",
        "batch norm",
        "flattened",
        "transposed",
        "product",
        "as weight",
        "reversed",
        "concatenated",
        "offset of each sample",
        "a beta of each sample",
    ],
)
def test_a_batch_was_divided_although_its_samples_are_mixed(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "ROWS", 1)
    found = []
    for kind in ("exact", "checkpoint"):
        torch.manual_seed(0)
        net = Mixing(how).double()
        x = (torch.rand(T, 6, 6) * 2).double().requires_grad_()
        result = snn.run(net, x, memory=kind, explain=True)
        if kind == "checkpoint" and how != "flattened":
            assert "segments of" in result.plan.segments
        loss = (result.output * torch.linspace(-1, 1, T * 36).view(T, 6, 6)).sum()
        leaves = [x, *net.fc.parameters()]
        found.append([result.output, *torch.autograd.grad(loss, leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("memory_", ["checkpoint", "compressed"])
@pytest.mark.parametrize("static", [False, True])
def test_an_empty_batch_was_divided_by_its_size(static: bool, memory_: str) -> None:
    net = nn.Sequential(nn.Linear(6, 8), snn.Leaky(0.9, init_hidden=True))
    x = torch.zeros(*(() if static else (T,)), 0, 6)
    y = snn.run(net, x, T if static else None, memory=memory_)
    assert y.shape == (T, 0, 8)
    y.sum().backward()


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 6), snn.Leaky(0.9, init_hidden=True, learn_beta=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return self.lif(y) if y.sum() > 0 else self.lif(-y)


def test_a_network_that_asks_for_values_can_be_checkpointed_too() -> None:
    torch.manual_seed(0)
    net, x, found = Deciding().double(), torch.randn(T, B, 6, dtype=torch.float64), []
    for kind in ("exact", "checkpoint"):
        spk = snn.run(net, x, memory=kind)
        found.append([spk, *torch.autograd.grad(spk.square().sum(), list(net.parameters()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_run_may_go_on_from_a_checkpointed_one() -> None:
    net = nn.Sequential(nn.Linear(6, 8), snn.Leaky(0.9, init_hidden=True)).double()
    x = torch.rand(3, T, 64, 6, dtype=torch.float64)
    spk = [snn.run(net, part, memory="checkpoint", reset=not n) for n, part in enumerate(x[:2])]
    spk.append(snn.run(net, x[2], reset=False))
    loss = torch.cat(spk).sum()
    found = torch.autograd.grad(loss, list(net.parameters()))
    expected = torch.autograd.grad(snn.run(net, x.flatten(0, 1)).sum(), list(net.parameters()))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("written", ["0.weight", "0.bias", "1.beta", "1.threshold"])
def test_a_checkpoint_was_computed_again_with_other_weights(written: str) -> None:
    net = nn.Sequential(nn.Linear(6, 8), snn.Leaky(0.9, init_hidden=True, learn_beta=True))
    spk = snn.run(net, torch.rand(T, 64, 6), memory="checkpoint")
    with torch.no_grad():
        getattr(net[int(written[0])], written[2:]).mul_(0.5)
    # what the last segment keeps itself is torch's to refuse
    with pytest.raises(RuntimeError, match=r"changed in place|modified by an inplace operation"):
        spk.sum().backward()


def test_a_checkpoint_lets_a_norm_move_its_statistics() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), snn.Leaky(0.9, init_hidden=True))
    spk = snn.run(net, torch.rand(T, 64, 6), memory="checkpoint")
    net(torch.rand(64, 6))
    spk.sum().backward()
    assert net[0].weight.grad is not None


def test_a_segment_stays_in_memory_after_its_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that names itself as its cause, by which torch stops a recomputation, is a cycle."""
    size = 16 * 32 * 64  # of a segment
    alive: list[int] = []
    run_alone = Execution.run_alone

    def counted(self: Execution, *args: Any) -> None:
        if self.again:
            tensors = [o for o in gc.get_objects() if type(o) is torch.Tensor]
            alive.append(sum(o.numel() >= size // 2 for o in tensors))
        run_alone(self, *args)

    monkeypatch.setattr(Execution, "run_alone", counted)
    monkeypatch.setattr(memory, "LEAST", 1)
    net = nn.Sequential(
        nn.Linear(64, 64),
        snn.Leaky(0.9, init_hidden=True),
        nn.Linear(64, 64),
        snn.Leaky(0.9, init_hidden=True),
    )
    output = snn.run(net, torch.rand(100, 32, 64), memory="checkpoint")
    gc.collect()
    gc.disable()
    try:
        output.sum().backward()
    finally:
        gc.enable()
    assert len(alive) > 3
    assert max(alive) <= alive[0], alive
