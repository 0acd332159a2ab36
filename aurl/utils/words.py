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
    plain = {path: path if path.is_dir() else path.with_suffix("") for path in paths}  # folders have no ending
    groups: dict[str, list[Path]] = {}
    for path, short in plain.items():
        groups.setdefault(short.name, []).append(path)
    names: dict[Path, str] = {}
    for name, alike in groups.items():
        for depth in range(1, max(len(path.parts) for path in alike) + 1):
            tails = {path: Path(*plain[path].parts[-depth:]) for path in alike}
            if len(set(tails.values())) == len(alike):
                break
        else:
            tails = {path: path for path in alike}
        names |= {path: tails[path].as_posix() if len(alike) > 1 else name for path in alike}
    return [names[path] for path in paths]
