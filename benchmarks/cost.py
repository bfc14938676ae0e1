"""What ten trained networks cost for a sample: spikes, operations, memory and estimated energy.

    python benchmarks/cost.py [--smoke]

Each network is trained for some epochs on the digits of scikit-learn and counted by `doctor.cost`
on 200 test samples. Where neurobench and snntorch, or spikingjelly, are installed, the synaptic
operations that they count on the same network are beside ours:

- NeuroBench hooks layers with weights, and takes an input of {-1, 0, 1} as spikes. Weights of 0 are
  no synapses, as here. A network with its own loop over time has no adapter.
- SpikingJelly intercepts matrix products and convolutions, and takes an input of {0, 1} as spikes:
  the spikes of a converted network have other sizes and count as numbers. Weights of 0 count.

Energy is an estimate by `doctor.MEMORY`. Counts of a given network do not depend on the machine;
the trained networks depend on the order of their sums.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from common import options, report
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.doctor import MEMORY
from spikeloom.functional import ce_rate_loss

STEPS = 10
LIF: dict[str, Any] = {"beta": 0.8, "init_hidden": True}


def stack(cell: Callable[[int], nn.Module], hidden: int = 100) -> nn.Sequential:
    layers = [nn.Flatten(), nn.Linear(64, hidden), cell(hidden), nn.Linear(hidden, 10), cell(10)]
    return nn.Sequential(*layers)


def convolutional(norm: bool) -> nn.Sequential:
    between: list[nn.Module] = [nn.BatchNorm2d(8)] if norm else []
    layers = [nn.Conv2d(1, 8, 3, padding=1), *between, snn.Leaky(**LIF), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(8, 16, 3, padding=1), snn.Leaky(**LIF), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(256, 10), snn.Leaky(**LIF))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(100, 100), snn.Leaky(**LIF)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.lif(self.fc(x))


class OwnLoop(nn.Module):
    """Explicit states in a loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(64, 100), snn.Leaky(0.8)
        self.fc2, self.lif2 = nn.Linear(100, 10), snn.Leaky(0.8)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        outputs = []
        for _ in range(STEPS):
            spk, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
            spk, mem2 = self.lif2(self.fc2(spk), mem2)
            outputs.append(spk)
        return torch.stack(outputs)


def residual() -> nn.Sequential:
    layers = [nn.Flatten(), nn.Linear(64, 100), snn.Leaky(**LIF), Residual(), Residual()]
    return nn.Sequential(*layers, nn.Linear(100, 10), snn.Leaky(**LIF))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MLP": lambda: stack(lambda n: snn.Leaky(**LIF)),
    "MLP, 512 wide": lambda: stack(lambda n: snn.Leaky(**LIF), 512),
    "second order": lambda: stack(lambda n: snn.Synaptic(0.5, 0.8, init_hidden=True)),
    "adaptive": lambda: stack(lambda n: snn.AdLIF(0.8, 0.9, init_hidden=True)),
    "recurrent": lambda: stack(lambda n: snn.RLeaky(0.8, linear_features=n, init_hidden=True)),
    "convolutional": lambda: convolutional(False),
    "convolutional, batch norm": lambda: convolutional(True),
    "residual": residual,
    "own loop": OwnLoop,
}


def run(net: nn.Module, x: Tensor) -> Tensor:
    """Outputs over time."""
    return snn.layerwise(net)(x) if isinstance(net, OwnLoop) else snn.run(net, x, STEPS)


def train(net: nn.Module, data: Any, epochs: int) -> float:
    """Train, and return the accuracy on the test samples."""
    optimizer, loss = torch.optim.Adam(net.parameters(), 2e-3), ce_rate_loss()
    for _ in range(epochs):
        for index in torch.randperm(len(data.x_train)).split(64):
            optimizer.zero_grad()
            loss(run(net, data.x_train[index]), data.y_train[index]).backward()
            optimizer.step()
    with torch.no_grad():
        guess = run(net.eval(), data.x_test).sum(0).argmax(-1)
    return float((guess == data.y_test).float().mean())


def converted(data: Any, epochs: int) -> tuple[nn.Module, float]:
    """An ordinary network, trained and converted."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(data.x_train)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(data.x_train[index]), data.y_train[index])
            loss.backward()
            optimizer.step()
    spiking = snn.conversion.convert(net, data.x_train[:500], num_steps=STEPS)
    guess = spiking(data.x_test, num_steps=STEPS).argmax(-1)
    return spiking, float((guess == data.y_test).float().mean())


def neurobench(net: nn.Module, x: Tensor) -> float | None:
    """Synaptic operations by NeuroBench, of an analog and a spiking input together."""
    try:
        benchmarks = importlib.import_module("neurobench.benchmarks")
        workload = importlib.import_module("neurobench.metrics.workload")
    except ImportError:
        return None
    if not isinstance(net, nn.Sequential):
        return None
    timed = x.unsqueeze(1).expand(len(x), STEPS, *x.shape[1:])
    samples = torch.utils.data.TensorDataset(timed, torch.zeros(len(x)))
    loader = torch.utils.data.DataLoader(samples, batch_size=50)
    found = benchmarks.Benchmark(
        snn.doctor.neurobench(net), loader, [], [], [[], [workload.SynapticOperations]]
    ).run(quiet=True)["SynapticOperations"]
    return found["Effective_ACs"]


def spikingjelly(net: nn.Module, x: Tensor) -> float | None:
    """Synaptic operations by SpikingJelly's counter, in the plain loop."""
    try:
        counters = importlib.import_module("spikingjelly.activation_based.op_counter")
    except ImportError:
        return None
    counter = counters.SynOpCounter()
    inner = getattr(net, "net", net) if hasattr(net, "stands_for") else net
    with torch.no_grad(), counters.DispatchCounterMode([counter]):
        snn.reset(inner)
        for _ in range(1 if isinstance(net, OwnLoop) else STEPS):
            inner(x)
    snn.reset(inner)
    return counter.get_total() / len(x)


def row(name: str, net: nn.Module, accuracy: float, x: Tensor) -> dict[str, Any]:
    """A line of the table."""
    steps = None if isinstance(net, OwnLoop) else STEPS
    cost = snn.doctor.cost(net, x, num_steps=steps)
    total = cost.total
    return {
        "network": name,
        "accuracy %": 100 * accuracy,
        "rate %": 100 * cost.rate,
        "spikes": total.spikes,
        "synaptic ops": total.synaptic,
        "NeuroBench": neurobench(net, x),
        "SpikingJelly": spikingjelly(net, x),
        "analog MACs": total.analog,
        "MACs without spikes": total.macs,
        "kB": (total.parameters + total.state) / 1000,
        "arithmetic nJ": cost.energy(cost.models[0]) / 1000,
        "with memory nJ": cost.energy(MEMORY) / 1000,
        "without spikes nJ": cost.without_spikes(MEMORY) / 1000,
        "not for 0 nJ": cost.without_spikes(MEMORY, skip_zeros=True) / 1000,
    }


def main() -> None:
    args = options(str(__doc__), repeats=1, smoke="one epoch, 20 samples")
    data = snn.data.digits()
    epochs, number = (1, 20) if args.smoke else (15, 200)
    rows = []
    for name, build in NETWORKS.items():
        torch.manual_seed(0)
        net = build()
        rows.append(row(name, net, train(net, data, epochs), data.x_test[:number]))
    torch.manual_seed(0)
    spiking, accuracy = converted(data, epochs)
    rows.append(row("converted", spiking, accuracy, data.x_test[:number]))
    report(f"one sample of {STEPS} steps", rows)
    rates = {f"T = {t}": 100 * MEMORY.break_even(t) for t in (5, 10)}
    rates |= {f"T = {t}, half of it 0": 100 * MEMORY.break_even(t, zeros=0.5) for t in (5, 10)}
    report("spike rate in % at which both networks cost the same, by doctor.MEMORY", [rates])


if __name__ == "__main__":
    main()
