"""No silent misuse: each mistake of a first-time user, and what the library says about it.

A message states the rule, what came and what to write instead; inside `snn.run` it begins with the
layer's path.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom.core.neuron import TimeAxisWarning


def lif(**options: Any) -> snn.Leaky:
    return snn.Leaky(0.9, init_hidden=True, **options)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 4), lif(), nn.Linear(4, 2), lif())


def conv() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), lif(), nn.Flatten(), nn.Linear(32, 2), lif())


def called(neuron: Any, *calls: Any) -> Any:
    for arguments in calls:
        result = neuron(*arguments)
    return result


def twice_backward() -> None:
    neuron = lif(learn_beta=True)
    for _ in range(2):
        neuron(torch.rand(2, 3)).sum().backward()


nan = torch.full((5, 2, 6), float("nan"))

MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "NaN that all steps share": (
        lambda: snn.Leaky(0.9, mode="sequence")(nan[:1, :1, :1].expand(100, 2, 700)),
        ValueError,
        "the input of Leaky holds 1400 NaN or infinite values",
    ),
    "NaN that a layer makes of a static input": (
        lambda: snn.run(nn.Sequential(broken(4, 1024), lif()), torch.rand(130, 4), 5),
        ValueError,
        r"layer '1' \(Leaky\): the input of Leaky holds 133120 NaN",
    ),
    "wrong feature size": (
        lambda: snn.run(net(), torch.rand(5, 2, 7)),
        ValueError,
        r"layer '0' \(Linear\): expects 6 features in the last axis, got a step of shape \(2, "
        r"7\); change in_features",
    ),
    "wrong feature size in the step loop": (
        lambda: snn.run(nn.Sequential(Stateful(), net()), torch.rand(5, 2, 7)),
        ValueError,
        r"layer '1\.0' \(Linear\): expects 6 features",
    ),
    "wrong number of channels": (
        lambda: snn.run(conv(), torch.rand(5, 2, 3, 6, 6)),
        ValueError,
        r"layer '0' \(Conv2d\): expects 1 channels in axis 1, got a step of shape \(2, 3, 6, 6\)",
    ),
    "tuple into nn.Sequential": (
        lambda: snn.run(
            nn.Sequential(nn.Linear(6, 4), snn.Leaky(0.9), nn.Linear(4, 2)), torch.rand(5, 2, 6)
        ),
        TypeError,
        r"layer '2' \(Linear\): received 2 values .*init_hidden=True",
    ),
    "tuple into a neuron": (
        lambda: snn.Leaky(0.9)((torch.rand(2, 3), torch.rand(2, 3))),
        TypeError,
        r"input of Leaky must be a torch.Tensor, got tuple .*take \[0\]",
    ),
    "static input without num_steps": (
        lambda: snn.run(net(), torch.rand(2, 6)),
        ValueError,
        r"layer '0' \(Linear\): a step of its input has shape \(6,\) and no batch axis; .*needs "
        r"num_steps",
    ),
    "num_steps although time is there": (
        lambda: snn.run(net(), torch.rand(5, 2, 6), num_steps=5),
        ValueError,
        r"layer '0' \(Linear\): its static input \(5, 2, 6\) has as many rows as num_steps=5; "
        r".*drop num_steps",
    ),
    "images over time without a batch axis": (
        lambda: snn.run(conv(), torch.rand(5, 1, 6, 6)),
        ValueError,
        r"layer '0' \(Conv2d\): a step of its input has shape \(1, 6, 6\), expected 4 axes; "
        r".*unsqueeze\(1\)",
    ),
    "one step into a sequence": (
        lambda: snn.Leaky(0.9, mode="sequence")(torch.rand(2, 6)),
        ValueError,
        r"Leaky in sequence mode expects \[T, B, features\.\.\.\], got \(2, 6\); .*mode=\"step\"",
    ),
    "no time step": (
        lambda: snn.run(net(), torch.rand(0, 2, 6)),
        ValueError,
        r"\[T, B, \.\.\.\] with T > 0, got \(0, 2, 6\)",
    ),
    "num_steps that is none": (
        lambda: snn.run(net(), torch.rand(2, 6), 0),
        ValueError,
        "positive integer, got 0",
    ),
    "batch size changed without reset": (
        lambda: called(lif(), (torch.rand(8, 3),), (torch.rand(5, 3),)),
        ValueError,
        r"mem of shape \(8, 3\) is remembered .*needs \(5, 3\); call snn\.reset\(net\)",
    ),
    "batch of one after a batch of eight": (
        lambda: called(lif(), (torch.rand(1, 3),), (torch.rand(8, 3),)),
        ValueError,
        r"mem of shape \(1, 3\) is remembered",
    ),
    "state that does not fit": (
        lambda: snn.Leaky(0.9)(torch.rand(2, 3), torch.rand(2, 4)),
        ValueError,
        r"mem of shape \(2, 4\) was passed, but this input needs \(2, 3\)",
    ),
    "state passed although hidden": (
        lambda: lif()(torch.rand(2, 3), torch.rand(2, 3)),
        TypeError,
        r"Leaky\(init_hidden=True\) keeps its own state, got mem",
    ),
    "too many states": (
        lambda: snn.Leaky(0.9)(*torch.rand(3, 2, 3)),
        TypeError,
        r"takes an input and the state \(mem\)",
    ),
    "second backward through kept state": (
        twice_backward,
        RuntimeError,
        r"mem still hangs on the graph .*snn\.reset\(net\).*snn\.detach\(net\)",
    ),
    "another device": (
        lambda: snn.run(net(), torch.rand(5, 2, 6, device="meta")),
        RuntimeError,
        r"layer '0' \(Linear\): its weight is on cpu, its input on meta; write net\.to",
    ),
    "neuron on another device": (
        lambda: snn.Leaky(0.9)(torch.rand(2, 6, device="meta")),
        RuntimeError,
        r"Leaky is on cpu, its input on meta; write net\.to\('meta'\)",
    ),
    "another dtype": (
        lambda: snn.run(net(), torch.rand(5, 2, 6).double()),
        TypeError,
        r"layer '0' \(Linear\): its weight is torch\.float32, its input torch\.float64",
    ),
    "state of another dtype": (
        lambda: snn.Leaky(0.9)(torch.rand(2, 3), torch.rand(2, 3).double()),
        TypeError,
        r"mem is torch\.float64, the input torch\.float32",
    ),
    "integer input": (
        lambda: snn.run(net(), torch.ones(5, 2, 6, dtype=torch.int64)),
        TypeError,
        r"layer '0' \(Linear\): its weight is torch\.float32, its input torch\.int64; write x\.to",
    ),
    "tokens that are no whole numbers": (
        lambda: snn.run(nn.Sequential(nn.Embedding(7, 4), lif()), torch.rand(5, 2)),
        TypeError,
        r"layer '0' \(Embedding\): its input must be whole numbers, got torch\.float32; .*long",
    ),
    "two inputs": (
        lambda: snn.run(net(), (torch.rand(5, 2, 6), torch.rand(5, 2, 6))),
        TypeError,
        r"x must be one torch\.Tensor, got tuple of 2; .*several inputs .*snn\.layerwise\(module\)",
    ),
    "complex input": (
        lambda: snn.run(net(), torch.zeros(5, 2, 6, dtype=torch.complex64)),
        TypeError,
        r"x must be a dense tensor of real numbers, got torch\.complex64",
    ),
    "a script of hidden states": (
        lambda: torch.jit.script(net()),
        TypeError,
        r"TorchScript cannot compile Leaky; write torch\.export",
    ),
    "a trace of hidden states": (
        lambda: torch.jit.trace(net(), torch.rand(2, 6)),
        TypeError,
        r"would write the state of Leaky\(init_hidden=True\) .*as a constant; .*torch\.export",
    ),
    "integer input of a neuron": (
        lambda: snn.Leaky(0.9)(torch.ones(2, 3, dtype=torch.uint8)),
        TypeError,
        r"input of Leaky must be floating point, got torch\.uint8",
    ),
    "NaN input": (
        lambda: snn.run(net(), nan),
        ValueError,
        r"x holds 60 NaN or infinite values of 60 .*like a silent neuron",
    ),
    "NaN from a weight": (
        lambda: snn.run(nn.Sequential(nn.Linear(6, 4), broken(), lif()), torch.rand(5, 2, 6)),
        ValueError,
        r"layer '2' \(Leaky\): the input of Leaky holds 20 NaN",
    ),
    "beta above one": (
        lambda: snn.Leaky(1.7),
        ValueError,
        r"beta must be in \[0, 1\], got 1\.7; .*left after one step",
    ),
    "beta below zero": (
        lambda: snn.Leaky(torch.tensor([0.5, -0.5])),
        ValueError,
        r"beta must be in \[0, 1\], got -0\.5",
    ),
    "beta that is NaN": (lambda: snn.Leaky(float("nan")), ValueError, "beta must be in"),
    "threshold of zero": (
        lambda: snn.Leaky(0.9, threshold=0.0),
        ValueError,
        r"threshold must be in \(0, inf\), got 0",
    ),
    "beta for other neurons": (
        lambda: snn.Leaky(torch.rand(4))(torch.rand(2, 3)),
        ValueError,
        r"Leaky: beta of shape \(4,\) does not broadcast against one step of the input, \(2, 3\)",
    ),
    "unknown reset": (
        lambda: snn.Leaky(0.9, reset_mechanism="subtrct"),
        ValueError,
        r"reset_mechanism must be one of 'subtract', 'zero', 'none', 'zero_attached', got "
        r"'subtrct'; did you mean",
    ),
    "unknown mode": (
        lambda: snn.Leaky(0.9, mode="multi"),
        ValueError,
        r"mode of Leaky must be one of 'step', 'sequence'",
    ),
    "unknown surrogate": (
        lambda: snn.Leaky(0.9, spike_grad="atann"),
        TypeError,
        r"spike_grad must be a surrogate such as snn\.surrogate\.atan\(\), got 'atann'",
    ),
    "quantiser that is a number": (
        lambda: snn.Leaky(0.9, state_quant=8),
        TypeError,
        r"state_quant must be a function",
    ),
    "unknown record": (
        lambda: snn.run(net(), torch.rand(5, 2, 6), record=["1.memm"]),
        ValueError,
        r"a name in record must be one of .*'1\.mem'.*did you mean '1\.mem'\?",
    ),
    "unknown batch statistics": (
        lambda: snn.run(net(), torch.rand(5, 2, 6), batch_norm="all"),
        ValueError,
        "batch_norm must be one of 'step', 'time'",
    ),
    "no module": (
        lambda: snn.run(lambda x: x, torch.rand(5, 2, 6)),
        TypeError,
        "net must be a torch.nn.Module, got function",
    ),
    "parallel network": (
        lambda: snn.run(nn.DataParallel(net()), torch.rand(5, 2, 6)),
        TypeError,
        r"would synchronise at every step; wrap a module whose forward calls",
    ),
}


class Stateful(nn.Module):
    """Makes a network run step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        return x


def broken(inputs: int = 4, outputs: int = 2) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.fill_(float("nan"))
    return layer


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("act", "error", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_what_came_and_what_to_write(
    act: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        act()


def test_a_sequence_in_step_mode_is_warned_about_once() -> None:
    neuron = snn.Leaky(0.9)
    with pytest.warns(
        TimeAxisWarning,
        match=r"step mode takes axis 0 of \(20, 8, 10\) as the batch; if it is time",
    ):
        neuron(torch.rand(20, 8, 10))
    neuron.reset_mem()
    neuron(torch.rand(20, 8, 10))


def test_an_error_leaves_the_network_usable() -> None:
    network = net()
    with pytest.raises(ValueError, match="features"):
        snn.run(network, torch.rand(5, 2, 7))
    assert snn.run(network, torch.rand(5, 2, 6)).shape == (5, 2, 2)


def test_tokens_of_an_embedding_could_not_be_run_over_time() -> None:
    net = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 5), lif())
    x = torch.randint(7, (5, 2))
    expected = torch.stack([net(step) for step in x])
    assert torch.equal(snn.run(net, x), expected)
    snn.run(net, x).sum().backward()
    found = net[0].weight.grad
    net.zero_grad()
    expected.sum().backward()
    torch.testing.assert_close(found, net[0].weight.grad)


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning"
)
def test_a_step_with_passed_states_is_traced() -> None:
    lif = snn.Leaky(0.9)
    traced = torch.jit.trace(lif, (torch.rand(2, 3), torch.zeros(2, 3)))
    x, mem = torch.rand(2, 3), torch.rand(2, 3)
    assert all(map(torch.equal, traced(x, mem), lif(x, mem)))
