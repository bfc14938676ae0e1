"""Neurons as snnTorch's users write them: subclasses that override the methods which its
``forward`` calls.

`classes` makes them on any library with snnTorch's surface; `drive` runs one over 100 steps and
takes gradients.
"""

import torch
from torch import nn

__all__ = ["CASES", "classes", "drive"]

STEPS, BATCH, FEATURES = 100, 2, 4
BASES = {
    "Leaky": {"beta": 0.9, "learn_beta": True},
    "Lapicque": {"beta": 0.9},
    "Synaptic": {"alpha": 0.8, "beta": 0.9, "learn_beta": True},
    "Alpha": {"alpha": 0.9, "beta": 0.7},
    "RLeaky": {"beta": 0.9, "linear_features": FEATURES},
    "RSynaptic": {"alpha": 0.8, "beta": 0.9, "linear_features": FEATURES},
}
GAIN = {
    "Lapicque": 10.0,
    "Alpha": 2.5,
    "Synaptic": 0.4,
    "RSynaptic": 0.4,
}  # for some spikes, but not at every step
STYLES = (
    "state",
    "parameter",
    "fire",
    "winner",
    "signal",
    "resets",
    "assigned",
    "zeroed",
    "subtracted",
    "feedback",
)
ONLY = {
    "zeroed": ("Synaptic", "RSynaptic"),
    "subtracted": ("Alpha",),
    "feedback": ("RLeaky", "RSynaptic"),
}


def with_last(values, change):
    """The state that a method returned, a tensor or a tuple, with its membrane changed."""
    return (*values[:-1], change(values[-1])) if isinstance(values, tuple) else change(values)


def classes(base):
    """The styles by name, as subclasses of ``base``."""
    return dict(zip(STYLES, (*_integrating(base), *_resetting(base)), strict=True))


def _integrating(base):
    class State(base):
        def _base_state_function(self, input_):
            return with_last(super()._base_state_function(input_), lambda mem: 0.9 * mem + 0.01)

    class Parameter(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.gain = nn.Parameter(torch.tensor(0.7))

        def _base_state_function(self, input_):
            names = [name for name in ("syn_exc", "syn_inh", "syn", "mem") if hasattr(self, name)]
            values = tuple(
                self.gain * getattr(self, name) + input_ * (0.5 + 0.1 * i)
                for i, name in enumerate(names)
            )
            return values if len(values) > 1 else values[0]

    class Fire(base):
        def fire(self, mem):
            return self.spike_grad(1.5 * mem - self.threshold - 0.2)

    class Winner(base):
        def fire_inhibition(self, batch_size, mem):
            largest = mem >= mem.reshape(batch_size, -1).max(1, keepdim=True).values
            return self.spike_grad(mem - self.threshold) * largest

    return State, Parameter, Fire, Winner


def _resetting(base):
    class Signal(base):
        def mem_reset(self, mem):
            return 0.5 * (mem > self.threshold).to(mem.dtype)

    class Resets(base):
        def _base_sub(self, input_):
            return with_last(self._base_state_function(input_), lambda mem: mem - 0.3 * self.reset)

        def _base_zero(self, input_):
            return with_last(
                self._base_state_function(input_), lambda mem: mem * (1 - 0.8 * self.reset)
            )

        def _base_int(self, input_):
            return with_last(self._base_state_function(input_), lambda mem: 0.7 * mem)

    class Assigned(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.state_function = self.own

        def own(self, input_):
            return with_last(
                self._base_state_function(input_), lambda mem: 0.8 * mem - 0.5 * self.reset
            )

    class Zeroed(base):
        def _base_state_reset_zero(self, input_):
            return 0.2 * input_, 0.5 * self.mem

    class Subtracted(base):
        def _base_state_reset_sub_function(self, input_):
            return 0.5 * self.threshold, 0.3 * self.syn_inh, 0.2 * self.mem

    class Feedback(base):
        def _init_recurrent_linear(self):
            size = self.linear_features
            self.recurrent = nn.Sequential(nn.Linear(size, size), nn.Tanh())

    return Signal, Resets, Assigned, Zeroed, Subtracted, Feedback


CASES = [
    (base, style, reset)
    for base in BASES
    for style in STYLES
    if base in ONLY.get(style, (base,))
    for reset in ("subtract", "zero", "none")
]


def drive(library, base, style, reset, *, how="explicit", **options):
    """Spikes [T, B, F], the last membrane, and gradients by name, of one subclass.

    Args:
        library: the module that has the neurons.
        base: class from which it derives.
        style: what it overrides.
        reset: its ``reset_mechanism``.
        how: ``"explicit"``, ``"hidden"``, or a function ``(neuron, x) -> (spk, ..., mem)`` over all
            steps.
        **options: of the constructor.
    """
    atan = library.surrogate.atan()
    options = {**BASES[base], "reset_mechanism": reset, "inhibition": style == "winner", **options}
    options["spike_grad"] = lambda over: atan(over).to(
        over.dtype
    )  # snnTorch's spikes are float32 always
    kept = how != "explicit"
    neuron = classes(getattr(library, base))[style](
        **options, init_hidden=kept, output=kept
    ).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in neuron.parameters():
            if parameter.dim():
                parameter.copy_(
                    0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                )
    x = 0.15 + torch.randn(STEPS, BATCH, FEATURES, generator=generator, dtype=torch.float64)
    x = GAIN.get(base, 1.0) * x
    x.requires_grad_()
    weight = torch.randn(STEPS, BATCH, FEATURES, generator=generator, dtype=torch.float64)
    spikes, mem = over_time(neuron, x, how, fed_back=base.startswith("R"))
    ((spikes * weight).sum() + 0.1 * mem.sum()).backward()
    grads = {
        name: value.grad for name, value in neuron.named_parameters() if value.grad is not None
    }
    return spikes.detach(), mem.detach(), {"x": x.grad.sum((1, 2)), **grads}


def over_time(neuron, x, how, *, fed_back):
    """Spikes over time and the last membrane."""
    if callable(how):
        returned = how(neuron, x)
        return returned[0], returned[-1][-1]
    spikes, state, returned = [], (), ()
    for x_t in x:
        returned = neuron(x_t, *state)
        spikes.append(returned[0])
        if how == "explicit":
            state = returned if fed_back else returned[1:]
    return torch.stack(spikes), returned[-1]
