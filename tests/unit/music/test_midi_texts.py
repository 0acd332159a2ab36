"""Texts and chord symbols for which the parser has no place stay with their music."""

from __future__ import annotations

from pathlib import Path

import pytest
from midi_bytes import TWO_NOTES, midi
from symusic.core import ScoreTick

from aurl.data.entries import score_of, score_parts
from aurl.music.chord_sources import chord_symbols
from aurl.music.midi_texts import XF_TYPES, xf_symbol
from aurl.music.score import parse_midi, read_midi

NAME, TEXT, LYRIC, SPECIFIC = 0x03, 0x01, 0x05, 0x7F


def meta(kind: int, payload: bytes, wait: int = 0) -> bytes:
    return bytes([wait, 0xFF, kind, len(payload)]) + payload


def xf(root: int, kind: int, bass: int = 0x7F, wait: int = 0) -> bytes:
    return meta(SPECIFIC, bytes([0x43, 0x7B, 0x01, root, kind, bass, 0x7F]), wait)


def lyrics(score: ScoreTick) -> list[tuple[str, list[tuple[int, str]]]]:
    return [(track.name, [(text.time, text.text) for text in track.lyrics]) for track in score.tracks if track.lyrics]


def harte(score: ScoreTick) -> list[tuple[float, str]]:
    found = chord_symbols(score)
    assert found is not None
    return [(onset, chord.harte()) for onset, chord in zip(found.onsets.tolist(), found.chords, strict=True)]


def test_texts_become_lyrics_of_a_track_of_their_own_and_notes_stay_as_they_are():
    words = meta(NAME, b"Words") + meta(TEXT, b"@Ttitle") + meta(TEXT, b"/la", 48) + meta(TEXT, b" ", 48)
    score = parse_midi(midi(words, TWO_NOTES + meta(LYRIC, b"sung")))
    assert ("Words", [(0, "@Ttitle"), (48, "/la")]) in lyrics(score)
    assert ("", [(192, "sung")]) in lyrics(score)
    assert score.note_num() == 2
    assert [track.name for track in parse_midi(midi(TWO_NOTES)).tracks] == [""], "without texts there is no such track"


def test_chord_symbols_in_texts_are_found_beside_words_and_markers():
    chords = meta(TEXT, b"C 7") + meta(TEXT, b"F#m7b5/A", 96)
    score = parse_midi(midi(meta(TEXT, b"/La la"), TWO_NOTES + meta(6, b"Verse"), chords))
    assert harte(score) == [(0.0, "C:7"), (1.0, "F#:hdim7/b3")]


def test_texts_go_through_the_piece_store_and_midi_files(tmp_path: Path):
    score = parse_midi(midi(TWO_NOTES, meta(NAME, b"chords") + meta(TEXT, b"Dm") + meta(TEXT, b"G7", 96)))
    assert lyrics(score_of(*score_parts(score))) == lyrics(score)
    score.dump_midi(tmp_path / "again.mid")
    assert harte(parse_midi((tmp_path / "again.mid").read_bytes())) == harte(score)


@pytest.mark.parametrize(
    ("payload", "text"), [("Dvořák".encode(), "Dvořák"), (b"caf\xe9", "café"), (b"\x91S\x91\xcc", "\x91S\x91Ì")]
)
def test_no_byte_of_a_text_is_lost_whatever_its_encoding(payload: bytes, text: str):
    assert lyrics(parse_midi(midi(TWO_NOTES, meta(TEXT, payload)))) == [("", [(0, text)])]


def test_chords_of_xf_files_become_symbols():
    chords = xf(0x31, 0) + xf(0x27, 10, 0x33, wait=48) + xf(0x45, 19, wait=48) + xf(0x31, 34, wait=96)
    score = parse_midi(midi(TWO_NOTES + meta(TEXT, b"by nobody"), chords))
    assert harte(score) == [(0.0, "C:maj"), (0.5, "Bb:min7/b5"), (1.0, "Ab:7"), (2.0, "N")]
    assert lyrics(score)[-1][0] == "XF chords"


def test_every_type_of_an_xf_chord_has_a_symbol_and_nonsense_has_none():
    symbols = [xf_symbol(bytes([0x43, 0x7B, 1, 0x31, kind, 0x31, 0x7F])) for kind in range(len(XF_TYPES) + 1)]
    assert len(set(symbols)) == len(symbols) == 35
    assert all(symbols)
    for root, kind, bass in ((0x30, 0, 0x7F), (0x38, 0, 0x7F), (0x71, 0, 0x7F), (0x31, 35, 0x7F), (0x31, 0, 0x30)):
        assert xf_symbol(bytes([0x43, 0x7B, 1, root, kind, bass, 0x7F])) == ""
    assert xf_symbol(b"\x43\x7b\x01\x31") == xf_symbol(b"\x43\x7b\x02\x31\x00\x7f\x7f") == ""


def test_texts_of_a_damaged_file_are_kept():
    data = midi(meta(TEXT, b"Am") + meta(TEXT, b"E7", 96), TWO_NOTES)
    (reading,) = read_midi(data[:-6] + b"\x00\x90\x40", "cut.mid")
    assert reading.repairs
    assert harte(reading.score) == [(0.0, "A:min"), (1.0, "E:7")]
