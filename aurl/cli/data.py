"""``aurl-data``: everything that is done to music before a model sees it, a verb each.

A verb is a module ``aurl/cli/data_<name>.py`` with ``add_verb(verbs)``: it adds its parser to the argparse subparsers
and ``set_defaults(task=function)``, where ``function(options) -> int`` does the work and returns the exit code. Modules
are found by their name, so a new verb needs no line here. Paths are plain text (argparse, no Hydra), and what is
imported at the top of a verb's module is imported for ``--help`` too: no torch, Hydra, NumPy or music library there.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import NoReturn

import aurl.cli
from aurl.cli.score_files import one_line
from aurl.utils.errors import AurlError
from aurl.utils.words import nearest

FAILED, MISREAD, INTERRUPTED = 1, 2, 130
VERB_PREFIX = "data_"

HELP = "Look at music files, repair them, and prepare corpora."
EPILOG = """exit status: 0 all is well, 1 a file is rejected or something failed, 2 misread command line

  aurl-data check ~/midi                        one JSON line a file
  aurl-data repair ~/midi --output clean        repaired copies
  aurl-data check -- -odd-name.mid              after -- everything is a path
"""


def main() -> None:
    """Run ``aurl-data`` on ``sys.argv`` and leave with its exit code."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run the command; every error is one line on standard error.

    Returns:
        The exit code.
    """
    try:
        options = _read(arguments)
        return options.task(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough, as in `aurl-data check . | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Misread as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return MISREAD
    except (AurlError, OSError, ValueError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return FAILED


class Misread(AurlError):
    """The command line itself cannot be read."""


class Parser(argparse.ArgumentParser):
    """Parses a command line; a mistake is one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line (called by argparse).

        Raises:
            Misread: always.
        """
        raise Misread(f"{message} (see {self.prog} --help)")


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line.

    Raises:
        Misread: names the word and the nearest one that is allowed.
    """
    parser, verbs = _parser()
    first = next(iter(arguments), "")
    if not first:
        raise Misread(f"a verb is missing; allowed: {', '.join(verbs)} ({parser.prog} --help says what they do)")
    if first not in verbs and not first.startswith("-"):
        raise Misread(f"there is no verb '{first}'{nearest(first, verbs)}; allowed: {', '.join(verbs)}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = verbs[options.verb]._option_string_actions
        word = unknown[0].partition("=")[0]
        if not word.startswith("-"):
            raise Misread(
                f"{unknown[0]} stands after an option; put it before the options of {verbs[options.verb].prog}"
            )
        raise Misread(f"{word} is no option of {verbs[options.verb].prog}{nearest(word, known)} (--help lists them)")
    return options


def _parser() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser, and those of its verbs."""
    parser = Parser(
        prog="aurl-data", description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for module in verb_modules():
        module.add_verb(verbs)
    verbs.metavar = "|".join(verbs.choices)
    return parser, verbs.choices


def verb_modules() -> Iterator[ModuleType]:
    """The modules that hold verbs, by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(aurl.cli.__path__))
    for name in names:
        if name.startswith(VERB_PREFIX):
            yield importlib.import_module(f"{aurl.cli.__name__}.{name}")


if __name__ == "__main__":
    main()
