"""Files that a user names on a command line: what is listed, and one JSON line for each on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aurl.data.crew import Failure
from aurl.data.folders import is_score, printable, walk_scores
from aurl.utils.words import exists_hint

FAILED = 1
REJECTED = "rejected"
HEAD_BYTES = 12


def listed(given: str) -> Iterator[tuple[str, str]]:
    """The files at or below a path that was given, each with its name below it.

    A folder that cannot be listed or holds no music is given itself, so that it is reported.
    """
    root = Path(given)
    if not root.is_dir():
        yield given, root.name or "unnamed"
        return
    locked: list[OSError] = []
    files = sorted(walk_scores(root, is_music, locked.append), key=lambda path: path.as_posix())
    for file in files or [root] * (not locked):
        yield str(file), str(file.relative_to(root))
    for error in locked:
        yield error.filename, "unreadable"


def is_music(path: Path) -> bool:
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


def print_reports(results: Iterable[tuple[str, dict[str, Any] | Failure]], total: int) -> int:
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
            hint = "" if os.path.lexists(path) else exists_hint(Path(path))
            first = first or f"{one_line(path)}: {one_line(str(row['reason']))}{one_line(hint)}"
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


def one_line(text: str) -> str:
    """Text on one line: what cannot be printed becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in printable(text))
