import torch

import spikeloom as snn


def quadrants(samples: int = 200) -> snn.data.Split:
    """Points of the square; the class is the quadrant.

    >>> quadrants(40)
    Split(quadrants: 30 training and 10 test samples of shape [4], 4 classes)
    """
    points = torch.rand(samples, 2, generator=torch.Generator().manual_seed(0))
    labels = (points > 0.5).long() @ torch.tensor([1, 2])
    x = torch.cat([points, 1 - points], 1)
    test = samples // 4
    return snn.data.Split(x[test:], labels[test:], x[:test], labels[:test], "quadrants", "made up")
