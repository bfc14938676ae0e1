"""Open the built site in Chromium, without a window: console errors, and what the search finds.

    python docs/site/browse.py site                  # every page
    python docs/site/browse.py site --shots folder   # with pictures, desktop and phone width

Needs the program ``chromium``, ``chromium-browser`` or ``google-chrome``; no Python package.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote_plus

# Words and the page that must be among the results.
SEARCHES = {
    "Leaky": "api/neurons.html",
    "layerwise": "api/execution.html",
    "does not learn": "not_learning.html",
}
WIDTHS = {"desktop": "1300,1800", "phone": "500,1800"}


def browser() -> str:
    """Path of the browser.

    Raises:
        SystemExit: there is none.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise SystemExit("found no Chromium; on Debian: apt install chromium")
    return found


def opened(program: str, address: str, *options: str) -> tuple[str, list[str]]:
    """The page after its scripts have run, and its console errors."""
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=8000", *options, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, [line for line in console if re.search(r"Error|Failed|ERR_", line)]


def main() -> int:
    """Open every page; 0 if no page has an error and the searches find their pages."""
    parser = argparse.ArgumentParser(description="Open the site in Chromium.")
    parser.add_argument("site", type=Path)
    parser.add_argument("--shots", type=Path, help="folder for pictures of the pages")
    given = parser.parse_args()
    program, site, faults = browser(), given.site.resolve(), []
    pages = sorted(site.rglob("*.html"))
    for page in pages:
        text, errors = opened(program, page.as_uri(), "--dump-dom")
        faults += [f"{page.relative_to(site)}: {error}" for error in errors]
        if "</html>" not in text:
            faults.append(f"{page.relative_to(site)}: not shown")
        for name, size in WIDTHS.items() if given.shots else ():
            target = given.shots.resolve() / f"{page.relative_to(site).with_suffix('')}-{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            opened(program, page.as_uri(), f"--window-size={size}", f"--screenshot={target}")
    for words, expected in SEARCHES.items():
        address = f"{(site / 'search.html').as_uri()}?q={quote_plus(words)}"
        text, _ = opened(program, address, "--dump-dom")
        if not re.search(rf'<li class="kind-\w+"><a href="{re.escape(expected)}', text):
            faults.append(f"the search for {words!r} does not find {expected}")
    print("\n".join([*faults, f"{len(pages)} pages, {len(faults)} faults"]))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
