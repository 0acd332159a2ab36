"""Is the difference real: two runs over the same prompts, seeds or pieces, compared pair by pair.

- ``compare``: tables of per-file values -> one row a metric, with the tests of paired.py.
- ``holm``: p-values of several metrics together (Holm 1979).

Pure functions of arrays. Simulated coverage, type-I error and power: experiments/interval_coverage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from aurl.evaluation.paired import TIE, Floats, paired_test, sign_test
from aurl.utils.errors import AurlError

FEWEST_PAIRS = 5
"""Five pairs cannot reach p = 0.05 yet (2 / 2^5 is 0.0625): their interval holds 94 %. Fewer say nothing."""


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
    """Of the mean, two-sided (:func:`paired_test`)."""
    p_holm: float
    """The same, corrected for the number of metrics."""
    higher: float
    """Share of pairs in which the second is higher, of those that differ; NaN where none does."""
    p_sign: float
    """Of the sign test: whether that share is one half, two-sided."""
    p_sign_holm: float
    """The same, corrected for the number of metrics."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what cannot be said is null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


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
    seed: int = 0,
) -> list[Difference]:
    """Compare two runs file by file.

    Args:
        first: file (or prompt, or seed) -> metric -> value; NaN where a file cannot have it.
        second: the same for the other run; only files that both have are compared.
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
            rows.append(_row(metric, ours[both], theirs[both], seed))
    means, signs = holm([row.p_value for row in rows]), holm([row.p_sign for row in rows])
    return [
        replace(row, p_holm=p_holm, p_sign_holm=p_sign_holm)
        for row, p_holm, p_sign_holm in zip(rows, means, signs, strict=True)
    ]


def _row(metric: str, ours: Floats, theirs: Floats, seed: int) -> Difference:
    """One metric, not yet corrected."""
    differences = theirs - ours
    differences[np.abs(differences) <= TIE * (np.abs(ours) + np.abs(theirs))] = 0.0  # rounding is no difference
    (low, high), p_value = paired_test(differences, rng=np.random.default_rng(seed))
    higher, p_sign = sign_test(differences)
    spread = float(differences.std(ddof=1))
    return Difference(
        metric=metric,
        pairs=len(differences),
        first=float(ours.mean()),
        second=float(theirs.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        effect=float(differences.mean()) / spread if spread > TIE * abs(differences.mean()) else math.nan,
        p_value=p_value,
        p_holm=math.nan,
        higher=higher,
        p_sign=p_sign,
        p_sign_holm=math.nan,
    )
