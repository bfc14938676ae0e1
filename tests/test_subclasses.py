"""Subclasses as snnTorch's users write them: its numbers over 100 steps, and what is refused where
the class is made.

The classes are in `recorded/subclasses.py`, snnTorch's numbers beside it.
"""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from recorded.replay import load
from recorded.subclasses import BASES, BATCH, CASES, FEATURES, STEPS, drive
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import Neuron

INDEX, ARRAYS = load("subclasses")
RECORDED = {(case["base"], case["style"], case["reset"]): case for case in INDEX["cases"]}


def sequence(neuron: Neuron, x: Tensor) -> tuple[Tensor, ...]:
    neuron.mode = "sequence"
    return neuron(x)


def stepwise(neuron: Neuron, x: Tensor) -> tuple[Tensor, ...]:
    returned = [neuron(x_t) for x_t in x]
    return tuple(map(torch.stack, zip(*returned, strict=True)))


@pytest.mark.parametrize(("base", "style", "reset"), CASES, ids=["/".join(case) for case in CASES])
def test_an_overridden_method_gives_the_numbers_of_snntorch(
    base: str, style: str, reset: str
) -> None:
    compare(RECORDED[base, style, reset], *drive(snn, base, style, reset))


@pytest.mark.parametrize("how", [stepwise, sequence, snn.run], ids=["hidden", "sequence", "run"])
@pytest.mark.parametrize("style", ["state", "parameter", "fire", "assigned"])
@pytest.mark.parametrize("base", list(BASES))
def test_an_overridden_method_counts_in_every_way_to_run_over_time(
    base: str, style: str, how: Any
) -> None:
    compare(RECORDED[base, style, "zero"], *drive(snn, base, style, "zero", how=how))


def compare(case: dict[str, Any], spikes: Tensor, mem: Tensor, grads: dict[str, Tensor]) -> None:
    fired = np.unpackbits(ARRAYS[case["spk"]])[: STEPS * BATCH * FEATURES].reshape(
        STEPS, BATCH, FEATURES
    )
    assert torch.equal(spikes != 0, torch.from_numpy(fired).bool())
    close("the membrane", mem, case["mem"])
    assert case["grads"].keys() == grads.keys()
    for name, key in case["grads"].items():
        close(f"the gradient of {name}", grads[name], key)


def close(name: str, found: Tensor, key: str) -> None:
    """To the rounding of float32, in which the numbers are stored."""
    expected = torch.from_numpy(ARRAYS[key]).double()
    scale = max(float(expected.abs().max()), 1.0)
    torch.testing.assert_close(
        found, expected, rtol=1e-5, atol=1e-5 * scale, msg=lambda m: f"{name}: {m}"
    )


# -- which names count, and which are refused ------------------------------------------------------


class Quiet(snn.Leaky):
    def fire(self, mem: Tensor) -> Tensor:
        return super().fire(mem - 100)


def test_a_class_lists_the_methods_that_it_overrides_and_is_never_fused() -> None:
    class Slower(Quiet):
        def _base_state_function(self, input_: Tensor) -> Tensor:
            return 0.1 * self.mem + input_

    assert snn.Leaky.overridden == () and snn.RSynaptic.overridden == ()
    assert set(Slower.overridden) == {"_base_state_function", "fire"}
    assert "overrides _base_state_function, fire" in Slower(0.9).transition.obstacle()
    with snn.backend("torch"), pytest.raises(RuntimeError, match="overrides"):
        Slower(0.9, mode="sequence")(torch.ones(3, 1, 2))


def test_a_method_put_on_one_neuron_counts_there_and_nowhere_else() -> None:
    quiet, plain = snn.Leaky(0.9, mode="sequence"), snn.Leaky(0.9, mode="sequence")
    quiet.fire = lambda mem: torch.zeros_like(mem)
    x = torch.full((20, 1, 2), 0.9)
    assert quiet(x)[0].sum() == 0 and plain(x)[0].sum() > 0
    assert quiet.overridden == ("fire",) and plain.overridden == ()


def test_a_number_under_the_name_of_a_method_is_named() -> None:
    with pytest.raises(
        TypeError, match="step is a method that every neuron calls, got 0; choose another name"
    ):
        setattr(snn.Leaky(0.9), "step", 0)  # noqa: B010 (assigning is what is refused)


def test_assigning_the_state_function_that_is_there_already_changes_nothing() -> None:
    neuron = snn.Leaky(0.9)
    neuron.state_function = neuron._base_sub
    assert neuron.overridden == () and neuron.transition.elementwise


def test_a_step_of_ones_own_counts_over_a_sequence() -> None:
    class Doubled(snn.Leaky):
        def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
            return super().step(2 * x, state)

    x = torch.full((8, 1, 2), 0.3)
    spk, mem = Doubled(0.9, mode="sequence")(x)
    expected = snn.Leaky(0.9, mode="sequence")(2 * x)
    assert torch.equal(spk, expected[0]) and torch.equal(mem, expected[1])


def test_a_step_leaves_what_the_neuron_remembers_as_it_was() -> None:
    neuron = Quiet(0.9, init_hidden=True)
    neuron(torch.ones(1, 2))
    before = neuron.mem
    neuron.step(torch.ones(1, 2), neuron.hidden)
    assert neuron.mem is before


def test_an_overriding_neuron_survives_copies_and_pickles() -> None:
    neuron = Quiet(0.9, init_hidden=True, output=True)
    for made in (copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))):
        assert made.overridden == ("fire",)
        assert made(torch.full((1, 2), 9.0))[0].sum() == 0


@pytest.mark.parametrize(
    "name", ["_base_state_function_hidden", "_build_state_function", "state_function"]
)
def test_a_method_that_snntorch_never_calls_is_refused_where_the_class_is_made(name: str) -> None:
    with pytest.raises(TypeError, match="define _base_state_function"):
        type("Old", (snn.Leaky,), {name: lambda self, input_: input_})


def test_the_arguments_of_snntorch_0_7_are_refused_where_the_class_is_made() -> None:
    def old(self: Any, input_: Tensor, mem: Tensor) -> Tensor:
        return self.beta * mem + input_

    with pytest.raises(
        TypeError,
        match=r"_base_state_function\(self.* cannot be called as _base_state_function\(input_\)",
    ):
        type("Old", (snn.Leaky,), {"_base_state_function": old})


def test_an_old_name_beside_a_forward_of_its_own_is_the_users_affair() -> None:
    class Own(snn.Leaky):
        def _build_state_function(self, input_: Tensor, mem: Tensor) -> Tensor:
            return 0.5 * mem + input_

        def forward(self, input_: Tensor, mem: Tensor) -> Tensor:
            return self._build_state_function(input_, mem)

    assert Own(0.9)(torch.ones(1, 2), torch.ones(1, 2)).tolist() == [[1.5, 1.5]]


def test_snntorchs_names_are_refused_on_a_neuron_whose_spikes_come_from_elsewhere() -> None:
    with pytest.raises(TypeError, match="override retract or integrate"):
        type("Signed", (snn.SignedIF,), {"fire": lambda self, mem: mem})


def test_a_state_function_that_returns_too_few_states_is_named() -> None:
    class Short(snn.Synaptic):
        def _base_state_function(self, input_: Tensor) -> Tensor:
            return input_

        _base_sub = _base_state_function

    with pytest.raises(
        ValueError, match=r"its state is \(syn, mem\), the overridden method returned 1"
    ):
        Short(0.9, 0.8)(torch.ones(1, 2))


def test_a_method_put_on_a_class_after_it_was_made_was_ignored() -> None:
    class Late(snn.Leaky):
        pass

    x = torch.full((20, 1, 2), 0.9)
    assert snn.Leaky(0.9, mode="sequence")(x)[0].sum() > 0
    Late.fire = lambda self, mem: torch.zeros_like(mem)
    late = Late(0.9, mode="sequence")
    assert late.overridden == ("fire",) and late(x)[0].sum() == 0
    del Late.fire
    assert Late.overridden == ("fire",) and Late(0.9).overridden == () == Late.overridden
    assert torch.equal(Late(0.9, mode="sequence")(x)[0], snn.Leaky(0.9, mode="sequence")(x)[0])


def test_a_decay_of_ones_own_collided_with_a_method_of_the_base() -> None:
    class Tau(snn.Leaky):
        def __init__(self, tau: float) -> None:
            super().__init__(beta=0.5)
            self.tau = nn.Parameter(torch.tensor(tau))

        @property
        def decay(self) -> Tensor:
            return torch.exp(-1 / self.tau)

        def _base_state_function(self, input_: Tensor) -> Tensor:
            return self.decay * self.mem + input_

    class Own(snn.SpikingNeuron):
        def __init__(self) -> None:
            super().__init__()
            self.decay = nn.Parameter(torch.tensor(0.5))

        def forward(self, x: Tensor) -> Tensor:
            return self.decay * x

    tau = Tau(2.0)
    _, mem = tau(torch.zeros(1, 1), torch.ones(1, 1))
    mem.sum().backward()
    assert tau.tau.grad is not None
    assert tau.tau.grad.item() == pytest.approx(np.exp(-0.5) / 4)
    assert Own()(torch.tensor([1.0])).tolist() == [0.5]


@pytest.mark.parametrize("name", ["final", "scan", "fire", "hidden", "params", "initial"])
@pytest.mark.parametrize("made", [lambda: nn.Linear(2, 2), lambda: nn.Parameter(torch.ones(2))])
def test_a_layer_under_the_name_of_a_method_is_named_and_not_hidden_by_it(
    name: str, made: Any
) -> None:
    with pytest.raises(TypeError, match=f"Leaky: {name} is already a name of every neuron"):
        setattr(snn.Leaky(0.9), name, made())


def test_parameters_that_an_override_registers_instead_were_not_those_of_the_equations() -> None:
    class PerNeuron(snn.Leaky):
        def _beta_buffer(self, beta: Any, learn_beta: bool) -> None:
            self.register_parameter("beta", nn.Parameter(torch.full((3,), float(beta))))

        def _threshold_buffer(self, threshold: Any, learn_threshold: bool) -> None:
            self.threshold = nn.Parameter(torch.full((3,), 1.5))

        def _graded_spikes_buffer(self, factor: Any, learn_factor: bool) -> None:
            self.register_buffer("graded_spikes_factor", torch.tensor(2.0))

    x = torch.rand(30, 2, 3, generator=torch.Generator().manual_seed(0))
    options = {"threshold": torch.full((3,), 1.5), "graded_spikes_factor": 2.0}
    plain = snn.Leaky(torch.full((3,), 0.9), learn_beta=True, **options, mode="sequence")
    own = PerNeuron(0.9, mode="sequence")
    found, expected = own(x)[0], plain(x)[0]
    assert torch.equal(found, expected) and found.max() == 2.0
    found.sum().backward()
    expected.sum().backward()
    assert isinstance(own.beta.grad, Tensor) and isinstance(own.threshold.grad, Tensor)
    torch.testing.assert_close(own.beta.grad, plain.beta.grad)
    own.reset_parameters()
    assert own.threshold.tolist() == [1.5] * 3
    assert [name for name, _ in own.named_parameters()] == ["threshold", "beta"]


def test_a_step_of_ones_own_without_gradient_was_ignored() -> None:
    class Late(snn.Leaky):
        @staticmethod
        def _surrogate_bypass(x: Tensor) -> Tensor:
            return (x > 0.5).float()

    x = torch.tensor([[1.2, 1.6]])
    assert Late(0.9, surrogate_disable=True)(x)[0].tolist() == [[0.0, 1.0]]
    assert Late(0.9)(x)[0].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("function", "spikes", "membranes"),
    [
        (lambda over: (over > 0.5).float(), [0, 0, 1, 1, 1], [0.75, 1.5, 2.25, 2.0, 1.75]),
        (lambda over: 2 * (over > 0).float(), [0, 2, 0, 0, 2], [0.75, 1.5, 0.25, 1.0, 1.75]),
    ],
    ids=["later", "double"],
)
def test_a_spike_function_of_ones_own_did_not_decide_on_the_reset(
    function: Any, spikes: list[float], membranes: list[float]
) -> None:
    x = torch.full((5, 1, 1), 0.75)
    spk, mem = snn.Leaky(1.0, spike_grad=function, mode="sequence")(x)
    assert spk.flatten().tolist() == spikes
    assert mem.flatten().tolist() == membranes


@pytest.mark.parametrize("name", ["_snn_register_buffer", "_reset_cases", "_snn_cases"])
def test_a_part_of_snntorchs_constructor_that_is_not_called_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"the constructor does not call {name}"):
        type("Old", (snn.Leaky,), {name: lambda self, *given: None})


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("Alpha", "_alpha_cases"),
        ("Lapicque", "_lapicque_cases"),
        ("RLeaky", "_rleaky_init_cases"),
        ("RSynaptic", "_rsynaptic_init_cases"),
        ("SConv2dLSTM", "_sconv2dlstm_cases"),
        ("LinearLeaky", "_tau_buffer"),
    ],
)
def test_a_part_of_the_constructor_of_one_neuron_was_overridden_without_effect(
    base: str, name: str
) -> None:
    with pytest.raises(TypeError, match=f"the constructor does not call {name}"):
        type("Old", (getattr(snn, base),), {name: lambda self, *given: None})
    type("Whole", (snn.LIF,), {name: lambda self, *given: None})  # calls it itself


@pytest.mark.parametrize("base", ["Synaptic", "RSynaptic", "Alpha"])
def test_an_alpha_that_an_override_registers_was_ignored(base: str) -> None:
    neuron: Any = getattr(snn, base)

    def register(self: Any, alpha: Any, learn_alpha: bool) -> None:
        self.alpha = nn.Parameter(torch.full((3,), float(alpha)))

    options: dict[str, Any] = {"mode": "sequence"}
    if base == "RSynaptic":
        options |= {"V": 0.5, "all_to_all": False}
    own = type("PerNeuron", (neuron,), {"_alpha_register_buffer": register})(0.9, 0.7, **options)
    plain = neuron(torch.full((3,), 0.9), 0.7, learn_alpha=True, **options)
    x = torch.rand(30, 2, 3, generator=torch.Generator().manual_seed(0))
    found, expected = own(x)[0], plain(x)[0]
    assert torch.equal(found, expected) and found.any()
    found.sum().backward()
    expected.sum().backward()
    assert torch.equal(own.alpha.grad, plain.alpha.grad)


# -- bases, and feedback of ones own ---------------------------------------------------------------


class OwnForward(snn.LIF):
    """As in projects that derive from LIF and keep the state in buffers."""

    def __init__(self, beta: float, **options: Any) -> None:
        super().__init__(beta=beta, **options)
        self._init_mem()

    def _init_mem(self) -> None:
        self.register_buffer("mem", torch.zeros(0), False)

    def forward(self, input_: Tensor) -> Tensor:
        if self.mem.shape != input_.shape:
            self.mem = torch.zeros_like(input_)
        self.reset = self.mem_reset(self.mem)
        self.mem = self.beta.clamp(0, 1) * self.mem + input_ - self.reset * self.threshold
        return self.fire(self.mem)


def test_lif_with_beta_is_a_base_and_gives_the_spikes_of_leaky() -> None:
    x = torch.rand(30, 2, 3, generator=torch.Generator().manual_seed(0))
    own, leaky = OwnForward(0.9, learn_beta=True), snn.Leaky(0.9, init_hidden=True)
    assert torch.equal(torch.stack([own(x_t) for x_t in x]), torch.stack([leaky(x_t) for x_t in x]))
    assert [name for name, _ in own.named_parameters()] == ["beta"]
    assert copy.deepcopy(nn.Sequential(OwnForward(0.9))).state_dict().keys() >= {
        "0.beta",
        "0.threshold",
    }
    snn.reset(nn.Sequential(own))  # knows nothing of its state, as snnTorch
    run = snn.run(nn.Sequential(OwnForward(0.9)), x)
    assert torch.equal(run, torch.stack(list(map(OwnForward(0.9), x))))


@pytest.mark.parametrize(
    "name", ["Leaky", "Lapicque", "Synaptic", "Alpha", "RLeaky", "RSynaptic", "StateLeaky"]
)
def test_the_leaky_neurons_are_lif_and_the_cells_are_not(name: str) -> None:
    assert issubclass(getattr(snn, name), snn.LIF)
    assert not issubclass(snn.SLSTM, snn.LIF)


def test_feedback_made_by_an_override_registers_its_own_weights() -> None:
    class Block(snn.RLeaky):
        def _init_recurrent_linear(self) -> None:
            self.recurrent = nn.Sequential(nn.Linear(5, 5), nn.ReLU())

    names = [name for name, _ in Block(0.9, linear_features=5).named_parameters()]
    assert names == ["recurrent.0.weight", "recurrent.0.bias"]
    frozen = Block(0.9, linear_features=5, learn_recurrent=False)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_a_convolution_of_ones_own_in_the_feedback_could_not_ask_for_its_padding() -> None:
    class Plain(snn.RLeaky):
        def _init_recurrent_conv2d(self) -> None:
            self._init_padding()
            size: Any = self.kernel_size
            self.recurrent = nn.Conv2d(2, 2, size, padding=self.padding, bias=False)

    neuron = Plain(0.9, conv2d_channels=2, kernel_size=(3, 5))
    assert neuron.padding == (1, 2)
    assert [name for name, _ in neuron.named_parameters()] == ["recurrent.weight"]
    spk, mem = neuron(torch.ones(1, 2, 4, 4))
    _, mem = neuron(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4), mem)
    assert mem.shape == spk.shape == (1, 2, 4, 4)


@pytest.mark.parametrize("made", [nn.Identity(), torch.neg], ids=["module", "function"])
def test_feedback_assigned_to_a_one_to_one_neuron_is_used(made: Any) -> None:
    neuron = snn.RLeaky(0.5, V=3.0, all_to_all=False, mode="sequence")
    neuron.recurrent = made
    _, mem = neuron(torch.tensor([2.0, 0.0]).view(2, 1, 1))
    assert mem.flatten().tolist() == [2.0, 1.0 - 1.0 + float(made(torch.ones(())))]


def test_states_that_an_override_registers_are_remembered_or_kept_as_buffers() -> None:
    class Adaptive(snn.Leaky):
        def _init_mem(self) -> None:
            self.register_buffer("mem", torch.zeros(0), False)
            self.register_buffer("rise", torch.zeros(()), False)

        def _base_state_function(self, input_: Tensor) -> Tensor:
            self.rise = self.rise + 1
            return super()._base_state_function(input_) + self.rise

    neuron = Adaptive(1.0, threshold=100.0, init_hidden=True, output=True)
    assert [neuron(torch.zeros(1, 1))[1].item() for _ in range(3)] == [1.0, 3.0, 6.0]
    assert neuron.mem.item() == 6.0 and "mem" not in neuron.state_dict()
