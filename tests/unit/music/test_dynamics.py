from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played_scores import played_scores, rows_of, score_of
from symusic.core import ScoreTick

from aurl.music.dynamics import normalise_velocities, velocity_map
from aurl.music.note_arrays import notes_of

levels_and_weights = st.dictionaries(st.integers(1, 127), st.integers(1, 500), min_size=1)


def extremes(share: np.ndarray, gap: float) -> tuple[float, float]:
    """The least and the greatest mean of levels ``gap`` apart."""
    steps = gap * np.arange(len(share))
    return 1 + float((steps * share).sum()), 127 - float((steps[::-1] * share).sum())


@given(levels_and_weights, st.floats(1, 127), st.one_of(st.none(), st.floats(0.5, 60)))
@settings(max_examples=100, deadline=None)
def test_louder_stays_louder_within_the_range_of_midi(
    counts: dict[int, int], mean: float, spread: float | None
) -> None:
    levels = np.array(sorted(counts))
    share = np.array([counts[level] for level in levels.tolist()]) / sum(counts.values())
    new = velocity_map(levels, share, mean, spread)
    assert (np.diff(new) >= 0).all() and new[0] >= 1 and new[-1] <= 127
    assert np.unique(new, return_counts=True)[1].max() <= 2
    low, high = extremes(share, 1)
    if low <= mean <= high:
        assert (np.diff(new) > 0).all()


@given(levels_and_weights, st.floats(1, 127))
@settings(max_examples=100, deadline=None)
def test_the_mean_is_met_wherever_so_many_levels_can_have_it(counts: dict[int, int], mean: float) -> None:
    levels = np.array(sorted(counts))
    share = np.array([counts[level] for level in levels.tolist()]) / sum(counts.values())
    new = velocity_map(levels, share, mean, None)
    assert abs((new * share).sum() - np.clip(mean, *extremes(share, 0.5))) <= 1


def test_so_many_levels_that_the_mean_is_out_of_reach_join_in_pairs_and_are_counted() -> None:
    score = score_of([(i / 4, 0.25, 60, 10 + i) for i in range(100)])
    assert normalise_velocities(score, 62)[1]["velocity_levels_joined"] == 0
    result, counts, measures = normalise_velocities(score, 95)
    assert measures["velocity_mean"] == pytest.approx(95, abs=0.5)
    assert counts["velocity_levels_joined"] == 100 - len({row[3] for row in rows_of(result)}) > 0


@given(played_scores(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_only_velocities_change_and_equal_stays_equal(score: ScoreTick, drums: bool) -> None:
    result, counts, _ = normalise_velocities(score, 70, drums=drums)
    old, new = notes_of(score), notes_of(result)
    # the arrays of both are in the order of readers once they are sorted alike
    order = [np.lexsort((n.velocity, n.pitch, n.end, n.time, n.track)) for n in (old, new)]
    old, new = old.take(order[0]), new.take(order[1])
    for field in ("time", "end", "pitch", "track"):
        assert (getattr(old, field) == getattr(new, field)).all()
    taking_part = np.ones(len(old.time), bool) if drums else ~old.drum
    pairs = set(zip(old.velocity[taking_part].tolist(), new.velocity[taking_part].tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert (old.velocity[~taking_part] == new.velocity[~taking_part]).all()
    assert counts["velocities_changed"] == int((old.velocity != new.velocity).sum())


def test_a_shift_that_fits_is_a_plain_shift() -> None:
    assert velocity_map(np.array([40, 50, 70]), np.array([1, 2, 1]), 62.5, None).tolist() == [50, 60, 80]


def test_a_crescendo_at_the_upper_end_keeps_every_step_where_clipping_would_make_a_plateau() -> None:
    levels = np.arange(20, 60)
    new = velocity_map(levels, np.ones(40, int), 105.5, None)
    assert new.tolist() == list(range(86, 126)), "there is room: a shift"
    new = velocity_map(np.array([10, 50, 90]), np.array([1, 1, 1]), 115, None)
    assert len(set(new.tolist())) == 3 and new.max() <= 127 and new.mean() == pytest.approx(115, abs=0.5)


def test_the_spread_can_be_set_and_a_flat_piece_only_moves() -> None:
    rng = np.random.default_rng(0)
    score = score_of([(i / 2, 0.5, 60, 8 * int(v)) for i, v in enumerate(rng.normal(8, 2.5, 400).clip(1, 15))])
    measures = normalise_velocities(score, 80, spread=12)[2]
    assert measures["velocity_mean"] == pytest.approx(80, abs=0.5)
    assert measures["velocity_spread"] == pytest.approx(12, rel=0.15)
    flat = score_of([(i, 1, 60, 100) for i in range(4)])
    assert {row[3] for row in rows_of(normalise_velocities(flat, 64, spread=12)[0])} == {64}


def test_drums_may_stay_out_and_a_score_of_drums_alone_is_then_left_alone() -> None:
    score = score_of([(0, 1, 60, 40)], [(0, 1, 36, 120)], drums=(1,))
    result, counts, measures = normalise_velocities(score, 80, drums=False)
    assert (rows_of(result)[0][3], rows_of(result, 1)[0][3]) == (80, 120)
    assert counts == {"velocities_changed": 1, "velocity_levels_joined": 0} and measures["velocity_mean_before"] == 40
    drums_only = score_of([(0, 1, 36, 120)], drums=(0,))
    assert normalise_velocities(drums_only, 80, drums=False) == (drums_only, {"velocities_changed": 0}, {})


def test_nothing_to_do_gives_back_the_very_score() -> None:
    score = score_of([(0, 1, 60, 80)])
    assert normalise_velocities(score, 80)[0] is score
