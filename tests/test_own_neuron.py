"""A neuron of one's own declares everything in its class: options, NIR node, example, linearity."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import nir
import pytest
import torch
from own_neurons import OwnAdaptive, OwnIzhikevich
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.core.neuron import REGISTRY
from spikeloom.core.options import CommonOptions, Unpack, arguments
from spikeloom.learning import online
from spikeloom.nir import from_nir, neuron_nodes, register, to_nir
from spikeloom.nir.neurons import SameStepLeaky
from spikeloom.saving.architecture import build, describe

HERE = Path(__file__).parent
F = 3


class Quarter(snn.Neuron):
    """A neuron of which NIR knows nothing until something is registered."""

    State = snn.IF.State
    is_linear = True

    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=0.25 * state.mem + x)


class Named(snn.Leaky):
    """The equations of its base under another name."""


class Faster(snn.Leaky):
    @staticmethod
    def integrate(x: Tensor, state: Any, p: Any) -> Any:
        return state._replace(mem=0.5 * state.mem + x)


def write(p: Any, dt: float) -> tuple[str, dict[str, Any]]:
    ones = 0 * p["threshold"] + 1
    tau = ones * dt / 0.75
    return "LIF", {"tau": tau, "r": tau / dt, "v_leak": 0 * ones, "v_threshold": p["threshold"]}


@pytest.fixture
def registered() -> Iterator[None]:
    register(Quarter, write=write, read=lambda fields, dt: {"threshold": fields["v_threshold"]})
    yield
    neuron_nodes._registered.clear()


def network(neuron: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, F), neuron)


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OwnIzhikevich, OwnAdaptive, snn.AdLIF, snn.RefractoryLIF])
def test_a_misspelled_option_is_refused_by_the_class_that_was_called(kind: Any) -> None:
    text = f"{kind.__name__} takes no argument 'init_hiden'; did you mean 'init_hidden'[?]"
    with pytest.raises(TypeError, match=text):
        kind(init_hiden=True)


def test_an_option_that_resembles_none_is_answered_with_all_of_them() -> None:
    with pytest.raises(TypeError, match="LI takes no argument 'xyz'; it takes beta, learn_beta"):
        snn.LI(0.9, xyz=1)  # pyright: ignore[reportCallIssue]


def test_a_neuron_without_threshold_or_choice_of_reset_does_not_take_one_in_silence() -> None:
    with pytest.raises(TypeError, match="LI takes no argument 'threshold'"):
        snn.LI(0.9, threshold=2.0)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="RefractoryLIF takes no argument 'reset_mechanism'"):
        snn.RefractoryLIF(reset_mechanism="zero")  # pyright: ignore[reportCallIssue]


def test_options_that_are_not_typed_may_hold_what_a_constructor_takes_out() -> None:
    class Loose(snn.Leaky):
        def __init__(self, **options: Any) -> None:
            self_gain = options.pop("gain", 1.0)
            super().__init__(**options)
            self.gain = self_gain

    assert Loose(beta=0.9, gain=2.0).gain == 2.0
    assert list(arguments(Loose)) == list(arguments(snn.Leaky))


def test_typed_options_count_as_arguments_with_the_defaults_of_the_base() -> None:
    known = arguments(snn.AdLIF)
    assert set(known) >= {"alpha", "threshold", "init_hidden", "mode", "reset_delay"}
    assert known["mode"] == "step" and known["alpha"] == 0.9


def test_annotations_that_are_texts_are_read_too() -> None:
    scope: dict[str, Any] = {"snn": snn, "Unpack": Unpack, "CommonOptions": CommonOptions}
    exec(
        "from __future__ import annotations\n"
        "class Later(snn.IF):\n"
        "    def __init__(self, gain: float = 1.0, **options: Unpack[CommonOptions]) -> None:\n"
        "        super().__init__(**options)\n",
        scope,
    )
    assert list(arguments(scope["Later"]))[:2] == ["gain", "init_hidden"]
    with pytest.raises(TypeError, match="Later takes no argument 'gian'; did you mean 'gain'"):
        scope["Later"](gian=2.0)


def test_options_choose_defaults_that_an_argument_replaces() -> None:
    assert snn.AdLIF().reset_mechanism == "zero" and not snn.AdLIF().reset_delay
    neuron = snn.AdLIF(reset_mechanism="subtract", reset_delay=True)
    assert neuron.reset_mechanism == "subtract" and neuron.reset_delay


def test_a_neuron_needs_no_example() -> None:
    assert snn.Neuron.example == {} and Quarter.example == {}


# -- NIR -------------------------------------------------------------------------------------------


def test_a_subclass_that_keeps_the_equations_is_written_as_its_base_and_read_as_itself() -> None:
    net = network(Named(0.8, init_hidden=True))
    graph = to_nir(net)
    assert isinstance(graph.nodes["1"], nir.LIF)
    again = from_nir(graph)
    assert type(again.get_submodule("1")) is Named
    x = torch.rand(30, 2, 4)
    assert torch.equal(snn.run(net, x), snn.run(again, x))


def test_a_subclass_with_other_equations_is_refused_with_what_it_changes() -> None:
    text = (
        r"Faster has no NIR node; it changes integrate of Leaky.*nir.register\(Faster, write=...\)"
    )
    with pytest.raises(ValueError, match=text):
        to_nir(network(Faster(0.9, init_hidden=True)))


def test_a_neuron_with_a_method_assigned_to_it_is_refused_with_that_method() -> None:
    neuron = snn.Leaky(0.9, init_hidden=True)
    neuron.fire = lambda mem: torch.zeros_like(mem)
    with pytest.raises(ValueError, match="it changes fire of Leaky"):
        to_nir(network(neuron), torch.rand(1, 4))


def test_a_subclass_whose_resets_differ_is_refused() -> None:
    class Harder(snn.Leaky):
        resets: ClassVar[Any] = {**snn.Leaky.resets, "subtract": snn.Leaky.resets["zero"]}

    with pytest.raises(ValueError, match="it changes resets of Leaky"):
        to_nir(network(Harder(0.9, init_hidden=True)))


def test_a_neuron_of_which_nothing_is_known_is_refused_with_a_reason_and_a_remedy() -> None:
    with pytest.raises(
        ValueError, match=r"Quarter has no NIR node; no NIR neuron has its equ.*use"
    ):
        to_nir(network(Quarter(init_hidden=True)))


def test_a_class_with_the_name_of_a_built_in_one_does_not_take_its_place_in_files() -> None:
    net = network(snn.Leaky(0.8, init_hidden=True))
    graph, described = to_nir(net), describe(net)
    own = type("Leaky", (Faster,), {})
    assert REGISTRY["Leaky"] is snn.Leaky is not own
    assert type(from_nir(graph).get_submodule("1")) is snn.Leaky
    assert type(build(described)[1]) is snn.Leaky  # pyright: ignore[reportIndexIssue]


@pytest.mark.usefixtures("registered")
def test_a_registered_neuron_comes_back_from_its_graph() -> None:
    net = network(Quarter(threshold=0.3, init_hidden=True))
    again = from_nir(to_nir(net))
    assert type(again.get_submodule("1")) is Quarter
    x = torch.rand(30, 2, 4)
    assert torch.equal(snn.run(net, x), snn.run(again, x))


@pytest.mark.usefixtures("registered")
def test_a_number_edited_in_the_graph_of_a_registered_neuron_counts() -> None:
    graph = to_nir(network(Quarter(threshold=0.3, init_hidden=True)))
    graph.nodes["1"].v_threshold[:] = 0.7
    neuron = from_nir(graph).get_submodule("1")
    assert type(neuron) is Quarter and neuron.threshold.allclose(torch.tensor(0.7))


def test_an_edited_graph_without_a_reader_becomes_the_neuron_with_its_numbers() -> None:
    graph = to_nir(network(Named(0.8, init_hidden=True)))
    graph.nodes["1"].v_threshold[:] = 0.7
    neuron = from_nir(graph).get_submodule("1")
    assert type(neuron) is snn.Leaky and neuron.threshold.allclose(torch.tensor(0.7))


def test_a_function_that_writes_no_nir_node_is_named() -> None:
    class Wrong(Quarter):
        nir_node = staticmethod(lambda p, dt: ("LIFF", {}))

    with pytest.raises(
        ValueError, match=r"the NIR node of Wrong must be a type of NIR.*got \('LIFF'"
    ):
        to_nir(network(Wrong(init_hidden=True)))


@pytest.mark.parametrize(
    ("cls", "options", "text"),
    [
        (nn.Linear, {"write": write}, "register needs a class of neurons"),
        (Quarter, {"write": None}, "write must be a function"),
        (Quarter, {"write": write, "read": 3}, "read must be a function"),
    ],
)
def test_what_cannot_be_registered_is_refused(cls: Any, options: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        register(cls, **options)
    assert Quarter not in neuron_nodes._registered


# -- learning, laws --------------------------------------------------------------------------------


def gradients(neuron: snn.Neuron, loss: Any, *, carried: bool) -> Tensor:
    net, x = network(neuron), torch.rand(12, 2, 4, generator=torch.Generator().manual_seed(1))
    if carried:
        online(net, x, torch.zeros(2, F), loss)
    else:
        torch.stack([loss(spk, torch.zeros(2, F)) for spk in snn.run(net, x)]).mean().backward()
    grad = net[0].weight.grad
    assert isinstance(grad, Tensor)
    return grad


@pytest.mark.parametrize("kind", [Quarter, lambda **options: Named(0.8, **options)])
def test_a_neuron_that_says_it_is_linear_learns_online_with_the_gradient_of_the_loop(
    kind: Any,
) -> None:
    exact, carried = (
        gradients(kind(threshold=0.3, init_hidden=True), nn.functional.mse_loss, carried=carried)
        for carried in (False, True)
    )
    torch.testing.assert_close(carried, exact)


def test_other_equations_do_not_inherit_that_they_are_linear() -> None:
    assert Named.is_linear and not Faster.is_linear
    with pytest.raises(TypeError, match=r"filter their input linearly.*got Faster"):
        online(
            network(Faster(0.9, init_hidden=True)),
            torch.rand(3, 2, 4),
            torch.zeros(2, F),
            nn.functional.mse_loss,
        )


def test_a_membrane_that_a_spike_overwrites_was_kept_in_16_bits_with_wrong_gradients() -> None:
    x = torch.rand(5, 1, 2)
    text = "residual 'half' does not serve .* depend on more than"
    for neuron in (OwnIzhikevich(), SameStepLeaky(0.9, reset_to=-0.2, reset_mechanism="zero")):
        with snn.backend("torch"), snn.residual("half"), pytest.raises(RuntimeError, match=text):
            neuron.scan(x)


class Unmoved(snn.Leaky):
    """Its membrane itself decides on the spike."""

    @staticmethod
    def trigger(state: Any, p: Any) -> Tensor:
        return state.mem


def test_what_a_neuron_fires_is_never_the_tensor_that_it_remembers() -> None:
    lif = Unmoved(0.9, spike_grad=lambda x: x, reset_mechanism="none", init_hidden=True)
    lif(torch.full((1, 2), 0.5)).zero_()
    assert lif.mem.tolist() == [[0.5, 0.5]]


def test_a_graded_factor_that_is_written_unseen_acts_in_the_next_step() -> None:
    lif = snn.Leaky(0.9, init_hidden=True)
    x = torch.full((1, 1), 2.0)
    found = [lif(x).item()]
    lif.graded_spikes_factor.data.fill_(3.0)  # no version counts it
    assert [*found, lif(x).item()] == [1.0, 3.0]


@pytest.mark.slow
def test_the_laws_hold_for_neurons_of_a_users_module() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/laws"]
    done = subprocess.run(
        [*command, "-k", "Own and not programs"],
        cwd=HERE.parent,
        env={**os.environ, "SPIKELOOM_NEURONS": "own_neurons", "PYTHONPATH": _path()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def _path() -> str:
    return os.pathsep.join([str(HERE), str(Path(snn.__file__).parent.parent)])


def test_the_output_of_a_neuron_that_does_not_fire_was_its_state() -> None:
    neuron = snn.LI(0.9, init_hidden=True)
    neuron(torch.ones(2, 3)).zero_()
    assert torch.equal(neuron.mem, torch.ones(2, 3))
