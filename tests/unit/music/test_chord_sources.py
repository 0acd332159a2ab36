"""Chord symbols that files bring along land on their beats."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from symusic.core import NoteTick, ScoreTick, TextMetaTick, TrackTick

from aurl.music.abc import abc_to_score
from aurl.music.chord_sources import chord_symbols, musicxml_symbols
from aurl.music.notation import notation_to_score
from aurl.music.score import read_score

TUNE = """X:1
M:3/4
L:1/4
K:G
"D7"D|"G"G2"^slow"B|"D/f+"A2"remark"F|"G"G3|
"""


def _score(texts: list[tuple[int, str]], as_lyrics: bool = False) -> ScoreTick:
    score = ScoreTick(480)
    track = TrackTick("piano", 0, False)
    track.notes.append(NoteTick(0, 480, 60, 80))
    score.tracks.append(track)
    for time, text in texts:
        (track.lyrics if as_lyrics else score.markers).append(TextMetaTick(time, text))
    return score


def _harte(score: ScoreTick) -> list[tuple[float, str]]:
    track = chord_symbols(score)
    assert track is not None
    return [(onset, chord.harte()) for onset, chord in zip(track.onsets.tolist(), track.chords, strict=True)]


def test_symbols_of_abc_stand_at_their_notes_after_a_pick_up() -> None:
    assert _harte(abc_to_score(TUNE)) == [(2.0, "D:7"), (3.0, "G:maj"), (6.0, "D:maj/3"), (9.0, "G:maj")]


@pytest.mark.parametrize("as_lyrics", [False, True])
def test_symbols_of_midi_texts_are_found_in_markers_and_lyrics(as_lyrics: bool) -> None:
    score = _score([(960, "G 7"), (0, "C M7"), (480, " "), (1920, "N.C.")], as_lyrics)
    assert _harte(score) == [(0.0, "C:maj7"), (2.0, "G:7"), (4.0, "N")]
    found = chord_symbols(score)
    assert found is not None and found.source == ("lyrics of track 1" if as_lyrics else "markers")


def test_the_last_of_several_symbols_at_one_time_counts() -> None:
    assert _harte(_score([(0, "C"), (0, "F"), (480, "G")])) == [(0.0, "F:maj"), (1.0, "G:maj")]


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [(0, "A")],
        [(0, "A"), (480, "A")],
        [(0, "A"), (480, "Verse"), (960, "B"), (1440, "Am")],
        [(0, "Go "), (480, "down "), (960, "Am"), (1440, "er"), (1920, "i"), (2400, "ca")],
    ],
)
def test_words_and_rehearsal_marks_are_not_taken_for_chords(texts: list[tuple[int, str]]) -> None:
    assert chord_symbols(_score(texts)) is None


def test_a_few_remarks_among_many_symbols_are_counted() -> None:
    texts = [(480 * place, "CFG"[place % 3]) for place in range(19)]
    found = chord_symbols(_score([*texts, (9600, "slower")]))
    assert found is not None and found.refused == 1 and len(found.chords) == 19


XML = """<?xml version="1.0"?><score-partwise version="3.1"><part-list>
<score-part id="P0"><part-name>Flute</part-name></score-part>
<score-part id="P1"><part-name>Piano</part-name></score-part></part-list>
<part id="P0">{silent}</part><part id="P1">
<measure number="0" implicit="yes"><attributes><divisions>2</divisions><key><fifths>0</fifths></key>
<time><beats>4</beats><beat-type>4</beat-type></time><clef><sign>G</sign><line>2</line></clef></attributes>
<harmony><root><root-step>G</root-step></root><kind>dominant</kind></harmony>{note_g}</measure>
<measure number="1"><harmony><root><root-step>C</root-step></root><kind>major</kind></harmony>{half}
<harmony><root><root-step>F</root-step><root-alter>1</root-alter></root><kind>half-diminished</kind>
<bass><bass-step>A</bass-step></bass><offset>2</offset></harmony>{half}
<backup><duration>4</duration></backup>
<harmony><root><root-step>B</root-step><root-alter>-1</root-alter></root><kind>other</kind></harmony>
<forward><duration>4</duration></forward></measure>
<measure number="2"><harmony><root><root-step>C</root-step></root><kind>dominant</kind><degree>
<degree-value>9</degree-value><degree-alter>-1</degree-alter><degree-type>add</degree-type></degree></harmony>
{half}<harmony><kind>none</kind></harmony>{half}</measure></part></score-partwise>"""
_NOTE = (
    "<note><pitch><step>{step}</step><octave>4</octave></pitch><duration>{duration}</duration>"
    "<voice>1</voice><type>{kind}</type></note>"
)
_QUARTER_G = _NOTE.format(step="G", duration=2, kind="quarter")
_HALF = _NOTE.format(step="C", duration=4, kind="half")
_SILENT = (
    '<measure number="0" implicit="yes"><attributes><divisions>2</divisions><time><beats>4</beats>'
    f"<beat-type>4</beat-type></time></attributes>{_QUARTER_G}</measure>"
    f'<measure number="1">{_HALF * 2}</measure><measure number="2">{_HALF * 2}</measure>'
)
MUSICXML = XML.format(silent=_SILENT, note_g=_QUARTER_G, half=_HALF)


def test_harmony_of_musicxml_stands_where_verovio_puts_its_notes() -> None:
    score = notation_to_score(MUSICXML)
    onsets = sorted({note.time / score.tpq for note in score.tracks[1].notes})
    assert onsets == [3.0, 4.0, 6.0, 8.0, 10.0]
    expected = [(3.0, "G:7"), (4.0, "C:maj"), (7.0, "F#:hdim7/b3"), (8.0, "C:7(b9)"), (10.0, "N")]
    assert _harte(score) == expected


def test_harmony_that_cannot_be_understood_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(musicxml_symbols(MUSICXML)) == 5
    assert "1 chord symbols cannot be understood and are left out" in caplog.text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<divisions>2</divisions>", "<divisions>0</divisions>"),
        ("<offset>2</offset>", "<offset>1e999</offset>"),
        ("<offset>2</offset>", "<offset>99999999</offset>"),
        ("<root-alter>1</root-alter>", "<root-alter>inf</root-alter>"),
        ("<degree-value>9</degree-value>", "<degree-value>nine</degree-value>"),
        ("<root-step>F</root-step>", "<root-step>H</root-step>"),
    ],
)
def test_wild_numbers_in_musicxml_do_no_harm(old: str, new: str) -> None:
    assert old in MUSICXML
    symbols = musicxml_symbols(MUSICXML.replace(old, new))
    assert len(symbols) in (4, 5)
    if new != "<degree-value>nine</degree-value>":  # verovio itself ends the process on it
        assert chord_symbols(notation_to_score(MUSICXML.replace(old, new))) is not None


def test_notation_without_harmony_has_no_symbols() -> None:
    assert musicxml_symbols("<score-partwise><part id='P1'/></score-partwise>") == []
    assert chord_symbols(abc_to_score("X:1\nK:C\nCDEF|")) is None


def test_symbols_of_the_nottingham_tunes_meet_their_rendered_chords(corpora: Callable[[str], Path]) -> None:
    root = corpora("nottingham")
    tunes = [path for path in sorted((root / "abc").glob("*.abc")) if not _has_repeats(path) and path.stem != UNCLOSED]
    met = total = 0
    for path in tunes[:30]:
        score, rendered = read_score(path), read_score(root / "midi" / f"{path.stem}.mid")
        track = chord_symbols(score)
        if track is None or len(rendered.tracks) < 2:
            continue
        sounding = defaultdict(set)
        for note in rendered.tracks[1].notes:
            sounding[round(note.time / rendered.tpq, 2)].add(note.pitch % 12)
        shift = rendered.tracks[0].notes[0].time / rendered.tpq - score.tracks[0].notes[0].time / score.tpq
        for onset, chord in zip(track.onsets, track.chords, strict=True):
            met += len(sounding[round(onset + shift, 2)] & chord.pitch_classes) >= 2
            total += 1
    assert met == total > 500


UNCLOSED = "jigs153"
"""A chord of its ABC lacks its closing bracket, so that the rest of the tune is shifted."""


def _has_repeats(path: Path) -> bool:
    music = path.read_text(encoding="latin-1").split("K:", 1)[1].split("\n", 1)[1]
    return ":" in music or "[1" in music


def test_markers_of_real_midi_files_are_read(corpora: Callable[[str], Path]) -> None:
    root = corpora("multitrack-free")
    with_chords = {"13-Stephenson-blues.mid": 77, "07-Transport-chaos.mid": 118, "03-Sunday-drivers.mid": 48}
    others = sorted(path for path in root.rglob("*.mid") if path.name not in with_chords)[:10]
    for path in [*(next(root.rglob(name)) for name in with_chords), *others]:
        track = chord_symbols(read_score(path))
        assert (len(track.chords) if track else None) == with_chords.get(path.name)
