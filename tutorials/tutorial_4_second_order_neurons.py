"""Tutorial 4: second-order neurons.

You learn what a synaptic current adds to a neuron (`snn.Synaptic`), what a response to a spike that
rises and falls looks like (`snn.Alpha`), and when the extra state is worth it.
"""

# %% [markdown]
# In a first-order neuron an input spike lifts the membrane at once. In a cell it releases
# transmitter, and the current that follows dies away over time. A second state, the synaptic
# current I, models that:
#
# I[t+1] = alpha I[t] + W X[t+1],   U[t+1] = beta U[t] + I[t+1] - reset.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, timeline

import spikeloom as snn

lesson = Tutorial("tutorial_4_second_order_neurons")

# %% [markdown]
# ## A synaptic current
# A spike of weight 0.2 arrives every ten steps. Each lets the current jump and decay by alpha; the
# membrane adds it up. The neuron returns its spikes and both states, in the order `spk, syn, mem`.

# %%
num_steps = 200
spk_in = 0.2 * (torch.arange(num_steps) % 10 == 0).float().unsqueeze(1)  # [T, 1]
neuron = snn.Synaptic(alpha=0.9, beta=0.8)

syn, mem = neuron.init_synaptic()
spk_rec, syn_rec, mem_rec = [], [], []
for step in range(num_steps):
    spk, syn, mem = neuron(spk_in[step], syn, mem)
    spk_rec.append(spk)
    syn_rec.append(syn)
    mem_rec.append(mem)
spk_rec, syn_rec, mem_rec = map(torch.stack, (spk_rec, syn_rec, mem_rec))

panels = {"input spikes": spk_in, "current": syn_rec, "membrane": mem_rec, "output spikes": spk_rec}
lesson.picture(timeline(panels, "snn.Synaptic(alpha=0.9, beta=0.8)", threshold=1.0), "synaptic.png")

# %% [markdown]
# `scan` does the whole loop, and its states carry their names.

# %%
spk_scan, state = neuron.scan(spk_in)
assert torch.equal(spk_scan, spk_rec) and torch.equal(state.syn, syn_rec)
print("fields of the state:", state._fields)

# %% [markdown]
# ## The response to one spike
# After one input spike at step 0 a Leaky neuron's membrane is beta^t: highest at once. A Synaptic
# neuron's is (alpha^(t+1) - beta^(t+1)) / (alpha - beta): it rises first, so the output spike comes
# later than the input. An Alpha neuron subtracts a fast exponential from a slow one: it starts at
# zero and forgets its membrane at a reset.

# %%
impulse = torch.zeros(40, 1)
impulse[0] = 1.0
out_of_reach = {"threshold": 100.0}
responses = {
    "Leaky(0.8)": snn.Leaky(beta=0.8, **out_of_reach).scan(impulse)[1].mem,
    "Synaptic(0.9, 0.8)": snn.Synaptic(alpha=0.9, beta=0.8, **out_of_reach).scan(impulse)[1].mem,
    "Synaptic(0, 0.8)": snn.Synaptic(alpha=0.0, beta=0.8, **out_of_reach).scan(impulse)[1].mem,
    "Alpha(0.9, 0.8)": snn.Alpha(alpha=0.9, beta=0.8, **out_of_reach).scan(impulse)[1].mem,
}
time = torch.arange(40.0)
exact = (0.9 ** (time + 1) - 0.8 ** (time + 1)) / (0.9 - 0.8)
response_error = (responses["Synaptic(0.9, 0.8)"][:, 0] - exact).abs().max()

fig, ax = plt.subplots(figsize=(7, 3.5))
for name, mem in responses.items():
    ax.plot((mem / mem.max()).numpy(), "--" if name.startswith("Synaptic(0,") else "-", label=name)
ax.set_xlabel("steps after the spike")
ax.set_ylabel("membrane / its maximum")
ax.legend()
lesson.picture(fig, "responses.png")
peaks = {name: int(mem.argmax()) for name, mem in responses.items()}
print("the membrane is highest after", peaks, "steps")
print(
    f"largest difference from the formula: {response_error:.1e}; with alpha = 0 Synaptic is Leaky"
)

# %% [markdown]
# ## The alpha neuron fires late and precisely
# One spike at step 10, silence, then a spike every ten steps. The membrane depends on two currents,
# one that excites and one that inhibits; the reset (to zero, by default) clears all three.

# %%
train = torch.zeros(num_steps)
train[10] = 1
train[100::10] = 1
spk_in = 0.85 * train.unsqueeze(1)
neuron = snn.Alpha(alpha=0.8, beta=0.7, threshold=0.5)

syn_exc, syn_inh, mem = neuron.init_alpha()
spk_rec, mem_rec = [], []
for step in range(num_steps):
    spk, syn_exc, syn_inh, mem = neuron(spk_in[step], syn_exc, syn_inh, mem)
    spk_rec.append(spk)
    mem_rec.append(mem)
spk_alpha, mem_alpha = torch.stack(spk_rec), torch.stack(mem_rec)
panels = {"input spikes": spk_in, "membrane": mem_alpha, "output spikes": spk_alpha}
lesson.picture(
    timeline(panels, "snn.Alpha(alpha=0.8, beta=0.7, threshold=0.5)", threshold=0.5), "alpha.png"
)

# %% [markdown]
# ## Which one?
# A second state holds inputs longer and smooths the membrane: useful where spikes are sparse, where
# their times matter, and where what belongs together lies far apart. It also costs memory and one
# more decay to choose, and the gradient has one more recurrence to go through; on static images
# Leaky is usually as good. Below, the number of steps for which one input spike keeps the membrane
# above a tenth of its maximum.

# %%
memory = {name: int((mem / mem.max() > 0.1).sum()) for name, mem in responses.items()}
print("steps of memory:", memory)

# %%
lesson.report(
    synaptic_spikes=spk_scan.sum(),
    synaptic_peak=peaks["Synaptic(0.9, 0.8)"],
    alpha_peak=peaks["Alpha(0.9, 0.8)"],
    response_error=response_error,
    synaptic_without_current=(responses["Synaptic(0, 0.8)"] - responses["Leaky(0.8)"]).abs().max(),
    alpha_spikes=spk_alpha.sum(),
    memory_leaky=memory["Leaky(0.8)"],
    memory_synaptic=memory["Synaptic(0.9, 0.8)"],
)
