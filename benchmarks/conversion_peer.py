"""SpikingJelly for `conversion_speed.py`: runs the network that it converts once for each line that
it reads.

Arguments: images a run, steps, step mode (``s``: a loop over the steps, ``m``: all steps at once),
and ``channels_last`` or ``contiguous_format``.
Prints processor seconds. The network is the one of Diehl et al. with random weights: what is timed
does not depend on accuracy.
"""

import sys
import time

import torch
from torch import nn


def network() -> nn.Sequential:
    """28x28-12c5-2s-64c5-2s-10o."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(12, 64, 5, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, 10, bias=False),
    ).eval()


def images(number: int) -> torch.Tensor:
    """Random images with as many lit pixels as digits have."""
    generator = torch.Generator().manual_seed(0)
    lit = torch.rand(number, 1, 28, 28, generator=generator) < 0.19
    return torch.rand(number, 1, 28, 28, generator=generator) * lit


def main() -> None:
    number, steps, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    from spikingjelly.activation_based import ann2snn, functional  # pyright: ignore[reportMissingImports]

    x = images(number)
    loader = torch.utils.data.DataLoader([(image, 0) for image in x[:64]], batch_size=64)  # pyright: ignore
    recipe = ann2snn.RateCodingRecipe(loader, mode="99.9%")
    net = ann2snn.Converter(recipe=recipe).convert(network())
    functional.set_step_mode(net, mode)
    order = getattr(torch, sys.argv[4])
    x, net = x.clone(memory_format=order), net.to(memory_format=order)
    for _ in sys.stdin:
        start = time.process_time()
        with torch.no_grad():
            functional.reset_net(net)
            if mode == "m":
                net(x.expand(steps, *x.shape)).mean(0)
            else:
                sum(net(x) for _ in range(steps))
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
