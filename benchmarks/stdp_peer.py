"""BindsNET for `stdp_speed.py`: trains on as many images as the first argument says for each line
that it reads.

The second one is the size of a batch, the third one a folder with mnist.npz; without it the images
are random, with as many lit pixels.

Prints processor seconds. What BindsNET imports without needing it for a network is replaced by
stand-ins.
"""

import importlib.abc
import importlib.machinery
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

STEPS = 250
UNUSED = {
    "pandas",
    "ale_py",
    "tensorboardX",
    "gymnasium",
    "cv2",
    "torchvision",
    "skimage",
    "foolbox",
    "matplotlib",
}


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for packages that are not used, installed or not."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.partition(".")[0] in UNUSED | {"mpl_toolkits", "sklearn", "scipy", "tqdm", "numba"}:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module: Any) -> None:
        """Nothing to execute."""


def main() -> None:
    number, batch = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    sys.meta_path.insert(0, Absent())
    from bindsnet.models import DiehlAndCook2015  # pyright: ignore[reportMissingImports]

    net = DiehlAndCook2015(
        784, n_neurons=100, exc=22.5, inh=120, norm=78.4, nu=(1e-4, 1e-2), inpt_shape=(1, 28, 28)
    )
    generator = torch.Generator().manual_seed(0)
    lit = torch.rand(number, 784, generator=generator) < 0.19
    images = torch.rand(number, 784, generator=generator) * lit
    if len(sys.argv) > 3:
        images = (
            torch.from_numpy(np.load(Path(sys.argv[3]) / "mnist.npz")["x_train"][:number])
            .float()
            .flatten(1)
            / 255
        )
    rates = 0.128 * images
    for _ in sys.stdin:
        start = time.process_time()
        for a in range(0, number, batch):
            x = rates[a : a + batch].reshape(1, -1, 1, 28, 28)
            spikes = (torch.rand(STEPS, *x.shape[1:]) < x).byte()
            net.run(inputs={"X": spikes}, time=STEPS)
            net.reset_state_variables()
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
