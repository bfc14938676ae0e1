"""Spoken words of unknown speakers: what delays of each synapse and what time itself bring.

    python benchmarks/spoken_words.py --data FOLDER                 # all rows
    python benchmarks/spoken_words.py --data FOLDER --row delays --epochs 30

FOLDER holds arabic_speech_commands_mel40.npz: 40 words, mel spectra of 98 steps, the official
division of speakers. The rows are one network with and without delays, and the one with delays on
steps in another random order for each sample: what it still recognises needs no time. Speakers of
the validation part judge each epoch; the test part is looked at once, after the last epoch.
"""

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import asked, options, report
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data

FILE = "arabic_speech_commands_mel40.npz"
PARTS = ("train", "validation", "test")
ROWS = ("delays", "no delays", "delays, steps shuffled")
BATCH = 64


class Words(NamedTuple):
    """Mel spectra [N, T, bands] and words [N] of one part."""

    x: Tensor
    y: Tensor


def read(folder: Path) -> dict[str, Words]:
    """The three parts, each band scaled by mean and deviation of the training part; pairs of steps
    are averaged."""
    with np.load(folder / FILE, allow_pickle=False) as found:
        mel, label, split = (torch.from_numpy(found[k]) for k in ("mel", "label", "split"))
    x = mel.float().unflatten(1, (-1, 2)).mean(2)
    known = x[split == 0]
    x = (x - known.mean((0, 1))) / known.std((0, 1))
    return {part: Words(x[split == i], label[split == i].long()) for i, part in enumerate(PARTS)}


def made_up() -> dict[str, Words]:
    """Random numbers in the form of the words, for a smoke run."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(PARTS), 64, 10, 40, generator=generator)
    y = torch.randint(40, (len(PARTS), 64), generator=generator)
    return {part: Words(x[i], y[i]) for i, part in enumerate(PARTS)}


def network(delays: bool, hidden: int, longest: int) -> nn.Sequential:
    """Two hidden layers of leaky neurons and an integrating readout."""

    def connection(inputs: int, outputs: int) -> nn.Module:
        if not delays:
            return nn.Linear(inputs, outputs)
        return snn.DelayedLinear(inputs, outputs, longest, learn_delay=True, kernel="gaussian")

    lif = {"learn_beta": True, "init_hidden": True, "spike_grad": snn.surrogate.atan()}
    return nn.Sequential(
        connection(40, hidden),
        nn.LayerNorm(hidden),
        snn.Leaky(torch.full((hidden,), 0.8), **lif),
        nn.Dropout(0.2),
        connection(hidden, hidden),
        nn.LayerNorm(hidden),
        snn.Leaky(torch.full((hidden,), 0.8), **lif),
        nn.Dropout(0.2),
        nn.Linear(hidden, 40),
        snn.LI(0.9, init_hidden=True),
    )


def shuffled(x: Tensor, generator: torch.Generator) -> Tensor:
    """Samples [T, B, ...] with their steps in another random order each."""
    order = torch.rand(x.shape[:2], generator=generator).argsort(0)
    return x[order, torch.arange(x.shape[1])]


def accuracy(net: nn.Module, words: Words, shuffle: bool) -> tuple[float, float]:
    """Accuracy in percent, and spikes per neuron and sample of the hidden layers."""
    net.eval()
    generator = torch.Generator().manual_seed(1)
    hits, spikes = 0, 0.0
    with torch.no_grad():
        for x, y in zip(words.x.split(256), words.y.split(256), strict=True):
            x = x.transpose(0, 1)
            x = shuffled(x, generator) if shuffle else x
            result = snn.run(net, x, record=["2.spk", "6.spk"])
            hits += int((result.output.mean(0).argmax(-1) == y).sum())
            spikes += sum(float(spk.sum()) / spk.shape[-1] for spk in result.record.values())
    return 100 * hits / len(words.y), spikes / 2 / len(words.y)


def train(parts: dict[str, Words], row: str, args: Any) -> dict[str, Any]:
    """Train one network and return its row."""
    torch.manual_seed(args.seed)
    draws = torch.Generator().manual_seed(args.seed)
    shuffle = row.endswith("shuffled")
    net = network(row != "no delays", args.hidden, args.longest)
    delayed = [m for m in net if isinstance(m, snn.DelayedLinear)]
    positions = [layer.delay for layer in delayed]
    known = {id(p) for p in positions}
    groups = [{"params": [p for p in net.parameters() if id(p) not in known]}]
    groups += [{"params": positions, "lr": 10 * args.lr}] if positions else []
    optimizer = torch.optim.AdamW(groups, lr=args.lr, weight_decay=1e-4)
    words, start = parts["train"], time.process_time()
    batches = -(-len(words.y) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [g["lr"] for g in optimizer.param_groups], total_steps=args.epochs * batches
    )
    for epoch in range(args.epochs):
        net.train()
        for layer in delayed:  # narrow until three quarters of the epochs are over
            done = min(1.0, epoch / max(1, 0.75 * args.epochs))
            layer.sigma = args.longest / 2 * (1 / args.longest) ** done
        total = 0.0
        for chosen in torch.randperm(len(words.y), generator=draws).split(BATCH):
            x = words.x[chosen].transpose(0, 1)
            x = shuffled(x, draws) if shuffle else data.shift_time(x, 5, generator=draws)
            for axis, most in ((0, 8), (2, 8)):
                x = data.mask_spans(x, min(most, len(x)), axis=axis, generator=draws)
            loss = nn.functional.cross_entropy(snn.run(net, x).mean(0), words.y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        found, _ = accuracy(net, parts["validation"], shuffle)
        print(f"{row}, epoch {epoch}: loss {total / len(words.y):.3f}, {found:.2f} %", flush=True)
    seconds = time.process_time() - start
    validation, _ = accuracy(net, parts["validation"], shuffle)
    test, spikes = accuracy(net, parts["test"], shuffle)
    return {
        "row": row,
        "epochs": args.epochs,
        "parameters": sum(p.numel() for p in net.parameters()),
        "validation [%]": validation,
        "test [%]": test,
        "spikes": spikes,
        "cpu [s]": seconds,
    }


def arguments(parser: Any) -> None:
    parser.add_argument("--data", default=os.environ.get("SPIKELOOM_DATA"), help=f"with {FILE}")
    parser.add_argument("--row", nargs="+", help=f"parts of names among {ROWS}")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--longest", type=int, default=12, help="delay, in steps of 20 ms")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)


def main() -> None:
    args = options(__doc__ or "", repeats=1, smoke="random numbers, one epoch", more=arguments)
    if args.smoke:
        args.epochs, args.hidden = 1, 16
    elif not args.data:
        raise SystemExit(f"no data folder; write --data with the folder that holds {FILE}")
    parts = made_up() if args.smoke else read(Path(args.data))
    rows = [train(parts, row, args) for row in ROWS if asked(row, args.row)]
    report("spoken words, 40 classes, unknown speakers", rows)


if __name__ == "__main__":
    main()
