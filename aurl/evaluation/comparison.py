"""One set of pieces beside a reference: every distance, every judge, copies and diversity in one result.

Everything is measured a second time on real music against real music (halves of the reference), because no distance
means anything without that. What cannot be said is left out, and ``left_out`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aurl.evaluation.distances import (
    FEWEST_PIECES,
    FrechetResult,
    MetricDistance,
    measure_frechet,
    metric_distance,
)
from aurl.evaluation.metrics.registry import choose_metrics, score_metrics
from aurl.evaluation.metrics.table import Floats, NoteTable
from aurl.evaluation.originality import CopyResult, Diversity, check_copies, measure_diversity
from aurl.evaluation.significance import holm
from aurl.evaluation.two_sample import (
    FEWEST_PIECES as FEWEST_JUDGED,
)
from aurl.evaluation.two_sample import (
    JUDGES,
    PieceFeatures,
    TwoSampleResult,
    corrected,
    pick,
    two_sample_test,
)
from aurl.utils.errors import AurlError
from aurl.utils.words import nearest

MOST_DIMENSIONS = 24
"""Principal components of the reference in which Frechet distances are taken."""
PIECES_PER_DIMENSION = 5
"""Fewer pieces a component make covariances that are guesses."""
MOST_DEVIATIONS = 5.0
TINY = 1e-9
HAND, RANDOM, MAPS = "musical metrics", "random convolutions", "lag maps"


@dataclass(frozen=True)
class SetComparison:
    """How a set of pieces stands to a reference."""

    distances: list[MetricDistance] = field(default_factory=list)
    frechet: list[FrechetResult] = field(default_factory=list)
    judges: list[TwoSampleResult] = field(default_factory=list)
    copies: CopyResult | None = None
    diversity: Diversity | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    """What was not measured -> why."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "distances": {row.name: row.to_dict() for row in self.distances},
            "frechet": [row.to_dict() for row in self.frechet],
            "judges": [row.to_dict() for row in self.judges],
            "copies": self.copies.to_dict() if self.copies is not None else None,
            "diversity": self.diversity.to_dict() if self.diversity is not None else None,
            "left_out": self.left_out,
        }


def check_judges(names: Sequence[str]) -> None:
    """Refuse judges that do not exist.

    Raises:
        AurlError: names the unknown one and those that exist.
    """
    for name in names:
        if name not in JUDGES:
            hint = nearest(name, JUDGES)
            raise AurlError(f"judges={name} is unknown{hint}; allowed: {', '.join(JUDGES)} (judges=[] asks none)")


def compare_sets(
    files: Mapping[str, NoteTable],
    reference: Mapping[str, NoteTable],
    training: Mapping[str, NoteTable] | None = None,
    judges: Sequence[str] = tuple(JUDGES),
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> SetComparison:
    """Measure a set against a reference.

    Args:
        files: name -> table of the pieces that are judged.
        reference: name -> table of real music, each piece a song of its own; empty where there is none: then only
            copies of ``training`` and diversity are measured.
        training: what may have been copied; without it the reference. With it, pieces of the reference that are not in
            it are the real music whose shared passages stand beside.
        judges: which classifiers are asked.
        seed: of all draws.
        on_progress: is told how many steps of how many are done.

    Raises:
        AurlError: an unknown judge.

    Example:
        >>> result = compare_sets(generated, real)  # doctest: +SKIP
        >>> [(row.judge, row.accuracy, row.null) for row in result.judges]  # doctest: +SKIP
    """
    check_judges(judges)
    left_out: dict[str, str] = {}
    if not reference:
        copies = check_copies(files, training, seed=seed, on_progress=on_progress) if training else None
        return SetComparison(copies=copies, diversity=measure_diversity(files, None, seed))
    steps = 3 + len(judges)
    values, standard = scalar_values(list(files.values())), scalar_values(list(reference.values()))
    distances = metric_distances(values, standard, seed)
    few = min(len(files), len(reference))
    if few < FEWEST_PIECES:
        left_out["distances"] = f"{few} pieces; at least {FEWEST_PIECES} of both sets are needed"
    on_progress(1, steps)
    mine, theirs = PieceFeatures(list(files.values()), values), PieceFeatures(list(reference.values()), standard)
    frechet = frechet_distances(mine, theirs, seed, left_out)
    on_progress(2, steps)
    results = []
    for number, judge in enumerate(judges):
        if few < FEWEST_JUDGED:
            left_out[f"judge {judge}"] = f"{few} pieces; at least {FEWEST_JUDGED} of both sets are needed"
        else:
            songs = songs_of(files, reference), list(reference)
            results.append(ask_judge(judge, mine.of(judge), theirs.of(judge), songs, seed))
        on_progress(3 + number, steps)
    copies = check_copies(files, training or reference, held_out(reference, training), seed=seed)
    diversity = measure_diversity(files, reference, seed)
    on_progress(steps, steps)
    return SetComparison(distances, frechet, corrected(results), copies, diversity, left_out)


def held_out(
    reference: Mapping[str, NoteTable], training: Mapping[str, NoteTable] | None
) -> dict[str, NoteTable] | None:
    """Pieces of the reference that are not in the training set; None where copies of the reference are looked for."""
    if training is None:
        return None
    known = {(table.pitch.tobytes(), table.start.tobytes()) for table in training.values()}
    return {
        name: table for name, table in reference.items() if (table.pitch.tobytes(), table.start.tobytes()) not in known
    }


def songs_of(files: Mapping[str, NoteTable], reference: Mapping[str, NoteTable]) -> list[str]:
    """The song of each file: a file that bears the name of a reference piece is a version of it."""
    return [name if name in reference else f"file {name}" for name in files]


def scalar_values(tables: Sequence[NoteTable]) -> list[dict[str, float]]:
    """The musical metrics of each piece that are single numbers and need no reference."""
    names = [spec.name for spec in choose_metrics(scalars_only=True) if not spec.needs_reference]
    return [{name: float(value) for name, value in score_metrics(table, names).items()} for table in tables]


def metric_distances(
    values: Sequence[Mapping[str, float]], reference: Sequence[Mapping[str, float]], seed: int
) -> list[MetricDistance]:
    """One row for every metric that enough pieces have, with p-values corrected for their number."""
    rows = []
    for name in values[0] if values else ():
        mine = np.array([row[name] for row in values])
        theirs = np.array([row[name] for row in reference])
        row = metric_distance(name, mine, theirs, np.random.default_rng(seed))
        if row is not None:
            rows.append(row)
    corrected = holm([row.p_value for row in rows])
    return [replace(row, p_holm=p_holm) for row, p_holm in zip(rows, corrected, strict=True)]


def frechet_distances(
    files: PieceFeatures, reference: PieceFeatures, seed: int, left_out: dict[str, str]
) -> list[FrechetResult]:
    """Frechet distances over the metrics and over random convolutions, on principal components of the reference."""
    pieces = min(len(files), len(reference) // 2)  # the halves of the reference are measured too
    dimensions = min(MOST_DIMENSIONS, pieces // PIECES_PER_DIMENSION)
    if dimensions < 2:
        fewest = 2 * PIECES_PER_DIMENSION
        left_out["Frechet distance"] = f"at least {fewest} pieces and {2 * fewest} of the reference are needed"
        return []
    rng = np.random.default_rng(seed)
    sets = {
        HAND: (files.hand, reference.hand),
        RANDOM: (files.rolls, reference.rolls),
        MAPS: (files.maps, reference.maps),
    }
    results = [
        measure_frechet(name, *principal_components(mine, theirs, dimensions), rng)
        for name, (mine, theirs) in sets.items()
    ]
    return [result for result in results if result is not None]


def principal_components(values: Floats, reference: Floats, dimensions: int) -> tuple[Floats, Floats]:
    """Both sets in the first principal components of the standardised reference, whose mean variance is then 1.

    Gaps are filled with the reference's median; what never varies in the reference is left out, and nothing counts for
    more than MOST_DEVIATIONS standard deviations: a metric that is constant but for one piece would drown all others.

    Args:
        values: (N, F) features, NaN where a piece has none.
        reference: (M, F) features.
        dimensions: components kept.
    """
    known = np.isfinite(reference).any(axis=0)
    values, reference = values[:, known], reference[:, known]
    middle = np.nanmedian(np.where(np.isfinite(reference), reference, np.nan), axis=0)
    values = np.where(np.isfinite(values), values, middle)
    reference = np.where(np.isfinite(reference), reference, middle)
    spread = reference.std(axis=0)
    varied = spread > TINY
    centre = reference.mean(axis=0)[varied]
    values, reference = (
        np.clip((part[:, varied] - centre) / spread[varied], -MOST_DEVIATIONS, MOST_DEVIATIONS)
        for part in (values, reference)
    )
    _, _, axes = np.linalg.svd(reference - reference.mean(axis=0), full_matrices=False)
    values, reference = values @ axes[:dimensions].T, reference @ axes[:dimensions].T
    unit = np.sqrt(reference.var(axis=0).mean())
    return values / unit, reference / unit


def ask_judge(
    judge: str, mine: Any, theirs: Any, songs: tuple[Sequence[str], Sequence[str]], seed: int
) -> TwoSampleResult:
    """One judge on the set against the reference, and on two halves of the reference."""
    result = two_sample_test(judge, mine, theirs, songs, JUDGES[judge], seed)
    halves = np.array_split(np.random.default_rng(seed).permutation(len(theirs)), 2)
    names = [[songs[1][row] for row in half] for half in halves]
    null = two_sample_test(
        judge, pick(theirs, halves[0]), pick(theirs, halves[1]), (names[0], names[1]), JUDGES[judge], seed
    )
    return replace(result, null=null.accuracy)
