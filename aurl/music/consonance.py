"""How rough what sounds together is: intervals between pitch classes, and how consonant listeners find them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CONSONANCE = (-1.428, -0.582, 0.594, 0.386, 1.240, -0.453)
"""Perceived consonance of interval classes 1 to 6: Huron (1994), "Interval-class content in equally tempered
pitch-class sets" (mean of three listening studies, standardised)."""
INTERVAL_CLASSES = len(CONSONANCE)


def interval_classes(chroma: NDArray[Any]) -> NDArray[np.float64]:
    """Pairs of different sounding pitch classes of each interval class, semitone to tritone.

    Args:
        chroma: (S, 12) above 0 where a class sounds.

    Returns:
        (S, 6) number of pairs.

    Example:
        >>> interval_classes(np.eye(12)[[0]] + np.eye(12)[[4]] + np.eye(12)[[7]]).tolist()  # a major triad
        [[0.0, 0.0, 1.0, 1.0, 1.0, 0.0]]
    """
    present = (np.asarray(chroma) > 0).astype(np.float64)
    classes = range(1, INTERVAL_CLASSES + 1)
    counts = np.stack([(present * np.roll(present, -gap, axis=1)).sum(axis=1) for gap in classes], axis=1)
    counts[:, -1] /= 2  # a tritone meets itself again after half an octave
    return counts


def roughness(chroma: NDArray[Any]) -> NDArray[np.float64]:
    """Minus the mean consonance over the pairs of sounding pitch classes (S,); NaN with fewer than two classes.

    Args:
        chroma: (S, 12) above 0 where a class sounds.
    """
    counts = interval_classes(chroma)
    pairs = counts.sum(axis=1)
    mean: NDArray[np.float64] = np.full(len(counts), np.nan)
    return np.divide(-(counts @ np.array(CONSONANCE)), pairs, out=mean, where=pairs > 0)
