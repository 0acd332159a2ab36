"""Musical metrics and validation of many files, and beside a reference.

Files are read one by one; one that cannot be read is counted and named. With a reference (other files), every number
stands beside its band there, chord progressions and bar lines are measured against its own, and each file has a style
figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aurl.data.folders import walk_scores
from aurl.evaluation.comparison import SetComparison, check_judges, compare_sets
from aurl.evaluation.metrics.reference import Reference
from aurl.evaluation.metrics.registry import choose_metrics, measurable, score_metrics
from aurl.evaluation.metrics.table import Floats, NoteTable, read_table
from aurl.evaluation.two_sample import JUDGES
from aurl.evaluation.validation import StyleBand, Verdict, long_term_coherence, validate
from aurl.music.score import read_score
from aurl.utils.errors import AurlError, UnreadableFile
from aurl.utils.words import exists_hint

QUANTILES = (5, 50, 95)


@dataclass(frozen=True)
class MeasuredFile:
    """What one file gave."""

    path: str
    values: dict[str, float]
    verdict: Verdict
    coherence: dict[str, float]
    style: float = math.nan
    """Share of metrics inside the reference's band; NaN without a reference."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what cannot be measured is null."""
        numbers = {name: plain(value) for name, value in self.values.items()}
        return {
            "path": self.path,
            "passed": self.verdict.passed,
            "reasons": self.verdict.reasons,
            "style": plain(self.style),
            "metrics": numbers,
            "coherence": {name: plain(value) for name, value in self.coherence.items()},
        }


@dataclass(frozen=True)
class Summary:
    """One metric over all files; quantiles are 5, 50 and 95 %."""

    name: str
    unit: str
    pieces: int
    """Files that have it."""
    mean: float
    quantiles: tuple[float, float, float]
    reference: tuple[float, float, float] | None = None
    inside: float = math.nan
    """Share of files between the reference's 5 and 95 %; the reference's own have 0.9."""


@dataclass(frozen=True)
class FolderReport:
    """Everything that was measured."""

    files: list[MeasuredFile]
    summaries: list[Summary]
    distributions: dict[str, list[float]]
    """Distribution -> mean over files."""
    skipped: dict[str, str] = field(default_factory=dict)
    """File that could not be read -> why."""
    reference_pieces: int = 0
    usual_style: float = math.nan
    """Style figure that all but a twentieth of the reference's own pieces reach."""
    reference_values: dict[str, list[float]] = field(default_factory=dict)
    """Metric -> value of each reference piece, NaN where it has none; for plots, not in the JSON."""
    reference_distributions: dict[str, list[float]] = field(default_factory=dict)
    """Distribution -> mean over the reference."""
    tables: dict[str, NoteTable] = field(default_factory=dict, repr=False)
    """The pieces, by path as in ``files``."""
    reference_tables: dict[str, NoteTable] = field(default_factory=dict, repr=False)
    """The pieces of the reference."""
    comparison: SetComparison | None = None
    """Distances, judges, copies and diversity, where they were asked for (see ``compare_report``)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what cannot be measured is null."""
        return {
            "pieces": len(self.files),
            "reference_pieces": self.reference_pieces,
            "usual_style": plain(self.usual_style),
            "passed": sum(file.verdict.passed for file in self.files),
            "skipped": self.skipped,
            "metrics": {
                row.name: {
                    "unit": row.unit,
                    "pieces": row.pieces,
                    "mean": plain(row.mean),
                    "quantiles": [plain(value) for value in row.quantiles],
                    "reference": None if row.reference is None else [plain(value) for value in row.reference],
                    "inside": plain(row.inside),
                }
                for row in self.summaries
            },
            "distributions": self.distributions,
            "reference_distributions": self.reference_distributions,
            "comparison": self.comparison.to_dict() if self.comparison is not None else None,
            "files": [file.to_dict() for file in self.files],
        }


def measure_folder(
    music: Path,
    reference: Path | None = None,
    names: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FolderReport:
    """Measure every piece of a folder, or one file.

    Args:
        music: folder or file.
        reference: folder or file to compare with.
        names: metrics or groups; all without it.
        on_progress: is told how many files of how many are done.

    Raises:
        AurlError: an unknown metric, no music, or nothing readable.
    """
    choose_metrics(names)  # a wrong name is told before the first file is read
    paths = list_music(music, "music")
    others = list_music(reference, "reference") if reference is not None else []
    total = len(paths) + len(others)
    theirs, _ = read_tables(others, reference or music, lambda done: on_progress(done, total))
    if reference is not None and len(theirs) < 2:
        raise AurlError(f"reference={reference} has {len(theirs)} readable pieces; allowed: 2 or more")
    tables, skipped = read_tables(paths, music, lambda done: on_progress(len(others) + done, total))
    if not tables:
        raise AurlError(
            f"music={music}: none of {len(paths)} files can be read; the first: {next(iter(skipped.values()))}"
        )
    return measure_tables(tables, theirs, names, skipped)


def measure_tables(
    tables: Mapping[str, NoteTable],
    theirs: Mapping[str, NoteTable],
    names: Sequence[str] | None = None,
    skipped: Mapping[str, str] | None = None,
) -> FolderReport:
    """Measure pieces that are read already.

    Args:
        tables: name -> piece.
        theirs: the reference; empty for none, else at least two pieces.
        names: metrics or groups; all without it.
        skipped: file that could not be read -> why.

    Raises:
        AurlError: an unknown metric.
    """
    model = Reference.fit(list(theirs.values())) if theirs else None
    specs = measurable(names, model)
    scalars = [spec.name for spec in specs if not spec.is_distribution]
    measured = {path: score_metrics(table, [spec.name for spec in specs], model) for path, table in tables.items()}
    style = StyleBand.fit(list(theirs.values())) if theirs else None
    files = [
        MeasuredFile(
            path,
            {name: float(measured[path][name]) for name in scalars},
            validate(table),
            long_term_coherence(table),
            style.consistency(table)[0] if style else math.nan,
        )
        for path, table in tables.items()
    ]
    standard = [score_metrics(table, [spec.name for spec in specs], model) for table in theirs.values()]
    reference = {name: [float(row[name]) for row in standard] for name in scalars if standard}
    summaries = [
        summarise(spec.name, spec.unit, [file.values[spec.name] for file in files], reference.get(spec.name, []))
        for spec in specs
        if not spec.is_distribution
    ]
    shapes = [spec.name for spec in specs if spec.is_distribution]
    return FolderReport(
        files,
        summaries,
        mean_distributions(list(measured.values()), shapes),
        dict(skipped or {}),
        len(theirs),
        style.usual if style else math.nan,
        reference,
        mean_distributions(standard, shapes),
        dict(tables),
        dict(theirs),
    )


def mean_distributions(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[float]]:
    """Distribution -> mean over pieces; empty without pieces."""
    return {name: np.mean([np.asarray(row[name]) for row in rows], axis=0).tolist() for name in names if rows}


def compare_report(
    report: FolderReport,
    training: Path | None = None,
    judges: Sequence[str] = tuple(JUDGES),
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> FolderReport:
    """The report with distances, judges, copies and diversity against its reference.

    Args:
        report: of ``measure_folder``; without a reference only copies of ``training`` and diversity are measured.
        training: folder or file that may have been copied; without it the reference.
        judges: which classifiers are asked.
        seed: of all draws.
        on_progress: is told how many steps of how many are done.

    Raises:
        AurlError: an unknown judge, or no readable music in ``training``.
    """
    check_judges(judges)
    originals: dict[str, NoteTable] | None = None
    if training is not None:
        originals, skipped = read_tables(list_music(training, "training"), training, lambda done: None)
        if not originals:
            raise AurlError(f"training={training}: no file can be read; the first: {next(iter(skipped.values()))}")
    comparison = compare_sets(report.tables, report.reference_tables, originals, judges, seed, on_progress)
    return replace(report, comparison=comparison)


def list_music(path: Path, key: str) -> list[Path]:
    """Music files of a folder in order, or the file itself.

    Raises:
        AurlError: nothing there.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise AurlError(f"{key}={path} does not exist{exists_hint(path)}; give a folder of music or one file")
    files = sorted(walk_scores(path))
    if not files:
        raise AurlError(f"{key}={path} holds no music; give a folder with MIDI or notation files")
    return files


def read_tables(
    paths: Sequence[Path], root: Path, on_progress: Callable[[int], None]
) -> tuple[dict[str, NoteTable], dict[str, str]]:
    """Tables by file name below ``root``, and the files that could not be read with the reason."""
    tables: dict[str, NoteTable] = {}
    skipped: dict[str, str] = {}
    for done, path in enumerate(paths, start=1):
        name = str(path.relative_to(root)) if path.is_relative_to(root) and path != root else path.name
        try:
            tables[name] = read_table(read_score(path))
        except UnreadableFile as error:
            skipped[name] = error.reason
        on_progress(done)
    return tables, skipped


def summarise(name: str, unit: str, values: Sequence[float], reference: Sequence[float]) -> Summary:
    """Mean and quantiles of the finite values, and how many lie in the reference's band."""
    found = np.array([value for value in values if math.isfinite(value)])
    other = np.array([value for value in reference if math.isfinite(value)])
    band = quantiles(other) if len(other) else None
    inside = float(((found >= band[0]) & (found <= band[2])).mean()) if band and len(found) else math.nan
    mean = float(found.mean()) if len(found) else math.nan
    return Summary(name, unit, len(found), mean, quantiles(found), band, inside)


def quantiles(values: Floats) -> tuple[float, float, float]:
    """The 5, 50 and 95 % quantiles; NaN of nothing."""
    if not len(values):
        return math.nan, math.nan, math.nan
    low, middle, high = np.percentile(values, QUANTILES)
    return float(low), float(middle), float(high)


def plain(value: float) -> float | None:
    """A number that JSON has; None for NaN and infinity."""
    return value if math.isfinite(value) else None
