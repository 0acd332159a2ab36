"""What is known of the pieces of a prepared corpus, as objects that are made on demand.

Texts come from the manifest (manifest.py); numbers that training needs of every piece lie in a mapped array
(``RECORD_TYPE``, store.py), so a million pieces need no memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from aurl.data.manifest import Manifest

NO_PITCH = -1
RECORD_TYPE = np.dtype(
    [
        ("notes", "<i4"),
        ("tokens", "<i4"),
        ("beats", "<f8"),
        ("tracks", "<i4"),
        ("pitch_low", "<i2"),
        ("pitch_high", "<i2"),
        ("split", "u1"),
    ]
)
"""The numbers of a piece that training looks at."""
SPLITS = ("train", "valid", "test")


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
    """What is said of it."""
    path: str = ""
    """The file it was read from; empty where there is none."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was measured: programs, duration (seconds), polyphony, off_grid_share, and what preprocessing measured."""


class StoredPiece:
    """A piece of a prepared corpus with the attributes of :class:`PieceRecord`; texts are read when asked for."""

    __slots__ = ("_numbers", "_row", "_table", "number")

    def __init__(self, table: PieceTable, number: int) -> None:
        self._table, self.number = table, number
        self._numbers = table.numbers[number]
        self._row: tuple[Any, ...] | None = None

    @property
    def notes(self) -> int:
        """Complete notes among its tokens."""
        return int(self._numbers["notes"])

    @property
    def beats(self) -> float:
        """Quarter notes to the end of its last note."""
        return float(self._numbers["beats"])

    @property
    def tokens(self) -> int:
        """Tokens with BOS and EOS."""
        return int(self._numbers["tokens"])

    @property
    def tracks(self) -> int:
        """Tracks with notes."""
        return int(self._numbers["tracks"])

    @property
    def pitch_low(self) -> int:
        """Lowest pitch that is not a drum; -1 when there is none."""
        return int(self._numbers["pitch_low"])

    @property
    def pitch_high(self) -> int:
        """Highest pitch that is not a drum; -1 when there is none."""
        return int(self._numbers["pitch_high"])

    @property
    def split(self) -> str:
        """train, valid or test."""
        return SPLITS[self._numbers["split"]]

    @property
    def id(self) -> str:
        """Unique name in the corpus."""
        return str(self._texts()[0])

    @property
    def path(self) -> str:
        """The file it was read from; empty where there is none."""
        _, path, path_bytes, _, _ = self._texts()
        return path if path_bytes is None else os.fsdecode(path_bytes)

    @property
    def metadata(self) -> dict[str, Any]:
        """What is said of it."""
        found: dict[str, Any] = json.loads(self._texts()[3])
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What was measured."""
        found: dict[str, Any] = json.loads(self._texts()[4])
        return found

    def _texts(self) -> tuple[Any, ...]:
        if self._row is None:
            self._row = self._table.manifest.query(
                "SELECT id, path, path_bytes, metadata, facts FROM pieces WHERE number = ?", (self.number,)
            )[0]
        return self._row

    def record(self) -> PieceRecord:
        """All of it at once."""
        return PieceRecord(**{name: getattr(self, name) for name in PieceRecord.__dataclass_fields__})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StoredPiece):
            return self.record() == other.record()
        return self.record() == other if isinstance(other, PieceRecord) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._table.manifest.path, self.number))

    def __repr__(self) -> str:
        return f"StoredPiece({self.record()})"


class PieceTable(Sequence[StoredPiece]):
    """All pieces of a prepared corpus; objects are made when asked for, so a million of them need no memory.

    Args:
        manifest: their texts.
        numbers: their numbers (pieces,), ``RECORD_TYPE``.
    """

    def __init__(self, manifest: Manifest, numbers: NDArray[Any]) -> None:
        self.manifest, self.numbers = manifest, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> StoredPiece: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredPiece]: ...
    def __getitem__(self, index: int | slice) -> StoredPiece | list[StoredPiece]:
        if isinstance(index, slice):
            return [StoredPiece(self, number) for number in range(*index.indices(len(self)))]
        number = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= number < len(self):
            raise IndexError(f"piece {index} of {len(self)}")
        return StoredPiece(self, number)

    def __iter__(self) -> Iterator[StoredPiece]:
        return (StoredPiece(self, number) for number in range(len(self)))
