"""Accelerators: the same network faster, by batches of time, compiled loops, torch.compile and
CUDA.

You learn where the time of a spiking network goes, which of the library's ways removes which part
of it, and how to measure that on your machine. Times are of this run and this machine; only the
results, not the times, are compared.
"""

# %% [markdown]
# A loop over T steps calls every layer T times, and each call costs some microseconds before any
# arithmetic: small networks spend most of their time on that. Training adds memory that grows with
# T. Chapters on special accelerators solve this with hardware; here are four ways to use the
# hardware that you have.

# %%
import os
import platform
import time
import warnings

import matplotlib.pyplot as plt
import torch
from common import Tutorial, images
from torch import nn

import spikeloom as snn
from spikeloom import functional as SF
from spikeloom import surrogate

lesson = Tutorial("accelerators")
num_steps, num_hidden, batch_size = 25, lesson.pick(1000, 100), 128
split = images(train=lesson.pick(None, 256), test=lesson.pick(None, 128))
data, targets = split.x_train[:batch_size].flatten(1), split.y_train[:batch_size]
seconds = {}


def clock(name: str, function) -> float:
    """Best time of a few calls; the first one, which may compile something, is not counted."""
    function()
    best = float("inf")
    for _ in range(lesson.pick(5, 2)):
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    seconds[name] = best
    print(f"{name:32s} {1e3 * best:8.1f} ms")
    return best


# %% [markdown]
# ## The model, with its loss inside
# Compilers like a model that returns its loss: everything is one function from data to a number.


# %%
class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, num_hidden)
        self.lif1 = snn.Leaky(beta=0.9)
        self.fc2 = nn.Linear(num_hidden, 10)
        self.lif2 = snn.Leaky(beta=0.9, spike_grad=surrogate.fast_sigmoid())
        self.loss_fn = SF.ce_count_loss()

    def forward(self, x, labels=None):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(num_steps):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        spk2_rec, mem2_rec = torch.stack(spk2_rec), torch.stack(mem2_rec)
        return (spk2_rec, self.loss_fn(mem2_rec, labels)) if self.training else spk2_rec


model = Model()


def gradients(module: nn.Module, *inputs) -> list[torch.Tensor]:
    """One training step without the update."""
    module.zero_grad()
    module(*inputs)[1].backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


reference = gradients(model, data, targets)
clock("step loop", lambda: gradients(model, data, targets))

# %% [markdown]
# ## 1. Layer by layer
# A network without loops between its layers can run all steps of one layer before the next.
# `snn.run` does that: T small matrix products become one large one, an input that does not change
# is multiplied once, and each neuron layer is one call. Spikes and gradients are those of the loop,
# up to the rounding of sums in another order. `snn.layerwise` does the same for a network that
# keeps its own loop.


# %%
class Fast(nn.Module):
    """The same model, run over time by `snn.run`."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        grad = surrogate.fast_sigmoid()
        self.layers = nn.Sequential(
            model.fc1,
            snn.Leaky(beta=0.9, init_hidden=True),
            model.fc2,
            snn.Leaky(beta=0.9, spike_grad=grad, init_hidden=True, output=True),
        )
        self.loss_fn = model.loss_fn

    def forward(self, x, labels=None):
        spk, mem = snn.run(self.layers, x, num_steps=num_steps)
        return (spk, self.loss_fn(mem, labels)) if self.training else spk


def difference(grads: list[torch.Tensor]) -> float:
    """Largest deviation from the reference, relative to its largest entry."""
    return max(
        float((g - r).abs().max() / r.abs().max()) for g, r in zip(grads, reference, strict=True)
    )


fast = Fast(model)
print(snn.run(fast.layers, data, num_steps=num_steps, explain=True).plan)
errors = {"snn.run": difference(gradients(fast, data, targets))}
clock("snn.run", lambda: gradients(fast, data, targets))

# %% [markdown]
# ## 2. Fused loops
# A neuron layer is a recurrence that cannot be a matrix product, but it need not be T calls either:
# the library traces the neuron's equations and prints one loop over time, with its gradient. Who
# prints is a *backend*; which exist here is up to the installed packages (numba on a CPU, Triton on
# a GPU), and `snn.backend` insists on one.

# %%
for name, state in snn.backends().items():
    print(f"backend {name}: {state}")
    if state == "available":
        with snn.backend(name):
            errors[name] = difference(gradients(fast, data, targets))
            clock(f"snn.run, backend {name}", lambda: gradients(fast, data, targets))

# %% [markdown]
# ## 3. torch.compile
# The compiler wants a function of tensors. `neuron.scan` is one: it takes currents and returns
# spikes and states over time, and remembers nothing. Such a network compiles without a break of the
# graph, which `fullgraph=True` asserts. The first call takes a while. In a smoke run the backend
# `aot_eager` traces everything but generates no code.


# %%
class Pure(Fast):
    """The same layers, without memory between two calls."""

    def forward(self, x, labels=None):
        fc1, lif1, fc2, lif2 = self.layers
        spk1, _ = lif1.scan(fc1(x), num_steps=num_steps)
        spk2, state = lif2.scan(fc2(spk1))
        return (spk2, self.loss_fn(state.mem, labels)) if self.training else spk2


pure = Pure(model)
errors["scan"] = difference(gradients(pure, data, targets))
clock("scan", lambda: gradients(pure, data, targets))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, inside its compiler
    compiled = torch.compile(pure, fullgraph=True, backend=lesson.pick("inductor", "aot_eager"))
    errors["torch.compile"] = difference(gradients(compiled, data, targets))
    clock("scan, torch.compile", lambda: gradients(compiled, data, targets))

# %% [markdown]
# ## 4. CUDA
# State is created where the input is, so a network moves by `net.to("cuda")` and nothing else. What
# helps there: large batches, data that are on the device already, and half precision for the matrix
# products.

# %%
if torch.cuda.is_available():
    fast.to("cuda")
    on_gpu = data.to("cuda"), targets.to("cuda")
    errors["cuda"] = difference([g.cpu() for g in gradients(fast, *on_gpu)])
    clock("snn.run, CUDA", lambda: gradients(fast, *on_gpu))
    with torch.autocast("cuda", dtype=torch.bfloat16):
        clock("snn.run, CUDA, bfloat16", lambda: gradients(fast, *on_gpu))
    fast.to("cpu")
else:
    print("no CUDA device here; the cell above runs where there is one")

# %% [markdown]
# ## What remains
# The gradients agree, so the fastest may train. Threads are worth a look, too: small networks lose
# more to threads that wait for each other than they gain.

# %%
fig, ax = plt.subplots(figsize=(7, 0.6 + 0.4 * len(seconds)))
ax.barh(list(seconds), [1e3 * value for value in seconds.values()])
ax.invert_yaxis()
ax.set_xlabel(f"forward and backward pass [ms], batch of {batch_size}, {num_steps} steps")
ax.set_title(
    f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} threads, torch "
    f"{torch.__version__}",
    fontsize=9,
)
lesson.picture(fig, "times.png")
print({name: f"{error:.1e}" for name, error in errors.items()})

# %% [markdown]
# ## Train with it

# %%
torch.manual_seed(0)
fast = Fast(Model()).to(lesson.device)
optimizer = torch.optim.Adam(fast.parameters(), lr=1e-3, betas=(0.9, 0.999))
start = time.perf_counter()
for _ in range(lesson.pick(1 if len(split.x_train) > 10_000 else 10, 6)):
    for index in torch.randperm(len(split.x_train)).split(lesson.pick(batch_size, 32)):
        x, y = (
            split.x_train[index].flatten(1).to(lesson.device),
            split.y_train[index].to(lesson.device),
        )
        _, loss = fast(x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print(f"training took {time.perf_counter() - start:.1f} s")
fast.eval()
with torch.no_grad():
    spk = torch.cat(
        [fast(x.flatten(1).to(lesson.device)).cpu() for x in split.x_test.split(500)], dim=1
    )
test_accuracy = SF.accuracy_rate(spk, split.y_test)
print(f"test accuracy {100 * test_accuracy:.2f} %")

# %%
lesson.report(
    largest_difference=max(errors.values()),
    ways_agree=all(error < 1e-4 for error in errors.values()),
    test_accuracy=test_accuracy,
)
