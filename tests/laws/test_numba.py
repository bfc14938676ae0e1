"""The loop printed for numba is the eager loop. Compiling takes seconds: a few neurons cover the
operations."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikeloom as snn
from spikeloom.kernels import sources

from .cases import build, current
from .test_programs import loops_agree

pytest.importorskip("numba", reason="the extra cpu is not installed")


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKELOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


CASES = [
    ("Leaky", {"reset_mechanism": "zero"}),
    ("Alpha", {}),
    ("AdLIF", {}),
    ("DeltaLeaky", {}),
    ("AdEx", {}),
    ("BalancedResonateFire", {}),
    ("TernaryLIF", {}),
    ("Synaptic", {"reset_delay": False}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[name for name, _ in CASES])
def test_the_numba_loop_is_the_eager_loop(name: str, options: dict[str, Any]) -> None:
    neuron = build(name, dtype=torch.float32, learn=True, **options)
    loops_agree(
        neuron,
        current(name, dtype=torch.float32, steps=20),
        torch.float32,
        backend="numba",
        bits=True,
    )


def test_parameters_for_each_neuron_and_a_constant_input() -> None:
    neuron = snn.Leaky(torch.linspace(0.5, 0.9, 5), learn_beta=True).double()
    x = torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for backend in ("eager", "numba"):
        with snn.backend(backend):
            spk, states = neuron.scan(x, num_steps=9)
        found.append(
            (spk, torch.autograd.grad(spk.sum() + states.mem.square().sum(), [x, neuron.beta]))
        )
    assert torch.equal(found[0][0], found[1][0])
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [5, 64, 1000])
def test_alpha_reads_a_logarithm_that_differs_from_that_of_torch_by_rounding(size: int) -> None:
    alpha, beta = torch.linspace(0.8, 0.95, size), torch.linspace(0.5, 0.75, size)
    neuron, x = snn.Alpha(alpha, beta, threshold=1e9, mode="sequence"), torch.rand(20, 3, size)
    found = []
    for backend in ("eager", "numba"):
        with snn.backend(backend):
            found.append(neuron.scan(x)[1])
    a, b = found
    assert torch.equal(a.syn_exc, b.syn_exc) and torch.equal(a.syn_inh, b.syn_inh)
    rounding = torch.finfo(torch.float32).eps * float(a.mem.abs().max())
    torch.testing.assert_close(a.mem, b.mem, rtol=0, atol=64 * rounding)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_loop_itself_refuses_an_input_that_is_not_finite(
    value: float, dtype: torch.dtype
) -> None:
    neuron = snn.Leaky(0.5, threshold=0.9, init_hidden=True, mode="sequence")
    x = torch.rand(6, 3, 50, dtype=dtype)
    x[0, 0, 0] = torch.finfo(dtype).max  # the largest numbers are numbers
    with snn.backend("numba"):
        spk = neuron(x)
        before = neuron.mem.clone()
        for place in ((0, 0, 0), (3, 1, 17), (5, 2, 49)):
            bad = x.clone()
            bad[place] = value
            with pytest.raises(
                ValueError, match=r"the input of Leaky holds 1 NaN or infinite values of 900"
            ):
                neuron(bad)
            with pytest.raises(ValueError, match=r"the input of Leaky holds 1 NaN"):
                neuron.scan(bad)
    assert torch.equal(neuron.mem, before), "a refused input leaves no trace"
    assert spk.isfinite().all()


def test_large_layers_choose_numba_and_small_ones_do_not() -> None:
    plan = lambda n: snn.run(snn.Leaky(0.9), torch.rand(4, 2, n), explain=True).plan.rows[0].how  # noqa: E731
    assert "torch" in plan(8)
    assert "numba" in plan(2**15)


def test_small_layers_of_a_network_use_the_compiler_that_a_large_one_before_them_has_loaded() -> (
    None
):
    wide, narrow = (
        nn.Sequential(nn.Linear(6, n), snn.Leaky(0.9, init_hidden=True)) for n in (2**15, 8)
    )

    def backends(*parts: nn.Module) -> list[str]:
        rows = snn.run(nn.Sequential(*parts), torch.rand(4, 2, 6), explain=True).plan.rows
        return [row.how.split("(")[1].split(")")[0] for row in rows if row.kind == "Leaky"]

    head = nn.Sequential(nn.Linear(2**15, 8), snn.Leaky(0.9, init_hidden=True))
    assert backends(narrow) == ["torch"] and backends(wide, head) == ["numba", "numba"]
    assert backends(narrow, nn.Linear(8, 6), wide) == ["torch", "numba"]
    assert backends(narrow) == ["torch"], "what one run has loaded decides nothing in another"


def test_what_numba_does_not_serve_is_refused_with_the_reason() -> None:
    with (
        snn.backend("numba"),
        pytest.raises(RuntimeError, match=r"float32 or float64 on the CPU, got torch\.bfloat16"),
    ):
        snn.Leaky(0.9).scan(torch.rand(4, 2, 3).bfloat16())


FORMATS = {
    "channels last": lambda x: (
        x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])
    ),
    "batch last": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "every second step": lambda x: x.repeat_interleave(2, 0)[::2],
    "every second column": lambda x: x.repeat_interleave(2, -1)[..., ::2],
}


@pytest.mark.parametrize("arranged", FORMATS.values(), ids=FORMATS)
def test_any_memory_order_gives_the_same_numbers(arranged: Any) -> None:
    threshold = torch.linspace(0.5, 1.5, 3 * 4 * 5).view(3, 4, 5)
    neuron = snn.Leaky(0.9, threshold, learn_beta=True, learn_threshold=True)
    plain, found = torch.rand(6, 2, 3, 4, 5) * 1.5, []
    for x in (plain, arranged(plain)):
        x = x.detach().requires_grad_()
        with snn.backend("numba"):
            spk, states = neuron.scan(x)
        loss = (spk * plain).sum() + (states.mem * plain).square().sum()
        found.append(
            (x, spk, states.mem, *torch.autograd.grad(loss, [x, neuron.beta, neuron.threshold]))
        )
    for a, b in zip(*found, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[0][1], found[1][1]) and torch.equal(found[0][3], found[1][3])


def test_a_channels_last_sequence_is_read_and_written_without_a_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = FORMATS["channels last"](torch.rand(6, 2, 3, 4, 5))
    copied: list[Any] = []
    monkeypatch.setattr(Tensor, "copy_", lambda self, other: copied.append(other))
    with snn.backend("numba"):
        spk, _ = snn.Leaky(0.9).scan(x)
    assert not copied
    assert spk[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("constant", [False, True], ids=["input over time", "constant input"])
def test_what_is_kept_does_not_change_a_bit_but_in_sixteen_bits(constant: bool) -> None:
    neuron = snn.Synaptic(0.9, 0.8, threshold=0.7, learn_beta=True, learn_alpha=True)
    x = torch.rand(*(() if constant else (30,)), 70, 40) * 0.6
    found = {}
    for backend, residual in (
        ("torch", "state"),
        ("numba", "state"),
        ("numba", "input"),
        ("numba", "half"),
    ):
        given = x.clone().requires_grad_()
        with snn.backend(backend), snn.residual(residual):
            spk, last = neuron.final(given, num_steps=30 if constant else None)
        loss = spk.square().sum() + last.mem.sum()
        found[backend, residual] = (
            spk,
            last.mem,
            torch.autograd.grad(loss, [given, neuron.beta, neuron.alpha]),
        )
    exact = found["numba", "state"]
    for key, (spk, mem, grads) in found.items():
        assert torch.equal(spk, exact[0]) and torch.equal(mem, exact[1])
        bound = {"half": 1e-2, "input": 0.0, "state": 0.0 if key[0] == "numba" else 1e-4}[key[1]]
        for a, b in zip(grads, exact[2], strict=True):
            assert (a - b).norm() <= bound * b.norm()


def test_a_pool_of_threads_does_not_outlive_a_fork(tmp_path: Path) -> None:
    script = """
import os, torch, spikeloom as snn
torch.set_num_threads(2)
# A step is too small for torch's own threads, which do not survive a fork.
x = torch.rand(40, 64, 500)
def work():
    with snn.backend("numba"):
        return snn.Leaky(0.9).scan(x)[0].numpy().sum()
expected = work()
child = os.fork()
if not child:
    os._exit(0 if work() == expected else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=1500
    )
    assert done.stdout.strip() == "0", done.stderr


def test_a_gradient_of_zero_neurons_is_zero() -> None:
    x = torch.rand(5, 0, 4, requires_grad=True)
    neuron = snn.Leaky(0.9, learn_beta=True)
    for residual in ("state", "input", "half"):
        with snn.backend("numba"), snn.residual(residual):
            spk, _ = neuron.final(x)
        grads = torch.autograd.grad(spk.sum(), [x, neuron.beta])
        assert spk.shape == grads[0].shape == x.shape and grads[1] == 0


def test_the_negative_bit_of_a_tensor_was_not_read() -> None:
    """``z.conj().imag`` is such a tensor; so may a state, a parameter and a gradient be."""
    x, start, beta, flow = (
        torch.rand(6, 3, 4) * 2,
        torch.rand(3, 4),
        torch.rand(4) * 0.5 + 0.3,
        torch.rand(6, 3, 4),
    )
    found = []
    for given in (torch.neg, torch._neg_view):
        neuron = snn.Leaky(0.9)
        neuron.beta = given(-beta)
        a, b = given(-x).detach().requires_grad_(), given(-start).detach().requires_grad_()
        with snn.backend("numba"):
            spk, states = neuron.scan(a, neuron.State(b))
        pulled = torch.autograd.grad([spk, states.mem], [a, b], [given(-flow), given(flow)])
        found.append([spk, states.mem, *pulled])
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_a_gradient_without_memory_is_zero() -> None:
    x = torch.rand(6, 3, 4).requires_grad_()
    with snn.backend("numba"):
        spk, states = snn.Leaky(0.9).scan(x)
    zeros = torch._efficientzerotensor((6, 3, 4))
    (found,) = torch.autograd.grad(
        [spk, states.mem], x, [zeros, torch.ones(6, 3, 4)], retain_graph=True
    )
    (expected,) = torch.autograd.grad(states.mem, x, torch.ones(6, 3, 4))
    assert torch.equal(found, expected)


def test_a_tensor_of_the_user_can_be_resized_after_a_loop() -> None:
    x = torch.rand(6, 3, 4)
    with snn.backend("numba"):
        snn.Leaky(0.9).scan(x)
    x.untyped_storage().resize_(4)


@pytest.mark.parametrize("own", [True, False], ids=["loop", "run"])
def test_second_derivatives_of_a_compiled_loop_were_silently_wrong(own: bool) -> None:
    torch.manual_seed(0)
    hidden = [
        snn.Leaky(0.9, learn_beta=True, init_hidden=True, output=last) for last in (False, True)
    ]
    net = nn.Sequential(nn.Linear(6, 8), hidden[0], nn.Linear(8, 3), hidden[1]).double()
    x, found = torch.rand(4, 5, 6, dtype=torch.float64, requires_grad=True), []
    for backend in ("eager", "numba"):
        snn.reset(net)
        with snn.backend(backend):
            mem = (
                snn.run(net, x)[1]
                if own
                else hidden[1].scan(net[2](hidden[0].scan(net[0](x))[0]))[1].mem
            )
        (first,) = torch.autograd.grad(mem.pow(2).sum(), x, create_graph=True)
        found.append(
            [
                first,
                *torch.autograd.grad(first.pow(2).sum(), list(net.parameters()), allow_unused=True),
            ]
        )
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("surrogate", ["fast_sigmoid", "atan", "sigmoid", "triangular"])
def test_every_slope_of_a_surrogate_had_a_kernel_of_its_own(surrogate: str) -> None:
    x, sizes = torch.rand(6, 3, 4) * 2, []
    for slope in (
        3.0,
        7.25,
        12.5,
        25.0,
    ):  # one that meets another number, such as 0.5, is another text
        neuron = snn.Synaptic(0.9, 0.8, spike_grad=getattr(snn.surrogate, surrogate)(slope))
        found = []
        for backend in ("eager", "numba"):
            given = x.clone().requires_grad_()
            with snn.backend(backend):
                spk, _ = neuron.scan(given)
            found.append(torch.autograd.grad(spk.sum(), given)[0])
        torch.testing.assert_close(*found)
        sizes.append(sources.compiled_function.cache_info().currsize)
    assert len(set(sizes)) == 1
