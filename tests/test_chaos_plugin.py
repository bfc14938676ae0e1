"""The plug-in: what it reads of a network, in every way of running it, and that it leaves the
network alone."""

import copy
import pickle
import warnings

import pytest
import torch
from reference_csbp import Layer
from torch import Tensor, nn

import spikeloom as snn
from spikeloom import chaos as ch
from spikeloom.chaos import CSBP, A, ChaosWarning, Z, attach, lif

T, B = 5, 3


def network(mode: str = "step", seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    neurons = [snn.Leaky(0.8, init_hidden=True, mode=mode) for _ in range(2)]
    return nn.Sequential(nn.Linear(4, 6), neurons[0], nn.Linear(6, 2), neurons[1]).double()


def inputs() -> Tensor:
    return 3 * torch.rand(T, B, 4, dtype=torch.double)


def by_run(net: nn.Sequential, x: Tensor) -> Tensor:
    return snn.run(net, x)


def by_steps(net: nn.Sequential, x: Tensor) -> Tensor:
    snn.reset(net)
    return torch.stack([net(x_t) for x_t in x])


def by_sequence(net: nn.Sequential, x: Tensor) -> Tensor:
    snn.reset(net)
    return snn.set_mode(net, "sequence")(x)


WAYS = [by_run, by_steps, by_sequence]


def recorded(net: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    """What each signal is, from records of a run."""
    found = snn.run(net, x, record=True).record
    pre = net[0](x)
    return {
        "pre": pre,
        "membrane": found["1.mem"],
        "membrane_last": found["1.mem"][-1],
        "rate": found["1.spk"].mean(0),
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("signal", ["pre", "membrane", "membrane_last", "rate"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "sum_units"])
def test_every_way_of_running_gives_the_same_loss_and_gradient(
    way: object, signal: str, reduction: str
) -> None:
    net, x = network(), inputs()
    chaos = attach(net, Z(2.0), layers="1", signal=signal, reduction=reduction, center=0.3)
    way(net, x)  # type: ignore[operator]
    loss = chaos()
    loss.backward()
    other = network()
    h = recorded(other, x)[signal]
    samples = h.dim() - 1
    expected = ch.ChaoticLoss(2.0, reduction=reduction, center=0.3)(h, samples=samples)
    expected.backward()
    assert torch.allclose(loss, expected)
    assert torch.allclose(net[0].weight.grad, other[0].weight.grad)
    assert net[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "sum_units"])
@pytest.mark.parametrize("layers", ["0", "1", "all"])
def test_a_static_input_counts_at_every_step(layers: str, reduction: str) -> None:
    x, values = 3 * torch.rand(B, 4, dtype=torch.double), []
    for static in (True, False):
        net = network()
        chaos = attach(net, Z(2.0), layers=layers, reduction=reduction)
        snn.run(net, x, num_steps=T) if static else snn.run(net, x.expand(T, B, 4))
        values.append(chaos())
    assert torch.allclose(*values)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "sum_units"])
def test_a_layer_without_neurons_gives_what_it_computes(way: object, reduction: str) -> None:
    net, x = network(), inputs()
    chaos = attach(net, Z(2.0), layers="2", reduction=reduction)
    way(net, x)  # type: ignore[operator]
    h = network()[2](snn.run(network()[:2], x))
    assert torch.allclose(chaos(), ch.ChaoticLoss(2.0, reduction=reduction)(h, samples=2))


def test_images_and_batch_norm_are_read_like_everything_else() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), lif(init_hidden=True), nn.Flatten(), nn.Linear(32, 2)
    )
    x = torch.rand(T, B, 1, 6, 6)
    chaos = attach(net, Z(1.0), layers=["1", "2"], reduction="sum_units")
    snn.run(net, x, batch_norm="time")
    h = nn.functional.batch_norm(net[0](x.flatten(0, 1)), None, None, training=True)
    assert torch.allclose(chaos(), 2 * ch.ChaoticLoss(1.0, reduction="sum_units")(h), rtol=1e-5)


def test_a_network_with_a_plug_in_runs_layer_by_layer_as_before() -> None:
    net, x = network(), inputs()
    plain = snn.run(net, x, explain=True)
    attach(net, Z(1.0), layers=["0", "1", "2"])
    attached = snn.run(net, x, explain=True)
    assert str(attached.plan) == str(plain.plan)
    assert "scan over time" in str(attached.plan)
    assert torch.equal(attached.output, plain.output)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strength", [Z(0.0), A(0.0)])
def test_strength_zero_leaves_the_training_unchanged_bit_for_bit(
    way: object, strength: object
) -> None:
    weights = []
    for attached in (False, True):
        net = network()
        sgd = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.9)
        chaos = attach(net, strength, signal="membrane", optimizer=sgd) if attached else None
        for n in range(5):
            torch.manual_seed(n)
            loss = (way(net, inputs()).mean() - 0.5) ** 2  # type: ignore[operator]
            loss = loss if chaos is None else loss + chaos()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
        weights.append([p.detach().clone() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert not torch.equal(weights[0][0], network()[0].weight)


@pytest.mark.parametrize("memory", ["compressed", "checkpoint"])
@pytest.mark.parametrize("signal", ["pre", "membrane", "membrane_last", "rate"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_saving_memory_changes_neither_loss_nor_gradient(
    memory: str, signal: str, reduction: str
) -> None:
    x, found = 3 * torch.rand(30, 16, 4, dtype=torch.double), []
    for how in ("exact", memory):
        net = network()
        layers = ["0", "1"] if signal == "pre" else ["1", "3"]
        chaos = attach(net, Z(2.0), layers=layers, signal=signal, reduction=reduction)
        output = snn.run(net, x, memory=how)
        loss = chaos()
        (loss + output.sum()).backward()
        assert all(
            not recorder.moments for recorder in chaos.recorders.values()
        )  # computed again, told once
        found.append((loss.detach(), *(p.grad for p in net.parameters())))
    assert torch.allclose(found[0][0], found[1][0])
    limit = 0.01 if memory == "compressed" else 1e-10  # that keeps membranes in half precision
    assert all((a - b).norm() <= limit * a.norm() for a, b in zip(*found, strict=True))


def test_evaluation_is_not_recorded() -> None:
    net, x = network(), inputs()
    chaos = attach(net, Z(1.0))
    with torch.no_grad():
        snn.run(net, x)
    snn.run(net.eval(), x)
    with pytest.raises(RuntimeError, match=r"layer '1' has recorded nothing"):
        chaos()


def test_two_sequences_before_a_loss_both_count() -> None:
    net, x = network(), inputs()
    chaos = attach(net, Z(1.0))
    snn.run(net, x), snn.run(net, x)
    both = chaos()
    snn.run(net, x)
    assert torch.allclose(both, chaos())  # a mean
    snn.run(net, x)
    chaos.clear()
    with pytest.raises(RuntimeError, match="recorded nothing"):
        chaos()


def test_taken_off_it_hears_nothing_more_and_copies_are_never_attached() -> None:
    net, x = network(), inputs()
    chaos = attach(net, Z(1.0), layers=["0", "1"])
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        snn.run(other, x)
    assert all(not recorder.moments for recorder in chaos.recorders.values())
    chaos.remove()
    snn.run(net, x)
    assert all(not recorder.moments for recorder in chaos.recorders.values())
    assert not net[1]._taps and not net[0]._forward_hooks


def test_layers_are_all_hidden_names_or_a_predicate() -> None:
    net = network()
    chosen = {"all": ["1", "3"], "hidden": ["1"], "2": ["2"], ("0", "3"): ["0", "3"]}
    for layers, paths in chosen.items():
        assert list(attach(net, Z(1.0), layers=layers).losses) == paths
    assert list(
        attach(net, Z(1.0), layers=lambda path, module: isinstance(module, nn.Linear)).losses
    ) == ["0", "2"]


def test_a_center_at_the_threshold_is_that_of_the_layer() -> None:
    net = nn.Sequential(
        nn.Linear(2, 2), snn.Leaky(0.5, threshold=torch.tensor([1.0, 2.0]), init_hidden=True)
    )
    chaos = attach(net, Z(1.0), center="threshold")
    x = torch.rand(4, 2)
    snn.run(net, x, num_steps=3)
    assert torch.allclose(chaos(), ch.chaotic_loss(net[0](x), 1.0, center=torch.tensor([1.0, 2.0])))


def test_the_preset_is_the_neuron_of_the_authors_with_its_gradient() -> None:
    x = 1.5 * torch.randn(12, 4, 6, dtype=torch.double)
    weights = torch.randn(12, 4, 6, dtype=torch.double)
    results = []
    for layer in (Layer(), lif(mode="sequence")):
        current = x.clone().requires_grad_()
        spk, mem = layer(current)
        last = mem if mem.dim() == 2 else mem[-1]
        ((spk * weights).sum() + last.square().sum()).backward()
        results.append((spk.detach(), last.detach(), current.grad))
    for ours, theirs in zip(results[1], results[0], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)
    assert 0.1 < results[0][0].mean() < 0.9


def test_noise_has_the_size_of_the_chaotic_gradient_in_each_parameter_and_no_direction() -> None:
    x, found = inputs(), {}
    for drive in ("chaos", "noise"):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(4, 400), snn.Leaky(0.8, init_hidden=True)).double()
        options = {"generator": torch.Generator().manual_seed(0)}
        chaos = attach(net, CSBP(Z(100.0), drive=drive), **options)  # type: ignore[arg-type]
        snn.run(net, x)
        chaos().backward()
        found[drive] = [p.grad for p in net.parameters()]
    for a, b in zip(*found.values(), strict=True):
        assert b.square().mean() == pytest.approx(float(a.square().mean()), rel=0.2)
        assert abs(nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)) < 0.2


def test_a_checkpoint_restores_strengths_and_annealing() -> None:
    net, x = network(), inputs()
    sgd = torch.optim.SGD(net.parameters(), lr=0.1)
    make = {"anneal": ch.Exponential(0.5), "optimizer": sgd}
    chaos = attach(net, A(3.8), batch=x, **make)
    chaos.step()
    other = attach(net, A(3.8), **make)
    other.load_state_dict(chaos.state_dict())
    assert {p: loss.z for p, loss in other.losses.items()} == {
        p: loss.z for p, loss in chaos.losses.items()
    }
    strength = other.report().layers["1"].A
    assert strength == pytest.approx(1.9, rel=1e-5)
    with pytest.raises(ValueError, match="attach with the same layers"):
        attach(net, Z(1.0), layers="1").load_state_dict(chaos.state_dict())


def test_the_published_multi_layer_recipe_warns_that_it_kills_neurons() -> None:
    net = nn.Sequential(nn.Linear(4, 4), lif(init_hidden=True))
    with pytest.warns(ChaosWarning, match=r"layer '1': the chaotic loss pulls towards 6\.19"):
        attach(net, Z(10.0), scale=10.0, reduction="sum")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attach(net, Z(10.0), center="threshold")
        attach(net, Z(0.0), scale=10.0)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"layers": "4"}, ValueError, "a name in layers must be one of"),
        ({"layers": lambda path, module: False}, ValueError, "layers must select at least one"),
        ({"layers": 3}, TypeError, "layers must be"),
        ({"layers": "0", "signal": "membrane"}, TypeError, "needs neurons, got Linear '0'"),
        ({"layers": "0", "center": "threshold"}, TypeError, "needs neurons, got Linear '0'"),
    ],
)
def test_layers_that_make_no_sense_are_refused(options: dict, error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        attach(network(), Z(1.0), **options)


def test_other_mistakes_are_refused() -> None:
    net = network()
    with pytest.raises(ValueError, match="must find spiking neurons"):
        attach(nn.Sequential(nn.Linear(1, 1)), Z(1.0))
    with pytest.raises(TypeError, match="net must be a torch"):
        attach(lambda x: x, Z(1.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="chaos must be settings or a strength"):
        attach(net, 3.8)
    chaos = attach(net, A(3.8))
    snn.run(net, inputs())
    with pytest.raises(RuntimeError, match=r"call chaos\.calibrate\(batch\) once before"):
        chaos()
    with pytest.raises(ValueError, match="measurement of a strength needs an optimiser"):
        chaos.calibrate(inputs())
