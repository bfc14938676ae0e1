"""Loops over time as people write them are the same recorded and plain."""

import loops_of_steps  # noqa: F401 (fills LOOPS)
import loops_of_training  # noqa: F401
import pytest
import torch
from loops import LOOPS, Net, X
from ways import built

import spikeloom as snn


@pytest.mark.parametrize("name", LOOPS)
def test_a_recorded_loop_is_the_plain_one(name: str) -> None:
    found = []
    for wrap in (lambda function: function, snn.layerwise):
        net, x = built(Net), X.clone().requires_grad_()
        torch.manual_seed(6)
        output = wrap(LOOPS[name])(net, x)
        leaves = torch.utils._pytree.tree_leaves(output)
        if any(v.requires_grad for v in leaves):
            sum(v.square().sum() for v in leaves if v.requires_grad).backward()
        gradients = [x.grad, *(p.grad for p in net.parameters())]
        found.append([*leaves, *gradients, *net.buffers(), *net.lif1.hidden, torch.rand(1)])
    plain, recorded = found
    assert len(plain) == len(recorded)
    for a, b in zip(recorded, plain, strict=True):
        assert type(a) is type(b)
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
