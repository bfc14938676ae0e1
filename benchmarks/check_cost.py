"""What ``snn.fit(check=True)``, the default, costs: processor seconds with it and without it.

    python benchmarks/check_cost.py [--repeats 5] [--smoke]

A training that learns stores its initial network. One that learns nothing, here for a threshold of
100, is checked once at its end, so that the share falls with the length of the training.
"""

from typing import Any

from common import interleaved, options, report
from torch import nn

import spikeloom as snn


def training(threshold: float, epochs: int, hidden: int, check: bool) -> Any:
    """One training on the bundled digits, as a function without arguments."""

    def network() -> nn.Sequential:
        neuron = {"beta": 0.9, "threshold": threshold, "init_hidden": True}
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, hidden),
            snn.Leaky(**neuron),
            nn.Linear(hidden, 10),
            snn.Leaky(**neuron),
        )

    data = snn.data.digits()
    settings: dict[str, Any] = {"num_steps": 12, "epochs": epochs, "progress": False}
    return lambda: snn.fit(network, data, check=check, **settings)


def main() -> None:
    args = options(__doc__, repeats=3, smoke="one epoch of a small network")
    hidden = 16 if args.smoke else 512
    rows = []
    for name, threshold in (("learns", 1.0), ("learns nothing", 100.0)):
        for epochs in (1,) if args.smoke else (1, 5, 20):
            found = interleaved(
                {
                    "with": training(threshold, epochs, hidden, True),
                    "without": training(threshold, epochs, hidden, False),
                },
                args.repeats,
            )
            rows.append(
                {
                    "training": name,
                    "epochs": epochs,
                    "without [s]": found["without"],
                    "check [ms]": 1000 * (found["with"] - found["without"]),
                    "share [%]": 100 * (found["with"] / found["without"] - 1),
                }
            )
    report("what the check of a training costs", rows)


if __name__ == "__main__":
    main()
