"""Wrong arguments that ended in an error of torch, NumPy or Python, a NaN or a crash.

`campaigns/calls.py` found them.
"""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom import chaos, conversion, decode, learning, spikegen
from spikeloom.spikevision import transforms

HUGE = 10**30
x = torch.rand(4, 3, 5)


def image() -> torch.Tensor:
    return torch.rand(3, 5)


WRONG = {
    "a whole number beyond int64": (
        lambda: decode.groups(x, HUGE),
        ValueError,
        r"num_classes must be in \[0, 9223372036854775807\]",
    ),
    "a seed beyond int64": (
        lambda: chaos.zero_one_test(torch.rand(200), seed=HUGE),
        ValueError,
        "seed must be in",
    ),
    "a whole number beyond int64 for a real one": (
        lambda: spikegen.delta(x, threshold=HUGE),
        ValueError,
        r"threshold must be a whole number of 64 bits or a float, got 1e\+30",
    ),
    "a latest time beyond int64": (
        lambda: spikegen.population_times(image(), num_neurons=4, latest=HUGE),
        ValueError,
        "latest must be a whole number of 64 bits or a float",
    ),
    "a factor beyond int64": (
        lambda: conversion.convert(nn.Sequential(nn.Linear(5, 2)), image(), scaling_factor=HUGE),
        ValueError,
        "scaling_factor must be a whole number of 64 bits or a float",
    ),
    "infinity among whole steps": (
        lambda: decode.first_spike(x.bool(), never=-torch.inf),
        ValueError,
        r"never must be a number of torch\.int64, as the steps are, got -inf",
    ),
    "a number beyond 16 bits among steps": (
        lambda: decode.first_spike(x.half(), never=1e30),
        ValueError,
        r"never must be a number of torch\.float16",
    ),
    "samples that are sparse": (
        lambda: conversion.convert(nn.Sequential(nn.Linear(5, 2)), image().to_sparse()),
        TypeError,
        "samples must be a dense tensor",
    ),
    "a complex strength": (
        lambda: chaos.feedback(image(), torch.ones(5, dtype=torch.complex64)),
        TypeError,
        "A must be floating point",
    ),
    "an empty signal": (
        lambda: chaos.chaotic_loss(torch.zeros(0, 5), 1.0),
        ValueError,
        r"h must hold at least one number, got \(0, 5\)",
    ),
    "images without a column": (
        lambda: snn.SConv2dLSTM(1, 2, 3)(torch.rand(3, 1, 6, 0)),
        ValueError,
        r"at least one pixel, got \(3, 1, 6, 0\)",
    ),
    "a network without parameters": (
        lambda: snn.backprop.BPTT(
            nn.Sequential(),
            [(x, torch.tensor([1, 0, 2]))],
            torch.optim.SGD([torch.zeros(1)]),
            snn.functional.ce_rate_loss(),
        ),
        ValueError,
        "net must have parameters that learn, got none",
    ),
    "an exponent that overflows": (
        lambda: learning.Exponential(beta=1e30),
        ValueError,
        r"beta must be in \[0, 50\]",
    ),
    "a target that is repeated for ever": (
        lambda: transforms.Repeat(2**31)(1),
        ValueError,
        "n_repeat must be in",
    ),
}


@pytest.mark.parametrize(("call", "error", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_had_an_error_of_torch(
    call: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        call()


def test_a_tensor_as_a_number_of_steps_was_compared_with_an_array() -> None:
    frames = transforms.ToCountFrame(torch.tensor(2), [3])(np.array([[0, 2], [1, 0]]))
    assert frames.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert transforms.toOneHot(torch.tensor(3))(np.array([[1]])).tolist() == [[0, 1, 0]]


def test_a_weight_of_classes_that_needs_a_gradient_had_an_error_of_torch() -> None:
    weight = torch.ones(5)
    loss = snn.functional.ce_temporal_loss(weight=weight.clone().requires_grad_())
    spk, labels = torch.eye(5).expand(4, 5, 5), torch.arange(5)
    assert torch.equal(
        loss(spk, labels), snn.functional.ce_temporal_loss(weight=weight)(spk, labels)
    )


def test_a_factor_of_zero_made_a_penalty_nan() -> None:
    assert snn.functional.rate_band(0.1, 0.5, Lambda=0)(torch.full((2, 1, 3), 1e30)) == 0


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 0), (0, 5), (0, 0)])
def test_a_spiking_layer_without_features_crashed(inputs: int, outputs: int) -> None:
    layer, given = snn.SpikeLinear(inputs, outputs), torch.ones(4, 3, inputs, requires_grad=True)
    result = layer(given)
    assert torch.equal(result, nn.functional.linear(given, layer.weight, layer.bias))
    result.sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.shape == (outputs, inputs)


@pytest.mark.parametrize("run", ["step", "scan", "final"])
@pytest.mark.parametrize(
    ("state", "words"),
    [
        ((torch.ones(5, 7),), "mem of shape (5, 7) was passed, but this input needs (2, 4)"),
        (torch.ones(2, 4), "starts from a state (mem), got Tensor"),
        ((torch.ones(2, 4), torch.ones(2, 4)), "starts from a state (mem), got 2 states"),
        ((1.0,), "mem must be a tensor, got 1.0"),
    ],
)
def test_a_state_that_does_not_fit_a_pure_run_had_an_error_of_torch(
    run: str, state: Any, words: str
) -> None:
    x = torch.ones(2, 4) if run == "step" else torch.ones(3, 2, 4)
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        getattr(snn.Leaky(0.9), run)(x, state)


@pytest.mark.parametrize(
    "value", [torch.tensor(2.0), torch.full((4,), 2.0), torch.full((1, 4), 2.0)]
)
def test_the_start_of_a_pure_run_is_broadcast_like_that_of_a_call(value: torch.Tensor) -> None:
    neuron, x = snn.Leaky(0.9), torch.rand(3, 2, 4)
    expected = neuron.scan(x, neuron.State(torch.full((2, 4), 2.0)))
    assert torch.equal(neuron.scan(x, (value,))[0], expected[0])


def test_a_number_as_a_static_input_had_an_error_of_python() -> None:
    net = nn.Sequential(nn.Linear(1, 3), snn.Leaky(0.9, init_hidden=True))
    with pytest.raises(ValueError, match="a static input is"):
        snn.run(net, torch.tensor(1.0), num_steps=3)


def test_an_image_smaller_than_a_delayed_kernel_had_an_error_of_torch() -> None:
    layer = snn.DelayedConv2d(2, 3, 3, max_delay=4, dilation=(1, 2), padding=(1, 0))
    assert layer(torch.rand(1, 2, 1, 5)).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match=re.escape("kernel of 5 along axis 3")):
        layer(torch.rand(1, 2, 1, 4))


def test_the_word_for_a_dark_theme_was_taken_for_true() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(TypeError, match="dark must be True or False"):
        snn.spikeplot.theme(dark="no")  # pyright: ignore[reportArgumentType]
