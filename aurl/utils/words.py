"""Words for messages: the name that was probably meant, and short names that tell files apart."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean NAME?``, or nothing when no name is near.

    Example:
        >>> nearest("densty", ["density", "range"])
        '; did you mean density?'
    """
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def exists_hint(path: Path) -> str:
    """The nearest existing name beside a missing path, as :func:`nearest` gives it."""
    folder = path.parent
    try:
        return nearest(path.name, (entry.name for entry in folder.iterdir())) if folder.is_dir() else ""
    except OSError:  # a folder that may not be listed has no names to propose
        return ""


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The name of each file without its ending, with as many folders before it as tell it from the others.

    The ending stays where nothing else differs; the same path twice has the same name twice.

    Example:
        >>> distinct_names([Path("a/x/song.mid"), Path("b/x/song.mid"), Path("b/x/tune.mid")])
        ['a/x/song', 'b/x/song', 'tune']
    """
    names = [path.stem for path in paths]
    for stem in {name for name in names if names.count(name) > 1}:
        alike = [number for number, path in enumerate(paths) if path.stem == stem]
        different = {paths[number] for number in alike}
        deepest = max(len(path.parts) for path in different)
        for depth in range(1, deepest + 1):
            tails = {path: Path(*path.with_suffix("").parts[-depth:]) for path in different}
            if len(set(tails.values())) == len(different):
                break
        else:
            tails = {path: path if len(different) > 1 else Path(stem) for path in different}
        for number in alike:
            names[number] = tails[paths[number]].as_posix()
    return names
