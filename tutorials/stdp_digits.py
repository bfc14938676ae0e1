"""STDP: digits learned without labels.

You learn what the network of Diehl & Cook does with an image, why its neurons end up as prototypes
of digits, and how labels name neurons that never saw one.
"""

# %% [markdown]
# One layer of excitatory neurons sees the image as Poisson spikes. The neuron that fires first
# inhibits all others, and the rule pulls its weights towards the image that made it fire:
# competition and STDP together are a form of clustering. A threshold that rises with every own
# spike keeps one neuron from winning always.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, images

from spikeloom import spikegen, spikeplot
from spikeloom.learning import DiehlAndCook2015, PowerLaw

lesson = Tutorial("stdp_digits")
split = images(lesson.pick(None, 600), lesson.pick(None, 200), size=lesson.pick(28, 8))
side = split.x_train.shape[-1]
generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## The rule
# At each spike of the output a weight changes by alpha (x_pre - x_tar) (w_max - w)^mu. The trace
# x_pre is 1 right after a spike of that input and decays with 20 ms; x_tar is a constant. Inputs
# that fired shortly before gain, the others lose. One pair of spikes shows it:

# %%
gaps = torch.arange(-40, 41)
changes = []
fc = torch.nn.Linear(1, 1, bias=False)
torch.nn.init.constant_(fc.weight, 0.5)
rule = PowerLaw(alpha=1.0, x_tar=0.4, mu=0.2)
for gap in gaps.tolist():
    pre, post = torch.zeros(100, 1, 1), torch.zeros(100, 1, 1)
    pre[50], post[50 + gap] = 1, 1
    changes.append(rule.sequence(fc, pre, post)[1].item())
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(gaps.numpy(), changes)
ax.axhline(0, color="0.5", linewidth=0.5)
ax.set_xlabel("spike of the output minus spike of the input, in ms")
ax.set_ylabel("change of the weight")
lesson.picture(fig, "rule.png")

# %% [markdown]
# ## One image, step by step
# `run` is one step of 1 ms, `update` applies the rule to it, `normalize` keeps the sum of the
# weights of each neuron. The raster shows the winner: after the first spike the others are silent.

# %%
net = DiehlAndCook2015(lesson.pick(100, 30), side * side, theta_plus=0.5, generator=generator)
encoder = spikegen.PoissonEncoder(250, generator=generator)
spikes = encoder(128 * split.x_train[0]).flatten(1)  # [T, pixels], rates in Hz
net.init_param()
answers = []
for s_t in spikes:
    answers.append(net.run({"inp": s_t}).clone())
    net.update()
net.normalize()
train = torch.stack(answers)  # [T, neurons]
fig, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(8, 5))
spikeplot.raster(spikes, top, marker=".", s=3)
spikeplot.raster(train, bottom)
top.set(xlabel="", ylabel="input")
bottom.set_ylabel("excitatory neuron")
lesson.picture(fig, "one_image.png")

# %% [markdown]
# ## All images
# `fit` does the same for all of them, event by event. Labels are passed only for the report:
# neurons are named by the responses to one block of images, and these names predict the next block.

# %%
net = DiehlAndCook2015(lesson.pick(100, 30), side * side, theta_plus=0.5, generator=generator)
every = lesson.pick(500, 150)
epochs = 1 if len(split.x_train) > 10_000 else 3
rows = net.fit(split.x_train, epochs=epochs, labels=split.y_train, every=every, generator=generator)
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot([row.images for row in rows], [100 * row.accuracy for row in rows])
ax.set_xlabel("images")
ax.set_ylabel("accuracy of the assignment [%]")
lesson.picture(fig, "course.png")

# %% [markdown]
# ## What the neurons have learned
# Each little picture is the weights of one neuron. Nobody told them that there are ten digits.

# %%
ax = spikeplot.weights(net.xe.w, cmap="hot_r")
lesson.picture(ax, "receptive_fields.png")

# %% [markdown]
# ## Names and votes
# Each neuron is named after the class that makes it fire most, on training images; thresholds are
# frozen. Two ways to vote: the class with the highest mean count over its neurons, or each spike
# for all classes, in proportion.

# %%
net.eval()
names = net.assign(split.x_train[:10_000], split.y_train[:10_000], generator=generator)
accuracy = {
    vote: (net.predict(split.x_test, vote, generator=generator) == split.y_test)
    .double()
    .mean()
    .item()
    for vote in ("all", "proportion")
}
fig, ax = plt.subplots(figsize=(6, 3))
ax.bar(range(10), torch.bincount(names[names >= 0], minlength=10).numpy())
ax.set_xlabel("class")
ax.set_ylabel("neurons")
lesson.picture(fig, "names.png")

# %%
lesson.report(
    winner_share=(train.sum(0).max() / train.sum()).item(),
    largest_change=max(changes),
    accuracy_all=accuracy["all"],
    accuracy_proportion=accuracy["proportion"],
    spikes_an_image=rows[-1].spikes,
)
