"""Distances see what they claim to see, are 0 (on average) where there is nothing, and agree with scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from aurl.evaluation.distances import (
    FEWEST_PIECES,
    energy_distance,
    frechet_distance,
    frechet_infinity,
    frechet_interval,
    measure_frechet,
    metric_distance,
    overlap_area,
    shift_interval,
)


def sets(shift: float, spread: float = 1.0, count: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(shift, spread, count), rng.standard_normal(count + 20)


def test_wasserstein_and_energy_are_those_of_scipy_in_units_of_the_reference() -> None:
    first, second = sets(0.7, 1.5)
    unit = second.std(ddof=1)
    found = metric_distance("x", first, second, np.random.default_rng(0), 200)
    assert found is not None
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(first, second) / unit, rel=1e-4)
    count, other = len(first), len(second)
    biased = stats.energy_distance(first, second) ** 2 / unit
    own = [np.abs(part[:, None] - part).sum() / unit for part in (first, second)]
    correction = own[0] * (1 / (count * (count - 1)) - 1 / count**2) + own[1] * (
        1 / (other * (other - 1)) - 1 / other**2
    )
    assert found.energy**2 == pytest.approx(biased - correction, rel=1e-6)
    assert found.shift == pytest.approx((first.mean() - second.mean()) / unit)
    assert found.shift_interval.low < found.shift < found.shift_interval.high
    assert found.energy_interval.low < found.energy < found.energy_interval.high


def test_no_distance_depends_on_the_unit_of_the_metric() -> None:
    first, second = sets(0.4)
    one = metric_distance("x", first, second, np.random.default_rng(0), 200)
    other = metric_distance("x", 1000 * first + 7, 1000 * second + 7, np.random.default_rng(0), 200)
    assert one.wasserstein == pytest.approx(other.wasserstein, rel=1e-4)
    assert one.energy_interval == pytest.approx(other.energy_interval, rel=1e-4)
    assert one.p_value == other.p_value and one.overlap == pytest.approx(other.overlap, rel=1e-3)


def test_farther_is_farther_where_mgevals_divergence_is_blind_to_shifts() -> None:
    """Its Kullback-Leibler divergence reads each density on its own grid: equal shapes 100 apart score alike."""
    rows = [metric_distance("x", *sets(shift), np.random.default_rng(0), 200) for shift in (0.0, 1.0, 100.0)]
    assert rows[0].wasserstein < rows[1].wasserstein < rows[2].wasserstein
    assert rows[0].energy < rows[1].energy < rows[2].energy
    assert rows[0].overlap > rows[1].overlap > rows[2].overlap
    assert rows[2].overlap == pytest.approx(0, abs=1e-6)


def test_a_mirrored_distribution_is_seen_where_mgevals_earth_mover_is_blind_to_order() -> None:
    """It takes the heights of histograms for samples: a mirrored histogram has the same heights."""
    values = np.random.default_rng(0).exponential(size=100)
    found = metric_distance("x", values.max() - values, values, np.random.default_rng(0), 500)
    assert found.p_value < 0.01 and found.wasserstein > found.wasserstein_null


def test_the_permutation_test_keeps_its_level() -> None:
    rng = np.random.default_rng(5)
    p_values = [
        metric_distance("x", rng.exponential(size=15), rng.exponential(size=25), rng, 199).p_value for _ in range(300)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_intervals_of_shift_and_energy_hold_the_truth() -> None:
    rng = np.random.default_rng(6)
    grid = np.linspace(-12, 12, 20_001)
    gap = stats.norm.cdf(grid, 1.0, 1.3) - stats.norm.cdf(grid)
    truth = math.sqrt(2 * (gap**2).sum() * (grid[1] - grid[0]))
    held = np.zeros(2)
    for _ in range(300):
        first, second = rng.normal(1.0, 1.3, 100), rng.standard_normal(100)
        second_unit = second.std(ddof=1)
        low, high = shift_interval(first / second_unit, second / second_unit)
        held[0] += low <= 1.0 <= high
        _, (low, high) = energy_distance(first / second_unit, second / second_unit)
        held[1] += low <= truth <= high
    assert np.all((held / 300 >= 0.91) & (held / 300 <= 0.99))


def test_the_energy_interval_holds_small_distances_too_and_0_where_no_test_finds_a_difference() -> None:
    rng = np.random.default_rng(7)
    grid = np.linspace(-10, 10, 10_001)
    truth = math.sqrt(2 * ((stats.norm.cdf(grid, 0.2) - stats.norm.cdf(grid)) ** 2).sum() * (grid[1] - grid[0]))
    found = [
        metric_distance("x", rng.normal(0.2, 1, 200), rng.standard_normal(200), rng, 99).energy_interval
        for _ in range(200)
    ]
    assert np.mean([low <= truth <= high for low, high in found]) >= 0.93  # with one variance for all distances 0.915
    same = rng.standard_normal(40)
    _, (low, high) = energy_distance(same, same + 0.01, 0.05, differ=False)
    assert low == 0 < high


def test_gaps_are_left_out_and_too_few_pieces_say_nothing() -> None:
    first, second = sets(0.4)
    gappy = np.append(first, [math.nan] * 5)
    assert metric_distance("x", gappy, second, np.random.default_rng(0), 100).pieces == (len(first), len(second))
    assert metric_distance("x", first[: FEWEST_PIECES - 1], second, np.random.default_rng(0)) is None


def test_constants_have_distances_too() -> None:
    found = metric_distance("x", np.zeros(20), np.zeros(20), np.random.default_rng(0), 100)
    assert found.wasserstein == 0 and found.p_value == 1 and found.overlap == 1 and found.energy == 0
    apart = metric_distance("x", np.ones(20), np.zeros(20), np.random.default_rng(0), 100)
    assert apart.wasserstein == 1 and apart.p_value < 0.02 and apart.overlap == 0
    assert overlap_area(np.zeros(20), np.random.default_rng(0).normal(50, 1, 20)) == pytest.approx(0, abs=1e-3)


def test_the_frechet_distance_is_that_of_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((50_000, 3)) * [1, 2, 3] + [1, 0, 0], rng.standard_normal((50_000, 3))
    assert frechet_distance(first, second) == pytest.approx(1 + 0 + 1 + 4, rel=0.05)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert frechet_distance(first @ turn, second @ turn) == pytest.approx(frechet_distance(first, second))


def test_extrapolation_takes_off_what_few_pieces_add() -> None:
    rng = np.random.default_rng(1)
    plain, extrapolated = [], []
    for _ in range(12):
        first, second = rng.standard_normal((80, 10)), rng.standard_normal((80, 10))
        plain.append(frechet_distance(first, second))
        extrapolated.append(frechet_infinity(first, second, rng))
    assert np.mean(plain) > 0.5  # the truth is 0
    assert abs(np.mean(extrapolated)) < 0.15 * np.mean(plain)


def test_frechet_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(60):
        first, second = rng.standard_normal((100, 4)) + 0.3, rng.standard_normal((100, 4))
        low, high = frechet_interval(first, second, rng, frechet_infinity(first, second, rng))
        held += low <= 0.36 <= high
    assert 51 <= held <= 60


def test_halves_of_the_reference_show_what_real_against_real_scores() -> None:
    rng = np.random.default_rng(3)
    reference = rng.standard_normal((120, 4))
    found = measure_frechet("x", rng.standard_normal((80, 4)) + 1, reference, rng, 10)
    assert found.null.low < 0.3 and found.null.high < found.interval.low < found.infinity
    assert found.to_dict()["dimensions"] == 4
    assert measure_frechet("x", rng.standard_normal((7, 4)), reference, rng) is None
