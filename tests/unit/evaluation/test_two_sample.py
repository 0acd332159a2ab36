"""Judges guess where there is no difference, see one where there is, and never meet a song twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from symusic import Note, Score, TimeSignature, Track

from aurl.evaluation import two_sample
from aurl.evaluation.comparison import compare_sets, held_out, principal_components, songs_of
from aurl.evaluation.corruptions import bar_shuffle, four_bar_loop, pitch_permutation, velocity_flattening
from aurl.evaluation.judge_network import fit_convolution, view_of
from aurl.evaluation.lag_maps import MAP_BARS, MAP_LAGS, lag_map, random_map_features
from aurl.evaluation.metrics.table import NoteTable, read_table
from aurl.evaluation.rolls import EXCERPT_STEPS, LOWEST, PITCHES, excerpt_rolls, fold, random_features
from aurl.evaluation.two_sample import (
    JUDGES,
    PieceFeatures,
    TwoSampleResult,
    corrected,
    filled,
    fit_linear,
    grouped_folds,
    judge_features,
    two_sample_test,
)
from aurl.utils.errors import AurlError


def walk(seed: int, bars: int = 16) -> Score:
    """A melody in steps."""
    rng = np.random.default_rng(seed)
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    heights = 67 + np.clip(np.cumsum(rng.integers(-2, 3, bars * 8)), -14, 14)
    score.tracks.append(Track(notes=[Note(k * 240, 240, int(h), 80) for k, h in enumerate(heights)]))
    return score


def tables(first: int, count: int) -> list[NoteTable]:
    return [read_table(walk(seed)) for seed in range(first, first + count)]


def test_folds_keep_songs_together_and_both_sets_even() -> None:
    rng = np.random.default_rng(0)
    songs = [f"song {k}" for k in rng.integers(0, 30, 100)]
    labels = rng.integers(0, 2, 100)
    fold = grouped_folds(songs, labels, 5, rng)
    assert all(len({int(f) for f, s in zip(fold, songs, strict=True) if s == song}) == 1 for song in set(songs))
    assert np.bincount(fold, minlength=5).min() >= 17
    alone = grouped_folds([str(k) for k in range(40)], np.repeat([0, 1], 20), 5, rng)
    assert all(np.sum(alone[:20] == part) == np.sum(alone[20:] == part) == 4 for part in range(5))


@pytest.mark.parametrize("judge", ["forest", "random_features"])
def test_a_judge_of_numbers_guesses_on_equal_sets_and_sees_a_shift(judge: str) -> None:
    rng = np.random.default_rng(1)
    sets = rng.standard_normal((2, 60, 6))
    songs = [str(k) for k in range(120)]
    equal = two_sample_test(judge, sets[0], sets[1], (songs[:60], songs[60:]), JUDGES[judge])
    assert 0.35 < equal.accuracy < 0.65 and equal.p_value > 0.05
    assert equal.interval.low < 0.5 < equal.interval.high
    apart = two_sample_test(judge, sets[0], sets[1] + 1.5, (songs[:60], songs[60:]), JUDGES[judge])
    assert apart.accuracy > 0.9 and apart.p_value < 0.001 and apart.interval.low > 0.8


def test_songs_that_stand_on_both_sides_would_give_a_memory_away() -> None:
    """Four versions of each song: a judge that knows songs by heart is right unless songs are kept together."""
    rng = np.random.default_rng(2)
    identity = np.repeat(rng.standard_normal((40, 12)), 4, axis=0) + 0.01 * rng.standard_normal((160, 12))
    songs = [str(k) for k in np.repeat(np.arange(40), 4)]
    grouped = two_sample_test("x", identity[:80], identity[80:], (songs[:80], songs[80:]), JUDGES["forest"])
    mixed = [str(k) for k in range(160)]
    cheating = two_sample_test("x", identity[:80], identity[80:], (mixed[:80], mixed[80:]), JUDGES["forest"])
    assert cheating.accuracy > 0.95 and grouped.accuracy < 0.75


def test_the_level_is_kept_where_there_is_no_difference() -> None:
    alarms = 0
    for seed in range(40):
        sets = np.random.default_rng(seed).standard_normal((2, 25, 4))
        songs = [str(k) for k in range(50)]
        alarms += two_sample_test("x", sets[0], sets[1], (songs[:25], songs[25:]), fit_linear, seed).p_value <= 0.05
    assert alarms / 40 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 40)


def test_gaps_are_filled_from_the_training_pieces_alone() -> None:
    train = np.array([[1.0, math.nan, 5.0], [3.0, math.nan, math.nan], [2.0, math.nan, 7.0]])
    ours, theirs = filled(train, np.array([[math.nan, 9.0, 100.0]]))
    assert ours.tolist() == [[1, 5], [3, 6], [2, 7]] and theirs.tolist() == [[2, 100]]


def test_a_roll_shows_notes_where_they_sound() -> None:
    score = Score(480)
    score.tracks.append(Track(notes=[Note(480, 960, 60, 127), Note(60, 240, 62, 64)]))
    roll = excerpt_rolls(read_table(score))
    assert roll.shape == (1, 4, EXCERPT_STEPS, PITCHES)
    row = 60 - LOWEST
    assert roll[0, 0, 4, row] == 1 and roll[0, 0].sum() == pytest.approx(1 + 64 / 127)
    assert np.flatnonzero(roll[0, 1, :, row]).tolist() == list(range(4, 12))
    assert roll[0, 2].max() == pytest.approx(1.0)  # half a step off the grid
    assert roll[0, 3, 4, row] == roll[0, 3, 0, row + 2] == pytest.approx(31.5 / 32)  # from the mean of the track
    assert fold(np.array([27, 28, 99, 100, 127])).tolist() == [11, 0, 71, 60, 63]


def test_long_pieces_give_excerpts_that_do_not_overlap_and_drums_are_read_where_alone() -> None:
    assert len(excerpt_rolls(read_table(walk(0, bars=80)))) == 4
    assert len(excerpt_rolls(read_table(walk(0, bars=17)))) == 2
    drums = Score(480)
    drums.tracks.append(Track(is_drum=True, notes=[Note(0, 240, 36, 100)]))
    assert excerpt_rolls(read_table(drums)).sum() > 0
    assert excerpt_rolls(read_table(Score(480))).sum() == 0


def test_random_features_follow_from_the_seed_alone() -> None:
    rolls = [excerpt_rolls(table) for table in tables(0, 3)]
    one = random_features(rolls, 4)
    assert np.array_equal(one, random_features(rolls, 4)) and not np.array_equal(one, random_features(rolls, 5))
    assert np.allclose(one[1], random_features(rolls[1:2], 4)[0], atol=1e-5)  # a piece does not depend on the others


def test_the_network_learns_to_hear_shuffled_pitches_and_is_repeatable() -> None:
    import torch

    rng = np.random.default_rng(0)
    real = [view_of(table) for table in tables(0, 20)]
    damaged = [view_of(read_table(pitch_permutation(walk(seed), rng))) for seed in range(20)]
    train = real[:14] + damaged[:14]
    labels = np.repeat([0, 1], 14)
    state = torch.get_rng_state()
    chance = fit_convolution(train, labels, real[14:] + damaged[14:], 0)
    assert torch.equal(state, torch.get_rng_state())  # the caller's own draws are not disturbed
    assert np.mean((chance > 0.5) == np.repeat([False, True], 6)) >= 0.9
    assert np.array_equal(chance, fit_convolution(train, labels, real[14:] + damaged[14:], 0))


def song(seed: int, phrase: int = 4, bars: int = 32) -> Score:
    """Two phrases that come back in turn, as long as asked."""
    rng = np.random.default_rng(seed)
    heights = rng.integers(60, 80, (2, phrase, 8))
    order = np.concatenate([heights[k % 2] for k in range(bars // phrase)]).ravel()
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 4, 4))
    score.tracks.append(Track(notes=[Note(k * 240, 240, int(h), 80) for k, h in enumerate(order)]))
    return score


def test_a_lag_map_shows_what_comes_back_after_how_many_bars() -> None:
    picture = lag_map(read_table(song(0)))
    assert picture.shape == (3, MAP_BARS, MAP_LAGS)
    exists = picture[2] == 1
    assert [int(exists[:, lag].sum()) for lag in (0, 7, 30, 31)] == [31, 24, 1, 0]
    assert exists[8, 7] and not exists[7, 7]  # the bar eight bars before bar 8 is the first
    assert (picture[:2, 8:32, 7] == 1).all() and picture[0, :, :3].mean() < 0.1
    assert picture[:, ~exists].sum() == 0
    assert lag_map(read_table(Score(480))).sum() == 0


def test_features_of_a_lag_map_count_only_what_exists() -> None:
    short, long = (lag_map(read_table(song(0, bars=bars))) for bars in (8, 32))
    features = random_map_features([short, long], 3)
    assert np.isfinite(features).all() and features.shape == (2, 3 * 384)
    assert np.array_equal(features, random_map_features([short, long], 3))
    assert np.allclose(features[1], random_map_features([long], 3)[0], atol=1e-5)
    wide = features[0].reshape(12, 3, 32)[2]  # kernels of sixteen bars find no place in eight
    assert not wide.any() and features[1].reshape(12, 3, 32)[2].any()


@pytest.mark.parametrize("damage", [bar_shuffle, four_bar_loop])
def test_random_features_see_the_order_of_bars_although_no_excerpt_shows_it(damage) -> None:
    rng = np.random.default_rng(0)
    real = judge_features("random_features", [read_table(song(seed)) for seed in range(24)], [])
    damaged = judge_features("random_features", [read_table(damage(song(seed), rng)) for seed in range(24)], [])
    names = [str(k) for k in range(24)]
    assert two_sample_test("x", real, damaged, (names, names), fit_linear, folds=3).accuracy >= 0.9


def test_flat_velocities_are_seen_by_random_features_although_the_mean_stays() -> None:
    pieces = [walk(seed, bars=8) for seed in range(24)]
    for seed, score in enumerate(pieces):
        for note in score.tracks[0].notes:
            note.velocity = 70 + (note.time // 240 * 7 + seed) % 21
    rng = np.random.default_rng(0)
    real = judge_features("random_features", [read_table(score) for score in pieces], [])
    flat = judge_features("random_features", [read_table(velocity_flattening(score, rng)) for score in pieces], [])
    names = [str(k) for k in range(24)]
    assert two_sample_test("x", real, flat, (names, names), fit_linear, folds=3).accuracy >= 0.9


def test_half_of_the_kernels_read_one_plane_alone() -> None:
    rolls = np.random.default_rng(0).random((2, 4, EXCERPT_STEPS, PITCHES)).astype(np.float32)
    without = rolls.copy()
    without[:, 3] = 0
    one, other = random_features([rolls]), random_features([without])
    same = np.isclose(one, other).mean()
    assert 0.375 <= same < 0.6  # three planes of four, of half of the kernels; shares of others may be equal by chance


def test_the_network_reads_the_lag_map_where_excerpts_are_alike() -> None:
    rng = np.random.default_rng(0)
    pieces = [song(seed, bars=16) for seed in range(14)]
    views = [view_of(read_table(each)) for each in (*pieces, *(bar_shuffle(each, rng) for each in pieces))]
    blank = [view._replace(rolls=np.zeros_like(view.rolls[:1])) for view in views]
    train, test = [*range(10), *range(14, 24)], [*range(10, 14), *range(24, 28)]
    chance = fit_convolution([blank[k] for k in train], np.repeat([0, 1], 10), [blank[k] for k in test], 0)
    assert ((chance > 0.5) == np.repeat([False, True], 4)).all()


def test_p_values_are_corrected_for_the_number_of_judges() -> None:
    rows = [TwoSampleResult("x", 0.6, (0.5, 0.7), p, (20, 20)) for p in (0.02, 0.5, 0.01)]
    assert [row.p_holm for row in corrected(rows)] == pytest.approx([0.04, 0.5, 0.03])
    assert corrected([]) == [] and rows[0].to_dict()["p_holm"] is None


def test_components_are_finite_with_gaps_constants_and_outliers() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((50, 6))
    reference[:, 1] = 3
    reference[:, 2] = math.nan
    reference[0, 3] = math.nan
    values = rng.standard_normal((30, 6))
    values[0] = [1e9, 5, 1, math.nan, 0, 0]
    mine, theirs = principal_components(values, reference, 3)
    assert mine.shape == (30, 3) and theirs.shape == (50, 3)
    assert np.isfinite(mine).all() and np.abs(mine).max() < 40


def test_a_set_is_compared_with_a_reference_in_every_way() -> None:
    rng = np.random.default_rng(0)
    files = {f"{k}": read_table(pitch_permutation(walk(k), rng)) for k in range(20)}
    reference = {f"real {k}": table for k, table in enumerate(tables(100, 24))}
    seen: list[tuple[int, int]] = []
    result = compare_sets(files, reference, judges=["forest"], on_progress=lambda d, t: seen.append((d, t)))
    assert result.judges[0].accuracy > 0.9 and 0.2 < result.judges[0].null < 0.8
    assert {row.features for row in result.frechet} == {"musical metrics", "random convolutions", "lag maps"}
    assert all(row.infinity > row.null.high for row in result.frechet if row.features != "lag maps")
    steps = next(row for row in result.distances if row.name == "tonal_distance" or "interval" in row.name)
    assert 0 < steps.overlap <= 1
    assert min(row.p_holm for row in result.distances) < 0.05
    assert result.copies.copied == 0 and result.left_out == {} and seen[-1] == (4, 4)
    values = result.to_dict()
    assert result.judges[0].p_holm == result.judges[0].p_value  # one judge: nothing to correct
    assert values["judges"][0]["null"] == result.judges[0].null and len(values["frechet"]) == 3


def test_what_cannot_be_said_is_left_out_with_its_reason() -> None:
    files = {f"{k}": table for k, table in enumerate(tables(0, 4))}
    result = compare_sets(files, {f"real {k}": table for k, table in enumerate(tables(10, 6))})
    assert result.judges == [] and result.distances == [] and result.frechet == []
    assert result.left_out["judge forest"] == "4 pieces; at least 10 of both sets are needed"
    assert "distances" in result.left_out and "Frechet distance" in result.left_out
    alone = compare_sets(files, {}, training=dict(files))
    assert alone.copies.copied == 1 and alone.copies.human_is_held_out is False
    with pytest.raises(AurlError, match=r"judges=tree is unknown; allowed: forest, convolution, random_features"):
        compare_sets(files, {}, judges=["tree"])


def test_a_version_of_a_reference_piece_is_the_same_song_and_training_pieces_are_not_held_out() -> None:
    one, two = tables(0, 2)
    assert songs_of({"a": one, "b": two}, {"a": one}) == ["a", "file b"]
    assert held_out({"a": one, "b": two}, {"other name": one}) == {"b": two}
    assert held_out({"a": one}, None) is None


def test_each_judge_reads_its_own_features() -> None:
    pieces = tables(0, 2)
    assert judge_features("forest", pieces, [{"pitch_range": 3.0}, {}]).shape[0] == 2
    assert len(judge_features("convolution", pieces, [])) == 2
    maps = random_map_features([lag_map(each) for each in pieces])
    rolls = random_features([excerpt_rolls(each) for each in pieces])
    assert np.array_equal(judge_features("random_features", pieces, []), np.concatenate([rolls, maps], axis=1))


def test_pictures_of_a_piece_are_drawn_once_for_all_that_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(two_sample, "view_of", lambda table: drawn.append(table) or view_of(table))
    features = PieceFeatures(tables(0, 3), [])
    assert len(features) == 3 and not drawn
    for judge in ("convolution", "random_features"):
        assert len(features.of(judge)) == 3
    assert len(features.rolls) == len(features.maps) == len(drawn) == 3
