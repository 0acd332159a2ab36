"""``aurl-data report``: a folder or settings in, a page and figures out, one line for every mistake."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import pytest
from symusic import Score
from symusic.core import NoteTick, TrackTick

from aurl.cli import data, data_report
from aurl.utils.errors import AurlError


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "My [songs], été = 1"
    folder.mkdir()
    for step in range(3):
        score = Score(480)
        score.tracks.append(TrackTick("", 0, False))
        for index in range(24):
            score.tracks[0].notes.append(NoteTick(index * 240, 240, 60 + index * (step + 2) % 13, 64))
        score.dump_midi(folder / f"{step}.mid")
    (folder / "broken.mid").write_bytes(b"no music")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AURL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_of_any_name_becomes_a_page_and_figures(
    tmp_path: Path, music: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "new" / "report"
    assert data.execute(["report", str(music), "--output", str(output), "--workers", "1"]) == 0
    report = json.loads((output / "report.json").read_text())
    page = (output / "report.html").read_text(encoding="utf-8")
    assert report["name"] == music.name and f"Data report: {music.name}" in page
    assert report["counts"]["all"] | {"tokens": 0, "hours": 0} == {
        "pieces": 3, "notes": 72, "tokens": 0, "hours": 0, "skipped": 1, "repaired": 0,
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "worry: 1 file (25.0%) could not be read and is left out." in printed
    assert f"Look:    {output / 'report.html'}" in printed
    assert sorted(os.listdir(output)) == ["report.html", "report.json"]


def test_settings_are_those_of_training(music: Path, cache: Path):
    typed = ["data=folder", f"data.path={music}", "tokenizer.velocities=8", "data.valid_share=0.25"]
    corpus, tokenizer, prepared, _ = data_report.corpus_of(typed, workers=3)
    assert (corpus.source.value, corpus.path, corpus.valid_share, corpus.workers) == ("folder", str(music), 0.25, 3)
    assert (tokenizer.velocities, prepared) == (8, cache)


def test_a_folder_can_be_combined_with_settings_and_one_named_like_a_setting_is_a_folder(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    corpus, tokenizer, prepared, _ = data_report.corpus_of(
        [str(music), "tokenizer.velocities=4", f"paths.cache={tmp_path / 'other'}"]
    )
    assert (corpus.path, data_report.title_of(corpus), tokenizer.velocities) == (str(music), music.name, 4)
    assert prepared == tmp_path / "other"
    music.rename(tmp_path / "data=pop")
    monkeypatch.chdir(tmp_path)
    corpus, *_ = data_report.corpus_of(["data=pop"])
    assert corpus.path == str(tmp_path / "data=pop")


def test_the_corpus_is_prepared_once_for_the_report_and_for_training(music: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(music.parent)
    told = data_report.corpus_of([music.name])
    for typed in ([str(music)], ["data=folder", f"data.path={music.name}"], ["data=folder", f"data.path={music}"]):
        assert data_report.corpus_of(typed) == told
    assert told[0].name == "folder"  # as aurl-train data=folder has it
    named, *_ = data_report.corpus_of([str(music), "data.name=mine"])
    assert data_report.title_of(named) == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/such/folder"], "no/such/folder: no such folder or file, and no setting"),
        (["data=nothing"], "data=nothing"),
        (["data.valid_share=2"], "data.valid_share=2.0 is out of range; allowed: 0 up to, not including, 1"),
        (["data=folder", "data.colour=red"], "data.colour"),
        (["data=folder"], "data.path is missing"),
        (["model.layers=3"], "model.layers=3: no such folder or file, and no setting"),
        ([".", ".."], "2 paths (., .. ...); give one folder that holds all"),
        ([".", "--workers", "-1"], "--workers -1 is too small; allowed: 0 (one a core) or more"),
    ],
)
def test_every_mistake_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert data.execute(["report", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_a_folder_without_readable_music_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "music"
    folder.mkdir()
    assert data.execute(["report", str(folder)]) == 1
    assert "holds no music files" in capsys.readouterr().err
    (folder / "a.mid").write_bytes(b"x")
    assert data.execute(["report", str(folder), "--workers", "1"]) == 1
    assert "none of 1 pieces could be read; the first, a.mid: no MIDI header" in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "taken").write_text("mine")
    assert data.execute(["report", str(music), "--workers", "1", "--output", str(tmp_path / "taken")]) == 1
    assert "taken is a file; give a folder" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


def test_the_verb_explains_itself(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as leaving:
        data.execute(["report", "--help"])
    assert leaving.value.code == 0 and "aurl-data report ~/midi" in capsys.readouterr().out
    verbs = argparse.ArgumentParser().add_subparsers()
    data_report.add_verb(verbs)
    assert list(verbs.choices) == ["report"]
    with pytest.raises(AurlError):
        data_report.corpus_of(["data=nothing"])
