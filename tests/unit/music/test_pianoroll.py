"""Piano roll: exact note arrays, bars where the metres say, and a picture that shows every track."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import symusic
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from aurl.music.instruments import DRUM_KEYS, PROGRAMS, pitch_name, track_labels
from aurl.music.pianoroll import COLOURS, bar_lines, bar_rows, draw, note_arrays
from aurl.utils.errors import AurlError

TICKS = 480


def make_score(tracks: list[tuple[str, int, bool, list[tuple[float, float, int, int]]]], metres=()) -> symusic.Score:
    """A score of (name, program, drums, [(time, duration in quarters, pitch, velocity)]) tracks."""
    score = symusic.Score(TICKS)
    for time, numerator, denominator in metres:
        score.time_signatures.append(symusic.TimeSignature(int(time * TICKS), numerator, denominator))
    for name, program, drums, notes in tracks:
        track = symusic.Track(name, program, drums)
        for time, duration, pitch, velocity in notes:
            track.notes.append(symusic.Note(int(time * TICKS), int(duration * TICKS), pitch, velocity))
        score.tracks.append(track)
    return score


def colours_in(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png))[..., :3].reshape(-1, 3)


def test_note_arrays_are_in_quarters_sorted_by_onset_and_leave_empty_tracks_out():
    score = make_score(
        [("b", 0, False, [(2, 1, 50, 90)]), ("", 0, False, []), ("", 0, True, [(1, 0, 36, 80), (0.5, 0.25, 38, 70)])]
    )
    notes = note_arrays(score)
    assert notes.onset.tolist() == [0.5, 1, 2]
    assert notes.duration.tolist() == [0.25, 0, 1]
    assert notes.pitch.tolist() == [38, 36, 50]
    assert notes.velocity.tolist() == [70, 80, 90]
    assert notes.track.tolist() == [1, 1, 0]
    assert notes.labels == ("b", "Drums")
    assert notes.drums == (False, True)
    assert notes.end == 3


def test_bars_follow_the_metre_and_reach_the_end():
    score = make_score([], metres=[(0, 3, 4)])
    assert bar_lines(score, 7).tolist() == [0, 3, 6, 9]
    assert bar_lines(score, 6).tolist() == [0, 3, 6]


def test_a_metre_holds_until_the_next_one():
    score = make_score([], metres=[(0, 4, 4), (8, 6, 8)])
    assert bar_lines(score, 14).tolist() == [0, 4, 8, 11, 14]


def test_a_metre_inside_a_bar_cuts_that_bar():
    score = make_score([], metres=[(0, 4, 4), (6, 2, 4)])
    assert bar_lines(score, 9).tolist() == [0, 4, 6, 8, 10]


def test_without_a_metre_bars_are_common_time():
    assert bar_lines(make_score([]), 5).tolist() == [0, 4, 8]
    assert bar_lines(make_score([], metres=[(4, 3, 4)]), 10).tolist() == [0, 4, 7, 10]


def test_metres_after_the_last_note_make_no_bars():
    score = make_score([], metres=[(0, 4, 4), (100, 3, 4)])
    assert bar_lines(score, 8).tolist() == [0, 4, 8]


def test_rows_hold_all_bars_once_and_a_few_spare_bars_make_no_row():
    lines = np.arange(0, 4 * 41, 4.0)  # 40 bars
    rows = bar_rows(lines)
    assert [len(row) - 1 for row in rows] == [14, 14, 12]
    assert all(before[-1] == after[0] for before, after in itertools.pairwise(rows))
    assert len(bar_rows(np.arange(21.0))) == 1
    assert len(bar_rows(np.arange(2000.0))) == 8


def test_the_picture_shows_each_track_in_its_colour(tmp_path):
    tracks = [(f"t{i}", 0, False, [(i, 1, 60 + i, 127)]) for i in range(3)] + [("kit", 0, True, [(0, 1, 36, 127)])]
    png = draw(make_score(tracks), tmp_path / "a.png", title="four tracks")
    assert (tmp_path / "a.png").read_bytes() == png
    pixels = colours_in(png)
    for colour in COLOURS[:4]:
        assert (np.abs(pixels - np.array(to_rgb(colour))).max(axis=1) < 0.02).sum() > 100, colour


def test_longer_music_makes_a_larger_picture():
    sizes = [
        imread(io.BytesIO(draw(make_score([("", 0, False, [(4 * bar, 4, 60, 90) for bar in range(bars)])])))).shape
        for bars in (2, 16, 60)
    ]
    assert sizes[0][1] < sizes[1][1]
    assert sizes[2][0] > 2 * sizes[1][0]


def test_softer_notes_are_paler():
    loud, soft = (colours_in(draw(make_score([("", 0, False, [(0, 4, 60, v)])]))) for v in (127, 20))
    near = [(np.abs(p - np.array(to_rgb(COLOURS[0]))).max(axis=1) < 0.02).sum() for p in (loud, soft)]
    assert near[0] > 3 * near[1]


def test_drums_of_no_length_and_many_tracks_and_long_names_are_drawn():
    tracks = [("x" * 80, i, False, [(i, 1, 40 + i, 90)]) for i in range(20)] + [("", 0, True, [(0, 0, 20, 90)])]
    assert draw(make_score(tracks)).startswith(b"\x89PNG")


def test_a_score_without_notes_and_one_without_end_are_refused():
    with pytest.raises(AurlError, match="no notes"):
        draw(make_score([]))
    with pytest.raises(AurlError, match="at most 20000 can be drawn"):
        draw(make_score([("", 0, False, [(1_000_000, 1, 60, 90)])]))


def test_names_of_pitches_programs_and_tracks():
    assert [pitch_name(p) for p in (0, 21, 60, 127)] == ["C-1", "A0", "C4", "G9"]
    assert len(PROGRAMS) == 128
    assert PROGRAMS[52] == "Choir Aahs"
    assert DRUM_KEYS[35] == "Kick 2"
    assert DRUM_KEYS[81] == "Open triangle"
    score = make_score(
        [(n, p, d, []) for n, p, d in (("", 0, False), ("Solo", 3, False), ("", 0, False), ("", 9, True))]
    )
    assert track_labels(list(score.tracks)) == ["Acoustic Grand Piano 1", "Solo", "Acoustic Grand Piano 2", "Drums"]


@pytest.mark.parametrize("corpus", ["jsb-chorales", "multitrack-free", "groove"])
def test_real_pieces_are_drawn_with_all_their_notes(corpora, corpus):
    path = sorted(Path(corpora(corpus)).rglob("*.mid"))[0]
    score = symusic.Score(path)
    assert len(note_arrays(score)) == score.note_num()
    assert draw(score).startswith(b"\x89PNG")
