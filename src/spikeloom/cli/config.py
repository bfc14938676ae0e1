"""Options of a command from a TOML file and from ``--set``, as words of the command line."""

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from ..core import checks

__all__ = ["add_arguments", "expanded", "written"]

OWN = (
    "config",
    "set",
    "help",
    "debug",
    "resume",
    "force",
    "command",
)  # of one call, never of a file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define ``--config`` and ``--set``."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="TOML file of options, such as epochs = 5; options given here win",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=argparse.SUPPRESS,
        help="one option as in the file; may be repeated",
    )


def expanded(
    words: list[str],
    args: argparse.Namespace,
    parser: argparse.ArgumentParser,
    command: argparse.ArgumentParser,
) -> argparse.Namespace:
    """The arguments with those of the file and of ``--set``, which come before the given ones.

    Args:
        words: of the command line.
        args: what they were parsed to.
        parser: of all commands.
        command: of the command.

    Raises:
        ValueError: the file is no TOML, or an option is unknown.
        ImportError: TOML needs Python 3.11.
    """
    path, pairs = getattr(args, "config", None), getattr(args, "set", [])
    if path is None and not pairs:
        return args
    before = [] if path is None else _words(_read(Path(path)), path, command)
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise ValueError(f'--set must be KEY=VALUE, got {pair!r}; write --set "epochs=5"')
        before += _words({name.strip(): _value(value.strip())}, "--set", command)
    at = words.index(args.command) + 1
    return parser.parse_args([*words[:at], *before, *words[at:]])


def _read(path: Path) -> dict[str, Any]:
    try:
        tomllib: Any = importlib.import_module("tomllib")
    except ModuleNotFoundError as error:
        raise ImportError("--config needs Python 3.11 or newer; write the options out") from error
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from error


def _value(text: str) -> Any:
    """A number, a text in quotes, a list or a flag; anything else is a text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Names in a file to options: ``batch_size`` and ``batch-size`` are ``--batch-size``."""
    found = {}
    for action in parser._actions:
        if action.option_strings and action.dest not in OWN:
            option = action.option_strings[-1]
            found[option.lstrip("-").replace("-", "_")] = option
    return found


def _words(values: dict[str, Any], where: str, parser: argparse.ArgumentParser) -> list[str]:
    options, words = _options(parser), []
    for name, value in values.items():
        key = name.replace("-", "_")
        if key not in options:
            checks.choice(f"an option in {where}", key, options)
        listed = value if isinstance(value, list) else [value]
        if value is True:
            words.append(options[key])
        elif value is not False:
            words += [options[key], *map(str, listed)]
    return words


def written(args: argparse.Namespace) -> str:
    """The options of a call as TOML, from which it can be repeated.

    >>> written(argparse.Namespace(num_steps=5, hidden=[8, 4], debug=True))
    'steps = 5\\nhidden = [8, 4]\\n'
    """
    names = {"num_steps": "steps", "encode": "encoding"}  # options that `fit` calls otherwise
    values = {
        names.get(name, name): value
        for name, value in vars(args).items()
        if name not in OWN and value is not None and value is not False
    }
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
