"""The faults that the doctor finds: one small function for each, in the order of repair.

A rule reads an `Observation` and yields findings. The numbers between healthy and not healthy are
all in `LIMITS`. Faults of the data and of the program come before those of the dynamics, because
they cause them; among the dynamics the first layer that is wrong comes first.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.neuron import Neuron
from .observe import Activity, Observation, Synapse

__all__ = ["LIMITS", "RULES", "Finding", "Limits", "findings"]

PAGE = "docs/not_learning.md"


class Finding(NamedTuple):
    """One fault: where, what was measured, what is healthy, and what to write.

    Attributes:
        fault: its name, a heading of ``docs/not_learning.md``.
        path: of the layer; ``"input"``, ``"output"``, ``"labels"``, ``"loss"`` or ``"optimizer"``
            otherwise.
        found: what was measured, in words.
        value: the number.
        healthy: what it is in networks that learn.
        write: the line to write.

    >>> print(Finding("dead layer", "1", "100 % of its neurons are silent", 1.0, "< 98 %", "..."))
    dead layer at 1: 100 % of its neurons are silent (healthy: < 98 %)
      write: ...
    """

    fault: str
    path: str
    found: str
    value: float
    healthy: str
    write: str

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        head = f"{self.fault}{where}: {self.found} (healthy: {self.healthy})"
        return f"{head}\n  write: {self.write}"


@dataclass(frozen=True)
class Limits:
    """Between healthy and not; checked by ``campaigns/doctor.py`` unless a source is named.

    Attributes:
        small_input, large_input: root mean square of the non-zero values of the input.
        steep: width of the surrogate, in thresholds.
        leak: decay of the membrane per step below which nothing is remembered.
        memory: time constant over T, above which nothing is forgotten ...
        drift: ... and root mean square of the last membranes, in thresholds, that it leads to.
        silent: share of neurons that fire for no sample ...
        far: ... and distance of half of the membranes from the threshold. Weights at rest are 1
            away and recover, however narrow the surrogate is ...
        reach: ... and mean of the surrogate, its peak being 1, below which they do not.
        saturated: share of neurons that fire at almost every step.
        vanishing: norm of the gradient at a layer's spikes over that at the output's. Adam divides
            by the gradient, so that only those count that its ``eps`` of 1e-8 exceeds.
        exploding: the same, over one layer or between two steps of one.
        small_update, large_update: size of the first update over the size of the weights.
        rising: loss after a short training over the loss before.

    >>> LIMITS.silent
    0.98
    """

    small_input: float = 0.01
    large_input: float = 8.0
    steep: float = 0.02
    leak: float = 0.1
    memory: float = 5.0
    drift: float = 3.0
    silent: float = 0.98
    far: float = 2.0
    reach: float = 0.05
    saturated: float = 0.9
    vanishing: float = 1e-7
    exploding: float = 1e2
    small_update: float = 3e-5
    large_update: float = 1.0
    rising: float = 1.1


LIMITS = Limits()


def written(path: str) -> str:
    """A layer as Python writes it.

    >>> written("features.0"), written("lif1")
    ("net.get_submodule('features.0')", 'net.lif1')
    """
    plain = all(part.isidentifier() for part in path.split("."))
    return f"net.{path}" if plain else f"net.get_submodule({path!r})"


# -- numbers and data ------------------------------------------------------------------------------


def nan(seen: Observation) -> Iterator[Finding]:
    """NaN or infinity in weights, outputs, loss or gradients."""
    healthy, first = "all finite", "load an earlier state, lower the learning rate or clip"
    for name, value in (*seen.net.named_parameters(), ("input", seen.x)):
        bad = int((~torch.isfinite(value.detach())).sum()) if value.is_floating_point() else 0
        if bad:
            line = "x = torch.nan_to_num(x)" if name == "input" else f"{first} the gradients"
            path = name if name == "input" else name.rpartition(".")[0]
            text = f"{name} holds {bad} NaN or infinite values of {value.numel()}"
            yield Finding("not a number", path, text, bad, healthy, line)
    for tap in sorted([*seen.synapses, *seen.activities], key=lambda tap: tap.order):
        if not tap.finite:
            text = "its output is not finite, its input is"
            yield Finding("not a number", tap.path, text, 1, healthy, "look at its weights")
            return
    for name, norm in seen.gradients.items():
        if norm is not None and not norm < float("inf"):
            text, line = f"the gradient of {name} is not finite", "loss.float(), or a finite loss"
            yield Finding("not a number", name.rpartition(".")[0], text, 1, healthy, line)
            return


def axes(seen: Observation) -> Iterator[Finding]:
    """Time and batch exchanged."""
    output, samples = seen.output, seen.samples
    if output is None or output.dim() < 3 or samples in output.shape[1:-1]:
        return
    if output.shape[0] == samples:
        text = f"outputs are {tuple(output.shape)} for {samples} labels: the batch comes first"
        path, line = (
            "input",
            "x = x.transpose(0, 1) for sequences [B, T, ...], or num_steps=10 for x",
        )
        line += " without a time axis"
        if seen.style == "loop" and seen.steps == output.shape[1]:
            path, line = "output", "return torch.stack(outputs), with the steps first: [T, B, N]"
        yield Finding("time and batch exchanged", path, text, 1, "[T, B, ...]", line)


def labels(seen: Observation) -> Iterator[Finding]:
    """Labels that do not fit the outputs or the loss."""
    y, output = seen.y, seen.output
    healthy = "whole numbers 0 ... N - 1, one for each sample"
    if output is not None and output.dim() >= 2 and y.dim() == 1:
        outputs, samples = output.shape[-1], output.shape[-2]
        if len(y) != samples and output.shape[0] != len(y):
            text = f"{len(y)} labels for {samples} samples"
            line = "give x and y of the same batch"
            yield Finding("labels do not fit", "labels", text, len(y), healthy, line)
            return
        if not y.is_floating_point() and len(y):
            low, high = int(y.min()), int(y.max())
            if low < 0 or high >= outputs:
                text = f"labels from {low} to {high} for {outputs} outputs"
                line = f"y = y - {low}" if high - low < outputs else f"{high + 1} outputs"
                yield Finding("labels do not fit", "labels", text, high, healthy, line)
                return
            if len(y) >= 8 and low == high:
                text, line = f"all {len(y)} labels are {low}", "shuffle the samples"
                yield Finding("labels do not fit", "labels", text, low, "several classes", line)
    if seen.trouble and (y.dim() != 1 or y.is_floating_point()):
        line = (
            "a loss and labels of one kind: class numbers for ce_rate_loss() and mse_count_loss()"
        )
        text = f"the loss refuses them: {seen.trouble}"
        yield Finding("labels do not fit", "labels", text, 1, healthy, line)
    elif seen.trouble:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        text = f"the loss refuses outputs {shape} with labels {tuple(y.shape)}: {seen.trouble}"
        line = "loss=snn.functional.ce_rate_loss(), or lambda out, y: own_loss(out.sum(0), y)"
        if seen.steps > 1 and isinstance(output, Tensor) and output.dim() == 2:
            line = f"return torch.stack(outputs) of all {seen.steps} steps: [T, B, N]"
        yield Finding("outputs do not fit the loss", "loss", text, 1, "[T, B, N]", line)


def samples_first(seen: Observation) -> Tensor:
    """The input with samples along the first axis, one row each."""
    x = seen.x.detach().float().transpose(0, seen.sample_axis)
    return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)


def constant_input(seen: Observation) -> Iterator[Finding]:
    """An input that is the same for all samples."""
    x = samples_first(seen)
    if len(x) > 1 and float(x.std(0).max()) <= 1e-7 * float(x.abs().max()):
        text = f"all {len(x)} samples are the same, of values up to {float(x.abs().max()):g}"
        line = "look at the data before the network: print(x.std(0))"
        yield Finding("input does not vary", "input", text, 0, "another value per sample", line)


def input_scale(seen: Observation) -> Iterator[Finding]:
    """An input on another scale than thresholds, such as 0 ... 255."""
    values = seen.x.detach().float()
    values = values[values != 0]
    size = float(values.square().mean()) ** 0.5 if values.numel() else 0.0
    if 0 < size < LIMITS.small_input or size > LIMITS.large_input:
        most = float(values.abs().max())
        text = f"its non-zero values have a root mean square of {size:.3g}, up to {most:g}"
        healthy = f"{LIMITS.small_input:g} ... {LIMITS.large_input:g}"
        line = f"x = x / {most:g}"
        yield Finding("input on another scale", "input", text, size, healthy, line)


# -- the program -----------------------------------------------------------------------------------


def owner(name: str) -> str:
    """Path of the module of a parameter."""
    return name.rpartition(".")[0]


def detached(seen: Observation) -> Iterator[Finding]:
    """A graph that is cut between the weights and the loss."""
    healthy = "a gradient for every parameter"
    if seen.loss is None:
        return
    for a in seen.spiking:
        if a.curve is not None and a.curve.peak == 0:
            text, line = "its spikes have no surrogate gradient", "leave surrogate_disable=True out"
            yield Finding("detached graph", a.path, text, 0, healthy, line)
            return
    if not seen.attached and seen.output is not None and seen.output.requires_grad:
        line = "compute the loss from the outputs, without .detach(), .item(), argmax or numpy"
        text = "the loss has no gradient although the outputs have"
        yield Finding("loss does not see the spikes", "loss", text, 0, healthy, line)
        return
    cut = [s for s in seen.synapses if _missing(seen, s)]
    if cut:
        text = f"no gradient arrives at {', '.join(s.path for s in cut)}"
        line = f"no .detach(), .data, .item() or torch.no_grad() behind {written(cut[-1].path)}"
        yield Finding("detached graph", cut[-1].path, text, len(cut), healthy, line)


def _missing(seen: Observation, synapse: Synapse) -> bool:
    own = [n for n in seen.gradients if owner(n) == synapse.path]
    return bool(own) and all(seen.gradients[name] is None for name in own)


def blind_loss(seen: Observation) -> Iterator[Finding]:
    """A loss that does not depend on the outputs."""
    if seen.loss is not None and seen.blind and seen.attached:
        text = f"it is {seen.loss:.4g} for any outputs"
        line = "loss(outputs, y) must use its first argument"
        name = "loss does not see the spikes"
        yield Finding(name, "loss", text, 0, "another value for other outputs", line)


def frozen(seen: Observation) -> Iterator[Finding]:
    """Weights that do not require a gradient."""
    paths = {s.path for s in seen.synapses}
    for name, p in seen.net.named_parameters():
        if owner(name) in paths and not p.requires_grad:
            text, line = (
                f"{name} has requires_grad=False",
                f"{written(owner(name))}.requires_grad_()",
            )
            yield Finding("frozen parameters", owner(name), text, 0, "weights learn", line)


def forgotten(seen: Observation) -> Iterator[Finding]:
    """Layers that never run, or that torch does not know because they are in a plain list."""
    for path in seen.uncalled:
        text, line = "forward never calls it", f"call {written(path)} in forward, or remove it"
        yield Finding("forgotten parameters", path, text, 0, "every layer runs", line)
    known = {id(module) for module in seen.net.modules()}
    for path, module in seen.net.named_modules():
        for name, value in vars(module).items():
            held = _modules_in(value)
            if any(id(m) not in known and any(True for _ in m.parameters()) for m in held):
                where = f"{path}.{name}".lstrip(".")
                text = "its layers are in a plain list, whose parameters no optimizer receives"
                line = f"self.{name} = nn.ModuleList(self.{name})"
                yield Finding("forgotten parameters", where, text, 0, "nn.ModuleList", line)


def _modules_in(value: Any) -> list[nn.Module]:
    values = value.values() if type(value) is dict else value
    if type(value) not in (list, tuple, dict) or len(value) > 1000:
        return []
    return [v for v in values if isinstance(v, nn.Module)]


def equal_weights(seen: Observation) -> Iterator[Finding]:
    """Hidden neurons that are all the same, and stay so."""
    found = [(s, _weight(s)) for s in seen.synapses]
    layers = [(s, weight) for s, weight in found if weight is not None]
    for (layer, weight), (_, onward) in itertools.pairwise(layers):
        bias = layer.layer._parameters.get("bias")
        alike = _same(weight, 0) and _same(onward, 1) and (bias is None or _same(bias, 0))
        if alike and len(weight) > 1:
            text = f"its {len(weight)} neurons have the same weights, and reach the next layer by "
            text += "the same weights, so that they never differ"
            line = f"random weights: {written(layer.path)}.reset_parameters()"
            yield Finding("equal weights", layer.path, text, 0, "other weights for each", line)


def _weight(synapse: Synapse) -> Tensor | None:
    """Weights that learn, with a row for each neuron."""
    weight = synapse.layer._parameters.get("weight")
    fits = weight is not None and weight.dim() > 1 and weight.requires_grad
    return weight if fits and not getattr(synapse.layer, "transposed", False) else None


def _same(values: Tensor, axis: int) -> bool:
    return torch.equal(values, values.narrow(axis, 0, 1).expand_as(values))


def lost_input(seen: Observation) -> Iterator[Finding]:
    """Samples that differ, but no longer where they reach the neurons."""
    x = samples_first(seen)
    if len(x) > 1 and seen.activities and not any(a.varies for a in seen.activities):
        if torch.equal(x, x[:1].expand_as(x)):  # of `constant_input`
            return
        path = seen.activities[0].path
        text = f"all {len(x)} samples differ, but arrive equal at the first neurons"
        line = f"look at what is computed in front of {written(path)}: print(x.std(0)) there"
        yield Finding("input does not vary", path, text, 0, "another value per sample", line)


def not_in_optimizer(seen: Observation) -> Iterator[Finding]:
    """Parameters that the optimizer does not have."""
    if seen.optimizer is None:
        return
    known = {id(p) for group in seen.optimizer.param_groups for p in group["params"]}
    for name, p in seen.net.named_parameters():
        if p.requires_grad and id(p) not in known:
            text, line = f"the optimizer does not have {name}", "Adam(net.parameters())"
            healthy = "it has every parameter of this network"
            yield Finding("parameters not in the optimizer", owner(name), text, 0, healthy, line)


def decayed_constants(seen: Observation) -> Iterator[Finding]:
    """Weight decay on time constants and thresholds."""
    if seen.optimizer is None:
        return
    decay = {
        id(p): float(group.get("weight_decay") or 0)
        for group in seen.optimizer.param_groups
        for p in group["params"]
    }
    for path, module in seen.net.named_modules():
        names = module._names if isinstance(module, Neuron) else ()
        for name in names:
            strength = decay.get(id(module._parameters.get(name)), 0.0)
            if strength:
                text = f"weight_decay={strength:g} pulls {name} to 0"
                line = (
                    f"a group of its own: {{'params': [{written(path)}.{name}], 'weight_decay': 0}}"
                )
                fault = "weight decay on time constants"
                yield Finding(fault, path, text, strength, "0 for decays and thresholds", line)


def carried_state(seen: Observation) -> Iterator[Finding]:
    """State of one batch that the next one starts from."""
    if seen.carried:
        text = (
            "a second call with the same input gives other outputs: it starts where the first ended"
        )
        line = "snn.reset(net) at the start of forward, or before each batch"
        path = seen.activities[0].path if seen.activities else ""
        yield Finding("forgotten reset", path, text, 1, "the same outputs", line)


def batch_norm_axis(seen: Observation) -> Iterator[Finding]:
    """Batch norm whose channels are samples or time steps."""
    for s in seen.synapses:
        shape, batch = s.shape, seen.samples
        is_norm = isinstance(s.layer, nn.modules.batchnorm._BatchNorm)
        if not is_norm or len(shape) != 3 or shape[1] not in (batch, seen.steps):
            continue
        if {shape[0], shape[1]} == {batch, seen.steps}:
            what = "samples" if shape[1] == batch else "time steps"
            text = f"its channels are the {shape[1]} {what} of an input {shape}"
            line = f"nn.BatchNorm1d({shape[-1]}) on x.flatten(0, 1), or snn.BatchNormTT1d"
            yield Finding(
                "batch norm over the wrong axis", s.path, text, shape[1], "features", line
            )


def random_evaluation(seen: Observation) -> Iterator[Finding]:
    """Values that are dropped in evaluation mode."""
    for path in seen.random:
        text = "it drops values after net.eval()"
        line = "nn.Dropout as a module, or F.dropout(x, p, training=self.training)"
        yield Finding("dropout at evaluation", path, text, 1, "none", line)


# -- the dynamics ----------------------------------------------------------------------------------


def surrogate(seen: Observation) -> Iterator[Finding]:
    """Surrogates that are too narrow or too wide for the threshold."""
    for a in seen.spiking:
        curve = a.curve
        if curve is None or curve.peak == 0:
            continue
        healthy = f"wider than {LIMITS.steep:g}, narrower than 20 thresholds"
        if curve.width < LIMITS.steep and not _is_dead(a):
            text = f"it is below a tenth of its peak {curve.width:.2g} thresholds away from it"
            line = "spike_grad=snn.surrogate.atan(), or a smaller slope"
            yield Finding("surrogate too steep", a.path, text, curve.width, healthy, line)
        elif curve.wide:
            text = "20 thresholds away it is still above half of its peak"
            line = "spike_grad=snn.surrogate.atan(), or a larger slope"
            yield Finding("surrogate too flat", a.path, text, curve.width, healthy, line)


def leak(seen: Observation) -> Iterator[Finding]:
    """Membranes that forget too fast or too slowly for the number of steps."""
    for a in seen.activities:
        decays = [getattr(a.neuron, n) for n in ("beta", "alpha") if n in a.neuron._names]
        if not decays or seen.steps < 2:
            continue
        decay = max(float(d.detach().clamp(0, 1).mean()) for d in decays)
        memory = -1 / torch.tensor(max(decay, 1e-30)).double().log().item() if decay < 1 else None
        if decay < LIMITS.leak:
            text = f"a membrane keeps {100 * decay:.2g} % after one of {seen.steps} steps"
            line = f"beta={_beta(seen.steps):.2g}, or learn_beta=True"
            yield Finding("leak too fast", a.path, text, decay, f"> {LIMITS.leak:.0%}", line)
        elif memory is not None and memory > LIMITS.memory * seen.steps and a.last > LIMITS.drift:
            text = f"it takes {memory:.3g} steps to forget, there are {seen.steps}, and its "
            text += f"membranes are {a.last:.2g} thresholds large at the end"
            line = f"beta={_beta(seen.steps):.2g}, or learn_beta=True"
            healthy = f"< {LIMITS.memory:g} T, or membranes below {LIMITS.drift:g}"
            yield Finding("leak too slow", a.path, text, memory, healthy, line)


def _beta(steps: int) -> float:
    """A decay that remembers half of the steps.

    >>> round(_beta(10), 2)
    0.82
    """
    return float(torch.exp(torch.tensor(-2.0 / steps)))


def activity(seen: Observation) -> Iterator[Finding]:
    """Layers that are silent, or fire all the time, too far from the threshold to recover."""
    for a in seen.spiking:
        output = a is seen.spiking[-1]
        if _is_dead(a):
            fault = "output never fires" if output else "dead layer"
            text = (
                f"{a.silent:.0%} of {a.units} neurons are silent, half of the membranes more than "
                f"{_distance(a):.2g} below the threshold, where the surrogate is {a.reach:.2g}"
            )
            healthy = f"silent < {LIMITS.silent:.0%}, or membranes within {LIMITS.far:g}"
            yield Finding(fault, a.path, text, a.silent, healthy, _repair(a))
            return
        if a.saturated >= LIMITS.saturated:
            fault = "output always fires" if output else "saturated layer"
            text = f"{a.saturated:.0%} of {a.units} neurons fire at almost every step"
            yield Finding(fault, a.path, text, a.saturated, f"< {LIMITS.saturated:.0%}", _repair(a))
            return


def _is_dead(a: Activity) -> bool:
    """Whether a layer is silent, and too far from its threshold to recover."""
    return a.silent >= LIMITS.silent and _distance(a) > LIMITS.far and a.reach < LIMITS.reach


def _distance(a: Activity) -> float:
    """How far half of the membranes are below the threshold."""
    return -a.quantile(0.5) * a.threshold


def _repair(a: Activity) -> str:
    drive = f"its input has {a.current:.2g} thresholds"
    return f"net = snn.doctor.repair(net, batch).net  # {drive}; or a lower bias, another threshold"


def depth(seen: Observation) -> Iterator[Finding]:
    """Gradients that vanish or explode from layer to layer."""
    norms = [(a, float(a.gradient.square().sum()) ** 0.5) for a in seen.spiking]
    norms = [(a, norm) for a, norm in norms if norm > 0]
    if len(norms) < 2:
        return
    steps = [(norms[i][1] / norms[i + 1][1], norms[i + 1][0]) for i in range(len(norms) - 1)]
    smallest, through = min(steps, key=lambda step: step[0])
    total = norms[0][1] / norms[-1][1]
    healthy = f"{LIMITS.vanishing:g} ... {LIMITS.exploding:g} of the output's"
    if min(norm for _, norm in norms) / norms[-1][1] < LIMITS.vanishing:
        text = f"at the first spikes it is {total:.1g} of that at the output's, and falls to "
        text += f"{smallest:.1g} through this layer"
        line = "net = snn.doctor.repair(net, batch).net, a wider surrogate, or fewer layers"
        yield Finding("vanishing gradient", through.path, text, total, healthy, line)
    largest, through = max(steps, key=lambda step: step[0])
    if largest > LIMITS.exploding:
        text = f"it grows by {largest:.2g} through this layer"
        line = "a surrogate with a peak of about 1, or smaller weights"
        yield Finding("exploding gradient", through.path, text, largest, healthy, line)


def time(seen: Observation) -> Iterator[Finding]:
    """Gradients of neurons with feedback that explode from step to step."""
    for a in seen.spiking:
        if not hasattr(a.neuron, "recurrent"):
            continue
        gradient = a.gradient
        late = float(gradient[-max(1, len(gradient) // 4) :].median()) if len(gradient) > 3 else 0.0
        if late > 0 and float(gradient[0]) / late > LIMITS.exploding:
            ratio = float(gradient[0]) / late
            text = f"at the first step it is {ratio:.2g} times that of the last ones"
            line = "smaller recurrent weights, a stronger leak, or clip_grad_norm_"
            healthy = f"< {LIMITS.exploding:g}"
            yield Finding("exploding gradient through time", a.path, text, ratio, healthy, line)
            return


# -- the optimizer ---------------------------------------------------------------------------------


def rises(losses: list[float]) -> bool:
    """Whether a short training has made the loss larger, or not a number.

    >>> rises([1.0, 0.9]), rises([1.0, 1.2]), rises([1.0, float("nan")])
    (False, True, True)
    """
    return len(losses) > 1 and not losses[-1] <= LIMITS.rising * losses[0]


def learning_rate(seen: Observation) -> Iterator[Finding]:
    """Steps that are too large or too small for the weights."""
    paths = {s.path for s in seen.synapses}
    sizes = sorted(r for name, r in seen.updates.items() if owner(name) in paths and r > 0)
    if not sizes:
        return
    middle = sizes[len(sizes) // 2]
    healthy = f"{LIMITS.small_update:g} ... {LIMITS.large_update:g}"
    text = f"the first update is {middle:.2g} of the weights"
    rate = seen.optimizer.param_groups[0]["lr"]
    if middle > LIMITS.large_update or rises(seen.losses):
        if rises(seen.losses):
            text += f", and the loss goes from {seen.losses[0]:.3g} to {seen.losses[-1]:.3g}"
        line = f"lr={rate * 0.01 / middle:.1g}"
        yield Finding("learning rate too high", "optimizer", text, middle, healthy, line)
    elif middle < LIMITS.small_update:
        line = f"lr={rate * 0.01 / middle:.1g}"
        yield Finding("learning rate too low", "optimizer", text, middle, healthy, line)


RULES: tuple[Callable[[Observation], Iterator[Finding]], ...] = (
    nan,
    axes,
    labels,
    constant_input,
    input_scale,
    detached,
    blind_loss,
    frozen,
    forgotten,
    equal_weights,
    lost_input,
    not_in_optimizer,
    decayed_constants,
    carried_state,
    batch_norm_axis,
    random_evaluation,
    surrogate,
    leak,
    activity,
    depth,
    time,
    learning_rate,
)
FOLLOW = (activity, depth, time)  # only the first of them that finds something is a cause


def findings(seen: Observation) -> tuple[Finding, ...]:
    """All findings of the rules, in the order of what to mend first."""
    found: list[Finding] = []
    explained = False
    for rule in RULES:
        if rule in FOLLOW and explained:
            continue
        new = list(rule(seen))
        found += new
        explained |= bool(new) and rule in (nan, axes, constant_input, input_scale, *FOLLOW)
        explained |= bool(new) and rule in (surrogate, detached, equal_weights, lost_input)
    return tuple(found)
