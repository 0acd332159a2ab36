"""Intervals hold the truth, tests keep their level, and two runs are compared pair by pair."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from aurl.evaluation import paired
from aurl.evaluation.paired import (
    paired_bootstrap,
    paired_test,
    sign_flip_test,
    sign_patterns,
    sign_test,
    typical_interval,
)
from aurl.evaluation.significance import compare, holm
from aurl.utils.errors import AurlError


@pytest.mark.parametrize("method", ["studentised", "bca", "percentile"])
def test_95_of_100_intervals_hold_the_true_difference(method: str) -> None:
    rng = np.random.default_rng(1)
    trials = 400
    held = 0
    for _ in range(trials):
        low, high = paired_bootstrap(rng.normal(0.3, 1, 60), method=method, resamples=600, rng=rng)
        held += low <= 0.3 <= high
    assert 0.92 <= held / trials <= 0.98  # 0.95 within three standard errors


def test_bca_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    ours = paired_bootstrap(values, method="bca", resamples=40_000)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=40_000, random_state=0).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_no_spread_and_no_pairs_have_no_interval_to_speak_of() -> None:
    assert paired_bootstrap(np.full(6, 2.0)) == (2.0, 2.0)
    assert all(math.isnan(end) for end in paired_bootstrap(np.array([1.0])))
    few = paired_bootstrap(np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert all(math.isfinite(end) for end in few)


def test_wrong_methods_and_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"method=bcd is unknown; allowed: studentised, bca, percentile"):
        paired_bootstrap(np.arange(5.0), method="bcd")
    with pytest.raises(ValueError, match=r"level=95 is out of range"):
        paired_bootstrap(np.arange(5.0), level=95)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_the_exact_test_counts_all_signs(values: list[int]) -> None:
    size = len(values)
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in itertools.product((1, -1), repeat=size)
    ]
    expected = np.mean([one >= abs(sum(values)) for one in sums])
    assert sign_flip_test(np.array(values, dtype=float)) == pytest.approx(expected)


def test_random_signs_come_near_the_exact_test_and_never_give_zero() -> None:
    values = np.random.default_rng(2).normal(0.4, 1, 30)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, random_state=0
    ).pvalue
    assert sign_flip_test(values, resamples=20_000) == pytest.approx(theirs, abs=0.02)
    assert sign_flip_test(np.arange(1.0, 40.0), resamples=500) == pytest.approx(1 / 501)


def test_the_level_is_kept_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(4)
    alarms = np.mean([sign_flip_test(rng.standard_normal(12)) <= 0.05 for _ in range(600)])
    assert alarms <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


@given(
    st.lists(st.integers(-9, 9).map(float), min_size=6, max_size=24),
    st.sampled_from([0.8, 0.95]),
    st.floats(-3, 3),
)
def test_the_interval_holds_zero_just_where_the_test_does_not_reject(
    values: list[float], level: float, shift: float
) -> None:
    differences = np.array(values) + shift
    (low, high), p_value = paired_test(differences, level, resamples=300)
    assert 0 < p_value <= 1 and low <= differences.mean() + 1e-9 and high >= differences.mean() - 1e-9
    assume(min(abs(low), abs(high), abs(p_value - (1 - level))) > 1e-9)  # ties are rounding
    assert (low <= 0 <= high) == (p_value > 1 - level)


def test_a_difference_counts_only_where_both_tests_see_it() -> None:
    for seed in range(20):
        values = np.random.default_rng(seed).exponential(size=12) - 0.6
        found = paired_test(values)
        assert found.p_value >= sign_flip_test(values)
        patterns = sign_patterns(12, 0, np.random.default_rng(0))
        for part in (typical_interval(values, patterns, 0.95), paired_bootstrap(values)):
            assert found.interval.low <= part.low and found.interval.high >= part.high


def test_rounding_breaks_no_tie_between_interval_and_test() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        tenths = rng.integers(-3, 8, rng.integers(6, 10)) / 10
        if np.ptp(tenths):
            (low, high), p_value = paired_test(tenths, resamples=400)
            assert (low > 0 or high < 0) == (p_value <= 0.05), tenths
    (low, high), p_value = paired_test(np.array([0.2, 0.2, 0.5, 0.2, 0.7, -0.1, 0.2, -0.1]))
    assert low <= 0 and p_value > 0.05
    assert paired_test(np.array([1e-200, 2e-200, 3e-200])).p_value == 0.25  # whose squares are 0


def named(values: list[float]) -> dict[str, dict[str, float]]:
    return {str(number): {"x": value} for number, value in enumerate(values)}


def test_rounding_is_no_difference() -> None:
    ours, theirs = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.2, 0.1 + 0.2, 0.4, 0.5, 0.7]
    (row,) = compare(named(ours), named(theirs))
    assert row.higher == 1 and row.p_sign == 1  # one pair differs
    (row,) = compare(named([0.2] * 6), named([0.3] * 5 + [0.1 + 0.2]))
    assert math.isnan(row.effect)


def test_means_inside_the_typical_interval_are_those_that_sign_flips_accept() -> None:
    values = np.random.default_rng(3).normal(1, 2, 9)
    low, high = typical_interval(values, sign_patterns(9, 0, np.random.default_rng(0)), 0.95)
    accepted = [low <= mean <= high for mean in np.linspace(-2, 4, 61)]
    assert accepted == [sign_flip_test(values - mean) > 0.05 for mean in np.linspace(-2, 4, 61)]
    assert any(accepted) and not all(accepted)


def test_skewed_differences_raise_no_more_than_five_percent_false_alarms() -> None:
    """Exponential differences of mean 0: sign flips alone raise 9 %."""
    trials, flips, both = 400, 0, 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        values = rng.exponential(size=10) - 1
        flips += sign_flip_test(values) <= 0.05
        both += paired_test(values, resamples=600, rng=rng).p_value <= 0.05
    assert both / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert flips > 1.3 * both  # the same samples


def test_differences_of_one_value_and_single_pairs_have_an_answer() -> None:
    assert paired_test(np.full(6, 2.0)) == ((2.0, 2.0), 1 / 32)
    assert paired_test(np.full(20, 0.1)).p_value < 0.001
    assert paired_test(np.zeros(8)) == ((0.0, 0.0), 1.0)
    assert all(math.isnan(value) for value in (*paired_test(np.ones(1)).interval, paired_test(np.ones(1)).p_value))
    mostly = paired_test(np.array([0.0] * 9 + [1.0]))  # draws of zeros alone have no spread
    assert mostly.p_value == 1 and mostly.interval.low <= 0 <= mostly.interval.high
    five = paired_test(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert five.p_value == 0.0625 and five.interval.low <= 1 and five.interval.high >= 5
    with pytest.raises(ValueError, match=r"level=95 is out of range"):
        paired_test(np.arange(5.0), level=95)


def test_many_pairs_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.2, 1, 40)
    whole = paired_test(values, resamples=200)
    monkeypatch.setattr(paired, "CHUNK", 1000)  # 25 draws at a time
    assert paired_test(values, resamples=200) == whole


def test_the_sign_test_looks_at_signs_alone() -> None:
    assert sign_test(np.array([1, 1, 1, 1, 1, -99.0, 0])) == (5 / 6, pytest.approx(14 / 64))
    share, p_value = sign_test(np.zeros(4))
    assert math.isnan(share) and p_value == 1


def test_holm_raises_each_p_value_in_order_and_leaves_gaps() -> None:
    assert holm([0.01, math.nan, 0.04, 0.03])[0] == pytest.approx(0.03)
    assert math.isnan(holm([0.01, math.nan])[1])
    assert holm([0.2, 0.9]) == [0.4, 0.9]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def runs(shift: float) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    rng = np.random.default_rng(0)
    first = {f"{k}.mid": {"better": rng.normal(k, 1), "same": float(k), "rare": math.nan} for k in range(20)}
    second = {
        name: {"better": row["better"] + shift + 0.1 * rng.standard_normal(), "same": row["same"], "rare": 1.0}
        for name, row in first.items()
    }
    return first, {**second, "only here.mid": {"better": 99.0}}


def test_pairs_show_a_difference_that_the_spread_between_files_hides() -> None:
    first, second = runs(0.3)
    rows = {row.metric: row for row in compare(first, second)}
    better = rows["better"]
    assert better.pairs == 20 and better.low < 0.3 < better.high and better.p_holm < 0.01
    assert better.second - better.first == pytest.approx(better.difference)
    assert better.p_holm == pytest.approx(2 * better.p_value)
    assert better.higher == 1 and better.p_sign == pytest.approx(2 / 2**20)
    assert better.p_sign_holm == pytest.approx(better.p_sign * 2)
    assert (
        rows["same"].p_value == 1
        and rows["same"].to_dict()["effect"] is None
        and rows["same"].to_dict()["higher"] is None
    )
    assert "rare" not in rows


def test_runs_without_common_names_are_refused_with_a_way_out() -> None:
    first, _ = runs(0)
    with pytest.raises(AurlError, match=r"only 0 names stand in both runs .* the same seeds or prompts"):
        compare(first, {"x": {"better": 1.0}})
