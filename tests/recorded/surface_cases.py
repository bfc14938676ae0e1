"""The calls that `record_surface` records, as (name, call, arguments, keyword arguments, options).

How the call is made stands in the options (``make``: the call with the keyword arguments returns
what is then called with the arguments; ``scenario``: a function of `scenarios`), and so do the
positions of the arguments to differentiate. ``SKIPPED`` lists what snnTorch 1.0.0 does wrong or
cannot do, with the reason.
"""

from itertools import product

import torch
from loss_cases import learning, losses, programs, scores

__all__ = ["SKIPPED", "cases"]

CALL = {"how": "call"}
GRAD = {"how": "make", "differentiate": [0]}
APPLY = {"how": "call", "differentiate": [0]}


def surrogates():
    """Forward and derivative over -3..3 in steps of 0.1, zero and the integers exactly."""
    grid = torch.arange(-30, 31) / 10
    table = {
        "atan": [{}, {"alpha": 2.0}, {"alpha": 0.7}, {"alpha": 5.0}],
        "fast_sigmoid": [{}, {"slope": 5}, {"slope": 1.5}],
        "sigmoid": [{}, {"slope": 5}, {"slope": 1.5}],
        "straight_through_estimator": [{}],
        "triangular": [{}, {"threshold": 0.5}],
        "spike_rate_escape": [{}, {"beta": 2, "slope": 5}],
        "heaviside": [{}],
        "SSO": [{"mean": 0, "variance": 0}],
        "SFS": [{}, {"slope": 5, "B": 0.5}, {"slope": 5, "B": -1}],
        "custom_surrogate": [{"custom_surrogate_function": {"function": "gated"}}],
    }
    for name, variants in table.items():
        for number, kwargs in enumerate(variants):
            yield f"surrogate/{name}/{number}", f"surrogate.{name}", [grid], kwargs, GRAD
    functions = {
        "ATan": [2.0],
        "FastSigmoid": [25],
        "Sigmoid": [25],
        "StraightThroughEstimator": [],
        "Triangular": [1],
        "SpikeRateEscape": [1, 25],
        "Heaviside": [],
        "SparseFastSigmoid": [25, 1],
        "StochasticSpikeOperator": [0, 0],
    }
    for name, values in functions.items():
        yield f"surrogate/{name}", f"surrogate.{name}.apply", [grid, *values], {}, APPLY


def rates():
    """Rate coding where the probabilities are 0 and 1, values beyond them included."""
    sure = torch.tensor([[0.0, 1.0, 1.7], [-0.4, 1.0, 0.0]])
    over_time = torch.stack([sure, 1 - sure, sure])
    yield "rate_conv", "spikegen.rate_conv", [sure], {}, CALL
    yield "rate", "spikegen.rate", [sure], {"num_steps": 5}, CALL
    yield "rate/late", "spikegen.rate", [sure], {"num_steps": 5, "first_spike_time": 2}, CALL
    yield "rate/gain", "spikegen.rate", [sure], {"num_steps": 3, "gain": -2, "offset": 1}, CALL
    yield "rate/over_time", "spikegen.rate", [over_time], {"time_var_input": True}, CALL
    late = {"time_var_input": True, "first_spike_time": 2}
    yield "rate/over_time_late", "spikegen.rate", [over_time], late, CALL


def latencies():
    data = torch.tensor([[0.0, 0.013, 0.037, 0.11], [0.23, 0.52, 0.81, 1.0]])
    switches = product((False, True), (False, True), (0, 2))
    for linear, normalize, first_spike_time in switches:
        kwargs = {"num_steps": 16, "threshold": 0.02, "linear": linear, "normalize": normalize}
        kwargs |= {"first_spike_time": first_spike_time, "tau": 7.3 if linear else 1}
        name = "/".join(
            ["linear" if linear else "log", f"normalize={normalize}", f"first={first_spike_time}"]
        )
        yield f"latency_code/{name}", "spikegen.latency_code", [data], kwargs, CALL
        yield f"latency/{name}", "spikegen.latency", [data], kwargs, CALL
        yield f"latency/{name}/clip", "spikegen.latency", [data], {**kwargs, "clip": True}, CALL
        yield (
            f"latency/{name}/interpolate",
            "spikegen.latency",
            [data],
            {**kwargs, "interpolate": True},
            CALL,
        )
    steps = {"num_steps": 16}
    yield "latency/defaults", "spikegen.latency", [data], steps, CALL
    yield (
        "latency/targets",
        "spikegen.latency",
        [data],
        {**steps, "on_target": 1.25, "off_target": 0.25},
        CALL,
    )
    ramp = {**steps, "on_target": 1.25, "off_target": -0.5, "interpolate": True, "normalize": True}
    yield "latency/targets_interpolate", "spikegen.latency", [data], ramp, CALL
    cut = {"num_steps": 5, "tau": 3, "bypass": True}
    yield "latency/cut", "spikegen.latency", [data], cut, CALL
    yield "latency/cut_interpolate", "spikegen.latency", [data], {**cut, "interpolate": True}, CALL
    yield "latency/open", "spikegen.latency", [data], {"tau": 0.7, "bypass": True}, CALL
    yield (
        "latency/epsilon",
        "spikegen.latency",
        [data],
        {**steps, "epsilon": 1e-3, "tau": 2.3},
        CALL,
    )
    wide = torch.tensor([-0.5, 0.2, 0.7, 1.0, 1.5])
    log = {"tau": 2.3, "threshold": 0.3}
    yield (
        "latency_code_log",
        "spikegen.latency_code_log",
        [data],
        {**log, "num_steps": 9, "normalize": True},
        CALL,
    )
    yield "latency_code_log/wide", "spikegen.latency_code_log", [wide], log, CALL
    yield "latency_code_linear/wide", "spikegen.latency_code_linear", [wide], log, CALL
    stretch = {"num_steps": 9, "normalize": True}
    yield "latency_code_linear/stretch", "spikegen.latency_code_linear", [wide], stretch, CALL
    times = torch.tensor([[0.0, 4.0, 2.2], [1.8, 7.0, 3.0]])
    yield "latency_interpolate", "spikegen.latency_interpolate", [times], {"num_steps": 5}, CALL
    shifted = {"num_steps": 5, "on_target": 1.25, "off_target": 0.25}
    yield "latency_interpolate/targets", "spikegen.latency_interpolate", [times], shifted, CALL
    yield (
        "latency_interpolate/no_zero",
        "spikegen.latency_interpolate",
        [times[:, 1:]],
        shifted,
        CALL,
    )


def deltas():
    """Quarters: differences equal to the threshold occur."""
    data = torch.tensor([[1.0, 0.0], [1.25, 0.5], [1.0, 0.25], [3.0, -1.0], [3.0, -0.5]])
    for padding, off_spike, threshold in product((False, True), (False, True), (0.25, 0.6)):
        kwargs = {"threshold": threshold, "padding": padding, "off_spike": off_spike}
        yield (
            f"delta/{threshold}/padding={padding}/off={off_spike}",
            "spikegen.delta",
            [data],
            kwargs,
            CALL,
        )
    yield "delta/defaults", "spikegen.delta", [data], {}, CALL


def targets():
    labels = torch.tensor([0, 3, 1])
    classes = {"num_classes": 4}
    table = {
        "": {},
        "/raised": {"on_target": 1.5, "off_target": 0.25},
        "/inverted": {"on_target": 0, "off_target": 6},
        "/negative": {"on_target": -1, "off_target": 2},
        "/late": {"num_steps": 5, "first_spike_time": 2},
        "/late_raised": {
            "num_steps": 5,
            "first_spike_time": 2,
            "on_target": 1.5,
            "off_target": 0.25,
        },
    }
    for name, kwargs in table.items():
        yield f"targets_rate{name}", "spikegen.targets_rate", [labels], {**classes, **kwargs}, CALL
        yield (
            f"targets_convert{name}",
            "spikegen.targets_convert",
            [labels],
            {**classes, **kwargs},
            CALL,
        )
    steps = {**classes, "num_steps": 6, "normalize": True}
    table = {
        "": steps,
        "/linear": {**steps, "linear": True, "first_spike_time": 1},
        "/clip": {**steps, "clip": True},
        "/free": {**classes, "num_steps": 16, "threshold": 0.02},
    }
    for name, kwargs in table.items():
        yield f"targets_latency{name}", "spikegen.targets_latency", [labels], kwargs, CALL
        latency = {**kwargs, "code": "latency"}
        yield f"targets_convert/latency{name}", "spikegen.targets_convert", [labels], latency, CALL
    ramp = {**steps, "interpolate": True, "on_target": 1.25, "off_target": 0.25}
    yield "targets_latency/interpolate", "spikegen.targets_latency", [labels], ramp, CALL
    for rate, first in product((0.3, 0.5, 1), (0, 2)):
        kwargs = {"num_steps": 10, "rate": rate, "first_spike_time": first}
        yield f"target_rate_code/{rate}/{first}", "spikegen.target_rate_code", [], kwargs, CALL
    for number, times in enumerate([[0, 4], [1, 3], [2, 5, 6], [3], []]):
        spikes = torch.tensor(times, dtype=torch.int64)
        yield f"rate_interpolate/{number}", "spikegen.rate_interpolate", [spikes, 7], {}, CALL
        shifted = {"on_target": 1.25, "off_target": 0.25}
        yield (
            f"rate_interpolate/{number}/targets",
            "spikegen.rate_interpolate",
            [spikes, 7],
            shifted,
            CALL,
        )
    yield "to_one_hot", "spikegen.to_one_hot", [labels, 4], {}, CALL
    yield "to_one_hot_inverse", "spikegen.to_one_hot_inverse", [torch.eye(4)[labels]], {}, CALL
    yield "from_one_hot", "spikegen.from_one_hot", [torch.eye(4)], {}, CALL


def quantisers():
    """Levels nearest to irregular values, gradients straight through."""
    x = torch.linspace(-1.73, 1.69, 64)
    limits = {"threshold": 0.7, "lower_limit": 0.3, "upper_limit": 0.5}
    for bits in range(1, 9):
        levels = {
            "uniform": {},
            "threshold": {"uniform": False},
            "zero": {"uniform": False, "thr_centered": False},
        }
        for name, kwargs in levels.items():
            kwargs = {"num_bits": bits, **kwargs}
            yield f"state_quant/{name}/{bits}", "functional.quant.state_quant", [x], kwargs, GRAD
            if bits in (2, 4):
                limited = {**kwargs, **limits}
                yield (
                    f"state_quant/{name}/{bits}/limits",
                    "functional.quant.state_quant",
                    [x],
                    limited,
                    GRAD,
                )
                based = {**limited, "multiplier": 0.6}
                yield (
                    f"state_quant/{name}/{bits}/multiplier",
                    "functional.quant.state_quant",
                    [x],
                    based,
                    GRAD,
                )
    yield "state_quant/defaults", "functional.quant.state_quant", [x.view(4, 16)], {}, GRAD


SKIPPED = [
    ("surrogate.LSO", {}, "crash"),
    ("surrogate.LeakySpikeOperator", {}, "crash in the backward pass"),
    ("surrogate.SSO", {"variance": 0.2}, "random below the threshold"),
    ("surrogate.sigmoid", {"slope": 25}, "wrong: NaN below -88.7 / slope"),
    ("surrogate.FastSigmoid.apply", {}, "crash: no default parameter"),
    ("spikegen.rate", {}, "random where the probability is neither 0 nor 1"),
    ("spikegen.latency", {"clip": True, "interpolate": True}, "wrong: clip is ignored"),
    ("spikegen.latency", {"off_target": -1}, "wrong: 0 instead of a negative off_target"),
    (
        "spikegen.latency_interpolate",
        {"spike_time": [5.0], "num_steps": 5},
        "wrong: a ramp to a spike beyond the end",
    ),
    (
        "spikegen.targets_rate",
        {"on_target": 1, "off_target": -1},
        "wrong: 0 instead of a negative off_target",
    ),
    (
        "spikegen.targets_rate",
        {"first_spike_time": 1, "on_target": 0, "off_target": 1},
        "wrong: off_target everywhere",
    ),
    (
        "spikegen.targets_rate",
        {"num_steps": 5, "correct_rate": 0.8},
        "crash, or a wrong shape where T == C",
    ),
    (
        "spikegen.targets_convert",
        {"code": "latency", "on_target": 2},
        "wrong: on_target is dropped, as are others",
    ),
    (
        "spikegen.target_rate_code",
        {"rate": 0},
        "wrong: the times, none, are floats instead of integers",
    ),
    ("spikegen.target_rate_code", {"firing_pattern": "uniform"}, "random, as is poisson"),
    ("spikegen.from_one_hot", {}, "wrong: row numbers instead of classes, unless they are equal"),
    (
        "functional.ce_rate_loss",
        {"population_code": True},
        "crash without a weight of two elements, unused groups",
    ),
    (
        "functional.mse_count_loss",
        {"weight": [1.0]},
        "crash, or wrong where B == C: the weight scales the class axis",
    ),
    ("functional.mse_membrane_loss", {"weight": [1.0]}, "as mse_count_loss"),
    ("functional.mse_temporal_loss", {"weight": [1.0]}, "as mse_count_loss"),
    (
        "functional.ce_count_loss",
        {"reduction": "sum", "weight": [1.0]},
        "wrong: not reduced; ce_rate and ce_max_membrane too",
    ),
    ("functional.mse_membrane_loss", {"time_var_targets": True}, "crash"),
    (
        "functional.mse_temporal_loss",
        {},
        "wrong: off_target=-1 becomes 0, so that every output is to fire at step 0",
    ),
    (
        "functional.mse_temporal_loss",
        {"multi_spike": True},
        "wrong: a found spike is erased for all neurons",
    ),
    ("GradedSpikes", {"constant_factor": 0}, "random"),
    (
        "functional.stdp_learner.mstdpet_linear_single_step",
        {"in_spike": "[B, N]"},
        "crash with a batch axis",
    ),
    ("functional.stdp_learner.STDPLearner", {"sn": "returns a tuple"}, "crash"),
    ("backprop.TBPTT", {"time_var": True, "K": 2}, "crash, as does RTRL"),
    (
        "backprop.TBPTT",
        {"net": "with two kinds of neurons"},
        "crash: the states of only one kind are detached",
    ),
]


def cases():
    """Every recorded call."""
    for family in (
        surrogates,
        rates,
        latencies,
        deltas,
        targets,
        quantisers,
        losses,
        scores,
        learning,
        programs,
    ):
        yield from family()
