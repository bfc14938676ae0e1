"""Tutorial 6: surrogate gradients in a convolutional network.

You learn what the slope of a surrogate gradient does to learning, how to write a convolutional
spiking network as a list of layers, and how to train it with a loss on spikes in one call.
"""

# %% [markdown]
# ## The slope of the surrogate
# The fast sigmoid replaces the derivative of a spike by 1 / (1 + k |U - threshold|)^2. A large
# slope k is close to the true derivative: only neurons near their threshold learn. A small k lets
# all neurons learn, from a poor approximation.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, agreement, images, loaders
from torch import nn

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom import spikeplot as splt
from spikeloom import surrogate, utils

lesson = Tutorial("tutorial_6_convolutional_network")
slopes = (0, 1, 5, 25, 100, 1000)
overdrive = torch.linspace(-0.5, 0.5, 401)
fig, ax = plt.subplots(figsize=(6, 3))
for slope in slopes[2:]:
    u = overdrive.clone().requires_grad_()
    surrogate.fast_sigmoid(slope)(u).sum().backward()
    ax.plot(overdrive.numpy(), u.grad.numpy(), label=f"slope {slope}")
ax.set_xlabel("membrane - threshold")
ax.set_ylabel("surrogate derivative")
ax.legend()
lesson.picture(fig, "slopes.png")

# %% [markdown]
# ## Data and network
# 12C5-MP2-64C5-MP2-1024FC10: two convolutions with 5 x 5 filters, each followed by the maximum of 2
# x 2 pixels, then one linear layer. All neurons keep their own state; only the last ones also
# return their membrane.

# %%
num_steps, filters = lesson.pick(25, 10), lesson.pick((12, 64), (6, 12))
split = images(train=lesson.pick(None, 512), test=lesson.pick(None, 256))
train_loader, _ = loaders(split)
data, targets = next(iter(train_loader))


def network(slope: float) -> nn.Sequential:
    neuron = {"beta": 0.5, "spike_grad": surrogate.fast_sigmoid(slope), "init_hidden": True}
    return nn.Sequential(
        nn.Conv2d(1, filters[0], 5),
        nn.MaxPool2d(2),
        snn.Leaky(**neuron),
        nn.Conv2d(filters[0], filters[1], 5),
        nn.MaxPool2d(2),
        snn.Leaky(**neuron),
        nn.Flatten(),
        nn.Linear(filters[1] * 4 * 4, 10),
        snn.Leaky(**neuron, output=True),
    )


# %% [markdown]
# How much of the error reaches the first layer? The norm of its gradient falls with the slope, by
# orders of magnitude.

# %%
loss_fn = SF.ce_rate_loss()
norms = {}
for slope in slopes:
    torch.manual_seed(0)
    probe = network(slope)
    loss_fn(snn.run(probe, data[:32], num_steps=10)[1], targets[:32]).backward()
    norms[slope] = probe[0].weight.grad.norm().item()
fig, ax = plt.subplots(figsize=(5, 3))
ax.plot(range(len(slopes)), list(norms.values()), "o-")
ax.set_xticks(range(len(slopes)), [str(slope) for slope in slopes])
ax.set_yscale("log")
ax.set_xlabel("slope")
ax.set_ylabel("gradient of the first layer")
lesson.picture(fig, "gradient.png")

# %% [markdown]
# ## Forward pass
# The loop known from snnTorch: forget the state of all neurons, then call the network once for each
# step.


# %%
def forward_pass(net, num_steps, data):
    spk_rec, mem_rec = [], []
    utils.reset(net)
    for _ in range(num_steps):
        spk_out, mem_out = net(data)
        spk_rec.append(spk_out)
        mem_rec.append(mem_out)
    return torch.stack(spk_rec), torch.stack(mem_rec)


net = network(slope=25)
with torch.no_grad():
    spk_loop, mem_loop = forward_pass(net, num_steps, data)
    spk_rec, mem_rec = snn.run(net, data, num_steps=num_steps)
same_spikes = agreement(spk_loop, spk_rec)
print(f"snn.run gives the spikes of the loop: {100 * same_spikes:.2f} % are equal")

# %% [markdown]
# `SF.ce_rate_loss` is the cross entropy of the spikes at each step, averaged over time;
# `SF.accuracy_rate` asks who fires most. An untrained network is as good as guessing.

# %%
untrained_loss, untrained_accuracy = (
    loss_fn(spk_rec, targets).item(),
    SF.accuracy_rate(spk_rec, targets),
)
print(
    f"untrained: loss {untrained_loss:.3f} (log 10 = 2.303), accuracy "
    f"{100 * untrained_accuracy:.1f} %"
)

# %% [markdown]
# At each step spikes are 0 or 1, so that even a perfect output has a probability of only e / (e +
# 9): this loss cannot fall below 1.46, and its gradient fades before all images are right. Training
# below therefore asks for spike counts: the right neuron at 90 % of the steps, the others at 10 %.

# %%
perfect = torch.zeros(num_steps, 1, 10)
perfect[:, :, 3] = 1
lowest_loss = loss_fn(perfect, torch.tensor([3])).item()
print(f"cross entropy of a perfect output: {lowest_loss:.3f}")

# %% [markdown]
# ## Training in one call
# `snn.fit` runs the network over time, measures it after every epoch, and returns what happened.
# The loop of tutorial 5 would do the same. With `out=` it also writes checkpoints, pictures and a
# card of the run.

# %%
torch.manual_seed(0)
result = snn.fit(
    network(slope=lesson.pick(25, 5)).to(lesson.device),
    split,
    num_steps=num_steps,
    epochs=1 if len(split.x_train) > 10_000 else lesson.pick(10, 4),
    batch_size=lesson.pick(128, 32),
    loss=SF.mse_count_loss(correct_rate=0.9, incorrect_rate=0.1),
    lr=5e-3,
    progress=not lesson.smoke,
)
print(result)

# %% [markdown]
# ## What it learned

# %%
net = result.net.cpu()
fig, ax = plt.subplots(figsize=(5, 4))
splt.weights(net[0].weight.detach(), ax)
ax.set_title("filters of the first convolution")
lesson.picture(fig, "filters.png")

with torch.no_grad():
    run = snn.run(net, split.x_test[:256], num_steps=num_steps, record=["2.spk", "5.spk"])
spk_rec, _ = run.output
predicted = spk_rec.sum(0).argmax(1)
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
splt.confusion(predicted, split.y_test[:256], left)
splt.rates(
    {"first layer": run.record["2.spk"], "second layer": run.record["5.spk"], "output": spk_rec},
    right,
)
lesson.picture(fig, "results.png")

# %% [markdown]
# The output neurons race: the count of each while the image is shown.

# %%
fig, ax = plt.subplots(figsize=(7, 4))
labels = [str(digit) for digit in range(10)]
animation = splt.spike_count(
    spk_rec[:, 0],
    fig,
    ax,
    labels=labels,
    animate=True,
    interpolate=lesson.pick(4, 1),
    num_steps=lesson.pick(False, 8),
)
ax.set_title(f"a {split.y_test[0]}")
lesson.picture(animation, "race.gif")

# %%
lesson.report(
    gradient_ratio=norms[1] / norms[1000],
    same_spikes_as_loop=same_spikes,
    untrained_loss=untrained_loss,
    lowest_loss=lowest_loss,
    test_loss=result.history[-1]["test_loss"],
    test_accuracy=result.test_accuracy.last,
    spike_rate=result.history[-1]["spike_rate"],
)
