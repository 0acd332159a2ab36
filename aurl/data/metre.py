"""Time signatures as miditok settles them: which are kept, when they take effect, and the grid each one sets.

Used by encoder.py. miditok's rules, which these functions repeat in whole numbers: a time signature without a token is
dropped; a piece begins in 4/4 unless told otherwise; a repeated signature is dropped; one that comes in mid-bar waits
for the next bar line; of two at one bar line the later holds. Time is then resampled so that the metre with the finest
beat in the piece has ``positions_per_beat`` ticks a beat; where metres of other beats occur, their notes are moved to
the coarser grid of their own section.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from symusic.core import ScoreTick

COMMON_TIME = (4, 4)
QUARTER = 4
"""Denominator of a quarter note."""

IntArray = npt.NDArray[np.int64]


class Section(NamedTuple):
    """A stretch of one metre; all times in ticks of the resampled piece."""

    tick: int
    numerator: int
    denominator: int
    bar_ticks: int
    position_ticks: int

    def beat_ticks(self, positions_per_beat: int) -> int:
        """Ticks of one beat (a note of the denominator's value)."""
        return self.position_ticks * positions_per_beat


class Grids(NamedTuple):
    """Stretches of one position length, where a piece has several."""

    starts: IntArray
    steps: IntArray


class Metres(NamedTuple):
    """The metres of a piece.

    ``grids`` is None when every metre of the piece has the same beat, which leaves nothing to move after resampling.
    """

    ticks_per_quarter: int
    sections: tuple[Section, ...]
    grids: Grids | None

    def grid_of(self, times: IntArray) -> IntArray:
        """Index into ``grids`` for each time."""
        assert self.grids is not None
        return np.searchsorted(self.grids.starts[1:], times, side="right")

    def to_grid(self, times: IntArray) -> IntArray:
        """Times moved to the nearest position of their own section; halves go to the even one, as in numpy."""
        assert self.grids is not None
        at = self.grid_of(times)
        start, step = self.grids.starts[at], self.grids.steps[at]
        return (np.round((times - start) / step) * step + start).astype(np.int64)


def settle_metres(score: ScoreTick, known: AbstractSet[tuple[int, int]], positions_per_beat: int) -> Metres:
    """The metres that the tokens of ``score`` will have.

    Args:
        score: a score in ticks, its time signatures sorted by time.
        known: (numerator, denominator) of every metre with a token.
        positions_per_beat: grid of the tokenizer.
    """
    marks = [(mark.time, mark.numerator, mark.denominator) for mark in score.time_signatures]
    marks = [mark for mark in marks if mark[1:] in known]
    if not marks or marks[0][0] != 0:
        marks.insert(0, (0, *COMMON_TIME))
    finest = max(mark[2] for mark in marks)
    ticks_per_quarter = positions_per_beat * finest // QUARTER
    if len(marks) > 1:
        factor = ticks_per_quarter / score.ticks_per_quarter  # cut, not rounded, as in miditok
        scaled = [(int(time * factor), numerator, denominator) for time, numerator, denominator in marks]
        marks = _on_bar_lines(scaled, ticks_per_quarter)
    sections = tuple(Section(time, n, d, _bar_ticks(n, d, ticks_per_quarter), finest // d) for time, n, d in marks)
    steps = {section.position_ticks for section in sections}
    return Metres(ticks_per_quarter, sections, _grids(sections) if len(steps) > 1 else None)


def _bar_ticks(numerator: int, denominator: int, ticks_per_quarter: int) -> int:
    return ticks_per_quarter * QUARTER // denominator * numerator


def _on_bar_lines(marks: list[tuple[int, int, int]], ticks_per_quarter: int) -> list[tuple[int, int, int]]:
    """Drop repetitions and delay every mark to a bar line; the later of two at one line holds."""
    settled: list[tuple[int, int, int]] = []
    for time, numerator, denominator in marks:
        if not settled:
            settled.append((time, numerator, denominator))
            continue
        before = settled[-1]
        if (numerator, denominator) == before[1:]:
            continue
        bar = _bar_ticks(before[1], before[2], ticks_per_quarter)
        line = before[0] + -(-max(time - before[0], 0) // bar) * bar
        if line == before[0]:
            settled.pop()
            if settled and settled[-1][1:] == (numerator, denominator):
                continue
        settled.append((line, numerator, denominator))
    return settled


def _grids(sections: tuple[Section, ...]) -> Grids:
    """Stretches of equal position length, neighbours of the same length joined."""
    joined = [sections[0]]
    for section in sections[1:]:
        if section.position_ticks != joined[-1].position_ticks:
            joined.append(section)
    return Grids(
        np.array([section.tick for section in joined]), np.array([section.position_ticks for section in joined])
    )
