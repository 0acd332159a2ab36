"""Prepared pieces on disk: token ids with musical time in memory-mapped files, and a manifest of the pieces.

A folder holds tokens.bin (uint16), bars.bin (uint16), beats.bin (float32), offsets.npy (int64, pieces + 1),
pieces.bin (``RECORD_TYPE``, records.py), manifest.sqlite (manifest.py), aligned/ (arrays beside the tokens, in
features.json), skipped.jsonl (what could not be read, with the reason), repaired.jsonl (what was repaired on
reading), tokenizer.json (a codec as a dict), meta.json and sums.json (SHA-256 of all other files). Pieces lie one
after the other, each BOS ... EOS. Nothing in it depends on clocks or the order of work. Opening maps files and reads
the small ones; memory does not grow with the number of pieces. Who fills it is prepare.py.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.manifest import Manifest
from aurl.data.records import RECORD_TYPE, SPLITS, PieceRecord, PieceTable
from aurl.utils.errors import AurlError
from aurl.utils.locks import is_held, try_lock

TOKENS, BARS, BEATS, OFFSETS = "tokens.bin", "bars.bin", "beats.bin", "offsets.npy"
MANIFEST, PIECES, SKIPPED, REPAIRED = "manifest.sqlite", "pieces.bin", "skipped.jsonl", "repaired.jsonl"
TOKENIZER, META, FEATURES, SUMS = "tokenizer.json", "meta.json", "features.json", "sums.json"
ALIGNED_FOLDER = "aligned"
TOKEN_TYPE, BAR_TYPE, BEAT_TYPE = np.dtype("<u2"), np.dtype("<u2"), np.dtype("<f4")
MAX_BAR = 2**16 - 1
BLOCK_BYTES = 1 << 20

__all__ = ["PieceRecord", "TokenStore"]


class TokenStore:
    """A prepared corpus, opened for reading; while it is open, no prune removes its folder.

    Attributes:
        folder: where it lies.
        pieces: one record a piece, in order, made when asked for.
        tokenizer: the codec as a dict (``Codec.from_dict`` makes it again).
        meta: how it was made.
        offsets: (pieces + 1,) first token of each piece.

    Example:
        >>> store = TokenStore.open(folder)  # doctest: +SKIP
        >>> store.ids(store.split("train")[0])[:3]  # doctest: +SKIP
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Held until this object is gone. The lock is on a file of the folder, so it needs no place of its own.
        self._lock = (folder / META).open("rb")
        try:
            if not try_lock(self._lock, exclusive=False) and is_held(self._lock):
                raise OSError("another process is removing it")
            self.tokenizer = _read_json(folder / TOKENIZER)
            self.meta = _read_json(folder / META)
            self.offsets: NDArray[np.int64] = np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False)
            count = len(self.offsets) - 1
            self.pieces = PieceTable(Manifest(folder / MANIFEST), _map(folder / PIECES, RECORD_TYPE, count))
            total = int(self.offsets[-1])
            self._tokens = _map(folder / TOKENS, TOKEN_TYPE, total)
            self._bars = _map(folder / BARS, BAR_TYPE, total)
            self._beats = _map(folder / BEATS, BEAT_TYPE, total)
            self.features: dict[str, dict[str, Any]] = _read_json(folder / FEATURES)
            self._aligned = {name: _open_aligned(folder, name, row, count) for name, row in self.features.items()}
        except BaseException:
            self._lock.close()
            raise
        self._chosen: NDArray[np.bool_] | None = None
        self.where = ""

    @classmethod
    def open(cls, folder: Path, where: str | None = None) -> TokenStore:
        """Open a prepared corpus.

        Args:
            folder: where it lies.
            where: see :meth:`choose`.

        Raises:
            AurlError: the folder is missing, incomplete or damaged, or ``where`` cannot be used.
        """
        folder = Path(folder)
        try:
            store = cls(folder)
        except (OSError, ValueError, TypeError, KeyError, sqlite3.Error) as error:
            raise AurlError(f"{folder} is no complete prepared corpus ({error}); delete it and start again") from error
        if where:
            store.choose(where)
        return store

    def close(self) -> None:
        """Let go of the folder: its lock and its manifest; arrays that were handed out stay valid."""
        self._lock.close()
        self.pieces.manifest.close()

    def __del__(self) -> None:
        if hasattr(self, "pieces"):
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenStore.open, (self.folder, self.where)

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each piece (pieces,)."""
        return self.pieces.numbers["tokens"]

    @property
    def numbers(self) -> NDArray[Any]:
        """notes, tokens, beats, tracks, pitch_low, pitch_high and split of each piece (pieces,), memory-mapped."""
        return self.pieces.numbers

    @property
    def skipped(self) -> list[dict[str, str]]:
        """``{"id", "path", "reason"}`` for each piece that could not be read."""
        return read_lines(self.folder / SKIPPED)

    def _span(self, piece: int) -> slice:
        if piece < 0:
            piece += len(self.pieces)
        return slice(int(self.offsets[piece]), int(self.offsets[piece + 1]))

    def ids(self, piece: int) -> NDArray[np.uint16]:
        """Token ids of a piece, uint16 (T,): BOS ... EOS; a view of the file."""
        return self._tokens[self._span(piece)]

    def bars(self, piece: int) -> NDArray[np.uint16]:
        """Bar of each token, uint16 (T,), counted from 0."""
        return self._bars[self._span(piece)]

    def beats(self, piece: int) -> NDArray[np.float32]:
        """Onset of each token in quarter notes since the start of the piece, float32 (T,)."""
        return self._beats[self._span(piece)]

    def aligned(self, name: str, piece: int) -> NDArray[Any]:
        """An array that lies beside the tokens of a piece: (rows, ``*shape`` of a row), a view of the file.

        Args:
            name: one of ``data.features``; its level says what a row is (a token, a beat or a bar).
            piece: number of the piece.

        Raises:
            AurlError: the corpus was prepared without it.
        """
        self.check_aligned(name)
        rows, offsets = self._aligned[name]
        if piece < 0:
            piece += len(self.pieces)
        return rows[int(offsets[piece]) : int(offsets[piece + 1])]

    def check_aligned(self, name: str) -> None:
        """Refuse an array that the corpus does not have.

        Raises:
            AurlError: names those that it has.
        """
        if name not in self._aligned:
            there = ", ".join(self._aligned) or "none"
            raise AurlError(f"{self.folder.name} has no feature '{name}' (it has: {there}); add it to data.features")

    def choose(self, where: str) -> None:
        """Use only the pieces for which an expression holds; numbers of pieces stay as they are.

        Args:
            where: see where.py.

        Raises:
            WhereError: the expression cannot be used.
            AurlError: it holds for no piece.
        """
        chosen = self.pieces.manifest.select(where)
        if not len(chosen):
            raise AurlError(f'data.where="{where}" holds for none of {len(self)} pieces of {self.folder.name}')
        mask = np.zeros(len(self), dtype=bool)
        mask[chosen] = True
        self._chosen, self.where = mask, where

    def chosen(self, split: str | None) -> NDArray[np.int32]:
        """Numbers of the chosen pieces of a split (train, valid or test), or of all of them, rising."""
        mask = self.numbers["split"] == SPLITS.index(split) if split is not None else np.ones(len(self), dtype=bool)
        if self._chosen is not None:
            mask &= self._chosen
        return np.flatnonzero(mask).astype(np.int32)

    def split(self, name: str | None) -> list[int]:
        """:meth:`chosen` as a list."""
        numbers: list[int] = self.chosen(name).tolist()
        return numbers


def verify_folder(folder: Path) -> list[str]:
    """What is wrong with a prepared corpus: every file against its SHA-256.

    Returns:
        One line a damage, empty when all is as it was published.
    """
    try:
        sums: dict[str, str] = _read_json(folder / SUMS)
    except FileNotFoundError:
        return [f"{folder / SUMS}: missing; damaged, or made by an older version that nothing uses any more"]
    except (OSError, ValueError) as error:
        return [f"{folder / SUMS}: damaged ({error})"]
    problems = []
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(set(sums) | there - {SUMS}):
        path = folder / name
        if name not in sums:
            problems.append(f"{path}: not part of the corpus")
        elif name not in there:
            problems.append(f"{path}: missing")
        elif (found := file_sum(path)) != sums[name]:
            problems.append(f"{path}: damaged (SHA-256 {found[:12]}... instead of {sums[name][:12]}...)")
    return problems


def file_sum(path: Path) -> str:
    """SHA-256 of a file in hex."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def aligned_files(name: str) -> tuple[str, str]:
    """Names of the files of an aligned array: its rows, and where each piece begins."""
    return f"{ALIGNED_FOLDER}/{name}.bin", f"{ALIGNED_FOLDER}/{name}.offsets.npy"


def _open_aligned(folder: Path, name: str, row: dict[str, Any], count: int) -> tuple[Any, NDArray[np.int64]]:
    data, starts = aligned_files(name)
    offsets = np.load(folder / starts, mmap_mode="r", allow_pickle=False)
    if len(offsets) != count + 1:
        raise ValueError(f"{starts} has {len(offsets) - 1} pieces instead of {count}")
    kind, shape = np.dtype(row["dtype"]), tuple(row["shape"])
    flat = _map(folder / data, kind, int(offsets[-1]) * int(np.prod(shape, dtype=np.int64)))
    return flat.reshape(int(offsets[-1]), *shape), offsets


def _map(path: Path, kind: np.dtype[Any], length: int) -> Any:
    """A read-only memory map of exactly ``length`` numbers."""
    size = path.stat().st_size
    if size != length * kind.itemsize:
        raise ValueError(f"{path.name} has {size} bytes instead of {length * kind.itemsize}")
    if not length:
        return np.zeros(0, dtype=kind)
    # As a plain array over the same mapping: every slice of a memmap object is three times as slow to make.
    return np.asarray(np.memmap(path, dtype=kind, mode="r", shape=(length,)))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
