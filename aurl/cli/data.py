"""``aurl-data``: look at music files, and repair them, before anything is trained on them.

Paths are plain text (argparse, no Hydra), and this process imports no music library: it starts at once, and workers
that are copies of it read the files, so that one that crashes its reader costs that file only.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aurl.data.crew import JOB_SECONDS, Failure, available_cores, in_order, work_through
from aurl.data.folders import is_score, printable, walk_scores
from aurl.music.limits import ReadLimits
from aurl.utils.errors import AurlError

FAILED, INTERRUPTED = 1, 130
REJECTED = "rejected"
HEAD_BYTES = 12
MIDI_OUTPUT_SUFFIXES = frozenset({".mid", ".midi", ".kar", ".smf"})
"""Endings that a repaired file keeps; another becomes .mid."""

HELP = "Look at music files and repair them."
EPILOG = """exit status: 0 all files can be read, 1 a file is rejected or a path cannot be read, 2 misread command line

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
        limits = _limits(options.limit)
        return options.task(options, limits)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough, as in `aurl-data check . | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (AurlError, OSError) as error:
        print(f"error: {_one_line(str(error))}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aurl-data", description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="check|repair")
    check = verbs.add_parser("check", help="say of each file whether it can be read, in a JSON line")
    check.set_defaults(task=check_files)
    repair = verbs.add_parser("repair", help="write exact MIDI files of all that can be read")
    repair.set_defaults(task=repair_files)
    repair.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where the repaired files go")
    repair.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    names = ", ".join(f"{field.name}={field.default}" for field in dataclasses.fields(ReadLimits))
    for verb in (check, repair):
        verb.add_argument("paths", nargs="+", metavar="PATH", help="file, or folder with all that is below it")
        verb.add_argument("--workers", type=int, default=0, metavar="N", help="processes; 0 is one a core")
        verb.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER", help=f"one of {names}")
    return parser


def _limits(settings: Iterable[str]) -> ReadLimits:
    """The limits with those of the command line."""
    names = [field.name for field in dataclasses.fields(ReadLimits)]
    changed = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in names or not value.isdecimal() or int(value) < 1:
            allowed = ", ".join(names)
            raise AurlError(f"--limit {setting}: not NAME=NUMBER with a name of {allowed} and a number of 1 or more")
        changed[name] = int(value)
    return ReadLimits(**changed)


def check_files(options: argparse.Namespace, limits: ReadLimits) -> int:
    """Print a line for each file; see the module."""
    files = [path for given in options.paths for path, _ in _listed(given)]
    results = _worked(files, partial(_start_check, limits), options.workers)
    return _print_reports(zip(files, results, strict=True), len(files))


def repair_files(options: argparse.Namespace, limits: ReadLimits) -> int:
    """Write repaired copies and print the same lines as check."""
    jobs: list[tuple[str, Path]] = []
    taken: set[Path] = set()
    for given in options.paths:
        for path, below in _listed(given):
            target = options.output / below
            if target.suffix.lower() not in MIDI_OUTPUT_SUFFIXES:
                target = target.with_name(f"{target.name}.mid" if not is_score(target) else f"{target.stem}.mid")
            if target in taken:
                target = target.with_name(f"{target.stem}-{len(taken)}{target.suffix}")
            taken.add(target)
            jobs.append((path, target))
    results = _worked(jobs, partial(_start_repair, limits, options.overwrite), options.workers)
    return _print_reports(zip((path for path, _ in jobs), results, strict=True), len(jobs))


def _worked(jobs: list[Any], start: Callable[[], Callable[[Any], Any]], workers: int) -> Iterator[Any]:
    return in_order(work_through(jobs, start, workers or available_cores(), JOB_SECONDS, fork=True))


# --- in the workers ---------------------------------------------------------------------------------------------------


def _start_check(limits: ReadLimits) -> Callable[[str], dict[str, Any]]:
    """What a worker of ``check`` does with each file."""
    from aurl.music.examine import examine_file

    return lambda path: _row(examine_file(Path(path), limits))


def _start_repair(limits: ReadLimits, overwrite: bool) -> Callable[[tuple[str, Path]], dict[str, Any]]:
    """What a worker of ``repair`` does with each file."""
    from aurl.music.examine import repair_file
    from aurl.utils.files import atomic_write_bytes

    def repair(job: tuple[str, Path]) -> dict[str, Any]:
        path, target = job
        report, songs = repair_file(Path(path), limits)
        row = _row(report)
        names = [target] if len(songs) == 1 else [_numbered(target, number) for number in range(1, len(songs) + 1)]
        there = [name for name in names if os.path.lexists(name)]
        if there and not overwrite:
            return row | {"verdict": REJECTED, "reason": f"{there[0]} is there already; add --overwrite"}
        try:
            for name, data in zip(names, songs, strict=True):
                atomic_write_bytes(name, data)
        except AurlError as error:
            return row | {"verdict": REJECTED, "reason": str(error)}
        return row

    return repair


def _numbered(target: Path, number: int) -> Path:
    return target.with_name(f"{target.stem}.{number}{target.suffix}")


def _row(report: Any) -> dict[str, Any]:
    """A report as plain values that travel between processes."""
    return dataclasses.asdict(report) | {"verdict": report.verdict.value}


# --- in and out -------------------------------------------------------------------------------------------------------


def _listed(given: str) -> Iterator[tuple[str, str]]:
    """The files at or below a path that was given, each with its name below it.

    A folder that cannot be listed or holds no music is given itself, so that it is reported.
    """
    root = Path(given)
    if not root.is_dir():
        yield given, root.name or "unnamed"
        return
    locked: list[OSError] = []
    files = sorted(walk_scores(root, _is_music, locked.append), key=lambda path: path.as_posix())
    for file in files or [root] * (not locked):
        yield str(file), str(file.relative_to(root))
    for error in locked:
        yield error.filename, "unreadable"


def _is_music(path: Path) -> bool:
    """Whether a file has the ending of a music file, or none of ours and the first bytes of a MIDI file."""
    if is_score(path):
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False  # not a music file by its name; what it holds cannot be known
    return head.startswith(b"MThd") or (head.startswith(b"RIFF") and head.endswith(b"RMID"))


def _print_reports(results: Iterable[tuple[str, dict[str, Any] | Failure]], total: int) -> int:
    """Print a JSON line a file, and one line on standard error if any is rejected.

    Returns:
        The exit code.
    """
    first, rejected = "", 0
    for path, result in results:
        row = {"verdict": REJECTED, "notes": 0, "tracks": 0, "repairs": {}, "reason": ""}
        row |= {"reason": result.reason} if isinstance(result, Failure) else result
        print(_json_line({"file": path, **row}), flush=True)
        if row["verdict"] == REJECTED:
            first = first or f"{_one_line(path)}: {_one_line(str(row['reason']))}"
            rejected += 1
    if rejected:
        print(
            f"error: {first}" if total == 1 else f"error: {rejected} of {total} files rejected: {first}",
            file=sys.stderr,
        )
    return FAILED if rejected else 0


def _json_line(row: dict[str, Any]) -> str:
    """JSON with letters as they are where the output can show them, else with escapes."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(row)
    return line if line.isprintable() else json.dumps(row)


def _one_line(text: str) -> str:
    """Text on one line: what cannot be printed becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in printable(text))
