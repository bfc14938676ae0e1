"""Linear layers on sparse spikes: events against the dense product, and a training step against
peers.

    python benchmarks/events.py [--repeats 9] [--smoke] [--only
    inference,break-even,training,network]

One thread, CPU time, medians, contenders interleaved. Times are of whole calls of
`snn.SpikeLinear`, with the search for what fired; gradients are of weight, bias and input. The
break-even is that of events="always", the other tables are of the default, events="auto". The
network is a multilayer perceptron 784-1000-10 over 25 steps of 128 samples, its input drawn anew at
every step; with snnTorch where it is installed.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import interleaved, report
from torch import Tensor, nn

import spikeloom as snn

LINEAR = [
    (1000, 1000, 1),
    (1000, 1000, 32),
    (1000, 1000, 128),
    (1000, 1000, 3200),
    (4096, 4096, 128),
    (4096, 4096, 1024),
]
LAP = 0.03  # seconds for which a short call is repeated
Row = dict[str, Any]


def layers(inputs: int, outputs: int, events: str) -> dict[str, nn.Module]:
    """A layer for events and the ordinary one, with the same weights."""
    layer, plain = snn.SpikeLinear(inputs, outputs, events=events), nn.Linear(inputs, outputs)
    plain.load_state_dict(layer.state_dict())
    return {"dense": plain, "SpikeLinear": layer}


def cases(smoke: bool, events: str) -> list[tuple[str, dict[str, nn.Module], tuple[int, ...]]]:
    found = []
    for inputs, outputs, rows in LINEAR[1:2] if smoke else LINEAR:
        found.append(
            (
                f"linear {inputs}-{outputs}, {rows} rows",
                layers(inputs, outputs, events),
                (rows, inputs),
            )
        )
    return found


def spikes(shape: tuple[int, ...], density: float) -> Tensor:
    return (torch.rand(shape) < density).float()


def inference(
    pair: dict[str, nn.Module], shape: tuple[int, ...], density: float, repeats: int
) -> dict[str, float]:
    x = spikes(shape, density)

    def many(layer: nn.Module, times: int) -> None:
        with torch.no_grad():
            for _ in range(times):
                layer(x)

    once = interleaved({n: lambda layer=layer: many(layer, 1) for n, layer in pair.items()}, 3)
    times = {
        n: 1 + int(LAP / seconds) for n, seconds in once.items()
    }  # what the other left in the caches is soon gone
    found = interleaved(
        {n: lambda n=n, layer=layer: many(layer, times[n]) for n, layer in pair.items()}, repeats
    )
    return {name: seconds / times[name] for name, seconds in found.items()}


def training(
    pair: dict[str, nn.Module], shape: tuple[int, ...], density: float, repeats: int
) -> dict[str, float]:
    x = spikes(shape, density).requires_grad_()
    gradient = torch.randn_like(pair["dense"](x))
    runs = {
        n: lambda layer=layer: torch.autograd.grad(layer(x), [x, *layer.parameters()], gradient)
        for n, layer in pair.items()
    }
    return interleaved(runs, repeats)


def table(
    measure: Callable[..., dict[str, float]],
    smoke: bool,
    repeats: int,
    densities: tuple[float, ...],
) -> list[Row]:
    rows = []
    for name, pair, shape in cases(smoke, "auto"):
        row: Row = {"layer": name}
        for density in densities:
            times = measure(pair, shape, density, repeats)
            row.setdefault("dense [ms]", times["dense"] * 1e3)
            gain = times["dense"] / times["SpikeLinear"]
            row[f"dense / SpikeLinear at {100 * density:g} %"] = gain
        rows.append(row)
    return rows


def break_even(smoke: bool, repeats: int) -> list[Row]:
    """The density at which both take the same time, between measured ones."""
    rows = []
    for name, pair, shape in cases(smoke, "always"):
        row: Row = {"layer": name}
        for kind, measure in (("inference", inference), ("training", training)):
            before, found = (0.0, float("inf")), "> 60 %"
            for density in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6):
                times = measure(pair, shape, density, repeats)
                gain = times["dense"] / times["SpikeLinear"]
                if gain < 1:
                    low, high = before
                    crossing = low + (density - low) * (high - 1) / (high - gain) if low else 0
                    found = f"{100 * crossing:.0f} %"
                    break
                before = density, gain
            row[kind] = found
        rows.append(row)
    return rows


def network(repeats: int) -> list[Row]:
    """A training step (forward, loss, backward, Adam), input of these densities."""
    rows = []
    for density in (0.02, 0.05, 0.1):
        x, target = spikes((25, 128, 784), density), torch.randint(10, (128,))
        times = interleaved({name: make(x, target) for name, make in steppers().items()}, repeats)
        row: Row = {"density [%]": 100 * density, "ours [ms]": times["ours"] * 1e3}
        rows.append(
            row
            | {
                f"{name} / ours": seconds / times["ours"]
                for name, seconds in times.items()
                if name != "ours"
            }
        )
    return rows


def steppers() -> dict[str, Callable[[Tensor, Tensor], Callable[[], None]]]:
    """A training step of ours, of the same without events, and of snnTorch's loop."""
    found = {"ours": lambda x, y: ours(x, y, ""), "ours, dense": lambda x, y: ours(x, y, "dense")}
    try:
        import snntorch  # noqa: F401
    except ImportError as error:
        print(f"without snntorch: {error}")
        return found
    return found | {"snntorch": snntorch_step}


def linears(dense: bool) -> tuple[nn.Module, nn.Module]:
    if dense:
        return snn.SpikeLinear(784, 1000, events="never"), snn.SpikeLinear(1000, 10, events="never")
    return nn.Linear(784, 1000), nn.Linear(1000, 10)


def ours(x: Tensor, target: Tensor, kind: str) -> Callable[[], None]:
    first, second = linears(kind == "dense")
    net = nn.Sequential(
        first, snn.Leaky(0.95, init_hidden=True), second, snn.Leaky(0.95, init_hidden=True)
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-4)

    def step() -> None:
        optimizer.zero_grad()
        mem = snn.run(net, x, record=["3.mem"]).record["3.mem"]
        nn.functional.cross_entropy(mem.flatten(0, 1), target.repeat(len(x))).backward()
        optimizer.step()

    return step


def snntorch_step(x: Tensor, target: Tensor) -> Callable[[], None]:
    import snntorch

    fc1, fc2, lif1, lif2 = (
        nn.Linear(784, 1000),
        nn.Linear(1000, 10),
        snntorch.Leaky(0.95),
        snntorch.Leaky(0.95),
    )
    optimizer = torch.optim.Adam([*fc1.parameters(), *fc2.parameters()], lr=5e-4)

    def step() -> None:
        optimizer.zero_grad()
        mem1, mem2, loss = lif1.init_leaky(), lif2.init_leaky(), torch.zeros(())
        for x_t in x:
            spk1, mem1 = lif1(fc1(x_t), mem1)
            _, mem2 = lif2(fc2(spk1), mem2)
            loss = loss + nn.functional.cross_entropy(mem2, target)
        loss.backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--smoke", action="store_true", help="one small layer of each kind, a few repeats"
    )
    parser.add_argument("--only", default="inference,break-even,training,network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    smoke, repeats = options.smoke, 3 if options.smoke else options.repeats
    only = options.only.split(",")[:1] if smoke else options.only.split(",")
    densities = (0.01, 0.02, 0.05, 0.1, 0.2)
    if "inference" in only:
        report(
            "inference, 1 thread",
            table(inference, smoke, repeats, densities[2:3] if smoke else densities),
        )
    if "training" in only:
        report("forward + backward, 1 thread", table(training, smoke, repeats, densities[1:]))
    if "break-even" in only:
        report(
            "density at which events and the dense product take the same time",
            break_even(smoke, repeats),
        )
    if "network" in only:
        report("training step of 784-1000-10, T = 25, batch 128, 1 thread", network(repeats))


if __name__ == "__main__":
    main()
