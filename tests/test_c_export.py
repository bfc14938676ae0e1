"""Networks as C: compiled and run, they spike as `snn.run` says."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from scripts import run_script
from torch import Tensor, nn

import spikeloom as snn

COMPILER = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
FLAGS = ["-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pedantic"]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def compiled(text: str, folder: Path, *flags: str) -> Path:
    source, program = folder / "network.c", folder / "network"
    source.write_text(text)
    command = [COMPILER, *FLAGS, *flags, str(source), "-o", str(program), "-lm"]
    made = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return program


def differing(net: nn.Module, x: Tensor, folder: Path) -> str:
    """What the program of the test vector prints for input over time, [T, ...]."""
    program = compiled(snn.hardware.to_c(net, x[:1], test=x), folder, "-DNETWORK_TEST")
    return subprocess.run([str(program)], capture_output=True, text=True).stdout.strip()


def on_a_grid(net: nn.Module) -> nn.Module:
    """Weights that are multiples of 1/16: their sums are exact in any order."""
    with torch.no_grad():
        for module in net.modules():
            if hasattr(module, "weight") and not isinstance(module, nn.BatchNorm2d):
                for parameter in (module.weight, module.bias):
                    if parameter is not None:
                        parameter.copy_((parameter * 48).round() / 16)
    return net.eval()


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.lif = nn.Linear(6, 8), snn.Leaky(0.9, init_hidden=True)
        self.second, self.last = nn.Linear(8, 8), snn.Leaky(0.8, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        spk = self.lif(self.first(x))
        return self.last(self.second(spk) + 0.5 * spk)


class Izhikevich(snn.Neuron):
    class State(NamedTuple):
        v: Tensor
        u: Tensor

    @staticmethod
    def integrate(x: Tensor, state, p):
        v = state.v + 0.25 * (0.04 * state.v * state.v + 5 * state.v + 140 - state.u + 20 * x)
        u = state.u + 0.25 * 0.02 * (0.2 * state.v - state.u)
        fired = (v >= 30).to(v.dtype)
        return state._replace(v=v + fired * (-65 - v), u=u + fired * 8)

    @staticmethod
    def trigger(state, p):
        return state.v

    def initial(self, x: Tensor):
        return self.State(torch.full_like(x, -65.0), torch.full_like(x, -13.0))


def hidden(cls, *args, **options):
    return cls(*args, init_hidden=True, **options)


NETWORKS = {
    "dense": lambda: nn.Sequential(
        nn.Linear(6, 8), hidden(snn.Leaky, 0.9), nn.Linear(8, 4), hidden(snn.Synaptic, 0.8, 0.9)
    ),
    "vectors of parameters": lambda: nn.Sequential(
        nn.Linear(6, 8),
        hidden(snn.Leaky, torch.rand(8), threshold=torch.rand(8) + 0.5, reset_mechanism="zero"),
    ),
    "graded spikes": lambda: nn.Sequential(
        nn.Linear(6, 8), hidden(snn.Leaky, 0.9, graded_spikes_factor=0.5), nn.Linear(8, 4)
    ),
    "resets in the same step": lambda: nn.Sequential(
        nn.Linear(6, 8),
        hidden(snn.Leaky, 0.9, reset_delay=False),
        nn.Linear(8, 4),
        hidden(snn.Leaky, 0.5, reset_mechanism="none"),
    ),
    "adaptive": lambda: nn.Sequential(nn.Linear(6, 8), hidden(snn.AdLIF)),
    "signed": lambda: nn.Sequential(nn.Linear(6, 8), hidden(snn.SignedIF), nn.Linear(8, 4)),
    "recurrent": lambda: nn.Sequential(
        nn.Linear(6, 8),
        hidden(snn.RLeaky, 0.9, linear_features=8),
        nn.Linear(8, 4),
        hidden(snn.RSynaptic, 0.9, 0.8, all_to_all=False, V=0.5),
    ),
    "delayed": lambda: nn.Sequential(
        nn.Linear(6, 8),
        hidden(snn.Leaky, 0.9),
        snn.SynapticDelay(4, 3.0),
        nn.Linear(8, 4),
        snn.SynapticDelay(3, torch.tensor([0.0, 1.5, 2.0, 3.0]), channels=4),
        hidden(snn.LI, 0.9),
    ),
    "branches": Branches,
    "a user's neuron": lambda: nn.Sequential(
        nn.Linear(6, 8), hidden(Izhikevich, reset_mechanism="none")
    ),
}

IMAGES = {
    "strided": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        hidden(snn.Leaky, 0.8),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 5),
        hidden(snn.Leaky, 0.9),
    ),
    "grouped and dilated": lambda: nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), groups=2, dilation=(1, 3), bias=False),
        hidden(snn.Leaky, 0.8),
        nn.AvgPool2d(2, padding=1),
        nn.Conv2d(4, 3, 3, padding="same"),
    ),
    "recurrent convolution": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3), hidden(snn.RLeaky, 0.8, conv2d_channels=3, kernel_size=3)
    ),
    "normalized": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), hidden(snn.Leaky, torch.rand(3, 1, 1))
    ),
}


@needs_compiler
@pytest.mark.parametrize("name", NETWORKS)
def test_the_c_of_a_network_spikes_as_run_does(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(NETWORKS[name]())
    x = (torch.rand(40, 6) < 0.4).float()
    outputs = snn.run(net, x[:, None])
    assert (outputs[0] if isinstance(outputs, tuple) else outputs).any()
    snn.reset(net)
    assert differing(net, x, tmp_path).startswith("0 of ")


@needs_compiler
@pytest.mark.parametrize("name", IMAGES)
def test_the_c_of_a_convolutional_network_spikes_as_run_does(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(IMAGES[name]())
    x = (torch.rand(20, 2, 12, 12) < 0.4).float()
    assert snn.run(net, x[:, None]).any()
    snn.reset(net)
    assert differing(net, x, tmp_path).startswith("0 of ")


@needs_compiler
def test_doubles_and_a_32_bit_target_compile_and_agree(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(NETWORKS["dense"]()).double()
    x = torch.rand(30, 6).double()
    assert differing(net, x, tmp_path).startswith("0 of ")
    text = snn.hardware.to_c(net.float(), x[:1].float())
    (tmp_path / "small.c").write_text(text)
    command = [COMPILER, *FLAGS, "-m32", "-c", str(tmp_path / "small.c"), "-o", str(tmp_path / "o")]
    made = subprocess.run([str(w) for w in command], capture_output=True, text=True)
    if "unrecognized" in made.stderr or "sorry" in made.stderr:
        pytest.skip("the compiler has no 32-bit target")
    assert made.returncode == 0, made.stderr


@needs_compiler
def test_a_graph_with_a_loop_reads_what_was_sent_one_step_before(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    import numpy as np

    torch.manual_seed(0)
    weight = (torch.randn(3, 3) * 4).round() / 4
    lif = {"tau": np.full(3, 2e-4), "r": np.full(3, 2.0), "v_leak": np.zeros(3)}
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([3])),
            "a": nir.LIF(**lif, v_threshold=np.ones(3)),
            "b": nir.Affine(weight.numpy(), np.full(3, 0.25)),
            "c": nir.Linear(np.eye(3)),
            "output": nir.Output(np.array([3])),
        },
        [("input", "a"), ("a", "c"), ("c", "b"), ("b", "a"), ("a", "output")],
    )
    net = snn.nir.from_nir(graph, dt=1e-4, reset="subtract", delay=False)
    x = (torch.rand(40, 3) * 8).round() / 8
    assert snn.run(net, x[:, None]).any()
    snn.reset(net)
    assert differing(net, x, tmp_path).startswith("0 of ")


@needs_compiler
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_integers_in_c_equal_the_integer_network(
    bits: int, per_channel: bool, tmp_path: Path
) -> None:
    torch.manual_seed(bits)
    net = on_a_grid(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.MaxPool2d(2),
            hidden(snn.Leaky, 0.9),
            nn.Flatten(),
            nn.Linear(64, 6),
            hidden(snn.Leaky, torch.rand(6), reset_mechanism="zero"),
        )
    )
    image = torch.rand(1, 1, 8, 8)
    made = snn.hardware.quantize(
        net, image, weight_bits=bits, per_channel=per_channel, input_step=1 / 255
    )
    x = (torch.rand(30, 1, 8, 8) * 255).round()
    assert snn.run(made, x[:, None]).any()
    snn.reset(made)
    assert differing(made, x, tmp_path).startswith("0 of ")


def test_what_cannot_be_written_is_named_before_a_file_is_made(tmp_path: Path) -> None:
    x = torch.zeros(1, 6)
    path = tmp_path / "network.c"
    with pytest.raises(ValueError, match=r"'1' \(GELU\)|GELU"):
        snn.hardware.to_c(nn.Sequential(nn.Linear(6, 8), nn.GELU()), x, path)
    with pytest.raises(ValueError, match=r"'1'.*inhibition"):
        snn.hardware.to_c(
            nn.Sequential(nn.Linear(6, 8), hidden(snn.Leaky, 0.9, inhibition=True)), x, path
        )
    with pytest.raises(ValueError, match=r"net\.eval"):
        snn.hardware.to_c(
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)).train(), x.repeat(2, 1), path
        )
    with pytest.raises(ValueError, match="C identifier such as 'network', got '1st'"):
        snn.hardware.to_c(nn.Linear(6, 8), x, path, name="1st")
    with pytest.raises(TypeError, match=r"float32 and float64, got a sample of torch\.bfloat16"):
        snn.hardware.to_c(nn.Linear(6, 8).bfloat16(), x.bfloat16(), path)
    with pytest.raises(ValueError, match=r"test must be \[T, 6\]"):
        snn.hardware.to_c(nn.Linear(6, 8), x, path, test=torch.zeros(3, 5))
    broken = nn.Sequential(nn.Linear(6, 8))
    broken[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="the weight of layer '0' holds 1 NaN or infinite values"):
        snn.hardware.to_c(broken, x, path)
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"network\.c exists"):
        snn.hardware.to_c(nn.Linear(6, 8), x, path)
    assert path.read_text() == "mine"


@needs_compiler
def test_random_networks_in_c_spike_as_run_does(tmp_path: Path) -> None:
    campaign = Path(__file__).resolve().parent.parent / "campaigns" / "c_export.py"
    code, printed = run_script(campaign, "--out", tmp_path, "--number", 8)
    assert code == 0 and "8 trials, 0 wrong" in printed, printed


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.of_x, self.of_y = nn.Linear(4, 5), nn.Linear(3, 5)
        self.first, self.second = (hidden(snn.Leaky, beta) for beta in (0.9, 0.5))
        self.last = nn.Linear(5, 2)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        spk = self.first(self.of_x(x) + self.of_y(y))
        return self.second(self.last(spk)), spk


@needs_compiler
def test_several_inputs_and_outputs_are_arguments_of_the_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(TwoInputs())
    x, y = torch.randn(30, 1, 4).mul(8).round() / 8, torch.randn(30, 1, 3).mul(8).round() / 8
    with torch.no_grad():
        want = [net(*pair) for pair in zip(x, y, strict=True)]
    assert min(sum(out.sum() for out in side) for side in zip(*want, strict=True)) > 5
    text = snn.hardware.to_c(net, (x[0], y[0]))
    assert "const float *input_0, const float *input_1, float *output_0, float *output_1" in text
    (tmp_path / "net.c").write_text(text)
    library = tmp_path / "net.so"
    command = [COMPILER, *FLAGS, "-shared", "-fPIC", str(tmp_path / "net.c"), "-o", str(library)]
    subprocess.run([str(word) for word in command], check=True)
    program = ctypes.CDLL(str(library))
    state = (ctypes.c_float * 1000)()
    program.network_reset(state)
    for x_t, y_t, expected in zip(x, y, want, strict=True):
        given = [(ctypes.c_float * each.numel())(*each.flatten().tolist()) for each in (x_t, y_t)]
        found = [(ctypes.c_float * each.numel())() for each in expected]
        program.network_step(state, *given, *found)
        assert [list(each) for each in found] == [each.flatten().tolist() for each in expected]
    with pytest.raises(ValueError, match="a network with one input and one output"):
        snn.hardware.to_c(net, (x[0], y[0]), test=x[:, 0])


def test_spikes_behind_whole_delays_are_multiplied_instead_of_added() -> None:
    delay = snn.SynapticDelay(3, torch.tensor([0.0, 1.0, 3.0]), channels=3)
    net = nn.Sequential(nn.Linear(2, 3), hidden(snn.Leaky, 0.9), delay, nn.Linear(3, 1))
    text = snn.hardware.to_c(net, torch.zeros(1, 2))
    assert "static const int delay_2[3] = {\n    0, 1, 3,\n};" in text
    assert "y[o] += w[o];" in text.partition("/* 3: Linear")[2]


def test_the_file_says_a_declaration_twice_or_copies_what_a_layer_only_passes_on() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), hidden(snn.Leaky, 0.9), nn.Flatten(), nn.Linear(8, 2))
    text = snn.hardware.to_c(net, torch.zeros(1, 1, 4, 4))
    assert text.count("void network_step(") == 2  # the interface on top, and the function
    assert text.index("void network_step(") < text.index("static void layer_0")
    assert "Flatten" not in text and "layer_3(s->out_1, s->out_3);" in text
    assert " * input: 16 numbers of type float\n * output: 2 numbers of type float\n" in text
    assert "state: 104 bytes" in text  # 8 + 8 + 8 + 2 numbers
    assert "(0) *" not in text


def test_a_layer_that_c_does_not_have_is_refused_for_its_nir_node() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(1, 2, 3), hidden(snn.Leaky, 0.9))
    with pytest.raises(ValueError, match=r"layer '0' \(ConvTranspose2d\) cannot be written"):
        snn.hardware.to_c(net, torch.zeros(1, 1, 4, 4))


class Smoothed(snn.Neuron):
    """A membrane that is a running mean: its equation reads beta and 1 - beta."""

    class State(NamedTuple):
        mem: Tensor

    def __init__(self, beta: Tensor) -> None:
        super().__init__(0.4, init_hidden=True, reset_mechanism="none")
        self.parameter("beta", beta, False)

    @staticmethod
    def integrate(x: Tensor, state, p):
        return state._replace(mem=p.beta * state.mem + (1 - p.beta) * x)


@needs_compiler
def test_two_values_of_one_parameter_have_one_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(nn.Sequential(nn.Linear(6, 8), Smoothed(torch.rand(8))))
    x = (torch.rand(40, 6) < 0.4).float()
    assert 0 < snn.run(net, x[:, None]).mean() < 1
    snn.reset(net)
    assert differing(net, x, tmp_path).startswith("0 of ")


class Axes(snn.Neuron):
    """A neuron whose states have the names that the C file could take for itself."""

    class State(NamedTuple):
        x: Tensor
        y: Tensor

    @staticmethod
    def integrate(x: Tensor, state, p):
        return state._replace(x=0.5 * state.x + x - state.y, y=0.25 * state.x)

    @staticmethod
    def trigger(state, p):
        return state.x


@needs_compiler
def test_states_called_x_and_y_are_declared_twice(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(
        nn.Sequential(nn.Linear(6, 8), hidden(Axes, reset_mechanism="none"), nn.Linear(8, 3))
    )
    x = (torch.rand(40, 6) < 0.4).float()
    assert snn.run(net, x[:, None]).any()
    snn.reset(net)
    assert differing(net, x, tmp_path).startswith("0 of ")


class Feeds(nn.Module):
    """Spikes that come back through a layer with its own delays."""

    def __init__(self, connection: nn.Module, **options) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 8)
        self.loop = snn.Feedback(hidden(snn.Leaky, 0.9, **options), connection)

    def forward(self, x: Tensor) -> Tensor:
        return self.loop(self.fc(x))


def delayed(layer: nn.Module) -> nn.Module:
    """A layer with whole delays."""
    with torch.no_grad():
        layer.delay.round_()
    return layer


FEEDBACK = {
    "linear": lambda: nn.Linear(8, 8),
    "delayed": lambda: delayed(snn.DelayedLinear(8, 8, 4)),
    "two delays for each synapse": lambda: delayed(snn.DelayedLinear(8, 8, 4, kernel_count=2)),
    "the spikes themselves": nn.Identity,
    "a hidden layer": lambda: nn.Sequential(
        nn.Linear(8, 3), hidden(snn.Leaky, 0.7), nn.Linear(3, 8)
    ),
}


@needs_compiler
@pytest.mark.parametrize("name", FEEDBACK)
def test_spikes_that_return_arrive_at_another_step_in_c(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(Feeds(FEEDBACK[name]()))
    x = (torch.rand(40, 6) < 0.4).float()
    assert 0 < snn.run(net, x[:, None]).mean() < 1
    snn.reset(net)
    assert differing(net, x, tmp_path).startswith("0 of ")
    text = snn.hardware.to_c(net, x[:1])
    if name == "linear":  # the loop carries spikes, whose weights are added
        assert "y[o] += w[o];" in text.partition("/* loop.connection: Linear")[2]


SOUNDS = {
    "pooled": lambda: nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1, groups=2),
        nn.MaxPool1d(3, stride=2, padding=1),
        hidden(snn.Leaky, 0.8),
        nn.AvgPool1d(2, padding=1),
        nn.Flatten(),
        nn.Linear(16, 3),
        hidden(snn.Leaky, 0.9),
    ),
    "delayed": lambda: nn.Sequential(
        delayed(snn.DelayedConv1d(2, 4, 3, 3, stride=2, kernel_count=2)), hidden(snn.Leaky, 0.8)
    ),
}


@needs_compiler
@pytest.mark.parametrize("name", SOUNDS)
def test_layers_over_one_axis_are_written_otherwise(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = on_a_grid(SOUNDS[name]())
    x = (torch.rand(30, 2, 12) < 0.4).float()
    assert snn.run(net, x[:, None]).any()
    snn.reset(net)
    assert differing(net, x, tmp_path).startswith("0 of ")


@needs_compiler
def test_a_network_without_layers_is_an_empty_struct(tmp_path: Path) -> None:
    assert differing(nn.Flatten(), torch.rand(5, 2, 3), tmp_path) == "0 of 30 outputs differ"
