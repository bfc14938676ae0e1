"""One network for the digits, 64-100-10, trained by every rule of `snn.fit`: accuracy, time,
spikes, gradients.

    python benchmarks/rules.py --out docs/rules.json --page docs/rules.md  # adds missing rows
    python benchmarks/rules.py --smoke  # one seed, one epoch, prints the tables

Each rule gets the neurons that it needs, and Adam or its own optimiser at a rate chosen with seeds
that are not used here, but on the same division of the digits. Accuracy is that on its 360 test
digits after the last epoch. One thread.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import machine
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data, spikegen
from spikeloom.learning import EventNetwork, first_times, stbp_neuron
from spikeloom.train.rules import Rule, rules_of

STEPS, EPOCHS, SEEDS, HIDDEN = 16, 10, 3, 100
MARKS = "<!-- begin: benchmarks/rules.py -->", "<!-- end: benchmarks/rules.py -->"


def network(neuron: Callable[..., nn.Module], std: float | None = None) -> nn.Sequential:
    """64-100-10 of one kind of neuron; with ``std``, normal weights and no bias to begin with."""
    net = nn.Sequential(nn.Linear(64, HIDDEN), neuron(), nn.Linear(HIDDEN, 10), neuron(output=True))
    for p in net.parameters() if std else ():
        nn.init.normal_(p, std=std or 0) if p.dim() > 1 else nn.init.zeros_(p)
    return net


def leaky(**options: Any) -> nn.Module:
    """The usual neuron."""
    return snn.Leaky(0.8, init_hidden=True, **options)


def integrating(**options: Any) -> nn.Module:
    """The neuron of BP-STDP; the last layer gets the published threshold."""
    threshold = 0.025 * HIDDEN if options else 0.9
    return snn.IF(threshold, reset_mechanism="zero", init_hidden=True, **options)


def synaptic(**options: Any) -> nn.Module:
    """The neuron that has a counterpart in continuous time."""
    return snn.Synaptic(alpha=0.8, beta=0.9, init_hidden=True, **options)


def latency(x: Tensor, num_steps: int) -> Tensor:
    """One spike for each pixel that is not dark, the earlier the brighter."""
    return spikegen.latency(x, num_steps, normalize=True, linear=True, threshold=0.05, clip=True)


CONTENDERS: dict[str, dict[str, Any]] = {
    "bptt": {"net": lambda: network(leaky), "neuron": "Leaky", "lr": 1e-2},
    "tbptt": {"net": lambda: network(leaky), "neuron": "Leaky", "lr": 1e-2},
    "eprop": {"net": lambda: network(leaky), "neuron": "Leaky", "lr": 1e-2},
    "ottt": {"net": lambda: network(leaky), "neuron": "Leaky", "lr": 1e-2},
    "sltt": {"net": lambda: network(leaky), "neuron": "Leaky", "lr": 1e-2},
    "stbp": {"net": lambda: network(stbp_neuron), "neuron": "stbp_neuron", "lr": 1e-2},
    "bp_stdp": {
        "net": lambda: network(integrating, 0.1),
        "neuron": "IF",
        "encode": "rate",
        "lr": 0.03,
    },
    "bptt of that network": {
        "net": lambda: network(integrating, 0.1),
        "neuron": "IF",
        "encode": "rate",
        "lr": 1e-2,
    },
    "eventprop": {
        "net": lambda: network(synaptic),
        "neuron": "Synaptic",
        "encode": latency,
        "lr": 5e-3,
    },
}


def digits(smoke: bool) -> data.Split:
    """All digits, or few in a smoke run."""
    split = data.digits(flat=True)
    few = slice(256) if smoke else slice(None)
    return split._replace(x_train=split.x_train[few], y_train=split.y_train[few])


def trained(name: str, seed: int, smoke: bool) -> dict[str, Any]:
    """Train one contender once."""
    row = CONTENDERS[name]
    result = snn.fit(
        row["net"],
        digits(smoke),
        num_steps=STEPS,
        epochs=1 if smoke else EPOCHS,
        batch_size=32,
        encode=row.get("encode"),
        rule=name.partition(" ")[0],
        lr=row["lr"],
        seed=seed,
        threads=1,
        progress=False,
    )
    sizes = {"1": HIDDEN, "3": 10}
    spikes = sum(result.spikes_per_neuron[path] * number for path, number in sizes.items())
    found = {
        "seed": seed,
        "accuracy": 100 * result.test_accuracy.last,
        "seconds": result.cpu_seconds,
        "spikes": spikes,
    }
    return found | ({"continuous": continuous(result.net)} if name == "eventprop" else {})


@torch.no_grad()
def continuous(net: nn.Module) -> float:
    """Accuracy in percent in continuous time, in which exact gradients learn: the class is that of
    the first spike."""
    split = data.digits(flat=True)
    first = first_times(
        EventNetwork(net, max_spikes=1)(latency(split.x_test, STEPS))[-1], torch.inf
    )
    return 100 * (first.argmin(1) == split.y_test).double().mean().item()


def gradients(smoke: bool) -> dict[str, str]:
    """Reports on a network that most rules train, before and after two epochs, and on one with
    exact spike times."""
    split = digits(smoke)
    torch.manual_seed(0)
    x, y = spikegen.rate(split.x_train[:128], STEPS), split.y_train[:128]
    torch.manual_seed(0)
    net = network(integrating, 0.1)
    found = {"before training": str(snn.gradient_report(net, (x, y)))}
    snn.fit(
        net, split, num_steps=STEPS, epochs=2, encode="rate", lr=4e-3, threads=1, progress=False
    )
    found["after two epochs of bptt"] = str(snn.gradient_report(net, (x, y)))
    torch.manual_seed(0)
    net = network(synaptic)
    with torch.no_grad():
        for p in net.parameters():
            p *= 2.0  # so that every layer fires
    batch = latency(split.x_train[:128], STEPS), y
    found["Synaptic neurons, spikes by latency, before training"] = str(
        snn.gradient_report(net, batch)
    )
    of_times = snn.gradient_report(net, batch, loss=snn.functional.ce_temporal_loss())
    return {**found, "the same with a loss of first spikes": str(of_times)}


def render(found: dict[str, Any]) -> str:
    """The tables of the page."""
    lines = [
        "| rule | neurons | input | accuracy | processor s | spikes of the network for a sample |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for name, runs in found["rows"].items():
        row = CONTENDERS[name]
        seconds, spikes = (
            statistics.fmean(run[key] for run in runs) for key in ("seconds", "spikes")
        )
        accuracy = mean_of([run["accuracy"] for run in runs])
        if "continuous" in runs[0]:
            accuracy += f"; in continuous time {mean_of([run['continuous'] for run in runs])}"
        code = row.get("encode", "direct")
        code = code if isinstance(code, str) else code.__name__
        cells = [name, f"`{row['neuron']}`", code, accuracy, f"{seconds:.1f}", f"{spikes:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    for title, text in found["gradients"].items():
        lines += ["", f"Gradients, {title}:", "", "```text", text, "```"]
    return "\n".join(lines)


def mean_of(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.fmean(values):.1f} %" + (
        f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    )


def write(page: Path, tables: str) -> None:
    """Put the tables between the marks of the page."""
    text = page.read_text()
    before, rest = text.split(MARKS[0])
    page.write_text(f"{before}{MARKS[0]}\n{tables}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, help="JSON file of finished trainings, which are not repeated"
    )
    parser.add_argument("--page", type=Path, help="Markdown page whose tables are written")
    parser.add_argument("--smoke", action="store_true", help="one seed, one epoch, few images")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = (
        json.loads(args.out.read_text()) if args.out and args.out.exists() else {"rows": {}}
    )
    for name in CONTENDERS:
        if name.partition(" ")[0] not in rules_of(Rule):
            continue  # a rule that is not there has no row; once it is, the next run computes it
        runs = found["rows"].setdefault(name, [])
        for seed in range(1 if args.smoke else SEEDS):
            if not any(run["seed"] == seed for run in runs):
                runs.append(trained(name, seed, args.smoke))
                if args.out:
                    args.out.write_text(json.dumps(found, indent=1) + "\n")
    found["gradients"] = gradients(args.smoke)  # of every rule that is there now
    found["machine"] = machine()
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    if args.page:
        write(args.page, render(found))
    print(render(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
