"""Regression, part 2: recurrent neurons, and classes as regression of spike counts.

You learn the three ways in which `snn.RLeaky` feeds spikes back into its layer, how a classifier is trained by asking
for spike counts instead of "as many as possible", and where feedback helps.
"""

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, images, timeline
from torch import nn

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom import spikeplot as splt

lesson = Tutorial("regression_2")

# %% [markdown]
# ## Classification as regression
# Cross entropy drives the right neuron to fire at every step and all others to silence. The mean squared error of
# spike counts asks for less: over ten steps, say, 8 spikes of the right neuron and 2 of each other one. Sparse
# activity is where spiking hardware saves energy, and a neuron that still fires can still learn.

# %%
counts = torch.tensor([[9.0, 3, 2, 2]])  # spikes of four output neurons in ten steps; the first class is right
spk = (torch.arange(10).reshape(10, 1, 1) < counts).float()  # [T, 1, 4]
loss_function = SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)
print(
    f"targets 8, 2, 2, 2; counts 9, 3, 2, 2; loss {loss_function(spk, torch.tensor([0])):.3f} = (1 + 1) / 4 / 10 steps"
)

# %% [markdown]
# ## Feedback
# **One to one:** each neuron receives its own last spike times `V`, which is learned unless `learn_recurrent=False`.

# %%
num_steps, beta = 10, 0.9
rlif = snn.RLeaky(beta=beta, all_to_all=False, V=0.5)
spk, mem = rlif.init_rleaky()
x = torch.rand(1, 1)
for _ in range(num_steps):
    spk, mem = rlif(x, spk, mem)
print("one to one:", tuple(spk.shape), "V =", rlif.V.item())

# %% [markdown]
# A negative V is a refractory period that is learned; a positive one lets a neuron go on after its input has stopped.

# %%
pulse = torch.cat([torch.zeros(5, 1), torch.full((5, 1), 0.6), torch.zeros(30, 1)])
panels = {"input": pulse}
for V in (-0.5, 0.0, 1.3):
    spikes = snn.RLeaky(beta=0.8, all_to_all=False, V=V).scan(pulse)[0]
    panels[f"spikes\nV = {V}"] = spikes
lesson.picture(timeline(panels, "A pulse, and three weights of the own spike"), "feedback.png")

# %% [markdown]
# **All to all:** a linear layer from the spikes of the layer to all its neurons. **Convolution:** the same for
# images.

# %%
kinds = {
    "linear": (snn.RLeaky(beta=beta, linear_features=10), torch.rand(1, 10)),
    "convolution": (snn.RLeaky(beta=beta, conv2d_channels=3, kernel_size=(5, 5)), torch.rand(1, 3, 32, 32)),
}
for name, (rlif, x) in kinds.items():
    spk, mem = rlif.init_rleaky()
    for _ in range(num_steps):
        spk, mem = rlif(x, spk, mem)
    print(f"{name}: spikes {tuple(spk.shape)}, {sum(p.numel() for p in rlif.parameters())} learned weights")


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


def layers(inputs: int, neuron) -> nn.Sequential:
    """Two layers of neurons; ``neuron(size, **options)`` makes one."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, num_hidden),
        neuron(num_hidden, init_hidden=True),
        nn.Linear(num_hidden, 10),
        neuron(10, init_hidden=True, output=True),
    )


def recurrent(size: int, **options) -> snn.RLeaky:
    return snn.RLeaky(beta=beta, linear_features=size, **options)


net = layers(28 * 28, recurrent)
for part, weights in zip((net[1], net[2], net[3], net[4]), (loop.fc1, loop.rlif1, loop.fc2, loop.rlif2), strict=True):
    part.load_state_dict(weights.state_dict())
split = images(train=lesson.pick(None, 512), test=lesson.pick(None, 256))
with torch.no_grad():
    same_spikes = torch.equal(
        loop(split.x_test[:64].flatten(1)), snn.run(net, split.x_test[:64], num_steps=num_steps)[0]
    )
print(f"snn.run gives the spikes of the loop: {same_spikes}")

# %%
training = {
    "epochs": lesson.pick(1 if len(split.x_train) > 10_000 else 20, 4),
    "batch_size": lesson.pick(128, 32),
    "lr": lesson.pick(1e-3, 5e-3),
    "progress": False,
}
by_counts = snn.fit(net, split, num_steps=num_steps, loss=loss_function, **training)
print(f"asking for spike counts: {by_counts}")

# %% [markdown]
# ## The same with membranes
# `mse_membrane_loss` asks the right membrane to stay just above the threshold and the others well below. Only the
# loss changes; `snn.fit` hands it membranes and predicts the class by the highest one.

# %%
torch.manual_seed(0)
by_membranes = snn.fit(
    layers(28 * 28, recurrent),
    split,
    num_steps=num_steps,
    loss=SF.mse_membrane_loss(on_target=1.05, off_target=0.2),
    **training,
)
print(f"asking for membranes: {by_membranes}")

# %% [markdown]
# ## Where feedback helps
# A still image does not need memory. Shown row by row it does: at each step the network sees one row of 28 pixels,
# and at the end it must know all of them. With and without feedback, everything else being equal:


# %%
def rows(x: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Images [B, 1, 28, 28] as sequences of rows [28, B, 28]."""
    return x[:, 0].movedim(1, 0)


few = lesson.pick(10_000, 512)
short = split._replace(x_train=split.x_train[:few], y_train=split.y_train[:few])
by_rows = {}
for name, neuron in {"without": lambda size, **options: snn.Leaky(beta=beta, **options), "with": recurrent}.items():
    torch.manual_seed(0)
    options = training | {"epochs": lesson.pick(5 if few > 2000 else 20, 4), "lr": lesson.pick(2e-3, 5e-3)}
    by_rows[name] = snn.fit(layers(28, neuron), short, num_steps=28, encode=rows, loss=SF.ce_count_loss(), **options)
    print(f"rows, {name} feedback: test accuracy {100 * by_rows[name].test_accuracy.last:.2f} %")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
with torch.no_grad():
    spk_counts, _ = snn.run(by_counts.net, split.x_test, num_steps=num_steps)
sums = spk_counts.sum(0)
right_class = torch.arange(10) == split.y_test.unsqueeze(1)
bins = [edge - 0.5 for edge in range(num_steps + 2)]
left.hist(
    [sums[right_class].numpy(), sums[~right_class].numpy()], bins=bins, density=True, label=["right class", "others"]
)
left.set_xlabel("spikes in ten steps (asked for: 8 and 2)")
left.set_ylabel("share of the output neurons")
left.legend(frameon=False)
right.bar(list(by_rows), [100 * result.test_accuracy.last for result in by_rows.values()])
right.set_xlabel("feedback")
right.set_ylabel("test accuracy in %, row by row")
lesson.picture(fig, "results.png")

with torch.no_grad():
    run = snn.run(by_rows["with"].net, rows(split.x_test[:1], 28), record=["2.spk"])
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3), width_ratios=[1, 3], layout="constrained")
left.imshow(split.x_test[0, 0].numpy(), cmap="binary")
left.set_ylabel("row = time step")
splt.raster(run.record["2.spk"][:, 0], right)
right.set_title("hidden neurons while the rows are shown")
lesson.picture(fig, "rows.png")

# %%
lesson.report(
    same_spikes_as_loop=same_spikes,
    accuracy_counts=by_counts.test_accuracy.last,
    accuracy_membranes=by_membranes.test_accuracy.last,
    spikes_right=sums[right_class].mean(),
    spikes_others=sums[~right_class].mean(),
    rows_with=by_rows["with"].test_accuracy.last,
    rows_without=by_rows["without"].test_accuracy.last,
)
