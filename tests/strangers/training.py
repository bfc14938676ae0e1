from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, autograd, nn

import spikeloom as snn
from spikeloom.learning import TrainingRule


@dataclass(frozen=True)
class Signed(TrainingRule, name="signed"):
    """The sign of the gradient of backpropagation through time, scaled.

    >>> Signed().size
    0.001
    """

    size: float = 1e-3

    def gradients(
        self, net: nn.Module, x: Tensor, y: Tensor, loss: Callable[..., Tensor]
    ) -> list[Tensor]:
        outputs = snn.run(net, x)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        learned = [p for p in net.parameters() if p.requires_grad]
        return [self.size * g.sign() for g in autograd.grad(loss(outputs, y).sum(), learned)]
