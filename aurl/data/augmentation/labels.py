"""Labels that move along when music is transposed: pitch classes, keys, and pitch-indexed features; chords are moved by
:func:`aurl.music.chord_arrays.transpose_chords`.

Pure functions of arrays and a shift. A batch says by how much each of its segments was shifted
(``PackedBatch.shifts``) and which token of the piece each of its tokens came from (``PackedBatch.source``), so a label
array that lies beside the tokens of a piece is moved along by
``transpose_pitch_classes(labels[source], shift)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PITCH_CLASSES = 12


def transpose_pitch_classes(values: npt.NDArray[np.integer], shift: int | npt.ArrayLike) -> npt.NDArray[Any]:
    """Pitch classes (root, bass, tonic) moved by ``shift`` semitones; negative values mean "none" and stay.

    Args:
        values: pitch classes 0 to 11 of any shape and integer type.
        shift: semitones, a number or an array that broadcasts.

    Returns:
        The same shape and type.

    Raises:
        ValueError: a value above 11.

    Example:
        >>> transpose_pitch_classes(np.array([0, 7, -1]), 5).tolist()
        [5, 0, -1]
    """
    if values.size and values.max() >= PITCH_CLASSES:
        raise ValueError(f"pitch classes are 0 to 11 (negative: none), got {int(values.max())}")
    moved = (values.astype(np.int64) + np.asarray(shift, np.int64)) % PITCH_CLASSES
    return np.where(values < 0, values, moved).astype(values.dtype)


def transpose_keys(keys: npt.NDArray[np.integer], shift: int | npt.ArrayLike) -> npt.NDArray[Any]:
    """Keys 0 to 23 (major keys by tonic, then minor keys by tonic) moved by ``shift``; negative: none.

    Example:
        >>> transpose_keys(np.array([0, 21, -1]), 4).tolist()
        [4, 13, -1]
    """
    mode = np.where(keys < 0, 0, keys // PITCH_CLASSES)
    tonic = transpose_pitch_classes(np.where(keys < 0, keys, keys % PITCH_CLASSES), shift)
    return (tonic + mode * PITCH_CLASSES).astype(keys.dtype)


def transpose_chroma(chroma: npt.NDArray[Any], shift: int, axis: int = -1) -> npt.NDArray[Any]:
    """Features by pitch class, rotated.

    Raises:
        ValueError: the axis does not have 12 entries.
    """
    if chroma.shape[axis] != PITCH_CLASSES:
        raise ValueError(f"a chroma axis has 12 entries, got {chroma.shape[axis]}")
    return np.roll(chroma, shift, axis=axis)


def transpose_pitch_axis(roll: npt.NDArray[Any], shift: int, axis: int = -1) -> npt.NDArray[Any]:
    """Features by MIDI pitch (piano roll, onsets, velocities) moved; what leaves the range is gone, zeros come in."""
    size = roll.shape[axis]
    moved = np.zeros_like(roll)
    step = max(-size, min(size, shift))
    source = [slice(None)] * roll.ndim
    target = [slice(None)] * roll.ndim
    source[axis] = slice(max(0, -step), size - max(0, step))
    target[axis] = slice(max(0, step), size - max(0, -step))
    moved[tuple(target)] = roll[tuple(source)]
    return moved
