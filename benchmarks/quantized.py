"""Networks of integers on MNIST: accuracy with 8 and 4 bits beside float32.

    python benchmarks/quantized.py FOLDER --network mlp     # about 4 minutes
    python benchmarks/quantized.py FOLDER --network conv
    python benchmarks/quantized.py --smoke                  # the bundled digits

FOLDER holds mnist.npz. The network is trained in float32 and converted to 8 bits as it is; for 4
bits it is trained on for two epochs with simulated quantization. Pixels are integers from 0 to 255
and stay the same at all steps; the class is that of the most spikes. "differ" counts test images
for which the integer network and a NumPy program of 64-bit integers spike differently (the first
100 images; linear layers only).
"""

import argparse
import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import report
from torch import Tensor, nn

import spikeloom as snn

STEPS = 8


def mlp(inputs: int) -> nn.Module:
    """inputs-256-10."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, 256),
        snn.Leaky(0.9, init_hidden=True),
        nn.Linear(256, 10),
        snn.Leaky(0.9, init_hidden=True),
    )


def conv(inputs: int) -> nn.Module:
    """Two convolutions with batch normalization, maximum pooling, and a linear layer."""
    side = round(inputs**0.5) // 4
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2),
        nn.BatchNorm2d(12),
        nn.MaxPool2d(2),
        snn.Leaky(0.9, init_hidden=True),
        nn.Conv2d(12, 32, 5, padding=2),
        nn.BatchNorm2d(32),
        nn.MaxPool2d(2),
        snn.Leaky(0.9, init_hidden=True),
        nn.Flatten(),
        nn.Linear(32 * side * side, 10),
        snn.Leaky(0.9, init_hidden=True),
    )


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Test accuracy in %."""
    net.eval()
    hits = 0
    for images, labels in zip(x.split(500), y.split(500), strict=True):
        snn.reset(net)
        spikes = snn.run(net, images, num_steps=STEPS)
        hits += int((spikes.sum(0).argmax(1) == labels).sum())
    snn.reset(net)
    return 100 * hits / len(x)


def in_numpy(net: nn.Module, x: Tensor) -> np.ndarray:
    """Spikes of linear layers and integer neurons, [T, B, out], without floating point."""
    value_in = x.flatten(1).numpy().astype(np.int64)
    layers = [module for module in net if not isinstance(module, nn.Flatten)]
    mem: dict[int, Any] = {}
    fired: dict[int, Any] = {}
    out = []
    for _ in range(STEPS):
        value = value_in
        for index, module in enumerate(layers):
            if isinstance(module, nn.Linear):
                value = value @ module.weight.detach().numpy().astype(np.int64).T
                continue
            names = ("beta", "threshold", "bias", "offset", "top")
            p = {name: getattr(module, name).numpy().astype(np.int64) for name in names}
            shift = int(np.log2(float(module.gain)))
            drive = value << shift if shift >= 0 else (value + p["offset"]) >> -shift
            kept = (mem.get(index, np.zeros_like(value)) * p["beta"] + 128) >> 8
            new = np.clip(kept + drive + p["bias"], -p["top"], p["top"])
            new = new - fired.get(index, np.zeros_like(value)) * p["threshold"]
            mem[index] = new
            fired[index] = value = (new > p["threshold"]).astype(np.int64)
        out.append(value)
    return np.stack(out)


def differing(net: nn.Module, x: Tensor) -> int | str:
    """Images for which the network and the integer program spike differently."""
    if any(isinstance(module, nn.Conv2d) for module in net.modules()):
        return "-"
    with torch.no_grad():
        spikes = snn.run(net, x, num_steps=STEPS).numpy().astype(np.int64)
    snn.reset(net)
    return int((spikes != in_numpy(net, x)).any(axis=(0, 2)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", help="holds mnist.npz")
    parser.add_argument("--network", choices=["mlp", "conv"], default="mlp")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    found = parser.parse_args()
    torch.set_num_threads(1)
    split = snn.data.mnist(Path(found.folder)) if found.folder else snn.data.digits()
    torch.manual_seed(found.seed)
    inputs = split.x_train[0].numel()
    net = {"mlp": mlp, "conv": conv}[found.network](inputs)
    options = {"num_steps": STEPS, "threads": 1, "batch_size": 128, "progress": not found.smoke}
    epochs = 2 if found.smoke else found.epochs
    snn.fit(net, split, epochs=epochs, seed=found.seed, **options)
    plain = accuracy(net, split.x_test, split.y_test)
    whole = (split.x_test * 255).round()
    rows = [{"numbers": "float32", "accuracy %": round(plain, 2)}]
    for bits in (8, 4):
        trained = copy.deepcopy(net)
        if bits == 4:
            snn.hardware.fake_quantize(trained, weight_bits=bits)
            tuning = {"epochs": 1 if found.smoke else 2, "lr": 5e-4, "seed": found.seed}
            snn.fit(trained, split, **tuning, **options)
        made = snn.hardware.quantize(
            trained, split.x_test[:1], weight_bits=bits, input_step=1 / 255
        )
        exact = accuracy(made, whole, split.y_test)
        rows.append(
            {
                "numbers": f"{bits}-bit weights, 16-bit membranes",
                "accuracy %": round(exact, 2),
                "loss in points": round(plain - exact, 2),
                "differ": differing(made, whole[:100]),
            }
        )
    report(f"{found.network}, {len(split.x_train)} training images, T = {STEPS}", rows)


if __name__ == "__main__":
    main()
