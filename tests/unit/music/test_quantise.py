from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played_scores import jittered, played_scores, rows_of, score_of
from symusic import Score
from symusic.core import ControlChangeTick, PedalTick, ScoreTick, TempoTick, TextMetaTick, TimeSignatureTick

from aurl.music.metrical_grid import grid_resolution, metrical_grid
from aurl.music.note_arrays import LAST_TICK, notes_of
from aurl.music.quantise import Quantise, quantise
from aurl.music.tempo_map import tempo_map
from aurl.utils.errors import UnreadableFile

GRIDS = [grid for grid in Quantise if grid is not Quantise.none]


@given(played_scores(), st.sampled_from(GRIDS), st.sampled_from([1, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_every_note_lies_on_the_grid_has_length_and_no_double(score: ScoreTick, grid: Quantise, subdivide: int) -> None:
    result = quantise(score, grid, subdivide).score
    notes = notes_of(result)
    positions, _ = metrical_grid(score, result.ticks_per_quarter, subdivide)
    for times in (notes.time, notes.end):
        on_binary = positions.nearest(times.astype(float), False) == times
        on_ternary = positions.nearest(times.astype(float), True) == times
        allowed = {Quantise.sixteenths: on_binary, Quantise.triplets: on_ternary}.get(grid, on_binary | on_ternary)
        assert allowed.all()
    assert (notes.end > notes.time).all()
    keys = np.stack([notes.track, notes.pitch, notes.time])
    assert np.unique(keys, axis=1).shape[1] == keys.shape[1]


@given(played_scores(), st.sampled_from(GRIDS))
@settings(max_examples=40, deadline=None)
def test_order_is_kept_notes_move_less_than_a_step_and_nothing_else_is_lost(score: ScoreTick, grid: Quantise) -> None:
    before = score.copy()
    done = quantise(score, grid)
    result = done.score
    assert score == before, "the given score was changed"
    assert done.counts["notes_merged"] + result.note_num() == score.note_num()
    assert done.errors["onset_error_p95_quarters"] <= 1 / 6 + 1e-9
    for old, new in zip(score.tracks, result.tracks, strict=True):
        assert (new.is_drum, new.program) == (old.is_drum, old.program)
        for kind in ("controls", "pitch_bends", "pedals", "lyrics"):
            times = [event.time for event in getattr(new, kind)]
            assert len(times) == len(getattr(old, kind)) and times == sorted(times) and min(times, default=0) >= 0
        assert {note.pitch for note in new.notes} == {note.pitch for note in old.notes}
    for kind in ("tempos", "time_signatures", "key_signatures", "markers"):
        times = [event.time for event in getattr(result, kind)]
        assert len(times) == len(getattr(score, kind)) and times == sorted(times)


@given(played_scores(), st.sampled_from([Quantise.sixteenths, Quantise.triplets]))
@settings(max_examples=30, deadline=None)
def test_quantising_twice_changes_nothing_more(score: ScoreTick, grid: Quantise) -> None:
    once = quantise(score, grid).score
    twice = quantise(once, grid)
    assert [rows_of(once, i) for i in range(len(once.tracks))] == [
        rows_of(twice.score, i) for i in range(len(once.tracks))
    ]
    assert twice.errors["onset_error_mean_ms"] == 0.0 and twice.counts["notes_merged"] == 0


def test_none_gives_back_the_very_score() -> None:
    score = score_of([(0.1, 1, 60, 80)])
    done = quantise(score, Quantise.none)
    assert done.score is score and not done.counts and not done.errors


def test_early_and_late_notes_find_their_sixteenth_and_the_error_is_measured() -> None:
    score = score_of([(0.02, 0.98, 60, 80), (0.98, 0.5, 62, 80), (1.77, 0.02, 64, 80)])
    done = quantise(score, Quantise.sixteenths)
    assert rows_of(done.score) == [(0, 1, 60, 80), (1, 0.5, 62, 80), (1.75, 0.25, 64, 80)]
    assert done.counts["notes_lengthened"] == 1
    ticks = 10 / 480  # 0.02 quarters are 10 ticks (9.6), here 120 quarters a minute
    assert done.errors["onset_error_mean_quarters"] == pytest.approx(ticks, abs=1e-3)
    assert done.errors["onset_error_mean_ms"] == pytest.approx(ticks * 500, abs=0.5)


def test_errors_in_milliseconds_follow_the_tempo() -> None:
    score = score_of([(0.1, 1, 60, 80)])
    slow = score.copy()
    slow.tempos.append(TempoTick(0, 30.0))
    fast, slow_error = (quantise(s, Quantise.sixteenths).errors["onset_error_mean_ms"] for s in (score, slow))
    assert slow_error == pytest.approx(4 * fast)


def test_the_mixed_grid_finds_triplets_and_sixteenths_side_by_side() -> None:
    rows = [(beat + step / 4, 0.2, 60 + step, 80) for beat in (0, 1, 4, 5) for step in range(4)]
    rows += [(beat + step / 3, 0.3, 70 + step, 80) for beat in (2, 3, 6, 7) for step in range(3)]
    played = jittered(score_of(rows), 0.02)
    done = quantise(played, Quantise.mixed)
    assert sorted(note[0] for note in rows_of(done.score)) == pytest.approx(sorted(row[0] for row in rows), abs=1e-9)
    assert done.counts["ternary_pulses"] == 4
    assert (
        quantise(played, Quantise.sixteenths).errors["onset_error_mean_quarters"]
        > done.errors["onset_error_mean_quarters"]
    )


def test_tracks_choose_their_grids_apart() -> None:
    three = [(beat + step / 3, 0.3, 70, 80) for beat in range(4) for step in range(3)]
    four = [(beat + step / 4, 0.2, 50, 80) for beat in range(4) for step in range(4)]
    done = quantise(jittered(score_of(three, four), 0.01), Quantise.mixed).score
    assert [row[0] for row in rows_of(done, 0)] == pytest.approx([row[0] for row in three])
    assert [row[0] for row in rows_of(done, 1)] == pytest.approx([row[0] for row in four])


def test_in_metres_over_eight_the_three_eighths_of_a_beat_are_binary_and_the_ternary_grid_divides_the_eighth() -> None:
    eighths = score_of([(step / 2 + 0.02, 0.4, 60, 80) for step in range(12)])
    eighths.time_signatures[0] = TimeSignatureTick(0, 6, 8)
    done = quantise(eighths, Quantise.mixed)
    assert done.counts["ternary_pulses"] == 0
    assert [row[0] for row in rows_of(done.score)] == [step / 2 for step in range(12)]
    assert metrical_grid(eighths, 480, 1)[0].ternary.tolist() == [80]


def test_after_an_odd_bar_the_grid_begins_anew_and_a_metre_off_the_grid_is_moved_and_counted() -> None:
    score = score_of([(3.5 + beat + 1 / 3, 0.1, 60, 80) for beat in range(4)])
    score.time_signatures[0] = TimeSignatureTick(0, 7, 8)
    score.time_signatures.append(TimeSignatureTick(round(3.5 * 480) + 7, 3, 4))
    done = quantise(score, Quantise.triplets)
    assert [row[0] for row in rows_of(done.score)] == pytest.approx([3.5 + beat + 1 / 3 for beat in range(4)])
    assert done.score.time_signatures[1].time == 3.5 * done.score.ticks_per_quarter
    assert done.counts["metres_moved"] == 1


def test_notes_that_meet_become_one_as_long_as_the_longest_and_as_loud_as_the_loudest() -> None:
    score = score_of([(0.98, 0.1, 60, 40), (1.02, 2.0, 60, 90), (1.0, 1, 64, 50)], [(1.01, 1, 60, 70)])
    done = quantise(score, Quantise.sixteenths)
    assert rows_of(done.score) == [(1, 1, 64, 50), (1, 2, 60, 90)]
    assert rows_of(done.score, 1) == [(1, 1, 60, 70)], "another track keeps its own note"
    assert done.counts["notes_merged"] == 1


def test_controllers_and_pedals_go_with_the_notes_and_the_tempo_stays_on_the_beat() -> None:
    score = score_of([(0, 1, 60, 80), (1.1, 0.8, 62, 80), (2.0, 1, 64, 80)])
    track = score.tracks[0]
    track.controls.append(ControlChangeTick(round(1.1 * 480), 11, 100))
    track.pedals.append(PedalTick(round(1.1 * 480), round(0.9 * 480)))
    track.lyrics.append(TextMetaTick(round(1.1 * 480), "now"))
    score.tempos.append(TempoTick(round(1.1 * 480), 90.0))
    result = quantise(score, Quantise.sixteenths).score
    track = result.tracks[0]
    assert [track.notes[1].time, track.controls[0].time, track.pedals[0].time, track.lyrics[0].time] == [480] * 4
    assert track.pedals[0].time + track.pedals[0].duration == 960
    assert result.tempos[0].time == round(1.1 * 480)


def test_legato_stays_legato() -> None:
    score = score_of([(0, 0.9, 60, 80), (0.9, 1.17, 62, 80), (2.07, 1, 64, 80)])
    notes = notes_of(quantise(score, Quantise.sixteenths).score)
    assert (notes.end[:-1] == notes.time[1:]).all()


def test_a_resolution_without_the_grid_becomes_480_and_sounds_at_the_same_seconds() -> None:
    score = score_of([(step / 4, 0.25, 60, 80) for step in range(8)], resolution=1024)
    score.tempos.append(TempoTick(0, 100.0))
    score.tempos.append(TempoTick(1024, 77.0))
    assert grid_resolution(score, 1) == 480
    result = quantise(score, Quantise.mixed).score
    assert result.ticks_per_quarter == 480
    times = [tempo_map(s).to_seconds(notes_of(s).time) for s in (score, result)]
    np.testing.assert_allclose(times[0], times[1], atol=1e-9)


def test_a_piece_too_long_for_the_finer_grid_is_refused_in_one_line() -> None:
    score = score_of([(0, 1, 60, 80)], resolution=1)
    score.tracks[0].notes[0].time = LAST_TICK - 2
    with pytest.raises(UnreadableFile, match=rf"a note ends at tick \d+; allowed: below {LAST_TICK}"):
        quantise(score, Quantise.sixteenths)


def test_a_score_without_notes_or_tracks_passes() -> None:
    for score in (ScoreTick(480), score_of([])):
        for grid in GRIDS:
            done = quantise(score, grid)
            assert done.score.note_num() == 0 and done.errors["onset_error_mean_ms"] == 0.0


@pytest.mark.parametrize(("corpus", "file"), [("openscore", None), ("pop909", "cl.mid")])
def test_notated_music_hardly_moves(corpora: Callable[[str], Path], corpus: str, file: str | None) -> None:
    folder, kept = corpora(corpus), []
    for path in (folder / "splits" / "valid.txt").read_text(encoding="utf-8").splitlines()[:9]:
        score = Score(str((folder / path).with_name(file) if file else folder / path))
        result = quantise(score, Quantise.mixed).score
        before, after = (np.round(notes_of(s).time / s.ticks_per_quarter, 3) for s in (score, result))
        kept.append(float(np.isin(before, after).mean()))
    assert np.median(kept) > 0.95
