"""Chords beside tokens: one row of root, quality and bass a beat, small integers that transpose with the music.

Symbols that the file brings along win over chords heard in its notes; :func:`chord_arrays` says nothing of which it
took, :func:`aurl.music.chord_sources.chord_symbols` tells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.music.chord_detection import detect_chords
from aurl.music.chord_sources import ChordTrack, chord_symbols
from aurl.music.chords import NO_PITCH, OCTAVE, QUALITY_NUMBER

ROOT, QUALITY_COLUMN, BASS = 0, 1, 2
NO_CHORD_ROW = (NO_PITCH, QUALITY_NUMBER["N"], NO_PITCH)


def chord_arrays(score: ScoreTick, beat_onsets: NDArray[np.float64]) -> NDArray[np.int8]:
    r"""The chord of every beat: by the symbols in the file where it has any, else heard in the notes.

    Args:
        score: any score.
        beat_onsets: quarters at which beats begin, rising, ``(beats,)``.

    Returns:
        int8 ``(beats, 3)``: root (-1 none, 0 C to 11 B), quality (place in
        :data:`aurl.music.chords.QUALITIES`, 0 none), bass (-1 none). Degrees beyond the quality are not kept.

    Raises:
        ValueError: beats are not a rising row of finite numbers.

    Example:
        >>> from aurl.music.abc import abc_to_score
        >>> score = abc_to_score('X:1\nL:1/4\nK:C\n"C"CE"G7/B"GB|')
        >>> chord_arrays(score, np.arange(4.0)).tolist()
        [[0, 1, 0], [0, 1, 0], [7, 7, 11], [7, 7, 11]]
    """
    symbols = chord_symbols(score)
    if symbols is not None:
        return symbols_at(symbols, np.asarray(beat_onsets, np.float64))
    if not len(beat_onsets):
        return np.zeros((0, 3), np.int8)
    return detect_chords(score, beat_onsets).array()


def symbols_at(track: ChordTrack, beat_onsets: NDArray[np.float64]) -> NDArray[np.int8]:
    """The chord of a track in force during most of each beat; no chord before the first.

    Args:
        track: chord symbols.
        beat_onsets: quarters at which beats begin, rising, ``(beats,)``.

    Returns:
        int8 ``(beats, 3)``. A symbol in the first half of a beat is the beat's.
    """
    rows = np.array([NO_CHORD_ROW, *((c.root, QUALITY_NUMBER[c.quality], c.bass) for c in track.chords)], np.int8)
    if not len(beat_onsets):
        return np.zeros((0, 3), np.int8)
    lengths = np.diff(beat_onsets)
    lengths = np.append(lengths, lengths[-1] if len(lengths) else 1.0)
    return rows[np.searchsorted(track.onsets, beat_onsets + lengths / 2, side="left")]


def transpose_chords(array: NDArray[np.int8], semitones: int) -> NDArray[np.int8]:
    """Move chords with the music; no chord stays no chord.

    Args:
        array: int8 ``(..., 3)`` of :func:`chord_arrays`.
        semitones: up, or down where negative.

    Returns:
        A new array of the same shape.
    """
    moved = array.copy()
    for column in (ROOT, BASS):
        values = array[..., column].astype(np.int16)
        moved[..., column] = np.where(values == NO_PITCH, NO_PITCH, (values + semitones) % OCTAVE)
    return moved
