"""Entries of all pieces -> the folder of a prepared corpus, in the order of the plan however they were made."""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurl.data.aligned import provider
from aurl.data.config import DataConfig
from aurl.data.duplicates import NearDuplicates
from aurl.data.encoding import Encoded, from_entry
from aurl.data.entries import DamagedEntry
from aurl.data.index import Index
from aurl.data.piece_store import read_entry
from aurl.data.plan import DATA_VERSION, Plan, Planned
from aurl.data.records import PieceRecord
from aurl.data.splits import assign_splits
from aurl.data.store_writer import StoreWriter
from aurl.data.workers import Recipe
from aurl.utils.errors import AurlError


class MissingEntries(Exception):
    """Entries were damaged or removed since they were made; they are forgotten and can be made again."""


@dataclass
class Tally:
    """What a prepared corpus holds, counted."""

    pieces: int = 0
    skipped: int = 0
    repaired: int = 0
    notes: int = 0
    tokens: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    """What had to change to fit the vocabulary."""
    preprocessed: Counter[str] = field(default_factory=Counter)
    """What preprocessing changed."""
    repairs: Counter[str] = field(default_factory=Counter)


def assemble(
    folder: Path,
    plan: Plan,
    recipe: Recipe,
    data: DataConfig,
    cache: Path,
    index: Index,
    failures: Mapping[int, str],
    on_piece: Callable[[], None] = lambda: None,
) -> Tally:
    """Write a prepared corpus.

    Args:
        folder: an empty folder.
        plan: the pieces.
        recipe: what was done with them.
        data: names the corpus and sets its split.
        cache: where the entries lie.
        index: knows their places.
        failures: reasons by number of the piece, for those without an entry.
        on_piece: called for each piece.

    Raises:
        MissingEntries: see there.
        AurlError: nothing could be read.
    """
    from aurl.data.codec import Codec

    kinds = [provider(name) for name in recipe.features]
    tally = Tally()
    missing, shards, first = 0, set(), ""
    columns = {kind.name: (kind.level, kind.dtype, kind.shape) for kind in kinds}
    with NearDuplicates(folder) as melodies, StoreWriter(folder, columns) as writer:
        dealing = _Dealing(melodies)
        for planned in plan:
            on_piece()
            found: Encoded | str
            if planned.number in failures:
                found = failures[planned.number]
            else:
                place = index.find(planned.encoded)
                try:
                    if place is None:
                        raise DamagedEntry("there is no entry")
                    shards.add(place.shard)
                    found = from_entry(read_entry(cache, place))
                except DamagedEntry:
                    index.drop_entry(planned.encoded)
                    missing += 1
                    continue
            if isinstance(found, str):
                first = first or f"{planned.piece.id}: {found}"
                tally.skipped += 1
                writer.skip({"id": planned.piece.id, "path": planned.piece.path, "reason": found})
            elif not missing:
                _add(writer, planned, found, tally)
                dealing.add(planned, found)
        if missing:
            raise MissingEntries(f"{missing} entries")
        if not len(writer):
            raise AurlError(f"data={data.name}: none of {plan.count} pieces could be read; the first, {first}")
        splits = dealing.splits(data)
        tally.splits.update(split for split in splits)
        meta = {
            "fingerprint": plan.fingerprint,
            "version": DATA_VERSION,
            "changes": dict(sorted(tally.changes.items())),
            "preprocessed": dict(sorted(tally.preprocessed.items())),
        }
        writer.finish(Codec.from_config(recipe.tokenizer).to_dict(), meta, splits)
    _touch(index, shards)
    return tally


def _add(writer: StoreWriter, planned: Planned, encoded: Encoded, tally: Tally) -> None:
    piece, known = planned.piece, encoded.known
    record = PieceRecord(
        id=piece.id,
        split=piece.split or "",
        notes=encoded.notes,
        beats=encoded.length,
        tokens=encoded.tokens,
        pitch_low=encoded.pitch_low,
        pitch_high=encoded.pitch_high,
        tracks=encoded.tracks,
        metadata=known.get("metadata", {}) | piece.metadata,
        path=piece.path,
        facts=known.get("facts", {}) | known.get("measures", {}),
    )
    writer.add(record, encoded.ids, encoded.bars, encoded.beats, encoded.features)
    tally.pieces += 1
    tally.notes += encoded.notes
    tally.tokens += encoded.tokens
    tally.changes.update(encoded.changes)
    tally.preprocessed.update(known.get("counts", {}))
    if repairs := known.get("repairs", {}):
        tally.repaired += 1
        tally.repairs.update(repairs)
        writer.repaired({"id": piece.id, "path": piece.path, "repairs": repairs, "reason": known.get("damage", "")})


class _Dealing:
    """Gathers what splits are dealt by.

    Args:
        melodies: takes the signatures of the pieces without a split of their own.
    """

    def __init__(self, melodies: NearDuplicates) -> None:
        self._own: list[str | None] = []
        self._ids: list[str] = []
        self._melodies = melodies

    def add(self, planned: Planned, encoded: Encoded) -> None:
        split = planned.piece.split
        self._own.append(sys.intern(split) if split is not None else None)  # one string for a million pieces
        if split is None:
            self._ids.append(planned.piece.id)
            self._melodies.add(encoded.signature)

    def splits(self, data: DataConfig) -> list[str]:
        """The split of each piece: the corpus's own, else dealt out by near-duplicate groups."""
        groups = self._melodies.groups()
        dealt = iter(assign_splits(self._ids, groups, data.valid_share, data.test_share, data.split_seed))
        return [own if own is not None else next(dealt) for own in self._own]


def _touch(index: Index, shards: set[Any]) -> None:
    try:
        index.touch_shards(shards)
    except sqlite3.Error:
        return  # only the order of a later prune suffers
