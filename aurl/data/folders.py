"""Music files below a folder, and their names as text. No music library is imported: commands start with this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from aurl.music.formats import SCORE_SUFFIXES
from aurl.utils.pages import printable as printable  # names of files as text, for whoever lists them

HIDDEN_PREFIXES = (".", "__MACOSX")


def is_score(path: Path) -> bool:
    """Whether the ending is that of a music file."""
    return path.suffix.lower() in SCORE_SUFFIXES


def walk_scores(
    root: Path, wanted: Callable[[Path], bool] = is_score, on_error: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """Files below a folder, in the order of their whole paths; one folder is in memory at a time, not the corpus.

    A folder that links lead to twice is entered once, hidden ones are left out.

    Args:
        root: the folder.
        wanted: which files to give.
        on_error: is told of each folder that cannot be listed.
    """
    yield from _walk(root, wanted, on_error or (lambda error: None), {os.path.realpath(root)})


def _walk(
    folder: Path, wanted: Callable[[Path], bool], on_error: Callable[[OSError], None], seen: set[str]
) -> Iterator[Path]:
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(HIDDEN_PREFIXES):
                    # With its slash a folder sorts where the paths of its files do.
                    names.append(f"{entry.name}/" if entry.is_dir() else entry.name)
    except OSError as error:
        on_error(error)
        return
    for name in sorted(names):
        path = folder / name
        if not name.endswith("/"):
            if wanted(path):
                yield path
        elif (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            yield from _walk(path, wanted, on_error, seen)
