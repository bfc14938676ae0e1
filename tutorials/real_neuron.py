"""A real neuron: what it fires when it hears a sound that the model has never heard.

You learn to fit neurons to a recording of a cell, by gradients of a distance between spike trains,
and to judge a prediction by the coincidences that exceed chance.
"""

# %% [markdown]
# A grasshopper hears with receptor cells in its abdomen. One of them was recorded while two
# modulated tones of 10 s were played. A neuron is fitted to the first recording and predicts the
# second. With `SPIKELOOM_DATA=folder` and `grasshopper_receptor.npz` in it this script uses the
# recordings; otherwise a noisy neuron of known parameters takes the place of the cell.

# %%
import math
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import Tutorial
from torch import nn

import spikeloom as snn
from spikeloom import functional as SF

lesson = Tutorial("real_neuron")
dt = 0.5  # ms
recorded = Path(os.environ.get("SPIKELOOM_DATA") or "absent") / "grasshopper_receptor.npz"

# %% [markdown]
# ## The recordings
# The sound is a level in dB, one value for each step. The spikes are a train of 0 and 1.


# %%
def cell_in_an_experiment():
    """Sounds [T] and spike trains [T] of the recorded cell."""
    file = np.load(recorded, allow_pickle=False)
    sounds, trains = [], []
    for n in (1, 2):
        amplitude = torch.from_numpy(file[f"stimulus{n}"]).unflatten(0, (-1, 10)).mean(1)
        train = torch.zeros(len(amplitude))
        train[torch.from_numpy(file[f"spikes{n}_us"]) // 500] = 1
        sounds.append(torch.log10(amplitude + 0.1))
        trains.append(train)
    return sounds, trains


def cell_in_the_computer(steps):
    """The same of a refractory neuron whose input is noisy."""
    sounds, trains = [], []
    for _ in range(2):
        noise = torch.randn(steps, 1, 1)
        sound = snn.LI(0.8).scan(noise)[0].flatten() * 0.6
        current = 0.22 + 0.18 * sound.roll(15) + 0.02 * torch.randn(steps)
        cell = snn.RefractoryLIF(0.8, 1.0, reset_to=0.0, refractory_steps=4)
        sounds.append(sound)
        trains.append(cell.scan(current.reshape(-1, 1, 1))[0].flatten())
    return sounds, trains


real = recorded.is_file()
sounds, trains = cell_in_an_experiment() if real else cell_in_the_computer(lesson.pick(20000, 4000))
print("recorded" if real else "simulated", "cell:", [int(train.sum()) for train in trains])

# %% [markdown]
# ## How alike are two spike trains?
# The coincidence factor counts spikes that have a partner at most four steps, 2 ms, away, subtracts
# what a random train of the same rate would reach, and divides so that a perfect prediction has 1.
# At 90 spikes a second a third of the pairs is chance: that is why the subtraction matters.


# %%
def times(train):
    return train.nonzero().flatten() * dt


def gamma(prediction, train, window=2.0):
    return SF.coincidence_factor(
        times(prediction), times(train), window=window, duration=len(train) * dt
    )


random_train = (torch.rand(len(trains[0])) < trains[0].mean()).float()
gamma_random = gamma(random_train, trains[0])
print(f"a random train of the same rate: {gamma_random:.2f}, the train itself: 1")

# %% [markdown]
# ## The model
# A cell answers after some milliseconds. A linear filter of the sound at ten delays drives the
# neuron; the same code fits any neuron of the library.

# %%
delays = range(9, 19)  # steps: 4.5 to 9 ms
level, spread = sounds[0].mean(), sounds[0].std()


def delayed(sound):
    x = (sound - level) / spread
    before = torch.cat([x[:1].expand(delays[-1]), x])
    return torch.stack([before[delays[-1] - d : len(before) - d] for d in delays], 1)


class Cell(nn.Module):
    def __init__(self, neuron, unit, bias):
        super().__init__()
        self.filter = nn.Linear(len(delays), 1)
        with torch.no_grad():
            self.filter.weight.zero_()
            self.filter.weight[0, 3:6] = 0.05 * unit
            self.filter.bias.fill_(bias * unit)
        self.neuron = neuron

    def forward(self, x):
        return self.neuron.scan(self.filter(x))[0]


tau = dt / 0.15
potentials = {"rest": 0.0, "rheobase": 10.0, "reset_to": 0.0, "threshold": 13.0}
cells = {
    "leaky": Cell(snn.Leaky(0.8, learn_beta=True, reset_mechanism="zero"), 1.0, 0.15),
    "refractory": Cell(
        snn.RefractoryLIF(0.85, 1.0, reset_to=0.0, refractory_steps=4, learn_beta=True), 1.0, 0.2
    ),
    "adaptive": Cell(
        snn.AdLIF(0.85, 0.97, a=0.0, b=0.3, learn_alpha=True, learn_beta=True, learn_b=True),
        1 / 0.15,
        0.15,
    ),
    "exponential": Cell(
        snn.EIF(tau, sharpness=1.0, dt=dt, learn_parameters=True, **potentials), 10 * tau / dt, 0.2
    ),
}

# %% [markdown]
# ## Fitting
# The recording is cut into pieces of 500 ms, which run as one batch; each begins 50 ms early, so
# that its first spikes do not depend on the rest at which the neuron starts. The loss is the
# distance of van Rossum: both trains pass an exponential filter of 6 ms, so that a spike at nearly
# the right time is nearly right. Surrogate gradients lead downhill only for a while, because they
# are not those of the loss; the best epoch counts.


# %%
def pieces(x, size=1000, warm_up=100):
    before = torch.cat([x[:1].expand(warm_up, *x.shape[1:]), x])
    starts = range(0, len(x) - size + 1, size)
    return torch.stack([before[n : n + size + warm_up] for n in starts], 1)


def fit(cell, epochs, lr=0.003, warm_up=100):
    x = pieces(delayed(sounds[0]))
    y = pieces(trains[0].unsqueeze(1))[warm_up:]
    size = float(cell.filter.weight.detach().abs().sum())
    groups = [{"params": list(cell.filter.parameters()), "lr": lr * size}]
    for p in cell.neuron.parameters():
        groups.append({"params": [p], "lr": lr * max(1.0, 0.1 * float(p.detach().abs()))})
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    losses, lowest, best = [], math.inf, {}
    for _ in range(epochs):
        distance = SF.van_rossum_distance(cell(x)[warm_up:], y, tau=6 / dt).sum() / y.sum()
        losses.append(distance.item())
        if losses[-1] < lowest:
            lowest = losses[-1]
            best = {name: value.clone() for name, value in cell.state_dict().items()}
        roughness = (cell.filter.weight / size).diff(n=2).square().sum()
        optimizer.zero_grad()
        (distance + 0.1 * roughness).backward()
        for p in cell.parameters():
            nn.utils.clip_grad_norm_([p], 0.05)
        optimizer.step()
        schedule.step()
    cell.load_state_dict(best)
    return losses


def predicted(cell, sound):
    with torch.no_grad():
        return cell(delayed(sound).unsqueeze(1)).flatten()


untrained = gamma(predicted(cells["leaky"], sounds[0]), trains[0])
losses, fitted, new = {}, {}, {}
with snn.backend("numba" if snn.backends()["numba"] == "available" else "torch"):
    for name, cell in cells.items():
        losses[name] = fit(cell, lesson.pick(150, 20))
        fitted[name], new[name] = (
            gamma(predicted(cell, sound), train)
            for sound, train in zip(sounds, trains, strict=True)
        )
        print(f"{name:12s} fitted {fitted[name]:.2f}, new sound {new[name]:.2f}")

# %% [markdown]
# ## Pictures
# The filter has its peak at the latency of the cell. In the raster the recorded spikes of the new
# sound are on top.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for name, cell in cells.items():
    left.plot(losses[name], label=name)
    weight = cell.filter.weight.detach()[0]
    right.plot([d * dt for d in delays], weight / weight.abs().max(), label=name)
left.set_xlabel("epoch")
left.set_ylabel("distance / spike")
right.set_xlabel("delay [ms]")
right.set_ylabel("filter / its maximum")
right.legend(frameon=False)
lesson.picture(fig, "fits.png")

span = slice(400, 1000)
fig, (above, below) = plt.subplots(2, 1, figsize=(9, 4), sharex=True)
time = torch.arange(span.start, span.stop) * dt
above.plot(time, sounds[1][span])
above.set_ylabel("level of the sound")
rows = {"recorded": trains[1], **{name: predicted(c, sounds[1]) for name, c in cells.items()}}
for number, train in enumerate(reversed(rows.values())):
    where = times(train)
    inside = where[(where >= time[0]) & (where <= time[-1])]
    below.vlines(inside, number - 0.4, number + 0.4, color="black")
below.set_yticks(range(len(rows)), list(reversed(rows)))
below.set_xlabel("time [ms]")
lesson.picture(fig, "prediction.png")

# %% [markdown]
# ## What remains
# On the recorded cell the leaky neuron reaches about 0.65 on the sound to which it was fitted and
# 0.5 on the new one, whose level changes four times as fast. A refractory period helps a little;
# the parameters of the exponential neuron do not. `benchmarks/real_neuron.py` compares seven
# neurons, with the times of the recording instead of steps.

# %%
lesson.report(
    gamma_random=gamma_random,
    gamma_untrained=untrained,
    gamma_leaky=new["leaky"],
    gamma_refractory=new["refractory"],
    gamma_adaptive=new["adaptive"],
    gamma_exponential=new["exponential"],
    gamma_fitted=fitted["refractory"],
    loss_ratio=min(losses["refractory"]) / losses["refractory"][0],
)
