"""Tutorial 2: the leaky integrate-and-fire neuron.

You learn what a membrane does with a current, why a neuron needs a threshold and a reset, how
Lapicque's neuron puts this into resistance and capacitance, and how to run many neurons over many
steps in one call.
"""

# %% [markdown]
# A cell membrane separates charges (a capacitor C) and leaks (a resistor R). A current I that flows
# into the cell partly charges the capacitor and partly leaks away:
#
# tau dU/dt = -U + R I,   tau = R C.
#
# Without input the membrane decays exponentially; with a constant input it relaxes to R I.

# %%
import math

import matplotlib.pyplot as plt
import torch
from common import Tutorial, timeline

import spikeloom as snn
from spikeloom import spikegen

lesson = Tutorial("tutorial_2_lif_neuron")

# %% [markdown]
# ## The passive membrane
# Forward Euler replaces the derivative by a difference over one step dt. With dt = 1 ms and tau = 5
# ms the steps are large enough to see the difference from the exact exponential.


# %%
def passive(mem, current=0.0, dt=1e-3, R=5e7, C=1e-10):
    """The membrane one step later."""
    return mem + dt / (R * C) * (-mem + R * current)


def decay(dt: float) -> torch.Tensor:
    """The membrane from 0.9 V over 20 ms without input."""
    mem = [0.9]
    while len(mem) * dt <= 20e-3 + 1e-9:
        mem.append(passive(mem[-1], dt=dt))
    return torch.tensor(mem)


fig, ax = plt.subplots(figsize=(6, 3))
errors = {}
for dt in (1e-3, 1e-4):
    mem = decay(dt)
    time = torch.arange(len(mem)) * dt
    errors[dt] = (mem - 0.9 * torch.exp(-time / 5e-3)).abs().max().item()
    ax.plot(
        1e3 * time.numpy(),
        mem.numpy(),
        label=f"Euler, dt = {1e3 * dt:g} ms: error {errors[dt]:.3f} V",
    )
ax.plot(
    1e3 * time.numpy(), 0.9 * torch.exp(-time / 5e-3).numpy(), "k--", linewidth=1, label="exact"
)
ax.set_xlabel("time in ms")
ax.set_ylabel("membrane in V")
ax.legend()
lesson.picture(fig, "passive.png")

# %% [markdown]
# ## Lapicque's neuron
# `snn.Lapicque` takes R, C and the duration of a step. Here is the loop that snnTorch's users know:
# the membrane goes in and comes out again, and you keep what you want to look at.

# %%
num_steps = 200
lif = snn.Lapicque(R=5, C=1e-3, time_step=1e-3)


def simulate(neuron, current, mem):
    """Spikes and membranes of every step, [T, 1] each."""
    spk_rec, mem_rec = [], []
    for step in range(len(current)):
        spk, mem = neuron(current[step], mem)
        spk_rec.append(spk)
        mem_rec.append(mem)
    return torch.stack(spk_rec), torch.stack(mem_rec)


step_current = torch.cat([torch.zeros(10, 1), torch.full((num_steps - 10, 1), 0.1)])
_, charged = simulate(lif, step_current, mem=torch.zeros(1))
lesson.picture(
    timeline(
        {"current in A": step_current, "membrane in V": charged},
        "A step of current: the membrane relaxes to R I",
    ),
    "step.png",
)
print(f"R I = {0.1 * 5} V, membrane after {num_steps} steps: {charged[-1].item():.6f} V")

# %% [markdown]
# ## Pulses
# The same charge in less and less time. The rise gets steeper until the input is a single step:
# that is what a spike does to the neuron that receives it.

# %%
pulses, responses, charge = {}, {}, 1.0  # in A x steps
for width in (20, 10, 5, 1):
    pulse = torch.zeros(num_steps, 1)
    pulse[10 : 10 + width] = charge / width
    silent = snn.Lapicque(
        R=5, C=1e-3, time_step=1e-3, threshold=9
    )  # out of reach: nothing but the membrane
    pulses[f"{width} ms"] = pulse[:80]
    responses[f"{width} ms"] = simulate(silent, pulse, torch.zeros(1))[1][:80]
lesson.picture(
    timeline({"current in A": pulses, "membrane in V": responses}, "The same charge, ever faster"),
    "pulses.png",
)

# %% [markdown]
# ## Threshold and reset
# A neuron fires when its membrane exceeds a threshold. Without anything else it would go on firing
# at every step. After a spike the membrane must therefore be lowered: here by the threshold.


# %%
def integrate_and_fire(mem, current, reset: bool, threshold=1.0, dt=1e-3, R=5.1, C=5e-3):
    spk = (mem > threshold).float()
    return spk, passive(mem, current, dt, R, C) - reset * spk * threshold


current = torch.cat([torch.zeros(10, 1), torch.full((num_steps - 10, 1), 0.2)])
counts = {}
for reset in (False, True):
    spk_rec, mem_rec, mem = [], [], torch.zeros(1)
    for step in range(num_steps):
        spk, mem = integrate_and_fire(mem, current[step], reset)
        spk_rec.append(spk)
        mem_rec.append(mem)
    name = "with" if reset else "without"
    counts[reset] = int(torch.stack(spk_rec).sum())
    panels = {
        "current in A": current,
        "membrane in V": torch.stack(mem_rec),
        "spikes": torch.stack(spk_rec),
    }
    lesson.picture(
        timeline(panels, f"{name} reset: {counts[reset]} spikes", threshold=1.0),
        f"{name}_reset.png",
    )

# %% [markdown]
# The same in one line. More current, or a lower threshold, makes it fire more often.

# %%
settings = {"current 0.2 A": (0.2, 1.0), "current 0.3 A": (0.3, 1.0), "threshold 0.5 V": (0.3, 0.5)}
membranes, firing = {}, {}
for name, (ampere, threshold) in settings.items():
    lif = snn.Lapicque(R=5.1, C=5e-3, time_step=1e-3, threshold=threshold)
    spk, membranes[name] = simulate(lif, (current > 0) * ampere, torch.zeros(1))
    firing[name] = int(spk.sum())
first = int(
    simulate(snn.Lapicque(R=5.1, C=5e-3, time_step=1e-3), current, torch.zeros(1))[0].argmax()
)
title = "spikes: " + ", ".join(f"{number} with {name}" for name, number in firing.items())
lesson.picture(timeline({"membrane in V": membranes}, title), "settings.png")
print(f"{title}; with 0.2 A the first one falls on step {first}")

# %% [markdown]
# ## Many neurons, all steps, one call
# `neuron.scan` runs all steps of many inputs at once, [T, B], and returns spikes and states over
# time. Forty currents give the curve of firing rate against current. For a reset to zero theory
# knows it: the membrane needs tau ln(R I / (R I - threshold)) from zero to the threshold. The
# simulation is slower: its intervals are whole numbers of steps, and the step of the reset is one
# of them.

# %%
amperes = torch.linspace(0.15, 0.6, 40)
steps = lesson.pick(20000, 2000)
lif = snn.Lapicque(R=5.1, C=5e-3, time_step=1e-3, reset_mechanism="zero")
spk, state = lif.scan(amperes, num_steps=steps)  # a constant input is given once
measured = spk.sum(0) / (steps * 1e-3)

drive = 5.1 * amperes
tau = 5.1 * 5e-3
theory = torch.where(drive > 1, 1 / (tau * torch.log(drive / (drive - 1).clamp(min=1e-9))), 0.0)
fig, ax = plt.subplots(figsize=(6, 3.5))
ax.plot(amperes.numpy(), measured.numpy(), "o", markersize=3, label="simulated, 1 ms steps")
ax.plot(amperes.numpy(), theory.numpy(), label="theory, continuous time")
ax.axvline(1 / 5.1, color="0.5", linestyle="--", linewidth=0.8)
ax.set_xlabel("current in A (dashed: least that reaches the threshold)")
ax.set_ylabel("firing rate in Hz")
ax.legend()
lesson.picture(fig, "rate_of_current.png")

# The loop and the scan are the same function:
spk_rec, mem_rec = simulate(lif, amperes.expand(50, -1), torch.zeros(40))
assert torch.equal(spk_rec, spk[:50]) and torch.equal(mem_rec, state.mem[:50])

# %% [markdown]
# ## Spikes in, spikes out, and three resets
# Between neurons travel spikes, not constant currents. `"subtract"` keeps what the membrane
# exceeded the threshold by, `"zero"` forgets it and fires less, `"none"` does not reset.

# %%
spk_in = spikegen.rate_conv(torch.full((num_steps, 1), 0.4))
panels, spikes_out = {"input spikes": spk_in}, {}
for reset in ("subtract", "zero", "none"):
    lif = snn.Lapicque(R=5.1, C=5e-3, time_step=1e-3, threshold=0.5, reset_mechanism=reset)
    spk, state = lif.scan(spk_in)
    spikes_out[reset] = int(spk.sum())
    panels |= {f'membrane,\n"{reset}"': state.mem, f"{spikes_out[reset]} spikes": spk}
lesson.picture(
    timeline(panels, "Input spikes of 40 % and three resets", threshold=0.5), "resets.png"
)

# %%
lesson.report(
    euler_error_1ms=errors[1e-3],
    steady_state=charged[-1],
    spikes_without_reset=counts[False],
    spikes_with_reset=counts[True],
    first_spike=first,
    spikes_lower_threshold=firing["threshold 0.5 V"],
    rate_error=((measured - theory).abs() / theory.clamp(min=1)).max(),
    subtract_minus_zero=spikes_out["subtract"] - spikes_out["zero"],
    half_life_steps=math.log(0.5) / math.log(1 - 0.2),
)
