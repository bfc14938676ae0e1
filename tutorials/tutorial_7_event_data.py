"""Tutorial 7: event data.

You learn what an event camera records, how lists of events become frames in time, how recordings
are cached and padded into batches, and how to train a convolutional network on them.
"""

# %% [markdown]
# An event camera has no frames. Each pixel reports on its own when it has become brighter (ON, p =
# 1) or darker (OFF, p = 0), as an event (x, y, t, p). N-MNIST was recorded by moving such a camera
# in three small saccades in front of MNIST digits on a screen. `data.saccade` does the same to any
# images, so that nothing has to be downloaded here.
#
# With the real thing the rest is the same: `spikevision.NMNIST(root)` reads the original files, and
# `data.tonic("NMNIST", root, dt=1000)` any data set of the package Tonic.

# %%
import time

import matplotlib.pyplot as plt
import torch
from common import Tutorial, agreement, images
from torch import nn
from torch.utils.data import DataLoader, Dataset

import spikeloom as snn
from spikeloom import data, surrogate, utils
from spikeloom import functional as SF
from spikeloom import spikeplot as splt

lesson = Tutorial("tutorial_7_event_data")
split = images(train=lesson.pick(5000, 128), test=lesson.pick(1000, 64))

# %% [markdown]
# ## A data set of recordings
# Each item is a structured array of events and a class, as Tonic's data sets give it. A recording
# takes 20 to 30 ms (a third of that in a smoke run).


# %%
class Recordings(Dataset):
    """Simulated recordings of an event camera."""

    sensor_size = (28, 28, 2)  # width, height, polarities

    def __init__(self, pictures, classes):
        self.pictures, self.classes = pictures, classes

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        milliseconds = lesson.pick(20 + index % 11, 7 + index % 4)
        frames = data.saccade(self.pictures[index : index + 1], num_steps=milliseconds)[:, 0]
        return data.to_events(frames, dt=1000), int(self.classes[index])  # times in microseconds


train_set, test_set = (
    Recordings(split.x_train, split.y_train),
    Recordings(split.x_test, split.y_test),
)
events, label = train_set[0]
print(f"a {label}: {len(events)} events; the first three (x, y, t, p): {events[:3].tolist()}")

# %% [markdown]
# Accumulated over a few milliseconds the events show the edges that the movement has crossed.

# %%
frames = data.to_frames(events, train_set.sensor_size, num_steps=6)
fig, axes = plt.subplots(1, 6, figsize=(10, 2.2))
for step, ax in enumerate(axes):
    balance = frames[step, 1] - frames[step, 0]  # ON minus OFF
    ax.imshow(balance.numpy(), cmap="RdBu_r", vmin=-3, vmax=3)
    ax.set_title(f"part {step + 1} of 6", fontsize=9)
    ax.axis("off")
fig.suptitle("red: brighter, blue: darker")
lesson.picture(fig, "events.png")

# %% [markdown]
# ## Frames, cache, batches
# `EventFrames` counts events in steps of `dt`; `DiskCache` keeps the result, because reading events
# is slow; and `pad_sequences` puts recordings of different length into one batch [T, B, P, H, W],
# silent at the end.

# %%
dt = 1000  # microseconds
train_frames = data.EventFrames(train_set, dt=dt, binary=True)
test_frames = data.EventFrames(test_set, dt=dt, binary=True)
key = f"saccades of {split.name}, {len(train_set)} and {len(test_set)} images, {dt} microseconds"
folder = lesson.folder / f"cache-{split.name}-{len(train_set)}-{dt}"
cached = data.DiskCache(train_frames, folder, key=key)

seconds = []
for _ in range(2):
    start = time.perf_counter()
    for index in range(32):
        cached[index]
    seconds.append((time.perf_counter() - start) / 32)
print(
    f"making a sample takes {1e3 * seconds[0]:.2f} ms, reading it again {1e3 * seconds[1]:.2f} ms"
)

batch_size = lesson.pick(128, 32)
train_loader = DataLoader(
    cached, batch_size=batch_size, shuffle=True, collate_fn=data.pad_sequences
)
test_loader = DataLoader(test_frames, batch_size=batch_size, collate_fn=data.pad_sequences)
batch, targets = next(iter(train_loader))
sparsity = batch.mean()
print(f"a batch: {tuple(batch.shape)}, {100 * sparsity:.1f} % of it are events")

fig, ax = plt.subplots(figsize=(3, 3))
lesson.picture(
    splt.animator(batch[:, 0, 1] - batch[:, 0, 0], fig, ax, num_steps=lesson.pick(False, 10)),
    "frames.gif",
)

# %% [markdown]
# ## Network and forward pass
# 12C5-MP2-32C5-MP2-512FC10. The input has a time axis of its own; the loop hands one frame after
# the other to the network, `snn.run(net, frames)` does the same in one call.

# %%
filters = lesson.pick((12, 32), (4, 8))
neuron = {"beta": 0.5, "spike_grad": surrogate.atan(), "init_hidden": True}
net = nn.Sequential(
    nn.Conv2d(2, filters[0], 5),
    nn.MaxPool2d(2),
    snn.Leaky(**neuron),
    nn.Conv2d(filters[0], filters[1], 5),
    nn.MaxPool2d(2),
    snn.Leaky(**neuron),
    nn.Flatten(),
    nn.Linear(filters[1] * 4 * 4, 10),
    snn.Leaky(**neuron, output=True),
).to(lesson.device)


def forward_pass(net, data):
    spk_rec = []
    utils.reset(net)
    for step in range(data.size(0)):
        spk_out, _ = net(data[step])
        spk_rec.append(spk_out)
    return torch.stack(spk_rec)


with torch.no_grad():
    batch = batch.to(lesson.device)
    same_spikes = agreement(forward_pass(net, batch), snn.run(net, batch)[0])
print(f"snn.run gives the spikes of the loop: {100 * same_spikes:.2f} % are equal")

# %% [markdown]
# ## Training
# `mse_count_loss` asks the right neuron to fire at 80 % of the steps and the others at 20 %, so
# that none falls silent.

# %%
optimizer = torch.optim.Adam(net.parameters(), lr=lesson.pick(5e-3, 1e-2), betas=(0.9, 0.999))
loss_fn = SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)
num_iterations = lesson.pick(100, 24)
loss_hist, acc_hist = [], []
while len(loss_hist) < num_iterations:
    for batch, targets in train_loader:
        batch, targets = batch.to(lesson.device), targets.to(lesson.device)
        spk_rec, _ = snn.run(net, batch)
        loss = loss_fn(spk_rec, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_hist.append(loss.item())
        acc_hist.append(SF.accuracy_rate(spk_rec, targets).item())
        if len(loss_hist) % 10 == 1:
            print(
                f"iteration {len(loss_hist):3d}: loss {loss_hist[-1]:.2f}, accuracy "
                f"{acc_hist[-1]:.2f}"
            )
        if len(loss_hist) == num_iterations:
            break

# %%
correct = 0
with torch.no_grad():
    for batch, targets in test_loader:
        spk_rec, _ = snn.run(net, batch.to(lesson.device))
        correct += (spk_rec.sum(0).argmax(1).cpu() == targets).sum().item()
test_accuracy = correct / len(test_set)
print(f"test accuracy {100 * test_accuracy:.1f} %")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.plot(loss_hist)
left.set_ylabel("loss")
right.plot(acc_hist)
right.axhline(test_accuracy, color="C1", label="test recordings, at the end")
right.set_ylabel("accuracy of the batch")
right.legend()
for ax in (left, right):
    ax.set_xlabel("iteration")
lesson.picture(fig, "training.png")

fig, ax = plt.subplots(figsize=(7, 4))
labels = [str(digit) for digit in range(10)]
animation = splt.spike_count(
    spk_rec[:, 0].cpu(), fig, ax, labels=labels, num_steps=lesson.pick(False, 10), animate=True
)
ax.set_title(f"a {targets[0]}")
lesson.picture(animation, "counts.gif")

# %%
lesson.report(
    events_of_first=len(events),
    share_of_events=sparsity,
    same_spikes_as_loop=same_spikes,
    first_loss=loss_hist[0],
    last_loss=sum(loss_hist[-5:]) / 5,
    test_accuracy=test_accuracy,
)
