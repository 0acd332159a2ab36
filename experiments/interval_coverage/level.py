"""Which test of paired differences keeps 5 %, and what does it still find?

``python -m experiments.interval_coverage.level`` draws differences from known shapes; with ``--data FOLDER`` they are
those of metrics between songs and damaged copies, moved to a mean of 0 and drawn with replacement.

Ten thousand trials are affordable because a block of trials shares its draws of signs and pairs: then means and
spreads of all draws are products of two matrices. ``check`` compares that with ``paired_test``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aurl.evaluation.comparison import scalar_values
from aurl.evaluation.metrics.table import read_table
from aurl.evaluation.paired import paired_test

Floats = NDArray[np.float64]
Shape = Callable[[np.random.Generator, int, int], Floats]
"""(rng, trials, pairs) -> differences of mean 0 and deviation 1."""

ALPHA = 0.05
BLOCK = 200
"""Trials that share their draws."""
DRAWS = 1000
PAIRS = (10, 20, 40, 100)
SHIFTS = (0.3, 0.5)
"""True differences, in standard deviations, that are to be found."""
BOTH, CORRECTED = "both (paired_test)", "sign flips and Johnson"
TESTS = ("sign flips", "t", "bootstrap-t", "Johnson", BOTH, CORRECTED)
VARIED = 0.5
"""Share of songs that a metric must change in, to be drawn from."""
SKEWED = 1.5
SKEWNESS_EDGES = (0.5, 1, 1.5, 2, 2.5, 3)
SKEWNESS_PAIRS = 20


def lognormal(sigma: float) -> Shape:
    def draw(rng: np.random.Generator, trials: int, pairs: int) -> Floats:
        values = np.exp(sigma * rng.standard_normal((trials, pairs)))
        mean = math.exp(sigma**2 / 2)
        return (values - mean) / (mean * math.sqrt(math.exp(sigma**2) - 1))

    return draw


SHAPES: dict[str, tuple[float, Shape]] = {
    "normal": (0, lambda rng, trials, pairs: rng.standard_normal((trials, pairs))),
    "Laplace": (0, lambda rng, trials, pairs: rng.laplace(size=(trials, pairs)) / math.sqrt(2)),
    "Student, 3 degrees": (0, lambda rng, trials, pairs: rng.standard_t(3, (trials, pairs)) / math.sqrt(3)),
    "log-normal, 0.5": (1.75, lognormal(0.5)),
    "exponential": (2, lambda rng, trials, pairs: rng.exponential(size=(trials, pairs)) - 1),
    "log-normal, 1": (6.18, lognormal(1)),
}
"""Shape -> its skewness and how it is drawn."""


def p_values(values: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Test -> (trials,) two-sided p-values of a mean of 0, of differences (trials, pairs)."""
    pairs = values.shape[1]
    mean, spread = values.mean(axis=1), values.std(axis=1)
    centred = values - mean[:, None]
    signs = 1.0 - 2 * rng.integers(0, 2, (DRAWS, pairs))
    flips = (np.sum(np.abs(values @ signs.T) >= pairs * np.abs(mean)[:, None] - 1e-9, axis=1) + 1) / (DRAWS + 1)
    found = {"sign flips": flips, "t": student(mean / spread * math.sqrt(pairs - 1), pairs)}

    counts = np.zeros((DRAWS, pairs))  # how often a draw holds each pair
    np.add.at(counts, (np.arange(DRAWS)[:, None], rng.integers(0, pairs, (DRAWS, pairs))), 1)
    means = centred @ counts.T / pairs
    squares = centred**2 @ counts.T / pairs - means**2
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = means / np.sqrt(squares)
    observed = (mean / spread)[:, None]
    tail = np.minimum(np.sum(errors >= observed, axis=1), np.sum(errors <= observed, axis=1))
    found["bootstrap-t"] = np.minimum(2 * (tail + 1) / (DRAWS + 1), 1)

    # Johnson 1978, "Modified t tests and confidence intervals for asymmetrical populations".
    deviation = values.std(axis=1, ddof=1)
    third = (centred**3).sum(axis=1) * pairs / ((pairs - 1) * (pairs - 2))
    moved = mean + third / (6 * deviation**2 * pairs) + third / (3 * deviation**4) * mean**2
    found["Johnson"] = student(moved * math.sqrt(pairs) / deviation, pairs)
    found[BOTH] = np.maximum(found["sign flips"], found["bootstrap-t"])
    found[CORRECTED] = np.maximum(found["sign flips"], found["Johnson"])
    return found


def student(ratio: Floats, pairs: int) -> Floats:
    """Two-sided p-values of t."""
    values: Floats = 2 * stats.t.sf(np.abs(ratio), pairs - 1)
    return values


def rejections(draw: Shape, pairs: int, shift: float, trials: int, rng: np.random.Generator) -> dict[str, float]:
    """Test -> share of trials in which it finds a difference."""
    count = dict.fromkeys(TESTS, 0)
    for _ in range(max(trials // BLOCK, 1)):
        found = p_values(draw(rng, BLOCK, pairs) + shift, rng)
        for name in TESTS:
            count[name] += int(np.sum(found[name] <= ALPHA))
    return {name: hits / (max(trials // BLOCK, 1) * BLOCK) for name, hits in count.items()}


def show_shapes(trials: int, seed: int) -> None:
    """False alarms of each shape, then power for normal and skewed differences."""
    head(f"false alarms at 5 %, {trials:,} trials | skewness | pairs")
    for name, (skewness, draw) in SHAPES.items():
        for pairs in PAIRS:
            row(
                [name, f"{skewness:g}", pairs], rejections(draw, pairs, 0, trials, np.random.default_rng([seed, pairs]))
            )
    head(f"found, {trials:,} trials | shift | pairs")
    for name in ("normal", "Student, 3 degrees", "exponential"):
        for shift in SHIFTS:
            for pairs in PAIRS:
                rng = np.random.default_rng([seed, pairs, 1])
                row([name, shift, pairs], rejections(SHAPES[name][1], pairs, shift, trials, rng))


def show_skewness(trials: int, seed: int) -> None:
    """False alarms of the shipped test by the skewness of the sample, for the shape that raises most of them."""
    name, rng = "log-normal, 1", np.random.default_rng([seed, 2])
    alarms, seen = np.zeros(len(SKEWNESS_EDGES) + 1), np.zeros(len(SKEWNESS_EDGES) + 1)
    for _ in range(trials // BLOCK):
        values = SHAPES[name][1](rng, BLOCK, SKEWNESS_PAIRS)
        place = np.digitize(np.abs(stats.skew(values, axis=1)), SKEWNESS_EDGES)
        seen += np.bincount(place, minlength=len(seen))
        alarms += np.bincount(place[p_values(values, rng)[BOTH] <= ALPHA], minlength=len(seen))
    heads = [*(f"below {edge:g}" for edge in SKEWNESS_EDGES), "more"]
    print(f"\n| skewness of the sample ({name}, {SKEWNESS_PAIRS} pairs) | {' | '.join(heads)} |")
    print(f"|{'---|' * (len(heads) + 1)}")
    for title, shares in (("share of samples", seen / seen.sum()), ("false alarms", alarms / seen)):
        print(f"| {title} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def check(trials: int, seed: int) -> None:
    """The matrix products against the shipped function: share of trials where both say the same at 5 %."""
    same = 0
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        values = rng.exponential(size=(1, 20)) - 0.6
        same += bool(p_values(values, rng)[BOTH][0] <= ALPHA) == (paired_test(values[0], rng=rng).p_value <= ALPHA)
    print(f"\npaired_test says the same in {same} of {trials} trials (draws differ)")


def show_music(data: Path, corpus: str, songs: int, draws: int, seed: int) -> None:
    """False alarms where differences are those of real metrics, moved to a mean of 0."""
    shapes = [shape for damage in differences(data, corpus, songs, seed).values() for shape in damage]
    skewness = np.array([abs(float((shape**3).mean())) for shape in shapes])
    head(f"false alarms, {corpus} | skewness | pairs")
    for title, chosen in (("any", skewness >= 0), (f"over {SKEWED}", skewness > SKEWED)):
        for pairs in PAIRS[:3]:
            shares = []
            for number in np.flatnonzero(chosen):
                rng = np.random.default_rng([seed, pairs, int(number)])
                found = p_values(shapes[number][rng.integers(0, len(shapes[number]), (draws, pairs))], rng)
                shares.append([float(np.mean(found[name] <= ALPHA)) for name in TESTS])
            row([f"{chosen.sum()} differences", title, pairs], dict(zip(TESTS, np.mean(shares, axis=0), strict=True)))


def differences(data: Path, corpus: str, songs: int, seed: int) -> dict[str, list[Floats]]:
    """Damage -> for each metric the differences of damaged and real songs, standardised."""
    from experiments.two_sample_tests.run import IMPOSSIBLE, SETS, damage, load

    scores = load(data, corpus, songs, seed)
    real = scalar_values([read_table(score) for score in scores])
    found: dict[str, list[Floats]] = {}
    for number, name in enumerate(SETS):
        if (corpus, name) in IMPOSSIBLE:
            continue
        damaged = damage(scores, name, np.random.default_rng([seed, number]))
        kept = [k for k, score in enumerate(damaged) if score is not None]
        values = scalar_values([read_table(damaged[k]) for k in kept])
        found[name] = []
        for metric in real[0]:
            moved = np.array([values[place][metric] - real[k][metric] for place, k in enumerate(kept)])
            moved = moved[np.isfinite(moved)]
            if len(moved) >= songs // 2 and np.mean(np.abs(moved) > 1e-9) > VARIED:
                found[name].append((moved - moved.mean()) / moved.std())
    return found


def head(title: str) -> None:
    print(f"\n| {title} | {' | '.join(TESTS)} |\n|{'---|' * (len(TESTS) + 3)}")


def row(cells: list[object], shares: dict[str, float]) -> None:
    figures = " | ".join(f"{100 * shares[name]:.1f}" for name in TESTS)
    print(f"| {' | '.join(str(cell) for cell in cells)} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000, help="repetitions of each row")
    parser.add_argument("--data", type=Path, help="folder of unpacked corpora: differences of real metrics instead")
    parser.add_argument("--corpora", nargs="+", default=["nottingham", "pop909"])
    parser.add_argument("--songs", type=int, default=150)
    parser.add_argument("--draws", type=int, default=200, help="samples of each real difference")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.data is None:
        show_shapes(args.trials, args.seed)
        show_skewness(args.trials, args.seed)
        check(args.trials // 20, args.seed)
    for corpus in args.corpora if args.data else ():
        show_music(args.data, corpus, args.songs, args.draws, args.seed)


if __name__ == "__main__":
    main()
