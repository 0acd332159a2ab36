"""Chords as small integers beside tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import ScoreTick

from aurl.music.abc import abc_to_score
from aurl.music.chord_arrays import chord_arrays, symbols_at, transpose_chords
from aurl.music.chord_sources import ChordTrack
from aurl.music.chords import NO_CHORD, QUALITIES, QUALITY_NUMBER, Chord

NOTES = "[C,EGc]4|[G,DGB]4|"
HEARD = f"X:1\nL:1/4\nK:C\n{NOTES}"
WRITTEN = 'X:1\nL:1/4\nK:C\n"Am"[C,EGc]4|"F"[G,DGB]4|'
rows = st.lists(st.tuples(st.integers(-1, 11), st.integers(0, len(QUALITIES) - 1), st.integers(-1, 11)), max_size=6)


def test_chords_are_heard_where_a_file_has_no_symbols() -> None:
    array = chord_arrays(abc_to_score(HEARD), np.arange(8.0))
    assert array.dtype == np.int8 and array.tolist() == [[0, 1, 0]] * 4 + [[7, 1, 7]] * 4


def test_symbols_win_over_what_is_heard() -> None:
    minor = QUALITY_NUMBER["min"]
    assert chord_arrays(abc_to_score(WRITTEN), np.arange(8.0)).tolist() == [[9, minor, 9]] * 4 + [[5, 1, 5]] * 4


def test_a_symbol_in_the_first_half_of_a_beat_is_the_beats() -> None:
    track = ChordTrack(np.array([1.25, 2.75, 4.0]), (Chord(0, "maj"), Chord(7, "7", 11), NO_CHORD), "markers")
    got = symbols_at(track, np.arange(5.0))
    assert got.tolist() == [[-1, 0, -1], [0, 1, 0], [0, 1, 0], [7, QUALITY_NUMBER["7"], 11], [-1, 0, -1]]


def test_no_beats_have_no_chords() -> None:
    for text in (HEARD, WRITTEN):
        assert chord_arrays(abc_to_score(text), np.zeros(0)).shape == (0, 3)
    assert chord_arrays(ScoreTick(480), np.arange(3.0)).tolist() == [[-1, 0, -1]] * 3


@given(rows, st.integers(-30, 30))
def test_transposing_moves_root_and_bass_and_can_be_undone(values: list[tuple[int, int, int]], semitones: int) -> None:
    array = np.array(values, np.int8).reshape(-1, 3)
    moved = transpose_chords(array, semitones)
    assert moved.dtype == np.int8 and (transpose_chords(moved, -semitones) == array).all()
    assert (moved[:, 1] == array[:, 1]).all() and ((moved == -1) == (array == -1)).all()
    real = array[:, 0] >= 0
    assert ((moved[real, 0] - array[real, 0] - semitones) % 12 == 0).all()


@pytest.mark.parametrize("semitones", [-5, 0, 3, 12])
def test_transposed_music_has_transposed_chords(semitones: int) -> None:
    score = abc_to_score(HEARD)
    moved = abc_to_score(HEARD)
    for note in moved.tracks[0].notes:
        note.pitch += semitones
    beats = np.arange(8.0)
    assert (transpose_chords(chord_arrays(score, beats), semitones) == chord_arrays(moved, beats)).all()
