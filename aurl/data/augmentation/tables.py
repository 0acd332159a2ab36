"""Augmentation that renames tokens: one table of ids for each segment, applied to a whole batch in one gather.

Pitch, tempo, velocity and program tokens are different rows of the vocabulary, so all four changes fit into one table.
Axis legend: S segments, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aurl.data.augmentation.draws import Keys, hashed, uniforms
from aurl.data.vocabulary import Kind, Vocabulary
from aurl.utils.rows import blocks

FAMILY_SIZE = 8
"""Programs of a General MIDI family."""
PROGRAMS = 128
FIXED_PROGRAMS = frozenset({47, 55, *range(112, 128)})
"""Timpani, orchestra hit, percussive and sound effects: alone in their families in what they can play."""

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Transposer:
    """Transposition as a table gather, kept inside a pitch range piece by piece.

    The range is that of the corpus itself, so that no transposed soprano sings higher, and
    no bass lower, than some real one does.
    """

    table: np.ndarray
    """``(shifts, V)`` token ids."""
    low: int
    """Semitones of the table's first row."""
    pitch_low: int
    """Lowest pitch a transposed piece may have."""
    pitch_high: int
    """Highest pitch a transposed piece may have."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, low: int, high: int, ranges: Sequence[tuple[int, int]]) -> Transposer:
        """Table for all shifts from ``low`` to ``high`` semitones, for pieces of these lowest and highest pitches."""
        pitched = [extent for extent in ranges if extent[0] >= 0] or [(0, 0)]
        lowest, highest = min(low for low, _ in pitched), max(high for _, high in pitched)
        return cls(vocabulary.transposition_table(low, high), low, lowest, highest)

    def allowed(self, piece_low: int, piece_high: int) -> tuple[int, int]:
        """Lowest and highest shift for a piece of that range (0 is always in; 0 alone for drums, whose range is -1)."""
        low, high = self.allowed_all(np.array([piece_low]), np.array([piece_high]))
        return int(low[0]), int(high[0])

    def allowed_all(self, piece_low: npt.NDArray[np.integer], piece_high: npt.NDArray[np.integer]) -> IntArray:
        """``allowed`` for many pieces: int64 (2, P), lowest and highest shifts."""
        high = self.low + len(self.table) - 1
        down = np.minimum(0, np.maximum(self.low, self.pitch_low - piece_low))
        up = np.maximum(0, np.minimum(high, self.pitch_high - piece_high))
        return np.where(piece_low < 0, 0, np.stack([down, up])).astype(np.int64)

    def __call__(self, ids: np.ndarray, shift: int) -> np.ndarray:
        """Transposed ids."""
        return self.table[shift - self.low][ids]


def widest(
    low: npt.NDArray[np.integer], high: npt.NDArray[np.integer], numbers: npt.NDArray[np.integer]
) -> list[tuple[int, int]]:
    """Lowest and highest pitch of some pieces, or nothing where all of them are drums."""
    lows, highs = [], []
    for block in blocks(len(numbers)):
        chosen = numbers[block]
        chosen = chosen[low[chosen] >= 0]
        if len(chosen):
            lows.append(int(low[chosen].min()))
            highs.append(int(high[chosen].max()))
    return [(min(lows), max(highs))] if lows else []


class Bins:
    """Tokens of one kind that stand for numbers: the nearest token to any number.

    Args:
        ids: ids of the tokens.
        values: their numbers, all different.
    """

    def __init__(self, ids: IntArray, values: npt.ArrayLike) -> None:
        numbers = np.asarray(values, np.float64)
        order = numbers.argsort()
        self.ids, self.values = ids[order], numbers[order]
        self._borders = (self.values[1:] + self.values[:-1]) / 2

    def __len__(self) -> int:
        return len(self.ids)

    def nearest(self, numbers: npt.ArrayLike) -> IntArray:
        """Ids of the tokens nearest to ``numbers``; order is kept, and what lies outside gets the outermost."""
        return self.ids[np.searchsorted(self._borders, numbers)]


class TokenTables:
    """Makes the tables of a batch.

    Args:
        vocabulary: meaning of the ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.size = vocabulary.size
        self.pitches = np.flatnonzero(np.isin(vocabulary.kind, (Kind.PITCH, Kind.NOTE_OFF, Kind.CHORD)))
        """Tokens that transposition may rename."""
        velocities, tempos = vocabulary.ids_of(Kind.VELOCITY), vocabulary.ids_of(Kind.TEMPO)
        self.velocities = Bins(velocities, vocabulary.value[velocities])
        self.tempos = Bins(tempos, vocabulary.tempo[tempos])
        self.programs = _program_ids(vocabulary)
        self._families = _families(self.programs)

    def plain(self, segments: int) -> IntArray:
        """Tables that change nothing, (S, V)."""
        return np.tile(np.arange(self.size), (segments, 1))

    def transpose(self, tables: IntArray, transposer: Transposer, shifts: IntArray) -> None:
        """Move pitches and chords by ``shifts`` (S,) semitones, in place."""
        tables[:, self.pitches] = transposer.table[(shifts - transposer.low)[:, None], self.pitches]

    def stretch(self, tables: IntArray, factors: FloatArray) -> None:
        """Divide tempi by ``factors`` (S,), in place; beyond the slowest and fastest token they stay there."""
        if len(self.tempos):
            tables[:, self.tempos.ids] = self.tempos.nearest(self.tempos.values / factors[:, None])

    def scale_velocities(self, tables: IntArray, factors: FloatArray) -> None:
        """Multiply velocities by ``factors`` (S,), in place; a louder note never becomes the softer one."""
        tables[:, self.velocities.ids] = self.velocities.nearest(self.velocities.values * factors[:, None])

    def substitute(self, tables: IntArray, keys: Keys, chosen: npt.NDArray[np.bool_]) -> None:
        """Rename programs by a permutation of each family, in place: different tracks stay different.

        Args:
            tables: (S, V).
            keys: (S,), equal for segments of one piece.
            chosen: (S,); other segments keep their instruments.
        """
        for family in self._families:
            order = uniforms(hashed(keys[chosen, None], family)).argsort(axis=1)  # (chosen, members)
            old, new = (
                self.programs[family],
                self.programs[family[order]],
            )  # (members, tracks), (chosen, members, tracks)
            known = old >= 0
            tables[np.ix_(chosen, old[known])] = new[:, known]


def _program_ids(vocabulary: Vocabulary) -> IntArray:
    """Ids by (program, number of the track), -1 where there is no token; drums left out."""
    ids = vocabulary.ids_of(Kind.PROGRAM)
    ids = ids[vocabulary.value[ids] >= 0]
    tracks = int(vocabulary.track[ids].max()) + 1 if len(ids) else 1
    table = np.full((PROGRAMS, tracks), -1)
    table[vocabulary.value[ids], vocabulary.track[ids]] = ids
    return table


def _families(programs: IntArray) -> list[IntArray]:
    """Programs that may stand for each other: those of a family that have the same tokens, two or more."""
    families = []
    for first in range(0, PROGRAMS, FAMILY_SIZE):
        members = [p for p in range(first, first + FAMILY_SIZE) if p not in FIXED_PROGRAMS and programs[p, 0] >= 0]
        whole = [p for p in members if ((programs[p] >= 0) == (programs[members[0]] >= 0)).all()]
        if len(whole) > 1:
            families.append(np.array(whole))
    return families
