"""A leaky integrate-and-fire layer on a GPU: bandwidth, time against SpikingJelly, saved bytes,
host time, CUDA graphs.

    python benchmarks/gpu.py [--repeats 20] [--smoke]

Device times are taken with CUDA events, contenders one after the other in every round, medians;
host time is the time until a layer's forward and backward are queued. Bandwidth counts what has to
be read and written once. Targets are derived from byte counts for an H200; those in milliseconds
hold there only. Peers (spikingjelly, snntorch) are measured where they are installed, on layers of
equal meaning: beta 0.9, threshold 1, subtract reset, arc-tangent surrogate. Where there is no GPU
nothing is measured, and the report says so.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import report
from torch import Tensor

import spikeloom as snn

DEVICE = "cuda"
FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
STEPS = (4, 8, 16, 32)
NEURONS = 64 * 65536  # of a step: at T = 32 the shape of SpikingJelly's own table
LAYER = (25, 128, 1000)  # so small that queueing it takes longer than computing it
COPY = 2**28  # bytes
TARGETS: dict[str, str] = {
    "copy": "",
    "forward": ">= 85 % of the copy",
    "backward": ">= 85 % of the copy",
    "time float32 T=32": "<= 0.80 ms",
    "time bfloat16 T=32": "<= 0.40 ms",
    "peer float32": ">= 1.15",
    "peer bfloat16": ">= 1.4",
    "saved float32": "<= 4 bytes",
    "saved bfloat16": "<= 2 bytes",
    "host": "<= 60 us",
    "host snntorch": ">= 10",
    "replay": "",
}
Layer = Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="small sizes, two repeats")
    options = parser.parse_args()
    reason = snn.backends()["triton"]
    if reason != "available":
        unmeasured = [row(name, None, "", target) for name, target in TARGETS.items()]
        report(f"GPU: not run, nothing was measured; backend 'triton': {reason}", unmeasured)
        return
    shrink, repeats = (64, 2) if options.smoke else (1, options.repeats)
    rows = bandwidth(COPY // shrink, NEURONS // shrink, repeats)
    rows += [
        found
        for name in FLOATS
        for steps in STEPS
        for found in against_spikingjelly(name, steps, shrink, repeats)
    ]
    rows += [
        saved(name, kept, NEURONS // 16 // shrink) for name in FLOATS for kept in ("state", "half")
    ]
    rows += launching(repeats)
    report(f"GPU: LIF layer on {torch.cuda.get_device_name()}", rows)


def row(item: str, measured: float | None, unit: str, target: str = "") -> dict[str, Any]:
    return {"item": item, "measured": measured, "unit": unit, "target": target}


def ours(residual: str = "state") -> Layer:
    """Our layer; with input in 16 bits as autocast runs it, the state in float32."""
    neuron = snn.Leaky(0.9).to(DEVICE)

    def run(x: Tensor) -> Tensor:
        narrow = x.dtype == torch.bfloat16
        with (
            snn.backend("triton"),
            snn.residual(residual),
            torch.autocast(DEVICE, torch.bfloat16, enabled=narrow),
        ):
            return neuron.final(x)[0]

    return run


def spikingjelly() -> Layer:
    from spikingjelly.activation_based import neuron, surrogate

    options = {
        "decay_input": False,
        "v_threshold": 1.0,
        "v_reset": None,
        "detach_reset": True,
        "step_mode": "m",
    }
    node = neuron.LIFNode(tau=10.0, surrogate_function=surrogate.ATan(), **options).to(DEVICE)
    if "triton" in getattr(node, "supported_backends", ()):  # before 2.0 it had to be asked for
        node.backend = "triton"

    def run(x: Tensor) -> Tensor:
        node.reset()
        return node(x)

    return run


def snntorch() -> Layer:
    from snntorch import Leaky

    node = Leaky(0.9).to(DEVICE)

    def run(x: Tensor) -> Tensor:
        mem, spikes = node.init_leaky(), []
        for x_t in x.unbind(0):
            spk, mem = node(x_t, mem)
            spikes.append(spk)
        return torch.stack(spikes)

    return run


def peer(make: Callable[[], Layer]) -> Layer | None:
    try:
        return make()
    except ImportError as error:
        print(f"without {make.__name__}: {error}")
        return None


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """An input that makes neurons fire, and a gradient of the spikes."""
    torch.manual_seed(0)
    x = torch.rand(shape, device=DEVICE, dtype=dtype).mul_(0.6).requires_grad_()
    return x, torch.rand(shape, device=DEVICE, dtype=dtype)


def training(layer: Layer, x: Tensor, gradient: Tensor) -> Callable[[], Any]:
    return lambda: torch.autograd.grad(layer(x), x, gradient)


def device_times(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each contender on the device; three rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(repeats + 3):
        for name, run in contenders.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            run()
            end.record()
            end.synchronize()
            if round_ >= 3:
                times[name].append(start.elapsed_time(end) / 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def host_time(run: Callable[[], Any], repeats: int) -> float:
    """Median seconds until one call is queued, with an empty queue before it."""
    times = []
    for _ in range(repeats + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    torch.cuda.synchronize()
    return statistics.median(times[3:])


def bandwidth(size: int, neurons: int, repeats: int) -> list[dict[str, Any]]:
    """A measured copy, and the share of it that forward and backward reach."""
    lif = ours()
    source = torch.empty(size, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    copied = 2 * size / device_times({"copy": lambda: target.copy_(source)}, repeats)["copy"]
    rows = [row("copy", copied / 1e9, "GB/s", TARGETS["copy"])]
    for name, dtype in FLOATS.items():
        x, gradient = inputs((STEPS[-1], neurons), dtype)
        spk, state = lif(x), 4  # bytes
        runs = {
            "forward": lambda x=x: lif(x),
            "backward": lambda x=x, s=spk, g=gradient: torch.autograd.grad(
                s, x, g, retain_graph=True
            ),
        }
        # forward: input, spikes, state; backward: gradient of the spikes, state, gradient of the
        # input
        moved = x.numel() * (2 * x.element_size() + state)
        for kind, seconds in device_times(runs, repeats).items():
            share = moved / seconds / copied * 100
            rows.append(row(f"{kind} {name}", share, "% of the copy", TARGETS[kind]))
    return rows


def against_spikingjelly(name: str, steps: int, shrink: int, repeats: int) -> list[dict[str, Any]]:
    """Forward and backward, and how much longer SpikingJelly takes."""
    x, gradient = inputs((steps, NEURONS // shrink), FLOATS[name])
    other = peer(spikingjelly)
    contenders = {
        "ours": training(ours(), x, gradient),
        "half": training(ours("half"), x, gradient),
    }
    if other is not None:
        contenders["spikingjelly"] = training(other, x, gradient)
    times = device_times(contenders, repeats)
    label = f"{name} T={steps}"
    rows = [row(f"time {label}", times["ours"] * 1e3, "ms", TARGETS.get(f"time {label}", ""))]
    rows.append(row(f"time {label}, half residual", times["half"] * 1e3, "ms"))
    ratio = times["spikingjelly"] / times["ours"] if other is not None else None
    return [*rows, row(f"spikingjelly / ours {label}", ratio, "", TARGETS[f"peer {name}"])]


def saved(name: str, residual: str, neurons: int) -> dict[str, Any]:
    """Bytes that the graph keeps for each neuron and step, besides the input and the spikes; T =
    64."""
    x, _ = inputs((64, neurons), FLOATS[name])
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        spk = ours(residual)(x)
    for known in (x, spk):
        kept.pop(known.untyped_storage().data_ptr(), None)
    return row(
        f"saved {name}, {residual}",
        sum(kept.values()) / x.numel(),
        "bytes",
        TARGETS[f"saved {name}"],
    )


def launching(repeats: int) -> list[dict[str, Any]]:
    """A layer so small that the host is what it waits for: time to queue it, and as a CUDA
    graph."""
    x, gradient = inputs(LAYER, torch.float32)
    run = training(ours(), x, gradient)
    queued = host_time(run, 10 * repeats)
    rows = [row("host", queued * 1e6, "us", TARGETS["host"])]
    other = peer(snntorch)
    ratio = host_time(training(other, x, gradient), repeats) / queued if other is not None else None
    rows.append(row("host snntorch / ours", ratio, "", TARGETS["host snntorch"]))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times = device_times({"called": run, "replayed": graph.replay}, repeats)
    rows.append(row("graph replay", times["replayed"] * 1e6, "us", TARGETS["replay"]))
    return [*rows, row("called / replayed", times["called"] / times["replayed"], "")]


if __name__ == "__main__":
    main()
