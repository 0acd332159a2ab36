"""Tables that lie in a folder of music and say what its files are: CSV, TSV, JSONL and metadata.json.

A folder's tables are read once in a process. A row belongs to the file whose path below the folder it names; where
the names agree only from the right (``2018/a.mid`` for ``midi/2018/a.mid``), it does if that is the only such row and
no file lies where the row says.
"""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from aurl.data.metadata_values import normalised
from aurl.data.storable import storable
from aurl.music.formats import SCORE_SUFFIXES
from aurl.utils.logging import get_logger

log = get_logger(__name__)

PATH_COLUMNS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "midi_filename", "midi_file", "midi_path", "midi",
    "midi_performance", "midi_score", "xml_score", "mxl", "md5",
)  # fmt: skip
"""Columns (lower case) that name a file; all of a row's are looked at."""
CORPUS_RECORD = "corpus.json"
"""Written by aurl-data download: its source and licence hold for every file below."""
RECORD_FIELDS = ("source", "licence")
JSON_TABLES = frozenset({"metadata.json", "manifest.json", CORPUS_RECORD})
TEXT_DELIMITERS = {".csv": ",", ".tsv": "\t"}
DELIMITERS = ",;\t|"
LINES_SUFFIX = ".jsonl"
MAX_TABLE_BYTES, MAX_SIDECAR_BYTES = 2_000_000_000, 8_000_000
MAX_FIELD_CHARACTERS = 10_000_000
FOLDERS_REMEMBERED = 256
NESTED = "metadata"
"""A field whose own fields count as the row's."""
WIDTH_OF_NUMBERED_NAMES = 6
"""Digits that numbered files are padded to where a table's keys are not."""

BYTE_ORDER_MARK = "\ufeff"

_told: Counter[str] = Counter()


def told() -> dict[str, int]:
    """Problems told in this process, by kind."""
    return dict(_told)


def tell(kind: str, path: Path, reason: str) -> None:
    """Count and log that a file of metadata cannot be used as it should."""
    _told[kind] += 1
    name = os.fsencode(path).decode("utf-8", errors="replace")
    log.warning("%s %s; its metadata is left out", name, reason)


class Table:
    """Rows of one table, found by the file they describe.

    Args:
        folder: where the table lies.
        rows: as they were read.
        general: fields for every file below the folder.
        from_text: values are text.
    """

    def __init__(
        self, folder: Path, rows: list[Mapping[Any, Any]], general: Mapping[Any, Any], from_text: bool
    ) -> None:
        self.folder, self.rows, self.from_text = folder, rows, from_text
        self.general = normalised(general)
        self.exact: dict[str, int] = {}
        self.last: dict[str, int] = {}
        for number, row in enumerate(rows):
            for name in _names(row):
                self.exact.setdefault(name, number)
                last = name.rsplit("/", 1)[-1]
                self.last[last] = number if self.last.get(last, number) == number else -1

    def row(self, below: str) -> dict[str, Any]:
        """Fields of the file that lies at ``below``, a path from the table's folder with slashes."""
        number = self._find(_plain(below))
        if number is None:
            return dict(self.general)
        row = dict(self.rows[number])
        inner = row.pop(NESTED, None)
        row = {**row, **inner} if isinstance(inner, dict) else row
        kept = {name: value for name, value in row.items() if _column(name) not in PATH_COLUMNS}
        return self.general | normalised(kept, self.from_text)

    def _find(self, below: str) -> int | None:
        if not self.rows:
            return None
        stem = below.rsplit(".", 1)[0]
        for name in (below, stem):
            if name in self.exact:
                return self.exact[name]
        parts = below.split("/")
        for start in range(1, len(parts)):
            name = "/".join(parts[start:])
            number = self.exact.get(name, self.exact.get(name.rsplit(".", 1)[0]))
            if number is not None and not self._exists(name):
                return number
        last = parts[-1]
        for name in (last, last.rsplit(".", 1)[0], _numbered(last)):
            number = self.last.get(name, -1)
            if number >= 0 and not any(map(self._exists, _names(self.rows[number]))):
                return number
        return None

    def _exists(self, name: str) -> bool:
        """Whether a file lies where a row says, which may be no possible name of a file."""
        return os.path.exists(self.folder / name)


def _numbered(last: str) -> str:
    """The key of a file that is named by a padded number and a part, as ``001234_0.mid`` is of 1234."""
    head = last.split(".")[0].split("_")[0]
    return str(int(head)) if head.isdecimal() and len(head) >= WIDTH_OF_NUMBERED_NAMES else ""


def _column(name: Any) -> str:
    return str(name).strip().casefold().replace(" ", "_")


def _names(row: Mapping[Any, Any]) -> Iterator[str]:
    """The files that a row names."""
    for name, value in row.items():
        if isinstance(value, str) and value.strip() and _column(name) in PATH_COLUMNS:
            yield _plain(value)


def _plain(name: str) -> str:
    """A path in one form: slashes, composed letters, no leading ``./``."""
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./").strip("/")


@lru_cache(maxsize=FOLDERS_REMEMBERED)
def folder_tables(folder: Path) -> tuple[Table, ...]:
    """The tables of a folder, corpus.json first, metadata.json and manifest.json last; read once."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_table(entry.name) and entry.is_file())
    except OSError:
        return ()  # that the folder cannot be listed is told by whoever reads its music
    names.sort(key=lambda name: (name.casefold() in JSON_TABLES) - 2 * (name == CORPUS_RECORD))
    return tuple(table for name in names if (table := _read_table(folder / name)) is not None)


def _is_table(name: str) -> bool:
    plain = name.casefold()
    return not plain.startswith(".") and (plain in JSON_TABLES or plain.endswith((*TEXT_DELIMITERS, LINES_SUFFIX)))


def _read_table(path: Path) -> Table | None:
    """One table, or None where it is about something else or broken."""
    if path.name.casefold() in JSON_TABLES:
        value = read_json(path, MAX_TABLE_BYTES)
        if path.name == CORPUS_RECORD:
            known = value if isinstance(value, dict) else {}
            return Table(path.parent, [], {name: known[name] for name in RECORD_FIELDS if name in known}, False)
        return None if value is None else _json_table(path, value)
    text = read_text(path, MAX_TABLE_BYTES)
    if text is None:
        return None
    if path.suffix.casefold() == LINES_SUFFIX:
        rows = _json_lines(path, text)
        return Table(path.parent, rows, {}, False) if any(True for row in rows for _ in _names(row)) else None
    return _text_table(path, text)


def _text_table(path: Path, text: str) -> Table | None:
    head = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=head.count) if any(sign in head for sign in DELIMITERS) else ","
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        if not any(_column(name) in PATH_COLUMNS for name in reader.fieldnames or ()):
            return None
        rows: list[Mapping[Any, Any]] = list(reader)
    except csv.Error as error:
        tell("broken_table", path, f"is a broken table ({error})")
        return None
    return Table(path.parent, rows, {}, True)


def _json_lines(path: Path, text: str) -> list[Mapping[Any, Any]]:
    rows: list[Mapping[Any, Any]] = []
    broken = 0
    for line in text.splitlines():
        if line.strip():
            try:
                row = storable(json.loads(line))
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                broken += 1
    if broken:
        tell("broken_lines", path, f"has {broken} lines that are no JSON objects")
    return rows


def _json_table(path: Path, value: Any) -> Table | None:
    """Rows of a JSON document: a list of rows, rows by file name, columns by name, or fields of the whole folder."""
    folder = path.parent
    if isinstance(value, list):
        return Table(folder, [row for row in value if isinstance(row, dict)], {}, False)
    if not isinstance(value, dict):
        tell("not_an_object", path, "is no JSON object or list")
        return None
    columns = [
        name for name, column in value.items() if _column(name) in PATH_COLUMNS and isinstance(column, dict | list)
    ]
    if columns:
        return Table(folder, _rows_of_columns(value), {}, False)
    objects = {name: row for name, row in value.items() if isinstance(row, dict)}
    if objects and len(objects) == len(value):
        return Table(folder, [{"path": name, **row} for name, row in objects.items()], {}, False)
    named = {name: row for name, row in objects.items() if Path(name).suffix.lower() in SCORE_SUFFIXES}
    general = {name: row for name, row in value.items() if name not in named}
    return Table(folder, [{"path": name, **row} for name, row in named.items()], general, False)


def _rows_of_columns(columns: Mapping[str, Any]) -> list[Mapping[Any, Any]]:
    """Rows of a table that is stored by columns, each a list or an object by row number."""
    rows: dict[Any, dict[str, Any]] = {}
    for name, column in columns.items():
        cells = column.items() if isinstance(column, dict) else enumerate(column) if isinstance(column, list) else ()
        for number, cell in cells:
            rows.setdefault(str(number), {})[name] = cell
    return list(rows.values())


def read_json(path: Path, limit: int = MAX_SIDECAR_BYTES) -> Any:
    """A JSON document, or None where it is broken, which is told."""
    text = read_text(path, limit)
    if text is None:
        return None
    try:
        return storable(json.loads(text))
    except (ValueError, RecursionError) as error:
        tell("broken_json", path, f"is no JSON ({str(error) or type(error).__name__})")
        return None


def read_text(path: Path, limit: int) -> str | None:
    """Text in UTF-8, in UTF-16 with its mark, or else taken as Western European, which is told."""
    try:
        if path.stat().st_size > limit:
            tell("too_large", path, f"is larger than {limit} bytes")
            return None
        data = path.read_bytes()
    except OSError as error:
        tell("unreadable", path, f"cannot be read ({error.strerror or error})")
        return None
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding).removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError:
        _told["encoding"] += 1
        log.warning("%s is not UTF-8; it is read as Western European", os.fsencode(path).decode("utf-8", "replace"))
        return data.decode("cp1252", errors="replace")
