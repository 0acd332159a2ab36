"""A score in parts as arrays: the notes of each voice, and the chords that sound between one change and the next.

Voices are the score's tracks in order (soprano, alto, tenor, bass in a chorale). Time is whole units of 1/24 quarter
note, which holds sixteenths, thirty-seconds and triplets exactly. A chord is the stretch between two neighbouring note
starts or ends of any voice.

Axes: C chords, V voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from symusic.core import ScoreTick, TrackTick

UNITS_PER_QUARTER = 24
VOICES = 4
SILENT = -1
"""Stands for the pitch of a voice that rests."""
DEFAULT_METRE = (4, 4)


class Notes(NamedTuple):
    """The notes of one voice, ordered by start; arrays of one length."""

    start: np.ndarray
    """Units since the start of the piece."""
    length: np.ndarray
    """Units, at least 1."""
    pitch: np.ndarray
    """MIDI pitch."""


class Chords(NamedTuple):
    """What sounds between one change and the next."""

    start: np.ndarray
    """(C,) units."""
    length: np.ndarray
    """(C,) units, at least 1."""
    pitch: np.ndarray
    """(C, V) MIDI pitch, SILENT where a voice rests."""
    struck: np.ndarray
    """(C, V) bool: the voice's note starts with this chord."""


@dataclass(frozen=True)
class Voices:
    """A piece, or some bars of it, in voices."""

    notes: tuple[Notes, ...]
    """One entry a voice, highest part first."""
    bar_starts: np.ndarray
    """(bars + 1,) units: where each bar begins, and where the last one ends."""
    ends_here: bool = True
    """The piece ends inside these bars (it was not cut)."""

    @property
    def bars(self) -> int:
        """Number of bars."""
        return len(self.bar_starts) - 1

    @cached_property
    def chords(self) -> Chords:
        """Chords from the first note start to the last note end; stretches where nothing sounds are left out."""
        marks = np.unique(
            np.concatenate([np.concatenate([voice.start, voice.start + voice.length]) for voice in self.notes])
        )
        if not len(marks):
            empty = np.zeros((0, len(self.notes)), dtype=np.int64)
            return Chords(np.zeros(0, np.int64), np.zeros(0, np.int64), empty, empty.astype(bool))
        start, length = marks[:-1], np.diff(marks)
        pitch = np.full((len(start), len(self.notes)), SILENT, dtype=np.int64)
        struck = np.zeros(pitch.shape, dtype=bool)
        for column, voice in enumerate(self.notes):
            if not len(voice.start):
                continue
            # Where notes of one voice overlap, the latest wins.
            last = np.searchsorted(voice.start, start, side="right") - 1
            sounds = (last >= 0) & (voice.start[last] + voice.length[last] > start)
            pitch[sounds, column] = voice.pitch[last[sounds]]
            struck[:, column] = sounds & (voice.start[last] == start)
        heard = (pitch != SILENT).any(axis=1)
        return Chords(start[heard], length[heard], pitch[heard], struck[heard])

    def cut(self, first_bar: int, bars: int) -> Voices:
        """The notes that start in ``bars`` bars from ``first_bar`` on, cut at its end; time starts at zero."""
        starts = self.bar_starts[first_bar : first_bar + bars + 1]
        begin, end = int(starts[0]), int(starts[-1])
        notes = []
        for voice in self.notes:
            inside = (voice.start >= begin) & (voice.start < end)
            start = voice.start[inside]
            notes.append(Notes(start - begin, np.minimum(voice.length[inside], end - start), voice.pitch[inside]))
        return Voices(tuple(notes), starts - begin, ends_here=self.ends_here and first_bar + bars >= self.bars)

    def excerpts(self, bars: int, hop: int) -> list[Voices]:
        """The first ``bars`` bars (the whole piece where it is shorter), then full excerpts every ``hop`` bars."""
        later = range(hop, self.bars - bars + 1, hop)
        return [self.cut(0, bars), *(self.cut(first, bars) for first in later)]


def read_voices(score: ScoreTick, voices: int = VOICES) -> Voices:
    """The first ``voices`` pitched tracks of a tick score; missing ones are silent."""
    tracks = [track for track in score.tracks if not track.is_drum][:voices]
    notes = [_read_track(track, score.ticks_per_quarter) for track in tracks]
    silent = np.zeros(0, dtype=np.int64)
    notes += [Notes(silent, silent, silent)] * (voices - len(notes))
    end = max((int((voice.start + voice.length).max()) for voice in notes if len(voice.start)), default=0)
    metres = [
        (_units(signature.time, score.ticks_per_quarter), signature.numerator, signature.denominator)
        for signature in score.time_signatures
    ]
    return Voices(tuple(notes), bar_lines(metres, end))


def bar_lines(metres: Sequence[tuple[int, int, int]], end: int) -> np.ndarray:
    """Bar starts up to the first bar line at or after ``end``.

    Args:
        metres: (units, numerator, denominator) in order; a change inside a bar takes effect at its end.
        end: last unit that a bar has to cover.

    Returns:
        (bars + 1,) units, the last being the end of the last bar; at least one bar.
    """
    position, current, lines = 0, DEFAULT_METRE, [0]
    changes = sorted(metres)
    while position < end or len(lines) == 1:
        while changes and changes[0][0] <= position:
            _, *metre = changes.pop(0)
            current = (metre[0], metre[1])
        position += max(1, current[0] * 4 * UNITS_PER_QUARTER // current[1])
        lines.append(position)
    return np.array(lines, dtype=np.int64)


def _read_track(track: TrackTick, ticks_per_quarter: int) -> Notes:
    """Notes of one track in units, ordered by start, then pitch."""
    arrays = track.notes.numpy()
    start = _round_units(arrays["time"], ticks_per_quarter)
    end = _round_units(arrays["time"] + arrays["duration"], ticks_per_quarter)
    pitch = arrays["pitch"].astype(np.int64)
    order = np.lexsort((pitch, start))
    return Notes(start[order], np.maximum(end - start, 1)[order], pitch[order])


def _round_units(ticks: np.ndarray, ticks_per_quarter: int) -> np.ndarray:
    return np.rint(np.asarray(ticks, dtype=np.float64) * UNITS_PER_QUARTER / ticks_per_quarter).astype(np.int64)


def _units(ticks: int, ticks_per_quarter: int) -> int:
    return round(ticks * UNITS_PER_QUARTER / ticks_per_quarter)
