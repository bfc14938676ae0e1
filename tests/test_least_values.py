"""The edges of the ranges of arguments: what is at an edge is accepted, what is beyond refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spikeloom as snn
from spikeloom import blocks, chaos, conversion, data, doctor, functional, learning, spikegen, train
from spikeloom.functional import quant

X = torch.rand(6, 2, 4, generator=torch.Generator().manual_seed(0))
WAVE = torch.sin(torch.arange(400) * 0.8)
LABELS = np.arange(6) % 3
SPIKES = (X > 0.5).float()
TIMES = torch.tensor([1.0, 3.0])
EVENTS = np.array([(0, 1, 1, 0), (1, 2, 2, 1)], dtype=data.EVENT)
PLAIN = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))


def logistic(x: torch.Tensor) -> torch.Tensor:
    return 3.9 * x * (1 - x)


def leaky() -> snn.Leaky:
    return snn.Leaky(0.9, init_hidden=True)


def trace() -> torch.Tensor:
    values = [torch.tensor(0.3, dtype=torch.double)]
    for _ in range(300):
        values.append(logistic(values[-1]))
    return torch.stack(values)


LEAST: dict[str, tuple[int, Callable[[int], Any]]] = {
    "SLSTM input_size": (1, lambda n: snn.SLSTM(n, 2)),
    "SLSTM hidden_size": (1, lambda n: snn.SLSTM(2, n)),
    "SConv2dLSTM in_channels": (1, lambda n: snn.SConv2dLSTM(n, 2, 3)),
    "SConv2dLSTM out_channels": (1, lambda n: snn.SConv2dLSTM(2, n, 3)),
    "RLeaky linear_features": (1, lambda n: snn.RLeaky(0.9, linear_features=n)),
    "RLeaky conv2d_channels": (1, lambda n: snn.RLeaky(0.9, conv2d_channels=n, kernel_size=3)),
    "RLeaky kernel_size": (1, lambda n: snn.RLeaky(0.9, conv2d_channels=2, kernel_size=(n, 1))),
    "RLeaky kernel width": (1, lambda n: snn.RLeaky(0.9, conv2d_channels=2, kernel_size=(1, n))),
    "GLIF level": (1, lambda n: snn.GLIF(n)),
    "PSN num_steps": (1, lambda n: snn.PSN(n)),
    "MaskedPSN k": (1, lambda n: snn.MaskedPSN(4, n)),
    "SlidingPSN k": (1, lambda n: snn.SlidingPSN(n)),
    "GradedSpikes size": (1, lambda n: snn.GradedSpikes(n, 1.0)),
    "SynapticDelay max_delay": (1, lambda n: snn.SynapticDelay(n)),
    "SynapticDelay channels": (1, lambda n: snn.SynapticDelay(2, channels=n)),
    "DelayedLinear in_features": (1, lambda n: snn.DelayedLinear(n, 2, 3)),
    "DelayedLinear out_features": (1, lambda n: snn.DelayedLinear(2, n, 3)),
    "DelayedLinear max_delay": (1, lambda n: snn.DelayedLinear(2, 2, n)),
    "DelayedLinear kernel_count": (1, lambda n: snn.DelayedLinear(2, 2, 3, kernel_count=n)),
    "DelayedConv1d in_channels": (1, lambda n: snn.DelayedConv1d(n, 2, 1, 3)),
    "DelayedConv1d out_channels": (1, lambda n: snn.DelayedConv1d(2, n, 1, 3)),
    "DelayedConv1d groups": (1, lambda n: snn.DelayedConv1d(2, 2, 1, 3, groups=n)),
    "BatchNormTT1d time_steps": (1, lambda n: snn.BatchNormTT1d(4, n)),
    "TemporalEffectiveBatchNorm time_steps": (
        1,
        lambda n: snn.TemporalEffectiveBatchNorm(nn.BatchNorm1d(4), n),
    ),
    "token_layer in_features": (1, lambda n: blocks.token_layer(n, 2, leaky)),
    "token_layer out_features": (1, lambda n: blocks.token_layer(2, n, leaky)),
    "token_mlp dim": (1, lambda n: blocks.token_mlp(n, leaky)),
    "token_mlp hidden": (1, lambda n: blocks.token_mlp(2, leaky, hidden=n)),
    "self_attention heads": (1, lambda n: blocks.self_attention(4, n, leaky)),
    "self_attention dim": (1, lambda n: blocks.self_attention(n, 1, leaky)),
    "qk_attention heads": (1, lambda n: blocks.qk_attention(4, leaky, heads=n)),
    "sew_block in_channels": (1, lambda n: blocks.sew_block(n, 2, leaky)),
    "sew_block out_channels": (1, lambda n: blocks.sew_block(2, n, leaky)),
    "ms_block stride": (1, lambda n: blocks.ms_block(2, 2, leaky, stride=n)),
    "patch_embedding in_channels": (1, lambda n: blocks.patch_embedding(n, 8, leaky)),
    "vgg in_channels": (1, lambda n: blocks.vgg([2], n, leaky)),
    "vgg plan": (1, lambda n: blocks.vgg([n], 2, leaky)),
    "SpikeProp inputs": (1, lambda n: learning.SpikeProp(n, 2)),
    "SpikeProp neurons": (1, lambda n: learning.SpikeProp(2, n)),
    "EventLIF inputs": (1, lambda n: learning.EventLIF(n, 2, until=9.0)),
    "EventLIF neurons": (1, lambda n: learning.EventLIF(2, n, until=9.0)),
    "TBPTT K": (1, lambda n: train.TBPTT(n)),
    "SLTT K": (1, lambda n: train.SLTT(n)),
    "EarlyStopping patience": (1, lambda n: train.EarlyStopping(patience=n)),
    "TensorBoardLog every": (1, lambda n: train.TensorBoardLog("logs", every=n)),
    "top_k k": (1, lambda n: train.top_k(n)),
    "state_quant num_bits": (1, lambda n: functional.state_quant(num_bits=n)),
    "StateQuantizer num_bits": (1, lambda n: quant.StateQuantizer(num_bits=n)),
    "QCFS levels": (1, lambda n: conversion.QCFS(n)),
    "convert num_steps": (1, lambda n: conversion.convert(ann(), X[0], num_steps=n)),
    "break_even steps": (1, lambda n: doctor.MEMORY.break_even(n)),
    "break_even inputs": (1, lambda n: doctor.MEMORY.break_even(5, inputs=n)),
    "mel bands": (1, lambda n: data.mel(WAVE, 8000, bands=n)),
    "gammatone bands": (1, lambda n: data.gammatone(WAVE, 8000, bands=n)),
    "cochlea fibres": (1, lambda n: data.cochlea(WAVE, 8000, bands=2, fibres=n)),
    "crop_time size": (1, lambda n: data.crop_time(X, n)),
    "shift_time most": (0, lambda n: data.shift_time(X, n)),
    "mask_spans most": (0, lambda n: data.mask_spans(X, n)),
    "equalize_bands curves": (1, lambda n: data.equalize_bands(X, 1.0, curves=n)),
    "stratified num_test": (0, lambda n: data.stratified(LABELS, n)),
    "stratified number": (0, lambda n: data.stratified(LABELS, 3, n)),
    "disjoint num_test": (1, lambda n: data.disjoint(LABELS, n)),
    "disjoint number": (0, lambda n: data.disjoint(LABELS, 1, n)),
    "yin_yang seed": (0, lambda n: data.yin_yang(9, 3, seed=n)),
    "to_frames num_steps": (1, lambda n: data.to_frames(EVENTS, (4, 4, 2), num_steps=n)),
    "to_events dt": (1, lambda n: data.to_events(torch.ones(2, 1, 2, 2), dt=n)),
    "shift_events most": (0, lambda n: data.shift_events(EVENTS, n, sensor_size=(4, 4, 2))),
    "phase period": (1, lambda n: spikegen.phase(X[0], 4, n)),
    "burst max_spikes": (1, lambda n: spikegen.burst(X[0], 9, n)),
    "burst min_interval": (1, lambda n: spikegen.burst(X[0], 9, 2, n)),
    "BernoulliEncoder time_interval": (1, lambda n: spikegen.BernoulliEncoder(n)),
    "to_one_hot num_classes": (1, lambda n: spikegen.to_one_hot(torch.tensor([0]), n)),
    "zero_one_test angles": (1, lambda n: chaos.zero_one_test(trace(), angles=n)),
    "zero_one_test seed": (0, lambda n: chaos.zero_one_test(trace(), seed=n)),
    "lyapunov_of_trace dimension": (1, lambda n: chaos.lyapunov_of_trace(trace(), dimension=n)),
    "lyapunov_of_trace lag": (1, lambda n: chaos.lyapunov_of_trace(trace(), lag=n)),
    "lyapunov_of_trace apart": (1, lambda n: chaos.lyapunov_of_trace(trace(), apart=n)),
    "lyapunov_of_trace horizon": (1, lambda n: chaos.lyapunov_of_trace(trace(), horizon=n)),
    "gradient_report num_steps": (
        1,
        lambda n: snn.gradient_report(PLAIN, (X[0], torch.arange(2)), num_steps=n, rules=["eprop"]),
    ),
}


def ann() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


@pytest.mark.parametrize("name", LEAST)
def test_the_least_whole_number_was_refused_or_a_smaller_one_accepted(name: str) -> None:
    least, call = LEAST[name]
    call(least)
    with pytest.raises(ValueError, match=str(least)):
        call(least - 1)


OPEN, BELOW, ABOVE = 0.0, -0.5, 1.5
EDGES: dict[str, tuple[Callable[[float], Any], list[float], list[float]]] = {
    "break_even zeros": (lambda v: doctor.MEMORY.break_even(5, zeros=v), [0, 1], [BELOW, ABOVE]),
    "van_rossum_distance tau": (
        lambda v: functional.van_rossum_distance(SPIKES, SPIKES, tau=v),
        [0.5],
        [OPEN, BELOW],
    ),
    "coincidence_factor window": (
        lambda v: functional.coincidence_factor(TIMES, TIMES, window=v, duration=9.0),
        [0, 0.5],
        [BELOW],
    ),
    "QCFS threshold": (lambda v: conversion.QCFS(2, v), [0.5], [OPEN, BELOW]),
    "convert percentile": (
        lambda v: conversion.convert(ann(), X[0], percentile=v),
        [0.5, 100],
        [OPEN, 100.5],
    ),
    "convert scaling_factor": (
        lambda v: conversion.convert(ann(), X[0], scaling_factor=v),
        [0.5],
        [OPEN, BELOW],
    ),
    "convert initial_mem": (
        lambda v: conversion.convert(ann(), X[0], initial_mem=v),
        [0, 1],
        [BELOW, ABOVE],
    ),
    "convert warm_up": (lambda v: conversion.convert(ann(), X[0], warm_up=v), [0, 0.5], [BELOW, 1]),
    "EarlyStopping min_delta": (lambda v: train.EarlyStopping(min_delta=v), [0, 0.5], [BELOW]),
    "stretch_time most": (lambda v: data.stretch_time(X, v), [1, 1.5], [0.5]),
    "warp_mel most": (lambda v: data.warp_mel(X, v), [1, 1.5], [0.5]),
    "warp_mel lowest": (lambda v: data.warp_mel(X, 1.2, lowest=v), [0, 0.5], [BELOW]),
    "warp_mel highest": (lambda v: data.warp_mel(X, 1.2, highest=v), [60.5], [60, 59.5]),
    "equalize_bands most": (lambda v: data.equalize_bands(X, v), [0, 0.5], [BELOW]),
    "scale_gain most": (lambda v: data.scale_gain(X, v), [0, 0.5], [BELOW]),
    "add_noise most": (lambda v: data.add_noise(X, v), [0, 0.5], [BELOW]),
    "mix most": (lambda v: data.mix(X, torch.eye(2), v), [0, 1], [BELOW, ABOVE]),
    "drop_events most": (lambda v: data.drop_events(EVENTS, v), [0, 1], [BELOW, ABOVE]),
    "drop_time most": (lambda v: data.drop_time(EVENTS, v), [0, 1], [BELOW, ABOVE]),
    "flip_polarity probability": (lambda v: data.flip_polarity(EVENTS, v), [0, 1], [BELOW, ABOVE]),
    "gammatone lowest": (
        lambda v: data.gammatone(WAVE, 8000, bands=2, lowest=v),
        [0, 0.5],
        [BELOW],
    ),
    "gammatone highest": (
        lambda v: data.gammatone(WAVE, 8000, bands=2, highest=v),
        [4000],
        [4000.5],
    ),
    "cochlea dt": (
        lambda v: data.cochlea(WAVE, 8000, bands=2, fibres=1, dt=v),
        [0.001],
        [OPEN, BELOW],
    ),
    "frame_energy floor": (lambda v: data.frame_energy(WAVE, 8000, floor=v), [0.5], [OPEN, BELOW]),
    "to_frames dt": (lambda v: data.to_frames(EVENTS, (4, 4, 2), dt=v), [0.5], [OPEN, BELOW]),
    "randman smoothness": (lambda v: data.randman(smoothness=v), [0, 1000], [BELOW, 1000.5]),
    "MaskedPSN lambda_": (lambda v: snn.MaskedPSN(4, 2, v), [0, 1], [BELOW, ABOVE]),
    "self_attention scale": (
        lambda v: blocks.self_attention(4, 1, leaky, scale=v),
        [0.5],
        [OPEN, BELOW],
    ),
    "delta threshold": (lambda v: spikegen.delta(X, v), [0.5], [OPEN, BELOW]),
    "latency threshold": (
        lambda v: spikegen.latency(X[0], 5, threshold=v, normalize=True),
        [0.5],
        [OPEN, 1],
    ),
    "latency epsilon": (lambda v: spikegen.latency(X[0], 5, epsilon=v), [0.5], [OPEN, BELOW]),
    "Z Z": (chaos.Z, [0, 0.5], [BELOW]),
    "chaotic_loss scale": (
        lambda v: chaos.chaotic_loss(X[0], z=1.0, scale=v),
        [0.5],
        [OPEN, BELOW],
    ),
    "ThresholdDependentBatchNorm1d alpha": (
        lambda v: snn.ThresholdDependentBatchNorm1d(4, alpha=v),
        [0.5],
        [OPEN, BELOW],
    ),
    "BatchNormTT1d eps": (lambda v: snn.BatchNormTT1d(4, 2, eps=v), [0, 0.5], [BELOW]),
    "BatchNormTT1d momentum": (
        lambda v: snn.BatchNormTT1d(4, 2, momentum=v),
        [0, 1],
        [BELOW, ABOVE],
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_a_number_at_the_edge_of_its_range_was_refused_or_one_beyond_accepted(name: str) -> None:
    call, accepted, refused = EDGES[name]
    for value in accepted:
        call(value)
    for value in refused:
        with pytest.raises(ValueError, match=f"{name.split()[1]}"):
            call(value)
