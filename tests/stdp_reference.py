"""Plain NumPy references for plasticity: loops over samples and neurons, nothing shared with the
library."""

import math
from typing import Any

import numpy as np

Array = np.ndarray


def strengths(rule: Any, w: Array) -> dict[str, Array]:
    """What multiplies each product of a rule, written out for each kind."""
    kind, up, down = (
        type(rule).__name__,
        np.maximum(rule.w_max - w, 0),
        np.maximum(w - rule.w_min, 0),
    )
    if kind == "PowerLaw":
        return {"post": rule.alpha * up**rule.mu, "target": rule.alpha * rule.x_tar * up**rule.mu}
    if kind == "PostPre":
        gain = rule.nu_post * up**rule.mu_post
        return {"post": gain, "target": gain * rule.x_tar, "pre": rule.nu_pre * down**rule.mu_pre}
    if kind == "Exponential":
        target = rule.alpha * rule.x_tar * np.exp(-rule.beta * (rule.w_max - w))
        return {"post": rule.alpha * np.exp(-rule.beta * w), "target": target}
    return {
        "post": np.full_like(w, rule.nu_post),
        "pre": np.full_like(w, rule.nu_pre),
        "triplet": np.ones_like(w),
    }


class Plasticity:
    """Traces of one sample, and the change of the weight that its spikes of one step propose."""

    def __init__(self, rule: Any, inputs: int, outputs: int) -> None:
        self.rule, self.x, self.y, self.z = (
            rule,
            np.zeros(inputs),
            np.zeros(outputs),
            np.zeros(outputs),
        )

    def trace(self, value: Array, spk: Array, tau: float) -> Array:
        value = value * math.exp(-1 / tau)
        return value + spk if self.rule.pairs == "all" else np.where(spk > 0, 1.0, value)

    def change(self, w: Array, pre: Array, post: Array) -> Array:
        rule, factors = self.rule, strengths(self.rule, w)
        before = self.z * math.exp(-1 / getattr(rule, "tau_slow", 1.0))
        self.x, self.y = (
            self.trace(self.x, pre, rule.tau_pre),
            self.trace(self.y, post, rule.tau_post),
        )
        self.z = self.trace(self.z, post, getattr(rule, "tau_slow", 1.0))
        change = np.zeros_like(w)
        for j, i in np.ndindex(w.shape):
            if post[j]:
                change[j, i] += (
                    factors["post"][j, i] * self.x[i] * (before[j] if "triplet" in factors else 1.0)
                )
                change[j, i] -= factors.get("target", np.zeros_like(w))[j, i]
            if pre[i] and "pre" in factors:
                change[j, i] -= factors["pre"][j, i] * self.y[j]
        return change


class Network:
    """The Diehl & Cook network, current-based, for a batch: one neuron at a time, in float64."""

    def __init__(self, net: Any, samples: int) -> None:
        self.c, self.rule = net.constants, net.rule
        self.w, self.theta = net.xe.w.double().numpy().copy(), net.exc.theta.double().numpy().copy()
        n = net.neurons
        self.mem, self.inh = np.zeros((samples, n)), np.zeros((samples, n))
        self.deaf, self.inh_deaf = np.zeros((samples, n), int), np.zeros((samples, n), int)
        self.answers = np.zeros((samples, n))
        self.plastic = [Plasticity(self.rule, net.inputs, n) for _ in range(samples)]

    def step(self, pre: Array, learn: bool = True) -> Array:
        """Spikes [B, N]; membranes and, where it learns, thresholds move."""
        c, (samples, n) = self.c, self.mem.shape
        post, answers = np.zeros((samples, n)), np.zeros((samples, n))
        if learn:
            self.theta *= math.exp(-samples * c.dt / c.tc_theta)
        for b in range(samples):
            over = np.full(n, -1.0)
            for j in range(n):
                self.mem[b, j] *= math.exp(-c.dt / c.tau_exc)
                if self.deaf[b, j] == 0:
                    inhibition = c.inh * sum(self.answers[b, k] for k in range(n) if k != j)
                    self.mem[b, j] += c.gain * (self.w[j] @ pre[b]) - inhibition
                    over[j] = self.mem[b, j] - 13.0 - self.theta[j] + c.theta_offset
            firing = np.flatnonzero(over > 0)
            if c.winner == "one" and len(firing):
                firing = firing[[np.argmax(over[firing])]]
            post[b, firing] = 1
            for j in range(n):
                fired = post[b, j] > 0
                self.mem[b, j] = 5.0 if fired else self.mem[b, j]
                self.deaf[b, j] = round(5 / c.dt) if fired else max(self.deaf[b, j] - 1, 0)
                self.inh[b, j] *= math.exp(-c.dt / c.tau_inh)
                answered = False
                if self.inh_deaf[b, j] == 0:
                    self.inh[b, j] += c.exc * post[b, j]
                    answered = self.inh[b, j] > 20
                answers[b, j] = answered
                self.inh[b, j] = 15.0 if answered else self.inh[b, j]
                self.inh_deaf[b, j] = (
                    round(2 / c.dt) if answered else max(self.inh_deaf[b, j] - 1, 0)
                )
        if learn:
            self.theta += c.theta_plus * post.sum(0)
        self.answers = answers
        return post

    def update(self, pre: Array, post: Array) -> None:
        """The rule's change, summed over the samples, within the bounds."""
        changes = [p.change(self.w, a, b) for p, a, b in zip(self.plastic, pre, post, strict=True)]
        self.w = np.clip(self.w + sum(changes), self.rule.w_min, self.rule.w_max)
