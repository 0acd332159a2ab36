"""Finding a melody again: an index of many melodies, asked for equal runs and for similar passages.

Everything is blind to transposition, and to notating twice as fast or as slow. Two questions:

- ``longest_run``: the longest run of equal (interval, ratio of the times between notes), repetition inside the run not
  counted. Exact for runs of SEED_SYMBOLS + 1 notes and more: equal seeds are looked up by hash and extended.
- ``nearest``: passages that align best with windows of the query (alignment_local.py). Candidates are found by voting:
  every pair of intervals between three near notes of the window (one note between them may be skipped) votes for the
  places where it stands in the index; rare ones count more. Only the best places are aligned.

N notes of all melodies of the index together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aurl.music.alignment_local import BOTH, NO_NOTE, align, where_it_begins

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]

UNITS_PER_QUARTER = 24
"""Times between notes are rounded to this grid: thirty-seconds and triplets of sixteenths are whole."""
LONGEST_GAP = 16 * UNITS_PER_QUARTER
"""Longer rests count as four bars of 4/4."""
RATIO_STEPS = 12
"""Ratios of times are told apart in twelfths of a factor of two, as semitones are: 3:2 is 7 and 4:3 is 5."""
WIDEST = 24
"""Intervals wider than two octaves count as two octaves."""
SEED_SYMBOLS = 5
MOST_PAIRS = 2_000_000
"""Equal seeds extended at once; more are worked off in portions, so that memory stays bounded."""
PATTERN = 3
"""Symbols of a pattern; a passage is as rich as the number of different patterns in it (see ``richness``)."""
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)
WINDOW, HOP = 24, 12
"""Notes of a window, and notes from one to the next."""
SHORTEST_WINDOW = 8
MARGIN = 8
"""Notes that a passage may be longer than the window on each side."""
SHAPES = ((1, 2), (1, 3), (2, 3))
"""Three notes that vote together: the first, and the offsets of the other two."""
BLOCK = 4
"""Votes are counted by blocks of this many places."""
BLOCKS_KEPT, PASSAGES_ALIGNED = 600, 256
MOST_OCTAVES = 3
"""Largest factor of two (as exponent) between the notations of two passages."""


@dataclass(frozen=True)
class Line:
    """A melody, or one voice of a piece: no two notes at the same time."""

    piece: str
    """What it belongs to; a piece may have several lines."""
    pitch: Ints
    """(n,) MIDI pitch."""
    onset: Floats
    """(n,) quarters, rising."""


@dataclass(frozen=True)
class Run:
    """The longest run of equal intervals and proportions."""

    notes: int
    """Notes that it joins; 0 where no seed is shared."""
    rich: int = 0
    """The same without repetition inside the run: see ``richness``. Of all runs the richest one is given."""
    piece: str = ""
    query_onset: float = 0.0
    """Quarters at which it begins in the query."""
    onset: float = 0.0
    """Quarters at which it begins in ``piece``."""
    transposition: int = 0
    """Semitones from the indexed run to the query."""
    length: float = 0.0
    """Quarters from its first onset to its last in the query."""
    source_length: float = 0.0
    """The same in ``piece``: other than ``length`` where one is notated faster."""


@dataclass(frozen=True)
class Passage:
    """A passage of the index that is like one of the query."""

    similarity: float
    """Points of the alignment as a share of those of an exact copy of the window, 0 to 1."""
    piece: str
    transposition: int
    """Semitones from the indexed passage to the query."""
    query_onset: float
    onset: float
    notes: int
    """Notes of the query from the first aligned one to the last."""
    length: float = 0.0
    """Quarters from the first onset of those to the last."""
    source_length: float = 0.0
    """The same in ``piece``."""


def gap_units(onset: Floats) -> Ints:
    """(n,) units from each note to the next, at least 1; the last note is given 1 quarter."""
    gaps = np.rint(np.diff(onset) * UNITS_PER_QUARTER).astype(np.int64)
    return np.append(np.clip(gaps, 1, LONGEST_GAP), UNITS_PER_QUARTER)


def symbols_of(line: Line) -> Ints:
    """(n - 2,) the interval to the next note, and how the time to it stands to the time before, from note 1 on.

    A run of m symbols beginning at symbol k joins the m + 1 notes from note k + 1 on.
    """
    if len(line.pitch) < 3:
        return np.zeros(0, dtype=np.int64)
    interval = np.clip(np.diff(line.pitch), -WIDEST, WIDEST)[1:]
    gaps = gap_units(line.onset)[:-1]
    ratio = np.rint(RATIO_STEPS * np.log2(gaps[1:] / gaps[:-1])).astype(np.int64)
    return (interval + WIDEST) * 1000 + ratio + 500


def richness(symbols: Ints) -> int:
    """Notes of a run of symbols that do not repeat its own pattern: m + 1 for m symbols that never repeat.

    Accompaniment figures, trills and repeated chords make long equal runs in unrelated music; what counts is how many
    different patterns of PATTERN symbols the run holds.
    """
    patterns = np.unique(gram_hashes(symbols, PATTERN))
    return len(patterns) + PATTERN if len(patterns) else min(len(symbols), 1) + len(symbols)


def gram_hashes(symbols: Ints, size: int) -> Hashes:
    """(n - size + 1,) one number for each run of ``size`` symbols; equal runs have equal numbers."""
    count = max(len(symbols) - size + 1, 0)
    hashes = np.zeros(count, dtype=np.uint64)
    codes = symbols.astype(np.uint64) + np.uint64(1)
    for step in range(size if count else 0):
        hashes = hashes * HASH_FACTOR + codes[step : step + count]
        hashes ^= hashes >> np.uint64(29)
    return hashes


class _Postings:
    """Where each key stands: keys sorted, places beside them."""

    def __init__(self, keys: NDArray[np.generic], places: Ints) -> None:
        order = np.argsort(keys, kind="stable")
        self.keys, self.places = keys[order], places[order]

    def pairs(self, keys: NDArray[np.generic]) -> tuple[Ints, Ints, Ints]:
        """For every place at which a key stands: number of the key, the place; and how often each key stands."""
        first = np.searchsorted(self.keys, keys, side="left")
        counts = np.searchsorted(self.keys, keys, side="right") - first
        asked = np.repeat(np.arange(len(keys)), counts)
        inside = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
        return asked, self.places[first[asked] + inside], counts


class MelodyIndex:
    """Melodies ready to be asked for runs and passages.

    Args:
        lines: the melodies; lines of fewer than three notes are left out.

    Example:
        >>> import numpy as np
        >>> tune = Line("tune", np.array([60, 62, 64, 67, 65, 64, 62, 59, 60]), np.arange(9.0))
        >>> MelodyIndex([tune]).longest_run(Line("query", tune.pitch + 5, tune.onset / 2)).notes
        8
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        kept = [line for line in lines if len(line.pitch) >= 3]
        self.names = sorted({line.piece for line in kept})
        number = {name: index for index, name in enumerate(self.names)}
        sizes = np.array([len(line.pitch) for line in kept], dtype=np.int64)
        # A place without a note after each line keeps runs and votes inside the line.
        self.line_of = np.repeat(np.arange(len(kept)), sizes + 1)
        self.piece_of = np.repeat(np.array([number[line.piece] for line in kept], dtype=np.int64), sizes + 1)
        self.pitch = _joined([np.append(line.pitch, NO_NOTE) for line in kept], np.int64)
        self.onset = _joined([np.append(line.onset, 0.0) for line in kept], np.float64)
        self.gap = _joined([np.append(gap_units(line.onset), 0) for line in kept], np.int64)
        # symbols[i] is the symbol that leads away from note i; negative where there is none.
        self.symbols = _joined([np.concatenate([[-1], symbols_of(line), [-1, -1]]) for line in kept], np.int64)
        self._seeds = self._index_seeds()
        self._shapes = self._index_shapes()

    def longest_run(self, line: Line, without: str | None = None) -> Run:
        """The richest run that the line shares with an indexed one: the longest, repetition not counted.

        Args:
            line: the query.
            without: a piece that is not looked at (the query's own).

        Returns:
            The run; of equally rich ones the longest, and of those the first in the query.
        """
        symbols = symbols_of(line)
        hashes = gram_hashes(symbols, SEED_SYMBOLS)
        _, _, counts = self._seeds.pairs(hashes)
        portions = np.cumsum(counts) // MOST_PAIRS
        best = Run(0)
        for portion in np.unique(portions):
            chosen = np.flatnonzero(portions == portion)
            asked, places, _ = self._seeds.pairs(hashes[chosen])
            found = self._extend(symbols, chosen[asked], places, without)
            if found is not None and found[0] > best.rich:
                rich, length, at, place = found
                name = self.names[self.piece_of[place]]
                best = Run(
                    notes=length + 1,
                    rich=rich,
                    piece=name,
                    query_onset=float(line.onset[at + 1]),
                    onset=float(self.onset[place]),
                    transposition=int(line.pitch[at + 1] - self.pitch[place]),
                    length=float(line.onset[at + 1 + length] - line.onset[at + 1]),
                    source_length=float(self.onset[place + length] - self.onset[place]),
                )
        return best

    def nearest(self, line: Line, top: int = 1, without: str | None = None, poorest: float = 0.0) -> list[Passage]:
        """The most similar passages for any window of the line, the best one of each piece.

        Args:
            line: the query.
            top: how many pieces at most.
            without: a piece that is not looked at.
            poorest: windows whose richness is a smaller share of their notes (accompaniment figures) are passed over.

        Returns:
            Passages, most similar first.
        """
        best: dict[str, Passage] = {}
        for begin in window_starts(line, poorest):
            for passage in self._search(line, begin, min(begin + WINDOW, len(line.pitch)), without):
                if passage.piece not in best or passage.similarity > best[passage.piece].similarity:
                    best[passage.piece] = passage
        return sorted(best.values(), key=lambda passage: -passage.similarity)[:top]

    def _index_seeds(self) -> _Postings:
        """Where each run of SEED_SYMBOLS symbols begins."""
        usable = self.symbols >= 0
        whole = np.ones(max(len(usable) - SEED_SYMBOLS + 1, 0), dtype=bool)
        for step in range(SEED_SYMBOLS):
            whole &= usable[step : step + len(whole)]
        places = np.flatnonzero(whole)
        return _Postings(gram_hashes(np.maximum(self.symbols, 0), SEED_SYMBOLS)[places], places)

    def _index_shapes(self) -> _Postings:
        """Where each pair of intervals between three near notes of a line begins."""
        keys, places = [], []
        for second, third in SHAPES:
            start = np.arange(max(len(self.pitch) - third, 0))
            inside = (self.line_of[start] == self.line_of[start + third]) & (self.pitch[start + third] != NO_NOTE)
            start = start[inside]
            keys.append(shape_keys(self.pitch, start, second, third))
            places.append(start)
        return _Postings(_joined(keys, np.int64), _joined(places, np.int64))

    def _extend(
        self, symbols: Ints, asked: Ints, places: Ints, without: str | None
    ) -> tuple[int, int, int, int] | None:
        """Richest run among pairs of equal seeds: richness, symbols, where in the query, where in the index."""
        before_query = np.where(asked > 0, symbols[asked - 1], -2)  # -2 equals no symbol: a run may begin there
        keep = self.symbols[places - 1] != before_query  # otherwise the same run was met one symbol earlier
        if without in self.names:
            keep &= self.piece_of[places] != self.names.index(without)
        asked, places = asked[keep], places[keep]
        length = np.zeros(len(asked), dtype=np.int64)
        running = np.arange(len(asked))
        while len(running):
            at = asked[running] + length[running]
            running = running[at < len(symbols)]
            at = asked[running] + length[running]
            running = running[symbols[at] == self.symbols[places[running] + length[running]]]
            length[running] += 1
        best: tuple[int, int, int, int] | None = None
        known: dict[tuple[int, int], int] = {}
        for pair in np.lexsort((asked, -length)):
            first, many = int(asked[pair]), int(length[pair])
            # Two seeds of one hash may differ; and no run is richer than it is long.
            if many < SEED_SYMBOLS or (best is not None and many + 1 <= best[0]):
                break
            if (first, many) not in known:
                known[first, many] = richness(symbols[first : first + many])
            if best is None or known[first, many] > best[0]:
                best = known[first, many], many, first, int(places[pair])
        return best

    def _search(self, line: Line, begin: int, end: int, without: str | None) -> list[Passage]:
        """Aligned candidates of one window."""
        pitch, gap = line.pitch[begin:end], gap_units(line.onset[begin:end])
        place, shift = self._candidates(pitch, without)
        if not len(place):
            return []
        width = len(pitch) + 2 * MARGIN
        index = place[:, None] - MARGIN + np.arange(width)
        inside = (index >= 0) & (index < len(self.pitch))
        index = np.clip(index, 0, len(self.pitch) - 1)
        anchor = np.clip(place + len(pitch) // 2, 0, len(self.pitch) - 1)
        inside &= self.line_of[index] == self.line_of[anchor][:, None]
        passage_pitch = np.where(inside, self.pitch[index] + shift[:, None], NO_NOTE)
        passage_gap = self._scaled(np.where(inside, self.gap[index], 0), gap)
        aligned = align(pitch, gap, passage_pitch, passage_gap)
        passages: list[Passage] = []
        for row in np.argsort(-aligned.points, kind="stable"):
            piece = self.names[self.piece_of[anchor[row]]]
            # Votes of another piece may lead just across its border, into the piece that is left out.
            if aligned.points[row] <= 0 or piece == without or any(found.piece == piece for found in passages):
                continue
            last, until = int(aligned.query_end[row]), int(aligned.passage_end[row])
            first, source = where_it_begins(pitch, gap, passage_pitch[row], passage_gap[row], last, until)
            passages.append(
                Passage(
                    similarity=int(aligned.points[row]) / (BOTH * len(pitch)),
                    piece=piece,
                    transposition=int(shift[row]),
                    query_onset=float(line.onset[begin + first]),
                    onset=float(self.onset[index[row, source]]),
                    notes=last - first + 1,
                    length=float(line.onset[begin + last] - line.onset[begin + first]),
                    source_length=float(self.onset[index[row, until]] - self.onset[index[row, source]]),
                )
            )
            if len(passages) == MOST_PASSAGES:
                break
        return passages

    def _candidates(self, pitch: Ints, without: str | None) -> tuple[Ints, Ints]:
        """Places of the index where the window may begin, and the semitones from there to the window."""
        keys, starts = [], []
        for second, third in SHAPES:
            start = np.arange(max(len(pitch) - third, 0))
            keys.append(shape_keys(pitch, start, second, third))
            starts.append(start)
        start = _joined(starts, np.int64)
        asked, places, counts = self._shapes.pairs(_joined(keys, np.int64))
        if without in self.names:
            other = self.piece_of[places] != self.names.index(without)
            asked, places = asked[other], places[other]
        if not len(asked):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        weight = np.log(len(self._shapes.keys) / np.maximum(counts, 1))[asked]
        begins = places - start[asked] + len(pitch)  # never negative
        block = begins // BLOCK
        votes = np.bincount(block, weight)
        votes[1:] += votes[:-1].copy()  # notes added or left out move the place: neighbours count together
        kept = np.zeros(len(votes), dtype=bool)
        kept[np.argsort(-votes)[:BLOCKS_KEPT]] = True
        kept[:-1] |= kept[1:].copy()
        chosen = kept[block]
        block, weight = block[chosen], weight[chosen]
        shift = pitch[start[asked[chosen]]] - self.pitch[places[chosen]]
        bins, where = np.unique(block * 512 + shift + 256, return_inverse=True)
        total = np.bincount(where, weight)
        best = bins[np.argsort(-total, kind="stable")[:PASSAGES_ALIGNED]]
        return best // 512 * BLOCK + BLOCK // 2 - len(pitch), best % 512 - 256

    @staticmethod
    def _scaled(passage_gap: Ints, gap: Ints) -> Ints:
        """Times of passages by the power of two that brings their typical time nearest to the query's."""
        typical = np.array([np.median(row[row > 0]) if (row > 0).any() else 1.0 for row in passage_gap])
        octaves = np.clip(np.rint(np.log2(np.median(gap) / typical)), -MOST_OCTAVES, MOST_OCTAVES)
        return np.rint(passage_gap * 2.0 ** octaves[:, None]).astype(np.int64)


MOST_PASSAGES = 5
"""Pieces that a window may name."""


def window_starts(line: Line, poorest: float) -> list[int]:
    """First notes of the windows of a line that are long and rich enough to say something."""
    notes = len(line.pitch)
    if notes < SHORTEST_WINDOW:
        return []
    last = max(notes - WINDOW, 0)
    symbols = symbols_of(line)
    starts = [*range(0, last, HOP), last]
    size = min(WINDOW, notes)
    return [start for start in starts if richness(symbols[start : start + size - 2]) >= poorest * size]


def shape_keys(pitch: Ints, start: Ints, second: int, third: int) -> Ints:
    """One number for the two intervals from each note to two later ones."""
    one = np.clip(pitch[start + second] - pitch[start], -WIDEST, WIDEST) + WIDEST
    two = np.clip(pitch[start + third] - pitch[start], -WIDEST, WIDEST) + WIDEST
    return one * (2 * WIDEST + 1) + two


def _joined(parts: Sequence[NDArray[np.generic]], kind: type) -> NDArray:
    """One array of all parts, empty where there are none."""
    return np.concatenate(parts).astype(kind) if parts else np.zeros(0, dtype=kind)
