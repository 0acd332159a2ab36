"""Classifier two-sample tests: can anything learn to tell two sets of music apart? 0.5 is no, 1 is always.

Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests". Three judges, because each is blind somewhere:

- ``forest``: a random forest on the musical metrics of the whole piece (structure, harmony, rhythm, dynamics).
- ``convolution``: a small network trained from scratch on piano rolls of eight-bar excerpts and on the lag map of the
  whole piece (judge_network.py).
- ``random_features``: a linear model on random convolutions of both that were never trained (lag_maps.py).

Folds are dealt by song: excerpts, versions and damaged copies of one song never stand on both sides. A piece counts
once, with the mean of its excerpts, and both sets weigh the same. Which judge sees which planted damage is measured in
experiments/two_sample_tests. The best of several judges is found by looking, so its p-value is to be corrected for
their number (``p_holm``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aurl.evaluation.judge_network import View, fit_convolution, view_of
from aurl.evaluation.lag_maps import random_map_features
from aurl.evaluation.metrics.registry import choose_metrics
from aurl.evaluation.metrics.table import NoteTable
from aurl.evaluation.paired import Interval
from aurl.evaluation.rolls import random_features
from aurl.evaluation.significance import holm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Fitter = Callable[[Any, Ints, Any, int], Floats]
"""(training features, training labels, test features, seed) -> probability of label 1 for each test piece."""

FOLDS = 5
FEWEST_PIECES = 10
"""Pieces of each set below which no judge is asked."""
TREES = 200
RIDGE = 0.05
"""Inverse strength of the linear judge's penalty (scikit-learn's C)."""
RESAMPLES = 2000
TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class TwoSampleResult:
    """How well one judge tells the sets apart."""

    judge: str
    accuracy: float
    """Balanced: the mean of the shares of either set that are told right."""
    interval: Interval
    """95 %, bootstrap over songs, widened for what the judge owes to its training pieces."""
    p_value: float
    """One-sided: chance of such an accuracy where there is no difference."""
    pieces: tuple[int, int]
    null: float = math.nan
    """The same judge on two halves of the reference."""
    p_holm: float = math.nan
    """``p_value`` corrected for the number of judges that were asked."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def grouped_folds(groups: Sequence[str], labels: Ints, folds: int, rng: np.random.Generator) -> Ints:
    """(n,) fold of each piece: pieces of one group stand in one fold, and folds hold nearly as many of either set.

    Uneven folds would push a blind judge below one half: what is rare in training is common in the test.

    Args:
        groups: (n,) song of each piece.
        labels: (n,) set of each piece, 0 or 1.
        folds: how many.
        rng: order of the groups.
    """
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.stack([np.bincount(number[labels == label], minlength=len(names)) for label in (0, 1)], axis=1)
    fold_of, filled = np.zeros(len(names), dtype=np.int64), np.zeros((folds, 2), dtype=np.int64)
    order = rng.permutation(len(names))
    for name in order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]:
        # The fold with the least of what the group has; of equal ones the emptiest.
        fold_of[name] = np.lexsort((filled.sum(axis=1), filled @ sizes[name]))[0]
        filled[fold_of[name]] += sizes[name]
    result: Ints = fold_of[number]
    return result


def two_sample_test(
    judge: str,
    first: Any,
    second: Any,
    groups: tuple[Sequence[str], Sequence[str]],
    fitter: Fitter,
    seed: int = 0,
    folds: int = FOLDS,
) -> TwoSampleResult:
    """Cross-validated accuracy of a judge.

    Args:
        judge: its name.
        first: features of N pieces, an array (N, D) or a list of N.
        second: features of M pieces.
        groups: the song of each piece of both sets.
        fitter: trains on some pieces and gives probabilities of the second set for others.
        seed: of folds and judge.
        folds: parts; each is judged by a judge trained on the others.
    """
    count, other = len(first), len(second)
    labels = np.repeat([0, 1], [count, other])
    features = np.concatenate([first, second]) if isinstance(first, np.ndarray) else [*first, *second]
    songs = [*groups[0], *groups[1]]
    fold = grouped_folds(songs, labels, folds, np.random.default_rng(seed))
    chance = np.full(count + other, 0.5)
    for part in range(folds):
        test, train = np.flatnonzero(fold == part), np.flatnonzero(fold != part)
        if len(test) and len(np.unique(labels[train])) == 2:
            chance[test] = fitter(pick(features, train), labels[train], pick(features, test), seed + part)
    # A probability of exactly one half is a guess: it counts half.
    right = np.where(chance == 0.5, 0.5, (chance > 0.5) == (labels == 1))
    return judged(judge, right, labels, songs, folds, seed)


def judged(judge: str, right: Floats, labels: Ints, songs: Sequence[str], folds: int, seed: int) -> TwoSampleResult:
    """Accuracy with interval and p-value from what was told right.

    Args:
        judge: its name.
        right: (n,) 1 where a piece was told right, 0.5 where it was guessed.
        labels: (n,) set of each piece.
        songs: (n,) song of each piece; songs are drawn as wholes.
        folds: parts of the cross-validation.
        seed: of the bootstrap.
    """
    _, number = np.unique(np.asarray(songs), return_inverse=True)
    size = int(number.max()) + 1
    hits, counts = np.zeros((2, size)), np.zeros((2, size))
    for label in (0, 1):
        mine = labels == label
        hits[label] = np.bincount(number[mine], right[mine], size)
        counts[label] = np.bincount(number[mine], minlength=size)
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    with np.errstate(invalid="ignore"):
        shares = (drawn @ hits.T) / (drawn @ counts.T)
    low, high = np.nanquantile(shares.mean(axis=1), TAILS)
    accuracy = float((hits.sum(axis=1) / counts.sum(axis=1)).mean())
    totals = counts.sum(axis=1)
    # Folds share training pieces, so their errors go together: the variance of k folds is (1 / k + test / training) and
    # not 1 / k times that of one (Nadeau and Bengio 2003, "Inference for the generalization error").
    spread = math.sqrt(0.25 * (1 / totals).sum() * (1 + folds / (folds - 1))) / 2
    widened = math.sqrt(1 + 1 / (folds - 1))
    return TwoSampleResult(
        judge=judge,
        accuracy=accuracy,
        interval=Interval(accuracy - widened * (accuracy - float(low)), accuracy + widened * (float(high) - accuracy)),
        p_value=float(stats.norm.sf((accuracy - 0.5) / spread)),
        pieces=(int(totals[0]), int(totals[1])),
    )


def pick(features: Any, rows: Ints) -> Any:
    """Rows of an array or a list."""
    return features[rows] if isinstance(features, np.ndarray) else [features[row] for row in rows]


def hand_features(values: Sequence[dict[str, float]]) -> Floats:
    """(n, D) the musical metrics of pieces, NaN where a piece cannot have one.

    Args:
        values: metric -> number, as ``score_metrics`` gives them; metrics that need a reference are left out, because
            the reference would then judge itself.
    """
    names = [spec.name for spec in choose_metrics(scalars_only=True) if not spec.needs_reference]
    return np.array([[float(row.get(name, math.nan)) for name in names] for row in values])


def filled(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Gaps filled with the training median; columns that are empty in training are left out."""
    known = np.isfinite(train).any(axis=0)
    train, test = train[:, known], test[:, known]
    middle = np.nanmedian(np.where(np.isfinite(train), train, np.nan), axis=0)
    return np.where(np.isfinite(train), train, middle), np.where(np.isfinite(test), test, middle)


def fit_forest(train: Floats, labels: Ints, test: Floats, seed: int) -> Floats:
    """The forest: probability of set 1 for each test piece."""
    from sklearn.ensemble import RandomForestClassifier

    train, test = filled(train, test)
    forest = RandomForestClassifier(TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed)
    result: Floats = forest.fit(train, labels).predict_proba(test)[:, 1]
    return result


def fit_linear(train: Floats, labels: Ints, test: Floats, seed: int) -> Floats:
    """The linear judge of random features; ``seed`` changes nothing, its optimum is unique."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = filled(train, test)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=RIDGE, class_weight="balanced", max_iter=500))
    result: Floats = model.fit(train, labels).predict_proba(test)[:, 1]
    return result


JUDGES: dict[str, Fitter] = {
    "forest": fit_forest,
    "convolution": fit_convolution,
    "random_features": fit_linear,
}
"""Judges by name."""


class PieceFeatures:
    """What judges and Frechet distances read of a set of pieces: each picture is drawn once, when first asked for.

    Args:
        tables: the pieces.
        values: their musical metrics.
    """

    def __init__(self, tables: Sequence[NoteTable], values: Sequence[dict[str, float]]) -> None:
        self._tables, self._values = tables, values

    def __len__(self) -> int:
        return len(self._tables)

    @cached_property
    def hand(self) -> Floats:
        """(n, D) musical metrics."""
        return hand_features(self._values)

    @cached_property
    def views(self) -> list[View]:
        """Excerpts and lag map of each piece."""
        return [view_of(table) for table in self._tables]

    @cached_property
    def rolls(self) -> Floats:
        """(n, F) random convolutions of the excerpts."""
        return random_features([view.rolls for view in self.views])

    @cached_property
    def maps(self) -> Floats:
        """(n, F) random convolutions of the lag maps."""
        return random_map_features([view.picture for view in self.views])

    def of(self, judge: str) -> Any:
        """What a judge reads, one of JUDGES."""
        if judge == "forest":
            return self.hand
        return self.views if judge == "convolution" else np.concatenate([self.rolls, self.maps], axis=1)


def judge_features(judge: str, tables: Sequence[NoteTable], values: Sequence[dict[str, float]]) -> Any:
    """What a judge reads of pieces.

    Args:
        judge: one of JUDGES.
        tables: the pieces.
        values: their musical metrics (read by the forest alone).
    """
    return PieceFeatures(tables, values).of(judge)


def corrected(results: Sequence[TwoSampleResult]) -> list[TwoSampleResult]:
    """The results with p-values corrected for the number of judges (Holm)."""
    return [
        replace(result, p_holm=p_holm)
        for result, p_holm in zip(results, holm([row.p_value for row in results]), strict=True)
    ]
