"""Valid calls of networks, runs, trainings and learning rules, which `calls.py` then spoils."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import targets
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import backprop, chaos, conversion, learning, surrogate, utils
from spikeloom import functional as SF
from spikeloom.doctor import gradient_report
from spikeloom.nir import from_nir, to_nir

__all__ = ["layers", "networks", "rules", "runs", "trainings"]

T, B, N = targets.T, targets.B, targets.N
FLAGS = {
    "threshold": 1.0,
    "reset_mechanism": "subtract",
    "inhibition": False,
    "learn_threshold": False,
}
OPTIONS = {
    **FLAGS,
    "reset_delay": True,
    "graded_spikes_factor": 1.0,
    "learn_graded_spikes_factor": False,
}
MORE = {
    "init_hidden": False,
    "output": False,
    "surrogate_disable": False,
    "state_quant": False,
    "mode": "step",
}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(N, 4), snn.Leaky(0.9, init_hidden=True, output=True))


def hidden() -> nn.Sequential:
    return nn.Sequential(nn.Linear(N, 4), snn.Leaky(0.9, init_hidden=True))


def state(*names: str) -> dict[str, Tensor]:
    return {name: torch.zeros(B, N) for name in names}


def layers() -> dict[str, targets.Target]:
    x = {"input_": targets.image()}
    features = {"linear_features": N, "all_to_all": True, "learn_recurrent": True}
    cell = {"input_size": N, "hidden_size": 4}
    image = {"input_": torch.rand(B, 1, 6, 6)}
    return {
        "Leaky": (
            snn.Leaky,
            {"beta": 0.9, "learn_beta": False, **OPTIONS, **MORE},
            {**x, **state("mem")},
        ),
        "Synaptic": (
            snn.Synaptic,
            {"alpha": 0.8, "beta": 0.9, **OPTIONS},
            {**x, **state("syn", "mem")},
        ),
        "Lapicque": (snn.Lapicque, {"beta": 0.9, **FLAGS}, {**x, **state("mem")}),
        "Alpha": (
            snn.Alpha,
            {"alpha": 0.9, "beta": 0.8, **FLAGS},
            {**x, **state("syn_exc", "syn_inh", "mem")},
        ),
        "RLeaky": (snn.RLeaky, {"beta": 0.9, **features, **FLAGS}, {**x, **state("spk", "mem")}),
        "RSynaptic": (
            snn.RSynaptic,
            {"alpha": 0.8, "beta": 0.9, **features, **FLAGS},
            {**x, **state("spk", "syn", "mem")},
        ),
        "RLeakyV": (
            snn.RLeaky,
            {"beta": 0.9, "V": 0.5, "all_to_all": False},
            {**x, **state("spk", "mem")},
        ),
        "SLSTM": (
            snn.SLSTM,
            {**cell, "bias": True, **FLAGS},
            {**x, "syn": torch.zeros(B, 4), "mem": torch.zeros(B, 4)},
        ),
        "SConv2dLSTM": (
            snn.SConv2dLSTM,
            {
                "in_channels": 1,
                "out_channels": 2,
                "kernel_size": 3,
                "bias": True,
                "max_pool": 0,
                "avg_pool": 0,
                **FLAGS,
            },
            image,
        ),
        "IF": (snn.IF, {"threshold": 1.0}, {**x, **state("mem")}),
        "LI": (snn.LI, {"beta": 0.9}, {**x, **state("mem")}),
        "GradedSpikes": (
            snn.GradedSpikes,
            {"size": N, "constant_factor": 1.0},
            {"x": targets.image()},
        ),
        "SynapticDelay": (
            snn.SynapticDelay,
            {
                "max_delay": 3,
                "delay": 1.0,
                "channels": N,
                "learn_delay": True,
                "kernel": "linear",
                "sigma": 1.0,
                "mode": "step",
            },
            x,
        ),
        "SpikeLinear": (
            snn.SpikeLinear,
            {"in_features": N, "out_features": 2, "bias": True, "events": "auto"},
            {"input": targets.spikes()},
        ),
        "QCFS": (conversion.QCFS, {"levels": 4, "threshold": 8.0}, {"z": targets.image()}),
    }


def logistic(x: Tensor, r: Tensor) -> Tensor:
    return r.reshape(-1, *[1] * (x.dim() - 1)) * x * (1 - x)


def cross_entropy(output: Tensor, target: Any) -> Tensor:
    """A loss of the user, whose errors are the user's own."""
    try:
        return nn.functional.cross_entropy(output, target)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError("the loss refuses this target") from error


def as_plain(plain: Any, recorded: Any) -> Any:
    """What a recorded call returns; an error that the plain call raises too is the user's own."""
    try:
        plain()
    except Exception as error:
        try:
            recorded()
        except type(error) as same:
            raise ValueError("as the plain call") from same
    return recorded()


def layerwise(net: Any, x: Any) -> Any:
    return as_plain(lambda: net(x), lambda: snn.layerwise(net)(x))


def loop(net: Any, x: Any) -> Any:
    def forward(net: Any, x: Any) -> Any:
        utils.reset(net)
        return torch.stack([net(step) for step in x])

    return as_plain(lambda: forward(net, x), lambda: snn.layerwise(forward)(net, x))


def networks() -> dict[str, targets.Target]:
    graph = to_nir(hidden())
    ann = nn.Sequential(nn.Linear(N, 4), nn.ReLU(), nn.Linear(4, 2))
    reading = {
        "dt": 1e-4,
        "reset": "zero",
        "delay": False,
        "convention": "snntorch",
        "dtype": torch.float32,
    }
    converting = {
        "method": "percentile",
        "num_steps": 4,
        "percentile": 99.0,
        "per_channel": False,
        "scaling_factor": 1.0,
        "balancing_steps": 3,
        "reset": "subtract",
        "initial_mem": 0.5,
        "input": "current",
        "readout": "membrane",
        "max_pool": "max",
        "calibrate": None,
        "warm_up": 0.0,
        "signed": False,
        "generator": torch.Generator(),
    }
    return {
        "to_nir": (
            to_nir,
            {"net": hidden(), "sample": targets.image(), "dt": 1e-4, "args": (), "name": "net"},
            None,
        ),
        "from_nir": (from_nir, {"graph": graph, **reading, "spike_grad": surrogate.atan()}, None),
        "convert": (
            conversion.convert,
            {"ann": ann, "calibration": targets.image(), **converting},
            None,
        ),
        "reset": (utils.reset, {"net": hidden()}, None),
        "detach": (snn.detach, {"net": hidden()}, None),
        "set_mode": (snn.set_mode, {"net": hidden(), "mode": "sequence"}, None),
        "save": (
            snn.save,
            {"net": hidden(), "path": Path(tempfile.gettempdir()) / "calls.safetensors"},
            None,
        ),
        "load": (snn.load, {"path": "absent.safetensors", "into": hidden()}, None),
    }


def runs() -> dict[str, targets.Target]:
    options = {
        "record": None,
        "reset": True,
        "batch_norm": "step",
        "memory": "exact",
        "explain": False,
    }
    own = nn.Sequential(nn.Linear(N, 4), snn.Leaky(0.9, mode="sequence", init_hidden=True))
    return {
        "run": (
            snn.run,
            {"net": hidden(), "x": targets.spikes(), "num_steps": None, **options},
            None,
        ),
        "run_static": (
            snn.run,
            {"net": hidden(), "x": targets.image(), "num_steps": T, **options},
            None,
        ),
        "run_checkpoint": (
            snn.run,
            {"net": hidden(), "x": targets.spikes(), "memory": "checkpoint"},
            None,
        ),
        "layerwise": (layerwise, {"net": own, "x": targets.spikes()}, None),
        "loop": (loop, {"net": hidden(), "x": targets.spikes()}, None),
    }


def quick_fit(**arguments: Any) -> Any:
    return snn.fit(**arguments, progress=False).test_accuracy


def online_rules() -> dict[str, targets.Target]:
    return {
        "online": (
            learning.online,
            {
                "net": hidden(),
                "x": targets.spikes(),
                "target": torch.tensor([0, 2, 1]),
                "loss": cross_entropy,
                "num_steps": None,
            },
            None,
        ),
        "bp_stdp": (
            learning.bp_stdp,
            {
                "net": nn.Sequential(nn.Linear(N, 4, bias=False), snn.IF(init_hidden=True)),
                "x": targets.spikes(),
                "labels": torch.tensor([0, 2, 1]),
                "epsilon": 4,
            },
            None,
        ),
    }


def trainings() -> dict[str, targets.Target]:
    network = net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    batches = [(targets.spikes(), torch.tensor([0, 2, 1]))]
    loop = {
        "net": network,
        "dataloader": batches,
        "optimizer": optimizer,
        "criterion": SF.ce_rate_loss(),
        "num_steps": False,
        "time_var": True,
        "time_first": True,
        "regularization": False,
        "device": "cpu",
    }
    samples = (torch.rand(6, N), torch.arange(6) % 4, torch.rand(4, N), torch.arange(4))
    return {
        "BPTT": (backprop.BPTT, loop, None),
        "RTRL": (backprop.RTRL, loop, None),
        "TBPTT": (backprop.TBPTT, {**loop, "K": 2}, None),
        "fit": (
            quick_fit,
            {
                "net": network,
                "data": samples,
                "num_steps": 2,
                "epochs": 1,
                "batch_size": 3,
                "loss": None,
                "lr": 0.01,
                "schedule": "cosine",
                "optimizer": None,
                "encode": "direct",
                "rule": "bptt",
                "chaos": None,
                "seed": 0,
                "seeds": 1,
                "threads": 1,
                "out": None,
                "resume": False,
                "force": False,
            },
            None,
        ),
        "gradient_report": (
            gradient_report,
            {
                "net": network,
                "batch": (targets.image(), torch.tensor([0, 2, 1])),
                "num_steps": 3,
                "loss": None,
                "rules": ("bptt",),
            },
            None,
        ),
        **online_rules(),
        "attach": (
            chaos.attach,
            {
                "net": net(),
                "chaos": chaos.Z(3.0),
                "optimizer": None,
                "batch": None,
                "num_steps": None,
                "generator": None,
            },
            None,
        ),
    }


def rules() -> dict[str, targets.Target]:
    times = {
        "tau_pre": 20.0,
        "tau_post": 20.0,
        "pairs": "nearest",
        "w_min": 0.0,
        "w_max": 1.0,
        "reduction": "sum",
    }
    step = {
        "synapse": nn.Linear(N, 2, bias=False),
        "pre": targets.spikes(B, N),
        "post": targets.spikes(B, 2),
    }
    spread = {"I0": 0.65, "center": 0.0, "scale": 1.0, "reduction": "mean", "clamp": None}
    kernel = {"tau_m": 20.0, "tau_s": 5.0, "until": 40.0}
    numbers = np.sin(np.arange(200.0))

    def made(kind: Any) -> Any:
        return lambda synapse, pre, post, **options: kind(**options).step(synapse, pre, post)

    return {
        "PostPre": (
            made(learning.PostPre),
            {
                **step,
                "nu_pre": 1e-4,
                "nu_post": 1e-2,
                "mu_pre": 0.0,
                "mu_post": 0.0,
                "x_tar": 0.0,
                **times,
            },
            None,
        ),
        "Exponential": (
            made(learning.Exponential),
            {**step, "alpha": 0.01, "x_tar": 0.4, "beta": 1.0, **times},
            None,
        ),
        "PowerLaw": (
            made(learning.PowerLaw),
            {**step, "alpha": 0.01, "x_tar": 0.4, "mu": 0.2, **times},
            None,
        ),
        "Triplet": (
            made(learning.Triplet),
            {**step, "nu_pre": 1e-4, "nu_post": 1e-2, "tau_slow": 40.0, **times},
            None,
        ),
        "desired_spikes": (learning.desired_spikes, {"num_steps": 8, "interval": 4}, None),
        "lif_spikes": (
            learning.lif_spikes,
            {
                "times": 9 * targets.image(),
                "weight": torch.rand(2, N),
                **kernel,
                "threshold": 0.2,
                "max_spikes": 5,
            },
            None,
        ),
        "lif_maxima": (
            learning.lif_maxima,
            {"times": 9 * targets.image(), "weight": torch.rand(2, N), **kernel},
            None,
        ),
        "EventLIF": (
            learning.EventLIF,
            {
                "inputs": N,
                "neurons": 2,
                "until": 40.0,
                "tau_m": 20.0,
                "tau_s": 5.0,
                "threshold": 1.0,
            },
            {"times": 9 * targets.image()},
        ),
        "SpikeProp": (
            learning.SpikeProp,
            {
                "inputs": N,
                "neurons": 2,
                "delays": (1, 2, 3),
                "threshold": 1.0,
                "until": 40.0,
                "dt": 1.0,
            },
            {"times": 9 * targets.image()},
        ),
        "first_spike_loss": (
            learning.first_spike_loss,
            {
                "times": torch.rand(B, 4),
                "labels": torch.tensor([0, 2, 1]),
                "tau": 0.2,
                "never": 2.0,
                "early": 0.0,
            },
            None,
        ),
        "chaotic_loss": (chaos.chaotic_loss, {"h": targets.image(), "z": 10.0, **spread}, None),
        "CSBP": (
            chaos.CSBP,
            {
                "strength": chaos.A(3.0),
                "layers": "all",
                "signal": "pre",
                **spread,
                "drive": "chaos",
            },
            None,
        ),
        "feedback": (chaos.feedback, {"u": targets.image(), "A": 3.0, "I0": 0.65}, None),
        "regime": (chaos.regime, {"A": 3.0, "I0": 0.65}, None),
        "bifurcation": (
            chaos.bifurcation,
            {
                "system": logistic,
                "values": [2.5, 3.0],
                "start": 0.1,
                "settle": 5,
                "keep": 6,
                "follow": 1,
                "kick": 1e-6,
            },
            None,
        ),
        "lyapunov": (
            chaos.lyapunov,
            {
                "step": lambda x: 3.7 * x * (1 - x),
                "start": 0.3,
                "steps": 20,
                "burn_in": 3,
                "eps": 1e-8,
                "seed": 0,
            },
            None,
        ),
        "lyapunov_of_trace": (
            chaos.lyapunov_of_trace,
            {"trace": numbers, "dimension": 3, "lag": 1, "apart": 10, "horizon": 5, "seed": 0},
            None,
        ),
        "zero_one_test": (chaos.zero_one_test, {"trace": numbers, "angles": 5, "seed": 0}, None),
        "Exponential_anneal": (chaos.Exponential, {"beta": 0.9, "per": "step"}, None),
        "Cosine": (chaos.Cosine, {"length": 10, "per": "step"}, None),
        "Until": (chaos.Until, {"end": 0.1, "beta": 0.9, "per": "step"}, None),
    }
