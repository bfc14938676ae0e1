"""Image-steps per second of processor time of converted networks, on one thread, and of peers where
they are installed.

    python benchmarks/conversion_speed.py [--peer PYTHON] [--smoke]

The network of Diehl et al. (28x28-12c5-2s-64c5-2s-10o), batches of 100 images, 50 steps; contenders
take turns, medians over rounds. "ours" is `convert` with its defaults; with Poisson input; and one
step after the other. "n3ml's loop" does literally what ``SNN_Diehl2015.forward`` of n3ml does, on
the CPU: Poisson input drawn step by step, each layer called once a step, hard reset. ``--peer``
names the interpreter of an environment with SpikingJelly, which is timed in a process of its own
that takes its turns, with a constant input, step by step and all steps at once, each with images in
the order (channel, height, width) and in channels-last format. Compare alike with alike: constant
input with constant input, Poisson with Poisson.
"""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import interleaved, options, report
from conversion_peer import images, network
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.conversion import Converted, convert

PEER = Path(__file__).with_name("conversion_peer.py")
BATCH = 100


class Literal(nn.Module):
    """n3ml's network over time: layers in a loop, membranes as plain tensors, reset to zero."""

    def __init__(self, thresholds: list[float]) -> None:
        super().__init__()
        layers = list(network())
        self.conv1, self.pool, self.conv2, self.fc = layers[0], layers[2], layers[3], layers[7]
        self.thresholds = thresholds

    def forward(self, x: Tensor, num_steps: int) -> Tensor:
        """Spike counts, [B, 10]."""
        mems: list[Any] = [0.0, 0.0, 0.0]
        count = torch.zeros(len(x), 10)
        for _ in range(num_steps):
            spk = torch.zeros(x.size()).masked_fill_(torch.rand(x.size()) < x, 1.0)
            for i, layer in enumerate((self.conv1, self.conv2, self.fc)):
                mems[i] = mems[i] + layer(spk.flatten(1) if i == 2 else spk)
                spk = (mems[i] > self.thresholds[i]).float()
                mems[i] = mems[i].masked_fill(spk != 0, 0.0)
                spk = self.pool(spk) if i < 2 else spk
            count += spk
        return count


def stepping(net: Converted, x: Tensor, steps: int) -> Tensor:
    """One step after the other, as a network of layers is written by hand."""
    snn.reset(net)
    total = torch.zeros(())
    for _ in range(steps):
        total = total + net.net(x)
    snn.reset(net)
    return total / steps


def peer(
    python: str, number: int, steps: int, mode: str, order: str
) -> tuple[subprocess.Popen[str], Callable[[], None]]:
    """A process with SpikingJelly's network, and a function that lets it run once and notes its
    processor seconds."""
    command = [python, str(PEER), str(number), str(steps), mode, order]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    seconds: list[float] = []

    def run() -> None:
        stdin.write("\n")
        stdin.flush()
        while not (line := stdout.readline().strip()).replace(".", "").replace("e-", "").isdigit():
            if process.poll() is not None:
                raise RuntimeError(f"{python} ended with code {process.returncode} after {line!r}")
        seconds.append(float(line))

    run.seconds = seconds  # pyright: ignore[reportFunctionMemberAccess] (kept where the time is noted)
    return process, run


def main() -> None:
    """Time all contenders."""
    found = options(
        __doc__ or "",
        repeats=5,
        smoke="few images and steps",
        more=lambda parser: parser.add_argument(
            "--peer", help="interpreter of an environment with SpikingJelly"
        ),
    )
    number, steps = (BATCH, 8) if found.smoke else (BATCH, 50)
    x, ann = images(number), network()
    ours = convert(ann, x)
    poisson = convert(
        ann,
        x,
        method="diehl_data",
        reset="zero",
        initial_mem=0.0,
        input="poisson",
        readout="spikes",
    )
    literal = Literal([float(v) for v in poisson.thresholds.values()])
    contenders: dict[str, Callable[[], Any]] = {
        "ours, constant input": lambda: ours(x, steps),
        "ours, Poisson input": lambda: poisson(x, steps),
        "ours, step by step": lambda: stepping(ours, x, steps),
        "n3ml's loop": lambda: literal(x, steps),
        "ordinary network": lambda: ann(x),
    }
    peers = {}
    for mode, how in {"s": "step by step", "m": "all steps at once"}.items() if found.peer else ():
        for order in ("contiguous_format", "channels_last"):
            name = f"SpikingJelly, {how}, {order}"
            peers[name] = peer(found.peer, number, steps, mode, order)
    contenders |= {name: run for name, (_, run) in peers.items()}
    begin = time.perf_counter()
    with torch.no_grad():
        times = interleaved(contenders, found.repeats)
    for name, (process, run) in peers.items():
        process.terminate()
        seconds = sorted(run.seconds[1:])  # pyright: ignore[reportFunctionMemberAccess]
        times[name] = seconds[len(seconds) // 2]
    passes = {name: 1 if name == "ordinary network" else steps for name in times}
    rows = [
        {
            "contender": name,
            "image-steps/CPU-s": round(number * passes[name] / t),
            "ours / it": t / passes[name],
        }
        for name, t in times.items()
    ]
    first = rows[0]["ours / it"]
    rows = [{**row, "ours / it": row["ours / it"] / first} for row in rows]
    report(
        f"converted network, {number} images, {steps} steps, {time.perf_counter() - begin:.0f} s",
        rows,
    )


if __name__ == "__main__":
    main()
