"""A network for digits as C: size of the program, and the time of a step beside PyTorch's.

    python benchmarks/c_export.py            # trains 64-32-10 on the bundled digits, about 20 s
    python benchmarks/c_export.py --smoke    # one epoch

Prints text and data of the compiled object (-Os), the accuracy of the C program and of PyTorch on
the same samples, in float32 and in integers of 8 bits, and the median processor time of one step of
one sample, one thread each.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import machine, report
from torch import Tensor, nn

import spikeloom as snn

STEPS = 12
DRIVER = """
#include <stdio.h>
#include <time.h>
#include "network.c"
int main(void)
{
    static struct network_state state;
    static REAL input[SAMPLES][64], output[10];
    int counts[10];
    double times[7];
    for (int n = 0; n < SAMPLES; n++)
        for (int i = 0; i < 64; i++) {
            int value;
            if (scanf("%d", &value) != 1) return 1;
            input[n][i] = (REAL)value / DIVISOR;
        }
    for (int round = 0; round < 7; round++) {
        clock_t start = clock();
        for (int n = 0; n < SAMPLES; n++) {
            for (int i = 0; i < 10; i++) counts[i] = 0;
            network_reset(&state);
            for (int t = 0; t < STEPS; t++) {
                network_step(&state, input[n], output);
                for (int i = 0; i < 10; i++) counts[i] += output[i] != 0;
            }
            int winner = 0;
            for (int i = 1; i < 10; i++) if (counts[i] > counts[winner]) winner = i;
            if (round == 0) printf("%d ", winner);
        }
        times[round] = (double)(clock() - start) / CLOCKS_PER_SEC / SAMPLES / STEPS;
    }
    printf("\\n");
    for (int round = 0; round < 7; round++) printf("%.9f ", times[round]);
    return 0;
}
"""


def trained(epochs: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network for digits, its test images in [0, 16], and their classes."""
    split = snn.data.digits()
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 32),
        snn.Leaky(0.8, init_hidden=True),
        nn.Linear(32, 10),
        snn.Leaky(0.8, init_hidden=True),
    )
    snn.fit(net, split, num_steps=STEPS, epochs=epochs, threads=1, progress=False)
    images = (split.x_test.flatten(1) * 16).round()
    return nn.Sequential(*list(net)[1:]), images, split.y_test


def in_c(net: nn.Module, images: Tensor, real: str, divisor: int) -> dict[str, Any]:
    """Size, winners and time of a step of the compiled network."""
    text = snn.hardware.to_c(net, torch.zeros(1, 64))
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        sys.exit("a C compiler is needed: gcc or cc")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "network.c").write_text(text)
        (folder / "main.c").write_text(DRIVER)
        common = [compiler, "-std=c99", "-ffp-contract=off"]
        subprocess.run([*common, "-Os", "-c", "network.c", "-o", "small.o"], cwd=folder, check=True)
        size = subprocess.run(["size", "small.o"], cwd=folder, capture_output=True, text=True)
        code, data, zeros = map(int, re.findall(r"\d+", size.stdout.splitlines()[1])[:3])
        values = [f"-DREAL={real}", f"-DDIVISOR={divisor}", f"-DSTEPS={STEPS}"]
        values.append(f"-DSAMPLES={len(images)}")
        subprocess.run(
            [*common, "-O2", *values, "main.c", "-o", "main", "-lm"], cwd=folder, check=True
        )
        given = " ".join(str(int(v)) for v in images.flatten())
        done = subprocess.run([folder / "main"], input=given, capture_output=True, text=True)
    winners, times = done.stdout.strip().splitlines()
    return {
        "bytes": code + data + zeros,
        "winners": torch.tensor([int(w) for w in winners.split()]),
        "us": 1e6 * statistics.median(float(seconds) for seconds in times.split()),
    }


def in_torch(net: nn.Module, images: Tensor) -> tuple[Tensor, float]:
    """Winners by `run`, and the median processor time of a step of one sample in microseconds."""
    with torch.no_grad():
        winners = snn.run(net, images, num_steps=STEPS).sum(0).argmax(1)
        times = []
        for image in images[:50]:
            snn.reset(net)
            start = time.process_time()
            for _ in range(STEPS):
                net(image[None])
            times.append((time.process_time() - start) / STEPS)
    snn.reset(net)
    return winners, 1e6 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--epochs", type=int, default=30)
    found = parser.parse_args()
    torch.set_num_threads(1)
    print(machine()["cpu"])
    net, images, classes = trained(1 if found.smoke else found.epochs)
    whole = snn.hardware.quantize(net, images[:1], weight_bits=8, input_step=1 / 16)
    rows = []
    for name, each, x, real in (
        ("float32", net, images / 16, "float"),
        ("8-bit integers", whole, images, "int32_t"),
    ):
        winners, us = in_torch(each, x)
        found_c = in_c(each, images, real, 16 if real == "float" else 1)
        rows.append(
            {
                "numbers": name,
                "accuracy %": round(100 * (winners == classes).float().mean().item(), 2),
                "in C %": round(100 * (found_c["winners"] == classes).float().mean().item(), 2),
                "other winners": int((winners != found_c["winners"]).sum()),
                "bytes": found_c["bytes"],
                "us a step": round(found_c["us"], 2),
                "PyTorch us": round(us, 1),
                "times faster": round(us / found_c["us"], 1),
            }
        )
    report("64-32-10 on digits, one sample", rows)


if __name__ == "__main__":
    main()
