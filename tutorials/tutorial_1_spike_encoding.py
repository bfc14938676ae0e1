"""Tutorial 1: spike encoding.

You learn to turn numbers into spikes and to look at them: rate, latency and delta codes as they are
known from snnTorch, then phase, burst and population codes, and how to get the numbers back.
"""

# %% [markdown]
# A spiking network computes with events. Data rarely come as events, so the first step is a *code*:
# a rule that says when an input fires. A code decides how many spikes (energy) and how many time
# steps (delay) a value costs.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, images, loaders

from spikeloom import decode, spikegen, utils
from spikeloom import spikeplot as splt

lesson = Tutorial("tutorial_1_spike_encoding")
num_steps = 100

# %% [markdown]
# ## Data
# Images with values in [0, 1]. `utils.data_subset` keeps one in so many of a data set that has
# `data` and `targets`.

# %%
split = images(train=1000, test=100)


class Labelled:
    """The least that `data_subset` asks of a data set."""

    data, targets = split.x_train, split.y_train


subset = utils.data_subset(Labelled(), 10)
print(f"{len(subset.data)} of {len(split.x_train)} images")

train_loader, _ = loaders(split)
data_it, targets_it = next(iter(train_loader))

# %% [markdown]
# ## Rate code
# A pixel of intensity p fires at each step with probability p. The more steps, the better the rate
# tells the intensity: the error shrinks with the square root of their number.

# %%
half = torch.full((1,), 0.5)
for steps in (10, 100, 1000):
    print(
        f"{steps:5d} steps: an input of 0.5 fires in "
        f"{100 * spikegen.rate(half, num_steps=steps).mean():.1f} % of them"
    )

spike_data = spikegen.rate(data_it, num_steps=num_steps)  # [T, B, 1, 28, 28]
quarter = spikegen.rate(data_it, num_steps=num_steps, gain=0.25)
rate_error = (decode.rates(spike_data) - data_it).abs().mean()
print(f"{tuple(spike_data.shape)}: mean error of the decoded rate {rate_error:.4f}")

# %% [markdown]
# An animation shows one sample, a raster all its neurons over time. `gain` lowers all
# probabilities; averaging over time gives the image back, a quarter as bright.

# %%
sample, dim_sample = spike_data[:, 0, 0], quarter[:, 0, 0]
fig, ax = plt.subplots(figsize=(3, 3))
lesson.picture(splt.animator(sample, fig, ax, num_steps=lesson.pick(50, 3)), "rate.gif")

fig, axes = plt.subplots(1, 3, figsize=(7, 2.6))
panels = {"image": data_it[0, 0], "gain 1": sample.mean(0), "gain 0.25": dim_sample.mean(0)}
for ax, (title, image) in zip(axes, panels.items(), strict=True):
    ax.imshow(image.numpy(), cmap="binary", vmin=0, vmax=1)
    ax.set_title(title)
    ax.axis("off")
lesson.picture(fig, "gain.png")

# %%
fig, ax = plt.subplots(figsize=(8, 4))
splt.raster(dim_sample.flatten(1), ax, s=1.5)
ax.set_title(f"rate code of a {int(targets_it[0])}, gain 0.25")
lesson.picture(fig, "rate_raster.png")

# %% [markdown]
# ## Latency code
# Each pixel fires once, bright ones early: the time that a constant current needs to charge a leaky
# membrane to its threshold. One spike for each value is as sparse as it gets; a lost spike is a
# lost value.

# %%
intensity = torch.linspace(0.011, 1, 200)
times, _ = spikegen.latency_code(intensity, tau=5, threshold=0.01)
fig, ax = plt.subplots(figsize=(5, 3))
ax.plot(intensity.numpy(), times.numpy(), label="charging time (logarithmic)")
linear_times, _ = spikegen.latency_code(intensity, tau=5, threshold=0.01, linear=True)
ax.plot(intensity.numpy(), linear_times.numpy(), label="linear=True")
ax.set_xlabel("intensity")
ax.set_ylabel("spike time in steps")
ax.legend()
lesson.picture(fig, "latency_curve.png")

# %% [markdown]
# On an image the logarithm crowds bright pixels at the beginning and the dark background at the
# end. `linear` spreads them, `normalize` uses all steps, and `clip` lets pixels below the threshold
# be silent, which is most of them.

# %%
options = {
    "logarithmic": {},
    "linear": {"linear": True},
    "linear, normalized": {"linear": True, "normalize": True},
    "and clipped": {"linear": True, "normalize": True, "clip": True},
}
fig, axes = plt.subplots(2, 2, figsize=(10, 6), sharex=True, sharey=True)
counts = {}
for ax, (title, extra) in zip(axes.flat, options.items(), strict=True):
    spk = spikegen.latency(data_it[:1], num_steps=num_steps, tau=5, threshold=0.01, **extra)
    counts[title] = int(spk.sum())
    splt.raster(spk[:, 0].flatten(1), ax, s=4)
    ax.set_title(f"{title}: {counts[title]} spikes")
lesson.picture(fig, "latency.png")

# %% [markdown]
# ## Delta modulation
# Nothing fires while nothing changes: a spike where the signal has risen by at least `threshold`,
# and with `off_spike` a negative spike where it has fallen by as much. Event cameras work like this
# (tutorial 7).

# %%
signal = torch.tensor([0.0, 1, 0, 2, 8, -20, 20, -5, 0, 1, 0])
on = spikegen.delta(signal, threshold=4)
on_off = spikegen.delta(signal, threshold=4, off_spike=True)
print("rises only:     ", on.int().tolist())
print("rises and falls:", on_off.int().tolist())

fig, (top, bottom) = plt.subplots(2, 1, figsize=(6, 3.5), sharex=True, height_ratios=[2, 1])
top.plot(signal.numpy(), marker="o", markersize=3)
top.set_ylabel("signal")
bottom.stem(on_off.numpy(), basefmt=" ")
bottom.set_ylabel("spike")
bottom.set_xlabel("time step")
lesson.picture(fig, "delta.png")

# %% [markdown]
# ## Beyond: phase, burst and population codes
# `phase` writes the binary digits of a value, most significant first. `burst` sends more and closer
# spikes for larger values. `population` gives each value to several neurons that prefer different
# values.

# %%
values = torch.linspace(0, 1, 11)
codes = {
    "rate, 8 steps": spikegen.rate(values, num_steps=8),
    "phase, 8 steps": spikegen.phase(values, num_steps=8, period=8),
    "burst, 8 steps": spikegen.burst(
        values, num_steps=8, max_spikes=4, min_interval=1, max_interval=2
    ),
}
fig, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True)
for ax, (title, spk) in zip(axes, codes.items(), strict=True):
    splt.raster(spk, ax)
    ax.set_title(f"{title}: {int(spk.sum())} spikes")
    ax.set_ylabel("value" if ax is axes[0] else "")
    ax.set_yticks(range(0, 11, 5), ["0", "0.5", "1"])
lesson.picture(fig, "other_codes.png")

weights = 0.5 ** torch.arange(1, 9.0)
phase_error = ((codes["phase, 8 steps"] * weights[:, None]).sum(0) - values).abs().max()
field = spikegen.population(values[1:-1], num_neurons=8, num_steps=50, code="rate")  # [T, B, 8]
decoded = decode.weighted_mean(field, spikegen.population_centers(8))
print(f"phase code: largest error {phase_error:.4f} (2^-8 = {2**-8:.4f})")
print(f"population code: mean error {(decoded - values[1:-1]).abs().mean():.3f}")

# %% [markdown]
# ## Spikes without data
# `rate_conv` draws one spike train for each probability; `poisson` takes rates in Hz and the
# duration of a step.

# %%
noise = spikegen.rate_conv(torch.rand(num_steps, 28 * 28) * 0.5)
cells = spikegen.poisson(torch.tensor([5.0, 20.0, 80.0]), dt=1e-3, num_steps=2000)
print("rates in Hz:", [round(rate, 1) for rate in decode.rates(cells, dt=1e-3).tolist()])
fig, ax = plt.subplots(figsize=(6, 1.8))
splt.raster(cells[:500], ax)
ax.set_yticks(range(3), ["5 Hz", "20 Hz", "80 Hz"])
ax.set_ylabel("")
lesson.picture(fig, "poisson.png")

# %%
lesson.report(
    rate_error=rate_error,
    gain_ratio=quarter.mean() / spike_data.mean(),
    latency_spikes_per_pixel=counts["logarithmic"] / 784,
    clipped_share=counts["and clipped"] / counts["linear"],
    delta_on=on.sum(),
    delta_off=(on_off < 0).sum(),
    phase_error=phase_error,
    noise_rate=noise.mean(),
)
