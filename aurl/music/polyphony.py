"""Fewer voices: at most N notes sounding at once, the melody alone, or melody and bass. Drums are not touched.

What is kept follows one order at every moment: the highest note, the lowest, then the loudest, then the one that lasts
longest. Legato playing and spread chords must not cost notes, so a note that ends within an eighth of a quarter
(:data:`OVERLAP`) makes room first, and what would be left of a cut note as a mere scrap is left out whole.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.note_arrays import IntArray, TickNotes, notes_of, with_notes

OVERLAP = 0.125
"""Quarters: notes that sound together for less are played one after the other; shorter remains are scraps."""
SCRAP_SHARE = 0.5
"""What is left of a cut note is a scrap only if it is also less than this share of it."""


class Polyphony(str, Enum):
    """Which notes are kept."""

    all = "all"
    """Every note."""
    max_voices = "max_voices"
    """At most preprocess.max_voices at once."""
    skyline = "skyline"
    """The highest line."""
    melody_bass = "melody_bass"
    """The highest line and, of the rest, the lowest."""


def reduce_polyphony(score: ScoreTick, kept: Polyphony, most: int) -> tuple[ScoreTick, dict[str, int]]:
    """Leave out and cut notes of pitched tracks, all tracks together.

    Args:
        score: is not changed.
        kept: which notes.
        most: notes that may sound at once, with max_voices.

    Returns:
        The score; ``notes_left_out`` and ``notes_cut``. Tracks stay, also those without notes now.

    Example:
        >>> reduce_polyphony(score, Polyphony.max_voices, 4)[1]  # doctest: +SKIP
        {'notes_left_out': 12, 'notes_cut': 7}
    """
    notes = notes_of(score)
    pitched = np.flatnonzero(~notes.drum)
    if kept is Polyphony.all or not len(pitched):
        return score, {"notes_left_out": 0, "notes_cut": 0}
    own = notes.take(pitched)
    overlap = max(int(score.ticks_per_quarter * OVERLAP), 1)
    if kept is Polyphony.max_voices:
        ends = limit_voices(own, most, overlap)
    else:
        ends = outer_line(own, overlap, highest=True)
        if kept is Polyphony.melody_bass:
            rest = np.flatnonzero(ends <= own.time)
            ends[rest] = outer_line(own.take(rest), overlap, highest=False)
    counts = {
        "notes_left_out": int((ends <= own.time).sum()),
        "notes_cut": int(((ends > own.time) & (ends < own.end)).sum()),
    }
    if not any(counts.values()):
        return score, counts
    new_end = notes.end.copy()
    new_end[pitched] = ends
    changed = notes._replace(end=new_end)
    return with_notes(score, changed.take(new_end > notes.time)), counts


def most_sounding(notes: TickNotes) -> int:
    """How many notes sound together at most; a note that ends where another begins does not sound with it."""
    if not len(notes.time):
        return 0
    starts, ends = np.sort(notes.time), np.sort(notes.end)
    return int((np.arange(1, len(starts) + 1) - np.searchsorted(ends, starts, side="right")).max())


def limit_voices(notes: TickNotes, most: int, overlap: int) -> IntArray:
    """New ends so that at most ``most`` notes sound together; an end at its own onset leaves the note out.

    Moves through the onsets in order; where too many sound, one after the other gives way until there is room: first
    what ends within ``overlap`` (the first to end), then the softest, shortest-lasting, highest inner note. The highest
    and the lowest are the last to go, the lowest before the highest.

    Args:
        notes: in any order (N,).
        most: 1 or more.
        overlap: in ticks.

    Returns:
        int64 (N,).
    """
    if most_sounding(notes) <= most:
        return notes.end.copy()
    order = np.lexsort((notes.track, -notes.velocity, notes.pitch, notes.time))
    time, end = notes.time[order].tolist(), notes.end[order].tolist()
    pitch, velocity = notes.pitch[order].tolist(), notes.velocity[order].tolist()
    new_end = list(end)
    active: list[int] = []
    index, count = 0, len(time)
    while index < count:
        now = time[index]
        active = [note for note in active if new_end[note] > now]
        while index < count and time[index] == now:
            active.append(index)
            index += 1
        while len(active) > most:
            victim = _first_to_go(active, now, overlap, most, time, new_end, pitch, velocity)
            active.remove(victim)
            new_end[victim] = now
    ends = np.empty(count, dtype=np.int64)
    ends[order] = new_end
    return _without_scraps(notes, ends, overlap)


def _first_to_go(
    active: list[int],
    now: int,
    overlap: int,
    most: int,
    time: list[int],
    end: list[int],
    pitch: list[int],
    velocity: list[int],
) -> int:
    """Which of the sounding notes makes room; notes are numbers into the lists."""
    fading = [note for note in active if time[note] < now and end[note] - now <= overlap]
    if fading:
        return min(fading, key=lambda note: (end[note], note))
    highest = max(active, key=lambda note: (pitch[note], velocity[note], -note))
    outer = {highest} if most == 1 else {highest, min(active, key=lambda note: (pitch[note], -velocity[note], note))}
    inner = [note for note in active if note not in outer]
    return min(inner, key=lambda note: (velocity[note], end[note], -pitch[note], note))


def outer_line(notes: TickNotes, overlap: int, highest: bool) -> IntArray:
    """New ends that leave the highest (or lowest) line, one note at a time; an end at its own onset leaves it out.

    A note belongs to the line if none beyond it sounds at its onset (the skyline of Uitdenbogerd and Zobel, 1999, with
    held notes respected); what ends within ``overlap`` does not count as sounding. It ends where the next one begins.

    Args:
        notes: in any order (N,).
        overlap: in ticks.
        highest: the highest line, else the lowest.
    """
    count = len(notes.time)
    if not count:
        return notes.end.copy()
    height = notes.pitch if highest else -notes.pitch
    onsets, slot = np.unique(notes.time, return_inverse=True)
    until = np.maximum(np.searchsorted(onsets, notes.end - overlap, side="left"), slot + 1)
    line = height == outermost(height, slot, until, len(onsets))[slot]
    order = np.lexsort((notes.track, -notes.velocity, -notes.end, notes.time))
    order = order[line[order]]
    order = order[np.concatenate([[True], np.diff(notes.time[order]) > 0])]
    ends = notes.time.copy()
    following = np.append(notes.time[order][1:], np.iinfo(np.int64).max)
    ends[order] = np.minimum(notes.end[order], following)
    return _without_scraps(notes, ends, overlap)


def outermost(height: IntArray, slot: IntArray, until: IntArray, slots: int) -> IntArray:
    """The greatest height that sounds at each onset (slots,); every note sounds in slots from ``slot`` to ``until``."""
    top = np.full(slots, np.iinfo(np.int64).min)
    free = np.ones(slots, dtype=bool)
    for level in np.unique(height)[::-1]:
        mine = height == level
        change = np.bincount(slot[mine], minlength=slots + 1) - np.bincount(until[mine], minlength=slots + 1)
        sounding: NDArray[np.bool_] = (np.cumsum(change)[:slots] > 0) & free
        top[sounding] = level
        free &= ~sounding
        if not free.any():
            break
    return top


def _without_scraps(notes: TickNotes, ends: IntArray, overlap: int) -> IntArray:
    """Ends with those notes left out of which almost nothing remained."""
    left = ends - notes.time
    scrap = (ends < notes.end) & (left < overlap) & (left < (notes.end - notes.time) * SCRAP_SHARE)
    return np.where(scrap, notes.time, ends)
