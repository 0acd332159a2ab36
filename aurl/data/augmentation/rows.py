"""Between tokens and rows: what stands at one place in time, taken out of its sequence and put back in order.

A row is a bar line with its time signature, a mark (tempo, chord, anything else) or a note with all its tokens. Rows
know their bar and position, so a changed rhythm is a change of two arrays; writing sorts the rows as the encoder does
(bar line, marks, notes by track) and puts Position tokens where the time changes. What is not changed comes back token
by token. Axis legend: N tokens of a batch of segments laid end to end, R rows, B bars, S segments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aurl.data.vocabulary import QUARTERS_PER_WHOLE, Kind, Vocabulary

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

BEGIN, BAR, MARK, NOTE, END = range(5)
"""Kinds of rows, in the order in which they stand at one time."""
POSITION_BITS, KIND_BITS, TRACK_BITS = 12, 3, 12
LAST_POSITION = 2**POSITION_BITS - 1
"""Where the end of a piece stands in its last bar."""


@dataclass
class Rows:
    """Rows in time order, and the bars they lie in."""

    start: IntArray
    """First token of each row (R,), an index into the batch."""
    length: IntArray
    """Tokens of each row (R,)."""
    kind: IntArray
    """BEGIN, BAR, MARK, NOTE or END (R,)."""
    bar: IntArray
    """Bar of each row (R,), an index into the batch's bars."""
    position: IntArray
    """Position in the bar (R,)."""
    duration: IntArray
    """Positions, 0 where the row is no note (R,)."""
    track: IntArray
    """Track of a note as a number that differs between segments (R,); -1 elsewhere."""
    bar_metre: IntArray
    """TimeSig id of each bar (B,); PAD for a bar line that closes a segment."""
    bar_segment: IntArray
    """Segment of each bar (B,)."""
    bar_number: IntArray
    """Number of the bar in its piece (B,)."""
    bar_beat: FloatArray
    """Quarters from the start of the piece to the bar (B,)."""

    @property
    def segment(self) -> IntArray:
        """Segment of each row (R,)."""
        return self.bar_segment[self.bar]


@dataclass(frozen=True)
class Tokens:
    """What rows became, N tokens in all."""

    ids: IntArray
    origin: IntArray
    """Token of the old batch that each token is, or for Position tokens the one it precedes (N,)."""
    bar: IntArray
    """Number of the bar in its piece (N,)."""
    beat: FloatArray
    """Onset in quarters since the start of the piece (N,)."""
    lengths: IntArray
    """Tokens of each segment (S,)."""


class RowCodec:
    """Reads and writes rows.

    Args:
        vocabulary: meaning of the ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        kind = vocabulary.kind
        follows = (Kind.TIMESIG, Kind.VELOCITY, Kind.DURATION)
        self._is_head = ~np.isin(kind, follows)
        self._is_pitch = np.isin(kind, (Kind.PITCH, Kind.PITCH_DRUM))
        self._row_kind = np.full(vocabulary.size, MARK)
        self._row_kind[kind == Kind.BOS] = BEGIN
        self._row_kind[kind == Kind.EOS] = END
        self._row_kind[kind == Kind.BAR] = BAR
        self._row_kind[self._is_pitch | (kind == Kind.PROGRAM)] = NOTE
        positions = vocabulary.ids_of(Kind.POSITION)
        self._position_ids = positions[vocabulary.value[positions].argsort()]
        durations = vocabulary.ids_of(Kind.DURATION)
        self._duration_ids = _nearest_table(durations, vocabulary.value[durations].astype(np.int64))

    def readable(self, ids: IntArray) -> bool:
        """Whether a segment (N,) is whole: it begins with a bar line or the piece, ends with the next bar line or the
        piece, every bar has its time signature and every note its velocity and duration.
        """
        kind = self._vocabulary.kind[ids]
        if len(ids) < 2 or kind[0] not in (Kind.BOS, Kind.BAR) or kind[-1] not in (Kind.BAR, Kind.EOS):
            return False
        if kind[0] == Kind.BOS and kind[1] != Kind.BAR:
            return False
        bars = np.flatnonzero(kind[:-1] == Kind.BAR)
        pitches = np.flatnonzero(self._is_pitch[ids])
        notes = len(self._vocabulary.note_starts(ids))
        return bool(len(bars) and (kind[bars + 1] == Kind.TIMESIG).all() and notes == len(pitches))

    def read(self, ids: IntArray, lengths: IntArray, bar: IntArray, beat: FloatArray) -> Rows:
        """Rows of readable segments.

        Args:
            ids: tokens of all segments (N,).
            lengths: tokens of each segment (S,).
            bar: bar number of each token in its piece (N,).
            beat: onset of each token in quarters (N,).
        """
        vocabulary = self._vocabulary
        kind = vocabulary.kind[ids]
        is_bar = kind == Kind.BAR
        head = self._is_head[ids].copy()
        head[1:] &= ~(self._is_pitch[ids[1:]] & (kind[:-1] == Kind.PROGRAM))
        start = np.flatnonzero(head)
        length = np.diff(start, append=len(ids))
        anchor = is_bar | (kind == Kind.POSITION) | (kind == Kind.BOS)
        place = np.where(kind == Kind.POSITION, vocabulary.value[ids], 0)[anchor]
        position = place[np.cumsum(anchor)[start] - 1].astype(np.int64)
        bar_at = np.flatnonzero(is_bar)
        bar_of = np.cumsum(is_bar)[start] - 1 + (kind[start] == Kind.BOS)
        keep = kind[start] != Kind.POSITION
        start, length, position, bar_of = start[keep], length[keep], position[keep], bar_of[keep]
        row_kind = self._row_kind[ids[start]]
        position[row_kind == END] = LAST_POSITION
        is_note = row_kind == NOTE
        last = ids[start + length - 1]
        program = np.where(vocabulary.kind[ids[start]] == Kind.PROGRAM, ids[start], vocabulary.pad)
        after = ids[np.minimum(bar_at + 1, len(ids) - 1)]
        metre = np.where(vocabulary.kind[after] == Kind.TIMESIG, after, vocabulary.pad)
        segment_of = np.repeat(np.arange(len(lengths)), lengths)
        bar_segment = segment_of[bar_at]
        return Rows(
            start=start,
            length=length,
            kind=row_kind,
            bar=bar_of,
            position=position,
            duration=np.where(is_note, vocabulary.value[last], 0).astype(np.int64),
            track=np.where(is_note, bar_segment[bar_of] * vocabulary.size + program, -1),
            bar_metre=metre,
            bar_segment=bar_segment,
            bar_number=bar[bar_at].astype(np.int64),
            bar_beat=beat[bar_at].astype(np.float64),
        )

    def bar_positions(self, rows: Rows) -> IntArray:
        """Positions in each bar (B,)."""
        return self._vocabulary.bar_positions[rows.bar_metre].astype(np.int64)

    def positions_per_quarter(self, rows: Rows) -> FloatArray:
        """Positions of a quarter note in each bar (B,); 0 for a bar line that closes a segment."""
        return self._vocabulary.positions_per_beat * self._vocabulary.denominator[rows.bar_metre] / QUARTERS_PER_WHOLE

    def write(self, ids: IntArray, rows: Rows, ranks: Ranks, segments: int) -> Tokens:
        """Tokens of rows whose bars, positions or durations may have changed.

        Args:
            ids: tokens of the batch that the rows were read from (N,).
            rows: the rows; sorted here.
            ranks: place of each track in the score order of its segment, by track.
            segments: S.
        """
        vocabulary = self._vocabulary
        ids = ids.copy()
        notes = np.flatnonzero(rows.kind == NOTE)
        ends = rows.start[notes] + rows.length[notes] - 1
        new = np.minimum(rows.duration[notes], len(self._duration_ids) - 1)
        changed = vocabulary.value[ids[ends]] != new
        ids[ends[changed]] = self._duration_ids[new[changed]]
        order = self._order(rows, ranks)
        start, length, kind = rows.start[order], rows.length[order], rows.kind[order]
        bar, position = rows.bar[order], rows.position[order]
        timed = (kind == MARK) | (kind == NOTE)
        moved = np.append(True, (np.diff(bar) != 0) | (np.diff(position) != 0) | ~timed[:-1])
        placed = (timed & moved).astype(np.int64)
        total = length + placed
        first = np.cumsum(total) - total
        row_of = np.repeat(np.arange(len(order)), total)
        origin = start[row_of] + np.maximum(np.arange(len(row_of)) - first[row_of] - placed[row_of], 0)
        out = ids[origin]
        at = first[placed > 0]
        out[at] = self._position_ids[np.minimum(position[placed > 0], len(self._position_ids) - 1)]
        inside = np.where(timed, position, 0) * vocabulary.position_quarters[rows.bar_metre[bar]].astype(np.float64)
        return Tokens(
            ids=out,
            origin=origin,
            bar=rows.bar_number[bar][row_of],
            beat=(rows.bar_beat[bar] + inside)[row_of],
            lengths=np.bincount(rows.bar_segment[bar], weights=total, minlength=segments).astype(np.int64),
        )

    @staticmethod
    def _order(rows: Rows, ranks: Ranks) -> IntArray:
        """Time order; at one time bar, marks, notes by track, and of a track in the order in which they were."""
        key = (rows.bar << POSITION_BITS) + rows.position
        key = (key << KIND_BITS) + rows.kind
        key = (key << TRACK_BITS) + np.minimum(ranks(rows.track), 2**TRACK_BITS - 1)
        return key.argsort(kind="stable")


@dataclass(frozen=True)
class Ranks:
    """Place of each track in the score order of its segment, K tracks."""

    codes: IntArray
    """Tracks as ``Rows.track`` numbers them, rising (K,)."""
    places: IntArray
    """(K,)."""

    def __call__(self, track: IntArray) -> IntArray:
        """Places of tracks, 0 for -1."""
        if not len(self.codes):
            return np.zeros(len(track), np.int64)
        return np.where(track < 0, 0, self.places[np.searchsorted(self.codes, np.maximum(track, self.codes[0]))])


def track_ranks(rows: Rows) -> Ranks:
    """The score order of the tracks of each segment, read from notes that begin together.

    The encoder writes simultaneous notes in track order, so each meeting of two tracks says which stands first. A track
    comes after all that meetings, directly or through others, put before it; what they leave open follows the order of
    first appearance.
    """
    notes = np.flatnonzero(rows.kind == NOTE)
    codes, first, code = np.unique(rows.track[notes], return_index=True, return_inverse=True)
    if len(codes) < 2:
        return Ranks(codes, np.zeros(len(codes), np.int64))
    segment = rows.segment[notes][first]
    local = np.arange(len(codes)) - np.searchsorted(segment, segment)  # number among the tracks of the segment
    width = int(local.max()) + 1
    before = np.zeros((int(segment.max()) + 1, width, width), bool)  # [s, a, b]: a stands before b
    bar, position = rows.bar[notes], rows.position[notes]
    meets = (bar[1:] == bar[:-1]) & (position[1:] == position[:-1]) & (code[1:] != code[:-1])
    earlier, later = code[:-1][meets], code[1:][meets]
    before[segment[earlier], local[earlier], local[later]] = True
    for _ in range(max(width - 1, 1).bit_length()):  # paths of doubled length each time
        before |= (before.astype(np.float32) @ before.astype(np.float32)) > 0
    after = before.sum(axis=1)[segment, local]  # tracks before each
    order = np.lexsort((first, after, segment))
    places = np.empty(len(codes), np.int64)
    places[order] = np.arange(len(codes)) - np.searchsorted(segment, segment)[order]
    return Ranks(codes, places)


def _nearest_table(ids: IntArray, values: IntArray) -> IntArray:
    """Id of the nearest value for each whole number from 0 to the largest; the shorter of two."""
    if not len(ids):
        return np.zeros(1, np.int64)
    numbers = np.arange(int(values.max()) + 1)
    return ids[np.abs(values[None, :] - numbers[:, None]).argmin(axis=1)]
