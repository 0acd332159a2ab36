"""Near-duplicates: which pieces share enough of their melody hashes to belong together, for any number of pieces.

:class:`NearDuplicates` takes one signature (aurl.data.splits) after the other and keeps 64 bytes of it in memory. All
hashes go to a :class:`Spill`: a buffer that writes itself to a temporary file, grouped by key, whenever it is full, and
is read back one group of keys at a time. So what equal hashes say is known from one group at a time, and so are, by a
second spill, the hashes that each pair of pieces has in common. Memory is that of two buffers and of what is kept for a
piece (about 0.1 KB), whatever the number of hashes; the file holds 16 bytes a hash.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

SHARED_PART = 0.25
"""Two pieces are near-duplicates when they share this part of the smaller one's n-grams."""
LEAST_SHARED = 2
"""... and at least so many n-grams (or all of them, when a piece has fewer)."""
WINDOW = 32
"""Pieces that share an n-gram are compared with so many neighbours, in an order that puts similar ones together."""

ROWS_IN_MEMORY = 2**20
"""Rows that a spill holds before it writes them: 16 MB."""
PARTS = 1024
"""Groups of keys that are read back one at a time: a few 100,000 rows each for a million pieces of 300 hashes."""
MIXER = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: its product spreads neighbouring numbers over all groups (Knuth, TAOCP 3, 6.4)."""
SHIFT = np.uint64(64 - (PARTS - 1).bit_length())
FIRST_HASHES = 4
"""The smallest hashes of a piece decide its place among the others: similar pieces tend to share them (min-hashing;
Broder, 1997)."""
DIGEST_BYTES = 16
KEY_BYTES = 8 * FIRST_HASHES + DIGEST_BYTES

Signature = AbstractSet[int] | np.ndarray
"""64-bit hashes of a piece, as a set or a uint64 array without repetitions."""
Rows = NDArray[np.uint64]


class Spill:
    """Rows (key, value) that are read back with all rows of a key together, from memory or from a temporary file.

    Args:
        folder: where the file is made, if it is needed; None is the system's folder for temporary files.
        rows: rows held in memory.
    """

    def __init__(self, folder: Path | None = None, rows: int = ROWS_IN_MEMORY) -> None:
        self._folder = folder
        self._buffer = np.empty((rows, 2), dtype=np.uint64)
        self._held = 0
        self._borders: list[NDArray[np.int64]] = []
        """For each time that the buffer was written: the first row in the file of each part, and the end."""
        self._file: IO[bytes] | None = None

    def add(self, keys: NDArray[np.uint64], values: NDArray[np.uint64] | int) -> None:
        """Keep a row for each key.

        Args:
            keys: (R,) uint64.
            values: (R,) uint64, or one for all.

        Raises:
            OSError: the file cannot be written.
        """
        values = np.broadcast_to(np.asarray(values, dtype=np.uint64), keys.shape)
        done = 0
        while done < len(keys):
            fitting = min(len(keys) - done, len(self._buffer) - self._held)
            rows = self._buffer[self._held : self._held + fitting]
            rows[:, 0], rows[:, 1] = keys[done : done + fitting], values[done : done + fitting]
            self._held, done = self._held + fitting, done + fitting
            if self._held == len(self._buffer):
                self._write()

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by close()
        rows = self._buffer[: self._held]
        part = (rows[:, 0] * MIXER >> SHIFT).astype(np.int64)
        counts = np.bincount(part, minlength=PARTS)
        self._file.write(rows[np.argsort(part, kind="stable")].tobytes())
        before = int(self._borders[-1][-1]) if self._borders else 0
        self._borders.append(before + np.concatenate([[0], np.cumsum(counts)]))
        self._held = 0

    def parts(self) -> Iterator[Rows]:
        """All rows (R, 2) in parts; the rows of a key are in one part.

        Raises:
            OSError: the file cannot be read.
        """
        if self._file is None:
            if self._held:
                yield self._buffer[: self._held]
            return
        if self._held:
            self._write()
        file, size = self._file, 2 * self._buffer.itemsize
        file.flush()
        for part in range(PARTS):
            blocks: list[bytes] = []
            for borders in self._borders:
                start, end = int(borders[part]), int(borders[part + 1])
                file.seek(start * size)
                blocks.append(file.read((end - start) * size))
            yield np.frombuffer(b"".join(blocks), dtype=np.uint64).reshape(-1, 2)

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NearDuplicates:
    """Gathers the signatures of pieces, one at a time, and groups the pieces.

    Args:
        folder: where a temporary file is made when there are many hashes; None is the system's folder for such files.
        rows: hashes held in memory.

    Example:
        >>> with NearDuplicates() as pieces:
        ...     for signature in ({1, 2, 3}, {7, 8, 9}, {1, 2, 4}):
        ...         pieces.add(signature)
        ...     pieces.groups()
        [0, 1, 0]
    """

    def __init__(self, folder: Path | None = None, rows: int = ROWS_IN_MEMORY) -> None:
        self._folder, self._rows = folder, rows
        self._spill = Spill(folder, rows)
        self._keys = bytearray()
        """For each piece its smallest hashes and a digest of all: what decides its rank, and whether it is a copy."""
        self._sizes = array("q")

    def __enter__(self) -> NearDuplicates:
        return self

    def __exit__(self, *error: object) -> None:
        self._spill.close()

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, signature: Signature) -> None:
        """The next piece; one without any hash will be a group of its own.

        Raises:
            OSError: the temporary file cannot be written.
        """
        hashes = _sorted_hashes(signature)
        packed = hashes.astype(">u8").tobytes()  # as big-endian bytes they compare like numbers
        self._keys += packed[: 8 * FIRST_HASHES].ljust(8 * FIRST_HASHES, b"\0")
        self._keys += hashlib.blake2b(packed, digest_size=DIGEST_BYTES).digest()
        self._spill.add(hashes, len(self))
        self._sizes.append(len(hashes))

    def groups(self, shared_part: float = SHARED_PART) -> list[int]:
        """Group pieces that share enough of their signatures, and whatever hangs together through such pairs.

        Args:
            shared_part: part of the smaller signature that two near-duplicates share.

        Returns:
            A group number for each piece; groups are numbered by their first piece. Which pieces belong together does
            not depend on the order they are given in.

        Raises:
            OSError: the temporary file cannot be written or read.
        """
        parents = array("q", range(len(self)))
        ranks, distinct = self._ranked(parents)
        sizes = np.frombuffer(self._sizes, dtype=np.int64)[distinct] if len(self) else np.zeros(0, dtype=np.int64)
        with Spill(self._folder, self._rows) as pairs:
            for rows in self._spill.parts():
                for keys, shared in _pairs(rows[:, 0], ranks[rows[:, 1].astype(np.int64)], len(distinct)):
                    pairs.add(keys, shared)
            for rows in pairs.parts():
                first, second, total = _totals(rows, len(distinct))
                smaller = np.minimum(sizes[first], sizes[second])
                alike = (total >= shared_part * smaller) & (total >= np.minimum(smaller, LEAST_SHARED))
                for left, right in zip(distinct[first[alike]].tolist(), distinct[second[alike]].tolist(), strict=True):
                    _unite(parents, left, right)
        numbers: dict[int, int] = {}
        return [numbers.setdefault(_root(parents, index), len(numbers)) for index in range(len(self))]

    def _ranked(self, parents: array[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Unite copies, and rank what is left by its hashes: the rank of each piece (-1: a copy or without hashes), and
        the piece of each rank.
        """
        ranks = np.full(len(self), -1, dtype=np.int64)
        if not len(self):
            return ranks, ranks
        keys = np.frombuffer(self._keys, dtype=f"S{KEY_BYTES}")
        order = np.argsort(keys, kind="stable")
        order = order[np.frombuffer(self._sizes, dtype=np.int64)[order] > 0]
        copies = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
        for place in copies.tolist():
            _unite(parents, int(order[place]), int(order[place + 1]))
        distinct = np.delete(order, copies + 1)
        ranks[distinct] = np.arange(len(distinct))
        return ranks, distinct


def group_near_duplicates(signatures: Iterable[Signature], shared_part: float = SHARED_PART) -> list[int]:
    """The groups of :class:`NearDuplicates` for signatures at hand.

    Args:
        signatures: 64-bit hashes of each piece; one without any is a group of its own.
        shared_part: part of the smaller signature that two near-duplicates share.

    Returns:
        A group number for each piece; groups are numbered by their first piece.
    """
    with NearDuplicates() as pieces:
        for signature in signatures:
            pieces.add(signature)
        return pieces.groups(shared_part)


def _sorted_hashes(signature: Signature) -> NDArray[np.uint64]:
    if isinstance(signature, np.ndarray):
        return np.sort(signature).astype(np.uint64)
    return np.array(sorted(signature), dtype=np.uint64)


def _pairs(
    hashes: NDArray[np.uint64], ranks: NDArray[np.int64], count: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """Pairs of pieces that have a hash in common, as ``first * count + second``, and how many; pairs may repeat."""
    ranked = ranks >= 0
    hashes, ranks = hashes[ranked], ranks[ranked]
    order = np.lexsort((ranks, hashes))
    hashes, ranks = hashes[order], ranks[order]
    for lag in range(1, min(WINDOW, len(hashes) - 1) + 1):
        same = hashes[:-lag] == hashes[lag:]
        if not same.any():
            return
        keys, shared = np.unique(ranks[:-lag][same] * count + ranks[lag:][same], return_counts=True)
        yield keys.astype(np.uint64), shared.astype(np.uint64)


def _totals(rows: Rows, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ranks of both pieces of each pair, and the hashes that they share in all."""
    keys = rows[:, 0].astype(np.int64)
    order = np.argsort(keys, kind="stable")
    keys, shared = keys[order], rows[order, 1].astype(np.int64)
    begins = np.flatnonzero(np.diff(keys, prepend=-1))
    totals = np.add.reduceat(shared, begins) if len(begins) else shared
    return keys[begins] // max(count, 1), keys[begins] % max(count, 1), totals


def _root(parents: array[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


def _unite(parents: array[int], left: int, right: int) -> None:
    left, right = _root(parents, left), _root(parents, right)
    parents[max(left, right)] = min(left, right)
