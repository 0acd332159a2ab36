"""Music files below a folder, and their names as text. No music library is imported: commands start with this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from aurl.music.formats import SCORE_SUFFIXES

HIDDEN_PREFIXES = (".", "__MACOSX")


def is_score(path: Path) -> bool:
    """Whether the ending is that of a music file."""
    return path.suffix.lower() in SCORE_SUFFIXES


def walk_scores(
    root: Path, wanted: Callable[[Path], bool] = is_score, on_error: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """Files below a folder; a folder that links lead to twice is entered once, hidden ones are left out.

    Args:
        root: the folder.
        wanted: which files to give.
        on_error: is told of each folder that cannot be listed.
    """
    seen = {os.path.realpath(root)}
    for folder, names, files in os.walk(root, followlinks=True, onerror=on_error):
        names.sort()
        inside = []
        for name in names:
            real = os.path.realpath(os.path.join(folder, name))
            if not name.startswith(HIDDEN_PREFIXES) and real not in seen:
                seen.add(real)
                inside.append(name)
        names[:] = inside
        for name in files:
            path = Path(folder, name)
            if not name.startswith(HIDDEN_PREFIXES) and wanted(path):
                yield path


def printable(name: str) -> str:
    """A file name as text that can be written as UTF-8: bytes that are not UTF-8 become question marks."""
    return os.fsencode(name).decode("utf-8", errors="replace")
