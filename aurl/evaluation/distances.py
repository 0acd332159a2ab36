"""How far is one set of pieces from another: one metric at a time, and all features together.

- ``metric_distance``: one number a piece. Wasserstein and energy distance with bootstrap intervals, a permutation
  p-value and what real music scores against real music; overlap area.
- ``frechet_distance``, ``frechet_infinity``: many features a piece.

Classifier two-sample tests are two_sample.py.

Where mgeval (Yang and Lerch 2020, "On the evaluation of generative models in music") is wrong, this differs: its
Kullback-Leibler divergence reads each density on a grid of its own, so that equal shapes score alike however far apart
they lie; its earth mover's distance takes heights of histograms for samples, so that a reversed histogram scores 0.
Here both densities are read on one grid and distances are taken between the samples. Only its overlap area is kept.

Axes: N pieces of one set, M of the other, D features, R resamples.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aurl.evaluation.significance import Interval

Floats = NDArray[np.float64]

RESAMPLES = 1000
FEWEST_PIECES = 8
"""Pieces of each set below which nothing is said."""
TAILS = (0.025, 0.975)
GRID = 256
"""Points at which densities are read."""
BANDWIDTHS_BEYOND = 3.0
"""The grid reaches this many bandwidths beyond the samples."""
SIZES, DRAWS = 8, 5
"""Sample sizes of the extrapolation, and draws of each."""
SMALLEST_SHARE = 0.5
"""The smallest size as a share of all pieces."""
GROUPS = 40
"""Groups of pieces that the jackknife leaves out in turn."""
LEVEL_Z = 1.959963984540054
"""Standard normal quantile of a 95 % interval."""


@dataclass(frozen=True)
class MetricDistance:
    """One metric in two sets; distances in standard deviations of the reference."""

    name: str
    pieces: tuple[int, int]
    """Pieces that have it, in the set and in the reference."""
    wasserstein: float
    wasserstein_interval: Interval
    """95 %, basic bootstrap over pieces, cut off at 0. Too short near 0: there the p-value is the test."""
    wasserstein_null: float
    """95th percentile between two random sets of these sizes drawn from both together: what no difference looks like."""
    energy: float
    """Square root of twice the integral of the squared difference of the distribution functions."""
    energy_interval: Interval
    overlap: float
    """Overlap area of the two densities, 1 for equal ones."""
    p_value: float
    """Permutation test of the Wasserstein distance."""
    p_holm: float = math.nan
    """Corrected for the number of metrics."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


@dataclass(frozen=True)
class FrechetResult:
    """Frechet distance over one set of features."""

    features: str
    """What the features are."""
    pieces: tuple[int, int]
    dimensions: int
    plain: float
    """As it is usually computed: too large by an amount that depends on the number of pieces."""
    infinity: float
    """Extrapolated to endlessly many pieces."""
    interval: Interval
    """95 % of ``infinity``, grouped jackknife over pieces."""
    null: Interval
    """2.5 and 97.5 % of ``infinity`` between random halves of the reference."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def metric_distance(
    name: str, values: Floats, reference: Floats, rng: np.random.Generator, resamples: int = RESAMPLES
) -> MetricDistance | None:
    """Distances of one metric between two sets of pieces.

    Args:
        name: the metric.
        values: (N,) one number a piece; NaN where a piece cannot have it.
        reference: (M,) the same of the reference.
        rng: of bootstrap and permutations.
        resamples: of each.

    Returns:
        None where a set has fewer than FEWEST_PIECES values.
    """
    values, reference = values[np.isfinite(values)], reference[np.isfinite(reference)]
    count, other = len(values), len(reference)
    if min(count, other) < FEWEST_PIECES:
        return None
    scale = float(reference.std(ddof=1)) or float(values.std(ddof=1)) or 1.0
    pooled = np.concatenate([values, reference]) / scale
    order = np.argsort(pooled, kind="stable")
    steps = np.diff(pooled[order])
    mine = (order < count).astype(np.float64)

    def both(first: Floats, second: Floats) -> tuple[Floats, Floats]:
        """Wasserstein and energy distance for (R, N + M) weights of the sorted pieces in each set."""
        apart = np.cumsum(first / count - second / other, axis=1)[:, :-1]
        return np.abs(apart) @ steps, np.sqrt(2 * (apart**2 @ steps))

    wasserstein, energy = (float(distance[0]) for distance in both(mine[None], 1 - mine[None]))
    drawn_first = np.zeros((resamples, count + other))
    drawn_second = np.zeros_like(drawn_first)
    drawn_first[:, mine == 1] = rng.multinomial(count, np.full(count, 1 / count), resamples)
    drawn_second[:, mine == 0] = rng.multinomial(other, np.full(other, 1 / other), resamples)
    boot = both(drawn_first, drawn_second)
    dealt = rng.permuted(np.broadcast_to(mine, drawn_first.shape), axis=1)
    null, _ = both(dealt, 1 - dealt)
    return MetricDistance(
        name=name,
        pieces=(count, other),
        wasserstein=wasserstein,
        wasserstein_interval=basic_interval(wasserstein, boot[0]),
        wasserstein_null=float(np.quantile(null, 0.95)),
        energy=energy,
        energy_interval=basic_interval(energy, boot[1]),
        overlap=overlap_area(values, reference),
        p_value=float((np.sum(null >= wasserstein * (1 - 1e-9)) + 1) / (resamples + 1)),
    )


def basic_interval(value: float, drawn: Floats) -> Interval:
    """Basic bootstrap interval of a distance, cut off at 0.

    A distance between resampled sets is too large on average, by about as much as the distance itself is: reflecting
    the drawn values at the estimate takes that off, which their plain percentiles double.
    """
    low, high = np.quantile(drawn, TAILS)
    return Interval(max(2 * value - float(high), 0.0), max(2 * value - float(low), 0.0))


def overlap_area(values: Floats, reference: Floats) -> float:
    """Area under the smaller of two kernel densities, read on one grid; Scott's bandwidths.

    Args:
        values: (N,) finite numbers.
        reference: (M,) finite numbers.

    Returns:
        1 for equal densities, 0 for separate ones.
    """
    widths = [_bandwidth(values), _bandwidth(reference)]
    if not any(widths):  # two constants
        return float(values[0] == reference[0])
    # A constant has no density: a narrow one beside the other set's stands for it.
    widths = [width or max(widths) / 10 for width in widths]
    beyond = BANDWIDTHS_BEYOND * max(widths)
    both = np.concatenate([values, reference])
    grid = np.linspace(both.min() - beyond, both.max() + beyond, max(GRID, int(np.ptp(both) / min(widths) * 4)))
    first, second = (_density(grid, part, width) for part, width in zip((values, reference), widths, strict=True))
    return float(np.minimum(first, second).sum() * (grid[1] - grid[0]))


def _bandwidth(values: Floats) -> float:
    return float(values.std(ddof=1)) * len(values) ** -0.2


def _density(grid: Floats, values: Floats, width: float) -> Floats:
    """(G,) Gaussian kernel density."""
    kernels = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2)
    density: Floats = kernels.mean(axis=1) / (width * math.sqrt(2 * math.pi))
    return density


def frechet_distance(first: Floats, second: Floats) -> float:
    """Squared Frechet (2-Wasserstein) distance between Gaussians fitted to two sets of features.

    Args:
        first: (N, D) features of one set.
        second: (M, D) features of the other.

    Source: Dowson and Landau 1982; Heusel et al. 2017 for its use (FID).
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    one, two = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (first, second))
    # Trace of the root of one @ two: the singular values of the product of their roots.
    cross = np.linalg.svd(_root(one) @ _root(two), compute_uv=False).sum()
    return float(shift @ shift + np.trace(one) + np.trace(two) - 2 * cross)


def _root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def frechet_infinity(first: Floats, second: Floats, rng: np.random.Generator) -> float:
    """Frechet distance extrapolated to endlessly many pieces.

    The distance of finite sets is too large by about a constant over the number of pieces. Both sets are cut to the
    same share at several sizes, and the line through (1 / share, distance) is read at 0.

    Source: Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score and where to find them".

    Args:
        first: (N, D) features.
        second: (M, D) features.
        rng: of the draws.
    """
    inverse, distances = [], []
    for share in 1 / np.linspace(1.0, 1 / SMALLEST_SHARE, SIZES):
        sizes = [max(round(share * len(part)), 2) for part in (first, second)]
        for _ in range(DRAWS if share < 1 else 1):
            drawn = [
                part[rng.choice(len(part), size, replace=False)] for part, size in zip((first, second), sizes, strict=True)
            ]
            inverse.append(1 / share)
            distances.append(frechet_distance(drawn[0], drawn[1]))
    _, at_zero = np.polyfit(inverse, distances, 1)
    return float(at_zero)


def frechet_interval(first: Floats, second: Floats, rng: np.random.Generator, centre: float) -> Interval:
    """95 % interval around an extrapolated distance: grouped jackknife over the pieces of each set.

    Args:
        first: (N, D) features.
        second: (M, D) features.
        rng: deals the pieces into groups.
        centre: the extrapolated distance.
    """
    variance = 0.0
    for part, other in ((first, second), (second, first)):
        groups = np.array_split(rng.permutation(len(part)), min(GROUPS, len(part)))
        left = np.array([frechet_distance(np.delete(part, group, axis=0), other) for group in groups])
        variance += (len(groups) - 1) / len(groups) * float(((left - left.mean()) ** 2).sum())
    reach = LEVEL_Z * math.sqrt(variance)
    return Interval(centre - reach, centre + reach)


def measure_frechet(
    features: str, first: Floats, reference: Floats, rng: np.random.Generator, null_draws: int = 20
) -> FrechetResult | None:
    """Frechet distance with extrapolation, interval, and real music against real music.

    Args:
        features: what the features are.
        first: (N, D) features of the set.
        reference: (M, D) features of the reference; both are used as they are, so standardise them first.
        rng: of all draws.
        null_draws: halvings of the reference.

    Returns:
        None where a set has fewer than twice as many pieces as features: covariances would be guesses.
    """
    pieces, dimensions = (len(first), len(reference)), first.shape[1]
    if min(pieces) < 2 * dimensions:
        return None
    infinity = frechet_infinity(first, reference, rng)
    null = []
    for _ in range(null_draws):
        halves = np.array_split(reference[rng.permutation(len(reference))], 2)
        null.append(frechet_infinity(halves[0], halves[1], rng))
    low, high = np.quantile(null, TAILS)
    return FrechetResult(
        features=features,
        pieces=pieces,
        dimensions=dimensions,
        plain=frechet_distance(first, reference),
        infinity=infinity,
        interval=frechet_interval(first, reference, rng, infinity),
        null=Interval(float(low), float(high)),
    )
