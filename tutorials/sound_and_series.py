"""Sound and time series: recordings of different length.

You learn how a waveform becomes a sequence of mel bands, how to batch recordings of different
length without counting the padding, and how to read a collection of time series.

The sounds are made in this script: tones that rise, fall, or do one after the other.
"""

# %%
import math
import wave

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import Tutorial, agreement
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import data
from spikeloom import functional as SF
from spikeloom import spikeplot as splt

lesson = Tutorial("sound_and_series")
rate = 8000  # samples per second
classes = ("rising", "falling", "rising, falling", "falling, rising")
bands = 20


# %% [markdown]
# ## Four tones
# All sounds contain the same frequencies, from 400 to 2000 Hz, in another order: a mean over time
# tells "rising" from "falling" no better than chance. They last 0.3 to 0.7 s, with noise.


# %%
def tone(label: int, random: np.random.Generator) -> Tensor:
    """A waveform, [N]."""
    samples = int(rate * random.uniform(0.3, 0.7))
    place = np.linspace(0, 1, samples)
    course = (place, 1 - place, 1 - abs(2 * place - 1), abs(2 * place - 1))[label]
    frequency = 400 + 1600 * course
    phase = 2 * math.pi * np.cumsum(frequency) / rate + random.uniform(0, 2 * math.pi)
    sound = 0.5 * np.sin(phase) + 0.05 * random.standard_normal(samples)
    return torch.from_numpy(sound.astype(np.float32))


sounds = [tone(label, np.random.default_rng(label)) for label in range(4)]

# %% [markdown]
# ## From a file to mel bands
# `data.read_wav` reads PCM files; `data.mel` returns the logarithm of the energy in bands that are
# evenly spaced on the mel scale, one frame every 10 ms by default, here every 20 ms.

# %%
path = lesson.folder / "rising.wav"
with wave.open(str(path), "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(rate)
    file.writeframes((sounds[0].numpy() * 32767).astype("<i2").tobytes())
read, read_rate = data.read_wav(path)
wav_error = (read - sounds[0]).abs().max().item()
print(f"{len(read) / read_rate:.2f} s at {read_rate} Hz, largest difference {wav_error:.1e}")


def features(sound: Tensor) -> Tensor:
    """Mel bands, [T, bands], between about 0 and 1."""
    energies = data.mel(sound, rate, bands=bands, window=0.032, hop=0.02, lowest=200.0)
    return ((energies - 0.5) / 3).clamp(0, 1.2)


fig, axes = plt.subplots(1, 4, figsize=(10, 2.6), sharey=True)
for ax, sound, name in zip(axes, sounds, classes, strict=True):
    image = features(sound).T.numpy()
    ax.imshow(image, aspect="auto", origin="lower", extent=(0, len(sound) / rate, 0, bands))
    ax.set(title=name, xlabel="time [s]")
axes[0].set_ylabel("mel band")
lesson.picture(fig, "mel.png")

# %% [markdown]
# ## Batches with lengths
# `pad_sequences` fills shorter recordings with zeros and returns the true lengths. `snn.run`,
# losses and accuracies take them: steps after the end count neither as spikes nor in the loss. So
# the result of a recording does not depend on the other recordings of its batch.
#
# The loss reads the counts of whole recordings. `ce_rate_loss`, which wants the right class at each
# step, would ask for an answer before the second half of the tone is heard.

# %%
number = lesson.pick(600, 200)
random = np.random.default_rng(0)
recordings = [(features(tone(i % 4, random)), i % 4) for i in range(number)]
train, test = recordings[: number * 3 // 4], recordings[number * 3 // 4 :]
x, y, lengths = data.pad_sequences(test, lengths=True)
print(f"padded {tuple(x.shape)}, lengths {int(lengths.min())} to {int(lengths.max())}")

hidden = lesson.pick(100, 60)
net = nn.Sequential(
    nn.Linear(bands, hidden),
    snn.RLeaky(beta=0.9, linear_features=hidden, init_hidden=True),
    nn.Linear(hidden, 4),
    snn.Leaky(beta=0.95, init_hidden=True, output=True),
)
with torch.no_grad():
    net[0].weight.mul_(3)
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
loss_of = SF.ce_count_loss()
losses = []
for _ in range(lesson.pick(30, 15)):
    for index in torch.randperm(len(train)).split(32):
        batch, targets, ends = data.pad_sequences([train[i] for i in index], lengths=True)
        spk, _ = snn.run(net, batch, lengths=ends)
        loss = loss_of(spk, targets, lengths=ends)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
with torch.no_grad():
    spk, _ = snn.run(net, x, lengths=lengths)
    accuracy = float(SF.accuracy_rate(spk, y, lengths=lengths))
    alone = snn.run(net, x[: lengths[0], :1])[0].sum(0)
    padded = spk[:, :1].sum(0)
print(f"test accuracy {100 * accuracy:.1f} %, chance 25 %")

# %% [markdown]
# ## The order matters
# Shuffled steps have the same mean, and the network cannot distinguish the classes.

# %%
with torch.no_grad():
    mixed = [(r[torch.from_numpy(random.permutation(len(r)))], label) for r, label in test]
    x_mixed, y_mixed, ends = data.pad_sequences(mixed, lengths=True)
    spk_mixed, _ = snn.run(net, x_mixed, lengths=ends)
    shuffled = float(SF.accuracy_rate(spk_mixed, y_mixed, lengths=ends))
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(losses)
left.set(xlabel="update", ylabel="loss of spike counts")
guess = spk.sum(0).argmax(1)
splt.confusion(guess, y, right, labels=classes)
lesson.picture(fig, "training.png")
print(f"with shuffled steps: {100 * shuffled:.1f} %")

# %% [markdown]
# ## Time series in files
# The archives of UEA and UCR have text files of series with their classes, which may differ in
# length. `data.read_ts` returns recordings and labels that `pad_sequences` takes as they are.

# %%
text = ["@problemName tones", "@timestamps false", f"@classLabel true {' '.join('abcd')}", "@data"]
for recording, label in recordings[:8]:
    channels = [",".join(f"{value:.4f}" for value in band) for band in recording.T.tolist()]
    text.append(":".join([*channels, "abcd"[label]]))
path = lesson.folder / "tones.ts"
path.write_text("\n".join(text) + "\n")
series = data.read_ts(path)
pairs = list(zip(series.recordings, series.labels, strict=True))
x_series, y_series, _ = data.pad_sequences(pairs, lengths=True)
print(f"{len(pairs)} series, padded {tuple(x_series.shape)}, classes {series.classes}")
series_error = max(
    (a - b).abs().max().item() for (a, _), (b, _) in zip(pairs, recordings[:8], strict=True)
)

# %%
lesson.report(
    wav_error=wav_error,
    series_error=series_error,
    shortest=lengths.min(),
    longest=lengths.max(),
    same_spikes_alone=agreement(alone, padded),
    first_loss=losses[0],
    last_loss=losses[-1],
    test_accuracy=accuracy,
    accuracy_shuffled=shuffled,
)
