"""Chord symbols of lead sheets, ABC and MusicXML."""

from __future__ import annotations

import pytest
from chord_strategies import chords
from hypothesis import given

from aurl.music.chord_symbols import from_musicxml, lead_sheet, parse_abc_symbol, parse_lead_sheet, to_musicxml
from aurl.music.chords import NO_CHORD, Chord


@given(chords)
def test_every_chord_is_read_back_from_a_lead_sheet(chord: Chord) -> None:
    assert parse_lead_sheet(lead_sheet(chord)) == chord


@given(chords)
def test_every_chord_is_read_back_from_abc(chord: Chord) -> None:
    assert parse_abc_symbol(lead_sheet(chord)) == chord


@given(chords)
def test_every_chord_is_read_back_from_musicxml(chord: Chord) -> None:
    kind, degrees = to_musicxml(chord)
    assert from_musicxml(kind, chord.root, chord.bass, degrees) == chord


@pytest.mark.parametrize(
    ("symbol", "harte"),
    [
        ("Cmaj7", "C:maj7"),
        ("C M7", "C:maj7"),
        ("CΔ", "C:maj7"),
        ("F#m7b5/A", "F#:hdim7/b3"),
        ("Bø", "B:hdim7"),
        ("B°7", "B:dim7"),
        ("Bbsus4", "Bb:sus4"),
        ("Asus", "A:sus4"),
        ("C7(b9)", "C:7(b9)"),
        ("C7b9#11", "C:7(b9,#11)"),
        ("C7-9", "C:7(b9)"),
        ("Dm 7", "D:min7"),
        ("D-7", "D:min7"),
        ("C6/9", "C:maj6(9)"),
        ("Cadd9", "C:maj(9)"),
        ("C2", "C:maj(9)"),
        ("G9sus4", "G:sus4(b7,9)"),
        ("G7sus", "G:sus4(b7)"),
        ("Cm(maj7)", "C:minmaj7"),
        ("C+", "C:aug"),
        ("C7#5", "C:aug(b7)"),
        ("C5", "C:5"),
        ("E/G#", "E:maj/3"),
        ("Abm/Cb", "Ab:min/b3"),
        ("C7no3", "C:7(*3)"),
        ("A major", "A:maj"),
        ("(E7)", "E:7"),
        ("N.C.", "N"),
    ],
)
def test_symbols_that_people_write(symbol: str, harte: str) -> None:
    assert parse_lead_sheet(symbol).harte() == harte


@pytest.mark.parametrize(
    "text",
    ["Hello", "Every", "Be", "Dad", "baby", "", "Verse 1", "C/f+", "Csus3", "Cmsus2", "C3", "C7" * 40, "Cadd+-9"],
)
def test_words_are_no_chords(text: str) -> None:
    with pytest.raises(ValueError, match="is no chord symbol"):
        parse_lead_sheet(text)


@pytest.mark.parametrize(
    ("symbol", "harte"),
    [("D7/f+", "D:7/3"), ("Gm/bb", "G:min/b3"), ("G#d", "Ab:dim"), ("Fa7", "F:aug(b7)"), ("Am", "A:min")],
)
def test_tune_books_write_small_basses_and_short_qualities(symbol: str, harte: str) -> None:
    assert parse_abc_symbol(symbol).harte() == harte


def test_remarks_of_abc_are_no_chords() -> None:
    with pytest.raises(ValueError, match=r"'\^A' is a remark, not a chord symbol"):
        parse_abc_symbol("^A")


def test_a_bass_is_spelled_by_its_chord() -> None:
    assert [lead_sheet(Chord(root, "maj", (root + 4) % 12)) for root in (4, 10, 6, 8)] == [
        "E/G#",
        "Bb/D",
        "F#/A#",
        "Ab/C",
    ]


@pytest.mark.parametrize(
    ("kind", "degrees", "harte"),
    [
        ("dominant", [("add", 9, -1)], "C:7(b9)"),
        ("dominant", [("alter", 5, 1)], "C:aug(b7)"),
        ("major", [("add", 7, 0)], "C:7"),
        ("major", [("add", 7, 1)], "C:maj7"),
        ("major", [("alter", 9, 1)], "C:maj(#9)"),
        ("suspended-fourth", [("add", 7, 0)], "C:sus4(b7)"),
        ("dominant", [("subtract", 7, 0)], "C:maj"),
        ("major-11th", [], "C:maj9(11)"),
        ("none", [], "N"),
    ],
)
def test_kinds_and_degrees_of_musicxml(kind: str, degrees: list[tuple[str, int, int]], harte: str) -> None:
    assert from_musicxml(kind, 0, degrees=degrees).harte() == harte


@pytest.mark.parametrize(
    ("kind", "degrees", "message"),
    [
        ("other", [], "kind is 'other'; allowed: French German"),
        ("major", [("bend", 9, 0)], "type is 'bend'; allowed: add alter subtract"),
        ("major", [("add", 15, 0)], "'15' is no chord degree"),
    ],
)
def test_what_musicxml_does_not_say_is_refused(kind: str, degrees: list[tuple[str, int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_musicxml(kind, 0, degrees=degrees)


def test_no_chord_is_written_and_read() -> None:
    assert parse_lead_sheet(lead_sheet(NO_CHORD)) == NO_CHORD == from_musicxml(to_musicxml(NO_CHORD)[0], 0)
