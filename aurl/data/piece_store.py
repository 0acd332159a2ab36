"""The piece store: entries of single pieces under the hash of all that decides them, in a few large files.

Entries are appended to a shard; a full shard gets the SHA-256 of its bytes as its name and only then do its entries
exist (index.py). So a process that is killed loses the shard it was writing and nothing else, readers never see half an
entry, and a damaged shard can be told by its name. Several processes write at once, each its own shard.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tempfile
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO

from aurl.data.entries import DamagedEntry
from aurl.data.index import Index, Place
from aurl.utils.files import sync_folder
from aurl.utils.locks import try_lock

PIECES_FOLDER = "pieces"
SHARD_SUFFIX, OPEN_SUFFIX = ".shard", ".open"
SHARD_BYTES = 4_000_000
"""A shard is published when it has grown to this: what a killed process loses at most."""
LOCK_NAME = ".lock"
SETTLE_SECONDS = 60.0
"""An unlocked unfinished shard is left behind when it is older than this."""


def shard_path(cache: Path, name: str) -> Path:
    """The file of a shard."""
    return cache / PIECES_FOLDER / name[:2] / f"{name}{SHARD_SUFFIX}"


def read_entry(cache: Path, place: Place) -> bytes:
    """The bytes of an entry.

    Raises:
        DamagedEntry: its shard is gone, or other bytes lie there.
    """
    try:
        with shard_path(cache, place.shard).open("rb") as file:
            file.seek(place.start)
            data = file.read(place.size)
    except OSError as error:
        raise DamagedEntry(str(error)) from error
    if zlib.crc32(data) != place.sum:
        raise DamagedEntry(f"shard {place.shard} is damaged")
    return data


class ShardWriter:
    """Appends entries to shards of its own.

    Args:
        cache: folder of the cache.
        index: where entries are made known.
        shard_bytes: size at which a shard is published; ``SHARD_BYTES`` when None.
    """

    def __init__(self, cache: Path, index: Index, shard_bytes: int | None = None) -> None:
        self.cache, self.index, self.shard_bytes = cache, index, shard_bytes or SHARD_BYTES
        self.folder = cache / PIECES_FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_left_over(self.folder)
        self._file: IO[bytes] | None = None
        self._entries: list[tuple[bytes, int, int, int]] = []
        self._digest = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.publish()

    def add(self, key: bytes, data: bytes) -> None:
        """Append an entry; it exists once its shard is published."""
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - lives until publish()
                dir=self.folder, suffix=OPEN_SUFFIX, delete=False
            )
            try_lock(self._file, exclusive=True)  # says that its writer is alive
        self._file.write(data)
        self._digest.update(data)
        self._entries.append((key, self._size, len(data), zlib.crc32(data)))
        self._size += len(data)
        if self._size >= self.shard_bytes:
            self.publish()

    def publish(self) -> None:
        """Make all entries so far exist."""
        if self._file is None:
            return
        file, entries, size, name = self._file, self._entries, self._size, self._digest.hexdigest()
        self._file, self._entries, self._digest, self._size = None, [], hashlib.sha256(), 0  # tried once only
        path = shard_path(self.cache, name)
        try:
            with file:
                file.flush()
                file.truncate(size)  # a write that was interrupted may have left more
                os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            path.parent.mkdir(exist_ok=True)
            is_new = not path.exists()
            os.replace(file.name, path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        try:
            self.index.add_shard(name, size, entries)
        except sqlite3.Error:
            if is_new:  # nothing leads to it, and the disk may be full
                path.unlink(missing_ok=True)
            raise


def remove_left_over(folder: Path) -> None:
    """Delete the unfinished shards of processes that are gone."""
    for path in folder.glob(f"*{OPEN_SUFFIX}"):
        with contextlib.suppress(OSError), path.open("rb+") as file:
            is_new = time.time() - path.stat().st_mtime < SETTLE_SECONDS  # its writer may be about to lock it
            if not is_new and try_lock(file, exclusive=True):
                path.unlink()


def lock_file(cache: Path) -> Path:
    """The file that builders lock together and a prune alone, so that no shard is removed under a builder."""
    return cache / PIECES_FOLDER / LOCK_NAME
