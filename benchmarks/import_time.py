"""What `import spikeloom` adds to `import torch`, in fresh processes.

    python benchmarks/import_time.py [--repeats 5] [--smoke]

Processor seconds, medians over processes, with the byte code that Python keeps after the first
import. The goal is at most 0.1 s more than torch. The collector of garbage walks through all
objects of torch once in a while; whether that happens during our import depends on how many torch
has made, so its time is also shown by itself.
"""

import json
import os
import statistics
import subprocess
import sys
from typing import Any

from common import options, report

MEASURE = """
import gc, json, time
start = time.process_time()
import numpy, torch
middle = time.process_time()
pauses = []
def collecting(phase, _):
    pauses.append(time.process_time() * (1 if phase == "stop" else -1))
gc.callbacks.append(collecting)
import spikeloom
whole = time.process_time() - middle
found = {"torch": middle - start, "spikeloom": whole, "of it collecting garbage": sum(pauses)}
print(json.dumps(found))
"""


def measure(repeats: int) -> list[dict[str, Any]]:
    found = []
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(repeats + 1):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE], check=True, capture_output=True, env=kept
        )
        found.append(json.loads(done.stdout))
    counted = found[1:]  # the first process may compile the sources
    return [
        {"import": name, "processor [s]": statistics.median(one[name] for one in counted)}
        for name in counted[0]
    ]


def main() -> None:
    args = options(__doc__, repeats=5, smoke="one process")
    report("Import, numpy with torch", measure(1 if args.smoke else args.repeats))


if __name__ == "__main__":
    main()
