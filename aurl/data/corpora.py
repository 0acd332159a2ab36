"""The corpora that ``aurl-data download`` knows: addresses, sizes, checksums, licences; the facts lie in corpora.json.

A catalogue of your own has the same form: a JSON list of objects with the fields of :class:`Corpus`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from aurl.utils.errors import AurlError

CATALOGUE = "corpora.json"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
"""SHA-1, or SHA-256 in newer repositories."""
LISTS, NUMBERS = ("urls", "keep"), ("bytes", "download_bytes", "files")
"""Keys of a catalogue whose values are no text."""
KILO = 1000
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One corpus and where it comes from."""

    name: str
    licence: str
    about: str = ""
    urls: tuple[str, ...] = ()
    """Files to download: zip and tar archives are unpacked, Parquet tables become files, anything else is kept."""
    git: str = ""
    """A repository instead of files."""
    commit: str = ""
    """The commit of it, all 40 letters; empty is the newest."""
    page: str = ""
    """Where people read about it, and get what cannot be downloaded by a program."""
    bytes: int | None = None
    """Size of the one file in ``urls``; another size is refused."""
    download_bytes: int | None = None
    """About how much is loaded, where ``bytes`` is not known."""
    files: int | None = None
    """About how many pieces it holds."""
    md5: str = ""
    sha256: str = ""
    keep: tuple[str, ...] = ()
    """Patterns of the file names that are kept; empty keeps all."""
    gate: str = ""
    """What has to be done before it may be loaded."""
    token_env: str = ""
    """Environment variable that may hold a token for the host of ``urls``; empty: no token is asked for."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise AurlError(f"corpus name {self.name!r}: allowed are a to z, 0 to 9, '.', '_' and '-'")
        if not self.licence:
            raise AurlError(f"corpus {self.name}: licence is missing; write 'not stated' where there is none")
        for url in self.urls:
            if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
                raise AurlError(f"corpus {self.name}: {url} is not an http or https address")
        if self.git.startswith("-"):
            raise AurlError(f"corpus {self.name}: {self.git} is not a repository")
        if self.commit and not COMMIT.fullmatch(self.commit):
            raise AurlError(f"corpus {self.name}: commit {self.commit!r} must be a whole one, 40 digits and a to f")
        if self.commit and not self.git:
            raise AurlError(f"corpus {self.name} comes from no git repository, so that it has no commit {self.commit}")
        if len(self.urls) > 1 and (self.bytes or self.md5 or self.sha256):
            raise AurlError(f"corpus {self.name}: bytes and checksums are for one file, not for {len(self.urls)}")

    @property
    def checksums(self) -> dict[str, str]:
        """Those that are known."""
        return {name: value for name, value in (("sha256", self.sha256), ("md5", self.md5)) if value}

    @property
    def by_hand(self) -> bool:
        """Whether no program can load it."""
        return not self.urls and not self.git


def read_catalogue(path: Path | None = None) -> dict[str, Corpus]:
    """Corpora by name, in the order of the catalogue.

    Args:
        path: a catalogue of your own; None is the one of the package.

    Raises:
        AurlError: not a catalogue; the text names the entry.

    Example:
        >>> read_catalogue()["maestro-v3"].licence
        'CC BY-NC-SA 4.0'
    """
    try:
        text = (path or resources.files("aurl.data") / CATALOGUE).read_text(encoding="utf-8")
        rows = json.loads(text)
    except (OSError, ValueError) as error:
        raise AurlError(f"{path}: not a catalogue of corpora ({error})") from error
    if not isinstance(rows, list):
        raise AurlError(f"{path}: not a catalogue of corpora (a JSON list of objects)")
    return {corpus.name: corpus for corpus in map(_corpus, rows)}


def _corpus(row: Any) -> Corpus:
    names = {field.name for field in dataclasses.fields(Corpus)}
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise AurlError(f"catalogue entry {row!r}: no JSON object with a name")
    if unknown := sorted(set(row) - names):
        raise AurlError(f"corpus {row['name']}: unknown key {unknown[0]}; allowed: {', '.join(sorted(names))}")
    for key, value in row.items():
        if reason := _misfit(key, value):
            raise AurlError(f"corpus {row['name']}: {key}={json.dumps(value)} {reason}")
    lists = {key: tuple(row[key]) for key in ("urls", "keep") if key in row}
    return Corpus(**{"licence": "", **row, **lists})


def _misfit(key: str, value: Any) -> str:
    """What a value of a catalogue should be, where it is something else."""
    if key in LISTS:
        is_list = isinstance(value, list) and all(isinstance(part, str) for part in value)
        return "" if is_list else "must be a list of texts"
    if key in NUMBERS:
        is_number = value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
        return "" if is_number else "must be a whole number, or null"
    return "" if isinstance(value, str) else "must be text"


def size_text(size: int | None) -> str:
    """A size in the largest fitting unit, ``?`` where it is not known.

    Example:
        >>> size_text(58_416_533), size_text(None)
        ('58.4 MB', '?')
    """
    if size is None:
        return "?"
    value, unit = float(size), 0
    while value >= KILO and unit + 1 < len(UNITS):
        value, unit = value / KILO, unit + 1
    return f"{value:.3g} {UNITS[unit]}" if unit else f"{size} B"
