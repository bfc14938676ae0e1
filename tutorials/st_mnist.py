"""Touch: spikes from an electronic skin.

You learn what a tactile sensor of single events delivers, how to train a convolutional network on
recordings of different length, and what it costs to decide early.

The recordings are made in this script. They have the form of ST-MNIST (See et al., 2020: digits
written by hand on 10 x 10 pressure sensors, events "pressed" and "released", one to two seconds
long), but no finger has written them, and no figure here says anything about ST-MNIST itself.
`data.tonic` reads the real one, where Tonic offers it.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from common import Tutorial, agreement, images
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import spikeloom as snn
from spikeloom import data, utils
from spikeloom import functional as SF
from spikeloom import spikeplot as splt

lesson = Tutorial("st_mnist")

# %% [markdown]
# ## A finger on a grid
# A digit is a path: the finger starts at the top and goes on to the nearest part of the stroke that
# it has not touched. A sensor that is pressed answers with a short burst of events with p = 1, one
# that is released with p = 0. Speed, place and the moment of each event vary from recording to
# recording.


# %%
def path(image: Tensor) -> list[tuple[int, int]]:
    """Sensors (x, y) in the order in which a finger touches them; ``image`` is [10, 10]."""
    left = {(int(x), int(y)) for y, x in (image > 0.35 * image.max()).nonzero()}
    here = min(left, key=lambda sensor: (sensor[1], sensor[0]))
    way = [here]
    left.remove(here)
    while left:
        here = min(
            left,
            key=lambda sensor: ((sensor[0] - here[0]) ** 2 + (sensor[1] - here[1]) ** 2, sensor[1]),
        )
        way.append(here)
        left.remove(here)
    return way


def record(image: Tensor, random: np.random.Generator) -> np.ndarray:
    """Events (x, y, t, p) of one writing, t in microseconds."""
    dx, dy = random.integers(-1, 2, size=2)
    per_sensor = random.uniform(20_000, 35_000)  # microseconds from one sensor to the next
    events = []
    for order, (x, y) in enumerate(path(image)):
        x, y = x + dx, y + dy
        if not (0 <= x < 10 and 0 <= y < 10):
            continue
        for pressed, moment in ((1, order * per_sensor), (0, (order + 1.5) * per_sensor)):
            times = moment + random.uniform(0, 15_000, size=random.integers(2, 6))
            events += [(x, y, int(t), pressed) for t in times]
    return np.array(sorted(events, key=lambda event: event[2]), dtype=data.EVENT)


class Writings(Dataset):
    """Recordings and digits; each index always gives the same recording."""

    sensor_size = (10, 10, 2)  # width, height, polarities

    def __init__(self, pictures: Tensor, classes: Tensor, seed: int) -> None:
        self.pictures, self.classes, self.seed = pictures, classes, seed

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int):
        random = np.random.default_rng((self.seed, index))
        return record(self.pictures[index, 0], random), int(self.classes[index])


split = images(train=lesson.pick(2000, 160), test=lesson.pick(400, 64), size=10)
train_set, test_set = (
    Writings(split.x_train, split.y_train, 0),
    Writings(split.x_test, split.y_test, 1),
)
events, label = train_set[0]
seconds = [train_set[i][0]["t"][-1] / 1e6 for i in range(50)]
print(f"a {label}: {len(events)} events, the first (x, y, t, p) is {events[0]}")
print(f"recordings last {min(seconds):.2f} to {max(seconds):.2f} s")

# %% [markdown]
# ## Frames of 20 ms
# Between 30 and 80 frames a recording, of different number (half as many in a smoke run):
# `pad_sequences` fills up with silence and, if asked, returns the true lengths.

# %%
dt = lesson.pick(20_000, 40_000)  # microseconds
train_frames = [data.EventFrames(train_set, dt=dt)[i] for i in range(len(train_set))]
test_frames = [data.EventFrames(test_set, dt=dt)[i] for i in range(len(test_set))]
batch_size = 32
train_loader = DataLoader(
    train_frames, batch_size=batch_size, shuffle=True, collate_fn=data.pad_sequences
)
test_loader = DataLoader(test_frames, batch_size=batch_size, collate_fn=data.pad_sequences)
batch, targets = next(iter(test_loader))
print(f"a batch: {tuple(batch.shape)}; {100 * (batch > 0).float().mean():.1f} % of it are events")

fig, axes = plt.subplots(1, 6, figsize=(10, 2.2))
frames, label = test_frames[0]
for part, ax in zip(frames.tensor_split(6), axes, strict=True):
    ax.imshow((part[:, 1].sum(0) - part[:, 0].sum(0)).numpy(), cmap="RdBu_r", vmin=-5, vmax=5)
    ax.set_xticks([])
    ax.set_yticks([])
fig.suptitle(f"a {label} is written; red: pressed, blue: released")
lesson.picture(fig, "writing.png")

fig, ax = plt.subplots(figsize=(3, 3))
lesson.picture(
    splt.animator(frames[:, 1], fig, ax, num_steps=lesson.pick(False, 12)), "writing.gif"
)

# %% [markdown]
# ## Network
# 10x10-32c4-64c3-MP2-10o, as in the paper on ST-MNIST. A decay of 0.95 lets neurons remember half a
# second of strokes.

# %%
filters = lesson.pick((32, 64), (8, 16))
net = nn.Sequential(
    nn.Conv2d(2, filters[0], kernel_size=4),
    snn.Leaky(beta=0.95, init_hidden=True),
    nn.Conv2d(filters[0], filters[1], kernel_size=3),
    snn.Leaky(beta=0.95, init_hidden=True),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(filters[1] * 2 * 2, 10),
    snn.Leaky(beta=0.95, init_hidden=True, output=True),
).to(lesson.device)


def forward_pass(net: nn.Module, data: Tensor) -> Tensor:
    """The familiar loop over frames."""
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

# %%
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3, betas=(0.9, 0.999))
loss_fn = SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)
loss_hist, acc_hist = [], []
for epoch in range(lesson.pick(10, 3)):
    for batch, targets in train_loader:
        batch, targets = batch.to(lesson.device), targets.to(lesson.device)
        spk_rec, _ = snn.run(net, batch)
        loss = loss_fn(spk_rec, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_hist.append(loss.item())
        acc_hist.append(SF.accuracy_rate(spk_rec, targets).item())
    last = acc_hist[-len(train_loader) :]
    print(
        f"epoch {epoch + 1}: loss {loss_hist[-1]:.2f}, training accuracy "
        f"{sum(last) / len(last):.3f}"
    )

# %% [markdown]
# ## How early can it tell?
# The network answers at every step. Counting its spikes up to each moment gives the accuracy as a
# function of time.

# %%
spikes, classes = [], []
with torch.no_grad():
    for batch, targets in test_loader:
        spikes.append(snn.run(net, batch.to(lesson.device))[0].cpu())
        classes.append(targets)
longest = max(len(spk) for spk in spikes)
padded = [torch.cat([spk, spk.new_zeros(longest - len(spk), *spk.shape[1:])]) for spk in spikes]
counts, labels = torch.cat(padded, dim=1).cumsum(0), torch.cat(classes)  # [T, N, 10], [N]
over_time = (counts.argmax(-1) == labels).float().mean(1)
test_accuracy = over_time[-1].item()
early = int((over_time >= 0.9 * test_accuracy).float().argmax())
print(f"test accuracy {100 * test_accuracy:.1f} %; ", end="")
print(f"90 % of it after {dt * (early + 1) // 1000} ms of {dt * longest // 1000} ms")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(acc_hist)
left.set_xlabel("weight updates")
left.set_ylabel("accuracy of the batch")
right.plot(1e-6 * dt * (torch.arange(longest) + 1).numpy(), over_time.numpy())
right.axvline(1e-6 * dt * (early + 1), color="0.5", linestyle="--", linewidth=0.8)
right.set_xlabel("time since the first touch in s")
right.set_ylabel("test accuracy so far")
lesson.picture(fig, "accuracy.png")

fig, ax = plt.subplots(figsize=(5, 4.5))
lesson.picture(splt.confusion(counts[-1].argmax(-1), labels, ax), "confusion.png")

fig, ax = plt.subplots(figsize=(7, 4))
names = [str(digit) for digit in range(10)]
animation = splt.spike_count(
    spikes[0][:, 0], fig, ax, labels=names, num_steps=lesson.pick(False, 12), animate=True
)
ax.set_title(f"a {int(labels[0])}")
lesson.picture(animation, "counts.gif")

# %%
lesson.report(
    events_of_first=len(events),
    longest_recording_s=max(seconds),
    same_spikes_as_loop=same_spikes,
    first_loss=loss_hist[0],
    last_loss=sum(loss_hist[-5:]) / 5,
    test_accuracy=test_accuracy,
)
