"""A spiking autoencoder: images through a bottleneck of spikes.

You learn to build an encoder and a decoder of convolutions and neurons, to read an image from
membranes that never fire, and to look at what passes the bottleneck.
"""

# %% [markdown]
# An autoencoder has to give back its input although the path in the middle is narrow. Here it is
# narrow twice: 32 neurons, and a few steps of spikes, so that an image of 784 grey values passes as
# a few dozen bits.

# %%
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from common import Tutorial, images
from torch import nn

import spikeloom as snn
from spikeloom import spikeplot as splt
from spikeloom import surrogate, utils

lesson = Tutorial("autoencoder")
num_steps, latent_dim = 5, 32
channels = lesson.pick((16, 32, 64), (8, 8, 16))
split = images(train=lesson.pick(10_000, 256), test=lesson.pick(1000, 200), size=32)

# %% [markdown]
# MNIST's 28 x 28 pixels are enlarged to 32 x 32, which three convolutions of stride 2 halve to 4 x
# 4. Batch norm keeps the currents in a range in which neurons fire.

# %%
lif = {"beta": 0.5, "spike_grad": surrogate.atan(alpha=2.0), "init_hidden": True}
first, second, third = channels


def encoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1, stride=2),
        nn.BatchNorm2d(first),
        snn.Leaky(**lif),
        nn.Conv2d(first, second, 3, padding=1, stride=2),
        nn.BatchNorm2d(second),
        snn.Leaky(**lif),
        nn.Conv2d(second, third, 3, padding=1, stride=2),
        nn.BatchNorm2d(third),
        snn.Leaky(**lif),
        nn.Flatten(),
        nn.Linear(third * 4 * 4, latent_dim),
        snn.Leaky(**lif),
    )


# %% [markdown]
# The decoder goes the way back with transposed convolutions. Its last neurons shall report grey
# values, not spikes: in snnTorch one gives them a threshold of 20000, here `snn.LI` is a neuron
# that only integrates.


# %%
def decoder() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(latent_dim, third * 4 * 4),
        snn.Leaky(**lif),
        nn.Unflatten(1, (third, 4, 4)),
        nn.ConvTranspose2d(third, second, 3, padding=1, stride=2, output_padding=1),
        nn.BatchNorm2d(second),
        snn.Leaky(**lif),
        nn.ConvTranspose2d(second, first, 3, padding=1, stride=2, output_padding=1),
        nn.BatchNorm2d(first),
        snn.Leaky(**lif),
        nn.ConvTranspose2d(first, 1, 3, padding=1, stride=2, output_padding=1),
        snn.LI(beta=0.5, init_hidden=True),
    )


net = nn.Sequential(encoder(), decoder()).to(lesson.device)

# %% [markdown]
# ## Forward pass
# Encode and decode at each step; the reconstruction is the last membrane. The familiar loop, and
# the same in one call:


# %%
def reconstruct(net: nn.Sequential, image: torch.Tensor) -> torch.Tensor:
    utils.reset(net)
    for _ in range(num_steps):
        spk_latent = net[0](image)
        membrane = net[1](spk_latent)
    return membrane


net.eval()  # batch norm with fixed statistics: both forms can be compared
with torch.no_grad():
    sample = split.x_test[:16].to(lesson.device)
    difference = (
        (reconstruct(net, sample) - snn.run(net, sample, num_steps=num_steps)[-1]).abs().max()
    )
print(f"largest difference of the two forms: {difference:.1e}")

# %% [markdown]
# ## Training
# The loss is the mean squared error of the pixels. What would a network without any information
# achieve? It would always answer the mean image; its error is the one to beat.

# %%
baseline = ((split.x_test - split.x_train.mean(0)) ** 2).mean().item()
batch_size, epochs = lesson.pick(128, 32), lesson.pick(5 if len(split.x_train) > 5000 else 20, 4)
optimizer = torch.optim.AdamW(
    net.parameters(), lr=lesson.pick(5e-3, 1e-2), betas=(0.9, 0.999), weight_decay=0.001
)
updates = epochs * -(-len(split.x_train) // batch_size)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)


@torch.no_grad()
def test_error() -> float:
    net.eval()
    errors = [
        F.mse_loss(
            snn.run(net, x.to(lesson.device), num_steps=num_steps)[-1].cpu(), x, reduction="sum"
        )
        for x in split.x_test.split(250)
    ]
    return float(sum(errors)) / split.x_test.numel()


history = {"train_loss": [], "test_loss": []}
for epoch in range(epochs):
    net.train()
    losses = []
    for index in torch.randperm(len(split.x_train)).split(batch_size):
        real = split.x_train[index].to(lesson.device)
        loss = F.mse_loss(snn.run(net, real, num_steps=num_steps)[-1], real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    history["train_loss"].append(sum(losses) / len(losses))
    history["test_loss"].append(test_error())
    print(
        f"epoch {epoch + 1}: {history['train_loss'][-1]:.4f} on training, "
        f"{history['test_loss'][-1]:.4f} on test images"
    )
print(f"error of the mean image: {baseline:.4f}")

# %% [markdown]
# ## What passes the bottleneck

# %%
net.cpu().eval()
with torch.no_grad():
    run = snn.run(net, split.x_test[:200], num_steps=num_steps, record=["0.11.spk"])
latent, recon = run.record["0.11.spk"], run.output[-1]  # [T, B, 32], [B, 1, 32, 32]
print(f"a code has {latent.sum((0, 2)).mean():.1f} spikes of at most {num_steps * latent_dim}")

fig, axes = plt.subplots(2, 8, figsize=(9, 2.6))
for column in range(8):
    for row, picture in enumerate((split.x_test[column, 0], recon[column, 0])):
        axes[row, column].imshow(picture.numpy(), cmap="binary", vmin=0, vmax=1)
        axes[row, column].axis("off")
fig.suptitle("above: test images, below: what the last membranes say")
lesson.picture(fig, "reconstruction.png")

lesson.picture(splt.loss_curves(history), "loss.png")

fig, axes = plt.subplots(1, 4, figsize=(9, 2.6), sharey=True)
for ax, index in zip(axes, range(4), strict=True):
    splt.raster(latent[:, index], ax)
    ax.set_title(f"code of a {int(split.y_test[index])}", fontsize=10)
    if index:
        ax.set_ylabel("")
lesson.picture(fig, "codes.png")

# %% [markdown]
# Codes of the same digit should resemble each other. The two directions in which the spike counts
# of the codes vary most:

# %%
counts = latent.sum(0)
centred = counts - counts.mean(0)
_, _, directions = torch.linalg.svd(centred, full_matrices=False)
plane = centred @ directions[:2].T
fig, ax = plt.subplots(figsize=(5, 4.5))
points = ax.scatter(
    *plane.T.numpy(), c=split.y_test[: len(counts)].numpy(), cmap="tab10", vmin=-0.5, vmax=9.5, s=15
)
fig.colorbar(points, ax=ax, ticks=range(10), label="digit")
ax.set_xlabel("first principal component")
ax.set_ylabel("second principal component")
lesson.picture(fig, "plane.png")

labels = split.y_test[: len(counts)]
distances = torch.cdist(counts, counts)
same = labels[:, None] == labels
apart = ~torch.eye(len(counts), dtype=torch.bool)

# %%
lesson.report(
    difference_to_loop=difference,
    baseline=baseline,
    test_loss=history["test_loss"][-1],
    explained=1 - history["test_loss"][-1] / baseline,
    spikes_per_code=latent.sum((0, 2)).mean(),
    distance_ratio=distances[same & apart].mean() / distances[~same].mean(),
)
