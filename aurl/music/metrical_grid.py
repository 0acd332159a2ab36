"""Grids that follow the metre: binary (sixteenths of a whole note) and ternary (three to the pulse), rounded to.

A pulse is a quarter note in metres over 1, 2 and 4, an eighth in those over 8, and so on, counted from the metre's
beginning. Bar lines and pulses belong to both grids, so a piece can change its grid at any pulse. In 6/8 the binary
grid is sixteenths and the ternary one sixteenth triplets: its own three eighths a beat are binary here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from symusic.core import ScoreTick

from aurl.music.note_arrays import FloatArray, IntArray

SIXTEENTHS = 4
"""In a quarter."""
TRIPLETS = 3
"""In a pulse."""
QUARTER = 4
"""Denominator of a quarter note."""
ROOMY_TICKS = 480
"""Ticks a quarter of a score whose own resolution does not hold the grid."""


class MetricalGrid(NamedTuple):
    """The pulses of a piece and how they are divided; times in ticks, S stretches of one metre."""

    starts: IntArray
    """First tick of each stretch (S,); on the grid of the stretch before."""
    pulses: IntArray
    """Ticks of a pulse (S,)."""
    binary: IntArray
    """Ticks of a binary step (S,); divides the pulse."""
    ternary: IntArray
    """Ticks of a ternary step (S,); divides the pulse."""
    first_cells: IntArray
    """Number of the stretch's first pulse, counted through the piece (S,)."""

    def stretch_of(self, times: FloatArray) -> IntArray:
        """Which stretch each time lies in."""
        return np.searchsorted(self.starts[1:], times, side="right")

    def cells(self, times: FloatArray) -> IntArray:
        """Number of the pulse that each time lies in."""
        at = self.stretch_of(times)
        return self.first_cells[at] + ((times - self.starts[at]) // self.pulses[at]).astype(np.int64)

    def steps(self, times: FloatArray, ternary: bool) -> IntArray:
        """Ticks between grid positions where each time lies."""
        return (self.ternary if ternary else self.binary)[self.stretch_of(times)]

    def nearest(self, times: FloatArray, ternary: bool) -> IntArray:
        """The grid position next to each time, never beyond the stretch; halves go up, so that order is kept."""
        at = self.stretch_of(times)
        step, start = self.steps(times, ternary), self.starts[at]
        rounded = start + np.floor((times - start) / step + 0.5).astype(np.int64) * step
        stop = np.append(self.starts[1:], np.iinfo(np.int64).max)[at]
        return np.minimum(rounded, stop)


def grid_resolution(score: ScoreTick, subdivide: int) -> int:
    """Ticks a quarter that hold every step of both grids: the score's own if they do, else 480.

    Args:
        score: any.
        subdivide: how many times finer than sixteenths and triplets the grid is.
    """
    finest = max((sign.denominator for sign in score.time_signatures), default=QUARTER)
    pulses = max(finest // QUARTER, 1)
    needed = int(np.lcm(SIXTEENTHS * subdivide, TRIPLETS * subdivide * pulses))
    own = int(score.ticks_per_quarter)
    if own % needed == 0:
        return own
    return ROOMY_TICKS if ROOMY_TICKS % needed == 0 else int(np.lcm(ROOMY_TICKS, needed))


def metrical_grid(score: ScoreTick, ticks_per_quarter: int, subdivide: int) -> tuple[MetricalGrid, IntArray]:
    """The grid of a score at a resolution that holds it, and where its time signatures come to lie.

    Args:
        score: its time signatures sorted by time; a metre begins a bar where it stands (moved to the grid before it).
        ticks_per_quarter: of the times that are asked about; see :func:`grid_resolution`.
        subdivide: 1 for sixteenths and triplets, 2 for half of these, and so on.

    Returns:
        The grid, and the ticks of ``score.time_signatures`` (K,) at the new resolution.
    """
    scale = ticks_per_quarter / score.ticks_per_quarter
    signs = [(sign.time * scale, sign.denominator) for sign in score.time_signatures]
    sixteenth = ticks_per_quarter // (SIXTEENTHS * subdivide)
    starts, denominators, places = [0], [QUARTER], []
    for time, denominator in signs:
        place = starts[-1] + int((time - starts[-1]) / sixteenth + 0.5) * sixteenth
        places.append(place)
        if place == starts[-1]:
            denominators[-1] = denominator
        else:
            starts.append(place)
            denominators.append(denominator)
    pulses = np.array([ticks_per_quarter * QUARTER // max(denominator, QUARTER) for denominator in denominators])
    begin = np.array(starts)
    counts = -(-np.diff(begin) // pulses[:-1])
    return (
        MetricalGrid(
            begin,
            pulses,
            np.minimum(sixteenth, pulses),
            pulses // (TRIPLETS * subdivide),
            np.concatenate([[0], np.cumsum(counts)]),
        ),
        np.array(places, dtype=np.int64),
    )
