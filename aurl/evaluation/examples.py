"""Which pieces of many one listens to: the best, the median and the worst by one stated criterion.

Pieces are ordered by the validation checks that they fail, fewest first, then by the share of metrics inside the band
of the reference (5 to 95 %), and where there is no reference, inside the band of all pieces measured. It is an order
of how usual a piece is, not of how good: only a listener can say that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aurl.evaluation.chorale import band
from aurl.evaluation.folder import FolderReport, MeasuredFile
from aurl.evaluation.metrics.registry import all_metrics
from aurl.evaluation.validation import STYLE_HIGH, STYLE_LOW

ROLES = ("Best", "Median", "Worst")


@dataclass(frozen=True)
class Example:
    """One piece that is chosen."""

    role: str
    """Best, Median or Worst."""
    path: str
    """Name of the piece in the report."""
    share: float
    """Share of metrics inside the band."""
    reasons: Sequence[str]
    """Validation checks that it fails."""


def choose_examples(report: FolderReport) -> list[Example]:
    """The pieces to listen to, each once: fewer than three where there are fewer pieces."""
    shares = typical_shares(report)
    ordered = sorted(report.files, key=lambda file: (len(file.verdict.reasons), -shares[file.path], file.path))
    places = dict(zip(ROLES, (0, (len(ordered) - 1) // 2, len(ordered) - 1), strict=True))
    chosen: dict[int, str] = {}
    for role, place in places.items():
        chosen.setdefault(place, role)
    return [
        Example(role, ordered[place].path, shares[ordered[place].path], ordered[place].verdict.reasons)
        for place, role in chosen.items()
    ]


def typical_shares(report: FolderReport) -> dict[str, float]:
    """Piece -> share of metrics inside the band; 0 where nothing can be said."""
    if report.reference_pieces:
        return {file.path: 0.0 if math.isnan(file.style) else file.style for file in report.files}
    known = all_metrics()
    names = [name for name in report.files[0].values if not known[name].comparability_only]
    limits = band([{name: file.values[name] for name in names} for file in report.files], STYLE_LOW, STYLE_HIGH)
    return {file.path: _inside(file, names, limits) for file in report.files}


def _inside(file: MeasuredFile, names: Sequence[str], limits: Mapping[str, tuple[float, float]]) -> float:
    found = [limits[n][0] <= file.values[n] <= limits[n][1] for n in names if math.isfinite(file.values[n])]
    return sum(found) / len(found) if found else 0.0


def criterion(report: FolderReport) -> str:
    """The order in words, for the page."""
    whose = "of the reference" if report.reference_pieces else "of all pieces measured"
    return (
        "Ordered by the validation checks that a piece fails, fewest first, then by the share of metrics inside the "
        f"band {whose} (5 to 95 %). That is how usual a piece is, not how good."
    )
