"""Statistics of a four-part chorale: what theory books ask of a setting, counted; and the band of a set of pieces.

Everything is counted on the chords and notes of :mod:`aurl.evaluation.voices`. Percentages are 0 to 100; a statistic
that a piece cannot have (a cadence share without a cadence) is NaN and left out of bands. There is no judgement here:
the band of held-out music is the measure.

Axes: C chords, V voices (soprano, alto, tenor, bass).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aurl.evaluation.voices import SILENT, UNITS_PER_QUARTER, Chords, Voices, read_voices

if TYPE_CHECKING:
    from symusic.core import ScoreTick

VOICE_NAMES = ("soprano", "alto", "tenor", "bass")
OCTAVE, FIFTH, WHOLE_TONE = 12, 7, 2
DISSONANT_CLASSES = (1, 2, 6, 10, 11)
"""Seconds, sevenths and the tritone, in semitones modulo an octave."""
REST_QUARTERS = 1.5
"""A chord held this long without any voice moving is taken as a point of rest (the end of a phrase)."""
SIMILAR_SHARE = 0.8
"""Two bars are similar when this share of their sixteenths times voices has the same pitch."""
INSIDE_SHARE = 0.75
"""Share of pieces that must lie inside a 90 % band before a set of pieces is said to."""
GRID_UNITS = UNITS_PER_QUARTER // 4
PERCENT = 100.0

# Pitch-class profiles, tonic first: Albrecht and Shanahan (2013), "The use of large corpora to train a new type of
# key-finding algorithm".
MAJOR_PROFILE = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR_PROFILE = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)
MAJOR_SCALE = frozenset({0, 2, 4, 5, 7, 9, 11})
MINOR_SCALE = frozenset({0, 2, 3, 5, 7, 8, 9, 10, 11})
"""Natural minor with the raised sixth and the leading tone."""


class Key(NamedTuple):
    """An estimated key."""

    tonic: int
    """Pitch class, C is 0."""
    minor: bool

    @property
    def scale(self) -> frozenset[int]:
        """Pitch classes that belong to the key; in minor the leading tone and the raised sixth too."""
        steps = MINOR_SCALE if self.minor else MAJOR_SCALE
        return frozenset((self.tonic + step) % OCTAVE for step in steps)


def piece_statistics(score: ScoreTick) -> dict[str, float]:
    """All statistics of one score, by name; see :func:`voice_statistics`."""
    return voice_statistics(read_voices(score))


def voice_statistics(voices: Voices) -> dict[str, float]:
    """All statistics of a piece in four voices, by name, in a fixed order.

    Ranges are MIDI pitches, spacing is semitones, note lengths are quarter notes, ``_percent`` is 0 to 100.
    """
    values: dict[str, float] = {}
    parts: tuple[Callable[[Voices], dict[str, float]], ...] = (
        ranges,
        spacing,
        parallels,
        cadences,
        pitches,
        rhythm,
        repetition,
    )
    for part in parts:
        values.update(part(voices))
    return values


def ranges(voices: Voices) -> dict[str, float]:
    """Lowest and highest pitch of each voice."""
    values = {}
    for name, notes in zip(VOICE_NAMES, voices.notes, strict=True):
        values[f"{name}_lowest"] = float(notes.pitch.min()) if len(notes.pitch) else math.nan
        values[f"{name}_highest"] = float(notes.pitch.max()) if len(notes.pitch) else math.nan
    return values


def spacing(voices: Voices) -> dict[str, float]:
    """Distances of neighbouring voices, gaps of over an octave between upper voices, crossings; weighted by length."""
    chords = voices.chords
    values = {}
    for upper, lower in ((0, 1), (1, 2), (2, 3)):
        both = (chords.pitch[:, [upper, lower]] != SILENT).all(axis=1)
        gap, weight = chords.pitch[both, upper] - chords.pitch[both, lower], chords.length[both]
        pair = f"{VOICE_NAMES[upper]}_{VOICE_NAMES[lower]}"
        values[f"{pair}_spacing"] = _mean(gap, weight)
        if lower < len(VOICE_NAMES) - 1:
            values[f"{pair}_wide_percent"] = PERCENT * _mean(gap > OCTAVE, weight)
    full = _full(chords)
    crossed = (np.diff(chords.pitch[full], axis=1) > 0).any(axis=1)
    values["crossed_percent"] = PERCENT * _mean(crossed, chords.length[full])
    values["four_voices_percent"] = PERCENT * _mean(full, chords.length)
    return values


def parallels(voices: Voices) -> dict[str, float]:
    """Parallel fifths and octaves (unisons too) per 100 chords: two voices move the same way and keep the interval."""
    chords = voices.chords
    counts = {FIFTH: 0, 0: 0}
    moves = np.sign(np.diff(chords.pitch, axis=0))  # (C - 1, V)
    heard = (chords.pitch[1:] != SILENT) & (chords.pitch[:-1] != SILENT)
    for upper, lower in combinations(range(chords.pitch.shape[1]), 2):
        together = heard[:, upper] & heard[:, lower] & (moves[:, upper] == moves[:, lower]) & (moves[:, upper] != 0)
        interval = (chords.pitch[:, upper] - chords.pitch[:, lower]) % OCTAVE
        for wanted in counts:
            counts[wanted] += int((together & (interval[1:] == wanted) & (interval[:-1] == wanted)).sum())
    struck = int(chords.struck.any(axis=1).sum())
    return {
        "parallel_fifths_per_100_chords": _ratio(PERCENT * counts[FIFTH], struck),
        "parallel_octaves_per_100_chords": _ratio(PERCENT * counts[0], struck),
    }


def cadences(voices: Voices) -> dict[str, float]:
    """Points of rest: how many, how many are root-position triads, and how they are approached."""
    chords = voices.chords
    rests = np.flatnonzero(_full(chords) & (chords.length >= REST_QUARTERS * UNITS_PER_QUARTER))
    key = nearest_key(voices)
    kinds = [cadence_kind(chords, int(index), key) for index in rests]
    triads = sum(is_root_triad(chords.pitch[index]) for index in rests)
    last = len(chords.start) - 1
    ends_well = float(is_root_triad(chords.pitch[last])) if last >= 0 and voices.ends_here else math.nan
    return {
        "rests_per_16_bars": 16 * len(rests) / voices.bars,
        "rest_triad_percent": PERCENT * _ratio(triads, len(rests)),
        "authentic_percent": PERCENT * _ratio(kinds.count("authentic"), len(rests)),
        "half_percent": PERCENT * _ratio(kinds.count("half"), len(rests)),
        "plagal_percent": PERCENT * _ratio(kinds.count("plagal"), len(rests)),
        "ending_triad_percent": PERCENT * ends_well,
    }


def cadence_kind(chords: Chords, index: int, key: Key) -> str:
    """How the chord at ``index`` is reached: authentic (dominant with leading tone), plagal, half or other."""
    if not is_root_triad(chords.pitch[index]):
        return "other"
    root = int(chords.pitch[index, -1]) % OCTAVE
    if index:
        before = {int(pitch) % OCTAVE for pitch in chords.pitch[index - 1] if pitch != SILENT}
        bass = int(chords.pitch[index - 1, -1])
        step = (bass - root) % OCTAVE if bass != SILENT else -1
        if step == FIFTH and (root + 11) % OCTAVE in before:
            return "authentic"
        if step == 5 and ((root + 9) % OCTAVE in before or (root + 8) % OCTAVE in before) and root == key.tonic:
            return "plagal"
    return "half" if root == (key.tonic + FIFTH) % OCTAVE else "other"


def is_root_triad(pitch: np.ndarray) -> bool:
    """Whether pitches (V,) are a major or minor triad over its root; the fifth may be missing, the third not."""
    if (pitch == SILENT).any():
        return False
    above = {int(value) % OCTAVE for value in pitch - pitch[-1]}
    return (4 in above) != (3 in above) and above <= {0, 3, 4, FIFTH}


def pitches(voices: Voices) -> dict[str, float]:
    """Share of sounding time in the estimated key, dissonant chords, and melodic steps."""
    scale = np.array(sorted(nearest_key(voices).scale))
    pitch = np.concatenate([notes.pitch for notes in voices.notes])
    length = np.concatenate([notes.length for notes in voices.notes])
    chords = voices.chords
    full = _full(chords)
    dissonant = np.zeros(int(full.sum()), dtype=bool)
    for upper, lower in combinations(range(chords.pitch.shape[1]), 2):
        dissonant |= np.isin((chords.pitch[full, upper] - chords.pitch[full, lower]) % OCTAVE, DISSONANT_CLASSES)
    steps = np.abs(np.concatenate([np.diff(notes.pitch) for notes in voices.notes]))
    return {
        "in_key_percent": PERCENT * _mean(np.isin(pitch % OCTAVE, scale), length),
        "dissonant_percent": PERCENT * _mean(dissonant, chords.length[full]),
        "step_percent": PERCENT * _mean(steps <= WHOLE_TONE, np.ones(len(steps))),
    }


def nearest_key(voices: Voices) -> Key:
    """The key whose profile is nearest (Euclidean) to the sounding time of each pitch class; C major for silence.

    Chorales are measured against these two profiles of their own; for other music :func:`aurl.music.keys.estimate_key`.
    """
    heard = np.zeros(OCTAVE)
    for notes in voices.notes:
        np.add.at(heard, notes.pitch % OCTAVE, notes.length)
    heard /= max(heard.sum(), 1.0)
    distances = {
        Key(tonic, minor): float(np.square(heard - np.roll(profile, tonic)).sum())
        for minor, profile in ((False, MAJOR_PROFILE), (True, MINOR_PROFILE))
        for tonic in range(OCTAVE)
    }
    return min(distances, key=lambda key: distances[key])


def rhythm(voices: Voices) -> dict[str, float]:
    """Note lengths in quarters and chords per bar."""
    quarters = np.concatenate([notes.length for notes in voices.notes]) / UNITS_PER_QUARTER
    ones = np.ones(len(quarters))
    return {
        "note_length_mean": _mean(quarters, ones),
        "sixteenths_percent": PERCENT * _mean(quarters <= 0.25, ones),
        "eighths_percent": PERCENT * _mean(quarters == 0.5, ones),
        "quarters_percent": PERCENT * _mean(quarters == 1.0, ones),
        "halves_or_longer_percent": PERCENT * _mean(quarters >= 2.0, ones),
        "chords_per_bar": float(voices.chords.struck.any(axis=1).sum()) / voices.bars,
    }


def repetition(voices: Voices) -> dict[str, float]:
    """Share of bars that equal, or nearly equal, an earlier bar in all voices."""
    grids = [grid for grid in bar_grids(voices) if (grid != SILENT).any()]
    equal = similar = 0
    for index, grid in enumerate(grids):
        alike = [float((grid == earlier).mean()) for earlier in grids[:index] if earlier.shape == grid.shape]
        equal += any(share == 1.0 for share in alike)
        similar += any(share >= SIMILAR_SHARE for share in alike)
    return {
        "repeated_bars_percent": PERCENT * _ratio(equal, len(grids)),
        "similar_bars_percent": PERCENT * _ratio(similar, len(grids)),
    }


def bar_grids(voices: Voices) -> list[np.ndarray]:
    """For each bar the sounding pitch at every sixteenth: (sixteenths, V)."""
    chords = voices.chords
    grids = []
    for begin, end in zip(voices.bar_starts[:-1], voices.bar_starts[1:], strict=True):
        times = np.arange(begin, end, GRID_UNITS)
        index = np.searchsorted(chords.start, times, side="right") - 1
        sounds = (
            (index >= 0) & (chords.start[index] + chords.length[index] > times)
            if len(chords.start)
            else np.zeros(len(times), bool)
        )
        grid = np.full((len(times), len(voices.notes)), SILENT, dtype=np.int64)
        grid[sounds] = chords.pitch[index[sounds]]
        grids.append(grid)
    return grids


def band(table: Sequence[Mapping[str, float]], low: float = 5, high: float = 95) -> dict[str, tuple[float, float]]:
    """The range of each statistic over pieces, from percentile ``low`` to ``high``; NaN are left out.

    Raises:
        ValueError: the table is empty.
    """
    if not table:
        raise ValueError("a band needs at least one piece, got none")
    limits = {}
    for name in table[0]:
        values = finite(table, name)
        limits[name] = (
            (float(np.percentile(values, low)), float(np.percentile(values, high)))
            if len(values)
            else (math.nan, math.nan)
        )
    return limits


@dataclass(frozen=True)
class Comparison:
    """One statistic of two sets of pieces."""

    name: str
    low: float
    """Percentile 5 of the held-out pieces."""
    middle: float
    """Their median."""
    high: float
    """Percentile 95."""
    usual: float
    """Mean of the held-out pieces: where events are rare, bands hold zero and means tell more."""
    median: float
    """Median of the other pieces."""
    mean: float
    """Their mean."""
    share: float
    """Share of them inside the band; held-out pieces themselves have about 0.9."""

    @property
    def verdict(self) -> str:
        """inside: median in the band and most pieces too; wide: only the median; outside: not even that."""
        if not self.low <= self.median <= self.high:
            return "outside"
        return "inside" if self.share >= INSIDE_SHARE else "wide"


def compare(held_out: Sequence[Mapping[str, float]], others: Sequence[Mapping[str, float]]) -> list[Comparison]:
    """Every statistic of ``others`` against the band of ``held_out``; a statistic that no piece has is NaN and outside.

    Raises:
        ValueError: one of the tables is empty.
    """
    if not others:
        raise ValueError("a comparison needs at least one piece, got none")
    rows = []
    for name, (low, high) in band(held_out).items():
        values, reference = finite(others, name), finite(held_out, name)
        middle, usual = (
            (float(np.median(reference)), float(reference.mean())) if len(reference) else (math.nan, math.nan)
        )
        median, mean = (float(np.median(values)), float(values.mean())) if len(values) else (math.nan, math.nan)
        rows.append(Comparison(name, low, middle, high, usual, median, mean, share_inside(values, (low, high))))
    return rows


def finite(table: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """One statistic of all pieces, without the pieces that cannot have it."""
    values = np.array([row[name] for row in table], dtype=np.float64)
    return values[np.isfinite(values)]


def share_inside(values: np.ndarray, limits: tuple[float, float]) -> float:
    """Share of values inside the limits, both included; NaN when there are none."""
    return _ratio(int(((values >= limits[0]) & (values <= limits[1])).sum()), len(values))


def _full(chords: Chords) -> np.ndarray:
    """(C,) bool: every voice sounds."""
    return (chords.pitch != SILENT).all(axis=1)


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    """Weighted mean; NaN without weight."""
    total = float(np.sum(weights))
    return float(np.sum(np.asarray(values, dtype=np.float64) * weights)) / total if total else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
