"""Losses, accuracies, regularisers, decoders and the quantiser name NaN and arguments of a wrong
kind."""

import pytest
import torch

import spikeloom as snn
import spikeloom.functional as SF
from spikeloom import decode

T, B, N = 4, 3, 2
LABELS = torch.tensor([0, 1, 1])
MAKE = {
    name: getattr(SF, name)
    for name in (
        "ce_rate_loss",
        "ce_count_loss",
        "ce_max_membrane_loss",
        "mse_count_loss",
        "mse_rate_loss",
        "mse_membrane_loss",
        "mse_temporal_loss",
        "ce_temporal_loss",
    )
}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [*MAKE, "accuracy_rate", "accuracy_temporal"])
def test_an_output_of_nan_is_refused_by_name_and_not_counted_as_silence(name, bad):
    spk = torch.rand(T, B, N)
    spk[1, 2, 0] = bad
    judge = getattr(SF, name) if name.startswith("accuracy") else MAKE[name]()
    with pytest.raises(
        ValueError, match=rf"{name}.*: the output holds 1 NaN or infinite values of 24"
    ):
        judge(spk, LABELS)
    spk[1, 2, 0] = 0.5
    assert float(torch.as_tensor(judge(spk, LABELS)).sum()) >= 0


@pytest.mark.parametrize("name", [*MAKE, "accuracy_rate", "accuracy_temporal"])
def test_labels_of_nan_are_called_nan_and_an_empty_batch_is_called_empty(name):
    judge = getattr(SF, name) if name.startswith("accuracy") else MAKE[name]()
    with pytest.raises(TypeError, match=r"class labels .*got NaN; write integer labels"):
        judge(torch.rand(T, B, N), torch.tensor([0.0, float("nan"), 1.0]))
    with pytest.raises(ValueError, match="at least one sample and one output, got "):
        judge(torch.rand(T, 0, N), LABELS[:0])
    with pytest.raises(TypeError, match=r"expects real outputs, got torch.complex64"):
        judge(torch.rand(T, B, N) * 1j, LABELS)


@pytest.mark.parametrize("name", MAKE)
def test_gradients_of_single_samples_by_vmap_equal_the_loop(name):
    """The check of labels looks at values, which a transform does not have."""
    loss = MAKE[name]()
    spk = (torch.rand(B, T, 1, N) > 0.5).float()
    grad = torch.func.grad(lambda s, y: loss(s, y).sum())
    found = torch.func.vmap(grad)(spk, LABELS[:, None])
    for i in range(B):
        torch.testing.assert_close(found[i], grad(spk[i], LABELS[i : i + 1]))


@pytest.mark.parametrize(
    ("weight", "error", "text"),
    [
        ("high", TypeError, "weight must hold one number per class, got str"),
        ([[1.0, 2.0]], ValueError, r"weight must hold one number per class, got shape \(1, 2\)"),
        (torch.tensor([1.0, float("nan")]), ValueError, "weight must be finite, got NaN"),
        ([], ValueError, r"weight must hold one number per class, got shape \(0,\)"),
    ],
)
@pytest.mark.parametrize("name", MAKE)
def test_class_weights_are_checked_when_the_loss_is_made(name, weight, error, text):
    with pytest.raises(error, match=text):
        MAKE[name](weight=weight)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: SF.mse_count_loss(correct_rate="1"),
            TypeError,
            "correct_rate must be a real number, got '1'",
        ),
        (
            lambda: SF.mse_count_loss(incorrect_rate=float("nan")),
            ValueError,
            "incorrect_rate must be finite",
        ),
        (
            lambda: SF.mse_membrane_loss(on_target=None),
            TypeError,
            "on_target must be a real number, got None",
        ),
        (
            lambda: SF.mse_membrane_loss(time_var_targets="no"),
            TypeError,
            "time_var_targets must be True or False",
        ),
        (
            lambda: SF.ce_count_loss(population_code="no"),
            TypeError,
            "population_code must be True or False",
        ),
        (
            lambda: SF.ce_count_loss(True, "10"),
            TypeError,
            "num_classes must be a whole number, got '10'",
        ),
        (lambda: SF.ce_count_loss(True, -2), ValueError, "num_classes must be 0 or more, got -2"),
        (lambda: SF.mse_temporal_loss(tolerance="1"), TypeError, "tolerance must be a real number"),
        (
            lambda: SF.mse_temporal_loss(on_target="early"),
            TypeError,
            "on_target must be a time or a sequence",
        ),
        (
            lambda: SF.mse_temporal_loss(off_target=float("nan")),
            ValueError,
            "off_target must be finite, got nan",
        ),
        (
            lambda: SF.SpikeTime(True)(torch.rand(T, B, N), LABELS.tolist()),
            TypeError,
            "targets must be a torch.Tensor",
        ),
        (
            lambda: SF.SpikeTime(True)(torch.rand(T, B, N), torch.full((B, N), float("nan"))),
            ValueError,
            "SpikeTime: the target times holds 6 NaN",
        ),
        (lambda: SF.l1_rate_sparsity("1"), TypeError, "Lambda must be a real number"),
        (
            lambda: SF.l1_rate_sparsity()([1.0]),
            TypeError,
            "spk_out must be a torch.Tensor, got list",
        ),
        (
            lambda: SF.l1_rate_sparsity()(torch.tensor([float("nan")])),
            ValueError,
            "spk_out holds 1 NaN",
        ),
        (lambda: SF.rate_band("0", 1), TypeError, "low must be a real number, got '0'"),
        (lambda: SF.rate_band(0.1, float("nan")), ValueError, "high must be finite, got nan"),
        (lambda: SF.synops("net"), TypeError, "synapses must be a real number, got 'net'"),
        (lambda: SF.synops(3.0)(torch.ones(2)), ValueError, r"synops expects spikes \[T, B, ...\]"),
        (
            lambda: SF.fan_out(None, (3,)),
            TypeError,
            "fan_out expects a module with a weight, got NoneType",
        ),
        (
            lambda: SF.state_quant(num_bits=2.5),
            TypeError,
            "num_bits must be a whole number, got 2.5",
        ),
        (
            lambda: SF.state_quant(threshold="1"),
            TypeError,
            "threshold must be a real number, got '1'",
        ),
        (
            lambda: SF.state_quant(upper_limit=float("inf")),
            ValueError,
            "upper_limit must be finite",
        ),
        (lambda: SF.state_quant(uniform="no"), TypeError, "uniform must be True or False"),
        (lambda: decode.rates(torch.rand(T, B), dt="1"), TypeError, "dt must be a real number"),
        (lambda: decode.groups([1, 2], 2), TypeError, "x must be a torch.Tensor, got list"),
        (
            lambda: decode.groups(torch.ones(4), "2"),
            TypeError,
            "num_classes must be a whole number",
        ),
        (
            lambda: decode.first_spike(torch.full((T, B), float("nan"))),
            ValueError,
            "first_spike: the spikes holds 12",
        ),
        (
            lambda: decode.weighted_mean(torch.ones(T, B), [1.0]),
            TypeError,
            "preferred must be a torch.Tensor",
        ),
    ],
)
def test_an_argument_of_a_wrong_kind_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_checks_of_values_leave_losses_compilable():
    loss = SF.ce_count_loss()
    compiled = torch.compile(loss._compute_loss, backend="eager", fullgraph=True)
    spk = torch.rand(T, B, N)
    torch.testing.assert_close(compiled(spk, LABELS).mean(), loss(spk, LABELS))


def test_gradients_of_single_samples_through_a_network_equal_the_loop() -> None:
    class Over(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return snn.run(self.net, x, 5)

    net, x, y = Over(), torch.rand(4, 4), torch.tensor([0, 1, 2, 0])
    parameters = dict(net.named_parameters())

    def loss(values: dict[str, torch.Tensor], sample: torch.Tensor, label: torch.Tensor):
        spk = torch.func.functional_call(net, values, (sample[None],))
        return SF.ce_count_loss()(spk, label[None])

    gradient = torch.func.grad(loss)
    found = torch.func.vmap(gradient, (None, 0, 0))(parameters, x, y)
    for name, value in found.items():
        wanted = torch.stack([gradient(parameters, a, b)[name] for a, b in zip(x, y, strict=True)])
        assert torch.allclose(value, wanted, atol=1e-6)


def test_forward_mode_through_a_smooth_network_differs_from_reverse_mode() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), snn.LI(0.9, init_hidden=True))
    x, direction = torch.rand(2, 4), torch.rand(2, 4)
    forward = torch.func.jvp(lambda x: snn.run(net, x, 5), (x,), (direction,))[1]
    jacobian = torch.func.jacrev(lambda x: snn.run(net, x, 5))(x)
    assert torch.allclose(forward, (jacobian * direction).flatten(3).sum(-1), atol=1e-5)
