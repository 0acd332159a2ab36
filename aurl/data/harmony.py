"""Chords and keys as arrays beside the tokens: ``chords`` (a row a beat) and ``key`` (a number a bar).

Symbols that a file brings along win over chords heard in its notes (aurl/music/chord_arrays.py); how many pieces had
symbols is counted. The key is that of the whole piece, by its pitch classes, and the same in every bar.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from aurl.data.aligned import Grid, Level, Provider
from aurl.data.augmentation.labels import transpose_keys
from aurl.music.chord_arrays import chord_arrays, transpose_chords
from aurl.music.chord_sources import chord_symbols
from aurl.music.keys import KEY_NAMES, PITCH_CLASSES, estimate_key
from aurl.music.note_arrays import notes_of

WITH_SYMBOLS, HEARD = "pieces_with_chord_symbols", "pieces_with_chords_heard"
NO_KEY = -1


def estimated_key(score: ScoreTick) -> int:
    """The key that the notes suggest: its place in ``KEY_NAMES`` (major from C upwards, then minor), -1 for none."""
    notes = notes_of(score)
    pitched = ~notes.drum
    weights = (notes.end - notes.time)[pitched].astype(np.float64)
    found = estimate_key(np.bincount(notes.pitch[pitched] % PITCH_CLASSES, weights=weights, minlength=PITCH_CLASSES))
    return KEY_NAMES.index(found.name) if found is not None else NO_KEY


def _chords(score: ScoreTick, grid: Grid) -> NDArray[Any]:
    return chord_arrays(score, grid.beats)


def _key(score: ScoreTick, grid: Grid) -> NDArray[Any]:
    return np.full(len(grid.bars), estimated_key(score))


def _count_symbols(score: ScoreTick) -> dict[str, int]:
    return {WITH_SYMBOLS if chord_symbols(score) is not None else HEARD: 1}


chords = Provider("chords", Level.beat, "|i1", (3,), _chords, transpose=transpose_chords, count=_count_symbols)
"""Root (-1 none), quality (place in ``aurl.music.chords.QUALITIES``) and bass (-1 none) of each beat."""
key = Provider("key", Level.bar, "|i1", (), _key, transpose=transpose_keys)
"""The key of the piece in each bar, see :func:`estimated_key`."""
