"""Do 95 % intervals hold the truth, do tests keep 5 %? ``python -m experiments.interval_coverage.run``."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import integrate, stats

from aurl.evaluation.distances import frechet_infinity, frechet_interval, metric_distance
from aurl.evaluation.paired import paired_bootstrap, paired_test, sign_flip_test
from aurl.evaluation.significance import holm
from aurl.evaluation.two_sample import fit_forest, fit_linear, two_sample_test

Trial = Callable[[np.random.Generator], Any]
ALPHA = 0.05
FAMILY = 10
"""Metrics tested together."""


def skewed(rng: np.random.Generator, size: int) -> np.ndarray:
    """Exponential deviates of mean 0: much more skewed than differences of two runs are."""
    return rng.exponential(size=size) - 1


def shipped_interval(count: int, draw: Callable[[np.random.Generator, int], np.ndarray]) -> Trial:
    """The interval of comparisons; it leaves 0 out just where its p-value is at most 0.05."""

    def trial(rng: np.random.Generator) -> bool:
        (low, high), _ = paired_test(draw(rng, count), resamples=1000, rng=rng)
        return low <= 0 <= high

    return trial


def mean_interval(count: int, method: str, draw: Callable[[np.random.Generator, int], np.ndarray]) -> Trial:
    def trial(rng: np.random.Generator) -> bool:
        low, high = paired_bootstrap(draw(rng, count), method=method, resamples=1000, rng=rng)
        return low <= 0 <= high

    return trial


def normal(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.standard_normal(size)


LAWS = {"normal": stats.norm, "exponential": stats.expon}


def true_distances(law: str, shift: float, spread: float) -> tuple[float, float]:
    """Shift of the mean and energy distance of a law moved by a shift and widened by a spread from itself."""
    family = LAWS[law]

    def squared_gap(x: float) -> float:
        return float(family.cdf(x, shift, spread) - family.cdf(x)) ** 2

    moved = float(family.mean(shift, spread) - family.mean())
    return moved, math.sqrt(2 * integrate.quad(squared_gap, -15, 30, limit=400, points=[0, shift])[0])


def distance_interval(law: str, count: int, shift: float, spread: float, which: int) -> Trial:
    truth, family = true_distances(law, shift, spread)[which], LAWS[law]

    def trial(rng: np.random.Generator) -> bool:
        first, second = (family.rvs(*by, size=count, random_state=rng) for by in ((shift, spread), (0, 1)))
        found = metric_distance("x", first, second, rng, 500)
        low, high = found.shift_interval if which == 0 else found.energy_interval
        return low <= truth <= high

    return trial


def distance_test(count: int) -> Trial:
    return lambda rng: metric_distance("x", skewed(rng, count), skewed(rng, count), rng, 500).p_value <= ALPHA


def frechet_coverage(count: int, dimensions: int, shift: float) -> Trial:
    """First set: the covariance differs too. Truth: shift^2 D + sum (sqrt(v) - 1)^2."""
    variances = np.linspace(0.5, 2, dimensions)
    truth = shift**2 * dimensions + float(((np.sqrt(variances) - 1) ** 2).sum())

    def trial(rng: np.random.Generator) -> bool:
        first = shift + rng.standard_normal((count, dimensions)) * np.sqrt(variances)
        second = rng.standard_normal((count, dimensions))
        low, high = frechet_interval(first, second, rng, frechet_infinity(first, second, rng))
        return low <= truth <= high

    return trial


def judge_test(count: int, judge: Any) -> Trial:
    def trial(rng: np.random.Generator) -> bool:
        sets = rng.standard_normal((2, count, 8))
        songs = [str(k) for k in range(2 * count)]
        seed = int(rng.integers(1 << 30))
        found = two_sample_test("x", sets[0], sets[1], (songs[:count], songs[count:]), judge, seed)
        return found.p_value <= ALPHA

    return trial


def judge_interval(count: int, shift: float) -> Trial:
    """The truth: mean accuracy of this judge trained on as many pieces, on endlessly many new ones."""

    def trial(rng: np.random.Generator) -> tuple[bool, float]:
        first, second = rng.standard_normal((count, 8)), rng.standard_normal((count, 8)) + shift
        songs = [str(k) for k in range(2 * count)]
        found = two_sample_test(
            "x", first, second, (songs[:count], songs[count:]), fit_linear, int(rng.integers(1 << 30))
        )
        return found.interval, found.accuracy

    return trial


def family_test(count: int) -> Trial:
    def trial(rng: np.random.Generator) -> bool:
        tests = [paired_test(normal(rng, count), resamples=1000, rng=rng) for _ in range(FAMILY)]
        return min(holm([found.p_value for found in tests])) <= ALPHA

    return trial


def flip(count: int, draw: Callable[[np.random.Generator, int], np.ndarray]) -> Trial:
    return lambda rng: sign_flip_test(draw(rng, count), 1000, rng) <= ALPHA


COVERAGE: dict[str, Trial] = {
    **{
        f"mean difference, paired_test, {name}, {count} pairs": shipped_interval(count, draw)
        for count in (20, 50, 200)
        for name, draw in (("normal", normal), ("exponential", skewed))
    },
    **{
        f"mean difference, {method}, {name}, {count} pairs": mean_interval(count, method, draw)
        for count in (20, 50, 200)
        for name, draw in (("normal", normal), ("exponential", skewed))
        for method in ("studentised", "bca", "percentile")
    },
    **{
        f"{name}, {law}, shift {shift}, spread {spread}, {count} + {count} pieces": distance_interval(
            law, count, shift, spread, which
        )
        for which, name in enumerate(("shift of means", "energy distance"))
        for law, shift, spread in (
            *(("normal", 0.0, 1.0), ("normal", 0.2, 1.0), ("normal", 0.5, 1.0), ("normal", 1.0, 1.3)),
            *(("exponential", 0.0, 1.3), ("exponential", 0.3, 1.0)),
        )
        for count in (50, 200)
    },
    **{
        f"Frechet infinity, {dimensions} dimensions, shift {shift}, {count} + {count} pieces": frechet_coverage(
            count, dimensions, shift
        )
        for dimensions, count, shift in ((8, 100, 0.3), (16, 100, 0.3), (16, 300, 0.3), (8, 100, 0.05))
    },
}
ERRORS: dict[str, Trial] = {
    "sign flips, normal, 10 pairs (exact)": flip(10, normal),
    "sign flips, normal, 40 pairs": flip(40, normal),
    "sign flips, exponential minus its mean, 40 pairs": flip(40, skewed),
    f"any of {FAMILY} metrics after Holm, 20 pairs": family_test(20),
    "permutation of Wasserstein, 30 + 30 pieces": distance_test(30),
    "permutation of Wasserstein, 150 + 150 pieces": distance_test(150),
    "linear judge, 30 + 30 pieces": judge_test(30, fit_linear),
    "linear judge, 100 + 100 pieces": judge_test(100, fit_linear),
}


def share(trial: Trial, trials: int, seed: int) -> float:
    return float(np.mean([bool(trial(np.random.default_rng([seed, k]))) for k in range(trials)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="repetitions of each row")
    parser.add_argument("--judge-trials", type=int, default=300, help="repetitions of the slow rows (judges)")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results.json")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for title, rows in (("covered", COVERAGE), ("false alarms", ERRORS)):
        print(f"\n| {title} | trials | share | +- |\n|---|---|---|---|")
        for name, trial in rows.items():
            if args.only not in name:
                continue
            trials = args.judge_trials if "judge" in name or "Frechet" in name else args.trials
            value = share(trial, trials, 1)
            error = 1.96 * math.sqrt(value * (1 - value) / trials)
            results[name] = {"trials": trials, "share": value}
            print(f"| {name} | {trials} | {100 * value:.1f} % | {100 * error:.1f} |", flush=True)
    for count, shift in ((50, 0.2), (100, 0.3)):
        name = f"accuracy of the linear judge, shift {shift}, {count} + {count} pieces"
        if args.only in name:
            found = [judge_interval(count, shift)(np.random.default_rng([2, k])) for k in range(args.judge_trials)]
            truth = float(np.mean([accuracy for _, accuracy in found]))
            value = float(np.mean([low <= truth <= high for (low, high), _ in found]))
            results[name] = {"trials": len(found), "share": value}
            print(f"| {name} (mean {truth:.3f}) | {len(found)} | {100 * value:.1f} % | covered |", flush=True)
    forest = share(judge_test(30, fit_forest), max(args.judge_trials // 5, 1), 3) if "forest" in args.only else math.nan
    if math.isfinite(forest):
        print(f"| forest judge, 30 + 30 pieces | {args.judge_trials // 5} | {100 * forest:.1f} % | false alarms |")
    if not args.only:
        args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
