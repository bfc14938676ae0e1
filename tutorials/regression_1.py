"""Regression, part 1: a membrane that follows a curve.

You learn to use the membrane of an output neuron as a number that changes in time, and to train
decays along with weights until it follows a given curve.
"""

# %% [markdown]
# Spikes are 0 and 1, but a network of them can still estimate real numbers: by counts, by spike
# times, or by the membrane of a neuron that integrates and never fires. The last is the simplest to
# train, and is what this tutorial does.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial
from torch import nn

import spikeloom as snn
from spikeloom import spikeplot as splt
from spikeloom import surrogate

lesson = Tutorial("regression_1")
num_steps, num_hidden = 50, lesson.pick(128, 64)

# %% [markdown]
# ## The task
# The input is a ramp from 0 to a random end, the target the square root of a multiple of it. Both
# are [T, B, 1].

# %%
ramp = torch.linspace(0, float(torch.rand(1)), num_steps).reshape(num_steps, 1, 1)
target = torch.sqrt(ramp * float(torch.rand(1)))

# %% [markdown]
# ## The network
# Every hidden neuron gets its own random decay and threshold, so that their membranes move at
# different speeds, and all decays are learned. In the form known from snnTorch the output is a
# `Leaky` whose reset is switched off and whose spikes are ignored:


# %%
class Net(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        grad = surrogate.fast_sigmoid()
        self.fc_in = nn.Linear(1, hidden)
        self.lif_in = snn.Leaky(
            beta=torch.rand(hidden), threshold=torch.rand(hidden), learn_beta=True, spike_grad=grad
        )
        self.fc_hidden = nn.Linear(hidden, hidden)
        self.lif_hidden = snn.Leaky(
            beta=torch.rand(hidden), threshold=torch.rand(hidden), learn_beta=True, spike_grad=grad
        )
        self.fc_out = nn.Linear(hidden, 1)
        self.li_out = snn.Leaky(
            beta=torch.rand(1), learn_beta=True, spike_grad=grad, reset_mechanism="none"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mem_1, mem_2, mem_3 = (
            self.lif_in.init_leaky(),
            self.lif_hidden.init_leaky(),
            self.li_out.init_leaky(),
        )
        mem_3_rec = []
        for step in range(len(x)):
            spk_1, mem_1 = self.lif_in(self.fc_in(x[step]), mem_1)
            spk_2, mem_2 = self.lif_hidden(self.fc_hidden(spk_1), mem_2)
            _, mem_3 = self.li_out(self.fc_out(spk_2), mem_3)
            mem_3_rec.append(mem_3)
        return torch.stack(mem_3_rec)


loop = Net(num_hidden)

# %% [markdown]
# The same as a list of layers, with the same weights: `snn.LI` is a leaky integrator by name, whose
# output is its membrane, and `snn.run` goes through time.


# %%
def hidden_like(lif: snn.Leaky) -> snn.Leaky:
    return snn.Leaky(
        beta=lif.beta.detach(),
        threshold=lif.threshold,
        learn_beta=True,
        spike_grad=lif.spike_grad,
        init_hidden=True,
    )


net = nn.Sequential(
    loop.fc_in,
    hidden_like(loop.lif_in),
    loop.fc_hidden,
    hidden_like(loop.lif_hidden),
    loop.fc_out,
    snn.LI(beta=loop.li_out.beta.detach(), learn_beta=True, init_hidden=True),
)
with torch.no_grad():
    untrained, by_loop = snn.run(net, ramp), loop(ramp)
difference = (untrained - by_loop).abs().max()
print(f"largest difference between the two forms: {difference:.1e}")

# %% [markdown]
# ## Training

# %%
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, lesson.pick(2000, 80))
loss_function = nn.MSELoss()
loss_hist = []
for _ in range(schedule.T_max):
    mem = snn.run(net, ramp)
    loss = loss_function(mem, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    loss_hist.append(loss.item())
print(f"mean squared error: {loss_hist[0]:.2e} -> {loss_hist[-1]:.2e}")

# %% [markdown]
# ## Evaluation
# The relative error is |output - target| / target, averaged over all steps but the first, at which
# the target is zero.

# %%
with torch.no_grad():
    run = snn.run(net, ramp, record=["1.spk", "3.spk"])
trained = run.output
relative_error = ((trained - target).abs() / target)[1:].mean().item()
print(
    f"relative error {relative_error:.2e}, mean absolute error "
    f"{(trained - target).abs().mean():.2e}"
)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.plot(untrained.flatten().numpy(), label="untrained")
left.plot(trained.flatten().numpy(), label="trained")
left.plot(target.flatten().numpy(), "k--", linewidth=1, label="target")
left.set_xlabel("time step")
left.set_ylabel("membrane of the output")
left.legend()
right.plot(loss_hist)
right.set_yscale("log")
right.set_xlabel("iteration")
right.set_ylabel("mean squared error")
lesson.picture(fig, "fit.png")

# %% [markdown]
# How do spikes draw a smooth line? Many neurons fire at different times, each adds a small step,
# and the integrator smooths what is left. The decays have moved, too.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
splt.raster(run.record["3.spk"][:, 0], left)
left.set_title("spikes of the second hidden layer")
before, after = loop.lif_hidden.beta.detach().clamp(0, 1), net[3].beta.detach().clamp(0, 1)
right.plot(before.numpy(), after.numpy(), ".")
right.plot([0, 1], [0, 1], "k--", linewidth=0.8)
right.set_xlabel("beta before training")
right.set_ylabel("beta after training")
lesson.picture(fig, "inside.png")

# %%
lesson.report(
    difference_to_loop=difference,
    first_loss=loss_hist[0],
    last_loss=loss_hist[-1],
    relative_error=relative_error,
    moved_beta=(after - before).abs().mean(),
)
