"""Random numbers as a pure function of what they are for, for whole arrays at once.

A key is a 64-bit number hashed from (seed, epoch, piece); further hashing with the number of a purpose or of a token
gives independent values. No state, so no order of drawing, number of processes or resumption can change a draw.
The hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014). Axis legend: P pieces.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
WORD = 2**64 - 1
MANTISSA_SHIFT = np.uint64(11)
"""A double has 53 bits of precision; the upper ones of a 64-bit word are used."""


def mixed(words: npt.ArrayLike) -> Keys:
    """SplitMix64's finaliser, element by element; a single number gives an array of one."""
    word = np.atleast_1d(np.asarray(words, np.uint64)) + GOLDEN
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(word ^ (word >> np.uint64(31)), np.uint64)


def piece_keys(seed: int, epoch: int, pieces: npt.ArrayLike) -> Keys:
    """A key for each piece in an epoch, (P,)."""
    base = mixed(mixed(np.array([seed & WORD], np.uint64)) ^ np.uint64(epoch & WORD))
    return mixed(base ^ mixed(np.asarray(pieces, np.int64).astype(np.uint64)))


def hashed(keys: Keys, numbers: npt.ArrayLike) -> Keys:
    """New keys from keys and non-negative numbers (a purpose, a token's index), broadcast against each other."""
    return mixed(keys ^ mixed(np.asarray(numbers).astype(np.uint64)))


def uniforms(keys: Keys) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1), one for each key.

    Example:
        >>> bool((uniforms(piece_keys(0, 0, range(5))) == uniforms(piece_keys(0, 0, [0, 1, 2, 3, 4]))).all())
        True
    """
    return np.asarray((keys >> MANTISSA_SHIFT) * 2.0**-53, np.float64)


def normals(keys: Keys) -> npt.NDArray[np.float64]:
    """Standard normal numbers, one for each key (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniforms(keys)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniforms(mixed(keys))), np.float64)
