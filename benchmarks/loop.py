"""A leaky integrate-and-fire layer, forward plus backward: the traced loop against the peers' loops.

    python benchmarks/loop.py [--repeats 9] [--smoke]

Peers that are installed (snntorch, spikingjelly, norse) are measured interleaved with ours in one process, on one
thread, in CPU time; each row gives the median of ours in milliseconds and, for each peer, its time divided by ours.
The tensors stay below 32 MiB. Same semantics as snnTorch: beta 0.9, threshold 1, subtract reset, arc-tangent surrogate.
"""

import argparse
from collections.abc import Callable

import torch
from common import interleaved, report
from torch import Tensor

import spikeloom as snn

Contender = Callable[[Tensor], Tensor]
SIZES = [(25, 32, 512), (25, 128, 512), (100, 32, 512), (100, 128, 512), (25, 32, 4096)]


def ours(backend: str) -> Contender:
    def run(x: Tensor) -> Tensor:
        with snn.backend(backend):
            return snn.Leaky(0.9, init_hidden=True, mode="sequence")(x)

    return run


def snntorch() -> Contender:
    from snntorch import Leaky

    def run(x: Tensor) -> Tensor:
        lif = Leaky(0.9)
        mem, spikes = lif.init_leaky(), []
        for x_t in x.unbind(0):
            spk, mem = lif(x_t, mem)
            spikes.append(spk)
        return torch.stack(spikes)

    return run


def spikingjelly() -> Contender:
    from spikingjelly.activation_based import neuron, surrogate

    def run(x: Tensor) -> Tensor:
        curve = surrogate.ATan()
        options = {"decay_input": False, "v_threshold": 1.0, "v_reset": None, "detach_reset": True, "step_mode": "m"}
        return neuron.LIFNode(tau=10.0, surrogate_function=curve, **options)(x)

    return run


def norse() -> Contender:
    from norse.torch import LIF

    return lambda x: LIF()(x)[0]


def contenders() -> dict[str, Contender]:
    found: dict[str, Contender] = {"traced loop": ours("torch"), "eager loop": ours("eager")}
    if snn.backends()["numba"] == "available":
        found["numba"] = ours("numba")
    for make in (snntorch, spikingjelly, norse):
        try:
            found[make.__name__] = make()
        except ImportError as error:
            print(f"without {make.__name__}: {error}")
    return found


def measure(size: tuple[int, int, int], repeats: int) -> dict[str, float | str]:
    torch.manual_seed(0)
    x = (torch.rand(size) * 0.6).requires_grad_()
    gradient = torch.rand(size)
    runs = {name: lambda run=run: torch.autograd.grad(run(x), x, gradient) for name, run in contenders().items()}
    times = interleaved(runs, repeats)
    ours_ = times.pop("traced loop")
    row: dict[str, float | str] = {
        "T, B, N": "x".join(map(str, size)),
        "MiB": x.numel() * 4 / 2**20,
        "ours [ms]": ours_ * 1e3,
    }
    return row | {f"{name} / ours": value / ours_ for name, value in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="one small size, a few repeats")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes, repeats = (SIZES[:1], 3) if options.smoke else (SIZES, options.repeats)
    report("LIF layer, forward + backward, 1 thread", [measure(size, repeats) for size in sizes])


if __name__ == "__main__":
    main()
