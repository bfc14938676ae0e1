"""What the package's metadata says that depends on where the repository is published."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PAGES = {"Documentation": "docs/overview.md", "Changelog": "CHANGELOG.md"}


class Published(MetadataHookInterface):
    """Sets ``urls``, and ``readme`` with links that work outside of the repository."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        functions = runpy.run_path(str(root / "docs" / "site" / "address.py"))
        address = functions["repository"]()
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": functions["absolute"](text, address),
        }
        if address:
            pages = {name: f"{address}/blob/main/{page}" for name, page in PAGES.items()}
            metadata["urls"] = {"Repository": address, "Issues": f"{address}/issues", **pages}
