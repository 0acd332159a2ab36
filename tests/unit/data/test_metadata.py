from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from symusic.core import KeySignatureTick, NoteTickList, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from aurl.data.manifest import Manifest, ManifestWriter
from aurl.data.metadata import metadata_problems, score_metadata, sidecar_metadata
from aurl.data.metadata_tables import _told, folder_tables
from aurl.data.metadata_values import key_name, normalised
from aurl.data.records import PieceRecord


@pytest.fixture(autouse=True)
def fresh_tables() -> None:
    folder_tables.cache_clear()
    _told.clear()


def write(path: Path, content: str | bytes | dict | list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict | list):
        content = json.dumps(content, ensure_ascii=False)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        ("Bach - Air.mid", {"composer": "Bach", "title": "Air"}),
        ("Satie/Gymnopedie_1.mid", {"composer": "Satie", "title": "Gymnopedie 1"}),
        ("midi/Satie/03 - Gnossienne.mid", {"composer": "Satie", "title": "Gnossienne"}),
        (
            "Jazz/Bill Evans/Waltz for Debby.mid",
            {"genre": "Jazz", "composer": "Bill Evans", "title": "Waltz for Debby"},
        ),
        ("Folk/Irish - Reel - Slow.mid", {"genre": "Folk", "composer": "Irish", "title": "Reel - Slow"}),
        ("0/0a1b2c3d4e5f60718293a4b5c6d7e8f9.mid", {}),
        ("2018/12.mid", {}),
        ("drummer1/take.mid", {"title": "take"}),
        ("Dvořák/Op. 46.mid", {"composer": "Dvořák", "title": "Op. 46"}),
        ("武満/雨.mid", {"composer": "武満", "title": "雨"}),
    ],
)
def test_names_of_files_and_folders_tell_composer_title_and_genre(tmp_path: Path, below: str, expected: dict) -> None:
    assert sidecar_metadata(tmp_path / below, tmp_path) == expected


def test_a_name_that_is_not_utf8_becomes_text_that_can_be_stored(tmp_path: Path) -> None:
    name = b"Faur\xe9 - Pavane.mid".decode("utf-8", "surrogateescape")
    found = sidecar_metadata(tmp_path / name, tmp_path)
    assert found["title"] == "Pavane" and found["composer"].encode("utf-8").startswith(b"Faur")


def test_a_file_that_is_its_own_root_or_outside_it_has_the_metadata_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.json", {"composer": "Berio"})
    song = tmp_path / "in" / "a.mid"
    assert sidecar_metadata(song, song)["composer"] == "Berio"
    assert sidecar_metadata(song, tmp_path / "elsewhere")["composer"] == "Berio"


# --- precedence -------------------------------------------------------------------------------------------------------


def test_a_sidecar_beats_the_nearer_table_which_beats_the_farther_which_beats_the_name(tmp_path: Path) -> None:
    song = tmp_path / "Deep" / "Name - Song.mid"
    assert sidecar_metadata(song, tmp_path)["composer"] == "Name"
    write(tmp_path / "metadata.json", {"composer": "Root", "licence": "CC0"})
    folder_tables.cache_clear()
    assert sidecar_metadata(song, tmp_path)["composer"] == "Root"
    write(song.parent / "list.csv", "file,composer,opus\nName - Song.mid,Table,12\n")
    folder_tables.cache_clear()
    assert sidecar_metadata(song, tmp_path) == {
        "composer": "Table", "title": "Song", "licence": "CC0", "opus": 12
    }  # fmt: skip
    write(song.with_suffix(".json"), {"composer": "Plain"})
    assert sidecar_metadata(song, tmp_path)["composer"] == "Plain"
    write(song.parent / "Name - Song.mid.json", {"composer": "Own"})
    assert sidecar_metadata(song, tmp_path)["composer"] == "Own"


# --- tables -----------------------------------------------------------------------------------------------------------

MAESTRO = (
    "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration\n"
    '"Alban Berg","Sonata Op. 1",validation,2018,2018/one.midi,2018/one.wav,698.66\n'
    '"Frédéric Chopin",1999,train,2008,2008/two.midi,2008/two.wav,007\n'
)


def test_a_table_as_maestro_has_it_gives_fields_under_our_names(tmp_path: Path) -> None:
    write(tmp_path / "maestro-v3.0.0.csv", MAESTRO)
    assert sidecar_metadata(tmp_path / "2018" / "one.midi", tmp_path) == {
        "composer": "Alban Berg", "title": "Sonata Op. 1", "split": "valid", "year": 2018, "duration": 698.66,
        "audio_filename": "2018/one.wav",
    }  # fmt: skip
    second = sidecar_metadata(tmp_path / "2008" / "two.midi", tmp_path)
    assert second["title"] == "1999" and second["duration"] == "007"  # titles and padded numbers stay text


def test_columns_of_a_json_table_become_rows(tmp_path: Path) -> None:
    columns = {"canonical_composer": {"0": "Berg", "1": "Chopin"}, "midi_filename": {"0": "a.mid", "1": "b.mid"}}
    write(tmp_path / "metadata.json", columns)
    assert sidecar_metadata(tmp_path / "b.mid", tmp_path)["composer"] == "Chopin"
    write(tmp_path / "lists" / "metadata.json", {"path": ["c.mid", "d.mid"], "composer": ["Cage", "Dufay"]})
    assert sidecar_metadata(tmp_path / "lists" / "d.mid", tmp_path)["composer"] == "Dufay"


def test_rows_by_name_and_padded_numbers_find_their_files(tmp_path: Path) -> None:
    rows = {"1234": {"metadata": {"genre": "classical", "composer": "bach"}, "audio_scores": {"0": 0.9}}}
    write(tmp_path / "metadata.json", rows)
    found = sidecar_metadata(tmp_path / "data" / "ab" / "001234_0.mid", tmp_path)
    assert (found["composer"], found["genre"], found["audio_scores"]) == ("bach", "classical", {"0": 0.9})
    assert "composer" not in sidecar_metadata(tmp_path / "data" / "ab" / "001235_0.mid", tmp_path)


def test_fields_of_a_whole_folder_stand_beside_rows_of_single_files(tmp_path: Path) -> None:
    write(tmp_path / "metadata.json", {"licence": "CC0-1.0", "a.mid": {"title": "First"}})
    assert sidecar_metadata(tmp_path / "a.mid", tmp_path) == {"title": "First", "licence": "CC0-1.0"}
    assert sidecar_metadata(tmp_path / "b.mid", tmp_path) == {"title": "b", "licence": "CC0-1.0"}


def test_a_row_whose_path_ends_alike_belongs_to_the_file_unless_its_own_file_is_there(tmp_path: Path) -> None:
    write(tmp_path / "info.csv", "path,composer\ntakes/a.mid,Abel\n")
    nested = tmp_path / "midi" / "takes" / "a.mid"
    assert sidecar_metadata(nested, tmp_path)["composer"] == "Abel"
    write(tmp_path / "takes" / "a.mid", b"")
    assert "composer" not in sidecar_metadata(nested, tmp_path)


def test_a_file_name_that_two_rows_share_is_no_ground_to_choose_one(tmp_path: Path) -> None:
    write(tmp_path / "info.csv", "path,composer\nx/a.mid,Abel\ny/a.mid,Bull\n")
    assert "composer" not in sidecar_metadata(tmp_path / "z" / "a.mid", tmp_path)


@pytest.mark.parametrize("text", ["path;composer\r\na.mid;Abel\r\n", "﻿path\tcomposer\na.mid\tAbel\n"])
def test_other_delimiters_and_byte_order_marks_are_understood(tmp_path: Path, text: str) -> None:
    write(tmp_path / "info.csv", text)
    assert sidecar_metadata(tmp_path / "a.mid", tmp_path)["composer"] == "Abel"
    folder_tables.cache_clear()
    write(tmp_path / "info.csv", text.encode("utf-16"))
    assert sidecar_metadata(tmp_path / "a.mid", tmp_path)["composer"] == "Abel"
    assert metadata_problems() == {}


def test_tables_about_something_else_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "notes.csv", "onset,pitch\n0,60\n")
    write(tmp_path / "log.jsonl", '{"step": 1}\n')
    assert sidecar_metadata(tmp_path / "a.mid", tmp_path) == {"title": "a"}


def test_a_table_is_read_once(tmp_path: Path) -> None:
    table = write(tmp_path / "info.csv", "path,composer\na.mid,Abel\n")
    sidecar_metadata(tmp_path / "a.mid", tmp_path)
    table.unlink()
    assert sidecar_metadata(tmp_path / "a.mid", tmp_path)["composer"] == "Abel"


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.json", b'{"composer": ', "broken_json"),
        ("a.json", b"[" * 100_000, "broken_json"),
        ("a.json", b"[1, 2]", "not_an_object"),
        ("metadata.json", b"3", "not_an_object"),
        ("manifest.jsonl", b'{"path": "b.mid"}\nnonsense\n[]\n', "broken_lines"),
        ("info.csv", b'path,composer\na.mid,"' + b"x" * 10_000_001 + b'"\n', "broken_table"),
    ],
)
def test_a_broken_file_costs_one_warning_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes, kind: str
) -> None:
    write(tmp_path / name, content)
    with caplog.at_level(logging.WARNING, logger="aurl"):
        assert sidecar_metadata(tmp_path / "a.mid", tmp_path) == {"title": "a"}
    assert metadata_problems() == {kind: 1} and len(caplog.records) == 1 and name in caplog.text


def test_text_that_is_not_utf8_is_read_as_western_european_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "info.csv", "path,composer\na.mid,Fauré\n".encode("cp1252"))
    assert sidecar_metadata(tmp_path / "a.mid", tmp_path)["composer"] == "Fauré"
    assert metadata_problems() == {"encoding": 1}


def test_a_table_that_cannot_be_read_or_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurl.data.metadata_tables.MAX_TABLE_BYTES", 10)
    write(tmp_path / "info.csv", "path,composer\na.mid,Abel\n")
    sidecar_metadata(tmp_path / "a.mid", tmp_path)
    assert metadata_problems() == {"too_large": 1}
    sidecar = write(tmp_path / "b.json", {"composer": "Bull"})
    monkeypatch.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")))
    assert sidecar_metadata(tmp_path / "b.mid", tmp_path) == {"title": "b"} and sidecar.exists()
    assert metadata_problems() == {"too_large": 1, "unreadable": 1}


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"time_signature": "4-4"}, {"meter": "4/4"}),
        ({"time_signatures": ["3/4"]}, {"meter": "3/4"}),
        ({"time_signatures": ["3/4", "6/8"]}, {"time_signatures": ["3/4", "6/8"]}),
        ({"key": "f#m"}, {"key": "F# minor"}),
        ({"key": "Bb:maj"}, {"key": "Bb major"}),
        ({"key": "b"}, {"key": "B minor"}),
        ({"Key Signature": "E♭ minor"}, {"key": "Eb minor"}),
        ({"key": "dorian on D"}, {"key": "dorian on D"}),
        ({"date": "ca. 1785-03"}, {"year": 1785}),
        ({"year": "unknown"}, {"year": "unknown"}),
        ({"bpm": "138"}, {"tempo": 138}),
        ({"name": "vague", "canonical_title": "clear"}, {"title": "clear"}),
        ({"title": "  / The  Orphan "}, {"title": "The Orphan"}),
        ({"title": "own", "canonical_title": "other"}, {"title": "own"}),
        ({"license": "CC0", "empty": "", "nothing": None, "nan": float("nan")}, {"licence": "CC0"}),
        ({"mood": "sad"}, {"mood": "sad"}),
        ({"subset": "Validation"}, {"split": "valid"}),
        ({None: ["too", "many"], "x": {"y": 1}}, {"x": {"y": 1}}),
    ],
)  # fmt: skip
def test_values_come_in_one_form(row: dict, expected: dict) -> None:
    assert normalised(row) == expected


def test_keys_are_named_by_their_accidentals() -> None:
    assert [key_name(n, False) for n in (-7, 0, 7)] == ["Cb major", "C major", "C# major"]
    assert [key_name(n, True) for n in (-7, 0, 7)] == ["Ab minor", "A minor", "A# minor"]


# --- scores -----------------------------------------------------------------------------------------------------------


def track(pitches: list[int], program: int = 0, is_drum: bool = False, name: str = "", step: int = 480) -> TrackTick:
    count = len(pitches)
    made = TrackTick(name, program, is_drum)
    made.notes = NoteTickList.from_numpy(
        (np.arange(count) * step).astype(np.int32),
        np.full(count, step, dtype=np.int32),
        np.array(pitches, dtype=np.int8),
        np.full(count, 64, dtype=np.int8),
    )
    return made


def test_a_score_tells_programs_metre_tempo_key_and_length() -> None:
    score = ScoreTick(480)
    score.tracks = [track([60, 64, 67, 72], program=40, name="Violin"), track([36, 36], is_drum=True, name="Kit")]
    score.time_signatures.append(TimeSignatureTick(480, 3, 4))
    score.time_signatures.append(TimeSignatureTick(0, 1, 4))
    score.tempos.append(TempoTick(0, mspq=1_000_000))
    score.tempos.append(TempoTick(960, mspq=500_000))
    score.key_signatures.append(KeySignatureTick(0, -3, 1))
    found = score_metadata(score)
    assert found == {
        "programs": [40, 128], "tracks": 2, "notes": 6, "seconds": 3.0, "has_pedal": False, "has_lyrics": False,
        "has_bends": False, "has_markers": False, "has_drums": True, "tempos": 2, "pitch_low": 60, "pitch_high": 72,
        "meters": ["1/4", "3/4"], "meter": "3/4", "tempo": 60.0, "key": "C minor",
    }  # fmt: skip
    json.dumps(found)


def test_what_a_score_does_not_declare_is_left_out() -> None:
    score = ScoreTick(480)
    score.tracks = [track([36], is_drum=True)]
    assert not {"meter", "tempo", "key", "title", "pitch_low"} & score_metadata(score).keys()


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Für Elise", "Für Elise"),
        ("Track 1", None),
        ("piano", None),
        ("Church Organ", None),
        ("", None),
        ("a\x00b", None),
    ],
)
def test_the_name_of_an_only_track_is_a_title_unless_it_is_a_default(name: str, title: str | None) -> None:
    score = ScoreTick(480)
    score.tracks = [track([60], name=name)]
    assert score_metadata(score).get("title") == title


def test_the_name_of_one_part_among_several_is_no_title() -> None:
    score = ScoreTick(480)
    score.tracks = [track([60], name="Lead theme"), track([48], name="Pad layer")]
    assert "title" not in score_metadata(score)


@pytest.mark.parametrize("corpus", ["openscore", "asap-piano", "nottingham", "groove", "multitrack-free", "pop909"])
def test_what_scores_say_agrees_with_the_manifests_of_real_corpora(corpora: Callable[[str], Path], corpus: str) -> None:
    from aurl.music.score import read_score

    root = corpora(corpus)
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows[:: max(len(rows) // 12, 1)]:
        path = root / row["path"]
        beside, inside = sidecar_metadata(path, root), score_metadata(read_score(path))
        assert beside["split"] == row["split"]
        for field in ("programs", "tracks", "notes"):
            assert inside[field] == row[field], (path, field)
        assert inside["seconds"] == pytest.approx(row["seconds"], abs=0.2) or corpus == "groove"
        assert set(inside.get("meters", [])) == set(row.get("time_signatures", []))
        if len(row.get("time_signatures", [])) == 1:
            assert beside["meter"] == inside["meter"]


def test_a_row_may_name_what_no_file_can_be_called(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "file,composer\n" + "x" * 5000 + "/a.mid,Bach\nb\0/c.mid,Abel\n")
    found = [sidecar_metadata(tmp_path / name, tmp_path)["composer"] for name in ("q/a.mid", "q/c.mid")]
    assert found == ["Bach", "Abel"]


def test_any_json_can_lie_beside_music_and_becomes_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        '{"title": "half \\ud800 letter", "\\udfff": 1, "tempo": 1' + "0" * 400 + ', "x": [1e999, {"y": true}]}'
    )
    found = sidecar_metadata(tmp_path / "a.mid", tmp_path)
    assert found == {"title": "half ? letter", "?": 1, "tempo": float("inf"), "x": [float("inf"), {"y": True}]}
    with ManifestWriter(tmp_path / "m.sqlite") as writer:
        writer.add(PieceRecord("a", "train", 1, 1.0, 3, 60, 60, 1, found))
        writer.finish([None])
    assert Manifest(tmp_path / "m.sqlite").select("title == 'half ? letter' and tempo is None").tolist() == [0]


def test_what_is_nested_without_end_is_told_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_text('{"x": ' + "[" * 500 + "]" * 500 + "}")
    (tmp_path / "rows.jsonl").write_text('{"path": "a.mid", "composer": "Satie"}\n' + "[" * 500 + "]" * 500)
    assert sidecar_metadata(tmp_path / "a.mid", tmp_path) == {"composer": "Satie", "title": "a"}
    assert "nested deeper than 32 levels" in caplog.text and "has 1 lines that are no JSON objects" in caplog.text
