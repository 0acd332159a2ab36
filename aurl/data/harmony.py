"""Chords and keys as arrays beside the tokens, ``chords`` (a row a beat) and ``key`` (a number a bar), and as changes
in time, which become tokens.

Symbols that a file brings along win over chords heard in its notes (aurl/music/chord_arrays.py); how many pieces had
symbols is counted. The key is that of the whole piece, by its pitch classes, and the same in every bar.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.data.aligned import MOST_BEATS, Level, Provider, RowTimes
from aurl.data.augmentation.labels import transpose_keys
from aurl.music.chord_arrays import chord_arrays, transpose_chords
from aurl.music.chord_detection import detect_chords
from aurl.music.chord_sources import chord_symbols
from aurl.music.chords import QUALITY_NUMBER
from aurl.music.grid import end_of
from aurl.music.keys import KEY_NAMES, PITCH_CLASSES, estimate_key
from aurl.music.note_arrays import notes_of
from aurl.utils.errors import AurlError

WITH_SYMBOLS, HEARD = "pieces_with_chord_symbols", "pieces_with_chords_heard"
NO_KEY = -1


def estimated_key(score: ScoreTick) -> int:
    """The key that the notes suggest: its place in ``KEY_NAMES`` (major from C upwards, then minor), -1 for none."""
    notes = notes_of(score)
    pitched = ~notes.drum
    weights = (notes.end - notes.time)[pitched].astype(np.float64)
    found = estimate_key(np.bincount(notes.pitch[pitched] % PITCH_CLASSES, weights=weights, minlength=PITCH_CLASSES))
    return KEY_NAMES.index(found.name) if found is not None else NO_KEY


class ChordChanges(NamedTuple):
    """Where chords begin, K of them, no two neighbours alike."""

    onsets: NDArray[np.float64]
    """Quarter notes, rising (K,)."""
    chords: NDArray[np.int64]
    """Root and quality (K, 2): -1 and 0 for no chord."""


def chord_changes(score: ScoreTick) -> ChordChanges:
    """The chords of a score, at the onsets of its symbols or else at the beats where they are heard.

    Args:
        score: any score; it is not changed.

    Raises:
        AurlError: it has more than ``MOST_BEATS`` beats and no symbols.
    """
    symbols = chord_symbols(score)
    if symbols is not None:
        rows = [(chord.root, QUALITY_NUMBER[chord.quality]) for chord in symbols.chords]
        return ChordChanges(symbols.onsets, np.array(rows, np.int64).reshape(-1, 2))
    beats = int(np.ceil(end_of(score)))
    if beats > MOST_BEATS:
        raise AurlError(f"tokenizer.chords=true: {beats} beats are too many to hear chords in; allowed: {MOST_BEATS}")
    if not beats:
        return ChordChanges(np.zeros(0), np.zeros((0, 2), np.int64))
    onsets = np.arange(beats, dtype=np.float64)
    return ChordChanges(onsets, detect_chords(score, onsets).array()[:, :2].astype(np.int64))


def _chords(score: ScoreTick, grid: RowTimes) -> NDArray[Any]:
    return chord_arrays(score, grid.beats)


def _key(score: ScoreTick, grid: RowTimes) -> NDArray[Any]:
    return np.full(len(grid.bars), estimated_key(score))


def count_symbols(score: ScoreTick) -> dict[str, int]:
    """Whether a piece's chords are said by its symbols or heard in its notes, as a count."""
    return {WITH_SYMBOLS if chord_symbols(score) is not None else HEARD: 1}


chords = Provider("chords", Level.beat, "|i1", (3,), _chords, transpose=transpose_chords, count=count_symbols)
"""Root (-1 none), quality (place in ``aurl.music.chords.QUALITIES``) and bass (-1 none) of each beat."""
key = Provider("key", Level.bar, "|i1", (), _key, transpose=transpose_keys)
"""The key of the piece in each bar, see :func:`estimated_key`."""
