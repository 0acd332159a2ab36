"""``aurl-data check`` and ``aurl-data repair``: say of each file whether it can be read, and write exact copies.

This process imports no music library: it starts at once, and workers that are copies of it read the files, so that one
that crashes its reader costs that file only.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from aurl.cli.score_files import REJECTED, listed, print_reports
from aurl.data.crew import JOB_SECONDS, available_cores, in_order, work_through
from aurl.data.folders import is_score
from aurl.music.limits import ReadLimits
from aurl.utils.errors import AurlError
from aurl.utils.files import check_folder
from aurl.utils.words import nearest

MIDI_OUTPUT_SUFFIXES = frozenset({".mid", ".midi", ".kar", ".smf"})
"""Endings that a repaired file keeps; another becomes .mid."""


def add_verb(verbs: Any) -> None:
    """Add ``check`` and ``repair`` to the subparsers of ``aurl-data``."""
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


def limits_of(settings: Iterable[str]) -> ReadLimits:
    """The limits with those of the command line."""
    names = [field.name for field in dataclasses.fields(ReadLimits)]
    changed = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in names or not value.isdecimal() or int(value) < 1:
            allowed, near = ", ".join(names), "" if name in names else nearest(name, names)
            raise AurlError(
                f"--limit {setting}: not NAME=NUMBER with a name of {allowed} and a number of 1 or more{near}"
            )
        changed[name] = int(value)
    return ReadLimits(**changed)


def check_files(options: argparse.Namespace) -> int:
    """Print a line for each file; see the module."""
    limits = limits_of(options.limit)
    files = [path for given in options.paths for path, _ in listed(given)]
    results = _worked(files, partial(_start_check, limits), options.workers)
    return print_reports(zip(files, results, strict=True), len(files))


def repair_files(options: argparse.Namespace) -> int:
    """Write repaired copies and print the same lines as check."""
    limits = limits_of(options.limit)
    check_folder(options.output, "--output ")
    jobs: list[tuple[str, Path]] = []
    taken: set[Path] = set()
    for given in options.paths:
        for path, below in listed(given):
            target = options.output / below
            if target.suffix.lower() not in MIDI_OUTPUT_SUFFIXES:
                target = target.with_name(f"{target.name}.mid" if not is_score(target) else f"{target.stem}.mid")
            if target in taken:
                target = target.with_name(f"{target.stem}-{len(taken)}{target.suffix}")
            taken.add(target)
            jobs.append((path, target))
    results = _worked(jobs, partial(_start_repair, limits, options.overwrite), options.workers)
    return print_reports(zip((path for path, _ in jobs), results, strict=True), len(jobs))


def _worked(jobs: list[Any], start: Callable[[], Callable[[Any], Any]], workers: int) -> Iterator[Any]:
    if workers < 0:
        raise AurlError(f"--workers {workers} is too small; allowed: 0 (one a core) or more")
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
