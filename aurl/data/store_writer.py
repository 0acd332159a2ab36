"""Fills the folder of a prepared corpus piece by piece, in bounded memory; store.py says what lies in it."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from aurl.data.aligned import Level
from aurl.data.manifest import ManifestWriter
from aurl.data.records import RECORD_TYPE, SPLITS, PieceRecord
from aurl.data.store import (
    ALIGNED_FOLDER,
    BAR_TYPE,
    BARS,
    BEAT_TYPE,
    BEATS,
    FEATURES,
    MANIFEST,
    MAX_BAR,
    META,
    OFFSETS,
    PIECES,
    REPAIRED,
    SKIPPED,
    SUMS,
    TOKEN_TYPE,
    TOKENIZER,
    TOKENS,
    aligned_files,
    file_sum,
)
from aurl.utils.files import atomic_write, atomic_write_json

COLUMNS = (TOKENS, BARS, BEATS)


class StoreWriter:
    """Fills a folder; a store exists from :meth:`finish` on.

    Args:
        folder: an empty folder.
        features: name -> (level, dtype, shape of a row) of the arrays that lie beside the tokens.
    """

    def __init__(self, folder: Path, features: Mapping[str, tuple[Level, str, tuple[int, ...]]] | None = None) -> None:
        self.folder, self.features = folder, dict(features or {})
        self.lengths = array("q", [0])
        """Tokens up to the end of each piece, after a 0."""
        self._rows = {name: array("q", [0]) for name in self.features}
        (folder / ALIGNED_FOLDER).mkdir()
        self._files: dict[str, IO[bytes]] = {}
        for name in (*COLUMNS, PIECES, SKIPPED, REPAIRED, *(aligned_files(name)[0] for name in self.features)):
            self._files[name] = (folder / name).open("wb")
        self.manifest = ManifestWriter(folder / MANIFEST)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.lengths) - 1

    def add(
        self,
        record: PieceRecord,
        ids: NDArray[np.uint16],
        bars: NDArray[np.int32],
        beats: NDArray[np.float32],
        features: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Append a piece.

        Args:
            record: what is known about it; its split may be empty and follow in :meth:`finish`.
            ids: its tokens (T,).
            bars: bar of each (T,).
            beats: onset of each in quarters (T,).
            features: its aligned arrays.
        """
        columns: tuple[NDArray[Any], ...]
        columns = (ids.astype(TOKEN_TYPE), np.minimum(bars, MAX_BAR).astype(BAR_TYPE), beats.astype(BEAT_TYPE))
        for name, column in zip(COLUMNS, columns, strict=True):
            self._files[name].write(column.tobytes())
        self.lengths.append(self.lengths[-1] + len(ids))
        values = {name: getattr(record, name) for name in RECORD_TYPE.names or ()}
        values["split"] = SPLITS.index(record.split) if record.split else 0
        self._files[PIECES].write(np.array([tuple(values.values())], dtype=RECORD_TYPE).tobytes())
        self.manifest.add(record)
        for name, (_, dtype, _) in self.features.items():
            rows = (features or {})[name]
            self._files[aligned_files(name)[0]].write(np.ascontiguousarray(rows, dtype=dtype).tobytes())
            self._rows[name].append(self._rows[name][-1] + len(rows))

    def skip(self, row: Mapping[str, Any]) -> None:
        """Note a piece that could not be read."""
        self._files[SKIPPED].write(_line(row))

    def repaired(self, row: Mapping[str, Any]) -> None:
        """Note a piece that was repaired."""
        self._files[REPAIRED].write(_line(row))

    def close(self) -> None:
        """Close the files (done by ``with``)."""
        for file in self._files.values():
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
                file.close()
        self.manifest.close()
        with (self.folder / MANIFEST).open("rb") as file:
            os.fsync(file.fileno())

    def finish(
        self, tokenizer: Mapping[str, Any], meta: Mapping[str, Any], splits: Sequence[str | None] | None = None
    ) -> None:
        """Complete the folder.

        Args:
            tokenizer: the codec as a dict.
            meta: how the corpus was made: nothing that differs between two runs.
            splits: split of each piece, None where its record has it.
        """
        splits = splits if splits is not None else [None] * len(self)
        self.manifest.finish(splits)
        self.close()
        if len(self):
            numbers = np.memmap(self.folder / PIECES, dtype=RECORD_TYPE, mode="r+")
            for number, split in enumerate(splits):
                if split is not None:
                    numbers["split"][number] = SPLITS.index(split)
            numbers.flush()
        self._save(OFFSETS, self.lengths)
        rows = {
            name: {"level": level.value, "dtype": dtype, "shape": list(shape)}
            for name, (level, dtype, shape) in self.features.items()
        }
        for name in self.features:
            self._save(aligned_files(name)[1], self._rows[name])
        atomic_write_json(self.folder / FEATURES, rows)
        atomic_write_json(self.folder / TOKENIZER, dict(tokenizer))
        atomic_write_json(self.folder / META, dict(meta))
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        sums = {path.relative_to(self.folder).as_posix(): file_sum(path) for path in files}
        atomic_write_json(self.folder / SUMS, sums)

    def _save(self, name: str, offsets: Iterable[int]) -> None:
        values = np.array(offsets, dtype="<i8")
        atomic_write(self.folder / name, lambda file: np.save(file, values, allow_pickle=False))


def _line(row: Mapping[str, Any]) -> bytes:
    """A JSON line; file names that are not UTF-8 are written with escapes."""
    line = json.dumps(row, ensure_ascii=False)
    return ((line if line.isprintable() else json.dumps(row)) + "\n").encode()
