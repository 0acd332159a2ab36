"""What a corpus consists of right now: every piece with the address of its entries, in a temporary SQLite file.

The plan is the one list of all pieces; it lies on disk, so its length does not matter, and vanishes with its process.
Its fingerprint names the prepared corpus. Files whose stamp is known (index.py) are not opened for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurl.data.addresses import (
    code_hash,
    content_of,
    digest,
    encoding_key,
    encoding_mark,
    reading_key,
    reading_mark,
    stamp_of,
    unhashed,
)
from aurl.data.aligned import provider
from aurl.data.config import DataConfig
from aurl.data.index import Index
from aurl.data.reading import companion_of
from aurl.data.sources import Piece, iter_pieces, unique_id
from aurl.data.workers import Recipe
from aurl.music.limits import UNBOUNDED
from aurl.utils.logging import get_logger

log = get_logger("data.plan")

DATA_VERSION = 3
"""Layout of prepared corpora; a change makes every corpus be put together anew."""
ASSEMBLING = (
    "aurl.data.store_writer",
    "aurl.data.splits",
    "aurl.data.duplicates",
    "aurl.data.plan",
    "aurl.data.assembly",
)
"""Modules that decide how entries become a prepared corpus."""
FINGERPRINT_LETTERS = 16
REMEMBER_EACH = 1000
"""Hashes that are written to the index at a time."""
TABLE = """
CREATE TABLE pieces (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE, split TEXT, path BLOB, loader TEXT, tune INTEGER, metadata TEXT,
    content TEXT, read BLOB, encoded BLOB
)
"""


@dataclass(frozen=True)
class Planned:
    """A piece with its addresses."""

    number: int
    piece: Piece
    content: str
    """SHA-256 of its file, or what stands for it; empty where there is no file."""
    read: bytes
    """Address of the read piece."""
    encoded: bytes
    """Address of the encoded piece."""


class Plan:
    """All pieces of a corpus with their addresses.

    Args:
        data: the corpus.
        recipe: what is done with its pieces.
        index: knows the hashes of files that did not change; None hashes them all.
        on_piece: called for each piece listed.

    Raises:
        AurlError: there is no music.
    """

    def __init__(
        self, data: DataConfig, recipe: Recipe, index: Index | None, on_piece: Callable[[], None] = lambda: None
    ) -> None:
        self._index, self._recipe = index, recipe
        self._new: list[tuple[bytes, str, bytes]] = []
        self._last: tuple[str, str] = ("", "")
        self._copies: dict[str, int] = {}
        self.count = 0
        self.needs_splits = False
        """Whether a piece has no split of its own."""
        self._read_mark = reading_mark(recipe.limits, recipe.preprocess)
        features = {name: code_hash(provider(name).code) for name in recipe.features}
        self._encode_mark = encoding_mark(recipe.tokenizer, features)
        total = hashlib.sha256()
        shares = [data.valid_share, data.test_share, data.split_seed]
        total.update(digest(DATA_VERSION, shares, list(recipe.features), code_hash(ASSEMBLING)))
        # An empty name is a private file that SQLite removes itself, whatever becomes of this process.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute(TABLE)
        self._connection.execute("BEGIN")
        for piece in iter_pieces(data):
            planned = self._add(piece)
            row = [planned.piece.id, piece.split, piece.metadata, planned.encoded.hex()]
            total.update(digest(*row) + os.fsencode(piece.path))
            on_piece()
        self._connection.execute("COMMIT")
        self._remember()
        self.fingerprint = total.hexdigest()
        word = re.sub(r"[^\w.-]+", "-", data.name) or "corpus"
        self.name = f"{word}-{self.fingerprint[:FINGERPRINT_LETTERS]}"
        """Name of the prepared corpus's folder."""

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def _add(self, piece: Piece) -> Planned:
        content = self._content(piece.path) if piece.path else ""
        companion = companion_of(piece.path, self._recipe.preprocess)
        settings: Any = piece.metadata if not piece.path else None
        if companion:
            settings = [Path(companion).name, content_of(companion, UNBOUNDED)]
        suffix = Path(piece.path).suffix.lower()
        read = reading_key(self._read_mark, content, suffix, piece.tune, piece.loader, settings)
        encoded = encoding_key(self._encode_mark, read)
        metadata = json.dumps(piece.metadata)
        row = [piece.split, os.fsencode(piece.path), piece.loader, piece.tune, metadata, content, read, encoded]
        name = unique_id(piece.id, self._is_taken, self._copies)
        self._connection.execute("INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [self.count, name, *row])
        planned = Planned(self.count, _named(piece, name), content, read, encoded)
        self.count += 1
        self.needs_splits |= piece.split is None
        return planned

    def _is_taken(self, name: str) -> bool:
        return self._connection.execute("SELECT 1 FROM pieces WHERE id = ?", (name,)).fetchone() is not None

    def _content(self, path: str) -> str:
        """SHA-256 of a file, from the index if its stamp is known there."""
        if self._last[0] == path:  # the tunes of one book follow each other
            return self._last[1]
        content, status = unhashed(path, self._recipe.limits)
        if not content and status is not None:
            stamp, name = stamp_of(status), os.fsencode(path)
            known = self._index.content_of(name, stamp) if self._index is not None else None
            content = known.hex() if known is not None else content_of(path, self._recipe.limits)
            if known is None and len(content) == 2 * hashlib.sha256().digest_size:
                self._new.append((name, stamp, bytes.fromhex(content)))
                if len(self._new) >= REMEMBER_EACH:
                    self._remember()
        self._last = (path, content)
        return content

    def _remember(self) -> None:
        if self._index is not None and self._new:
            try:
                self._index.remember(self._new)
            except sqlite3.Error as error:  # a cache that may only be read: hashed again next time
                log.debug(f"hashes are not kept: {error}")
        self._new = []

    def __iter__(self) -> Iterator[Planned]:
        cursor = self._connection.cursor()
        for row in cursor.execute("SELECT * FROM pieces ORDER BY number"):
            number, name, split, path, loader, tune, metadata, content, read, encoded = row
            piece = Piece(name, split, os.fsdecode(path), loader, tune, json.loads(metadata))
            yield Planned(number, piece, content, read, encoded)


def _named(piece: Piece, name: str) -> Piece:
    return piece if name == piece.id else Piece(name, piece.split, piece.path, piece.loader, piece.tune, piece.metadata)
