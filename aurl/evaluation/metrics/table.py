"""One score as arrays: what every metric reads, prepared once for a piece.

Times are kept twice: whole ticks, because published tools count in ticks, and quarter notes, because music does.
Bars follow the time signatures of the score. Everything derived (grid, lines, chroma) is computed on first use.

Axes: N notes, B bars, S steps of the grid, P 128 pitches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.evaluation.voices import UNITS_PER_QUARTER, bar_lines

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Result = TypeVar("Result")

PITCHES, OCTAVE = 128, 12
STEPS_PER_QUARTER = 4
"""Resolution of the grid on which harmony and bar patterns are read: sixteenths."""
MOST_STEPS = 40_000
"""Longest grid (2,500 bars of 4/4); what comes later is not read by grid metrics, so that no file fills the memory."""
DEFAULT_MSPQ = 500_000
"""Microseconds a quarter before the first tempo."""
MICROSECONDS = 1e6


@dataclass(frozen=True)
class NoteTable:
    """The notes of a score, ordered by onset, then pitch; see :func:`read_table`."""

    ticks_per_quarter: int
    start: Ints
    """(N,) onset in ticks."""
    end: Ints
    """(N,) where the note ends, in ticks."""
    pitch: Ints
    """(N,) MIDI pitch."""
    velocity: Ints
    """(N,) 1 to 127."""
    track: Ints
    """(N,) number of the track."""
    drum: Bools
    """(N,) the note belongs to a drum track."""
    programs: tuple[int, ...]
    """General MIDI program of each track; 128 is drums."""
    bar_starts: Floats
    """(B + 1,) quarters at which bars begin; the last entry is the end of the last bar."""
    tempo_starts: Floats
    """Quarters at which tempi begin, the first being 0."""
    tempo_lengths: Floats
    """Seconds a quarter of each tempo."""
    pedals: tuple[tuple[int, int], ...]
    """(tick of pressing, tick of release) of the sustain pedal, over all tracks, in order."""

    @cached_property
    def onset(self) -> Floats:
        """(N,) onset in quarters."""
        return self.start / self.ticks_per_quarter

    @cached_property
    def offset(self) -> Floats:
        """(N,) end in quarters."""
        return self.end / self.ticks_per_quarter

    @cached_property
    def length(self) -> Floats:
        """(N,) length in quarters."""
        return self.offset - self.onset

    @cached_property
    def pitched(self) -> Bools:
        """(N,) notes that are not drums."""
        return ~self.drum

    @cached_property
    def _memory(self) -> dict[str, Any]:
        return {}

    def once(self, name: str, compute: Callable[[NoteTable], Result]) -> Result:
        """What ``compute`` gives for this table, computed on first use: several metrics read one matrix."""
        if name not in self._memory:
            self._memory[name] = compute(self)
        result: Result = self._memory[name]
        return result

    @property
    def bars(self) -> int:
        """Number of bars, at least 1."""
        return len(self.bar_starts) - 1

    @cached_property
    def bar(self) -> Ints:
        """(N,) bar in which each note starts."""
        # A note played a hair before the bar line belongs to the bar it was meant for only in a performance, and
        # performances have no bars here: no tolerance beyond rounding.
        return np.clip(np.searchsorted(self.bar_starts, self.onset + 1e-9, side="right") - 1, 0, self.bars - 1)

    @cached_property
    def position(self) -> Floats:
        """(N,) quarters since the bar began."""
        return self.onset - self.bar_starts[self.bar]

    @cached_property
    def bar_lengths(self) -> Floats:
        """(B,) quarters."""
        return np.diff(self.bar_starts)

    @cached_property
    def ticks(self) -> int:
        """Ticks up to the end of the last note."""
        return int(self.end.max(initial=0))

    @property
    def quarters(self) -> float:
        """Quarters up to the end of the last note."""
        return self.ticks / self.ticks_per_quarter

    def seconds_at(self, quarters: Floats) -> Floats:
        """Seconds at which positions in quarters sound, by the tempo map."""
        reached = np.concatenate([[0.0], np.cumsum(np.diff(self.tempo_starts) * self.tempo_lengths[:-1])])
        index = np.clip(np.searchsorted(self.tempo_starts, quarters, side="right") - 1, 0, None)
        seconds: Floats = reached[index] + (quarters - self.tempo_starts[index]) * self.tempo_lengths[index]
        return seconds

    @cached_property
    def seconds(self) -> float:
        """Seconds up to the end of the last note."""
        return float(self.seconds_at(np.array([self.quarters]))[0])

    @cached_property
    def steps(self) -> tuple[Ints, Ints]:
        """(N,) first step and step after the last of each note on the sixteenth grid; at least one step each."""
        first = np.rint(self.onset * STEPS_PER_QUARTER).astype(np.int64)
        last = np.rint(self.offset * STEPS_PER_QUARTER).astype(np.int64)
        return first, np.maximum(last, first + 1)

    @cached_property
    def roll(self) -> NDArray[np.int16]:
        """(S, P) how many pitched notes sound at each step of the grid."""
        first, last = self.steps
        keep = self.pitched & (first < MOST_STEPS)
        size = int(np.minimum(last[keep], MOST_STEPS).max(initial=0))
        edges = np.zeros((size + 1) * PITCHES, dtype=np.int16)
        pitch = self.pitch[keep]
        np.add.at(edges, first[keep] * PITCHES + pitch, 1)
        np.add.at(edges, np.minimum(last[keep], size) * PITCHES + pitch, -1)
        return np.cumsum(edges.reshape(size + 1, PITCHES), axis=0, dtype=np.int16)[:-1]

    @cached_property
    def chroma(self) -> NDArray[np.int16]:
        """(S, 12) how many pitched notes of each class sound at each step."""
        folded = np.zeros((len(self.roll), 11 * OCTAVE), dtype=np.int16)
        folded[:, :PITCHES] = self.roll
        return folded.reshape(len(self.roll), 11, OCTAVE).sum(axis=1, dtype=np.int16)

    @cached_property
    def lines(self) -> tuple[Ints, ...]:
        """Indices of the notes of each pitched track's upper line (see :func:`upper_line`); empty tracks left out."""
        lines = []
        for track in range(len(self.programs)):
            mine = np.flatnonzero((self.track == track) & self.pitched)
            if len(mine):
                lines.append(mine[upper_line(self.start[mine], self.end[mine], self.pitch[mine])])
        return tuple(lines)

    @cached_property
    def melody(self) -> Ints:
        """Indices of the notes of the upper line of all pitched tracks together (skyline)."""
        mine = np.flatnonzero(self.pitched)
        return mine[upper_line(self.start[mine], self.end[mine], self.pitch[mine])]

    @cached_property
    def onsets(self) -> Floats:
        """Different onsets of all notes, in quarters, ordered."""
        return np.unique(self.start) / self.ticks_per_quarter


Music = ScoreTick | NoteTable
"""What metrics take: a tick score, or its table where several metrics are wanted."""


def as_table(music: Music) -> NoteTable:
    """The table of a score; a table is handed through.

    Raises:
        TypeError: neither a tick score nor a table.
    """
    if isinstance(music, NoteTable):
        return music
    if not isinstance(music, ScoreTick):
        raise TypeError(f"metrics read symusic scores in ticks or NoteTable, got {type(music).__name__}")
    return read_table(music)


def read_table(score: ScoreTick) -> NoteTable:
    """Notes, bars, tempi and pedals of a score as arrays.

    Example:
        >>> from symusic import Note, Score, Track
        >>> score = Score(480)
        >>> score.tracks.append(Track(notes=[Note(0, 480, 60, 64)]))
        >>> read_table(score).bars
        1
    """
    quarter = int(score.ticks_per_quarter)
    columns: dict[str, list[NDArray[np.int64]]] = {name: [] for name in ("time", "duration", "pitch", "velocity")}
    owner, drums = [], []
    for index, track in enumerate(score.tracks):
        arrays = track.notes.numpy()
        for name, parts in columns.items():
            parts.append(arrays[name].astype(np.int64))
        owner.append(np.full(len(arrays["time"]), index, dtype=np.int64))
        drums.append(np.full(len(arrays["time"]), bool(track.is_drum)))
    joined = {name: np.concatenate(parts) if parts else np.zeros(0, np.int64) for name, parts in columns.items()}
    order = np.lexsort((joined["pitch"], joined["time"]))
    start, end = joined["time"][order], (joined["time"] + joined["duration"])[order]
    tempo_starts, tempo_lengths = _tempi(score)
    return NoteTable(
        ticks_per_quarter=quarter,
        start=start,
        end=end,
        pitch=joined["pitch"][order],
        velocity=joined["velocity"][order],
        track=(np.concatenate(owner) if owner else np.zeros(0, np.int64))[order],
        drum=(np.concatenate(drums) if drums else np.zeros(0, bool))[order],
        programs=tuple(128 if track.is_drum else int(track.program) for track in score.tracks),
        bar_starts=_bars(score, int(end.max(initial=0))),
        tempo_starts=tempo_starts,
        tempo_lengths=tempo_lengths,
        pedals=tuple(sorted((int(p.time), int(p.time + p.duration)) for track in score.tracks for p in track.pedals)),
    )


def upper_line(start: Ints, end: Ints, pitch: Ints) -> Ints:
    """Indices of the skyline: the highest note of each onset, unless a higher one of the line still sounds.

    Args:
        start: (N,) onsets, not falling.
        end: (N,) ends.
        pitch: (N,) pitches, rising within an onset.

    Source: Uitdenbogerd and Zobel (1999), "Melodic matching techniques for large music databases" (all-mono).
    """
    if not len(start):
        return np.zeros(0, dtype=np.int64)
    tops = np.flatnonzero(np.append(start[1:] != start[:-1], True))
    kept: list[int] = []
    until, height = -1, -1
    for index, begin, stop, high in zip(
        tops.tolist(), start[tops].tolist(), end[tops].tolist(), pitch[tops].tolist(), strict=True
    ):
        if begin < until and high < height:
            continue
        kept.append(index)
        until, height = stop, high
    return np.array(kept, dtype=np.int64)


def _bars(score: ScoreTick, end: int) -> Floats:
    """Bar lines in quarters up to the end of the last note."""
    quarter = score.ticks_per_quarter
    metres = [
        (round(sign.time * UNITS_PER_QUARTER / quarter), int(sign.numerator), int(sign.denominator))
        for sign in score.time_signatures
    ]
    return bar_lines(metres, -(-end * UNITS_PER_QUARTER // quarter)) / UNITS_PER_QUARTER


def _tempi(score: ScoreTick) -> tuple[Floats, Floats]:
    """Where tempi begin, in quarters, and how many seconds a quarter lasts in each; 120 before the first."""
    columns = score.tempos.numpy()
    order = np.argsort(columns["time"], kind="stable")
    starts = columns["time"][order].astype(np.float64) / score.ticks_per_quarter
    lengths = columns["mspq"][order].astype(np.float64) / MICROSECONDS
    if not len(starts) or starts[0] > 0:
        starts = np.concatenate([[0.0], starts])
        lengths = np.concatenate([[DEFAULT_MSPQ / MICROSECONDS], lengths])
    last = np.append(np.diff(starts) > 0, True)  # of several tempi at one time the last one counts
    return starts[last], lengths[last]
