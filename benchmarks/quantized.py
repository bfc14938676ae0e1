"""Networks of integers on MNIST: accuracy with 8 and 4 bits beside float32.

    python benchmarks/quantized.py FOLDER --network mlp     # about 4 minutes
    python benchmarks/quantized.py FOLDER --network conv --epochs 2 --tuning 1  # 8 minutes
    python benchmarks/quantized.py --smoke                  # the bundled digits

FOLDER holds mnist.npz. The network is trained in float32 and converted to 8 bits as it is; for 4
bits it is trained on for some epochs with simulated quantization. Pixels are integers from 0 to 255
and stay the same at all steps; the class is that of the most spikes. "differ" counts test images
for which the integer network and a NumPy program of 64-bit integers spike differently (the first
100 images). With --out RUNS the trainings are kept there, and the same command goes on after an
interruption.
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
    """Two convolutions with batch normalization, one strided, one with maximum pooling."""
    side = round(inputs**0.5) // 4
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=2, padding=2),
        nn.BatchNorm2d(8),
        snn.Leaky(0.9, init_hidden=True),
        nn.Conv2d(8, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.MaxPool2d(2),
        snn.Leaky(0.9, init_hidden=True),
        nn.Flatten(),
        nn.Linear(16 * side * side, 10),
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
    """Spikes of an integer network, [T, B, out], without floating point."""
    pixels = integers(x)
    mem: dict[str, Any] = {}
    fired: dict[str, Any] = {}
    out = []
    for _ in range(STEPS):
        value = pixels
        for name, module in net.named_children():
            if not isinstance(module, snn.hardware.FixedPointLeaky):
                value = without_memory(module, value)
                continue
            p = {key: integers(getattr(module, key)) for key in ("beta", "threshold", "bias")}
            shift = int(np.log2(float(module.gain)))
            half = int(module.offset)
            top = 2 ** (module.state_bits - 1) - 1
            drive = value << shift if shift >= 0 else (value + half) >> -shift
            kept = (mem.get(name, np.zeros_like(value)) * p["beta"] + 128) >> 8
            new = np.clip(kept + drive + p["bias"], -top, top)
            new = new - fired.get(name, np.zeros_like(value)) * p["threshold"]
            mem[name] = new
            fired[name] = value = (new > p["threshold"]).astype(np.int64)
        out.append(value)
    return np.stack(out)


def integers(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor of integers, as int64."""
    return tensor.detach().numpy().astype(np.int64)


def without_memory(module: nn.Module, value: np.ndarray) -> np.ndarray:
    """One layer between neurons."""
    windows = np.lib.stride_tricks.sliding_window_view
    if isinstance(module, nn.Flatten):
        return value.reshape(len(value), -1)
    if isinstance(module, nn.Linear):
        return value @ integers(module.weight).T
    if isinstance(module, nn.Conv2d):
        pad, size, stride = int(module.padding[0]), module.kernel_size, module.stride[0]
        padded = np.pad(value, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        seen = windows(padded, size, (2, 3))[
            :, :, ::stride, ::stride
        ]  # [B, in, height, width, kernel, kernel]
        return np.tensordot(seen, integers(module.weight), ((1, 4, 5), (1, 2, 3))).transpose(
            0, 3, 1, 2
        )
    if isinstance(module, nn.MaxPool2d):
        return windows(value, (2, 2), (2, 3))[:, :, ::2, ::2].max((4, 5))
    return value  # what batch normalization was folded away from


def differing(net: nn.Module, x: Tensor) -> int:
    """Images for which the network and the integer program spike differently."""
    with torch.no_grad():
        spikes = snn.run(net, x, num_steps=STEPS).numpy().astype(np.int64)
    snn.reset(net)
    return int((spikes != in_numpy(net, x)).any(axis=(0, 2)).sum())


def kept(out: str | None, name: str) -> dict[str, Any]:
    """Arguments with which a training is kept, or goes on where it was interrupted."""
    if out is None:
        return {}
    folder = Path(out, name)
    return {"out": folder, "resume": folder.exists()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", help="holds mnist.npz")
    parser.add_argument("--network", choices=["mlp", "conv"], default="mlp")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--tuning", type=int, default=2, help="epochs with 4 bits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder that keeps the trainings")
    parser.add_argument("--smoke", action="store_true")
    found = parser.parse_args()
    torch.set_num_threads(1)
    split = snn.data.mnist(Path(found.folder)) if found.folder else snn.data.digits()
    torch.manual_seed(found.seed)
    inputs = split.x_train[0].numel()
    net = {"mlp": mlp, "conv": conv}[found.network](inputs)
    options = {"num_steps": STEPS, "threads": 1, "batch_size": 128, "progress": not found.smoke}
    epochs = 2 if found.smoke else found.epochs
    snn.fit(net, split, epochs=epochs, seed=found.seed, **kept(found.out, "float32"), **options)
    plain = accuracy(net, split.x_test, split.y_test)
    whole = (split.x_test * 255).round()
    rows = [{"numbers": "float32", "accuracy %": round(plain, 2)}]
    for bits in (8, 4):
        trained = copy.deepcopy(net)
        if bits == 4:
            snn.hardware.fake_quantize(trained, weight_bits=bits)
            tuned = 1 if found.smoke else found.tuning
            tuning = {"epochs": tuned, "lr": 5e-4, "seed": found.seed}
            snn.fit(trained, split, **tuning, **kept(found.out, "4 bits"), **options)
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
