"""The evaluation report as one HTML page: no file beside it, no request to anywhere.

It renders plain dicts, those of the JSON file, section by section; what it does not know it shows as tables. Sections
of the model and of generation are in report_model.py, those of music in report_music.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aurl.evaluation.report_comparison import comparison_sections
from aurl.evaluation.report_model import likelihood_section, technical_section
from aurl.evaluation.report_music import distribution_section, metrics_section, validation_section
from aurl.music.page import POLICY, PageItem, sample_cards, sample_script, sample_style
from aurl.utils.charts import short
from aurl.utils.pages import Section, card, document, name_text, table, text

Part = Mapping[str, Any]

KNOWN = ("likelihood", "music", "charts", "technical")
ROWS_SHOWN = 40
LONGEST_LIST = 6
"""Longer lists of numbers are not shown in a cell."""


def evaluation_page(title: str, intro: str, parts: Part, examples: Sequence[PageItem] = (), criterion: str = "") -> str:
    """The page as text, to be written as UTF-8.

    Args:
        title: heading of the page.
        intro: what was measured on what, plain text.
        parts: likelihood (figures and tables of likelihood_detail), music (a folder report's dict), charts
            (report_music.chart_data), technical (speed, peer, stages, size); further parts as dicts or lists of dicts.
        examples: pieces to look at and listen to.
        criterion: how they were chosen, plain text.

    Example:
        >>> page = evaluation_page("Run 1", "", {"technical": {"speed": []}})  # doctest: +SKIP
    """
    makers: dict[str, Callable[[Part], list[Section]]] = {
        "likelihood": lambda part: [("Likelihood", "likelihood", likelihood_section(part))],
        "music": lambda part: _music_sections(part, parts),
        "technical": lambda part: [("Speed, size and memory", "technical", technical_section(part))],
    }
    sections: list[Section] = (
        [("In short", "headline", headline(parts))] if set(parts) & set(KNOWN) or not parts else []
    )
    if examples:
        lead = f"<p class=soft>{text(criterion)}</p>"
        sections.append(("Listen", "examples", lead + "".join(sample_cards(examples))))
    for name, make in makers.items():
        if parts.get(name):
            sections += make(parts[name])
        if name == "music":
            sections += [
                (
                    _words(other).capitalize(),
                    f"part-{number}",
                    generic_section(part, other),
                )
                for number, (other, part) in enumerate(parts.items())
                if other not in KNOWN and part
            ]
    return document(title, text(intro), sections, POLICY, sample_style(), sample_script() if examples else "")


def _music_sections(music: Part, parts: Part) -> list[Section]:
    charts = parts.get("charts") or {}
    return [
        ("Musical metrics", "metrics", metrics_section(music, (music.get("comparison") or {}).get("distances"))),
        *([("Distributions", "distributions", distribution_section(charts))] if charts else []),
        *comparison_sections(music.get("comparison") or {}),
        ("Validation", "validation", validation_section(music)),
    ]


def headline(parts: Part) -> str:
    """The few figures that one looks for first."""
    found: list[tuple[str, str]] = []
    likelihood, music, technical = (parts.get(name) or {} for name in ("likelihood", "music", "technical"))
    if likelihood:
        bound = " (upper bound)" if likelihood.get("bound") else ""
        for key in ("nats_per_note", "nats_per_beat", "nats_per_second"):
            if likelihood.get(key) is not None:
                found.append((f"{likelihood[key]:.3f}", key.replace("_", " ") + bound))
    if music:
        found.append((f"{music['passed']:,} of {music['pieces']:,}", "pieces pass the validation"))
        styles = sorted(file["style"] for file in music["files"] if file.get("style") is not None)
        if styles:
            middle = styles[len(styles) // 2]
            found.append((f"{100 * middle:.0f} %", "of metrics inside the reference's band, median piece"))
    if technical.get("speed"):
        best = max(technical["speed"], key=lambda row: row["notes_per_second"])
        found.append((short(best["notes_per_second"]), f"notes a second, {best['batch_size']} pieces at once"))
        first = min(technical["speed"], key=lambda row: row["batch_size"])
        found.append((f"{first['first_note_ms']:.0f} ms", f"to the first note, batch of {first['batch_size']}"))
    boxes = "".join(f"<div class=figure><b>{text(value)}</b><span>{text(name)}</span></div>" for value, name in found)
    return f"<div class=figures>{boxes}</div>" if found else card("<p>Nothing was measured.</p>")


# --- whatever else there is -------------------------------------------------------------------------------------------


def generic_section(part: Any, name: str) -> str:
    """Any dict or list of dicts as tables; long lists of numbers are left to the JSON file."""
    return card(_rendered(part, name))


def _rendered(part: Any, name: str) -> str:
    if isinstance(part, Mapping):
        plain = {key: value for key, value in part.items() if not isinstance(value, (Mapping, list)) or _is_cell(value)}
        nested = {key: value for key, value in part.items() if key not in plain and value}
        if nested and not plain and all(_is_row(value) for value in nested.values()):
            return _rows([{"": key, **value} for key, value in nested.items()], name)
        body = table(["", ""], [[text(_words(key)), cell(value)] for key, value in plain.items()], [], name)
        deeper = "".join(f"<h3>{text(_words(key))}</h3>{_rendered(value, name)}" for key, value in nested.items())
        return (body if plain else "") + deeper
    if isinstance(part, list) and part and all(isinstance(row, Mapping) for row in part):
        return _rows(part, name)
    return f"<p>{cell(part)}</p>"


def _rows(rows: Sequence[Part], name: str) -> str:
    """Dicts as a table with a column for each key; columns that hold more than a cell are left out."""
    keys = dict.fromkeys(key for row in rows for key in row)
    heads = [key for key in keys if all(_is_cell(row.get(key)) for row in rows)]
    numbers = [i for i, key in enumerate(heads) if all(_is_number(row.get(key)) for row in rows)]
    body = [[cell(row.get(key)) for key in heads] for row in rows[:ROWS_SHOWN]]
    rest = len(rows) - ROWS_SHOWN
    more = f"<p class=soft>{rest:,} more in the JSON file.</p>" if rest > 0 else ""
    return table([_words(key) for key in heads], body, numbers, name) + more


def cell(value: Any) -> str:
    """A value as the text of a cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return short(value) if math.isfinite(value) else "–"
    if isinstance(value, (list, tuple)):
        numbers = all(_is_number(item) for item in value)
        return " to ".join(map(cell, value)) if numbers and len(value) == 2 else ", ".join(map(cell, value))
    return name_text(str(value))


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _is_cell(value: Any) -> bool:
    """Whether a value fits a cell: a scalar, or a short list of scalars."""
    if isinstance(value, (list, tuple)):
        return len(value) <= LONGEST_LIST and not any(isinstance(item, (Mapping, list, tuple)) for item in value)
    return not isinstance(value, Mapping)


def _is_row(value: Any) -> bool:
    """Whether a value is a dict with something that fits a cell, and so a row of a table."""
    return isinstance(value, Mapping) and any(_is_cell(item) for item in value.values())


def _words(key: object) -> str:
    return str(key).replace("_", " ")
