"""The losses, accuracies, learning rules and short programs that `record_surface` records; see
`surface_cases`."""

from itertools import product

import torch

__all__ = ["learning", "losses", "programs", "scores"]

CALL, SCENARIO = {"how": "call"}, {"how": "scenario"}
GRAD = {"how": "make", "differentiate": [0]}
T, B, C = 8, 4, 3
LABELS = torch.tensor([0, 2, 1, 2])
WEIGHT = {"tensor": [0.5, 2.0, 1.3]}
REDUCTIONS = ("mean", "sum", "none")


def trains(outputs=C, p=0.4, seed=0):
    """Random spikes [T, B, outputs]."""
    return (torch.rand(T, B, outputs, generator=torch.Generator().manual_seed(seed)) < p).float()


def membranes(seed=0):
    """Random membranes [T, B, C]."""
    return torch.randn(T, B, C, generator=torch.Generator().manual_seed(seed))


def losses():
    spk, mem, groups = trains(), membranes(), trains(2 * C)
    population = {"population_code": True, "num_classes": C}
    table = [
        ("ce_rate_loss", spk, [{}]),
        ("ce_rate_loss/real", mem, [{}]),
        ("ce_count_loss", spk, [{}]),
        ("ce_count_loss/population", groups, [population]),
        ("ce_max_membrane_loss", mem, [{}]),
        ("mse_count_loss", spk, [{}, {"correct_rate": 0.8, "incorrect_rate": 0.2}]),
        (
            "mse_count_loss/population",
            groups,
            [population, {**population, "correct_rate": 0.7, "incorrect_rate": 0.1}],
        ),
        ("mse_membrane_loss", mem, [{}, {"on_target": 1.4, "off_target": 0.3}]),
        ("mse_temporal_loss", spk, [{"off_target": 7}, {"on_target": 5, "off_target": 1}]),
        ("mse_temporal_loss/tolerance", spk, [{"on_target": 1, "off_target": 6, "tolerance": 2}]),
        ("ce_temporal_loss", spk, [{}, {"inverse": "reciprocal"}]),
    ]
    for name, first, variants in table:
        call = f"functional.{name.split('/')[0]}"
        for number, kwargs in enumerate(variants):
            for reduction in REDUCTIONS:
                named = f"{name}/{number}/{reduction}"
                yield named, call, [first, LABELS], {**kwargs, "reduction": reduction}, GRAD
            if name.startswith("ce_"):
                for reduction in REDUCTIONS if "temporal" in name else ("mean", "none"):
                    weighted = {**kwargs, "reduction": reduction, "weight": WEIGHT}
                    yield (
                        f"{name}/{number}/{reduction}/weight",
                        call,
                        [first, LABELS],
                        weighted,
                        GRAD,
                    )
    times = torch.tensor([[0, 3, -1], [2, 2, 7], [-2, 0, 1], [4, 6, 5]])
    for tolerance in (0, 2):
        kwargs = {"target_is_time": True, "tolerance": tolerance}
        yield (
            f"mse_temporal_loss/times/{tolerance}",
            "functional.mse_temporal_loss",
            [spk, times],
            kwargs,
            GRAD,
        )
    single = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]).view(T, 1, 1)
    several = {"target_is_time": True, "multi_spike": True}
    pair = torch.tensor([2, 6]).view(2, 1, 1)
    yield "mse_temporal_loss/several", "functional.mse_temporal_loss", [single, pair], several, GRAD
    yield "l1_rate_sparsity", "functional.l1_rate_sparsity", [spk], {}, GRAD
    yield "l1_rate_sparsity/strong", "functional.reg.l1_rate_sparsity", [spk], {"Lambda": 0.3}, GRAD


def scores():
    """Accuracies of spikes without ties between the outputs."""
    counts = torch.tensor([[5, 2, 1], [0, 3, 6], [4, 7, 2], [8, 1, 3]])
    spk = (torch.arange(T).view(T, 1, 1) < counts).float()
    first = torch.tensor([[5, 2, 1], [0, 3, 6], [4, 7, 2], [1, 9, 3]])
    late = (torch.arange(T).view(T, 1, 1) >= first).float()
    groups = torch.stack([spk, spk.flip(0)], dim=-1).flatten(-2)
    for name, labels in {"some": LABELS, "all": torch.tensor([0, 2, 1, 0])}.items():
        yield f"accuracy_rate/{name}", "functional.accuracy_rate", [spk, labels], {}, CALL
        population = {"population_code": True, "num_classes": C}
        yield (
            f"accuracy_rate/{name}/population",
            "functional.acc.accuracy_rate",
            [groups, labels],
            population,
            CALL,
        )
        yield f"accuracy_temporal/{name}", "functional.accuracy_temporal", [late, labels], {}, CALL


def module(kind, weight, **kwargs):
    """A ``torch.nn`` module without bias, with this weight."""
    return {"module": kind, "kwargs": {**kwargs, "bias": False}, "weights": {"weight": weight}}


def learning():
    """Single steps of spike-timing-dependent plasticity, with and without traces, and the
    learner."""
    random = torch.Generator().manual_seed(1)

    def spikes(*shape):
        return (torch.rand(*shape, generator=random) < 0.4).float()

    def real(*shape):
        return torch.rand(*shape, generator=random)

    linear = module("Linear", real(3, 5), in_features=5, out_features=3)
    bounds = {"f_pre": {"function": "square"}, "f_post": {"function": "one_minus"}}
    tau = {"tau_pre": 2.0, "tau_post": 3.0}
    prefix = "functional.stdp_learner."
    for rule, shape in (("stdp", (4,)), ("mstdp", (4,)), ("mstdpet", ())):
        more = {**tau, "tau_trace": 5.0} if rule == "mstdpet" else tau
        call, pre, post = f"{prefix}{rule}_linear_single_step", spikes(*shape, 5), spikes(*shape, 3)
        yield f"{rule}/linear", call, [linear, pre, post, None, None], more, CALL
        traces = [real(*shape, 5), real(*shape, 3)]
        yield f"{rule}/linear/traces", call, [linear, pre, post, *traces], {**more, **bounds}, CALL
    sizes = {"plain": ({}, 4), "padding": ({"padding": 1}, 6), "stride": ({"stride": 2}, 2)}
    for axes, (name, (options, size)) in product((1, 2), sizes.items()):
        weight = real(3, 2, *[3] * axes)
        conv = module(
            f"Conv{axes}d", weight, in_channels=2, out_channels=3, kernel_size=3, **options
        )
        pre, post, call = (
            spikes(4, 2, *[6] * axes),
            spikes(4, 3, *[size] * axes),
            f"{prefix}stdp_conv{axes}d_single_step",
        )
        yield f"stdp/conv{axes}d/{name}", call, [conv, pre, post, None, None], tau, CALL
        padded = 6 + 2 * options.get("padding", 0)
        traces = [real(4, 2, *[padded] * axes), real(4, 3, *[size] * axes)]
        yield (
            f"stdp/conv{axes}d/{name}/traces",
            call,
            [conv, pre, post, *traces],
            {**tau, **bounds},
            CALL,
        )
    conv = module("Conv2d", real(3, 2, 3, 3), in_channels=2, out_channels=3, kernel_size=3)
    for name, synapse, x in (
        ("linear", linear, spikes(5, 4, 5)),
        ("conv2d", conv, spikes(5, 4, 2, 6, 6)),
    ):
        for scale, on_grad in ((1.0, False), (0.5, True)):
            yield (
                f"stdp_learner/{name}/{scale}",
                "stdp_learner",
                [synapse, x, scale, on_grad],
                {},
                SCENARIO,
            )


def programs():
    """Layers, training loops and helpers for datasets."""
    random = torch.Generator().manual_seed(2)
    x = torch.randn(3, 4, 5, generator=random)
    yield (
        "GradedSpikes",
        "GradedSpikes",
        [(x[..., :2] > 0).float().transpose(1, 2)],
        {"size": 2, "constant_factor": 1.7},
        GRAD,
    )
    yield "BatchNormTT1d", "time_batchnorm", ["BatchNormTT1d", x], {}, SCENARIO
    image = torch.randn(2, 3, 2, 4, 4, generator=random)
    yield "BatchNormTT2d", "time_batchnorm", ["BatchNormTT2d", image], {}, SCENARIO
    synapse = module("Linear", torch.rand(C, 5, generator=random), in_features=5, out_features=C)
    still = [torch.rand(B, 5, generator=random) for _ in range(2)]
    moving = [torch.rand(6, B, 5, generator=random) for _ in range(2)]
    table = {
        "BPTT": ("BPTT", moving, "ce_rate_loss", {}),
        "BPTT/batch_first": (
            "BPTT",
            [batch.transpose(0, 1) for batch in moving],
            "ce_count_loss",
            {"time_first": False},
        ),
        "BPTT/still": ("BPTT", still, "mse_count_loss", {"num_steps": 6, "time_var": False}),
        "BPTT/membrane": ("BPTT", still, "mse_membrane_loss", {"num_steps": 6, "time_var": False}),
        "BPTT/max_membrane": (
            "BPTT",
            still,
            "ce_max_membrane_loss",
            {"num_steps": 6, "time_var": False},
        ),
        "BPTT/sparse": (
            "BPTT",
            still,
            "ce_rate_loss",
            {"num_steps": 6, "time_var": False, "sparse": True},
        ),
        "TBPTT": ("TBPTT", still, "ce_rate_loss", {"num_steps": 6, "time_var": False, "K": 2}),
        "TBPTT/rest": ("TBPTT", still, "ce_rate_loss", {"num_steps": 6, "time_var": False, "K": 4}),
        "RTRL": ("RTRL", still, "ce_rate_loss", {"num_steps": 6, "time_var": False}),
    }
    for name, (loop, batches, criterion, options) in table.items():
        yield (
            name,
            "train",
            [loop, synapse, batches, [LABELS, LABELS.flip(0)], criterion],
            options,
            SCENARIO,
        )
    data = torch.arange(60).view(30, 2)
    for parts, idx in ((1, 0), (4, 0), (4, 2)):
        yield (
            f"data_subset/{parts}/{idx}",
            "subset",
            [data, data[:, 0] % 7, parts, idx],
            {},
            SCENARIO,
        )
    for split, seed in ((0.1, 0), (0.34, 3)):
        yield (
            f"valid_split/{split}",
            "validation_split",
            [data, data[:, 0] % 7, split, seed],
            {},
            SCENARIO,
        )
