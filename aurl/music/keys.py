"""Keys: what a key signature is called, and which key the notes suggest.

The estimate is the classic one: the pitch-class profile of a piece is correlated with a profile of each of the 24 keys
(Krumhansl 1990, Cognitive Foundations of Musical Pitch, chapter 4); the best correlation wins. It knows no modulation
and takes a piece for its commonest key; relative keys (C major, A minor) are its usual mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

PITCH_CLASSES = 12
FIFTH = 7
RELATIVE_MINOR = 9
"""Semitones from the tonic of a major key up to that of its relative minor."""
MAJOR_TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MINOR_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
KEY_NAMES: tuple[str, ...] = tuple(
    [f"{tonic} major" for tonic in MAJOR_TONICS] + [f"{tonic} minor" for tonic in MINOR_TONICS]
)
"""Names of the 24 keys, major ones from C upwards, then minor ones."""

PROFILES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "krumhansl-kessler": (
        (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    ),
    "temperley": (
        (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
        (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
    ),
    "aarden-essen": (
        (17.77, 0.15, 14.93, 0.16, 19.80, 11.36, 0.29, 22.06, 0.15, 8.15, 0.23, 4.95),
        (18.26, 0.74, 14.05, 16.86, 0.70, 14.44, 0.70, 18.62, 4.57, 1.93, 7.38, 1.76),
    ),
}
"""Major and minor profile from the tonic upwards. krumhansl-kessler: how well a tone fits, say listeners (Krumhansl
and Kessler 1982, Psychological Review 89). temperley: in how many passages of the Kostka-Payne textbook each tone
occurs (Temperley 2001, The Cognition of Basic Musical Structures; table in Music and Probability, 2007). aarden-essen:
percent of the tones of the Essen folk songs (Aarden 2003, Dynamic Melodic Expectancy, thesis, Ohio State University).
"""
DEFAULT_PROFILE = "aarden-essen"
"""Names the key most often, see experiments/key_estimate."""


@dataclass(frozen=True)
class KeyEstimate:
    """The key whose profile fits best."""

    name: str
    """One of ``KEY_NAMES``."""
    correlation: float
    """Pearson's r with its profile, -1 to 1; below about 0.6 the music is hardly in a key."""
    margin: float
    """How much better it fits than the next key, 0 to 2."""


def estimate_key(pitch_classes: ArrayLike, profile: str = DEFAULT_PROFILE) -> KeyEstimate | None:
    """The key that a pitch-class profile suggests.

    Args:
        pitch_classes: (12,) weight of each pitch class, C first, for instance the time that it sounds.
        profile: a key of ``PROFILES``.

    Returns:
        The estimate; None where nothing sounds or all classes weigh the same.

    Raises:
        ValueError: another profile, or not twelve weights.

    Example:
        >>> estimate_key([4, 0, 2, 0, 3, 2, 0, 4, 0, 2, 0, 1]).name
        'C major'
    """
    if profile not in PROFILES:
        raise ValueError(f"profile={profile} is unknown; allowed: {', '.join(PROFILES)}")
    weights = np.asarray(pitch_classes, dtype=np.float64)
    if weights.shape != (PITCH_CLASSES,):
        raise ValueError(f"pitch classes of shape {weights.shape}; a profile has {PITCH_CLASSES} weights")
    centred = weights - weights.mean()
    size = float(np.linalg.norm(centred))
    if size <= np.finfo(np.float64).eps * PITCH_CLASSES * max(float(np.abs(weights).max()), 1.0):
        return None
    fits = _key_table(profile) @ centred / size  # (24,) correlations
    second, best = np.argsort(fits)[-2:]
    return KeyEstimate(KEY_NAMES[best], float(fits[best]), float(fits[best] - fits[second]))


@cache
def _key_table(profile: str) -> NDArray[np.float64]:
    """The profiles of all 24 keys, centred, of length 1 (24, 12)."""
    rows = np.array([np.roll(shape, tonic) for shape in PROFILES[profile] for tonic in range(PITCH_CLASSES)])
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def signature_name(accidentals: int, is_minor: bool) -> str:
    """The key of a key signature.

    Args:
        accidentals: sharps (above 0) or flats (below 0).
        is_minor: whether it is declared as minor.

    Example:
        >>> signature_name(-3, True), signature_name(2, False)
        ('C minor', 'D major')
    """
    tonic = (FIFTH * accidentals + (RELATIVE_MINOR if is_minor else 0)) % PITCH_CLASSES
    return KEY_NAMES[tonic + (PITCH_CLASSES if is_minor else 0)]
