"""Whether the bars of a file mean anything: does its music keep to the file's beats, or are they only a clock?

A recorded performance is often stored at a nominal tempo (120, 4/4) that has nothing to do with its beat: onsets then
fall anywhere in a quarter. Two measures say so, both from the places of the distinct onsets within the quarter:
the share off the grid, relative to what onsets at random would give, and the clarity of the beat, the greatest
length of the mean vector of the onsets' phases over a quarter and its divisions (1 on a grid, 0 at random). A third
case is music that keeps the beat but is moved against it as a whole; there the first measure falls once it is shifted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from symusic.core import ScoreTick

from aurl.music.metrical_grid import SIXTEENTHS, TRIPLETS
from aurl.music.note_arrays import FloatArray, notes_of

TOLERANCE = 1 / 48
"""Quarters around a grid position that count as on it (10 ms at 120 quarters a minute)."""
PHASES = 192
"""Places in a quarter that onsets are sorted into: what whole positions, tolerances and gaps are multiples of."""
DIVISIONS = np.array([1, 2, 3, 4, 6, 8, 12])
"""Of the quarter, in which a regular beat would show."""
CLARITY_OF_A_CLOCK = 0.3
"""Below it bars are a clock (measured in experiments/preprocessing_steps)."""
FEWEST_ONSETS = 64
"""Fewer onsets prove nothing: at random their clarity reaches 0.3 by itself."""
NOMINAL_QPM = 120.0
NOMINAL_METRE = (4, 4)
SAME_TEMPO = 0.01
"""Quarters a minute."""
OFF_BEAT_SHARE, SHIFTED_SHARE = 0.75, 0.5
"""A piece is moved against its beats if more than the first share is off the grid, and less than the second once it
is shifted."""


class Timing(NamedTuple):
    """How a piece lies on the beats of its file."""

    onsets: int
    """Distinct ones."""
    off_grid_share: float
    """Onsets farther than TOLERANCE from every sixteenth and triplet, relative to chance: 0 on the grid, about 1 at
    random."""
    off_grid_share_shifted: float
    """The same after the best constant shift."""
    grid_shift: float
    """That shift in quarters, -1/2 to 1/2: where the beats of the music lie after those of the file."""
    beat_clarity: float
    """0 to 1."""
    nominal_tempo: bool
    """One tempo of 120 or none, one metre of 4/4 or none."""

    @property
    def performed(self) -> bool:
        """Whether bars and beats of the file are a clock."""
        return self.onsets >= FEWEST_ONSETS and self.beat_clarity < CLARITY_OF_A_CLOCK

    @property
    def off_beat(self) -> bool:
        """Whether the music keeps a beat that lies beside the file's."""
        moved = self.off_grid_share > OFF_BEAT_SHARE and self.off_grid_share_shifted < SHIFTED_SHARE
        return moved and not self.performed and self.onsets >= FEWEST_ONSETS


def examine_timing(score: ScoreTick) -> Timing:
    """Measure how the onsets of a piece lie on its beats.

    Args:
        score: in ticks; not changed.

    Returns:
        The measures; of a score without notes, shares of 0 and a clarity of 1.

    Example:
        >>> examine_timing(ScoreTick(480)).performed
        False
    """
    onsets = np.unique(notes_of(score).time) / score.ticks_per_quarter
    nominal = has_nominal_tempo(score)
    if not len(onsets):
        return Timing(0, 0.0, 0.0, 0.0, 1.0, nominal)
    on_grid = _grid_mask()
    chance = 1.0 - float(on_grid.mean())
    phases = np.floor((onsets % 1.0) * PHASES + 0.5).astype(np.int64) % PHASES
    shares = np.bincount(phases, minlength=PHASES) / len(onsets)
    hits = np.fft.irfft(np.fft.rfft(shares) * np.conj(np.fft.rfft(on_grid.astype(float))), PHASES)
    best = int(np.argmax(np.where(hits > hits.max() - 1e-9, PHASES - np.abs(_signed(np.arange(PHASES))), -1)))
    clarity = np.abs(np.exp(2j * np.pi * np.outer(DIVISIONS, onsets)).mean(axis=1)).max()
    return Timing(
        onsets=len(onsets),
        off_grid_share=_share(hits[0], chance),
        off_grid_share_shifted=_share(hits[best], chance),
        grid_shift=float(_signed(np.array(best))) / PHASES,
        beat_clarity=float(min(clarity, 1.0)),
        nominal_tempo=nominal,
    )


def has_nominal_tempo(score: ScoreTick) -> bool:
    """Whether tempo and metre are those of a file that says nothing about either."""
    tempi = [tempo.qpm for tempo in score.tempos]
    metres = [(sign.numerator, sign.denominator) for sign in score.time_signatures]
    plain = not tempi or (len(tempi) == 1 and abs(tempi[0] - NOMINAL_QPM) < SAME_TEMPO)
    return plain and metres in ([], [NOMINAL_METRE])


def _grid_mask() -> FloatArray:
    """Which of the PHASES lie on a sixteenth or triplet."""
    place = np.arange(PHASES) / PHASES
    distances = [np.abs(place * steps - np.round(place * steps)) / steps for steps in (SIXTEENTHS, TRIPLETS)]
    return (np.min(distances, axis=0) <= TOLERANCE + 1e-9).astype(np.float64)


def _share(hits: float, chance: float) -> float:
    return max((1.0 - float(hits)) / chance, 0.0) if hits < 1.0 - 1e-9 else 0.0


def _signed(phase: np.ndarray) -> np.ndarray:
    """Phases from half a quarter before to half a quarter after."""
    return (phase + PHASES // 2) % PHASES - PHASES // 2
