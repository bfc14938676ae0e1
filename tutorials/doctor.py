"""The doctor: why a network does not learn, and what it costs.

You learn how to find in one call why a network stays at chance, what the numbers of the report
mean, how to repair initial values, and how to count the operations of a network.
"""

# %% [markdown]
# ## A network that stays at chance
# It runs without an error, and the loss is computed. But the last threshold is 50 instead of 1, and
# the first bias is negative.

# %%
import copy

import matplotlib.pyplot as plt
import torch
from common import Tutorial
from torch import nn

import spikeloom as snn

lesson = Tutorial("doctor")
digits = snn.data.digits()
batch = digits.x_train[:64], digits.y_train[:64]
broken = nn.Sequential(
    nn.Flatten(),
    nn.Linear(64, 100),
    snn.Leaky(beta=0.9, init_hidden=True),
    nn.Linear(100, 10),
    snn.Leaky(beta=0.9, threshold=50.0, init_hidden=True, output=True),
)
nn.init.constant_(broken[1].bias, -2.0)
settings = {"num_steps": 10, "epochs": lesson.pick(5, 2), "progress": False, "check": False}
before = snn.fit(copy.deepcopy(broken), digits, **settings)
print(f"test accuracy {100 * before.test_accuracy.last:.1f} %, chance is about 10 %")

# %% [markdown]
# ## One call
# `doctor.check` runs one batch forward and back. Findings come in the order in which to mend them,
# each with the layer, the number that was measured, what a healthy network has, and a line to
# write. The table has a row for each layer of neurons.

# %%
report = snn.doctor.check(broken, batch, num_steps=10, lr=2e-3)
print(report)
lesson.picture(report.plot(), "broken.png")

# %% [markdown]
# On the left, membranes are far below the threshold, where the surrogate gradient is almost zero.
# In the middle, all neurons are silent; on the right, hardly any gradient reaches the first layer.
#
# ## Repair
# `doctor.repair` works on a copy. It changes initial weights, biases, thresholds and surrogates,
# not the data and not the program, and says what it changed; it also tries a learning rate.

# %%
mended = snn.doctor.repair(broken, batch, num_steps=10, lr=2e-3)
print(mended)
after = snn.doctor.check(mended.net, batch, num_steps=10)
lesson.picture(after.plot(), "mended.png")
result = snn.fit(copy.deepcopy(mended.net), digits, lr=mended.lr, **settings)
print(f"test accuracy {100 * result.test_accuracy.last:.1f} %")

# %% [markdown]
# ## Faults of the program
# The doctor also finds what no initial value can mend: pixels of 0 ... 255, labels from 1 on,
# parameters that the optimizer does not have, a graph that was detached.

# %%
healthy = mended.net
pixels = snn.doctor.check(healthy, (255 * batch[0], batch[1]), num_steps=10)
partial = torch.optim.Adam(healthy[3].parameters(), lr=2e-3)
forgotten = snn.doctor.check(healthy, batch, num_steps=10, optimizer=partial)
for name, found in (("pixels of 0 ... 255", pixels), ("half an optimizer", forgotten)):
    print(f"{name}: {found.findings[0].fault}")
    print(f"  write: {found.findings[0].write}")

# %% [markdown]
# ## What it costs
# `doctor.cost` counts spikes, synaptic operations (a spike times each synapse that it reaches) and
# memory for a sample. Whether that saves energy depends on the model: additions alone, or also the
# memory that they read.

# %%
cost = snn.doctor.cost(healthy, digits.x_test[:64], num_steps=10)
print(cost)
energies = {
    "arithmetic only": cost.energy(snn.doctor.ARITHMETIC) / 1000,
    "with memory": cost.energy(snn.doctor.MEMORY) / 1000,
}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
names = [f"{layer.kind} {layer.path}" for layer in cost.layers if layer.synaptic or layer.analog]
counts = [layer.synaptic + layer.analog for layer in cost.layers if layer.synaptic or layer.analog]
left.bar_label(left.bar(names, counts, width=0.5), fmt="{:,.0f}")
left.set(ylabel="operations per sample", title="products of the image, and additions of spikes")
right.bar_label(right.bar(list(energies), list(energies.values()), width=0.5), fmt="{:,.0f}")
right.set(ylabel="energy per sample [nJ]", title="two models of energy")
lesson.picture(fig, "cost.png")

# %%
lesson.report(
    accuracy_before=before.test_accuracy.last,
    findings_before=len(report.findings),
    findings_after=len(after.findings),
    accuracy_after=result.test_accuracy.last,
    found_pixels=float(pixels.findings[0].fault == "input on another scale"),
    found_forgotten=float(forgotten.findings[0].fault == "parameters not in the optimizer"),
    spikes_per_sample=cost.total.spikes,
    energy_ratio_of_memory=energies["with memory"] / energies["arithmetic only"],
)
