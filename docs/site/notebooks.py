"""Tutorials as executed notebooks.

    python docs/site/notebooks.py build/notebooks          # smoke mode: less data, a few seconds
    python docs/site/notebooks.py --full build/notebooks   # as the scripts run

A notebook needs no file beside it: its second cell holds `tutorials/common.py`, and its first cell
installs Spikeloom where it is missing. Each is executed in a process of its own, in an empty
folder; a cell with an error ends the build.
"""

import argparse
import ast
import json
import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbclient
from nbformat import NotebookNode, v4

ROOT = Path(__file__).resolve().parent.parent.parent
TUTORIALS = ROOT / "tutorials"
INSTALL = """\
import importlib.util

if importlib.util.find_spec("spikeloom") is None:
    %pip install --quiet "spikeloom[viz,data,nir]"
%matplotlib inline"""
IMPORT = re.compile(r"^from common import .*\n", re.MULTILINE)


def names() -> list[str]:
    """Names of all tutorials."""
    return sorted(path.stem for path in TUTORIALS.glob("*.py") if path.stem != "common")


def introduction(text: str) -> str:
    """The docstring of a tutorial as Markdown: its first paragraph is the title."""
    title, _, rest = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")
    return f"# {' '.join(title.split()).rstrip('.')}\n\n{rest}"


def notebook(name: str) -> NotebookNode:
    """The notebook of one tutorial, not executed."""
    text = (TUTORIALS / f"{name}.py").read_text(encoding="utf-8")
    cells = jupytext.reads(text, fmt="py:percent").cells[1:]  # the first one is the docstring
    for cell in cells:
        cell.source = IMPORT.sub("", cell.source)
    common = (TUTORIALS / "common.py").read_text(encoding="utf-8")
    helpers = v4.new_code_cell(common, metadata={"tags": ["hide-input"]})
    first = [v4.new_markdown_cell(introduction(text)), v4.new_code_cell(INSTALL), helpers]
    for number, cell in enumerate([*first, *cells]):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return v4.new_notebook(cells=[*first, *cells], metadata=metadata)


def without_paths(output: NotebookNode) -> NotebookNode | None:
    """An output without the paths of saved pictures, whose folder is gone; None if nothing remains.
    The pictures themselves are in the notebook."""
    if "text" in output:
        output["text"] = re.sub(r"^picture: .*\n?", "", output["text"], flags=re.MULTILINE)
        return output if output["text"] else None
    shown = output.get("data", {}).get("text/plain", "")
    return None if re.match(r"(Posix|Windows)Path\(", shown) else output


def execute(name: str, folder: Path, full: bool = False) -> Path:
    """Execute one notebook in an empty folder and write it to ``folder``.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell has an error.
    """
    made = notebook(name)
    settings = {**os.environ, "SPIKELOOM_SMOKE": "" if full else "1", "OMP_NUM_THREADS": "1"}
    settings.pop("MPLBACKEND", None)  # pictures belong into the notebook
    settings["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as sockets:
        settings["SPIKELOOM_OUT"] = empty
        client = nbclient.NotebookClient(
            made, timeout=3600, startup_timeout=300, resources={"metadata": {"path": empty}}
        )
        if sys.platform != "win32":  # TCP, the default, is open to others; ipykernel warns
            manager = client.create_kernel_manager()
            manager.transport, manager.ip = "ipc", f"{sockets}/kernel"
        client.execute(env=settings)
    for cell in made.cells:
        if "outputs" in cell:
            cell.outputs = [shown for shown in map(without_paths, cell.outputs) if shown]
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Execute all tutorials, or those that are named."""
    parser = argparse.ArgumentParser(description="Execute the tutorials as notebooks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="tutorials; default: all")
    parser.add_argument("--full", action="store_true", help="full length instead of smoke mode")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        work = [
            pool.submit(execute, name, given.folder, given.full) for name in given.names or names()
        ]
        for done in work:
            print(done.result())


if __name__ == "__main__":
    main()
