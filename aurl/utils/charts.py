"""Charts of the reports as inline SVG: pure functions from a chart's JSON to text; lines are lines.py.

Histograms stand upright with their edges below; bars of kinds lie, so that long names can be read. Colours come from
the page's style. Each bar carries its numbers as a tooltip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

WIDTH = 440.0
HEIGHT = 170.0
TOP, BOTTOM, LEFT, RIGHT = 10.0, 22.0, 50.0, 20.0
GAP = 2.0
"""Between bars."""
ROW, ROW_GAP = 20.0, 5.0
NAME_WIDTH, VALUE_WIDTH = 150.0, 56.0
LEAST_HEIGHT = 1.5
"""A bar that is not 0 is seen."""
MOST_LABELS, MOST_NAMES = 8, 12
"""Labels below the bars of a histogram, and below those of kinds."""
LONGEST_NAME = 24
GRID_LINES = 3
STEPS = (1.0, 2.0, 5.0, 10.0)

Chart = Mapping[str, Any]
Text = Callable[[object], str]


def chart_svg(chart: Chart, text: Text) -> str:
    """A chart as SVG.

    Args:
        chart: name, title, shows, unit, counts, kind (histogram or bars) and bins (label, value; low and high of a
            histogram), with at least one bin of a value above 0.
        text: escapes a text for HTML.
    """
    return _upright(chart, text) if chart["kind"] == "histogram" or chart["name"] in UPRIGHT else _lying(chart, text)


UPRIGHT = frozenset({"pitch_classes", "pitches"})
"""Bars of kinds that stand side by side because they are steps of a scale."""


def _upright(chart: Chart, text: Text) -> str:
    bins = chart["bins"]
    top, step = nice_scale(max(bin_["value"] for bin_ in bins))
    floor = HEIGHT - BOTTOM
    width = (WIDTH - LEFT - RIGHT) / len(bins)
    parts = []
    for index in range(math.ceil(top / step - 1e-9) + 1):
        level = floor - (floor - TOP) * index * step / top
        parts.append(f'<line class=grid x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{level:.1f}" y2="{level:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6:g}" y="{level + 4:.1f}" text-anchor="end">{short(index * step)}</text>')
    for index, bin_ in enumerate(bins):
        if bin_["value"]:
            height = max((floor - TOP) * bin_["value"] / top, LEAST_HEIGHT)
            parts.append(
                f'<rect class=bar x="{LEFT + index * width + GAP / 2:.1f}" y="{floor - height:.1f}" '
                f'width="{max(width - GAP, 1):.1f}" height="{height:.1f}" rx="1.5">{_tooltip(bin_, chart, text)}</rect>'
            )
    parts += _edge_labels(chart, width, text)
    return _svg(HEIGHT, parts, chart, text)


def _edge_labels(chart: Chart, width: float, text: Text) -> list[str]:
    """Labels below: the edges between bars of a histogram, else one below each bar."""
    bins = chart["bins"]
    if chart["kind"] != "histogram":
        every = math.ceil(len(bins) / MOST_NAMES)
        firsts = [bin_["label"].split(" to ")[0] for bin_ in bins]
        places = [(LEFT + (i + 0.5) * width, name) for i, name in enumerate(firsts) if i % every == 0]
    else:
        edges = [bin_["low"] for bin_ in bins] + [bins[-1]["high"]]
        every = math.ceil(len(edges) / MOST_LABELS)
        places = [(LEFT + index * width, short(edge)) for index, edge in enumerate(edges) if index % every == 0]
    y = HEIGHT - BOTTOM + 15
    return [f'<text x="{x:.1f}" y="{y:g}" text-anchor="middle">{text(label)}</text>' for x, label in places]


def _lying(chart: Chart, text: Text) -> str:
    bins = chart["bins"]
    most = max(bin_["value"] for bin_ in bins)
    room = WIDTH - NAME_WIDTH - VALUE_WIDTH
    parts = []
    for index, bin_ in enumerate(bins):
        y = index * ROW
        length = max(room * bin_["value"] / most, LEAST_HEIGHT if bin_["value"] else 0.0)
        label = bin_["label"] if len(bin_["label"]) <= LONGEST_NAME else f"{bin_['label'][: LONGEST_NAME - 1]}…"
        middle = y + ROW / 2 + 4
        parts.append(f'<text class=name x="{NAME_WIDTH - 8:g}" y="{middle:g}" text-anchor="end">{text(label)}</text>')
        parts.append(
            f'<rect class=bar x="{NAME_WIDTH:g}" y="{y + ROW_GAP / 2:g}" width="{length:.1f}" '
            f'height="{ROW - ROW_GAP:g}" rx="1.5">{_tooltip(bin_, chart, text)}</rect>'
        )
        parts.append(f'<text x="{NAME_WIDTH + length + 6:.1f}" y="{middle:g}">{short(bin_["value"])}</text>')
    return _svg(len(bins) * ROW, parts, chart, text)


def _svg(height: float, parts: list[str], chart: Chart, text: Text) -> str:
    label = text(f"{chart['title']}: {chart['shows']}")
    return f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _tooltip(bin_: Mapping[str, Any], chart: Chart, text: Text) -> str:
    label = f"{bin_['label']} {chart['unit']}".strip()
    return f"<title>{text(label)}: {short(bin_['value'])} {text(chart['counts'])}</title>"


def nice_scale(most: float, whole: bool = True) -> tuple[float, float]:
    """Top of an axis and the distance of its lines, both round; ``whole`` lines from 1 on, as counts have them."""
    power = 10.0 ** math.floor(math.log10(most / GRID_LINES))
    step = next(factor * power for factor in STEPS if factor * power * GRID_LINES >= most * 0.999)
    step = max(step, 1.0) if whole and most >= 1 else step
    return math.ceil(most / step - 1e-9) * step, step


def short(value: float) -> str:
    """A number as it is read: at most four digits that say something, thousands apart.

    Example:
        >>> short(12345.6), short(0.25), short(3.0)
        ('12,346', '0.25', '3')
    """
    if not math.isfinite(value):
        return "?"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
