"""Ticks to seconds and back, for arrays of times. One piecewise linear function; pure NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from symusic.core import ScoreTick

from aurl.music.note_arrays import FloatArray

DEFAULT_MSPQ = 500_000
"""Microseconds a quarter where no tempo is given, as in MIDI."""
MICROSECONDS = 1e6


class TempoMap(NamedTuple):
    """Stretches of one tempo, S of them, the first from tick 0."""

    ticks: FloatArray
    """Where each begins (S,)."""
    seconds: FloatArray
    """The same in seconds (S,)."""
    seconds_per_tick: FloatArray
    """(S,)."""

    def to_seconds(self, ticks: ArrayLike) -> FloatArray:
        """Playing times of these ticks."""
        at = np.asarray(ticks, dtype=np.float64)
        stretch = np.searchsorted(self.ticks[1:], at, side="right")
        return self.seconds[stretch] + (at - self.ticks[stretch]) * self.seconds_per_tick[stretch]


def tempo_map(score: ScoreTick) -> TempoMap:
    """The tempo map of a score; 120 quarters a minute before the first tempo, the last of several at one tick holds.

    Example:
        >>> float(tempo_map(ScoreTick(480)).to_seconds(960))
        1.0
    """
    columns = score.tempos.numpy()
    order = np.argsort(columns["time"], kind="stable")
    ticks = np.concatenate([[0.0], columns["time"][order].astype(np.float64)])
    mspq = np.concatenate([[DEFAULT_MSPQ], columns["mspq"][order]]).astype(np.float64)
    last = np.append(ticks[1:] > ticks[:-1], True)
    ticks, mspq = ticks[last], mspq[last]
    seconds_per_tick = mspq / MICROSECONDS / score.ticks_per_quarter
    seconds = np.concatenate([[0.0], np.cumsum(np.diff(ticks) * seconds_per_tick[:-1])])
    return TempoMap(ticks, seconds, seconds_per_tick)
