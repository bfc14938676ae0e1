"""Parameters and states that went wrong are named at the next call."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn

NAN, INF = float("nan"), float("inf")


def written(neuron: Any, name: str, value: float) -> Any:
    with torch.no_grad():
        neuron.get_parameter(name).fill_(value)
    return neuron


# -- parameters that training moved ----------------------------------------------------------------

BROKEN = {
    "beta is NaN": (
        lambda: snn.Leaky(0.9, learn_beta=True),
        "beta",
        NAN,
        "Leaky: beta holds 1 NaN or infinite",
    ),
    "alpha is infinite": (
        lambda: snn.Synaptic(0.9, 0.8, learn_alpha=True),
        "alpha",
        INF,
        "Synaptic: alpha holds 1",
    ),
    "threshold is NaN": (
        lambda: snn.Leaky(0.9, learn_threshold=True),
        "threshold",
        NAN,
        "threshold holds 1",
    ),
    "threshold is 0": (
        lambda: snn.Leaky(0.9, learn_threshold=True),
        "threshold",
        0.0,
        "threshold must stay above 0",
    ),
    "threshold is negative": (
        lambda: snn.Synaptic(0.9, 0.8, learn_threshold=True),
        "threshold",
        -0.1,
        "got -0.1",
    ),
    "V is NaN": (lambda: snn.RLeaky(0.9, all_to_all=False), "V", NAN, "RLeaky: V holds 1"),
    "feedback is NaN": (
        lambda: snn.RLeaky(0.9, linear_features=3),
        "recurrent.weight",
        NAN,
        "RLeaky: recurrent.weight holds 9 NaN or infinite",
    ),
    "feedback bias is infinite": (
        lambda: snn.RSynaptic(0.9, 0.8, linear_features=3),
        "recurrent.bias",
        INF,
        "recurrent.bias holds 3",
    ),
    "graded factor is NaN": (
        lambda: snn.Leaky(0.9, learn_graded_spikes_factor=True),
        "graded_spikes_factor",
        NAN,
        "graded_spikes_factor holds 1",
    ),
    "alpha meets beta": (
        lambda: snn.Alpha(0.9, 0.8, learn_alpha=True, learn_beta=True),
        "alpha",
        0.8,
        "alpha and beta must differ",
    ),
    "both are above 1": (
        lambda: written(both(), "beta", 1.5),
        "alpha",
        1.2,
        "alpha and beta must differ",
    ),
    "alpha is 0": (
        both := lambda: snn.Alpha(0.9, 0.8, learn_alpha=True, learn_beta=True),
        "alpha",
        0.0,
        "must differ",
    ),
    "gate is NaN": (
        lambda: snn.SLSTM(3, 3),
        "lstm_cell.weight_hh",
        NAN,
        "SLSTM: lstm_cell.weight_hh holds 36",
    ),
}


@pytest.mark.parametrize("mode", ["step", "sequence"])
@pytest.mark.parametrize(("make", "name", "value", "text"), BROKEN.values(), ids=list(BROKEN))
def test_a_parameter_that_training_broke_is_named_at_the_next_call(
    make: Any, name: str, value: float, text: str, mode: str
) -> None:
    neuron = make()
    neuron.mode = mode
    x = torch.ones(4, 2, 3) if mode == "sequence" else torch.ones(2, 3)
    neuron(x)
    written(neuron, name, value)
    for _ in range(2):  # not only once
        with pytest.raises(ValueError, match=text):
            neuron(x)


@pytest.mark.parametrize("way", ["scan", "final"])
@pytest.mark.parametrize(("make", "name", "value", "text"), BROKEN.values(), ids=list(BROKEN))
def test_a_scan_with_a_parameter_that_training_broke_looked_like_silence(
    make: Any, name: str, value: float, text: str, way: str
) -> None:
    neuron = make()
    written(neuron, name, value)
    with pytest.raises(ValueError, match=text):
        getattr(neuron, way)(torch.ones(4, 2, 3))


def test_snn_run_names_a_threshold_that_training_pushed_below_0() -> None:
    net = nn.Sequential(nn.Linear(3, 2), snn.Leaky(0.9, learn_threshold=True, init_hidden=True))
    snn.run(net, torch.zeros(4, 1, 3))
    written(net[1], "threshold", -0.1)
    with pytest.raises(ValueError, match=r"threshold must stay above 0, got -0\.1"):
        snn.run(net, torch.zeros(4, 1, 3))


def test_a_broken_parameter_that_was_repaired_is_accepted_again() -> None:
    neuron, x = written(snn.Leaky(0.9, learn_beta=True), "beta", NAN), torch.ones(1, 2)
    with pytest.raises(ValueError, match="beta holds"):
        neuron(x)
    assert torch.isfinite(written(neuron, "beta", 0.5)(x)[1]).all()


def test_a_parameter_assigned_through_data_or_a_checkpoint_is_looked_at() -> None:
    neuron, x = snn.Leaky(0.9, learn_beta=True), torch.ones(1, 2)
    neuron(x)
    neuron.load_state_dict({**neuron.state_dict(), "threshold": torch.tensor(NAN)})
    with pytest.raises(ValueError, match="threshold holds 1"):
        neuron(x)
    other = snn.Leaky(0.9)
    other(x)
    other.beta = torch.tensor(NAN)
    with pytest.raises(ValueError, match="beta holds 1"):
        other(x)


def test_parameters_are_read_only_where_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []
    real = snn.Neuron._check_values
    monkeypatch.setattr(
        snn.Neuron,
        "_check_values",
        lambda neuron, changed: (looks.append(changed), real(neuron, changed)),
    )
    neuron, x = (
        snn.RLeaky(0.9, linear_features=3, learn_beta=True, init_hidden=True),
        torch.ones(1, 3),
    )
    for _ in range(5):
        neuron(x)
    assert len(looks) == 1
    written(neuron, "beta", 0.5)
    neuron(x)
    assert [name for name, _ in looks[1]] == ["beta"] and len(looks) == 2


def test_values_that_were_never_set_after_the_meta_device_are_named_and_can_be_set() -> None:
    with torch.device("meta"):
        neuron = snn.Leaky(0.9, threshold=0.5, learn_beta=True, reset_mechanism="zero")
    neuron.to_empty(device="cpu")
    with pytest.raises(RuntimeError, match="was made on the meta device and holds no values yet"):
        neuron(torch.ones(1, 2))
    neuron.reset_parameters()
    expected = snn.Leaky(0.9, threshold=0.5, reset_mechanism="zero")(torch.ones(1, 2))
    assert torch.equal(neuron(torch.ones(1, 2))[1], expected[1])
    assert neuron.state_dict()["reset_mechanism_val"] == 1


# -- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("mode", ["step", "sequence"])
def test_a_state_that_is_not_finite_is_named_when_it_is_passed(value: float, mode: str) -> None:
    x = torch.ones(3, 1, 2) if mode == "sequence" else torch.ones(1, 2)
    with pytest.raises(ValueError, match="syn, a state of Synaptic, holds 2 NaN or infinite"):
        snn.Synaptic(0.9, 0.8, mode=mode)(x, torch.full((1, 2), value), torch.zeros(1, 2))


@pytest.mark.parametrize("num_steps", [None, 3])
def test_a_short_scan_of_nan_looked_like_silence(num_steps: int | None) -> None:
    x = torch.full((2, 3, 4) if num_steps is None else (3, 4), torch.nan)
    with pytest.raises(ValueError, match=r"the input of Leaky holds .* NaN or infinite values"):
        snn.Leaky(0.9, mode="sequence").scan(x, num_steps=num_steps)


def test_a_state_that_is_not_finite_is_named_when_it_was_assigned() -> None:
    neuron = snn.Leaky(0.9, init_hidden=True)
    neuron(torch.ones(1, 2))
    neuron.mem = torch.full((1, 2), NAN)
    with pytest.raises(ValueError, match="mem, a state of Leaky, holds 2"):
        neuron(torch.ones(1, 2))


def test_a_state_that_is_not_finite_is_named_when_a_recorded_loop_passes_it() -> None:
    neuron = snn.Leaky(0.9)

    def loop(x: Tensor, mem: Tensor) -> Tensor:
        for x_t in x:
            _, mem = neuron(x_t, mem)
        return mem

    x = torch.ones(3, 1, 2)
    assert torch.isfinite(snn.layerwise(loop)(x, torch.zeros(1, 2))).all()
    with pytest.raises(ValueError, match="mem, a state of Leaky, holds 2"):
        snn.layerwise(loop)(x, torch.full((1, 2), NAN))


def test_a_membrane_that_overflows_in_float16_is_named() -> None:
    neuron = snn.Leaky(1.0, threshold=1.0, reset_mechanism="none", init_hidden=True)
    x = torch.full((1, 1), 60000.0, dtype=torch.float16)
    with pytest.raises(ValueError, match="mem, a state of Leaky, holds 1 NaN or infinite"):
        for _ in range(3):
            neuron(x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64, torch.float16])
def test_zeros_of_another_dtype_are_taken_as_a_state_at_rest(dtype: torch.dtype) -> None:
    spk, mem = snn.Leaky(0.9)(torch.full((1, 2), 0.5), torch.zeros(1, 2, dtype=dtype))
    assert mem.tolist() == [[0.5, 0.5]] and spk.dtype == mem.dtype == torch.float32


def test_whole_numbers_are_cast_and_other_states_of_another_dtype_are_named() -> None:
    assert (
        snn.Leaky(0.5)(torch.zeros(1, 1), torch.tensor([[2]]))[1].item() == 0.0
    )  # 0.5 * 2, less the threshold
    with pytest.raises(
        TypeError, match=r"mem is torch.float64, the input torch.float32; write mem.to\(x.dtype\)"
    ):
        snn.Leaky(0.5)(torch.zeros(1, 1), torch.full((1, 1), 0.3, dtype=torch.float64))


@pytest.mark.parametrize("state", [0, 0.0, [[0.0]], "rest"])
def test_a_state_that_is_no_tensor_is_named(state: Any) -> None:
    with pytest.raises(TypeError, match="Leaky: mem must be a tensor, got"):
        snn.Leaky(0.9)(torch.ones(1, 1), state)


def test_a_transform_that_has_ended_leaves_no_tensor_of_its_own_behind() -> None:
    neuron = snn.Leaky(0.9, init_hidden=True, output=True)
    torch.func.grad(lambda x: neuron(x)[1].sum())(torch.ones(1, 2))
    assert not torch._C._functorch.is_functorch_wrapped_tensor(neuron.mem)
    assert torch.equal(neuron.mem, torch.ones(1, 2)) and not neuron.mem.requires_grad
    neuron(torch.ones(1, 2))


def test_a_state_of_a_vmap_that_has_ended_is_named() -> None:
    neuron = snn.Leaky(0.9, init_hidden=True, output=True)
    torch.func.vmap(lambda x: neuron(x)[1])(torch.ones(4, 1, 2))
    with pytest.raises(RuntimeError, match=r"vmap that has ended, .*; call snn.reset\(net\)"):
        neuron(torch.ones(1, 2))
    snn.reset(neuron)
    neuron(torch.ones(1, 2))


# -- arguments -------------------------------------------------------------------------------------

REFUSED = {
    "text as a flag": (
        lambda: snn.Leaky(0.9, init_hidden="no"),
        "init_hidden must be True or False, got 'no'",
    ),
    "tensor as a flag": (
        lambda: snn.Leaky(0.9, output=torch.tensor(True)),
        "output must be True or False",
    ),
    "number as a flag": (
        lambda: snn.Leaky(0.9, inhibition=2),
        "inhibition must be True or False, got 2",
    ),
    "text as learn_beta": (
        lambda: snn.Leaky(0.9, learn_beta="yes"),
        "learn_beta must be True or False",
    ),
    "flag as threshold": (lambda: snn.Leaky(0.9, True), "threshold must be a real number"),
    "complex beta": (lambda: snn.Leaky(1j), "beta must be a real number"),
}


@pytest.mark.parametrize(("make", "text"), REFUSED.values(), ids=list(REFUSED))
def test_an_argument_of_the_wrong_kind_is_named(make: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        make()


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("name", ["threshold", "graded_spikes_factor"])
def test_a_constructor_refuses_numbers_that_are_not_finite(name: str, value: float) -> None:
    with pytest.raises(
        ValueError, match=rf"{name} must be in \(.*\), got {value}; write a finite number"
    ):
        snn.Leaky(0.9, **{name: value})


OWNERS = {
    "RLeaky": (lambda: snn.RLeaky(0.9, linear_features=3), (2, 3)),
    "RSynaptic": (lambda: snn.RSynaptic(0.9, 0.8, linear_features=3), (2, 3)),
    "SLSTM": (lambda: snn.SLSTM(3, 3), (2, 3)),
    "SConv2dLSTM": (lambda: snn.SConv2dLSTM(1, 2, 3), (2, 1, 4, 4)),
    "LeakyParallel": (lambda: snn.LeakyParallel(3, 3), (4, 2, 3)),
    "LinearLeaky": (lambda: snn.LinearLeaky(0.9, 3, 3), (4, 2, 3)),
    "AssociativeLeaky": (lambda: snn.AssociativeLeaky(3, 2, 2, 4), (4, 2, 3)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("make", "shape"), OWNERS.values(), ids=list(OWNERS))
def test_an_input_in_another_dtype_than_the_weights_is_named(
    make: Any, shape: Any, dtype: torch.dtype
) -> None:
    with pytest.raises(
        TypeError, match=rf"has \w+ in torch.float32, got an input in {dtype}; write x.to"
    ):
        make()(torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize(
    ("name", "shape"), [("SLSTM", (5, 2, 3)), ("SConv2dLSTM", (5, 2, 1, 4, 4))]
)
@pytest.mark.filterwarnings("ignore::spikeloom.core.neuron.TimeAxisWarning")
def test_a_cell_that_gets_a_sequence_as_one_step_says_so(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes one step \[B, .*; for a sequence write snn.run"):
        OWNERS[name][0]()(torch.ones(shape))


def test_inhibition_among_no_features_gives_no_spikes() -> None:
    assert snn.Leaky(0.9, inhibition=True)(torch.ones(2, 0))[0].shape == (2, 0)


def test_one_channel_of_state_leaky_stands_for_any_number() -> None:
    x = torch.rand(5, 2, 7, generator=torch.Generator().manual_seed(0))
    for options in ({}, {"kernel_truncation_steps": 2}):
        one, seven = (snn.StateLeaky(beta=0.9, channels=c, **options)(x) for c in (1, 7))
        assert all(torch.equal(a, b) for a, b in zip(one, seven, strict=True))
    with pytest.raises(ValueError, match="channels=3"):
        snn.StateLeaky(beta=0.9, channels=3)(x)
