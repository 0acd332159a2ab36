"""Sections of the report on a set beside its reference: judges and distances, copies and diversity.

They show the dict of ``SetComparison``; the distances of single metrics stand in the table of metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aurl.utils.charts import short
from aurl.utils.pages import Section, card, name_text, table, text

Part = Mapping[str, Any]

FILES_SHOWN = 20
"""Files of the copy report, those that share most first."""
COPIED, MELODY = "copied", "shared melody"
SHARED = (COPIED, MELODY)
"""Verdicts that are listed first."""


def comparison_sections(part: Part) -> list[Section]:
    """One section for distances and judges, one for originality; neither where nothing was measured."""
    sections: list[Section] = []
    if part.get("judges") or part.get("frechet") or part.get("left_out"):
        sections.append(("Distances to the reference", "distances", _distances(part)))
    if part.get("copies") or part.get("diversity"):
        sections.append(("Originality", "originality", _originality(part)))
    return sections


def _distances(part: Part) -> str:
    body = ""
    if part.get("judges"):
        rows = [
            [text(row["judge"]), _number(row["accuracy"]), _span(row["interval"]), _number(row["p_holm"]),
             _number(row["null"])]
            for row in part["judges"]
        ]  # fmt: skip
        body += (
            "<h3>Can a classifier tell it from the reference?</h3><p class=soft>Balanced accuracy on songs it has not "
            "seen; 0.5 is no. p is corrected for the number of judges. Real against real: the same judge on two halves "
            "of the reference.</p>"
            + table(["judge", "accuracy", "95 %", "p (Holm)", "real against real"], rows, range(1, 5), "judges")
        )
    if part.get("frechet"):
        rows = [
            [text(row["features"]), str(row["dimensions"]), _number(row["infinity"]), _span(row["interval"]),
             _span(row["null"]), _number(row["plain"])]
            for row in part["frechet"]
        ]  # fmt: skip
        heads = ["features", "dimensions", "distance", "95 %", "real against real", "not extrapolated"]
        body += (
            "<h3>Frechet distance</h3><p class=soft>Extrapolated to endlessly many pieces; real against real: 95 % of "
            "the distances between halves of the reference.</p>" + table(heads, rows, range(1, 6), "frechet")
        )
    if part.get("left_out"):
        rows = [[text(what), text(why)] for what, why in part["left_out"].items()]
        body += "<h3>Not measured</h3>" + table(["what", "why"], rows, [], "left-out")
    return card(body)


def _originality(part: Part) -> str:
    body = _copies(part["copies"]) if part.get("copies") else ""
    return card(body + (_diversity(part["diversity"]) if part.get("diversity") else ""))


def _copies(copies: Part) -> str:
    """What files share with the training set, and what real music shares with it."""
    files = sorted(copies["files"], key=lambda row: (_rank(row["verdict"]), -row["longest_run"], -row["similarity"]))
    whose = "held-out pieces" if copies["human_is_held_out"] else "training pieces, each without itself"
    lead = (
        f"<p>Copied from the training set, with all voices: {_percent(copies['copied'])} of the pieces, "
        f"{_percent(copies['human_copied'])} of real music. Only a melody shared with it: "
        f"{_percent(copies['shared_melodies'])} of the pieces, {_percent(copies['human_shared_melodies'])} of real "
        f"music.</p><p class=soft>Real music: {whose}. The longest run is the richest passage of one voice that "
        "stands in the training set too, in any key, in notes without the repetition inside it; similarity is that of "
        "the nearest passage after alignment.</p>"
    )
    rows = [
        [
            f"<span class=failed>{text(row['verdict'])}</span>" if row["verdict"] == COPIED else text(row["verdict"]),
            str(row["longest_run"]), f"{row['similarity']:.2f}",
            name_text((row.get("nearest") or {}).get("piece", "–")),
            text("; ".join(row["reasons"]) or "–"), name_text(row["path"]),
        ]
        for row in files[:FILES_SHOWN]
    ]  # fmt: skip
    heads = ["verdict", "longest run", "similarity", "nearest piece", "reasons", "file"]
    rest = len(files) - FILES_SHOWN
    more = f"<p class=soft>{rest:,} more in the JSON file.</p>" if rest > 0 else ""
    return "<h3>Copies</h3>" + lead + table(heads, rows, [1, 2], "copies") + more


def _rank(verdict: str) -> int:
    """Place of a verdict in the list: what is shared comes first."""
    return SHARED.index(verdict) if verdict in SHARED else len(SHARED)


def _diversity(diversity: Part) -> str:
    """How varied the batch is."""
    reference = diversity["reference_distinct"]
    rows = [
        [f"different {size}-grams", _percent(value), _percent(reference.get(size))]
        for size, value in diversity["distinct"].items()
    ]
    body = "<h3>Diversity</h3>" + table(["", "these pieces", "reference"], rows, [1, 2], "diversity")
    pairs = [f"{name_text(first)} and {name_text(second)}" for first, second in diversity["duplicates"][:FILES_SHOWN]]
    return body + (f"<p>The same up to transposition: {'; '.join(pairs)}</p>" if pairs else "")


def _number(value: float | None) -> str:
    return "–" if value is None else short(value)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _span(ends: Sequence[float]) -> str:
    return f"{_number(ends[0])} to {_number(ends[1])}"
