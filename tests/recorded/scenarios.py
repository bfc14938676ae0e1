"""Short programs for what one call cannot show: layers with a state, learners, training loops,
datasets.

Each takes a function that finds a name in the library, then the recorded arguments, and returns
tensors; `replay.replay_call` runs them by name.
"""

import torch
from torch import nn


class Dataset:
    """Data and targets, as the datasets of torchvision keep them."""

    def __init__(self, data, targets):
        self.data, self.targets = data, targets

    def __len__(self):
        return len(self.data)


def stdp_learner(find, synapse, x, scale, on_grad):
    """Weight change that an STDP learner collects over ``x``, [T, B, ...], or the gradient it
    leaves."""
    neuron = find("Leaky")(beta=0.8, init_hidden=True)
    learner = find("functional.stdp_learner.STDPLearner")(
        synapse, neuron, tau_pre=2.0, tau_post=3.0
    )
    with torch.no_grad():
        for x_t in x:
            neuron(synapse(x_t))
        change = learner.step(on_grad=on_grad, scale=scale)
    return synapse.weight.grad if on_grad else change


def time_batchnorm(find, layer, x):
    """Outputs of a batch normalisation through time in training, then the running mean of each
    step."""
    layers = find(layer)(x.shape[2], len(x), momentum=0.3)
    outputs = [layer(x_t) for layer, x_t in zip(layers, x, strict=True)]
    return torch.stack(outputs), torch.stack([layer.running_mean for layer in layers])


def train(find, loop, synapse, batches, targets, criterion, **options):
    """Mean loss of one epoch of a training loop, and the weight after it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = synapse
            self.lif = find("Leaky")(beta=0.8, init_hidden=True, output=True)

        def forward(self, x):
            return self.lif(self.fc(x))

    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    if options.pop("sparse", False):
        options["regularization"] = find("functional.l1_rate_sparsity")(Lambda=1e-3)
    loss = find(f"backprop.{loop}")(
        net,
        list(zip(batches, targets, strict=True)),
        optimizer,
        find(f"functional.{criterion}")(),
        **options,
    )
    return loss, net.fc.weight


def subset(find, data, targets, parts, idx):
    """Data and targets that `data_subset` leaves."""
    dataset = find("utils.data_subset")(Dataset(data, targets), parts, idx)
    return dataset.data, dataset.targets


def validation_split(find, data, targets, split, seed):
    """Data and targets of the two parts that `valid_split` makes."""
    parts = [Dataset(data, targets), Dataset(data, targets)]
    training, validation = find("utils.valid_split")(*parts, split, seed)
    return training.data, training.targets, validation.data, validation.targets
