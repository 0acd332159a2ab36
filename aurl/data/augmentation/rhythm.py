"""Moving notes in time, on arrays: swing, humanised timing, stretch. Pure functions; rows.py reads and writes tokens.

Time is (bar, position in the bar); positions are whole numbers, the grid of the tokenizer. Axis legend: K notes in
order of time, B bars.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
FAR = 4096
"""More positions than any bar has."""


class Notes(NamedTuple):
    """Notes in order of time, each (K,)."""

    bar: IntArray
    """Index into the bars."""
    position: IntArray
    duration: IntArray
    """In positions of the bar in which the note begins."""
    track: IntArray
    """Any number that tells tracks apart, across segments too."""


class Bars(NamedTuple):
    """Bars one after the other, each (B,)."""

    start: IntArray
    """Positions since the first bar."""
    length: IntArray
    """In positions."""
    last: IntArray
    """Index of the last bar of the same segment."""


def warp(position: IntArray, pair: IntArray, ratio: FloatArray) -> IntArray:
    """Positions after swing: the first half of each pair takes ``ratio`` of it, rounded to the grid.

    Rising in ``position``, and the identity at both ends of every pair.

    Args:
        position: (K,).
        pair: positions of a long-short pair, (K,); 0 leaves everything as it is.
        ratio: (K,).
    """
    whole = np.maximum(pair, 1)
    inside = position % whole
    half, middle = whole / 2, np.floor(whole * ratio + 0.5)
    early = inside * middle / half
    late = middle + (inside - half) * (whole - middle) / half
    moved = np.floor(np.where(inside < half, early, late) + 0.5).astype(np.int64)
    moved = np.minimum(moved, whole - 1)  # never rounded into the next pair
    return np.where(pair > 0, position - inside + moved, position)


def swing(notes: Notes, bars: Bars, pair: IntArray, ratio: FloatArray) -> Notes:
    """Swing onsets and ends. A pair in which two onsets would meet stays straight, so nothing is reordered or merged.

    Args:
        notes: the notes.
        bars: their bars.
        pair: positions of a pair in each bar, (B,); 0 where the bar stays straight.
        ratio: share of a pair that its first half takes, (B,).
    """
    onset = warp(notes.position, pair[notes.bar], ratio[notes.bar])
    cell = _cell(notes.bar, notes.position, pair)
    meets = (cell[1:] == cell[:-1]) & (notes.position[1:] != notes.position[:-1]) & (onset[1:] == onset[:-1])
    straight = np.unique(cell[1:][meets])
    onset = np.where(_within(cell, straight), notes.position, onset)
    end = bars.start[notes.bar] + notes.position + notes.duration
    end_bar = np.searchsorted(bars.start, end, side="right") - 1
    end_bar = np.minimum(end_bar, bars.last[notes.bar])  # another segment's bars are none of ours
    end_position = end - bars.start[end_bar]
    moved = warp(end_position, pair[end_bar], ratio[end_bar])
    moved = np.where(_within(_cell(end_bar, end_position, pair), straight), end_position, moved)
    duration = bars.start[end_bar] + moved - bars.start[notes.bar] - onset
    return notes._replace(position=onset, duration=np.maximum(duration, 1))


def _cell(bar: IntArray, position: IntArray, pair: IntArray) -> IntArray:
    """A number for each long-short pair."""
    return bar * FAR + position // np.maximum(pair[bar], 1)


def _within(cell: IntArray, cells: IntArray) -> npt.NDArray[np.bool_]:
    """Whether each cell is among sorted ``cells``."""
    if not len(cells):
        return np.zeros(len(cell), bool)
    return cells[np.minimum(np.searchsorted(cells, cell), len(cells) - 1)] == cell


def jitter(notes: Notes, bars: Bars, deviation: FloatArray) -> Notes:
    """Shift onsets by ``deviation`` positions, rounded; durations stay.

    The notes of a track that begin together move together, stay in their bar, and never reach the track's next or
    last onset: order and number of onsets are those of the original.

    Args:
        notes: the notes.
        bars: their bars.
        deviation: wanted shift of each note in positions (K,); that of the first note of an onset counts.
    """
    if not len(notes.bar):
        return notes
    time = bars.start[notes.bar] + notes.position
    order = np.lexsort((time, notes.track))
    first = np.append(True, (np.diff(time[order]) != 0) | (np.diff(notes.track[order]) != 0))
    onset_of = np.cumsum(first) - 1  # onset of each note, in order
    lead = order[first]
    at, bar, track = time[lead], notes.bar[lead], notes.track[lead]
    back = notes.position[lead]
    room = bars.length[bar] - 1 - back
    together = (track[1:] == track[:-1]) & (bar[1:] == bar[:-1])
    slack = np.diff(at) - 1
    odd = notes.position[lead][:-1] // 2 % 2  # an odd slack goes now to the earlier, now to the later onset
    room[:-1] = np.where(together, (slack + odd) // 2, room[:-1])
    back[1:] = np.where(together, (slack + 1 - odd) // 2, back[1:])
    shift = np.clip(np.rint(deviation[lead]).astype(np.int64), -back, np.maximum(room, 0))
    position = notes.position.copy()
    position[order] += shift[onset_of]
    return notes._replace(position=position)


def stretched(time: IntArray, factor: FloatArray, phase: FloatArray) -> IntArray:
    """Times on the grid after a stretch, ``floor(time * factor + phase)``: never falling where ``time`` rises.

    Args:
        time: positions since the start of the segment (K,).
        factor: (K,).
        phase: between 0 and 1, which way times between two positions go (K,).
    """
    return np.floor(time * factor + phase).astype(np.int64)
