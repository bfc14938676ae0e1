"""The command line: ``spikeloom COMMAND ...``, also as ``python -m spikeloom``.

A command is one module of this package with ``HELP``, ``add_arguments(parser)`` and ``run(args) ->
exit code``, and one line in `COMMANDS`. Errors of the user are one line on standard error and exit
code 2; ``--debug`` shows where they come from.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from ..train.card import versions
from ..train.interrupt import terminable
from . import config, convert, doctor, evaluate, export, info, predict, stdp, train

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, ModuleType] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "info": info,
    "stdp": stdp,
    "convert": convert,
    "doctor": doctor,
}

DESCRIPTION = "Spiking neural networks on PyTorch."
USER_ERROR, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(USER_ERROR)


class CommandParser(Parser):
    """A parser of one command, which refuses unknown words itself: the parser of all commands knows
    neither its options nor its help."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"there is no {unknown[0]}{self._nearest(unknown[0])}")
        return found, unknown

    def _nearest(self, word: str) -> str:
        """The option that was probably meant; an argument of Python is known, too."""
        known = {f"--{action.dest.replace('_', '-')}": action for action in self._actions}
        known |= self._option_string_actions
        near = difflib.get_close_matches(word.partition("=")[0], known, n=1, cutoff=0.7)
        options = known[near[0]].option_strings if near else []
        return f"; did you mean {options[-1]}" if options else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for an error of the user, 130 after Ctrl-C or
    SIGTERM.

    Args:
        argv: the words after ``spikeloom``. Default: those of this process.

    >>> main(["train", "--epochs", "0", "--out", "nowhere"])
    2
    """
    try:
        with terminable():
            return _command(argv)
    except KeyboardInterrupt:  # while options are parsed, or in the line that says how to go on
        print("spikeloom: interrupted", file=sys.stderr)
        return INTERRUPTED


def _command(argv: Sequence[str] | None) -> int:
    """As `main`, where an interrupt outside of the command is not caught."""
    parser, commands = parsers()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    if args.command is None:
        parser.print_help()
        return 0
    debug = getattr(args, "debug", False)
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        args = config.expanded(words, args, parser, commands[args.command])
        return int(COMMANDS[args.command].run(args))
    except SystemExit:  # an option of a file is wrong, which the parser has said
        return USER_ERROR
    except KeyboardInterrupt as stop:
        code, message = INTERRUPTED, str(stop) or "interrupted"
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        if debug:
            raise
        code, message = USER_ERROR, str(error)
    print(
        f"spikeloom {args.command}: {as_options(message, commands[args.command])}", file=sys.stderr
    )
    return code


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of the commands."""
    debug: dict[str, Any] = {
        "action": "store_true",
        "default": argparse.SUPPRESS,
        "help": "show where an error is from",
    }
    parser = Parser(prog="spikeloom", description=DESCRIPTION)
    parser.add_argument(
        "--version", action="version", version=f"spikeloom {versions()['spikeloom']}"
    )
    parser.add_argument("--debug", **debug)
    below = parser.add_subparsers(
        dest="command", title="commands", metavar="COMMAND", parser_class=CommandParser
    )
    commands = {}
    for name, module in COMMANDS.items():
        commands[name] = below.add_parser(name, help=module.HELP, description=module.__doc__)
        commands[name].add_argument("--debug", **debug)
        module.add_arguments(commands[name])
    return parser, commands


def as_options(message: str, parser: argparse.ArgumentParser) -> str:
    """``message`` as one line in which arguments of Python, ``num_steps=3``, are options, ``--steps
    3``.

    >>> parser = argparse.ArgumentParser()
    >>> _ = (
    ...     parser.add_argument("--resume", action="store_true"),
    ...     parser.add_argument("--steps", dest="num_steps"),
    ... )
    >>> as_options("write num_steps=3, or resume=True", parser)
    'write --steps 3, or --resume'
    """
    parts = re.split(r"""('[^']*'|"[^"]*")""", " ".join(message.split()))
    for i in range(0, len(parts), 2):  # what is quoted is quoted
        for action in parser._actions:
            if action.option_strings:
                flag = action.option_strings[-1]
                parts[i] = re.sub(rf"(?<![\w-]){action.dest}=True\b", flag, parts[i])
                parts[i] = re.sub(rf"(?<![\w-]){action.dest}=(?=\S|$)", f"{flag} ", parts[i])
    return "".join(parts)
