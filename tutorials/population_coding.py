"""Population coding: several output neurons for each class.

You learn why one neuron for each class needs time to say anything, and what changes if the votes of
fifty are counted: the network classifies in a single time step.
"""

# %% [markdown]
# A firing rate is an average: over time, or over neurons. Averaging over time is slow; an animal
# that reacts within 150 ms sees one or two spikes of a cell. A population tells the same number at
# once. Here each class gets 50 output neurons, and the network is trained and asked for *one* time
# step.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, agreement, images
from torch import nn

import spikeloom as snn
from spikeloom import decode, surrogate, utils
from spikeloom import functional as SF
from spikeloom import spikeplot as splt

lesson = Tutorial("population_coding")
num_steps, num_hidden, num_classes = 1, 128, 10
split = images(train=lesson.pick(None, 512), test=lesson.pick(None, 256))


def network(neurons_per_class: int) -> nn.Sequential:
    neuron = {"beta": 0.9, "spike_grad": surrogate.fast_sigmoid(), "init_hidden": True}
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(28 * 28, num_hidden),
        snn.Leaky(**neuron),
        nn.Linear(num_hidden, neurons_per_class * num_classes),
        snn.Leaky(**neuron, output=True),
    )


# %% [markdown]
# ## Groups
# Losses and accuracies take `population_code=True` and the number of classes; the outputs are
# divided into contiguous groups, and the spikes of each group are added. `decode.population_counts`
# shows the votes.

# %%
spk_rec = torch.zeros(num_steps, 1, 50 * num_classes)  # [T, B, N]
spk_rec[0, 0, :31] = 1  # 31 neurons of the first group
spk_rec[0, 0, 50:54] = 1  # 4 of the second one
print("votes for the 10 classes:", decode.population_counts(spk_rec, num_classes)[0].int().tolist())
accuracy = SF.accuracy_rate(
    spk_rec, torch.tensor([0]), population_code=True, num_classes=num_classes
)
print(f"if the first class is right, the accuracy is {accuracy:.0f}")

# %% [markdown]
# The network is called as ever; with a single step there is no loop to write, and only the time
# axis to add.

# %%
net_pop = network(50)
utils.reset(net_pop)
with torch.no_grad():
    spk_out, mem_out = net_pop(split.x_test[:8])
    spk_rec = spk_out.unsqueeze(0)
    same_spikes = agreement(spk_rec, snn.run(net_pop, split.x_test[:8], num_steps=num_steps)[0])
print(f"{tuple(spk_rec.shape)}; snn.run gives the same spikes: {100 * same_spikes:.0f} %")

# %% [markdown]
# ## Without and with a population
# The right class shall fire with all its neurons, the others with none. Everything else is equal:
# hidden layer, data, number of epochs, seed. The prediction is the group with most votes; a tie
# goes to the lower class.

# %%
sizes = lesson.pick((1, 2, 5, 10, 50), (1, 50))
results = {}
for size in sizes:
    torch.manual_seed(0)
    grouped = {} if size == 1 else {"population_code": True, "num_classes": num_classes}
    results[size] = snn.fit(
        network(size).to(lesson.device),
        split,
        num_steps=num_steps,
        epochs=lesson.pick(1 if len(split.x_train) > 10_000 else 20, 7),
        batch_size=lesson.pick(128, 32),
        loss=SF.mse_count_loss(correct_rate=1.0, incorrect_rate=0.0, **grouped),
        lr=2e-3,
        progress=False,
    )
    print(
        f"{size:3d} neurons for each class: test accuracy "
        f"{100 * results[size].test_accuracy.last:.2f} %"
    )

# %% [markdown]
# One neuron for each class can only say yes or no, so ties are frequent and an image for which no
# neuron fires is lost. Fifty can say "31 to 4".

# %%
accuracies = {size: result.test_accuracy.last for size, result in results.items()}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.bar([str(size) for size in accuracies], [100 * value for value in accuracies.values()])
left.set_xlabel("output neurons for each class")
left.set_ylabel("test accuracy [%], one time step")
left.set_ylim(0, 100)
net = results[sizes[-1]].net.cpu()
with torch.no_grad():
    spk, _ = snn.run(net, split.x_test[:200], num_steps=num_steps)
votes = decode.population_counts(spk, num_classes)
image = right.imshow(votes[:20].numpy(), cmap="Greys", aspect="auto")
for row in range(20):
    right.plot(int(split.y_test[row]), row, "o", color="C1", markersize=4)
right.set_xlabel("class (orange: the right one)")
right.set_ylabel("test image")
right.set_xticks(range(10))
right.set_yticks(range(0, 20, 5))
fig.colorbar(image, ax=right, label="votes")
lesson.picture(fig, "accuracy.png")

fig, ax = plt.subplots(figsize=(5, 3.5))
groups = spk[0, 0].reshape(num_classes, -1)
splt.raster(groups, ax, s=12)
ax.set_xlabel("class")
ax.set_xticks(range(10))
ax.set_ylabel("neuron of the group")
ax.set_title(f"who fires for a {int(split.y_test[0])}, in one step")
lesson.picture(fig, "groups.png")

# %%
silent = (
    (snn.run(results[1].net.cpu(), split.x_test[:200], num_steps=num_steps)[0].sum((0, 2)) == 0)
    .float()
    .mean()
)
lesson.report(
    accuracy_one=accuracies[1],
    accuracy_population=accuracies[50],
    gain=accuracies[50] - accuracies[1],
    silent_images_one=silent,
    votes_for_the_right_class=votes[torch.arange(200), split.y_test[:200]].mean() / 50,
)
