"""Operations on all modules with a state in a network, also on those in plain lists and objects."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from . import checks
from .neuron import Neuron
from .noise import Noise
from .numbers import network
from .stateful import Stateful

__all__ = [
    "detach",
    "generators_kept",
    "generators_of",
    "named_neurons",
    "noisy",
    "reset",
    "set_mode",
]

_NEVER = (
    Tensor,
    str,
    bytes,
    int,
    float,
    bool,
    type,
    ModuleType,
    FunctionType,
    MethodType,
    type(None),
)
_LONGEST = 1000  # lists of layers are short; a history of numbers is not worth the walk

Net = TypeVar("Net", bound=nn.Module)


def named_neurons(net: nn.Module) -> Iterator[tuple[str, Neuron]]:
    """The neurons of a network with their dotted paths, nested ones included.

    >>> import spikeloom as snn
    >>> [path for path, _ in named_neurons(nn.Sequential(nn.Linear(2, 3), snn.Leaky(0.9)))]
    ['1']
    """
    return ((path, module) for path, module in net.named_modules() if isinstance(module, Neuron))


def reset(net: nn.Module) -> None:
    """Forget the state of every neuron and delay of ``net``; other networks are left alone.

    Neurons in plain lists, dictionaries and objects of ``net`` count as its own, though torch does
    not see them.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(0.9, init_hidden=True)
    >>> _ = lif(torch.ones(1, 2)); reset(lif); lif.mem.shape
    torch.Size([0])
    """
    for module in _stateful(net):
        module.reset_mem()


def detach(net: nn.Module) -> None:
    """Detach the state of every neuron and delay of ``net``; its values stay (truncated BPTT).

    A thread that continues a run of another thread calls it first.

    >>> import torch, spikeloom as snn
    >>> lif = snn.Leaky(0.9, init_hidden=True, learn_beta=True)
    >>> _ = lif(torch.ones(1, 2)); detach(lif); lif.mem.requires_grad
    False
    """
    for module in _stateful(net):
        module.detach_hidden()


def set_mode(net: Net, mode: str) -> Net:
    """Make every neuron and delay of ``net`` take a step ``[B, ...]`` or sequences ``[T, B, ...]``.

    Args:
        net: any module.
        mode: ``"step"`` or ``"sequence"``.

    Returns:
        ``net``.

    Raises:
        ValueError: another mode, or step mode for a neuron that only runs sequences.

    >>> import torch, spikeloom as snn
    >>> set_mode(snn.Leaky(0.9, init_hidden=True), "sequence")(torch.ones(5, 1, 2)).shape
    torch.Size([5, 1, 2])
    """
    checks.choice("mode", mode, ("step", "sequence"))
    before = [(module, module.mode) for module in _stateful(net)]
    try:
        for module, _ in before:
            module.mode = mode
    except ValueError:  # the network is not left between two modes
        for module, earlier in before:
            module.mode = earlier
        raise
    return net


def noisy(
    net: Net,
    *,
    current: float = 0.0,
    threshold: float = 0.0,
    escape: float = 0.0,
    generator: torch.Generator | None = None,
    training_only: bool = False,
) -> Net:
    r"""Make every neuron of ``net`` noisy; without numbers, noiseless again.

    .. math::
        I[t] + \sigma_I \xi[t] \qquad
        S[t] = H(U[t] - \theta - \sigma_\theta \eta[t] - \Delta \ln E[t])

    xi and eta are standard normal, E is exponentially distributed with mean 1; all are drawn anew
    for each neuron, sample and step. With an escape rate a neuron whose membrane is at the distance
    d from its threshold fires with the probability 1 - exp(-exp(d / Delta)) in a step: 63 % at
    the threshold. The surrogate gradient is taken at the distance from the random threshold. A
    neuron resets where it fired.

    A loop over time, `snn.run`, `snn.layerwise` and ``mode="sequence"`` draw the same numbers for
    one neuron. Noise of the current runs on every backend, at the speed of its random numbers; a
    random threshold needs the ordinary loop over time. `Neuron.step` and `Neuron.scan` are the
    equations without noise. Noise is also active after ``net.eval()`` unless ``training_only``. It
    is in no ``state_dict``.

    Args:
        net: a neuron, or a network.
        current: standard deviation of what is added to the input, in its unit, >= 0. A neuron with
            an input layer of its own, such as `LinearLeaky`, receives it in front of that layer.
        threshold: standard deviation of the threshold, in its unit, >= 0.
        escape: width Delta of the escape rate, in the unit of the threshold, >= 0; 0: none.
        generator: source of randomness, shared by these neurons; None is torch's global one.
            `snn.fit` restores it where it resumes a training, and evaluations leave it as it was.
            ``torch.utils.checkpoint`` restores the global one only.
        training_only: without effect after ``net.eval()``.

    Returns:
        ``net``, with the states of its neurons reset.

    Raises:
        ValueError: a number is negative or not finite; ``threshold`` or ``escape`` for a neuron
            that does not fire (`LI`), runs whole sequences, or overrides snnTorch's methods.
        TypeError: ``generator`` is no ``torch.Generator``, or ``net`` no module.

    Source: Gerstner & Kistler (2002), Spiking Neuron Models, section 5.3, for the escape rate,
    exponential and with one spike per step at the threshold.

    >>> import torch, spikeloom as snn
    >>> source = torch.Generator().manual_seed(0)
    >>> lif = snn.noisy(snn.Leaky(0.9, mode="sequence"), escape=0.1, generator=source)
    >>> spk, mem = lif(torch.full((1000, 1, 1), 0.08))
    >>> bool((mem <= 1).all()), bool(spk.any())
    (True, True)
    """
    noise = Noise(current, threshold, escape, generator, training_only)
    neurons = [module for module in _stateful(net) if isinstance(module, Neuron)]
    obstacles = [neuron.shift_obstacle() for neuron in neurons] if noise.shifts else []
    for neuron, obstacle in zip(neurons, obstacles, strict=False):
        if obstacle:
            neuron.noise = noise  # raises before any neuron is changed
    for neuron in neurons:
        neuron.noise = noise if noise.current or noise.shifts else None
    return net


def generators_of(net: nn.Module) -> list[torch.Generator]:
    """The sources of randomness of a network besides torch's global ones, each of them once.

    They are those of `noisy`, and attributes of modules.

    >>> import spikeloom as snn
    >>> source = torch.Generator()
    >>> net = nn.Sequential(snn.Leaky(0.9), snn.Leaky(0.9))
    >>> generators_of(snn.noisy(net, current=0.1, generator=source)) == [source]
    True
    """
    found: dict[int, torch.Generator] = {}
    for module in net.modules():
        noise = module.noise if isinstance(module, Neuron) else None
        values = [*vars(module).values(), None if noise is None else noise.generator]
        found |= {id(v): v for v in values if isinstance(v, torch.Generator)}
    shared = torch.default_generator
    return [generator for generator in found.values() if generator is not shared]


@contextmanager
def generators_kept(net: nn.Module | None, devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """Random draws inside the block leave generators outside as they were.

    Args:
        net: its generators, see `generators_of`, besides torch's global one of the CPU.
        devices: torch's global ones of these GPUs, too.

    >>> before = torch.get_rng_state()
    >>> with generators_kept(None):
    ...     _ = torch.rand(3)
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    own = [] if net is None else [(source, source.get_state()) for source in generators_of(net)]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for source, state in own:
            source.set_state(state)


def _stateful(net: nn.Module) -> Iterator[Stateful]:
    network(net)
    seen: set[int] = set()
    for module in (*net.modules(), *_held(net)):
        if isinstance(module, Stateful) and id(module) not in seen:
            seen.add(id(module))
            yield module


def _held(net: nn.Module) -> Iterator[nn.Module]:
    """Modules in plain lists, dictionaries and objects inside ``net``, which torch does not know.

    Searches only if there are neurons outside the tree of ``net``.
    """
    inside = {id(module) for module in net.modules()}
    if all(id(neuron) in inside for neuron in Neuron.live):
        return
    visited = set(inside)
    waiting: list[Any] = []
    for module in net.modules():
        waiting.extend(vars(module).values())  # at once, other threads may add attributes
    while waiting:
        value = waiting.pop()
        if id(value) in visited or isinstance(value, _NEVER):
            continue
        visited.add(id(value))
        if isinstance(value, nn.Module):
            for module in value.modules():
                visited.add(id(module))
                waiting.extend(vars(module).values())
                yield module
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            waiting.extend(value if len(value) <= _LONGEST else ())
        elif hasattr(value, "__dict__"):
            waiting.extend(vars(value).values())
