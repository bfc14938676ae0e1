"""Pages of the API reference, generated from the public names of the package.

A name is public if the package or one of its faces lists it in ``__all__``. Each name belongs to
one page. An object that several faces list is described once, where users import it from; the other
names are entries that link to the first.
"""

import importlib
import inspect
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import spikeloom


@dataclass(frozen=True)
class Group:
    """One page of the reference.

    Args:
        title: heading of the page.
        about: one or two sentences below it.
        faces: modules whose public names are on the page, in order.
        names: names of the package itself that are on the page; "neurons" means all classes
            of neurons.
        guide: page of `docs/` that explains the topic, without its suffix.
    """

    title: str
    about: str
    faces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    guide: str = ""


GROUPS = {
    "neurons": Group(
        "Neurons",
        "Modules with a step mode, ``[B, ...]``, and a sequence mode, ``[T, B, ...]``.",
        names=("neurons", "NeuronOptions", "noisy"),
        guide="your_own_neuron",
    ),
    "layers": Group(
        "Layers",
        "Layers that are used between neurons: normalization through time, delays, graded spikes.",
        names=(
            "BatchNormTT1d",
            "BatchNormTT2d",
            "DelayedConv1d",
            "DelayedConv2d",
            "DelayedLinear",
            "EachStep",
            "Feedback",
            "GradedSpikes",
            "SpikeLinear",
            "SynapticDelay",
            "TemporalEffectiveBatchNorm",
            "ThresholdDependentBatchNorm1d",
            "ThresholdDependentBatchNorm2d",
        ),
        guide="spikes_as_events",
    ),
    "blocks": Group(
        "Blocks",
        "Parts of deep networks: residual blocks, spiking VGG, spiking attention.",
        faces=("blocks",),
        guide="deep",
    ),
    "surrogates": Group(
        "Surrogate gradients",
        "Replacements of the derivative of the spike; pass one as ``spike_grad`` of a neuron.",
        faces=("surrogate",),
    ),
    "encoders": Group(
        "Encoders and decoders",
        "From numbers to spikes (``snn.spikegen``) and back (``snn.decode``).",
        faces=("spikegen", "decode"),
    ),
    "losses": Group(
        "Losses, metrics and monitors",
        "Losses on spikes and membranes, accuracies, regularization, quantized states, monitors.",
        faces=("functional",),
    ),
    "execution": Group(
        "Execution over time",
        "Running a network over all time steps, the backends, and the state of neurons.",
        faces=("running",),
        names=(
            "run",
            "layerwise",
            "rewrites",
            "backend",
            "backends",
            "residual",
            "reset",
            "detach",
            "set_mode",
        ),
        guide="layerwise",
    ),
    "training": Group(
        "Training and evaluation",
        "``snn.fit`` and ``snn.evaluate``, their callbacks and metrics, and snnTorch's loops.",
        faces=("train", "backprop"),
        names=("fit", "evaluate"),
        guide="recipes",
    ),
    "rules": Group(
        "Learning rules",
        "Rules for ``snn.fit(..., rule=)``, exact gradients of spike times, and STDP.",
        faces=("learning",),
        guide="rules",
    ),
    "conversion": Group(
        "Conversion",
        "From an ordinary network of rectifiers to a spiking one.",
        faces=("conversion",),
        guide="conversion",
    ),
    "chaos": Group(
        "Chaotic back-propagation",
        "Chaotic dynamics as a plug-in for training, with exponents and bifurcation diagrams.",
        faces=("chaos",),
        guide="chaos",
    ),
    "nir": Group(
        "NIR",
        "Reading and writing graphs of the Neuromorphic Intermediate Representation.",
        faces=("nir", "export_nir", "import_nir"),
        names=("export_to_nir", "import_from_nir"),
    ),
    "data": Group(
        "Data",
        "Bundled and generated data sets, readers of event recordings, frames and caches.",
        faces=("data", "spikevision"),
    ),
    "plots": Group(
        "Plots",
        "Rasters, traces, counts, and views of results.",
        faces=("spikeplot",),
    ),
    "doctor": Group(
        "Doctor",
        "Diagnosis of networks that do not learn, costs, and comparison of gradients.",
        faces=("doctor",),
        names=("gradient_report",),
        guide="not_learning",
    ),
    "hardware": Group(
        "Hardware",
        "Fixed-point arithmetic, C code and exported programs.",
        faces=("hardware", "export"),
    ),
    "saving": Group(
        "Saving and loading",
        "Networks as files without pickle.",
        faces=("saving",),
        names=("save", "load"),
    ),
    "helpers": Group(
        "Helpers",
        "Functions of ``snntorch.utils``.",
        faces=("utils",),
    ),
    "n3ml": Group(
        "Names of n3ml",
        "Classes under the names of n3ml, for its scripts.",
        faces=("n3ml",),
    ),
}


@dataclass
class Entry:
    """One public name: its path, the object, and the path under which that is described."""

    path: str
    found: object
    home: str


def modules_of(group: Group) -> list[types.ModuleType]:
    """The faces of a group and the modules that these list among their public names."""
    faces = [importlib.import_module(f"spikeloom.{name}") for name in group.faces]
    listed = [getattr(face, name) for face in faces for name in getattr(face, "__all__", [])]
    inner = [found for found in listed if isinstance(found, types.ModuleType)]
    return list(dict.fromkeys([*faces, *inner]))


def listed(group: Group) -> Iterator[tuple[str, object]]:
    """Path and object of each public name of a group; those of the package come first."""
    for name in group.names:
        if name == "neurons":
            for neuron in sorted(spikeloom.__all__):
                found = getattr(spikeloom, neuron)
                if inspect.isclass(found) and issubclass(found, spikeloom.Neuron):
                    yield f"spikeloom.{neuron}", found
        else:
            yield f"spikeloom.{name}", getattr(spikeloom, name)
    for module in modules_of(group):
        for name in sorted(getattr(module, "__all__", [])):
            yield f"{module.__name__}.{name}", getattr(module, name)


def entries() -> dict[str, list[Entry]]:
    """Entries of each page. An object is described under the shortest path that ends in its own
    name; Sphinx describes no class under another name."""
    found = {page: dict(listed(group)) for page, group in GROUPS.items()}
    paths = [entry for page in found.values() for entry in page.items()]
    home: dict[int, str] = {}
    for path, thing in sorted(paths, key=lambda entry: (entry[0].count("."), entry[0])):
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if path.endswith(f".{thing.__name__}"):
            home.setdefault(id(thing), path)
    for _, thing in paths:
        if inspect.isclass(thing) or inspect.isfunction(thing):
            home.setdefault(id(thing), f"{thing.__module__}.{thing.__qualname__}")
    return {
        page: [Entry(path, thing, home.get(id(thing), path)) for path, thing in things.items()]
        for page, things in found.items()
    }


@cache
def public_paths() -> frozenset[str]:
    """Every path that has an entry, those of modules included."""
    modules = {module.__name__ for group in GROUPS.values() for module in modules_of(group)}
    return frozenset(modules | {entry.path for page in entries().values() for entry in page})


def described(entry: Entry) -> list[str]:
    """The directive of one entry."""
    if isinstance(entry.found, types.ModuleType):
        same = entry.found.__name__
        text = f"The module :py:mod:`{same}`."
        return [] if same == entry.path else [f".. py:data:: {entry.path}", "", f"   {text}"]
    kind = "class" if inspect.isclass(entry.found) else "function"
    if entry.home != entry.path:
        lines = [f".. py:{kind}:: {entry.path}", "", f"   Same as :py:obj:`{entry.home}`."]
        if entry.home in public_paths():
            return lines
        return [*lines, "", f".. autoclass:: {entry.home}", "   :members:", "   :undoc-members:"]
    if inspect.isclass(entry.found):
        return [f".. autoclass:: {entry.path}", "   :members:", "   :undoc-members:"]
    if callable(entry.found):
        return [f".. autofunction:: {entry.path}"]
    name = type(entry.found).__name__
    return [f".. py:data:: {entry.path}", f"   :type: {name}", "", f"   A constant ({name})."]


def summary(entry: Entry) -> str:
    """First sentence of the docstring, for the table at the top of a page."""
    if not (inspect.isclass(entry.found) or inspect.isfunction(entry.found)):
        return f"constant, {type(entry.found).__name__}"
    if entry.home != entry.path:
        return f"same as :py:obj:`{entry.home}`"
    paragraph = (inspect.getdoc(entry.found) or "").partition("\n\n")[0]
    return " ".join(paragraph.split()).removesuffix("::")


def page_text(group: Group, found: list[Entry]) -> str:
    """One page as reStructuredText."""
    lines = [group.title, "=" * len(group.title), "", group.about, ""]
    if group.guide:
        lines += [f"Guide: :doc:`/{group.guide}`.", ""]
    shown = [entry for entry in found if not isinstance(entry.found, types.ModuleType)]
    lines += [".. list-table::", "   :widths: 30 70", ""]
    for entry in shown:
        short = entry.path.removeprefix("spikeloom.")
        lines += [f"   * - :py:obj:`{short} <{entry.path}>`", f"     - {summary(entry)}"]
    lines.append("")
    for module in modules_of(group):
        lines += [f".. py:module:: {module.__name__}", ""]
    lines += [".. py:currentmodule:: None", ""]
    for entry in found:
        lines += [*described(entry), ""]
    return "\n".join(lines)


def write_reference(folder: Path) -> None:
    """Write all pages of the reference and their index into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    index = [
        "API reference",
        "=============",
        "",
        "Every public name, by topic. ``import spikeloom as snn`` is assumed.",
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
    ]
    for page, found in entries().items():
        (folder / f"{page}.rst").write_text(page_text(GROUPS[page], found), encoding="utf-8")
        index.append(f"   {page}")
    (folder / "index.rst").write_text("\n".join([*index, ""]), encoding="utf-8")
