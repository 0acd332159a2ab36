"""Local alignment of note sequences: how much of one melody stands in another, with notes changed, added or left out.

Smith and Waterman (1981), "Identification of common molecular subsequences", on (pitch, time to the next note) with a
linear gap cost, for one query against many passages of equal length at once. Pitches are compared after a given
transposition, not as intervals: a changed note then costs one mismatch, where it spoils two intervals.

Axes: Q notes of the query, C passages, W notes of a passage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BOTH, PITCH_ONLY, TIME_ONLY, NEITHER, GAP = 3, 2, -1, -2, -2
"""Points for a pair of notes that agree in pitch and time, in one of them, in none, and for a note without partner."""
NO_NOTE = 10_000
"""Pitch that no note has, for places outside a melody."""


class Aligned(NamedTuple):
    """The best local alignment with each passage; arrays (C,)."""

    points: Ints
    """Sum of the points; BOTH * Q where everything agrees."""
    query_end: Ints
    """Last aligned note of the query."""
    passage_end: Ints
    """Last aligned note of the passage."""


def align(query_pitch: Ints, query_gap: Ints, passage_pitch: Ints, passage_gap: Ints) -> Aligned:
    """Align a melody with many passages that have been transposed to it.

    Args:
        query_pitch: (Q,) pitches.
        query_gap: (Q,) units of time from each note to the next.
        passage_pitch: (C, W) pitches, NO_NOTE where there is none.
        passage_gap: (C, W) units of time to the next note.

    Example:
        >>> import numpy as np
        >>> line, gaps = np.array([60, 62, 64]), np.array([12, 12, 12])
        >>> int(align(line, gaps, line[None], gaps[None]).points[0])
        9
    """
    count, width = passage_pitch.shape
    slope = -GAP * np.arange(width + 1)
    above = np.zeros((count, width + 1), dtype=np.int64)
    points, query_end, passage_end = (np.zeros(count, dtype=np.int64) for _ in range(3))
    everyone = np.arange(count)
    for note in range(len(query_pitch)):
        same_time = passage_gap == query_gap[note]
        pair = np.where(
            passage_pitch == query_pitch[note],
            np.where(same_time, BOTH, PITCH_ONLY),
            np.where(same_time, TIME_ONLY, NEITHER),
        )
        here = np.zeros_like(above)
        np.maximum(above[:, :-1] + pair, above[:, 1:] + GAP, out=here[:, 1:])
        np.maximum(here, 0, out=here)
        # A gap in the query moves along the row at a constant cost, so the row's maximum is a running one.
        here = np.maximum.accumulate(here + slope, axis=1) - slope
        best = here.argmax(axis=1)
        better = here[everyone, best] > points
        points[better] = here[everyone, best][better]
        query_end[better] = note
        passage_end[better] = best[better] - 1
        above = here
    return Aligned(points, query_end, passage_end)


def where_it_begins(
    query_pitch: Ints, query_gap: Ints, passage_pitch: Ints, passage_gap: Ints, query_end: int, passage_end: int
) -> tuple[int, int]:
    """First aligned note of the query and of the passage, for an alignment that ends at the given notes.

    Args:
        query_pitch: (Q,) pitches of the query.
        query_gap: (Q,) its times.
        passage_pitch: (W,) pitches of one passage.
        passage_gap: (W,) its times.
        query_end: last aligned note of the query.
        passage_end: last aligned note of the passage.
    """
    # Read backwards, the alignment that ended here begins here, and its end is the beginning.
    back = align(
        query_pitch[query_end::-1],
        query_gap[query_end::-1],
        passage_pitch[None, passage_end::-1],
        passage_gap[None, passage_end::-1],
    )
    return query_end - int(back.query_end[0]), passage_end - int(back.passage_end[0])
