"""Images per second of processor time of BP-STDP: batches here, against the loop over steps that
n3ml's manual prints.

    python benchmarks/bp_stdp_speed.py --data DIR  # the figures of docs/rules.md
    python benchmarks/bp_stdp_speed.py --smoke     # small

n3ml is in no package index. `N3ml` writes down what its manual prints and its optimiser computes,
for one image of 784 pixels after the other: 20 steps, two dense layers at each, buffers of five
steps, and dense changes of both weights at every desired spike; its printing and plotting are left
out. Without --data images are random, with as many lit pixels.
"""

from typing import Any

import torch
from common import interleaved, options, report
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data, spikegen
from spikeloom.learning import TavanaeiAndMaida, TravanaeiAndMaida2017, bp_stdp

T, BETA, EPSILON, LR, HIDDEN = 20, 250, 4, 5e-4, 500


class N3ml:
    """The manual's loop, written down literally."""

    def __init__(self) -> None:
        self.w = [torch.randn(HIDDEN, 784), torch.randn(10, HIDDEN)]
        self.threshold = [0.9, 0.025 * HIDDEN]

    def train(self, image: Tensor, label: Tensor) -> None:
        """Show one image and learn at its steps."""
        spikes = (torch.rand(T, 784) < image.reshape(1, -1)).float()
        wanted = torch.zeros(T, 10)
        wanted[:, label] = (torch.rand(T) <= BETA / 1000).float()
        u = [torch.zeros(HIDDEN), torch.zeros(10)]
        buffers: list[list[Tensor]] = [[], [], []]
        outputs = []
        for t in range(T):
            s = spikes[t]
            buffers[0].append(s.clone())
            for k in (0, 1):
                u[k] += torch.matmul(self.w[k], s)
                s = (u[k] >= self.threshold[k]).float()
                u[k][s > 0] = 0
                buffers[k + 1].append(s.clone())
            outputs.append(s.clone())
            for buffer in buffers:
                if len(buffer) > EPSILON + 1:
                    buffer.pop(0)
            if wanted[t, label] > 0.5:
                self.step(buffers, label)
        torch.stack(outputs).sum(0).argmax()

    def step(self, buffers: list[list[Tensor]], label: Tensor) -> None:
        """The change of one desired spike."""
        counts = [torch.stack(buffer).sum(0) for buffer in buffers]
        fired = counts[2] > 0
        error = -fired.float()
        error[label] = 0.0 if fired[label] else 1.0
        hidden = torch.matmul(self.w[1].T, error) * (counts[1] > 0)
        self.w[1] += LR * torch.outer(error, counts[1])
        self.w[0] += LR * torch.outer(hidden, counts[0])


def steps(x: Tensor, y: Tensor) -> Any:
    """n3ml's names here, one image after the other."""
    model = TravanaeiAndMaida2017(10, hidden_neurons=HIDDEN)
    optimizer = TavanaeiAndMaida(model, lr=LR)

    def run() -> None:
        for image, label in zip(x, y, strict=True):
            spikes = spikegen.rate(image.reshape(1, -1), T)[:, 0]
            wanted = torch.zeros(T, 10)
            wanted[:, label] = (torch.rand(T) <= BETA / 1000).float()
            buffer: dict[str, list[Tensor]] = {"inp": [], "fc1": [], "fc2": []}
            for t in range(T):
                model(spikes[t])
                for name, spk in (("inp", spikes[t]), ("fc1", model.fc1.o), ("fc2", model.fc2.o)):
                    buffer[name].append(spk)
                optimizer.step({name: each[-5:] for name, each in buffer.items()}, wanted[t], label)
            model.reset_variables(w=False)

    return run


def batches(x: Tensor, y: Tensor, size: int) -> Any:
    """The rule of `spikeloom.learning`."""
    neurons = [snn.IF(v, reset_mechanism="zero", init_hidden=True) for v in (0.9, 0.025 * HIDDEN)]
    net = nn.Sequential(
        *(nn.Linear(784, HIDDEN, bias=False), neurons[0]),
        *(nn.Linear(HIDDEN, 10, bias=False), neurons[1]),
    )
    for p in net.parameters():
        nn.init.normal_(p)
    sgd = torch.optim.SGD(net.parameters(), lr=LR * size)

    def run() -> None:
        for a in range(0, len(x), size):
            sgd.zero_grad()
            bp_stdp(net, spikegen.rate(x[a : a + size].flatten(1), T), y[a : a + size])
            sgd.step()

    return run


def main() -> None:
    args = options(
        __doc__ or "",
        repeats=5,
        smoke="a few images",
        more=lambda p: p.add_argument("--data", help="folder with MNIST"),
    )
    number = 64 if args.smoke else 640
    generator = torch.Generator().manual_seed(0)
    lit = torch.rand(number, 784, generator=generator) < 0.19
    x, y = (
        torch.rand(number, 784, generator=generator) * lit,
        torch.randint(10, (number,), generator=generator),
    )
    if args.data:
        split = data.mnist(args.data, flat=True)
        x, y = split.x_train[:number], split.y_train[:number]
    few = number // 10
    literal = N3ml()
    contenders = {
        "n3ml's loop, one image at a time": lambda: [
            literal.train(*pair) for pair in zip(x[:few], y[:few], strict=True)
        ],
        "n3ml's names here, one image at a time": steps(x[:few], y[:few]),
        "batches of 10": batches(x[:few], y[:few], 10),
        "batches of 64": batches(x, y, 64),
    }
    seconds = interleaved(contenders, args.repeats)
    images = {name: (number if "64" in name else few) / value for name, value in seconds.items()}
    base = images["n3ml's loop, one image at a time"]
    report(
        f"BP-STDP, 784-{HIDDEN}-10, {T} steps, training",
        [
            {"what": name, "images/s": value, "x n3ml's loop": value / base}
            for name, value in images.items()
        ],
    )


if __name__ == "__main__":
    main()
