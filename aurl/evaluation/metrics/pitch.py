"""Which pitches are used: counts, range, entropies, keys. Drums never count.

Names and definitions of the first group are MusPy's (Dong et al. 2020, muspy.metrics), equal to 1e-6 (see
experiments/metric_parity); two answers differ on purpose: a piece of drums alone has no pitch range (NaN; MusPy
says -127). None of these sees order: shuffled bars or permuted pitches change nothing.
"""

from __future__ import annotations

import math

import numpy as np

from aurl.evaluation.chorale import MAJOR_PROFILE, MAJOR_SCALE, MINOR_PROFILE, MINOR_SCALE
from aurl.evaluation.metrics.table import OCTAVE, PITCHES, Floats, Ints, Music, NoteTable, as_table

NATURAL_MINOR = (0, 2, 3, 5, 7, 8, 10)
MAJOR_STEPS = tuple(sorted(MAJOR_SCALE))
MODES = {"major": MAJOR_STEPS, "minor": NATURAL_MINOR}
KEY_WINDOW_BARS = 4
"""Bars in which one key is taken to hold."""


def n_pitches_used(music: Music) -> float:
    """Number of different pitches (MusPy; mgeval calls it total_used_pitch)."""
    return float(np.count_nonzero(pitch_counts(music)))


def n_pitch_classes_used(music: Music) -> float:
    """Number of different pitch classes (MusPy)."""
    return float(np.count_nonzero(pitch_class_counts(music)))


def pitch_range(music: Music) -> float:
    """Highest minus lowest pitch in semitones (MusPy, mgeval); NaN without pitched notes."""
    used = np.flatnonzero(pitch_counts(music))
    return float(used[-1] - used[0]) if len(used) else math.nan


def pitch_entropy(music: Music) -> float:
    """Entropy of the pitches of notes, in bits (MusPy)."""
    return entropy(pitch_counts(music))


def pitch_class_entropy(music: Music) -> float:
    """Entropy of the pitch classes of notes, in bits, 0 to 3.58 (MusPy, MMT).

    Example:
        >>> pitch_class_entropy(score)  # doctest: +SKIP
        2.73
    """
    return entropy(pitch_class_counts(music))


def pitch_in_scale_rate(music: Music, root: int, mode: str) -> float:
    """Share of notes in one scale (MusPy).

    Args:
        music: the piece.
        root: pitch class of the tonic, C is 0.
        mode: major or minor (natural).

    Raises:
        ValueError: unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode} is unknown; allowed: {', '.join(MODES)}")
    counts = pitch_class_counts(music)
    inside = counts[(np.array(MODES[mode]) + root) % OCTAVE].sum()
    return float(inside / counts.sum()) if counts.sum() else math.nan


def scale_consistency(music: Music) -> float:
    """Largest share of notes in any major or natural minor scale (MusPy, MMT)."""
    # A natural minor scale holds the pitch classes of its relative major: twelve scales are all.
    return max(pitch_in_scale_rate(music, root, "major") for root in range(OCTAVE))


def pitch_class_distribution(music: Music) -> Floats:
    """(12,) share of each pitch class among notes (mgeval's total_pitch_class_histogram); zeros without notes."""
    return shares(pitch_class_counts(music))


def relative_pitch_class_distribution(music: Music) -> Floats:
    """(12,) share of each pitch class counted from the tonic of the estimated key: comparable between keys."""
    table = as_table(music)
    tonic, _, _ = find_key(sounding_classes(table))
    return np.roll(pitch_class_distribution(table), -tonic)


def pitch_distribution(music: Music) -> Floats:
    """(128,) share of each MIDI pitch among notes."""
    return shares(pitch_counts(music))


def key_clarity(music: Music) -> float:
    """Correlation of the sounding time of pitch classes with the nearest key profile, -1 to 1.

    Profiles of Albrecht and Shanahan (2013); the maximum over keys is the key clarity of the MIR toolbox (Lartillot).
    Sees wrong notes and wandering keys together; a piece in two keys is not less tonal for it, see key_consistency.
    """
    return find_key(sounding_classes(as_table(music)))[2]


def out_of_key_share(music: Music) -> float:
    """Share of sounding time outside the scale that fits best, window by window of four bars.

    Scales are major and minor with both sixths and sevenths. Unlike scale_consistency it lets a piece modulate and a
    minor key have its leading tone; weights by length, so that passing notes count little.
    """
    windows = window_classes(as_table(music), KEY_WINDOW_BARS)
    total = windows.sum()
    if not total:
        return math.nan
    scales = np.array([_mask(steps, root) for steps in (MAJOR_SCALE, MINOR_SCALE) for root in range(OCTAVE)])
    return float(1 - (windows @ scales.T).max(axis=1).sum() / total)


def key_consistency(music: Music) -> float:
    """Cosine of neighbouring four-bar windows' pitch-class times, 0 to 1: near 1 where the tonal material stays."""
    windows = window_classes(as_table(music), KEY_WINDOW_BARS)
    windows = windows[windows.sum(axis=1) > 0]
    if len(windows) < 2:
        return math.nan
    unit = windows / np.linalg.norm(windows, axis=1, keepdims=True)
    return float((unit[1:] * unit[:-1]).sum(axis=1).mean())


def bar_pitch_class_entropy(music: Music, bars: int = 1) -> float:
    """Mean entropy of the pitch classes of notes in windows of ``bars`` bars, in bits: H1 and H4 of MusDr.

    Source: Wu and Yang (2020), "The Jazz Transformer on the front line". Windows do not overlap, and those without
    notes are left out (MusDr counts them as 0).
    """
    table = as_table(music)
    mine = table.pitched
    window = table.bar[mine] // bars
    counts = np.zeros((-(-table.bars // bars), OCTAVE))
    np.add.at(counts, (window, table.pitch[mine] % OCTAVE), 1)
    counts = counts[counts.sum(axis=1) > 0]
    if not len(counts):
        return math.nan
    return float(row_entropy(counts).mean())


def pitch_counts(music: Music) -> Floats:
    """(128,) notes of each pitch."""
    table = as_table(music)
    return np.bincount(table.pitch[table.pitched], minlength=PITCHES).astype(np.float64)


def pitch_class_counts(music: Music) -> Floats:
    """(12,) notes of each pitch class."""
    table = as_table(music)
    return np.bincount(table.pitch[table.pitched] % OCTAVE, minlength=OCTAVE).astype(np.float64)


def sounding_classes(table: NoteTable) -> Floats:
    """(12,) quarters that each pitch class sounds."""
    mine = table.pitched
    # without a note NumPy counts in whole numbers, weights or not
    return np.bincount(table.pitch[mine] % OCTAVE, weights=table.length[mine], minlength=OCTAVE).astype(np.float64)


def window_classes(table: NoteTable, bars: int) -> Floats:
    """(windows, 12) quarters that each pitch class sounds in notes that start in each window of ``bars`` bars."""
    mine = table.pitched
    counts = np.zeros((-(-table.bars // bars), OCTAVE))
    np.add.at(counts, (table.bar[mine] // bars, table.pitch[mine] % OCTAVE), table.length[mine])
    return counts


def find_key(classes: Floats) -> tuple[int, bool, float]:
    """The key whose profile correlates best with the time of each pitch class.

    Args:
        classes: (12,) sounding time.

    Returns:
        Tonic (C is 0), whether minor, correlation; NaN (and C major) where classes are all alike.
    """
    if not classes.std():
        return 0, False, math.nan
    profiles = np.array([np.roll(p, tonic) for p in (MAJOR_PROFILE, MINOR_PROFILE) for tonic in range(OCTAVE)])
    fit = _standard(profiles) @ _standard(classes[None])[0] / OCTAVE
    best = int(fit.argmax())
    return best % OCTAVE, best >= OCTAVE, float(fit[best])


def entropy(counts: Floats) -> float:
    """Shannon entropy of counts in bits; NaN when all are zero."""
    return float(row_entropy(counts[None])[0]) if counts.sum() else math.nan


def row_entropy(counts: Floats) -> Floats:
    """Entropy of each row in bits; every row has a positive sum."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    result: Floats = 0.0 - (share * logs).sum(axis=-1)  # not a minus sign, which would make a negative zero
    return result


def shares(counts: Floats) -> Floats:
    """Counts divided by their sum; zeros stay zeros."""
    return np.asarray(counts, dtype=np.float64) / max(float(counts.sum()), 1.0)


def histogram(values: Ints, bins: int) -> Floats:
    """(bins,) shares of whole numbers 0 to bins - 1."""
    return shares(np.bincount(values, minlength=bins).astype(np.float64))


def _mask(steps: frozenset[int], root: int) -> Floats:
    mask = np.zeros(OCTAVE)
    mask[[(step + root) % OCTAVE for step in steps]] = 1
    return mask


def _standard(rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=1, keepdims=True)
    result: Floats = centred / centred.std(axis=1, keepdims=True)
    return result
