"""Tutorial 5: training a fully connected network.

You learn why a spike has no useful derivative and what replaces it, what backpropagation through
time adds up, and how to train a spiking network on handwritten digits: first one weight update by
hand, then an epoch.
"""

# %% [markdown]
# ## The derivative of a spike
# A spike is a step function of the membrane. Its derivative is zero everywhere and infinite at the
# threshold, so that the chain rule dL/dW = dL/dS dS/dU dU/dW is zero: nothing learns. A *surrogate
# gradient* keeps the step in the forward pass and uses the derivative of a smooth curve in the
# backward pass.

# %%
import copy
import time

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from common import Tutorial, agreement, images, loaders
from torch import nn

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom import spikeplot as splt
from spikeloom import surrogate

lesson = Tutorial("tutorial_5_training")


class ArcTan(torch.autograd.Function):
    """A step forward; backward the derivative of arctan(pi u) / pi, which is the library's
    default."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u > 0).float()

    @staticmethod
    def backward(ctx, grad_output):
        (u,) = ctx.saved_tensors
        return grad_output / (1 + (torch.pi * u) ** 2)


def derivative(function) -> torch.Tensor:
    u = overdrive.clone().requires_grad_()
    function(u).sum().backward()
    return u.grad


overdrive = torch.linspace(-1, 1, 401)
kinds = {
    "atan()": surrogate.atan(),
    "fast_sigmoid(10)": surrogate.fast_sigmoid(10),
    "sigmoid(5)": surrogate.sigmoid(5),
}
fig, ax = plt.subplots(figsize=(6, 3))
for name, kind in kinds.items():
    slopes = derivative(kind)
    ax.plot(overdrive.numpy(), (slopes / slopes.max()).numpy(), label=f"surrogate.{name}")
ax.plot(
    overdrive.numpy(), (overdrive > 0).float().numpy(), "k--", linewidth=1, label="the spike itself"
)
ax.set_xlabel("membrane - threshold")
ax.set_ylabel("derivative / its maximum")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
lesson.picture(fig, "surrogates.png")
by_hand_error = (derivative(ArcTan.apply) - derivative(surrogate.atan())).abs().max()
print(f"arctan by hand and in the library differ by at most {by_hand_error:.1e}")

# %% [markdown]
# ## Backpropagation through time
# A weight acts at every step, and what it did at step s still echoes at step t, beta^(t-s) times
# weaker. The gradient of the last membrane is therefore a sum over all steps; autograd finds the
# same number as the formula.

# %%
beta, steps = 0.9, 10
inputs = torch.rand(steps, 1, 1)
synapse = nn.Linear(1, 1, bias=False)
nn.init.constant_(synapse.weight, 0.1)
_, state = snn.Leaky(beta=beta, threshold=100.0).scan(synapse(inputs))
state.mem[-1].sum().backward()
formula = sum(beta ** (steps - 1 - s) * inputs[s].item() for s in range(steps))
bptt_error = abs(synapse.weight.grad.item() - formula)
print(f"dU/dW: autograd {synapse.weight.grad.item():.6f}, formula {formula:.6f}")

# %% [markdown]
# ## Data, network, loss
# The network below is written as in snnTorch: the membranes go from step to step by hand. The same
# image is presented at every step; the class is the output neuron that fires most.

# %%
num_steps, batch_size, num_hidden = 25, 128, lesson.pick(1000, 100)
split = images(train=lesson.pick(None, 512), test=lesson.pick(None, 256))
train_loader, test_loader = loaders(split, batch_size)
print(split)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, num_hidden)
        self.lif1 = snn.Leaky(beta=0.95)
        self.fc2 = nn.Linear(num_hidden, 10)
        self.lif2 = snn.Leaky(beta=0.95)

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(num_steps):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec), torch.stack(mem2_rec)


# %% [markdown]
# The same network as a list of layers. `snn.run` takes the image once and the number of steps; it
# computes the first layer once instead of 25 times, because its input does not change, and each
# neuron layer in one go.

# %%
by_hand = Net()
net = nn.Sequential(
    nn.Flatten(),
    by_hand.fc1,
    snn.Leaky(beta=0.95, init_hidden=True),
    by_hand.fc2,
    snn.Leaky(beta=0.95, init_hidden=True, output=True),
).to(lesson.device)


def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Spikes and membranes of the output, [T, B, 10] each."""
    return snn.run(net, x.to(lesson.device), num_steps=num_steps)


data, targets = next(iter(train_loader))
with torch.no_grad():
    seconds = {}
    for name, execute in {
        "step loop": lambda: by_hand(data.to(lesson.device).flatten(1)),
        "snn.run": lambda: forward(data),
    }.items():
        start = time.perf_counter()
        spk_rec, mem_rec = execute()
        seconds[name] = time.perf_counter() - start
        print(
            f"{name}: {spk_rec.sum():.0f} spikes, membranes {tuple(mem_rec.shape)}, "
            f"{1e3 * seconds[name]:.0f} ms"
        )
    same_spikes = agreement(by_hand(data.to(lesson.device).flatten(1))[0], forward(data)[0])

# %% [markdown]
# The loss is the cross entropy of the membranes at every step, summed over time: the right neuron
# is pushed up and the others down, at all times.


# %%
def loss_of(mem: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum over time of the cross entropy of membranes [T, B, 10]."""
    every = targets.to(mem.device).repeat(len(mem))
    return F.cross_entropy(mem.flatten(0, 1), every) * len(mem)


# %% [markdown]
# ## One weight update

# %%
untrained = copy.deepcopy(net.state_dict())
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999))


def update(data: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
    """Loss and accuracy before one step of Adam."""
    spk, mem = forward(data)
    loss = loss_of(mem, targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), SF.accuracy_rate(spk, targets.to(spk.device)).item()


first_loss, first_accuracy = update(data, targets)
with torch.no_grad():
    spk, mem = forward(data)
second_loss = loss_of(mem, targets).item()
print(
    f"loss {first_loss:.1f} -> {second_loss:.1f}; accuracy on this batch {first_accuracy:.2f} -> ",
    end="",
)
print(f"{SF.accuracy_rate(spk, targets.to(spk.device)):.2f}")

# %% [markdown]
# ## One epoch


# %%
@torch.no_grad()
def evaluate() -> tuple[float, float, torch.Tensor]:
    """Loss, accuracy and predictions on the test images."""
    losses, predictions = [], []
    for data, targets in test_loader:
        spk, mem = forward(data)
        losses.append(loss_of(mem, targets).item())
        predictions.append(spk.sum(0).argmax(1).cpu())
    predicted = torch.cat(predictions)
    return sum(losses) / len(losses), (predicted == split.y_test).float().mean().item(), predicted


net.load_state_dict(untrained)  # the batch above was seen once already
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999))
history = []
cpu = time.process_time()
for epoch in range(1 if len(split.x_train) > 10_000 else lesson.pick(10, 4)):
    for i, (data, targets) in enumerate(train_loader):
        loss, accuracy = update(data, targets)
        history.append(loss)
        if i % 50 == 0:
            print(
                f"epoch {epoch}, batch {i:3d} of {len(train_loader)}: loss {loss:6.2f}, accuracy "
                f"{accuracy:.3f}"
            )
cpu = time.process_time() - cpu
test_loss, test_accuracy, predicted = evaluate()
print(
    f"test loss {test_loss:.2f}, test accuracy {100 * test_accuracy:.2f} %, {cpu:.0f} s of "
    "processor time"
)

# %% [markdown]
# ## Results

# %%
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(history, linewidth=0.8, label="training batches")
ax.axhline(test_loss, color="C1", label="test images, at the end")
ax.set_xlabel("weight updates")
ax.set_ylabel("loss summed over time")
ax.legend()
lesson.picture(fig, "loss.png")

fig, ax = plt.subplots(figsize=(5, 4.5))
lesson.picture(splt.confusion(predicted, split.y_test, ax), "confusion.png")

with torch.no_grad():
    spk, _ = forward(split.x_test[:1])
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3), width_ratios=[1, 2])
left.imshow(split.x_test[0, 0].numpy(), cmap="binary")
left.axis("off")
splt.raster(spk[:, 0].cpu(), right)
right.set_title(f"a {split.y_test[0]}, taken for a {predicted[0]}")
right.set_ylabel("output neuron")
right.set_yticks(range(10))
lesson.picture(fig, "example.png")

# %% [markdown]
# All of this, with checkpoints, curves and a run card, is also one call: `snn.fit(net, data,
# num_steps=25, epochs=1, loss=SF.ce_max_membrane_loss(), lr=1e-3)`; tutorial 6 uses it.

# %%
lesson.report(
    by_hand_error=by_hand_error,
    bptt_error=bptt_error,
    same_spikes_as_loop=same_spikes,
    first_loss=first_loss,
    second_loss=second_loss,
    test_loss=test_loss,
    test_accuracy=test_accuracy,
)
