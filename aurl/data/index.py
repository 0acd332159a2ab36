"""The cache's memory: one SQLite file that says what lies where, which bytes a file had, and what was used when.

Tables: ``files`` (path and what the file system says of it -> SHA-256 of its bytes), ``shards`` and ``entries`` (key
of a piece -> place in a shard; piece_store.py), ``corpora`` (how often each prepared corpus was opened). All of it
can be lost without harm: it is then computed again. Several processes may write at once; each waits for the other's
short transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from aurl.utils.errors import AurlError
from aurl.utils.logging import get_logger

log = get_logger("data.index")

INDEX_NAME = "index.sqlite"
LAYOUT = 2
"""Version of the tables; another one is started afresh."""
PRIMARY_CODE = 0xFF
"""The part of an SQLite error code that says what kind it is."""
WAIT_SECONDS = 300.0
"""Longest wait for another process's transaction."""
TABLES = """
CREATE TABLE files (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE shards (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, size INTEGER NOT NULL, used REAL NOT NULL
);
CREATE TABLE entries (
    key BLOB PRIMARY KEY, shard INTEGER NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL,
    sum INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX entries_of_shard ON entries (shard);
CREATE TABLE corpora (
    name TEXT PRIMARY KEY, used REAL NOT NULL, opened INTEGER NOT NULL, reused INTEGER NOT NULL, made INTEGER NOT NULL
);
"""


class Place(NamedTuple):
    """Where an entry lies."""

    shard: str
    """Name of the shard's file."""
    start: int
    size: int
    sum: int
    """CRC-32 of its bytes."""


class CorpusUse(NamedTuple):
    """How a prepared corpus was used."""

    used: float
    """Seconds since 1970 of the last time."""
    opened: int
    """Times it was opened as it was."""
    reused: int
    """Pieces taken from the cache when it was built."""
    made: int
    """Pieces read or encoded when it was built."""


class Index:
    """The SQLite file of a cache folder.

    Args:
        cache: the folder; it must exist.

    Raises:
        sqlite3.Error: the file cannot be opened or made.
    """

    def __init__(self, cache: Path) -> None:
        self.path = cache / INDEX_NAME
        self._connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._make_tables()
        except sqlite3.Error:
            self._connection.close()
            raise

    def _make_tables(self) -> None:
        if self._connection.execute("PRAGMA user_version").fetchone()[0] == LAYOUT:
            return
        with self.transaction():
            if self._connection.execute("PRAGMA user_version").fetchone()[0] == LAYOUT:
                return  # another process was faster
            for (name,) in self._connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ).fetchall():
                self._connection.execute(f'DROP TABLE "{name}"')
            for statement in TABLES.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {LAYOUT}")

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file (done by ``with``)."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, one process at a time."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # on a full disk SQLite has rolled back by itself
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    # --- files ---

    def content_of(self, path: bytes, stamp: str) -> bytes | None:
        """SHA-256 of a file that still has this stamp, if it is known."""
        query = "SELECT content FROM files WHERE path = ? AND stamp = ?"
        row = self._connection.execute(query, (path, stamp)).fetchone()
        return bytes(row[0]) if row else None

    def remember(self, rows: list[tuple[bytes, str, bytes]]) -> None:
        """Keep (path, stamp, SHA-256) rows."""
        with self.transaction():
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)

    def forget(self, path: bytes) -> None:
        """A file must be hashed anew."""
        self._connection.execute("DELETE FROM files WHERE path = ?", (path,))

    def files(self) -> Iterator[tuple[bytes, str, bytes]]:
        """All (path, stamp, SHA-256) rows, by path."""
        last = b""
        while rows := self._connection.execute(
            "SELECT path, stamp, content FROM files WHERE path > ? ORDER BY path LIMIT 1000", (last,)
        ).fetchall():
            yield from rows
            last = rows[-1][0]

    # --- entries ---

    def find(self, key: bytes) -> Place | None:
        """Where the entry of a key lies."""
        query = "SELECT name, start, entries.size, sum FROM entries JOIN shards ON number = shard WHERE key = ?"
        row = self._connection.execute(query, (key,)).fetchone()
        return Place(*row) if row else None

    def add_shard(self, name: str, size: int, entries: list[tuple[bytes, int, int, int]]) -> None:
        """Make the entries (key, start, size, CRC-32) of a published shard known."""
        with self.transaction():
            query = "INSERT INTO shards (name, size, used) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET used = ?"
            self._connection.execute(query, (name, size, time.time(), time.time()))
            number = self._connection.execute("SELECT number FROM shards WHERE name = ?", (name,)).fetchone()[0]
            rows = [(key, number, *place) for key, *place in entries]
            self._connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", rows)

    def drop_entry(self, key: bytes) -> None:
        """An entry turned out to be damaged."""
        self._connection.execute("DELETE FROM entries WHERE key = ?", (key,))

    def drop_shard(self, name: str) -> None:
        """A shard is to go, with all that it holds."""
        with self.transaction():
            query = "DELETE FROM entries WHERE shard IN (SELECT number FROM shards WHERE name = ?)"
            self._connection.execute(query, (name,))
            self._connection.execute("DELETE FROM shards WHERE name = ?", (name,))

    def shards(self) -> list[tuple[str, int, float, int]]:
        """Name, bytes, time of last use and number of entries of every shard."""
        query = (
            "SELECT name, shards.size, used, COUNT(key) FROM shards LEFT JOIN entries ON shard = number "
            "GROUP BY number ORDER BY number"
        )
        return self._connection.execute(query).fetchall()

    def touch_shards(self, names: set[str]) -> None:
        """These shards were used now."""
        now = time.time()
        with self.transaction():
            self._connection.executemany("UPDATE shards SET used = ? WHERE name = ?", [(now, name) for name in names])

    # --- corpora ---

    def count_use(self, name: str, opened: int = 0, reused: int = 0, made: int = 0) -> None:
        """A prepared corpus was opened or built."""
        query = (
            "INSERT INTO corpora VALUES (:name, :used, :opened, :reused, :made) ON CONFLICT (name) DO UPDATE SET "
            "used = :used, opened = opened + :opened, reused = reused + :reused, made = made + :made"
        )
        use = {"name": name, "used": time.time(), "opened": opened, "reused": reused, "made": made}
        self._connection.execute(query, use)

    def use_of(self, name: str) -> CorpusUse | None:
        """How a corpus was used."""
        query = "SELECT used, opened, reused, made FROM corpora WHERE name = ?"
        row = self._connection.execute(query, (name,)).fetchone()
        return CorpusUse(*row) if row else None

    def drop_corpus(self, name: str) -> None:
        """A prepared corpus is gone."""
        self._connection.execute("DELETE FROM corpora WHERE name = ?", (name,))

    def forget_all(self) -> None:
        """Empty every table. The file stays: SQLite's journal would get into the way of who has it open."""
        with self.transaction():
            for table in ("files", "shards", "entries", "corpora"):
                self._connection.execute(f"DELETE FROM {table}")


@contextmanager
def index_of(cache: Path) -> Iterator[Index]:
    """The index of a cache for commands that need it; a damaged one is set aside for the next run.

    Raises:
        AurlError: it cannot be used, or turned out to be damaged.
    """
    try:
        with Index(cache) as index:
            yield index
    except sqlite3.Error as error:
        raise index_error(cache, error) from error


def index_error(cache: Path, error: sqlite3.Error) -> AurlError:
    """What to tell of a failure of the index; a damaged file is renamed, so that the next run begins a new one."""
    path = cache / INDEX_NAME
    if not is_damage(error):
        return AurlError(f"{path} cannot be used ({error}); free space, or use another cache folder (paths.cache)")
    set_aside(path)
    return AurlError(f"{path} was damaged ({error}) and is set aside; run this again, and pieces are made again")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the bytes of the file are wrong, and no more than that."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & PRIMARY_CODE
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: Path) -> None:
    """Rename a damaged index; another process may have done so already."""
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{INDEX_NAME}.damaged"))


def open_index(cache: Path) -> Index | None:
    """The index of a cache, or None where it cannot be written: all then works, but is computed anew each time."""
    try:
        try:
            return Index(cache)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            path = cache / INDEX_NAME
            log.warning(f"{path} is damaged ({error}); it is begun anew, and pieces are made again")
            set_aside(path)
            return Index(cache)
    except (OSError, sqlite3.Error) as error:
        log.info(f"{cache / INDEX_NAME} cannot be used ({error}); files are hashed anew")
        return None
