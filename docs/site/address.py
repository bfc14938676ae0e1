"""Where the repository is published, for links of the site and of the package's page."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^):]+)\)")


def repository() -> str:
    """Address of the repository: of the CI run, else of git's remote ``origin``, else empty."""
    if "GITHUB_REPOSITORY" in os.environ:
        return f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
    command = ["git", "remote", "get-url", "origin"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:  # git is not installed
        return ""
    address = re.sub(r"^git@([^:]+):", r"https://\1/", found.stdout.strip())
    return address.removesuffix(".git") if address.startswith("https://") else ""


def absolute(text: str, address: str) -> str:
    """A page of the repository as it reads anywhere else: links lead to the repository. Without an
    address they become their labels, and pictures are left out.

    >>> absolute("See [figures](docs/measured.md).", "https://example.org/lib")
    'See [figures](https://example.org/lib/blob/main/docs/measured.md).'
    >>> absolute("See [figures](docs/measured.md).", "")
    'See figures.'
    """

    def changed(found: re.Match[str]) -> str:
        picture, label, path = found.groups()
        if not address:
            return "" if picture else label
        kind = "raw" if picture else "blob"
        return f"{picture}[{label}]({address}/{kind}/main/{path})"

    return LINK.sub(changed, text)
