"""Valid calls of public functions and classes; `calls.py` replaces their arguments by wrong
ones."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from spikeloom import data, decode, spikegen, surrogate
from spikeloom import functional as SF
from spikeloom.spikevision import transforms

__all__ = [
    "Target",
    "data_sets",
    "decoders",
    "encoders",
    "functionals",
    "monitors",
    "surrogates",
    "targets_of_labels",
]

# The function or class, its valid arguments, and where the result is called, the valid arguments of
# that call.
Target = tuple[Callable[..., Any], dict[str, Any], dict[str, Any] | None]

T, B, N = 4, 3, 5
GENERATOR = torch.Generator().manual_seed(0)


def image() -> torch.Tensor:
    return torch.rand(B, N)


def spikes(*shape: int) -> torch.Tensor:
    return (torch.rand(*(shape or (T, B, N))) > 0.5).float()


def labels() -> torch.Tensor:
    return torch.tensor([0, 2, 1])


def events() -> np.ndarray:
    return np.array([(0, 0, 5, 1), (1, 1, 6, 0), (1, 0, 19, 1)], dtype=data.EVENT)


def encoders() -> dict[str, Target]:
    rate = {
        "gain": 1.0,
        "offset": 0.0,
        "first_spike_time": 0,
        "time_var_input": False,
        "generator": GENERATOR,
    }
    latency = {
        "num_steps": 8,
        "threshold": 0.01,
        "tau": 1.0,
        "first_spike_time": 0,
        "normalize": True,
        "linear": True,
    }
    on_off = {"on_target": 1.0, "off_target": 0.0}
    more = {"clip": False, "interpolate": False, "bypass": False, "epsilon": 1e-7}
    field = {"num_neurons": 4, "low": 0.0, "high": 1.0, "gamma": 1.5}
    return {
        "rate": (spikegen.rate, {"data": image(), "num_steps": T, **rate}, None),
        "rate_conv": (spikegen.rate_conv, {"data": image(), "generator": GENERATOR}, None),
        "poisson": (
            spikegen.poisson,
            {"rates": image(), "dt": 0.01, "num_steps": T, "generator": GENERATOR},
            None,
        ),
        "latency": (spikegen.latency, {"data": image(), **latency, **on_off, **more}, None),
        "latency_code": (
            spikegen.latency_code,
            {"data": image(), **latency, "epsilon": 1e-7},
            None,
        ),
        "latency_code_linear": (
            spikegen.latency_code_linear,
            {"data": image(), **latency, "linear": ...},
            None,
        ),
        "latency_code_log": (
            spikegen.latency_code_log,
            {"data": image(), **latency, "linear": ...},
            None,
        ),
        "latency_interpolate": (
            spikegen.latency_interpolate,
            {"spike_time": 5 * image(), "num_steps": 8, **on_off},
            None,
        ),
        "delta": (
            spikegen.delta,
            {"data": image(), "threshold": 0.1, "padding": False, "off_spike": True},
            None,
        ),
        "phase": (
            spikegen.phase,
            {"data": image(), "num_steps": T, "period": 4, "weighted": True},
            None,
        ),
        "burst": (
            spikegen.burst,
            {
                "data": image(),
                "num_steps": 30,
                "max_spikes": 3,
                "min_interval": 2,
                "max_interval": 5,
            },
            None,
        ),
        "population": (
            spikegen.population,
            {
                "data": image(),
                **field,
                "num_steps": T,
                "code": "rate",
                "threshold": 0.1,
                "generator": GENERATOR,
            },
            None,
        ),
        "population_centers": (spikegen.population_centers, {**field, "gamma": ...}, None),
        "population_times": (
            spikegen.population_times,
            {"data": image(), **field, "latest": 10.0, "threshold": 0.1},
            None,
        ),
        "receptive_fields": (spikegen.receptive_fields, {"data": image(), **field}, None),
    }


def targets_of_labels() -> dict[str, Target]:
    on_off = {"on_target": 1.0, "off_target": 0.0}
    code = {"num_classes": 4, "num_steps": 8, "first_spike_time": 0, **on_off, "interpolate": False}
    rates = {
        "correct_rate": 0.8,
        "incorrect_rate": 0.2,
        "firing_pattern": "regular",
        "generator": GENERATOR,
    }
    return {
        "to_one_hot": (spikegen.to_one_hot, {"targets": labels(), "num_classes": 3}, None),
        "from_one_hot": (spikegen.from_one_hot, {"one_hot_label": torch.eye(3)}, None),
        "to_one_hot_inverse": (
            spikegen.to_one_hot_inverse,
            {"one_hot_targets": torch.eye(3)},
            None,
        ),
        "targets_rate": (spikegen.targets_rate, {"targets": labels(), **code, **rates}, None),
        "targets_latency": (
            spikegen.targets_latency,
            {"targets": labels(), **code, "normalize": True},
            None,
        ),
        "targets_convert": (
            spikegen.targets_convert,
            {"targets": labels(), **code, **rates, "code": "rate"},
            None,
        ),
        "target_rate_code": (
            spikegen.target_rate_code,
            {
                "num_steps": 9,
                "first_spike_time": 1,
                "rate": 0.5,
                "firing_pattern": "uniform",
                "generator": GENERATOR,
            },
            None,
        ),
        "rate_interpolate": (
            spikegen.rate_interpolate,
            {"spike_time": torch.tensor([1, 4]), "num_steps": 8, **on_off},
            None,
        ),
        "PoissonEncoder": (
            spikegen.PoissonEncoder,
            {"T": 20.0, "dt": 1.0, "generator": GENERATOR},
            {"rates": 9 * image()},
        ),
        "BernoulliEncoder": (
            spikegen.BernoulliEncoder,
            {"time_interval": 6, "scale": 1.0, "generator": GENERATOR},
            {"values": image()},
        ),
    }


def functionals() -> dict[str, Target]:
    call = {"spk_out": spikes(), "targets": labels()}
    common = {"reduction": "mean", "weight": torch.ones(N)}
    population = {"population_code": False, "num_classes": False}
    times = {
        "target_is_time": False,
        "on_target": 0,
        "off_target": -1,
        "tolerance": 0.0,
        "multi_spike": False,
    }
    rec = {"spk_rec": spikes(), "targets": labels()}
    quant = {
        "num_bits": 4,
        "uniform": True,
        "thr_centered": True,
        "threshold": 1.0,
        "lower_limit": 0.0,
    }
    return {
        "ce_rate_loss": (SF.ce_rate_loss, {**population, **common}, call),
        "ce_count_loss": (SF.ce_count_loss, {**population, **common}, call),
        "ce_max_membrane_loss": (SF.ce_max_membrane_loss, common, call),
        "mse_count_loss": (
            SF.mse_count_loss,
            {"correct_rate": 1.0, "incorrect_rate": 0.0, **population, **common},
            call,
        ),
        "mse_rate_loss": (SF.mse_rate_loss, common, call),
        "mse_membrane_loss": (
            SF.mse_membrane_loss,
            {"time_var_targets": False, "on_target": 1.0, "off_target": 0.0, **common},
            call,
        ),
        "mse_temporal_loss": (SF.mse_temporal_loss, {**times, **common}, rec),
        "ce_temporal_loss": (SF.ce_temporal_loss, {"inverse": "negate", **common}, rec),
        "SpikeTime": (SF.SpikeTime, times, call),
        "accuracy_rate": (SF.accuracy_rate, {**call, **population}, None),
        "accuracy_temporal": (SF.accuracy_temporal, call, None),
        "l1_rate_sparsity": (SF.l1_rate_sparsity, {"Lambda": 0.1}, {"spk_out": spikes()}),
        "rate_band": (
            SF.rate_band,
            {"low": 0.1, "high": 0.5, "Lambda": 1.0},
            {"spk_out": spikes()},
        ),
        "synops": (SF.synops, {"synapses": nn.Linear(N, 2), "Lambda": 1.0}, None),
        "fan_out": (SF.fan_out, {"synapse": nn.Linear(N, 2), "shape": (N,)}, None),
        "state_quant": (
            SF.state_quant,
            {**quant, "upper_limit": 0.2, "multiplier": 0.5},
            {"x": image()},
        ),
    }


def monitors() -> dict[str, Target]:
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    watch = {"net": net, "instance": nn.Linear}
    return {
        "OutputMonitor": (SF.OutputMonitor, {**watch, "function_on_output": torch.detach}, None),
        "InputMonitor": (SF.InputMonitor, {**watch, "function_on_input": torch.detach}, None),
        "GradInputMonitor": (
            SF.GradInputMonitor,
            {**watch, "function_on_grad_input": torch.detach},
            None,
        ),
        "GradOutputMonitor": (
            SF.GradOutputMonitor,
            {**watch, "function_on_grad_output": torch.detach},
            None,
        ),
        "AttributeMonitor": (
            SF.AttributeMonitor,
            {"attribute_name": "weight", "pre_forward": False, **watch},
            None,
        ),
    }


def decoders() -> dict[str, Target]:
    return {
        "first_spike": (decode.first_spike, {"spk": spikes(), "never": 9.0}, None),
        "rates": (decode.rates, {"spk": spikes(), "dt": 0.001}, None),
        "groups": (decode.groups, {"x": image()[:, :4], "num_classes": 2}, None),
        "population_counts": (
            decode.population_counts,
            {"spk": spikes(T, B, 4), "num_classes": 2},
            None,
        ),
        "population_vote": (
            decode.population_vote,
            {"spk": spikes(T, B, 4), "num_classes": 2},
            None,
        ),
        "weighted_mean": (
            decode.weighted_mean,
            {"spk": torch.ones(T, B, N), "preferred": torch.rand(N)},
            None,
        ),
    }


def surrogates() -> dict[str, Target]:
    numbers = {
        surrogate.atan: {"alpha": 2.0},
        surrogate.fast_sigmoid: {"slope": 25.0},
        surrogate.sigmoid: {"slope": 25.0},
        surrogate.triangular: {"threshold": 1.0},
        surrogate.spike_rate_escape: {"beta": 1.0, "slope": 25.0},
        surrogate.SSO: {"mean": 0.0, "variance": 0.2},
        surrogate.LSO: {"slope": 0.1},
        surrogate.SFS: {"slope": 25.0, "B": 1.0},
        surrogate.zif: {"gamma": 1.0},
        surrogate.rectangular: {"a": 1.0},
        surrogate.polynomial: {"a": 1.0},
        surrogate.logistic: {"a": 1.0},
        surrogate.gaussian: {"a": 1.0},
        surrogate.custom_surrogate: {"custom_surrogate_function": lambda x, grad, spk: grad},
    }
    return {curve.__name__: (curve, settings, None) for curve, settings in numbers.items()}


def data_sets() -> dict[str, Target]:
    frames = {"num_steps": 3, "dt": 4.0, "start": 0.0, "binary": False}
    samples = [(torch.rand(2, 3), 0), (torch.rand(4, 3), 1)]
    sizes = {"num_train": 12, "num_test": 6, "seed": 0}
    return {
        "to_frames": (
            data.to_frames,
            {"events": events(), "sensor_size": (2, 2, 2), **frames},
            None,
        ),
        "to_events": (data.to_events, {"frames": spikes(2, 2, 3, 3), "dt": 10}, None),
        "pad_sequences": (
            data.pad_sequences,
            {"samples": samples, "batch_first": False, "lengths": True},
            None,
        ),
        "saccade": (
            data.saccade,
            {
                "images": torch.rand(2, 1, 6, 6),
                "num_steps": 4,
                "distance": 1.0,
                "threshold": 0.3,
                "noise": 0.1,
                "generator": GENERATOR,
            },
            None,
        ),
        "yin_yang": (data.yin_yang, sizes, None),
        "randman": (
            data.randman,
            {
                "num_classes": 2,
                "num_units": 3,
                **sizes,
                "dimensions": 2,
                "smoothness": 2.0,
                "modes": 3,
            },
            None,
        ),
        "delayed_xor": (data.delayed_xor, {**sizes, "num_steps": 14}, None),
        "xor_times": (
            data.xor_times,
            {"early": 0.0, "late": 6.0, "bias": 0.0, "first": 10.0, "second": 16.0},
            None,
        ),
        "stratified": (
            data.stratified,
            {"labels": np.array([0, 0, 1, 1]), "num_test": 2, "number": 0},
            None,
        ),
        "read_idx": (data.read_idx, {"path": "absent.idx"}, None),
        "mnist": (data.mnist, {"root": "absent", "flat": False}, None),
        "cifar10_jpeg": (
            data.cifar10_jpeg,
            {"path": "absent", "num_train": 1, "num_test": 1},
            None,
        ),
        "EventFrames": (
            data.EventFrames,
            {
                "dataset": [(events(), 1)],
                "num_steps": 3,
                "dt": 4.0,
                "sensor_size": (2, 2, 2),
                "binary": False,
            },
            None,
        ),
        "CropDims": (
            transforms.CropDims,
            {"low_crop": [0], "high_crop": [3], "dims": [2]},
            {"events": np.ones((4, 4), int)},
        ),
        "Downsample": (
            transforms.Downsample,
            {"factor": [1, 1, 2, 2]},
            {"events": np.ones((4, 4), int)},
        ),
        "ToCountFrame": (
            transforms.ToCountFrame,
            {"T": 3, "size": (2, 3, 3)},
            {"events": np.ones((4, 4), int)},
        ),
        "ToTensor": (transforms.ToTensor, {"device": "cpu"}, {"array": np.ones((2, 3))}),
        "Repeat": (transforms.Repeat, {"n_repeat": 3}, {"target": 1}),
        "toOneHot": (transforms.toOneHot, {"num_classes": 3}, {"integers": np.array([[1], [2]])}),
        "hflip": (transforms.hflip, {}, {"frames": image()}),
        "dvs_permute": (transforms.dvs_permute, {}, {"frames": torch.rand(2, 2, 3, 3)}),
    }
