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
from collections.abc import Iterator, Sequence
from types import ModuleType

import aurl.cli
from aurl.cli.score_files import one_line
from aurl.utils.errors import AurlError

FAILED, INTERRUPTED = 1, 130
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
    options = _parser().parse_args(arguments)
    try:
        return options.task(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough, as in `aurl-data check . | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (AurlError, OSError, ValueError) as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aurl-data", description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for module in verb_modules():
        module.add_verb(verbs)
    verbs.metavar = "|".join(verbs.choices)
    return parser


def verb_modules() -> Iterator[ModuleType]:
    """The modules that hold verbs, by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(aurl.cli.__path__))
    for name in names:
        if name.startswith(VERB_PREFIX):
            yield importlib.import_module(f"{aurl.cli.__name__}.{name}")


if __name__ == "__main__":
    main()
