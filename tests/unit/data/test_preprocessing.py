from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from score_strategies import make_score

from aurl.data.preprocessing import (
    PreprocessConfig,
    Quantise,
    beats_beside,
    log_lines,
    preprocess_score,
)
from aurl.music.dynamics import Velocity
from aurl.music.polyphony import Polyphony
from aurl.utils.errors import UnreadableFile

EVERYTHING = PreprocessConfig(
    align_beats=True,
    quantise=Quantise.mixed,
    polyphony=Polyphony.max_voices,
    max_voices=2,
    velocity=Velocity.normalise,
)


def performance(notes: int = 200):
    places = np.sort(np.random.default_rng(0).uniform(0, notes / 2, notes))
    return make_score([(0, [(float(place), 1.0, 40 + i % 40, 30 + i % 60) for i, place in enumerate(places)])])


def test_the_default_changes_nothing_but_measures() -> None:
    score = performance()
    done = preprocess_score(score, PreprocessConfig())
    assert done.score is score and done.counts == {"pieces_performed": 1}
    assert done.measures["performed"] == 1.0 and done.measures["off_grid_share"] == pytest.approx(1, abs=0.15)


def test_all_steps_follow_each_other_and_the_mean_is_that_of_the_notes_that_are_left() -> None:
    score = performance()
    beats = np.column_stack([np.arange(0, 55, 0.6), np.arange(92) % 4 == 0, np.full(92, 4), np.full(92, 4)])
    done = preprocess_score(score, EVERYTHING, beats)
    velocities = [note.velocity for track in done.score.tracks for note in track.notes]
    assert np.mean(velocities) == pytest.approx(80, abs=0.5)
    assert len(velocities) < 200 and done.counts["notes_left_out"] + done.counts.get("notes_merged", 0) > 0
    assert done.counts["pieces_aligned"] == 1 and "pieces_performed" not in done.counts
    step = done.score.ticks_per_quarter // 12
    assert all(note.time % step == 0 for track in done.score.tracks for note in track.notes)
    expected = {"off_grid_share_aligned", "onset_error_mean_ms", "duration_error_p95_quarters", "velocity_mean"}
    assert expected <= set(done.measures)
    assert all(isinstance(value, float) for value in done.measures.values())
    assert all(type(count) is int and count > 0 for count in done.counts.values())


def test_a_piece_without_annotation_is_counted_and_otherwise_treated_the_same() -> None:
    score = performance()
    done = preprocess_score(score, EVERYTHING)
    assert done.counts["pieces_not_aligned"] == 1 and done.counts["pieces_performed"] == 1
    assert "off_grid_share_aligned" not in done.measures and "onset_error_mean_ms" in done.measures


def test_beats_without_the_setting_are_not_used() -> None:
    score = performance()
    assert preprocess_score(score, PreprocessConfig(), np.arange(10.0)).score is score


def test_settings_and_reports_travel_between_processes() -> None:
    assert pickle.loads(pickle.dumps(EVERYTHING)) == EVERYTHING
    done = preprocess_score(performance(), EVERYTHING)
    assert pickle.loads(pickle.dumps(done)).counts == done.counts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subdivide": 3}, r"preprocess.subdivide=3 is unknown; allowed: 1, 2, 4"),
        ({"max_voices": 0}, r"preprocess.max_voices=0 is out of range; allowed: 1 to 64"),
        ({"velocity_mean": 128.0}, r"preprocess.velocity_mean=128.0 is out of range; allowed: 1 to 127"),
        (
            {"velocity_spread": 0.0},
            r"preprocess.velocity_spread=0.0 is out of range; allowed: above 0 up to 63, or null",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreprocessConfig(**settings)


def test_the_annotation_beside_a_piece_is_read_missing_is_none_and_damaged_is_an_error(tmp_path: Path) -> None:
    assert beats_beside("") is None and beats_beside(tmp_path / "x.mid") is None
    (tmp_path / "x.beats").write_text("0.5 1\n1.0 2\n1.5 1\n", encoding="utf-8")
    beats = beats_beside(tmp_path / "x.mid")
    assert beats is not None and beats[:, 0].tolist() == [0.5, 1.0, 1.5]
    (tmp_path / "x.beats").write_text("0.5 1\nlater 2\n", encoding="utf-8")
    with pytest.raises(UnreadableFile, match=r"x.beats: line 2: 'later' is not a number"):
        beats_beside(tmp_path / "x.mid")


def test_the_log_says_how_many_bars_are_a_clock_and_how_many_pieces_were_not_aligned() -> None:
    lines = log_lines({"pieces_performed": 7, "pieces_not_aligned": 2, "notes_merged": 5, "notes_cut": 1})
    assert lines[0].startswith("7 pieces look performed: their bars are a clock")
    assert lines[1:] == [
        "2 pieces have no beat annotation and were not aligned",
        "Preprocessing: notes cut 1, notes merged 5",
    ]
    assert log_lines({}) == []
