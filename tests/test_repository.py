"""The repository: nothing of one machine, one version everywhere."""

import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import spikeloom

ROOT = Path(__file__).resolve().parent.parent

# Written so that this file does not match itself.
FOREIGN = {
    "a path of one machine": r"(?<![\w./-])/(?:work|tmp|root|home|Users|opt|var|mnt)/\w|[f]ile:///|\b[C-E]:\\\\?\w",
    "a package index": r"-[-](extra-)?index-url|-[-]find-links|[p]ythonhosted"
    r"|[p]ypi\.org/simple|[d]ownload\.pytorch",
    "an open end": r"\b(?:[T]ODO|[F]IXME|[X]XX)\b",
}


def tracked() -> list[str]:
    """Files of the repository, as git knows them; outside a checkout the test has nothing to look
    at."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Name and text of each tracked text file, of these suffixes if any are given."""
    for name in tracked():
        if suffixes and not name.endswith(suffixes):
            continue
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:  # pictures, recorded arrays
            continue


@pytest.mark.parametrize("what", FOREIGN)
def test_no_tracked_file_holds(what: str) -> None:
    pattern = re.compile(FOREIGN[what])
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"{what} in a tracked file:\n" + "\n".join(found)


def test_the_version_is_the_same_everywhere() -> None:
    places = {"CITATION.cff": r"^version: (.+)$", "CHANGELOG.md": r"^## \[(\d.+?)\]"}
    for name, pattern in places.items():
        first = re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert first and first.group(1) == spikeloom.__version__, (
            f"{name} speaks of another version: {first}"
        )


def warn_in(module: str, category: type[Warning]) -> None:
    exec(
        "import warnings; warnings.warn('old', category)",
        {"__name__": module, "category": category},
    )


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
def test_what_torch_retires_in_itself_fails_no_test_and_what_we_still_use_does(
    category: type[Warning],
) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warn_in("torch", category)
        warn_in("torch.fx.graph", category)
    assert len(seen) == 2
    for module in ("spikeloom.running", "torchvision", "__main__"):
        with pytest.raises(category):
            warn_in(module, category)


# Words that make a native reader stop: persons, images, and "must lie in".
WORDS = re.compile(
    r"\b(nobody|somebody|everybody|lies|must lie|lie in|stands|asks|asked|tells|told|see there|led"
    r"|looks|kept|ways)\b",
    re.IGNORECASE,
)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def test_a_text_says_nobody_or_looks_instead_of_what_the_code_does() -> None:
    found = []
    for name, text in texts(".py", ".md"):
        page = name.startswith("docs/") or name in ("README.md", "CONTRIBUTING.md")
        if not page and not name.startswith("src/"):
            continue
        if page:  # names of tests and options are not prose
            text = CODE.sub(lambda code: "\n" * code[0].count("\n"), text)
        for number, line in enumerate(text.splitlines(), 1):
            found += [
                f"{name}:{number}: {word[0]}: {line.strip()}" for word in WORDS.finditer(line)
            ]
    assert not found, "write what the code does, in terms of the field:\n" + "\n".join(found)
