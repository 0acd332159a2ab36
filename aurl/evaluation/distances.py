"""How far is one set of pieces from another: one metric at a time, and all features together.

- ``metric_distance``: one number a piece. Shift and energy distance with intervals; Wasserstein distance with what no
  difference looks like and a permutation p-value; overlap area.
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
from scipy import stats

from aurl.evaluation.paired import Interval

Floats = NDArray[np.float64]

RESAMPLES = 4000
"""Permutations: with fewer, no p-value could pass Holm's correction for the 60-odd metrics."""
FEWEST_PIECES = 8
"""Pieces of each set below which nothing is said."""
TAILS = (0.025, 0.975)
TIE = 1e-6
"""Distances this near (relative) to the found one count as equal."""
NULL_WIDENED = 1.6
"""Factor on the spread of squared energy distances without a difference; found by simulated coverage, 94 to 98 %
with it and down to 90 % with 1 (experiments/interval_coverage).
"""
TINY = 1e-12
GRID = 256
"""Points at which densities are read."""
BANDWIDTHS_BEYOND = 3.0
"""The grid reaches this many bandwidths beyond the samples."""
SIZES, DRAWS, NULL_DRAWS = 8, 20, 4
"""Sample sizes of the extrapolation, draws of each, and draws where only a spread of many halvings is wanted."""
SMALLEST_SHARE = 0.5
"""The smallest size as a share of all pieces."""
GROUPS = 40
"""Groups of pieces that the jackknife leaves out in turn."""


@dataclass(frozen=True)
class MetricDistance:
    """One metric in two sets; everything but the overlap in standard deviations of the reference."""

    name: str
    pieces: tuple[int, int]
    """Pieces that have it, in the set and in the reference."""
    shift: float
    """Mean of the set minus mean of the reference."""
    shift_interval: Interval
    """95 %, jackknife over pieces."""
    energy: float
    """Energy distance, of its unbiased estimate; 0 where that is below 0."""
    energy_interval: Interval
    """95 %, jackknife over pieces."""
    wasserstein: float
    """Wasserstein distance of order 1. Too large for few pieces, so it has no interval but ``wasserstein_null``."""
    wasserstein_null: float
    """95th percentile between two sets of these sizes dealt from all pieces: what no difference looks like."""
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
        rng: of the permutations.
        resamples: how many of them.

    Returns:
        None where a set has fewer than FEWEST_PIECES values.
    """
    values, reference = values[np.isfinite(values)], reference[np.isfinite(reference)]
    count, other = len(values), len(reference)
    if min(count, other) < FEWEST_PIECES:
        return None
    scale = float(reference.std(ddof=1)) or float(values.std(ddof=1)) or 1.0
    first, second = values / scale, reference / scale
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, kind="stable")
    steps = np.diff(pooled[order])
    dealt = np.tile(order < count, (resamples + 1, 1))
    dealt[1:] = rng.permuted(dealt[1:], axis=1)
    # Distance between distribution functions in each gap between neighbouring pieces; the first row is as it was found.
    seen = np.cumsum(dealt, axis=1, dtype=np.int32)[:, :-1]
    apart = seen * np.float32(1 / count + 1 / other) - (np.arange(1, count + other) / other).astype(np.float32)
    areas, squares = np.abs(apart) @ steps, 2 * apart**2 @ steps
    wasserstein, null = float(areas[0]), areas[1:]
    energy, energy_interval = energy_distance(
        first, second, float(np.std(squares[1:])), share_beyond(squares[0], squares[1:]) <= TAILS[0] + 1 - TAILS[1]
    )
    return MetricDistance(
        name=name,
        pieces=(count, other),
        shift=float(first.mean() - second.mean()),
        shift_interval=shift_interval(first, second),
        energy=energy,
        energy_interval=energy_interval,
        wasserstein=wasserstein,
        wasserstein_null=float(np.quantile(null, 0.95)),
        overlap=overlap_area(values, reference),
        p_value=share_beyond(wasserstein, null),
    )


def share_beyond(found: float, null: NDArray[np.floating]) -> float:
    """p-value of a distance among those (R,) of sets dealt anew, itself one of them."""
    return float((np.sum(null >= found * (1 - TIE)) + 1) / (len(null) + 1))


def shift_interval(first: Floats, second: Floats) -> Interval:
    """95 % interval of the difference of means in standard deviations of the second set.

    Args:
        first: (N,) numbers.
        second: (M,) numbers with standard deviation 1.
    """
    shift, count = first.mean() - second.mean(), len(first)
    without_first = (first.sum() - first) / (count - 1) - second.mean()
    means = (second.sum() - second) / (len(second) - 1)
    without_second = (first.mean() - means) / np.sqrt(variances_without(second))
    return around(float(shift), jackknife_variance(without_first, without_second), min(count, len(second)))


def variances_without(values: Floats) -> Floats:
    """(n,) sample variance without each value in turn; 1 where it would be 0."""
    count = len(values)
    left = (values.var(ddof=1) * (count - 1) - (values - values.mean()) ** 2 * count / (count - 1)) / (count - 2)
    result: Floats = np.where(left > TINY, left, 1.0)
    return result


def jackknife_variance(*left_out: Floats) -> float:
    """Variance of a statistic from its values without each piece (or group) of each set in turn."""
    return sum((len(part) - 1) / len(part) * float(((part - part.mean()) ** 2).sum()) for part in left_out)


def around(centre: float, variance: float, count: int) -> Interval:
    """95 % interval of a statistic with a variance estimated from ``count`` pieces (or groups)."""
    reach = float(stats.t.ppf(TAILS[1], count - 1)) * math.sqrt(variance)
    return Interval(centre - reach, centre + reach)


def energy_distance(
    first: Floats, second: Floats, null_spread: float = 0.0, differ: bool = True
) -> tuple[float, Interval]:
    """Energy distance in standard deviations of the second set, and its 95 % interval.

    2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo 2013), each mean over pairs of different pieces: unbiased, and
    so below 0 about half the time where there is no difference. The square root is taken at the end.

    The interval holds the squared distances d that the found one is not too far from, as in Wilson's interval of a
    share: its variance is taken to be that of no difference plus one that grows in proportion to d, as the jackknife
    finds it at the found distance. With one variance for all d the interval is too sure of small distances.

    Args:
        first: (N,) numbers.
        second: (M,) numbers with standard deviation 1.
        null_spread: standard deviation of the squared distance where there is no difference.
        differ: a test finds a difference; otherwise 0 is in the interval.
    """
    count, other = len(first), len(second)
    to_second, to_first = absolute_sums(first, second), absolute_sums(second, first)
    in_first, in_second = absolute_sums(first, first), absolute_sums(second, second)

    def squared(across: Any, own: Any, theirs: Any, count: int, other: int) -> Any:
        return 2 * across / (count * other) - own / (count * (count - 1)) - theirs / (other * (other - 1))

    across, own, theirs = to_second.sum(), in_first.sum(), in_second.sum()
    centre = float(squared(across, own, theirs, count, other))
    without_first = squared(across - to_second, own - 2 * in_first, theirs, count - 1, other)
    without_second = squared(across - to_first, own, theirs - 2 * in_second, count, other - 1)
    variance = jackknife_variance(without_first, without_second / np.sqrt(variances_without(second)))
    least = max(centre, null_spread, TINY)
    reach = float(stats.t.ppf(TAILS[1], min(count, other) - 1))
    # (d - centre)^2 = reach^2 * (null + d * growth), solved for d
    middle = centre + reach**2 * variance / least / 2
    width = math.sqrt(max(middle**2 - centre**2 + (reach * NULL_WIDENED * null_spread) ** 2, 0.0))
    low, high = (middle - width if differ else 0.0), middle + width
    return math.sqrt(max(centre, 0.0)), Interval(math.sqrt(max(low, 0.0)), math.sqrt(max(high, 0.0)))


def absolute_sums(points: Floats, others: Floats) -> Floats:
    """(N,) sum over all others of the absolute distance from each point."""
    ordered = np.sort(others)
    reached = np.concatenate([[0.0], np.cumsum(ordered)])
    below = np.searchsorted(ordered, points)
    sums: Floats = points * below - reached[below] + (reached[-1] - reached[below]) - points * (len(ordered) - below)
    return sums


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


def frechet_infinity(first: Floats, second: Floats, rng: np.random.Generator, draws: int = DRAWS) -> float:
    """Frechet distance extrapolated to endlessly many pieces.

    The distance of finite sets is too large by about a constant over the number of pieces. Both sets are cut to the
    same share at several sizes, and the line through (1 / share, distance) is read at 0.

    Source: Chong and Forsyth 2020, "Effectively unbiased FID and Inception Score and where to find them".

    Args:
        first: (N, D) features.
        second: (M, D) features.
        rng: of the draws.
        draws: of each size; more make the figure less noisy.
    """
    both = (first, second)
    inverse, distances = [], []
    for share in 1 / np.linspace(1.0, 1 / SMALLEST_SHARE, SIZES):
        sizes = [max(round(share * len(part)), 2) for part in both]
        for _ in range(draws if share < 1 else 1):
            cut = [part[rng.choice(len(part), size, replace=False)] for part, size in zip(both, sizes, strict=True)]
            inverse.append(1 / share)
            distances.append(frechet_distance(cut[0], cut[1]))
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
    left_out = []
    for part, other in ((first, second), (second, first)):
        groups = np.array_split(rng.permutation(len(part)), min(GROUPS, len(part)))
        left_out.append(np.array([frechet_distance(np.delete(part, group, axis=0), other) for group in groups]))
    return around(centre, jackknife_variance(*left_out), min(len(part) for part in left_out))


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
        null.append(frechet_infinity(halves[0], halves[1], rng, NULL_DRAWS))
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
