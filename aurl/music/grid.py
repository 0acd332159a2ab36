"""Beats and bars as stretches of time that features are aligned to.

A ``Grid`` is T frames between T + 1 edges in quarter notes; frame t holds what lies in [edges[t], edges[t + 1]). Bars
follow the rule of the tokens: a metre that comes in mid-bar waits for the next bar line. What is measured in the frames
is features.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from aurl.utils.errors import AurlError

Level = Literal["beat", "bar"]
LEVELS: tuple[str, ...] = get_args(Level)
MOST_FRAMES = 2**17
"""Most frames of a grid (18 hours of beats at 120 a minute): beyond it a dense roll costs more than 100 MB."""
STEPS_PER_BEAT = 8
"""Metre changes are moved back to a grid of so many steps in the finest beat of the piece, as the tokens have it."""
WHOLE_UNITS = 256
"""Units of a whole note in which every metre down to 64ths is exact."""
QUARTER_UNITS = WHOLE_UNITS // 4
COMMON_TIME = (4, 4)


@dataclass(frozen=True)
class Grid:
    """T frames of time.

    Example:
        >>> Grid.from_onsets(np.array([0.0, 4.0, 7.0])).edges.tolist()
        [0.0, 4.0, 7.0, 10.0]
    """

    edges: NDArray[np.float64]
    """(T + 1,) quarter notes since the start, strictly increasing."""

    def __post_init__(self) -> None:
        edges = self.edges
        if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
            raise ValueError("a grid needs at least two finite edges in quarter notes, each later than the one before")
        if len(edges) - 1 > MOST_FRAMES:
            raise AurlError(f"{len(edges) - 1} beats or bars are too many for features; allowed: {MOST_FRAMES}")

    def __len__(self) -> int:
        return len(self.edges) - 1

    @classmethod
    def from_onsets(cls, onsets: NDArray[Any], end: float | None = None) -> Grid:
        """Frames that begin at ``onsets``.

        Args:
            onsets: (T,) quarter notes, increasing, for instance of annotated beats.
            end: where the last frame ends; None makes it as long as the one before it (a quarter note for a sole one).

        Raises:
            ValueError: no onsets, or they do not increase.
        """
        starts = np.asarray(onsets, dtype=np.float64)
        if starts.ndim != 1 or len(starts) == 0:
            raise ValueError("a grid needs at least one onset of a beat or bar")
        last = end if end is not None else starts[-1] + (starts[-1] - starts[-2] if len(starts) > 1 else 1.0)
        return cls(np.append(starts, last))


def grid_of(score: Any, level: Level) -> Grid:
    """The beats (quarter notes) or bars of a symusic score in ticks, up to the end of its last note.

    Raises:
        ValueError: another level.
        AurlError: more than ``MOST_FRAMES``.
    """
    if level not in LEVELS:
        raise ValueError(f"level={level} is unknown; allowed: {', '.join(LEVELS)}")
    end = end_of(score)
    return beat_grid(end) if level == "beat" else bar_grid(score, end)


def end_of(score: Any) -> float:
    """Quarter notes until the last note of a score ends; 0 without notes."""
    columns = [track.notes.numpy() for track in score.tracks if len(track.notes)]
    ends = [int((notes["time"].astype(np.int64) + notes["duration"]).max()) for notes in columns]
    return max(ends, default=0) / max(score.ticks_per_quarter, 1)


def beat_grid(end: float) -> Grid:
    """Quarter notes from 0 until ``end`` is covered, at least one.

    Raises:
        AurlError: more than ``MOST_FRAMES``.
    """
    count = max(int(np.ceil(end)), 1)
    _refuse_beyond(count, "beats")
    return Grid(np.arange(count + 1, dtype=np.float64))


def bar_grid(score: Any, end: float) -> Grid:
    """Bars from 0 until ``end`` (quarter notes) is covered, at least one.

    Raises:
        AurlError: more than ``MOST_FRAMES``.
    """
    return Grid(bar_edges(bar_sections(score), end))


def bar_edges(sections: list[tuple[int, int, int]], end: float) -> NDArray[np.float64]:
    """Bar lines of stretches of one metre, the last line at or after ``end`` (quarter notes)."""
    counts = bar_counts(sections, end)
    _refuse_beyond(sum(counts), "bars")
    lines = [start + _bar_units(n, d) * np.arange(count) for (start, n, d), count in zip(sections, counts, strict=True)]
    used = max(index for index, count in enumerate(counts) if count)
    start, numerator, denominator = sections[used]
    closing = start + _bar_units(numerator, denominator) * counts[used]
    return np.append(np.concatenate(lines), closing) / QUARTER_UNITS


def bar_counts(sections: list[tuple[int, int, int]], end: float) -> list[int]:
    """Bars of each stretch of one metre that begin before ``end`` (quarter notes); at least one in all."""
    stop = max(end * QUARTER_UNITS, 1.0)
    following = [*(start for start, _, _ in sections[1:]), np.inf]
    return [
        max(math.ceil((min(after, stop) - start) / _bar_units(numerator, denominator)), 0)
        for (start, numerator, denominator), after in zip(sections, following, strict=True)
    ]


def _bar_units(numerator: int, denominator: int) -> int:
    """Length of a bar in 256ths of a whole note."""
    return WHOLE_UNITS * numerator // denominator


def bar_sections(score: Any) -> list[tuple[int, int, int]]:
    """Stretches of one metre: (start in 256ths of a whole note, numerator, denominator), the first at 0.

    A piece without a metre at its start begins in 4/4; a repeated metre is left out; one in mid-bar waits for the next
    bar line; of two at one bar line the later holds. Every start is a whole number of bars after the one before.
    """
    quarter = max(score.ticks_per_quarter, 1)
    marks = [(mark.time / quarter, mark.numerator, mark.denominator) for mark in score.time_signatures]
    marks = [mark for mark in marks if mark[1] > 0 and mark[2] > 0 and WHOLE_UNITS % mark[2] == 0]
    marks.sort(key=lambda mark: mark[0])
    if not marks or marks[0][0] > 0:
        marks.insert(0, (0.0, *COMMON_TIME))
    steps = STEPS_PER_BEAT * max(mark[2] for mark in marks) / COMMON_TIME[1]  # in a quarter note
    settled: list[tuple[int, int, int]] = []
    for time, numerator, denominator in marks:
        if not settled:
            settled.append((0, numerator, denominator))
            continue
        start, *metre = settled[-1]
        if metre == [numerator, denominator]:
            continue
        bar = _bar_units(*metre)
        passed = max(int(time * steps) / steps * QUARTER_UNITS - start, 0.0)
        line = start + int(-(-passed // bar)) * bar
        if line == start:
            settled.pop()
            if settled and settled[-1][1:] == (numerator, denominator):
                continue
        settled.append((line, numerator, denominator))
    return settled


def _refuse_beyond(count: int, what: str) -> None:
    """Say that there are too many frames before memory is asked for them."""
    if count > MOST_FRAMES:
        raise AurlError(f"{count} {what} are too many for features; allowed: {MOST_FRAMES}")
