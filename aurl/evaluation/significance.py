"""Is the difference real: two runs over the same prompts, seeds or pieces, compared pair by pair.

- ``paired_bootstrap``: interval of the mean difference: studentised (bootstrap-t, Efron and Tibshirani 1993), which
  holds its level best for few and skewed pairs; BCa (Efron 1987) or plain percentiles where asked for.
- ``sign_flip_test``: permutation test of paired differences; all 2^n sign patterns up to EXACT_PAIRS pairs, random ones
  (with the observed one among them, Phipson and Smyth 2010) beyond.
- ``holm``: p-values of several metrics together (Holm 1979).
- ``compare``: tables of per-file values -> one row a metric.

Pure functions of arrays. Simulated coverage and type-I error: experiments/interval_coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aurl.utils.errors import AurlError

Floats = NDArray[np.float64]

RESAMPLES = 4000
EXACT_PAIRS = 14
"""Up to here all sign patterns are tried (16,384)."""
FEWEST_PAIRS = 5
"""Fewer pairs cannot reach p = 0.05 by signs alone (2 / 2^5 is 0.0625), and their interval says nothing."""
LEVEL = 0.95
METHODS = ("studentised", "bca", "percentile")
TIE = 1e-12
"""Sums this near (relative) to the observed one count as equal."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One metric in two runs, over the pairs where both have it; differences are second minus first."""

    metric: str
    pairs: int
    first: float
    """Mean of the first run."""
    second: float
    """Mean of the second run."""
    difference: float
    """Mean difference."""
    low: float
    """Lower end of the 95 % interval of the mean difference."""
    high: float
    """Upper end."""
    effect: float
    """Mean difference in units of the differences' standard deviation; NaN where all differences are equal."""
    p_value: float
    """Of the sign-flip test, two-sided."""
    p_holm: float
    """The same, corrected for the number of metrics."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what cannot be said is null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def paired_bootstrap(
    differences: Floats,
    level: float = LEVEL,
    method: str = "studentised",
    resamples: int = RESAMPLES,
    rng: np.random.Generator | None = None,
) -> Interval:
    """Confidence interval of the mean of paired differences.

    Args:
        differences: (n,) one value a pair.
        level: share of intervals that hold the true mean.
        method: studentised, bca or percentile.
        resamples: draws of n pairs.
        rng: of the draws; seeded with 0 without it.

    Raises:
        ValueError: an unknown method, or a level outside 0 to 1.

    Example:
        >>> import numpy as np
        >>> low, high = paired_bootstrap(np.array([1.0, 2.0, 1.5, 0.5, 1.0]))
        >>> low < 1.2 < high
        True
    """
    if method not in METHODS:
        raise ValueError(f"method={method} is unknown; allowed: {', '.join(METHODS)}")
    if not 0 < level < 1:
        raise ValueError(f"level={level} is out of range; allowed: between 0 and 1")
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        mean = float(values.mean()) if len(values) else math.nan
        return Interval(mean, mean) if len(values) > 1 else Interval(math.nan, math.nan)
    rng = rng or np.random.default_rng(0)
    drawn = values[rng.integers(0, len(values), (resamples, len(values)))]  # (R, n)
    means = drawn.mean(axis=1)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "studentised":
        return studentised(values, means, drawn.std(axis=1), tails)
    if method == "bca":
        tails = bca_tails(values, means, tails)
    low, high = np.quantile(means, tails)
    return Interval(float(low), float(high))


def studentised(values: Floats, means: Floats, spreads: Floats, tails: Floats) -> Interval:
    """Bootstrap-t interval of a mean: each draw's error is measured in the draw's own standard error.

    Args:
        values: (n,) the sample.
        means: (R,) bootstrap means.
        spreads: (R,) standard deviations of the draws.
        tails: (2,) nominal quantiles.
    """
    varied = spreads > 0  # draws of one value alone (few pairs, many ties) have no unit
    errors = (means[varied] - values.mean()) / spreads[varied]
    low, high = np.quantile(errors, tails)
    centre, spread = float(values.mean()), float(values.std())
    return Interval(centre - float(high) * spread, centre - float(low) * spread)


def bca_tails(values: Floats, means: Floats, tails: Floats) -> Floats:
    """Quantiles of the bootstrap distribution of a mean at which BCa reads its ends.

    Args:
        values: (n,) the sample.
        means: (R,) bootstrap means.
        tails: (2,) nominal quantiles.
    """
    below = float(np.mean(means < values.mean()) + np.mean(means == values.mean()) / 2)
    bias = stats.norm.ppf(np.clip(below, 1 / len(means), 1 - 1 / len(means)))
    # The jackknife means of a mean differ from it by -(x - mean) / (n - 1): acceleration is a sixth of the skewness.
    centred = values - values.mean()
    acceleration = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))
    z = bias + stats.norm.ppf(tails)
    adjusted: Floats = stats.norm.cdf(bias + z / (1 - acceleration * z))
    return adjusted


def sign_flip_test(differences: Floats, resamples: int = RESAMPLES, rng: np.random.Generator | None = None) -> float:
    """Two-sided p-value for paired differences lying symmetrically around 0.

    Args:
        differences: (n,) one value a pair; pairs without a difference do not matter.
        resamples: random sign patterns where n is too large for all.
        rng: of the patterns; seeded with 0 without it.

    Returns:
        1 where there is no difference at all.

    Example:
        >>> import numpy as np
        >>> sign_flip_test(np.array([1.0, 2.0, 3.0, 1.0, 2.0]))
        0.0625
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[values != 0]
    if not len(values):
        return 1.0
    limit = abs(values.sum()) - TIE * np.abs(values).sum()
    if len(values) <= EXACT_PAIRS:
        patterns = np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ values) >= limit))
    rng = rng or np.random.default_rng(0)
    signs = 2 * rng.integers(0, 2, (resamples, len(values)), dtype=np.int8) - 1
    return float((np.sum(np.abs(signs @ values) >= limit) + 1) / (resamples + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the same order: the chance of any false alarm keeps the level.

    NaN (not tested) stays NaN and does not count.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    raised = np.minimum(values[order] * np.arange(len(order), 0, -1), 1.0)
    result = np.full(len(values), np.nan)
    result[order] = np.maximum.accumulate(raised)
    return [float(value) for value in result]


def compare(
    first: Mapping[str, Mapping[str, float]],
    second: Mapping[str, Mapping[str, float]],
    method: str = "studentised",
    seed: int = 0,
) -> list[Difference]:
    """Compare two runs file by file.

    Args:
        first: file (or prompt, or seed) -> metric -> value; NaN where a file cannot have it.
        second: the same for the other run; only files that both have are compared.
        method: of the intervals: studentised, bca or percentile.
        seed: of the draws.

    Returns:
        One row a metric that FEWEST_PAIRS pairs have, in the order of the first run.

    Raises:
        AurlError: fewer than FEWEST_PAIRS files have the same name.
    """
    shared = [name for name in first if name in second]
    if len(shared) < FEWEST_PAIRS:
        raise AurlError(
            f"compare: only {len(shared)} names stand in both runs ({len(first)} and {len(second)}); at least "
            f"{FEWEST_PAIRS} pairs are needed: generate both with the same seeds or prompts, so that files pair by name"
        )
    metrics = list(dict.fromkeys(metric for name in shared for metric in first[name]))
    rows = []
    for metric in metrics:
        ours = np.array([first[name].get(metric, math.nan) for name in shared])
        theirs = np.array([second[name].get(metric, math.nan) for name in shared])
        both = np.isfinite(ours) & np.isfinite(theirs)
        if both.sum() >= FEWEST_PAIRS:
            rows.append(_row(metric, ours[both], theirs[both], method, seed))
    corrected = holm([row.p_value for row in rows])
    return [Difference(**{**asdict(row), "p_holm": p_holm}) for row, p_holm in zip(rows, corrected, strict=True)]


def _row(metric: str, ours: Floats, theirs: Floats, method: str, seed: int) -> Difference:
    """One metric, not yet corrected."""
    differences = theirs - ours
    low, high = paired_bootstrap(differences, method=method, rng=np.random.default_rng(seed))
    spread = float(differences.std(ddof=1))
    return Difference(
        metric=metric,
        pairs=len(differences),
        first=float(ours.mean()),
        second=float(theirs.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        effect=float(differences.mean()) / spread if spread > 0 else math.nan,
        p_value=sign_flip_test(differences, rng=np.random.default_rng(seed)),
        p_holm=math.nan,
    )
