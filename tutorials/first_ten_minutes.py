"""First ten minutes: from one neuron to a trained network.

You learn what a spiking neuron computes, how to write a network for one time step and run it over
many, how to train it in one call and in a loop of your own, and how to save and check it.
"""

# %% [markdown]
# ## Minute 1: a neuron
# A leaky integrate-and-fire neuron adds its input to a membrane, which decays by the factor `beta`
# at each step. Above the threshold of 1 it fires, and one step later the membrane is lowered by the
# threshold. The neuron returns its spike and its membrane; the membrane is passed to the next step.

# %%
import matplotlib.pyplot as plt
import torch
from common import Tutorial, agreement, timeline
from torch import nn

import spikeloom as snn
from spikeloom import spikeplot as splt

lesson = Tutorial("first_ten_minutes")
lif = snn.Leaky(beta=0.9)
mem = lif.init_leaky()
spikes, membranes = [], []
for _ in range(40):
    spk, mem = lif(torch.tensor([0.3]), mem)
    spikes.append(spk)
    membranes.append(mem)
spikes, membranes = torch.stack(spikes), torch.stack(membranes)
first_spike = int(spikes.flatten().argmax())
print(f"first spike at step {first_spike}, {int(spikes.sum())} spikes in {len(spikes)} steps")
panels = {"membrane": membranes, "spikes": spikes}
lesson.picture(timeline(panels, "snn.Leaky(beta=0.9), input 0.3", threshold=1.0), "neuron.png")

# %% [markdown]
# ## Minute 3: a network
# The network is written for one time step. With `init_hidden=True` a neuron keeps its membrane, so
# that layers chain in `nn.Sequential`; with `output=True` the last one returns its membrane too.
# `snn.run` executes the network over all steps. Time is the first axis: [T, B, ...].


# %%
def build() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        snn.Leaky(beta=0.9, init_hidden=True),
        nn.Linear(128, 10),
        snn.Leaky(beta=0.9, init_hidden=True, output=True),
    )


net, digits = build(), snn.data.digits()
run = snn.run(net, digits.x_train[:32], num_steps=10, explain=True)
spk, mem = run.output
print("spikes:", tuple(spk.shape), "= steps, samples, classes")
print(run.plan)

# %% [markdown]
# The plan shows how each layer ran. An image is the same at every step, so that the first linear
# layer is computed once; then each layer runs over all steps. The result is that of the plain loop.

# %%
snn.reset(net)
with torch.no_grad():
    loop = torch.stack([net(digits.x_train[:32])[0] for _ in range(10)])
same_spikes = agreement(spk, loop)
print(f"{100 * same_spikes:.2f} % of the spikes are those of the loop over time")

# %% [markdown]
# ## Minute 5: training in one call
# `snn.fit` uses backpropagation through time with a surrogate gradient, a loss of spike counts and
# Adam. Each of these is an argument.

# %%
result = snn.fit(net, digits, num_steps=10, epochs=lesson.pick(10, 3), progress=False)
print(result)
with torch.no_grad():
    recorded = snn.run(net, digits.x_test[:1], num_steps=10, record=["2.spk"])
fig, (image, hidden, output) = plt.subplots(1, 3, figsize=(10, 3), width_ratios=[1, 2, 1.2])
image.imshow(digits.x_test[0, 0].numpy(), cmap="binary")
image.set_title(f"input: a {int(digits.y_test[0])}")
image.axis("off")
splt.raster(recorded.record["2.spk"][:, 0], hidden).set_title("hidden neurons")
output.barh(range(10), recorded.output[0][:, 0].sum(0).numpy())
output.set(title="output neurons", xlabel="spikes in 10 steps", ylabel="class", yticks=range(10))
lesson.picture(fig, "sample.png")

# %% [markdown]
# ## Minute 7: a loop of your own
# Everything is ordinary PyTorch: parameters, gradients, optimizers, data loaders.

# %%
own = build()
optimizer = torch.optim.Adam(own.parameters(), lr=2e-3)
loss_of = snn.functional.ce_rate_loss()
losses = []
for _ in range(lesson.pick(10, 3)):
    for index in torch.randperm(len(digits.x_train)).split(64):
        spk, _ = snn.run(own, digits.x_train[index], num_steps=10)
        loss = loss_of(spk, digits.y_train[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
with torch.no_grad():
    spk, _ = snn.run(own, digits.x_test, num_steps=10)
own_accuracy = float(snn.functional.accuracy_rate(spk, digits.y_test))
print(f"test accuracy of the loop: {100 * own_accuracy:.1f} %")
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(losses)
ax.set(xlabel="update", ylabel="loss of spike counts")
lesson.picture(fig, "loss.png")

# %% [markdown]
# ## Minute 9: save it, check it
# `snn.save` writes weights and architecture without pickle. The doctor names what would prevent
# learning; here it finds nothing.

# %%
path = lesson.folder / "net.safetensors"
snn.save(net, path)
again = snn.load(path)
with torch.no_grad():
    kept, _ = snn.run(again, digits.x_test, num_steps=10)
    expected, _ = snn.run(net, digits.x_test, num_steps=10)
print(snn.doctor.check(build(), (digits.x_train[:64], digits.y_train[:64]), num_steps=10))

# %%
lesson.report(
    first_spike=first_spike,
    same_spikes_as_loop=same_spikes,
    test_accuracy=result.test_accuracy.last,
    own_accuracy=own_accuracy,
    same_spikes_after_loading=agreement(kept, expected),
)
