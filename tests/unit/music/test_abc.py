"""ABC tunes, feature by feature; times below are in quarter notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurl.music.abc import TICKS_PER_QUARTER, abc_to_score
from aurl.music.score import read_score
from aurl.utils.errors import UnreadableFile


def notes(music: str, head: str = "L:1/4\nM:4/4\nK:C") -> list[tuple[float, float, int]]:
    score = abc_to_score(f"X:1\n{head}\n{music}\n")
    return [
        (note.time / TICKS_PER_QUARTER, note.duration / TICKS_PER_QUARTER, note.pitch) for note in score.tracks[0].notes
    ]


def pitches(music: str, key: str = "C") -> list[int]:
    return [pitch for _, _, pitch in notes(music, f"L:1/4\nM:none\nK:{key}")]


@pytest.mark.parametrize(
    ("music", "expected"),
    [
        ("C2 D/ E// F3/2 G/4", [(0, 2, 60), (2, 0.5, 62), (2.5, 0.25, 64), (2.75, 1.5, 65), (4.25, 0.25, 67)]),
        ("C z D x2 E", [(0, 1, 60), (2, 1, 62), (5, 1, 64)]),
        ("Z2 C", [(8, 1, 60)]),
        ("[CEG]2 C", [(0, 2, 60), (0, 2, 64), (0, 2, 67), (2, 1, 60)]),
        ("C>D E<F", [(0, 1.5, 60), (1.5, 0.5, 62), (2, 0.5, 64), (2.5, 1.5, 65)]),
        ("(3CDE F", [(0, 2 / 3, 60), (2 / 3, 2 / 3, 62), (4 / 3, 2 / 3, 64), (2, 1, 65)]),
        ("(5:4:2CDE", [(0, 0.8, 60), (0.8, 0.8, 62), (1.6, 1, 64)]),
        ("C-C D-|D", [(0, 2, 60), (2, 2, 62)]),
        ("[CE]-[CE]", [(0, 2, 60), (0, 2, 64)]),
        ("C-D", [(0, 1, 60), (1, 1, 62)]),
        ('"Am"C !trill!~D {ef}E "^text"(F)', [(0, 1, 60), (1, 1, 62), (2, 1, 64), (3, 1, 65)]),
        ("CDEF & G4 | A", [(0, 1, 60), (0, 4, 67), (1, 1, 62), (2, 1, 64), (3, 1, 65), (4, 1, 69)]),
        ("C [L:1/8] D % comment E", [(0, 1, 60), (1, 0.5, 62)]),
    ],
)
def test_rhythm_is_read_as_the_standard_says(music: str, expected: list[tuple[float, float, int]]):
    assert notes(music) == [(pytest.approx(a, abs=0.01), pytest.approx(b, abs=0.01), p) for a, b, p in expected]


@pytest.mark.parametrize(
    ("music", "key", "expected"),
    [
        ("C c c' C,", "C", [60, 72, 84, 48]),
        ("F C", "D", [66, 61]),
        ("B E A", "Eb", [70, 63, 68]),
        ("F C", "Am", [65, 60]),
        ("F C G", "Amix", [66, 61, 67]),
        ("F C B", "Ddor", [65, 60, 71]),
        ("F B", "F lydian", [65, 71]),
        ("G", "F#m", [68]),
        ("F G", "D ^g", [66, 68]),
        ("F c", "HP", [66, 73]),
        ("^F F | F", "C", [66, 66, 65]),
        ("_B =B ^^C __D", "C", [70, 71, 62, 60]),
        ("^F-|F F", "C", [66, 65]),
    ],
)
def test_pitches_follow_key_and_accidentals(music: str, key: str, expected: list[int]):
    assert pitches(music, key) == expected


def test_a_pick_up_is_padded_and_a_split_bar_is_one_bar():
    score = abc_to_score("X:1\nM:3/4\nL:1/4\nK:G\nD|GAB|d2:|e|fga|")
    assert [note.time // TICKS_PER_QUARTER for note in score.tracks[0].notes] == [2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert [(sign.time, sign.numerator, sign.denominator) for sign in score.time_signatures] == [(0, 3, 4)]


def test_a_change_of_metre_falls_on_its_bar():
    score = abc_to_score("X:1\nM:3/4\nL:1/4\nK:C\nCDE|[M:2/4]FG|\nM:3/4\nABc|")
    quarter = TICKS_PER_QUARTER
    signs = [(sign.time // quarter, sign.numerator) for sign in score.time_signatures]
    assert signs == [(0, 3), (3, 2), (5, 3)]


def test_tempo_voices_names_and_programs_are_kept():
    score = abc_to_score(
        'X:1\nQ:1/8=120\nM:4/4\nL:1/4\n%%MIDI program 40\nV:1 name="Violin I"\nV:B\nK:C\n[V:1]CDEF|\n[V:B]C,4|\n'
    )
    assert [(track.name, track.program, len(track.notes)) for track in score.tracks] == [
        ("Violin I", 40, 4),
        ("B", 40, 1),
    ]
    assert [tempo.qpm for tempo in score.tempos] == [pytest.approx(60)]


def test_notes_outside_midi_and_tunes_without_notes_are_refused():
    with pytest.raises(UnreadableFile, match="pitch"):
        abc_to_score("X:1\nK:C\nc''''''''")
    with pytest.raises(UnreadableFile, match="no notes"):
        abc_to_score("X:1\nT:Title\nK:C\nz4|")


def test_a_broken_rhythm_does_not_reach_back_over_a_layer():
    score = abc_to_score("X:1\nM:4/4\nL:1/4\nK:C\nA&<A")
    assert [(note.time, note.duration) for note in score.tracks[0].notes] == [(0, 480), (0, 720)]


@given(st.text(alphabet="ABCdefz|:[]()(3-<>&^_=,'/1234 \n\"!{}KLMV%\\", max_size=80))
def test_any_text_is_a_score_or_one_error(music: str):
    try:
        score = abc_to_score(f"X:1\nM:4/4\nK:C\n{music}")
    except UnreadableFile:
        return
    assert all(note.time >= 0 and note.duration > 0 for track in score.tracks for note in track.notes)


def test_every_tune_of_a_real_tune_book_is_read(corpora: Callable[[str], Path]):
    tunes = sorted((corpora("nottingham") / "abc").glob("*.abc"))[::10]
    for tune in tunes:
        score = read_score(tune)
        assert score.note_num() > 10
        assert len(score.time_signatures) >= 1
