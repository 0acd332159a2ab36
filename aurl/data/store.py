"""Prepared pieces on disk: token ids with musical time in memory-mapped files, one record a piece.

A folder holds tokens.bin (uint16), bars.bin (uint16), beats.bin (float32), offsets.npy (int64, pieces + 1),
manifest.jsonl (a ``PieceRecord`` a line), skipped.jsonl (what could not be read, with the reason), repaired.jsonl (what
was repaired on reading), tokenizer.json (a codec as a dict) and meta.json. Pieces lie one after the other, each
BOS ... EOS; opening reads the small files only. Who fills it is prepare.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.utils.errors import AurlError
from aurl.utils.files import atomic_write, atomic_write_json, atomic_write_text

TOKENS, BARS, BEATS, OFFSETS = "tokens.bin", "bars.bin", "beats.bin", "offsets.npy"
MANIFEST, SKIPPED, REPAIRED = "manifest.jsonl", "skipped.jsonl", "repaired.jsonl"
TOKENIZER, META = "tokenizer.json", "meta.json"
TOKEN_TYPE, BAR_TYPE, BEAT_TYPE = np.dtype("<u2"), np.dtype("<u2"), np.dtype("<f4")
MAX_BAR = 2**16 - 1


@dataclass(frozen=True)
class PieceRecord:
    """What is known about a prepared piece."""

    id: str
    split: str
    """train, valid or test."""
    notes: int
    """Complete notes among its tokens."""
    beats: float
    """Quarter notes from the start to the end of its last note."""
    tokens: int
    """Tokens with BOS and EOS."""
    pitch_low: int
    """Lowest MIDI pitch that is not a drum; -1 when there is none."""
    pitch_high: int
    """Highest MIDI pitch that is not a drum; -1 when there is none."""
    tracks: int
    metadata: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    """The file it was read from; empty where there is none."""


class TokenStore:
    """A prepared corpus, opened for reading.

    Attributes:
        folder: where it lies.
        pieces: one record a piece, in order.
        skipped: ``{"id", "path", "reason"}`` for each piece that could not be read.
        tokenizer: the codec as a dict (``Codec.from_dict`` makes it again).
        meta: how and when it was made.

    Example:
        >>> store = TokenStore.open(folder)  # doctest: +SKIP
        >>> store.ids(store.split("train")[0])[:3]  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path,
        pieces: list[PieceRecord],
        skipped: list[dict[str, str]],
        tokenizer: dict[str, Any],
        meta: dict[str, Any],
        offsets: NDArray[np.int64],
    ) -> None:
        self.folder, self.pieces, self.skipped = folder, pieces, skipped
        self.tokenizer, self.meta, self.offsets = tokenizer, meta, offsets
        self._spans = [slice(start, stop) for start, stop in pairwise(offsets.tolist())]
        total = int(offsets[-1])
        self._tokens = _map(folder / TOKENS, TOKEN_TYPE, total)
        self._bars = _map(folder / BARS, BAR_TYPE, total)
        self._beats = _map(folder / BEATS, BEAT_TYPE, total)

    @classmethod
    def open(cls, folder: Path) -> TokenStore:
        """Open a prepared corpus.

        Raises:
            AurlError: the folder is missing, incomplete or damaged.
        """
        folder = Path(folder)
        try:
            records = [PieceRecord(**row) for row in _read_lines(folder / MANIFEST)]
            skipped = _read_lines(folder / SKIPPED)
            tokenizer = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
            offsets = np.load(folder / OFFSETS, allow_pickle=False)
            if len(offsets) != len(records) + 1:
                raise ValueError(f"{len(records)} records but {len(offsets) - 1} pieces")
            return cls(folder, records, skipped, tokenizer, meta, offsets)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise AurlError(f"{folder} is no complete prepared corpus ({error}); delete it and start again") from error

    def __len__(self) -> int:
        return len(self.pieces)

    def ids(self, piece: int) -> NDArray[np.uint16]:
        """Token ids of a piece, uint16 (T,): BOS ... EOS; a view of the file."""
        return self._tokens[self._spans[piece]]

    def bars(self, piece: int) -> NDArray[np.uint16]:
        """Bar of each token, uint16 (T,), counted from 0."""
        return self._bars[self._spans[piece]]

    def beats(self, piece: int) -> NDArray[np.float32]:
        """Onset of each token in quarter notes since the start of the piece, float32 (T,)."""
        return self._beats[self._spans[piece]]

    def split(self, name: str) -> list[int]:
        """Numbers of the pieces of a split (train, valid or test)."""
        return [number for number, piece in enumerate(self.pieces) if piece.split == name]


class StoreWriter:
    """Fills a folder piece by piece, in bounded memory; a store exists from :meth:`finish` on.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lengths: list[int] = []
        self._files = [(folder / name).open("wb") for name in (TOKENS, BARS, BEATS)]

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, ids: NDArray[np.uint16], bars: NDArray[np.int32], beats: NDArray[np.float32]) -> None:
        """Append a piece: ids, bars and beats of its tokens, all of shape (T,)."""
        columns: tuple[NDArray[Any], ...]
        columns = (ids.astype(TOKEN_TYPE), np.minimum(bars, MAX_BAR).astype(BAR_TYPE), beats.astype(BEAT_TYPE))
        for file, column in zip(self._files, columns, strict=True):
            file.write(column.tobytes())
        self.lengths.append(len(ids))

    def close(self) -> None:
        """Close the files (done by ``with``)."""
        for file in self._files:
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
                file.close()

    def finish(
        self,
        pieces: Sequence[PieceRecord],
        skipped: Sequence[Mapping[str, str]],
        tokenizer: Mapping[str, Any],
        meta: Mapping[str, Any],
        repaired: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Write the small files, meta.json last."""
        self.close()
        offsets = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).astype(np.int64)
        atomic_write(self.folder / OFFSETS, lambda file: np.save(file, offsets, allow_pickle=False))
        _write_lines(self.folder / MANIFEST, [asdict(piece) for piece in pieces])
        _write_lines(self.folder / SKIPPED, skipped)
        _write_lines(self.folder / REPAIRED, repaired)
        atomic_write_json(self.folder / TOKENIZER, dict(tokenizer))
        atomic_write_json(self.folder / META, dict(meta))


def _map(path: Path, kind: np.dtype[Any], length: int) -> Any:
    """A read-only memory map of exactly ``length`` numbers."""
    size = path.stat().st_size
    if size != length * kind.itemsize:
        raise ValueError(f"{path.name} has {size} bytes instead of {length * kind.itemsize}")
    if not length:
        return np.zeros(0, dtype=kind)
    # As a plain array over the same mapping: every slice of a memmap object is three times as slow to make.
    return np.asarray(np.memmap(path, dtype=kind, mode="r", shape=(length,)))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """JSON lines; file names that are not UTF-8 are written with escapes."""
    lines = []
    for row in rows:
        line = json.dumps(row, ensure_ascii=False)
        lines.append(line if line.isprintable() else json.dumps(row))
    atomic_write_text(path, "".join(f"{line}\n" for line in lines))
