"""MusicXML, MEI and Humdrum through verovio, with bars where the notation has them."""

from __future__ import annotations

import io
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from aurl.music.limits import ReadLimits
from aurl.music.notation import notation_to_score, split_abc
from aurl.music.score import read_score
from aurl.utils.errors import UnreadableFile

KERN = "**kern\t**kern\n*M3/4\t*M3/4\n4C\t4c\n=1\t=1\n4D\t4d\n4E\t4e\n4F\t4f\n=2\t=2\n2.G\t2.g\n==\t==\n*-\t*-\n"
MEI = """<?xml version="1.0"?>
<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0"><music><body><mdiv><score>
<scoreDef meter.count="2" meter.unit="4"><staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp>
</scoreDef><section><measure n="1"><staff n="1"><layer n="1"><note pname="c" oct="4" dur="4"/><note pname="d" oct="4"
dur="4"/></layer></staff></measure></section></score></mdiv></body></music></mei>"""


def note(step: str) -> str:
    pitch = f"<pitch><step>{step}</step><octave>4</octave></pitch>"
    return f"<note>{pitch}<duration>1</duration><voice>1</voice></note>"


def music_xml(*bars: str, encoding: str = "UTF-8", name: str = "Flöte") -> str:
    """Two equal parts in 3/4; a bar is a string of one-quarter steps."""
    time = "<attributes><divisions>1</divisions><time><beats>3</beats><beat-type>4</beat-type></time></attributes>"
    body = "".join(
        f'<measure number="{i}">{time if i == 0 else ""}{"".join(note(step) for step in bar)}</measure>'
        for i, bar in enumerate(bars)
    )
    listed = f'<score-part id="P1"><part-name>{name}</part-name></score-part>'
    listed += '<score-part id="P2"><part-name>Bass</part-name></score-part>'
    parts = f'<part id="P1">{body}</part><part id="P2">{body}</part>'
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    return f'{head}<score-partwise version="3.1"><part-list>{listed}</part-list>{parts}</score-partwise>'


def onsets(score) -> list[float]:
    return [note.time / score.tpq for note in score.tracks[0].notes]


def metres(score) -> list[tuple[float, int, int]]:
    return [(sign.time / score.tpq, sign.numerator, sign.denominator) for sign in score.time_signatures]


def test_a_pick_up_is_padded_so_that_the_first_full_bar_is_on_a_bar_line():
    score = notation_to_score(music_xml("C", "DEF", "GAB"), "xml")
    assert onsets(score) == [2, 3, 4, 5, 6, 7, 8]
    assert metres(score) == [(0, 3, 4)]


def test_music_that_begins_on_a_bar_is_not_moved():
    assert onsets(notation_to_score(music_xml("CDE", "FGA"), "xml")) == [0, 1, 2, 3, 4, 5]


def test_notes_keep_their_full_length_and_parts_their_names():
    score = notation_to_score(music_xml("CDE", "FGA"), "xml")
    assert {note.duration for track in score.tracks for note in track.notes} == {score.tpq}
    assert [track.name for track in score.tracks] == ["Flöte", "Bass"]


def test_a_bar_of_another_length_gets_its_own_metre():
    assert metres(notation_to_score(music_xml("CDE", "FG", "CDE", "CDE"), "xml")) == [(0, 3, 4), (3, 2, 4), (5, 3, 4)]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "ISO-8859-1"])
def test_any_declared_encoding_is_read(tmp_path: Path, encoding: str):
    path = tmp_path / "tune.musicxml"
    path.write_bytes(music_xml("CDE", encoding=encoding).encode(encoding))
    assert read_score(path).tracks[0].name == "Flöte"


def test_compressed_music_xml_is_read_by_its_container_or_else_its_first_file(tmp_path: Path):
    for container in ('<container><rootfiles><rootfile full-path="in/a.xml"/></rootfiles></container>', "<broken"):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("META-INF/container.xml", container)
            archive.writestr("in/a.xml", music_xml("C", "DEF"))
        (tmp_path / "tune.mxl").write_bytes(data.getvalue())
        assert onsets(read_score(tmp_path / "tune.mxl")) == [2, 3, 4, 5]


def test_a_compressed_file_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.xml", b" " * (ReadLimits().notation_bytes + 1))
    (tmp_path / "bomb.mxl").write_bytes(data.getvalue())
    with pytest.raises(UnreadableFile, match="unpacks to more"):
        read_score(tmp_path / "bomb.mxl")


def test_humdrum_and_mei_are_read(tmp_path: Path):
    (tmp_path / "a.krn").write_text(KERN)
    (tmp_path / "a.mei").write_text(MEI)
    kern, mei = read_score(tmp_path / "a.krn"), read_score(tmp_path / "a.mei")
    assert onsets(kern) == [2, 3, 4, 5, 6]
    assert len(kern.tracks) == 2
    assert [note.pitch for note in mei.tracks[0].notes] == [60, 62]


def test_half_a_file_is_refused_rather_than_read_as_a_shorter_piece(tmp_path: Path):
    text = music_xml("CDE", "FGA")
    (tmp_path / "half.musicxml").write_text(text[: len(text) // 2])
    with pytest.raises(UnreadableFile, match="broken XML"):
        read_score(tmp_path / "half.musicxml")


def test_a_tune_book_is_cut_at_its_tunes_and_the_head_goes_to_each():
    assert split_abc("%%head\nX:1\nK:C\nc\nX:2\nK:C\nd\n") == ["%%head\nX:1\nK:C\nc\n", "%%head\nX:2\nK:C\nd\n"]


@pytest.mark.parametrize("name", ["bwv269", "bwv227.1", "bwv374"])  # pick-up, none, and a bar that is short for good
def test_chorales_agree_with_another_reader_in_every_note_and_bar(name: str):
    music21 = pytest.importorskip("music21")
    path = next(path for path in music21.corpus.getComposer("bach") if path.stem == name)
    score, theirs = read_score(path), music21.converter.parse(path)
    first = theirs.parts[0].getElementsByClass("Measure")
    lacking = first[0].barDuration.quarterLength - first[1].offset
    for part in theirs.parts:
        expected = sorted(
            (float(note.offset + lacking), note.pitch.midi, float(note.quarterLength))
            for note in part.stripTies().flatten().notes
        )
        candidates = [
            sorted((note.time / score.tpq, note.pitch, note.duration / score.tpq) for note in track.notes)
            for track in score.tracks
            if track.name == part.partName
        ]
        assert not expected or expected in candidates
    lines = bar_lines(score)
    for before, measure in pairwise(first):
        completes = before.quarterLength + measure.quarterLength == before.barDuration.quarterLength
        assert float(measure.offset + lacking) in lines or completes


def bar_lines(score) -> set[float]:
    signs = metres(score)
    ends = [time for time, _, _ in signs[1:]] + [score.end() / score.tpq + 1]
    lines: set[float] = set()
    for (time, numerator, denominator), end in zip(signs, ends, strict=True):
        while time < end:
            lines.add(time)
            time += 4 * numerator / denominator
    return lines
