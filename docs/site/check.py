"""Checks of the built site: links, anchors, and an entry for every public name."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reference import entries
from sphinx.util.inventory import InventoryFile

API = Path(__file__).resolve().parent.parent.parent / "tests" / "golden" / "api.txt"


class Page(HTMLParser):
    """Links and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag refers to and what it can be referred to by."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """Each link to a file or an anchor of the site that does not exist."""
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    for path, page in pages.items():
        for link in sorted(set(page.links)):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists():
                yield f"{path.name}: no file for {link}"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{path.name}: no anchor for {link}"


def undocumented(site: Path) -> Iterator[str]:
    """Each public name, members of classes included, that has no entry on the site."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    known = {name for kind, found in inventory.data.items() if "py:" in kind for name in found}
    homes = {entry.path: entry.home for page in entries().values() for entry in page}
    for line in API.read_text(encoding="utf-8").splitlines():
        name = line.partition("(")[0].partition(":")[0]
        owner, _, member = name.rpartition(".")
        if name not in known and f"{homes.get(owner)}.{member}" not in known:
            yield f"no page for {name}"
