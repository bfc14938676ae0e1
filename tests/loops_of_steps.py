"""Loops as people write them: how steps are read, collected and remembered; names say what is
special."""

import collections
from typing import Any

import numpy as np
import torch
from loops import B, T, loop, stacked
from torch import Tensor
from torch.nn import functional as F

# -- how results are collected ------------------------------------------


@loop
def into_a_preallocated_tensor(net: Any, x: Tensor) -> Tensor:
    out = x.new_zeros(T, B, 4)
    for t in range(T):
        out[t] = net(x[t])
    return out


@loop
def by_growing_concatenation(net: Any, x: Tensor) -> Tensor:
    out = net(x[0])[None]
    for x_t in x[1:]:
        out = torch.cat([out, net(x_t)[None]])
    return out


@loop
def from_a_generator(net: Any, x: Tensor) -> Tensor:
    return torch.stack(list(net(x_t) for x_t in x))  # noqa: C400 (the generator is what is tested)


@loop
def into_a_dict_of_dicts(net: Any, x: Tensor) -> Any:
    return {f"step {t}": {"spk": net(x_t), "mem": net.lif1.mem} for t, x_t in enumerate(x)}


@loop
def by_a_hook(net: Any, x: Tensor) -> Any:
    kept: list[Tensor] = []
    handle = net.lif1.register_forward_hook(lambda module, args, output: kept.append(output))
    out = [net(x_t) for x_t in x]
    handle.remove()
    return torch.stack(out), torch.stack(kept)


@loop
def through_a_set(net: Any, x: Tensor) -> Tensor:
    out = [net(x_t) for x_t in x]
    seen = set(out)
    return torch.stack([spk for spk in out if spk in seen])


@loop
def the_largest_step(net: Any, x: Tensor) -> Tensor:
    return max([net(x_t) for x_t in x], key=lambda spk: spk.detach().sum().item())


@loop
def no_step_at_all(net: Any, x: Tensor) -> Any:
    return [net(x_t) for x_t in x[:0]], x.sum()


# -- how the input is read ------------------------------------------


@loop
def over_windows(net: Any, x: Tensor) -> Tensor:
    return torch.stack([net(x[t - 1 : t + 1].mean(0)) for t in range(1, T)])


@loop
def over_unfolded_windows(net: Any, x: Tensor) -> Tensor:
    return torch.stack([net(window.mean(-1)) for window in x.unfold(0, 3, 1)])


@loop
def over_every_second_step_of_a_flipped_input(net: Any, x: Tensor) -> Tensor:
    return torch.stack([net(x_t) for x_t in x.flip(0)[::2]])


# -- indices, masks, comparisons ------------------------------------------


@stacked
def winners_by_topk_and_scatter(net: Any, x: Tensor) -> Tensor:
    current = net.fc1(x)
    values, index = current.topk(2, 1)
    return net.lif1(torch.zeros_like(current).scatter(1, index, values))


@stacked
def a_column_chosen_by_argmax(net: Any, x: Tensor) -> Tensor:
    spk = net(x)
    return spk[:, spk.sum(0).argmax()]


@stacked
def a_boolean_mask(net: Any, x: Tensor) -> Tensor:
    current = net.fc1(x)
    return net.lif1(current)[:, current.mean(0) > -99]


@stacked
def the_first_spike_of_each_row(net: Any, x: Tensor) -> Tensor:
    spk = net.lif1(net.fc1(x))
    return net.lif2(net.fc2((spk.cumsum(1) <= 1) * spk))


@stacked
def logic_on_spikes(net: Any, x: Tensor) -> Tensor:
    spk = net(x)
    chosen = (spk > 0) & (net.lif2.mem > 0) | ~(spk == 0)
    return spk * chosen.double() + chosen.any(1, keepdim=True)


@stacked
def unpacked_columns(net: Any, x: Tensor) -> Tensor:
    a, b, *rest = net(x).unbind(1)
    return torch.stack([a + b, b, *rest], 1)


@stacked
def a_python_list_of_values(net: Any, x: Tensor) -> Tensor:
    spk = net(x).detach()
    return torch.tensor(spk.tolist()) + torch.tensor([float(v) for v in spk[0]])


@stacked
def numpy_in_the_middle(net: Any, x: Tensor) -> Tensor:
    spk = net(x)
    return spk * float(np.mean(spk.detach().numpy())) + torch.as_tensor(np.asarray(spk.detach()))


# -- state that the user keeps ------------------------------------------


@loop
def a_refractory_time_by_where(net: Any, x: Tensor) -> Any:
    out, last = [], x.new_full((B, 4), -10.0)
    for t, x_t in enumerate(x):
        spk = net(x_t) * (t - last > 2)
        last = torch.where(spk > 0, torch.full_like(last, t), last)
        out.append(spk)
    return torch.stack(out), last


@loop
def a_delay_line(net: Any, x: Tensor) -> Tensor:
    line = collections.deque([x.new_zeros(B, 4)] * 2, maxlen=2)
    out = []
    for x_t in x:
        spk = net.lif1(net.fc1(x_t))
        out.append(net.lif2(net.fc2(line[0])))
        line.append(spk)
    return torch.stack(out)


@loop
def a_buffer_that_is_replaced(net: Any, x: Tensor) -> Tensor:
    out = []
    for x_t in x:
        net.sum = net.sum + net(x_t).detach().mean(0)
        out.append(net.sum)
    return torch.stack(out)


@loop
def hebbian_learning(net: Any, x: Tensor) -> Any:
    trace = torch.zeros(B, 3, dtype=x.dtype)
    out = []
    with torch.no_grad():
        for x_t in x:
            spk = net.lif1(net.fc1(x_t))
            trace = trace * 0.9 + x_t
            net.fc1.weight += 1e-2 * torch.einsum("bi,bj->ij", spk, trace)
            net.fc1.weight.clamp_(-1, 1)
            out.append(spk)
    return torch.stack(out), net.fc1.weight.clone()


@loop
def weights_normalised_through_data(net: Any, x: Tensor) -> Tensor:
    out = []
    for x_t in x:
        net.fc1.weight.data = F.normalize(net.fc1.weight.data, dim=1)
        out.append(net(x_t).detach())
    return torch.stack(out)
