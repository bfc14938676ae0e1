"""Exoplanets: rare events in long time series.

You learn to train on data of which one sample in a hundred is positive, to judge a detector by
sensitivity, specificity and the area under its ROC curve instead of accuracy, and what it changes
to give a series to a network step by step.

The light curves are made in this script. They have the form of NASA's Kepler series (3197
brightness values of a star, 37 of 5087 stars with a planet), but no telescope has seen them, and no
figure here says anything about Kepler's data.
"""

# %% [markdown]
# A planet that passes in front of its star dims it a little, again and again, with the period of
# its orbit. Few orbits lie in our line of sight: planets are rare in the data. A detector on board
# of a satellite should need little power, which is why one would like it to spike.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from common import Tutorial
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import spikeplot as splt
from spikeloom import surrogate

lesson = Tutorial("exoplanets")
length = 3197


# %% [markdown]
# ## Light curves
# Noise, a slow variation of the star (spots that rotate, a drift of the instrument), and for some
# stars dips with a period of 200 to 900 values that last for 10 to 40 values.


# %%
def light_curves(number: int, planets: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Brightness [N, 3197] in units of its noise, and 1 for a star with a planet; the first
    ``planets`` have one."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(number, 1, generator=generator)

    t = torch.arange(length)
    flux = torch.randn(number, length, generator=generator)
    flux += uniform(0, 2) * torch.sin(2 * math.pi * (t / uniform(500, 3000) + uniform(0, 1)))
    flux += uniform(-2, 2) * (t / length - 0.5)
    period, duration, depth = uniform(200, 900), uniform(10, 40), uniform(0.5, 3)
    in_transit = ((t + uniform(0, 1) * period) % period) < duration
    labels = (torch.arange(number) < planets).long()
    return flux - depth * in_transit * labels.unsqueeze(1), labels


generator = torch.Generator().manual_seed(0)
x_train, y_train = light_curves(*lesson.pick((5087, 37), (500, 25)), generator)
x_test, y_test = light_curves(*lesson.pick((1000, 50), (200, 40)), generator)
print(
    f"training: {len(y_train)} stars, {int(y_train.sum())} with a planet; test: {len(y_test)}, "
    f"{int(y_test.sum())}"
)

fig, axes = plt.subplots(2, 2, figsize=(10, 4.5), sharex=True, sharey=True)
for ax, index in zip(axes.flat, (0, 1, -1, -2), strict=True):
    ax.plot(x_train[index].numpy(), linewidth=0.4)
    ax.set_title("star with a planet" if y_train[index] else "star without")
for ax in axes[:, 0]:
    ax.set_ylabel("brightness / noise")
for ax in axes[1]:
    ax.set_xlabel("measurement")
lesson.picture(fig, "light_curves.png")

# %% [markdown]
# ## Balance
# A detector that always answers "no planet" is right for 99.3 % of the stars and useless. SMOTE
# (Chawla et al., 2002) makes new positive samples on the lines between a positive sample and one of
# its nearest positive neighbours, until both classes are equally large. Test data are left alone.


# %%
def smote(x: Tensor, number: int, neighbours: int = 5) -> Tensor:
    """``number`` new samples between the samples ``x``."""
    near = (
        torch.cdist(x, x).topk(neighbours + 1, largest=False).indices[:, 1:]
    )  # the nearest is the sample itself
    start = torch.randint(len(x), (number,))
    end = near[start, torch.randint(neighbours, (number,))]
    return x[start].lerp(x[end], torch.rand(number, 1))


# %% [markdown]
# The mean of two light curves with other periods has twice as many dips, half as deep: a crude
# picture of a planet. Light curves allow something better: a star stays the same star if its
# observation begins elsewhere. The second network is trained on shifted copies.


# %%
def shifted(x: Tensor, number: int) -> Tensor:
    """``number`` copies of randomly chosen samples, rotated in time."""
    start = torch.randint(len(x), (number, 1))
    shift = torch.randint(length, (number, 1))
    return x[start[:, 0]].gather(1, (torch.arange(length) + shift) % length)


positives = x_train[y_train == 1]
missing = len(y_train) - 2 * len(positives)
y_balanced = torch.cat([y_train, torch.ones(missing, dtype=torch.long)])
balanced = {
    "SMOTE": torch.cat([x_train, smote(positives, missing)]),
    "shifts": torch.cat([x_train, shifted(positives, missing)]),
}
print(f"balanced: {len(y_balanced)} samples, {int(y_balanced.sum())} positive")

# %% [markdown]
# ## Two networks
# The first one sees a whole light curve at once, in a single time step, as in the tutorial for
# snnTorch: every measurement has its own weights, so that a dip at another time is another pattern.


# %%
class WholeSeries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        grad = surrogate.fast_sigmoid(slope=25)
        self.fc1, self.lif1 = nn.Linear(length, 128), snn.Leaky(beta=0.5, spike_grad=grad)
        self.fc2, self.lif2 = nn.Linear(64, 64), snn.Leaky(beta=0.5, spike_grad=grad)
        self.fc3 = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk1, mem1 = self.lif1(F.max_pool1d(self.fc1(x), 2), mem1)
        spk2, mem2 = self.lif2(F.max_pool1d(self.fc2(spk1), 2), mem2)
        return self.fc3(spk2)


# %% [markdown]
# The second one reads it in order, 32 values a step. The same weights see every part of the series,
# the neurons remember, and at the end an integrator knows how much of a planet has been seen. It
# could run while the light arrives.

# %%
window = 32


def steps(x: Tensor) -> Tensor:
    """Light curves [B, 3197] as windows [T, B, 32]: each relative to its own neighbourhood of 8
    windows."""
    padded = F.pad(x, (0, -length % window), mode="replicate").unflatten(1, (-1, window))
    level = F.avg_pool1d(
        padded.mean(2).unsqueeze(1), 9, stride=1, padding=4, count_include_pad=False
    )
    return (padded - level.transpose(1, 2)).movedim(1, 0)


class StepByStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        lif = {
            "learn_beta": True,
            "spike_grad": surrogate.fast_sigmoid(slope=10),
            "init_hidden": True,
        }
        self.layers = nn.Sequential(
            nn.Linear(window, 32), snn.Leaky(beta=0.5, **lif),
            nn.Linear(32, 32), snn.Leaky(beta=0.9, **lif),
            nn.Linear(32, 2), snn.LI(beta=1.0, init_hidden=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        sequence = steps(x)
        return snn.run(self.layers, sequence)[-1] / len(sequence) ** 0.5


# %% [markdown]
# ## Sensitivity, specificity, area under the curve
# *Sensitivity* is the share of the planets that are found, *specificity* the share of the other
# stars that are left alone. One can be had for the other by moving the threshold; the *area under
# the ROC curve* says how well the detector ranks: it is the probability that a star with a planet
# gets a higher score than one without.


# %%
def measures(scores: Tensor, labels: Tensor) -> dict[str, float]:
    planet, other = scores[labels == 1], scores[labels == 0]
    wins = (planet[:, None] > other).float() + 0.5 * (planet[:, None] == other)
    return {
        "accuracy": ((scores > 0) == labels.bool()).float().mean().item(),
        "sensitivity": (planet > 0).float().mean().item(),
        "specificity": (other <= 0).float().mean().item(),
        "auc": wins.mean().item(),
    }


def train(net: nn.Module, x: Tensor, epochs: int) -> tuple[list[float], Tensor]:
    """Losses of the epochs, and scores of the test stars (positive: a planet)."""
    net.to(lesson.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    losses = []
    for _ in range(epochs):
        net.train()
        total = 0.0
        for index in torch.randperm(len(x)).split(64):
            out = net(x[index].to(lesson.device))
            loss = F.cross_entropy(out, y_balanced[index].to(lesson.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index) / len(x)
        losses.append(total)
    net.cpu().eval()
    with torch.no_grad():
        out = torch.cat([net(part) for part in x_test.split(200)])
    return losses, out[:, 1] - out[:, 0]


networks = {
    "whole series, SMOTE": (WholeSeries, "SMOTE"),
    "whole series, shifts": (WholeSeries, "shifts"),
    "step by step, shifts": (StepByStep, "shifts"),
}
scores, curves, trained = {}, {}, {}
for name, (kind, balance) in networks.items():
    torch.manual_seed(0)
    trained[name] = kind()
    curves[name], scores[name] = train(trained[name], balanced[balance], epochs=lesson.pick(8, 4))
    print(
        f"{name}:", {key: round(value, 3) for key, value in measures(scores[name], y_test).items()}
    )
print(f"always no: accuracy {1 - y_test.float().mean():.3f}, sensitivity 0, specificity 1, auc 0.5")

# %%
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
for name, score in scores.items():
    order = score.argsort(descending=True)
    hits = y_test[order].float()
    left.plot(curves[name], label=name)
    middle.plot((1 - hits).cumsum(0) / (1 - hits).sum(), hits.cumsum(0) / hits.sum(), label=name)
left.set_xlabel("epoch")
left.set_ylabel("training loss")
left.legend()
middle.plot([0, 1], [0, 1], "k--", linewidth=0.8)
middle.set_xlabel("1 - specificity")
middle.set_ylabel("sensitivity")
middle.set_title("ROC curve")
score = scores["step by step, shifts"]
right.hist(
    [score[y_test == 1].numpy(), score[y_test == 0].numpy()],
    bins=20,
    density=True,
    label=["planet", "none"],
)
right.axvline(0, color="0.5", linewidth=0.8)
right.set(xlabel="score, step by step", ylabel="density")
right.legend()
lesson.picture(fig, "results.png")

# %% [markdown]
# What the second network does while a planet passes by: hidden neurons fire in the dips.

# %%
found = int(scores["step by step, shifts"][y_test == 1].argmax())
with torch.no_grad():
    run = snn.run(
        trained["step by step, shifts"].layers, steps(x_test[found : found + 1]), record=["1.spk"]
    )
fig, (top, middle, bottom) = plt.subplots(3, 1, figsize=(9, 6), sharex=True)
top.plot((torch.arange(length) / window).numpy(), x_test[found].numpy(), linewidth=0.4)
top.set_ylabel("brightness / noise")
splt.raster(run.record["1.spk"][:, 0], middle)
middle.set_title("first hidden layer")
middle.set_xlabel("")
evidence = run.output[:, 0, 1] - run.output[:, 0, 0]
bottom.plot(evidence.numpy())
bottom.axhline(0, color="0.5", linewidth=0.8)
bottom.set_ylabel("evidence")
bottom.set_xlabel("time step of 32 measurements")
lesson.picture(fig, "detection.png")

# %%
smoted, whole, step = (measures(scores[name], y_test) for name in networks)
lesson.report(
    auc_whole_smote=smoted["auc"],
    auc_whole_shifts=whole["auc"],
    auc_step=step["auc"],
    sensitivity_step=step["sensitivity"],
    specificity_step=step["specificity"],
    accuracy_step=step["accuracy"],
    share_of_planets=y_train.float().mean(),
)
