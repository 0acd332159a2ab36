"""Stretch of performed music: its bars are a clock, so the notes move over them and new bars are laid.

The first bar line of a segment stays its first; what the tokens say of tempo stays. Axis legend: R rows, S segments.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from aurl.data.augmentation.rhythm import stretched
from aurl.data.augmentation.rows import BAR, END, LAST_POSITION, NOTE, IntArray, Rows
from aurl.data.vocabulary import Vocabulary

PITCH_FROM_END = 3
"""A note row ends with pitch, velocity, duration."""

FloatArray = npt.NDArray[np.float64]


def stretch_rows(rows: Rows, ids: IntArray, factor: FloatArray, phase: FloatArray, vocabulary: Vocabulary) -> Rows:
    """Rows of segments of one metre each after a stretch of their times.

    Notes keep their order, and durations grow or shrink by the same factor, rounded, to one position at least. Two
    notes of one track and pitch that land on one position become the first of them. A bar line that closed a segment is
    left out, because the last bar is now an unfinished one.

    Args:
        rows: the rows (R,).
        ids: the tokens they were read from.
        factor: new time as a multiple of the old, (S,).
        phase: see ``rhythm.stretched``, (S,).
        vocabulary: meaning of the ids.
    """
    segments = len(factor)
    first = np.searchsorted(rows.bar_segment, np.arange(segments))
    metre = rows.bar_metre[first]
    length = vocabulary.bar_positions[metre].astype(np.int64)
    old_counts = np.bincount(rows.bar_segment[rows.bar_metre != vocabulary.pad], minlength=segments)
    kept = rows.kind != BAR
    segment, kind = rows.segment[kept], rows.kind[kept]
    time = (rows.bar[kept] - first[segment]) * length[segment] + rows.position[kept]
    time = stretched(time, factor[segment], np.where(kind == NOTE, phase[segment], 0.0))
    time[kind >= END] = 0
    bar, position = time // length[segment], time % length[segment]
    counts = np.maximum((old_counts * factor).astype(np.int64), 1)
    np.maximum.at(counts, segment, bar + 1)
    bar[kind == END], position[kind == END] = counts[segment[kind == END]] - 1, LAST_POSITION
    offset = np.cumsum(counts) - counts
    made = np.arange(counts.sum())
    made_segment = np.repeat(np.arange(segments), counts)
    local = made - offset[made_segment]
    old = first[made_segment] + np.minimum(
        (local / factor[made_segment]).astype(np.int64), old_counts[made_segment] - 1
    )
    bar_rows = np.flatnonzero(rows.kind == BAR)[old]
    quarters = vocabulary.bar_quarters[metre].astype(np.float64)
    begin = np.rint(rows.bar_beat[first] * factor / quarters) * quarters
    nothing = np.zeros(len(made), np.int64)
    new_duration = np.maximum(np.rint(rows.duration[kept] * factor[segment]).astype(np.int64), kind == NOTE)
    columns = {
        "start": (rows.start[kept], rows.start[bar_rows]),
        "length": (rows.length[kept], rows.length[bar_rows]),
        "kind": (kind, nothing + BAR),
        "bar": (offset[segment] + bar, made),
        "position": (position, nothing),
        "duration": (new_duration, nothing),
        "track": (rows.track[kept], nothing - 1),
    }
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    order = np.lexsort((joined["kind"], joined["position"], joined["bar"]))  # stable
    order = order[_first_of_each(order, joined, ids)]
    return Rows(
        **{name: column[order] for name, column in joined.items()},
        bar_metre=metre[made_segment],
        bar_segment=made_segment,
        bar_number=np.rint(rows.bar_number[first] * factor).astype(np.int64)[made_segment] + local,
        bar_beat=begin[made_segment] + local * quarters[made_segment],
    )


def _first_of_each(order: IntArray, columns: dict[str, IntArray], ids: IntArray) -> npt.NDArray[np.bool_]:
    """Which rows, in order, are no repetition of a note of the same time, track and pitch."""
    is_note = columns["kind"][order] == NOTE
    at = order[is_note]
    pitch = ids[columns["start"][at] + columns["length"][at] - PITCH_FROM_END]
    what = np.stack([columns["bar"][at], columns["position"][at], columns["track"][at], pitch])
    keep = np.ones(len(order), bool)
    unique = np.zeros(len(at), bool)
    unique[np.unique(what, axis=1, return_index=True)[1]] = True
    keep[is_note] = unique
    return keep
