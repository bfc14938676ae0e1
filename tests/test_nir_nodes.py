"""Graphs that others could have written, node by node, against the NumPy executor of
`nir_executor`."""

from itertools import pairwise
from typing import Any

import nir
import nir_executor
import numpy as np
import pytest
import torch

import spikeloom as snn
from spikeloom.nir import from_nir
from spikeloom.nir.neurons import SameStepLeaky

DT = 1e-4
RNG = np.random.default_rng(0)
RESETS = [("zero", False), ("subtract", False), ("none", False), ("subtract", True), ("zero", True)]


def between(low: float, high: float, shape: tuple[int, ...] = (4,)) -> np.ndarray:
    return np.random.default_rng(int(1000 * (high - low)) + len(shape)).uniform(low, high, shape)


def chain(*nodes: Any, shape: tuple[int, ...] = (4,), out: tuple[int, ...] | None = None) -> Any:
    """A graph of nodes in a row."""
    names = [f"node{i}" for i in range(len(nodes))]
    path = ["input", *names, "output"]
    both = {"input": nir.Input(np.array(shape)), "output": nir.Output(np.array(out or shape))}
    return nir.NIRGraph(
        {**both, **dict(zip(names, nodes, strict=True))}, list(pairwise(path)), type_check=False
    )


def outputs(graph: Any, x: np.ndarray, **options: Any) -> np.ndarray:
    """What our network gives for the same samples, [T, ...], in float64."""
    net = from_nir(graph, dtype=torch.float64, **options)
    with torch.no_grad(), snn.backend("eager"):
        return snn.run(net, torch.from_numpy(x).unsqueeze(1))[:, 0].numpy()


def agree(graph: Any, x: np.ndarray, *, spiking: bool = True, **options: Any) -> None:
    found = outputs(graph, x, **options)
    expected = nir_executor.run(graph, x, **options)
    if spiking:
        assert 0 < expected.mean() < 1
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def current(shape: tuple[int, ...] = (4,), steps: int = 80, size: float = 3.0) -> np.ndarray:
    return np.random.default_rng(5).uniform(-0.2 * size, size, (steps, *shape))


LIF = {
    "tau": between(5e-4, 4e-3),
    "r": between(0.5, 20),
    "v_leak": between(-0.5, 0.2),
    "v_threshold": between(0.5, 2),
}
RESET = between(-0.8, 0.4)
CUBA = {"tau_syn": between(2e-4, 2e-3), "tau_mem": between(5e-4, 4e-3), "w_in": between(0.5, 5)} | {
    key: LIF[key] for key in ("r", "v_leak", "v_threshold")
}


# -- neurons ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["rest", "zero"])
@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF"])
def test_neurons_that_fire_at_rest_are_read(kind: str, reset: str, start: str) -> None:
    below = np.array([-0.5, 0.0, 0.3, -0.1])
    fields = {
        "IF": {"r": LIF["r"] * 500, "v_threshold": below},
        "LIF": {**LIF, "v_threshold": below},
        "CubaLIF": {**CUBA, "v_threshold": below},
    }[kind]
    graph = chain(getattr(nir, kind)(**fields, v_reset=below - between(-0.2, 1.0)))
    x = current(size=0.5)
    agree(graph, x, reset=reset, delay=False, dt=DT, start=start)
    agree(graph, np.zeros_like(x), spiking=False, reset=reset, delay=False, dt=DT, start=start)


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
@pytest.mark.parametrize("kind", ["LI", "CubaLI", "LIF", "CubaLIF"])
def test_a_membrane_that_starts_at_zero_is_started_at_rest(kind: str, reset: str) -> None:
    fields = dict(CUBA if kind.startswith("Cuba") else LIF)
    if kind.endswith("LI"):
        del fields["v_threshold"]
    graph = chain(getattr(nir, kind)(**fields))
    spiking = kind.endswith("LIF")
    found = [
        outputs(graph, current(), reset=reset, delay=False, dt=DT, start=start)
        for start in ("rest", "zero")
    ]
    assert spiking or not np.allclose(found[0], found[1])
    agree(graph, current(), spiking=spiking, reset=reset, delay=False, dt=DT, start="zero")
    graph.metadata["spikeloom"] = {"start": "zero"}
    assert np.array_equal(outputs(graph, current(), reset=reset, delay=False, dt=DT), found[1])


def test_a_membrane_starts_nowhere() -> None:
    graph = chain(nir.LI(LIF["tau"], LIF["r"], LIF["v_leak"]))
    with pytest.raises(ValueError, match="start must be one of"):
        from_nir(graph, dt=DT, start="leak")


@pytest.mark.parametrize(("reset", "delay"), RESETS)
@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF"])
def test_spiking_neurons_of_all_parameters_follow_eulers_equations(
    kind: str, reset: str, delay: bool
) -> None:
    fields = {
        "IF": {"r": LIF["r"] * 500, "v_threshold": LIF["v_threshold"]},
        "LIF": LIF,
        "CubaLIF": CUBA,
    }[kind]
    rest = 0.0 if kind == "IF" else LIF["v_leak"]
    v_reset = rest + np.zeros(4) if delay or reset == "none" else RESET
    if reset == "subtract" and delay:
        v_reset = rest + np.zeros(
            4
        )  # so that the distance from threshold to reset is that from threshold to rest
    node = getattr(nir, kind)(**fields, v_reset=v_reset)
    agree(
        chain(node),
        current(size=9.0 if kind == "CubaLIF" else 3.0),
        dt=DT,
        reset=reset,
        delay=delay,
    )


def test_a_reset_by_subtraction_takes_one_threshold_a_step_however_large_the_membrane() -> None:
    node = nir.LIF(np.full(1, 1e-3), np.full(1, 10.0), np.zeros(1), np.ones(1))
    x = np.full((6, 1), 4.0)
    agree(
        chain(node, shape=(1,)),
        np.concatenate([x, *[0 * x] * 5]),
        dt=DT,
        reset="subtract",
        delay=False,
    )
    net = from_nir(chain(node, shape=(1,)), convention="snntorch", reset="subtract")
    twin = snn.Leaky(0.9, reset_delay=False, init_hidden=True)
    spikes = snn.run(net, torch.from_numpy(x).float().unsqueeze(1))
    assert torch.equal(spikes, snn.run(twin, torch.from_numpy(x).float().unsqueeze(1)))


def test_equal_parameters_give_the_neurons_of_the_library_with_scalars() -> None:
    n = np.ones(4)
    made = from_nir(
        chain(
            nir.LIF(n * 1e-3, n * 10, n * 0, n * 2),
            nir.CubaLIF(n * 5e-4, n * 1e-3, n * 10, n * 0, n, w_in=n * 5),
            nir.IF(n * 1e4, n),
            nir.LI(n * 1e-3, n * 10, n * 0),
            nir.I(n * 1e4),
        ),
        dt=DT,
        reset="zero",
        delay=False,
    )
    modules = [module for name, module in made.named_modules() if name.startswith("node")]
    assert [type(m) for m in modules] == [snn.Leaky, snn.Synaptic, snn.IF, snn.LI, snn.LI]
    assert float(modules[0].beta) == pytest.approx(0.9) and modules[0].threshold.shape == ()
    assert float(modules[1].alpha) == pytest.approx(0.8)


def test_only_a_reset_of_its_own_kind_needs_a_neuron_of_its_own() -> None:
    n = np.ones(4)
    graph = chain(nir.LIF(n * 1e-3, n * 10, n * -0.1, n, n * -0.1))
    assert isinstance(
        from_nir(graph, dt=DT, reset="zero", delay=False).get_submodule("node0"), snn.Leaky
    )
    graph = chain(nir.LIF(n * 1e-3, n * 10, n * -0.1, n, n * -0.2))
    assert isinstance(
        from_nir(graph, dt=DT, reset="zero", delay=False).get_submodule("node0"), SameStepLeaky
    )


def test_delays_differ_between_neurons() -> None:
    agree(
        chain(nir.Delay(np.array([0.0, 1e-4, 5e-4, 2e-4]))), current(steps=12), spiking=False, dt=DT
    )
    with pytest.raises(
        ValueError, match=r"'node0' \(Delay\): the delay is 1.5 steps of dt=0.0001; pass a dt"
    ):
        from_nir(chain(nir.Delay(np.full(4, 1.5e-4))), dt=DT)


# -- layers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [(0, -1), (0, 2), (1, -1), (0, 1), (-2, -1), (1, 2)])
def test_flattening_counts_axes_without_the_batch(start: int, end: int) -> None:
    node = nir.Flatten({"input": np.array([2, 3, 4])}, start, end)
    agree(chain(node, shape=(2, 3, 4), out=(1,)), RNG.normal(size=(2, 2, 3, 4)), spiking=False)


def test_a_flatten_of_sinabs_counts_the_batch() -> None:
    node = nir.Flatten({"input": np.array([0, 0, 0, 0])}, 1, -1)
    assert outputs(
        chain(node, shape=(2, 3, 4), out=(24,)), RNG.normal(size=(5, 2, 3, 4))
    ).shape == (5, 24)
