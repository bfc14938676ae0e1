"""Norms of networks over time, against their equations."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from ways import as_the_loop, every_way

import spikeloom as snn
from spikeloom.running import record

T, B, C = 4, 5, 3
X = torch.randn(T, B, C, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(T, B, C, 2, 2, dtype=torch.float64)


def effective(mode: str = "step") -> snn.TemporalEffectiveBatchNorm:
    """TEBN with different factors."""
    layer = snn.TemporalEffectiveBatchNorm(nn.BatchNorm1d(C), T, mode=mode).double()
    with torch.no_grad():
        layer.scale.copy_(torch.linspace(0.5, 2.0, T).view(T, 1))
    return layer


def through_time() -> snn.EachStep:
    return snn.EachStep(snn.BatchNormTT1d(C, T)).double()


def normalised(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


@pytest.mark.parametrize("x", [X, IMAGES], ids=["features", "images"])
def test_the_output_of_tdbn_has_the_scale_of_the_threshold(x: Tensor) -> None:
    kinds = {3: snn.ThresholdDependentBatchNorm1d, 5: snn.ThresholdDependentBatchNorm2d}
    layer = kinds[x.dim()](C, threshold=0.5, alpha=3.0).double()
    axes = tuple(axis for axis in range(x[0].dim()) if axis != 1)
    torch.testing.assert_close(layer(x[0]), 1.5 * normalised(x[0], axes))


def test_each_step_of_tebn_has_a_factor_and_all_steps_have_common_statistics() -> None:
    expected = normalised(X, (0, 1)) * torch.linspace(0.5, 2.0, T).view(T, 1, 1)
    torch.testing.assert_close(effective("sequence")(X), expected)
    torch.testing.assert_close(snn.run(effective(), X, batch_norm="time"), expected)


def test_a_step_of_tebn_in_a_loop_has_statistics_of_its_own() -> None:
    expected = normalised(X, (1,)) * torch.linspace(0.5, 2.0, T).view(T, 1, 1)
    layer = effective()
    torch.testing.assert_close(torch.stack([layer(x) for x in X]), expected)


def test_a_sequence_in_pieces_goes_on_with_the_factors() -> None:
    layer = effective("sequence").eval()
    whole = layer(X)
    snn.reset(layer)
    torch.testing.assert_close(torch.cat([layer(X[:1]), layer(X[1:])]), whole)


@every_way
@pytest.mark.parametrize("make", [effective, through_time])
def test_a_norm_run_over_time_gives_what_the_plain_loop_gives(way: str, make: object) -> None:
    def net() -> nn.Module:
        return nn.Sequential(nn.Linear(C, C), make(), snn.Leaky(0.9, init_hidden=True))

    as_the_loop(way, net, X)


def test_each_step_has_its_own_layer() -> None:
    layer = through_time()
    for t, x in enumerate(X):
        assert torch.equal(layer(x), copy.deepcopy(layer.layers[t])(x))
    counts = [norm.num_batches_tracked.item() for norm in layer.layers]
    assert counts == [1] * T
    again = snn.EachStep(layer.layers, mode="sequence")
    torch.testing.assert_close(again(X), normalised(X, (1,)))


@pytest.mark.parametrize("make", [effective, through_time])
def test_more_steps_than_there_are_layers_are_refused(make: object) -> None:
    layer = make()
    for x in X:
        layer(x)
    with pytest.raises(ValueError, match=r"has time_steps=4, got step 5; call snn.reset\(net\)"):
        layer(X[0])
    snn.reset(layer)
    layer(X[0])


def test_a_copy_goes_on_at_the_step_of_its_original() -> None:
    layer = effective().eval()
    layer(X[0])
    expected = copy.deepcopy(layer)(X[1])
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.to("cpu")):
        assert torch.equal(other(X[1]), expected)


def test_a_detached_network_goes_on_at_its_step() -> None:
    net = nn.Sequential(effective().eval(), snn.Leaky(0.9, init_hidden=True))
    expected = copy.deepcopy(net)
    for x in X[:2]:
        net(x)
        expected(x)
    snn.detach(net)
    assert torch.equal(net(X[2]), expected(X[2]))


def test_a_failed_run_leaves_the_step_as_it_was() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = effective().eval()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3:
                raise OSError
            return self.norm(x)

    net = Fails()
    with pytest.raises(OSError):
        snn.run(net, X, reset=False)
    expected = effective().eval()(X[0])
    assert torch.equal(snn.run(net, X[:1], reset=False)[0], expected)


@pytest.mark.parametrize("memory", ["compressed", "checkpoint"])
def test_a_run_in_segments_has_the_same_factors(memory: str) -> None:
    x = X.repeat(10, 20, 1)
    layer = snn.TemporalEffectiveBatchNorm(nn.BatchNorm1d(C), 40).double()
    with torch.no_grad():
        layer.scale.copy_(torch.linspace(0.5, 2.0, 40).view(40, 1))
    net = nn.Sequential(layer, snn.Leaky(0.9, init_hidden=True)).eval()
    torch.testing.assert_close(snn.run(net, x, memory=memory), snn.run(net, x))


# -- statistics of all steps together, or an error -------------------------------------------------


class Peeking(nn.Module):
    """Reads a value of each step behind a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(C).double()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return y if y.detach().sum().item() < 1e9 else -y


class Checkpointed(Peeking):
    """Computes its batch norm outside of the recording."""

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.norm, x, use_reentrant=False)


@pytest.mark.parametrize("kind", [Peeking, Checkpointed])
def test_statistics_of_all_steps_are_refused_where_a_value_is_needed_before(kind: type) -> None:
    net = kind()
    with pytest.raises(ValueError, match=r"of all steps together, but something needed the values"):
        snn.run(net, X, batch_norm="time")
    snn.run(net, X)
    snn.run(net.eval(), X, batch_norm="time")


def test_statistics_of_all_steps_are_refused_inside_another_recording() -> None:
    net = nn.Sequential(nn.BatchNorm1d(C).double())
    recorded = snn.layerwise(lambda x: snn.run(net, x, batch_norm="time"))
    with pytest.raises(ValueError, match=r"^0: batch_norm=\"time\" .* inside snn.layerwise"):
        recorded(X)
    net.eval()
    recorded(X)


def test_statistics_of_all_steps_are_those_of_large_and_of_deep_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "PIECE", 10)
    monkeypatch.setattr(record, "UNREPEATED", 0)
    integrator = snn.LI(0.9, init_hidden=True)
    net = nn.Sequential(integrator, nn.Dropout(0.0), nn.BatchNorm1d(C)).double()
    x = snn.run(integrator, X[0], num_steps=T)
    output = snn.run(net, X[0], num_steps=T, batch_norm="time")
    torch.testing.assert_close(output, normalised(x, (0, 1)))


@pytest.mark.parametrize("name", ["threshold", "alpha"])
def test_a_scale_that_is_not_positive_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be positive, got 0"):
        snn.ThresholdDependentBatchNorm2d(3, **{name: 0.0})


REFUSED = {
    "no features": (lambda: snn.ThresholdDependentBatchNorm2d(0), ValueError, "num_features"),
    "fewer": (lambda: snn.ThresholdDependentBatchNorm1d(-1), ValueError, "num_features"),
    "a fraction": (lambda: snn.ThresholdDependentBatchNorm1d(2.5), TypeError, "num_features"),
    "eps": (lambda: snn.ThresholdDependentBatchNorm1d(3, eps=-1.0), ValueError, "eps"),
    "momentum": (lambda: snn.ThresholdDependentBatchNorm2d(3, momentum=2), ValueError, "momentum"),
    "no inputs": (lambda: snn.BatchNormTT1d(0, 3), ValueError, "input_features"),
    "no steps": (lambda: snn.BatchNormTT2d(3, 0), ValueError, "time_steps must be in"),
    "steps": (lambda: snn.BatchNormTT2d(3, True), TypeError, "time_steps must be a whole number"),
    "no norm": (lambda: snn.TemporalEffectiveBatchNorm(None, 3), TypeError, "norm must be a mod"),
    "no list": (lambda: snn.EachStep(None), TypeError, "layers must be one module for each"),
    "numbers": (lambda: snn.EachStep([1]), TypeError, "layers must be one module for each"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_norms_without_sense_were_built_or_refused_by_torch(case: str) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


class Halved(nn.Module):
    """Leaves the recording at each step."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(x.tolist(), dtype=x.dtype) / 2


SOURCES = {
    "torch": lambda: X.clone(),
    "numpy": lambda: torch.from_numpy(X.numpy().copy()),
    "looked at": lambda: torch.as_tensor(X.clone().numpy()),  # as `fit` does for its checksum
}


@pytest.mark.parametrize("source", SOURCES)
def test_common_statistics_of_an_input_in_memory_of_numpy_were_those_of_each_step(
    source: str,
) -> None:
    norm, x = nn.BatchNorm1d(C).double(), SOURCES[source]()
    output = snn.run(nn.Sequential(norm), x, batch_norm="time")
    torch.testing.assert_close(output, normalised(X, (0, 1)))
    torch.testing.assert_close(norm.running_mean, 0.1 * X.mean((0, 1)))
    halved = snn.run(nn.Sequential(Halved(), norm), x, batch_norm="time")
    torch.testing.assert_close(halved, normalised(X / 2, (0, 1)), rtol=1e-4, atol=1e-4)


def test_common_statistics_of_a_norm_with_computed_weights_were_those_of_each_step() -> None:
    norm = nn.BatchNorm1d(C).double()
    nn.init.constant_(norm.weight, 3.0)
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(norm, dim=0))
    output = snn.run(net, X, batch_norm="time")
    torch.testing.assert_close(output, 3 * normalised(X, (0, 1)))
    output.square().sum().backward()
    gains = [p for name, p in net.named_parameters() if name.endswith("original0")]
    assert all(p.grad is not None and bool(p.grad.any()) for p in gains)


class Rescaled(nn.Module):
    """A batch norm whose scale is computed in the step."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(C).double()

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        scale = norm.weight * x.detach().mean()
        statistics = (norm.running_mean, norm.running_var)
        return nn.functional.batch_norm(x, *statistics, scale, norm.bias, True)


class Native(Rescaled):
    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        tensors = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        return torch.native_batch_norm(x, *tensors, True, 0.1, 1e-5)[0]


@pytest.mark.parametrize("kind", [Rescaled, Native])
def test_common_statistics_that_cannot_be_taken_were_those_of_each_step(kind: type) -> None:
    with pytest.raises(ValueError, match=r'batch_norm="time" takes the statistics of all steps'):
        snn.run(kind(), X, batch_norm="time")
    assert snn.run(kind(), X).shape == X.shape


def classifier() -> nn.Sequential:
    torch.manual_seed(3)
    layers = [nn.Linear(C, 8), nn.BatchNorm1d(8), snn.Leaky(0.8, threshold=0.4, init_hidden=True)]
    last = snn.Leaky(0.8, threshold=0.4, init_hidden=True, output=True)
    return nn.Sequential(*layers, nn.Linear(8, 2), last).double()


def test_fit_takes_common_statistics_as_a_run_does() -> None:
    x, y = torch.rand(12, T, C, dtype=torch.float64), torch.arange(12) % 2
    ours, fitted = classifier(), classifier()
    options: dict[str, Any] = {"encode": "sequence", "epochs": 1, "batch_size": 12}
    loss = snn.functional.ce_rate_loss()
    sgd = torch.optim.SGD(ours.parameters(), lr=0.1)
    loss(snn.run(ours, x.transpose(0, 1), batch_norm="time")[0], y).backward()
    sgd.step()
    snn.fit(
        fitted,
        (x, y, x, y),
        loss=loss,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        batch_norm="time",
        progress=False,
        **options,
    )
    for (name, a), b in zip(ours.state_dict().items(), fitted.state_dict().values(), strict=True):
        torch.testing.assert_close(b, a, msg=name)


def test_fit_and_layerwise_refuse_common_statistics_where_there_are_none() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = classifier()

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.net(x_t)[0] for x_t in x])

    net = snn.layerwise(Own())
    data = (X.transpose(0, 1), torch.arange(B) % 2) * 2
    options: dict[str, Any] = {"encode": "sequence", "progress": False, "batch_norm": "time"}
    with pytest.raises(ValueError, match=r'batch_norm="time" is for networks of one time step'):
        snn.fit(net, data, **options)
    with pytest.raises(ValueError, match=r'batch_norm="time" needs a rule that runs the whole'):
        snn.fit(classifier(), data, rule="tbptt", **options)
    with pytest.raises(ValueError, match="batch_norm must be one of 'step', 'time', got 'all'"):
        snn.fit(classifier(), data, **{**options, "batch_norm": "all"})
    with pytest.raises(TypeError, match=r"from each step, got batch_norm='time'; write snn\.run"):
        net(X, batch_norm="time")
    taken = snn.layerwise(lambda x, **named: named)
    assert taken(X, batch_norm="mine") == {"batch_norm": "mine"}
