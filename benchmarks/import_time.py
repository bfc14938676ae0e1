"""What `import spikeloom` adds to `import torch`, in fresh processes.

    python benchmarks/import_time.py [--repeats 5] [--smoke]

Processor seconds, medians over processes. The goal is at most 0.1 s more than torch.
"""

import json
import statistics
import subprocess
import sys
from typing import Any

from common import options, report

MEASURE = """
import json, time
start = time.process_time()
import numpy, torch
middle = time.process_time()
import spikeloom
print(json.dumps({"torch": middle - start, "spikeloom": time.process_time() - middle}))
"""


def measure(repeats: int) -> list[dict[str, Any]]:
    found = []
    for _ in range(repeats + 1):
        done = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True)
        found.append(json.loads(done.stdout))
    counted = found[1:]  # the first process may compile the sources
    return [
        {"import": name, "processor [s]": statistics.median(one[name] for one in counted)}
        for name in ("torch", "spikeloom")
    ]


def main() -> None:
    args = options(__doc__, repeats=5, smoke="one process")
    report("Import, numpy with torch", measure(1 if args.smoke else args.repeats))


if __name__ == "__main__":
    main()
