"""Records subclasses of snnTorch 1.0.0's neurons: spikes, last membrane and gradients over 100
steps.

Usage, in an environment with snntorch==1.0.0 and torch==2.13.0: ``python
tests/recorded/record_subclasses.py``. Writes ``subclasses.npz`` and ``subclasses.json`` beside this
script; the classes are in ``subclasses.py``.
"""

import warnings

import numpy as np
import snntorch
import torch
from store import Store
from subclasses import CASES, drive


def main():
    torch.set_num_threads(1)
    store = Store()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for base, style, reset in CASES:
            name = f"{base}/{style}/{reset}"
            spikes, mem, grads = drive(snntorch, base, style, reset)
            fired = (spikes != 0).numpy()
            case = {
                "name": name,
                "base": base,
                "style": style,
                "reset": reset,
                "rate": round(float(fired.mean()), 4),
            }
            case["spk"] = store.add(f"{name}/spk", np.packbits(fired))
            case["mem"] = store.add(f"{name}/mem", mem)
            case["grads"] = store.add_all(f"{name}/grad", grads)
            store.cases.append(case)
    store.write("subclasses", [])


if __name__ == "__main__":
    main()
