"""Export: the named files appear whole, nothing is written over, and what is not music is refused."""

from __future__ import annotations

import errno
import os
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import symusic

from aurl.generation.export import file_stems, write_samples
from aurl.utils.errors import AurlError

TICKS = 480


@dataclass
class Written:
    """What the generator hands over, as far as export needs it."""

    score: Any
    seed: int
    bars: int | None = None


def sample(seed: int = 1, pitches: tuple[int, ...] = (60, 64, 67)) -> Any:
    score = symusic.Score(TICKS)
    score.tempos.append(symusic.Tempo(0, 240))
    track = symusic.Track("Soprano", 52, False)
    for index, pitch in enumerate(pitches):
        track.notes.append(symusic.Note(index * TICKS, TICKS, pitch, 90))
    score.tracks.append(track)
    return Written(score, seed)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_format_of_every_sample_and_one_page_are_written(tmp_path):
    paths = write_samples([sample(1), sample(2)], tmp_path / "new" / "out", title="Two")
    stems = ("sample_001", "sample_002")
    expected = [f"{stem}{suffix}" for stem in stems for suffix in (".mid", ".wav", ".png")] + ["index.html"]
    assert [path.name for path in paths] == expected
    assert names(tmp_path / "new" / "out") == sorted(expected)
    again = symusic.Score(tmp_path / "new" / "out" / "sample_002.mid")
    assert [note.pitch for note in again.tracks[0].notes] == [60, 64, 67]
    with wave.open(str(tmp_path / "new" / "out" / "sample_001.wav")) as file:
        assert file.getnframes() > file.getframerate() // 2
    page = (tmp_path / "new" / "out" / "index.html").read_text(encoding="utf-8")
    for text in ("<h1>Two</h1>", "Sample 1", "Sample 2", "seed <b>2</b>"):
        assert text in page


def test_a_note_held_over_the_last_bar_line_makes_no_further_bar_on_the_page(tmp_path):
    held = sample()
    held.score.tracks[0].notes.append(symusic.Note(3 * TICKS, 2 * TICKS, 72, 90))
    write_samples([held], tmp_path / "counted", ["html"])
    assert "<b>2</b> bars" in (tmp_path / "counted" / "index.html").read_text(encoding="utf-8")
    held.bars = 1
    write_samples([held], tmp_path / "known", ["html"])
    page = (tmp_path / "known" / "index.html").read_text(encoding="utf-8")
    assert "<b>1</b> bar" in page and "<b>2</b> bars" not in page


def test_only_the_chosen_formats_are_written(tmp_path):
    assert [path.name for path in write_samples([sample()], tmp_path, formats=["midi"])] == ["sample_001.mid"]
    assert names(tmp_path) == ["sample_001.mid"]


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(ValueError, match="formats=midi, mp4: allowed are one or more of midi, wav, png, html"):
        write_samples([sample()], tmp_path, formats=("midi", "mp4"))
    with pytest.raises(ValueError, match="formats=empty"):
        write_samples([sample()], tmp_path, formats=())


def test_music_is_never_written_over_unless_allowed(tmp_path):
    (tmp_path / "sample_002.mid").write_bytes(b"precious")
    with pytest.raises(AurlError, match=r"sample_002\.mid already there; .*overwrite=true"):
        write_samples([sample(), sample()], tmp_path, formats=("midi",))
    assert names(tmp_path) == ["sample_002.mid"]
    assert (tmp_path / "sample_002.mid").read_bytes() == b"precious"
    write_samples([sample(), sample()], tmp_path, formats=("midi",), overwrite=True)
    assert symusic.Score(tmp_path / "sample_002.mid").note_num() == 3


def test_a_sample_without_notes_is_an_error_that_says_so(tmp_path):
    with pytest.raises(AurlError, match=r"1 of 2 samples have no notes \(number 2; seed 9\); nothing was written"):
        write_samples([sample(), sample(9, ())], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(AurlError, match="no samples to write"):
        write_samples([], tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AurlError, match=r"cannot write .*sample_001\.mid"):
        write_samples([sample()], tmp_path / "file" / "out")


def test_a_full_disk_is_one_clear_error_and_leaves_no_half_file(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AurlError, match="No space left on device; free space or choose another folder"):
        write_samples([sample()], tmp_path)
    assert names(tmp_path) == []


def test_progress_counts_the_samples(tmp_path):
    seen: list[tuple[int, int]] = []
    write_samples(
        [sample()] * 3, tmp_path, formats=("midi",), on_progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_more_than_999_samples_get_wider_numbers():
    assert file_stems(2) == ["sample_001", "sample_002"]
    assert file_stems(1000)[0] == "sample_0001"
    assert file_stems(1000)[-1] == "sample_1000"
