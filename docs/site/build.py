"""Build the site.

    python docs/site/build.py site --notebooks build/notebooks

Collects the README, the pages of `docs/`, the executed notebooks and the generated API reference in
one folder, runs Sphinx over it with warnings as errors, and checks the result with `check.py`.
"""

import argparse
import base64
import json
import re
import shutil
import sys
from pathlib import Path

import sphinx.cmd.build
from check import broken_links, undocumented
from conf import REPOSITORY
from navigation import PAGES, PARTS
from reference import write_reference

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#:\s]+)(#[^)]*)?\)")


def destination(link: str, page: Path) -> str:
    """Where a relative link of a page leads on the site; empty if nowhere."""
    path = (page.parent / link).resolve()
    if not path.is_relative_to(ROOT):
        return ""
    name = path.relative_to(ROOT).as_posix()
    if name in PAGES:
        return f"/{PAGES[name]}.md"
    if name.startswith("docs/") and name.endswith(".md"):
        return f"/{name.removeprefix('docs/')}"
    if name.startswith("tutorials/") and name.endswith(".py"):
        return f"/{name.removesuffix('.py')}.ipynb"
    return f"{REPOSITORY}/blob/main/{name}" if REPOSITORY else ""


def page_text(page: Path) -> str:
    """A page of the repository with its links changed to those of the site. A file that is not on
    the site is linked in the repository, if that has an address, else its name is all."""

    def changed(found: re.Match[str]) -> str:
        label, link, anchor = found.groups()
        target = destination(link, page)
        return f"[{label}]({target}{anchor or ''})" if target else label

    return LINK.sub(changed, page.read_text(encoding="utf-8").replace("](docs/images", "](images"))


def navigation() -> str:
    """The tables of contents of the first page, which make the sidebar."""
    trees = []
    for title, pages in PARTS.items():
        trees += ["", "```{toctree}", f":caption: {title}", ":hidden:", *pages, "```"]
    return "\n".join([*trees, ""])


def first_picture(notebook: dict) -> bytes | None:
    """The first picture of an executed notebook."""
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    return None


def gallery(notebooks: Path, source: Path) -> str:
    """Copy the notebooks, and the gallery of their first pictures as Markdown."""
    folder, thumbnails = source / "tutorials", source / "images" / "gallery"
    folder.mkdir()
    thumbnails.mkdir(parents=True)
    lines = ["", "## Gallery", "", "::::{grid} 1 2 3 3", ":gutter: 3", ""]
    page = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
    paths = sorted(notebooks.glob("*.ipynb"), key=lambda path: page.index(f"/{path.stem}.py)"))
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        shutil.copy(path, folder / path.name)
        title = "".join(content["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")
        lines += [f":::{{grid-item-card}} {title}", f":link: /tutorials/{path.stem}"]
        lines += [":link-type: doc"]
        picture = first_picture(content)
        if picture:
            (thumbnails / f"{path.stem}.png").write_bytes(picture)
            lines += [f":img-bottom: images/gallery/{path.stem}.png"]
        lines += [f":img-alt: {title}", ":::", ""]
    hidden = ["```{toctree}", ":hidden:", *(f"tutorials/{path.stem}" for path in paths), "```"]
    return "\n".join([*lines, "::::", "", *hidden, ""])


def collect(source: Path, notebooks: Path) -> None:
    """Write everything that Sphinx reads into ``source``."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "images", source / "images")
    for page in (ROOT / "docs").glob("*.md"):
        (source / page.name).write_text(page_text(page), encoding="utf-8")
    for name, target in PAGES.items():
        (source / f"{target}.md").write_text(page_text(ROOT / name), encoding="utf-8")
    with (source / "index.md").open("a", encoding="utf-8") as index:
        index.write(navigation())
    with (source / "tutorials.md").open("a", encoding="utf-8") as tutorials:
        tutorials.write(gallery(notebooks, source))
    write_reference(source / "api")


def main() -> int:
    """Build and check; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Build the site.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--notebooks", type=Path, required=True, help="executed notebooks")
    given = parser.parse_args()
    source, made = ROOT / "build" / "site", ROOT / "build" / "html"
    collect(source, given.notebooks)
    shutil.rmtree(made, ignore_errors=True)
    arguments = ["-b", "html", "-c", str(HERE), "-W", "--keep-going", "-q", "-E"]
    failed = sphinx.cmd.build.main(
        [*arguments, "-d", str(ROOT / "build" / "doctrees"), str(source), str(made)]
    )
    faults = [*broken_links(made), *undocumented(made)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if failed or faults:
        return 1
    shutil.rmtree(given.output, ignore_errors=True)
    shutil.copytree(made, given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
