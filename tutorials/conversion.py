"""Conversion: the network that you have already, as a spiking one.

You learn how a rectifier becomes a neuron, what conversion loses and where, how few steps are
enough, and what the spikes cost.
"""

# %% [markdown]
# A neuron that integrates its input, and loses a threshold's worth of membrane at each spike, fires
# in proportion to a constant input, up to one spike a step. Its rate times its threshold is the
# input, clipped: a ReLU, in steps. So the weights of an ordinary network are those of a spiking
# one, if each layer's threshold is as large as its activations.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, images
from torch import nn

import spikeloom as snn
from spikeloom import conversion

lesson = Tutorial("conversion")
split = images(lesson.pick(None, 600), lesson.pick(2000, 200), size=lesson.pick(28, 8))
side = split.x_train.shape[-1]

# %% [markdown]
# ## One neuron
# The membrane starts at half of the threshold: the rate is then the nearest step, not the step
# below, and the error of each neuron halves. Three steps of the staircase are visible at T = 3,
# hardly any at T = 32.

# %%
z = torch.linspace(-0.5, 1.5, 401)
fig, ax = plt.subplots(figsize=(6, 3.5))
ax.plot(z, z.clamp(0), color="0.5", label="ReLU")
worst = {}
for steps in (3, 32):
    neuron = snn.ScaledIF(threshold=1.0, initial_mem=0.5, init_hidden=True, mode="sequence")
    rate = neuron(z.expand(steps, 1, -1)).mean(0)[0]
    worst[steps] = (rate - z.clamp(0, 1)).abs().max().item()
    ax.plot(z, rate, label=f"neuron, T = {steps}")
ax.set_xlabel("input")
ax.set_ylabel("mean output")
ax.legend()
lesson.picture(fig, "neuron.png")

# %% [markdown]
# ## The network that you have
# Here it is a small one with batch norm and max pooling, trained as always. It knows nothing about
# spikes.


# %%
def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


places = (side // 4) ** 2
ann = nn.Sequential(
    *block(1, 12), *block(12, 24), nn.Dropout(0.2), nn.Flatten(), nn.Linear(24 * places, 10)
)
optimizer = torch.optim.Adam(ann.parameters(), 3e-3)
for _ in range(lesson.pick(2, 5)):
    for index in torch.randperm(len(split.x_train)).split(64):
        loss = nn.functional.cross_entropy(ann(split.x_train[index]), split.y_train[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
ann = ann.eval()

# %% [markdown]
# ## One call
# The samples show how large the activations get; 99.9 % of them stay below the threshold. Batch
# norm disappears into the weights, dropout is gone, and `net.net` is one time step, an ordinary
# network of this library.

# %%
net = conversion.convert(ann, split.x_train[:500])
print(snn.run(net.net, split.x_test[:2], 4, explain=True).plan)
print({path: round(float(threshold), 2) for path, threshold in net.thresholds.items()})

# %% [markdown]
# ## What it loses
# The report compares accuracies after each step. It takes the error of each layer apart: what the
# layer inherits, what it clips, that rates are multiples of 1 / T, and that spikes come unevenly.
# The four parts add up to what is measured.

# %%
report = net.report((split.x_test, split.y_test), max_steps=lesson.pick(32, 12))
print(report)
lesson.picture(report.plot(), "report.png")

# %% [markdown]
# ## Why the start, the percentile and the sign matter
# From rest at zero the first spikes come late, layer after layer; with the maximum as threshold a
# few large activations decide how slowly all others fire. Spikes that come unevenly make a neuron
# fire what it would better have kept; `signed=True` lets it take such a spike back, which deep
# networks gain more from than this one.

# %%
curves = {"default": report.accuracy}
ways = (
    ("start at 0", {"initial_mem": 0.0}),
    ("maximum", {"method": "max"}),
    ("signed", {"signed": True}),
)
for name, options in ways:
    other = conversion.convert(ann, split.x_train[:500], **options)
    with torch.no_grad():
        outputs = torch.cat(
            [other(x, lesson.pick(32, 12), trace=True) for x in split.x_test.split(250)], 1
        )
    curves[name] = (outputs.argmax(-1) == split.y_test).float().mean(1).tolist()
fig, ax = plt.subplots(figsize=(6, 3.5))
for name, curve in curves.items():
    ax.plot(range(1, len(curve) + 1), [100 * a for a in curve], marker=".", label=name)
ax.axhline(100 * report.ann_accuracy, color="0.5", linestyle="--")
ax.set_xlabel("time steps")
ax.set_ylabel("accuracy [%]")
ax.legend()
lesson.picture(fig, "options.png")

# %% [markdown]
# ## Fewer steps still
# `fine_tune` swaps each ReLU for an activation in steps, trains a little further, and conversion
# takes the trained thresholds. The network learns to live with what a neuron can say in two steps.

# %%
data = (split.x_train[: lesson.pick(20_000, None)], split.y_train[: lesson.pick(20_000, None)])
tuned = conversion.fine_tune(ann, data, levels=2, epochs=lesson.pick(1, 4))
quick = conversion.convert(tuned, split.x_train[:500], method="qcfs")
quick_report = quick.report((split.x_test, split.y_test), max_steps=4)

# %% [markdown]
# ## Stopping when it is sure
# Easy digits need one step, hard ones more. Each sample stops when the softmax of its output
# exceeds a confidence.

# %%
with torch.no_grad():
    outputs, steps = net.early_exit(
        split.x_test[:500], confidence=0.99, num_steps=lesson.pick(32, 12)
    )
fig, ax = plt.subplots(figsize=(6, 3))
ax.hist(steps.numpy(), bins=range(1, int(steps.max()) + 2), align="left", rwidth=0.8)
ax.set_xlabel("time steps until sure")
ax.set_ylabel("digits")
lesson.picture(fig, "early_exit.png")

# %% [markdown]
# ## Away with it
# `torch.save(net, path)` keeps all of it. For hardware, `unit_spikes()` has spikes of size 1, their
# sizes in the weights; networks with average pooling instead of maxima become NIR:
# `snn.nir.to_nir(net.unit_spikes(), x[:1])`.

# %%
unit = net.unit_spikes()
with torch.no_grad():
    same = (
        (snn.run(unit, split.x_test[:50], 8).mean(0) - net(split.x_test[:50], 8)).abs().max().item()
    )

# %%
lesson.report(
    worst_error_of_a_neuron=worst[32],
    accuracy_ordinary=report.ann_accuracy,
    accuracy_8_steps=report.accuracy[7],
    accuracy_tuned_2_steps=quick_report.accuracy[1],
    difference_of_unit_spikes=same,
)
