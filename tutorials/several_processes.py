"""Several processes: one training on two processors.

You learn how a training becomes a script that torchrun starts in several processes, that the result
is that of one process, and how to wrap a loop of your own.

The processes are started from here as from a shell; they run on CPUs and talk by gloo. On GPUs the
same script uses NCCL, with one process for each GPU.
"""

# %% [markdown]
# ## With snn.fit nothing changes but the command
# The processes need a file to start from. `batch_size` is that of all processes together: each one
# computes its share of every batch.

# %%
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from common import Tutorial

import spikeloom as snn

lesson = Tutorial("several_processes")
FIT = """
from torch import nn

import spikeloom as snn


def build():
    return nn.Sequential(
        nn.Linear(64, 64),
        snn.Leaky(beta=0.8, init_hidden=True),
        nn.Linear(64, 10),
        snn.Leaky(beta=0.8, init_hidden=True, output=True),
    ).double()  # then sums in another order move no spike


def fit(out, epochs):
    digits = snn.data.digits(flat=True)
    digits = digits._replace(x_train=digits.x_train.double(), x_test=digits.x_test.double())
    options = {"num_steps": 8, "batch_size": 64, "device": "cpu", "progress": False}
    snn.fit(build, digits, epochs=epochs, out=out, **options)
"""

# %% [markdown]
# ## A loop of your own
# `DistributedDataParallel` exchanges gradients once for each call of the module that it wraps. It
# has to wrap all time steps, not one: a module whose `forward` calls `snn.run`. Each process takes
# its part of a batch.

# %%
OWN = """
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


class Steps(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return snn.run(self.net, x, num_steps=8)[0]


def own_loop():
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)
    ddp = DistributedDataParallel(Steps(build()))
    optimizer = torch.optim.Adam(ddp.parameters(), lr=2e-3)
    digits, loss_of, losses = snn.data.digits(flat=True), snn.functional.ce_rate_loss(), []
    for start in range(0, 1280, 64):
        part = slice(start + rank * 64 // world, start + (rank + 1) * 64 // world)
        loss = loss_of(ddp(digits.x_train[part].double()), digits.y_train[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    total = torch.stack([p.detach().sum() for p in ddp.parameters()]).sum()
    totals = [torch.zeros_like(total) for _ in range(world)]
    distributed.all_gather(totals, total)
    return {"losses": losses, "sums of the weights": [float(each) for each in totals]}
"""

# %% [markdown]
# ## torchrun
# `torchrun --nproc_per_node=2 train.py` starts two processes and tells each its number. The same
# training runs once more here, in one process.

# %%
START = """
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    fit(sys.argv[1], int(sys.argv[2]))  # opens the process group, which stays open
    found = own_loop()
    if distributed.get_rank() == 0:
        Path(sys.argv[3]).write_text(json.dumps(found))
"""
folder = Path(tempfile.mkdtemp(dir=lesson.folder))  # a run is never overwritten
script, epochs = folder / "train.py", lesson.pick(5, 2)
script.write_text(FIT + OWN + START)
one, two, result = folder / "one", folder / "two", folder / "own.json"
torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
done = subprocess.run(
    [*torchrun, str(script), str(two), str(epochs), str(result)],
    env=settings,
    capture_output=True,
    text=True,
)
if done.returncode:
    raise RuntimeError(done.stderr)
runpy.run_path(str(script))["fit"](one, epochs)

# %% [markdown]
# ## The same training
# Gradients are means over all samples of the batch, in whatever process. The losses of both runs
# agree, and so do the weights, except for the order of sums.

# %%
cards = [json.loads((folder / "run.json").read_text()) for folder in (one, two)]
losses = [[row["train_loss"] for row in card["history"]] for card in cards]
weights = [dict(snn.load(folder).named_parameters()) for folder in (one, two)]
largest = max((weights[0][name] - weights[1][name]).abs().max().item() for name in weights[0])
difference = max(abs(a - b) for a, b in zip(*losses, strict=True))
print(f"losses differ by {difference:.1e}, weights by at most {largest:.1e}")
own = json.loads(result.read_text())
same_weights = len(set(own["sums of the weights"])) == 1
print(f"own loop: loss {own['losses'][0]:.3f} -> {own['losses'][-1]:.3f}")
print("both of its processes have the same weights:", same_weights)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.plot(range(1, epochs + 1), losses[0], label="one process", linewidth=5, alpha=0.4)
left.plot(range(1, epochs + 1), losses[1], "o--", label="two processes")
left.set(xlabel="epoch", ylabel="loss", xticks=range(1, epochs + 1), title="snn.fit")
left.legend()
right.plot(own["losses"])
right.set(xlabel="update", ylabel="loss of the first process", title="a loop of your own")
lesson.picture(fig, "losses.png")

# %%
lesson.report(
    loss_difference=difference,
    weight_difference=largest,
    processes=cards[1]["processes"],
    test_accuracy=cards[1]["history"][-1]["test_accuracy"],
    own_first_loss=own["losses"][0],
    own_last_loss=own["losses"][-1],
    same_weights=same_weights,
)
