"""Configuration of Sphinx for the site; `build.py` collects the sources."""

import inspect
import re
import types
from functools import cache
from pathlib import Path

from address import repository
from docutils import nodes
from latex2mathml.converter import convert

import spikeloom

ROOT = Path(__file__).resolve().parent.parent.parent

project = "Spikeloom"
author = "Spikeloom contributors"
copyright = author
version = release = spikeloom.__version__
html_title = f"Spikeloom {version}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
]
nb_execution_mode = "off"  # `notebooks.py` has executed them
nb_merge_streams = True
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["mystnb.unknown_mime_type"]
templates_path = [str(Path(__file__).parent / "templates")]
default_role = "py:obj"
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_static_path = [str(Path(__file__).parent / "static")]
html_css_files = ["site.css"]
html_copy_source = True
html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def source_of(pagename: str) -> str:
    """File of the repository that a page comes from."""
    if pagename.startswith("api/"):
        return "docs/site/reference.py"
    if pagename.startswith("tutorials/"):
        return f"{pagename}.py"
    return {"index": "README.md", "changelog": "CHANGELOG.md"}.get(pagename, f"docs/{pagename}.md")


def add_edit_link(app, pagename, templatename, context, doctree) -> None:
    """Give the template ``edit_url``, where the repository has an address."""
    context["edit_url"] = REPOSITORY and f"{REPOSITORY}/edit/main/{source_of(pagename)}"


def plain_docstring(app, what, name, obj, options, lines) -> None:
    """Make a docstring safe for reStructuredText, before napoleon reads its sections.

    A remark in parentheses among the arguments would be read as one, names of arguments that go on
    in the next line as two, and the star of ``[*shape]`` as the start of emphasis. Methods of
    torch's autograd functions inherit docstrings that refer to pages of torch.
    """
    text = "\n".join(lines)
    if "extending-autograd" in text or "combining-forward-context" in text:
        lines[:] = []
        return
    text = re.sub(r"(?m)^( +[\w, ]+,)\n +(?=[\w, ]+: )", r"\1 ", text)
    text = re.sub(r"([\[ ])\*(?=[a-z_.]+[\],])", r"\1\\*", text)
    remark = re.compile(r"(?m)^ +\((The other arguments [^)]*?)\)\n?")
    moved = [" ".join(found.split()) for found in remark.findall(text)]
    lines[:] = remark.sub("", text).split("\n")
    for sentence in moved:
        lines += ["", sentence]


def constructor(app, what, name, obj, options, signature, returned):
    """The parameters of a class; those of its metaclass, which Sphinx would show, are none."""
    if what != "class":
        return None
    try:
        known = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    bare = [
        parameter.replace(annotation=parameter.empty) for parameter in known.parameters.values()
    ]
    return str(known.replace(parameters=bare, return_annotation=known.empty)), None


def skip_plain_attribute(app, what, name, obj, skip, options):
    """Leave out attributes of classes that are no methods, properties or classes, and functions of
    torch: what they mean is among the arguments, or internal."""
    shown = callable(obj) or isinstance(obj, (property, classmethod, staticmethod))
    shown = shown and not isinstance(getattr(obj, "__func__", obj), types.BuiltinFunctionType)
    return None if shown else True


@cache
def short_names(domain) -> dict[str, str]:
    """The shortest documented path of each name without its first parts. Pages are all read when
    the first reference is resolved."""
    found: dict[str, str] = {}
    for path in sorted(domain.objects, key=len):
        if path.startswith("spikeloom."):
            parts = path.split(".")
            for first in range(1, len(parts)):
                found.setdefault(".".join(parts[first:]), path)
    return found


def resolve_short_name(app, env, node, contnode):
    """Link ``snn.run`` and names without their module, which docstrings use."""
    domain = env.domains["py"]
    target = node.get("reftarget", "").removeprefix("snn.")
    found = domain.objects.get(short_names(domain).get(target, ""))
    if found is None:
        return None
    reference = nodes.reference("", "", contnode, internal=True)
    page = app.builder.get_relative_uri(node["refdoc"], found.docname)
    reference["refuri"] = f"{page}#{found.node_id}"
    return reference


def visit_math(self, node) -> None:
    """An inline formula as MathML, which browsers show without a script."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def visit_math_block(self, node) -> None:
    """A formula on its own line."""
    self.body.append(convert(node.astext(), display="block"))
    raise nodes.SkipNode


REPOSITORY = repository()


def setup(app) -> None:
    """Connect the above."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("html-page-context", add_edit_link)
    app.connect("autodoc-process-docstring", plain_docstring, priority=100)
    app.connect("autodoc-process-signature", constructor)
    app.connect("autodoc-skip-member", skip_plain_attribute)
    app.connect("missing-reference", resolve_short_name)
