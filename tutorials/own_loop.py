"""Your own loop over time, before and after snn.layerwise.

You learn how a class with its own loop runs layer by layer without a change, how to read the plan
of such a run, which Python forces a layer to run step by step, and how to avoid that.
"""

# %% [markdown]
# ## Before: every step runs every layer
# Most spiking networks are written with the loop in `forward`, with membranes that are passed on
# and lists that collect the outputs. In the plain loop, each step is a call of each layer.

# %%
import time

import matplotlib.pyplot as plt
import torch
from common import Tutorial, agreement, images
from torch import Tensor, nn

import spikeloom as snn

lesson = Tutorial("own_loop")
split = images(lesson.pick(2000, 128), 256, size=lesson.pick(28, 8))
size, hidden = split.x_train[0].numel(), lesson.pick(1000, 50)


class Net(nn.Module):
    def __init__(self, num_steps: int = 25) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.fc1, self.lif1 = nn.Linear(size, hidden), snn.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(hidden, 10), snn.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk_rec, mem_rec = [], []
        for _ in range(self.num_steps):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk_rec.append(spk2)
            mem_rec.append(mem2)
        return torch.stack(spk_rec), torch.stack(mem_rec)


plain = Net()
x, y = split.x_train[:128].flatten(1), split.y_train[:128]
spk_before, mem_before = plain(x)

# %% [markdown]
# ## After: every layer runs all steps
# `snn.layerwise` wraps the network; parameters and `state_dict` stay the same. The Python of
# `forward` still runs at every step, but tensor operations are only recorded. After the last step
# each layer runs once, over all steps.

# %%
net = snn.layerwise(plain)
spk_after, mem_after = net(x)
same_spikes = agreement(spk_before, spk_after)
difference = (mem_before - mem_after).abs().max().item()
print(net.plan)
print(f"{100 * same_spikes:.2f} % equal spikes; membranes differ by at most {difference:.1e}")

# %% [markdown]
# ## A whole training step
# `snn.layerwise` decorates functions too: the forward pass of a script, or a training step whose
# loss is added up in a second loop over time. Times depend on the machine, on the number of steps,
# and on how much stays the same from step to step: here it is the image.


# %%
def training_step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    _, mem_rec = net(x)
    loss = torch.zeros(())
    for mem in mem_rec:
        loss = loss + nn.functional.cross_entropy(mem, y) / len(mem_rec)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


ways = {
    "plain loop": (training_step, plain),
    "net = layerwise(net)": (training_step, net),
    "@layerwise training step": (snn.layerwise(training_step), plain),
}
start = {name: value.clone() for name, value in plain.state_dict().items()}
milliseconds, losses = {}, {}
for name, (step, model) in ways.items():
    plain.load_state_dict(start)
    optimizer = torch.optim.Adam(plain.parameters(), lr=5e-4)
    losses[name] = [step(model, optimizer, x, y)]  # the first call prepares
    began = time.perf_counter()
    losses[name] += [step(model, optimizer, x, y) for _ in range(lesson.pick(10, 3))]
    elapsed = time.perf_counter() - began
    milliseconds[name] = 1000 * elapsed / (len(losses[name]) - 1)
    print(f"{name:26s} {milliseconds[name]:6.1f} ms a step, last loss {losses[name][-1]:.4f}")
reference = losses["plain loop"]
loss_difference = max(
    abs(a - b) for found in losses.values() for a, b in zip(found, reference, strict=True)
)
fig, ax = plt.subplots(figsize=(7, 2))
ax.barh(list(milliseconds), list(milliseconds.values()))
ax.invert_yaxis()
ax.set(xlabel="time of a training step [ms]", title="On the machine of this run")
lesson.picture(fig, "times.png")

# %% [markdown]
# ## What forces a layer to run step by step
# A recorded tensor has no value yet. Python that asks for one, such as `.item()`, `float(...)` or a
# condition, gets the right number, because what it depends on is computed at once. But then layers
# run in pieces. `plan.forced` lists the places and how often they occurred.


# %%
class Watched(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, float]:
        mem, most, spk_rec = self.lif1.init_leaky(), 0.0, []
        for _ in range(self.num_steps):
            spk, mem = self.lif1(self.fc1(x), mem)
            most = max(most, spk.sum().item())  # a number at every step
            spk_rec.append(spk)
        return torch.stack(spk_rec), most


watched = snn.layerwise(Watched())
with torch.no_grad():
    _, most = watched(x)
for forced in watched.plan.forced:
    print(f"forced: {forced.what}, {forced.count} times")

# %% [markdown]
# The same numbers, collected as tensors and read after the loop, force nothing.


# %%
class Collected(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem, totals, spk_rec = self.lif1.init_leaky(), [], []
        for _ in range(self.num_steps):
            spk, mem = self.lif1(self.fc1(x), mem)
            totals.append(spk.sum())
            spk_rec.append(spk)
        return torch.stack(spk_rec), torch.stack(totals).max()


collected = snn.layerwise(Collected())
collected.load_state_dict(watched.state_dict())
with torch.no_grad():
    _, most_after = collected(x)
print(f"most spikes in a step: {most:g} and {most_after:g}")

# %%
lesson.report(
    same_spikes=same_spikes,
    largest_difference=difference,
    loss_difference=loss_difference,
    forced_before=sum(forced.count for forced in watched.plan.forced),
    forced_after=len(collected.plan.forced),
    same_most=float(most == most_after.item()),
)
