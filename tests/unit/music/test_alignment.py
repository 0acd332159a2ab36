from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played_scores import played_scores, rows_of, score_of
from symusic import Score
from symusic.core import ControlChangeTick, ScoreTick, TempoTick

from aurl.music.alignment import ALIGNED_TICKS, align_to_beats, lay_out_beats
from aurl.music.beats import find_beats, read_beats
from aurl.music.note_arrays import notes_of
from aurl.music.performed import examine_timing
from aurl.music.tempo_map import tempo_map
from aurl.utils.errors import UnreadableFile


def annotated(seconds: list[float], downbeats: list[int], metre: tuple[int, int] = (4, 4)) -> np.ndarray:
    beats = np.zeros((len(seconds), 4))
    beats[:, 0], beats[:, 2:] = seconds, metre
    beats[downbeats, 1] = 1
    return beats


@st.composite
def annotations(draw: st.DrawFn) -> np.ndarray:
    """Beats of any tempo, with metres that change and downbeats anywhere."""
    lengths = draw(st.lists(st.floats(0.1, 3), min_size=2, max_size=30))
    beats = annotated((draw(st.floats(0, 5)) + np.cumsum(lengths)).tolist(), [])
    metre = draw(st.sampled_from([(4, 4), (6, 8), (3, 4), (5, 8), (0, 0), (2, 2)]))
    for row in beats:
        if draw(st.integers(0, 9)) == 0:
            metre = draw(st.sampled_from([(4, 4), (6, 8), (3, 4), (12, 8), (2, 2)]))
        row[1:] = (draw(st.integers(0, 2)) == 0, *metre)
    return beats


@given(played_scores(), annotations())
@settings(max_examples=80, deadline=None)
def test_every_note_sounds_when_it_did_and_nothing_is_lost(score: ScoreTick, beats: np.ndarray) -> None:
    before = score.copy()
    done = align_to_beats(score, beats)
    assert score == before, "the given score was changed"
    old, new = notes_of(score), notes_of(done.score)
    assert len(old.time) == len(new.time)
    slowest = max((tempo.mspq for tempo in done.score.tempos), default=0) / 1e6
    # Rounding moves a beginning by half a tick and an end by up to one and a half, since every note lasts a tick; the
    # shift is the median of both, so up to a tick. Tempi are whole microseconds a quarter, and the last one makes up
    # for the rounding of a longer beat before it: a few microseconds for each quarter that follows the last beat.
    quarters = new.end.max(initial=0) / ALIGNED_TICKS
    tick = slowest / ALIGNED_TICKS
    rounding = 5e-6 * (quarters + 1)
    clock, aligned = tempo_map(score), tempo_map(done.score)
    for track in range(len(score.tracks)):
        mine = [np.sort(c.to_seconds(n.time[n.track == track])) for c, n in ((clock, old), (aligned, new))]
        moves = mine[1] - mine[0] - done.measures["alignment_shift_seconds"]
        assert (np.abs(moves) <= 1.5 * tick + rounding).all()
    assert done.measures["alignment_deviation_ms"] <= (2.5 * tick + rounding) * 1000
    for one, other in zip(score.tracks, done.score.tracks, strict=True):
        for kind in ("controls", "pitch_bends", "pedals", "lyrics"):
            times = [event.time for event in getattr(other, kind)]
            assert len(times) == len(getattr(one, kind)) and times == sorted(times) and min(times, default=0) >= 0


@given(annotations())
@settings(max_examples=150, deadline=None)
def test_beats_rise_and_every_downbeat_begins_a_bar(beats: np.ndarray) -> None:
    layout = lay_out_beats(beats)
    assert len(layout.quarters) == len(beats) and (np.diff(layout.quarters) > 0).all()
    starts = np.array([float(place) for place, _ in layout.metres])
    assert starts[0] == 0 and (np.diff(starts) > 0).all()
    lengths = np.array([4 * n / d for _, (n, d) in layout.metres])
    at = np.searchsorted(starts[1:], layout.quarters, side="right")
    bars = (layout.quarters - starts[at]) / lengths[at]
    down = (beats[:, 1] > 0) & (np.cumsum(beats[:, 1]) > 0)
    assert np.abs(bars[down] - np.round(bars[down])).max(initial=0) < 1e-9


def test_a_pick_up_stands_at_the_end_of_its_bar() -> None:
    layout = lay_out_beats(annotated([0, 1, 2, 3, 4, 5], [1, 5]))
    assert layout.quarters.tolist() == [3, 4, 5, 6, 7, 8] and layout.metres == [(0, (4, 4))]


def test_two_beats_in_six_eight_are_dotted_quarters_and_three_are_quarters_without_a_metre() -> None:
    assert lay_out_beats(annotated([0, 1, 2, 3, 4], [0, 2, 4], (6, 8))).quarters.tolist() == [0, 1.5, 3, 4.5, 6]
    layout = lay_out_beats(annotated([0, 1, 2, 3, 4, 5, 6], [0, 3, 6], (0, 0)))
    assert layout.metres == [(0, (3, 4))] and layout.quarters.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_bar_of_another_length_gets_a_metre_of_its_own_and_a_double_bar_is_two() -> None:
    downbeats = [0, 4, 8, 13, 17, 25]
    layout = lay_out_beats(annotated(list(range(27)), downbeats))
    assert layout.metres == [(0, (4, 4)), (8, (5, 4)), (13, (4, 4))]
    assert layout.quarters.tolist() == list(range(27))


def test_seconds_alone_are_quarters_in_four_four() -> None:
    assert lay_out_beats(np.array([0.3, 0.9, 1.4])).quarters.tolist() == [0, 1, 2]
    assert align_to_beats(score_of([(0, 1, 60, 80)]), np.array([0.3, 0.9, 1.4])).counts["beats_aligned"] == 3


def test_a_performance_with_rubato_lands_on_its_beats() -> None:
    seconds = np.cumsum([1.0, 0.6, 0.5, 0.45, 0.5, 0.7, 0.9, 0.5, 0.5])
    score = score_of([(float(second) * 2, 0.5, 60 + i, 80) for i, second in enumerate(seconds)])
    done = align_to_beats(score, annotated(seconds.tolist(), [0, 4, 8])).score
    assert [round(row[0], 3) for row in rows_of(done)] == list(range(9))
    assert [round(60e6 / tempo.mspq) for tempo in done.tempos][:3] == [100, 120, 133]


def test_notes_before_the_first_beat_get_bars_and_one_just_before_it_is_that_beat() -> None:
    beats = annotated([5.0, 5.5, 6.0, 6.5, 7.0], [0, 4])
    early = align_to_beats(score_of([(2.0, 1, 60, 80), (10.0, 1, 62, 80)]), beats)
    assert [row[0] for row in rows_of(early.score)] == [0, 8]
    near = align_to_beats(score_of([(9.95, 1, 60, 80), (11.0, 1, 62, 80)]), beats)
    assert [row[0] for row in rows_of(near.score)] == [0, 1]
    assert near.measures["alignment_deviation_ms"] < 0.5


def test_set_up_events_stay_at_the_beginning_and_the_old_tempi_are_gone() -> None:
    score = score_of([(10.0, 1, 60, 80)])
    score.tempos.append(TempoTick(0, 120.0))
    score.tracks[0].controls.append(ControlChangeTick(0, 7, 100))
    score.tracks[0].controls.append(ControlChangeTick(4800, 11, 90))
    done = align_to_beats(score, annotated([5.0, 6.0, 7.0, 8.0], [0])).score
    assert [control.time for control in done.tracks[0].controls] == [0, 0]
    assert [round(60e6 / tempo.mspq) for tempo in done.tempos] == [60, 60, 60]


def test_a_beat_of_an_impossible_tempo_is_passed_over_and_counted() -> None:
    seconds = [1.0, 1.5, 1.501, 2.0, 2.5, 12.5, 13.0, 13.5]
    done = align_to_beats(score_of([(2.0, 1, 60, 80), (26.0, 1, 62, 80)]), annotated(seconds, [0, 4]))
    assert done.counts["beats_passed_over"] >= 2
    assert all(60_000 <= tempo.mspq <= 6_000_000 for tempo in done.score.tempos)
    assert done.measures["alignment_deviation_ms"] < 2


@pytest.mark.parametrize("second", [1.001, 20.0])
def test_an_impossible_tempo_after_the_first_beat_is_passed_over_too(second: float) -> None:
    seconds = [1.0, second, *(second + 0.5 * np.arange(1, 12))]
    done = align_to_beats(score_of([(2.0, 1, 60, 80), (23.0, 1, 62, 80)]), annotated(seconds, [0, 4, 8]))
    assert done.counts["beats_passed_over"] >= 1
    assert all(60_000 <= tempo.mspq <= 6_000_000 for tempo in done.score.tempos)


def test_beats_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValueError, match="1 beats; at least two are needed, with times that rise"):
        align_to_beats(score_of([(0, 1, 60, 80)]), np.array([1.0]))
    with pytest.raises(ValueError, match="2 beats"):
        align_to_beats(score_of([(0, 1, 60, 80)]), np.array([1.0, 1.0]))


def test_thirds_of_a_bar_of_four_become_quarters_where_a_bar_is_cut_and_endless_bars_are_refused() -> None:
    layout = lay_out_beats(annotated(list(range(12)), [0, 3, 6, 7, 10]))
    assert layout.metres == [(0, (4, 4)), (8, (1, 4)), (9, (4, 4))]
    assert layout.quarters[6:8].tolist() == [8, 9]
    with pytest.raises(UnreadableFile, match=r"70 beats in a bar; allowed: up to 64"):
        lay_out_beats(annotated(list(range(150)), [0, 70, 140], (0, 0)))


def test_a_score_without_notes_is_aligned_too() -> None:
    done = align_to_beats(ScoreTick(480), annotated([0.0, 1.0, 2.0], [0]))
    assert done.score.note_num() == 0 and done.measures["alignment_deviation_ms"] == 0.0


@pytest.mark.parametrize(("corpus", "after", "off"), [("asap-piano", 0.75, 4.0), ("pop909", 0.3, 1.5)])
def test_real_performances_come_closer_to_the_grid_and_sound_the_same(
    corpora: Callable[[str], Path], corpus: str, after: float, off: float
) -> None:
    folder, shares = corpora(corpus), []
    for path in (folder / "splits" / "test.txt").read_text(encoding="utf-8").splitlines()[:8]:
        file = find_beats(folder / path)
        assert file is not None
        score = Score(str(folder / path))
        done = align_to_beats(score, read_beats(file))
        shares.append([examine_timing(s).off_grid_share for s in (score, done.score)])
        assert done.measures["alignment_deviation_ms"] < off
    before, aligned = np.median(shares, axis=0)
    assert aligned < after < before
