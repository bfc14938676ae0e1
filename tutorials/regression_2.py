"""Regression, part 2: recurrent neurons, and classes as regression of spike counts.

You learn the three ways in which `snn.RLeaky` feeds spikes back into its layer, how a classifier is
trained by asking for spike counts instead of "as many as possible", and where feedback helps.
"""

# %%
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from common import Tutorial, agreement, images, timeline
from torch import nn

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom import spikeplot as splt
from spikeloom import surrogate

lesson = Tutorial("regression_2")

# %% [markdown]
# ## Classification as regression
# Cross entropy drives the right neuron to fire at every step and all others to silence. The mean
# squared error of spike counts asks for less: over ten steps, say, 8 spikes of the right neuron and
# 2 of each other one. Sparse activity is where spiking hardware saves energy, and a neuron that
# still fires can still learn.

# %%
counts = torch.tensor(
    [[9.0, 3, 2, 2]]
)  # spikes of four output neurons in ten steps; the first class is right
spk = (torch.arange(10).reshape(10, 1, 1) < counts).float()  # [T, 1, 4]
loss_function = SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)
print(
    f"targets 8, 2, 2, 2; counts 9, 3, 2, 2; loss {loss_function(spk, torch.tensor([0])):.3f} = "
    "(1 + 1) / 4 / 10 steps"
)

# %% [markdown]
# ## Feedback
# **One to one:** each neuron receives its own last spike times `V`, which is learned unless
# `learn_recurrent=False`.

# %%
num_steps, beta = 10, 0.9
rlif = snn.RLeaky(beta=beta, all_to_all=False, V=0.5)
spk, mem = rlif.init_rleaky()
x = torch.rand(1, 1)
for _ in range(num_steps):
    spk, mem = rlif(x, spk, mem)
print("one to one:", tuple(spk.shape), "V =", rlif.V.item())

# %% [markdown]
# A negative V is a refractory period that is learned; a positive one lets a neuron go on after its
# input has stopped.

# %%
pulse = torch.cat([torch.zeros(5, 1), torch.full((15, 1), 0.8), torch.zeros(20, 1)])
panels = {"input": pulse}
for V in (-1.0, 0.0, 1.3):
    spikes = snn.RLeaky(beta=0.8, all_to_all=False, V=V).scan(pulse)[0]
    panels[f"spikes\nV = {V}"] = spikes
lesson.picture(timeline(panels, "A pulse, and three weights of the own spike"), "feedback.png")

# %% [markdown]
# **All to all:** a linear layer from the spikes of the layer to all its neurons. **Convolution:**
# the same for images.

# %%
kinds = {
    "linear": (snn.RLeaky(beta=beta, linear_features=10), torch.rand(1, 10)),
    "convolution": (
        snn.RLeaky(beta=beta, conv2d_channels=3, kernel_size=(5, 5)),
        torch.rand(1, 3, 32, 32),
    ),
}
for name, (rlif, x) in kinds.items():
    spk, mem = rlif.init_rleaky()
    for _ in range(num_steps):
        spk, mem = rlif(x, spk, mem)
    print(
        f"{name}: spikes {tuple(spk.shape)}, {sum(p.numel() for p in rlif.parameters())} learned "
        "weights"
    )


# %% [markdown]
# ## A recurrent classifier
# The familiar form: spikes and membranes of both layers go round the loop.


# %%
class Net(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, hidden)
        self.rlif1 = snn.RLeaky(beta=beta, linear_features=hidden)
        self.fc2 = nn.Linear(hidden, 10)
        self.rlif2 = snn.RLeaky(beta=beta, linear_features=10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spk1, mem1 = self.rlif1.init_rleaky()
        spk2, mem2 = self.rlif2.init_rleaky()
        spk_recording = []
        for _ in range(num_steps):
            spk1, mem1 = self.rlif1(self.fc1(x), spk1, mem1)
            spk2, mem2 = self.rlif2(self.fc2(spk1), spk2, mem2)
            spk_recording.append(spk2)
        return torch.stack(spk_recording)


num_hidden = lesson.pick(128, 48)
loop = Net(num_hidden)


def layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(28 * 28, num_hidden),
        snn.RLeaky(beta=beta, linear_features=num_hidden, init_hidden=True),
        nn.Linear(num_hidden, 10),
        snn.RLeaky(beta=beta, linear_features=10, init_hidden=True, output=True),
    )


net = layers()
for part, weights in zip(net[1:], (loop.fc1, loop.rlif1, loop.fc2, loop.rlif2), strict=True):
    part.load_state_dict(weights.state_dict())
split = images(train=lesson.pick(None, 512), test=lesson.pick(None, 256))
with torch.no_grad():
    same_spikes = agreement(
        loop(split.x_test[:64].flatten(1)), snn.run(net, split.x_test[:64], num_steps=num_steps)[0]
    )
print(f"snn.run gives the spikes of the loop: {100 * same_spikes:.2f} % are equal")

# %%
training = {
    "epochs": lesson.pick(1 if len(split.x_train) > 10_000 else 20, 7),
    "batch_size": lesson.pick(128, 32),
    "lr": lesson.pick(1e-3, 3e-3),
    "progress": False,
}
by_counts = snn.fit(net, split, num_steps=num_steps, loss=loss_function, **training)
print(f"asking for spike counts: {by_counts}")

# %% [markdown]
# ## The same with membranes
# `mse_membrane_loss` asks the right membrane to stay just above the threshold and the others well
# below. Only the loss changes; `snn.fit` hands it membranes and predicts the class by the highest
# one.

# %%
torch.manual_seed(0)
by_membranes = snn.fit(
    layers(),
    split,
    num_steps=num_steps,
    loss=SF.mse_membrane_loss(on_target=1.05, off_target=0.2),
    **training,
)
print(f"asking for membranes: {by_membranes}")

# %% [markdown]
# ## Where feedback helps
# A still image needs no memory. The next task does: one of four inputs is lit for three steps, then
# there is only noise, and a last input asks for the answer. With beta = 0.5 a membrane has
# forgotten the cue after a few steps. Feedback can keep it alive, as activity that goes round and
# round.


# %%
def cues(number: int, wait: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs [T, B, 6] with T = wait + 3, and which of the first four was lit at the beginning."""
    classes = torch.randint(4, (number,))
    x = 0.5 * (torch.rand(wait + 3, number, 6) < 0.05)
    x[:3, torch.arange(number), classes] += 1
    x[-3:, :, 4] += 1  # what was it?
    return x, classes


def memory(feedback: bool, hidden: int = 32) -> nn.Sequential:
    neuron = {"beta": 0.5, "spike_grad": surrogate.fast_sigmoid(10), "init_hidden": True}
    first = snn.RLeaky(linear_features=hidden, **neuron) if feedback else snn.Leaky(**neuron)
    return nn.Sequential(
        nn.Linear(6, hidden), first, nn.Linear(hidden, 4), snn.Leaky(**neuron, output=True)
    )


def remembered(feedback: bool, wait: int) -> tuple[float, nn.Sequential]:
    """Accuracy on new cues after training, and the network."""
    torch.manual_seed(1)
    net = memory(feedback)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(lesson.pick(600, 60)):
        x, classes = cues(50, wait)
        _, mem = snn.run(net, x)
        loss = F.cross_entropy(mem[-3:].sum(0), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, classes = cues(400, wait)
    with torch.no_grad():
        return (snn.run(net, x)[1][-3:].sum(0).argmax(1) == classes).float().mean().item(), net


recall, networks = {}, {}
for wait in lesson.pick((5, 10, 15), (5,)):
    for feedback in (False, True):
        recall[wait, feedback], networks[wait, feedback] = remembered(feedback, wait)
        print(
            f"{wait} steps, {'with' if feedback else 'without'} feedback: "
            f"{100 * recall[wait, feedback]:.1f} %"
        )

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
with torch.no_grad():
    spk_counts, _ = snn.run(by_counts.net, split.x_test, num_steps=num_steps)
sums = spk_counts.sum(0)
right_class = torch.arange(10) == split.y_test.unsqueeze(1)
edges = [count - 0.5 for count in range(num_steps + 2)]
parts = [sums[right_class].numpy(), sums[~right_class].numpy()]
left.hist(parts, bins=edges, density=True, label=["right class", "others"])
left.set_xlabel("spikes in ten steps (asked for: 8 and 2)")
left.set_ylabel("share of the output neurons")
left.legend()
waits = sorted({wait for wait, _ in recall})
for feedback in (False, True):
    right.plot(
        waits,
        [100 * recall[wait, feedback] for wait in waits],
        "o-",
        label=f"{'with' if feedback else 'without'} feedback",
    )
right.axhline(25, color="0.5", linestyle="--", linewidth=0.8)
right.set_xlabel("steps to wait (dashed: guessing)")
right.set_ylabel("cues remembered [%]")
right.set_ylim(0, 105)
right.legend()
lesson.picture(fig, "results.png")

# %% [markdown]
# While it waits, the recurrent layer says what it remembers: other neurons stay active for other
# cues.

# %%
x, classes = cues(40, waits[-1])
first_of = [int((classes == label).nonzero()[0]) for label in range(4)]
with torch.no_grad():
    run = snn.run(networks[waits[-1], True], x, record=["1.spk"])
fig, axes = plt.subplots(1, 4, figsize=(10, 3), sharey=True)
for label, ax in enumerate(axes):
    splt.raster(run.record["1.spk"][:, first_of[label]], ax)
    ax.set_title(f"cue {label}")
    ax.axvspan(-0.5, 2.5, color="C1", alpha=0.2)
    ax.axvspan(len(x) - 3.5, len(x) - 0.5, color="C0", alpha=0.2)
    if label:
        ax.set_ylabel("")
fig.suptitle("hidden neurons; orange: the cue, blue: the question")
lesson.picture(fig, "memory.png")

# %%
lesson.report(
    same_spikes_as_loop=same_spikes,
    accuracy_counts=by_counts.test_accuracy.last,
    accuracy_membranes=by_membranes.test_accuracy.last,
    spikes_right=sums[right_class].mean(),
    spikes_others=sums[~right_class].mean(),
    recall_with=recall[waits[-1], True],
    recall_without=recall[waits[-1], False],
)
