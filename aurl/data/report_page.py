"""The data report as one HTML page: no script, no file beside it, no request to anywhere.

It shows the JSON object of report.py and adds nothing, so the two cannot disagree. The parts of a page are
aurl.utils.pages, its charts aurl.utils.charts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aurl.data.report_charts import SECTIONS
from aurl.data.report_measures import LEAST_FOR_OUTLIERS, OUTLIER_SCORE, SPLITS
from aurl.utils.charts import chart_svg, short
from aurl.utils.pages import card, document, name_text, table, text

FILES_SHOWN = 12
"""Names listed behind a bar; the JSON file has all of them."""
FILES_OPEN, FILES_FOLDED = 3, 30
"""Names listed in a row of a table, and beneath it until one asks for them."""
ROWS_SHOWN = 40
"""Rows of the tables of reasons, groups and pairs."""
OUTLIERS_SHOWN = 10
"""Pieces listed for each measure."""
COMPARED = ("beats", "bars", "seconds", "tokens", "density", "polyphony", "tempo", "velocity", "off_grid")
"""Measures whose medians are compared between splits."""

AMOUNTS = ("pieces", "notes", "tokens", "hours")

Report = Mapping[str, Any]


def report_page(report: Report) -> str:
    """The page as text, to be written as UTF-8.

    Args:
        report: what ``report.make_report`` returns.
    """
    title = f"Data report: {report['name']}"
    sections = [
        ("What to look at", "findings", _findings(report)),
        ("How much there is", "counts", _counts(report)),
        ("Left out", "quarantine", _quarantine(report)),
        ("Repaired", "repairs", _repairs(report)),
        ("Fitted to the vocabulary", "changes", _changes(report)),
        *([("What preprocessing did", "preprocessed", _preprocessed(report))] if report["preprocess"] else []),
        ("Near-duplicates", "duplicates", _duplicates(report)),
        *(
            (name, f"section-{name.lower()}", _charts(report, name))
            for name in SECTIONS
            if any(chart["section"] == name for chart in report["charts"])
        ),
        ("Unusual pieces", "outliers", _outliers(report)),
    ]
    total = report["counts"]["all"]
    intro = ", ".join(f"{short(total[name])} {name}" for name in AMOUNTS)
    return document(title, intro, sections)


# --- sections ---------------------------------------------------------------------------------------------------------


def _findings(report: Report) -> str:
    if not report["findings"]:
        return card("<p>Nothing stands out.</p>")
    items = "".join(
        f"<li class=is-{finding['level']}><b>{finding['level'].capitalize()}</b> {text(finding['text'])} "
        f"<a href=#{finding['place']}>more</a></li>"
        for finding in report["findings"]
    )
    return card(f"<ul class=findings>{items}</ul>")


def _counts(report: Report) -> str:
    counts = report["counts"]
    charts = {chart["name"]: chart for chart in report["charts"]}
    compared = [charts[name] for name in COMPARED]
    heads = ["", *SPLITS, "all"]
    rows: list[list[str]] = []
    for name in AMOUNTS:
        rows.append([name, *(short(counts[split][name]) for split in (*SPLITS, "all"))])
    for chart in compared:
        medians = [chart["splits"][split]["median"] for split in SPLITS] + [chart["summary"]["median"]]
        unit = f", {chart['unit']}" if chart["unit"] not in ("bars", "seconds", "tokens", "beats") else ""
        rows.append([f"median {chart['title'].lower()}{unit}", *(_number(median) for median in medians)])
    total = counts["all"]
    return card(
        "<p>The splits should differ in size only: medians far apart mean that the held-out pieces are another kind of "
        "music.</p>" + table(heads, rows, numbers=range(1, 5), name="counts")
        + f"<p class=soft>{total['skipped']:,} files were left out, {total['repaired']:,} repaired.</p>"
    )  # fmt: skip


def _quarantine(report: Report) -> str:
    groups = report["quarantine"]
    if not groups:
        return card("<p>Every file could be read.</p>")
    rows = [
        [text(group["reason"]), f"{group['count']:,}", _folded([file["id"] for file in group["files"]], name_text)]
        for group in groups[:ROWS_SHOWN]
    ]
    lead = (
        "<p>These files could not be read and are not in the corpus; N stands for numbers. "
        "<code>aurl-data check FILE</code> says more of each.</p>"
    )
    return card(lead + table(["reason", "files", "which"], rows, [1], "quarantine") + _rest(groups, ROWS_SHOWN))


def _repairs(report: Report) -> str:
    lead = (
        "<p>Damage that was mended on reading, by kind; docs/data_format.md explains each. The music is usually whole, "
        "but listen to files with many repairs.</p>"
    )
    return _kinds(report, "repairs", lead, "No file had to be repaired.")


def _changes(report: Report) -> str:
    lead = (
        "<p>What has no token was changed by rule. Dropped notes are lost; moved pitches sound in another octave; "
        "replaced metres have other bars.</p>"
    )
    return _kinds(report, "changes", lead, "Everything has a token: nothing was changed.")


def _preprocessed(report: Report) -> str:
    settings = ", ".join(f"preprocess.{name}={value}" for name, value in report["preprocess"].items())
    lead = (
        f"<p>Everything but near-duplicates is counted after preprocessing ({text(settings)}); docs/data_format.md "
        "explains each kind.</p>"
    )
    return _kinds(report, "preprocessed", lead, f"Nothing had to be changed ({text(settings)}).")


def _kinds(report: Report, key: str, lead: str, nothing: str) -> str:
    if not report[key]:
        return card(f"<p>{nothing}</p>")
    rows = [
        [
            text(row["kind"].replace("_", " ")),
            f"{row['count']:,}",
            f"{len(row['pieces']):,}",
            _folded_pieces(report, row["pieces"]),
        ]
        for row in report[key]
    ]
    return card(lead + table(["kind", "times", "pieces", "which, most first"], rows, [1, 2], key))


def _duplicates(report: Report) -> str:
    found = report["duplicates"]
    lead = (
        "<p>Pieces that share at least a quarter of their melody, in any key. Copies in one split make training repeat "
        "itself; across splits they can make the figures of held-out music too good.</p>"
    )
    across = [
        [f"{pair['similarity']:.2f}", _one(report, pair["a"]), _one(report, pair["b"])]
        for pair in found["across"][:ROWS_SHOWN]
    ]
    groups = [
        [
            f"{len(group['pieces']):,}",
            ", ".join(group["splits"]),
            _span(group["lowest"], group["highest"]),
            _folded_pieces(report, group["pieces"]),
        ]
        for group in found["groups"][:ROWS_SHOWN]
    ]
    body = "<h3>Across splits</h3>"
    body += (
        table(["shared", "piece", "near-duplicate"], across, [0], "across") + _rest(found["across"], ROWS_SHOWN)
        if across
        else "<p>None.</p>"
    )
    body += "<h3>Groups</h3>"
    body += (
        table(["pieces", "splits", "shared", "which"], groups, [0], "groups") + _rest(found["groups"], ROWS_SHOWN)
        if groups
        else "<p>None.</p>"
    )
    if found["not_compared"]:
        body += f"<p class=soft>{found['not_compared']:,} pieces of very large groups were not compared in pairs.</p>"
    return card(lead + body)


def _charts(report: Report, section: str) -> str:
    cards = [_chart(report, chart) for chart in report["charts"] if chart["section"] == section]
    return f"<div class=charts>{''.join(cards)}</div>"


def _chart(report: Report, chart: Mapping[str, Any]) -> str:
    """One chart with what it shows, when to worry, and the files behind each bar."""
    unit = f" <span class=soft>({text(chart['unit'])})</span>" if chart["unit"] else ""
    body = f"<h3>{text(chart['title'])}{unit}</h3><p class=soft>{text(chart['shows'])}</p>"
    if not any(bin_["value"] for bin_ in chart["bins"]):
        return card(body + "<p>Nothing to show.</p>", chart["name"])
    body += chart_svg(chart, text) + f"<p class=worry>{text(chart['worry'])}</p>"
    if chart.get("missing"):
        body += f"<p class=missing>{chart['missing']:,} pieces have no such value, such as drums alone.</p>"
    rows = [
        [text(bin_["label"]), short(bin_["value"]), _pieces(report, bin_["pieces"])]
        for bin_ in chart["bins"]
        if bin_["value"]
    ]
    listed = table([chart["unit"] or chart["title"].lower(), chart["counts"], "which"], rows, [1], chart["name"])
    return card(f"{body}<details><summary>Files</summary>{listed}</details>", chart["name"])


def _outliers(report: Report) -> str:
    lead = (
        f"<p>Pieces more than {OUTLIER_SCORE:g} robust standard deviations from the median. Unusual is not wrong: "
        f"listen before you remove one. Corpora of fewer than {LEAST_FOR_OUTLIERS} pieces have no usual value.</p>"
    )
    tables = [_outliers_of(report, measure) for measure in report["outliers"] if measure["pieces"]]
    return card(lead + ("".join(tables) or "<p>None.</p>"))


def _outliers_of(report: Report, measure: Mapping[str, Any]) -> str:
    """The oddest pieces by one measure."""
    found = measure["pieces"]
    head = (
        f"<h3>{text(measure['title'])} <span class=soft>({text(measure['unit'])}, median {_number(measure['median'])})"
    )
    rows = [[short(one["value"]), f"{one['z']:+.1f}", _one(report, one["piece"])] for one in found[:OUTLIERS_SHOWN]]
    listed = table(["value", "deviations", "piece"], rows, [0, 1], f"outliers-{measure['name']}")
    return f"{head}</span></h3>{listed}{_rest(found, OUTLIERS_SHOWN)}"


# --- parts ------------------------------------------------------------------------------------------------------------


def _pieces(report: Report, numbers: Sequence[int]) -> str:
    """Names of pieces, the first few."""
    return _listed(numbers, lambda number: _one(report, number))


def _folded_pieces(report: Report, numbers: Sequence[int]) -> str:
    return _folded(numbers, lambda number: _one(report, number))


def _one(report: Report, number: int) -> str:
    piece = report["pieces"][number]
    return f"{name_text(piece['id'])} <span class=soft>{piece['split']}</span>"


def _listed(items: Sequence[Any], show: Callable[[Any], str], most: int = FILES_SHOWN) -> str:
    """The first of a list, and how many more there are."""
    shown = "<br>".join(show(item) for item in items[:most])
    rest = len(items) - most
    return shown + (f"<br><span class=soft>and {rest:,} more in the JSON file</span>" if rest > 0 else "")


def _folded(items: Sequence[Any], show: Callable[[Any], str]) -> str:
    """The first few of a list, and the next ones beneath a line that opens."""
    if len(items) <= FILES_OPEN + 1:
        return _listed(items, show)
    rest = _listed(items[FILES_OPEN:], show, FILES_FOLDED)
    more = f"{len(items) - FILES_OPEN:,} more"
    return f"{_listed(items[:FILES_OPEN], show)}<details><summary>{more}</summary>{rest}</details>"


def _rest(items: Sequence[Any], shown: int) -> str:
    rest = len(items) - shown
    return f"<p class=soft>{rest:,} more in the JSON file.</p>" if rest > 0 else ""


def _span(low: float, high: float) -> str:
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _number(value: float | None) -> str:
    return short(value) if value is not None else "none"
