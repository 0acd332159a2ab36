"""Where bars fall: the measures of a notation decide, not a guess from the notes.

- A first measure shorter than its metre is a pick-up: everything moves right by what is missing.
- Shorter measures that complete each other (either side of a repeat sign) are one bar.
- Any other measure whose length is not its metre's gets a metre of its own length, so that the next one begins a bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from symusic.core import ScoreTick

from aurl.music.marks import MAX_METRE_DENOMINATOR, MAX_METRE_NUMERATOR


@dataclass(frozen=True)
class Measure:
    """A measure as notated: onset and length in ticks, and the metre in force."""

    start: int
    length: int
    numerator: int
    denominator: int

    def full_length(self, ticks_per_quarter: int) -> int:
        """Length in ticks that its metre asks for."""
        return 4 * ticks_per_quarter * self.numerator // self.denominator


@dataclass(frozen=True)
class BarLayout:
    """Where bars fall: ``shift`` ticks are put before the first note; metres are (tick before the shift, n, d)."""

    shift: int
    metres: list[tuple[int, int, int]]


def lay_out_bars(measures: list[Measure], ticks_per_quarter: int) -> BarLayout | None:
    """Find the pick-up and the metres that make every notated measure begin on a bar line.

    Args:
        measures: in order, without gaps.
        ticks_per_quarter: ticks in a quarter note.

    Returns:
        The layout, or None for music without measures.

    Example:
        >>> measures = [Measure(0, 1, 3, 4), Measure(1, 3, 3, 4), Measure(4, 3, 3, 4)]
        >>> lay_out_bars(measures, 1)
        BarLayout(shift=2, metres=[(0, 3, 4)])
    """
    if not measures:
        return None
    shift = 0
    metres: list[tuple[int, int, int]] = []
    index = 0
    while index < len(measures):
        measure = measures[index]
        metre = (measure.numerator, measure.denominator)
        full = measure.full_length(ticks_per_quarter)
        count = _measures_in_bar(measures, index, full)
        is_last = index + count == len(measures)
        if count == 1 and measure.length < full and index == 0 and not is_last:
            shift = full - measure.length
        elif count == 1 and measure.length % full and not (is_last and measure.length < full):
            metre = _metre_of_length(measure.length, measure.denominator, ticks_per_quarter) or metre
        if not metres or metres[-1][1:] != metre:
            metres.append((measure.start if metres else 0, *metre))
        index += count
    return BarLayout(shift, metres)


def _measures_in_bar(measures: list[Measure], index: int, full: int) -> int:
    """How many measures from ``index`` on make one full bar; 1 when they do not add up."""
    total = 0
    for count, measure in enumerate(measures[index:], start=1):
        if measure.length >= full or measure.full_length(1) != measures[index].full_length(1):
            return 1
        total += measure.length
        if total >= full:
            return count if total == full else 1
    return 1


def _metre_of_length(length: int, denominator: int, ticks_per_quarter: int) -> tuple[int, int] | None:
    """The metre of ``length`` ticks with the coarsest denominator from ``denominator`` on, if there is one."""
    while denominator <= MAX_METRE_DENOMINATOR:
        numerator, rest = divmod(length * denominator, 4 * ticks_per_quarter)
        if rest == 0 and 1 <= numerator <= MAX_METRE_NUMERATOR:
            return numerator, denominator
        denominator *= 2
    return None


def shift_score(score: ScoreTick, ticks: int) -> None:
    """Move everything by ``ticks`` but metre, key and tempo at the very start."""
    if ticks == 0:
        return
    moving: list[Any] = [score.markers]
    for track in score.tracks:
        moving += [track.notes, track.controls, track.pitch_bends, track.pedals, track.lyrics]
    for events in moving:
        for event in events:
            event.time += ticks
    opening: list[Any] = [score.time_signatures, score.key_signatures, score.tempos]
    for events in opening:
        for event in events:
            if event.time > 0:
                event.time += ticks
