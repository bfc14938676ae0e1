"""Tutorial 3: a feedforward spiking network.

You learn how the circuit of tutorial 2 becomes a neuron with a single number, `snn.Leaky(beta)`,
how neurons and PyTorch layers make a network, and how to run it: step by step, or over all steps in
one call.
"""

# %% [markdown]
# ## One number: beta
# Between two steps an undisturbed membrane shrinks by the factor beta = exp(-dt / tau). Let a step
# be the unit of time and let the weight of the input absorb all other constants; then
#
# U[t+1] = beta U[t] + W X[t+1] - S[t] threshold,   S[t] = 1 if U[t] > threshold else 0.
#
# The reset comes one step after the spike, and beta is all there is to choose.

# %%
import math

import matplotlib.pyplot as plt
import torch
from common import Tutorial, agreement, timeline
from torch import nn

import spikeloom as snn
from spikeloom import spikegen
from spikeloom import spikeplot as splt

lesson = Tutorial("tutorial_3_feedforward_network")
beta = math.exp(-1e-3 / 5e-3)
print(f"1 ms steps and tau = 5 ms: beta = {beta:.3f}")


# %% [markdown]
# ## By hand, and with snn.Leaky


# %%
def leaky_integrate_and_fire(mem, x, w, beta, threshold=1.0):
    reset = (mem > threshold).float()
    mem = beta * mem + w * x - reset * threshold
    return (mem > threshold).float(), mem


num_steps = 200
x = torch.cat([torch.zeros(10), torch.full((num_steps - 10,), 0.5)])
lif = snn.Leaky(beta=beta)

by_hand, with_leaky = [], []
mem, mem_leaky = torch.zeros(()), lif.init_leaky()
for step in range(num_steps):
    spk, mem = leaky_integrate_and_fire(mem, x[step], w=0.4, beta=beta)
    by_hand.append(mem)
    spk_leaky, mem_leaky = lif(0.4 * x[step], mem_leaky)
    with_leaky.append(mem_leaky)
difference = (torch.stack(by_hand) - torch.stack(with_leaky)).abs().max().item()
print(f"largest difference between the two: {difference}")

spk, state = lif.scan((0.45 * x).unsqueeze(1))
panels = {"current": 0.45 * x, "membrane": state.mem, "spikes": spk}
lesson.picture(timeline(panels, f"snn.Leaky(beta={beta:.3f})", threshold=1.0), "leaky.png")

# %% [markdown]
# ## What beta does
# The same input spikes, three memories: with beta = 0 a neuron sees only the present step, with
# beta = 1 it never forgets.

# %%
spikes_in = spikegen.rate_conv(torch.full((100, 1), 0.25))
memories = {
    f"beta {b}": snn.Leaky(beta=b, threshold=9).scan(0.5 * spikes_in)[1].mem
    for b in (0.0, 0.8, 0.95)
}
lesson.picture(
    timeline({"input spikes": spikes_in, "membrane": memories}, "Three decays, no spikes"),
    "decays.png",
)

# %% [markdown]
# ## A network, step by step
# PyTorch's layers are the synapses, snn's neurons their targets. Input spikes are [T, B, features];
# the loop hands the membranes from step to step. This is how snnTorch's networks are written, and
# it works as it is.

# %%
num_inputs, num_hidden, num_outputs = 784, lesson.pick(1000, 300), 10
fc1, lif1 = nn.Linear(num_inputs, num_hidden), snn.Leaky(beta=0.99)
fc2, lif2 = nn.Linear(num_hidden, num_outputs), snn.Leaky(beta=0.99)

spk_in = spikegen.rate_conv(0.3 * torch.rand(num_steps, num_inputs)).unsqueeze(1)  # [T, 1, 784]
mem1, mem2 = lif1.init_leaky(), lif2.init_leaky()
spk1_rec, spk2_rec, mem2_rec = [], [], []
with torch.no_grad():
    for step in range(num_steps):
        spk1, mem1 = lif1(fc1(spk_in[step]), mem1)
        spk2, mem2 = lif2(fc2(spk1), mem2)
        spk1_rec.append(spk1)
        spk2_rec.append(spk2)
        mem2_rec.append(mem2)
spk1_rec, spk2_rec, mem2_rec = map(torch.stack, (spk1_rec, spk2_rec, mem2_rec))

# %% [markdown]
# ## The same network in one call
# With `init_hidden=True` a neuron remembers its own state, so that layers chain in `nn.Sequential`.
# `snn.run` executes such a network over all steps, layer by layer where the result is the same, and
# records the requested states. The spikes are those of the loop. `snn.layerwise` does this for the
# loop above as it is.

# %%
net = nn.Sequential(
    fc1,
    snn.Leaky(beta=0.99, init_hidden=True),
    fc2,
    snn.Leaky(beta=0.99, init_hidden=True, output=True),
)
with torch.no_grad():
    run = snn.run(net, spk_in, record=["1.spk"], explain=True)
spk_out, mem_out = run.output
same_spikes = min(agreement(spk_out, spk2_rec), agreement(run.record["1.spk"], spk1_rec))
print(run.plan)
error = (mem_out - mem2_rec).abs().max()
print(
    f"{100 * same_spikes:.2f} % of the spikes are those of the loop; membranes differ by at most "
    f"{error:.1e}"
)

# %% [markdown]
# ## Look at it
# The weights are random, so the spikes mean nothing yet; but they should pass through both layers.
# If a layer stays silent, its input is too weak.

# %%
fig, axes = plt.subplots(3, 1, figsize=(8, 6), sharex=True, height_ratios=[2, 2, 1])
for ax, (name, spk) in zip(
    axes, {"input": spk_in, "hidden": spk1_rec, "output": spk2_rec}.items(), strict=True
):
    splt.raster(spk[:, 0], ax, **({"s": 0.2} if name != "output" else {}))
    ax.set_title(f"{name}: {spk.mean():.2f} spikes per neuron and step", fontsize=10)
    ax.set_xlabel("")
axes[-1].set_xlabel("time step")
lesson.picture(fig, "network.png")

fig, ax = plt.subplots(figsize=(7, 4))
labels = [str(digit) for digit in range(10)]
shown = lesson.pick(num_steps, 20)
animation = splt.spike_count(
    spk2_rec[:, 0], fig, ax, labels=labels, num_steps=shown, animate=True, interval=40
)
lesson.picture(animation, "counts.gif")

figure = splt.traces(mem2_rec[:, 0], spk=spk2_rec[:, 0], titles=[f"output {i}" for i in range(9)])
figure.set_size_inches(8, 6)
lesson.picture(figure, "traces.png")

# %%
lesson.report(
    beta=beta,
    difference_by_hand=difference,
    leaky_spikes=state.mem.gt(1).sum(),
    same_spikes_as_loop=same_spikes,
    hidden_rate=spk1_rec.mean(),
    output_rate=spk2_rec.mean(),
)
