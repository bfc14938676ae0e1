"""Loops as people write them: changing neurons and layers, autograd, random numbers; names say what
is special."""

import copy
from typing import Any

import torch
from loops import B, T, loop, stacked
from torch import Tensor, nn
from ways import lif

import spikeloom as snn

# -- neurons that change ------------------------------------------


@loop
def a_reset_in_the_middle(net: Any, x: Tensor) -> Tensor:
    out = []
    for t, x_t in enumerate(x):
        if t == 3:
            snn.reset(net)
        out.append(net(x_t))
    return torch.stack(out)


@loop
def truncated_gradients(net: Any, x: Tensor) -> Tensor:
    out = []
    for t, x_t in enumerate(x):
        if t == 3:
            snn.detach(net)
        out.append(net(x_t))
    return torch.stack(out)


@stacked
def a_membrane_that_is_assigned(net: Any, x: Tensor) -> Tensor:
    spk = net(x)
    net.lif1.mem = net.lif1.mem * 0.5
    net.lif2.mem = torch.zeros_like(net.lif2.mem)
    return spk


@loop
def a_decay_that_is_assigned(net: Any, x: Tensor) -> Tensor:
    out = []
    for t, x_t in enumerate(x):
        net.lif1.beta = torch.tensor(0.9 - 0.1 * t, dtype=x.dtype)
        out.append(net(x_t))
    return torch.stack(out)


@stacked
def a_threshold_that_follows_the_activity(net: Any, x: Tensor) -> Tensor:
    spk = net(x)
    net.lif1.threshold = net.lif1.threshold + 0.01 * spk.detach().mean()
    return spk


@loop
def another_surrogate_at_every_step(net: Any, x: Tensor) -> Tensor:
    out = []
    for t, x_t in enumerate(x):
        net.lif1.spike_grad = snn.surrogate.fast_sigmoid(5 + t)
        out.append(net(x_t))
    return torch.stack(out)


@loop
def another_reset_at_every_step(net: Any, x: Tensor) -> Tensor:
    out = []
    for t, x_t in enumerate(x):
        net.lif1.reset_mechanism = "zero" if t % 2 else "subtract"
        out.append(net(x_t))
    return torch.stack(out)


@stacked
def a_new_neuron_at_every_step(net: Any, x: Tensor) -> Tensor:
    return lif()(net.fc1(x))


@loop
def a_copy_of_the_network(net: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack(
            [(copy.deepcopy(net) if t == 2 else net)(x_t) for t, x_t in enumerate(x)]
        )


# -- layers ------------------------------------------


@stacked
def running_statistics_that_are_read(net: Any, x: Tensor) -> Tensor:
    return net.lif1(net.norm(net.fc1(x)) + net.norm.running_mean)


@loop
def batch_norm_in_evaluation_at_every_second_step(net: Any, x: Tensor) -> Tensor:
    out = []
    with torch.no_grad():  # torch takes later statistics for the gradient of a step in evaluation
        for t, x_t in enumerate(x):
            net.norm.train(t % 2 == 0)
            out.append(net.lif1(net.norm(net.fc1(x_t))))
    return torch.stack(out)


@loop
def dropout_in_the_first_steps(net: Any, x: Tensor) -> Tensor:
    out = []
    for t, x_t in enumerate(x):
        net.drop.train(t < 3)
        out.append(net.lif1(net.drop(net.fc1(x_t))))
    return torch.stack(out)


@loop
def an_lstm_cell(net: Any, x: Tensor) -> Any:
    cell: Any = nn.LSTMCell(3, 4).double()
    state, out = None, []
    for x_t in x:
        state = cell(x_t, state)
        out.append(net.lif1(state[0] * 3))
    return torch.stack(out), state


@loop
def a_parameter_made_inside(net: Any, x: Tensor) -> Tensor:
    gain = nn.Parameter(torch.full((4,), 1.5, dtype=x.dtype))
    return torch.stack([net(x_t) * gain for x_t in x])


@loop
def spectral_norm_in_training(net: Any, x: Tensor) -> Tensor:
    nn.utils.parametrizations.spectral_norm(net.fc2)
    return torch.stack([net(x_t) for x_t in x])


@loop
def other_weights_by_functional_call(net: Any, x: Tensor) -> Tensor:
    weights = {name: p * 1.1 for name, p in net.fc1.named_parameters()}
    return torch.stack(
        [net.lif1(torch.func.functional_call(net.fc1, weights, (x_t,))) for x_t in x]
    )


# -- autograd inside ------------------------------------------


@loop
def adam_at_every_step(net: Any, x: Tensor) -> Tensor:
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    out = []
    for x_t in x:
        y = net.fc2(net.lif1(net.fc1(x_t)))
        optimizer.zero_grad()
        y.square().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        snn.detach(net)
        out.append(y.detach())
    return torch.stack(out)


@loop
def online_learning_on_a_static_image(net: Any, x: Tensor) -> Tensor:
    out = []
    for _ in range(T):
        y = net.fc2(net.lif1(net.fc1(x[0].detach())))
        y.square().mean().backward()
        snn.detach(net)
        out.append(y.detach())
    return torch.stack(out)


@loop
def backward_through_a_product_of_weights(net: Any, x: Tensor) -> Tensor:
    out = []
    for x_t in x.detach():
        y = net.lif1(x_t @ (net.fc1.weight * net.fc1.weight.abs()).t())
        y.square().mean().backward()
        snn.detach(net)
        out.append(y.detach())
    return torch.stack(out)


@loop
def a_gradient_by_autograd(net: Any, x: Tensor) -> Tensor:
    out = []
    for x_t in x:
        spk = net(x_t)
        (gradient,) = torch.autograd.grad(spk.sum(), net.fc2.weight, retain_graph=True)
        out.append(spk.detach() + gradient.sum())
    return torch.stack(out)


@stacked
def a_hook_on_a_tensor(net: Any, x: Tensor) -> Tensor:
    current = net.fc1(x)
    current.register_hook(lambda gradient: gradient * 2)
    return net.lif1(current)


@loop
def weights_frozen_at_every_second_step(net: Any, x: Tensor) -> Tensor:
    out = []
    for t, x_t in enumerate(x):
        net.fc1.requires_grad_(t % 2 == 0)
        out.append(net(x_t))
    return torch.stack(out)


@loop
def saved_tensors_packed(net: Any, x: Tensor) -> Tensor:
    with torch.autograd.graph.saved_tensors_hooks(lambda v: v * 1.0, lambda v: v):
        return torch.stack([net(x_t) for x_t in x])


# -- random numbers ------------------------------------------


@stacked
def the_seed_set_at_every_step(net: Any, x: Tensor) -> Tensor:
    torch.manual_seed(3)
    return net(x + torch.rand_like(x))


@loop
def a_forked_generator(net: Any, x: Tensor) -> Any:
    out = []
    for x_t in x:
        with torch.random.fork_rng():
            out.append(net(x_t + torch.rand(B, 3)))
    return torch.stack(out), torch.rand(3)
