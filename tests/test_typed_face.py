"""What editors and type checkers see of ``import spikeloom as snn``, and what a wrong name says.

Pyright checks two scripts of users once. In the first a line that ends in ``# error: TEXT`` must
be an error with that text, a line that ends in ``# type: TEXT`` must have that type, and every
other line must be clean.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import spikeloom as snn

SOURCE = Path(snn.__file__).parent.parent
MARK = re.compile(r"# (error|type): (.+)$")
Remarks = dict[tuple[str, int], list[tuple[str, str]]]

SCRIPT = """
import torch
from spikeloom import functional as SF
from torch import nn
from typing_extensions import Unpack

import spikeloom as snn

net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True, output=True))
x = torch.rand(5, 2, 4)

# right: a training, its result, the parts that are loaded on first use
result = snn.fit(net, snn.data.iris(), num_steps=10, epochs=3, progress=False)
reveal_type(result)  # type: Result
reveal_type(result.test_accuracy.last)  # type: float
spk, mem = snn.run(net, x)
reveal_type(snn.run(net, x, explain=True).plan)  # type: Plan
reveal_type(snn.run(net, x, record=["1.mem"]).record)  # type: dict[str, Tensor]
reveal_type(snn.layerwise(net).plan)  # type: Plan | None
reveal_type(SF.accuracy_rate(spk, torch.tensor([0, 1])))  # type: float64
reveal_type(snn.spikegen.rate(x[0], num_steps=5))  # type: Tensor
reveal_type(snn.chaos.CSBP(snn.chaos.A(3.8)))  # type: CSBP
reveal_type(snn.surrogate.fast_sigmoid(slope=25))  # type: FastSigmoid
batch = (x[0], torch.tensor([0, 1]))
reveal_type(snn.gradient_report(net, batch, num_steps=5))  # type: GradientReport
reveal_type(snn.load("net.safetensors"))  # type: Module
reveal_type(snn.load("net.safetensors", into=net))  # type: Sequential
snn.reset(net)
snn.utils.reset(net)
snn.backprop.BPTT
snn.conversion.convert
snn.learning.PostPre
snn.nir.to_nir
snn.spikeplot.raster
snn.spikevision.spikedata
snn.train.TBPTT(K=8)
snn.decode.first_spike(spk)
snn.export_nir.export_to_nir
snn.import_nir.import_from_nir
with snn.backend("eager"):
    snn.run(net, x)
lif = snn.LIF(beta=0.9)
reveal_type(lif.mem)  # type: Tensor
reveal_type(snn.Leaky(0.9).beta)  # type: Tensor
reveal_type(snn.Synaptic(0.9, 0.8).syn)  # type: Tensor
lif = snn.SpikingNeuron
snn.AdLIF(0.9, 0.98, 0.5, 10.0, 1.0, init_hidden=True, mode="sequence")


class Own(snn.Leaky):
    def __init__(self, gain: float, **options: Unpack[snn.NeuronOptions]) -> None:
        super().__init__(0.9, **options)
        self.parameter("gain", gain)


Own(0.5, init_hidden=True, reset_mechanism="zero")

# wrong
snn.fitt(net)  # error: "fitt" is not a known attribute
snn.Leeky(0.9)  # error: "Leeky" is not a known attribute
snn.functional.accuracy_rat(spk)  # error: "accuracy_rat" is not a known attribute
snn.fit(net, snn.data.iris(), epoch=3)  # error: No parameter named "epoch"
snn.run(net, x, num_step=3)  # error: No overloads for "run" match
snn.run(net, x, explain=True).plann  # error: Cannot access attribute "plann"
snn.Leaky(0.9, init_hiden=True)  # error: No parameter named "init_hiden"
snn.AdLIF(init_hiden=True)  # error: No parameter named "init_hiden"
snn.LI(0.9, threshold=2.0)  # error: No parameter named "threshold"
Own(0.5, init_hiden=True)  # error: No parameter named "init_hiden"
snn.spikegen.rate(x[0], steps=5)  # error: No parameter named "steps"
snn.surrogate.fast_sigmoid(slop=25)  # error: No parameter named "slop"
result.accuracy  # error: Cannot access attribute "accuracy"
"""


STRANGERS = """
import torch
from strangers.dataset import quadrants
from strangers.izhikevich import StrangeIzhikevich
from strangers.plasticity import Oja
from strangers.surrogate import Bump
from strangers.training import Signed

import spikeloom as snn

StrangeIzhikevich(a=0.05, init_hidden=True, spike_grad=Bump(0.5), learn_a=True)
snn.fit(torch.nn.Linear(4, 4), quadrants(), rule=Signed(size=0.1))
snn.learning.DiehlAndCook2015(rule=Oja(rate=0.1))
StrangeIzhikevich(init_hiden=True)  # error
Bump(widht=1.0)  # error
Signed(sizes=0.1)  # error
Oja(rat=0.1)  # error
quadrants(sample=3)  # error
"""


@pytest.fixture(scope="module")
def remarks(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, int], list[tuple[str, str]]]:
    """Pyright's remarks on the scripts: severity and text, by file and line."""
    pytest.importorskip("pyright")
    folder = tmp_path_factory.mktemp("script")
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "stranger_script.py").write_text(STRANGERS, encoding="utf-8")
    tests = Path(__file__).parent
    settings = {
        "include": ["script.py", "stranger_script.py", str(tests / "strangers")],
        "extraPaths": [str(SOURCE), str(tests)],
        "pythonVersion": "3.10",
        "typeCheckingMode": "basic",
        "reportUnusedExpression": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found: Remarks = defaultdict(list)
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        place = Path(one["file"]).name, one["range"]["start"]["line"]
        found[place].append((one["severity"], one["message"]))
    return found


@pytest.mark.slow
def test_pyright_sees_what_a_users_script_does_wrong_and_nothing_else(
    remarks: Remarks,
) -> None:
    wrong = []
    for number, line in enumerate(SCRIPT.splitlines()):
        mark, said = MARK.search(line), remarks["script.py", number]
        if mark is None:
            fits = not said
        elif mark[1] == "error":
            fits = len(said) == 1 and said[0][0] == "error" and mark[2] in said[0][1]
        else:
            fits = len(said) == 1 and said[0][1].endswith(f'is "{mark[2]}"')
        if not fits:
            wrong.append(f"{line.strip()}\n    {said}")
    assert not wrong, "pyright reads these lines otherwise:\n" + "\n".join(wrong)


@pytest.mark.slow
def test_editors_know_what_the_files_of_a_stranger_define(
    remarks: Remarks,
) -> None:
    wrong = {i for i, line in enumerate(STRANGERS.splitlines()) if line.endswith("# error")}
    found = [place for place, said in remarks.items() for _ in said if place[0] != "script.py"]
    assert sorted(found) == [("stranger_script.py", line) for line in sorted(wrong)], remarks


@pytest.mark.parametrize(
    ("name", "closest"),
    [("Leeky", "Leaky"), ("fitt", "fit"), ("spike_gen", "spikegen"), ("Surrogate", "surrogate")],
)
def test_a_misspelled_name_of_the_package_is_answered_with_the_right_one(
    name: str, closest: str
) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; did you mean {closest}[?]"):
        getattr(snn, name)


def test_a_name_that_resembles_none_is_refused_without_a_guess() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'quantum_tunnel'$"):
        getattr(snn, "quantum_tunnel")  # noqa: B009 (pyright would refuse the attribute)


def test_a_private_name_is_refused_without_a_guess() -> None:
    with pytest.raises(AttributeError, match=r"no attribute '_Leaky'$"):
        getattr(snn, "_Leaky")  # noqa: B009


def test_every_public_name_is_found_by_dir_and_by_attribute() -> None:
    assert set(snn.__all__) <= set(dir(snn))
    assert [name for name in snn.__all__ if getattr(snn, name, None) is None] == []
