"""Sections of the report on music: the table of metrics, their distributions beside the reference, validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aurl.evaluation.folder import FolderReport
from aurl.evaluation.metrics.registry import MetricSpec, all_metrics
from aurl.music.instruments import PITCH_CLASSES
from aurl.utils.charts import short
from aurl.utils.lines import overlay_svg
from aurl.utils.pages import card, name_text, table, text

Part = Mapping[str, Any]

BINS = 16
TRIM = (0.5, 99.5)
"""Percentiles of ours and reference together that a histogram spans; what lies outside is in its end bins."""
OPEN_CHARTS = 9
"""Distributions shown at once; the others are under a line that opens."""
LARGEST_SHAPE = 40
"""Distributions of more bins than this (pairs of states) cannot be read as bars."""
FILES_SHOWN = 40
MIN_PIECES = 3
"""Pieces that a histogram needs."""


def metrics_section(music: Part, distances: Mapping[str, Part] | None = None) -> str:
    """Every metric: value, reference, how far, and what it measures.

    Args:
        music: a folder report's dict.
        distances: metric -> ``MetricDistance`` as a dict, where distances were measured.
    """
    known = all_metrics()
    rows = music["metrics"]
    compared = music["reference_pieces"] > 0
    beside = f", beside {music['reference_pieces']:,} of the reference" if compared else ""
    note = (
        " The reference's own pieces have 90 % inside its band of 5 to 95 %, on average: a share far below that is a "
        "difference."
        if compared
        else " Without reference=FOLDER nothing says whether a value is usual."
    )
    if distances:
        note += " Shift and distance are in standard deviations of the reference, with 95 % intervals below."
    body = f"<p>{music['pieces']:,} pieces{beside}.{note}</p>"
    body += _metric_table(_of_kind(rows, known, False), known, compared, distances or {}, "metrics")
    others = _of_kind(rows, known, True)
    if others:
        listed = _metric_table(others, known, compared, distances or {}, "comparability")
        body += f"<details><summary>For comparability with published figures</summary>{listed}</details>"
    return card(body)


def _of_kind(rows: Mapping[str, Part], known: Mapping[str, MetricSpec], only: bool) -> dict[str, Part]:
    """Metrics that some piece has, advertised ones or those for comparability."""
    return {
        name: row for name, row in rows.items() if row["pieces"] and name in known
        and known[name].comparability_only == only
    }  # fmt: skip


def _metric_table(
    rows: Mapping[str, Part],
    known: Mapping[str, MetricSpec],
    compared: bool,
    distances: Mapping[str, Part],
    name: str,
) -> str:
    heads = ["metric", "unit", "mean", "median"]
    heads += ["reference median", "5 to 95 %", "inside"] if compared else ["5 to 95 %"]
    heads += ["shift (sd)", "energy distance (sd)", "p (Holm)"] if distances else []
    cells = []
    for metric, row in rows.items():
        low, middle, high = row["quantiles"]
        line = [text(metric), text(row["unit"]), _number(row["mean"]), _number(middle)]
        if compared:
            band = row["reference"] or [None] * 3
            inside = "–" if row["inside"] is None else f"{100 * row['inside']:.0f} %"
            line += [_number(band[1]), _span(band[0], band[2]), inside]
        else:
            line.append(_span(low, high))
        if distances:
            line += _distance(distances.get(metric, {}))
        cells.append([*line, f"sees {text(known[metric].sees)}; blind to {text(known[metric].blind_to)}"])
    return table([*heads, "what it measures"], cells, range(2, len(heads)), name)


def _distance(row: Part) -> list[str]:
    """Shift of the mean and energy distance with their intervals, and the corrected p-value."""
    if not row:
        return ["–", "–", "–"]
    cells = [
        f"{_number(row[key])}<br><span class=soft>{_span(*row[f'{key}_interval'])}</span>"
        for key in ("shift", "energy")
    ]
    return [*cells, _number(row["p_holm"])]


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else short(value)


def _span(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{_number(low)} to {_number(high)}"


# --- distributions ----------------------------------------------------------------------------------------------------


def chart_data(report: FolderReport) -> dict[str, list[dict[str, Any]]]:
    """What the plots of distributions show.

    Returns:
        ``scalars``: histograms of the advertised metrics over pieces (name, unit, edges, ours, reference: shares, gap:
        the largest difference of the cumulated shares), most different first; ``shapes``: mean distributions (name,
        labels, ours, reference).
    """
    known = all_metrics()
    scalars = []
    for row in report.summaries:
        if known[row.name].comparability_only or row.pieces < MIN_PIECES:
            continue
        ours = _finite([file.values[row.name] for file in report.files])
        theirs = _finite(report.reference_values.get(row.name, []))
        made = _histogram(ours, theirs)
        if made is not None:
            scalars.append({"name": row.name, "unit": row.unit, **made})
    scalars.sort(key=lambda chart: -chart["gap"])
    shapes = []
    for name, values in report.distributions.items():
        if len(values) <= LARGEST_SHAPE and any(values):
            reference = report.reference_distributions.get(name)
            labels = list(PITCH_CLASSES) if len(values) == len(PITCH_CLASSES) else [str(i) for i in range(len(values))]
            shapes.append({"name": name, "labels": labels, "ours": values, "reference": reference})
    return {"scalars": scalars, "shapes": shapes}


def _finite(values: Sequence[float]) -> np.ndarray:
    found = np.array(values, dtype=np.float64)
    return found[np.isfinite(found)]


def _histogram(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any] | None:
    """Shares of pieces in common bins; None where all have the same value."""
    together = np.concatenate([ours, theirs])
    low, high = np.percentile(together, TRIM)
    if not high > low:
        return None
    edges = np.linspace(low, high, BINS + 1)
    shares = [np.histogram(np.clip(part, low, high), edges)[0] / max(len(part), 1) for part in (ours, theirs)]
    gap = 0.0
    if len(theirs):
        points = np.sort(together)
        cumulated = [np.searchsorted(np.sort(part), points, side="right") / len(part) for part in (ours, theirs)]
        gap = float(np.abs(cumulated[0] - cumulated[1]).max())
    return {
        "edges": edges.tolist(),
        "ours": shares[0].tolist(),
        "reference": shares[1].tolist() if len(theirs) else None,
        "gap": gap,
    }


def distribution_section(charts: Part) -> str:
    """Small histograms, most different from the reference first."""
    scalars = [_scalar_chart(chart) for chart in charts["scalars"]]
    shapes = [_shape_chart(chart) for chart in charts["shapes"]]
    compared = any(chart["reference"] for chart in [*charts["scalars"], *charts["shapes"]])
    order = (
        "Bars: these pieces; line: the reference. Shares of pieces. The gap is the largest difference of the cumulated "
        "shares, 0 for equal distributions and 1 for disjoint ones; the largest come first."
        if compared
        else "Shares of pieces."
    )
    body = f"<p class=soft>{order}</p><div class='charts small'>{''.join(scalars[:OPEN_CHARTS])}</div>"
    if scalars[OPEN_CHARTS:]:
        rest = "".join(scalars[OPEN_CHARTS:])
        body += f"<details><summary>{len(scalars) - OPEN_CHARTS} more metrics</summary>"
        body += f"<div class='charts small'>{rest}</div></details>"
    if shapes:
        body += f"<h3>Within pieces, mean over all</h3><div class='charts small'>{''.join(shapes)}</div>"
    return body


def _scalar_chart(chart: Part) -> str:
    labels = [short(edge) for edge in chart["edges"]]
    drawing = overlay_svg(chart["name"], labels, chart["ours"], chart["reference"], edges=True)
    gap = f" <span class=soft>gap {chart['gap']:.2f}</span>" if chart["reference"] else ""
    unit = f" <span class=soft>({text(chart['unit'])})</span>"
    return card(f"<h3>{text(chart['name'].replace('_', ' '))}{unit}{gap}</h3>{drawing}")


def _shape_chart(chart: Part) -> str:
    drawing = overlay_svg(chart["name"], chart["labels"], chart["ours"], chart["reference"])
    return card(f"<h3>{text(chart['name'].replace('_', ' '))}</h3>{drawing}")


# --- validation -------------------------------------------------------------------------------------------------------


def validation_section(music: Part) -> str:
    """How many files pass, why the others do not, and what could not be read."""
    failing = [file for file in music["files"] if not file["passed"]]
    body = f"<p>{music['passed']:,} of {music['pieces']:,} pieces pass: playable, unbroken, no stuck loop.</p>"
    if failing:
        rows = [[name_text(file["path"]), text("; ".join(file["reasons"]))] for file in failing[:FILES_SHOWN]]
        body += table(["piece", "fails because"], rows, [], "failing") + _rest(failing)
    skipped = list(music["skipped"].items())
    if skipped:
        rows = [[name_text(name), text(reason)] for name, reason in skipped[:FILES_SHOWN]]
        body += "<h3>Not read</h3>" + table(["file", "why"], rows, [], "not-read") + _rest(skipped)
    return card(body)


def _rest(items: Sequence[Any]) -> str:
    rest = len(items) - FILES_SHOWN
    return f"<p class=soft>{rest:,} more in the JSON file.</p>" if rest > 0 else ""
