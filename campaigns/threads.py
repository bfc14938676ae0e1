"""Several threads with several networks: each must compute what it computes alone.

    python campaigns/threads.py --out folder --number 250

A trial starts four threads at once, each with a network, data and generators of its own: `snn.run`,
`snn.layerwise` of a module, a plain loop, and torch code that draws random numbers and calls
layers. Each does some rounds. Its results must equal those of the same work done before without
other threads, no thread may raise, the draws of each generator must be those of that generator
alone, and torch must work afterwards. Every fourth trial lets two threads enter one network: each
must be right, or refused in words. Of two plain loops one may end wrong if the other is refused.
"""

import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch
from journal import Journal, options, trials
from torch import Tensor, nn

import spikeloom as snn

ROUNDS = 4
STEPS = 6
WORDS = "another thread"


class Blocks(nn.Module):
    """A network with a skip in each block, and a record that Python keeps."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.neurons = nn.ModuleList(snn.Leaky(0.9, init_hidden=True) for _ in range(blocks))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for layer, neuron in zip(self.layers, self.neurons, strict=True):
            x = x + neuron(layer(x))
        return x


class Loop(nn.Module):
    """A loop over time of its own, with noise from a generator of its own."""

    def __init__(self, blocks: int, width: int, seed: int) -> None:
        super().__init__()
        self.net = Blocks(blocks, width)
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        snn.reset(self.net)
        noise = torch.rand(x.shape[1:], generator=self.generator)
        return torch.stack([self.net(step + noise) for step in x])


def by_run(chosen: random.Random) -> Callable[[], Any]:
    net = Blocks(chosen.randint(1, 6), 8)
    x = torch.randn(STEPS, 3, 8)
    return lambda: snn.run(net, x)


def by_layerwise(chosen: random.Random) -> Callable[[], Any]:
    net = snn.layerwise(Loop(chosen.randint(1, 6), 8, chosen.randint(0, 99)))
    x = torch.randn(STEPS, 3, 8)
    return lambda: net(x)


def by_loop(chosen: random.Random) -> Callable[[], Any]:
    net = Loop(chosen.randint(1, 6), 8, chosen.randint(0, 99))
    x = torch.randn(STEPS, 3, 8)
    return lambda: net(x)


def by_torch(chosen: random.Random) -> Callable[[], Any]:
    layers = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    generator = torch.Generator().manual_seed(chosen.randint(0, 99))
    own = random.Random(chosen.randint(0, 99))

    def work() -> Any:
        x = torch.rand(3, 8, generator=generator) + own.random()
        result = layers(x)
        return torch.stack([result, torch.autograd.grad(result.sum(), layers[0].weight)[0][:3, :2]])

    return work


MAKERS = (by_run, by_layerwise, by_loop, by_torch)


def rounds(work: Callable[[], Any]) -> list[Tensor]:
    return [work().detach().clone() for _ in range(ROUNDS)]


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """What each work returns in a thread of its own, or what it raises."""
    results: list[Any] = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def thread(index: int) -> None:
        barrier.wait()
        try:
            results[index] = rounds(works[index])
        except BaseException as error:  # to be judged by the main thread
            results[index] = error

    threads = [threading.Thread(target=thread, args=(index,)) for index in range(len(works))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return results


def several(seed: int) -> str | None:
    """Four networks in four threads; what went wrong."""

    def made() -> list[Callable[[], Any]]:
        torch.manual_seed(seed)
        chosen = random.Random(seed)
        return [maker(chosen) for maker in MAKERS]

    expected = [rounds(work) for work in made()]
    torch.manual_seed(0)
    alone = torch.rand(2)
    works = made()
    torch.manual_seed(0)
    results = together(works)
    if not torch.equal(torch.rand(2), alone):
        return "the global generator of torch moved or was put back"
    for maker, wanted, found in zip(MAKERS, expected, results, strict=True):
        if isinstance(found, BaseException):
            return f"{maker.__name__} raised {type(found).__name__}: {found}"
        if not all(map(torch.equal, wanted, found)):
            return f"{maker.__name__} gave other values than alone"
    return None


def shared(seed: int) -> str | None:
    """Two threads in one network; what went wrong."""
    torch.manual_seed(seed)
    chosen = random.Random(seed)
    net = Blocks(chosen.randint(1, 6), 8)
    x = torch.randn(STEPS, 3, 8)

    def function(net: nn.Module, x: Tensor) -> Tensor:
        snn.reset(net)
        return torch.stack([net(step) for step in x])

    recorded = snn.layerwise(function)
    ways = [lambda: snn.run(net, x), lambda: recorded(net, x), lambda: function(net, x)]
    expected = rounds(ways[0])
    pair = [chosen.choice(ways) for _ in range(2)]
    results = together(pair)
    refused = [isinstance(r, RuntimeError) and WORDS in str(r) for r in results]
    for found, by_words in zip(results, refused, strict=True):
        if by_words:
            continue
        if isinstance(found, BaseException):
            return f"one network in two threads raised {type(found).__name__}: {found}"
        equal = all(torch.allclose(a, b, atol=1e-6) for a, b in zip(expected, found, strict=True))
        if not equal and not (any(refused) and ways[2] in pair):
            return "one network in two threads gave wrong values without a word"
    snn.reset(net)
    if not torch.allclose(ways[0](), expected[0], atol=1e-6):
        return "the network is not usable afterwards"
    return None


def main() -> int:
    settings = options(__doc__, 250).parse_args()
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-4)  # threads change places in the middle of everything
    journal = Journal(settings.out)
    for trial, chosen in trials(journal, settings.number, settings.seed):
        seed = chosen.randint(0, 2**31)
        judge = shared if trial % 4 == 3 else several
        wrong = judge(seed)
        works = nn.Linear(2, 2)(torch.rand(1, 2)).shape == (1, 2)
        if wrong is None and not works:
            wrong = "torch does not work afterwards"
        journal.add(
            trial=trial,
            kind=judge.__name__,
            seed=seed,
            runs=ROUNDS * (2 if judge is shared else 4),
            wrong=wrong,
        )
    print(journal)
    print(f"{sum(row['runs'] for row in journal.rows)} runs in threads")
    return journal.code


if __name__ == "__main__":
    sys.exit(main())
