"""Distances, judges, copies, diversity and paired differences as tables on the console."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurl.evaluation.comparison import SetComparison
    from aurl.evaluation.originality import CopyResult, Diversity
    from aurl.evaluation.significance import Difference

SHOWN_METRICS = 15
"""Metrics that lie farthest from the reference; the JSON file has all."""
SHOWN_COPIES = 10
SIGNIFICANT = 0.05
LONG_TAIL_PAIRS = 100
"""With fewer pairs a test of means raises more than 5 % false alarms if tails are very long (log-normal; measured in
experiments/interval_coverage). How skewed the pairs are does not show where: false alarms come from samples without the
rare large differences, which look the least skewed."""


def print_comparison(comparison: SetComparison) -> None:
    """Everything that was compared, and what was left out."""
    if comparison.judges:
        print_table(
            "can a classifier tell it from the reference? (accuracy, 0.5 is no)",
            ["judge", "accuracy", "95 %", "p (Holm)", "real against real"],
            [
                [row.judge, f"{row.accuracy:.3f}", between(row.interval), shown_p(row.p_holm), number(row.null)]
                for row in comparison.judges
            ],
        )
    if comparison.frechet:
        print_table(
            "Frechet distance, extrapolated to endlessly many pieces",
            ["features", "distance", "95 %", "real against real", "not extrapolated"],
            [
                [
                    row.features,
                    number(row.infinity),
                    between(row.interval),
                    between(row.null),
                    number(row.plain),
                ]
                for row in comparison.frechet
            ],
        )
    print_distances(comparison)
    if comparison.copies is not None:
        print_copies(comparison.copies)
    if comparison.diversity is not None and len(comparison.diversity.shared_run) > 1:
        print_diversity(comparison.diversity)
    for what, why in comparison.left_out.items():
        print(f"not measured: {what}: {why}")


def print_distances(comparison: SetComparison) -> None:
    """The metrics that lie farthest from the reference."""
    rows = sorted(comparison.distances, key=lambda row: (row.p_holm, -row.energy))
    apart = sum(row.p_holm <= SIGNIFICANT for row in rows)
    if not rows:
        return
    print_table(
        f"distances of metrics, in the reference's standard deviations ({apart} of {len(rows)} differ, Holm 5 %)",
        ["metric", "shift", "95 %", "energy", "Wasserstein", "by chance", "p (Holm)"],
        [
            [
                row.name,
                number(row.shift),
                between(row.shift_interval),
                number(row.energy),
                number(row.wasserstein),
                number(row.wasserstein_null),
                shown_p(row.p_holm),
            ]
            for row in rows[:SHOWN_METRICS]
        ],
    )
    if len(rows) > SHOWN_METRICS:
        print(f"  and {len(rows) - SHOWN_METRICS} more metrics; json=FILE lists all")


def print_copies(copies: CopyResult) -> None:
    """How many files are copied, beside real music; those that are, with their source."""
    from aurl.evaluation.originality import COPIED, MELODY, run_quantiles

    real = "held-out real pieces" if copies.human_is_held_out else "real pieces against the others"
    rows = [
        [name, str(len(reports)), percent(share), percent(tunes), *(f"{x:.0f}" for x in run_quantiles(reports))]
        for name, reports, share, tunes in (
            ("this music", copies.files, copies.copied, copies.melodies),
            (real, copies.human, copies.human_copied, copies.human_melodies),
        )
        if reports
    ]
    print_table(
        "copied passages (equal notes in a row, repetition not counted)",
        ["", "pieces", "copied", "shared melody", "median run", "95 %", "longest"],
        rows,
    )
    if math.isfinite(copies.p_value):
        print(f"  longer runs than real music: p = {shown_p(copies.p_value)} (Kolmogorov-Smirnov, one-sided)")
    told = [report for verdict in (COPIED, MELODY) for report in copies.files if report.verdict == verdict]
    for report in told[:SHOWN_COPIES]:
        print(f"  {report.path}: {report.verdict}: {'; '.join(report.reasons)}")
    if len(told) > SHOWN_COPIES:
        print(f"  and {len(told) - SHOWN_COPIES} more; json=FILE lists all")


def print_diversity(diversity: Diversity) -> None:
    """Different n-grams, and what the files share with each other."""
    columns = [("this music", diversity.distinct, list(diversity.shared_run.values()))]
    if diversity.reference_distinct:
        columns.append(("reference", diversity.reference_distinct, diversity.reference_shared_run))
    print_table(
        "diversity: different n-grams, and the median run shared with another file of the batch",
        ["", *(f"{size}-grams" for size in diversity.distinct), "shared run"],
        [
            [name, *(percent(share) for share in distinct.values()), f"{sorted(runs)[len(runs) // 2]}"]
            for name, distinct, runs in columns
            if runs
        ],
    )
    for one, other in diversity.duplicates[:SHOWN_COPIES]:
        print(f"  {other}: the same music as {one}")


def print_differences(rows: Sequence[Difference], names: tuple[str, str]) -> None:
    """Two runs beside each other, what differs most surely first."""
    differ = sum(row.p_holm <= SIGNIFICANT for row in rows)
    print_table(
        f"{names[1]} minus {names[0]}: {differ} of {len(rows)} metrics differ (Holm 5 %)",
        ["metric", names[0], names[1], "difference", "95 %", "p (Holm)", "higher", "p sign (Holm)"],
        [
            [
                row.metric,
                number(row.first),
                number(row.second),
                number(row.difference),
                between((row.low, row.high)),
                shown_p(row.p_holm),
                percent(row.higher),
                shown_p(row.p_sign_holm),
            ]
            for row in sorted(rows, key=lambda row: (row.p_holm, row.p_value))
        ],
    )
    print("  p: is the mean difference 0? p sign: are as many pairs higher as lower? exact whatever their tails")
    fewest = min(row.pairs for row in rows)
    if fewest < LONG_TAIL_PAIRS:
        print(f"  {fewest} pairs: p is too small if rare differences are far larger than the usual; p sign is not")


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output, its first column to the left."""
    from rich.table import Table

    from aurl.cli.tables import table_console

    table = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index else "left", no_wrap=index == 0, min_width=6)
    for row in rows:
        table.add_row(*row)
    table_console().print(table)


def number(value: float) -> str:
    """Three digits; a dash for none."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def percent(share: float) -> str:
    """A share in percent; a dash for none."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def between(interval: tuple[float, float]) -> str:
    """Both ends of an interval."""
    return f"{number(interval[0])}..{number(interval[1])}"


def shown_p(value: float) -> str:
    """A p-value; very small ones as a bound."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
