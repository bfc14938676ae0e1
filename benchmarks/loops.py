"""Networks with a time loop of their own, unchanged: snnTorch, Spikeloom's plain loop,
`snn.layerwise`, `snn.run`.

    python benchmarks/loops.py [--repeats 7] [--smoke] [--only MLP conv]

One training step (forward, loss, backward; for the decorated step also Adam), float32, one thread,
CPU time, medians of interleaved rounds. "times snntorch" compares with snnTorch's loop, where it is
installed, else "times loop" with the plain one. The first table is the cost of recording an
operation, the last one what each rewrite is worth.
"""

import argparse
import copy
import importlib
import time
from collections.abc import Callable
from typing import Any

import torch
from common import asked, interleaved, machine, options, report
from loop_networks import CASES, Case, forward_pass, loss_of, training_step
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.running.recorder import Recorder

Step = Callable[[], float]


def contenders(case: Case, smoke: bool) -> dict[str, Step]:
    """The ways to run a case, each with a network of its own and the same weights."""
    torch.manual_seed(0)
    x = case.data(smoke)
    num_steps = min(case.num_steps, 5) if smoke else case.num_steps
    net = case.make(snn, smoke)
    found = {}
    try:
        peer = case.make(importlib.import_module("snntorch"), smoke)
    except ImportError as error:
        print(f"without snntorch: {error}")
    else:
        peer.load_state_dict(net.state_dict(), strict=False)
        found["snntorch"] = _step(case, peer, x, num_steps, lambda target: target)
    found["loop"] = _step(case, copy.deepcopy(net), x, num_steps, lambda target: target)
    found["layerwise"] = _step(case, copy.deepcopy(net), x, num_steps, snn.layerwise)
    if case.run is not None:
        found["run"] = _trained(net, lambda: case.run(net, x, num_steps), case.rounds)
    return found


def _step(
    case: Case, net: nn.Module, x: Tensor, num_steps: int, wrap: Callable[[Any], Any]
) -> Step:
    if case.kind == "function":
        function = wrap(forward_pass)
        return _trained(net, lambda: function(net, x, num_steps), case.rounds)
    if case.kind == "step":
        y = torch.arange(len(x)) % 10
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, fused=True)
        function = wrap(training_step)
        return lambda: function(net, optimizer, x, y).item()
    call = wrap(net)
    return _trained(net, lambda: call(x), case.rounds)


def _trained(net: nn.Module, forward: Callable[[], Any], rounds: int) -> Step:
    def step() -> float:
        for _ in range(rounds):
            net.zero_grad()
            loss = loss_of(forward())
            loss.backward()
        return loss.item()

    return step


def compared(name: str, case: Case, repeats: int, smoke: bool) -> dict[str, Any]:
    """The row of a case."""
    steps = contenders(case, smoke)
    losses = {way: step() for way, step in steps.items()}
    times = interleaved(steps, repeats)
    base = "snntorch" if "snntorch" in times else "loop"
    row: dict[str, Any] = {"network": name, "aim": case.aim}
    for way in ("snntorch", "loop", "layerwise", "run"):
        row[f"{way} [ms]"] = times[way] * 1e3 / case.rounds if way in times else None
    for way in ("loop", "layerwise", "run"):
        row[f"{way}, times {base}"] = times[base] / times[way] if way in times else None
    row["losses apart"] = max(losses.values()) - min(losses.values())
    return row


REWRITES = ("pooling", "readout", "events")


def without_each(name: str, case: Case, repeats: int, smoke: bool) -> dict[str, Any]:
    """`snn.layerwise` with all rewrites, and how much longer it takes without one of them."""
    torch.manual_seed(0)
    x, net = case.data(smoke), case.make(snn, smoke)
    num_steps = min(case.num_steps, 5) if smoke else case.num_steps

    def without(left_out: str) -> Step:
        step = _step(case, copy.deepcopy(net), x, num_steps, snn.layerwise)

        def run() -> float:
            with snn.rewrites(*(name for name in REWRITES if name != left_out)):
                return step()

        return run

    times = interleaved({name: without(name) for name in ("", *REWRITES)}, repeats)
    row: dict[str, Any] = {"network": name, "all [ms]": times[""] * 1e3 / case.rounds}
    return row | {f"without {name}, times": times[name] / times[""] for name in REWRITES}


# -- the cost of recording -------------------------------------------------------------------------


class Small(nn.Module):
    """Eight operations a step, each of a few values."""

    operations = 8  # selection, linear, product, neuron, linear, product, sum, neuron

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(4, 64), snn.Leaky(0.9)
        self.fc2, self.lif2 = nn.Linear(64, 2), snn.Leaky(0.9)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, membranes = [], []
        for step in range(len(x)):
            spk1, mem1 = self.lif1(self.fc1(x[step]) * 0.5, mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1) * 2 + 0.1, mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes), torch.stack(membranes)


class Watch:
    """Processor time inside `Recorder.finish`."""

    def __init__(self) -> None:
        self.seconds, self.finish = 0.0, Recorder.finish

    def __enter__(self) -> "Watch":
        def timed(recorder: Recorder, result: Any) -> Any:
            start = time.process_time()
            try:
                return self.finish(recorder, result)
            finally:
                self.seconds += time.process_time() - start

        Recorder.finish = timed  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __exit__(self, *error: Any) -> None:
        Recorder.finish = self.finish


def recording(repeats: int, smoke: bool) -> list[dict[str, Any]]:
    """Microseconds of an operation: the plain loop, recording it (Python and module calls
    included), the rest."""
    num_steps = 20 if smoke else 100
    net, x = Small(), torch.rand(num_steps, 32, 4)
    recorded = snn.layerwise(net)
    operations = num_steps * Small.operations
    inside: list[float] = []

    def watched() -> None:
        with Watch() as watch:
            recorded(x)
        inside.append(watch.seconds)

    with torch.no_grad():
        times = interleaved({"loop": lambda: net(x), "layerwise": watched}, 5 * repeats)
    finish = sorted(inside[1:])[len(inside) // 2 - 1]
    return [
        {
            "operations": operations,
            "plain loop [us]": times["loop"] / operations * 1e6,
            "recording [us]": (times["layerwise"] - finish) / operations * 1e6,
            "execution [us]": finish / operations * 1e6,
        }
    ]


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="*", help="parts of the names of the networks to run")


def main() -> None:
    args = options(__doc__ or "", repeats=7, smoke="few steps, small batches", more=_more)
    print(f"processor: {machine()['cpu']}", flush=True)
    report(
        "Cost of an operation, batch 32, no gradients, 1 thread",
        recording(args.repeats, args.smoke),
    )
    wanted = {name: case for name, case in CASES.items() if asked(name, args.only)}
    rows = [compared(name, case, args.repeats, args.smoke) for name, case in wanted.items()]
    without = [without_each(name, case, args.repeats, args.smoke) for name, case in wanted.items()]
    report("With snn.layerwise, without one of the rewrites, 1 thread", without)
    report("Training step of networks with a loop of their own, 1 thread", rows)


if __name__ == "__main__":
    main()
