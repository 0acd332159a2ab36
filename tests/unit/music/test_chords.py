"""Chords as labels: one form, Harte's notation, moving."""

from __future__ import annotations

import pytest
from chord_strategies import chords
from hypothesis import given
from hypothesis import strategies as st

from aurl.music.chords import (
    NO_CHORD,
    QUALITIES,
    QUALITY,
    Chord,
    degree_semitones,
    parse_harte,
    parse_pitch_class,
)


@given(chords)
def test_every_chord_is_read_back_from_hartes_notation(chord: Chord) -> None:
    assert parse_harte(chord.harte()) == chord


@given(chords, st.integers(-24, 24))
def test_moving_moves_every_tone_and_can_be_undone(chord: Chord, semitones: int) -> None:
    moved = chord.transposed(semitones)
    assert moved.pitch_classes == {(pitch + semitones) % 12 for pitch in chord.pitch_classes}
    assert moved.transposed(-semitones) == chord
    assert (moved.quality, moved.degrees) == (chord.quality, chord.degrees)


@given(chords)
def test_one_form_keeps_the_tones(chord: Chord) -> None:
    again = Chord(chord.root, chord.quality, chord.bass, chord.degrees)
    assert again == chord and again.pitch_classes == chord.pitch_classes


def test_no_chord_has_no_tones_and_stays_itself() -> None:
    assert parse_harte("N") == NO_CHORD == NO_CHORD.transposed(5)
    assert NO_CHORD.harte() == "N" and NO_CHORD.pitch_classes == frozenset()


@pytest.mark.parametrize(
    ("text", "tones"),
    [
        ("C:maj", {0, 4, 7}),
        ("G", {7, 11, 2}),
        ("A:min7/b7", {9, 0, 4, 7}),
        ("F#:hdim7", {6, 9, 0, 4}),
        ("Bb:7(b9)", {10, 2, 5, 8, 11}),
        ("D:(1,3,5,b7)", {2, 6, 9, 0}),
        ("E:(1,5)", {4, 11}),
        ("C:(1,b9)", {0, 1}),
        ("C:maj(*5)", {0, 4}),
        ("C:maj/2", {0, 2, 4, 7}),
        ("Cb:sus4(b7)", {11, 4, 6, 9}),
    ],
)
def test_tones_of_hartes_notation(text: str, tones: set[int]) -> None:
    assert parse_harte(text).pitch_classes == tones


def test_degrees_that_name_a_quality_become_it() -> None:
    assert Chord(0, "maj", degrees=("9", "b7")) == Chord(0, "9")
    assert Chord(0, "min7", degrees=("b5", "*5")) == Chord(0, "hdim7")
    assert Chord(0, "maj", degrees=("*3",)) == Chord(0, "5")
    assert Chord(0, "maj", degrees=("5", "*b7")) == Chord(0, "maj")


def test_tables_agree() -> None:
    assert len({quality.tones for quality in QUALITIES}) == len(QUALITIES) == len(QUALITY)
    assert QUALITIES[0].name == "N"
    for quality in QUALITIES[1:]:
        assert parse_harte(f"C:{quality.harte}") == Chord(0, quality.name)


def test_mir_eval_hears_the_same_tones() -> None:
    mir_eval = pytest.importorskip("mir_eval")
    for quality in QUALITIES[:18]:
        chord = NO_CHORD if quality.name == "N" else Chord(2, quality.name)
        root, tones, _ = mir_eval.chord.encode(chord.harte())
        assert {(root + place) % 12 for place, on in enumerate(tones) if on} == chord.pitch_classes, quality


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Chord(0, "major"), "chord quality is 'major'; allowed: N maj min"),
        (lambda: Chord(12, "maj"), "chord root is 12; allowed: 0 to 11"),
        (lambda: Chord(0, "maj", bass=-2), "chord bass is -2; allowed"),
        (lambda: Chord(3), "quality 'N' with root 3; 'N' and -1 go together"),
        (lambda: Chord(bass=3), "neither a bass nor degrees"),
        (lambda: Chord(0, "maj", degrees=("14",)), "'14' is no chord degree; examples: b7"),
        (lambda: parse_harte("H:maj"), "'H:maj' is no chord in Harte's notation; examples"),
        (lambda: parse_harte("C:major"), "unknown shorthand 'major'; allowed: maj min"),
        (lambda: parse_harte("C:aug7"), "unknown shorthand 'aug7'"),
        (lambda: parse_pitch_class("h"), "'h' is no note name; examples: C, F#, Bb"),
        (lambda: degree_semitones("x"), "'x' is no chord degree"),
    ],
)
def test_what_is_no_chord_is_refused_in_one_line(make: object, message: str) -> None:
    with pytest.raises(ValueError, match="(?s)" + message.replace("(", r"\(")) as error:
        make()  # type: ignore[operator]
    assert "\n" not in str(error.value)
