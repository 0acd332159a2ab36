"""The manifest of a prepared corpus: a SQLite file with a row for each piece.

Columns hold what is known of most music and what is counted; everything else stands as JSON in ``metadata`` (what the
corpus, files beside the music and the score say) and ``facts`` (what was measured). All of them can be filtered by
(where.py). Pieces as objects are in records.py.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.folders import printable
from aurl.data.records import NO_PITCH, PieceRecord
from aurl.data.where import LIST, MIXED, NUMBER, TEXT, Field, compile_where

COLUMNS = {
    "number": "INTEGER PRIMARY KEY",
    "id": "TEXT NOT NULL",
    "split": "TEXT NOT NULL",
    "path": "TEXT NOT NULL",
    "notes": "INTEGER NOT NULL",
    "beats": "REAL NOT NULL",
    "tokens": "INTEGER NOT NULL",
    "tracks": "INTEGER NOT NULL",
    "pitch_low": "INTEGER",
    "pitch_high": "INTEGER",
    "programs": "TEXT",
    "key": "TEXT",
    "meter": "TEXT",
    "tempo": "REAL",
    "duration": "REAL",
    "polyphony": "REAL",
    "off_grid_share": "REAL",
    "title": "TEXT",
    "composer": "TEXT",
    "genre": "TEXT",
    "source": "TEXT",
    "licence": "TEXT",
    "facts": "TEXT NOT NULL",
    "metadata": "TEXT NOT NULL",
    "path_bytes": "BLOB",
}
"""Columns of the table ``pieces``; ``path_bytes`` is set where the path is not text."""
HIDDEN = ("number", "facts", "metadata", "path_bytes")
TEXTS = ("key", "meter", "title", "composer", "genre", "source", "licence")
MEASURED = ("duration", "polyphony", "off_grid_share")


class ManifestWriter:
    """Writes a manifest; rows get their numbers in the order in which they are added.

    The same rows always give the same bytes: one transaction in a new file.

    Args:
        path: the file; it must not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "page_size = 4096"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN")
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        self._connection.execute(f"CREATE TABLE pieces ({columns})")
        self._connection.execute("CREATE TABLE fields (name TEXT PRIMARY KEY, place TEXT, kind TEXT) WITHOUT ROWID")
        self._kinds: dict[tuple[str, str], str] = {}
        self._count = 0

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file (done by ``with``)."""
        self._connection.close()

    def add(self, record: PieceRecord) -> None:
        """Add a row."""
        row = _row(self._count, record)
        self._connection.execute(f"INSERT INTO pieces VALUES ({', '.join('?' * len(COLUMNS))})", row)
        for place, values in (("facts", record.facts), ("metadata", record.metadata)):
            for name, value in values.items():
                kind = _kind(value)
                if kind:
                    known = self._kinds.setdefault((name, place), kind)
                    self._kinds[name, place] = known if known == kind else MIXED
        self._count += 1

    def finish(self, splits: Iterable[str | None]) -> None:
        """Set the splits of the rows, where they are not None, and complete the file."""
        changes = ((split, number) for number, split in enumerate(splits) if split is not None)
        self._connection.executemany("UPDATE pieces SET split = ? WHERE number = ?", changes)
        rows = [(name, place, kind) for (name, place), kind in sorted(self._kinds.items(), reverse=True)]
        self._connection.executemany("INSERT OR REPLACE INTO fields VALUES (?, ?, ?)", rows)
        self._connection.execute("COMMIT")
        self._connection.close()


def _row(number: int, record: PieceRecord) -> list[Any]:
    metadata, facts = record.metadata, record.facts
    path = printable(record.path)
    values: dict[str, Any] = {
        "number": number,
        "path": path,
        "path_bytes": None if path == record.path else os.fsencode(record.path),
        "programs": json.dumps(facts.get("programs", [])),
        "tempo": _number(metadata.get("tempo")),
        "facts": _json(facts),
        "metadata": _json(metadata),
        "pitch_low": None if record.pitch_low == NO_PITCH else record.pitch_low,
        "pitch_high": None if record.pitch_high == NO_PITCH else record.pitch_high,
    }
    values |= {name: _number(facts.get(name)) for name in MEASURED}
    values |= {name: _text(metadata.get(name)) for name in TEXTS}
    return [values[name] if name in values else getattr(record, name) for name in COLUMNS]


def _json(value: Any) -> str:
    """JSON that SQLite can look into: numbers that are none become null."""
    return json.dumps(_finite(value), ensure_ascii=True, sort_keys=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    return None if value is None or isinstance(value, dict) else str(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return NUMBER
    return {str: TEXT, list: LIST, tuple: LIST, type(None): ""}.get(type(value), MIXED)


class Manifest:
    """A manifest opened for reading; may be used from several threads and after a fork.

    Args:
        path: the file, which nobody changes.

    Raises:
        sqlite3.Error: it is missing or no manifest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self.query("SELECT number, id FROM pieces LIMIT 1")

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a SELECT."""
        with self._lock:
            if self._connection is None or self._process != os.getpid():
                # Nobody changes a published file, so it is read without locks, also from folders that are read-only.
                uri = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
                self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
                self._process = os.getpid()
            return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the file; a later query opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def fields(self) -> dict[str, Field]:
        """What can be filtered by; columns are qualified because ``json_each`` has a key, a path and an id too."""
        found = {
            name: Field(_json_value(place, name), kind)
            for name, place, kind in self.query("SELECT name, place, kind FROM fields")
        }
        for name, kind in COLUMNS.items():
            if name not in HIDDEN:
                found[name] = Field(f'pieces."{name}"', TEXT if kind.startswith("TEXT") else NUMBER)
        return found | {"programs": Field("pieces.programs", LIST)}

    def select(self, where: str) -> NDArray[np.int64]:
        """Numbers of the pieces for which an expression holds, rising.

        Raises:
            WhereError: the expression cannot be used.
        """
        sql, parameters = compile_where(where, self.fields())
        rows = self.query(f"SELECT number FROM pieces WHERE {sql} ORDER BY number", parameters)
        return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))


def _json_value(place: str, name: str) -> str:
    """SQL for what a JSON column of a piece says under a name.

    A JSON path cannot hold every name in every version of SQLite: those with a quote or a backslash are looked for.
    """
    if '"' in name or "\\" in name:
        return f"(SELECT one.value FROM json_each(pieces.{place}) AS one WHERE one.key = {_sql_text(name)})"
    return f"json_extract(pieces.{place}, {_sql_text(f'$.{chr(34)}{name}{chr(34)}')})"


def _sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
