"""One reader for every format: what is mended, what is refused, and that broken files in the wild never crash it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from midi_bytes import TWO_NOTES, midi
from symusic.core import ScoreTick

from aurl.music.limits import ReadLimits
from aurl.music.score import parse_midi, read_score, read_scores
from aurl.utils.errors import UnreadableFile

ABC_BOOK = "X:1\nL:1/4\nM:4/4\nK:C\nCDEF|\n\nX:2\nT:empty\nK:C\n\nX:3\nL:1/4\nM:3/4\nK:G\nGAB|\n"


def test_notes_are_read_as_written(tmp_path: Path):
    path = tmp_path / "two notes.MID"
    path.write_bytes(midi(TWO_NOTES))
    score = read_score(path)
    assert [(n.time, n.duration, n.pitch, n.velocity) for n in score.tracks[0].notes] == [
        (0, 96, 60, 64),
        (96, 96, 62, 64),
    ]


@pytest.mark.parametrize(("microseconds", "qpm"), [(0, 1000), (1, 1000), (0xFFFFFF, 10), (500_000, 120)])
def test_tempi_are_moved_into_the_range_of_music(microseconds: int, qpm: float):
    score = parse_midi(midi(b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big") + TWO_NOTES))
    assert [round(tempo.qpm) for tempo in score.tempos] == [qpm]


def test_impossible_metres_and_keys_are_dropped_and_possible_ones_kept():
    metres = (
        b"\x00\xff\x58\x04\x00\x02\x18\x08" + b"\x00\xff\x58\x04\x04\x1f\x18\x08" + b"\x00\xff\x58\x04\x06\x03\x18\x08"
    )
    keys = b"\x00\xff\x59\x02\x63\x00" + b"\x00\xff\x59\x02\x02\x00"
    score = parse_midi(midi(metres + keys + TWO_NOTES))
    assert [(sign.numerator, sign.denominator) for sign in score.time_signatures] == [(6, 8)]
    assert [sign.key for sign in score.key_signatures] == [2]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("silence.mid", midi(b""), "no notes"),
        ("page.pdf", b"%PDF", r"unknown kind of file '.pdf'; allowed: .*\.abc"),
        ("large.mid", b"MThd" + bytes(9000), "9004 bytes; allowed: 8000"),
        ("broken.mid", b"<html>", "no MIDI header"),
        ("broken.musicxml", b"<score-partwise><part", "broken XML .*line 1"),
        ("other.xml", b"<html><body/></html>", "no notation|no notes"),
        ("broken.mxl", b"PK\x03\x04 nothing", "damaged compressed"),
        ("empty.krn", b"", "no notation"),
        ("empty.abc", b"just words", "no notes"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_error_with_path_and_reason(
    tmp_path: Path, name: str, data: bytes, reason: str
):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match=reason) as caught:
        read_score(path, ReadLimits(bytes=8000))
    assert name in str(caught.value)


def test_missing_files_and_folders_are_errors_too(tmp_path: Path):
    with pytest.raises(UnreadableFile, match="No such file"):
        read_score(tmp_path / "missing.mid")
    (tmp_path / "folder.mid").mkdir()
    with pytest.raises(UnreadableFile, match="not a file"):
        read_score(tmp_path / "folder.mid")


def test_a_tune_book_holds_several_scores(tmp_path: Path):
    path = tmp_path / "book.abc"
    path.write_text(ABC_BOOK)
    assert [score.note_num() for score in read_scores(path)] == [4, 3]
    assert read_score(path, tune=2).note_num() == 3
    with pytest.raises(UnreadableFile, match="no notes"):
        read_score(path, tune=1)
    with pytest.raises(UnreadableFile, match="no tune 4"):
        read_score(path, tune=3)


READ_ALL = """
import json, sys
from pathlib import Path
from aurl.music.score import read_scores
from aurl.utils.errors import UnreadableFile
root = Path(sys.argv[1])
for line in (root / "manifest.jsonl").read_text().split("\\n"):
    if line:
        row = json.loads(line)
        try:
            scores = read_scores(root / row["file"])
        except UnreadableFile as error:
            print(json.dumps([row["file"], row["verdict"], row["notes_closed"], None, error.reason]), flush=True)
            continue
        notes = [note for score in scores for track in score.tracks for note in track.notes]
        names = [track.name for score in scores for track in score.tracks]
        assert all(note.time >= 0 and note.end < 2**30 for note in notes)
        assert all(10 <= tempo.qpm <= 1001 for score in scores for tempo in score.tempos)
        print(json.dumps([row["file"], row["verdict"], row["notes_closed"], len(notes), ""]), flush=True)
"""


def test_broken_files_of_the_wild_neither_crash_nor_lose_notes_in_silence(corpora: Callable[[str], Path]):
    root = corpora("hostile_midi")
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(root)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len((root / "manifest.jsonl").read_text().strip().split("\n"))
    for file, verdict, expected, notes, reason in rows:
        if verdict == "parse":
            assert notes == expected, (file, reason)
        if verdict == "repair":
            assert notes >= 0.9 * expected, (file, reason)
        if verdict in ("empty", "error"):
            assert notes is None and reason, file


@pytest.mark.slow
@pytest.mark.parametrize(
    "corpus",
    [
        "asap-piano",
        "giantmidi-sample",
        "groove",
        "jsb-chorales",
        "multitrack-free",
        "nottingham",
        "openscore",
        "pop909",
    ],
)
def test_every_main_file_of_a_corpus_is_read_with_the_notes_that_the_parser_finds(
    corpus: str, corpora: Callable[[str], Path]
):
    root = corpora(corpus)
    for line in (root / "manifest.jsonl").read_text(encoding="utf-8").strip().split("\n"):
        path = root / json.loads(line)["path"]
        assert read_score(path).note_num() == ScoreTick(path).note_num(), path
