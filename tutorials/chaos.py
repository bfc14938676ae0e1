"""Chaos: chaotic spiking back-propagation from one neuron to a convolutional network.

You learn what the chaotic loss does to a single neuron, how to read a bifurcation diagram and a
Lyapunov exponent, how to attach the loss to any network with a strength that means the same
everywhere, and how to tell chaos from noise.
"""

# %% [markdown]
# ## A loss that overshoots
# Chaotic spiking back-propagation (CSBP; Wang, Tao & Chen, Natl. Sci. Rev. 2024) adds a term to the
# loss whose gradient is z (sigmoid(h) - 0.65): it pulls the pre-activation h of a neuron towards
# logit(0.65) = 0.62. With a large z the pull overshoots, so that h jumps back and forth,
# chaotically for some z. While z is annealed, chaos gives way to oscillations of period 4, then 2,
# then to rest, and plain gradient descent remains.

# %%
import warnings

import matplotlib.pyplot as plt
import torch
from common import Tutorial, images
from torch import nn

import spikeloom as snn
from spikeloom import chaos
from spikeloom import spikeplot as splt

lesson = Tutorial("chaos")
fast = "numba" if snn.backends()["numba"] == "available" and not lesson.smoke else "torch"

# %% [markdown]
# ## One neuron
# The authors' example: one LIF neuron with weight and bias, a constant input, asked to be silent.
# It is simulated for 20 steps and its spikes are divided by 10, so that its "rate" reaches 2 and
# its loss 4: what is literal in the example is literal here. Plain backpropagation stops at w =
# 0.3995, where the last spike disappears; its loss is zero then. With the chaotic loss the neuron
# ends elsewhere, at w = 0.3095, the rest point of the chaotic term. Its task loss is zero too: for
# this task chaos is a spectacle, not a need.

# %%
epochs = lesson.pick(4000, 60)
neuron, driven = chaos.SingleNeuron(), chaos.SingleNeuron()
with snn.backend(fast):
    plain = neuron.train_on(torch.optim.SGD(neuron.parameters(), lr=0.001), epochs=epochs)
    loss = chaos.ChaoticLoss(10.0, anneal=chaos.Exponential(0.9995))
    csbp = driven.train_on(torch.optim.SGD(driven.parameters(), lr=1.0), loss, epochs=epochs)
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
for ax, run, title in ((left, plain, "backpropagation"), (right, csbp, "with the chaotic loss")):
    ax.scatter(range(epochs), run.weight, s=2)
    ax.set_title(title)
    ax.set_xlabel("epoch")
left.set_ylabel("weight")
lesson.picture(fig, "one_neuron.png")

# %% [markdown]
# ## A diagram of all strengths
# Alone, without a task, the chaotic loss under gradient descent is a map of one number, u' = u - a
# (sigmoid(u) - 0.65). Its strength in a form that knows no units is A = 0.65 * 0.35 * a: the neuron
# rests below 2, oscillates above, is chaotic between 3.3 and 4.5 (red: positive exponents), and
# beyond that locked to period 3, which is order again.

# %%
diagram = chaos.bifurcation(chaos.feedback, torch.linspace(1.5, 5.0, lesson.pick(1000, 200)))
fig, ax = plt.subplots(figsize=(8, 4))
splt.bifurcation(diagram, ax)
lesson.picture(fig, "diagram.png")
onset = diagram.values[diagram.up.period == 2].min().item()
first_chaos = diagram.values[diagram.up.exponent > 0.02].min().item()
print(f"oscillation from A = {onset:.2f}, chaos from A = {first_chaos:.2f}")

# %% [markdown]
# ## How fast do twins part?
# The Lyapunov exponent is the rate at which two trajectories that start almost together move apart.
# Over the annealing it falls from positive (chaos) through the windows of the diagram to far below
# zero.

# %%
start = torch.full((1, 2), 0.5, dtype=torch.double)
state = chaos.SingleNeuron().double()
with snn.backend(fast):
    exponents = chaos.lyapunov(
        lambda w, n: state.update(w, 10.0 * 0.9995**n),
        start,
        steps=epochs,
        burn_in=0,
        eps=1e-9,
        counted=True,
    )
fig, ax = plt.subplots(figsize=(7, 3))
splt.lyapunov(exponents, ax, window=lesson.pick(50, 10))
lesson.picture(fig, "exponents.png")
early = exponents.by_eps[0].between(0, lesson.pick(600, 60))
print(f"exponent over the first epochs: {early:+.2f} per update")

# %% [markdown]
# ## Any network, without editing it
# `attach` listens to the layers, here to all neurons of a convolutional network. `A(3.5)` asks for
# a strength in the chaotic band; what intensity z that is depends on layer, data and learning rate,
# and is measured by power iteration. `center="threshold"` keeps the rest point near the threshold,
# where the surrogate gradient lives.

# %%
split = images(train=lesson.pick(4000, 300), test=lesson.pick(1000, 200))
num_steps, filters = lesson.pick(5, 3), lesson.pick(12, 4)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, filters, 5, stride=2),
        nn.BatchNorm2d(filters),
        chaos.lif(init_hidden=True),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(filters * 36, 10),
    )


net = network()
sgd = torch.optim.SGD(net.parameters(), lr=0.3)
x = split.x_train[:64]
attached = chaos.attach(
    net,
    chaos.A(3.5),
    center="threshold",
    optimizer=sgd,
    batch=x,
    num_steps=num_steps,
    anneal=chaos.Until(2.0, 0.9),
)
output = snn.run(net, x, num_steps=num_steps)
task = nn.functional.cross_entropy(output.mean(0), split.y_train[:64])
(task + attached()).backward()
sgd.step()
attached.step()
print(attached.report())
strength = attached.report().layers["2"].A

# %% [markdown]
# ## What the published intensities do
# The authors' training code takes the mean over all elements, divides h by 10 and starts at z = 15.
# In the same units that is far below the flip: the term acts as a bias that pulls membranes up. The
# report says so, as a warning.

# %%
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    literal = chaos.attach(
        net, chaos.Z(15.0), scale=10.0, optimizer=sgd, batch=x, num_steps=num_steps
    )
published = chaos.critical_intensity(net, x, sgd, num_steps=num_steps, scale=10.0)["2"]
literal.remove()
print(*(warning.message for warning in said), sep="\n")
print(f"oscillation would begin at z = {published:.0f}")

# %% [markdown]
# ## Chaos or noise?
# A fair comparison has three parts: without the term, with it, and with Gaussian noise of the same
# size in its place (`drive="noise"`). `snn.fit` takes the settings and does the rest. One seed
# decides nothing; the benchmark `benchmarks/csbp.py` has five, and intervals.


# %%
def accuracy(settings) -> float:
    result = snn.fit(
        network(),
        split,
        num_steps=num_steps,
        epochs=lesson.pick(6, 2),
        batch_size=64,
        loss=lambda out, y: nn.functional.cross_entropy(out.mean(0), y),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.3),
        schedule="cosine",
        chaos=settings,
        progress=False,
    )
    return result.test_accuracy.last


phase = chaos.Until(2.0, 0.8, per="epoch")
reached = {
    "plain": accuracy(None),
    "chaos": accuracy(chaos.CSBP(chaos.A(3.5), center="threshold", anneal=phase)),
    "noise": accuracy(chaos.CSBP(chaos.A(3.5), center="threshold", anneal=phase, drive="noise")),
}
fig, ax = plt.subplots(figsize=(4, 3))
ax.bar(list(reached), list(reached.values()), color=["0.6", "C1", "C0"])
ax.set_ylabel("test accuracy, last epoch")
lesson.picture(fig, "comparison.png")
print(reached)

# %%
lesson.report(
    weight_plain=plain.weight[-1],
    task_loss_plain=plain.task_loss[-1],
    onset=onset,
    first_chaos=first_chaos,
    largest_exponent=diagram.up.exponent.max(),
    early_exponent=early,
    strength_after_one_step=strength,
    accuracy_plain=reached["plain"],
    accuracy_chaos=reached["chaos"],
    accuracy_noise=reached["noise"],
)
