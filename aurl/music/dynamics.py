"""Velocities brought to a common level without flattening a piece: louder stays louder, equal stays equal.

A plain shift or factor would run into 1 and 127 and turn crescendi into plateaus. Here every distinct velocity gets an
integer of its own: the strictly rising sequence inside 1..127 that is nearest, in the sense of least squares weighted
by notes, to the shifted (and scaled) one, moved until the piece's mean is the target. Only where a piece has so many
velocities (about 80 or more) that the target could not be met, neighbours may join, two at most, and are counted.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from scipy.optimize import isotonic_regression
from symusic.core import ScoreTick

from aurl.music.note_arrays import FloatArray, IntArray, notes_of, with_notes

LOWEST, HIGHEST = 1, 127
"""Velocities of a sounding note."""
GAPS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Smallest distance between neighbouring velocities, in the order they are tried: below 1, two at most can join."""
CLOSE_ENOUGH = 0.5
"""Distance from the target mean up to which no smaller gap is tried."""
HALVINGS = 24
"""Of the interval in which the shift is looked for: finer than any mean of integers needs."""


class Velocity(str, Enum):
    """What is done to velocities."""

    keep = "keep"
    """Nothing."""
    normalise = "normalise"
    """The piece's mean becomes the target, its contour stays."""


def normalise_velocities(
    score: ScoreTick, mean: float, spread: float | None = None, drums: bool = True
) -> tuple[ScoreTick, dict[str, int], dict[str, float]]:
    """Move a piece's velocities to a target mean, all tracks by one map, so that their balance stays.

    Args:
        score: is not changed.
        mean: wanted mean over notes.
        spread: wanted standard deviation over notes; None keeps the piece's own.
        drums: whether drum tracks take part; without them they stay and do not count.

    Returns:
        The score; ``velocities_changed`` (notes) and ``velocity_levels_joined``; ``velocity_mean_before``,
        ``velocity_mean`` and ``velocity_spread``.

    Example:
        >>> normalise_velocities(score, mean=80)[2]["velocity_mean"]  # doctest: +SKIP
        80.1
    """
    notes = notes_of(score)
    chosen = np.ones(len(notes.time), dtype=bool) if drums else ~notes.drum
    if not chosen.any():
        return score, {"velocities_changed": 0}, {}
    old = np.clip(notes.velocity[chosen], LOWEST, HIGHEST)
    levels, place, weights = np.unique(old, return_inverse=True, return_counts=True)
    values = velocity_map(levels, weights, mean, spread)
    new = values[place]
    velocity = notes.velocity.copy()
    velocity[chosen] = new
    changed = int((velocity != notes.velocity).sum())
    measures = {
        "velocity_mean_before": float(old.mean()),
        "velocity_mean": float(new.mean()),
        "velocity_spread": float(new.std()),
    }
    if not changed:
        return score, {"velocities_changed": 0}, measures
    counts = {"velocities_changed": changed, "velocity_levels_joined": int((np.diff(values) == 0).sum())}
    return with_notes(score, notes._replace(velocity=velocity)), counts, measures


def velocity_map(levels: IntArray, weights: IntArray, mean: float, spread: float | None) -> IntArray:
    """New values for distinct velocities: rising, within 1..127, their weighted mean next to ``mean``.

    Values of K levels at least g apart are ``z + g * (0..K-1)`` for a sequence z from 1 that does not fall; the least
    squares solution is the isotonic regression of ``wanted - g * (0..K-1)``, cut to its range (Barlow et al.,
    Statistical Inference under Order Restrictions, 1972). The first of :data:`GAPS` that reaches the mean is taken;
    with a gap of 1 all values differ.

    Args:
        levels: distinct velocities, rising (K,).
        weights: notes at each (K,).
        mean: wanted weighted mean.
        spread: wanted standard deviation, approached as far as the gap allows; None keeps it.

    Returns:
        int64 (K,), not falling; no more than two levels share a value.

    Example:
        >>> velocity_map(np.array([10, 20, 20 + 1]), np.array([1, 1, 1]), 64, None)
        array([57, 67, 68])
    """
    share = weights / weights.sum()
    candidates = (_spaced(levels, share, mean, spread, gap) for gap in GAPS)
    best = next(candidates)
    for other in candidates:
        if abs(_mean(best, share) - mean) <= CLOSE_ENOUGH:
            break
        best = other
    return best


def _spaced(levels: IntArray, share: FloatArray, mean: float, spread: float | None, gap: float) -> IntArray:
    """The values for one gap, shifted until their mean is as near as it gets."""
    centre = float((levels * share).sum())
    own = float(np.sqrt(((levels - centre) ** 2 * share).sum()))
    factor = 1.0 if spread is None or own == 0.0 else spread / own
    steps = gap * np.arange(len(levels))
    roomy = isotonic_regression(factor * (levels - centre) - steps, weights=share).x

    def shifted(shift: float) -> IntArray:
        z = np.clip(roomy + shift, LOWEST, HIGHEST - steps[-1])
        return np.floor(z + steps + 0.5).astype(np.int64)

    low, high = LOWEST - float(roomy.max()) - 1.0, HIGHEST - float(roomy.min()) + 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean(shifted(middle), share) < mean else (low, middle)
    return min(shifted(low), shifted(high), key=lambda values: abs(_mean(values, share) - mean))


def _mean(values: IntArray, share: FloatArray) -> float:
    return float((values * share).sum())
