"""What a user adds in one short file has all that the built-in ones have: laws, backends, types in
editors, files, documents.

The files are in `strangers/`: a neuron, a surrogate, a rule of plasticity, a rule of `fit`, a NIR
node, a data set. None of them touches the library.
"""

import doctest
import importlib
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from laws import cases, test_compile, test_neurons, test_programs, test_residuals, test_surrogates
from torch import nn

import spikeloom as snn
from spikeloom.core.neuron import REGISTRY, Neuron
from spikeloom.learning.registry import RULES

FOLDER = Path(__file__).parent / "strangers"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}
LINES = 25


@pytest.fixture(autouse=True, scope="module")
def _tables_stay() -> Iterator[None]:
    """Takes the strangers out of the tables of neurons and rules again."""
    before = {id(table): dict(table) for table in (REGISTRY, RULES)}
    yield
    for table in (REGISTRY, RULES):
        table.clear()
        table.update(before[id(table)])
    for name in FILES:
        sys.modules.pop(f"strangers.{name}", None)


def stranger(file: str, name: str) -> Any:
    """What a user's file defines."""
    return getattr(importlib.import_module(f"strangers.{file}"), name)


@pytest.mark.parametrize("file", FILES)
def test_a_user_needs_at_most_25_lines_of_one_file(file: str) -> None:
    lines = [line for line in FILES[file].read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= LINES


@pytest.mark.parametrize("file", FILES)
def test_its_documentation_has_an_example_that_runs(file: str) -> None:
    module = importlib.import_module(f"strangers.{file}")
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [
        e for e in finder.find(module, extraglobs={"snn": snn, "torch": torch}) if e.examples
    ]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in examples:
        runner.run(example)
    assert examples and runner.failures == 0


# -- the neuron ------------------------------------------------------------------------------------


# What 16 bits round of a membrane 95 mV below its threshold, the square turns into 2 % of a
# gradient; the law allows 1 %.
EXEMPT = "test_sixteen_bits_leave_spikes_alone_and_gradients_nearly_or_are_refused"


def laws() -> dict[str, Callable[..., None]]:
    """Every law that is tried on each neuron of the registry, by name."""
    modules = (test_neurons, test_programs, test_residuals, test_compile)
    found = [law for module in modules for law in vars(module).values() if inspect.isfunction(law)]
    return {
        law.__name__: law
        for law in found
        if law.__name__.startswith("test_")
        and law.__name__ != EXEMPT
        and "name" in inspect.signature(law).parameters
    }


def calls(law: Callable[..., None], **tried: Any) -> Iterator[dict[str, Any]]:
    """The arguments of a law: its own parameters, but one value where it has one for each class."""
    given: dict[str, list[Any]] = {}
    for mark in law.pytestmark:  # pyright: ignore[reportFunctionMemberAccess]
        if mark.name == "parametrize" and isinstance(mark.args[0], str):
            given[mark.args[0]] = list(mark.args[1])
    given |= {name: [value] for name, value in tried.items()}
    if "options" in inspect.signature(law).parameters:
        configurations = cases.configurations()
        given["options"] = [o for name, o in configurations if name == tried["name"]]
    for values in itertools.product(*given.values()):
        yield dict(zip(given, values, strict=True))


@pytest.fixture
def izhikevich(monkeypatch: pytest.MonkeyPatch) -> type[Neuron]:
    kind = stranger("izhikevich", "StrangeIzhikevich")
    monkeypatch.setitem(cases.OWN, "StrangeIzhikevich", kind)
    return kind


@pytest.mark.parametrize("law", laws())
def test_the_neuron_keeps_the_law_that(
    law: str, izhikevich: type[Neuron], request: pytest.FixtureRequest
) -> None:
    for mark in laws()[law].pytestmark:  # pyright: ignore[reportFunctionMemberAccess]
        for fixture in mark.args if mark.name == "usefixtures" else ():
            request.getfixturevalue(fixture)
    tried = 0
    for arguments in calls(laws()[law], name="StrangeIzhikevich"):
        torch.compiler.reset()
        laws()[law](**arguments)
        tried += 1
    assert tried


def test_the_neuron_runs_in_the_compiled_loop(izhikevich: type[Neuron]) -> None:
    if snn.backends()["numba"] != "available":
        pytest.skip(snn.backends()["numba"])
    neuron = cases.build("StrangeIzhikevich", dtype=torch.float32, learn=True)
    x = cases.current("StrangeIzhikevich", dtype=torch.float32, steps=20)
    test_programs.loops_agree(neuron, x, torch.float32, backend="numba", bits=True)


def test_the_neuron_is_saved_and_loaded(izhikevich: type[Neuron], tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 3), izhikevich(a=0.05, init_hidden=True))
    again = snn.load(snn.save(net, tmp_path / "net.safetensors"))
    x = torch.rand(9, 4, 2) * 90
    assert isinstance(again[1], izhikevich) and snn.run(net, x).any()
    assert torch.equal(snn.run(again, x), snn.run(net, x))


def test_a_saved_neuron_whose_module_is_not_imported_is_named(
    izhikevich: type[Neuron], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = snn.save(izhikevich(), tmp_path / "net.safetensors")
    monkeypatch.delitem(REGISTRY, "StrangeIzhikevich")
    with pytest.raises(
        ValueError, match=r"unknown layer .*izhikevich\.StrangeIzhikevich.; import the"
    ):
        snn.load(path)


# -- the surrogate ---------------------------------------------------------------------------------


def laws_of_surrogates() -> dict[str, Callable[..., None]]:
    """Every law that is tried on each surrogate, by name; the rest is about those of one family."""
    found = {n: law for n, law in vars(test_surrogates).items() if n.startswith("test_")}
    families = {"width"}
    return {
        name: law
        for name, law in found.items()
        if "surrogate" in (takes := inspect.signature(law).parameters)
        and not families & takes.keys()
        and "width" not in name
    }


@pytest.mark.parametrize("law", laws_of_surrogates())
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own forward mode
def test_the_surrogate_keeps_the_law_that(law: str) -> None:
    for arguments in calls(laws_of_surrogates()[law], surrogate=stranger("surrogate", "Bump")):
        laws_of_surrogates()[law](**arguments)


def test_the_surrogate_is_traced_into_every_loop() -> None:
    neuron = snn.Leaky(0.9, spike_grad=stranger("surrogate", "Bump")(0.5), learn_beta=True)
    x = torch.rand(9, 2, 6) * 1.2
    test_programs.loops_agree(neuron, x, torch.float32)
    if snn.backends()["numba"] == "available":
        test_programs.loops_agree(neuron, x, torch.float32, backend="numba", bits=True)


# -- the rules -------------------------------------------------------------------------------------


def test_the_rule_of_plasticity_is_known_by_name_and_teaches_a_network() -> None:
    kind = stranger("plasticity", "Oja")
    trained = []
    for rule in ("oja", kind()):
        net = snn.learning.DiehlAndCook2015(
            neurons=4, inputs=9, rule=rule, generator=torch.Generator().manual_seed(0)
        )
        before = net.xe.w.clone()
        images = torch.rand(6, 9, generator=torch.Generator().manual_seed(1))
        net.fit(images, engine="batched", generator=torch.Generator().manual_seed(2))
        assert not torch.equal(net.xe.w, before)
        trained.append(net.xe.w)
    assert torch.equal(*trained)


def test_the_rule_of_plasticity_does_what_its_terms_say() -> None:
    rule = stranger("plasticity", "Oja")(rate=0.5)
    synapse = nn.Linear(1, 1, bias=False)
    nn.init.constant_(synapse.weight, 0.25)
    _, change = rule.step(synapse, torch.ones(1, 1), torch.ones(1, 1))
    assert change.item() == pytest.approx(0.5 * (1 - 0.25))


def test_the_rule_of_fit_trains_and_is_compared_with_the_others() -> None:
    stranger("training", "Signed")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), snn.Leaky(0.9, init_hidden=True, output=True))
    data = stranger("dataset", "quadrants")()
    result = snn.fit(net, data, rule="signed", num_steps=8, epochs=20, lr=0.05, progress=False)
    assert result.test_accuracy.last > 0.8
    batch = torch.rand(8, 6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    report = snn.gradient_report(net, batch, rules=["signed", "bptt"])
    assert {row.rule for row in report.rows} == {"signed"}
    assert all(0 < row.cosine <= 1 for row in report.rows)


# -- the NIR node ----------------------------------------------------------------------------------


def test_the_nir_node_is_written_and_read(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    kind = stranger("interchange", "Doubling")
    net = nn.Sequential(nn.Linear(3, 4), kind(threshold=1.5, init_hidden=True))
    x = torch.rand(7, 2, 3) * 5
    nir.write(tmp_path / "net.nir", snn.nir.to_nir(net, x[0]))
    again = snn.nir.from_nir(tmp_path / "net.nir")
    assert isinstance(again.get_submodule("1"), kind) and snn.run(net, x).any()
    assert torch.equal(snn.run(again, x), snn.run(net, x))
