"""Triton: the laws of its kernels in the interpreter, the code that a GPU would run, and the laws
on a GPU."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import spikeloom as snn
from spikeloom.core.neuron import REGISTRY, Neuron
from spikeloom.kernels import sources, triton_cuda
from spikeloom.kernels.task import Task
from spikeloom.kernels.triton_source import Target, backward_source, forward_source

from .cases import ELEMENTWISE, ELEMENTWISE_IDS, OWN, build, current
from .triton_interpreted import agree

ROOT = Path(__file__).resolve().parent.parent.parent
installed = pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
NARROW = {
    "X",
    "SPK",
    "D_x",
    "E_spk",
}  # arrays in the type of the input; states and parameters are wider


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKELOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@installed
@pytest.mark.slow
def test_the_laws_hold_in_the_interpreter() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/laws/triton_interpreted.py",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_where_it_cannot_run_it_says_why() -> None:
    reason = snn.backends()["triton"]
    if reason == "available":
        pytest.skip("there is a CUDA device")
    assert (
        reason == ("PyTorch sees no CUDA device" if find_spec("triton") else reason)
        and "Py" in reason
    )
    with (
        pytest.raises(RuntimeError, match=f"'triton' is not available: {re.escape(reason)}"),
        snn.backend("triton"),
    ):
        pass


def test_a_tensor_on_the_cpu_is_refused_where_the_interpreter_is_off() -> None:
    refusal = triton_cuda.refusal(torch.rand(3, 2, 1), torch.float32)
    assert refusal == "it computes on cuda, got torch.float32 on cpu"


def test_a_cast_to_another_floating_point_type_is_refused_not_taken_for_one_of_a_comparison() -> (
    None
):
    class Mixed(Neuron):
        class State(NamedTuple):
            mem: Tensor

        @staticmethod
        def integrate(x: Tensor, state: Any, p: Any) -> Any:
            return state._replace(mem=(0.9 * state.mem.double() + x).to(x.dtype))

    del REGISTRY["Mixed"]
    assert triton_cuda.obstacle(Mixed().transition, torch.float32) == (
        "it has no form for a cast to torch.float32, a cast to torch.float64"
    )


def kernels(neuron: Neuron, dtype: torch.dtype) -> list[Any]:
    """Forward and backward of a neuron, compiled for an H100 without having one; in the backward
    all gradients flow."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    wide = torch.float64 if dtype == torch.float64 else torch.float32
    fields, params = neuron.State._fields, neuron.transition.names
    task, vector = Task(neuron.transition, wide, keep=fields), (False,) * len(params)
    flows, wanted = (True,) * (1 + len(fields)), ("x", *(f"p_{p}" for p in params))
    texts = {
        "forward": forward_source(task, vector, Target(), True),
        "backward": backward_source(task, vector, Target(), flows, (), wanted),
    }
    names = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16"}
    found = []
    for name, text in texts.items():
        function = getattr(sources.compiled_module(text, "triton"), name)
        types = {
            a: "constexpr"
            if a == "BLOCK"
            else "i32"
            if a.islower() or a.startswith("step_")
            else f"*{names[dtype if a in NARROW else wide]}"
            for a in function.arg_names
        }
        aligned = [i for i, a in enumerate(function.arg_names) if a not in ("BLOCK", "steps")]
        source = ASTSource(
            function, types, {"BLOCK": 1024}, {(i,): [["tt.divisibility", 16]] for i in aligned}
        )
        options = triton_cuda.launch_options()
        found.append(
            triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]
        )
    return found


@installed
@pytest.mark.parametrize("name", ["AdLIF", "DeltaLeaky"])
def test_compiled_for_a_gpu_nothing_is_contracted_approximated_or_added_up_in_no_order(
    name: str,
) -> None:
    for code in kernels(build(name, dtype=torch.float32), torch.float32):
        assert not re.search(r"\bfma|\.ftz|\.approx|\.full|\batom|\bred\.", code)
        assert "ld.global.v4.b32" in code and "st.global.v4.b32" in code
    assert "div.rn.f32" in code


@installed
def test_compiled_for_a_gpu_sixteen_bits_are_read_four_words_at_once_and_computed_in_float32() -> (
    None
):
    for code in kernels(snn.Leaky(0.9), torch.bfloat16):
        assert "ld.global.v4.b32" in code and "mul.rn.f32" in code
        assert not re.search(r"(mul|add|sub|fma)[.\w]*bf16", code)


@installed
def test_compiled_for_a_gpu_float64_divides_and_rounds_in_float64() -> None:
    forward, backward = kernels(snn.Leaky(0.9), torch.float64)
    assert "mul.rn.f64" in forward and "div.rn.f64" in backward
    assert "f32" not in forward + backward


@installed
def test_a_kernel_is_read_from_memory_where_no_file_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: Any) -> Path:
        raise OSError("read-only")

    monkeypatch.setattr(sources, "written", full)
    text = "import triton\n\n\n@triton.jit\ndef nothing(X):\n    pass\n"
    assert "def nothing(X)" in sources.compiled_module(text, "triton").nothing.src


@pytest.mark.cuda
@pytest.mark.parametrize(("name", "options"), ELEMENTWISE, ids=ELEMENTWISE_IDS)
def test_on_a_gpu_every_neuron_is_the_eager_loop(name: str, options: dict[str, Any]) -> None:
    neuron = build(name, dtype=torch.float32, learn=True, **options).cuda()
    agree(neuron, current(name, dtype=torch.float32, steps=20).cuda())


@pytest.mark.cuda
def test_on_a_gpu_it_is_the_automatic_choice() -> None:
    plan = snn.run(snn.Leaky(0.9).cuda(), torch.rand(4, 2, 8, device="cuda"), explain=True).plan
    assert "triton" in plan.rows[0].how


@pytest.mark.cuda
def test_on_a_gpu_forward_and_backward_are_captured_in_a_graph() -> None:
    neuron = snn.Leaky(0.9, learn_beta=True).cuda()
    x = torch.rand(25, 32, 1000, device="cuda").requires_grad_()

    def work() -> tuple[torch.Tensor, ...]:
        spk, states = neuron.scan(x)
        return spk, *torch.autograd.grad(spk.sum() + states.mem.sum(), [x, neuron.beta])

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()  # compiles
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = work()
    with torch.no_grad():
        x.mul_(1.3)
    graph.replay()
    for a, b in zip(captured, work(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.cuda
@pytest.mark.parametrize("name", [name for name, cls in OWN.items() if cls.elementwise])
def test_on_a_gpu_a_sequence_compiles_into_one_graph(name: str) -> None:
    neuron = build(name, dtype=torch.float32).cuda()
    x = current(name, dtype=torch.float32).cuda()
    compiled = torch.compile(lambda v: neuron.scan(v)[0], fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), neuron.scan(x)[0])


@pytest.mark.cuda
def test_on_a_gpu_autocast_keeps_the_state_in_float32_and_spikes_in_sixteen_bits() -> None:
    net = torch.nn.Linear(8, 16).cuda()
    neuron = snn.Leaky(0.97).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        current_ = net(torch.rand(6, 4, 8, device="cuda") * 4)
        spk, states = neuron.scan(current_)
    assert current_.dtype == spk.dtype == torch.bfloat16 and states.mem.dtype == torch.float32
    with snn.backend("eager"):
        assert torch.equal(spk.float(), neuron.scan(current_.float())[0])
