"""Delays: spikes that arrive later, and neurons that detect coincidences.

You learn what a delay of a synapse does to spikes, how a neuron becomes a detector of coincidences,
and how gradients find the delays.
"""

# %% [markdown]
# ## Two spikes and their distance
# Two inputs fire once each, the second one some steps after the first. All samples have the same
# number of spikes; only the distance tells the classes apart. A neuron with a fast leak and weights
# of 0.7 needs both spikes in the same step to pass its threshold of 1.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, timeline
from torch import Tensor, nn

import spikeloom as snn

lesson = Tutorial("delays")
num_steps, max_delay = 40, 12
distances = (2, 5, 8, 11)


def pairs(distance: Tensor, first: Tensor) -> Tensor:
    """Spikes [T, B, 2]: input 0 at step ``first``, input 1 ``distance`` steps later."""
    x = torch.zeros(num_steps, len(distance), 2)
    sample = torch.arange(len(distance))
    x[first, sample, 0] = 1
    x[first + distance, sample, 1] = 1
    return x


def detector(delay: Tensor, **options) -> nn.Sequential:
    """One neuron for each row of ``delay``, [N, 2]."""
    layer = snn.DelayedLinear(2, len(delay), max_delay, delay=delay, bias=False, **options)
    nn.init.constant_(layer.weight, 0.7)
    return nn.Sequential(layer, snn.Leaky(beta=0.3, init_hidden=True, output=True))


# %% [markdown]
# ## Delays by hand
# If the first input is delayed by the distance, both spikes arrive together. Neuron i gets the
# delay `distances[i]` for input 0 and none for input 1, and fires for its own distance only.

# %%
delay = torch.tensor([[float(distance), 0.0] for distance in distances])
net = detector(delay)
shown = pairs(torch.tensor(distances), torch.tensor([5] * 4))
with torch.no_grad():
    spk, mem = snn.run(net, shown)
answers = spk.sum(0)  # [sample, neuron]
print("spikes of each neuron (columns) for each distance (rows):")
print(answers.int())
panels = {
    "input spikes": shown[:, 1],
    "membrane": {f"delay {int(d[0])}": mem[:, 1, i] for i, d in enumerate(delay)},
    "output spikes": spk[:, 1],
}
lesson.picture(timeline(panels, "A pair with a distance of 5 steps", threshold=1.0), "pair.png")

# %% [markdown]
# ## Delays that are learned
# Now the delays start at random and only they may learn; the weights stay at 0.7. The gradient of a
# delay exists because a fractional delay divides a spike between neighbouring steps. The Gaussian
# kernel spreads it further: a wide one finds the right region, then it narrows. In the end the
# kernel is linear and the delays are whole numbers.

# %%
start = max_delay * torch.rand(4, 2)
learner = detector(start, learn_delay=True, kernel="gaussian", sigma=max_delay / 2)
layer = learner[0]
layer.weight.requires_grad_(False)
optimizer = torch.optim.Adam([layer.delay], lr=0.2)
updates = lesson.pick(300, 150)
history, losses = [], []
for update in range(updates):
    layer.sigma = 0.5 + (max_delay / 2 - 0.5) * max(0.0, 1 - 1.25 * update / updates)
    y = torch.randint(4, (64,))
    x = pairs(torch.tensor(distances)[y], torch.randint(0, 15, (64,)))
    _, mem = snn.run(learner, x)
    loss = nn.functional.cross_entropy(8 * mem.amax(0), y)  # the class of the highest membrane
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        layer.delay.clamp_(0, max_delay)
    history.append((layer.delay[:, 0] - layer.delay[:, 1]).detach().clone())
    losses.append(loss.item())
layer.kernel = "linear"
with torch.no_grad():
    layer.delay.round_()


# %% [markdown]
# ## What was found
# A detector of the distance d needs delays that differ by d; their common part only shifts the
# answer in time. The same network with all delays 0 sees two spikes far apart and cannot answer.


# %%
def accuracy(net: nn.Sequential) -> float:
    y = torch.arange(400) % 4
    x = pairs(torch.tensor(distances)[y], torch.arange(400) % 15)
    with torch.no_grad():
        _, mem = snn.run(net, x)
    return (mem.amax(0).argmax(1) == y).float().mean().item()


found = (layer.delay[:, 0] - layer.delay[:, 1]).detach()
error = (found - torch.tensor(distances)).abs().max().item()
learned, without = accuracy(learner), accuracy(detector(torch.zeros(4, 2)))
print("differences of the delays:", found.tolist(), "wanted:", list(distances))
print(f"accuracy with learned delays {learned:.2f}, without delays {without:.2f}")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(losses)
left.set(xlabel="update", ylabel="loss", title="training of the delays")
for i, course in enumerate(torch.stack(history, 1)):
    right.plot(course, label=f"neuron {i}")
    right.axhline(distances[i], color=f"C{i}", linestyle=":", linewidth=1)
right.set(xlabel="update", ylabel="delay 0 - delay 1 [steps]", title="dotted: the distances")
right.legend(loc="upper left", bbox_to_anchor=(1, 1))
lesson.picture(fig, "learning.png")

# %%
lesson.report(
    right_by_hand=(answers == torch.eye(4)).float().mean(),
    first_loss=losses[0],
    last_loss=losses[-1],
    largest_error_in_steps=error,
    accuracy_learned=learned,
    accuracy_without_delays=without,
)
