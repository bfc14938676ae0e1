"""Export: a trained network as NIR, integers, C and torch.export.

You learn which choices a chip needs before training, how to write a network for other libraries,
for a microcontroller and for a server, and how to check that the spikes are the same.
"""

# %% [markdown]
# ## Train for the target
# NIR, the exchange format of neuromorphic libraries, has no field for what a spike does to the
# membrane; most libraries reset to zero in the step of the spike. A network that is trained so can
# be read by them unchanged.

# %%
import shutil
import subprocess
import warnings

import matplotlib.pyplot as plt
import torch
from common import Tutorial, agreement
from torch import Tensor, nn

import spikeloom as snn

lesson = Tutorial("export_network")
digits = snn.data.digits()
num_steps = 8


def neuron() -> snn.Leaky:
    return snn.Leaky(0.9, reset_mechanism="zero", reset_delay=False, init_hidden=True)


net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), neuron(), nn.Linear(32, 10), neuron())
result = snn.fit(net, digits, num_steps=num_steps, epochs=lesson.pick(20, 8), progress=False)
net.eval()
sample, images, labels = digits.x_test[:1], digits.x_test, digits.y_test


def spikes_of(net: nn.Module, x: Tensor) -> Tensor:
    """Spikes of the last layer, [T, B, 10]."""
    with torch.no_grad():
        return snn.run(net, x, num_steps=num_steps)


def accuracy_of(spk: Tensor) -> float:
    return (spk.sum(0).argmax(1) == labels).float().mean().item()


original = spikes_of(net, images)
print(f"test accuracy {100 * accuracy_of(original):.1f} %")

# %% [markdown]
# ## NIR
# With `target=` the graph is written so that this library fires the same spikes, or refused with a
# reason. `nir.check` lists the reasons. `from_nir` reads a graph, here our own one.

# %%
graph = snn.nir.to_nir(net, sample, target="norse")
print("nodes:", list(graph.nodes))
problems = {name: len(snn.nir.check(graph, target=name)) for name in ("norse", "sinabs")}
print("problems:", problems)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the reset, which is given here
    again = snn.nir.from_nir(graph, reset="zero", delay=False)
nir_agreement = agreement(original, spikes_of(again, images))
print(f"{100 * nir_agreement:.2f} % of the spikes are the same after NIR")

# %% [markdown]
# ## Integers
# `quantize` rounds weights to 8 bits, and membranes and thresholds to a grid: every spike is that
# of integer arithmetic. Fewer bits cost accuracy; `fake_quantize` trains on for them.

# %%
accuracies = {}
for bits in (8, 4, 3, 2):
    integers = snn.hardware.quantize(net, sample, weight_bits=bits, input_step=1 / 16)
    accuracies[bits] = accuracy_of(spikes_of(integers, (16 * images).round()))
    print(f"{bits} bits: {100 * accuracies[bits]:.1f} %")
fig, ax = plt.subplots(figsize=(6, 3))
names = [f"{bits} bits" for bits in accuracies]
bars = ax.bar(names, [100 * value for value in accuracies.values()], width=0.6)
ax.bar_label(bars, fmt="{:.1f}")
ax.axhline(100 * accuracy_of(original), color="0.5", linestyle="--", label="float32")
ax.set(ylabel="test accuracy [%]", ylim=(0, 125), title="weights rounded after training")
ax.legend(loc="upper right")
lesson.picture(fig, "bits.png")

# %% [markdown]
# ## C
# `to_c` writes one C99 file without `malloc`: a state, a reset and a step function. With `test=`
# the file contains a test vector; compiled with -DNETWORK_TEST it counts the outputs that differ.

# %%
test = sample.expand(num_steps, *sample.shape[1:])
text = snn.hardware.to_c(net, sample, test=test)
source = lesson.folder / "network.c"
source.write_text(text)
print("\n".join(text.splitlines()[:12]))
compiler, differing = shutil.which("cc"), -1.0  # -1: there is no compiler
if compiler:
    program = lesson.folder / "network"
    flags = ["-std=c99", "-O2", "-ffp-contract=off", "-DNETWORK_TEST"]
    subprocess.run([compiler, *flags, str(source), "-o", str(program), "-lm"], check=True)
    printed = subprocess.run([str(program)], capture_output=True, text=True).stdout
    print(printed)
    differing = float(printed.split()[0])

# %% [markdown]
# ## torch.export, and ONNX
# For a server or a phone there are two ways: one step, whose caller keeps the states, or all steps
# in one graph. `torch.onnx.export(whole, (sample,), "net.onnx", dynamo=True)` writes the same graph
# as ONNX, if the packages onnx and onnxscript are installed.


# %%
class Whole(nn.Module):
    """All time steps in one call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return snn.run(self.net, x, num_steps=num_steps)


snn.reset(net)
batch = images[:4]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torch, about the state that a neuron remembers
    exported = torch.export.export(Whole(net).eval(), (batch,))
torch.export.save(exported, lesson.folder / "network.pt2")
loaded = torch.export.load(lesson.folder / "network.pt2").module()
export_agreement = agreement(original[:, :4], loaded(batch))
print(f"{100 * export_agreement:.2f} % of the spikes are the same; the graph needs torch alone")

# %%
lesson.report(
    accuracy=accuracy_of(original),
    problems_norse=problems["norse"],
    problems_sinabs=problems["sinabs"],
    same_spikes_nir=nir_agreement,
    accuracy_8_bits=accuracies[8],
    accuracy_2_bits=accuracies[2],
    c_differing=differing,
    same_spikes_export=export_agreement,
)
