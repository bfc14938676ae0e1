from dataclasses import dataclass

from torch import Tensor

from spikeloom.learning import Memory, Rule, Term


@dataclass(frozen=True)
class Oja(Rule, name="oja"):
    """At each spike of the output weights move towards the trace of their input.

    >>> str(Oja(rate=0.5).rate)
    '0.5'
    """

    rate: float = 0.02

    def terms(self, pre: Tensor, post: Tensor, memory: Memory) -> tuple[Memory, tuple[Term, ...]]:
        trace = self.remember(memory.pre, pre, self.tau_pre)
        gain = Term(lambda w: self.rate * (w * 0 + 1), trace, post)
        loss = Term(lambda w: -self.rate * w, trace * 0 + 1, post)
        return Memory(trace), (gain, loss)
